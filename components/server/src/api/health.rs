//! When a task is green.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How old what makes a task green may be. 0: not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GreenWithin {
    /// The last good backup; `None`: 48.
    pub backup_hours: Option<u32>,
    /// The newest backup that has a copy in each place into which it is replicated; `None`: 48. Asked for only
    /// where a replication takes the task's savesets.
    pub replication_hours: Option<u32>,
    /// The last check that found a saveset of it whole; `None`: 30.
    pub verification_days: Option<u32>,
    /// The last restore drill that passed; `None`: 90.
    pub restore_test_days: Option<u32>,
}

/// What makes a task green.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    Backup,
    Replication,
    Verification,
    RestoreTest,
}

impl Aspect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Aspect::Backup => "backup",
            Aspect::Replication => "replication",
            Aspect::Verification => "verification",
            Aspect::RestoreTest => "restore test",
        }
    }
}

/// How one aspect of a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthFinding {
    pub aspect: Aspect,
    pub good: bool,
    /// When it was good last.
    pub last_unix_ms: Option<i64>,
    /// How old that may be.
    pub within_s: u64,
    /// Since when it is not good; `None` where it is.
    pub missing_since_unix_ms: Option<i64>,
    /// Not good for longer than the time within which it had to come: somebody should act.
    pub overdue: bool,
    /// One sentence without its subject, the task.
    pub words: String,
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Nothing that is asked for is missing.
    pub green: bool,
    /// Since when it is not; `None` where it is.
    pub not_green_since_unix_ms: Option<i64>,
    /// Somebody should act.
    pub overdue: bool,
    /// Each aspect that is asked for.
    pub findings: Vec<HealthFinding>,
}

/// How one task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskHealth {
    pub task: String,
    pub client: String,
    #[serde(flatten)]
    pub health: Health,
}

/// Asks how tasks stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskHealthRequest {
    /// Only tasks that are not green.
    pub not_green: bool,
}
