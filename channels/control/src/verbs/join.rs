//! The verb that a server answers to a stranger with a join code.

use minicbor::{Decode, Encode};

use super::Roles;

/// Enrols the caller under a name. The caller proves that it knows the secret of a join code
/// without sending it; the session is the one of its new key.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct Join {
    /// The name under which the caller wants to be known.
    #[n(0)]
    pub name: String,
    /// The caller's public key as text; it must be the key of this session.
    #[n(1)]
    pub host_key: String,
    /// Where the caller listens for the server.
    #[n(2)]
    pub listen_port: u16,
    /// See `join::proof`; made for the server.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub proof: [u8; 32],
    #[n(4)]
    #[cbor(default)]
    pub suite_version: String,
    #[n(5)]
    #[cbor(default)]
    pub roles: Roles,
    /// Operating system and machine, for people.
    #[n(6)]
    #[cbor(default)]
    pub platform: String,
    /// The caller cannot be dialled: it calls the server (access mode OUTBOUND).
    #[n(7)]
    #[cbor(default)]
    pub outbound: bool,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct JoinReply {
    #[n(0)]
    #[cbor(default)]
    pub server_name: String,
    /// The server's public key as text; it must be the key of this session.
    #[n(1)]
    pub server_key: String,
    /// See `join::proof`; made for the joiner.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub proof: [u8; 32],
}
