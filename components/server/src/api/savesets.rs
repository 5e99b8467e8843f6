//! Savesets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::{DomainId, Level, Outcome, SavesetId};

use super::CopyView;

/// Lists savesets, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SavesetListRequest {
    pub client: Option<String>,
    pub task: Option<String>,
    pub datastore: Option<String>,
    /// Also those whose manifest is gone.
    pub missing_too: bool,
    /// Also those that were deleted, or are to be.
    pub deleted_too: bool,
    /// 0: 1000.
    pub limit: u32,
}

/// Names a saveset.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavesetRequest {
    /// An id or its beginning.
    pub saveset: String,
}

/// Finds the saveset that a person means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// `latest`, `latest:TASK`, an id, its beginning of at least four digits, or a task's name,
    /// which stands for the task's newest saveset.
    pub reference: String,
    /// Only savesets of this client.
    #[serde(default)]
    pub client: Option<String>,
}

/// What a reference may mean. Exactly one match is the answer; with several it is ambiguous.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolveReply {
    /// At most four.
    pub matches: Vec<SavesetView>,
    /// Without a match: savesets that come nearest, at most five, newest first.
    pub nearest: Vec<SavesetView>,
    /// Without a match: names of tasks that come nearest, the best first.
    pub nearest_tasks: Vec<String>,
}

/// One saveset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavesetView {
    pub saveset: SavesetId,
    pub client: String,
    /// Empty where the name is sealed with a key that the Server does not have.
    pub task: String,
    pub datastore: String,
    pub domain: DomainId,
    /// Position in its datastore: the order that is trusted.
    pub sequence: u64,
    pub level: Level,
    pub base: Option<SavesetId>,
    /// How the backup ended that made it.
    pub outcome: Outcome,
    /// By the client's clock.
    pub scan_started_unix_ms: i64,
    /// By the device's clock.
    pub committed_unix_ms: i64,
    /// It cannot be removed before; 0: no lock.
    pub lock_until_unix_s: u64,
    /// Datastores whose devices do not hold all of this lock yet, and are told when they are reached.
    #[serde(default)]
    pub lock_owed_to: Vec<String>,
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    /// Plaintext that was new to the datastore.
    pub bytes_new: u64,
    /// What that took there, compressed and sealed.
    pub bytes_stored: u64,
    pub problems: u64,
    /// `present`, `missing`, `deleting` or `deleted`: of the one in `datastore`.
    pub state: String,
    /// Where else it lies.
    #[serde(default)]
    pub copies: Vec<CopyView>,
}

impl SavesetView {
    /// Where it lies: in the datastore of its row, unless it was deleted there, and in those of its copies.
    pub fn lies_in(&self) -> Vec<&str> {
        let own = (!self.is_deleted_here()).then_some(self.datastore.as_str());
        own.into_iter().chain(self.copies.iter().map(|copy| copy.datastore.as_str())).collect()
    }

    /// Whether the one in `datastore` was deleted, or is to be.
    pub fn is_deleted_here(&self) -> bool {
        matches!(self.state.as_str(), "deleting" | "deleted")
    }
}

/// A saveset with the jobs that made and read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavesetDetail {
    #[serde(flatten)]
    pub saveset: SavesetView,
    pub results: Vec<ResultView>,
}

/// How one job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResultView {
    pub job: u64,
    pub kind: String,
    pub outcome: Outcome,
    pub ended_unix_ms: i64,
    pub problems: u64,
}
