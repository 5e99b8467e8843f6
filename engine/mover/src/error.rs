//! What ends a backup, restore or verification as a whole. Single files never do.

use simsim_format::FormatError;
use simsim_model::{Kind, SessionError, limits};

#[derive(Debug, Clone, thiserror::Error)]
pub enum MoverError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("the job was cancelled")]
    Cancelled,
    #[error("the datastore does not hold {what} {name}; verify it, and restore from another copy")]
    Missing { what: &'static str, name: String },
    #[error("'{path}' is not in this saveset; list it with 'simsim ls'")]
    NoSuchPath { path: String },
    #[error(
        "the folder '{path}' lies deeper than {} folders or {} bytes of path, and no backup makes \
         such a tree: what is in it is not read; ask for a folder above it, or restore, which \
         leaves it out",
        limits::PATH_DEPTH_MAX,
        limits::PATH_BYTES_MAX
    )]
    TooDeep { path: String },
    #[error("nothing in this saveset matches {patterns}; list it with 'simsim ls'")]
    NoMatch { patterns: String },
    #[error(
        "no room is left in the restore target ({0}); free space there and restore again, \
         with '--overwrite if-changed' to go on with what is missing"
    )]
    Full(String),
    #[error("{0}")]
    Target(String),
    /// Two contents that have one name: the second one would come back as the first one.
    #[error(
        "two different pieces of content have the same name {name}: nothing of this backup is kept; \
         memory or processor of this host err, or the datastore's key is known to an attacker; \
         check the memory, then back up again from another host"
    )]
    Collision { name: String },
    #[error("a worker ended without an answer")]
    Lost,
}

impl MoverError {
    pub fn kind(&self) -> Kind {
        match self {
            MoverError::Session(error) => error.kind,
            MoverError::Format(error) => error.kind(),
            MoverError::Cancelled => Kind::Cancelled,
            MoverError::Missing { .. }
            | MoverError::TooDeep { .. }
            | MoverError::Collision { .. } => Kind::Corrupt,
            MoverError::NoSuchPath { .. } | MoverError::NoMatch { .. } => Kind::NotFound,
            MoverError::Full(_) => Kind::Full,
            MoverError::Target(_) => Kind::Invalid,
            MoverError::Lost => Kind::Internal,
        }
    }
}
