//! Opening the catalog.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use simsim_model::failpoint;

use crate::connections::Connections;
use crate::fence::Fence;
use crate::{CatalogError, migrations};

/// Marks the file as ours (`PRAGMA application_id`): "ssim".
const APPLICATION_ID: i64 = 0x7373_696d;
/// A database begins with a page of at least this size. SQLite takes anything shorter for an
/// empty database and would begin anew in it, so that is told apart here.
const HEAD_BYTES: u64 = 512;

/// How to open a catalog.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    /// The database file; the lock file lies beside it.
    pub path: PathBuf,
    /// Keys the audit chain, so that who can write the file but not read the Server's master key
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
    connections: Connections,
    audit_key: [u8; 32],
    path: PathBuf,
    /// Last, so that the lock outlives every connection.
    _fence: Fence,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the catalog, made if it is not there, and brings its schema up to date.
    ///
    /// Errors: `Busy` while another process has it open, `Invalid` for a newer schema or another
    /// program's database, `Corrupt`, `Full`.
    pub fn open(options: &CatalogOptions) -> Result<Self, CatalogError> {
        let path = &options.path;
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
                return Err(CatalogError::CutOff { path: path.clone(), bytes: file.len() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make(path, options.now_unix_ms)
                    .map_err(|error| error.while_doing("make the database"))?;
            }
            Err(source) => return Err(CatalogError::io("look at", path, source)),
        }
        let connections = Connections::open(path)?;
        connections
            .with_writer(|writer| {
                recognise(path, writer)?;
                migrations::migrate(writer, migrations::STEPS, options.now_unix_ms)
            })
            .map_err(|error| error.while_doing("bring its schema up to date"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                connections,
                audit_key: options.audit_key,
                path: path.clone(),
                _fence: fence,
            }),
        })
    }

    /// Where the database lies.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Looks at every page and every reference of the database. Errors: `Corrupt`.
    pub fn check(&self) -> Result<(), CatalogError> {
        self.read("check itself", |catalog| {
            let word: String =
                catalog.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            if word != "ok" {
                return Err(CatalogError::BadCell {
                    table: "(pages)",
                    column: "(structure)",
                    what: word,
                });
            }
            let orphan: Option<String> =
                catalog.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).optional()?;
            match orphan {
                None => Ok(()),
                Some(table) => Err(CatalogError::BadCell {
                    table: "(references)",
                    column: "(any)",
                    what: format!("a row of table {table} refers to one that is not there"),
                }),
            }
        })
    }

    pub(crate) fn audit_key(&self) -> &[u8; 32] {
        &self.shared.audit_key
    }

    pub(crate) fn write<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        self.shared.connections.write(doing, act)
    }

    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        self.shared.connections.read(doing, ask)
    }
}

/// The next number of a counter, from 1. Part of the caller's transaction, so a number that was
/// given out in a transaction that failed is given out again; one that was seen never is.
pub(crate) fn next_number(
    transaction: &Transaction<'_>,
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
fn make(path: &Path, now_unix_ms: i64) -> Result<(), CatalogError> {
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
    migrations::migrate(&mut connection, migrations::STEPS, now_unix_ms)?;
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
        return Err(CatalogError::Foreign { path: path.to_owned() });
    }
    Ok(())
}
