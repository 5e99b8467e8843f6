//! Who may do what. Default deny: a principal holds grants, and a verb that no grant covers is
//! refused and written down.
//!
//! To restore one client's data to another client is a right of its own, and so is a restore
//! beneath another place than the original one: holding `restore` gives neither.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::{Job, Saveset, TaskSettings, Within};

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
    /// Everything that belongs to one client.
    Client(&'a str),
    /// What belongs to one task of a client: its jobs, its savesets.
    Task { client: &'a str, task: &'a str },
    /// One datastore.
    Datastore(&'a str),
}

impl<'a> Object<'a> {
    pub(crate) fn saveset(saveset: &'a Saveset) -> Self {
        Object::Task { client: &saveset.client_name, task: &saveset.task_name }
    }

    /// A job of a task; one without a task belongs to its client.
    pub(crate) fn job(job: &'a Job) -> Self {
        Object::Task { client: &job.client_name, task: &job.task_name }
    }

    pub(crate) fn task(task: &'a TaskSettings) -> Self {
        Object::Task { client: &task.client, task: &task.name }
    }
}

impl std::fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Object::Suite => f.write_str("the suite"),
            Object::Client(name) | Object::Task { client: name, task: "" } => {
                write!(f, "client '{name}'")
            }
            Object::Task { client, task } => write!(f, "task '{task}' of client '{client}'"),
            Object::Datastore(name) => write!(f, "datastore '{name}'"),
        }
    }
}

/// A right, for everything, for one client or for one task. With both it is for that task as long as it is of that client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Grant {
    pub right: Right,
    /// `None`: for every client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `None`: for every task, and for what belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

impl Grant {
    /// This right, for everything.
    pub const fn of(right: Right) -> Self {
        Self { right, client: None, task: None }
    }
}

/// Who asks. Made by the front-end that proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: String,
    grants: Vec<Grant>,
    held: HashMap<Right, Held>,
}

/// For what somebody holds a right: the same as the grants say, quick to look up. Lists are of thousands, and so may be
/// the clients of a location.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Held {
    all: bool,
    clients: HashSet<String>,
    tasks: HashSet<String>,
    /// Tasks of a client.
    both: HashSet<(String, String)>,
}

impl Principal {
    /// Root on the Server's own host, over a local socket: holds every right. All it does that
    /// changes something is in the audit log.
    pub fn local_root() -> Self {
        Self::with_grants("local:root", Right::ALL.map(Grant::of).to_vec())
    }

    /// Somebody with exactly these grants.
    pub fn with_grants(name: impl Into<String>, grants: Vec<Grant>) -> Self {
        let mut held: HashMap<Right, Held> = HashMap::new();
        for grant in &grants {
            let held = held.entry(grant.right).or_default();
            match (grant.client.clone(), grant.task.clone()) {
                (None, None) => held.all = true,
                (Some(client), None) => drop(held.clients.insert(client)),
                (None, Some(task)) => drop(held.tasks.insert(task)),
                (Some(client), Some(task)) => drop(held.both.insert((client, task))),
            }
        }
        Self { name: name.into(), grants, held }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether this right is held for anything at all.
    pub fn holds(&self, right: Right) -> bool {
        self.held.contains_key(&right)
    }

    /// Whether all that these grants allow is allowed here too.
    pub fn covers(&self, grants: &[Grant]) -> bool {
        grants.iter().all(|grant| match (&grant.client, &grant.task) {
            (None, None) => self.may(grant.right, Object::Suite),
            (Some(client), None) => self.may(grant.right, Object::Client(client)),
            (Some(client), Some(task)) => self.may(grant.right, Object::Task { client, task }),
            // Of whichever client it is.
            (None, Some(task)) => self
                .held
                .get(&grant.right)
                .is_some_and(|held| held.all || held.tasks.contains(task)),
        })
    }

    /// Whether a grant covers this. Nothing else does.
    pub fn may(&self, right: Right, object: Object<'_>) -> bool {
        let Some(held) = self.held.get(&right) else { return false };
        held.all
            || match object {
                Object::Suite | Object::Datastore(_) => false,
                Object::Client(client) => held.clients.contains(client),
                Object::Task { client, task } => {
                    held.clients.contains(client)
                        || held.tasks.contains(task)
                        || (!held.both.is_empty()
                            && held.both.contains(&(client.to_owned(), task.to_owned())))
                }
            }
    }

    /// Of which clients and tasks rows of lists are shown; `None`: of all.
    pub(crate) fn within(&self, right: Right) -> Option<Within> {
        let Some(held) = self.held.get(&right) else { return Some(Within::default()) };
        (!held.all).then(|| Within {
            clients: held.clients.iter().cloned().collect(),
            tasks: held.tasks.iter().cloned().collect(),
            both: held.both.iter().cloned().collect(),
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
    /// The narrower of two; `None`: they have nothing in common.
    fn narrower(a: &Option<String>, b: &Option<String>) -> Option<Option<String>> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            (Some(name), _) | (None, Some(name)) => Some(Some(name.clone())),
            (None, None) => Some(None),
        }
    }
    let mut seen = HashSet::new();
    let mut both = Vec::new();
    for a in one {
        for b in other.iter().filter(|b| b.right == a.right) {
            let Some(client) = narrower(&a.client, &b.client) else { continue };
            let Some(task) = narrower(&a.task, &b.task) else { continue };
            let grant = Grant { right: a.right, client, task };
            if seen.insert(grant.clone()) {
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
        let client = client.map(str::to_owned);
        Principal::with_grants("test", vec![Grant { client, ..Grant::of(right) }])
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
        let grant = |right, client: Option<&str>| Grant {
            client: client.map(str::to_owned),
            ..Grant::of(right)
        };
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
        // One is for a client and the other for a task: what is left is the task of that client.
        let task = |right, task: &str| Grant { task: Some(task.to_owned()), ..Grant::of(right) };
        let left = common(&[grant(Right::Backup, Some("web"))], &[task(Right::Backup, "home")]);
        let both = Principal::with_grants("x", left);
        let of = |client, task| both.may(Right::Backup, Object::Task { client, task });
        assert!(of("web", "home") && !of("web", "etc") && !of("db", "home"));
        assert!(!both.may(Right::Backup, Object::Client("web")));
        assert!(common(&[task(Right::Backup, "a")], &[task(Right::Backup, "b")]).is_empty());
    }

    #[test]
    fn a_grant_for_a_task_reaches_what_is_of_it_and_not_its_client() {
        let grant = Grant { task: Some("home".to_owned()), ..Grant::of(Right::Restore) };
        let one = Principal::with_grants("x", vec![grant.clone()]);
        let of = |client, task| one.may(Right::Restore, Object::Task { client, task });
        assert!(of("web", "home") && of("db", "home"));
        assert!(!of("web", "home2") && !of("home", "") && !of("home", "web"));
        assert!(!one.may(Right::Restore, Object::Client("home")));
        assert!(!one.may(Right::Restore, Object::Suite));
        assert!(!one.may(Right::View, Object::Task { client: "web", task: "home" }));
        assert!(one.covers(std::slice::from_ref(&grant)));
        let of_web = Grant { client: Some("web".to_owned()), ..grant.clone() };
        assert!(one.covers(&[of_web]), "narrower");
        let web = with(Right::Restore, Some("web"));
        assert!(web.may(Right::Restore, Object::Task { client: "web", task: "home" }));
        assert!(!web.covers(&[grant]), "it may be a task of another client");
    }
}
