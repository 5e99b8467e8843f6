//! Opening the catalog.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};
use simsim_model::failpoint;

use crate::connections::Connections;
use crate::fence::Fence;
use crate::postgres::{PgConnections, PostgresPlace};
use crate::sql::{Optional, Session};
use crate::{CatalogError, migrations, moving};

/// Marks the file as ours (`PRAGMA application_id`): "ssim".
const APPLICATION_ID: i64 = 0x7373_696d;
/// A database begins with a page of at least this size. SQLite takes anything shorter for an
/// empty database and would begin anew in it, so that is told apart here.
const HEAD_BYTES: u64 = 512;

/// Where a catalog lies.
#[derive(Debug, Clone)]
pub enum CatalogPlace {
    /// An SQLite database: this file, with its lock file beside it.
    File(PathBuf),
    /// A database of PostgreSQL, or one schema of it.
    Postgres(PostgresPlace),
}

impl std::fmt::Display for CatalogPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CatalogPlace::File(path) => path.display().fmt(f),
            CatalogPlace::Postgres(place) => place.fmt(f),
        }
    }
}

impl CatalogPlace {
    /// Whether a catalog was ever made here. Nothing is changed. Errors: `Unreachable`, and others of
    /// connecting.
    pub fn is_made(&self) -> Result<bool, CatalogError> {
        match self {
            CatalogPlace::File(path) => Ok(path.exists()),
            CatalogPlace::Postgres(place) => {
                place.is_made().map_err(|error| error.while_doing("look at its database"))
            }
        }
    }
}

/// How to open a catalog.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    pub place: CatalogPlace,
    /// Keys the audit chain, so that who can write the database but not read the Server's master key
    /// cannot make a chain that holds. Kept outside the database.
    pub audit_key: [u8; 32],
    /// The moment of opening, milliseconds since 1970.
    pub now_unix_ms: i64,
}

/// The Server's database. Cheap to clone; all clones share one fence and one writer.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    audit_key: [u8; 32],
    place: CatalogPlace,
    /// Last, so that the lock of a file outlives every connection.
    _fence: Option<Fence>,
}

enum Database {
    Sqlite(Box<Connections>),
    Postgres(Box<PgConnections>),
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the catalog, made if it is not there, and brings its schema up to date.
    ///
    /// Errors: `Busy` while another process has it open, `Invalid` for a newer schema, another
    /// program's database or a catalog that was moved away, `Corrupt`, `Full`, `Unreachable`.
    pub fn open(options: &CatalogOptions) -> Result<Self, CatalogError> {
        Self::open_at(options, migrations::STEPS)
    }

    /// [`Catalog::open`], with the schema as it was after these steps.
    pub(crate) fn open_at(
        options: &CatalogOptions,
        steps: &[migrations::Step],
    ) -> Result<Self, CatalogError> {
        let (database, fence) = match &options.place {
            CatalogPlace::File(path) => {
                let (connections, fence) = open_file(path, steps, options.now_unix_ms)?;
                (Database::Sqlite(Box::new(connections)), Some(fence))
            }
            CatalogPlace::Postgres(place) => {
                let connections = PgConnections::open(place, steps, options.now_unix_ms)?;
                (Database::Postgres(Box::new(connections)), None)
            }
        };
        let catalog = Self {
            shared: Arc::new(Shared {
                database,
                audit_key: options.audit_key,
                place: options.place.clone(),
                _fence: fence,
            }),
        };
        match catalog.setting(moving::MOVED_TO)? {
            None => Ok(catalog),
            Some(to) => Err(CatalogError::Moved {
                place: options.place.to_string(),
                to: String::from_utf8_lossy(&to).into_owned(),
            }),
        }
    }

    /// Where the database lies.
    pub fn place(&self) -> &CatalogPlace {
        &self.shared.place
    }

    pub(crate) fn audit_key(&self) -> &[u8; 32] {
        &self.shared.audit_key
    }

    /// Runs `act` in one transaction. It may run more than once; only the last run counts.
    pub(crate) fn write<T: Send>(
        &self,
        doing: &'static str,
        act: impl FnMut(&Session<'_>) -> Result<T, CatalogError> + Send,
    ) -> Result<T, CatalogError> {
        match &self.shared.database {
            Database::Sqlite(_) => self.write_here(doing, act),
            Database::Postgres(_) => aside(|| self.write_here(doing, act)),
        }
    }

    pub(crate) fn read<T: Send>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Session<'_>) -> Result<T, CatalogError> + Send,
    ) -> Result<T, CatalogError> {
        match &self.shared.database {
            Database::Sqlite(_) => self.read_here(doing, ask),
            Database::Postgres(_) => aside(|| self.read_here(doing, ask)),
        }
    }

    /// The same on this very thread, which must not drive an asynchronous runtime.
    pub(crate) fn write_here<T>(
        &self,
        doing: &'static str,
        act: impl FnMut(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        match &self.shared.database {
            Database::Sqlite(connections) => connections.write(doing, act),
            Database::Postgres(connections) => connections.write(doing, act),
        }
    }

    /// The same on this very thread, which must not drive an asynchronous runtime.
    pub(crate) fn read_here<T>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        match &self.shared.database {
            Database::Sqlite(connections) => connections.read(doing, ask),
            Database::Postgres(connections) => connections.read(doing, ask),
        }
    }
}

/// Runs `work` on a thread of its own and waits for it. PostgreSQL's client drives its connection with
/// a runtime inside, and panics where it is called on a thread that drives another one: callers that
/// ask for a word in the middle of an asynchronous function would find out only there. A thread
/// costs some ten microseconds, a question over a socket many more.
pub(crate) fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Opens the file, made if it is not there.
fn open_file(
    path: &Path,
    steps: &[migrations::Step],
    now_unix_ms: i64,
) -> Result<(Connections, Fence), CatalogError> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| CatalogError::io("make the folder", folder, source))?;
    }
    let fence = Fence::take(path, &lock_path(path))?;
    match std::fs::metadata(path) {
        Ok(file) if file.len() < HEAD_BYTES => {
            return Err(CatalogError::CutOff { path: path.to_owned(), bytes: file.len() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make(path, steps, now_unix_ms)
                .map_err(|error| error.while_doing("make the database"))?;
        }
        Err(source) => return Err(CatalogError::io("look at", path, source)),
    }
    let connections = Connections::open(path)?;
    connections
        .with_writer(|writer| {
            recognise(path, writer)?;
            migrations::migrate(writer, steps, now_unix_ms)
        })
        .map_err(|error| error.while_doing("bring its schema up to date"))?;
    Ok((connections, fence))
}

/// The next number of a counter, from 1. Part of the caller's transaction, so a number that was
/// given out in a transaction that failed is given out again; one that was seen never is.
pub(crate) fn next_number(
    transaction: &Session<'_>,
    counter: &'static str,
) -> Result<i64, CatalogError> {
    let last: Option<i64> = transaction
        .query_row("SELECT last_value FROM counters WHERE name = ?1", [counter], |row| row.get(0))
        .optional()?;
    let next = last.unwrap_or(0) + 1;
    if last.is_some() {
        transaction.execute(
            "UPDATE counters SET last_value = ?2 WHERE name = ?1",
            params![counter, next],
        )?;
    } else {
        transaction.execute(
            "INSERT INTO counters (name, last_value) VALUES (?1, ?2)",
            params![counter, next],
        )?;
    }
    Ok(next)
}

/// Makes a new database under another name and gives it its own when it is whole and durable: so
/// a short or empty file under that name is always damage, never a beginning.
fn make(path: &Path, steps: &[migrations::Step], now_unix_ms: i64) -> Result<(), CatalogError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    match std::fs::remove_file(&fresh) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(CatalogError::io("remove the left-over", &fresh, source));
        }
        _ => {}
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(|source| CatalogError::io("make", &fresh, source))?;
    let mut connection = Connection::open(&fresh)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrations::migrate(&mut connection, steps, now_unix_ms)?;
    connection.close().map_err(|(_, error)| error)?;
    failpoint::hit("catalog.made");
    file.sync_all().map_err(|source| CatalogError::io("flush", &fresh, source))?;
    std::fs::rename(&fresh, path).map_err(|source| CatalogError::io("name", path, source))?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| CatalogError::io("flush the folder", folder, source))?;
    }
    Ok(())
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}

/// Refuses another program's database.
fn recognise(path: &Path, connection: &Connection) -> Result<(), CatalogError> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(CatalogError::Foreign { place: path.display().to_string() });
    }
    Ok(())
}
