//! Calendars and schedules: named texts of `ground/schedule`, which the Server reads and writes.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::{Optional, Session};
use crate::uses::{Use, forget_uses, put_uses, refuse_used, users};

/// A calendar or a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedText {
    pub name: String,
    pub text: String,
    pub created_unix_ms: i64,
}

/// Whether an object is to be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Refused where one of the name is there.
    Add,
    /// Refused where none of the name is there.
    Change,
}

/// A schedule that an event is given together with itself: it has the event's name, and goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSchedule {
    pub line: String,
    /// The calendars that the line names.
    pub calendars: Vec<String>,
}

struct Table {
    noun: &'static str,
    table: &'static str,
    column: &'static str,
}

const CALENDARS: Table = Table { noun: "calendar", table: "calendars", column: "days" };
const SCHEDULES: Table = Table { noun: "schedule", table: "schedules", column: "line" };

impl Catalog {
    /// Keeps a calendar. Errors: exists, `NotFound`, as `put` says.
    pub fn put_calendar(
        &self,
        put: Put,
        name: &str,
        days: &str,
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("keep a calendar", |transaction| {
            CALENDARS.put(transaction, put, name, days, now_unix_ms)
        })
    }

    /// Keeps a schedule that names these calendars. Errors: exists, `NotFound`, as `put` says, and for
    /// a calendar that is not there.
    pub fn put_schedule(
        &self,
        put: Put,
        name: &str,
        line: &str,
        calendars: &[String],
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("keep a schedule", |transaction| {
            SCHEDULES.put(transaction, put, name, line, now_unix_ms)?;
            put_uses(transaction, "schedule", name, &days_of(calendars))
        })
    }

    /// All calendars, by name.
    pub fn calendars(&self) -> Result<Vec<NamedText>, CatalogError> {
        self.read("list calendars", |catalog| CALENDARS.all(catalog))
    }

    /// All schedules, by name.
    pub fn schedules(&self) -> Result<Vec<NamedText>, CatalogError> {
        self.read("list schedules", |catalog| SCHEDULES.all(catalog))
    }

    /// Removes a calendar. Errors: `NotFound`; `Busy` while something names it.
    pub fn delete_calendar(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a calendar", |transaction| CALENDARS.delete(transaction, name))
    }

    /// Removes a schedule. Errors: `NotFound`; `Busy` while an event runs by it.
    pub fn delete_schedule(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a schedule", |transaction| {
            SCHEDULES.delete(transaction, name)?;
            forget_uses(transaction, "schedule", name)
        })
    }
}

fn days_of(calendars: &[String]) -> Vec<Use> {
    calendars.iter().map(|calendar| Use::new("days", "calendar", calendar)).collect()
}

/// Keeps the schedule that an event is given with itself. One that says the same already is left as it is. Errors:
/// `Invalid` where another one of this name was added by itself, or others run by it too.
pub(crate) fn put_own(
    transaction: &Session<'_>,
    event: &str,
    own: &OwnSchedule,
    now_unix_ms: i64,
) -> Result<(), CatalogError> {
    let there: Option<(String, i64)> = transaction
        .query_row("SELECT line, of_event FROM schedules WHERE name = ?1", [event], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let put = match there {
        None => Put::Add,
        Some((line, _)) if line == own.line => return Ok(()),
        Some((_, 0)) => {
            return Err(CatalogError::invalid(format!(
                "there is a schedule '{event}' that was added by itself, and an event gives it no other line: run the \
                 event by it (--schedule {event}), change it with 'simsim schedule change {event}', or call the event \
                 otherwise"
            )));
        }
        Some(_) => Put::Change,
    };
    let itself = format!("event '{event}'");
    let mut others = users(transaction, "schedule", event)?;
    others.retain(|user| *user != itself);
    if !others.is_empty() {
        return Err(CatalogError::invalid(format!(
            "schedule '{event}' is not this event's alone, {} runs by it too: change it for all with 'simsim schedule \
             change {event}', or run the event by another one",
            others.join(", ")
        )));
    }
    SCHEDULES.put(transaction, put, event, &own.line, now_unix_ms)?;
    transaction.execute("UPDATE schedules SET of_event = 1 WHERE name = ?1", [event])?;
    put_uses(transaction, "schedule", event, &days_of(&own.calendars))
}

/// An event was removed, and its own schedule goes with it; where others run by that, it stays as any other one.
pub(crate) fn drop_own(transaction: &Session<'_>, event: &str) -> Result<(), CatalogError> {
    let used: i64 = transaction.query_row(
        "SELECT COUNT(*) FROM events WHERE schedule = ?1",
        [event],
        |row| row.get(0),
    )?;
    if used > 0 {
        transaction.execute("UPDATE schedules SET of_event = 0 WHERE name = ?1", [event])?;
        return Ok(());
    }
    let gone =
        transaction.execute("DELETE FROM schedules WHERE name = ?1 AND of_event = 1", [event])?;
    match gone {
        0 => Ok(()),
        _ => forget_uses(transaction, "schedule", event),
    }
}

impl Table {
    fn put(
        &self,
        transaction: &Session<'_>,
        put: Put,
        name: &str,
        text: &str,
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        let Table { noun, table, column } = self;
        let changed = transaction.execute(
            &format!("UPDATE {table} SET {column} = ?2 WHERE name = ?1"),
            params![name, text],
        )?;
        match (put, changed) {
            (Put::Add, 0) => {
                transaction.execute(
                    &format!(
                        "INSERT INTO {table} (name, {column}, created_unix_ms) VALUES (?1, ?2, ?3)"
                    ),
                    params![name, text, now_unix_ms],
                )?;
                Ok(())
            }
            (Put::Add, _) => Err(CatalogError::exists(noun, name)),
            (Put::Change, 0) => Err(CatalogError::not_found(noun, name)),
            (Put::Change, _) => Ok(()),
        }
    }

    fn all(&self, catalog: &Session<'_>) -> Result<Vec<NamedText>, CatalogError> {
        let mut ask =
            catalog.prepare_cached(&format!("SELECT * FROM {} ORDER BY name", self.table))?;
        let mut rows = ask.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let cells = Cells::new(self.table, row);
            all.push(NamedText {
                name: cells.get("name")?,
                text: cells.get(self.column)?,
                created_unix_ms: cells.get("created_unix_ms")?,
            });
        }
        Ok(all)
    }

    fn delete(&self, transaction: &Session<'_>, name: &str) -> Result<(), CatalogError> {
        refuse_used(transaction, self.noun, name)?;
        let deleted =
            transaction.execute(&format!("DELETE FROM {} WHERE name = ?1", self.table), [name])?;
        match deleted {
            0 => Err(CatalogError::not_found(self.noun, name)),
            _ => Ok(()),
        }
    }
}
