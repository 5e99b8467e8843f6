//! What the Server answers when it cannot do what was asked.

use std::path::PathBuf;

use simsim_catalog::CatalogError;
use simsim_format::FormatError;
use simsim_model::{Kind, SessionError};

/// An error of the Server. `kind` is what a front-end maps to its own reply.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),

    #[error(transparent)]
    Format(#[from] FormatError),

    /// A node answered with an error, or did not answer.
    #[error("{node}: {message}")]
    Node { node: String, kind: Kind, message: String },

    /// A verb of the data channel failed.
    #[error(transparent)]
    Session(#[from] SessionError),

    #[error("{who} may not {verb} {object}: ask an administrator for the right '{right}'")]
    Denied { who: String, verb: &'static str, object: String, right: &'static str },

    #[error("{who} may not ask '{verb}': ask an administrator for the right '{right}'")]
    NotHeld { who: String, verb: String, right: &'static str },

    #[error("{0}")]
    Refused(String),

    #[error("{0}")]
    Invalid(String),

    #[error("there is no {noun} '{name}'")]
    NotFound { noun: &'static str, name: String },

    /// With the names that may have been meant.
    #[error("there is no {noun} '{name}'; did you mean {near}?")]
    NotFoundNear { noun: &'static str, name: String, near: String },

    #[error("'{path}' is not in this saveset")]
    NotInSaveset { path: String },

    /// None of its kind was made yet.
    #[error("there is no {noun} yet")]
    Nothing { noun: &'static str },

    #[error("{0}")]
    Busy(String),

    #[error("the configuration {path}: {why}")]
    Config { path: PathBuf, why: String },

    /// Key material that is lost or damaged.
    #[error("{0}")]
    Key(String),

    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },

    #[error("the server is stopping")]
    Stopping,

    /// A defect here: a task inside the Server ended without an answer.
    #[error("a task inside the server ended without an answer: {0}")]
    Lost(String),
}

impl ServerError {
    pub fn kind(&self) -> Kind {
        match self {
            ServerError::Catalog(error) => error.kind(),
            ServerError::Format(error) => error.kind(),
            ServerError::Node { kind, .. } => *kind,
            ServerError::Session(error) => error.kind(),
            ServerError::Denied { .. } | ServerError::NotHeld { .. } | ServerError::Refused(_) => {
                Kind::Denied
            }
            ServerError::Invalid(_) | ServerError::Config { .. } => Kind::Invalid,
            ServerError::NotFound { .. }
            | ServerError::NotFoundNear { .. }
            | ServerError::NotInSaveset { .. }
            | ServerError::Nothing { .. } => Kind::NotFound,
            ServerError::Busy(_) => Kind::Busy,
            ServerError::Key(_) => Kind::Corrupt,
            ServerError::Io { source, .. } => Kind::of_io(source),
            ServerError::Stopping => Kind::Cancelled,
            ServerError::Lost(_) => Kind::Internal,
        }
    }

    pub(crate) fn node(node: &str, kind: Kind, message: impl Into<String>) -> Self {
        ServerError::Node { node: node.to_owned(), kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        ServerError::Invalid(message.into())
    }

    pub(crate) fn not_found(noun: &'static str, name: impl ToString) -> Self {
        ServerError::NotFound { noun, name: name.to_string() }
    }

    /// Names those of `names` that are near to it, where any is.
    pub(crate) fn not_found_near(
        noun: &'static str,
        name: &str,
        names: impl Iterator<Item = String>,
    ) -> Self {
        let near = crate::desk::nearest_names(name, names);
        if near.is_empty() {
            return ServerError::not_found(noun, name);
        }
        let near: Vec<String> = near.iter().map(|name| format!("'{name}'")).collect();
        ServerError::NotFoundNear { noun, name: name.to_owned(), near: near.join(" or ") }
    }

    pub(crate) fn io(doing: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        ServerError::Io { doing, path: path.to_owned(), source }
    }

    /// The message with the messages of all its causes, for people.
    pub fn full_message(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            let message = inner.to_string();
            if !text.contains(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            cause = inner.source();
        }
        text
    }
}
