//! The folders of a storage: made when they are missing, and durable before anything in them counts.
//!
//! A folder that is there may have been made a moment ago by another writer, which has not flushed
//! its parent yet. Whoever trusts it then has an object that a loss of power takes away with the
//! folder's name. So a folder counts only when this process has flushed its parent once.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::StorageError;

/// The folder of a storage and those below it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Folders {
    base: PathBuf,
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Folders {
    pub(crate) fn new(base: PathBuf) -> Self {
        Self { base, durable: Arc::default() }
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Afterwards the folder is there and stays, and so do those above it up to the base. Above the
    /// base only what is missing is made.
    pub(crate) fn ensure(&self, folder: &Path) -> Result<(), StorageError> {
        let inside = folder != self.base && folder.starts_with(&self.base);
        if (!inside && folder.is_dir()) || self.durable.lock().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.ensure(parent)?;
        }
        let error = |source| StorageError::io("make folder", folder.display().to_string(), source);
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error(source));
            }
            Ok(()) | Err(_) => {}
        }
        if let Some(parent) = parent {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(error)?;
        }
        if inside {
            self.durable.lock().insert(folder.to_owned());
        }
        Ok(())
    }
}
