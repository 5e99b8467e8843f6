//! A storage that is read and never written: what would be written goes to another one, and is
//! seen from then on as if it lay there.
//!
//! So a copy of a datastore on a read-only medium is opened by the same code as any other: its lock,
//! its generation and the missing parts of its index go to a folder that is thrown away afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use simsim_model::Kind;

use crate::storage::{Lock, Object, ObjectWriter, Objects, Storage};
use crate::{StorageError, key};

/// `below` as it is, with every change in `above`.
pub struct OverlayStorage {
    below: Arc<dyn Storage>,
    above: Arc<dyn Storage>,
    /// Objects of `below` that were deleted.
    gone: Arc<Mutex<HashSet<String>>>,
}

impl OverlayStorage {
    /// Nothing that is called here changes `below`. `above` begins empty.
    pub fn new(below: Arc<dyn Storage>, above: Arc<dyn Storage>) -> Self {
        Self { below, above, gone: Arc::default() }
    }

    fn shows_below(&self, key: &str) -> bool {
        !self.gone.lock().contains(key)
    }

    /// What `above` answers, or, where it has no such object, what `below` does.
    fn look<T>(
        &self,
        key: &str,
        look: impl Fn(&dyn Storage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match look(&*self.above) {
            Err(error) if error.kind() == Kind::NotFound && self.shows_below(key) => {
                look(&*self.below)
            }
            answer => answer,
        }
    }
}

impl Storage for OverlayStorage {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        let inner = self.above.create()?;
        let (below, gone) = (Arc::clone(&self.below), Arc::clone(&self.gone));
        Ok(Box::new(Writer { inner, below, gone }))
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.above.replace(key, bytes)
    }

    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        self.look(key, |storage| storage.get(key))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        self.look(key, |storage| storage.get_range(key, offset, length))
    }

    fn forget(&self, key: &str) {
        self.above.forget(key);
        self.below.forget(key);
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.look(key, |storage| storage.size(key))
    }

    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        let above: Vec<Object> = self.above.list(prefix)?.collect::<Result<_, _>>()?;
        let hidden: HashSet<String> = above
            .iter()
            .map(|object| object.key.clone())
            .chain(self.gone.lock().iter().cloned())
            .collect();
        let below = self
            .below
            .list(prefix)?
            .filter(move |object| !matches!(object, Ok(object) if hidden.contains(&object.key)));
        Ok(Box::new(above.into_iter().map(Ok).chain(below)))
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        key::check(key)?;
        let above = match self.above.delete(key) {
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            answer => answer,
        };
        if self.shows_below(key) {
            match self.below.size(key) {
                Ok(_) => {
                    self.gone.lock().insert(key.to_owned());
                    return Ok(());
                }
                Err(error) if error.kind() != Kind::NotFound => return Err(error),
                Err(_) => {}
            }
        }
        above
    }

    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.above.allocate(key, bytes)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.above.free_bytes()
    }

    fn total_bytes(&self) -> Result<u64, StorageError> {
        self.above.total_bytes()
    }

    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        self.above.lock(key, holder)
    }

    fn clear_temporary(&self) -> Result<u64, StorageError> {
        self.above.clear_temporary()
    }

    fn place(&self) -> String {
        self.below.place()
    }

    fn closed_because(&self) -> Option<String> {
        self.above.closed_because()
    }
}

struct Writer {
    inner: Box<dyn ObjectWriter>,
    below: Arc<dyn Storage>,
    gone: Arc<Mutex<HashSet<String>>>,
}

impl ObjectWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>, key: &str) -> Result<(), StorageError> {
        key::check(key)?;
        if !self.gone.lock().contains(key) && self.below.size(key).is_ok() {
            self.inner.abort();
            return Err(StorageError::Exists { object: key.to_owned() });
        }
        self.inner.finish(key)
    }

    fn abort(self: Box<Self>) {
        self.inner.abort();
    }
}
