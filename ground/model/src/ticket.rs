//! Tickets: the right to one transfer, handed out on the control channel only.

use std::fmt;

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{DomainId, SavesetId, StoreId, TransferId};

/// 32 secret bytes that never show in logs and are wiped when dropped.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(transparent)]
pub struct Secret(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a transfer may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Direction {
    /// has, put, commit; and get of the base saveset's nodes.
    #[n(0)]
    Backup,
    /// locate, get.
    #[n(1)]
    Restore,
    /// Savesets of the domain are copied into the datastore: has, put, and a commit of each.
    #[n(2)]
    #[serde(rename = "copy-in")]
    CopyIn,
    /// Savesets of the domain are copied out of the datastore: manifest, locate, get.
    #[n(3)]
    #[serde(rename = "copy-out")]
    CopyOut,
}

impl Direction {
    /// Is the ticket for a domain and not for one saveset?
    pub const fn is_copy(self) -> bool {
        matches!(self, Direction::CopyIn | Direction::CopyOut)
    }
}

/// The right to one transfer: issued by the server, sent to the device and to the client over
/// their control channels, used once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ticket {
    #[n(0)]
    pub transfer: TransferId,
    #[n(1)]
    pub job: u64,
    /// Name of the client as enrolled.
    #[n(2)]
    pub client: String,
    #[n(3)]
    pub drive: u32,
    #[n(4)]
    pub store: StoreId,
    #[n(5)]
    pub domain: DomainId,
    #[n(6)]
    pub direction: Direction,
    /// Bytes of segments (or of a plain stream) that may be put; 0 means no limit.
    #[n(7)]
    pub bytes_max: u64,
    /// Unix seconds after which the ticket cannot be opened, by the device's clock. An opened
    /// session outlives it.
    #[n(8)]
    pub expires_unix_s: u64,
    #[n(9)]
    pub secret: Secret,
    /// Backup: the id that the new saveset will have. Restore: the saveset to read. Zeros for a
    /// copy, which is of any saveset of the domain.
    #[n(10)]
    pub saveset: SavesetId,
}
