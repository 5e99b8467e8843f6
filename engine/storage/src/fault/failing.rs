//! A storage whose N-th call fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::StorageError;
use crate::storage::{Lock, ObjectWriter, Objects, Storage};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The medium fails (EIO); nothing was done.
    Io,
    /// No space is left (ENOSPC); nothing was done.
    Full,
    /// Half of the bytes were written, then the medium failed.
    ShortWrite,
    /// The call was carried out in full, but reported as failed.
    LostReply,
    /// The medium is gone (ESTALE), for this call and all that follow.
    Gone,
    /// This call and all that follow do not come back before [`FailingStorage::release`].
    Hang,
}

struct Plan {
    calls: AtomicU64,
    fail_at: u64,
    fault: Fault,
    released: Mutex<bool>,
    release: Condvar,
}

impl Plan {
    /// Counts one call; whether it is the one to fail. One that hangs is carried out afterwards.
    fn strikes(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Hang if call >= self.fail_at => {
                let mut released = self.released.lock();
                while !*released {
                    self.release.wait(&mut released);
                }
                false
            }
            Fault::Hang => false,
            Fault::Gone => call >= self.fail_at,
            _ => call == self.fail_at,
        }
    }

    fn error(&self, object: &str) -> StorageError {
        let code = match self.fault {
            Fault::Full => rustix::io::Errno::NOSPC,
            Fault::Gone => rustix::io::Errno::STALE,
            _ => rustix::io::Errno::IO,
        };
        StorageError::io("use", object, io::Error::from(code))
    }

    fn run<T>(
        &self,
        object: &str,
        call: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if !self.strikes() {
            return call();
        }
        if self.fault == Fault::LostReply {
            let _ = call();
        }
        Err(self.error(object))
    }
}

/// Fails call number `fail_at` (from 0), then works again.
pub struct FailingStorage<S> {
    inner: S,
    plan: Arc<Plan>,
}

impl<S> FailingStorage<S> {
    pub fn new(inner: S, fail_at: u64, fault: Fault) -> Self {
        let plan = Plan {
            calls: AtomicU64::new(0),
            fail_at,
            fault,
            released: Mutex::new(false),
            release: Condvar::new(),
        };
        Self { inner, plan: Arc::new(plan) }
    }

    /// Calls that hang come back, and later ones do not hang any more.
    pub fn release(&self) {
        *self.plan.released.lock() = true;
        self.plan.release.notify_all();
    }

    /// Whether the call that fails has been made.
    pub fn has_failed(&self) -> bool {
        self.plan.calls.load(Ordering::SeqCst) > self.plan.fail_at
    }
}

struct FailingWriter {
    inner: Box<dyn ObjectWriter>,
    plan: Arc<Plan>,
}

impl ObjectWriter for FailingWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let plan = self.plan.clone();
        if plan.strikes() {
            let written = match plan.fault {
                Fault::ShortWrite => bytes.len() / 2,
                Fault::LostReply => bytes.len(),
                Fault::Io | Fault::Full | Fault::Gone | Fault::Hang => 0,
            };
            self.inner.write(bytes.get(..written).unwrap_or_default())?;
            return Err(plan.error("an object"));
        }
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>, key: &str) -> Result<(), StorageError> {
        let Self { inner, plan } = *self;
        plan.run(key, || inner.finish(key))
    }
}

impl<S: Storage> Storage for FailingStorage<S> {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        let inner = self.plan.run("a new object", || self.inner.create())?;
        Ok(Box::new(FailingWriter { inner, plan: self.plan.clone() }))
    }
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.plan.run(key, || self.inner.replace(key, bytes))
    }
    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        self.plan.run(key, || self.inner.get(key))
    }
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        self.plan.run(key, || self.inner.get_range(key, offset, length))
    }
    fn forget(&self, key: &str) {
        self.inner.forget(key);
    }
    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.plan.run(key, || self.inner.size(key))
    }
    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        self.plan.run(prefix, || self.inner.list(prefix))
    }
    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.plan.run(key, || self.inner.delete(key))
    }
    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.plan.run(key, || self.inner.allocate(key, bytes))
    }
    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.plan.run("free space", || self.inner.free_bytes())
    }
    fn total_bytes(&self) -> Result<u64, StorageError> {
        self.plan.run("total space", || self.inner.total_bytes())
    }
    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        self.plan.run(key, || self.inner.lock(key, holder))
    }
    fn clear_temporary(&self) -> Result<u64, StorageError> {
        self.plan.run("tmp", || self.inner.clear_temporary())
    }
    fn place(&self) -> String {
        self.inner.place()
    }
}
