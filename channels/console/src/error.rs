//! What can go wrong on the console channel.

use simsim_model::Kind;

#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error(
        "no server answers at {socket}: {source}. Start one with 'simsim server', or name its state folder with --state"
    )]
    NoServer { socket: String, source: std::io::Error },
    #[error("no server answers at {server}: {why}")]
    Away { server: String, why: String },
    #[error("{server} does not prove that it is the server: {why}")]
    NotTheServer { server: String, why: String },
    #[error("the local socket {socket} cannot be made: {source}")]
    Socket { socket: String, source: std::io::Error },
    #[error("the server's answer was cut off: {why}")]
    Broken { why: String },
    #[error("{message}")]
    Refused { kind: Kind, message: String },
    #[error("the certificate for the console cannot be made or read: {why}")]
    Certificate { why: String },
}

impl ConsoleError {
    pub fn kind(&self) -> Kind {
        match self {
            ConsoleError::NoServer { .. }
            | ConsoleError::Away { .. }
            | ConsoleError::Broken { .. } => Kind::Unreachable,
            ConsoleError::NotTheServer { .. } => Kind::Denied,
            ConsoleError::Socket { source, .. } => Kind::of_io(source),
            ConsoleError::Refused { kind, .. } => *kind,
            ConsoleError::Certificate { .. } => Kind::Internal,
        }
    }
}
