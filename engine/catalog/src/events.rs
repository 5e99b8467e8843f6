//! Events: what runs by a schedule. What they say in detail is a document of the Server's own.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::schedules::{OwnSchedule, Put, drop_own, put_own};
use crate::sql::Session;
use crate::uses::{Use, forget_uses, put_uses, refuse_used};

/// What is to be kept of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub name: String,
    pub kind: String,
    pub schedule: Option<String>,
    /// Given with the event, under its name: `schedule` is that name then.
    pub own_schedule: Option<OwnSchedule>,
    pub enabled: bool,
    /// JSON, the Server's own.
    pub document: String,
    /// All names that it names but its schedule's.
    pub uses: Vec<Use>,
    /// The time whose occurrences count as decided on, where its schedule is new to it.
    pub considered: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub name: String,
    pub kind: String,
    pub schedule: Option<String>,
    pub enabled: bool,
    pub document: String,
    /// The time whose occurrences were decided on; the Server's own text.
    pub considered: Option<String>,
    pub created_unix_ms: i64,
}

impl Catalog {
    /// Keeps an event. A changed one keeps what was considered, unless the new row brings that along.
    ///
    /// Errors: exists, `NotFound`, as `put` says; `NotFound` for a name that it names; `Invalid` for a schedule of its
    /// own where one that is not its own has the name. Whatever is refused leaves nothing.
    pub fn put_event(
        &self,
        put: Put,
        new: &NewEvent,
        now_unix_ms: i64,
    ) -> Result<EventRow, CatalogError> {
        self.write("keep an event", |transaction| {
            let is_there = by_name(transaction, &new.name)?.is_some();
            match put {
                Put::Add if is_there => return Err(CatalogError::exists("event", &new.name)),
                Put::Change if !is_there => {
                    return Err(CatalogError::not_found("event", &new.name));
                }
                Put::Add | Put::Change => {}
            }
            if let Some(own) = &new.own_schedule {
                put_own(transaction, &new.name, own, now_unix_ms)?;
            }
            let mut uses = new.uses.clone();
            uses.extend(new.schedule.iter().map(|name| Use::new("schedule", "schedule", name)));
            put_uses(transaction, "event", &new.name, &uses)?;
            match put {
                Put::Add => transaction.execute(
                    "INSERT INTO events (name, kind, schedule, enabled, document, considered,
                         created_unix_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        new.name,
                        new.kind,
                        new.schedule,
                        i64::from(new.enabled),
                        new.document,
                        new.considered,
                        now_unix_ms
                    ],
                )?,
                Put::Change => transaction.execute(
                    "UPDATE events SET kind = ?2, schedule = ?3, enabled = ?4, document = ?5,
                         considered = COALESCE(?6, considered)
                     WHERE name = ?1",
                    params![
                        new.name,
                        new.kind,
                        new.schedule,
                        i64::from(new.enabled),
                        new.document,
                        new.considered
                    ],
                )?,
            };
            by_name(transaction, &new.name)?
                .ok_or_else(|| CatalogError::not_found("event", &new.name))
        })
    }

    /// All events, by name.
    pub fn events(&self) -> Result<Vec<EventRow>, CatalogError> {
        self.read("list events", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT * FROM events ORDER BY name")?;
            let mut rows = ask.query([])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(from_row(&Cells::new("events", row))?);
            }
            Ok(events)
        })
    }

    /// One event. Errors: `NotFound`.
    pub fn event(&self, name: &str) -> Result<EventRow, CatalogError> {
        self.read("look up an event", |catalog| {
            by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("event", name))
        })
    }

    /// Removes an event with the schedule that is its own; what it ran stays. Errors: `NotFound`; `Busy` while another
    /// one is followed by it.
    pub fn delete_event(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove an event", |transaction| {
            refuse_used(transaction, "event", name)?;
            forget_uses(transaction, "event", name)?;
            match transaction.execute("DELETE FROM events WHERE name = ?1", [name])? {
                0 => Err(CatalogError::not_found("event", name)),
                _ => drop_own(transaction, name),
            }
        })
    }
}

pub(crate) fn by_name(catalog: &Session<'_>, name: &str) -> Result<Option<EventRow>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM events WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("events", row))).transpose()
}

fn from_row(cells: &Cells<'_>) -> Result<EventRow, CatalogError> {
    Ok(EventRow {
        name: cells.get("name")?,
        kind: cells.get("kind")?,
        schedule: cells.get("schedule")?,
        enabled: cells.get::<i64>("enabled")? != 0,
        document: cells.get("document")?,
        considered: cells.get("considered")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
