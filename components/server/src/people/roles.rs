//! Roles: named sets of rights, and how grants of roles are written down.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use simsim_catalog::ClientPlaces;

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

/// A role or a single right, for everything or for one client: as it is asked for, kept and shown.
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
}

/// What a list of grants allows as hosts stand now, each right once. A location that is not there holds
/// nobody.
pub(crate) fn unfold(
    granted: &[Granted],
    places: &ClientPlaces,
) -> Result<Vec<Grant>, ServerError> {
    if granted.len() > GRANTS_MAX {
        return Err(ServerError::invalid(format!("at most {GRANTS_MAX} grants")));
    }
    let mut grants = Vec::new();
    let mut seen = HashSet::new();
    for one in granted {
        let clients: Vec<Option<String>> = match (&one.client, &one.location) {
            (Some(_), Some(_)) => {
                let text = "a grant is for a client or for a location, not for both";
                return Err(ServerError::invalid(text));
            }
            (client, None) => vec![client.clone()],
            (None, Some(location)) => {
                let there = places.get(location).into_iter().flatten();
                there.map(|client| Some(client.clone())).collect()
            }
        };
        for right in one.rights()? {
            for client in &clients {
                if seen.insert((*right, client.clone())) {
                    grants.push(Grant { right: *right, client: client.clone() });
                }
            }
        }
    }
    Ok(grants)
}

/// Refuses a grant for a location that is not there.
pub(crate) fn check_locations(
    granted: &[Granted],
    places: &ClientPlaces,
) -> Result<(), ServerError> {
    let mut named = granted.iter().filter_map(|one| one.location.as_deref());
    match named.find(|name| !places.contains_key(*name)) {
        Some(name) => Err(ServerError::not_found("location", name)),
        None => Ok(()),
    }
}

/// The locations that a kept document of grants names.
pub(crate) fn places_named(document: &str) -> Vec<String> {
    let granted: Vec<Granted> = serde_json::from_str(document).unwrap_or_default();
    granted.into_iter().filter_map(|one| one.location).collect()
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
        words.push(match (&one.client, &one.location) {
            (Some(client), _) => format!("{what} for '{client}'"),
            (None, Some(location)) => format!("{what} in '{location}'"),
            (None, None) => what,
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
        let places =
            ClientPlaces::from([("berlin".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        let grants = unfold(&granted, &places).unwrap();
        let of = |right, client: &str| Grant { right, client: Some(client.to_owned()) };
        assert_eq!(
            grants,
            [
                of(Right::View, "a"),
                of(Right::View, "b"),
                of(Right::Backup, "a"),
                of(Right::Backup, "b")
            ]
        );
        assert!(unfold(&granted, &ClientPlaces::new()).unwrap().is_empty());
        assert!(check_locations(&granted, &places).is_ok());
        assert!(check_locations(&granted, &ClientPlaces::new()).is_err());
        let both = [Granted { client: Some("a".to_owned()), ..granted[0].clone() }];
        assert!(unfold(&both, &places).is_err());
        assert_eq!(in_words(&granted), "backup in 'berlin'");
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
            unfold(&[role(Role::Backup, None), role(Role::Operator, None)], &ClientPlaces::new())
                .unwrap();
        let rights: Vec<Right> = grants.iter().map(|grant| grant.right).collect();
        assert_eq!(rights, [Right::View, Right::Backup, Right::Maintain, Right::Metrics]);
        let one = unfold(&[role(Role::Backup, Some("web"))], &ClientPlaces::new()).unwrap();
        assert!(one.iter().all(|grant| grant.client.as_deref() == Some("web")));
        let right = Granted { right: Some(Right::RestoreToOther), ..Granted::default() };
        assert_eq!(unfold(std::slice::from_ref(&right), &ClientPlaces::new()).unwrap().len(), 1);
        let both = Granted { role: Some(Role::Backup), ..right.clone() };
        for wrong in [both, Granted::default()] {
            assert_eq!(
                unfold(&[wrong], &ClientPlaces::new()).unwrap_err().kind(),
                simsim_model::Kind::Invalid
            );
        }
        assert!(unfold(&vec![right.clone(); GRANTS_MAX + 1], &ClientPlaces::new()).is_err());
        assert_eq!(
            in_words(&[role(Role::Backup, Some("web")), right]),
            "backup for 'web', right restore-to-other"
        );
        assert_eq!(in_words(&[]), "nothing");
        let text = serde_json::to_string(&role(Role::Backup, None)).unwrap();
        assert_eq!(text, r#"{"role":"backup"}"#);
    }
}
