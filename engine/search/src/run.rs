//! A run that is open: its heads in memory, the rest read where it is needed.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use simsim_format::{Cursor, FormatError};
use twox_hash::XxHash3_64;

use crate::SearchError;
use crate::block::{BlockFile, Place};
use crate::chapter::{GROUP_NAMES, TABLE_GROUPS};
use crate::head::{BirthBlock, Head};
use crate::record::{Key, Record, read_records};
use crate::run_writer::{FOOT_BYTES, MAGIC, VERSION};

const CHAPTERS_MAX: usize = 1 << 20;

pub(crate) struct Run {
    /// The first and the last ordinal whose savesets it tells of.
    pub low: u32,
    pub high: u32,
    pub file: BlockFile,
    pub heads: Vec<Head>,
    /// Its file goes with the last one who reads it.
    retired: AtomicBool,
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Relaxed) {
            // What stays is removed at the next opening.
            drop(std::fs::remove_file(&self.file.path));
        }
    }
}

impl Run {
    pub(crate) fn open(path: &Path, number: u64, low: u32, high: u32) -> Result<Self, SearchError> {
        let io = |error| SearchError::io("open", path, error);
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SearchError::damaged(path, "it is gone"));
            }
            other => other.map_err(io)?,
        };
        let bytes = file.metadata().map_err(io)?.len();
        let file = BlockFile { file, path: path.to_owned(), nonce: number, bytes };
        let heads = read_heads(&file)?;
        Ok(Self { low, high, file, heads, retired: AtomicBool::new(false) })
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn malformed(&self, error: &FormatError) -> SearchError {
        SearchError::malformed(&self.file.path, error)
    }

    /// The record of a key.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Record>, SearchError> {
        let after = self.heads.partition_point(|head| head.first <= *key);
        let Some(head) = after.checked_sub(1).and_then(|at| self.heads.get(at)) else {
            return Ok(None);
        };
        if head.last < *key {
            return Ok(None);
        }
        let mut reader = Reader::new(self, head);
        let Some((_, records)) = reader.block_of_key(key)? else {
            return Ok(None);
        };
        let at = records.binary_search_by(|record| record.key.cmp(key));
        Ok(at.ok().and_then(|at| records.get(at).cloned()))
    }

    /// Records from a key on, in order. `None`: all.
    pub(crate) fn scan(&self, from: Option<&Key>) -> Scan<'_> {
        let chapter = from.map_or(0, |key| self.heads.partition_point(|head| head.last < *key));
        Scan {
            run: self,
            chapter,
            from: from.cloned(),
            blocks: None,
            ready: Vec::new().into_iter(),
        }
    }

    /// Groups of a chapter whose names have a trigram, ascending.
    pub(crate) fn postings(&self, head: &Head, trigram: u32) -> Result<Vec<u32>, SearchError> {
        let after = head.trigrams.partition_point(|block| block.first <= trigram);
        let Some(block) = after.checked_sub(1).and_then(|at| head.trigrams.get(at)) else {
            return Ok(Vec::new());
        };
        let payload = self.file.read(block.place)?;
        postings_in(&payload, trigram, head.groups).map_err(|error| self.malformed(&error))
    }

    /// The names of a group, each with the records that bear it.
    pub(crate) fn group(&self, head: &Head, group: u32) -> Result<Vec<Named>, SearchError> {
        let at = group as usize;
        let Some(table) = head.group_tables.get(at / TABLE_GROUPS) else {
            return Err(self.file.damaged("a group lies in no table"));
        };
        let table = self.file.read(*table)?;
        let row = table.get(at % TABLE_GROUPS * 12..).unwrap_or_default();
        let read = || -> Result<Vec<Named>, FormatError> {
            let mut row = Cursor::new(row, "table of groups");
            let place = Place { offset: row.u64()?, bytes: row.u32()? };
            let Ok(payload) = self.file.read(place) else {
                return Err(row.malformed("a group cannot be read"));
            };
            let mut from = Cursor::new(&payload, "names of the search index");
            let mut names = Vec::new();
            while !from.is_empty() && names.len() <= GROUP_NAMES {
                let name = from.prefixed(simsim_model::limits::PATH_COMPONENT_BYTES_MAX)?.to_vec();
                let count = from.count("records of a name", head.records as usize)?;
                let mut records = Vec::with_capacity(count.min(from.remaining()));
                let mut last = 0u32;
                for _ in 0..count {
                    last = last.wrapping_add(from.varint_u32()?);
                    records.push(last);
                }
                names.push((name, records));
            }
            Ok(names)
        };
        read().map_err(|error| self.malformed(&error))
    }

    /// Records that have a version which begins here, ascending, each with the group of its name.
    pub(crate) fn births(&self, block: &BirthBlock) -> Result<Vec<(u32, u32)>, SearchError> {
        let payload = self.file.read(block.place)?;
        let read = || -> Result<Vec<(u32, u32)>, FormatError> {
            let mut from = Cursor::new(&payload, "births of the search index");
            let mut births = Vec::with_capacity((block.count as usize).min(payload.len()));
            let mut record = block.first_record;
            for _ in 0..block.count {
                record = record.wrapping_add(from.varint_u32()?);
                births.push((record, from.varint_u32()?));
            }
            Ok(births)
        };
        read().map_err(|error| self.malformed(&error))
    }
}

/// A name, and the records that bear it.
pub(crate) type Named = (Vec<u8>, Vec<u32>);

fn read_heads(file: &BlockFile) -> Result<Vec<Head>, SearchError> {
    use std::os::unix::fs::FileExt;
    let Some(at) = file.bytes.checked_sub(FOOT_BYTES as u64) else {
        return Err(file.damaged("it is shorter than its foot"));
    };
    let mut foot = [0; FOOT_BYTES];
    file.file
        .read_exact_at(&mut foot, at)
        .map_err(|error| SearchError::io("read", &file.path, error))?;
    let read = || -> Result<(Place, bool), FormatError> {
        let mut from = Cursor::new(&foot, "foot of a run");
        let place = Place { offset: from.u64()?, bytes: from.u32()? };
        let (nonce, version) = (from.u64()?, from.u16()?);
        let magic = from.array::<8>()?;
        let sum = XxHash3_64::oneshot_with_seed(u64::MAX, foot.get(..30).unwrap_or_default());
        let good = nonce == file.nonce && version == VERSION && magic == *MAGIC;
        Ok((place, good && from.u64()? == sum))
    };
    let (place, good) = read().map_err(|error| SearchError::malformed(&file.path, &error))?;
    if !good {
        return Err(file.damaged("its foot has another checksum, version or number"));
    }
    let payload = file.read(place)?;
    let read = || -> Result<Vec<Head>, FormatError> {
        let mut from = Cursor::new(&payload, "heads of a run");
        let count = from.count("chapters", CHAPTERS_MAX)?;
        let mut heads = Vec::with_capacity(count.min(payload.len()));
        for _ in 0..count {
            heads.push(Head::decode(&mut from)?);
        }
        from.finish()?;
        Ok(heads)
    };
    read().map_err(|error| SearchError::malformed(&file.path, &error))
}

fn postings_in(payload: &[u8], trigram: u32, groups: u32) -> Result<Vec<u32>, FormatError> {
    let mut from = Cursor::new(payload, "posting lists of the search index");
    while !from.is_empty() {
        let (of, count) = (from.varint_u32()?, from.count("groups", groups as usize)?);
        let bytes = from.prefixed(payload.len())?;
        if of > trigram {
            break;
        }
        if of == trigram {
            let mut list = Cursor::new(bytes, "posting list of the search index");
            let mut found = Vec::with_capacity(count);
            let mut last = 0u32;
            for _ in 0..count {
                last = last.wrapping_add(list.varint_u32()?);
                found.push(last);
            }
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Of a block of records: its first key, the number of that, and where it lies.
type FenceRow = (Key, u32, Place);

/// Reads records of a chapter by key or number; remembers the last fence block and the last block.
pub(crate) struct Reader<'a> {
    run: &'a Run,
    head: &'a Head,
    fence: Option<(usize, Vec<FenceRow>)>,
    block: Option<(u32, Vec<Record>)>,
    /// Blocks that were read.
    pub reads: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(run: &'a Run, head: &'a Head) -> Self {
        Self { run, head, fence: None, block: None, reads: 0 }
    }

    fn fence(&mut self, at: usize) -> Result<&[FenceRow], SearchError> {
        if self.fence.as_ref().is_none_or(|(there, _)| *there != at) {
            let Some(block) = self.head.fence.get(at) else {
                return Err(self.run.file.damaged("a fence block is missing"));
            };
            let payload = self.run.file.read(block.place)?;
            self.reads += 1;
            let read = || -> Result<Vec<FenceRow>, FormatError> {
                let mut from = Cursor::new(&payload, "fence of the search index");
                let mut rows = Vec::new();
                while !from.is_empty() {
                    let (key, record) = (Key::decode(&mut from)?, from.varint_u32()?);
                    let place = Place { offset: from.varint()?, bytes: from.varint_u32()? };
                    rows.push((key, record, place));
                }
                Ok(rows)
            };
            self.fence = Some((at, read().map_err(|error| self.run.malformed(&error))?));
        }
        Ok(self.fence.as_ref().map(|(_, rows)| rows.as_slice()).unwrap_or_default())
    }

    /// The block that holds a key if any does: its first record's number, and its records.
    pub(crate) fn block_of_key(
        &mut self,
        key: &Key,
    ) -> Result<Option<&(u32, Vec<Record>)>, SearchError> {
        let after = self.head.fence.partition_point(|block| block.first <= *key);
        let Some(at) = after.checked_sub(1) else { return Ok(None) };
        let rows = self.fence(at)?;
        let after = rows.partition_point(|(first, ..)| first <= key);
        let Some(place) = after.checked_sub(1).and_then(|at| rows.get(at)).map(|row| row.2) else {
            return Ok(None);
        };
        self.load(place)?;
        Ok(self.block.as_ref())
    }

    fn load(&mut self, place: Place) -> Result<(), SearchError> {
        let payload = self.run.file.read(place)?;
        self.reads += 1;
        self.block = Some(read_records(&payload).map_err(|error| self.run.malformed(&error))?);
        Ok(())
    }

    /// A record by its number.
    pub(crate) fn record(&mut self, number: u32) -> Result<&Record, SearchError> {
        let holds = |block: &(u32, Vec<Record>)| {
            number >= block.0 && ((number - block.0) as usize) < block.1.len()
        };
        if !self.block.as_ref().is_some_and(holds) {
            let after = self.head.fence.partition_point(|block| block.first_record <= number);
            let rows = self.fence(after.saturating_sub(1))?;
            let after = rows.partition_point(|(_, first, _)| *first <= number);
            let place = after.checked_sub(1).and_then(|at| rows.get(at)).map(|row| row.2);
            let Some(place) = place else {
                return Err(self.run.file.damaged("a record lies in no block"));
            };
            self.load(place)?;
        }
        match &self.block {
            Some((first, records)) => records
                .get(number.wrapping_sub(*first) as usize)
                .ok_or_else(|| self.run.file.damaged("a record is not in its block")),
            None => Err(self.run.file.damaged("a block is missing")),
        }
    }

    /// The number of the first record of the chapter after a key.
    pub(crate) fn number_after(&mut self, key: &Key) -> Result<u32, SearchError> {
        Ok(match self.block_of_key(key)? {
            Some((first, records)) => {
                first + records.partition_point(|record| record.key <= *key) as u32
            }
            None => 0,
        })
    }
}

/// Records in order.
pub(crate) struct Scan<'a> {
    run: &'a Run,
    chapter: usize,
    from: Option<Key>,
    blocks: Option<crate::block::Sequence<'a>>,
    ready: std::vec::IntoIter<Record>,
}

impl Scan<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<Record>, SearchError> {
        loop {
            for record in self.ready.by_ref() {
                if self.from.as_ref().is_none_or(|from| record.key >= *from) {
                    self.from = None;
                    return Ok(Some(record));
                }
            }
            if let Some(blocks) = &mut self.blocks {
                if let Some(payload) = blocks.next()? {
                    let (_, records) =
                        read_records(&payload).map_err(|error| self.run.malformed(&error))?;
                    self.ready = records.into_iter();
                    continue;
                }
                self.blocks = None;
                self.chapter += 1;
            }
            let Some(head) = self.run.heads.get(self.chapter) else { return Ok(None) };
            let mut start = head.records_from;
            if let Some(from) = &self.from {
                let mut reader = Reader::new(self.run, head);
                let after = head.fence.partition_point(|block| block.first <= *from);
                if let Some(at) = after.checked_sub(1) {
                    let rows = reader.fence(at)?;
                    let row = rows.partition_point(|(first, ..)| first <= from).checked_sub(1);
                    start = row.and_then(|at| rows.get(at)).map_or(start, |row| row.2.offset);
                }
            }
            self.blocks = Some(self.run.file.sequence(start, head.records_end));
        }
    }
}

impl Run {
    /// What its heads take in memory, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let of = |head: &Head| {
            let keys = head.fence.iter().map(|block| 80 + block.first.parent.len() as u64 + 32);
            400 + keys.sum::<u64>()
                + 16 * head.group_tables.len() as u64
                + 24 * (head.trigrams.len() as u64)
                + 32 * (head.birth_blocks.len() as u64)
        };
        self.heads.iter().map(of).sum()
    }
}
