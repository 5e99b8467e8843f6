//! Verbs by which savesets end, and by which they are kept from ending.
//!
//! Only the server of a device deletes, on the control channel; no data port knows such a verb. The
//! device holds it against its own manifests, locks and clock, and refuses what is locked.

use minicbor::{Decode, Encode};
use simsim_model::{Kind, SavesetId, StoreId};

/// Savesets in one `DeleteSavesets` or `ExtendLocks` at most.
pub const DELETE_SAVESETS_MAX: usize = 1000;

/// Deletes savesets, each by itself: one that cannot go keeps no other. Asked again for what is gone,
/// it answers that it is gone.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct DeleteSavesets {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    #[cbor(default)]
    pub savesets: Vec<SavesetId>,
    /// The clock of who asks. Where it differs from the device's by more than an hour, everything is
    /// kept.
    #[n(2)]
    pub asked_unix_s: u64,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct DeleteSavesetsReply {
    /// Not here any more, durably.
    #[n(0)]
    #[cbor(default)]
    pub gone: Vec<SavesetId>,
    /// Still here, and why.
    #[n(1)]
    #[cbor(default)]
    pub kept: Vec<KeptSaveset>,
}

/// A saveset that was not deleted.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct KeptSaveset {
    #[n(0)]
    pub saveset: SavesetId,
    /// `Denied`: it is locked. `Busy`: it is being read, or the clocks differ; ask again later.
    #[n(1)]
    pub kind: Kind,
    #[n(2)]
    #[cbor(default)]
    pub message: String,
}

/// A saveset, and until when nobody deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SavesetLock {
    #[n(0)]
    pub saveset: SavesetId,
    #[n(1)]
    pub until_unix_s: u64,
}

/// Locks savesets until these instants. A device keeps of two instants the later one, and has no verb
/// that shortens a lock.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ExtendLocks {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    #[cbor(default)]
    pub locks: Vec<SavesetLock>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ExtendLocksReply {
    /// The lock that each has now, durably.
    #[n(0)]
    #[cbor(default)]
    pub held: Vec<SavesetLock>,
    /// Not in this datastore.
    #[n(1)]
    #[cbor(default)]
    pub unknown: Vec<SavesetId>,
}

/// Asks for the locks that were extended, in order of the savesets' ids, page by page.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ListLocks {
    #[n(0)]
    pub store: StoreId,
    /// The last one of the page before.
    #[n(1)]
    pub after: Option<SavesetId>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ListLocksReply {
    #[n(0)]
    #[cbor(default)]
    pub locks: Vec<SavesetLock>,
    #[n(1)]
    #[cbor(default)]
    pub more: bool,
}
