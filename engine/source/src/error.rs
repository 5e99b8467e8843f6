//! What can be wrong with a whole source or sink. What is wrong with one file is a
//! [`simsim_model::Problem`] in the job's report, and the job goes on.

use std::io;

use simsim_model::{Kind, escape_path};

/// A backup source that cannot be walked at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("a task needs at least one source path; name a folder or a file")]
    NoSources,
    #[error("the source '{}' is not an absolute path; begin it with '/'", escape_path(.path))]
    NotAbsolute { path: Vec<u8> },
    #[error("the source '{}' goes up with '..' and cannot be resolved: {source}", escape_path(.path))]
    Unresolved { path: Vec<u8>, source: io::Error },
    #[error("the exclude pattern '{pattern}' is malformed ({reason}); patterns follow gitignore")]
    BadExclude { pattern: String, reason: String },
    #[error("cannot open '/': {source}")]
    NoRoot { source: io::Error },
}

impl SourceError {
    pub fn kind(&self) -> Kind {
        match self {
            SourceError::NoSources
            | SourceError::NotAbsolute { .. }
            | SourceError::BadExclude { .. } => Kind::Invalid,
            SourceError::Unresolved { source, .. } | SourceError::NoRoot { source } => {
                Kind::of_io(source)
            }
        }
    }
}

/// A restore that cannot place one entry, or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("cannot open the restore target '{}': {source}", escape_path(.path))]
    Target { path: Vec<u8>, source: io::Error },
    /// The name could not have come from a directory: it is refused, never repaired.
    #[error("'{}' is not a valid name of a file; the entry is refused", escape_path(.name))]
    Name { name: Vec<u8> },
    #[error("the entry '{}' is no {wanted}; it cannot be restored as one", escape_path(.path))]
    WrongKind { path: Vec<u8>, wanted: &'static str },
    #[error(
        "'{}' is there already as a {found}, and a {wanted} should be restored; \
         move it away or restore to another place",
        escape_path(.path)
    )]
    Occupied { path: Vec<u8>, found: &'static str, wanted: &'static str },
    /// The target folds names together (letter case, Unicode forms) that the source kept apart, and
    /// so many of them that no name is left for this one.
    #[error(
        "'{}' falls together with too many other restored names on this file system; \
         restore to a file system that tells them apart",
        escape_path(.path)
    )]
    Twin { path: Vec<u8> },
    #[error("cannot {verb} '{}': {source}", escape_path(.path))]
    Io { verb: &'static str, path: Vec<u8>, source: io::Error },
}

impl SinkError {
    /// Is there no room in the target (or no quota left)? Then nothing else will fit either.
    pub fn no_room(&self) -> bool {
        let full = |source: &io::Error| {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            SinkError::Target { source, .. } | SinkError::Io { source, .. } => full(source),
            _ => false,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            SinkError::Target { source, .. } | SinkError::Io { source, .. } => Kind::of_io(source),
            SinkError::Name { .. } => Kind::Corrupt,
            SinkError::WrongKind { .. } | SinkError::Occupied { .. } | SinkError::Twin { .. } => {
                Kind::Invalid
            }
        }
    }
}
