//! What keeps savesets, what ends them, and the second person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use simsim_model::SavesetId;

/// Keeps a saveset for longer: until an instant, or for some days from its stamp.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepSavesetRequest {
    /// An id or its beginning.
    pub saveset: String,
    #[serde(default)]
    pub until_unix_s: Option<i64>,
    #[serde(default)]
    pub days: Option<u32>,
}

/// Puts a saveset under legal hold, or asks to release it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldSavesetRequest {
    pub saveset: String,
    /// Why; not with `release`.
    #[serde(default)]
    pub why: Option<String>,
    #[serde(default)]
    pub release: bool,
}

/// Locks a saveset until an instant; only ever later.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockSavesetRequest {
    pub saveset: String,
    pub until_unix_s: u64,
}

/// Deletes savesets: expired ones at once, others when a second person approves.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSavesetsRequest {
    /// Ids or their beginnings; at most 1,000.
    pub savesets: Vec<String>,
    /// Only what lies in this datastore; `None`: wherever they lie.
    #[serde(default)]
    pub datastore: Option<String>,
    pub why: String,
}

/// What came of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavesetsDeleted {
    pub savesets: Vec<SavesetId>,
    /// Gone now; originals and copies are counted one by one.
    pub deleted: u64,
    /// Decided, and not done yet: a job uses them, or their device is away.
    pub waiting: u64,
    pub trouble: Vec<String>,
    /// It waits for a second person.
    pub approval: Option<ApprovalView>,
}

/// What keeps a saveset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavesetLives {
    pub saveset: SavesetId,
    /// The original and its copies, those that were deleted among them.
    pub lives: Vec<LifeView>,
    /// The release of its hold waits for a second person.
    pub approval: Option<ApprovalView>,
}

/// One saveset in one datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifeView {
    pub datastore: String,
    pub is_copy: bool,
    /// Client and task.
    pub task: String,
    pub pool: String,
    /// `kept`, `expired`, `deleting` or `deleted`.
    pub state: String,
    /// The server's stamp, from which days are counted.
    pub stamped_unix_ms: i64,
    /// The server's count of backups.
    pub number: u64,
    /// `server`, or `owner` for what a client or a tool asked for.
    pub made_for: String,
    /// Its own EOL.
    pub eol_unix_s: Option<i64>,
    /// 0: no lock.
    pub lock_until_unix_s: u64,
    /// Until when its device keeps it, whatever a server says: by the manifest, or as it was told later.
    /// Earlier than the lock: the device is owed the rest. 0: the device keeps it not by itself.
    pub held_until_unix_s: u64,
    /// Why its device does not hold all of the lock.
    pub lock_trouble: Option<String>,
    pub hold: Option<HoldView>,
    /// `not-yet`, `whole` or `damaged`.
    pub check: String,
    pub checked_unix_ms: Option<i64>,
    /// When it expires, where that can be told.
    pub until_unix_ms: Option<i64>,
    /// In whole sentences.
    pub explained: String,
    pub deletion: Option<DeletionView>,
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldView {
    pub by: String,
    pub why: String,
    pub since_unix_ms: i64,
}

/// A deletion, decided, told to the device, or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletionView {
    pub why: String,
    pub asked_by: String,
    pub approval: Option<u64>,
    pub decided_unix_ms: i64,
    pub told_unix_ms: Option<i64>,
    pub done_unix_ms: Option<i64>,
    /// Why it is not done yet.
    pub trouble: Option<String>,
}

/// Lists approvals, the newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalListRequest {
    /// Also those that were decided or have expired.
    pub all: bool,
}

/// Names an approval.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    pub approval: u64,
}

/// The second person's word.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalWordRequest {
    pub approval: u64,
    /// The digest that was looked at, or its beginning of at least eight digits.
    #[serde(default)]
    pub digest: Option<String>,
    #[serde(default)]
    pub note: String,
}

/// An act that waits for a second person, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    pub approval: u64,
    pub verb: String,
    /// What it would do, and why it takes a second person.
    pub about: String,
    /// Its exact content.
    pub act: Value,
    /// Over all of this, in hexadecimal digits.
    pub digest: String,
    pub asked_by: String,
    pub asked_unix_ms: i64,
    pub expires_unix_ms: i64,
    /// `open`, `approved`, `rejected` or `expired`.
    pub state: String,
    pub decided_by: Option<String>,
    pub decided_unix_ms: Option<i64>,
    pub note: String,
}
