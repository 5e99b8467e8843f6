//! Who is at work in a datastore, and since when.
//!
//! Every session takes the epoch of its opening with it. Garbage collection raises the epoch when it
//! changes what may be relied on, and waits until those that opened before have ended: they decide by
//! what they were told. No clock, no lease and no name of a client plays a part (GC08, GC09): a session is
//! over when it is dropped, and with the process all are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// How often a wait asks whether it is to go on.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// The sessions of one datastore.
#[derive(Default)]
pub(crate) struct Epochs {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    epoch: u64,
    /// Sessions that are open, by the epoch of their opening.
    open: BTreeMap<u64, usize>,
}

/// One session, until the last part of it has dropped this.
pub(crate) struct Presence {
    epochs: Arc<Epochs>,
    epoch: u64,
}

impl Epochs {
    /// A session opens now.
    pub(crate) fn enter(self: &Arc<Self>) -> Arc<Presence> {
        let mut state = self.state.lock();
        let epoch = state.epoch;
        *state.open.entry(epoch).or_default() += 1;
        Arc::new(Presence { epochs: Arc::clone(self), epoch })
    }

    /// Calls `change` with the next epoch, at an instant at which no session opens: those that open
    /// later have that epoch and see what was changed.
    pub(crate) fn raise<T>(&self, change: impl FnOnce(u64) -> T) -> T {
        let mut state = self.state.lock();
        state.epoch += 1;
        change(state.epoch)
    }

    /// Is any session open?
    pub(crate) fn any(&self) -> bool {
        !self.state.lock().open.is_empty()
    }

    /// Waits until every session that opened before `epoch` has ended. `go_on` is told how many there
    /// are, at least ten times a second; false when it answered that it is enough.
    pub(crate) fn wait_for_older(&self, epoch: u64, go_on: &dyn Fn(usize) -> bool) -> bool {
        let mut state = self.state.lock();
        loop {
            let older: usize = state.open.range(..epoch).map(|(_, count)| count).sum();
            if older == 0 {
                return true;
            }
            drop(state);
            if !go_on(older) {
                return false;
            }
            state = self.state.lock();
            if state.open.range(..epoch).next().is_some() {
                self.ended.wait_for(&mut state, ASK_INTERVAL);
            }
        }
    }
}

impl Presence {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut state = self.epochs.state.lock();
        if let Some(count) = state.open.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.epoch);
            }
        }
        drop(state);
        self.epochs.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn gc09_only_sessions_that_opened_before_are_waited_for_however_long_they_take() {
        let epochs = Arc::new(Epochs::default());
        let old = epochs.enter();
        let part = Arc::clone(&old);
        let epoch = epochs.raise(|epoch| epoch);
        let new = epochs.enter();
        assert_eq!((old.epoch(), new.epoch()), (epoch - 1, epoch));
        assert!(!epochs.wait_for_older(epoch, &|older| {
            assert_eq!(older, 1);
            false
        }));
        drop(old);
        let (asked, part) = (Cell::new(0), Cell::new(Some(part)));
        assert!(epochs.wait_for_older(epoch, &|older| {
            assert_eq!(older, 1);
            asked.set(asked.get() + 1);
            if asked.get() == 3 {
                part.take();
            }
            true
        }));
        assert_eq!(asked.get(), 3);
        drop(new);
        assert!(epochs.wait_for_older(u64::MAX, &|_| unreachable!("nobody is there")));
    }
}
