//! What can go wrong in a datastore.

use simsim_format::FormatError;
use simsim_model::{Kind, Name, SavesetId, SessionError};
use simsim_storage::StorageError;

/// Whether a read that failed says that the object is lost: it is damaged, cut short or gone, or
/// lies on a part of the medium that cannot be read. Anything else (no more file handles, a mount
/// that has vanished, no answer) says nothing about the object.
pub(crate) fn shows_loss(error: &StorageError) -> bool {
    let unreadable = match error {
        StorageError::Io { source, .. } => {
            source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        }
        _ => false,
    };
    unreadable || matches!(error.kind(), Kind::Corrupt | Kind::NotFound)
}

/// A datastore call that failed.
#[derive(Debug, thiserror::Error)]
pub enum DatastoreError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{object}: {source}")]
    Format { object: String, source: FormatError },
    #[error("{object} is damaged: {why}")]
    Damaged { object: String, why: String },
    #[error("there is no datastore in {place}: create one first")]
    NoStore { place: String },
    #[error("there is a datastore in {place} already")]
    StoreExists { place: String },
    #[error(
        "another process has opened this datastore (generation {found}, ours is {ours}); this one may not write any more"
    )]
    Fenced { ours: u64, found: u64 },
    #[error("the datastore is read-only until it is opened again, because {reason}")]
    ReadOnly { kind: Kind, reason: String },
    #[error("there is no saveset {saveset} in this datastore")]
    NoSaveset { saveset: SavesetId },
    #[error("{what} belongs to another domain")]
    OtherDomain { what: String },
    #[error("{count} referenced chunks or nodes are missing, the first is {first}: put them again")]
    Missing { count: usize, first: String },
    #[error(
        "saveset {saveset} is locked until {until_unix_s} (seconds since 1970): nobody can delete it before"
    )]
    SavesetLocked { saveset: SavesetId, until_unix_s: u64 },
    #[error(
        "saveset {saveset} is locked until {until_unix_s}: the clock here says {ours}, but by what this datastore knew of the time it is believed up to {believed} only (seconds since 1970); if it is right, start this host's RDS again, which believes it for 30 days more each time"
    )]
    ClockAhead { saveset: SavesetId, until_unix_s: u64, ours: u64, believed: u64 },
    #[error(
        "which savesets are locked cannot be read ({why}), so nothing is deleted: put one of the objects locks.1 to locks.3 of this datastore back from a copy of it"
    )]
    LocksUnknown { why: String },
    #[error("saveset {saveset} is being read: delete it when that has ended")]
    SavesetInUse { saveset: SavesetId },
    #[error(
        "the clock here says {ours} and the one of who asks {theirs} (seconds since 1970): nothing is deleted before they agree to the hour"
    )]
    ClocksApart { ours: u64, theirs: u64 },
    #[error(
        "node {node}, which a saveset needs, is not here: check the datastore, and heal it or delete that saveset, before garbage can be collected"
    )]
    NodeGone { node: Name },
    #[error(
        "a manifest is damaged ({what}): nobody knows what that saveset needs, so no garbage is collected; rebuild the index, which brings manifests back too"
    )]
    ManifestUnknown { what: String },
    #[error(
        "{dead} of {all} bytes would be removed, which is more than a collection may do by itself: look whether so much was meant to be deleted, and collect with leave to do it"
    )]
    OverBudget { dead: u64, all: u64 },
    #[error("{what} is at work on this datastore: try again when it has ended")]
    AtWork { what: &'static str },
    #[error("stopped before the end, as was asked")]
    Stopped,
    #[error("{reason}")]
    SessionFailed { kind: Kind, reason: String },
    #[error(
        "{waiting} bytes of nodes wait here for what they refer to, which leaves no room for {more} more: put what nodes refer to before them"
    )]
    NoRoom { waiting: usize, more: usize },
    #[error("{why}")]
    Invalid { why: String },
}

impl DatastoreError {
    pub fn kind(&self) -> Kind {
        match self {
            DatastoreError::Storage(source) => source.kind(),
            DatastoreError::Format { source, .. } => source.kind(),
            DatastoreError::Damaged { .. } => Kind::Corrupt,
            DatastoreError::NoStore { .. } | DatastoreError::NoSaveset { .. } => Kind::NotFound,
            DatastoreError::StoreExists { .. } | DatastoreError::OtherDomain { .. } => Kind::Denied,
            DatastoreError::Fenced { .. }
            | DatastoreError::NoRoom { .. }
            | DatastoreError::SavesetInUse { .. }
            | DatastoreError::AtWork { .. } => Kind::Busy,
            DatastoreError::SavesetLocked { .. }
            | DatastoreError::ClockAhead { .. }
            | DatastoreError::ClocksApart { .. }
            | DatastoreError::OverBudget { .. } => Kind::Denied,
            DatastoreError::NodeGone { .. }
            | DatastoreError::ManifestUnknown { .. }
            | DatastoreError::LocksUnknown { .. } => Kind::Corrupt,
            DatastoreError::Stopped => Kind::Cancelled,
            DatastoreError::ReadOnly { kind, .. } | DatastoreError::SessionFailed { kind, .. } => {
                *kind
            }
            DatastoreError::Missing { .. } => Kind::NotFound,
            DatastoreError::Invalid { .. } => Kind::Invalid,
        }
    }

    /// As [`shows_loss`], of any error of a read.
    pub(crate) fn shows_loss(&self) -> bool {
        match self {
            DatastoreError::Storage(error) => shows_loss(error),
            error => matches!(error.kind(), Kind::Corrupt | Kind::NotFound),
        }
    }

    pub(crate) fn format(object: impl Into<String>, source: FormatError) -> Self {
        DatastoreError::Format { object: object.into(), source }
    }

    pub(crate) fn damaged(object: impl Into<String>, why: impl Into<String>) -> Self {
        DatastoreError::Damaged { object: object.into(), why: why.into() }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        DatastoreError::Invalid { why: why.into() }
    }
}

impl From<DatastoreError> for SessionError {
    fn from(error: DatastoreError) -> Self {
        SessionError::new(error.kind(), error.to_string())
    }
}
