//! The fencing epoch: every opening raises `generation.N`; who no longer holds the highest may
//! not commit, whatever its lock says (GC08).

use simsim_storage::Storage;

use crate::DatastoreError;

const PREFIX: &str = "generation.";

fn generations(storage: &dyn Storage) -> Result<Vec<u64>, DatastoreError> {
    let mut found = Vec::new();
    for object in storage.list("")? {
        if let Some(text) = object?.key.strip_prefix(PREFIX)
            && let Ok(number) = text.parse()
        {
            found.push(number);
        }
    }
    Ok(found)
}

/// Takes the next generation. Creating is exclusive, so two openers never take the same.
pub(crate) fn raise(storage: &dyn Storage, holder: &str) -> Result<u64, DatastoreError> {
    let old = generations(storage)?;
    let ours = old.iter().max().copied().unwrap_or(0).saturating_add(1);
    storage.put(&format!("{PREFIX}{ours}"), holder.as_bytes())?;
    for number in old {
        storage.delete(&format!("{PREFIX}{number}"))?;
    }
    Ok(ours)
}

/// Refuses when a later generation exists, or ours does not.
pub(crate) fn check(storage: &dyn Storage, ours: u64) -> Result<(), DatastoreError> {
    match generations(storage)?.into_iter().max().unwrap_or(0) {
        found if found == ours => Ok(()),
        found => Err(DatastoreError::Fenced { ours, found }),
    }
}
