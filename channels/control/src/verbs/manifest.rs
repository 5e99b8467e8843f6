//! Verbs that give the manifests of a datastore: what a catalog can be built from again.

use minicbor::{Decode, Encode};
use simsim_model::{SavesetId, StoreId};

/// Manifest bytes that one page of `ListManifests` or one `GetManifest` carries at most.
pub const MANIFEST_PAGE_BYTES_MAX: usize = 512 * 1024;

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
