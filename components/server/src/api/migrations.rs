//! Migrations: savesets that move to another pool or datastore.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::Level;

/// Adds a migration, or replaces all of one but its name. It moves nothing until it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MigrationRequest {
    pub name: String,
    /// The replication by whose way it copies: from which datastore into which, who dials whom, how
    /// fast. What that is limited to limits the migration, too.
    pub replication: String,
    /// Only savesets of this client.
    pub client: Option<String>,
    /// Only savesets of this task.
    pub task: Option<String>,
    /// Only what is in this pool.
    pub from_pool: Option<String>,
    /// Only these levels; none: any.
    pub levels: Vec<Level>,
    /// Only backups that are so many days old; 0: of any age.
    pub older_than_days: u32,
    /// The originals stay. Else each is let go when a check has found its copy whole.
    pub keep_originals: bool,
    /// The pool of the copies; `None`: that of their backup.
    pub pool: Option<String>,
    /// The EOL of the copies, in days from the stamp of their backup; 0: as the pool says.
    pub eol_days: u32,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationView {
    pub name: String,
    pub replication: String,
    /// Names of datastores.
    pub source: String,
    pub target: String,
    pub client: Option<String>,
    pub task: Option<String>,
    pub from_pool: Option<String>,
    pub levels: Vec<Level>,
    pub older_than_days: u32,
    pub keep_originals: bool,
    pub pool: Option<String>,
    pub eol_days: u32,
    pub created_unix_ms: i64,
    /// Savesets of the source that it is about now.
    pub savesets: u64,
    /// Those of them that have no copy in the target.
    pub missing: u64,
    /// Those that have one which no check has found whole yet.
    pub unproven: u64,
}
