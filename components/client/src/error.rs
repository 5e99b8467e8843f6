//! What ends a client's job, or refuses it.

use std::io;
use std::path::PathBuf;

use simsim_control::VerbError;
use simsim_control::verbs::JobError;
use simsim_format::FormatError;
use simsim_model::{Kind, SessionError};
use simsim_mover::MoverError;
use simsim_source::{SinkError, SourceError};
use simsim_transfer::RoutesError;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "the policy {path} of this client cannot be used: {why}; correct it, jobs are refused until then"
    )]
    Policy { path: PathBuf, why: String },
    #[error(
        "the policy of this client does not allow to read {path}; its owner can add it to [read] paths in {policy}"
    )]
    ReadDenied { path: String, policy: PathBuf },
    #[error(
        "the policy of this client does not allow to restore into {path}; its owner can add it to [restore] targets in {policy}"
    )]
    RestoreDenied { path: String, policy: PathBuf },
    #[error(
        "the policy of this client has no command '{name}'; its owner can add [commands.{name}] to {policy}"
    )]
    NoCommand { name: String, policy: PathBuf },
    #[error(
        "nothing was stored: no source of this task is there ({all}). Is a file system not mounted? Correct the task if they went for good"
    )]
    NoSource { all: String },
    #[error("'{path}' is not an absolute path without '..'")]
    Path { path: String },
    #[error("{0}")]
    Request(&'static str),
    #[error(transparent)]
    Routes(#[from] RoutesError),
    #[error(
        "neither the server sent a key for this domain nor does this client hold one; if it was lost here, bring it back: simsim key recover"
    )]
    NoKey,
    #[error(
        "this client holds no key alone, so it has no recovery kit of its own; who holds which: 'simsim key domain list' on the server"
    )]
    NoKit,
    #[error("the server does not reach this host now, so it cannot be asked")]
    NotReached,
    /// The server refused or failed.
    #[error("{message}")]
    Refused { kind: Kind, message: String },
    #[error("cannot {action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: &'static str },
    #[error("the command '{name}' {what}; nothing of it was stored. It said: {said}")]
    Command { name: String, what: String, said: String },
    #[error("the pre-command '{name}' {what}, so nothing was read. It said: {said}")]
    PreCommand { name: String, what: String, said: String },
    #[error("the command '{name}' {what}. It said: {said}")]
    OwnCommand { name: String, what: String, said: String },
    #[error(
        "the scratch place {path} is there already, so nothing was restored: remove it if nobody needs it, or name another folder"
    )]
    ScratchInUse { path: PathBuf },
    #[error("the restore drill found that {0}")]
    DrillFailed(String),
    #[error("the job was cancelled")]
    Cancelled,
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Mover(#[from] MoverError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl ClientError {
    pub fn kind(&self) -> Kind {
        match self {
            ClientError::Policy { .. }
            | ClientError::ReadDenied { .. }
            | ClientError::RestoreDenied { .. }
            | ClientError::NoCommand { .. }
            | ClientError::NoKey => Kind::Denied,
            ClientError::Path { .. } | ClientError::Request(_) | ClientError::Routes(_) => {
                Kind::Invalid
            }
            ClientError::NoSource { .. } | ClientError::NoKit => Kind::NotFound,
            ClientError::NotReached => Kind::Unreachable,
            ClientError::Refused { kind, .. } => *kind,
            ClientError::File { source, .. } => Kind::of_io(source),
            ClientError::Damaged { .. } => Kind::Corrupt,
            ClientError::Command { .. }
            | ClientError::PreCommand { .. }
            | ClientError::OwnCommand { .. } => Kind::Internal,
            ClientError::ScratchInUse { .. } => Kind::Invalid,
            ClientError::DrillFailed(_) => Kind::Corrupt,
            ClientError::Cancelled => Kind::Cancelled,
            ClientError::Session(error) => error.kind(),
            ClientError::Mover(error) => error.kind(),
            ClientError::Source(error) => error.kind(),
            ClientError::Sink(error) => error.kind(),
            ClientError::Format(error) => error.kind(),
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| ClientError::File { action, path, source }
    }
}

impl From<ClientError> for JobError {
    fn from(error: ClientError) -> Self {
        JobError { kind: error.kind(), message: error.to_string() }
    }
}

impl From<ClientError> for VerbError {
    fn from(error: ClientError) -> Self {
        VerbError::new(error.kind(), error.to_string())
    }
}
