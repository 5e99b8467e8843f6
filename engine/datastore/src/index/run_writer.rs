//! Writing a run, in one pass and bounded memory.
//!
//! Groups of entry pages with their filter pages; then fence, segments, packs, domains; then the
//! trailer page, which has the counts.

use simsim_format::random_bytes;
use simsim_model::{DomainId, Name, StoreId};
use simsim_storage::{ObjectWriter, Storage};

use super::filter::{BLOCKS_PER_PAGE, Block, Probe};
use super::layout::{GROUP_NAMES, filter_pages};
use super::page::{PAYLOAD_BYTES, Record, SegmentRecord, checksum};
use crate::DatastoreError;

/// Buffered before it is written.
const BUFFER_BYTES: usize = 256 * 1024;
pub(crate) const MAGIC: [u8; 8] = *b"SIMSIMIX";
pub(crate) const VERSION: u16 = 2;
/// The number that the trailer's checksum counts with; its nonce is zero.
pub(crate) const TRAILER_PAGE: u64 = u64::MAX;

pub(crate) fn run_key(number: u64) -> String {
    format!("index/{number:016x}.run")
}

/// Counts of a run's sections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) entries: u64,
    pub(crate) segments: u64,
    pub(crate) packs: u64,
    pub(crate) domains: u64,
}

struct Pages {
    writer: Box<dyn ObjectWriter>,
    nonce: u64,
    number: u64,
    buffer: Vec<u8>,
    /// Start of the open page in `buffer`.
    start: usize,
}

impl Pages {
    fn record<R: Record>(&mut self, record: &R) -> Result<(), DatastoreError> {
        if self.buffer.len() - self.start + R::BYTES > PAYLOAD_BYTES {
            self.close_page()?;
        }
        record.write(&mut self.buffer);
        Ok(())
    }

    /// Whether the next record of type `R` starts a page.
    fn at_page_start<R: Record>(&self) -> bool {
        let used = self.buffer.len() - self.start;
        used == 0 || used + R::BYTES > PAYLOAD_BYTES
    }

    /// Pads and sums the open page, if anything is on it.
    fn close_page(&mut self) -> Result<(), DatastoreError> {
        if self.buffer.len() == self.start {
            return Ok(());
        }
        self.buffer.resize(self.start + PAYLOAD_BYTES, 0);
        let payload = self.buffer.get(self.start..).unwrap_or_default();
        let sum = checksum(self.nonce, self.number, payload);
        self.buffer.extend_from_slice(&sum);
        self.number += 1;
        self.start = self.buffer.len();
        if self.buffer.len() >= BUFFER_BYTES {
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), DatastoreError> {
        self.writer.write(&self.buffer)?;
        self.buffer.clear();
        self.start = 0;
        Ok(())
    }

    fn section<R: Record>(
        &mut self,
        records: impl Iterator<Item = Result<R, DatastoreError>>,
    ) -> Result<u64, DatastoreError> {
        let mut count = 0;
        for record in records {
            self.record(&record?)?;
            count += 1;
        }
        self.close_page()?;
        Ok(count)
    }
}

/// The filter of the group that is being written: its names are counted only at its end.
#[derive(Default)]
struct GroupFilter {
    probes: Vec<Probe>,
    first_block: u64,
}

impl GroupFilter {
    fn add(&mut self, name: &Name, pages: &mut Pages) -> Result<(), DatastoreError> {
        if self.probes.len() as u64 == GROUP_NAMES {
            self.close(pages)?;
        }
        self.probes.push(Probe::of(name));
        Ok(())
    }

    fn close(&mut self, pages: &mut Pages) -> Result<(), DatastoreError> {
        pages.close_page()?;
        let count = filter_pages(self.probes.len() as u64) * BLOCKS_PER_PAGE;
        let mut blocks = vec![Block::empty(); count as usize];
        for probe in self.probes.drain(..) {
            if let Some(block) = blocks.get_mut(probe.block(count) as usize) {
                block.add(&probe);
            }
        }
        let nonce = pages.nonce;
        for (number, block) in (self.first_block..).zip(&mut blocks) {
            block.seal(nonce, number);
        }
        self.first_block += pages.section(blocks.into_iter().map(Ok))?;
        Ok(())
    }
}

/// The small tables of a run.
pub(crate) struct Tables<'a> {
    pub(crate) packs: &'a [(Name, u64)],
    pub(crate) domains: &'a [DomainId],
}

/// Writes run `number` durably. `entries` come sorted.
pub(crate) fn write_run(
    storage: &dyn Storage,
    store: StoreId,
    number: u64,
    entries: impl Iterator<Item = Result<(Name, u32), DatastoreError>>,
    segments: impl Iterator<Item = Result<SegmentRecord, DatastoreError>>,
    Tables { packs, domains }: Tables<'_>,
) -> Result<(), DatastoreError> {
    let key = run_key(number);
    let nonce: [u8; 8] =
        random_bytes().map_err(|source| DatastoreError::format(key.clone(), source))?;
    let nonce = u64::from_le_bytes(nonce);
    let buffer = Vec::with_capacity(BUFFER_BYTES + super::page::PAGE_BYTES);
    let mut pages = Pages { writer: storage.create()?, nonce, number: 0, buffer, start: 0 };
    let mut filter = GroupFilter::default();
    let mut fence = Vec::new();
    let mut counts = Counts::default();
    for entry in entries {
        let entry = entry?;
        filter.add(&entry.0, &mut pages)?;
        if pages.at_page_start::<(Name, u32)>() {
            fence.push(prefix(&entry.0));
        }
        pages.record(&entry)?;
        counts.entries += 1;
    }
    filter.close(&mut pages)?;
    drop(filter);
    pages.section(fence.into_iter().map(Ok))?;
    counts.segments = pages.section(segments)?;
    counts.packs = pages.section(packs.iter().copied().map(Ok))?;
    counts.domains = pages.section(domains.iter().copied().map(Ok))?;
    pages.buffer.extend_from_slice(&trailer(store, nonce, &counts));
    pages.drain()?;
    pages.writer.finish(&key)?;
    Ok(())
}

/// The first eight bytes of a name, in its order.
pub(crate) fn prefix(name: &Name) -> u64 {
    name.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn trailer(store: StoreId, nonce: u64, counts: &Counts) -> Vec<u8> {
    let mut page = MAGIC.to_vec();
    page.extend_from_slice(&VERSION.to_le_bytes());
    page.extend_from_slice(&[0; 6]);
    page.extend_from_slice(&store.0);
    page.extend_from_slice(&nonce.to_le_bytes());
    let Counts { entries, segments, packs, domains } = *counts;
    for count in [entries, segments, packs, domains] {
        page.extend_from_slice(&count.to_le_bytes());
    }
    page.resize(PAYLOAD_BYTES, 0);
    let sum = checksum(0, TRAILER_PAGE, &page);
    page.extend_from_slice(&sum);
    page
}
