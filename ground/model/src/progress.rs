//! Live counters of a running job, shared between the workers and whoever reports.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use minicbor::{Decode, Encode};

/// Counters that workers add to without waiting for each other.
#[derive(Debug, Default)]
pub struct Progress {
    pub files_done: AtomicU64,
    pub dirs_done: AtomicU64,
    /// Logical bytes of files finished or found unchanged.
    pub bytes_done: AtomicU64,
    /// Expected totals, from the base saveset or a restore plan; 0 when unknown.
    pub files_expected: AtomicU64,
    pub bytes_expected: AtomicU64,
    /// Bytes really read from files (backup) or written (restore).
    pub bytes_read: AtomicU64,
    /// Plaintext bytes that were new to the datastore.
    pub bytes_new: AtomicU64,
    /// Segment bytes sent or received.
    pub bytes_wire: AtomicU64,
    pub problems: AtomicU64,
    cancelled: AtomicBool,
    current: Mutex<Vec<u8>>,
    waits: Mutex<String>,
}

impl Progress {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, counter: impl Fn(&Self) -> &AtomicU64, amount: u64) {
        let counter = counter(self);
        let sum = counter.fetch_add(amount, Relaxed).checked_add(amount);
        if sum.is_none_or(|sum| sum > crate::limits::BYTES_TOLD_MAX) {
            counter.store(crate::limits::BYTES_TOLD_MAX, Relaxed);
        }
    }

    /// Asks the job to end; workers look at it between items.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Names the file in work. Skipped when another worker is naming one: it is only for people.
    pub fn set_current(&self, path: &[u8]) {
        if let Ok(mut current) = self.current.try_lock() {
            current.clear();
            current.extend_from_slice(path);
        }
    }

    /// Says what the job waits for, as a sentence; empty when it does not any more.
    pub fn set_waits(&self, what: &str) {
        if let Ok(mut waits) = self.waits.lock()
            && *waits != what
        {
            waits.clear();
            waits.push_str(what);
        }
    }

    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            files_done: self.files_done.load(Relaxed),
            dirs_done: self.dirs_done.load(Relaxed),
            bytes_done: self.bytes_done.load(Relaxed),
            files_expected: self.files_expected.load(Relaxed),
            bytes_expected: self.bytes_expected.load(Relaxed),
            bytes_read: self.bytes_read.load(Relaxed),
            bytes_new: self.bytes_new.load(Relaxed),
            bytes_wire: self.bytes_wire.load(Relaxed),
            problems: self.problems.load(Relaxed),
            current: self
                .current
                .lock()
                .map(|current| crate::escape_path(&current))
                .unwrap_or_default(),
            waits: self.waits.lock().map(|waits| waits.clone()).unwrap_or_default(),
        }
    }
}

/// The counters at one moment, as they travel to the server and to people.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    Default,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[cbor(map)]
pub struct ProgressSnapshot {
    #[n(0)]
    #[cbor(default)]
    pub files_done: u64,
    #[n(1)]
    #[cbor(default)]
    pub dirs_done: u64,
    #[n(2)]
    #[cbor(default)]
    pub bytes_done: u64,
    #[n(3)]
    #[cbor(default)]
    pub files_expected: u64,
    #[n(4)]
    #[cbor(default)]
    pub bytes_expected: u64,
    #[n(5)]
    #[cbor(default)]
    pub bytes_read: u64,
    #[n(6)]
    #[cbor(default)]
    pub bytes_new: u64,
    #[n(7)]
    #[cbor(default)]
    pub bytes_wire: u64,
    #[n(8)]
    #[cbor(default)]
    pub problems: u64,
    /// The file in work, escaped for people.
    #[n(9)]
    #[cbor(default)]
    pub current: String,
    /// What it waits for, a sentence; empty while it does not wait.
    #[n(10)]
    #[cbor(default)]
    #[serde(default)]
    pub waits: String,
}
