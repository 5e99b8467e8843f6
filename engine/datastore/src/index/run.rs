//! One run, opened. Fence, pack and domain tables are in memory, and as much of the filter as there
//! is room for; all else is read from the file, and each page or filter block is held against its
//! checksum.

use std::collections::HashSet;
use std::sync::Arc;

use simsim_format::Cursor;
use simsim_model::{DomainId, Name, StoreId};
use simsim_storage::{Storage, StorageError};

use super::filter::{BLOCK_BYTES, BLOCKS_PER_PAGE, BRIEF_BYTES, Block, Level, Probe, Resident};
use super::layout::{GROUP_PAGES, Layout};
use super::page::{PAGE_BYTES, PAYLOAD_BYTES, Record, SegmentRecord, open_page, pages_of};
use super::run_error::RunError;
use super::run_writer::{Counts, MAGIC, TRAILER_PAGE, VERSION, run_key};
use super::section::{Entries, Section};
use crate::reread::Misreads;
use crate::sync::RwLock;

pub(crate) struct Run {
    pub(crate) number: u64,
    pub(super) storage: Arc<dyn Storage>,
    misreads: Arc<Misreads>,
    pub(super) key: String,
    pub(super) nonce: u64,
    pub(crate) counts: Counts,
    pub(super) layout: Layout,
    pub(super) fence: Vec<u64>,
    /// The fence of groups: each group's first.
    pub(super) groups: Vec<u64>,
    pub(super) filter: RwLock<Resident>,
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
        misreads: &Arc<Misreads>,
    ) -> Result<Self, RunError> {
        let key = run_key(number);
        let damaged = |why: &str| RunError::Damaged { number, why: why.to_owned() };
        let (trailer_at, page) = misreads.read(&*storage, &key, || {
            let bytes = storage.size(&key).map_err(|error| RunError::of(number, error))?;
            let trailer_at = bytes
                .checked_sub(PAGE_BYTES as u64)
                .filter(|_| bytes % PAGE_BYTES as u64 == 0)
                .ok_or_else(|| damaged("its size is not a number of pages"))?;
            let page = storage
                .get_range(&key, trailer_at, PAGE_BYTES)
                .map_err(|error| RunError::of(number, error))?;
            match open_page(0, TRAILER_PAGE, &page) {
                Some(_) => Ok((trailer_at, page)),
                None => Err(damaged("its trailer fails its checksum")),
            }
        })?;
        let payload = page.get(..PAYLOAD_BYTES).unwrap_or_default();
        let (found, nonce, counts) =
            read_trailer(payload).ok_or_else(|| damaged("its trailer is malformed"))?;
        if found != store {
            return Err(damaged("it belongs to another datastore"));
        }
        let mut run = Self {
            number,
            storage,
            misreads: misreads.clone(),
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

    pub(super) fn damaged(&self, why: impl ToString) -> RunError {
        RunError::Damaged { number: self.number, why: why.to_string() }
    }

    pub(super) fn unread(&self, error: StorageError) -> RunError {
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
    pub(super) fn section<R: Record>(&self, first: u64, count: u64) -> Section<'_, R> {
        Section::new(self, first, count)
    }

    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries::new(self)
    }

    pub(crate) fn segments(&self) -> Section<'_, SegmentRecord> {
        self.section(self.segment_page(), self.counts.segments)
    }

    /// Reads, and where it comes out wrong, again (ROT06).
    pub(super) fn surely<T>(
        &self,
        read: impl FnMut() -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        self.misreads.read(&*self.storage, &self.key, read)
    }

    pub(super) fn check(&self, number: u64, page: &[u8]) -> Result<(), RunError> {
        match open_page(self.nonce, number, page) {
            Some(_) => Ok(()),
            None => Err(self.damaged(format!("page {number} fails its checksum"))),
        }
    }

    pub(super) fn byte_of(&self, page: u64) -> u64 {
        page.saturating_mul(PAGE_BYTES as u64)
    }

    /// The number, in the run, of the filter block of a name that is in this group.
    pub(super) fn block_of(&self, group: u64, probe: &Probe) -> u64 {
        self.layout.first_block(group).saturating_add(probe.block(self.layout.blocks(group)))
    }

    pub(super) fn byte_of_block(&self, number: u64) -> u64 {
        let group = number / self.layout.first_block(1);
        let number = number - self.layout.first_block(group);
        let page = self.layout.filter_page(group).saturating_add(number / BLOCKS_PER_PAGE);
        self.byte_of(page).saturating_add(number % BLOCKS_PER_PAGE * BLOCK_BYTES as u64)
    }

    pub(super) fn page_of_segment(&self, segment: u32) -> u64 {
        self.segment_page().saturating_add(u64::from(segment) / SegmentRecord::PER_PAGE as u64)
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
