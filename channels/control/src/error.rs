//! What can go wrong on the control channel, and what a verb answers when it fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use simsim_model::Kind;
use simsim_net::DialError;

use crate::hello::ProtocolVersion;

/// A verb that failed, as its handler says it and as it travels: one kind for the caller, one
/// sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[error("{message}")]
#[cbor(map)]
pub struct VerbError {
    #[n(0)]
    #[cbor(decode_with = "crate::wire::kind_or_internal")]
    pub kind: Kind,
    #[n(1)]
    #[cbor(default)]
    pub message: String,
}

impl VerbError {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// An error of the control channel.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No address answered.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// Somebody else listens there, or the host has a new key.
    #[error(
        "{peer} has another host key than expected: expected {expected}, found {found}. Either \
         something stands between, or the host was set up anew: then enrol it again"
    )]
    HostKey { peer: String, expected: String, found: String },
    /// The listener does not know us.
    #[error(
        "{peer} refused the log-in of '{user}' with key {fingerprint}: it is not enrolled with \
         this server, or enrolment was withdrawn"
    )]
    LoginRefused { peer: String, user: String, fingerprint: String },
    /// The server takes no hosts now.
    #[error(
        "{peer} lets no host join now: no join code is valid there; make one on the server with \
         'simsim client code NAME'"
    )]
    JoinClosed { peer: String },
    /// Something answered, but it does not speak the protocol.
    #[error("{peer} does not speak the control protocol: {reason}")]
    Handshake { peer: String, reason: String },
    /// The peer let a time limit pass.
    #[error("{peer} did not answer within {seconds} s ({step}): is the host overloaded?")]
    TimedOut { peer: String, step: &'static str, seconds: u64 },
    /// The two versions have no language in common.
    #[error(
        "{peer} (version {suite_version}) speaks control protocol {theirs}, this is {ours}: \
         bring both to the same major version"
    )]
    Version { peer: String, suite_version: String, theirs: ProtocolVersion, ours: ProtocolVersion },
    /// The session ended; all pending calls get this.
    #[error("the control session with {peer} ended: {reason}")]
    Lost { peer: Arc<str>, reason: Arc<str> },
    /// The peer does not know the verb.
    #[error(
        "{peer} (version {suite_version}) does not support '{verb}': bring it to the version of \
         this host"
    )]
    Unsupported { peer: Arc<str>, suite_version: String, verb: &'static str },
    /// The verb failed over there.
    #[error("{0}")]
    Verb(#[from] VerbError),
    /// What came was not understood.
    #[error("{peer} sent something that is not understood: {reason}")]
    Malformed { peer: Arc<str>, reason: String },
    /// A request that no peer would accept.
    #[error("the request '{verb}' has {bytes} bytes, the limit is {max}: ask for less at once")]
    TooLarge { verb: &'static str, bytes: usize, max: usize },
    /// The identity file.
    #[error("identity file {}: {source}", path.display())]
    IdentityFile { path: PathBuf, source: io::Error },
    /// Others can read it.
    #[error(
        "identity file {} has mode {mode:04o}, so that others can read the key: run \
         'chmod 600 {}' if nobody has read it, else remove it and enrol again",
        path.display(),
        path.display()
    )]
    IdentityExposed { path: PathBuf, mode: u32 },
    /// Not a key.
    #[error(
        "identity file {} is not an Ed25519 key in OpenSSH form without passphrase: restore it, \
         or remove it and enrol again",
        path.display()
    )]
    IdentityDamaged { path: PathBuf },
    /// The server's half of an enrolment did not match.
    #[error("{peer} could not prove that it issued the join code: {reason}. Nothing was enrolled")]
    JoinUnproven { peer: String, reason: &'static str },
}

impl ControlError {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            ControlError::Dial(error) => error.kind(),
            ControlError::HostKey { .. }
            | ControlError::LoginRefused { .. }
            | ControlError::JoinClosed { .. }
            | ControlError::IdentityExposed { .. }
            | ControlError::JoinUnproven { .. } => Kind::Denied,
            ControlError::Handshake { .. }
            | ControlError::TimedOut { .. }
            | ControlError::Lost { .. } => Kind::Unreachable,
            ControlError::Version { .. }
            | ControlError::Unsupported { .. }
            | ControlError::TooLarge { .. } => Kind::Invalid,
            ControlError::Verb(error) => error.kind,
            ControlError::Malformed { .. } | ControlError::IdentityDamaged { .. } => Kind::Corrupt,
            ControlError::IdentityFile { source, .. } => Kind::of_io(source),
        }
    }
}
