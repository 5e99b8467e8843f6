//! Replications: savesets of one datastore copied into another one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Copies savesets of a datastore into another one, each time that it is run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AddReplicationRequest {
    pub name: String,
    /// Names of datastores.
    pub source: String,
    pub target: String,
    /// The target's device dials the source's; else the other way round.
    pub pull: bool,
    /// The drive, of the datastore that is dialled, whose port it is; `None`: its first one.
    pub drive: Option<u32>,
    /// Only savesets of this client.
    pub client: Option<String>,
    /// Only savesets of this task.
    pub task: Option<String>,
    /// How fast, and when, by the clock of the host that dials: `20MB/s`, `mon-fri 08:00-18:00
    /// 5MB/s`. The last one that is now counts; none: unlimited.
    pub limits: Vec<String>,
}

/// Names a replication.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicationRequest {
    pub name: String,
}

/// One replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicationView {
    pub name: String,
    pub source: String,
    pub source_host: String,
    pub target: String,
    pub target_host: String,
    pub pull: bool,
    pub drive: u32,
    pub client: Option<String>,
    pub task: Option<String>,
    pub limits: Vec<String>,
    pub created_unix_ms: i64,
    /// Savesets of the source that it is about.
    pub savesets: u64,
    /// Those of them that the target does not have yet.
    pub missing: u64,
}

/// Brings what a datastore has lost from its copies.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealRequest {
    /// The replication by whose way it goes, in either direction.
    pub name: String,
    /// The datastore that is damaged: one of the replication's two.
    pub datastore: String,
}

/// A copy of a saveset, besides the datastore of its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyView {
    pub datastore: String,
    /// Position in that datastore.
    pub sequence: u64,
    /// The pool that a migration gave it; `None`: that of its backup.
    pub pool: Option<String>,
    /// The EOL that a migration gave it.
    pub eol_unix_s: Option<i64>,
}
