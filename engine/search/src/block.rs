//! Blocks: a length, a checksum and a payload. Everything in a run lies in blocks, and a block that does not
//! agree with its checksum is never believed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use simsim_format::Cursor;
use twox_hash::XxHash3_64;

use crate::SearchError;

/// Length and checksum.
pub(crate) const HEADER_BYTES: usize = 12;
/// No block is larger. What is cut into blocks may pass its aim by one record.
const BLOCK_BYTES_MAX: usize = 64 << 20;
/// What a sequential reader reads at once.
const AHEAD_BYTES: usize = 128 << 10;

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub offset: u64,
    /// With its header.
    pub bytes: u32,
}

pub(crate) fn checksum(nonce: u64, offset: u64, payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(nonce.wrapping_add(offset), payload)
}

/// Writes a file of blocks from its beginning.
pub(crate) struct BlockWriter {
    file: BufWriter<File>,
    pub path: PathBuf,
    pub nonce: u64,
    pub offset: u64,
}

impl BlockWriter {
    pub(crate) fn create(path: &Path, nonce: u64) -> Result<Self, SearchError> {
        let file = File::create(path).map_err(|error| SearchError::io("make", path, error))?;
        let file = BufWriter::with_capacity(256 << 10, file);
        Ok(Self { file, path: path.to_owned(), nonce, offset: 0 })
    }

    pub(crate) fn put(&mut self, payload: &[u8]) -> Result<Place, SearchError> {
        let too_large = || SearchError::damaged(&self.path, "a block would be too large");
        if payload.len() > BLOCK_BYTES_MAX {
            return Err(too_large());
        }
        let length = u32::try_from(payload.len()).map_err(|_| too_large())?;
        let place = Place { offset: self.offset, bytes: length + HEADER_BYTES as u32 };
        let sum = checksum(self.nonce, self.offset, payload);
        self.raw(&length.to_le_bytes())?;
        self.raw(&sum.to_le_bytes())?;
        self.raw(payload)?;
        Ok(place)
    }

    /// Bytes that are no block: head and foot of the file.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), SearchError> {
        self.file.write_all(bytes).map_err(|error| SearchError::io("write", &self.path, error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Afterwards the bytes are durable.
    pub(crate) fn finish(self) -> Result<File, SearchError> {
        let failed = |error| SearchError::io("write", &self.path, error);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(file)
    }
}

/// A file of blocks, read at places.
pub(crate) struct BlockFile {
    pub file: File,
    pub path: PathBuf,
    pub nonce: u64,
    pub bytes: u64,
}

impl BlockFile {
    pub(crate) fn read(&self, place: Place) -> Result<Vec<u8>, SearchError> {
        let whole = place.bytes as usize;
        let end = place.offset.checked_add(whole as u64);
        if !(HEADER_BYTES..=BLOCK_BYTES_MAX + HEADER_BYTES).contains(&whole)
            || end.is_none_or(|end| end > self.bytes)
        {
            return Err(self.damaged("a block would lie outside of the file"));
        }
        let mut bytes = vec![0; whole];
        self.file
            .read_exact_at(&mut bytes, place.offset)
            .map_err(|error| SearchError::io("read", &self.path, error))?;
        self.check(place.offset, &bytes)?;
        bytes.drain(..HEADER_BYTES);
        Ok(bytes)
    }

    fn check(&self, offset: u64, block: &[u8]) -> Result<(), SearchError> {
        let mut head = Cursor::new(block, "block of the search index");
        let parsed = (|| Ok((head.u32()?, head.u64()?)))();
        let (length, sum) = parsed.map_err(|error| SearchError::malformed(&self.path, &error))?;
        let payload = block.get(HEADER_BYTES..).unwrap_or_default();
        if payload.len() != length as usize || checksum(self.nonce, offset, payload) != sum {
            return Err(self.damaged(&format!("the block at {offset} has another checksum")));
        }
        Ok(())
    }

    pub(crate) fn damaged(&self, why: &str) -> SearchError {
        SearchError::damaged(&self.path, why)
    }

    /// Blocks one after the other, from `from` to `end`.
    pub(crate) fn sequence(&self, from: u64, end: u64) -> Sequence<'_> {
        Sequence { file: self, at: from, end, ahead: Vec::new(), ahead_at: from }
    }
}

/// A sequential reader.
pub(crate) struct Sequence<'a> {
    file: &'a BlockFile,
    at: u64,
    end: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl Sequence<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, SearchError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let head = self.bytes(HEADER_BYTES)?;
        let mut length = Cursor::new(&head, "block of the search index");
        let length = length.u32().map_err(|e| SearchError::malformed(&self.file.path, &e))?;
        let whole = length as usize + HEADER_BYTES;
        let mut block = self.bytes(whole)?;
        self.file.check(self.at, &block)?;
        self.at += whole as u64;
        block.drain(..HEADER_BYTES);
        Ok(Some(block))
    }

    fn bytes(&mut self, wanted: usize) -> Result<Vec<u8>, SearchError> {
        if self.at + wanted as u64 > self.end.min(self.file.bytes) {
            return Err(self.file.damaged("a block would go over its end"));
        }
        let skip = (self.at - self.ahead_at) as usize;
        if let Some(bytes) = self.ahead.get(skip..skip + wanted) {
            return Ok(bytes.to_vec());
        }
        let size = AHEAD_BYTES.max(wanted).min((self.end - self.at) as usize);
        self.ahead.resize(size, 0);
        self.ahead_at = self.at;
        self.file
            .file
            .read_exact_at(&mut self.ahead, self.at)
            .map_err(|error| SearchError::io("read", &self.file.path, error))?;
        Ok(self.ahead.get(..wanted).unwrap_or_default().to_vec())
    }
}
