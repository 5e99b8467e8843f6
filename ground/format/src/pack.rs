//! Packs: segments one after the other in one object, and a footer that lists them
//! (`docs/format/pack.md`).
//!
//! ```text
//! header, 64 bytes      magic "SIMSIMPK" 8 · version u16 = 1 · zero 6 · store id 16 · nonce 32
//! segments              back to back
//! footer                per segment: offset u64 · length u32 · kind u8 · zero 3 · checksum 32
//! trailer, 64 bytes     footer entries u64 · footer offset u64 · zero 8 · footer checksum 32 ·
//!                       magic "KPMISMIS" 8
//! ```
//! The footer checksum is BLAKE3 of header and footer entries. It is also the pack's name: since
//! the footer holds the checksum of every segment, the name covers every byte of the pack.

use simsim_model::limits::SEGMENT_BYTES_MAX;
use simsim_model::{Name, StoreId};

use crate::FormatError;
use crate::cursor::Cursor;
use crate::segment::SegmentKind;

pub const PACK_HEADER_BYTES: usize = 64;
pub const PACK_TRAILER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 48;
const MAGIC: [u8; 8] = *b"SIMSIMPK";
const TRAILER_MAGIC: [u8; 8] = *b"KPMISMIS";
const VERSION: u16 = 1;
const WHAT: &str = "pack";

/// The first 64 bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    pub store: StoreId,
    /// Random, so that no two packs have the same name.
    pub nonce: [u8; 32],
}

impl PackHeader {
    pub fn encode(&self) -> [u8; PACK_HEADER_BYTES] {
        let mut out = [0; PACK_HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.store.0);
        out[32..].copy_from_slice(&self.nonce);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes, "pack header");
        if cursor.array::<8>()? != MAGIC {
            return Err(cursor.malformed("this is not a pack"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        if cursor.array::<6>()? != [0; 6] {
            return Err(cursor.malformed("reserved bytes are not zero"));
        }
        Ok(Self { store: StoreId(cursor.array()?), nonce: cursor.array()? })
    }
}

/// One segment of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSegment {
    pub offset: u64,
    pub length: u32,
    pub kind: SegmentKind,
    pub checksum: Name,
}

/// The list of a pack's segments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackFooter {
    pub segments: Vec<PackSegment>,
}

impl PackFooter {
    /// Footer entries and trailer, and the pack's name.
    pub fn encode(&self, header: &PackHeader) -> (Vec<u8>, Name) {
        let mut out = Vec::with_capacity(self.segments.len() * ENTRY_BYTES + PACK_TRAILER_BYTES);
        for segment in &self.segments {
            out.extend_from_slice(&segment.offset.to_le_bytes());
            out.extend_from_slice(&segment.length.to_le_bytes());
            out.extend_from_slice(&[segment.kind as u8, 0, 0, 0]);
            out.extend_from_slice(&segment.checksum.0);
        }
        let name = footer_checksum(&header.encode(), &out);
        let offset = self
            .segments
            .last()
            .map_or(PACK_HEADER_BYTES as u64, |last| last.offset + u64::from(last.length));
        out.extend_from_slice(&(self.segments.len() as u64).to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&name.0);
        out.extend_from_slice(&TRAILER_MAGIC);
        (out, name)
    }

    /// From the trailer (a pack's last 64 bytes): where the footer starts and its length with the
    /// trailer. `pack_bytes` is the size of the whole object.
    pub fn locate(trailer: &[u8], pack_bytes: u64) -> Result<(u64, usize), FormatError> {
        let mut cursor = Cursor::new(trailer, "pack trailer");
        let count = cursor.u64()?;
        let offset = cursor.u64()?;
        let zero = cursor.u64()?;
        cursor.bytes(32)?;
        if zero != 0 || cursor.array::<8>()? != TRAILER_MAGIC {
            return Err(cursor.malformed("the pack does not end with a trailer"));
        }
        cursor.clone().finish()?;
        let length = count
            .checked_mul(ENTRY_BYTES as u64)
            .and_then(|entries| entries.checked_add(PACK_TRAILER_BYTES as u64))
            .ok_or_else(|| cursor.malformed("the footer is impossibly long"))?;
        if offset < PACK_HEADER_BYTES as u64 || offset.checked_add(length) != Some(pack_bytes) {
            return Err(cursor.malformed("the footer does not end where the pack ends"));
        }
        let length =
            usize::try_from(length).map_err(|_| cursor.malformed("the footer is too long"))?;
        Ok((offset, length))
    }

    /// Decodes footer and trailer as located, and checks them; the second value is the pack's name.
    pub fn decode(header: &PackHeader, bytes: &[u8]) -> Result<(Self, Name), FormatError> {
        let entries_bytes = bytes
            .len()
            .checked_sub(PACK_TRAILER_BYTES)
            .ok_or(FormatError::Truncated { what: "pack footer" })?;
        let (entries, trailer) =
            bytes.split_at_checked(entries_bytes).ok_or(FormatError::Truncated { what: WHAT })?;
        let name = footer_checksum(&header.encode(), entries);
        if trailer.get(24..56) != Some(&name.0[..]) {
            return Err(FormatError::Checksum { what: "pack footer" });
        }
        let mut cursor = Cursor::new(entries, "pack footer");
        let mut segments = Vec::with_capacity(entries.len() / ENTRY_BYTES);
        let mut next = PACK_HEADER_BYTES as u64;
        while !cursor.is_empty() {
            let offset = cursor.u64()?;
            let length = cursor.u32()?;
            let kind = match cursor.array::<4>()? {
                [1, 0, 0, 0] => SegmentKind::Data,
                [2, 0, 0, 0] => SegmentKind::Nodes,
                [3, 0, 0, 0] => SegmentKind::Manifest,
                _ => return Err(cursor.malformed("a segment has an unknown kind")),
            };
            if offset != next || length as usize > SEGMENT_BYTES_MAX {
                return Err(cursor.malformed("segments do not follow one another"));
            }
            next = offset + u64::from(length);
            segments.push(PackSegment { offset, length, kind, checksum: Name(cursor.array()?) });
        }
        Ok((Self { segments }, name))
    }
}

fn footer_checksum(header: &[u8], entries: &[u8]) -> Name {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    hasher.update(entries);
    Name(*hasher.finalize().as_bytes())
}
