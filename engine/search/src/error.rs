//! What can go wrong with the index.

use std::path::{Path, PathBuf};

use simsim_format::FormatError;
use simsim_model::Kind;

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("the search index: cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },

    /// The index cannot be believed any more. It is discarded and made anew.
    #[error("the search index is damaged: {path}: {why}")]
    Damaged { path: PathBuf, why: String },

    #[error("{0}")]
    Invalid(String),
}

impl SearchError {
    pub fn kind(&self) -> Kind {
        match self {
            SearchError::Io { source, .. } => Kind::of_io(source),
            SearchError::Damaged { .. } => Kind::Corrupt,
            SearchError::Invalid(_) => Kind::Invalid,
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        SearchError::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        SearchError::Damaged { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn malformed(path: &Path, error: &FormatError) -> Self {
        Self::damaged(path, error.to_string())
    }
}
