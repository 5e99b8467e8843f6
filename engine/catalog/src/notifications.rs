//! Notifications: whom the server tells what, and what each of them said is missing.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::schedules::Put;
use crate::sql::Session;

/// One notification.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    pub name: String,
    /// A JSON document of the Server's own.
    pub document: String,
    /// Sealed by the Server.
    pub secret: Option<Vec<u8>>,
    pub created_unix_ms: i64,
    /// The occurrence up to which its report was told; `None`: it has told none yet.
    pub reported_unix_ms: Option<i64>,
}

/// What becomes of the secret of a notification that is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum NewSecret {
    /// The one that is there stays.
    Keep,
    None,
    /// Sealed.
    Sealed(Vec<u8>),
}

/// What a notification is to be.
#[derive(Clone, PartialEq, Eq)]
pub struct NewNotification {
    pub name: String,
    pub document: String,
    pub secret: NewSecret,
}

/// What a notification said is missing, and has not taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// What it is about, such as `backup home`: the Server's own word.
    pub subject: String,
    pub text: String,
    pub since_unix_ms: i64,
    /// When it was said last.
    pub told_unix_ms: i64,
}

impl Catalog {
    /// Adds a notification, or replaces all of one but its name. Errors: exists, `NotFound`, as `put` says.
    pub fn put_notification(
        &self,
        put: Put,
        new: &NewNotification,
        now_unix_ms: i64,
    ) -> Result<Notification, CatalogError> {
        self.write("keep a notification", |transaction| {
            let secret = match &new.secret {
                NewSecret::Sealed(sealed) => Some(sealed),
                NewSecret::Keep | NewSecret::None => None,
            };
            match (put, by_name(transaction, &new.name)?) {
                (Put::Add, Some(_)) => return Err(CatalogError::exists("notification", &new.name)),
                (Put::Change, None) => {
                    return Err(CatalogError::not_found("notification", &new.name));
                }
                (Put::Add, None) => transaction.execute(
                    "INSERT INTO notifications (name, document, secret, created_unix_ms)
                     VALUES (?1, ?2, ?3, ?4)",
                    params![new.name, new.document, secret, now_unix_ms],
                )?,
                (Put::Change, Some(_)) if new.secret == NewSecret::Keep => transaction.execute(
                    "UPDATE notifications SET document = ?2 WHERE name = ?1",
                    params![new.name, new.document],
                )?,
                (Put::Change, Some(_)) => transaction.execute(
                    "UPDATE notifications SET document = ?2, secret = ?3 WHERE name = ?1",
                    params![new.name, new.document, secret],
                )?,
            };
            there(transaction, &new.name)
        })
    }

    /// All notifications, by name.
    pub fn notifications(&self) -> Result<Vec<Notification>, CatalogError> {
        self.read("list notifications", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT * FROM notifications ORDER BY name")?;
            let mut rows = ask.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(from_row(&Cells::new("notifications", row))?);
            }
            Ok(found)
        })
    }

    /// One of them. Errors: `NotFound`.
    pub fn notification(&self, name: &str) -> Result<Notification, CatalogError> {
        self.read("look up a notification", |catalog| there(catalog, name))
    }

    /// Removes a notification with everything that it still had to tell. Errors: `NotFound`.
    pub fn delete_notification(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a notification", |transaction| {
            there(transaction, name)?;
            transaction.execute("DELETE FROM outbox WHERE notification = ?1", [name])?;
            transaction.execute("DELETE FROM absences WHERE notification = ?1", [name])?;
            transaction.execute("DELETE FROM notifications WHERE name = ?1", [name])?;
            Ok(())
        })
    }

    /// What a notification said is missing, by subject.
    pub fn absences(&self, notification: &str) -> Result<Vec<Absence>, CatalogError> {
        self.read("list what is missing", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM absences WHERE notification = ?1 ORDER BY subject",
            )?;
            let mut rows = ask.query([notification])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("absences", row);
                found.push(Absence {
                    subject: cells.get("subject")?,
                    text: cells.get("text")?,
                    since_unix_ms: cells.get("since_unix_ms")?,
                    told_unix_ms: cells.get("told_unix_ms")?,
                });
            }
            Ok(found)
        })
    }

    /// When the newest job of a kind ended as *finished*, for each task name (or what stands for it) and client. Ends that
    /// lie after `now` are of a wrong clock and do not count.
    pub fn last_good(
        &self,
        kind: &str,
        now_unix_ms: i64,
    ) -> Result<Vec<(String, String, i64)>, CatalogError> {
        self.read("look for the last good jobs", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT task_name, client_name, MAX(ended_unix_ms) AS last FROM results
                 WHERE kind = ?1 AND outcome = 'finished' AND ended_unix_ms <= ?2
                 GROUP BY task_name, client_name ORDER BY task_name, client_name",
            )?;
            let mut rows = ask.query(params![kind, now_unix_ms])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("results", row);
                found.push((
                    cells.get("task_name")?,
                    cells.get("client_name")?,
                    cells.get("last")?,
                ));
            }
            Ok(found)
        })
    }

    /// When the newest verification of each datastore ended as *finished*, by its name.
    pub fn last_verified(&self, now_unix_ms: i64) -> Result<Vec<(String, i64)>, CatalogError> {
        self.read("look for the last verifications", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT datastores.name AS name, MAX(ended_unix_ms) AS last
                 FROM jobs JOIN datastores ON datastores.store = jobs.store
                 WHERE jobs.kind = 'verify' AND jobs.state = 'finished' AND ended_unix_ms <= ?1
                 GROUP BY datastores.name ORDER BY datastores.name",
            )?;
            let mut rows = ask.query([now_unix_ms])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("jobs", row);
                found.push((cells.get("name")?, cells.get("last")?));
            }
            Ok(found)
        })
    }

    /// Events that are on, with a subject whose newest occurrence did not run though it should have: event, subject,
    /// why not, and its occurrence.
    pub fn not_run(&self) -> Result<Vec<(String, String, String, i64)>, CatalogError> {
        self.read("look for what did not run", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT runs.event AS event, runs.subject AS subject, runs.why AS why,
                     COALESCE(runs.occurrence_unix_ms, runs.decided_unix_ms) AS at
                 FROM runs JOIN events ON events.name = runs.event
                 WHERE runs.fate IN ('missed', 'refused') AND events.enabled = 1
                     AND runs.run IN (SELECT MAX(run) FROM runs
                         WHERE fate IN ('runs', 'missed', 'refused') GROUP BY event, subject)
                 ORDER BY event, subject",
            )?;
            let mut rows = ask.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("runs", row);
                let why = cells.get::<Option<String>>("why")?.unwrap_or_default();
                found.push((cells.get("event")?, cells.get("subject")?, why, cells.get("at")?));
            }
            Ok(found)
        })
    }
}

pub(crate) fn by_name(
    catalog: &Session<'_>,
    name: &str,
) -> Result<Option<Notification>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM notifications WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("notifications", row))).transpose()
}

fn there(catalog: &Session<'_>, name: &str) -> Result<Notification, CatalogError> {
    by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("notification", name))
}

fn from_row(cells: &Cells<'_>) -> Result<Notification, CatalogError> {
    Ok(Notification {
        name: cells.get("name")?,
        document: cells.get("document")?,
        secret: cells.get("secret")?,
        created_unix_ms: cells.get("created_unix_ms")?,
        reported_unix_ms: cells.get("reported_unix_ms")?,
    })
}
