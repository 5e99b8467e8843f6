//! On PostgreSQL: one connection that writes and holds the fence, a few that read.
//!
//! | lock | taken by | held for |
//! |---|---|---|
//! | `writer` | [`PgConnections::write`] | one transaction, its tries included |
//! | `readers` | [`PgConnections::read`] | taking or giving back one connection |
//!
//! A transaction that writes is `SERIALIZABLE` and first locks the fence's row: the code above may
//! look at the state, decide, and write, as it may on SQLite. When somebody else's statement (of an
//! administrator) meets it, PostgreSQL undoes one of both; this one is tried again, from its
//! beginning, at most [`TRIES_MAX`] times.
//!
//! A connection that ends in the middle of a transaction is an error for the caller, and nothing of
//! it is left. One that ended before it began is made anew unseen. Where it ends while the database
//! makes the change durable, the database is asked what became of it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use simsim_model::failpoint;

use super::PostgresPlace;
use super::fence;
use crate::sql::{Session, SqlError, Wire};
use crate::{CatalogError, migrations};

/// Readers beyond this number wait for one to come back.
const READERS_MAX: usize = 4;
/// How often a transaction is begun that meets another one.
const TRIES_MAX: u32 = 8;
/// How long the database is asked what became of a transaction whose end was not heard of.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct PgConnections {
    place: PostgresPlace,
    /// What the sessions of this very catalog are called in the database.
    name: String,
    writer: Mutex<Writer>,
    readers: Mutex<Readers>,
    came_back: Condvar,
}

struct Writer {
    /// `None` after the connection was lost.
    wire: Option<Wire>,
    /// The taking of the fence that is ours.
    taken: i64,
    /// Another server took it: never again.
    lost_to: Option<String>,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Wire>,
    lent: usize,
}

impl PgConnections {
    /// Takes the fence and brings the schema up to date, both or neither.
    pub(crate) fn open(
        place: &PostgresPlace,
        steps: &[migrations::Step],
        now_unix_ms: i64,
    ) -> Result<Self, CatalogError> {
        let name = session_name(now_unix_ms);
        let wire = connect(place, &writer_name(&name))
            .map_err(|error| error.while_doing("connect to its database"))?;
        let taken = take(place, &wire, steps, now_unix_ms)
            .map_err(|error| error.while_doing("bring its schema up to date"))?;
        Ok(Self {
            place: place.clone(),
            name,
            writer: Mutex::new(Writer { wire: Some(wire), taken, lost_to: None }),
            readers: Mutex::default(),
            came_back: Condvar::new(),
        })
    }

    /// Runs `act` in one transaction and makes it durable, or leaves everything as it was. `act` may
    /// run more than once; only the last run counts.
    pub(crate) fn write<T>(
        &self,
        doing: &'static str,
        mut act: impl FnMut(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut writer = unpoisoned(&self.writer);
        let mut tries = 1;
        loop {
            match self.attempt(&mut writer, &mut act) {
                Err(error) if error.is_conflict() && tries < TRIES_MAX => {
                    tracing::debug!(doing, tries, "a transaction met another one: once more");
                    tries += 1;
                }
                result => return result.map_err(|error| error.while_doing(doing)),
            }
        }
    }

    fn attempt<T>(
        &self,
        writer: &mut Writer,
        act: &mut impl FnMut(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let (wire, transaction) = self.begin(writer)?;
        // Whoever leaves early, by an error or a panic, drops the connection unless it is given back.
        let value = match act(&Session::Postgres(&wire)) {
            Ok(value) => value,
            Err(error) => {
                if wire.batch("ROLLBACK").is_ok() {
                    writer.wire = Some(wire);
                }
                return Err(error);
            }
        };
        failpoint::hit("catalog.before_commit");
        match wire.commit() {
            Ok(true) => {}
            Ok(false) => {
                writer.wire = Some(wire);
                return Err(CatalogError::invalid("a statement failed, and so did all of them"));
            }
            Err(error) if error.is_lost() => {
                drop(wire);
                self.outcome(writer, transaction, error)?;
                return Ok(value);
            }
            Err(error) => {
                // PostgreSQL ended the transaction with the error.
                writer.wire = Some(wire);
                return Err(error.into());
            }
        }
        failpoint::hit("catalog.after_commit");
        writer.wire = Some(wire);
        Ok(value)
    }

    /// Begins a transaction on the writing connection, made anew if it is gone. Returns the
    /// transaction's number too.
    fn begin(&self, writer: &mut Writer) -> Result<(Wire, i64), CatalogError> {
        if let Some(holder) = &writer.lost_to {
            return Err(fence::in_use(&self.place, Some(holder)));
        }
        if let Some(wire) = writer.wire.take() {
            match stand(&wire) {
                Ok((taken, transaction)) if taken == writer.taken => {
                    return Ok((wire, transaction));
                }
                Ok(_) => {}
                Err(error) if error.is_lost() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let wire = self.retake(writer)?;
        let (taken, transaction) = stand(&wire)?;
        match taken == writer.taken {
            true => Ok((wire, transaction)),
            false => Err(self.lost_to_another(writer, &wire)),
        }
    }

    /// Connects anew and takes the fence again, if nobody else took it since.
    fn retake(&self, writer: &mut Writer) -> Result<Wire, CatalogError> {
        let name = writer_name(&self.name);
        let wire = self.place.connect(&name)?;
        fence::end_earlier(&wire, &name)?;
        let locked = fence::lock(&wire)?;
        match fence::last(&Session::Postgres(&wire))? {
            Some((taken, _)) if taken == writer.taken && locked => Ok(wire),
            Some((taken, _)) if taken == writer.taken => {
                // Somebody holds the lock and has not counted it: a server that is just starting.
                Err(fence::in_use(&self.place, None))
            }
            _ => Err(self.lost_to_another(writer, &wire)),
        }
    }

    fn lost_to_another(&self, writer: &mut Writer, wire: &Wire) -> CatalogError {
        let holder = match fence::last(&Session::Postgres(wire)) {
            Ok(Some((_, holder))) => holder,
            Ok(None) => "nobody any more: its table is gone".to_owned(),
            Err(error) => return error.into(),
        };
        tracing::error!(place = %self.place, %holder, "another server took the catalog");
        let error = fence::in_use(&self.place, Some(&holder));
        writer.lost_to = Some(holder);
        error
    }

    /// What became of a transaction whose end was not heard of.
    fn outcome(
        &self,
        writer: &mut Writer,
        transaction: i64,
        lost: SqlError,
    ) -> Result<(), CatalogError> {
        let unclear = |source| Err(CatalogError::Unclear { doing: "write", source });
        let since = Instant::now();
        loop {
            let word: Result<Option<String>, CatalogError> = self.retake(writer).and_then(|wire| {
                let word = Session::Postgres(&wire).query_row(
                    "SELECT txid_status(?1)",
                    [transaction],
                    |row| row.get(0),
                )?;
                writer.wire = Some(wire);
                Ok(word)
            });
            match word.ok().flatten().as_deref() {
                Some("committed") => return Ok(()),
                Some("aborted") => return Err(lost.into()),
                _ if since.elapsed() >= OUTCOME_PATIENCE => return unclear(lost),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Runs `ask` against one moment of the catalog.
    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut lent = self.lend();
        let result = (|| {
            let wire = self.moment(lent.wire.take())?;
            let answer = ask(&Session::Postgres(&wire));
            if wire.batch("ROLLBACK").is_ok() {
                lent.wire = Some(wire);
            }
            answer
        })();
        result.map_err(|error: CatalogError| error.while_doing(doing))
    }

    /// Begins a reading transaction on an idle connection, or on a new one where that is gone.
    fn moment(&self, idle: Option<Wire>) -> Result<Wire, SqlError> {
        const MOMENT: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";
        if let Some(wire) = idle {
            match wire.begin(MOMENT) {
                Ok(()) => return Ok(wire),
                Err(error) if error.is_lost() => {}
                Err(error) => return Err(error),
            }
        }
        let wire = self.place.connect(&format!("{} reads", self.name))?;
        wire.begin(MOMENT)?;
        Ok(wire)
    }

    fn lend(&self) -> Lent<'_> {
        let mut readers = unpoisoned(&self.readers);
        while readers.idle.is_empty() && readers.lent >= READERS_MAX {
            readers = self.came_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
        readers.lent += 1;
        let wire = readers.idle.pop();
        Lent { home: self, wire }
    }
}

impl Drop for PgConnections {
    /// The library ends a connection with a runtime of its own, which an asynchronous caller's
    /// thread must not run: another thread does, and is waited for, so that the fence is free after.
    fn drop(&mut self) {
        let writer = unpoisoned(&self.writer).wire.take();
        let idle = std::mem::take(&mut unpoisoned(&self.readers).idle);
        let _ = std::thread::spawn(move || drop((writer, idle))).join();
    }
}

/// A reading connection that goes home when dropped.
struct Lent<'a> {
    home: &'a PgConnections,
    wire: Option<Wire>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut readers = unpoisoned(&self.home.readers);
        readers.lent -= 1;
        readers.idle.extend(self.wire.take());
        drop(readers);
        self.home.came_back.notify_one();
    }
}

fn stand(wire: &Wire) -> Result<(i64, i64), SqlError> {
    wire.begin("ISOLATION LEVEL SERIALIZABLE")?;
    fence::stand(&Session::Postgres(wire))
}

/// Connects for the first time.
pub(super) fn connect(place: &PostgresPlace, name: &str) -> Result<Wire, CatalogError> {
    place.connect(name).map_err(|error| match error.wants_password() {
        true => CatalogError::invalid(format!(
            "{place} asks for a password, and no line of the password file fits: add one, HOST:PORT:DATABASE:USER:PASSWORD"
        )),
        false => error.into(),
    })
}

/// Takes the fence for good and applies the schema's steps. Returns the count of takings.
fn take(
    place: &PostgresPlace,
    wire: &Wire,
    steps: &[migrations::Step],
    now_unix_ms: i64,
) -> Result<i64, CatalogError> {
    let session = Session::Postgres(wire);
    let encoding: String = session.query_row("SHOW server_encoding", [], |row| row.get(0))?;
    if encoding != "UTF8" {
        return Err(CatalogError::invalid(format!(
            "the database {place} is encoded in {encoding}: make one with ENCODING 'UTF8'"
        )));
    }
    if !fence::lock(wire)? {
        let holder = fence::last(&session)?.map(|(_, holder)| holder);
        return Err(fence::in_use(place, holder.as_deref()));
    }
    wire.begin("ISOLATION LEVEL SERIALIZABLE")?;
    recognise(place, &session)?;
    fence::make(&session)?;
    migrations::apply(&session, steps, now_unix_ms)?;
    let taken = fence::count(&session)?;
    failpoint::hit("catalog.made");
    match wire.commit()? {
        true => Ok(taken),
        false => Err(CatalogError::invalid("a statement failed, and so did all of them")),
    }
}

/// Refuses another program's tables.
fn recognise(place: &PostgresPlace, session: &Session<'_>) -> Result<(), CatalogError> {
    let schema: Option<String> =
        session.query_row("SELECT CAST(current_schema() AS TEXT)", [], |row| row.get(0))?;
    if schema.is_none() {
        return Err(CatalogError::invalid(format!(
            "the database {place} has no schema that its user may use: GRANT ALL ON SCHEMA public"
        )));
    }
    let tables: i64 = session.query_row(
        "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()",
        [],
        |row| row.get(0),
    )?;
    match tables > 0 && fence::last(session)?.is_none() {
        true => Err(CatalogError::Foreign { place: place.to_string() }),
        false => Ok(()),
    }
}

/// A name of no other catalog's sessions.
fn session_name(now_unix_ms: i64) -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_i64(now_unix_ms);
    hasher.write_u32(std::process::id());
    format!("simsim {:016x}", hasher.finish())
}

fn writer_name(name: &str) -> String {
    format!("{name} writes")
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
