//! The calls of one session that a listener works on: found by their number, dropped with the
//! session, and counted with the memory that their requests hold.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinSet};

/// Calls in work.
#[derive(Default)]
pub(super) struct Calls {
    tasks: JoinSet<()>,
    open: HashMap<u64, AbortHandle>,
    known: HashMap<Id, Known>,
    bytes: usize,
}

struct Known {
    id: u64,
    bytes: usize,
}

impl Calls {
    /// Works on call `id`, whose request has so many bytes.
    pub(super) fn spawn(
        &mut self,
        id: u64,
        bytes: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(work);
        self.bytes += bytes;
        self.known.insert(handle.id(), Known { id, bytes });
        self.open.insert(id, handle);
    }

    /// Waits for the next call to end; the number of the call if its handler panicked. `None` when
    /// there is no call.
    pub(super) async fn ended(&mut self) -> Option<Option<u64>> {
        let (task, panicked) = match self.tasks.join_next_with_id().await? {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(Known { id, bytes }) = self.known.remove(&task) else { return Some(None) };
        self.bytes -= bytes;
        // The number may have been used again after the call was forgotten.
        if self.open.get(&id).is_some_and(|handle| handle.id() == task) {
            self.open.remove(&id);
        }
        Some(panicked.then_some(id))
    }

    /// Drops the work on a call; nobody waits for its answer.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(call) = self.open.remove(&id) {
            call.abort();
        }
    }

    /// Drops all work.
    pub(super) fn drop_all(&mut self) {
        self.tasks.abort_all();
    }

    /// Is a call with this number in work?
    pub(super) fn has(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// Calls that have not ended, forgotten ones included.
    pub(super) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Bytes of their requests.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
