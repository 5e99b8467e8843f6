//! What was taken out of dedup because it was found damaged or gone, kept over a restart: object
//! `quarantine`.
//!
//! ```text
//! magic "SIMSIMQU" 8 · entries u64 · per entry: pack 32 · offset u64 (all ones: the whole pack; with
//! the highest bit: the segment there is read as written, and is not what its names say)
//! BLAKE3 of all before, 32
//! ```
//! Losing it is harmless for what a check finds again. That a pack is gone it may be the only one to
//! tell, once the run that named the pack was merged.

use simsim_format::Cursor;
use simsim_model::{Kind, Name};
use simsim_storage::Storage;

use crate::DatastoreError;
use crate::index::{Index, UNKNOWN_LOSS};
use crate::open::Inner;

const KEY: &str = "quarantine";
const MAGIC: [u8; 8] = *b"SIMSIMQU";

/// Writes what the index distrusts, if the datastore can be written.
pub(crate) fn write(inner: &Inner) -> Result<(), DatastoreError> {
    // The list that is written last has to be the longest.
    let _one = inner.quarantine.lock();
    if inner.check_writable().is_err() {
        return Ok(());
    }
    inner.index.set_unsaved_losses(false);
    // Whatever these told stands in the list that is taken after them.
    let replaced = inner.index.take_replaced();
    let written = replace(inner);
    if written.is_err() {
        inner.index.set_unsaved_losses(true);
        inner.index.put_back(replaced);
    } else {
        inner.index.delete_runs(replaced);
    }
    written
}

fn replace(inner: &Inner) -> Result<(), DatastoreError> {
    let entries = inner.index.distrusted();
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    for (pack, offset) in entries {
        out.extend_from_slice(&pack.0);
        out.extend_from_slice(&offset.to_le_bytes());
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    Ok(inner.storage.replace(KEY, &out)?)
}

/// Writes down what the index has found lost, if anything. Tried again by the next caller when it
/// fails.
pub(crate) fn save_losses(inner: &Inner) {
    if inner.index.has_unsaved_losses()
        && let Err(error) = write(inner)
    {
        tracing::warn!(%error, "what was found damaged could not be written down");
    }
}

/// Remembers that names are gone which cannot be told: until a check finds everything that nodes
/// refer to, backups ask for each name of their base.
pub(crate) fn remember_loss(inner: &Inner) -> Result<(), DatastoreError> {
    let (pack, offset) = UNKNOWN_LOSS;
    if !inner.index.distrust(pack, offset) {
        return Ok(());
    }
    inner.index.set_unsaved_losses(true);
    write(inner)
}

/// Tells the index what was found earlier.
pub(crate) fn load(storage: &dyn Storage, index: &Index) {
    let found = index.distrusted();
    let read = || {
        let bytes = storage.get(KEY)?;
        decode(&bytes).ok_or_else(|| DatastoreError::damaged(KEY, "it fails its checksum"))
    };
    match index.misreads.read(storage, KEY, read) {
        Ok(entries) => {
            for (pack, offset) in &entries {
                index.distrust(*pack, *offset);
            }
            if found.iter().all(|lost| entries.contains(lost)) {
                index.set_unsaved_losses(false);
                index.delete_replaced();
            }
        }
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => {
            // What it told is lost with it, also for the list that is written next.
            tracing::warn!(%error, "the list of what was found damaged cannot be read: check the datastore again");
            let (pack, offset) = UNKNOWN_LOSS;
            index.distrust(pack, offset);
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<(Name, u64)>> {
    let (body, checksum) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let mut cursor = Cursor::new(body, "quarantine list");
    if cursor.array::<8>().ok()? != MAGIC {
        return None;
    }
    let count = cursor.u64().ok()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push((Name(cursor.array().ok()?), cursor.u64().ok()?));
    }
    cursor.finish().ok()?;
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_quarantine_lists() {
        let mut list = MAGIC.to_vec();
        list.extend_from_slice(&2u64.to_le_bytes());
        for byte in [1u8, 2] {
            list.extend_from_slice(&[byte; 32]);
            list.extend_from_slice(&64u64.to_le_bytes());
        }
        let summed = |body: &[u8]| [body, blake3::hash(body).as_bytes()].concat();
        assert_eq!(decode(&summed(&list)).map(|entries| entries.len()), Some(2));
        simsim_testkit::fuzz("quarantine list", &[list], |body| {
            let _ = decode(body);
            if let Some(entries) = decode(&summed(body)) {
                assert!(entries.len() * 40 <= body.len());
            }
        });
    }
}
