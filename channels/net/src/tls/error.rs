//! What can go wrong with keys and certificates.

use std::io;
use std::path::PathBuf;

use simsim_model::Kind;

/// A key or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    /// What stands in a file is not what should stand there.
    #[error("{}: {why}", .file.display())]
    Content { file: PathBuf, why: String },
    /// A certificate for another key, or one that nothing can read.
    #[error("the certificate cannot be used: {why}")]
    Certificate { why: String },
    /// The crypto library refused.
    #[error("TLS cannot be set up: {why}")]
    Setup { why: String },
}

impl TlsError {
    pub fn kind(&self) -> Kind {
        match self {
            TlsError::File { source, .. } => Kind::of_io(source),
            TlsError::Content { .. } | TlsError::Certificate { .. } => Kind::Invalid,
            TlsError::Setup { .. } => Kind::Internal,
        }
    }

    pub(super) fn setup(error: impl std::fmt::Display) -> Self {
        TlsError::Setup { why: error.to_string() }
    }

    pub(super) fn certificate(error: impl std::fmt::Display) -> Self {
        TlsError::Certificate { why: error.to_string() }
    }
}
