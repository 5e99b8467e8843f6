//! The book: which savesets and which runs the index is made of. Small, in memory, and replaced as a
//! whole: whatever it does not name does not count.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use simsim_format::{Cursor, FormatError, put_bytes, put_varint, put_zigzag};
use simsim_model::{DomainId, SavesetId};
use twox_hash::XxHash3_64;

use crate::SearchError;

const MAGIC: &[u8; 8] = b"SIMSIMSB";
const VERSION: u16 = 1;
const COUNT_MAX: usize = 1 << 24;
const NAME_BYTES_MAX: usize = 4096;

/// Savesets of one task in one domain, each of which is told by what differs from the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strand {
    pub id: u32,
    pub domain: DomainId,
    pub client: String,
    pub task: String,
    /// The saveset that the next one is compared with; none once that one is gone: then the next
    /// saveset begins another strand.
    pub tip: Option<SavesetId>,
}

/// A saveset that is in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedSaveset {
    /// Its place in the order in which savesets came to the index.
    pub ordinal: u32,
    pub saveset: SavesetId,
    pub strand: u32,
    pub committed_unix_ns: i64,
}

/// A run, as the book has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunRow {
    pub number: u64,
    pub low: u32,
    pub high: u32,
    pub records: u64,
    pub births: u64,
    /// Savesets that it told of when it was written.
    pub savesets: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    /// Another one after each beginning anew.
    pub(crate) generation: u64,
    pub(crate) next_ordinal: u32,
    pub(crate) next_strand: u32,
    pub(crate) next_run: u64,
    pub(crate) strands: BTreeMap<u32, Strand>,
    pub(crate) savesets: BTreeMap<u32, IndexedSaveset>,
    /// Ordinals of each strand, ascending.
    pub(crate) of_strand: BTreeMap<u32, Vec<u32>>,
    /// From the oldest to the newest.
    pub(crate) runs: Vec<RunRow>,
}

impl Book {
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Savesets that can be searched.
    pub fn savesets(&self) -> impl Iterator<Item = &IndexedSaveset> {
        self.savesets.values()
    }

    pub fn strands(&self) -> impl Iterator<Item = &Strand> {
        self.strands.values()
    }

    pub fn strand(&self, id: u32) -> Option<&Strand> {
        self.strands.get(&id)
    }

    /// The savesets of a strand, the oldest first.
    pub fn savesets_of(&self, strand: u32) -> impl DoubleEndedIterator<Item = &IndexedSaveset> {
        self.alive(strand, 0..u32::MAX)
    }

    /// The strand that the next saveset of a task goes on with.
    pub fn open_strand(&self, domain: DomainId, client: &str, task: &str) -> Option<&Strand> {
        self.strands.values().rev().find(|strand| {
            strand.tip.is_some()
                && strand.domain == domain
                && strand.client == client
                && strand.task == task
        })
    }

    /// The savesets of a strand whose ordinals lie in a range.
    pub(crate) fn alive(
        &self,
        strand: u32,
        range: Range<u32>,
    ) -> impl DoubleEndedIterator<Item = &IndexedSaveset> + Clone {
        let ordinals = self.of_strand.get(&strand).map(Vec::as_slice).unwrap_or_default();
        let from = ordinals.partition_point(|ordinal| *ordinal < range.start);
        let to = ordinals.partition_point(|ordinal| *ordinal < range.end).max(from);
        let ordinals = ordinals.get(from..to).unwrap_or_default();
        ordinals.iter().filter_map(|ordinal| self.savesets.get(ordinal))
    }

    pub(crate) fn is_alive(&self, strand: u32, range: Range<u32>) -> bool {
        self.alive(strand, range).next().is_some()
    }

    pub(crate) fn add(&mut self, saveset: IndexedSaveset) {
        self.of_strand.entry(saveset.strand).or_default().push(saveset.ordinal);
        self.savesets.insert(saveset.ordinal, saveset);
    }

    /// Takes savesets away. Answers whether there was any of them.
    pub(crate) fn remove(&mut self, gone: &dyn Fn(&SavesetId) -> bool) -> bool {
        let before = self.savesets.len();
        self.savesets.retain(|_, one| !gone(&one.saveset));
        for strand in self.strands.values_mut() {
            strand.tip = strand.tip.filter(|tip| !gone(tip));
        }
        let savesets = &self.savesets;
        self.of_strand.retain(|_, ordinals| {
            ordinals.retain(|ordinal| savesets.contains_key(ordinal));
            !ordinals.is_empty()
        });
        let of_strand = &self.of_strand;
        self.strands.retain(|id, _| of_strand.contains_key(id));
        self.savesets.len() != before
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        put_varint(&mut out, self.next_ordinal.into());
        put_varint(&mut out, self.next_strand.into());
        put_varint(&mut out, self.next_run);
        put_varint(&mut out, self.strands.len() as u64);
        for strand in self.strands.values() {
            put_varint(&mut out, strand.id.into());
            out.extend_from_slice(&strand.domain.0);
            put_bytes(&mut out, strand.client.as_bytes());
            put_bytes(&mut out, strand.task.as_bytes());
            out.push(u8::from(strand.tip.is_some()));
            out.extend(strand.tip.iter().flat_map(|tip| tip.0));
        }
        put_varint(&mut out, self.savesets.len() as u64);
        for saveset in self.savesets.values() {
            put_varint(&mut out, saveset.ordinal.into());
            out.extend_from_slice(&saveset.saveset.0);
            put_varint(&mut out, saveset.strand.into());
            put_zigzag(&mut out, saveset.committed_unix_ns);
        }
        put_varint(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            put_varint(&mut out, run.number);
            put_varint(&mut out, run.low.into());
            put_varint(&mut out, run.high.into());
            put_varint(&mut out, run.records);
            put_varint(&mut out, run.births);
            put_varint(&mut out, run.savesets.into());
        }
        let sum = XxHash3_64::oneshot(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, SearchError> {
        let Some((body, sum)) = bytes.split_last_chunk::<8>() else {
            return Err(SearchError::damaged(path, "it is shorter than its checksum"));
        };
        if XxHash3_64::oneshot(body) != u64::from_le_bytes(*sum) {
            return Err(SearchError::damaged(path, "it has another checksum"));
        }
        read(body).map_err(|error| SearchError::malformed(path, &error))
    }
}

fn read(body: &[u8]) -> Result<Book, FormatError> {
    let mut from = Cursor::new(body, "book of the search index");
    if from.array::<8>()? != *MAGIC || from.u16()? != VERSION {
        return Err(from.malformed("another magic or version"));
    }
    let mut book = Book::new(from.u64()?);
    book.next_ordinal = from.varint_u32()?;
    book.next_strand = from.varint_u32()?;
    book.next_run = from.varint()?;
    let text = |from: &mut Cursor<'_>| -> Result<String, FormatError> {
        let bytes = from.prefixed(NAME_BYTES_MAX)?.to_vec();
        String::from_utf8(bytes).map_err(|_| from.malformed("a name is no text"))
    };
    for _ in 0..from.count("strands", COUNT_MAX)? {
        let (id, domain) = (from.varint_u32()?, DomainId(from.array()?));
        let (client, task) = (text(&mut from)?, text(&mut from)?);
        let tip = if from.u8()? == 1 { Some(SavesetId(from.array()?)) } else { None };
        book.strands.insert(id, Strand { id, domain, client, task, tip });
    }
    for _ in 0..from.count("savesets", COUNT_MAX)? {
        let (ordinal, saveset) = (from.varint_u32()?, SavesetId(from.array()?));
        let (strand, committed_unix_ns) = (from.varint_u32()?, from.zigzag()?);
        book.add(IndexedSaveset { ordinal, saveset, strand, committed_unix_ns });
    }
    for _ in 0..from.count("runs", COUNT_MAX)? {
        book.runs.push(RunRow {
            number: from.varint()?,
            low: from.varint_u32()?,
            high: from.varint_u32()?,
            records: from.varint()?,
            births: from.varint()?,
            savesets: from.varint_u32()?,
        });
    }
    from.finish()?;
    Ok(book)
}
