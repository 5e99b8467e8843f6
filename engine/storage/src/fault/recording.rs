//! A storage that counts what is done to it.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::StorageError;
use crate::storage::{Lock, ObjectWriter, Objects, Storage};

/// Calls and bytes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub creates: u64,
    pub finishes: u64,
    pub replaces: u64,
    pub reads: u64,
    pub lists: u64,
    pub deletes: u64,
    pub bytes_written: u64,
    pub bytes_read: u64,
}

/// Passes everything on and counts it.
pub struct RecordingStorage<S> {
    inner: S,
    counts: Arc<Mutex<Counts>>,
}

impl<S> RecordingStorage<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, counts: Arc::default() }
    }

    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }
}

struct RecordingWriter {
    inner: Box<dyn ObjectWriter>,
    counts: Arc<Mutex<Counts>>,
}

impl ObjectWriter for RecordingWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.counts.lock().bytes_written += bytes.len() as u64;
        self.inner.write(bytes)
    }
    fn finish(self: Box<Self>, key: &str) -> Result<(), StorageError> {
        self.counts.lock().finishes += 1;
        self.inner.finish(key)
    }
}

impl<S: Storage> Storage for RecordingStorage<S> {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        self.counts.lock().creates += 1;
        Ok(Box::new(RecordingWriter { inner: self.inner.create()?, counts: self.counts.clone() }))
    }
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        {
            let mut counts = self.counts.lock();
            counts.replaces += 1;
            counts.bytes_written += bytes.len() as u64;
        }
        self.inner.replace(key, bytes)
    }
    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        let bytes = self.inner.get(key)?;
        let mut counts = self.counts.lock();
        counts.reads += 1;
        counts.bytes_read += bytes.len() as u64;
        Ok(bytes)
    }
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        {
            let mut counts = self.counts.lock();
            counts.reads += 1;
            counts.bytes_read += length as u64;
        }
        self.inner.get_range(key, offset, length)
    }
    fn forget(&self, key: &str) {
        self.inner.forget(key);
    }
    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.inner.size(key)
    }
    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        self.counts.lock().lists += 1;
        self.inner.list(prefix)
    }
    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.counts.lock().deletes += 1;
        self.inner.delete(key)
    }
    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.inner.allocate(key, bytes)
    }
    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.inner.free_bytes()
    }
    fn total_bytes(&self) -> Result<u64, StorageError> {
        self.inner.total_bytes()
    }
    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        self.inner.lock(key, holder)
    }
    fn clear_temporary(&self) -> Result<u64, StorageError> {
        self.inner.clear_temporary()
    }
    fn place(&self) -> String {
        self.inner.place()
    }
}
