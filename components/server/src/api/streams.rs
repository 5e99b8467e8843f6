//! Raw streams of other people's tools: access tokens, and jobs that wait for a stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::TokenAllows;

/// Days for which a token is good where nothing else is said.
pub const TOKEN_DAYS: u32 = 90;

/// Makes an access token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTokenRequest {
    pub name: String,
    /// The external task whose streams it is for.
    pub task: String,
    /// Default: `store`.
    #[serde(default = "store")]
    pub allow: TokenAllows,
    /// 0: it never expires. Default: 90.
    #[serde(default = "token_days")]
    pub expires_days: u32,
}

fn store() -> TokenAllows {
    TokenAllows::Store
}

fn token_days() -> u32 {
    TOKEN_DAYS
}

/// Changes a token; its secret stays.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTokenRequest {
    pub name: String,
    /// `None` leaves it. To read what it could not, or for longer, takes `restore-to-other`.
    #[serde(default)]
    pub allow: Option<TokenAllows>,
    /// From now; 0: it never expires. `None` leaves it.
    #[serde(default)]
    pub expires_days: Option<u32>,
}

/// A token that was made. The secret is told once and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateTokenReply {
    pub token: TokenView,
    pub secret: String,
    /// Where streams go, such as `https://vault:11443/v1/streams/db`; empty where the server does not
    /// listen for HTTPS.
    pub url: String,
    /// The same by FTP with TLS, such as `ftp://vault:11001/db`; empty where it does not listen for FTP.
    pub ftp_url: String,
}

/// Names a token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenNameRequest {
    pub name: String,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    pub name: String,
    pub task: String,
    pub client: String,
    pub allow: TokenAllows,
    /// `valid`, `expired`, `revoked`.
    pub state: String,
    pub created_unix_ms: i64,
    /// `None`: never.
    pub expires_unix_ms: Option<i64>,
    pub revoked_unix_ms: Option<i64>,
    /// The last use, to the minute.
    pub used_unix_ms: Option<i64>,
}

/// Starts a job that waits for a raw stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartStreamRequest {
    /// An external task.
    pub task: String,
}

/// A job that waits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartStreamReply {
    pub job: u64,
    /// Serves once.
    pub ticket: String,
    /// Takes one stream, by PUT; the ticket is its last part. Empty where the server does not listen for
    /// HTTPS.
    pub url: String,
    /// Takes it by FTP with TLS, with the ticket as password. Empty where the server does not listen for
    /// FTP.
    pub ftp_url: String,
    /// The same as a command: by HTTPS where there is such a door, else by FTP.
    pub command: String,
    /// As a command by FTP; empty like `ftp_url`.
    pub ftp_command: String,
    /// The ticket must be used before.
    pub expires_unix_ms: i64,
}
