//! The index: name → place, inside a domain. A cache of what the packs' own tables say.
//!
//! New packs go into a table in memory. The table is flushed as a sorted run at each commit and
//! when it grows large; runs are merged when there are many. A lookup asks the table, then the
//! runs from the newest to the oldest. A run that turns out damaged is replaced from its packs
//! (IDX05).

mod filter;
mod memory;
mod merge;
mod page;
mod run;
mod run_writer;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use simsim_model::{DomainId, Kind, Name, SegmentPlace, StoreId};
use simsim_storage::Storage;

use crate::{DatastoreError, pack_table};
pub use memory::IndexSegment;
use memory::MemoryTable;
use run::{Run, RunDamaged};
use run_writer::{FILTER_BYTES_MAX, Tables, run_key, write_run};

/// Entries in memory before they are flushed: about 20 MiB.
const MEMORY_ENTRIES_MAX: usize = 200_000;
/// More runs than this are merged.
const RUNS_MAX: usize = 8;

/// Stands for something that was lost and cannot be named any more.
pub(crate) const UNKNOWN_LOSS: (Name, u64) = (Name::ZERO, WHOLE_PACK);

/// The offset that stands for all of a pack.
pub(crate) const WHOLE_PACK: u64 = u64::MAX;

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
    distrusted: HashSet<(Name, u64)>,
}

pub struct Index {
    storage: Arc<dyn Storage>,
    store: StoreId,
    state: RwLock<State>,
    /// Held by whoever writes or merges runs.
    flushing: Mutex<()>,
    next_run: AtomicU64,
}

/// What was found when the index was opened.
#[derive(Debug, Default)]
pub(crate) struct OpenFindings {
    pub(crate) damaged_runs: u64,
    /// Packs that could not be read into the index, with the reason.
    pub(crate) damaged_packs: Vec<(Name, String)>,
}

impl Index {
    /// An empty index over `storage`.
    pub fn new(storage: Arc<dyn Storage>, store: StoreId) -> Self {
        Self {
            storage,
            store,
            state: RwLock::default(),
            flushing: Mutex::new(()),
            next_run: AtomicU64::new(1),
        }
    }

    /// Loads the runs, holds them against the packs that exist, and reads packs that no run names
    /// from their own tables.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        store: StoreId,
    ) -> Result<(Self, OpenFindings), DatastoreError> {
        let index = Self::new(storage, store);
        let mut findings = OpenFindings::default();
        let packs = pack_table::list(&*index.storage)?;
        let mut numbers = Vec::new();
        for object in index.storage.list("index/")? {
            let object = object?;
            let number = object
                .key
                .strip_prefix("index/")
                .and_then(|name| name.strip_suffix(".run"))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok());
            if let Some(number) = number {
                numbers.push((number, object.bytes));
            }
        }
        numbers.sort_unstable();
        let next = numbers.last().map_or(1, |(number, _)| number.saturating_add(1));
        index.next_run.store(next, Ordering::Relaxed);
        // Filters of the smallest runs first: they are asked most often per byte.
        let mut by_size = numbers.clone();
        by_size.sort_unstable_by_key(|(_, bytes)| *bytes);
        let mut runs = Vec::new();
        let mut filter_bytes = FILTER_BYTES_MAX;
        for (number, _) in by_size {
            match Run::open(index.storage.clone(), store, number, filter_bytes) {
                Ok(run) => {
                    filter_bytes = filter_bytes.saturating_sub(run.filter_bytes());
                    runs.push(run);
                }
                Err(damaged) => {
                    tracing::warn!(run = number, why = %damaged.why, "a damaged index run is rebuilt from its packs");
                    findings.damaged_runs += 1;
                    index.storage.delete(&run_key(number))?;
                }
            }
        }
        // Newest first: a run whose packs are all in newer runs was merged and is left over.
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
        let mut covered: HashSet<Name> = HashSet::new();
        let mut kept = Vec::new();
        for mut run in runs {
            if run.packs.iter().all(|(pack, _)| covered.contains(pack)) {
                index.storage.delete(&run_key(run.number))?;
                continue;
            }
            covered.extend(run.packs.iter().map(|(pack, _)| *pack));
            for (at, (pack, bytes)) in run.packs.iter().enumerate() {
                if packs.get(pack) != Some(bytes) {
                    run.bad_packs.insert(at as u32);
                    let why = packs.get(pack).map_or_else(
                        || "the pack is gone".to_owned(),
                        |found| format!("the pack has {found} bytes instead of {bytes}"),
                    );
                    findings.damaged_packs.push((*pack, why));
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
            if let Err(error) = index.load_pack(*pack, *bytes) {
                findings.damaged_packs.push((*pack, error.to_string()));
                index.distrust(*pack, WHOLE_PACK);
            }
        }
        Ok((index, findings))
    }

    /// Reads a pack's own table into the index.
    fn load_pack(&self, pack: Name, bytes: u64) -> Result<(), DatastoreError> {
        let table = pack_table::read(&*self.storage, self.store, pack, bytes)?;
        for (offset, why) in &table.damaged {
            tracing::error!(%pack, offset, %why, "a segment cannot be read into the index");
            self.distrust(pack, *offset);
        }
        self.publish(pack, bytes, &table.segments)
    }

    /// Makes a durable pack known.
    pub fn publish(
        &self,
        pack: Name,
        bytes: u64,
        segments: &[IndexSegment],
    ) -> Result<(), DatastoreError> {
        let entries = {
            let mut state = self.state.write();
            state.packs.insert(pack, bytes);
            state.memory.add_pack(pack, bytes, segments);
            state.memory.entries.len()
        };
        if entries >= MEMORY_ENTRIES_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what is in memory as a run, durably.
    pub fn flush(&self) -> Result<(), DatastoreError> {
        let _flushing = self.flushing.lock();
        let number = self.free_number()?;
        let table = {
            let mut state = self.state.write();
            if state.memory.packs.is_empty() {
                return Ok(());
            }
            let table = Arc::new(std::mem::take(&mut state.memory));
            state.frozen = Some(table.clone());
            table
        };
        let written = write_run(
            &*self.storage,
            self.store,
            number,
            table.entries.len() as u64,
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
            Ok(Ok(run)) => state.runs.push(Arc::new(run)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a new index run cannot be read");
                state.memory.absorb(&table);
                drop(state);
                let _ = self.storage.delete(&run_key(number));
                return Ok(());
            }
            Err(error) => {
                state.memory.absorb(&table);
                return Err(error);
            }
        }
        drop(state);
        if let Err(error) = self.merge_if_many() {
            tracing::warn!(%error, "index runs could not be merged; they stay as they are");
        }
        Ok(())
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

    fn open_run(&self, number: u64) -> Result<Run, DatastoreError> {
        let used: u64 = self.state.read().runs.iter().map(|run| run.filter_bytes()).sum();
        let budget = FILTER_BYTES_MAX.saturating_sub(used);
        Ok(Run::open(self.storage.clone(), self.store, number, budget)?)
    }

    /// Merges the smallest runs, and with them each next larger one that is not more than twice
    /// their sum: every entry is rewritten a number of times that grows with the logarithm.
    fn merge_if_many(&self) -> Result<(), DatastoreError> {
        let mut runs = self.state.read().runs.clone();
        if runs.len() <= RUNS_MAX {
            return Ok(());
        }
        runs.sort_by_key(|run| run.counts.entries);
        let least = runs.len() - RUNS_MAX + 1;
        let (mut count, mut sum) = (0, 0u64);
        for run in &runs {
            if count >= least && run.counts.entries > sum.saturating_mul(2) {
                break;
            }
            count += 1;
            sum = sum.saturating_add(run.counts.entries);
        }
        runs.truncate(count);
        let number = self.free_number()?;
        merge::merge(&*self.storage, self.store, number, &runs)?;
        let merged = Arc::new(self.open_run(number)?);
        let old: HashSet<u64> = runs.iter().map(|run| run.number).collect();
        {
            let mut state = self.state.write();
            state.runs.retain(|run| !old.contains(&run.number));
            state.runs.push(merged);
        }
        for number in old {
            self.storage.delete(&run_key(number))?;
        }
        Ok(())
    }

    /// For each name: whether the domain holds it durably and it may be relied on.
    pub fn has(&self, domain: DomainId, names: &[Name]) -> Result<Vec<bool>, DatastoreError> {
        self.healing(|state| names.iter().map(|name| state.has(domain, name)).collect())
    }

    /// For each name: the best place.
    pub fn locate(
        &self,
        domain: DomainId,
        names: &[Name],
    ) -> Result<Vec<Option<SegmentPlace>>, DatastoreError> {
        self.healing(|state| names.iter().map(|name| state.locate(domain, name)).collect())
    }

    /// Runs a lookup; a damaged run that it meets is replaced, and the lookup repeated.
    fn healing<T>(
        &self,
        lookup: impl Fn(&State) -> Result<T, RunDamaged>,
    ) -> Result<T, DatastoreError> {
        loop {
            let damaged = match lookup(&self.state.read()) {
                Ok(found) => return Ok(found),
                Err(damaged) => damaged,
            };
            tracing::warn!(run = damaged.number, why = %damaged.why, "a damaged index run is rebuilt from its packs");
            self.replace_run(damaged.number)?;
        }
    }

    fn replace_run(&self, number: u64) -> Result<(), DatastoreError> {
        let (run, packs) = {
            let mut state = self.state.write();
            let Some(at) = state.runs.iter().position(|run| run.number == number) else {
                return Ok(());
            };
            let run = state.runs.remove(at);
            let known: Vec<_> = run
                .packs
                .iter()
                .filter(|pack| state.packs.get(&pack.0) == Some(&pack.1))
                .copied()
                .collect();
            (run, known)
        };
        for (pack, bytes) in packs {
            if let Err(error) = self.load_pack(pack, bytes) {
                tracing::error!(%pack, %error, "a pack cannot be read into the index");
                self.distrust(pack, WHOLE_PACK);
            }
        }
        // It may be gone already, and it is of no use in any case.
        let _ = self.storage.delete(&run_key(run.number));
        Ok(())
    }

    /// Takes a segment out of dedup, or with [`WHOLE_PACK`] all of a pack. Whether it was in.
    pub(crate) fn distrust(&self, pack: Name, offset: u64) -> bool {
        self.state.write().distrusted.insert((pack, offset))
    }

    /// Is nothing known to be lost or damaged that was here once? If not, a name that an older
    /// saveset refers to may be unknown (ROT04).
    pub(crate) fn is_intact(&self) -> bool {
        let state = self.state.read();
        state.distrusted.is_empty() && state.runs.iter().all(|run| run.bad_packs.is_empty())
    }

    /// A check has found everything that is referred to: nothing unknown is lost any more.
    pub(crate) fn settle_loss(&self) -> bool {
        self.state.write().distrusted.remove(&UNKNOWN_LOSS)
    }

    /// Everything that is distrusted, sorted.
    pub(crate) fn distrusted(&self) -> Vec<(Name, u64)> {
        let mut all: Vec<_> = self.state.read().distrusted.iter().copied().collect();
        all.sort_unstable();
        all
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

    /// Forgets everything and takes in `tables` instead; the old runs are deleted afterwards.
    pub(crate) fn rebuild(
        &self,
        tables: impl Iterator<Item = (Name, u64, Vec<IndexSegment>)>,
    ) -> Result<(), DatastoreError> {
        let fresh = Index::new(self.storage.clone(), self.store);
        fresh.next_run.store(self.next_run.load(Ordering::Relaxed), Ordering::Relaxed);
        for (pack, bytes, segments) in tables {
            fresh.publish(pack, bytes, &segments)?;
        }
        fresh.flush()?;
        fresh.state.write().distrusted.clone_from(&self.state.read().distrusted);
        let _flushing = self.flushing.lock();
        self.next_run.store(fresh.next_run.load(Ordering::Relaxed), Ordering::Relaxed);
        let old = {
            let mut state = self.state.write();
            std::mem::replace(&mut *state, std::mem::take(&mut *fresh.state.write()))
        };
        for run in old.runs {
            let _ = self.storage.delete(&run_key(run.number));
        }
        Ok(())
    }
}

impl State {
    fn tables(&self) -> impl Iterator<Item = &MemoryTable> {
        std::iter::once(&self.memory).chain(self.frozen.as_deref())
    }

    fn trusts(&self, place: &SegmentPlace) -> bool {
        self.distrusted.is_empty()
            || !(self.distrusted.contains(&(place.pack, place.offset))
                || self.distrusted.contains(&(place.pack, WHOLE_PACK)))
    }

    fn has(&self, domain: DomainId, name: &Name) -> Result<bool, RunDamaged> {
        let in_memory =
            self.tables().any(|table| table.places(domain, *name).any(|place| self.trusts(&place)));
        if in_memory {
            return Ok(true);
        }
        let any = self.distrusted.is_empty();
        for run in self.runs.iter().rev() {
            let mut accept = |place: Option<SegmentPlace>, whole: bool| {
                whole && place.is_none_or(|place| self.trusts(&place))
            };
            if run.find(domain, name, any, &mut accept)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn locate(&self, domain: DomainId, name: &Name) -> Result<Option<SegmentPlace>, RunDamaged> {
        let mut resort = None;
        let mut best = None;
        let mut accept = |place: Option<SegmentPlace>, whole: bool| {
            let Some(place) = place else { return false };
            if whole && self.trusts(&place) {
                best = Some(place);
                return true;
            }
            resort = Some(place);
            false
        };
        for table in self.tables() {
            for place in table.places(domain, *name) {
                if accept(Some(place), true) {
                    return Ok(best);
                }
            }
        }
        for run in self.runs.iter().rev() {
            if run.find(domain, name, false, &mut accept)? {
                break;
            }
        }
        Ok(best.or(resort))
    }
}
