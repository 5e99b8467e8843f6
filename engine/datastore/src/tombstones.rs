//! What was deleted, as far as packs tell otherwise: three copies of one object, `tombstones.1` to `.3`.
//!
//! Packs are written once. A saveset that was deleted has a copy of its manifest in one, a node that
//! nothing refers to any more lies in a segment beside others that live, and a pack that is to go is
//! still there for those who read from it. The rule is: *what packs say, less the tombstones, is what the
//! datastore holds.* Whoever reads packs' own tables (opening, healing the index, a rebuild) applies it.
//!
//! ```text
//! magic "SIMSIMTS" 8 · version u16 = 1 · purge pending u16, 0 or 1 · zero 4
//! rounds u64 · deleted savesets u64 · doomed packs u64 · segments u64
//! per deleted saveset: id 16 · sequence u64
//! per doomed pack: name 32
//! per segment: pack 32 · offset u64 · items u32 · zero 4 · a bit for each item, lowest first; 1: dead
//! BLAKE3 of all before, 32
//! ```
//! *Purge pending*: the index may still name what is dead here. A doomed pack holds nothing any more that
//! a saveset needs: whoever opens the datastore deletes it first.

use std::collections::{BTreeMap, BTreeSet};

use simsim_format::{Cursor, FormatError};
use simsim_model::{Name, SavesetId};
use simsim_storage::Storage;

use crate::DatastoreError;
use crate::root::{read_copies, write_copies};

const BASE: &str = "tombstones";
const MAGIC: [u8; 8] = *b"SIMSIMTS";
const VERSION: u16 = 1;
const WHAT: &str = "list of tombstones";

/// One bit for each item of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    items: u32,
    bytes: Vec<u8>,
}

impl Bits {
    pub(crate) fn none(items: usize) -> Self {
        Self { items: items as u32, bytes: vec![0; items.div_ceil(8)] }
    }

    pub(crate) fn get(&self, item: usize) -> bool {
        self.bytes.get(item / 8).is_some_and(|byte| byte & (1 << (item % 8)) != 0)
    }

    pub(crate) fn set(&mut self, item: usize) {
        if item < self.items as usize
            && let Some(byte) = self.bytes.get_mut(item / 8)
        {
            *byte |= 1 << (item % 8);
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.bytes.iter().any(|byte| *byte != 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for item in (0..self.items as usize).filter(|item| other.get(*item)) {
            self.set(item);
        }
    }
}

/// Dead items of the segments of one pack, by the segments' offsets.
pub(crate) type DeadOfPack = BTreeMap<u64, Bits>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    /// Collections of garbage that came to an end.
    pub(crate) rounds: u64,
    pub(crate) purge_pending: bool,
    /// With the sequence numbers that they had.
    pub(crate) deleted: BTreeMap<SavesetId, u64>,
    pub(crate) doomed: BTreeSet<Name>,
    pub(crate) dead: BTreeMap<Name, DeadOfPack>,
}

impl Tombstones {
    /// Is an item of the segment at this place dead?
    pub(crate) fn is_dead(&self, pack: Name, offset: u64, item: usize) -> bool {
        self.doomed.contains(&pack)
            || self
                .dead
                .get(&pack)
                .and_then(|of| of.get(&offset))
                .is_some_and(|bits| bits.get(item))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u16::from(self.purge_pending).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let segments: usize = self.dead.values().map(BTreeMap::len).sum();
        let counts = [self.deleted.len(), self.doomed.len(), segments].map(|count| count as u64);
        for number in [self.rounds].into_iter().chain(counts) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (saveset, sequence) in &self.deleted {
            out.extend_from_slice(saveset.as_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        for pack in &self.doomed {
            out.extend_from_slice(&pack.0);
        }
        for (pack, segments) in &self.dead {
            for (offset, bits) in segments {
                out.extend_from_slice(&pack.0);
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&bits.items.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&bits.bytes);
            }
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (body, checksum) =
            bytes.split_last_chunk::<32>().ok_or(FormatError::Truncated { what: WHAT })?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut cursor = Cursor::new(body, WHAT);
        if cursor.array::<8>()? != MAGIC {
            return Err(cursor.malformed("it does not begin as one"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            let (found, known) = (version.into(), VERSION.into());
            return Err(FormatError::Version { what: WHAT, found, known });
        }
        let purge_pending = match cursor.u16()? {
            0 => false,
            1 => true,
            _ => return Err(cursor.malformed("a flag is neither 0 nor 1")),
        };
        cursor.bytes(4)?;
        let rounds = cursor.u64()?;
        let mut found = Self { rounds, purge_pending, ..Self::default() };
        let (deleted, doomed, segments) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        for _ in 0..deleted {
            found.deleted.insert(SavesetId(cursor.array()?), cursor.u64()?);
        }
        for _ in 0..doomed {
            found.doomed.insert(Name(cursor.array()?));
        }
        for _ in 0..segments {
            let (pack, offset, items) = (Name(cursor.array()?), cursor.u64()?, cursor.u32()?);
            cursor.bytes(4)?;
            let bytes = cursor.bytes((items as usize).div_ceil(8))?.to_vec();
            found.dead.entry(pack).or_default().insert(offset, Bits { items, bytes });
        }
        cursor.finish()?;
        Ok(found)
    }

    /// What the storage holds; nothing where there never was one.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Self, DatastoreError> {
        Ok(read_copies(storage, BASE, true, Self::decode)?.unwrap_or_default())
    }

    pub(crate) fn write(&self, storage: &dyn Storage) -> Result<(), DatastoreError> {
        write_copies(storage, BASE, &self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_fields() -> Tombstones {
        let mut bits = Bits::none(11);
        for item in [0, 7, 10, 11] {
            bits.set(item);
        }
        Tombstones {
            rounds: 7,
            purge_pending: true,
            deleted: [(SavesetId([1; 16]), 5), (SavesetId([2; 16]), 9)].into(),
            doomed: [Name([3; 32])].into(),
            dead: [(Name([4; 32]), [(64, bits), (1 << 33, Bits::none(0))].into())].into(),
        }
    }

    #[test]
    fn golden_tombstones() {
        let golden = include_bytes!("../../../testdata/format/tombstones-v1/all-fields.bin");
        assert_eq!(Tombstones::decode(golden).unwrap(), all_fields());
        assert_eq!(all_fields().encode(), golden);
    }

    #[test]
    fn bits_are_what_was_set() {
        let tombstones = all_fields();
        let dead = |item| tombstones.is_dead(Name([4; 32]), 64, item);
        assert_eq!((0..12).filter(|item| dead(*item)).collect::<Vec<_>>(), [0, 7, 10]);
        assert!(tombstones.is_dead(Name([3; 32]), 1, 1), "all of a doomed pack");
        assert!(!tombstones.is_dead(Name([5; 32]), 64, 0));
    }

    #[test]
    fn fuzz_tombstones() {
        let summed = |body: &[u8]| [body, blake3::hash(body).as_bytes()].concat();
        let mut body = all_fields().encode();
        body.truncate(body.len() - 32);
        assert!(Tombstones::decode(&summed(&body)).is_ok());
        simsim_testkit::fuzz("tombstones", &[body], |body| {
            let _ = Tombstones::decode(body);
            if let Ok(found) = Tombstones::decode(&summed(body)) {
                let bytes: usize = found
                    .dead
                    .values()
                    .flat_map(BTreeMap::values)
                    .map(|bits| bits.bytes.len())
                    .sum();
                assert!(bytes <= body.len());
            }
        });
    }
}
