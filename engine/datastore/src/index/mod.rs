//! The index: name → place, inside a domain. A cache of what the packs' own tables say.
//!
//! New packs go into a table in memory. The table is flushed as a sorted run at each commit and
//! when it grows large; runs are merged when there are many. A lookup asks the table, then the
//! runs from the newest to the oldest. A run that turns out damaged is replaced from its packs
//! (IDX05).

mod compare;
mod filter;
mod find;
#[cfg(test)]
mod fuzz;
mod heal;
mod layout;
mod lookup;
mod losses;
mod memory;
mod merge;
mod merger;
mod page;
mod run;
mod run_error;
mod run_writer;
mod scan;
mod section;
mod shade;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use simsim_model::{Kind, Name, SegmentPlace, StoreId};
use simsim_storage::Storage;

use crate::reread::Misreads;
use crate::sync::{Mutex, RwLock};
use crate::tombstones::Tombstones;
use crate::{DatastoreError, pack_table};
pub(crate) use compare::PackSum;
pub use memory::IndexSegment;
use memory::MemoryTable;
pub(crate) use merge::Forget;
pub use merger::Merger;
use run::Run;
pub(crate) use run_error::RunError;
use run_writer::{Tables, run_key, write_run};
pub(crate) use scan::{Life, PackCensus};
pub(crate) use shade::{NodeSet, Shade, Verdict};

/// Entries in memory before they are flushed: about 20 MiB.
const MEMORY_ENTRIES_MAX: usize = 200_000;
/// More runs than this are merged, beside the backups.
const RUNS_MAX: usize = 8;
/// With more runs than this whoever writes one merges first: backups are not faster than merging.
const RUNS_WAIT: usize = 24;

/// Stands for something that was lost and cannot be named any more.
pub(crate) const UNKNOWN_LOSS: (Name, u64) = (Name::ZERO, WHOLE_PACK);

/// The offset that stands for all of a pack.
pub(crate) const WHOLE_PACK: u64 = u64::MAX;

/// Added to the offset of a segment that is out of dedup: it is read as it was written, but is not what
/// its names say. No later read makes that good.
pub(crate) const CONTENT_WRONG: u64 = 1 << 63;

#[derive(Default)]
struct State {
    memory: MemoryTable,
    /// The table that is being written as a run.
    frozen: Option<Arc<MemoryTable>>,
    runs: Vec<Arc<Run>>,
    /// Packs that exist, with their sizes.
    packs: HashMap<Name, u64>,
    /// Segments that failed a check, or nodes whose references are lost: not a dedup hit any
    /// more, so that the next backup heals them; still offered to a restore as a last resort.
    distrusted: Arc<HashSet<(Name, u64)>>,
    /// What a collection of garbage that runs has found dead.
    shade: Option<Arc<Shade>>,
}

pub struct Index {
    storage: Arc<dyn Storage>,
    store: StoreId,
    filter_bytes_max: u64,
    state: RwLock<State>,
    /// Held by whoever merges runs.
    merging: Mutex<()>,
    /// Held by whoever replaces a damaged run.
    replacing: Mutex<()>,
    /// Held by whoever writes the table as a run, and no longer.
    flushing: Mutex<()>,
    /// Held by whoever divides the memory for filters.
    fitting: Mutex<()>,
    /// Reads that had to be made again.
    pub(crate) misreads: Arc<Misreads>,
    /// Something is distrusted that was found here, and that nobody has written down yet.
    unsaved: AtomicBool,
    /// How often something was distrusted: a check settles only what was so when it began.
    losses: AtomicU64,
    /// Runs that are replaced, and whose files go when what they told is written down.
    replaced: Mutex<Vec<u64>>,
    /// What packs' own tables tell that is not so any more.
    tombstones: RwLock<Arc<Tombstones>>,
    /// The index is closed: merges end.
    closing: AtomicBool,
    /// Shared with an index that is being built to take this one's place.
    next_run: Arc<AtomicU64>,
}

/// What was found when the index was opened.
#[derive(Debug, Default)]
pub(crate) struct OpenFindings {
    pub(crate) damaged_runs: u64,
    /// Packs that could not be read into the index, with the reason.
    pub(crate) damaged_packs: Vec<(Name, String)>,
}

impl Index {
    /// An empty index over `storage`. At most `filter_bytes_max` bytes of filters are in memory,
    /// the smallest runs first; those of larger runs are asked in their files.
    pub fn new(storage: Arc<dyn Storage>, store: StoreId, filter_bytes_max: u64) -> Self {
        Self {
            storage,
            store,
            filter_bytes_max,
            state: RwLock::default(),
            merging: Mutex::new(()),
            replacing: Mutex::new(()),
            flushing: Mutex::new(()),
            fitting: Mutex::new(()),
            misreads: Arc::default(),
            unsaved: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            replaced: Mutex::default(),
            tombstones: RwLock::default(),
            closing: AtomicBool::new(false),
            next_run: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Loads the runs, holds them against the packs that exist, and reads packs that no run names
    /// from their own tables.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        store: StoreId,
        filter_bytes_max: u64,
        tombstones: Arc<Tombstones>,
    ) -> Result<(Self, OpenFindings), DatastoreError> {
        let index = Self::new(storage, store, filter_bytes_max);
        index.set_tombstones(Arc::clone(&tombstones));
        let mut findings = OpenFindings::default();
        let mut packs = pack_table::list(&*index.storage)?;
        packs.retain(|pack, _| !tombstones.doomed.contains(pack));
        let mut numbers = Vec::new();
        for object in index.storage.list("index/")? {
            let object = object?;
            let number = object
                .key
                .strip_prefix("index/")
                .and_then(|name| name.strip_suffix(".run"))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok());
            if let Some(number) = number {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        let next = numbers.last().map_or(1, |number| number.saturating_add(1));
        index.next_run.store(next, Ordering::Relaxed);
        let mut runs = Vec::new();
        let mut damaged = Vec::new();
        for number in numbers {
            match index.open_run(number) {
                Ok(run) => runs.push(run),
                Err(RunError::Damaged { why, .. }) => {
                    tracing::warn!(run = number, %why, "a damaged index run is rebuilt from its packs");
                    findings.damaged_runs += 1;
                    // It may have named packs that are gone.
                    index.lose(UNKNOWN_LOSS);
                    damaged.push(number);
                }
                Err(RunError::Storage(error)) => return Err(error.into()),
            }
        }
        // Newest first: a run whose packs are all in newer runs was merged and is left over.
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
        let mut covered: HashSet<Name> = HashSet::new();
        let mut kept = Vec::new();
        for mut run in runs {
            let gone = |pack: &Name| covered.contains(pack) || tombstones.doomed.contains(pack);
            if run.packs.iter().all(|(pack, _)| gone(pack)) {
                index.storage.delete(&run_key(run.number))?;
                continue;
            }
            covered.extend(run.packs.iter().map(|(pack, _)| *pack));
            for (at, (pack, bytes)) in run.packs.iter().enumerate() {
                if packs.get(pack) != Some(bytes) {
                    run.bad_packs.insert(at as u32);
                    if tombstones.doomed.contains(pack) {
                        continue;
                    }
                    let why = packs.get(pack).map_or_else(
                        || "the pack is gone".to_owned(),
                        |found| format!("the pack has {found} bytes instead of {bytes}"),
                    );
                    findings.damaged_packs.push((*pack, why));
                    index.lose(UNKNOWN_LOSS);
                }
            }
            kept.push(Arc::new(run));
        }
        kept.reverse();
        {
            let mut state = index.state.write();
            state.runs = kept;
            state.packs = packs.clone();
        }
        let missing: Vec<_> = packs.iter().filter(|(pack, _)| !covered.contains(pack)).collect();
        for (pack, bytes) in missing {
            match index.load_pack(*pack, *bytes) {
                Ok(false) => {}
                Ok(true) => index.settle_runs(),
                Err(error) => {
                    findings.damaged_packs.push((*pack, error.to_string()));
                    // No run names it, so the next opening reads it again.
                    index.lose(UNKNOWN_LOSS);
                }
            }
        }
        for number in damaged {
            index.discard(number);
        }
        index.fit_filters_or_warn();
        Ok((index, findings))
    }

    fn open_run(&self, number: u64) -> Result<Run, RunError> {
        Run::open(self.storage.clone(), self.store, number, &self.misreads)
    }

    pub(crate) fn set_tombstones(&self, tombstones: Arc<Tombstones>) {
        *self.tombstones.write() = tombstones;
    }

    pub(crate) fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.read().clone()
    }

    /// From now on `shade` is what is not seen.
    pub(crate) fn set_shade(&self, shade: Option<Arc<Shade>>) {
        self.state.write().shade = shade;
    }

    /// Is an item of a segment, at this place, no part of the datastore any more?
    pub(crate) fn is_dead(&self, segment: &IndexSegment, pack: Name, item: usize) -> bool {
        if self.tombstones().is_dead(pack, segment.offset, item) {
            return true;
        }
        let Some(shade) = self.state.read().shade.clone() else { return false };
        let place = SegmentPlace { pack, offset: segment.offset, length: segment.length };
        let name = segment.names.get(item).copied().unwrap_or(Name::ZERO);
        shade.hides(segment.domain, name, &place, segment.kind)
    }

    /// These packs are gone, or go: nothing of them is looked for any more.
    pub(crate) fn drop_packs<'a>(&self, packs: impl IntoIterator<Item = &'a Name>) {
        let mut state = self.state.write();
        for pack in packs {
            state.packs.remove(pack);
        }
    }

    /// Reads a pack's own table into the index. Whether a run was written.
    fn load_pack(&self, pack: Name, bytes: u64) -> Result<bool, DatastoreError> {
        let mut table =
            pack_table::read_surely(&*self.storage, self.store, pack, bytes, &self.misreads)?;
        table.bury(pack, &self.tombstones());
        for (offset, why) in &table.damaged {
            tracing::error!(%pack, offset, %why, "a segment cannot be read into the index");
            self.lose((pack, *offset));
        }
        self.take_in(pack, bytes, &table.segments)
    }

    /// Makes a durable pack known.
    pub fn publish(
        &self,
        pack: Name,
        bytes: u64,
        segments: &[IndexSegment],
    ) -> Result<(), DatastoreError> {
        if self.take_in(pack, bytes, segments)? {
            self.settle_runs();
        }
        Ok(())
    }

    /// Adds a pack to the table in memory, and writes that as a run when it has grown large.
    /// Whether a run was written.
    fn take_in(
        &self,
        pack: Name,
        bytes: u64,
        segments: &[IndexSegment],
    ) -> Result<bool, DatastoreError> {
        let entries = {
            let mut state = self.state.write();
            state.packs.insert(pack, bytes);
            state.memory.add_pack(pack, bytes, segments);
            state.memory.entries.len()
        };
        if entries >= MEMORY_ENTRIES_MAX { self.write_table() } else { Ok(false) }
    }

    /// Writes what is in memory as a run, durably.
    pub fn flush(&self) -> Result<(), DatastoreError> {
        if self.write_table()? {
            self.settle_runs();
        }
        Ok(())
    }

    /// What follows a new run: its filter, and a merge when there are too many runs. Holds no
    /// lock in between, as both may take any of the index's.
    fn settle_runs(&self) {
        self.fit_filters_or_warn();
        if self.state.read().runs.len() > RUNS_WAIT {
            self.merge_or_warn();
        }
    }

    /// Writes what is in memory as a run. Whether there is a new one.
    fn write_table(&self) -> Result<bool, DatastoreError> {
        let _flushing = self.flushing.lock();
        let number = self.free_number()?;
        let table = {
            let mut state = self.state.write();
            if state.memory.packs.is_empty() {
                return Ok(false);
            }
            let table = Arc::new(std::mem::take(&mut state.memory));
            state.frozen = Some(table.clone());
            table
        };
        let written = write_run(
            &*self.storage,
            self.store,
            number,
            table.entries.iter().copied().map(Ok),
            table.segments.iter().copied().map(Ok),
            Tables { packs: &table.packs, domains: &table.domains },
        );
        // The run is a cache: one that cannot be read back at once is dropped, and its content
        // stays in memory.
        let opened = written.map(|()| self.open_run(number));
        let mut state = self.state.write();
        state.frozen = None;
        match opened {
            Ok(Ok(run)) => {
                state.runs.push(Arc::new(run));
                Ok(true)
            }
            Ok(Err(error)) => {
                tracing::warn!(run = number, %error, "a new index run cannot be read");
                state.memory.absorb(&table);
                drop(state);
                let _ = self.storage.delete(&run_key(number));
                Ok(false)
            }
            Err(error) => {
                state.memory.absorb(&table);
                Err(error)
            }
        }
    }

    /// The number of the next run. A stale process may have left runs that nobody has loaded.
    fn free_number(&self) -> Result<u64, DatastoreError> {
        loop {
            let number = self.next_run.fetch_add(1, Ordering::Relaxed);
            match self.storage.size(&run_key(number)) {
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NotFound => return Ok(number),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Packs, bytes, segments, entries (a chunk that several packs hold counts each time).
    pub(crate) fn sizes(&self) -> (u64, u64, u64, u64) {
        let state = self.state.read();
        let frozen = state.frozen.as_deref();
        let tables = || std::iter::once(&state.memory).chain(frozen);
        let segments = tables().map(|table| table.segments.len() as u64).sum::<u64>()
            + state.runs.iter().map(|run| run.counts.segments).sum::<u64>();
        let entries = tables().map(|table| table.entries.len() as u64).sum::<u64>()
            + state.runs.iter().map(|run| run.counts.entries).sum::<u64>();
        (state.packs.len() as u64, state.packs.values().sum(), segments, entries)
    }

    pub(crate) fn pack_bytes(&self, pack: Name) -> Option<u64> {
        self.state.read().packs.get(&pack).copied()
    }

    pub(crate) fn packs(&self) -> Vec<(Name, u64)> {
        self.state.read().packs.iter().map(|(pack, bytes)| (*pack, *bytes)).collect()
    }

    /// Forgets everything and takes in `tables` instead. The old runs are deleted with
    /// [`Self::delete_replaced`].
    pub(crate) fn rebuild(
        &self,
        tables: impl Iterator<Item = (Name, u64, Vec<IndexSegment>)>,
    ) -> Result<(), DatastoreError> {
        let mut fresh = Index::new(self.storage.clone(), self.store, self.filter_bytes_max);
        // Merges and flushes go on meanwhile.
        fresh.misreads = self.misreads.clone();
        fresh.next_run = self.next_run.clone();
        fresh.set_tombstones(self.tombstones());
        for (pack, bytes, segments) in tables {
            fresh.publish(pack, bytes, &segments)?;
        }
        fresh.flush()?;
        let _merging = self.merging.lock();
        let _replacing = self.replacing.lock();
        let _flushing = self.flushing.lock();
        let mut fresh = fresh.state.into_inner();
        let old = {
            let mut state = self.state.write();
            Arc::make_mut(&mut fresh.distrusted).extend(state.distrusted.iter().copied());
            fresh.shade = state.shade.clone();
            std::mem::replace(&mut *state, fresh)
        };
        self.replaced.lock().extend(old.runs.iter().map(|run| run.number));
        Ok(())
    }
}
