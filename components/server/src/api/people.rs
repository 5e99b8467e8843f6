//! Users, roles and API tokens.

use serde::{Deserialize, Serialize};

use crate::people::{Granted, Role};
use crate::rights::{Grant, Right};

/// Days for which an API token is good where nothing else is said.
pub const API_TOKEN_DAYS: u32 = 90;

/// Adds a user, or gives one these grants and no others.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// Letters, digits, dots, dashes and underscores.
    pub name: String,
    /// What the user may; none: nothing.
    #[serde(default)]
    pub grants: Vec<Granted>,
    /// Neither the user nor the user's tokens are let in.
    #[serde(default)]
    pub disabled: bool,
    /// To add a user: needed, unless the user signs in by a provider. To change one: another password, or none to leave
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// To add a user who signs in by this identity provider: then there is no password, and what the user may follows from
    /// the groups there. It stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

impl std::fmt::Debug for UserRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names a user.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserNameRequest {
    pub name: String,
}

/// Gives a user another password; sessions of the user end.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    pub name: String,
    /// 12 characters or more.
    pub password: String,
}

impl std::fmt::Debug for PasswordRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Gives whoever asks another password; sessions of the user end.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnPasswordRequest {
    pub old: String,
    /// 12 characters or more.
    pub password: String,
}

impl std::fmt::Debug for OwnPasswordRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnPasswordRequest")
    }
}

/// Gives whoever asks a new secret for one-time passwords, or takes it away.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnOneTimeRequest {
    /// Of now.
    pub password: String,
    pub on: bool,
}

impl std::fmt::Debug for OwnOneTimeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnOneTimeRequest")
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UserView {
    pub name: String,
    pub grants: Vec<Granted>,
    pub disabled: bool,
    /// The identity provider by which the user signs in; `None`: by a password.
    pub provider: Option<String>,
    /// Whether the user needs one to log in.
    pub one_time_passwords: bool,
    pub created_unix_ms: i64,
    /// The last log-in.
    pub seen_unix_ms: Option<i64>,
    /// After wrong log-ins: none is looked at before.
    pub locked_until_unix_ms: Option<i64>,
    /// The approval of a change that waits for a second person.
    pub waits_for: Option<u64>,
}

/// Gives a user a new secret for one-time passwords, or takes it away.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneTimeRequest {
    pub name: String,
    /// Whether the user needs one to log in.
    pub on: bool,
}

/// The secret is told once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OneTimeReply {
    pub user: UserView,
    /// For an authenticator, in Base32; `None`: it was taken away.
    pub secret: Option<String>,
    /// The same as an address, for a picture.
    pub uri: Option<String>,
}

/// A role with what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RoleView {
    pub role: Role,
    pub rights: Vec<Right>,
}

/// Makes an API token.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiTokenRequest {
    pub name: String,
    /// Whose it is: it never may more than this user may, and goes with the user. `None`: nobody's.
    #[serde(default)]
    pub user: Option<String>,
    /// What it may, at least one role or right.
    pub grants: Vec<Granted>,
    /// 0: it never expires. Default: 90.
    #[serde(default = "token_days")]
    pub expires_days: u32,
}

fn token_days() -> u32 {
    API_TOKEN_DAYS
}

/// A token that was made. The secret is told once and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreateApiTokenReply {
    pub token: ApiTokenView,
    pub secret: String,
}

/// Changes an API token; its secret stays.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeApiTokenRequest {
    pub name: String,
    /// What it may then, and nothing else. `None` leaves it.
    #[serde(default)]
    pub grants: Option<Vec<Granted>>,
    /// From now; 0: it never expires. `None` leaves it.
    #[serde(default)]
    pub expires_days: Option<u32>,
}

/// Names an API token.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiTokenNameRequest {
    pub name: String,
}

/// One API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ApiTokenView {
    pub name: String,
    pub user: Option<String>,
    pub grants: Vec<Granted>,
    /// `valid`, `expired`, `revoked`.
    pub state: String,
    pub created_by: String,
    pub created_unix_ms: i64,
    /// `None`: never.
    pub expires_unix_ms: Option<i64>,
    pub revoked_unix_ms: Option<i64>,
    /// The last use, to the minute.
    pub used_unix_ms: Option<i64>,
    /// The approval of its grants, which wait for a second person.
    pub waits_for: Option<u64>,
}

/// Who asks, and what that allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WhoView {
    /// As in the audit log.
    pub name: String,
    pub grants: Vec<Grant>,
}

/// A browser's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionView {
    pub user: String,
    /// The identity provider by which the user signs in; `None`: by a password.
    pub provider: Option<String>,
    pub grants: Vec<Grant>,
    /// What a page sends as `X-CSRF-Token` with everything that changes something.
    pub csrf_token: String,
    /// When it ends if it is not used.
    pub idle_until_unix_ms: i64,
    /// When it ends in any case.
    pub until_unix_ms: i64,
}
