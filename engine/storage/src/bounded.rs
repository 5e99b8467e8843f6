//! A storage whose calls end in time, whatever the medium does (PWR09).
//!
//! A call to a mount whose server is gone may never come back, and nothing can end the thread that
//! made it. So each call is made by a helper thread, and the caller waits for it no longer than a
//! limit. A call that is given up on is answered with [`StorageError::Silent`]; its helper goes on
//! waiting alone. While it does, every further call is refused at once, so that no more threads are
//! lost to the same medium than called it at that moment. When it comes back, reading goes on; nobody
//! knows what became of what was written, so writing stays refused until the storage is opened anew.
//!
//! To close a file is a call too, and can hang as any other (a network share is flushed then): what
//! has files open is closed by helpers.
//!
//! What it costs: two switches between threads for each call, some ten microseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::StorageError;
use crate::storage::{Lock, Object, ObjectWriter, Objects, Storage};

/// Helpers that wait for work; more end when they have nothing to do.
const IDLE_MAX: usize = 16;
/// Objects of a listing that are asked for at once.
const LISTED_AT_ONCE: usize = 1000;

type Work = Box<dyn FnOnce() + Send>;

/// A way to a helper that waits. Only the list of idle ones and the work on its way hold it, so that
/// helpers end with their storage.
struct Helper(mpsc::Sender<(Work, Helper)>);

/// Calls to `inner` that end within a limit.
pub struct BoundedStorage {
    inner: Held<Arc<dyn Storage>>,
    calls: Calls,
}

impl BoundedStorage {
    /// Opens a storage with `open`, within the limit as well. `place` is for messages.
    pub fn open<S: Storage + 'static>(
        place: impl Into<String>,
        limit: Duration,
        open: impl FnOnce() -> Result<S, StorageError> + Send + 'static,
    ) -> Result<Self, StorageError> {
        let calls = Calls(Arc::new(Shared {
            place: place.into(),
            limit,
            idle: Mutex::default(),
            stuck: AtomicU64::new(0),
            given_up: Mutex::default(),
        }));
        let inner: Arc<dyn Storage> = Arc::new(calls.read("open", "the folder", open)?);
        Ok(Self { inner: calls.hold("the folder", inner), calls })
    }

    fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        call: impl FnOnce(&dyn Storage, &str) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (inner, owned) = (self.inner()?, key.to_owned());
        self.calls.read(action, key, move || call(&*inner, &owned))
    }

    fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        call: impl FnOnce(&dyn Storage, &str) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (inner, owned) = (self.inner()?, key.to_owned());
        self.calls.write(action, key, move || call(&*inner, &owned))
    }

    fn inner(&self) -> Result<Arc<dyn Storage>, StorageError> {
        self.inner.thing.clone().ok_or_else(|| StorageError::Dead { object: self.place() })
    }
}

/// Something that has files open. To close one is a call as well, and may hang: it is closed by a
/// helper, and waited for within the limit.
struct Held<T: Send + 'static> {
    what: &'static str,
    thing: Option<T>,
    calls: Calls,
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(thing) = self.thing.take() else { return };
        if self.calls.0.given_up.lock().is_some() {
            self.calls.let_go(move || drop(thing));
            return;
        }
        // A medium that is silent now is told of by the next call.
        let _ = self.calls.write("close", self.what, move || {
            drop(thing);
            Ok(())
        });
    }
}

/// Makes calls; clones share everything.
#[derive(Clone)]
struct Calls(Arc<Shared>);

struct Shared {
    place: String,
    limit: Duration,
    idle: Mutex<Vec<Helper>>,
    /// Calls that were given up on and have not come back.
    stuck: AtomicU64,
    /// The first call that was given up on: what was done to which object.
    given_up: Mutex<Option<(&'static str, String)>>,
}

impl Calls {
    /// A call that changes nothing.
    fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        object: &str,
        call: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        if self.0.stuck.load(Ordering::Acquire) > 0 {
            return Err(self.refusal());
        }
        self.call(action, object, call)
    }

    /// A call that may change something.
    fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        object: &str,
        call: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        if self.0.given_up.lock().is_some() {
            return Err(self.refusal());
        }
        self.call(action, object, call)
    }

    fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        object: &str,
        call: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let shared = &self.0;
        let (answer, answered) = mpsc::sync_channel(1);
        let waits = Arc::new(Mutex::new(Waits::Yes));
        let (calls, waiting) = (self.clone(), Arc::clone(&waits));
        self.hand_over(Box::new(move || {
            let done = call();
            let mut waiting = waiting.lock();
            if *waiting == Waits::No {
                // What was made is undone as far as dropping it does so.
                drop(done);
                tracing::warn!(place = %calls.0.place, "a storage call came back that nobody waits for any more");
                calls.0.stuck.fetch_sub(1, Ordering::AcqRel);
                return;
            }
            *waiting = Waits::Answered;
            drop(waiting);
            let _ = answer.send(done);
        }))?;
        match answered.recv_timeout(shared.limit) {
            Ok(done) => return done,
            // The helper has died: the call panicked.
            Err(RecvTimeoutError::Disconnected) => {
                let source = std::io::Error::other("its thread ended");
                return Err(StorageError::io(action, object, source));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        {
            let mut waits = waits.lock();
            if *waits == Waits::Yes {
                *waits = Waits::No;
                shared.stuck.fetch_add(1, Ordering::AcqRel);
                shared.given_up.lock().get_or_insert_with(|| (action, object.to_owned()));
                let error = self.silent(action, object);
                tracing::error!(%error, "a storage call is given up on");
                return Err(error);
            }
        }
        // It came at the last moment.
        answered.recv().unwrap_or_else(|_| Err(self.silent(action, object)))
    }

    fn hold<T: Send + 'static>(&self, what: &'static str, thing: T) -> Held<T> {
        Held { what, thing: Some(thing), calls: self.clone() }
    }

    /// Work that nobody waits for.
    fn let_go(&self, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.hand_over(Box::new(work)) {
            tracing::warn!(%error, "an unfinished object stays until the store is opened again");
        }
    }

    fn hand_over(&self, mut work: Work) -> Result<(), StorageError> {
        loop {
            let Some(helper) = self.0.idle.lock().pop() else { break };
            let way = Helper(helper.0.clone());
            match helper.0.send((work, way)) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError((back, _))) => work = back,
            }
        }
        let (way, inbox) = mpsc::channel::<(Work, Helper)>();
        let shared = Arc::downgrade(&self.0);
        let body = move || {
            let (mut work, mut way) = (work, Helper(way));
            loop {
                work();
                {
                    let Some(shared) = shared.upgrade() else { return };
                    let mut idle = shared.idle.lock();
                    if idle.len() >= IDLE_MAX {
                        return;
                    }
                    idle.push(way);
                }
                match inbox.recv() {
                    Ok(next) => (work, way) = next,
                    Err(mpsc::RecvError) => return,
                }
            }
        };
        let started = std::thread::Builder::new().name("storage".into()).spawn(body);
        started.map(drop).map_err(|source| StorageError::io("use", &self.0.place, source))
    }

    fn silent(&self, action: &'static str, object: &str) -> StorageError {
        StorageError::Silent {
            place: self.0.place.clone(),
            action,
            object: object.to_owned(),
            seconds: self.0.limit.as_secs_f64(),
        }
    }

    fn refusal(&self) -> StorageError {
        let given_up = self.0.given_up.lock().clone();
        let (action, object) = given_up.unwrap_or(("use", "it".into()));
        self.silent(action, &object)
    }
}

#[derive(PartialEq, Eq)]
enum Waits {
    Yes,
    No,
    Answered,
}

impl Storage for BoundedStorage {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        let inner = self.write("create", "a new object", |inner, _| inner.create())?;
        Ok(Box::new(BoundedWriter(self.calls.hold("a new object", inner))))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.write("write", key, move |inner, key| inner.put(key, &bytes))
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.write("replace", key, move |inner, key| inner.replace(key, &bytes))
    }

    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        self.read("read", key, |inner, key| inner.get(key))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        self.read("read", key, move |inner, key| inner.get_range(key, offset, length))
    }

    fn read_parts(
        &self,
        key: &str,
        offsets: &[u64],
        length: usize,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        let (offsets, mut room) = (offsets.to_vec(), vec![0; buffer.len()]);
        let read = self.read("read", key, move |inner, key| {
            inner.read_parts(key, &offsets, length, &mut room)?;
            Ok(room)
        })?;
        buffer.copy_from_slice(&read);
        Ok(())
    }

    fn forget(&self, key: &str) {
        let forgotten = self.read("forget", key, |inner, key| {
            inner.forget(key);
            Ok(())
        });
        if let Err(error) = forgotten {
            tracing::warn!(%error, "what is held of an object in memory stays");
        }
    }

    fn size(&self, key: &str) -> Result<u64, StorageError> {
        self.read("look at", key, |inner, key| inner.size(key))
    }

    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        let inner = self.read("list", prefix, |inner, prefix| inner.list(prefix))?;
        Ok(Box::new(Listing {
            prefix: prefix.to_owned(),
            inner: self.calls.hold("a listing", inner),
            ready: Vec::new().into_iter(),
        }))
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.write("delete", key, |inner, key| inner.delete(key))
    }

    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.write("allocate", key, move |inner, key| inner.allocate(key, bytes))
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.read("look at", "its free space", |inner, _| inner.free_bytes())
    }

    fn total_bytes(&self) -> Result<u64, StorageError> {
        self.read("look at", "its size", |inner, _| inner.total_bytes())
    }

    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        let holder = holder.to_owned();
        let lock = self.write("lock", key, move |inner, key| inner.lock(key, &holder))?;
        Ok(Box::new(BoundedLock { _inner: self.calls.hold("a lock", lock) }))
    }

    fn clear_temporary(&self) -> Result<u64, StorageError> {
        self.write("clear", "unfinished objects", |inner, _| inner.clear_temporary())
    }

    fn place(&self) -> String {
        self.calls.0.place.clone()
    }

    fn closed_because(&self) -> Option<String> {
        let given_up = self.calls.0.given_up.lock().is_some();
        let inner = self.inner.thing.as_ref();
        given_up
            .then(|| self.calls.refusal().to_string())
            .or_else(|| inner.and_then(|inner| inner.closed_because()))
    }
}

/// A lock that is given up within the limit.
struct BoundedLock {
    _inner: Held<Box<dyn Lock>>,
}

impl Lock for BoundedLock {}

/// The inner writer is where the work is: with a helper while it writes.
struct BoundedWriter(Held<Box<dyn ObjectWriter>>);

impl BoundedWriter {
    fn take(&mut self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        self.0.thing.take().ok_or_else(|| StorageError::Dead { object: "the new object".into() })
    }
}

impl ObjectWriter for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.write_bytes(Bytes::copy_from_slice(bytes))
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let mut inner = self.take()?;
        let (inner, written) = self.0.calls.write("write", "a new object", move || {
            let written = inner.write_bytes(bytes);
            Ok((inner, written))
        })?;
        self.0.thing = Some(inner);
        written
    }

    fn finish(mut self: Box<Self>, key: &str) -> Result<(), StorageError> {
        let (inner, owned) = (self.take()?, key.to_owned());
        self.0.calls.write("finish", key, move || inner.finish(&owned))
    }
}

/// A listing, many objects at a time.
struct Listing {
    prefix: String,
    inner: Held<Objects>,
    ready: std::vec::IntoIter<Result<Object, StorageError>>,
}

impl Iterator for Listing {
    type Item = Result<Object, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(object) = self.ready.next() {
            return Some(object);
        }
        let mut inner = self.inner.thing.take()?;
        let listed = self.inner.calls.read("list", &self.prefix, move || {
            let some: Vec<_> = inner.by_ref().take(LISTED_AT_ONCE).collect();
            // What is at its end is closed here.
            let inner = (some.len() == LISTED_AT_ONCE).then_some(inner);
            Ok((some, inner))
        });
        match listed {
            Ok((some, inner)) => {
                self.inner.thing = inner;
                self.ready = some.into_iter();
                self.ready.next()
            }
            Err(error) => Some(Err(error)),
        }
    }
}
