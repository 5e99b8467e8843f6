//! What is on its way to the device, so that nothing overtakes what it refers to.
//!
//! Whoever takes content out of a buffer to seal it takes a [`Place`] with it, under the lock of that
//! buffer, and gives it up when the device has the segment. Data waits for nobody. Nodes wait for data
//! that was taken before and for nodes that were taken before them: both are on their way by
//! themselves, so nothing can wait in a ring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::MoverError;

/// How often somebody who waits looks whether the job still goes on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Everything under way.
#[derive(Default)]
pub(crate) struct Order {
    book: Mutex<Book>,
    arrived: Condvar,
}

#[derive(Default)]
struct Book {
    next: u64,
    /// Whether it is nodes.
    under_way: BTreeMap<u64, bool>,
}

/// A place in the order; dropped, what had it has arrived or never will.
pub(crate) struct Place {
    order: Arc<Order>,
    number: u64,
}

impl Order {
    pub(crate) fn data(self: &Arc<Self>) -> Place {
        self.enter(false)
    }

    pub(crate) fn nodes(self: &Arc<Self>) -> Place {
        self.enter(true)
    }

    fn enter(self: &Arc<Self>, nodes: bool) -> Place {
        let mut book = self.book.lock();
        let number = book.next;
        book.next += 1;
        book.under_way.insert(number, nodes);
        Place { order: Arc::clone(self), number }
    }
}

impl Place {
    /// Waits until all data that has a place by now and all nodes with an earlier one have arrived.
    /// `check` ends the wait with its error.
    pub(crate) fn until_first(
        &self,
        check: impl Fn() -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        let mut book = self.order.book.lock();
        let now = book.next;
        loop {
            check()?;
            let waits = |(number, nodes): (&u64, &bool)| !nodes || *number < self.number;
            if !book.under_way.range(..now).any(waits) {
                return Ok(());
            }
            self.order.arrived.wait_for(&mut book, LOOK_INTERVAL);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.order.book.lock().under_way.remove(&self.number);
        self.order.arrived.notify_all();
    }
}
