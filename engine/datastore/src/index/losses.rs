//! What the index must not rely on: segments that failed a check, packs that are gone, and that there
//! are losses which cannot be named. The owner of the index writes it down (`quarantine`).
//!
//! A run that told of something which is lost stays on disk until that is written down, so that no
//! crash in between forgets it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use simsim_model::Name;

use super::merge::merge;
use super::run_writer::run_key;
use super::{CONTENT_WRONG, Index, UNKNOWN_LOSS, WHOLE_PACK};
use crate::DatastoreError;

impl Index {
    /// Takes a segment out of dedup, or with [`WHOLE_PACK`] all of a pack. Whether it was in.
    pub(crate) fn distrust(&self, pack: Name, offset: u64) -> bool {
        self.losses.fetch_add(1, Ordering::AcqRel);
        Arc::make_mut(&mut self.state.write().distrusted).insert((pack, offset))
    }

    /// As [`Self::distrust`], for what the index itself finds: its owner is to write it down,
    /// before the run that told of it is forgotten.
    pub(super) fn lose(&self, (pack, offset): (Name, u64)) {
        if self.distrust(pack, offset) {
            self.unsaved.store(true, Ordering::Release);
        }
    }

    /// Is this segment out of dedup, by itself and not with its pack, only because it could not be read,
    /// or because of what it refers to?
    pub(crate) fn may_be_trusted_again(&self, pack: Name, offset: u64) -> bool {
        let state = self.state.read();
        let out = |offset| state.distrusted.contains(&(pack, offset));
        out(offset) && !out(WHOLE_PACK) && !out(offset | CONTENT_WRONG)
    }

    /// Takes it back into dedup.
    pub(crate) fn trust(&self, pack: Name, offset: u64) {
        Arc::make_mut(&mut self.state.write().distrusted).remove(&(pack, offset));
    }

    /// Packs that were deleted are not lost. Whether something was distrusted in one.
    pub(crate) fn trust_no_more(&self, deleted: &BTreeSet<Name>) -> bool {
        let mut state = self.state.write();
        let before = state.distrusted.len();
        if state.distrusted.iter().any(|(pack, _)| deleted.contains(pack)) {
            Arc::make_mut(&mut state.distrusted).retain(|(pack, _)| !deleted.contains(pack));
        }
        state.distrusted.len() < before
    }

    /// Whether the index has found losses that are not written down.
    pub(crate) fn has_unsaved_losses(&self) -> bool {
        self.unsaved.load(Ordering::Acquire)
    }

    pub(crate) fn set_unsaved_losses(&self, unsaved: bool) {
        self.unsaved.store(unsaved, Ordering::Release);
    }

    /// Counts what was distrusted, also anew.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Is nothing known to be lost or damaged that was here once? If not, a name that an older
    /// saveset refers to may be unknown (ROT04).
    pub(crate) fn is_intact(&self) -> bool {
        let state = self.state.read();
        state.distrusted.is_empty() && state.runs.iter().all(|run| run.bad_packs.is_empty())
    }

    /// Everything that is distrusted, sorted.
    pub(crate) fn distrusted(&self) -> Vec<(Name, u64)> {
        let mut all: Vec<_> = self.state.read().distrusted.iter().copied().collect();
        all.sort_unstable();
        all
    }

    /// A check that began when there were `losses` has found everything that is referred to: what is
    /// gone is missed by nobody. Runs are written anew without packs that are gone, or the next opening
    /// would find them lost again. Whether that changed the list.
    pub(crate) fn settle_losses(&self, losses: u64) -> Result<bool, DatastoreError> {
        if self.losses() != losses {
            return Ok(false);
        }
        self.drop_bad_packs()?;
        let mut state = self.state.write();
        let gone: Vec<(Name, u64)> = {
            let known = &state.packs;
            let gone = |lost: &&(Name, u64)| **lost == UNKNOWN_LOSS || !known.contains_key(&lost.0);
            state.distrusted.iter().filter(gone).copied().collect()
        };
        if self.losses() != losses || gone.is_empty() {
            return Ok(false);
        }
        let distrusted = Arc::make_mut(&mut state.distrusted);
        for lost in &gone {
            distrusted.remove(lost);
        }
        Ok(true)
    }

    /// Writes runs that name packs which are gone anew, without them.
    fn drop_bad_packs(&self) -> Result<(), DatastoreError> {
        let _merging = self.merging.lock();
        let runs = self.state.read().runs.clone();
        for run in runs.iter().filter(|run| !run.bad_packs.is_empty()) {
            let mut fresh = None;
            if run.whole_packs().next().is_some() {
                let number = self.free_number()?;
                let only = std::slice::from_ref(run);
                merge(&*self.storage, self.store, number, only, &self.closing, None)?;
                fresh = Some(Arc::new(self.open_run(number)?));
            }
            let mut state = self.state.write();
            // It may have been replaced meanwhile, for damage of its own; then this one is not needed.
            let there = state.runs.iter().any(|other| other.number == run.number);
            let unused = if there {
                state.runs.retain(|other| other.number != run.number);
                state.runs.extend(fresh);
                Some(run.number)
            } else {
                fresh.map(|fresh| fresh.number)
            };
            drop(state);
            if let Some(number) = unused {
                self.storage.delete(&run_key(number))?;
            }
        }
        self.fit_filters_or_warn();
        Ok(())
    }

    /// A run that is of no use any more: its file goes now, or, where it told of a loss that is not
    /// written down, when that is done.
    pub(super) fn discard(&self, number: u64) {
        if self.has_unsaved_losses() {
            self.replaced.lock().push(number);
        } else {
            self.delete_runs(vec![number]);
        }
    }

    /// Runs whose files wait for the list that is written next.
    pub(crate) fn take_replaced(&self) -> Vec<u64> {
        std::mem::take(&mut *self.replaced.lock())
    }

    /// They go on waiting.
    pub(crate) fn put_back(&self, numbers: Vec<u64>) {
        self.replaced.lock().extend(numbers);
    }

    pub(crate) fn delete_replaced(&self) {
        self.delete_runs(self.take_replaced());
    }

    /// One may be gone already, and what stays is found out at the next opening.
    pub(crate) fn delete_runs(&self, numbers: Vec<u64>) {
        for number in numbers {
            let _ = self.storage.delete(&run_key(number));
        }
    }

    /// Where all of a pack is distrusted and every segment of it can be read: distrusts no more than its
    /// node segments, of which it is not known yet whether all that they refer to is there. Whether it
    /// was so.
    pub(crate) fn narrow(&self, pack: Name, nodes: impl Iterator<Item = u64>) -> bool {
        let mut state = self.state.write();
        let was = state.distrusted.contains(&(pack, WHOLE_PACK));
        if was {
            let distrusted = Arc::make_mut(&mut state.distrusted);
            distrusted.extend(nodes.map(|offset| (pack, offset)));
            distrusted.remove(&(pack, WHOLE_PACK));
        }
        was
    }
}
