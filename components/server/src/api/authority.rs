//! The suite's certificate authority, which other people's tools trust.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The authority as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorityView {
    /// What tools must trust, PEM: the authority that signs; in a transition also the one before.
    pub certificate: String,
    /// SHA-256 of the certificate of the authority that signs, as openssl writes it.
    pub fingerprint: String,
    /// From the authority before to this one; `None`: only this one counts.
    pub transition: Option<AuthorityTransition>,
    /// Hosts that still show a certificate of the one before: they were not reached since.
    pub behind: Vec<String>,
}

/// While it lasts, tools with either authority trust every host that has a certificate of the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorityTransition {
    pub former_fingerprint: String,
    pub begun_unix_ms: i64,
    /// It ends by itself then.
    pub ends_unix_ms: i64,
}

/// Begins or ends the rotation of the authority.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorityRequest {
    /// To begin: without a transition, because the key was stolen. To end: also where hosts are behind.
    pub now: bool,
}
