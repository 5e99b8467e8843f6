//! Roles: named sets of rights, and how grants of roles are written down.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use simsim_catalog::Places;

use crate::ServerError;
use crate::rights::{Grant, Right};

/// A named set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Superuser,
    /// Sets the suite up and runs it; neither hands out keys nor restores one client's data to another.
    Administrator,
    /// Runs backups and checks, sees to it that they go well.
    Operator,
    /// Runs backups.
    Backup,
    /// Looks into savesets and brings data back to the client that it came from.
    Restore,
    /// Sees what was done and by whom; does nothing.
    Auditor,
}

impl Role {
    pub const ALL: [Role; 6] = [
        Role::Superuser,
        Role::Administrator,
        Role::Operator,
        Role::Backup,
        Role::Restore,
        Role::Auditor,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Superuser => "superuser",
            Role::Administrator => "administrator",
            Role::Operator => "operator",
            Role::Backup => "backup",
            Role::Restore => "restore",
            Role::Auditor => "auditor",
        }
    }

    /// The inverse of [`Role::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// What it allows.
    pub const fn rights(self) -> &'static [Right] {
        match self {
            Role::Superuser => &Right::ALL,
            Role::Administrator => &[
                Right::View,
                Right::Browse,
                Right::Backup,
                Right::Restore,
                Right::RestoreElsewhere,
                Right::Maintain,
                Right::Administer,
                Right::Audit,
                Right::Delete,
                Right::Approve,
                Right::People,
                Right::Metrics,
            ],
            Role::Operator => &[Right::View, Right::Backup, Right::Maintain, Right::Metrics],
            Role::Backup => &[Right::View, Right::Backup],
            Role::Restore => &[Right::View, Right::Browse, Right::Restore, Right::RestoreElsewhere],
            Role::Auditor => &[Right::View, Right::Audit, Right::Metrics],
        }
    }
}

/// A role or a single right, for everything, or for what belongs to one thing of those below: as it is asked for, kept
/// and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Granted {
    /// Either this
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// or this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Right>,
    /// Only for what belongs to this client; none: for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Only for what belongs to the clients that stand in this location, or within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Only for this task: its jobs and savesets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Only for the tasks of this media pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// What a grant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope<'g> {
    All,
    Client(&'g str),
    Location(&'g str),
    Task(&'g str),
    Pool(&'g str),
}

/// Grants of one user or token.
const GRANTS_MAX: usize = 256;

impl Granted {
    fn rights(&self) -> Result<&[Right], ServerError> {
        match (self.role, &self.right) {
            (Some(role), None) => Ok(role.rights()),
            (None, Some(right)) => Ok(std::slice::from_ref(right)),
            (None, None) | (Some(_), Some(_)) => Err(ServerError::invalid(
                "a grant names either a role or a right, such as {\"role\": \"operator\"}",
            )),
        }
    }

    /// What a line names, and for what: `operator`, `restore:web`, `restore@berlin`, `backup:task/home`,
    /// `backup:pool/gold`.
    pub fn split(line: &str) -> (&str, Self) {
        let name = |name: &str| Some(name.trim().to_owned());
        let (what, scope) = match (line.split_once(':'), line.split_once('@')) {
            (Some((what, of)), _) => (
                what,
                match of.trim().split_once('/') {
                    Some(("task", task)) => Self { task: name(task), ..Self::default() },
                    Some(("pool", pool)) => Self { pool: name(pool), ..Self::default() },
                    _ => Self { client: name(of), ..Self::default() },
                },
            ),
            (None, Some((what, location))) => {
                (what, Self { location: name(location), ..Self::default() })
            }
            (None, None) => (line, Self::default()),
        };
        (what.trim(), scope)
    }

    /// What [`Granted::split`] reads.
    pub fn line(&self) -> String {
        let what = match (self.role, self.right) {
            (Some(role), _) => role.as_str(),
            (None, Some(right)) => right.as_str(),
            (None, None) => "",
        };
        match self.scope() {
            Ok(Scope::Client(client)) => format!("{what}:{client}"),
            Ok(Scope::Location(location)) => format!("{what}@{location}"),
            Ok(Scope::Task(task)) => format!("{what}:task/{task}"),
            Ok(Scope::Pool(pool)) => format!("{what}:pool/{pool}"),
            Ok(Scope::All) | Err(_) => what.to_owned(),
        }
    }

    /// What it is for. `Invalid` where it names two things.
    pub(crate) fn scope(&self) -> Result<Scope<'_>, ServerError> {
        let all = [
            self.client.as_deref().map(Scope::Client),
            self.location.as_deref().map(Scope::Location),
            self.task.as_deref().map(Scope::Task),
            self.pool.as_deref().map(Scope::Pool),
        ];
        let mut named = all.into_iter().flatten();
        let scope = named.next().unwrap_or(Scope::All);
        match named.next() {
            None => Ok(scope),
            Some(_) => Err(ServerError::invalid(
                "a grant is for everything or for one of client, location, task and pool",
            )),
        }
    }
}

/// What a list of grants allows as hosts stand and tasks belong now, each right once. A location, a task or a pool that
/// is not there holds nobody and nothing. A place itself comes before what belongs there.
pub(crate) fn unfold(granted: &[Granted], places: &Places) -> Result<Vec<Grant>, ServerError> {
    if granted.len() > GRANTS_MAX {
        return Err(ServerError::invalid(format!("at most {GRANTS_MAX} grants")));
    }
    let mut grants = Vec::new();
    let mut seen = HashSet::new();
    for one in granted {
        let client = |name: &str| Grant { client: Some(name.to_owned()), ..Grant::of(Right::View) };
        // Of the client that it is of now: what another one left under this name stays out of reach.
        let task = |name: &str| {
            let of = places.tasks.get(name)?;
            Some(Grant { task: Some(name.to_owned()), ..client(of) })
        };
        let each: Vec<Grant> = match one.scope()? {
            Scope::All => vec![Grant::of(Right::View)],
            Scope::Client(name) => vec![client(name)],
            Scope::Task(name) => task(name).into_iter().collect(),
            Scope::Location(name) => {
                let place = Grant { location: Some(name.to_owned()), ..Grant::of(Right::View) };
                let there = places.locations.get(name).into_iter().flatten();
                std::iter::once(place).chain(there.map(|name| client(name))).collect()
            }
            Scope::Pool(name) => {
                let place = Grant { pool: Some(name.to_owned()), ..Grant::of(Right::View) };
                let there = places.pools.get(name).into_iter().flatten();
                std::iter::once(place).chain(there.filter_map(|name| task(name))).collect()
            }
        };
        for right in one.rights()? {
            for grant in &each {
                let grant = Grant { right: *right, ..grant.clone() };
                if seen.insert(grant.clone()) {
                    grants.push(grant);
                }
            }
        }
    }
    Ok(grants)
}

/// Refuses a grant for a client, a location, a task or a pool that is not there.
pub(crate) fn check_scopes(granted: &[Granted], places: &Places) -> Result<(), ServerError> {
    for one in granted {
        let (noun, name, is_there) = match one.scope()? {
            Scope::All => continue,
            Scope::Client(name) => ("client", name, places.clients.contains(name)),
            Scope::Location(name) => ("location", name, places.locations.contains_key(name)),
            Scope::Task(name) => ("task", name, places.tasks.contains_key(name)),
            Scope::Pool(name) => ("pool", name, places.pools.contains_key(name)),
        };
        if !is_there {
            return Err(ServerError::not_found(noun, name));
        }
    }
    Ok(())
}

/// Whether a kept document of grants names this.
pub(crate) fn names(document: &str, scope: Scope<'_>) -> bool {
    let granted: Vec<Granted> = serde_json::from_str(document).unwrap_or_default();
    granted.iter().any(|one| one.scope().is_ok_and(|of| of == scope))
}

/// For the audit log: `operator, right backup for 'web'`.
pub(crate) fn in_words(granted: &[Granted]) -> String {
    let mut words: Vec<String> = Vec::new();
    for one in granted {
        let what = match (one.role, one.right) {
            (Some(role), _) => role.as_str().to_owned(),
            (None, Some(right)) => format!("right {}", right.as_str()),
            (None, None) => continue,
        };
        words.push(match one.scope() {
            Ok(Scope::Client(client)) => format!("{what} for '{client}'"),
            Ok(Scope::Location(location)) => format!("{what} in '{location}'"),
            Ok(Scope::Task(task)) => format!("{what} for task '{task}'"),
            Ok(Scope::Pool(pool)) => format!("{what} for pool '{pool}'"),
            Ok(Scope::All) | Err(_) => what,
        });
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_for_a_location_is_one_for_each_client_that_stands_there_now() {
        let granted = [Granted {
            role: Some(Role::Backup),
            location: Some("berlin".to_owned()),
            ..Granted::default()
        }];
        let there = ("berlin".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let places = Places { locations: [there].into(), ..Places::default() };
        let grants = unfold(&granted, &places).unwrap();
        let of =
            |right, client: &str| Grant { client: Some(client.to_owned()), ..Grant::of(right) };
        let berlin = |right| Grant { location: Some("berlin".to_owned()), ..Grant::of(right) };
        assert_eq!(
            grants,
            [
                berlin(Right::View),
                of(Right::View, "a"),
                of(Right::View, "b"),
                berlin(Right::Backup),
                of(Right::Backup, "a"),
                of(Right::Backup, "b")
            ]
        );
        let nobody = unfold(&granted, &Places::default()).unwrap();
        assert_eq!(nobody, [berlin(Right::View), berlin(Right::Backup)]);
        let web = [role(Role::Restore, Some("web"))];
        let gone = check_scopes(&web, &places).unwrap_err();
        assert_eq!(gone.to_string(), "there is no client 'web'");
        let known = Places { clients: ["web".to_owned()].into(), ..Places::default() };
        assert!(check_scopes(&web, &known).is_ok());
        assert!(check_scopes(&granted, &places).is_ok());
        assert!(check_scopes(&granted, &Places::default()).is_err());
        let both = [Granted { client: Some("a".to_owned()), ..granted[0].clone() }];
        assert!(unfold(&both, &places).is_err());
        assert_eq!(in_words(&granted), "backup in 'berlin'");
    }

    #[test]
    fn a_grant_for_a_pool_is_one_for_each_task_that_belongs_to_it_now() {
        let text = |name: &str| Some(name.to_owned());
        let pool = Granted { role: Some(Role::Backup), pool: text("gold"), ..Granted::default() };
        let task = Granted { right: Some(Right::View), task: text("b"), ..Granted::default() };
        let of_gold = ("gold".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let tasks = [("a", "web"), ("b", "db"), ("c", "web")];
        let tasks = tasks.map(|(task, client)| (task.to_owned(), client.to_owned())).into();
        let places = Places { pools: [of_gold].into(), tasks, ..Places::default() };
        let of = |right, task: &str| Grant {
            client: places.tasks.get(task).cloned(),
            task: text(task),
            ..Grant::of(right)
        };
        let granted = [pool.clone(), task.clone()];
        let gold = |right| Grant { pool: text("gold"), ..Grant::of(right) };
        let all = [
            gold(Right::View),
            of(Right::View, "a"),
            of(Right::View, "b"),
            gold(Right::Backup),
            of(Right::Backup, "a"),
            of(Right::Backup, "b"),
        ];
        assert_eq!(unfold(&granted, &places).unwrap(), all);
        let nothing = unfold(&granted, &Places::default()).unwrap();
        assert_eq!(nothing, [gold(Right::View), gold(Right::Backup)]);
        assert!(check_scopes(&granted, &places).is_ok());
        for one in &granted {
            assert!(check_scopes(std::slice::from_ref(one), &Places::default()).is_err());
        }
        assert_eq!(in_words(&granted), "backup for pool 'gold', right view for task 'b'");
        let document = serde_json::to_string(&granted).unwrap();
        assert!(names(&document, Scope::Pool("gold")) && names(&document, Scope::Task("b")));
        assert!(!names(&document, Scope::Task("gold")) && !names(&document, Scope::Pool("b")));
        let both = Granted { client: text("web"), ..task };
        assert!(unfold(&[both], &places).is_err());
    }

    #[test]
    fn a_grant_is_a_line() {
        for line in
            ["operator", "backup:web", "backup@berlin", "backup:task/home", "backup:pool/gold"]
        {
            let (what, scope) = Granted::split(line);
            let granted = Granted { role: Role::parse(what), ..scope };
            assert!(granted.role.is_some(), "{line}");
            assert_eq!(granted.line(), line);
        }
    }

    fn role(role: Role, client: Option<&str>) -> Granted {
        Granted { role: Some(role), client: client.map(str::to_owned), ..Granted::default() }
    }

    #[test]
    fn roles_are_what_their_names_say_and_only_one_has_everything() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert!(role.rights().contains(&Right::View), "{role:?}");
            let everything = role.rights().len() == Right::ALL.len();
            assert_eq!(everything, role == Role::Superuser);
        }
        assert!(!Role::Auditor.rights().contains(&Right::Backup));
        assert!(!Role::Operator.rights().contains(&Right::Browse));
        assert!(!Role::Administrator.rights().contains(&Right::RestoreToOther));
        assert!(!Role::Administrator.rights().contains(&Right::Keys));
    }

    #[test]
    fn the_page_of_roles_and_rights_is_as_the_code_is() {
        let page = include_str!("../../../../docs/reference/users.md");
        let row = |first: &str| {
            let begin = format!("| `{first}` | ");
            page.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix(" |"))
        };
        for role in Role::ALL {
            let rights: Vec<String> =
                role.rights().iter().map(|right| format!("`{}`", right.as_str())).collect();
            assert_eq!(row(role.as_str()), Some(&*rights.join(" ")), "{role:?}");
        }
        let rights = page.split_once("## Rights").unwrap().1;
        for right in Right::ALL {
            assert!(rights.contains(&format!("| `{}` | ", right.as_str())), "{right:?}");
        }
        let rows = rights.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, Right::ALL.len(), "the page has other rights");
    }

    #[test]
    fn a_grant_is_a_role_or_a_right_and_unfolds_to_each_right_once() {
        let grants =
            unfold(&[role(Role::Backup, None), role(Role::Operator, None)], &Places::default())
                .unwrap();
        let rights: Vec<Right> = grants.iter().map(|grant| grant.right).collect();
        assert_eq!(rights, [Right::View, Right::Backup, Right::Maintain, Right::Metrics]);
        let one = unfold(&[role(Role::Backup, Some("web"))], &Places::default()).unwrap();
        assert!(one.iter().all(|grant| grant.client.as_deref() == Some("web")));
        let right = Granted { right: Some(Right::RestoreToOther), ..Granted::default() };
        assert_eq!(unfold(std::slice::from_ref(&right), &Places::default()).unwrap().len(), 1);
        let both = Granted { role: Some(Role::Backup), ..right.clone() };
        for wrong in [both, Granted::default()] {
            assert_eq!(
                unfold(&[wrong], &Places::default()).unwrap_err().kind(),
                simsim_model::Kind::Invalid
            );
        }
        assert!(unfold(&vec![right.clone(); GRANTS_MAX + 1], &Places::default()).is_err());
        assert_eq!(
            in_words(&[role(Role::Backup, Some("web")), right]),
            "backup for 'web', right restore-to-other"
        );
        assert_eq!(in_words(&[]), "nothing");
        let text = serde_json::to_string(&role(Role::Backup, None)).unwrap();
        assert_eq!(text, r#"{"role":"backup"}"#);
    }
}
