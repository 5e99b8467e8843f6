//! Verbs that every node answers.

use minicbor::{Decode, Encode};

use super::JobKind;

/// What a node is. Each kind contains the ones before it: a server is also a device host, and
/// both are also clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Roles {
    #[n(0)]
    #[cbor(default)]
    pub client: bool,
    #[n(1)]
    #[cbor(default)]
    pub device: bool,
    #[n(2)]
    #[cbor(default)]
    pub server: bool,
}

impl Roles {
    /// A host that only reads and writes its own files.
    pub const CLIENT: Self = Self { client: true, device: false, server: false };
    /// A remote device server.
    pub const RDS: Self = Self { client: true, device: true, server: false };
    /// The server.
    pub const SERVER: Self = Self { client: true, device: true, server: true };
}

/// Is anybody there?
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct Ping {}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct PingReply {
    /// The node's clock, nanoseconds since 1970.
    #[n(0)]
    #[cbor(default)]
    pub unix_ns: i64,
}

/// Who is there, and what runs?
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct NodeState {}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct NodeStateReply {
    /// The node's own name for itself.
    #[n(0)]
    #[cbor(default)]
    pub name: String,
    /// Version of the suite, such as `0.1.0`.
    #[n(1)]
    #[cbor(default)]
    pub suite_version: String,
    #[n(2)]
    #[cbor(default)]
    pub roles: Roles,
    /// Operating system and machine, for people.
    #[n(3)]
    #[cbor(default)]
    pub platform: String,
    /// Seconds since the daemon started.
    #[n(4)]
    #[cbor(default)]
    pub uptime_s: u64,
    #[n(5)]
    #[cbor(default)]
    pub jobs: Vec<RunningJob>,
    #[n(6)]
    #[cbor(default)]
    pub listening: Vec<ListeningAddress>,
    /// Pin of this host's TLS key, 32 bytes; empty where it has none.
    #[n(7)]
    #[cbor(default, with = "minicbor::bytes")]
    pub tls_key: Vec<u8>,
    /// Its public key for a certificate, an uncompressed P-256 point; empty where the pair is the
    /// administrator's.
    #[n(8)]
    #[cbor(default, with = "minicbor::bytes")]
    pub tls_public_key: Vec<u8>,
    /// Of an RDS: the words that it has sent before the calls that it passes on now. So the server knows
    /// from which of its hosts a call comes, whatever address that has.
    #[n(9)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub relayed: Vec<Vec<u8>>,
    /// Of an RDS: its settings say that it passes calls of other hosts on to the server.
    #[n(10)]
    #[cbor(default)]
    pub relays_calls: bool,
    /// SHA-256 of the certificate that it shows, 32 bytes; empty where it has none or is of an older version.
    #[n(11)]
    #[cbor(default, with = "minicbor::bytes")]
    pub tls_certificate: Vec<u8>,
}

/// A job that runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RunningJob {
    #[n(0)]
    pub job: u64,
    #[n(1)]
    #[cbor(default, decode_with = "crate::wire::or_default")]
    pub kind: JobKind,
}

/// An open listener.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListeningAddress {
    /// Row of the port registry, such as `smssh`.
    #[n(0)]
    pub row: String,
    /// `host:port` as bound. Row `drive`: the number of each drive is added to the port, and port 0 means
    /// that each takes a free one.
    #[n(1)]
    pub address: String,
    /// Row `drive`: this is the open port of the drive with this number, where it is another one than
    /// the first such address and the number make.
    #[n(2)]
    pub drive: Option<u32>,
}

/// The certificate that a node shows from now on: of the key that it told in its state.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct InstallCertificate {
    /// PEM: the node's own certificate first.
    #[n(0)]
    #[cbor(default)]
    pub chain: String,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct InstallCertificateReply {}

/// Makes a TLS key that will take the place of the node's, and keeps it beside it. Nothing is shown of it.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct PrepareTlsKey {}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct PrepareTlsKeyReply {
    /// Pin of the new key, 32 bytes.
    #[n(0)]
    #[cbor(default, with = "minicbor::bytes")]
    pub tls_key: Vec<u8>,
    /// The new public key for a certificate, an uncompressed P-256 point.
    #[n(1)]
    #[cbor(default, with = "minicbor::bytes")]
    pub tls_public_key: Vec<u8>,
}

/// The prepared key takes the place of the node's. What began with the old key goes on.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct SwitchTlsKey {
    /// Pin of the prepared key, 32 bytes. Of the one that is shown already: nothing is done.
    #[n(0)]
    #[cbor(default, with = "minicbor::bytes")]
    pub tls_key: Vec<u8>,
    /// PEM: a certificate of the prepared key first; empty: the node vouches for itself.
    #[n(1)]
    #[cbor(default)]
    pub chain: String,
    /// The old key is not shown to anybody any more, also not to what began with it.
    #[n(2)]
    #[cbor(default)]
    pub forget: bool,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct SwitchTlsKeyReply {}
