//! Chapters: a run is cut into parts that can each be made in bounded memory, with their own names,
//! posting lists and births. While a chapter is made, its records go to the file at once; what is
//! needed to find them again is held until its end.

use simsim_format::{put_bytes, put_varint};

use crate::SearchError;
use crate::block::{BlockWriter, Place};
use crate::head::{BirthBlock, FenceBlock, Head, TrigramBlock};
use crate::pattern::trigrams_of;
use crate::record::{Key, Record, put_record};

/// Bytes that a block of records, posting lists or a fence aims at.
const BLOCK_BYTES: usize = 4096;
/// Blocks of records a fence block tells of.
const FENCE_BLOCKS: usize = 64;
/// Names of a group.
pub(crate) const GROUP_NAMES: usize = 16;
/// Groups that a table tells of.
pub(crate) const TABLE_GROUPS: usize = 512;
/// Births of a block.
const BIRTHS: usize = 2048;
/// A chapter ends at so many records, births, or bytes of names.
const RECORDS_MAX: usize = 131_072;
const BIRTHS_MAX: usize = 524_288;
const NAMES_BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
pub(crate) struct Chapter {
    block: Vec<u8>,
    /// The first record of the block that is being filled, by key and number.
    block_first: Option<(Key, u32)>,
    blocks: Vec<(Key, u32, Place)>,
    first: Option<Key>,
    last: Option<Key>,
    records: u32,
    records_from: u64,
    /// All names, one after the other, and where each one ends.
    names: Vec<u8>,
    ends: Vec<u32>,
    /// Ordinal and record.
    births: Vec<(u32, u32)>,
}

impl Chapter {
    pub(crate) fn new(at: u64) -> Self {
        Self { records_from: at, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records as usize >= RECORDS_MAX
            || self.births.len() >= BIRTHS_MAX
            || self.names.len() >= NAMES_BYTES_MAX
    }

    /// Records come in the order of their keys.
    pub(crate) fn push(
        &mut self,
        record: &Record,
        out: &mut BlockWriter,
    ) -> Result<(), SearchError> {
        if self.block.len() >= BLOCK_BYTES {
            self.end_block(out)?;
        }
        let before = self.last.as_ref().filter(|_| self.block_first.is_some());
        if self.block_first.is_none() {
            put_varint(&mut self.block, self.records.into());
            self.block_first = Some((record.key.clone(), self.records));
        }
        put_record(&mut self.block, record, before);
        let births = record.events.iter().filter(|event| event.version.is_some());
        self.births.extend(births.map(|event| (event.at, self.records)));
        self.names.extend_from_slice(&record.key.name);
        self.ends.push(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        if self.first.is_none() {
            self.first = Some(record.key.clone());
        }
        self.last = Some(record.key.clone());
        self.records += 1;
        Ok(())
    }

    fn end_block(&mut self, out: &mut BlockWriter) -> Result<(), SearchError> {
        if let Some((key, record)) = self.block_first.take() {
            let place = out.put(&self.block)?;
            self.blocks.push((key, record, place));
            self.block.clear();
        }
        Ok(())
    }

    /// Writes what finds the records, and answers the head. `None`: there is no record.
    pub(crate) fn finish(mut self, out: &mut BlockWriter) -> Result<Option<Head>, SearchError> {
        self.end_block(out)?;
        let records_end = out.offset;
        let (Some(first), Some(last)) = (self.first.take(), self.last.take()) else {
            return Ok(None);
        };
        let fence = self.put_fence(out)?;
        let (group_tables, groups, group_of, pairs) = self.put_names(out)?;
        let trigrams = put_trigrams(pairs, out)?;
        let births = self.births.len() as u32;
        let birth_blocks = put_births(std::mem::take(&mut self.births), &group_of, out)?;
        Ok(Some(Head {
            first,
            last,
            records: self.records,
            births,
            groups,
            records_from: self.records_from,
            records_end,
            fence,
            group_tables,
            trigrams,
            birth_blocks,
        }))
    }

    fn put_fence(&mut self, out: &mut BlockWriter) -> Result<Vec<FenceBlock>, SearchError> {
        let mut fence = Vec::new();
        for blocks in std::mem::take(&mut self.blocks).chunks(FENCE_BLOCKS) {
            let mut payload = Vec::new();
            for (key, record, place) in blocks {
                key.encode(&mut payload);
                put_varint(&mut payload, (*record).into());
                put_varint(&mut payload, place.offset);
                put_varint(&mut payload, place.bytes.into());
            }
            let Some((key, first_record, _)) = blocks.first() else { continue };
            let place = out.put(&payload)?;
            fence.push(FenceBlock { first: key.clone(), first_record: *first_record, place });
        }
        Ok(fence)
    }

    /// Distinct names in groups, with the records that bear them. Answers the tables, the number of
    /// groups, the group of each record, and trigram and group as pairs.
    #[allow(clippy::type_complexity)]
    fn put_names(
        &mut self,
        out: &mut BlockWriter,
    ) -> Result<(Vec<Place>, u32, Vec<u32>, Vec<u64>), SearchError> {
        let (names, ends) = (std::mem::take(&mut self.names), std::mem::take(&mut self.ends));
        let name = |record: u32| -> &[u8] {
            let end = ends.get(record as usize).copied().unwrap_or_default() as usize;
            let start = (record as usize).checked_sub(1).and_then(|before| ends.get(before));
            names.get(start.copied().unwrap_or_default() as usize..end).unwrap_or_default()
        };
        let mut order: Vec<u32> = (0..self.records).collect();
        order.sort_unstable_by(|a, b| name(*a).cmp(name(*b)).then(a.cmp(b)));
        let mut group_of = vec![0u32; self.records as usize];
        let mut pairs: Vec<u64> = Vec::new();
        let mut table = Vec::new();
        let mut tables = Vec::new();
        let (mut group, mut in_group, mut payload) = (0u32, 0usize, Vec::new());
        let mut of_group: Vec<u32> = Vec::new();
        let mut at = 0;
        while let Some(record) = order.get(at) {
            let bytes = name(*record);
            let same = order.iter().skip(at).take_while(|other| name(**other) == bytes).count();
            put_bytes(&mut payload, bytes);
            put_varint(&mut payload, same as u64);
            let mut last = 0;
            for record in order.iter().skip(at).take(same) {
                put_varint(&mut payload, u64::from(record - last));
                last = *record;
                if let Some(slot) = group_of.get_mut(*record as usize) {
                    *slot = group;
                }
            }
            trigrams_of(bytes, &mut of_group);
            at += same;
            in_group += 1;
            if in_group == GROUP_NAMES || at >= order.len() {
                let place = out.put(&payload)?;
                table.extend_from_slice(&place.offset.to_le_bytes());
                table.extend_from_slice(&place.bytes.to_le_bytes());
                of_group.sort_unstable();
                of_group.dedup();
                let group_bits = u64::from(group);
                pairs.extend(of_group.drain(..).map(|tri| (u64::from(tri) << 32) | group_bits));
                group += 1;
                in_group = 0;
                payload.clear();
                if (group as usize).is_multiple_of(TABLE_GROUPS) {
                    tables.push(out.put(&table)?);
                    table.clear();
                }
            }
        }
        if !table.is_empty() {
            tables.push(out.put(&table)?);
        }
        Ok((tables, group, group_of, pairs))
    }
}

fn put_trigrams(
    mut pairs: Vec<u64>,
    out: &mut BlockWriter,
) -> Result<Vec<TrigramBlock>, SearchError> {
    pairs.sort_unstable();
    let mut blocks = Vec::new();
    let (mut payload, mut first) = (Vec::new(), None);
    for list in pairs.chunk_by(|a, b| a >> 32 == b >> 32) {
        let trigram = list.first().map_or(0, |pair| (pair >> 32) as u32);
        let mut bytes = Vec::new();
        let mut last = 0;
        for pair in list {
            let group = *pair as u32;
            put_varint(&mut bytes, u64::from(group - last));
            last = group;
        }
        first.get_or_insert(trigram);
        put_varint(&mut payload, trigram.into());
        put_varint(&mut payload, list.len() as u64);
        put_bytes(&mut payload, &bytes);
        if payload.len() >= BLOCK_BYTES
            && let Some(first) = first.take()
        {
            blocks.push(TrigramBlock { first, place: out.put(&payload)? });
            payload.clear();
        }
    }
    if let Some(first) = first {
        blocks.push(TrigramBlock { first, place: out.put(&payload)? });
    }
    Ok(blocks)
}

fn put_births(
    mut births: Vec<(u32, u32)>,
    group_of: &[u32],
    out: &mut BlockWriter,
) -> Result<Vec<BirthBlock>, SearchError> {
    births.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut blocks = Vec::new();
    for of_one in births.chunk_by(|a, b| a.0 == b.0) {
        for part in of_one.chunks(BIRTHS) {
            let Some((at, first_record)) = part.first().copied() else { continue };
            let mut payload = Vec::new();
            let mut last = first_record;
            for (_, record) in part {
                put_varint(&mut payload, u64::from(record - last));
                last = *record;
                let group = group_of.get(*record as usize).copied().unwrap_or_default();
                put_varint(&mut payload, group.into());
            }
            let place = out.put(&payload)?;
            blocks.push(BirthBlock { at, place, count: part.len() as u32, first_record });
        }
    }
    Ok(blocks)
}
