//! Writing a file that appears complete or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::folders::Folders;
use crate::storage::ObjectWriter;
use crate::{StorageError, key};

/// A temporary file on its way to its final name.
pub(crate) struct LocalWriter {
    path: PathBuf,
    file: File,
    dead: bool,
    kept: bool,
}

impl LocalWriter {
    pub(crate) fn new(path: PathBuf, file: File) -> Self {
        Self { path, file, dead: false, kept: false }
    }

    fn error(&self, action: &'static str, source: io::Error) -> StorageError {
        StorageError::io(action, self.path.display().to_string(), source)
    }

    fn alive(&self) -> Result<(), StorageError> {
        if self.dead {
            return Err(StorageError::Dead { object: self.path.display().to_string() });
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.alive()?;
        self.file.write_all(bytes).map_err(|source| {
            self.dead = true;
            self.error("write", source)
        })
    }

    pub(crate) fn allocate(&mut self, bytes: u64) -> Result<(), StorageError> {
        self.alive()?;
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&self.file, flags, 0, bytes)
            .map_err(|source| self.error("allocate", source.into()))
    }

    /// Flush, rename, flush of the folder. One attempt each: what a failed flush has lost stays
    /// lost, whatever the next one says.
    pub(crate) fn finish(
        mut self,
        path: &Path,
        folder: &Path,
        replace: bool,
    ) -> Result<(), StorageError> {
        self.alive()?;
        self.file.sync_data().map_err(|source| self.error("flush", source))?;
        if replace {
            fs::rename(&self.path, path).map_err(|source| self.error("rename", source))?;
        } else {
            self.rename_new(path)?;
        }
        self.kept = true;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| StorageError::io("flush", folder.display().to_string(), source))
    }

    fn rename_new(&self, path: &Path) -> Result<(), StorageError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        let exists = || StorageError::Exists { object: path.display().to_string() };
        match renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(exists()),
            // File systems without that flag: a hard link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::hard_link(&self.path, path).map_err(|source| match source.kind() {
                    io::ErrorKind::AlreadyExists => exists(),
                    _ => self.error("rename", source),
                })?;
                fs::remove_file(&self.path).map_err(|source| self.error("rename", source))
            }
            Err(error) => Err(self.error("rename", error.into())),
        }
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if !self.kept {
            // Stale files are also cleared when the store is opened next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A writer that knows the storage's folders, to turn a key into a path.
pub(crate) struct Placed {
    writer: LocalWriter,
    folders: Folders,
}

impl Placed {
    pub(crate) fn new(writer: LocalWriter, folders: Folders) -> Self {
        Self { writer, folders }
    }
}

impl ObjectWriter for Placed {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.writer.write(bytes)
    }

    fn finish(self: Box<Self>, key: &str) -> Result<(), StorageError> {
        key::check(key)?;
        let path = self.folders.base().join(key);
        let parent = path.parent().unwrap_or(self.folders.base()).to_owned();
        self.folders.ensure(&parent)?;
        self.writer.finish(&path, &parent, false)
    }
}
