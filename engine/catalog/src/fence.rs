//! The fence: one process per catalog.
//!
//! A lock on `catalog.lock` beside the database, owned by the open file description: it ends with
//! the process however the process ends, no time and no process number decides anything, and a
//! copy of the file means nothing. The text in the file is for people only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::CatalogError;

/// Held while the catalog is open.
#[derive(Debug)]
pub(crate) struct Fence {
    _file: File,
}

impl Fence {
    /// Takes the fence, or says who holds it.
    pub(crate) fn take(catalog: &Path, lock: &Path) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::io("open the lock file", lock, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(lock)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CatalogError::InUse {
                    place: catalog.display().to_string(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(CatalogError::io("lock", lock, source));
            }
        }
        // For people only, so a full disk is no reason to refuse.
        let note = format!("process {}\n", std::process::id());
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(note.as_bytes()));
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut note = String::new();
    match file.take(64).read_to_string(&mut note) {
        Ok(_) if !note.trim().is_empty() => format!(" by {}", note.trim()),
        _ => " by another process".to_owned(),
    }
}
