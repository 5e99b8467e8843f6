//! Checking savesets one by one: which of them are whole.

use minicbor::{Decode, Encode};
use simsim_model::{SavesetId, StoreId};

use super::{DomainKey, JobResult};

/// Savesets of one check at most.
pub const PROVE_SAVESETS_MAX: usize = 256;

/// Checks savesets of a datastore, each by itself: everything that it names is there and is read. With the
/// key of its domain the plaintext is held against its names, too. Events: progress and problems.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ProveSavesets {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub job: u64,
    /// Comes back with the result, so that the answer to one check is never taken for that to another.
    #[n(2)]
    pub asked: u64,
    #[n(3)]
    pub savesets: Vec<SavesetId>,
    #[n(4)]
    #[cbor(default)]
    pub domain_keys: Vec<DomainKey>,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ProveSavesetsReply {
    /// With what was proven.
    #[n(0)]
    pub result: JobResult,
}

/// Which savesets a check found whole.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProvenSavesets {
    #[n(0)]
    pub asked: u64,
    #[n(1)]
    #[cbor(default)]
    pub whole: Vec<SavesetId>,
}
