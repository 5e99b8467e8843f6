//! On SQLite: one connection that writes, a few that read.
//!
//! | lock | taken by | held for |
//! |---|---|---|
//! | `writer` | [`Connections::write`] | one transaction, the flush included |
//! | `readers` | [`Connections::read`] | taking or giving back one connection |
//!
//! No code takes both at once. A reader works inside one transaction, so all that one call
//! answers is of one moment, while the writer goes on beside it (WAL).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use simsim_model::failpoint;

use crate::CatalogError;
use crate::sql::Session;

/// Readers beyond this number wait for one to come back.
const READERS_MAX: usize = 4;
/// How long a statement waits for another program (a copy being made) to let go of the file.
const BUSY_TIMEOUT_MS: u64 = 10_000;
/// Statements kept prepared per connection.
const PREPARED_MAX: usize = 128;

pub(crate) struct Connections {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Readers>,
    came_back: Condvar,
    /// A flush failed: no more writes until the catalog is opened again.
    flush_failed: AtomicBool,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    lent: usize,
}

impl Connections {
    /// Opens the writing connection. The file must exist, so that its mode is ours to choose.
    pub(crate) fn open(path: &Path) -> Result<Self, CatalogError> {
        let writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|writer| {
                writer.pragma_update(None, "journal_mode", "WAL")?;
                writer.pragma_update(None, "synchronous", "FULL")?;
                // After a burst of writes the log shrinks back to 16 MiB.
                writer.pragma_update(None, "journal_size_limit", 16 << 20)?;
                Ok(writer)
            })
            .map_err(|error| CatalogError::from(error).while_doing("open the database"))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            came_back: Condvar::new(),
            flush_failed: AtomicBool::new(false),
        })
    }

    /// Runs `act` in one transaction and makes it durable, or leaves everything as it was.
    pub(crate) fn write<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut writer = unpoisoned(&self.writer);
        if self.flush_failed.load(Ordering::Relaxed) {
            return Err(CatalogError::FlushFailed);
        }
        let result = (|| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = act(&Session::Sqlite(&transaction))?;
            failpoint::hit("catalog.before_commit");
            transaction.commit()?;
            failpoint::hit("catalog.after_commit");
            Ok(value)
        })();
        result.map_err(|error: CatalogError| {
            if error.is_failed_flush() {
                self.flush_failed.store(true, Ordering::Relaxed);
            }
            error.while_doing(doing)
        })
    }

    /// Runs `ask` against one moment of the catalog.
    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut lent = self.lend().map_err(|error| error.while_doing(doing))?;
        let result = match lent.connection.as_mut() {
            Some(connection) => connection
                .transaction_with_behavior(TransactionBehavior::Deferred)
                .map_err(CatalogError::from)
                .and_then(|moment| ask(&Session::Sqlite(&moment))),
            None => Err(CatalogError::invalid("a reading connection was lost")),
        };
        result.map_err(|error| error.while_doing(doing))
    }

    /// Runs `act` on the writing connection outside a transaction.
    pub(crate) fn with_writer<T>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        act(&mut unpoisoned(&self.writer))
    }

    fn lend(&self) -> Result<Lent<'_>, CatalogError> {
        let mut readers = unpoisoned(&self.readers);
        while readers.idle.is_empty() && readers.lent >= READERS_MAX {
            readers = self.came_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
        readers.lent += 1;
        let idle = readers.idle.pop();
        drop(readers);
        let mut lent = Lent { home: self, connection: idle };
        if lent.connection.is_none() {
            lent.connection = Some(connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?);
        }
        Ok(lent)
    }
}

/// A reading connection that goes home when dropped.
struct Lent<'a> {
    home: &'a Connections,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut readers = unpoisoned(&self.home.readers);
        readers.lent -= 1;
        readers.idle.extend(self.connection.take());
        drop(readers);
        self.home.came_back.notify_one();
    }
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_MAX);
    Ok(connection)
}

/// A thread that panicked inside a transaction rolled it back when it unwound, so the
/// connection behind a poisoned mutex is as good as before.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
