//! Sessions: browsers in which users are logged in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A browser in which a user is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleSessionView {
    /// Names it, and lets nobody in.
    pub session: String,
    pub user: String,
    /// From where the user logged in.
    pub address: String,
    pub created_unix_ms: i64,
    /// The last use, to the minute.
    pub used_unix_ms: i64,
    /// It ends then, where it is not used before.
    pub idle_until_unix_ms: i64,
    /// It ends then, however much it is used.
    pub until_unix_ms: i64,
}

/// Names a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSessionRequest {
    pub session: String,
}

/// Sessions that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedOut {
    pub user: String,
    pub sessions: u64,
}
