//! Who may do what. Default deny: a principal holds grants, and a verb that no grant covers is
//! refused and written down.
//!
//! To restore one client's data to another client is a right of its own, and so is a restore
//! beneath another place than the original one: holding `restore` gives neither.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ServerError;

/// What can be asked of the Server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// See clients, tasks, jobs, savesets and their states.
    View,
    /// See names and listings inside savesets.
    Browse,
    /// Run tasks, cancel jobs.
    Backup,
    /// Restore a client's savesets to that client, in their place.
    Restore,
    /// Restore beneath another place on the same client.
    RestoreElsewhere,
    /// Restore a client's savesets to another client.
    RestoreToOther,
    /// Check datastores, rebuild indexes and the catalog.
    Maintain,
    /// Enrol and revoke clients; make datastores, drives and tasks.
    Administer,
    /// Make recovery kits, decide who holds a key.
    Keys,
    /// Read and verify the audit log.
    Audit,
    /// Delete savesets: what is expired alone, anything else with a second person.
    Delete,
    /// Be the second person of acts that need one.
    Approve,
    /// Add, change and remove users, identity providers and API tokens; nobody gives more than they have.
    People,
    /// Read the figures for collectors, which name tasks, hosts and datastores.
    Metrics,
}

impl Right {
    pub const ALL: [Right; 14] = [
        Right::View,
        Right::Browse,
        Right::Backup,
        Right::Restore,
        Right::RestoreElsewhere,
        Right::RestoreToOther,
        Right::Maintain,
        Right::Administer,
        Right::Keys,
        Right::Audit,
        Right::Delete,
        Right::Approve,
        Right::People,
        Right::Metrics,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Right::View => "view",
            Right::Browse => "browse",
            Right::Backup => "backup",
            Right::Restore => "restore",
            Right::RestoreElsewhere => "restore-elsewhere",
            Right::RestoreToOther => "restore-to-other",
            Right::Maintain => "maintain",
            Right::Administer => "administer",
            Right::Keys => "keys",
            Right::Audit => "audit",
            Right::Delete => "delete",
            Right::Approve => "approve",
            Right::People => "people",
            Right::Metrics => "metrics",
        }
    }

    /// The inverse of [`Right::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Right::ALL.into_iter().find(|right| right.as_str() == text)
    }
}

/// What a right is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object<'a> {
    /// The whole suite: lists, settings.
    Suite,
    /// Everything that belongs to one client: its tasks, jobs, savesets.
    Client(&'a str),
    /// One datastore.
    Datastore(&'a str),
}

impl std::fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Object::Suite => f.write_str("the suite"),
            Object::Client(name) => write!(f, "client '{name}'"),
            Object::Datastore(name) => write!(f, "datastore '{name}'"),
        }
    }
}

/// A right, for everything or for one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Grant {
    pub right: Right,
    /// `None`: for every object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// Who asks. Made by the front-end that proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: String,
    grants: Vec<Grant>,
}

impl Principal {
    /// Root on the Server's own host, over a local socket: holds every right. All it does that
    /// changes something is in the audit log.
    pub fn local_root() -> Self {
        Self {
            name: "local:root".to_owned(),
            grants: Right::ALL.map(|right| Grant { right, client: None }).to_vec(),
        }
    }

    /// Somebody with exactly these grants.
    pub fn with_grants(name: impl Into<String>, grants: Vec<Grant>) -> Self {
        Self { name: name.into(), grants }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether this right is held for anything at all.
    pub fn holds(&self, right: Right) -> bool {
        self.grants.iter().any(|grant| grant.right == right)
    }

    /// Whether all that these grants allow is allowed here too.
    pub fn covers(&self, grants: &[Grant]) -> bool {
        grants.iter().all(|grant| match &grant.client {
            Some(client) => self.may(grant.right, Object::Client(client)),
            None => self.may(grant.right, Object::Suite),
        })
    }

    /// Whether a grant covers this. Nothing else does.
    pub fn may(&self, right: Right, object: Object<'_>) -> bool {
        self.grants.iter().any(|grant| {
            grant.right == right
                && match (&grant.client, object) {
                    (None, _) => true,
                    (Some(granted), Object::Client(asked)) => granted == asked,
                    (Some(_), Object::Suite | Object::Datastore(_)) => false,
                }
        })
    }

    /// [`Principal::may`] as an error that names who, what and the right that is missing.
    pub fn check(
        &self,
        right: Right,
        verb: &'static str,
        object: Object<'_>,
    ) -> Result<(), ServerError> {
        if self.may(right, object) {
            return Ok(());
        }
        Err(ServerError::Denied {
            who: self.name.clone(),
            verb,
            object: object.to_string(),
            right: right.as_str(),
        })
    }
}

/// What both of two lists of grants allow.
pub(crate) fn common(one: &[Grant], other: &[Grant]) -> Vec<Grant> {
    let mut both = Vec::new();
    for a in one {
        for b in other.iter().filter(|b| b.right == a.right) {
            let client = match (&a.client, &b.client) {
                (Some(a), Some(b)) if a != b => continue,
                (Some(client), _) | (None, Some(client)) => Some(client.clone()),
                (None, None) => None,
            };
            let grant = Grant { right: a.right, client };
            if !both.contains(&grant) {
                both.push(grant);
            }
        }
    }
    both
}

/// The person behind the name of a principal: a user is the same person with each of the user's API tokens.
/// `None` for a token that belongs to nobody: whoever made it may stand behind it.
pub(crate) fn person_of(name: &str) -> Option<&str> {
    let person = name.split_once('/').map_or(name, |(person, _)| person);
    (!person.starts_with("api-token:")).then_some(person)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(right: Right, client: Option<&str>) -> Principal {
        Principal::with_grants("test", vec![Grant { right, client: client.map(str::to_owned) }])
    }

    #[test]
    fn nothing_is_allowed_without_a_grant_and_no_right_implies_another() {
        let nobody = Principal::with_grants("nobody", Vec::new());
        for right in Right::ALL {
            assert!(!nobody.may(right, Object::Suite));
            assert!(Principal::local_root().may(right, Object::Client("a")));
            for held in Right::ALL {
                assert_eq!(with(held, None).may(right, Object::Client("a")), held == right);
            }
        }
    }

    #[test]
    fn a_users_tokens_are_the_user_and_a_token_of_nobody_is_no_person() {
        assert_eq!(person_of("user:anna"), Some("user:anna"));
        assert_eq!(person_of("user:anna/api-token:laptop"), Some("user:anna"));
        assert_eq!(person_of("local:root"), Some("local:root"));
        assert_eq!(person_of("api-token:ci"), None);
    }

    #[test]
    fn a_grant_for_one_client_reaches_no_other_and_nothing_wider() {
        let one = with(Right::Restore, Some("alpha"));
        assert!(one.may(Right::Restore, Object::Client("alpha")));
        assert!(!one.may(Right::Restore, Object::Client("alpha2")));
        assert!(!one.may(Right::Restore, Object::Suite));
        assert!(!one.may(Right::Restore, Object::Datastore("alpha")));
        let error = one
            .check(Right::RestoreToOther, "restore to another client", Object::Client("alpha"))
            .unwrap_err();
        assert_eq!(error.kind(), simsim_model::Kind::Denied);
        assert!(error.to_string().contains("restore-to-other"), "{error}");
    }

    #[test]
    fn a_token_and_its_user_together_allow_what_both_do_and_no_more() {
        let grant =
            |right, client: Option<&str>| Grant { right, client: client.map(str::to_owned) };
        let user = [grant(Right::View, None), grant(Right::Backup, Some("web"))];
        let token = [
            grant(Right::View, Some("db")),
            grant(Right::Backup, None),
            grant(Right::Backup, Some("db")),
            grant(Right::Keys, None),
        ];
        let both = [grant(Right::View, Some("db")), grant(Right::Backup, Some("web"))];
        assert_eq!(common(&user, &token), both);
        let who = Principal::with_grants("x", user.to_vec());
        assert!(who.covers(&both) && !who.covers(&token) && who.covers(&[]));
        assert!(!with(Right::View, Some("web")).covers(&[grant(Right::View, None)]));
    }
}
