//! Passing over the whole index: how much of each pack lives, and forgetting what does not.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Kind, Name, SegmentPlace};

use super::Index;
use super::merge::{Forget, merge};
use super::page::SegmentRecord;
use super::run::Run;
use super::run_writer::run_key;
use crate::DatastoreError;

/// A segment of which every name that the index has is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeadSegment {
    pub(crate) place: SegmentPlace,
    pub(crate) kind: SegmentKind,
    /// How many names that are.
    pub(crate) names: u32,
}

/// What is to be said of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Dead,
    Lives,
    /// It lives, and an entry of the same name may have been met already.
    MayBeMetBefore,
}

/// What the index knows of one pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PackCensus {
    /// Segments that have a live item, and their bytes.
    pub(crate) live_segments: u64,
    pub(crate) live_bytes: u64,
    /// Segments without one.
    pub(crate) dead: Vec<DeadSegment>,
    /// Node segments that have both.
    pub(crate) mixed: Vec<SegmentPlace>,
    /// Segments of which everything that lives may lie in a run that was looked at before, too.
    pub(crate) repeated: Vec<(DomainId, SegmentPlace)>,
}

impl Index {
    /// Counts what lives in the packs `of`, run by run. Everything of these packs is to be in runs
    /// already. Memory: 8 bytes for each segment of the largest run, and what is dead.
    pub(crate) fn census(
        &self,
        of: &HashSet<Name>,
        lives: &mut dyn FnMut(DomainId, Name, SegmentKind) -> Life,
    ) -> Result<BTreeMap<Name, PackCensus>, DatastoreError> {
        // No run may be merged away meanwhile.
        let _merging = self.merging.lock();
        let mut found: BTreeMap<Name, PackCensus> = BTreeMap::new();
        let runs = self.healed(|runs| {
            found.clear();
            // A pack that several runs name counts in the first of them.
            let mut seen: HashSet<Name> = HashSet::new();
            for run in runs.iter().rev() {
                let wanted = |pack: &Name| of.contains(pack) && !seen.contains(pack);
                run.census(&wanted, lives, &mut found)?;
                seen.extend(run.whole_packs());
            }
            Ok(())
        });
        runs.map(|()| found)
    }

    /// Writes every run anew that names something to be forgotten, without it. What is in memory is
    /// written first. Runs that name nothing of the packs `of` are left as they are.
    pub(crate) fn purge(
        &self,
        of: &dyn Fn(&Name) -> bool,
        forget: &Forget<'_>,
    ) -> Result<(), DatastoreError> {
        self.flush()?;
        let _merging = self.merging.lock();
        let runs = self.state.read().runs.clone();
        for run in runs.iter().filter(|run| run.packs.iter().any(|(pack, _)| of(pack))) {
            let number = self.free_number()?;
            let only = std::slice::from_ref(run);
            merge(&*self.storage, self.store, number, only, &self.closing, Some(forget))?;
            let fresh = Arc::new(self.open_run(number)?);
            let unused = {
                let mut state = self.state.write();
                let before = state.runs.len();
                state.runs.retain(|other| other.number != run.number);
                let was_there = state.runs.len() < before;
                if was_there && !fresh.packs.is_empty() {
                    state.runs.push(fresh);
                    vec![run.number]
                } else {
                    // Replaced meanwhile, or nothing is left of it.
                    vec![run.number, number]
                }
            };
            for number in unused {
                match self.storage.delete(&run_key(number)) {
                    Err(error) if error.kind() != Kind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
        }
        self.fit_filters_or_warn();
        Ok(())
    }

    /// Calls `work` with the runs of this instant; a damaged one is replaced, and the call repeated.
    fn healed<T>(
        &self,
        mut work: impl FnMut(&[Arc<Run>]) -> Result<T, super::RunError>,
    ) -> Result<T, DatastoreError> {
        self.healing(|| {
            let runs = self.state.read().runs.clone();
            work(&runs)
        })
    }
}

impl Run {
    fn census(
        &self,
        wanted: &dyn Fn(&Name) -> bool,
        lives: &mut dyn FnMut(DomainId, Name, SegmentKind) -> Life,
        found: &mut BTreeMap<Name, PackCensus>,
    ) -> Result<(), super::RunError> {
        let packs: Vec<bool> = self
            .packs
            .iter()
            .enumerate()
            .map(|(at, (pack, _))| !self.bad_packs.contains(&(at as u32)) && wanted(pack))
            .collect();
        if !packs.contains(&true) {
            return Ok(());
        }
        let mut records: Vec<SegmentRecord> = Vec::new();
        for record in self.segments() {
            records.push(record?);
        }
        // Items of each segment that live, those of them that were met before, and dead ones.
        let mut items = vec![(0_u32, 0_u32, 0_u32); records.len()];
        for entry in self.entries() {
            let (name, segment) = entry?;
            let at = segment as usize;
            let (Some(record), Some(items)) = (records.get(at), items.get_mut(at)) else {
                return Err(self.damaged("an entry names a segment that is not there"));
            };
            let Some(domain) = self.domains.get(record.domain as usize) else { continue };
            if packs.get(record.pack as usize) != Some(&true) {
                continue;
            }
            match lives(*domain, name, record.kind) {
                Life::Lives => items.0 += 1,
                Life::MayBeMetBefore => {
                    items.0 += 1;
                    items.1 += 1;
                }
                Life::Dead => items.2 += 1,
            }
        }
        for (record, (live, repeated, dead)) in records.iter().zip(items) {
            let Some((pack, _)) = self.packs.get(record.pack as usize) else { continue };
            if packs.get(record.pack as usize) != Some(&true) || live + dead == 0 {
                continue;
            }
            let census = found.entry(*pack).or_default();
            let place = SegmentPlace { pack: *pack, offset: record.offset, length: record.length };
            if live == 0 {
                census.dead.push(DeadSegment { place, kind: record.kind, names: dead });
                continue;
            }
            census.live_segments += 1;
            if repeated == live
                && let Some(domain) = self.domains.get(record.domain as usize)
            {
                census.repeated.push((*domain, place));
            }
            census.live_bytes += u64::from(record.length);
            if dead > 0 && record.kind == SegmentKind::Nodes {
                census.mixed.push(place);
            }
        }
        Ok(())
    }
}
