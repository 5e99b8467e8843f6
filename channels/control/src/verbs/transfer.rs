//! Verbs by which a server tells a device which transfers to expect, and asks how far they are.

use minicbor::{Decode, Encode};
use simsim_model::{Level, SavesetId, Secret, Ticket, TransferId};

use super::SavesetNames;

/// Tells the device to expect a transfer.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct GrantTransfer {
    #[n(0)]
    pub ticket: Ticket,
    /// Only for plain streams that the device cuts and seals itself.
    #[n(1)]
    pub domain_key: Option<Secret>,
    /// The new saveset must live until then; 0: no lock.
    #[n(2)]
    #[cbor(default)]
    pub lock_until_unix_s: u64,
    /// Absent for a restore.
    #[n(3)]
    pub level: Option<Level>,
    /// Only for plain streams: the names that the device writes into the manifest.
    #[n(4)]
    pub names: Option<SavesetNames>,
    /// TLS keys of the host that will dial, 32 bytes each: whoever comes to a port that asks for a
    /// key must have one of them.
    #[n(5)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub client_keys: Vec<Vec<u8>>,
    /// Hosts whose rate limits count for it: the one whose data it is, and the device's.
    #[n(6)]
    #[cbor(default)]
    pub hosts: Vec<String>,
    /// Addresses of its other end that the device may not see, for limits of networks.
    #[n(7)]
    #[cbor(default)]
    pub addresses: Vec<String>,
    /// The only savesets whose manifests a backup may read: what it is compared with. `None` from a
    /// server that does not say so: any of the domain.
    #[n(8)]
    pub bases: Option<Vec<SavesetId>>,
}

/// A listener that takes the transfer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DataEndpoint {
    /// Row of the port registry, such as `http`.
    #[n(0)]
    pub row: String,
    #[n(1)]
    pub port: u16,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct GrantTransferReply {
    /// In the device's order of preference.
    #[n(0)]
    #[cbor(default)]
    pub endpoints: Vec<DataEndpoint>,
    /// TLS keys that the device may show, 32 bytes each.
    #[n(1)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub device_keys: Vec<Vec<u8>>,
}

/// Ends a transfer, or forgets a ticket that was not used.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RevokeTransfer {
    #[n(0)]
    pub transfer: TransferId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct RevokeTransferReply {
    #[n(0)]
    #[cbor(default)]
    pub was_known: bool,
}

/// How far is a transfer?
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct TransferState {
    #[n(0)]
    pub transfer: TransferId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct TransferStateReply {
    /// Has the client opened it?
    #[n(0)]
    #[cbor(default)]
    pub opened: bool,
    /// By the device's clock, nanoseconds since 1970; 0: never.
    #[n(1)]
    #[cbor(default)]
    pub last_heard_unix_ns: i64,
    #[n(2)]
    #[cbor(default)]
    pub bytes_put: u64,
    #[n(3)]
    #[cbor(default)]
    pub segments: u64,
    #[n(4)]
    #[cbor(default)]
    pub committed: bool,
    /// How it ended, once it has.
    #[n(5)]
    pub ended: Option<String>,
    /// Bytes of a plain stream that the device cuts itself.
    #[n(6)]
    #[cbor(default)]
    pub stream_bytes: u64,
}
