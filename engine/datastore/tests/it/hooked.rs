//! A disk that a test can make fail, lie or wait at any call.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use simsim_storage::fault::PowerCutStorage;
use simsim_storage::{Lock, ObjectWriter, Objects, Storage, StorageError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Create,
    Replace,
    Read { offset: u64 },
}

pub enum Answer {
    AsItIs,
    Fail(i32),
    /// What is read has another first byte.
    Flip,
    /// What is read has another byte there.
    FlipAt(usize),
}

type Hook = dyn Fn(Call, &str) -> Answer + Send + Sync;

/// A disk that asks `hook` before each call.
pub struct Hooked {
    disk: PowerCutStorage,
    hook: Mutex<Arc<Hook>>,
    /// What was to be read from the medium again.
    pub forgotten: Mutex<Vec<String>>,
}

impl Hooked {
    pub fn new(disk: &PowerCutStorage) -> Arc<Self> {
        let hook: Arc<Hook> = Arc::new(|_, _| Answer::AsItIs);
        Arc::new(Self { disk: disk.clone(), hook: Mutex::new(hook), forgotten: Mutex::default() })
    }

    pub fn on(&self, hook: impl Fn(Call, &str) -> Answer + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Arc::new(hook);
    }

    pub fn rest(&self) {
        self.on(|_, _| Answer::AsItIs);
    }

    /// Every read below one of `folders` fails.
    pub fn refuse(&self, errno: i32, folders: &'static [&'static str]) {
        self.on(move |call, key| {
            let hit = folders.iter().any(|folder| key.starts_with(folder));
            if hit && matches!(call, Call::Read { .. }) {
                Answer::Fail(errno)
            } else {
                Answer::AsItIs
            }
        });
    }

    fn ask(&self, call: Call, key: &str) -> Result<Option<usize>, StorageError> {
        let hook = self.hook.lock().unwrap().clone();
        match hook(call, key) {
            Answer::AsItIs => Ok(None),
            Answer::Flip => Ok(Some(0)),
            Answer::FlipAt(byte) => Ok(Some(byte)),
            Answer::Fail(errno) => Err(StorageError::Io {
                action: "use",
                object: key.to_owned(),
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }
}

fn flipped(bytes: Bytes, flip: Option<usize>) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(at) = flip {
        bytes[at] ^= 1;
    }
    Bytes::from(bytes)
}

impl Storage for Hooked {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        self.ask(Call::Create, "")?;
        self.disk.create()
    }
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.ask(Call::Replace, key)?;
        self.disk.replace(key, bytes)
    }
    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        let flip = self.ask(Call::Read { offset: 0 }, key)?;
        Ok(flipped(self.disk.get(key)?, flip))
    }
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        let flip = self.ask(Call::Read { offset }, key)?;
        Ok(flipped(self.disk.get_range(key, offset, length)?, flip))
    }
    fn forget(&self, key: &str) {
        self.forgotten.lock().unwrap().push(key.to_owned());
    }
    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.disk.size(key)
    }
    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        self.disk.list(prefix)
    }
    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.disk.delete(key)
    }
    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.disk.allocate(key, bytes)
    }
    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.disk.free_bytes()
    }
    fn total_bytes(&self) -> Result<u64, StorageError> {
        self.disk.total_bytes()
    }
    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        self.disk.lock(key, holder)
    }
    fn clear_temporary(&self) -> Result<u64, StorageError> {
        self.disk.clear_temporary()
    }
    fn place(&self) -> String {
        self.disk.place()
    }
}
