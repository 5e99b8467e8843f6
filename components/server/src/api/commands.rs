//! Commands: what may be run on clients, by names in the policies of their owners.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds a command, or replaces all of one but its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    pub name: String,
    pub client: String,
    /// Its name in the policy of the client's owner; never a command line. `None`: the same name.
    #[serde(default)]
    pub local_name: Option<String>,
    /// So long it may run; `None`: as the policy says, else an hour.
    #[serde(default)]
    pub timeout_s: Option<u32>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandView {
    pub name: String,
    pub client: String,
    pub local_name: String,
    pub timeout_s: Option<u32>,
    pub created_unix_ms: i64,
    /// Its newest job.
    pub last_job: Option<u64>,
    /// How that stands, such as `finished`.
    pub last_state: Option<String>,
}
