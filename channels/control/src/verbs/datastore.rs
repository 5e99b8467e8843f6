//! Verbs that a device answers about its datastores, and the wrapped keys that lie in them.
//!
//! None of these deletes: that is `deletion`.

use minicbor::{Decode, Encode};
use simsim_model::{CutParameters, DomainId, StoreId};

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
    /// How its data is cut, for good; `None`: as is best for mixed files.
    #[n(4)]
    pub cut: Option<CutParameters>,
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
    #[n(10)]
    #[cbor(default)]
    pub packs: u64,
    /// Packs that no check has seen yet.
    #[n(11)]
    #[cbor(default)]
    pub packs_never_checked: u64,
    /// Everything else was checked after this, by the device's clock; seconds since 1970.
    #[n(12)]
    pub checked_since_unix_s: Option<u64>,
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

/// Tells a device which drives a datastore has. The device keeps the numbers, and listens on the
/// port of each where its settings open these ports. Said again it changes nothing.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct SetDrives {
    #[n(0)]
    pub store: StoreId,
    /// In any order; a number that another datastore of the device has is refused.
    #[n(1)]
    #[cbor(default)]
    pub drives: Vec<u32>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct SetDrivesReply {}
