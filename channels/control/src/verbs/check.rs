//! Verbs that check a datastore, or build its index again.

use minicbor::{Decode, Encode};
use simsim_model::{DomainId, SavesetId, Secret, StoreId};

use super::JobResult;

/// Lines in `VerifyDatastoreReply::damaged` at most.
pub const DAMAGED_LINES_MAX: usize = 1000;
/// Bytes of those lines at most.
pub const DAMAGED_BYTES_MAX: usize = 256 * 1024;

/// How deep a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum VerifyMode {
    /// Packs, index and manifests agree with each other.
    #[n(0)]
    Structure,
    /// Every byte is read and every name checked.
    #[n(1)]
    Bytes,
}

/// The key of one domain.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct DomainKey {
    #[n(0)]
    pub domain: DomainId,
    #[n(1)]
    pub key: Secret,
}

/// Checks a datastore. Events: progress and problems.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct VerifyDatastore {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub job: u64,
    #[n(2)]
    pub mode: VerifyMode,
    /// Keys of the domains whose plaintext names are checked too.
    #[n(3)]
    #[cbor(default)]
    pub domain_keys: Vec<DomainKey>,
    /// Only what this saveset needs; absent: all.
    #[n(4)]
    pub saveset: Option<SavesetId>,
    /// First puts segments that are damaged and lie elsewhere as they were back in their places.
    #[n(5)]
    #[cbor(default)]
    pub mend: bool,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct VerifyDatastoreReply {
    #[n(0)]
    pub result: JobResult,
    #[n(1)]
    #[cbor(default)]
    pub packs: u64,
    #[n(2)]
    #[cbor(default)]
    pub segments: u64,
    #[n(3)]
    #[cbor(default)]
    pub chunks: u64,
    #[n(4)]
    #[cbor(default)]
    pub bytes: u64,
    /// What is damaged, for people; the first thousand.
    #[n(5)]
    #[cbor(default)]
    pub damaged: Vec<String>,
    /// All that is damaged, also what is not in `damaged`.
    #[n(6)]
    #[cbor(default)]
    pub damaged_total: u64,
}

impl VerifyDatastoreReply {
    /// Shortens result and list until the answer fits a message. `damaged_total` is raised to the
    /// number of lines before, if it was lower.
    pub fn fit(&mut self) {
        self.result.fit();
        self.damaged_total = self.damaged_total.max(self.damaged.len() as u64);
        let mut bytes = 0usize;
        let mut kept = 0usize;
        for line in self.damaged.iter().take(DAMAGED_LINES_MAX) {
            bytes = bytes.saturating_add(line.len() + 4);
            if bytes > DAMAGED_BYTES_MAX {
                break;
            }
            kept += 1;
        }
        self.damaged.truncate(kept);
    }
}

/// Removes what no saveset needs. Events: progress and problems.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CollectGarbage {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub job: u64,
    /// Leave to remove more than one collection may by itself.
    #[n(2)]
    #[cbor(default)]
    pub over_budget: bool,
}

/// What was removed, in packs and bytes; `written`: of that, what lived and lies in new packs now.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CollectGarbageReply {
    #[n(0)]
    pub result: JobResult,
    #[n(1)]
    #[cbor(default)]
    pub savesets: u64,
    #[n(2)]
    #[cbor(default)]
    pub packs_deleted: u64,
    #[n(3)]
    #[cbor(default)]
    pub bytes_deleted: u64,
    #[n(4)]
    #[cbor(default)]
    pub packs_written: u64,
    #[n(5)]
    #[cbor(default)]
    pub bytes_written: u64,
    /// Dead, in packs with too little of it to be written anew.
    #[n(6)]
    #[cbor(default)]
    pub bytes_left: u64,
}

/// Builds the index again from the packs. Events: progress and problems.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RebuildIndex {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub job: u64,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RebuildIndexReply {
    #[n(0)]
    pub result: JobResult,
    #[n(1)]
    #[cbor(default)]
    pub packs: u64,
    #[n(2)]
    #[cbor(default)]
    pub segments: u64,
    #[n(3)]
    #[cbor(default)]
    pub chunks: u64,
}
