//! Media pools, and what their policies would do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::SavesetId;

use super::ApprovalView;

/// A media pool, to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPoolRequest {
    pub name: String,
    /// Such as `last 7, daily 14` (`docs/reference/retention.md`).
    pub policy: String,
    /// Where its backups go; `None`: each task says so itself.
    #[serde(default)]
    pub datastore: Option<String>,
    /// Only this drive of the datastore.
    #[serde(default)]
    pub drive: Option<u32>,
    /// Any drive of this group, in place of a datastore.
    #[serde(default)]
    pub drive_group: Option<String>,
}

/// Changes a media pool: what is given replaces what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePoolRequest {
    pub name: String,
    #[serde(default)]
    pub policy: Option<String>,
    /// Another place, for the backups to come: tasks of the pool go there.
    #[serde(default)]
    pub datastore: Option<String>,
    #[serde(default)]
    pub drive: Option<u32>,
    #[serde(default)]
    pub drive_group: Option<String>,
}

/// Names a media pool.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolNameRequest {
    pub name: String,
}

/// One media pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolView {
    pub name: String,
    pub policy: String,
    pub datastore: Option<String>,
    pub drive: Option<u32>,
    pub drive_group: Option<String>,
    /// Tasks that name it; of the default pool those that name none.
    pub tasks: Vec<String>,
    /// Originals and copies.
    pub savesets: u64,
    /// What they added to their datastores when they were made.
    pub bytes: u64,
    /// 0 for the default pool as long as nobody has changed it.
    pub created_unix_ms: i64,
}

/// A pool that was to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolChanged {
    /// As it is now.
    pub pool: PoolView,
    /// The change waits for a second person.
    pub approval: Option<ApprovalView>,
}

/// What another policy of a pool would do now. Nothing is changed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    pub pool: String,
    pub policy: String,
}

/// Answer to `retention.simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationView {
    pub pool: String,
    /// In the one order in which policies are written.
    pub policy: String,
    /// What would expire and is kept now.
    pub expires: Vec<LossView>,
    /// What these added to their datastores when they were made, and not what their deletion frees: what other
    /// savesets need stays, and what deleted ones left to these alone goes too. A collection says what it freed.
    pub bytes: u64,
    /// What is expired now and would be kept.
    pub kept_again: Vec<SavesetId>,
    /// Tasks that would be left without any restorable saveset: takes a second person.
    pub emptied: Vec<String>,
    /// Nothing expires before this is settled.
    pub frozen: Option<String>,
}

/// A saveset that would expire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossView {
    pub saveset: SavesetId,
    /// Client and task.
    pub task: String,
    pub pool: String,
    pub datastore: String,
    pub stamped_unix_ms: i64,
    pub bytes: u64,
}

/// Deletes what is expired.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionRunRequest {
    /// Only say what is expired.
    pub dry_run: bool,
    /// Leave to delete more than half of all savesets.
    pub over_budget: bool,
}

/// What one run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetentionRunReply {
    pub dry_run: bool,
    /// Savesets that were looked at, copies among them.
    pub judged: u64,
    /// Those that are expired: decided on, unless it was a dry run.
    pub expired: Vec<ExpiredView>,
    /// What these added to their datastores when they were made, and not what their deletion frees: what other
    /// savesets need stays, and what deleted ones left to these alone goes too. A collection says what it freed.
    pub bytes: u64,
    /// Nothing expires, and why.
    pub frozen: Option<String>,
    /// Tasks of which only the newest saveset is left, and that only because it is the newest.
    pub last_of: Vec<String>,
    /// Of all that was decided on, also before: gone now.
    pub deleted: u64,
    /// Being read, or used by a job: deleted when that has ended.
    pub waiting: u64,
    /// A hold or a lock came in between.
    pub taken_back: u64,
    /// Devices that could not be told; they are told when they are back.
    pub trouble: Vec<String>,
}

/// A saveset that nothing keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpiredView {
    pub saveset: SavesetId,
    /// Client and task.
    pub task: String,
    pub pool: String,
    pub datastore: String,
    pub stamped_unix_ms: i64,
    /// Since when nothing keeps it.
    pub since_unix_ms: i64,
    pub bytes: u64,
}

/// What the server knows of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockView {
    pub now_unix_ms: i64,
    /// The last instant that was written down.
    pub last_known_unix_ms: i64,
    /// Why nothing expires.
    pub doubt: Option<String>,
    pub confirmed_by: Option<String>,
}
