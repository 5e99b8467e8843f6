//! Merging runs into one, in one streaming pass: memory is a few pages per run, a fence, and the
//! filter of one group. Segment tables are put one after the other; packs that several runs name are taken
//! from the first of them (IDX02).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, SegmentPlace, StoreId};
use simsim_storage::Storage;

use super::page::SegmentRecord;
use super::run::Run;
use super::run_writer::{Tables, write_run};
use super::section::Entries;
use crate::DatastoreError;

/// How the numbers of one input become numbers of the output.
struct Mapping {
    /// Added to segment numbers.
    segments: u32,
    packs: Vec<Option<u32>>,
    domains: Vec<u32>,
    /// Segments of packs that another input has too, or that are forgotten.
    dead: HashSet<u32>,
    /// All segments, where single entries may be forgotten.
    records: Vec<SegmentRecord>,
}

impl Mapping {
    fn forgets(&self, run: &Run, forget: Option<&Forget<'_>>, name: Name, segment: u32) -> bool {
        let Some((forget, record)) = forget.zip(self.records.get(segment as usize)) else {
            return false;
        };
        let (pack, domain) =
            (run.packs.get(record.pack as usize), run.domains.get(record.domain as usize));
        let Some(((pack, _), domain)) = pack.zip(domain) else { return false };
        let place = SegmentPlace { pack: *pack, offset: record.offset, length: record.length };
        (forget.entry)(*domain, name, &place, record.kind)
    }
}

/// Writes run `number` with everything that `inputs` hold, but what `forget` says. `closing` ends it early,
/// with an error.
pub(crate) fn merge(
    storage: &dyn Storage,
    store: StoreId,
    number: u64,
    inputs: &[Arc<Run>],
    closing: &AtomicBool,
    forget: Option<&Forget<'_>>,
) -> Result<(), DatastoreError> {
    let mut packs: Vec<(Name, u64)> = Vec::new();
    let mut pack_numbers: HashMap<Name, usize> = HashMap::new();
    let mut domains: Vec<DomainId> = Vec::new();
    let mut mappings = Vec::new();
    let mut segments = 0u32;
    for (input, run) in inputs.iter().enumerate() {
        let mut pack_map = Vec::with_capacity(run.packs.len());
        for (at, pack) in run.packs.iter().enumerate() {
            let fresh = !run.bad_packs.contains(&(at as u32))
                && !forget.is_some_and(|forget| (forget.pack)(&pack.0))
                && *pack_numbers.entry(pack.0).or_insert(input) == input;
            pack_map.push(fresh.then_some(packs.len() as u32));
            if fresh {
                packs.push(*pack);
            }
        }
        let domain_map = run.domains.iter().map(|domain| {
            let found = domains.iter().position(|known| known == domain);
            found.unwrap_or_else(|| {
                domains.push(*domain);
                domains.len() - 1
            }) as u32
        });
        let domain_map = domain_map.collect();
        let mut dead = HashSet::new();
        if pack_map.iter().any(Option::is_none) {
            for (at, record) in run.segments().enumerate() {
                if !matches!(pack_map.get(record?.pack as usize), Some(Some(_))) {
                    dead.insert(at as u32);
                }
            }
        }
        let mut records = Vec::new();
        if forget.is_some() {
            for record in run.segments() {
                records.push(record?);
            }
        }
        mappings.push(Mapping { segments, packs: pack_map, domains: domain_map, dead, records });
        segments = u32::try_from(run.counts.segments)
            .ok()
            .and_then(|more| segments.checked_add(more))
            .ok_or_else(|| DatastoreError::invalid("the runs have too many segments to merge"))?;
    }
    let entries = MergedEntries::new(inputs, &mappings, closing, forget)?;
    let records = inputs.iter().zip(&mappings).flat_map(|(run, mapping)| {
        run.segments().map(move |record| {
            let record = record?;
            let pack = mapping.packs.get(record.pack as usize).copied().flatten();
            let domain = mapping.domains.get(record.domain as usize).copied();
            Ok(SegmentRecord {
                pack: pack.unwrap_or(SegmentRecord::NO_PACK),
                domain: domain.unwrap_or(u32::MAX),
                ..record
            })
        })
    });
    write_run(storage, store, number, entries, records, Tables { packs: &packs, domains: &domains })
}

/// What is left out of a run that is written anew.
pub(crate) struct Forget<'a> {
    /// All of a pack.
    pub(crate) pack: &'a dyn Fn(&Name) -> bool,
    /// One entry, by domain, name, place and kind.
    pub(crate) entry: &'a dyn Fn(DomainId, Name, &SegmentPlace, SegmentKind) -> bool,
}

struct MergedEntries<'a> {
    inputs: Vec<(&'a Run, Entries<'a>, &'a Mapping)>,
    forget: Option<&'a Forget<'a>>,
    heap: BinaryHeap<Reverse<(Name, u32, usize)>>,
    closing: &'a AtomicBool,
}

impl<'a> MergedEntries<'a> {
    fn new(
        runs: &'a [Arc<Run>],
        mappings: &'a [Mapping],
        closing: &'a AtomicBool,
        forget: Option<&'a Forget<'a>>,
    ) -> Result<Self, DatastoreError> {
        let inputs = runs.iter().zip(mappings).map(|(run, map)| (&**run, run.entries(), map));
        let inputs = inputs.collect();
        let mut merged = Self { inputs, forget, heap: BinaryHeap::new(), closing };
        for input in 0..runs.len() {
            merged.advance(input)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, input: usize) -> Result<(), DatastoreError> {
        let Some((run, entries, mapping)) = self.inputs.get_mut(input) else { return Ok(()) };
        for entry in entries {
            let (name, segment) = entry?;
            if mapping.dead.contains(&segment) || mapping.forgets(run, self.forget, name, segment) {
                continue;
            }
            self.heap.push(Reverse((name, segment.wrapping_add(mapping.segments), input)));
            break;
        }
        Ok(())
    }
}

impl Iterator for MergedEntries<'_> {
    type Item = Result<(Name, u32), DatastoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((name, segment, input)) = self.heap.pop()?;
        let advanced = if self.closing.load(Ordering::Relaxed) {
            Err(DatastoreError::invalid("the datastore is being closed"))
        } else {
            self.advance(input)
        };
        if let Err(error) = advanced {
            self.heap.clear();
            return Some(Err(error));
        }
        Some(Ok((name, segment)))
    }
}
