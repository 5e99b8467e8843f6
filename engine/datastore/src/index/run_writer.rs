//! Writing a run, in one pass and bounded memory.
//!
//! Sections of pages: entries, fence, filter, segments, packs, domains; then the trailer page,
//! which has the counts.

use simsim_format::random_bytes;
use simsim_model::{DomainId, Name, StoreId};
use simsim_storage::{ObjectWriter, Storage};

use super::filter::Filter;
use super::page::{PAYLOAD_BYTES, Record, SegmentRecord, checksum};
use crate::DatastoreError;

/// Buffered before it is written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Runs whose filter would be larger get none.
pub(crate) const FILTER_BYTES_MAX: u64 = 32 << 20;
pub(crate) const MAGIC: [u8; 8] = *b"SIMSIMIX";
pub(crate) const VERSION: u16 = 1;
/// The number that the trailer's checksum counts with; its nonce is all zeros.
pub(crate) const TRAILER_PAGE: u64 = u64::MAX;

pub(crate) fn run_key(number: u64) -> String {
    format!("index/{number:016x}.run")
}

/// Counts of a run's sections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) entries: u64,
    pub(crate) fence: u64,
    pub(crate) filter_words: u64,
    pub(crate) segments: u64,
    pub(crate) packs: u64,
    pub(crate) domains: u64,
}

struct Pages {
    writer: Box<dyn ObjectWriter>,
    nonce: [u8; 16],
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
        let sum = checksum(&self.nonce, self.number, payload);
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

/// The small tables of a run.
pub(crate) struct Tables<'a> {
    pub(crate) packs: &'a [(Name, u64)],
    pub(crate) domains: &'a [DomainId],
}

/// Writes run `number` durably. `entries` come sorted; `entries_max` bounds their number.
pub(crate) fn write_run(
    storage: &dyn Storage,
    store: StoreId,
    number: u64,
    entries_max: u64,
    entries: impl Iterator<Item = Result<(Name, u32), DatastoreError>>,
    segments: impl Iterator<Item = Result<SegmentRecord, DatastoreError>>,
    Tables { packs, domains }: Tables<'_>,
) -> Result<(), DatastoreError> {
    let key = run_key(number);
    let nonce: [u8; 16] =
        random_bytes().map_err(|source| DatastoreError::format(key.clone(), source))?;
    let buffer = Vec::with_capacity(BUFFER_BYTES + super::page::PAGE_BYTES);
    let mut pages = Pages { writer: storage.create()?, nonce, number: 0, buffer, start: 0 };
    let mut filter =
        (Filter::bytes_for(entries_max) <= FILTER_BYTES_MAX).then(|| Filter::new(entries_max));
    let mut fence = Vec::new();
    let mut counts = Counts::default();
    for entry in entries {
        let entry = entry?;
        if pages.at_page_start::<(Name, u32)>() {
            fence.push(prefix(&entry.0));
        }
        if let Some(filter) = &mut filter {
            filter.add(&entry.0);
        }
        pages.record(&entry)?;
        counts.entries += 1;
    }
    pages.close_page()?;
    counts.fence = pages.section(fence.into_iter().map(Ok))?;
    if let Some(filter) = &filter {
        counts.filter_words = pages.section(filter.words().iter().copied().map(Ok))?;
    }
    counts.segments = pages.section(segments)?;
    counts.packs = pages.section(packs.iter().copied().map(Ok))?;
    counts.domains = pages.section(domains.iter().copied().map(Ok))?;
    pages.buffer.extend_from_slice(&trailer(store, &nonce, &counts));
    pages.drain()?;
    pages.writer.finish(&key)?;
    Ok(())
}

/// The first eight bytes of a name, in its order.
pub(crate) fn prefix(name: &Name) -> u64 {
    name.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn trailer(store: StoreId, nonce: &[u8; 16], counts: &Counts) -> Vec<u8> {
    let mut page = MAGIC.to_vec();
    page.extend_from_slice(&VERSION.to_le_bytes());
    page.extend_from_slice(&[0; 6]);
    page.extend_from_slice(&store.0);
    page.extend_from_slice(nonce);
    let Counts { entries, fence, filter_words, segments, packs, domains } = *counts;
    for count in [entries, fence, filter_words, segments, packs, domains] {
        page.extend_from_slice(&count.to_le_bytes());
    }
    page.resize(PAYLOAD_BYTES, 0);
    let sum = checksum(&[0; 16], TRAILER_PAGE, &page);
    page.extend_from_slice(&sum);
    page
}
