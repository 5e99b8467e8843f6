//! Roles: named sets of rights, and how grants of roles are written down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
            ],
            Role::Operator => &[Right::View, Right::Backup, Right::Maintain],
            Role::Backup => &[Right::View, Right::Backup],
            Role::Restore => &[Right::View, Right::Browse, Right::Restore, Right::RestoreElsewhere],
            Role::Auditor => &[Right::View, Right::Audit],
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

/// What a list of grants allows, each right once.
pub(crate) fn unfold(granted: &[Granted]) -> Result<Vec<Grant>, ServerError> {
    if granted.len() > GRANTS_MAX {
        return Err(ServerError::invalid(format!("at most {GRANTS_MAX} grants")));
    }
    let mut grants: Vec<Grant> = Vec::new();
    for one in granted {
        for right in one.rights()? {
            let grant = Grant { right: *right, client: one.client.clone() };
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
    }
    Ok(grants)
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
        words.push(match &one.client {
            Some(client) => format!("{what} for '{client}'"),
            None => what,
        });
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let grants = unfold(&[role(Role::Backup, None), role(Role::Operator, None)]).unwrap();
        let rights: Vec<Right> = grants.iter().map(|grant| grant.right).collect();
        assert_eq!(rights, [Right::View, Right::Backup, Right::Maintain]);
        let one = unfold(&[role(Role::Backup, Some("web"))]).unwrap();
        assert!(one.iter().all(|grant| grant.client.as_deref() == Some("web")));
        let right = Granted { right: Some(Right::RestoreToOther), ..Granted::default() };
        assert_eq!(unfold(std::slice::from_ref(&right)).unwrap().len(), 1);
        let both = Granted { role: Some(Role::Backup), ..right.clone() };
        for wrong in [both, Granted::default()] {
            assert_eq!(unfold(&[wrong]).unwrap_err().kind(), simsim_model::Kind::Invalid);
        }
        assert!(unfold(&vec![right.clone(); GRANTS_MAX + 1]).is_err());
        assert_eq!(
            in_words(&[role(Role::Backup, Some("web")), right]),
            "backup for 'web', right restore-to-other"
        );
        assert_eq!(in_words(&[]), "nothing");
        let text = serde_json::to_string(&role(Role::Backup, None)).unwrap();
        assert_eq!(text, r#"{"role":"backup"}"#);
    }
}
