//! Reading a run. Fence, pack and domain tables are in memory, and as much of the filter as there
//! is room for; all else is read from the file, and each page or filter block is held against its
//! checksum.
//!
//! Lookups come in sorted batches: names on one page read it once, and reads that a disk has to
//! answer go out together.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;
use simsim_format::Cursor;
use simsim_model::{DomainId, Name, SegmentPlace, StoreId};
use simsim_storage::{Storage, StorageError};

use super::filter::{BLOCK_BYTES, BLOCKS_PER_PAGE, BRIEF_BYTES, Block, Level, Probe, Resident};
use super::layout::{GROUP_PAGES, Layout};
use super::page::{PAGE_BYTES, Record, SegmentRecord, open_page, pages_of};
use super::run_error::RunError;
use super::run_writer::{Counts, MAGIC, TRAILER_PAGE, VERSION, prefix, run_key};

/// Pages read at once when a section is read from start to end.
const READ_AHEAD_PAGES: u64 = 32;
/// Pages of a batch that are read and held at once.
const PAGES_PER_READ: usize = 64;
/// Filter blocks of a batch that are asked before it is decided whether the others are.
const SAMPLE_READS: usize = 64;

/// One name that is looked up; `at` is its place in the caller's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Query {
    pub(crate) name: Name,
    pub(crate) at: usize,
}

/// Takes a place of query `at`, and whether its pack is whole. `true`: no other one is wanted.
/// The place is absent when any one will do and it was not looked up.
pub(crate) type Accept<'a> = dyn FnMut(usize, Option<SegmentPlace>, bool) -> bool + 'a;

pub(crate) struct Run {
    pub(crate) number: u64,
    storage: Arc<dyn Storage>,
    key: String,
    nonce: u64,
    pub(crate) counts: Counts,
    layout: Layout,
    fence: Vec<u64>,
    /// The fence of groups: each group's first.
    groups: Vec<u64>,
    filter: RwLock<Resident>,
    pub(crate) packs: Vec<(Name, u64)>,
    pub(crate) domains: Vec<DomainId>,
    /// Packs that are gone or have another size than the run says: their content does not count
    /// as present (PWR03, IDX04).
    pub(crate) bad_packs: HashSet<u32>,
}

impl Run {
    /// Opens run `number`, without its filter.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        store: StoreId,
        number: u64,
    ) -> Result<Self, RunError> {
        let key = run_key(number);
        let damaged = |why: &str| RunError::Damaged { number, why: why.to_owned() };
        let bytes = storage.size(&key).map_err(|error| RunError::of(number, error))?;
        let trailer_at = bytes
            .checked_sub(PAGE_BYTES as u64)
            .filter(|_| bytes % PAGE_BYTES as u64 == 0)
            .ok_or_else(|| damaged("its size is not a number of pages"))?;
        let page = storage
            .get_range(&key, trailer_at, PAGE_BYTES)
            .map_err(|error| RunError::of(number, error))?;
        let payload = open_page(0, TRAILER_PAGE, &page)
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
            layout: Layout::of(counts.entries),
            fence: Vec::new(),
            groups: Vec::new(),
            filter: RwLock::new(Resident::Nothing),
            packs: Vec::new(),
            domains: Vec::new(),
            bad_packs: HashSet::new(),
        };
        if run.domain_page().checked_add(pages_of::<DomainId>(counts.domains))
            != Some(trailer_at / PAGE_BYTES as u64)
        {
            return Err(damaged("its sections do not fill it"));
        }
        run.fence = run.read_section(run.layout.pages(), run.layout.entry_pages)?;
        run.groups = run.fence.iter().step_by(GROUP_PAGES as usize).copied().collect();
        run.packs = run.read_section(run.pack_page(), counts.packs)?;
        run.domains = run.read_section(run.domain_page(), counts.domains)?;
        Ok(run)
    }

    /// Packs that exist as the run says.
    pub(crate) fn whole_packs(&self) -> impl Iterator<Item = Name> + '_ {
        let whole = move |(at, _): &(usize, &(Name, u64))| !self.bad_packs.contains(&(*at as u32));
        self.packs.iter().enumerate().filter(whole).map(|(_, (pack, _))| *pack)
    }

    /// Blocks of the filter.
    pub(crate) fn blocks(&self) -> u64 {
        self.layout.all_blocks()
    }

    /// Takes as much of the filter into memory as `level` says, or gives memory back.
    pub(crate) fn set_level(&self, level: Level) -> Result<(), RunError> {
        if level <= self.filter.read().level() {
            self.filter.write().step_back(level);
            return Ok(());
        }
        let count = usize::try_from(self.blocks()).unwrap_or(0);
        let mut whole = Vec::with_capacity(if level == Level::Whole { count } else { 0 });
        let mut briefs =
            Vec::with_capacity(if level == Level::Brief { count * BRIEF_BYTES } else { 0 });
        for group in 0..self.layout.groups {
            for block in self.section(self.layout.filter_page(group), self.layout.blocks(group)) {
                let block: Block = block?;
                match level {
                    Level::Whole => whole.push(block),
                    Level::Brief => briefs.extend_from_slice(&block.brief()),
                    Level::OnDisk => {}
                }
            }
        }
        *self.filter.write() = match level {
            Level::Whole => Resident::Whole(whole),
            Level::Brief => Resident::Briefs(briefs),
            Level::OnDisk => Resident::Nothing,
        };
        Ok(())
    }

    fn segment_page(&self) -> u64 {
        self.layout.pages().saturating_add(pages_of::<u64>(self.layout.entry_pages))
    }

    fn pack_page(&self) -> u64 {
        self.segment_page().saturating_add(pages_of::<SegmentRecord>(self.counts.segments))
    }

    fn domain_page(&self) -> u64 {
        self.pack_page().saturating_add(pages_of::<(Name, u64)>(self.counts.packs))
    }

    fn damaged(&self, why: impl ToString) -> RunError {
        RunError::Damaged { number: self.number, why: why.to_string() }
    }

    fn unread(&self, error: StorageError) -> RunError {
        RunError::of(self.number, error)
    }

    fn read_section<R: Record>(&self, page: u64, count: u64) -> Result<Vec<R>, RunError> {
        let mut records = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for record in self.section(page, count) {
            records.push(record?);
        }
        Ok(records)
    }

    /// The records of a section, read a few pages at a time.
    fn section<R: Record>(&self, first: u64, count: u64) -> Section<'_, R> {
        Section { run: self, first, page: 0, left: count, buffer: Vec::new().into_iter() }
    }

    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries { run: self, group: 0, section: self.section(0, 0) }
    }

    pub(crate) fn segments(&self) -> Section<'_, SegmentRecord> {
        self.section(self.segment_page(), self.counts.segments)
    }

    /// Reads page `number` of the file into `page` and checks it.
    fn load(&self, number: u64, page: &mut PageBuffer) -> Result<(), RunError> {
        if page.number == Some(number) {
            return Ok(());
        }
        page.number = None;
        self.storage
            .read_at(&self.key, self.byte_of(number), &mut page.bytes)
            .map_err(|error| self.unread(error))?;
        self.check(number, &page.bytes)?;
        page.number = Some(number);
        Ok(())
    }

    fn check(&self, number: u64, page: &[u8]) -> Result<(), RunError> {
        match open_page(self.nonce, number, page) {
            Some(_) => Ok(()),
            None => Err(self.damaged(format!("page {number} fails its checksum"))),
        }
    }

    /// Reads and checks pages, many at a time, and hands each of them to `visit` with all that
    /// was wanted of it. `wanted` has the page's number first and is sorted by it.
    fn visit_pages<T: Copy>(
        &self,
        wanted: &[(u64, T)],
        page: &mut PageBuffer,
        mut visit: impl FnMut(T, &mut PageBuffer) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let mut buffer = Vec::new();
        let mut rest = wanted;
        while !rest.is_empty() {
            let mut pages: Vec<u64> = Vec::with_capacity(PAGES_PER_READ);
            let mut taken = 0;
            for (number, _) in rest {
                if pages.last() != Some(number) {
                    if pages.len() == PAGES_PER_READ {
                        break;
                    }
                    pages.push(*number);
                }
                taken += 1;
            }
            let (now, later) = rest.split_at(taken);
            rest = later;
            let offsets: Vec<u64> = pages.iter().map(|number| self.byte_of(*number)).collect();
            buffer.resize(pages.len() * PAGE_BYTES, 0);
            self.storage
                .read_parts(&self.key, &offsets, PAGE_BYTES, &mut buffer)
                .map_err(|error| self.unread(error))?;
            let mut now = now.iter().peekable();
            for (number, bytes) in pages.iter().zip(buffer.chunks_exact(PAGE_BYTES)) {
                self.check(*number, bytes)?;
                while let Some((_, what)) = now.next_if(|(wanted, _)| wanted == number) {
                    // A visit may have gone on to another page.
                    if page.number != Some(*number) {
                        page.bytes.copy_from_slice(bytes);
                        page.number = Some(*number);
                    }
                    visit(*what, page)?;
                }
            }
        }
        Ok(())
    }

    /// Shows `accept` the places of the names in `domain`, the queries being sorted by name. With
    /// `any`, a place is not looked up when it need not be.
    pub(crate) fn find(
        &self,
        domain: DomainId,
        queries: &[Query],
        any: bool,
        accept: &mut Accept<'_>,
    ) -> Result<(), RunError> {
        let mut wanted = Vec::new();
        for query in self.pass_filter(queries)? {
            let (first, end) = self.pages_of(&query.name);
            if first < end {
                wanted.push((self.layout.entry_page(first), Candidate { query, first, end }));
            }
        }
        let any = any && self.bad_packs.is_empty() && self.domains == [domain];
        // The first entry of each name; further ones are rare.
        let mut matches = Vec::new();
        let mut page = PageBuffer::default();
        self.visit_pages(&wanted, &mut page, |candidate, page| {
            let mut found = Matches::new(self, candidate, page)?;
            let Some(segment) = found.next(page)? else { return Ok(()) };
            if !(any && accept(candidate.query.at, None, true)) {
                matches.push((self.page_of_segment(segment), (segment, found)));
            }
            Ok(())
        })?;
        matches.sort_unstable_by_key(|(_, (segment, _))| *segment);
        let mut others = Vec::new();
        self.visit_pages(&matches, &mut page, |(segment, found), page| {
            if !self.offer(domain, segment, found.query.at, page, accept)? {
                others.push(found);
            }
            Ok(())
        })?;
        let mut segments = PageBuffer::default();
        for mut found in others {
            while let Some(segment) = found.next(&mut page)? {
                if self.offer(domain, segment, found.query.at, &mut segments, accept)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn byte_of(&self, page: u64) -> u64 {
        page.saturating_mul(PAGE_BYTES as u64)
    }

    /// The entry pages on which a name may stand: the last one that begins before it, and those
    /// that begin with its first eight bytes.
    fn pages_of(&self, name: &Name) -> (u64, u64) {
        let key = prefix(name);
        let end = self.fence.partition_point(|fence| *fence <= key);
        let same = self.fence.get(..end).unwrap_or_default();
        let before = match same.last() {
            Some(last) if *last == key => same.partition_point(|fence| *fence < key),
            _ => end,
        };
        (before.saturating_sub(1) as u64, end as u64)
    }

    /// The groups in which a name may stand, nearly always one.
    fn groups_of(&self, name: &Name) -> Range<u64> {
        let key = prefix(name);
        let end = self.groups.partition_point(|group| *group <= key);
        let mut first = end.saturating_sub(1);
        while first > 0 && self.groups.get(first) == Some(&key) {
            first -= 1;
        }
        first as u64..end as u64
    }

    /// The queries that the filter lets pass, in their order.
    fn pass_filter(&self, queries: &[Query]) -> Result<Vec<Query>, RunError> {
        let mut passed = Vec::with_capacity(queries.len());
        let mut reads: Vec<(u64, Query)> = Vec::new();
        {
            let filter = self.filter.read();
            let whole = filter.level() == Level::Whole;
            for query in queries {
                let probe = Probe::of(&query.name);
                for group in self.groups_of(&query.name) {
                    let block = self.block_of(group, &probe);
                    if filter.may_hold(block, &probe) {
                        if whole {
                            passed.push(*query);
                            break;
                        }
                        reads.push((block, *query));
                    }
                }
            }
        }
        let (sample, rest) = reads.split_at(reads.len().min(SAMPLE_READS));
        self.ask_blocks(sample, &mut passed)?;
        if passed.len() * 4 >= sample.len() * 3 {
            // Nearly all are known: their pages will be read in any case.
            passed.extend(rest.iter().map(|(_, query)| *query));
            passed.dedup();
        } else {
            self.ask_blocks(rest, &mut passed)?;
        }
        Ok(passed)
    }

    /// Adds the queries that their filter blocks in the file let pass.
    fn ask_blocks(&self, reads: &[(u64, Query)], passed: &mut Vec<Query>) -> Result<(), RunError> {
        let offsets: Vec<u64> = reads.iter().map(|(block, _)| self.byte_of_block(*block)).collect();
        let mut buffer = vec![0; offsets.len() * BLOCK_BYTES];
        self.storage
            .read_parts(&self.key, &offsets, BLOCK_BYTES, &mut buffer)
            .map_err(|error| self.unread(error))?;
        let (blocks, _) = buffer.as_chunks::<BLOCK_BYTES>();
        for ((number, query), block) in reads.iter().zip(blocks) {
            let block = Block(*block);
            if !block.is_whole(self.nonce, *number) {
                return Err(self.damaged(format!("filter block {number} fails its check")));
            }
            let twice = passed.last() == Some(query);
            if !twice && block.may_hold(&Probe::of(&query.name)) {
                passed.push(*query);
            }
        }
        Ok(())
    }

    /// The number, in the run, of the filter block of a name that is in this group.
    fn block_of(&self, group: u64, probe: &Probe) -> u64 {
        self.layout.first_block(group).saturating_add(probe.block(self.layout.blocks(group)))
    }

    fn byte_of_block(&self, number: u64) -> u64 {
        let group = number / self.layout.first_block(1);
        let number = number - self.layout.first_block(group);
        let page = self.layout.filter_page(group).saturating_add(number / BLOCKS_PER_PAGE);
        self.byte_of(page).saturating_add(number % BLOCKS_PER_PAGE * BLOCK_BYTES as u64)
    }

    fn page_of_segment(&self, segment: u32) -> u64 {
        self.segment_page().saturating_add(u64::from(segment) / SegmentRecord::PER_PAGE as u64)
    }

    fn offer(
        &self,
        domain: DomainId,
        segment: u32,
        at: usize,
        page: &mut PageBuffer,
        accept: &mut Accept<'_>,
    ) -> Result<bool, RunError> {
        if u64::from(segment) >= self.counts.segments {
            return Err(self.damaged("an entry names a segment that is not there"));
        }
        self.load(self.page_of_segment(segment), page)?;
        let start = segment as usize % SegmentRecord::PER_PAGE * SegmentRecord::BYTES;
        let record = page
            .bytes
            .get(start..start + SegmentRecord::BYTES)
            .and_then(SegmentRecord::read)
            .ok_or_else(|| self.damaged("a segment record is cut"))?;
        if self.domains.get(record.domain as usize) != Some(&domain) {
            return Ok(false);
        }
        let Some((pack, _)) = self.packs.get(record.pack as usize) else { return Ok(false) };
        let place = SegmentPlace { pack: *pack, offset: record.offset, length: record.length };
        Ok(accept(at, Some(place), !self.bad_packs.contains(&record.pack)))
    }
}

/// A name that may be on entry pages `first..end`.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    query: Query,
    first: u64,
    end: u64,
}

/// One page of the file, checked.
struct PageBuffer {
    number: Option<u64>,
    bytes: [u8; PAGE_BYTES],
}

impl Default for PageBuffer {
    fn default() -> Self {
        Self { number: None, bytes: [0; PAGE_BYTES] }
    }
}

/// The entries of one name, in order.
#[derive(Clone, Copy)]
struct Matches<'a> {
    run: &'a Run,
    query: Query,
    page: u64,
    end: u64,
    /// The next record on the page; none before the page was looked at.
    record: Option<usize>,
}

impl<'a> Matches<'a> {
    /// Goes to the last page that begins before the name. Where many pages begin with the same
    /// eight bytes, as somebody who chooses names can bring about, they are halved, not walked.
    fn new(run: &'a Run, candidate: Candidate, buffer: &mut PageBuffer) -> Result<Self, RunError> {
        let Candidate { query, mut first, end } = candidate;
        let mut last = end;
        while last.saturating_sub(first) > 2 {
            let middle = first + (last - first) / 2;
            run.load(run.layout.entry_page(middle), buffer)?;
            if buffer.bytes.first_chunk::<32>().is_some_and(|name| *name < query.name.0) {
                first = middle;
            } else {
                last = middle;
            }
        }
        Ok(Self { run, query, page: first, end, record: None })
    }

    fn next(&mut self, buffer: &mut PageBuffer) -> Result<Option<u32>, RunError> {
        while self.page < self.end {
            self.run.load(self.run.layout.entry_page(self.page), buffer)?;
            let count = self.run.layout.entries_on(self.page);
            let records = buffer.bytes.get(..count * 36).unwrap_or_default();
            let (records, _) = records.as_chunks::<36>();
            let at = match self.record {
                Some(at) => at,
                None => records.partition_point(|record| record[..32] < self.query.name.0[..]),
            };
            if let Some(record) = records.get(at) {
                if record[..32] != self.query.name.0[..] {
                    self.page = self.end;
                    return Ok(None);
                }
                self.record = Some(at + 1);
                return Ok(<(Name, u32)>::read(record).map(|(_, segment)| segment));
            }
            self.page += 1;
            self.record = None;
        }
        Ok(None)
    }
}

fn read_trailer(payload: &[u8]) -> Option<(StoreId, u64, Counts)> {
    let mut cursor = Cursor::new(payload, "index trailer");
    if cursor.array::<8>().ok()? != MAGIC || cursor.u16().ok()? != VERSION {
        return None;
    }
    cursor.bytes(6).ok()?;
    let store = StoreId(cursor.array().ok()?);
    let nonce = cursor.u64().ok()?;
    let counts = Counts {
        entries: cursor.u64().ok()?,
        segments: cursor.u64().ok()?,
        packs: cursor.u64().ok()?,
        domains: cursor.u64().ok()?,
    };
    Some((store, nonce, counts))
}

/// Records in order, from page `first` on.
pub(crate) struct Section<'a, R> {
    run: &'a Run,
    first: u64,
    page: u64,
    left: u64,
    buffer: std::vec::IntoIter<R>,
}

impl<R: Record> Section<'_, R> {
    fn fill(&mut self) -> Result<(), RunError> {
        let run = self.run;
        let pages = pages_of::<R>(self.left).min(READ_AHEAD_PAGES);
        let number = self.first.saturating_add(self.page);
        let bytes = run
            .storage
            .get_range(&run.key, run.byte_of(number), pages as usize * PAGE_BYTES)
            .map_err(|error| run.unread(error))?;
        let mut records = Vec::with_capacity(pages as usize * R::PER_PAGE);
        for (number, page) in (number..).zip(bytes.chunks_exact(PAGE_BYTES)) {
            let payload = open_page(run.nonce, number, page)
                .ok_or_else(|| run.damaged(format!("page {number} fails its checksum")))?;
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
    type Item = Result<R, RunError>;

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

/// All entries, group by group.
pub(crate) struct Entries<'a> {
    run: &'a Run,
    group: u64,
    section: Section<'a, (Name, u32)>,
}

impl Iterator for Entries<'_> {
    type Item = Result<(Name, u32), RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.section.next() {
                return Some(entry);
            }
            let layout = &self.run.layout;
            if self.group >= layout.groups {
                return None;
            }
            let first = self.group * GROUP_PAGES;
            let names = layout.entries_of(self.group);
            self.section = self.run.section(layout.entry_page(first), names);
            self.group += 1;
        }
    }
}
