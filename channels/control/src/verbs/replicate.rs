//! The verb by which a device copies savesets between a datastore of its own and one of another
//! device, which it dials.

use minicbor::{Decode, Encode};
use simsim_model::{SavesetId, StoreId, Ticket};

use super::JobResult;

/// Savesets that one request names at most, so that it stays below
/// `limits::CONTROL_MESSAGE_BYTES_MAX`.
pub const REPLICATE_SAVESETS_MAX: usize = 20_000;

/// Copies savesets. Events: progress and problems; a saveset that cannot be copied is a problem.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct Replicate {
    #[n(0)]
    pub job: u64,
    /// The datastore of the device that is asked.
    #[n(1)]
    pub store: StoreId,
    /// One for each domain, in this order.
    #[n(2)]
    #[cbor(default)]
    pub parts: Vec<ReplicatePart>,
    /// Interfaces of the other device.
    #[n(3)]
    #[cbor(default)]
    pub device_addresses: Vec<String>,
    /// TLS keys that it may show, 32 bytes each.
    #[n(4)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub device_keys: Vec<Vec<u8>>,
    /// How fast, and when (`simsim_model::Rate`), by the clock of the device that is asked; empty:
    /// unlimited.
    #[n(5)]
    #[cbor(default)]
    pub rates: Vec<String>,
    /// TLS keys of this host that the other device knows, 32 bytes each; none: whichever it shows now.
    #[n(6)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub client_keys: Vec<Vec<u8>>,
}

/// The savesets of one domain.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ReplicatePart {
    /// For the other device. `copy-in`: from here to there; `copy-out`: from there to here.
    #[n(0)]
    pub ticket: Ticket,
    /// The oldest first.
    #[n(1)]
    #[cbor(default)]
    pub savesets: Vec<SavesetId>,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ReplicateReply {
    #[n(0)]
    pub result: JobResult,
    /// Savesets that were copied.
    #[n(1)]
    #[cbor(default)]
    pub copied: u64,
    /// Savesets that were there already.
    #[n(2)]
    #[cbor(default)]
    pub there: u64,
    /// Savesets that could not be copied.
    #[n(3)]
    #[cbor(default)]
    pub failed: u64,
    #[n(4)]
    #[cbor(default)]
    pub segments: u64,
    /// Bytes of these segments.
    #[n(5)]
    #[cbor(default)]
    pub bytes: u64,
}
