//! Which segments of a session were acknowledged, and how much of the ticket's limit is used.

use std::collections::{BTreeSet, HashSet};

use parking_lot::{Condvar, Mutex};
use simsim_model::{Kind, SessionError};

/// Numbers that may be acknowledged ahead of a gap.
const AHEAD_MAX: usize = 65_536;

#[derive(Default)]
struct Book {
    /// All numbers below are acknowledged.
    floor: u64,
    /// Acknowledged numbers above the floor.
    ahead: BTreeSet<u64>,
    in_hand: HashSet<u64>,
    bytes: u64,
}

impl Book {
    fn has(&self, number: u64) -> bool {
        number < self.floor || self.ahead.contains(&number)
    }
}

/// The book of puts. A number is handed on to one caller at a time, and to nobody once it was
/// acknowledged.
#[derive(Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    changed: Condvar,
}

impl Ledger {
    /// Runs `put` unless the number was acknowledged before. `bytes_max` 0 means no limit.
    pub fn once(
        &self,
        number: u64,
        bytes: u64,
        bytes_max: u64,
        put: impl FnOnce() -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let mut book = self.book.lock();
        while book.in_hand.contains(&number) {
            self.changed.wait(&mut book);
        }
        if book.has(number) {
            return Ok(());
        }
        if bytes_max > 0 && book.bytes.saturating_add(bytes) > bytes_max {
            let used = book.bytes;
            return Err(SessionError::new(
                Kind::Denied,
                format!(
                    "the ticket allows {bytes_max} bytes: {used} are used and segment {number} has {bytes}; raise the limit of the task"
                ),
            ));
        }
        if book.ahead.len() >= AHEAD_MAX {
            let floor = book.floor;
            return Err(SessionError::new(
                Kind::Invalid,
                format!("segment {number} is too far ahead: segment {floor} is still missing"),
            ));
        }
        book.bytes += bytes;
        book.in_hand.insert(number);
        drop(book);
        let in_hand = InHand { ledger: self, number, bytes, done: false };
        put()?;
        in_hand.acknowledge();
        Ok(())
    }
}

/// A put under way; dropped without an acknowledgement (error or panic) it is as if never begun.
struct InHand<'l> {
    ledger: &'l Ledger,
    number: u64,
    bytes: u64,
    done: bool,
}

impl InHand<'_> {
    fn acknowledge(mut self) {
        self.done = true;
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut book = self.ledger.book.lock();
        book.in_hand.remove(&self.number);
        if self.done {
            book.ahead.insert(self.number);
            while let Some(first) = book.ahead.first().copied().filter(|n| *n == book.floor) {
                book.ahead.remove(&first);
                book.floor += 1;
            }
        } else {
            book.bytes -= self.bytes;
        }
        self.ledger.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_handed_on_once_and_the_limit_counts_it_once() {
        let ledger = Ledger::default();
        let mut calls = 0;
        for number in [2, 0, 1, 2, 0] {
            ledger
                .once(number, 10, 30, || {
                    calls += 1;
                    Ok(())
                })
                .expect("within the limit");
        }
        assert_eq!(calls, 3);
        let refused = ledger.once(3, 1, 30, || Ok(())).expect_err("one byte too many");
        assert_eq!(refused.kind, Kind::Denied);
    }

    #[test]
    fn a_put_that_failed_may_come_again_and_gives_its_bytes_back() {
        let ledger = Ledger::default();
        let fault = SessionError::new(Kind::Full, "no room");
        assert_eq!(ledger.once(0, 30, 30, || Err(fault.clone())), Err(fault));
        assert_eq!(ledger.once(0, 30, 30, || Ok(())), Ok(()));
    }
}
