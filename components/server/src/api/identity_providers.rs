//! Identity providers: by whom people sign in with OpenID Connect, and what they may then.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::people::Granted;

/// Adds an identity provider, or replaces all of one but its name and its issuer. What its users may follows at once, and
/// anew at each sign-in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderRequest {
    /// It stands on the page on which people sign in.
    pub name: String,
    /// `false`: nobody signs in by it, and its users are out.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The provider's name for itself, exactly: `https://…`. It stays.
    pub issuer: String,
    pub client_id: String,
    /// The client secret; never shown again. `None`: the one that is there stays, unless it would go over another line;
    /// empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// It has a secret. Without one that is given now or was before nobody signs in until somebody gives it: so a
    /// configuration without secrets can be applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_secret: bool,
    /// What is asked for beside `openid`.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// The claim that becomes the user's name here, at the first time.
    #[serde(default = "usual_name_claim")]
    pub name_claim: String,
    /// The claim with the person's groups; a dot leads into objects.
    #[serde(default = "usual_groups_claim")]
    pub groups_claim: String,
    /// What the people of each group may. Who is in none of these is not let in.
    #[serde(default)]
    pub groups: Vec<GroupGrants>,
    /// A user is made at the first sign-in; `false`: only who was added for this provider is let in.
    #[serde(default)]
    pub creates_users: bool,
    /// PEM of the authority that signed the provider's certificate; `None`: whom the host trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

impl std::fmt::Debug for IdentityProviderRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityProviderRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the people of a group of a provider may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupGrants {
    pub group: String,
    pub grants: Vec<Granted>,
}

fn yes() -> bool {
    true
}

/// What is asked for where nothing else is said.
pub fn usual_scopes() -> Vec<String> {
    vec!["profile".to_owned()]
}

/// The claim with a name where nothing else is said.
pub fn usual_name_claim() -> String {
    "preferred_username".to_owned()
}

/// The claim with groups where nothing else is said.
pub fn usual_groups_claim() -> String {
    "groups".to_owned()
}

/// One identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityProviderView {
    pub name: String,
    pub enabled: bool,
    pub issuer: String,
    pub client_id: String,
    pub has_secret: bool,
    /// It has one that nobody gave yet: nobody signs in.
    pub secret_missing: bool,
    pub scopes: Vec<String>,
    pub name_claim: String,
    pub groups_claim: String,
    pub groups: Vec<GroupGrants>,
    pub creates_users: bool,
    pub authority: Option<String>,
    /// What the provider must know as this suite's redirect URI; behind another name or port of the console the same path.
    pub redirect: String,
    /// How many users sign in by it.
    pub users: u64,
    /// Who set it up without a second person: nobody who signs in by it is the second person for that one.
    pub alone: Option<String>,
    pub created_unix_ms: i64,
    /// The approval of a change that waits for a second person.
    pub waits_for: Option<u64>,
}
