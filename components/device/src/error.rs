//! What ends a device's work, or refuses it.

use std::io;
use std::path::PathBuf;

use simsim_control::VerbError;
use simsim_control::verbs::JobError;
use simsim_datastore::DatastoreError;
use simsim_format::FormatError;
use simsim_model::{Kind, SavesetId, SessionError, StoreId, TransferId};
use simsim_mover::MoverError;
use simsim_storage::StorageError;

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("datastore {0} is not attached to this device; attach it with its path")]
    NoStore(StoreId),
    #[error("datastore {store} at {path} cannot be served: {why}")]
    NotOpen { store: StoreId, path: PathBuf, kind: Kind, why: String },
    #[error("datastore {store} is in use: {users} transfers or jobs run on it; wait for their end")]
    InUse { store: StoreId, users: usize },
    #[error("'{0}' is not an absolute path without '..'")]
    Path(String),
    #[error("a drive with such a number leads to datastore '{by}' here already")]
    DriveTaken { by: String },
    #[error("{0} is not empty; a datastore is made in an empty folder")]
    NotEmpty(PathBuf),
    #[error("datastore {store} is attached already, at {path}")]
    Attached { store: StoreId, path: PathBuf },
    #[error("cannot {action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the list of datastores {path} is damaged ({why}); correct it, or remove it and attach the datastores again"
    )]
    List { path: PathBuf, why: String },
    #[error("no saveset {0} in this datastore")]
    NoSaveset(SavesetId),
    #[error("no key slots of this domain in this datastore")]
    NoSlots,
    #[error(
        "transfer {0} is not known here: it was never granted, was revoked, or the device was restarted"
    )]
    NoTransfer(TransferId),
    #[error("{0}")]
    Ticket(&'static str),
    #[error(
        "{0} transfers are open at this device, as many as its setting device.transfers_max allows: wait until one ends, or raise it"
    )]
    Crowded(usize),
    #[error("{0} tickets are known at this device, as many as it can keep: try again in an hour")]
    Tickets(usize),
    #[error("this transfer has ended: {0}")]
    Ended(String),
    #[error("{0}")]
    Request(&'static str),
    #[error("a defect in the device; its log says where")]
    Defect,
    #[error(transparent)]
    Datastore(#[from] DatastoreError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Mover(#[from] MoverError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl DeviceError {
    pub fn kind(&self) -> Kind {
        match self {
            DeviceError::NoStore(_)
            | DeviceError::NoSaveset(_)
            | DeviceError::NoSlots
            | DeviceError::NoTransfer(_) => Kind::NotFound,
            DeviceError::NotOpen { kind, .. } => *kind,
            DeviceError::InUse { .. } | DeviceError::Crowded(_) | DeviceError::Tickets(_) => {
                Kind::Busy
            }
            DeviceError::Path(_)
            | DeviceError::NotEmpty(_)
            | DeviceError::Attached { .. }
            | DeviceError::DriveTaken { .. }
            | DeviceError::Request(_) => Kind::Invalid,
            DeviceError::File { source, .. } => Kind::of_io(source),
            DeviceError::List { .. } => Kind::Corrupt,
            DeviceError::Ticket(_) => Kind::Denied,
            DeviceError::Ended(_) => Kind::Cancelled,
            DeviceError::Defect => Kind::Internal,
            DeviceError::Datastore(error) => error.kind(),
            DeviceError::Storage(error) => error.kind(),
            DeviceError::Format(error) => error.kind(),
            DeviceError::Mover(error) => error.kind(),
            DeviceError::Session(error) => error.kind(),
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| DeviceError::File { action, path, source }
    }
}

impl From<DeviceError> for VerbError {
    fn from(error: DeviceError) -> Self {
        VerbError::new(error.kind(), error.to_string())
    }
}

impl From<DeviceError> for JobError {
    fn from(error: DeviceError) -> Self {
        JobError { kind: error.kind(), message: error.to_string() }
    }
}

impl From<DeviceError> for SessionError {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Session(error) => error,
            other => SessionError::new(other.kind(), other.to_string()),
        }
    }
}
