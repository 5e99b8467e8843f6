//! How the suite is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer to `status`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The Server's name.
    pub name: String,
    /// The client on the Server's own host.
    pub own_client: String,
    pub suite_version: String,
    pub started_unix_ms: i64,
    /// Fingerprint of the Server's key, as clients pin it.
    pub fingerprint: String,
    pub clients_enrolled: u64,
    pub clients_connected: u64,
    pub datastores: u64,
    pub tasks: u64,
    /// Of these, those that are green: saved, copied, checked and restored for a test, each lately enough.
    pub tasks_green: u64,
    pub savesets: u64,
    pub jobs_queued: u64,
    pub jobs_running: u64,
    pub kit: KitState,
    /// When the newest backup of the server itself was made that ended well.
    pub self_backup_unix_ms: Option<i64>,
    pub search: super::SearchState,
    /// Sentences that somebody should act on.
    pub warnings: Vec<String>,
}

/// The recovery kit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kit", rename_all = "snake_case")]
pub enum KitState {
    /// There is none: with the Server all its keys would be lost.
    None,
    /// Printed; nobody has shown yet that it was kept.
    Unproven,
    Proven {
        proven_unix_ms: i64,
    },
}
