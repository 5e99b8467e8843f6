//! A check with a budget.

use minicbor::{Decode, Encode};
use simsim_model::StoreId;

use super::JobResult;

/// Checks packs of a datastore as its structure is checked, those first that were checked longest ago, until so many bytes
/// were read or so many seconds have passed. Both 0: everything. Events: progress and problems.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ScrubDatastore {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub job: u64,
    #[n(2)]
    #[cbor(default)]
    pub bytes_max: u64,
    #[n(3)]
    #[cbor(default)]
    pub seconds_max: u64,
}

/// How far the checks are when it ended.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ScrubDatastoreReply {
    #[n(0)]
    pub result: JobResult,
    #[n(1)]
    #[cbor(default)]
    pub packs: u64,
    /// Packs that no check has seen.
    #[n(2)]
    #[cbor(default)]
    pub packs_never: u64,
    /// Everything else was checked after this, by the device's clock; seconds since 1970.
    #[n(3)]
    pub oldest_unix_s: Option<u64>,
}
