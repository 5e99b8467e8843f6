//! The range of ports for data connections, and who waits for a pair of it.
//!
//! A transfer takes two ports. While all pairs are taken the next transfer waits, in the order of
//! arrival; one that was at work when its line broke comes before those that have not begun. A pair
//! comes back when whoever has it drops it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use simsim_model::port_registry::{FTP_DATA, PortSet};
use tokio::sync::oneshot;

/// A range that gives no transfer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the FTP data ports {first}-{last}: two ports are needed for each transfer, so write an even number of ports, \
     such as {}-{}", .example.0, .example.1
)]
pub struct DataPortsError {
    first: u16,
    last: u16,
    example: (u16, u16),
}

/// The pairs of ports of one host. Clones are the same.
#[derive(Clone)]
pub struct DataPorts {
    shared: Arc<Shared>,
}

struct Shared {
    range: (u16, u16),
    pairs: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    free: VecDeque<(u16, u16)>,
    next: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    /// Its line broke while it was at work.
    resumes: bool,
    ready: oneshot::Sender<Pair>,
}

/// Two ports, for as long as this lives.
pub struct Pair {
    /// Gone once they are back.
    ports: Option<DataPorts>,
    first: u16,
    second: u16,
}

/// A place in the line of those who wait; given up when dropped.
pub(crate) struct Place {
    ports: DataPorts,
    number: u64,
    ready: oneshot::Receiver<Pair>,
}

impl fmt::Debug for DataPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataPorts({}-{})", self.shared.range.0, self.shared.range.1)
    }
}

impl Default for DataPorts {
    /// The range of the port registry.
    fn default() -> Self {
        let range = match FTP_DATA.ports {
            PortSet::Range(first, last) => (first, last),
            PortSet::One(first) | PortSet::PerDrive(first) => (first, first.saturating_add(1)),
        };
        Self::of(range, pairs(range))
    }
}

impl DataPorts {
    /// The ports from `first` to `last`, both included: n pairs of 2n ports.
    ///
    /// # Errors
    /// When they are not an even number, or port 0 is among them.
    pub fn new(first: u16, last: u16) -> Result<Self, DataPortsError> {
        let count = u32::from(last) + 1 - u32::from(first.min(last));
        if first == 0 || last < first || !count.is_multiple_of(2) {
            let start = first.clamp(1, u16::MAX - 6);
            return Err(DataPortsError { first, last, example: (start, start + 5) });
        }
        Ok(Self::of((first, last), pairs((first, last))))
    }

    /// Pairs of whatever ports are free when they are needed, where no firewall asks which.
    pub fn any(pairs: usize) -> Self {
        Self::of((0, 0), (0..pairs).map(|_| (0, 0)).collect())
    }

    fn of(range: (u16, u16), free: VecDeque<(u16, u16)>) -> Self {
        let pairs = free.len();
        let queue = Mutex::new(Queue { free, ..Queue::default() });
        Self { shared: Arc::new(Shared { range, pairs, queue }) }
    }

    /// First and last port.
    pub fn range(&self) -> (u16, u16) {
        self.shared.range
    }

    /// Transfers at the same time.
    pub fn pairs(&self) -> usize {
        self.shared.pairs
    }

    /// Transfers that wait now.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().waiting.len()
    }

    /// Stands in line for a pair.
    pub(crate) fn stand_in_line(&self, resumes: bool) -> Place {
        let (ready, come) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        let number = queue.next;
        queue.next += 1;
        let place = match resumes {
            true => queue.waiting.iter().filter(|one| one.resumes).count(),
            false => queue.waiting.len(),
        };
        queue.waiting.insert(place, Waiting { number, resumes, ready });
        drop(queue);
        self.hand_out();
        Place { ports: self.clone(), number, ready: come }
    }

    fn hand_out(&self) {
        loop {
            let mut queue = self.shared.queue.lock();
            if queue.waiting.is_empty() {
                return;
            }
            let Some((first, second)) = queue.free.pop_front() else { return };
            let next = queue.waiting.pop_front();
            drop(queue);
            let pair = Pair { ports: Some(self.clone()), first, second };
            if let Some(next) = next {
                // Whoever went away meanwhile gives it back by dropping it, to the next.
                if let Err(pair) = next.ready.send(pair) {
                    pair.put_back();
                }
            }
        }
    }
}

fn pairs((first, last): (u16, u16)) -> VecDeque<(u16, u16)> {
    let ports: Vec<u16> = (first..=last).collect();
    ports
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [first, second] => Some((*first, *second)),
            _ => None,
        })
        .collect()
}

impl Place {
    /// Waits for the pair. May be given up and called again.
    pub(crate) async fn turn(&mut self) -> Pair {
        match (&mut self.ready).await {
            Ok(pair) => pair,
            // The queue is older than all who stand in it.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many stand before this one.
    pub(crate) fn before(&self) -> usize {
        let queue = self.ports.shared.queue.lock();
        queue.waiting.iter().take_while(|one| one.number != self.number).count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ports.shared.queue.lock().waiting.retain(|one| one.number != self.number);
    }
}

impl Pair {
    pub(crate) fn first(&self) -> u16 {
        self.first
    }

    pub(crate) fn second(&self) -> u16 {
        self.second
    }

    /// Back into the range without waking anybody: the caller goes on handing out.
    fn put_back(mut self) {
        if let Some(ports) = self.ports.take() {
            ports.shared.queue.lock().free.push_back((self.first, self.second));
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(ports) = self.ports.take() {
            ports.shared.queue.lock().free.push_back((self.first, self.second));
            ports.hand_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn now(place: &mut Place) -> Option<Pair> {
        tokio::time::timeout(Duration::from_millis(20), place.turn()).await.ok()
    }

    #[tokio::test]
    async fn pairs_are_handed_out_in_order_and_those_who_resume_come_first() {
        let ports = DataPorts::new(7, 10).unwrap();
        assert_eq!((ports.range(), ports.pairs()), ((7, 10), 2));
        let (mut a, mut b) = (ports.stand_in_line(false), ports.stand_in_line(false));
        let (first, second) = (now(&mut a).await.unwrap(), now(&mut b).await.unwrap());
        assert_eq!((first.first(), first.second(), second.first()), (7, 8, 9));
        let mut c = ports.stand_in_line(false);
        let gone = ports.stand_in_line(false);
        let mut d = ports.stand_in_line(false);
        let mut resumed = ports.stand_in_line(true);
        let mut later = ports.stand_in_line(true);
        let before = [&resumed, &later, &c, &gone, &d].map(Place::before);
        assert_eq!(before, [0, 1, 2, 3, 4]);
        assert!(now(&mut c).await.is_none() && now(&mut resumed).await.is_none());
        drop(gone);
        assert_eq!((d.before(), ports.waiting()), (3, 4));
        drop(second);
        let pair = now(&mut resumed).await.unwrap();
        assert!(now(&mut c).await.is_none());
        drop(first);
        let second = now(&mut later).await.unwrap();
        drop(pair);
        let third = now(&mut c).await.unwrap();
        drop((second, third));
        assert!(now(&mut d).await.is_some());
    }

    #[tokio::test]
    async fn a_pair_for_somebody_who_went_away_goes_to_the_next() {
        let ports = DataPorts::any(1);
        let mut first = ports.stand_in_line(false);
        let pair = now(&mut first).await.unwrap();
        let gone = ports.stand_in_line(false);
        let mut next = ports.stand_in_line(false);
        // Handed out, and never taken.
        drop(pair);
        assert!(now(&mut next).await.is_none());
        drop(gone);
        assert!(now(&mut next).await.is_some());
    }

    #[test]
    fn a_range_has_an_even_number_of_ports() {
        for (first, last, pairs) in [(1, 2, 1), (7, 12, 3), (65_534, 65_535, 1)] {
            assert_eq!(DataPorts::new(first, last).unwrap().pairs(), pairs);
        }
        for (first, last) in [(0, 1), (7, 7), (7, 9), (9, 7), (65_535, 65_535)] {
            let error = DataPorts::new(first, last).unwrap_err().to_string();
            assert!(error.contains(&format!("{first}-{last}")), "{error}");
        }
        assert!(DataPorts::default().pairs() > 0);
    }
}
