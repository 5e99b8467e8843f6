//! Who uses what, by name: so that nothing is removed that something else still names.

use rusqlite::{ToSql, params};

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

/// Users that are named when something cannot be removed.
const NAMED_MAX: usize = 20;

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

/// Adds whom a question answers by name, each as `noun 'name'`.
pub(crate) fn add_named(
    catalog: &Session<'_>,
    by: &mut Vec<String>,
    noun: &str,
    ask: &str,
    of: &dyn ToSql,
) -> Result<(), CatalogError> {
    let mut ask = catalog.prepare_cached(ask)?;
    for name in ask.query_map([of], |row| row.get::<String>(0))? {
        by.push(format!("{noun} '{}'", name?));
    }
    Ok(())
}

/// Adds the jobs that have not ended and have this in a column.
pub(crate) fn add_open_jobs(
    catalog: &Session<'_>,
    by: &mut Vec<String>,
    column: &str,
    of: &dyn ToSql,
) -> Result<(), CatalogError> {
    let mut ask = catalog.prepare_cached(&format!(
        "SELECT job FROM jobs WHERE {column} = ?1 AND state IN ('queued', 'running') ORDER BY job"
    ))?;
    for job in ask.query_map([of], |row| row.get::<i64>(0))? {
        by.push(format!("job {}, which has not ended (cancel it or wait)", job?));
    }
    Ok(())
}

/// Whatever leads to a datastore or to a drive of one, whose `column` in the tables of its users is `of`.
pub(crate) fn users_of_place(
    catalog: &Session<'_>,
    (noun, name): (&str, &str),
    column: &str,
    of: &dyn ToSql,
) -> Result<Vec<String>, CatalogError> {
    let mut by = users(catalog, noun, name)?;
    let relation = match column {
        "store" => "source = ?1 OR target = ?1",
        _ => "drive = ?1",
    };
    let given = format!("{column} = ?1");
    for (noun, table, condition) in [
        ("task", "tasks", given.as_str()),
        ("media pool", "pools", given.as_str()),
        ("replication", "replications", relation),
    ] {
        let ask = format!("SELECT name FROM {table} WHERE {condition} ORDER BY name");
        add_named(catalog, &mut by, noun, &ask, of)?;
    }
    Ok(by)
}

/// Refuses to remove what these use, and names them all, or the first of very many.
pub(crate) fn refuse_held(
    noun: &'static str,
    name: &str,
    mut by: Vec<String>,
) -> Result<(), CatalogError> {
    if by.is_empty() {
        return Ok(());
    }
    let more = by.len().saturating_sub(NAMED_MAX);
    by.truncate(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let by = format!("{}{more}", by.join(", "));
    Err(CatalogError::StillUsed { noun, name: name.to_owned(), by })
}

/// Refuses to remove what something still names, with the list of who does.
pub(crate) fn refuse_used(
    catalog: &Session<'_>,
    noun: &'static str,
    name: &str,
) -> Result<(), CatalogError> {
    refuse_held(noun, name, users(catalog, noun, name)?)
}
