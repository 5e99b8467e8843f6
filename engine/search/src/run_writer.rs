//! Writes a run: chapters, their heads, and the foot that finds them.

use std::path::Path;

use simsim_format::put_varint;
use twox_hash::XxHash3_64;

use crate::SearchError;
use crate::block::BlockWriter;
use crate::chapter::Chapter;
use crate::head::Head;
use crate::record::Record;

pub(crate) const MAGIC: &[u8; 8] = b"SIMSIMSR";
pub(crate) const VERSION: u16 = 1;
/// Offset u64, bytes u32, nonce u64, version u16, magic, checksum u64.
pub(crate) const FOOT_BYTES: usize = 8 + 4 + 8 + 2 + 8 + 8;

pub(crate) struct RunWriter {
    out: BlockWriter,
    chapter: Chapter,
    heads: Vec<Head>,
}

/// What was written.
pub(crate) struct Written {
    pub records: u64,
    pub births: u64,
}

impl RunWriter {
    /// The nonce is the run's number: no two runs of an index have the same.
    pub(crate) fn create(path: &Path, nonce: u64) -> Result<Self, SearchError> {
        let out = BlockWriter::create(path, nonce)?;
        Ok(Self { chapter: Chapter::new(out.offset), out, heads: Vec::new() })
    }

    pub(crate) fn push(&mut self, record: &Record) -> Result<(), SearchError> {
        if self.chapter.is_full() {
            self.end_chapter()?;
        }
        self.chapter.push(record, &mut self.out)
    }

    fn end_chapter(&mut self) -> Result<(), SearchError> {
        let chapter = std::mem::replace(&mut self.chapter, Chapter::new(0));
        self.heads.extend(chapter.finish(&mut self.out)?);
        self.chapter = Chapter::new(self.out.offset);
        Ok(())
    }

    /// Afterwards the file is durable. Without any record there is none.
    pub(crate) fn finish(mut self) -> Result<Option<Written>, SearchError> {
        if !self.chapter.is_empty() {
            self.end_chapter()?;
        }
        let path = self.out.path.clone();
        if self.heads.is_empty() {
            drop(self.out.finish()?);
            std::fs::remove_file(&path).map_err(|error| SearchError::io("remove", &path, error))?;
            return Ok(None);
        }
        let mut payload = Vec::new();
        put_varint(&mut payload, self.heads.len() as u64);
        self.heads.iter().for_each(|head| head.encode(&mut payload));
        let place = self.out.put(&payload)?;
        let mut foot = Vec::with_capacity(FOOT_BYTES);
        foot.extend_from_slice(&place.offset.to_le_bytes());
        foot.extend_from_slice(&place.bytes.to_le_bytes());
        foot.extend_from_slice(&self.out.nonce.to_le_bytes());
        foot.extend_from_slice(&VERSION.to_le_bytes());
        foot.extend_from_slice(MAGIC);
        let sum = XxHash3_64::oneshot_with_seed(u64::MAX, &foot);
        foot.extend_from_slice(&sum.to_le_bytes());
        self.out.raw(&foot)?;
        let sum = |of: fn(&Head) -> u32| self.heads.iter().map(|head| u64::from(of(head))).sum();
        let written =
            Written { records: sum(|head| head.records), births: sum(|head| head.births) };
        self.out.finish()?;
        Ok(Some(written))
    }
}
