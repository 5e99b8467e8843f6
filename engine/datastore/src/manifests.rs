//! Manifests: which savesets exist. The object's existence is the commit.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use simsim_format::Manifest;
use simsim_model::{DomainId, Kind, SavesetId, StoreId};
use simsim_storage::Storage;

use crate::reread::Misreads;
use crate::{Datastore, DatastoreError};

/// Sequence numbers and ids of all savesets.
#[derive(Debug, Default)]
pub(crate) struct Savesets {
    pub(crate) by_sequence: BTreeMap<u64, SavesetId>,
    pub(crate) sequences: HashMap<SavesetId, u64>,
    /// Highest number that was ever given out here, also for a commit that failed.
    pub(crate) last_sequence: u64,
    /// Manifests that cannot be read: key, reason.
    pub(crate) damaged: Vec<(String, String)>,
}

impl Savesets {
    pub(crate) fn add(&mut self, sequence: u64, saveset: SavesetId) {
        self.by_sequence.insert(sequence, saveset);
        self.sequences.insert(saveset, sequence);
        self.last_sequence = self.last_sequence.max(sequence);
    }

    /// Forgets a saveset whose manifest cannot be read. Whether there was one.
    pub(crate) fn forget(&mut self, saveset: SavesetId) -> bool {
        let key = manifest_key(saveset);
        let damaged = self.damaged.len();
        self.damaged.retain(|(known, _)| *known != key);
        let listed = self.sequences.remove(&saveset);
        if let Some(sequence) = listed {
            self.by_sequence.remove(&sequence);
        }
        listed.is_some() || self.damaged.len() < damaged
    }

    /// Reads all manifests. One that is damaged is noted, and hides no other.
    pub(crate) fn read(
        storage: &dyn Storage,
        store: StoreId,
        misreads: &Misreads,
    ) -> Result<Self, DatastoreError> {
        let mut savesets = Self::default();
        for object in storage.list("manifests/")? {
            let key = object?.key;
            match misreads.read(storage, &key, || read(storage, store, &key)) {
                Ok(manifest) => savesets.add(manifest.sequence, manifest.saveset),
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::error!(%key, %error, "a manifest is damaged; a copy lies in the packs");
                    savesets.damaged.push((key, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(savesets)
    }
}

pub(crate) fn manifest_key(saveset: SavesetId) -> String {
    format!("manifests/{saveset}")
}

/// Reads and checks one manifest.
pub(crate) fn read(
    storage: &dyn Storage,
    store: StoreId,
    key: &str,
) -> Result<Manifest, DatastoreError> {
    let bytes = storage.get(key)?;
    let manifest =
        Manifest::decode(&bytes).map_err(|source| DatastoreError::format(key, source))?;
    if manifest.store != store || manifest_key(manifest.saveset) != key {
        return Err(DatastoreError::damaged(key, "it is the manifest of something else"));
    }
    Ok(manifest)
}

impl Datastore {
    /// Savesets with a sequence number above `after_sequence`, in order, at most `limit`. Damaged
    /// manifests are left out; `state` and `verify_structure` name them.
    pub fn manifests(
        &self,
        after_sequence: u64,
        limit: usize,
    ) -> Result<Vec<Manifest>, DatastoreError> {
        let savesets: Vec<SavesetId> = {
            let known = self.inner.savesets.lock();
            let above = after_sequence.saturating_add(1)..;
            known.by_sequence.range(above).map(|(_, id)| *id).take(limit).collect()
        };
        let mut manifests = Vec::with_capacity(savesets.len());
        for saveset in savesets {
            match self.manifest(saveset) {
                Ok(manifest) => manifests.push(manifest),
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::error!(%saveset, %error, "a manifest is damaged");
                }
                // Deleted since the list was taken.
                Err(DatastoreError::NoSaveset { .. })
                    if !self.inner.savesets.lock().sequences.contains_key(&saveset) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(manifests)
    }

    /// One saveset's manifest.
    pub fn manifest(&self, saveset: SavesetId) -> Result<Manifest, DatastoreError> {
        let inner = &self.inner;
        if inner.tombstones.lock().deleted.contains_key(&saveset) {
            return Err(DatastoreError::NoSaveset { saveset });
        }
        let (storage, key) = (&*inner.storage, manifest_key(saveset));
        let read = || read(storage, inner.root.store, &key);
        inner.index.misreads.read(storage, &key, read).map_err(|error| match error.kind() {
            Kind::NotFound => DatastoreError::NoSaveset { saveset },
            _ => error,
        })
    }

    /// Is the saveset here, of this domain, and is everything that it names here and sound as far as
    /// is known?
    pub fn holds_saveset(
        &self,
        domain: DomainId,
        saveset: SavesetId,
    ) -> Result<bool, DatastoreError> {
        if !self.inner.savesets.lock().sequences.contains_key(&saveset) {
            return Ok(false);
        }
        match self.manifest(saveset) {
            Ok(manifest) if manifest.domain == domain => {
                Ok(self.has(domain, &[manifest.root])?.contains(&true))
            }
            Ok(_) => Ok(false),
            Err(error) if error.shows_loss() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One saveset's manifest as stored.
    pub fn manifest_bytes(&self, saveset: SavesetId) -> Result<Bytes, DatastoreError> {
        Ok(Bytes::from(self.manifest(saveset)?.encode()))
    }
}
