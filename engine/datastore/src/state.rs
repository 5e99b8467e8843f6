//! What a datastore holds, in numbers.

use simsim_model::Name;

use crate::Datastore;

/// A datastore's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatastoreState {
    pub packs: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    pub segments: u64,
    /// Index entries: chunks and nodes. One that several packs hold counts each time.
    pub chunks: u64,
    pub savesets: u64,
    /// Fencing epoch of this opening.
    pub generation: u64,
    /// Bytes that can still be written; `None` when the storage does not say.
    pub free_bytes: Option<u64>,
    /// Why nothing can be written until the datastore is opened again.
    pub read_only: Option<String>,
    /// Packs that were found damaged when the datastore was opened, with the reason.
    pub damaged_packs: Vec<(Name, String)>,
    /// Manifests that cannot be read, with the reason.
    pub damaged_manifests: Vec<(String, String)>,
}

impl Datastore {
    pub fn state(&self) -> DatastoreState {
        let inner = &self.inner;
        let (packs, bytes, segments, chunks) = inner.index.sizes();
        let savesets = inner.savesets.lock();
        DatastoreState {
            packs,
            bytes,
            segments,
            chunks,
            savesets: savesets.by_sequence.len() as u64,
            generation: inner.generation().unwrap_or(0),
            free_bytes: inner.storage.free_bytes().ok(),
            read_only: self.read_only().map(|error| error.to_string()),
            damaged_packs: inner.damaged_packs.lock().clone(),
            damaged_manifests: savesets.damaged.clone(),
        }
    }
}
