//! Verbs that a device answers: datastores, transfers, manifests, checks and key slots.
//!
//! There is no verb that deletes.

use minicbor::{Decode, Encode};
use simsim_model::{DomainId, Level, SavesetId, Secret, StoreId, Ticket, TransferId};

use super::{JobResult, SavesetNames};

/// Manifest bytes that one page of `ListManifests` or one `GetManifest` carries at most.
pub const MANIFEST_PAGE_BYTES_MAX: usize = 512 * 1024;

/// Lines in `VerifyDatastoreReply::damaged` at most.
pub const DAMAGED_LINES_MAX: usize = 1000;
/// Bytes of those lines at most.
pub const DAMAGED_BYTES_MAX: usize = 256 * 1024;

/// Makes a datastore in an empty or absent directory, and serves it.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CreateDatastore {
    /// Absolute path on the device's host.
    #[n(0)]
    pub path: String,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub store: StoreId,
    /// Who owns it, for people.
    #[n(3)]
    #[cbor(default)]
    pub owner: String,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CreateDatastoreReply {
    #[n(0)]
    pub store: StoreId,
}

/// Serves a datastore that exists.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct AttachDatastore {
    /// Absolute path on the device's host.
    #[n(0)]
    pub path: String,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct AttachDatastoreReply {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    #[cbor(default)]
    pub name: String,
    #[n(2)]
    #[cbor(default)]
    pub owner: String,
}

/// Stops serving a datastore; `Busy` while transfers run.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct DetachDatastore {
    #[n(0)]
    pub store: StoreId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct DetachDatastoreReply {}

/// Sizes, counts and condition of a datastore.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct DatastoreState {
    #[n(0)]
    pub store: StoreId,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct DatastoreStateReply {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    #[cbor(default)]
    pub name: String,
    #[n(2)]
    #[cbor(default)]
    pub path: String,
    /// Bytes of the file system that holds it.
    #[n(3)]
    #[cbor(default)]
    pub capacity_bytes: u64,
    #[n(4)]
    #[cbor(default)]
    pub free_bytes: u64,
    /// Bytes in packs.
    #[n(5)]
    #[cbor(default)]
    pub packs_bytes: u64,
    #[n(6)]
    #[cbor(default)]
    pub savesets: u64,
    #[n(7)]
    #[cbor(default)]
    pub chunks: u64,
    /// Grows with every change of writer; fences old ones.
    #[n(8)]
    #[cbor(default)]
    pub generation: u64,
    /// One word or sentence for people, such as `ready`.
    #[n(9)]
    #[cbor(default)]
    pub state: String,
}

/// Every datastore that the device serves.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ListDatastores {}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ListDatastoresReply {
    #[n(0)]
    #[cbor(default)]
    pub datastores: Vec<DatastoreStateReply>,
}

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
}

/// Manifests in the order of their sequence numbers, a page at a time.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ListManifests {
    #[n(0)]
    pub store: StoreId,
    /// Only later ones; 0: from the first.
    #[n(1)]
    #[cbor(default)]
    pub after_sequence: u64,
    /// At most so many; 0: as many as a page holds.
    #[n(2)]
    #[cbor(default)]
    pub limit: u64,
}

/// One manifest of a page.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ManifestEntry {
    #[n(0)]
    pub sequence: u64,
    #[n(1)]
    pub saveset: SavesetId,
    /// Bytes of the whole manifest.
    #[n(2)]
    #[cbor(default)]
    pub size: u64,
    /// The manifest; empty where it is larger than [`MANIFEST_PAGE_BYTES_MAX`]: fetch it with
    /// `GetManifest`.
    #[n(3)]
    #[cbor(default, with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ListManifestsReply {
    #[n(0)]
    #[cbor(default)]
    pub manifests: Vec<ManifestEntry>,
    /// There are later ones: ask again after the last sequence number.
    #[n(1)]
    #[cbor(default)]
    pub more: bool,
}

/// One manifest, from an offset: a manifest may be larger than a page.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct GetManifest {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub saveset: SavesetId,
    #[n(2)]
    #[cbor(default)]
    pub offset: u64,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct GetManifestReply {
    /// Bytes of the whole manifest.
    #[n(0)]
    #[cbor(default)]
    pub size: u64,
    /// At most [`MANIFEST_PAGE_BYTES_MAX`] bytes from the offset.
    #[n(1)]
    #[cbor(default, with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

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

/// Keeps a domain's wrapped keys beside its data.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct PutKeySlots {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub domain: DomainId,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub slots: Vec<u8>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct PutKeySlotsReply {}

/// Gives a domain's wrapped keys; `NotFound` where there are none.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct GetKeySlots {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub domain: DomainId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct GetKeySlotsReply {
    #[n(0)]
    #[cbor(default, with = "minicbor::bytes")]
    pub slots: Vec<u8>,
}

/// Domains of a datastore.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ListDomains {
    #[n(0)]
    pub store: StoreId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ListDomainsReply {
    #[n(0)]
    #[cbor(default)]
    pub domains: Vec<DomainId>,
}
