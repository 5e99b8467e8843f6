//! Bringing one saveset into the index: what differs from the one before it in its strand, as a run.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::MutexGuard;
use simsim_model::limits::PATH_COMPONENT_BYTES_MAX;
use simsim_model::{DomainId, SavesetId};

use crate::SearchError;
use crate::book::{Book, IndexedSaveset, RunRow, Strand};
use crate::index::Index;
use crate::merge;
use crate::record::{Event, Key, PARENT_BYTES_MAX, Record, Version};
use crate::run::Run;
use crate::run_writer::{RunWriter, Written};

/// Changes in memory at most; then they go to a file as a part of the run.
const CHANGES_MAX: usize = 65_536;
const BYTES_MAX: usize = 16 << 20;

/// One saveset on its way into the index. Dropped without [`Update::commit`], nothing of it stays.
pub struct Update<'a> {
    index: &'a Index,
    _writing: MutexGuard<'a, ()>,
    book: Book,
    strand: u32,
    ordinal: u32,
    waiting: Vec<Record>,
    waiting_bytes: usize,
    parts: Vec<(PathBuf, u64)>,
    changes: u64,
}

impl Index {
    /// Begins to bring a saveset in. `strand`: the one whose tip it will be compared with; without,
    /// everything in it is told, and it begins a strand.
    pub fn begin(
        &self,
        saveset: SavesetId,
        committed_unix_ns: i64,
        strand: Option<u32>,
        owner: (DomainId, &str, &str),
    ) -> Update<'_> {
        let writing = self.writing.lock();
        let mut book = self.snapshot().0.book.clone();
        let (domain, client, task) = owner;
        let id = strand.filter(|id| book.strands.contains_key(id)).unwrap_or_else(|| {
            // What was open of this task ends.
            for old in book.strands.values_mut() {
                if old.domain == domain && old.client == client && old.task == task {
                    old.tip = None;
                }
            }
            let id = book.next_strand;
            book.next_strand += 1;
            let (client, task) = (client.to_owned(), task.to_owned());
            book.strands.insert(id, Strand { id, domain, client, task, tip: None });
            id
        });
        let ordinal = book.next_ordinal;
        book.next_ordinal += 1;
        if let Some(strand) = book.strands.get_mut(&id) {
            strand.tip = Some(saveset);
        }
        book.add(IndexedSaveset { ordinal, saveset, strand: id, committed_unix_ns });
        Update {
            index: self,
            _writing: writing,
            book,
            strand: id,
            ordinal,
            waiting: Vec::new(),
            waiting_bytes: 0,
            parts: Vec::new(),
            changes: 0,
        }
    }
}

impl Update<'_> {
    /// From this saveset on, a path has this version, or is gone. Each path once, in any order.
    /// What has no name that a path may have is left out.
    pub fn push(
        &mut self,
        parent: &[u8],
        name: &[u8],
        version: Option<Version>,
    ) -> Result<(), SearchError> {
        if name.is_empty()
            || name.len() > PATH_COMPONENT_BYTES_MAX
            || parent.len() > PARENT_BYTES_MAX
        {
            return Ok(());
        }
        // Most come folder by folder: one text for all of a folder.
        let parent = match self.waiting.last() {
            Some(last) if *last.key.parent == *parent => Arc::clone(&last.key.parent),
            _ => Arc::from(parent),
        };
        self.waiting_bytes += parent.len() + name.len() + 96;
        let key = Key { strand: self.strand, parent, name: name.to_vec() };
        self.waiting.push(Record { key, events: vec![Event { at: self.ordinal, version }] });
        self.changes += 1;
        if self.waiting.len() >= CHANGES_MAX || self.waiting_bytes >= BYTES_MAX {
            let number = self.take_number();
            let path = self.index.folder().join(format!("{number:016x}.part"));
            self.parts.push((path.clone(), number));
            self.write_waiting(path, number)?;
            self.index.step("a part of a run is written");
        }
        Ok(())
    }

    /// How much differed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn take_number(&mut self) -> u64 {
        let number = self.book.next_run;
        self.book.next_run += 1;
        number
    }

    fn write_waiting(&mut self, path: PathBuf, nonce: u64) -> Result<Option<Written>, SearchError> {
        let mut records = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut writer = RunWriter::create(&path, nonce)?;
        records.iter().try_for_each(|record| writer.push(record))?;
        writer.finish()
    }

    /// Afterwards the saveset is in the index, durably.
    pub fn commit(mut self) -> Result<(), SearchError> {
        let number = self.take_number();
        let path = self.index.run_path(number);
        let written = self.write_run(path.clone(), number);
        let written = written.inspect_err(|_| drop(fs::remove_file(&path)))?;
        self.index.step("a run is written");
        let mut runs = self.index.snapshot().0.runs.clone();
        let mut book = std::mem::take(&mut self.book);
        if let Some(written) = written {
            let (low, high) = (self.ordinal, self.ordinal);
            runs.push(Arc::new(Run::open(&path, number, low, high)?));
            book.runs.push(RunRow {
                number,
                low,
                high,
                records: written.records,
                births: written.births,
                savesets: 1,
            });
        }
        let replaced = self.index.replace(book, runs);
        replaced.inspect_err(|_| drop(fs::remove_file(&path)))
    }

    fn write_run(&mut self, path: PathBuf, number: u64) -> Result<Option<Written>, SearchError> {
        if self.parts.is_empty() {
            return self.write_waiting(path, number);
        }
        if !self.waiting.is_empty() {
            let part_number = self.take_number();
            let part = self.index.folder().join(format!("{part_number:016x}.part"));
            self.parts.push((part.clone(), part_number));
            self.write_waiting(part, part_number)?;
        }
        let mut parts = Vec::new();
        for (part, part_number) in &self.parts {
            parts.push(Run::open(part, *part_number, self.ordinal, self.ordinal)?);
        }
        let mut writer = RunWriter::create(&path, number)?;
        merge::merge(&parts.iter().collect::<Vec<_>>(), &self.book, false, &mut writer)?;
        writer.finish()
    }
}

impl Drop for Update<'_> {
    fn drop(&mut self) {
        for (part, _) in &self.parts {
            // What stays is removed at the next opening.
            drop(fs::remove_file(part));
        }
    }
}
