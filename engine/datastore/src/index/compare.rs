//! Is the index what the packs say? So that a rebuild of one that is right changes nothing (REP01).
//!
//! What the runs tell of each pack is summed up, whatever the order, and held against the sum of the
//! pack's own table; and every page of every run is read. Memory: 40 bytes a pack.

use std::collections::HashMap;

use simsim_model::{DomainId, Name};
use simsim_storage::StorageError;

use super::page::{PAGE_BYTES, SegmentRecord, open_page};
use super::run::Run;
use super::run_error::RunError;
use super::run_writer::TRAILER_PAGE;
use super::{Index, IndexSegment};

/// Pages of a run that are read at once.
const PAGES_READ: u64 = 64;

/// Everything that is told of one pack, in no order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PackSum {
    names: u64,
    lanes: [u64; 4],
}

impl PackSum {
    fn add(&mut self, domain: DomainId, name: Name, (offset, length, kind): (u64, u32, u8)) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&domain.0).update(&name.0).update(&offset.to_le_bytes());
        let hash = hasher.update(&length.to_le_bytes()).update(&[kind]).finalize();
        for (lane, bytes) in self.lanes.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            *lane = lane.wrapping_add(number);
        }
        self.names += 1;
    }

    /// Of a pack's own table.
    pub(crate) fn of(segments: &[IndexSegment]) -> Self {
        let mut sum = Self::default();
        for segment in segments {
            let place = (segment.offset, segment.length, segment.kind as u8);
            segment.names.iter().for_each(|name| sum.add(segment.domain, *name, place));
        }
        sum
    }
}

impl Index {
    /// What the runs tell of each pack; `None` where something is known to be wrong, or is not in a run
    /// yet.
    pub(crate) fn sums(&self) -> Result<Option<HashMap<Name, PackSum>>, StorageError> {
        // No run may be merged away meanwhile.
        let _merging = self.merging.lock();
        let runs = {
            let state = self.state.read();
            let in_runs = state.tables().all(|table| table.packs.is_empty());
            let intact = state.distrusted.is_empty()
                && state.runs.iter().all(|run| run.bad_packs.is_empty());
            if !in_runs || !intact {
                return Ok(None);
            }
            state.runs.clone()
        };
        let mut sums = HashMap::new();
        for run in runs {
            match run.add_sums(&mut sums) {
                Ok(true) => {}
                Ok(false) | Err(RunError::Damaged { .. }) => return Ok(None),
                Err(RunError::Storage(error)) => return Err(error),
            }
        }
        Ok(Some(sums))
    }
}

impl Run {
    /// Adds what this run tells; `false` where a page of it is not as it was written.
    fn add_sums(&self, sums: &mut HashMap<Name, PackSum>) -> Result<bool, RunError> {
        if !self.is_whole()? {
            return Ok(false);
        }
        let mut records: Vec<SegmentRecord> = Vec::new();
        for record in self.segments() {
            records.push(record?);
        }
        for entry in self.entries() {
            let (name, segment) = entry?;
            let Some(record) = records.get(segment as usize) else { return Ok(false) };
            let pack = self.packs.get(record.pack as usize);
            let domain = self.domains.get(record.domain as usize);
            let (Some((pack, _)), Some(domain)) = (pack, domain) else { return Ok(false) };
            let place = (record.offset, record.length, record.kind as u8);
            sums.entry(*pack).or_default().add(*domain, name, place);
        }
        Ok(true)
    }

    /// Is every page of the file as it was written?
    fn is_whole(&self) -> Result<bool, RunError> {
        self.storage.forget(&self.key);
        let bytes = self.storage.size(&self.key).map_err(|error| self.unread(error))?;
        let pages = bytes / PAGE_BYTES as u64;
        let mut first = 0;
        while first < pages {
            let count = PAGES_READ.min(pages - first);
            let length = usize::try_from(count).unwrap_or(0) * PAGE_BYTES;
            let read = self.storage.get_range(&self.key, self.byte_of(first), length);
            let read = read.map_err(|error| self.unread(error))?;
            for (page, number) in read.chunks(PAGE_BYTES).zip(first..) {
                let good = match number + 1 == pages {
                    true => open_page(0, TRAILER_PAGE, page).is_some(),
                    false => open_page(self.nonce, number, page).is_some(),
                };
                if !good {
                    return Ok(false);
                }
            }
            first += count;
        }
        Ok(bytes % PAGE_BYTES as u64 == 0)
    }
}
