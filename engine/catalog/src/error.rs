//! What can go wrong with the catalog, and what the caller can do about it.

use std::path::PathBuf;

use rusqlite::ffi;
use simsim_model::Kind;

use crate::sql::SqlError;

/// An error of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A file with a password that others may read.
    #[error("the password file {path} can be read by others than its owner: chmod 600 it")]
    Readable { path: PathBuf },

    /// Another process holds the catalog.
    #[error(
        "the catalog {place} is in use{holder}: two servers cannot run on one catalog; stop the other one first"
    )]
    InUse { place: String, holder: String },

    /// Written by a later version of the suite.
    #[error(
        "the catalog has schema version {found}, and this version of simsim knows up to {known}: install the version that wrote it, or a later one"
    )]
    Newer { found: i64, known: i64 },

    /// A database, but not ours.
    #[error("{place} is a database of another program: give the catalog a place of its own")]
    Foreign { place: String },

    /// A migration that was applied is not the one in this binary.
    #[error(
        "schema step {step} of this catalog was applied by a build whose step had another text: use the build that wrote it"
    )]
    StepDiffers { step: i64 },

    #[error("there is no {noun} '{name}'")]
    NotFound { noun: &'static str, name: String },

    #[error("{} {noun} '{name}' exists already: choose another name", article(.noun))]
    Exists { noun: &'static str, name: String },

    /// Something else still refers to it.
    #[error("{noun} '{name}' is still used by {by}")]
    StillUsed { noun: &'static str, name: String, by: String },

    #[error("{message}")]
    Invalid { message: String },

    /// A step that the job's state does not allow.
    #[error("job {job} is {state}: it cannot {verb} any more")]
    JobState { job: u64, state: &'static str, verb: &'static str },

    #[error(
        "no room for the catalog while trying to {doing}: free space on its disk; nothing was changed"
    )]
    Full { doing: &'static str, source: SqlError },

    /// The file is damaged.
    #[error(
        "the catalog's file is damaged (found while trying to {doing}): restore it from a copy, or start with an empty one and run 'simsim datastore rebuild-catalog'"
    )]
    Damaged { doing: &'static str, source: SqlError },

    /// A copy that was made of it is there now, and is the catalog.
    #[error(
        "the catalog {place} was moved to {to}: 'server.catalog' in the settings must name that one. To move it back here, first remove what is left here"
    )]
    Moved { place: String, to: String },

    #[error(
        "the copy of the catalog in {place} differs in {what}: the catalog stays where it was; empty the other database before it is moved again"
    )]
    CopyDiffers { place: String, what: String },

    /// Pieces of a catalog that cannot be of one.
    #[error("these are no pieces of a catalog: {what}")]
    NoCatalog { what: &'static str },

    /// What the database keeps of the catalog is damaged.
    #[error(
        "PostgreSQL says that the catalog's data is damaged (found while trying to {doing}): restore the database from a copy of it, or start with an empty one and run 'simsim datastore rebuild-catalog'"
    )]
    DamagedThere { doing: &'static str, source: SqlError },

    /// PostgreSQL does not answer, or the connection to it ended. Nothing was changed.
    #[error(
        "the catalog could not {doing}: its database cannot be reached. Nothing was changed; the next try connects anew. Look at the server of PostgreSQL and the way to it"
    )]
    Lost { doing: &'static str, source: SqlError },

    /// The connection ended while the database made a change durable, and what became of it could
    /// not be asked.
    #[error(
        "the catalog was to {doing}, and the connection to its database ended while it did: whether that was done is not known. Look before it is done again"
    )]
    Unclear { doing: &'static str, source: SqlError },

    /// Shorter than any database: a power cut or a full disk cut it off.
    #[error(
        "the catalog's file {path} has only {bytes} bytes, so its content is lost: restore it from a copy, or remove it and run 'simsim datastore rebuild-catalog'"
    )]
    CutOff { path: PathBuf, bytes: u64 },

    /// A cell holds what this version cannot read.
    #[error("the catalog's table {table} holds an unreadable value in column {column}: {what}")]
    BadCell { table: &'static str, column: &'static str, what: String },

    /// A flush failed earlier; what was written since cannot be trusted to be durable.
    #[error(
        "the catalog refuses writes since a flush to disk failed: look at the disk, then restart the server"
    )]
    FlushFailed,

    #[error("the catalog could not {doing}")]
    Sql { doing: &'static str, source: SqlError },

    #[error("the catalog could not {doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
}

/// The article of a noun of ours. "User" and the like begin as "you" does.
fn article(noun: &str) -> &'static str {
    match noun.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) {
        true => "an",
        false => "a",
    }
}

impl CatalogError {
    /// What the caller can do.
    pub fn kind(&self) -> Kind {
        match self {
            CatalogError::InUse { .. } | CatalogError::StillUsed { .. } => Kind::Busy,
            CatalogError::Readable { .. } => Kind::Denied,
            CatalogError::NotFound { .. } => Kind::NotFound,
            CatalogError::Newer { .. }
            | CatalogError::Foreign { .. }
            | CatalogError::StepDiffers { .. }
            | CatalogError::Moved { .. }
            | CatalogError::Exists { .. }
            | CatalogError::Invalid { .. }
            | CatalogError::JobState { .. } => Kind::Invalid,
            CatalogError::Full { .. } => Kind::Full,
            CatalogError::Lost { .. } | CatalogError::Unclear { .. } => Kind::Unreachable,
            CatalogError::Damaged { .. }
            | CatalogError::DamagedThere { .. }
            | CatalogError::CopyDiffers { .. }
            | CatalogError::NoCatalog { .. }
            | CatalogError::CutOff { .. }
            | CatalogError::BadCell { .. } => Kind::Corrupt,
            CatalogError::FlushFailed => Kind::Internal,
            CatalogError::Sql { source, .. } => kind_of_sql(source),
            CatalogError::Io { source, .. } => Kind::of_io(source),
        }
    }

    pub(crate) fn not_found(noun: &'static str, name: impl ToString) -> Self {
        CatalogError::NotFound { noun, name: name.to_string() }
    }

    pub(crate) fn exists(noun: &'static str, name: impl ToString) -> Self {
        CatalogError::Exists { noun, name: name.to_string() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        CatalogError::Invalid { message: message.into() }
    }

    pub(crate) fn io(doing: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        CatalogError::Io { doing, path: path.to_owned(), source }
    }

    /// Names the act that failed and finds the word for the database's code.
    pub(crate) fn while_doing(self, doing: &'static str) -> Self {
        let source = match self {
            CatalogError::Sql { source, .. } => source,
            CatalogError::Unclear { source, .. } => return CatalogError::Unclear { doing, source },
            other => return other,
        };
        if source.is_lost() {
            return CatalogError::Lost { doing, source };
        }
        let refused = || CatalogError::Invalid {
            message: format!(
                "the catalog refuses to {doing}: it would refer to something that is not there, or break a rule of the table ({source})"
            ),
        };
        match (source.as_sqlite().and_then(primary_code), source.sqlstate()) {
            (Some(ffi::SQLITE_FULL), _) | (_, Some("53100")) => {
                CatalogError::Full { doing, source }
            }
            // The index of the log could not grow: on Linux for want of room.
            (Some(ffi::SQLITE_IOERR), _)
                if extended_code(&source) == Some(ffi::SQLITE_IOERR_SHMSIZE) =>
            {
                CatalogError::Full { doing, source }
            }
            (Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB), _) => {
                CatalogError::Damaged { doing, source }
            }
            (_, Some("XX001" | "XX002" | "58P01")) => CatalogError::DamagedThere { doing, source },
            (Some(ffi::SQLITE_CONSTRAINT), _) => refused(),
            (_, Some(code)) if code.starts_with("23") => refused(),
            _ => CatalogError::Sql { doing, source },
        }
    }

    /// Two transactions met, and all of this one may be tried again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, CatalogError::Sql { source, .. } if source.is_conflict())
    }

    /// A flush that failed: after it, the kernel may have dropped what was not written, and a
    /// second flush would say that all is well.
    pub(crate) fn is_failed_flush(&self) -> bool {
        let source = match self {
            CatalogError::Sql { source, .. }
            | CatalogError::Full { source, .. }
            | CatalogError::Damaged { source, .. } => source,
            _ => return false,
        };
        matches!(extended_code(source), Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
    }
}

impl From<SqlError> for CatalogError {
    fn from(source: SqlError) -> Self {
        CatalogError::Sql { doing: "run a statement", source }
    }
}

impl From<rusqlite::Error> for CatalogError {
    fn from(source: rusqlite::Error) -> Self {
        SqlError::from(source).into()
    }
}

fn kind_of_sql(source: &SqlError) -> Kind {
    match (source.as_sqlite().and_then(primary_code), source.sqlstate()) {
        (Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED), _) => Kind::Busy,
        (Some(ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH), _) => Kind::Denied,
        // Conflicts after all tries, a lock that was not let go of, too many connections.
        (_, Some("40001" | "40P01" | "55P03" | "53300")) => Kind::Busy,
        // A wrong password or role; no such right; a database that only answers reads.
        (_, Some("28000" | "28P01" | "42501" | "25006")) => Kind::Denied,
        // No such database.
        (_, Some("3D000")) => Kind::NotFound,
        _ => Kind::Internal,
    }
}

fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & 0xff)
}

fn extended_code(error: &SqlError) -> Option<i32> {
    error.as_sqlite()?.sqlite_error().map(|error| error.extended_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(extended_code: i32) -> CatalogError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None).into()
    }

    #[test]
    fn sqlite_codes_become_words_for_the_caller() {
        assert_eq!(failure(ffi::SQLITE_FULL).while_doing("test").kind(), Kind::Full);
        assert_eq!(failure(ffi::SQLITE_CORRUPT).while_doing("test").kind(), Kind::Corrupt);
        assert_eq!(failure(ffi::SQLITE_NOTADB).while_doing("test").kind(), Kind::Corrupt);
        assert_eq!(failure(ffi::SQLITE_BUSY).while_doing("test").kind(), Kind::Busy);
        assert_eq!(
            failure(ffi::SQLITE_CONSTRAINT_FOREIGNKEY).while_doing("test").kind(),
            Kind::Invalid
        );
        assert_eq!(failure(ffi::SQLITE_IOERR_READ).while_doing("test").kind(), Kind::Internal);
    }

    #[test]
    fn what_exists_already_has_its_article() {
        let told = |noun| CatalogError::exists(noun, "x").to_string();
        assert!(told("event").starts_with("an event 'x' exists already"));
        assert!(told("API token").starts_with("an API token 'x' exists already"));
        assert!(told("user").starts_with("a user 'x' exists already"));
        assert!(told("media pool").starts_with("a media pool 'x' exists already"));
    }

    #[test]
    fn pwr05_a_failed_flush_is_told_from_other_errors() {
        assert!(failure(ffi::SQLITE_IOERR_FSYNC).while_doing("test").is_failed_flush());
        assert!(failure(ffi::SQLITE_IOERR_DIR_FSYNC).is_failed_flush());
        assert!(!failure(ffi::SQLITE_IOERR_READ).is_failed_flush());
        assert!(!failure(ffi::SQLITE_FULL).while_doing("test").is_failed_flush());
    }
}
