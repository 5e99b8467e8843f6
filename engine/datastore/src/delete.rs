//! Deleting savesets. It frees nothing by itself: what no other saveset needs goes with the next
//! collection of garbage.
//!
//! Deletion runs against the order of a commit: first the tombstone, then the manifest. A death in
//! between leaves the manifest to whoever opens the datastore next, who deletes it.

use simsim_model::{Kind, SavesetId, failpoint};

use crate::manifests::manifest_key;
use crate::open::{Inner, unix_s};
use crate::tombstones::Tombstones;
use crate::{Datastore, DatastoreError};

/// Two clocks that differ by more decide nothing.
pub const CLOCKS_APART_MAX_S: u64 = 3600;

impl Datastore {
    /// Deletes savesets, all of them or none. `asked_unix_s` is the clock of who asks.
    ///
    /// Errors: `NotFound` names one that is not here. `Denied`: one is locked for longer than now by its
    /// manifest or by [`Self::extend_locks`], or the clock here is further ahead than can be believed, or
    /// the clocks of the two hosts differ by more than an hour, so that one of them may have jumped (GC13).
    /// `Corrupt`: nobody can tell what is locked.
    /// `Busy`: one is being read.
    pub fn delete_savesets(
        &self,
        savesets: &[SavesetId],
        asked_unix_s: u64,
    ) -> Result<(), DatastoreError> {
        let inner = &self.inner;
        inner.check_writable()?;
        inner.note_the_time();
        let ours = unix_s();
        if ours.abs_diff(asked_unix_s) > CLOCKS_APART_MAX_S {
            return Err(DatastoreError::ClocksApart { ours, theirs: asked_unix_s });
        }
        // No copy of one of them is committed meanwhile.
        let _commit = inner.commit.lock();
        let mut sequences = Vec::with_capacity(savesets.len());
        for saveset in savesets {
            let manifest = self.manifest(*saveset)?;
            inner.check_lock(*saveset, manifest.lock_until_unix_s, asked_unix_s)?;
            sequences.push((*saveset, manifest.sequence));
        }
        // Held until they are unknown: whoever comes to read one finds it, or does not.
        let readers = inner.readers.lock();
        if let Some(saveset) = savesets.iter().find(|saveset| readers.contains_key(saveset)) {
            return Err(DatastoreError::SavesetInUse { saveset: *saveset });
        }
        inner.change_tombstones(|tombstones| tombstones.deleted.extend(sequences))?;
        failpoint::hit("datastore.savesets_buried");
        {
            let mut known = inner.savesets.lock();
            for saveset in savesets {
                known.forget(*saveset);
            }
        }
        drop(readers);
        for saveset in savesets {
            inner.delete_manifest(*saveset)?;
        }
        inner.forget_locks(savesets);
        Ok(())
    }
}

impl Inner {
    /// Writes the tombstones anew, durably, then makes them known here.
    pub(crate) fn change_tombstones(
        &self,
        change: impl FnOnce(&mut Tombstones),
    ) -> Result<(), DatastoreError> {
        let mut tombstones = self.tombstones.lock();
        let mut changed = Tombstones::clone(&tombstones);
        change(&mut changed);
        match changed.write(&*self.storage) {
            // What is kept back for this is given up (PWR06).
            Err(error) if error.kind() == Kind::Full => {
                self.release_reserve()?;
                changed.write(&*self.storage)?;
            }
            written => written?,
        }
        *tombstones = std::sync::Arc::new(changed);
        self.index.set_tombstones(tombstones.clone());
        Ok(())
    }

    /// Removes a manifest that is buried. One that is not there any more is as good.
    pub(crate) fn delete_manifest(&self, saveset: SavesetId) -> Result<(), DatastoreError> {
        match self.storage.delete(&manifest_key(saveset)) {
            Err(error) if error.kind() != Kind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
