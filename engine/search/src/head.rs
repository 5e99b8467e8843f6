//! The heads of a run's chapters: what of them is in memory while the run is open.

use simsim_format::FormatError;
use simsim_format::{Cursor, put_varint};

use crate::block::Place;
use crate::record::Key;

/// A block of births: versions that begin with one saveset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BirthBlock {
    pub at: u32,
    pub place: Place,
    pub count: u32,
    pub first_record: u32,
}

/// A fence block: first keys of up to 64 blocks of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FenceBlock {
    pub first: Key,
    pub first_record: u32,
    pub place: Place,
}

/// A block of posting lists, by the first trigram in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrigramBlock {
    pub first: u32,
    pub place: Place,
}

/// What is known of a chapter without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub first: Key,
    pub last: Key,
    pub records: u32,
    pub births: u32,
    pub groups: u32,
    /// Where the blocks of records lie, one after the other.
    pub records_from: u64,
    pub records_end: u64,
    pub fence: Vec<FenceBlock>,
    /// Tables of where groups lie, each of 512 of them.
    pub group_tables: Vec<Place>,
    pub trigrams: Vec<TrigramBlock>,
    /// Newest first; those of one saveset in the order of their records.
    pub birth_blocks: Vec<BirthBlock>,
}

const LIST_MAX: usize = 1 << 22;

fn put_place(out: &mut Vec<u8>, place: Place) {
    put_varint(out, place.offset);
    put_varint(out, place.bytes.into());
}

fn place(from: &mut Cursor<'_>) -> Result<Place, FormatError> {
    Ok(Place { offset: from.varint()?, bytes: from.varint_u32()? })
}

impl Head {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        self.last.encode(out);
        for count in [self.records, self.births, self.groups] {
            put_varint(out, count.into());
        }
        put_varint(out, self.records_from);
        put_varint(out, self.records_end);
        put_varint(out, self.fence.len() as u64);
        for block in &self.fence {
            block.first.encode(out);
            put_varint(out, block.first_record.into());
            put_place(out, block.place);
        }
        put_varint(out, self.group_tables.len() as u64);
        self.group_tables.iter().for_each(|table| put_place(out, *table));
        put_varint(out, self.trigrams.len() as u64);
        for block in &self.trigrams {
            put_varint(out, block.first.into());
            put_place(out, block.place);
        }
        put_varint(out, self.birth_blocks.len() as u64);
        for block in &self.birth_blocks {
            put_varint(out, block.at.into());
            put_varint(out, block.count.into());
            put_varint(out, block.first_record.into());
            put_place(out, block.place);
        }
    }

    pub(crate) fn decode(from: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let (first, last) = (Key::decode(from)?, Key::decode(from)?);
        let (records, births, groups) =
            (from.varint_u32()?, from.varint_u32()?, from.varint_u32()?);
        let (records_from, records_end) = (from.varint()?, from.varint()?);
        let mut fence = Vec::new();
        for _ in 0..from.count("fence blocks", LIST_MAX)? {
            let (first, first_record) = (Key::decode(from)?, from.varint_u32()?);
            fence.push(FenceBlock { first, first_record, place: place(from)? });
        }
        let mut group_tables = Vec::new();
        for _ in 0..from.count("tables of groups", LIST_MAX)? {
            group_tables.push(place(from)?);
        }
        let mut trigrams = Vec::new();
        for _ in 0..from.count("blocks of posting lists", LIST_MAX)? {
            trigrams.push(TrigramBlock { first: from.varint_u32()?, place: place(from)? });
        }
        let mut birth_blocks = Vec::new();
        for _ in 0..from.count("blocks of births", LIST_MAX)? {
            let (at, count, first_record) =
                (from.varint_u32()?, from.varint_u32()?, from.varint_u32()?);
            birth_blocks.push(BirthBlock { at, count, first_record, place: place(from)? });
        }
        Ok(Self {
            first,
            last,
            records,
            births,
            groups,
            records_from,
            records_end,
            fence,
            group_tables,
            trigrams,
            birth_blocks,
        })
    }
}
