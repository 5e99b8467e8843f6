//! The first user.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A link with which the first user is made, in a browser. It serves once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct WelcomeReply {
    /// For a browser. Where it is not known on which port the console listens, only what follows the
    /// address: `/welcome?code=…`.
    pub url: String,
    pub expires_unix_ms: i64,
}

impl std::fmt::Debug for WelcomeReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WelcomeReply").finish_non_exhaustive()
    }
}
