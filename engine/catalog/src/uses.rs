//! Who uses what, by name: so that nothing is removed that something else still names.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::{Optional, Session};

/// One name that an object names, and what for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// What the name is for, such as `subject` or `follow-up`.
    pub role: String,
    /// What it is the name of, such as `task`.
    pub noun: String,
    pub name: String,
}

impl Use {
    pub fn new(role: impl Into<String>, noun: impl Into<String>, name: impl Into<String>) -> Self {
        Self { role: role.into(), noun: noun.into(), name: name.into() }
    }
}

/// The noun of a name that may be a datastore's or a task's: which one is seen when it is used. A datastore goes first.
pub const DATASTORE_OR_TASK: &str = "datastore or task";

/// The nouns whose names the catalog can look up, each with its table and the column of the name.
const KNOWN: &[(&str, &str, &str)] = &[
    ("task", "tasks", "name"),
    ("task group", "task_groups", "name"),
    ("datastore", "datastores", "name"),
    ("replication", "replications", "name"),
    ("migration", "migrations", "name"),
    ("command", "commands", "name"),
    ("drive group", "drive_groups", "name"),
    ("media pool", "pools", "name"),
    ("drive", "drives", "CAST(drive AS TEXT)"),
    ("client", "clients", "name"),
    ("location", "locations", "name"),
    ("event", "events", "name"),
    ("schedule", "schedules", "name"),
    ("calendar", "calendars", "name"),
];

impl Catalog {
    /// Who uses an object, as `noun 'name'`, by name.
    pub fn users_of(&self, noun: &'static str, name: &str) -> Result<Vec<String>, CatalogError> {
        self.read("look who uses it", |catalog| users(catalog, noun, name))
    }
}

/// Writes down what an object names, in place of what it named before. Errors: `NotFound` for a name
/// that nothing has.
pub(crate) fn put_uses(
    transaction: &Session<'_>,
    user_noun: &str,
    user_name: &str,
    uses: &[Use],
) -> Result<(), CatalogError> {
    forget_uses(transaction, user_noun, user_name)?;
    for (position, one) in uses.iter().enumerate() {
        // An object may name itself before it is there: its own rules tell whether that is good.
        let itself = one.noun == user_noun && one.name == user_name;
        if !itself {
            is_there(transaction, one)?;
        }
        transaction.execute(
            "INSERT INTO uses (user_noun, user_name, position, role, noun, name)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                user_noun,
                user_name,
                i64::try_from(position).unwrap_or(i64::MAX),
                one.role,
                one.noun,
                one.name
            ],
        )?;
    }
    Ok(())
}

fn is_there(catalog: &Session<'_>, one: &Use) -> Result<(), CatalogError> {
    let (told, nouns): (&'static str, &[&str]) = match one.noun == DATASTORE_OR_TASK {
        true => (DATASTORE_OR_TASK, &["datastore", "task"]),
        false => match KNOWN.iter().find(|known| known.0 == one.noun) {
            Some(known) => (known.0, std::slice::from_ref(&known.0)),
            None => return Ok(()),
        },
    };
    for (_, table, column) in KNOWN.iter().filter(|known| nouns.contains(&known.0)) {
        let stays = match *table {
            "drives" | "datastores" => " AND removed_unix_ms IS NULL",
            _ => "",
        };
        let ask = format!("SELECT 1 FROM {table} WHERE {column} = ?1{stays}");
        let found: Option<i64> =
            catalog.query_row(&ask, [&one.name], |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(());
        }
    }
    Err(CatalogError::not_found(told, &one.name))
}

/// An object is removed: it names nothing any more.
pub(crate) fn forget_uses(
    transaction: &Session<'_>,
    user_noun: &str,
    user_name: &str,
) -> Result<(), CatalogError> {
    transaction.execute(
        "DELETE FROM uses WHERE user_noun = ?1 AND user_name = ?2",
        params![user_noun, user_name],
    )?;
    Ok(())
}

pub(crate) fn users(
    catalog: &Session<'_>,
    noun: &str,
    name: &str,
) -> Result<Vec<String>, CatalogError> {
    let mut ask = catalog.prepare_cached(
        "SELECT DISTINCT user_noun, user_name FROM uses WHERE (noun = ?1 OR noun = ?3) AND name = ?2
         AND NOT (user_noun = ?1 AND user_name = ?2) ORDER BY user_noun, user_name",
    )?;
    let either = match noun {
        "datastore" | "task" => DATASTORE_OR_TASK,
        other => other,
    };
    let mut rows = ask.query(params![noun, name, either])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("uses", row);
        let (noun, name): (String, String) = (cells.get("user_noun")?, cells.get("user_name")?);
        users.push(format!("{noun} '{name}'"));
    }
    Ok(users)
}

/// Refuses to remove what something still names, with the list of who does.
pub(crate) fn refuse_used(
    catalog: &Session<'_>,
    noun: &'static str,
    name: &str,
) -> Result<(), CatalogError> {
    let users = users(catalog, noun, name)?;
    if users.is_empty() {
        return Ok(());
    }
    Err(CatalogError::StillUsed { noun, name: name.to_owned(), by: users.join(", ") })
}
