//! Reads that come out wrong are made again before anything is called damaged (ROT06).
//!
//! A bit can flip in memory, on a cable or in a controller, and a sector can be read at the second
//! attempt. So a read that fails a check, or that the medium refuses, is made up to three times,
//! each time after what the system holds of the object in memory was dropped. What is right in the
//! end is whole; that it was wrong before is remembered, and the next check's report says so.

use std::collections::VecDeque;

use simsim_model::Kind;
use simsim_storage::Storage;

use crate::DatastoreError;
use crate::error::shows_loss;
use crate::index::RunError;
use crate::sync::Mutex;

/// How often something is read before it counts as damaged.
pub(crate) const READS_MAX: u32 = 3;
/// Reads that are remembered by their object; further ones are counted.
const KEPT_MAX: usize = 100;

/// Reads that were wrong once and right later, since they were last asked for.
#[derive(Debug, Default)]
pub(crate) struct Misreads {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    count: u64,
    kept: VecDeque<String>,
}

/// An error that another read may not meet.
pub(crate) trait Doubtful: std::fmt::Display {
    fn is_doubtful(&self) -> bool;
}

impl Doubtful for DatastoreError {
    fn is_doubtful(&self) -> bool {
        match self {
            DatastoreError::Storage(error) => shows_loss(error) && error.kind() != Kind::NotFound,
            error => error.kind() == Kind::Corrupt,
        }
    }
}

impl Doubtful for RunError {
    fn is_doubtful(&self) -> bool {
        matches!(self, RunError::Damaged { .. })
    }
}

impl Misreads {
    /// Reads, and reads again where that may help. The last error counts.
    pub(crate) fn read<T, E: Doubtful>(
        &self,
        storage: &dyn Storage,
        key: &str,
        mut read: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        match read() {
            Err(error) if error.is_doubtful() => self.again(storage, key, error, read),
            first => first,
        }
    }

    /// As [`Self::read`], after a first read that failed with `error`.
    pub(crate) fn again<T, E: Doubtful>(
        &self,
        storage: &dyn Storage,
        key: &str,
        mut error: E,
        mut read: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        for number in 2..=READS_MAX {
            storage.forget(key);
            match read() {
                Ok(found) => {
                    self.note(format!(
                        "{key}: read {number} times, wrong at first ({error}) and right in the end"
                    ));
                    return Ok(found);
                }
                Err(next) if next.is_doubtful() => error = next,
                Err(other) => return Err(other),
            }
        }
        Err(error)
    }

    fn note(&self, what: String) {
        tracing::warn!(%what, "what was read is whole; memory, cable, controller or disk may be failing");
        let mut found = self.found.lock();
        found.count += 1;
        if found.kept.len() >= KEPT_MAX {
            found.kept.pop_front();
        }
        found.kept.push_back(what);
    }

    /// How many, and the last ones of them; they are forgotten here.
    pub(crate) fn take(&self) -> (u64, Vec<String>) {
        let found = std::mem::take(&mut *self.found.lock());
        (found.count, found.kept.into())
    }
}
