//! What can go wrong with an object.

use std::io;

use simsim_model::Kind;

/// A storage call that failed. Names what was done to which object, and where.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {action} {object}: {source}{}", advice(source))]
    Io { action: &'static str, object: String, source: io::Error },
    #[error("{object} exists already; stored objects are never overwritten")]
    Exists { object: String },
    #[error("{object} ends at byte {found}, but {wanted} bytes were expected: it was cut short")]
    Short { object: String, wanted: u64, found: u64 },
    #[error("{object} is held by another process ({holder}): stop that one first")]
    Locked { object: String, holder: String },
    #[error("{object} failed earlier and cannot be continued; write it anew")]
    Dead { object: String },
    #[error(
        "the storage in {place} has not answered for {seconds} s ({action} {object}): look after its disk or mount, then attach the datastore again"
    )]
    Silent { place: String, action: &'static str, object: String, seconds: f64 },
    #[error("'{key}' is no valid object key")]
    Key { key: String },
    #[error("{place} is not fit to hold a store: {why}")]
    Unfit { place: String, why: String },
}

fn advice(source: &io::Error) -> &'static str {
    match Kind::of_io(source) {
        Kind::Full => "; free space on this volume, then start again",
        Kind::Denied => "; check owner and permissions of the folder",
        _ => "",
    }
}

impl StorageError {
    pub fn kind(&self) -> Kind {
        match self {
            StorageError::Io { source, .. } => Kind::of_io(source),
            StorageError::Exists { .. } => Kind::Denied,
            StorageError::Short { .. } => Kind::Corrupt,
            StorageError::Locked { .. } => Kind::Busy,
            StorageError::Dead { .. } => Kind::Internal,
            StorageError::Silent { .. } => Kind::Unreachable,
            StorageError::Key { .. } | StorageError::Unfit { .. } => Kind::Invalid,
        }
    }

    pub(crate) fn io(action: &'static str, object: impl Into<String>, source: io::Error) -> Self {
        StorageError::Io { action, object: object.into(), source }
    }
}
