//! Reading a run. Fence, filter, pack and domain tables are in memory; entries and segments are
//! read page by page, each page held against its checksum.

use std::collections::HashSet;
use std::sync::Arc;

use simsim_format::Cursor;
use simsim_model::{DomainId, Name, SegmentPlace, StoreId};
use simsim_storage::Storage;

use super::filter::Filter;
use super::page::{PAGE_BYTES, Record, SegmentRecord, open_page, pages_of};
use super::run_writer::{Counts, MAGIC, TRAILER_PAGE, VERSION, prefix, run_key};

/// A run that cannot be read: it is replaced from the packs' own tables.
#[derive(Debug)]
pub(crate) struct RunDamaged {
    pub(crate) number: u64,
    pub(crate) why: String,
}

pub(crate) struct Run {
    pub(crate) number: u64,
    storage: Arc<dyn Storage>,
    key: String,
    nonce: [u8; 16],
    pub(crate) counts: Counts,
    fence: Vec<u64>,
    filter: Option<Filter>,
    pub(crate) packs: Vec<(Name, u64)>,
    pub(crate) domains: Vec<DomainId>,
    /// Packs that are gone or have another size than the run says: their content does not count
    /// as present (PWR03, IDX04).
    pub(crate) bad_packs: HashSet<u32>,
}

impl Run {
    /// Opens run `number` of `bytes` bytes. The filter is loaded when it has at most
    /// `filter_bytes_max` bytes.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        store: StoreId,
        number: u64,
        filter_bytes_max: u64,
    ) -> Result<Self, RunDamaged> {
        let key = run_key(number);
        let damaged = |why: &str| RunDamaged { number, why: why.to_owned() };
        let bytes = storage.size(&key).map_err(|error| damaged(&error.to_string()))?;
        let trailer_at = bytes
            .checked_sub(PAGE_BYTES as u64)
            .filter(|_| bytes % PAGE_BYTES as u64 == 0)
            .ok_or_else(|| damaged("its size is not a number of pages"))?;
        let page = storage
            .get_range(&key, trailer_at, PAGE_BYTES)
            .map_err(|error| damaged(&error.to_string()))?;
        let payload = open_page(&[0; 16], TRAILER_PAGE, &page)
            .ok_or_else(|| damaged("its trailer fails its checksum"))?;
        let (found, nonce, counts) =
            read_trailer(payload).ok_or_else(|| damaged("its trailer is malformed"))?;
        if found != store {
            return Err(damaged("it belongs to another datastore"));
        }
        let mut run = Self {
            number,
            storage,
            key,
            nonce,
            counts,
            fence: Vec::new(),
            filter: None,
            packs: Vec::new(),
            domains: Vec::new(),
            bad_packs: HashSet::new(),
        };
        if run.domain_page().checked_add(pages_of::<DomainId>(counts.domains))
            != Some(trailer_at / PAGE_BYTES as u64)
            || counts.fence != pages_of::<(Name, u32)>(counts.entries)
        {
            return Err(damaged("its sections do not fill it"));
        }
        run.fence = run.read_section(run.fence_page(), counts.fence)?;
        if counts.filter_words > 0 && counts.filter_words.saturating_mul(8) <= filter_bytes_max {
            let words = run.read_section(run.filter_page(), counts.filter_words)?;
            run.filter = Some(Filter::from_words(words));
        }
        run.packs = run.read_section(run.pack_page(), counts.packs)?;
        run.domains = run.read_section(run.domain_page(), counts.domains)?;
        Ok(run)
    }

    /// Bytes of memory that the filter takes.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter.as_ref().map_or(0, |filter| filter.words().len() as u64 * 8)
    }

    fn fence_page(&self) -> u64 {
        pages_of::<(Name, u32)>(self.counts.entries)
    }

    fn filter_page(&self) -> u64 {
        self.fence_page().saturating_add(pages_of::<u64>(self.counts.fence))
    }

    fn segment_page(&self) -> u64 {
        self.filter_page().saturating_add(pages_of::<u64>(self.counts.filter_words))
    }

    fn pack_page(&self) -> u64 {
        self.segment_page().saturating_add(pages_of::<SegmentRecord>(self.counts.segments))
    }

    fn domain_page(&self) -> u64 {
        self.pack_page().saturating_add(pages_of::<(Name, u64)>(self.counts.packs))
    }

    fn damaged(&self, why: impl ToString) -> RunDamaged {
        RunDamaged { number: self.number, why: why.to_string() }
    }

    fn read_section<R: Record>(&self, page: u64, count: u64) -> Result<Vec<R>, RunDamaged> {
        self.section(page, count).collect()
    }

    /// The records of a section, read a few pages at a time.
    fn section<R: Record>(&self, first: u64, count: u64) -> Section<'_, R> {
        Section { run: self, page: first, left: count, buffer: Vec::new().into_iter() }
    }

    pub(crate) fn entries(&self) -> Section<'_, (Name, u32)> {
        self.section(0, self.counts.entries)
    }

    pub(crate) fn segments(&self) -> Section<'_, SegmentRecord> {
        self.section(self.segment_page(), self.counts.segments)
    }

    fn page(&self, number: u64) -> Result<bytes::Bytes, RunDamaged> {
        let page = self
            .storage
            .get_range(&self.key, number.saturating_mul(PAGE_BYTES as u64), PAGE_BYTES)
            .map_err(|error| self.damaged(error))?;
        if open_page(&self.nonce, number, &page).is_none() {
            return Err(self.damaged(format!("page {number} fails its checksum")));
        }
        Ok(page)
    }

    /// Shows `accept` every place of `name` in `domain` until it takes one; the second argument
    /// says whether the pack is whole. With `any`, a place is not looked up when it need not be.
    pub(crate) fn find(
        &self,
        domain: DomainId,
        name: &Name,
        any: bool,
        accept: &mut dyn FnMut(Option<SegmentPlace>, bool) -> bool,
    ) -> Result<bool, RunDamaged> {
        if self.filter.as_ref().is_some_and(|filter| !filter.may_hold(name)) {
            return Ok(false);
        }
        let key = prefix(name);
        let first = self.fence.partition_point(|fence| *fence < key).saturating_sub(1);
        let end = self.fence.partition_point(|fence| *fence <= key);
        for number in first..end {
            let page = self.page(number as u64)?;
            let skipped = number as u64 * <(Name, u32)>::PER_PAGE as u64;
            let count =
                (self.counts.entries.saturating_sub(skipped) as usize).min(<(Name, u32)>::PER_PAGE);
            let records = page.get(..count * 36).unwrap_or_default();
            let (records, _) = records.as_chunks::<36>();
            let start = records.partition_point(|record| record[..32] < name.0[..]);
            for record in records.iter().skip(start) {
                if record[..32] != name.0[..] {
                    break;
                }
                let Some((_, segment)) = <(Name, u32)>::read(record) else { break };
                if self.offer(domain, segment, any, accept)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn offer(
        &self,
        domain: DomainId,
        segment: u32,
        any: bool,
        accept: &mut dyn FnMut(Option<SegmentPlace>, bool) -> bool,
    ) -> Result<bool, RunDamaged> {
        if any && self.bad_packs.is_empty() && self.domains == [domain] {
            return Ok(accept(None, true));
        }
        if u64::from(segment) >= self.counts.segments {
            return Err(self.damaged("an entry names a segment that is not there"));
        }
        let per_page = SegmentRecord::PER_PAGE as u64;
        let page = self.page(self.segment_page() + u64::from(segment) / per_page)?;
        let at = (u64::from(segment) % per_page) as usize * SegmentRecord::BYTES;
        let record = page
            .get(at..at + SegmentRecord::BYTES)
            .and_then(SegmentRecord::read)
            .ok_or_else(|| self.damaged("a segment record is cut"))?;
        if self.domains.get(record.domain as usize) != Some(&domain) {
            return Ok(false);
        }
        let Some((pack, _)) = self.packs.get(record.pack as usize) else { return Ok(false) };
        let place = SegmentPlace { pack: *pack, offset: record.offset, length: record.length };
        Ok(accept(Some(place), !self.bad_packs.contains(&record.pack)))
    }
}

fn read_trailer(payload: &[u8]) -> Option<(StoreId, [u8; 16], Counts)> {
    let mut cursor = Cursor::new(payload, "index trailer");
    if cursor.array::<8>().ok()? != MAGIC || cursor.u16().ok()? != VERSION {
        return None;
    }
    cursor.bytes(6).ok()?;
    let store = StoreId(cursor.array().ok()?);
    let nonce = cursor.array().ok()?;
    let counts = Counts {
        entries: cursor.u64().ok()?,
        fence: cursor.u64().ok()?,
        filter_words: cursor.u64().ok()?,
        segments: cursor.u64().ok()?,
        packs: cursor.u64().ok()?,
        domains: cursor.u64().ok()?,
    };
    Some((store, nonce, counts))
}

/// Pages read at once when a section is read from start to end.
const READ_AHEAD_PAGES: u64 = 32;

/// Records in order.
pub(crate) struct Section<'a, R> {
    run: &'a Run,
    page: u64,
    left: u64,
    buffer: std::vec::IntoIter<R>,
}

impl<R: Record> Section<'_, R> {
    fn fill(&mut self) -> Result<(), RunDamaged> {
        let run = self.run;
        let pages = pages_of::<R>(self.left).min(READ_AHEAD_PAGES);
        let bytes = run
            .storage
            .get_range(
                &run.key,
                self.page.saturating_mul(PAGE_BYTES as u64),
                pages as usize * PAGE_BYTES,
            )
            .map_err(|error| run.damaged(error))?;
        let mut records = Vec::with_capacity(pages as usize * R::PER_PAGE);
        for page in bytes.chunks_exact(PAGE_BYTES) {
            let payload = open_page(&run.nonce, self.page, page)
                .ok_or_else(|| run.damaged(format!("page {} fails its checksum", self.page)))?;
            let count = (self.left as usize).min(R::PER_PAGE);
            records.extend(payload.chunks_exact(R::BYTES).take(count).filter_map(R::read));
            self.left -= count as u64;
            self.page += 1;
        }
        self.buffer = records.into_iter();
        Ok(())
    }
}

impl<R: Record> Iterator for Section<'_, R> {
    type Item = Result<R, RunDamaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.buffer.next() {
            return Some(Ok(record));
        }
        if self.left == 0 {
            return None;
        }
        if let Err(damaged) = self.fill() {
            self.left = 0;
            return Some(Err(damaged));
        }
        self.buffer.next().map(Ok)
    }
}
