//! Reading a run from its start to its end, as merging and opening do.

use simsim_model::Name;

use super::layout::GROUP_PAGES;
use super::page::{PAGE_BYTES, PAYLOAD_BYTES, Record, pages_of};
use super::run::Run;
use super::run_error::RunError;

/// Pages read at once.
const READ_AHEAD_PAGES: u64 = 32;

/// Records in order, from page `first` on.
pub(crate) struct Section<'a, R> {
    run: &'a Run,
    first: u64,
    page: u64,
    left: u64,
    buffer: std::vec::IntoIter<R>,
}

impl<'a, R: Record> Section<'a, R> {
    pub(super) fn new(run: &'a Run, first: u64, count: u64) -> Self {
        Self { run, first, page: 0, left: count, buffer: Vec::new().into_iter() }
    }

    fn fill(&mut self) -> Result<(), RunError> {
        let run = self.run;
        let pages = pages_of::<R>(self.left).min(READ_AHEAD_PAGES);
        let number = self.first.saturating_add(self.page);
        let bytes = run.surely(|| {
            let bytes = run
                .storage
                .get_range(&run.key, run.byte_of(number), pages as usize * PAGE_BYTES)
                .map_err(|error| run.unread(error))?;
            let mut read = (number..).zip(bytes.chunks_exact(PAGE_BYTES));
            read.try_for_each(|(number, page)| run.check(number, page))?;
            Ok(bytes)
        })?;
        let mut records = Vec::with_capacity(pages as usize * R::PER_PAGE);
        for page in bytes.chunks_exact(PAGE_BYTES) {
            let payload = page.get(..PAYLOAD_BYTES).unwrap_or_default();
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

impl<'a> Entries<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        Self { run, group: 0, section: run.section(0, 0) }
    }
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
