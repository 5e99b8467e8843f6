//! Looking names up in one run.
//!
//! Lookups come in sorted batches: names on one page read it once, and reads that a disk has to
//! answer go out together.

use std::ops::Range;

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, SegmentPlace};

use super::filter::{BLOCK_BYTES, Block, Level, Probe};
use super::page::{PAGE_BYTES, Record, SegmentRecord};
use super::run::Run;
use super::run_error::RunError;
use super::run_writer::prefix;

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
pub(crate) type Accept<'a> =
    dyn FnMut(usize, Option<(SegmentPlace, SegmentKind)>, bool) -> bool + 'a;

impl Run {
    /// Reads page `number` of the file into `page` and checks it.
    fn load(&self, number: u64, page: &mut PageBuffer) -> Result<(), RunError> {
        if page.number == Some(number) {
            return Ok(());
        }
        page.number = None;
        self.surely(|| {
            self.storage
                .read_at(&self.key, self.byte_of(number), &mut page.bytes)
                .map_err(|error| self.unread(error))?;
            self.check(number, &page.bytes)
        })?;
        page.number = Some(number);
        Ok(())
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
            self.surely(|| {
                self.storage
                    .read_parts(&self.key, &offsets, PAGE_BYTES, &mut buffer)
                    .map_err(|error| self.unread(error))?;
                let mut read = pages.iter().zip(buffer.chunks_exact(PAGE_BYTES));
                read.try_for_each(|(number, bytes)| self.check(*number, bytes))
            })?;
            let mut now = now.iter().peekable();
            for (number, bytes) in pages.iter().zip(buffer.chunks_exact(PAGE_BYTES)) {
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
        self.surely(|| {
            self.storage
                .read_parts(&self.key, &offsets, BLOCK_BYTES, &mut buffer)
                .map_err(|error| self.unread(error))?;
            let (blocks, _) = buffer.as_chunks::<BLOCK_BYTES>();
            let mut read = reads.iter().zip(blocks);
            match read.find(|((number, _), block)| !Block(**block).is_whole(self.nonce, *number)) {
                Some(((number, _), _)) => {
                    Err(self.damaged(format!("filter block {number} fails its check")))
                }
                None => Ok(()),
            }
        })?;
        let (blocks, _) = buffer.as_chunks::<BLOCK_BYTES>();
        for ((_, query), block) in reads.iter().zip(blocks) {
            let block = Block(*block);
            let twice = passed.last() == Some(query);
            if !twice && block.may_hold(&Probe::of(&query.name)) {
                passed.push(*query);
            }
        }
        Ok(())
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
        Ok(accept(at, Some((place, record.kind)), !self.bad_packs.contains(&record.pack)))
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
