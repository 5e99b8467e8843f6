//! A folder as storage. Unfinished objects lie in `tmp/`; nothing there is ever read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use simsim_model::Kind;

use crate::folders::Folders;
use crate::local_writer::LocalWriter;
use crate::read_files::ReadFiles;
use crate::storage::{Lock, Object, ObjectWriter, Objects, Storage};
use crate::{StorageError, fitness, key};

const TEMPORARY: &str = "tmp";

/// A folder on a local file system.
pub struct LocalStorage {
    folder: PathBuf,
    folders: Folders,
    files: ReadFiles,
    next: AtomicU64,
}

impl LocalStorage {
    /// Uses `folder`, which is made if it does not exist, and tests whether it is fit to hold a
    /// store: exclusive creation, renaming without replacing, locks, flushes and listing must
    /// work (PWR11). Network file systems that lack one of them are refused here.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let storage = Self::of(folder.into());
        storage.folders.ensure(&storage.folder.join(TEMPORARY))?;
        match fitness::try_out(&storage) {
            // What there is must be readable on a full volume too; writing tells by itself.
            Err(error) if error.kind() == Kind::Full => {
                tracing::warn!(place = %storage.place(), "no space is left to test the folder");
            }
            tested => tested?,
        }
        Ok(storage)
    }

    /// As [`Self::open`], but a folder that is not there is an error: an unmounted disk must not look
    /// like an empty one.
    pub fn open_existing(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        fs::metadata(&folder)
            .map_err(|source| StorageError::io("open", folder.display().to_string(), source))?;
        Self::open(folder)
    }

    /// Uses a folder that exists for nothing but reading, on a read-only medium too: nothing is made
    /// or tested in it. To be put below an [`crate::OverlayStorage`].
    pub fn to_read(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        let error = |source| StorageError::io("open", folder.display().to_string(), source);
        fs::read_dir(&folder).map_err(error)?;
        Ok(Self::of(folder))
    }

    fn of(folder: PathBuf) -> Self {
        let folders = Folders::new(folder.clone());
        Self { folder, folders, files: ReadFiles::default(), next: AtomicU64::new(0) }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn name(&self, key: &str) -> String {
        self.folder.join(key).display().to_string()
    }

    fn path(&self, key: &str) -> Result<PathBuf, StorageError> {
        key::check(key)?;
        Ok(self.folder.join(key))
    }

    /// A file for reading, held open for the next time.
    fn opened(&self, key: &str) -> Result<Arc<File>, StorageError> {
        if let Some(file) = self.files.find(key) {
            return Ok(file);
        }
        let path = self.path(key)?;
        let file =
            File::open(&path).map_err(|source| StorageError::io("read", self.name(key), source))?;
        Ok(self.files.keep(key, file))
    }

    fn read_file(
        &self,
        file: &File,
        key: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            match file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => {
                    return Err(StorageError::Short {
                        object: self.name(key),
                        wanted: offset.saturating_add(buffer.len() as u64),
                        found: offset.saturating_add(filled as u64),
                    });
                }
                Ok(read) => filled += read,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StorageError::io("read", self.name(key), source)),
            }
        }
        Ok(())
    }

    fn temporary(&self) -> Result<(PathBuf, File), StorageError> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(TEMPORARY).join(format!("{}-{number}", std::process::id()));
            let opened =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            match opened {
                Ok(file) => return Ok((path, file)),
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(StorageError::io("create", path.display().to_string(), source));
                }
            }
        }
    }

    fn writer(&self) -> Result<LocalWriter, StorageError> {
        let (path, file) = self.temporary()?;
        Ok(LocalWriter::new(path, file))
    }

    /// The folder of a key, made when it is missing.
    fn folder_of(&self, path: &Path) -> Result<PathBuf, StorageError> {
        let parent = path.parent().unwrap_or(&self.folder).to_owned();
        self.folders.ensure(&parent)?;
        Ok(parent)
    }
}

/// An open file that carries the lock. The lock belongs to the open file, not to the process,
/// so that a second opening in the same process is refused too; it ends when the file is closed.
struct FileLock {
    _file: File,
}

impl Lock for FileLock {}

impl Storage for LocalStorage {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        let (path, file) = self.temporary()?;
        Ok(Box::new(crate::local_writer::Placed::new(
            LocalWriter::new(path, file),
            self.folders.clone(),
        )))
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let folder = self.folder_of(&path)?;
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        writer.finish(&path, &folder, true)?;
        self.files.forget(key);
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        fs::read(self.path(key)?)
            .map(Bytes::from)
            .map_err(|source| StorageError::io("read", self.name(key), source))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        let file = self.opened(key)?;
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let at = offset.saturating_add(buffer.len() as u64);
            let room = rustix::buffer::spare_capacity(&mut buffer);
            match rustix::io::pread(&*file, room, at) {
                Ok(0) => {
                    return Err(StorageError::Short {
                        object: self.name(key),
                        wanted: offset.saturating_add(length as u64),
                        found: at,
                    });
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(source) => return Err(StorageError::io("read", self.name(key), source.into())),
            }
        }
        buffer.truncate(length);
        Ok(Bytes::from(buffer))
    }

    fn read_at(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.read_file(&*self.opened(key)?, key, offset, buffer)
    }

    /// First everything that is in the system's cache; then the system is told about all the rest,
    /// which a disk answers several of at a time; then the rest is read.
    fn read_parts(
        &self,
        key: &str,
        offsets: &[u64],
        length: usize,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        let file = self.opened(key)?;
        let mut rest = Vec::new();
        let mut asks = true;
        for (offset, part) in offsets.iter().zip(buffer.chunks_exact_mut(length.max(1))) {
            let mut parts = [io::IoSliceMut::new(part)];
            let flags = rustix::io::ReadWriteFlags::NOWAIT;
            match asks.then(|| rustix::io::preadv2(&*file, &mut parts, *offset, flags)) {
                Some(Ok(read)) if read == length => continue,
                // This file system cannot tell; it has no slow disk below, or waits as it must.
                Some(Err(rustix::io::Errno::OPNOTSUPP)) => asks = false,
                _ => {}
            }
            rest.push((*offset, part));
        }
        if asks && rest.len() > 1 {
            for (offset, part) in &rest {
                let length = std::num::NonZeroU64::new(part.len() as u64);
                let _ = rustix::fs::fadvise(&file, *offset, length, rustix::fs::Advice::WillNeed);
            }
        }
        for (offset, part) in rest {
            self.read_file(&file, key, offset, part)?;
        }
        Ok(())
    }

    /// Also closes the file: on a network file system the next opening asks its server.
    fn forget(&self, key: &str) {
        self.files.forget(key);
        if let Ok(path) = self.path(key)
            && let Ok(file) = File::open(path)
        {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        fs::metadata(self.path(key)?)
            .map(|meta| meta.len())
            .map_err(|source| StorageError::io("look at", self.name(key), source))
    }

    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        let start = if prefix.is_empty() {
            self.folder.clone()
        } else {
            self.path(prefix.trim_end_matches('/'))?
        };
        let pending = vec![(prefix.to_owned(), start)];
        Ok(Box::new(Listing { pending, open: None, deep: !prefix.is_empty() }))
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let error = |source| StorageError::io("delete", self.name(key), source);
        self.files.forget(key);
        fs::remove_file(&path).map_err(error)?;
        let folder = path.parent().unwrap_or(&self.folder);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)
    }

    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let folder = self.folder_of(&path)?;
        let mut writer = self.writer()?;
        writer.allocate(bytes)?;
        writer.finish(&path, &folder, false)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let stat = rustix::fs::statvfs(&self.folder)
            .map_err(|error| StorageError::io("look at", self.place(), error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_bytes(&self) -> Result<u64, StorageError> {
        let stat = rustix::fs::statvfs(&self.folder)
            .map_err(|error| StorageError::io("look at", self.place(), error.into()))?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        let path = self.path(key)?;
        let error = |source| StorageError::io("lock", self.name(key), source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = (&file).take(200).read_to_string(&mut text);
                let holder = if text.is_empty() { "unknown".to_owned() } else { text };
                return Err(StorageError::Locked { object: self.name(key), holder });
            }
            Err(fs::TryLockError::Error(source)) => return Err(error(source)),
        }
        // The note is for people only; a full disk must not keep a store from opening.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Box::new(FileLock { _file: file }))
    }

    fn clear_temporary(&self) -> Result<u64, StorageError> {
        let folder = self.folder.join(TEMPORARY);
        let error = |source| StorageError::io("clear", folder.display().to_string(), source);
        let mut removed = 0;
        for entry in fs::read_dir(&folder).map_err(error)? {
            fs::remove_file(entry.map_err(error)?.path()).map_err(error)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

/// A listing, folder by folder.
struct Listing {
    pending: Vec<(String, PathBuf)>,
    open: Option<(String, fs::ReadDir)>,
    deep: bool,
}

impl Listing {
    fn step(&mut self) -> io::Result<Option<Object>> {
        loop {
            let Some((prefix, folder)) = &mut self.open else {
                let Some((prefix, path)) = self.pending.pop() else { return Ok(None) };
                match fs::read_dir(&path) {
                    Ok(folder) => self.open = Some((prefix, folder)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            let Some(entry) = folder.next() else {
                self.open = None;
                continue;
            };
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let key = format!("{prefix}{name}");
            if meta.is_dir() {
                if self.deep {
                    self.pending.push((format!("{key}/"), entry.path()));
                }
            } else if meta.is_file() {
                return Ok(Some(Object { key, bytes: meta.len() }));
            }
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Object, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(object) => object.map(Ok),
            Err(source) => {
                self.pending.clear();
                self.open = None;
                Some(Err(StorageError::io("list", "a folder of the store", source)))
            }
        }
    }
}
