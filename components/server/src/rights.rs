//! Who may do what. Default deny: a principal holds grants, and a verb that no grant covers is
//! refused and written down.
//!
//! To restore one client's data to another client is a right of its own, and so is a restore
//! beneath another place than the original one: holding `restore` gives neither.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::{Job, JobKind, Saveset, TaskSettings, Within};

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

    /// A job of a task or, without a task, of its client. What a device does on a datastore is of nobody who holds a
    /// part.
    pub(crate) fn job(job: &'a Job) -> Self {
        match job.kind {
            kind if kind.is_on_datastore() => Object::Suite,
            JobKind::Command => Object::Client(&job.client_name),
            _ => Object::Task { client: &job.client_name, task: &job.task_name },
        }
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

/// A right, for everything, for one client, or for one task of a client. One for a location or a media pool reaches nothing
/// by itself, since what belongs there now has grants of its own; it says that what comes there later will be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Grant {
    pub right: Right,
    /// `None`: for every client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A task of that client; none: all that belongs to the client. Without a client it is for nothing: names of tasks are
    /// given again, and savesets outlive their task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

impl Grant {
    /// This right, for everything.
    pub const fn of(right: Right) -> Self {
        Self { right, client: None, task: None, location: None, pool: None }
    }

    /// Of some right, for what belongs to this pool.
    pub(crate) fn of_pool(pool: &str) -> Self {
        Self { pool: Some(pool.to_owned()), ..Self::of(Right::View) }
    }

    /// Of some right, for what stands in this location.
    pub(crate) fn of_location(location: &str) -> Self {
        Self { location: Some(location.to_owned()), ..Self::of(Right::View) }
    }

    /// Whether it is for a place, whatever belongs there.
    pub const fn is_for_place(&self) -> bool {
        self.location.is_some() || self.pool.is_some()
    }

    pub const fn is_for_all(&self) -> bool {
        self.client.is_none() && self.task.is_none() && !self.is_for_place()
    }
}

/// Root on the Server's own host.
pub(crate) const LOCAL_ROOT: &str = "local:root";

/// Who asks. Made by the front-end that proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: String,
    grants: Vec<Grant>,
    held: HashMap<Right, Held>,
    /// Those of the grants that are for a place.
    for_places: HashSet<Grant>,
}

/// For what somebody holds a right: the same as the grants say, quick to look up. Lists are of thousands, and so may be
/// the clients of a location.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Held {
    all: bool,
    clients: HashSet<String>,
    /// Tasks, each with its client.
    tasks: HashSet<(String, String)>,
    /// Whose tasks these are.
    of_tasks: HashSet<String>,
}

impl Principal {
    /// Root on the Server's own host, over a local socket: holds every right. All it does that
    /// changes something is in the audit log.
    pub fn local_root() -> Self {
        Self::with_grants(LOCAL_ROOT, Right::ALL.map(Grant::of).to_vec())
    }

    /// Somebody with exactly these grants.
    pub fn with_grants(name: impl Into<String>, grants: Vec<Grant>) -> Self {
        let mut held: HashMap<Right, Held> = HashMap::new();
        let mut for_places = HashSet::new();
        for grant in &grants {
            let (client, task) = (grant.client.clone(), grant.task.clone());
            if grant.is_for_place() {
                for_places.insert(grant.clone());
                continue;
            }
            if client.is_none() && task.is_some() {
                continue;
            }
            let held = held.entry(grant.right).or_default();
            match (client, task) {
                (Some(client), Some(task)) => {
                    held.of_tasks.insert(client.clone());
                    held.tasks.insert((client, task));
                }
                (Some(client), None) => drop(held.clients.insert(client)),
                (None, _) => held.all = true,
            }
        }
        Self { name: name.into(), grants, held, for_places }
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

    /// Whether all that these grants allow is allowed here too, now and when something moves. A place is covered by everything
    /// and by itself only: who holds all that is there now may not hold what comes.
    pub fn covers(&self, grants: &[Grant]) -> bool {
        grants.iter().all(|grant| match (&grant.client, &grant.task) {
            _ if grant.is_for_place() => {
                self.may(grant.right, Object::Suite) || self.for_places.contains(grant)
            }
            (None, None) => self.may(grant.right, Object::Suite),
            (Some(client), None) => self.may(grant.right, Object::Client(client)),
            (Some(client), Some(task)) => self.may(grant.right, Object::Task { client, task }),
            // For nothing.
            (None, Some(_)) => true,
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
                        || (!held.tasks.is_empty()
                            && held.tasks.contains(&(client.to_owned(), task.to_owned())))
                }
            }
    }

    /// Whether a grant covers this client, or a task of it.
    pub(crate) fn reaches(&self, right: Right, client: &str) -> bool {
        self.may(right, Object::Client(client))
            || self.held.get(&right).is_some_and(|held| held.of_tasks.contains(client))
    }

    /// Rights that are held for a place and not for this yet.
    pub(crate) fn gained_by(&self, place: &Grant, object: Object<'_>) -> Vec<Right> {
        let held = |right: &Right| {
            let place = Grant { right: *right, ..place.clone() };
            self.for_places.contains(&place) && !self.may(*right, object)
        };
        Right::ALL.into_iter().filter(held).collect()
    }

    /// Of which clients and tasks rows of lists are shown; `None`: of all.
    pub(crate) fn within(&self, right: Right) -> Option<Within> {
        let Some(held) = self.held.get(&right) else { return Some(Within::default()) };
        (!held.all).then(|| Within {
            clients: held.clients.iter().cloned().collect(),
            tasks: held.tasks.iter().cloned().collect(),
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
        // Whoever counts up numbers and ids does not learn by it what others have.
        let object = match object {
            Object::Task { client, .. }
                if !Right::ALL.into_iter().any(|right| self.reaches(right, client)) =>
            {
                "something of another client".to_owned()
            }
            object => object.to_string(),
        };
        Err(ServerError::Denied { who: self.name.clone(), verb, object, right: right.as_str() })
    }
}

/// What both of two lists of grants allow: what is in one of them and covered by the other.
pub(crate) fn common(one: &[Grant], other: &[Grant]) -> Vec<Grant> {
    let sides = [one, other].map(|grants| Principal::with_grants("", grants.to_vec()));
    let [a, b] = &sides;
    let mut seen = HashSet::new();
    let both = a.grants.iter().filter(|grant| b.covers(std::slice::from_ref(grant)));
    let both = both.chain(b.grants.iter().filter(|grant| a.covers(std::slice::from_ref(grant))));
    both.filter(|grant| seen.insert(*grant)).cloned().collect()
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
        let both = [grant(Right::Backup, Some("web")), grant(Right::View, Some("db"))];
        assert_eq!(common(&user, &token), both);
        let who = Principal::with_grants("x", user.to_vec());
        assert!(who.covers(&both) && !who.covers(&token) && who.covers(&[]));
        assert!(!with(Right::View, Some("web")).covers(&[grant(Right::View, None)]));
        // One is for a client and the other for a task of it: the task is left.
        let task = |client, task: &str| Grant {
            task: Some(task.to_owned()),
            ..grant(Right::Backup, Some(client))
        };
        let home = task("web", "home");
        let of_web = [grant(Right::Backup, Some("web"))];
        assert_eq!(common(&of_web, std::slice::from_ref(&home)), std::slice::from_ref(&home));
        for other in [task("web", "etc"), task("db", "home"), grant(Right::Backup, Some("db"))] {
            assert!(common(std::slice::from_ref(&home), &[other]).is_empty());
        }
    }

    #[test]
    fn a_place_is_given_by_who_holds_everything_or_the_place_and_reaches_nothing_by_itself() {
        let text = |name: &str| Some(name.to_owned());
        let berlin = Grant { location: text("berlin"), ..Grant::of(Right::View) };
        let gold = Grant { pool: text("gold"), ..Grant::of(Right::View) };
        for place in [&berlin, &gold] {
            let of_place = Principal::with_grants("x", vec![place.clone()]);
            assert!(
                !of_place.holds(Right::View) && !of_place.may(Right::View, Object::Client("a"))
            );
            assert!(of_place.within(Right::View).is_some_and(|within| within.is_empty()));
            assert!(of_place.covers(std::slice::from_ref(place)));
            assert!(with(Right::View, None).covers(std::slice::from_ref(place)));
            let with_all_that_is_there = with(Right::View, Some("a"));
            assert!(!with_all_that_is_there.covers(std::slice::from_ref(place)));
            assert!(!of_place.covers(&[Grant { right: Right::Backup, ..place.clone() }]));
            let all = [Grant::of(Right::View)];
            assert_eq!(common(&all, std::slice::from_ref(place)), std::slice::from_ref(place));
            assert!(
                common(
                    &[Grant { client: text("a"), ..Grant::of(Right::View) }],
                    std::slice::from_ref(place)
                )
                .is_empty()
            );
        }
        assert!(common(&[berlin], &[gold]).is_empty());
    }

    #[test]
    fn a_grant_for_a_task_reaches_what_is_of_it_and_not_its_client() {
        let text = |name: &str| Some(name.to_owned());
        let grant = Grant { client: text("web"), task: text("home"), ..Grant::of(Right::Restore) };
        let one = Principal::with_grants("x", vec![grant.clone()]);
        let of = |client, task| one.may(Right::Restore, Object::Task { client, task });
        assert!(of("web", "home") && !of("db", "home"), "a task of this name of another host");
        assert!(!of("web", "home2") && !of("web", "") && !of("home", "web"));
        assert!(!one.may(Right::Restore, Object::Client("web")));
        assert!(!one.may(Right::Restore, Object::Suite));
        assert!(!one.may(Right::View, Object::Task { client: "web", task: "home" }));
        let web = with(Right::Restore, Some("web"));
        assert!(web.may(Right::Restore, Object::Task { client: "web", task: "home" }));
        for (whose, covers) in
            [(&one, true), (&web, true), (&with(Right::Restore, Some("db")), false)]
        {
            assert_eq!(whose.covers(std::slice::from_ref(&grant)), covers);
        }
        assert!(!one.covers(&[Grant { task: None, ..grant.clone() }]), "wider");
        let of_nobody = Principal::with_grants("x", vec![Grant { client: None, ..grant }]);
        assert!(!of_nobody.holds(Right::Restore), "a name alone is no task");
        assert!(of_nobody.within(Right::Restore).is_some_and(|within| within.is_empty()));
    }
}
