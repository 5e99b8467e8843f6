//! A disk in memory that remembers every write, flush and rename, and can show what a power cut
//! after each of them would leave.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::storage::{Lock, Object, ObjectWriter, Objects, Storage};
use crate::{StorageError, key};

/// What happens to things that were not flushed when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashVariant {
    /// Neither data nor names that were not flushed survive.
    LoseAll,
    /// Names survive, the data that was not flushed does not: empty files.
    NamesWithoutData,
    /// Names survive; of data that was not flushed, the first half does.
    NamesWithTornData,
    /// Names survive; data that was not flushed reads as zeros.
    NamesWithZeros,
    /// Everything survives that was written.
    KeepAll,
}

impl CrashVariant {
    pub const ALL: [CrashVariant; 5] = [
        CrashVariant::LoseAll,
        CrashVariant::NamesWithoutData,
        CrashVariant::NamesWithTornData,
        CrashVariant::NamesWithZeros,
        CrashVariant::KeepAll,
    ];
}

#[derive(Debug, Clone)]
enum Event {
    Write { file: u64, bytes: Bytes },
    FlushData { file: u64 },
    Rename { file: u64, key: String },
    Remove { key: String },
    FlushNames,
}

#[derive(Default)]
struct Disk {
    files: HashMap<u64, Vec<u8>>,
    names: BTreeMap<String, u64>,
    locked: Vec<String>,
    next: u64,
    log: Vec<Event>,
}

impl Disk {
    fn get(&self, key: &str) -> Result<&Vec<u8>, StorageError> {
        self.names
            .get(key)
            .and_then(|file| self.files.get(file))
            .ok_or_else(|| StorageError::io("read", key, io::Error::from(io::ErrorKind::NotFound)))
    }
}

/// The disk. Clones share it.
#[derive(Clone, Default)]
pub struct PowerCutStorage {
    disk: Arc<Mutex<Disk>>,
}

impl PowerCutStorage {
    pub fn new() -> Self {
        Self::default()
    }

    /// Events so far; crash images exist for 0 ..= this number.
    pub fn events(&self) -> usize {
        self.disk.lock().log.len()
    }

    /// The disk as found after a power cut that followed the first `events` events.
    pub fn crash_image(&self, events: usize, variant: CrashVariant) -> PowerCutStorage {
        let disk = self.disk.lock();
        let mut data: HashMap<u64, (Vec<u8>, usize)> = HashMap::new();
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        let mut durable_names = names.clone();
        for event in disk.log.iter().take(events) {
            match event {
                Event::Write { file, bytes } => {
                    data.entry(*file).or_default().0.extend_from_slice(bytes);
                }
                Event::FlushData { file } => {
                    let file = data.entry(*file).or_default();
                    file.1 = file.0.len();
                }
                Event::Rename { file, key } => {
                    names.insert(key.clone(), *file);
                }
                Event::Remove { key } => {
                    names.remove(key);
                }
                Event::FlushNames => durable_names.clone_from(&names),
            }
        }
        if variant == CrashVariant::LoseAll {
            names = durable_names;
        }
        let mut image = Disk { next: disk.next, ..Disk::default() };
        for (key, file) in names {
            let (mut bytes, flushed) = data.get(&file).cloned().unwrap_or_default();
            match variant {
                CrashVariant::LoseAll | CrashVariant::NamesWithoutData => bytes.truncate(flushed),
                CrashVariant::NamesWithTornData => {
                    bytes.truncate(flushed + (bytes.len() - flushed) / 2);
                }
                CrashVariant::NamesWithZeros => {
                    bytes.iter_mut().skip(flushed).for_each(|byte| *byte = 0);
                }
                CrashVariant::KeepAll => {}
            }
            image.log.push(Event::Write { file, bytes: Bytes::from(bytes.clone()) });
            image.log.push(Event::FlushData { file });
            image.log.push(Event::Rename { file, key: key.clone() });
            image.files.insert(file, bytes);
            image.names.insert(key, file);
        }
        image.log.push(Event::FlushNames);
        PowerCutStorage { disk: Arc::new(Mutex::new(image)) }
    }

    /// Changes an object in place, as rot would.
    pub fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk.lock();
        if let Some(file) = disk.names.get(key).copied()
            && let Some(bytes) = disk.files.get_mut(&file)
        {
            change(bytes);
        }
    }

    /// An independent copy of the present state, without locks.
    pub fn copy(&self) -> PowerCutStorage {
        let disk = self.disk.lock();
        let copy = Disk {
            files: disk.files.clone(),
            names: disk.names.clone(),
            next: disk.next,
            ..Disk::default()
        };
        PowerCutStorage { disk: Arc::new(Mutex::new(copy)) }
    }

    fn store(&self, key: &str, bytes: &[u8], replace: bool) -> Result<(), StorageError> {
        let mut writer = MemoryWriter::new(self.disk.clone());
        writer.write(bytes)?;
        writer.place(key, replace)
    }
}

struct MemoryWriter {
    disk: Arc<Mutex<Disk>>,
    file: u64,
    placed: bool,
}

impl MemoryWriter {
    fn new(disk: Arc<Mutex<Disk>>) -> Self {
        let mut locked = disk.lock();
        let file = locked.next;
        locked.next += 1;
        locked.files.insert(file, Vec::new());
        drop(locked);
        Self { disk, file, placed: false }
    }

    fn place(&mut self, key: &str, replace: bool) -> Result<(), StorageError> {
        key::check(key)?;
        let mut disk = self.disk.lock();
        let file = self.file;
        disk.log.push(Event::FlushData { file });
        if disk.names.contains_key(key) && !replace {
            return Err(StorageError::Exists { object: key.to_owned() });
        }
        disk.names.insert(key.to_owned(), file);
        disk.log.push(Event::Rename { file, key: key.to_owned() });
        disk.log.push(Event::FlushNames);
        self.placed = true;
        Ok(())
    }
}

impl ObjectWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let mut disk = self.disk.lock();
        let file = self.file;
        disk.files.entry(file).or_default().extend_from_slice(bytes);
        disk.log.push(Event::Write { file, bytes: Bytes::copy_from_slice(bytes) });
        Ok(())
    }

    fn finish(mut self: Box<Self>, key: &str) -> Result<(), StorageError> {
        self.place(key, false)
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        if !self.placed {
            self.disk.lock().files.remove(&self.file);
        }
    }
}

struct MemoryLock {
    disk: Arc<Mutex<Disk>>,
    key: String,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.lock().locked.retain(|key| *key != self.key);
    }
}

impl Storage for PowerCutStorage {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        Ok(Box::new(MemoryWriter::new(self.disk.clone())))
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.store(key, bytes, true)
    }

    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        Ok(Bytes::copy_from_slice(self.disk.lock().get(key)?))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        let disk = self.disk.lock();
        let bytes = disk.get(key)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        bytes.get(start..start.saturating_add(length)).map(Bytes::copy_from_slice).ok_or_else(
            || StorageError::Short {
                object: key.to_owned(),
                wanted: offset.saturating_add(length as u64),
                found: bytes.len() as u64,
            },
        )
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        Ok(self.disk.lock().get(key)?.len() as u64)
    }

    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        let disk = self.disk.lock();
        let objects: Vec<_> =
            disk.names
                .iter()
                .filter(|(key, _)| {
                    if prefix.is_empty() { !key.contains('/') } else { key.starts_with(prefix) }
                })
                .map(|(key, file)| {
                    let bytes = disk.files.get(file).map_or(0, |bytes| bytes.len() as u64);
                    Ok(Object { key: key.clone(), bytes })
                })
                .collect();
        Ok(Box::new(objects.into_iter()))
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        let mut disk = self.disk.lock();
        disk.get(key)?;
        if let Some(file) = disk.names.remove(key) {
            disk.files.remove(&file);
        }
        disk.log.push(Event::Remove { key: key.to_owned() });
        disk.log.push(Event::FlushNames);
        Ok(())
    }

    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.store(key, &vec![0; bytes.min(1 << 20) as usize], false)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(1 << 40)
    }

    fn total_bytes(&self) -> Result<u64, StorageError> {
        Ok(1 << 40)
    }

    fn lock(&self, key: &str, _holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        let mut disk = self.disk.lock();
        if disk.locked.iter().any(|held| held == key) {
            return Err(StorageError::Locked { object: key.into(), holder: "this test".into() });
        }
        disk.locked.push(key.to_owned());
        Ok(Box::new(MemoryLock { disk: self.disk.clone(), key: key.to_owned() }))
    }

    fn clear_temporary(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
