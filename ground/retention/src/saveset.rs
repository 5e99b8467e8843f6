//! A saveset as far as its life is concerned.

use jiff::Timestamp;
use simsim_model::{Outcome, SavesetId};

/// What the last check found.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Everything that it names is there and as it was.
    Whole,
    /// None was made yet. What a saveset names was checked when it was stored.
    NotYet,
    /// Something is missing or wrong.
    Damaged,
}

/// Who wanted it made.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum MadeFor {
    /// An event, or a person at the server.
    Server,
    /// The client's owner, or a tool with an access token: as many as they like. These are counted by
    /// themselves.
    Owner,
}

/// One saveset: the original of a backup, or a copy of it in another pool or datastore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saveset {
    pub id: SavesetId,
    /// The backup that it is of: the id of the original, shared by all copies.
    pub backup: SavesetId,
    pub task: String,
    /// The media pool.
    pub pool: String,
    pub made_for: MadeFor,
    /// When the server took the backup for complete, by its own clock; shared by all copies.
    pub stamped: Timestamp,
    /// The server counts its backups; shared by all copies. It says which one is newer, whatever the
    /// clocks say.
    pub sequence: u64,
    /// What the client says of its time: for people. Nothing here reads it.
    pub client_says: Option<Timestamp>,
    pub outcome: Outcome,
    pub check: Check,
    /// Set by a person for this saveset, in place of the EOL of its task or pool.
    pub eol: Option<Timestamp>,
    /// A copy that was given a life of its own: the EOL of its task is not its.
    pub own_life: bool,
    /// See [`extend_lock`](crate::extend_lock).
    pub locked_until: Option<Timestamp>,
    /// Who holds it and why, as it is to be shown.
    pub legal_hold: Option<String>,
    /// What it added to its datastore when it was made, by the caller's reckoning. Its removal frees less where other
    /// savesets need that too, and more where savesets that are gone left to it what only it needs.
    pub bytes: u64,
}

impl Saveset {
    /// It ended as *finished* or *finished with errors*, and no check found it damaged.
    pub fn is_restorable(&self) -> bool {
        let ended = matches!(self.outcome, Outcome::Finished | Outcome::FinishedWithErrors);
        ended && self.check != Check::Damaged
    }
}
