//! The contract.

use bytes::Bytes;

use crate::StorageError;

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
}

/// Listed objects, in no particular order.
pub type Objects = Box<dyn Iterator<Item = Result<Object, StorageError>> + Send>;

/// A lock that is held until this is dropped, or the process ends.
pub trait Lock: Send + Sync {}

/// A store of objects. All calls may come from several threads at once.
pub trait Storage: Send + Sync {
    /// Starts an object whose key is not known yet.
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError>;

    /// Stores a small object: atomic, durable when it returns, refused when the key exists.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let mut writer = self.create()?;
        writer.write(bytes)?;
        writer.finish(key)
    }

    /// As [`Self::put`], but an object of that key is replaced, atomically.
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError>;

    /// A whole object.
    fn get(&self, key: &str) -> Result<Bytes, StorageError>;

    /// Exactly `length` bytes from `offset`; an object that ends before is
    /// [`StorageError::Short`].
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError>;

    /// As [`Self::get_range`], into a buffer that the caller has: for many small reads.
    fn read_at(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        buffer.copy_from_slice(&self.get_range(key, offset, buffer.len())?);
        Ok(())
    }

    /// Reads parts of `length` bytes each from `offsets` into `buffer`, one after the other; what
    /// is not in memory is fetched side by side. `buffer` holds all of them, and nothing else.
    fn read_parts(
        &self,
        key: &str,
        offsets: &[u64],
        length: usize,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        for (offset, part) in offsets.iter().zip(buffer.chunks_exact_mut(length.max(1))) {
            self.read_at(key, *offset, part)?;
        }
        Ok(())
    }

    /// Drops what is held in memory of an object, where that can be done, so that the next read
    /// asks the medium. For reads that came out wrong (ROT06).
    fn forget(&self, key: &str) {
        let _ = key;
    }

    /// Bytes of an object.
    fn size(&self, key: &str) -> Result<u64, StorageError>;

    /// Objects whose key starts with the folder `prefix` (ending in `/`), or, for `""`, those
    /// directly at the top.
    fn list(&self, prefix: &str) -> Result<Objects, StorageError>;

    /// Removes an object, durably.
    fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// Makes an object of `bytes` bytes that really occupies its space; its content is undefined.
    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> Result<u64, StorageError>;

    /// Bytes of the whole volume.
    fn total_bytes(&self) -> Result<u64, StorageError>;

    /// Takes the exclusive lock of that name, or answers [`StorageError::Locked`] at once.
    /// `holder` is kept readable for the message that the next one sees.
    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError>;

    /// Removes what unfinished writers left behind. Only for the holder of the lock.
    fn clear_temporary(&self) -> Result<u64, StorageError>;

    /// Where the objects are, for messages.
    fn place(&self) -> String;

    /// Why nothing may be written any more before the storage is opened anew, if so.
    fn closed_because(&self) -> Option<String> {
        None
    }
}

/// An object that is being written. Dropped without [`ObjectWriter::finish`], it leaves nothing.
pub trait ObjectWriter: Send {
    /// Appends. After an error the object is dead.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError>;

    /// As [`Self::write`], for bytes that may be held on to: saves a copy where another thread writes.
    fn write_bytes(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.write(&bytes)
    }

    /// Makes the object durable under `key`: data flushed, renamed without replacing, folder
    /// flushed. After an error nothing may be assumed about it.
    fn finish(self: Box<Self>, key: &str) -> Result<(), StorageError>;

    /// Gives the object up.
    fn abort(self: Box<Self>) {}
}

/// Anything that hands out a storage again after a crash or restart; used by test suites.
pub type Subject = std::sync::Arc<dyn Storage>;

impl<T: Storage + ?Sized> Storage for std::sync::Arc<T> {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        (**self).create()
    }
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        (**self).put(key, bytes)
    }
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        (**self).replace(key, bytes)
    }
    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        (**self).get(key)
    }
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        (**self).get_range(key, offset, length)
    }
    fn read_at(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        (**self).read_at(key, offset, buffer)
    }
    fn read_parts(
        &self,
        key: &str,
        offsets: &[u64],
        length: usize,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        (**self).read_parts(key, offsets, length, buffer)
    }
    fn forget(&self, key: &str) {
        (**self).forget(key);
    }
    fn size(&self, key: &str) -> Result<u64, StorageError> {
        (**self).size(key)
    }
    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        (**self).list(prefix)
    }
    fn delete(&self, key: &str) -> Result<(), StorageError> {
        (**self).delete(key)
    }
    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        (**self).allocate(key, bytes)
    }
    fn free_bytes(&self) -> Result<u64, StorageError> {
        (**self).free_bytes()
    }
    fn total_bytes(&self) -> Result<u64, StorageError> {
        (**self).total_bytes()
    }
    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        (**self).lock(key, holder)
    }
    fn clear_temporary(&self) -> Result<u64, StorageError> {
        (**self).clear_temporary()
    }
    fn place(&self) -> String {
        (**self).place()
    }
    fn closed_because(&self) -> Option<String> {
        (**self).closed_because()
    }
}
