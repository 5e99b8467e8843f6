//! Listing ahead: background threads list the directories that the consumer will come to.
//!
//! Locking: the queue's lock and a node's lock are never held together. A directory is listed
//! by whoever takes it first, a thread or the consumer itself, so the walk never waits for a
//! thread that has not begun. The stack is in walk order: what comes next lies on top.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::Stat;
use crate::filter::Filter;
use crate::held::HeldDir;
use crate::listing::{Lister, Outcome};
use crate::wanted::Wanted;

/// Listings that wait for the consumer at most.
const DIRS_AHEAD_MAX: usize = 512;
/// Entries in these at most, not counting the one listing that goes past the limit.
const ENTRIES_AHEAD_MAX: usize = 32 * 1024;

/// A directory of the walk.
pub(crate) struct Node {
    pub(crate) dir: Arc<HeldDir>,
    /// From the parent's listing.
    pub(crate) stat: Stat,
    /// A source or inside of one: all children are wanted.
    pub(crate) whole: bool,
    pub(crate) wanted: Arc<Wanted>,
    state: Mutex<State>,
    ready: Condvar,
}

enum State {
    Waiting,
    /// Somebody lists it now.
    Taken,
    Done(Outcome),
}

impl Node {
    pub(crate) fn root(dir: Arc<HeldDir>, stat: Stat, wanted: Arc<Wanted>) -> Arc<Self> {
        Self::new(dir, stat, wanted.whole, wanted)
    }

    pub(crate) fn child(&self, name: &[u8], stat: Stat, wanted: Option<&Arc<Wanted>>) -> Arc<Self> {
        let wanted = wanted.map_or_else(Arc::<Wanted>::default, Arc::clone);
        Self::new(self.dir.child(name), stat, self.whole || wanted.whole, wanted)
    }

    fn new(dir: Arc<HeldDir>, stat: Stat, whole: bool, wanted: Arc<Wanted>) -> Arc<Self> {
        let state = Mutex::new(State::Waiting);
        Arc::new(Self { dir, stat, whole, wanted, state, ready: Condvar::new() })
    }

    fn take(&self) -> bool {
        let mut state = self.state.lock();
        let waiting = matches!(*state, State::Waiting);
        if waiting {
            *state = State::Taken;
        }
        waiting
    }
}

/// The work that threads and consumer share.
pub(crate) struct Ahead {
    filter: Filter,
    queue: Mutex<Queue>,
    more: Condvar,
    /// Without background threads nothing is queued.
    threaded: bool,
}

#[derive(Default)]
struct Queue {
    stack: Vec<Arc<Node>>,
    dirs_ahead: usize,
    entries_ahead: usize,
    closed: bool,
}

impl Ahead {
    pub(crate) fn new(filter: Filter, threaded: bool) -> Arc<Self> {
        let queue = Mutex::new(Queue::default());
        Arc::new(Self { filter, queue, more: Condvar::new(), threaded })
    }

    /// The life of a background thread.
    pub(crate) fn work(&self) {
        let mut lister = Lister::new();
        while let Some(node) = self.pop() {
            if !node.take() {
                continue;
            }
            let outcome = lister.list(&node, &self.filter);
            self.push_children(&outcome, true);
            *node.state.lock() = State::Done(outcome);
            node.ready.notify_one();
        }
    }

    fn pop(&self) -> Option<Arc<Node>> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            let full =
                queue.dirs_ahead >= DIRS_AHEAD_MAX || queue.entries_ahead >= ENTRIES_AHEAD_MAX;
            if !full && let Some(node) = queue.stack.pop() {
                return Some(node);
            }
            self.more.wait(&mut queue);
        }
    }

    fn push_children(&self, outcome: &Outcome, ahead: bool) {
        if !self.threaded {
            return;
        }
        let children = match outcome {
            Outcome::Listed(listing) => listing.children.as_slice(),
            Outcome::Gone(_) => &[],
        };
        let mut queue = self.queue.lock();
        if ahead {
            queue.dirs_ahead += 1;
            queue.entries_ahead += children.len();
        }
        let before = queue.stack.len();
        queue.stack.extend(children.iter().rev().filter_map(|child| child.node.clone()));
        if queue.stack.len() > before {
            self.more.notify_all();
        }
    }

    /// The listing of `node`, for the consumer: from a thread, or made here and now.
    pub(crate) fn listing(&self, node: &Node, lister: &mut Lister) -> Outcome {
        if node.take() {
            let outcome = lister.list(node, &self.filter);
            self.push_children(&outcome, false);
            return outcome;
        }
        let outcome = {
            let mut state = node.state.lock();
            loop {
                match std::mem::replace(&mut *state, State::Taken) {
                    State::Done(outcome) => break outcome,
                    _ => node.ready.wait(&mut state),
                }
            }
        };
        let entries = match &outcome {
            Outcome::Listed(listing) => listing.children.len(),
            Outcome::Gone(_) => 0,
        };
        let mut queue = self.queue.lock();
        let full = queue.dirs_ahead >= DIRS_AHEAD_MAX || queue.entries_ahead >= ENTRIES_AHEAD_MAX;
        queue.dirs_ahead = queue.dirs_ahead.saturating_sub(1);
        queue.entries_ahead = queue.entries_ahead.saturating_sub(entries);
        drop(queue);
        if full {
            self.more.notify_all();
        }
        outcome
    }

    /// Ends the threads after the directory that each of them lists now.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.more.notify_all();
    }
}
