//! The end of a collection, also of one that another process began: doomed packs are deleted, and the
//! index forgets what is dead.

use std::collections::{BTreeSet, HashMap, HashSet};

use simsim_format::SegmentKind;
use simsim_model::{Kind, Name};

use super::{CollectProgress, CollectReport, CollectStage, Progress};
use crate::index::{Forget, Shade};
use crate::open::Inner;
use crate::pack_table::{self, pack_key};
use crate::{Datastore, DatastoreError, fence, quarantine};

impl Datastore {
    /// Deletes doomed packs when nobody can read from them any more, and then forgets. `shade` knows what
    /// is dead; without one it is read from the tombstones' segments.
    pub(super) fn finish_sweep(
        &self,
        shade: Option<&Shade>,
        progress: Progress<'_>,
        report: &mut CollectReport,
    ) -> Result<(), DatastoreError> {
        let inner = &self.inner;
        let doomed = inner.tombstones().doomed.clone();
        inner.index.drop_packs(&doomed);
        // Who opens from now on is told of no place in them.
        let epoch = inner.epochs.raise(|epoch| epoch);
        let ended = inner.epochs.wait_for_older(epoch, &|sessions| {
            let stage = CollectStage::WaitingForReaders;
            progress(CollectProgress { stage, done: sessions as u64 })
        });
        if !ended {
            return Err(DatastoreError::Stopped);
        }
        let generation = inner.generation()?;
        fence::check(&*inner.storage, generation)
            .inspect_err(|error| inner.turn_read_only(error))?;
        for (done, pack) in doomed.iter().enumerate() {
            if !progress(CollectProgress { stage: CollectStage::Deleting, done: done as u64 }) {
                return Err(DatastoreError::Stopped);
            }
            report.bytes_deleted += inner.delete_pack(*pack)?;
            report.packs_deleted += 1;
        }
        match shade {
            Some(shade) => {
                let verdict = shade.verdict.read();
                let forget = Forget {
                    pack: &|pack| doomed.contains(pack),
                    entry: &|domain, name, place, kind| {
                        kind == SegmentKind::Nodes
                            && shade.packs.contains(&place.pack)
                            && !verdict.live_nodes.contains(&(domain, name))
                    },
                };
                inner.index.purge(&|pack| shade.packs.contains(pack), &forget)?;
            }
            None => inner.forget_the_buried(&doomed)?,
        }
        inner.end_sweep(&doomed)
    }
}

impl Inner {
    /// How many bytes a pack had that is gone now.
    fn delete_pack(&self, pack: Name) -> Result<u64, DatastoreError> {
        let key = pack_key(pack);
        let bytes = self.storage.size(&key).unwrap_or(0);
        match self.storage.delete(&key) {
            Err(error) if error.kind() != Kind::NotFound => Err(error.into()),
            _ => Ok(bytes),
        }
    }

    /// What is to be done before anybody opens a session, where a collection did not come to its end.
    pub(crate) fn finish_deletions(&self) -> Result<(), DatastoreError> {
        let tombstones = self.tombstones();
        let buried: Vec<_> = {
            let known = self.savesets.lock();
            tombstones
                .deleted
                .keys()
                .filter(|id| known.sequences.contains_key(id))
                .copied()
                .collect()
        };
        for saveset in buried {
            self.delete_manifest(saveset)?;
            self.savesets.lock().forget(saveset);
        }
        if !tombstones.purge_pending {
            return Ok(());
        }
        tracing::info!(
            packs = tombstones.doomed.len(),
            "a collection of garbage is brought to its end"
        );
        for pack in &tombstones.doomed {
            self.delete_pack(*pack)?;
        }
        self.forget_the_buried(&tombstones.doomed)?;
        self.end_sweep(&tombstones.doomed)
    }

    /// Purges the index by the tombstones alone.
    fn forget_the_buried(&self, doomed: &BTreeSet<Name>) -> Result<(), DatastoreError> {
        let tombstones = self.tombstones();
        let mut names: HashMap<(Name, u64), HashSet<Name>> = HashMap::new();
        for (pack, segments) in &tombstones.dead {
            let Some(bytes) = self.index.pack_bytes(*pack) else { continue };
            let table = pack_table::read_surely(
                &*self.storage,
                self.root.store,
                *pack,
                bytes,
                &self.index.misreads,
            )?;
            for segment in &table.segments {
                let Some(bits) = segments.get(&segment.offset) else { continue };
                let dead = segment.names.iter().enumerate().filter(|(item, _)| bits.get(*item));
                names.insert((*pack, segment.offset), dead.map(|(_, name)| *name).collect());
            }
        }
        let forget = Forget {
            pack: &|pack| doomed.contains(pack),
            entry: &|_, name, place, _| {
                names.get(&(place.pack, place.offset)).is_some_and(|dead| dead.contains(&name))
            },
        };
        let touched = |pack: &Name| doomed.contains(pack) || tombstones.dead.contains_key(pack);
        self.index.purge(&touched, &forget)
    }

    /// Nothing is pending any more, and nothing is in the shade.
    fn end_sweep(&self, doomed: &BTreeSet<Name>) -> Result<(), DatastoreError> {
        self.change_tombstones(|tombstones| {
            tombstones.rounds += 1;
            tombstones.purge_pending = false;
            tombstones.doomed.clear();
            tombstones.dead.retain(|pack, _| !doomed.contains(pack));
        })?;
        self.index.set_shade(None);
        if self.index.trust_no_more(doomed) {
            quarantine::write(self)?;
        }
        Ok(())
    }
}
