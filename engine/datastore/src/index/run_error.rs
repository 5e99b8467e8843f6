//! Why a run was not read: its own fault, or the storage's.

use std::fmt;

use simsim_storage::StorageError;

use crate::DatastoreError;
use crate::error::shows_loss;

/// Why a run was not read.
#[derive(Debug)]
pub(crate) enum RunError {
    /// It is damaged, gone or on a bad sector: it is replaced from the packs' own tables.
    Damaged { number: u64, why: String },
    /// The storage did not answer. That says nothing about the run.
    Storage(StorageError),
}

impl RunError {
    pub(crate) fn of(number: u64, error: StorageError) -> Self {
        if shows_loss(&error) {
            RunError::Damaged { number, why: error.to_string() }
        } else {
            RunError::Storage(error)
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Damaged { why, .. } => f.write_str(why),
            RunError::Storage(error) => error.fmt(f),
        }
    }
}

impl From<RunError> for DatastoreError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Damaged { number, why } => {
                DatastoreError::damaged(super::run_writer::run_key(number), why)
            }
            RunError::Storage(error) => error.into(),
        }
    }
}
