//! Pages of an index run: 4,080 bytes of records and a 16-byte checksum, seeded with the run's
//! nonce and the page's number, so that a page in a wrong place is found.
//!
//! The checksum is XXH3: a lookup reads one page for one name, and a hash that resists an attacker
//! takes twenty times as long for 4 KiB as this one, longer than the read.

use simsim_format::{Cursor, SegmentKind};
use simsim_model::{DomainId, Name};
use twox_hash::XxHash3_128;

pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const PAYLOAD_BYTES: usize = PAGE_BYTES - 16;

/// Records of a fixed size that fill pages.
pub(crate) trait Record: Sized {
    const BYTES: usize;
    const PER_PAGE: usize = PAYLOAD_BYTES / Self::BYTES;
    fn write(&self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// A name, and the number of its segment in the run's table.
impl Record for (Name, u32) {
    const BYTES: usize = 36;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0);
        out.extend_from_slice(&self.1.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, "index entry");
        Some((Name(cursor.array().ok()?), cursor.u32().ok()?))
    }
}

/// Where a segment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentRecord {
    /// Number in the run's pack table; [`SegmentRecord::NO_PACK`] for a dead record.
    pub(crate) pack: u32,
    pub(crate) length: u32,
    pub(crate) offset: u64,
    /// Number in the run's domain table.
    pub(crate) domain: u32,
    pub(crate) kind: SegmentKind,
}

impl SegmentRecord {
    pub(crate) const NO_PACK: u32 = u32::MAX;
}

impl Record for SegmentRecord {
    const BYTES: usize = 24;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pack.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.domain.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, "index segment");
        Some(Self {
            pack: cursor.u32().ok()?,
            length: cursor.u32().ok()?,
            offset: cursor.u64().ok()?,
            domain: cursor.u32().ok()?,
            kind: match cursor.u8().ok()? {
                1 => SegmentKind::Data,
                2 => SegmentKind::Nodes,
                _ => return None,
            },
        })
    }
}

/// A pack's name and size.
impl Record for (Name, u64) {
    const BYTES: usize = 40;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0);
        out.extend_from_slice(&self.1.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, "index pack");
        Some((Name(cursor.array().ok()?), cursor.u64().ok()?))
    }
}

impl Record for DomainId {
    const BYTES: usize = 16;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        DomainId::from_slice(bytes)
    }
}

/// A fence key or a word of the filter.
impl Record for u64 {
    const BYTES: usize = 8;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

/// Pages that `records` records of type `R` fill.
pub(crate) fn pages_of<R: Record>(records: u64) -> u64 {
    records.div_ceil(R::PER_PAGE as u64)
}

/// The checksum of page `number`. It finds rot and pages in a wrong place, no more: who can
/// write an index can write any answer into it, and nothing but the cost of a backup hangs on it.
pub(crate) fn checksum(nonce: u64, number: u64, payload: &[u8]) -> [u8; 16] {
    XxHash3_128::oneshot_with_seed(nonce.wrapping_add(number), payload).to_le_bytes()
}

/// The payload of a page whose checksum is right.
pub(crate) fn open_page(nonce: u64, number: u64, page: &[u8]) -> Option<&[u8]> {
    let (payload, sum) = page.split_last_chunk::<16>()?;
    (payload.len() == PAYLOAD_BYTES && checksum(nonce, number, payload) == *sum).then_some(payload)
}
