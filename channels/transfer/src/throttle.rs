//! How fast a device's data may go: limits for hosts, for networks and for all.
//!
//! The server tells a device its limits ([`Throttle::set`]): what each counts for, and how many bytes a
//! second it allows from which moment on. Every body of a transfer asks for leave piece by piece
//! ([`Pass::take`]), in both directions. All limits that count for it must agree, so the lowest holds. All
//! transfers that a limit counts for draw from one bucket, so they stay below it together.
//!
//! A bucket is a queue of places: whoever wants to send takes a place behind all bytes that were asked
//! for before, and goes when as many have been let through. So transfers take turns, piece by piece,
//! and none starves. A limit that changes, comes or goes is felt by those who wait, too.
//!
//! Moments are told as times from now and measured with a clock that nobody sets: the clock of the
//! device's wall has no part in it.

mod bucket;
mod subject;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use self::bucket::Bucket;
pub use self::subject::{Party, Subject, SubjectError};

/// How long a wait goes on before the rate of the moment is looked at again.
const LOOK: Duration = Duration::from_millis(250);
/// A piece takes this part of a second at the lowest rate…
const PIECES_PER_S: u64 = 20;
/// …within these bounds.
const PIECE_BYTES_MIN: u64 = 2 << 10;
const PIECE_BYTES_MAX: u64 = 64 << 10;

/// A limit, as a device is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Its number: one that stays keeps its bucket when limits are told anew.
    pub number: u64,
    pub subject: Subject,
    /// In order of time. Before the first nothing is limited; the last holds on.
    pub steps: Vec<RateStep>,
}

/// From when on how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateStep {
    /// Counted from when it is told.
    pub after: Duration,
    /// `None`: unlimited.
    pub bytes_per_s: Option<u64>,
}

/// The limits of a device. Clones are the same.
#[derive(Clone)]
pub struct Throttle {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Mutex<Vec<Arc<Limit>>>,
    /// There is none: nobody waits, nobody looks.
    idle: AtomicBool,
    changed: watch::Sender<()>,
}

struct Limit {
    number: u64,
    subject: Subject,
    steps: Vec<(Instant, Option<u64>)>,
    bucket: Arc<Mutex<Bucket>>,
}

impl Limit {
    fn rate(&self, now: Instant) -> Option<u64> {
        self.steps.iter().rev().find(|(from, _)| *from <= now)?.1
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                limits: Mutex::default(),
                idle: AtomicBool::new(true),
                changed: watch::Sender::new(()),
            }),
        }
    }
}

impl Throttle {
    /// Puts these limits in the place of those before. Transfers under way follow at once.
    pub fn set(&self, told: Vec<RateLimit>) {
        let now = Instant::now();
        let mut limits = self.shared.limits.lock();
        let before = std::mem::take(&mut *limits);
        for RateLimit { number, subject, steps } in told {
            let steps = steps.iter().map(|step| (now + step.after, step.bytes_per_s)).collect();
            let kept = before.iter().find(|limit| limit.number == number);
            let kept = kept.map(|limit| Arc::clone(&limit.bucket));
            let bucket = kept.unwrap_or_else(|| Arc::new(Mutex::new(Bucket::new(now))));
            limits.push(Arc::new(Limit { number, subject, steps, bucket }));
        }
        self.shared.idle.store(limits.is_empty(), Ordering::Release);
        drop(limits);
        self.shared.changed.send_replace(());
    }

    /// Leave for the data of a transfer between these hosts, whose other end is seen at `from`.
    pub fn pass(&self, mut party: Party, from: IpAddr) -> Pass {
        party.addresses.push(from);
        Pass { shared: Arc::clone(&self.shared), party: Arc::new(party) }
    }
}

/// The leave of one transfer to send and to receive. Clones stand in the same queues.
#[derive(Clone)]
pub struct Pass {
    shared: Arc<Shared>,
    party: Arc<Party>,
}

/// Whoever does not want to wait any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaveUp;

impl Pass {
    fn limits(&self) -> Vec<Arc<Limit>> {
        if self.shared.idle.load(Ordering::Acquire) {
            return Vec::new();
        }
        let limits = self.shared.limits.lock();
        limits.iter().filter(|limit| limit.subject.counts_for(&self.party)).cloned().collect()
    }

    /// Bytes a second that are allowed now; `None`: any number.
    pub fn rate(&self) -> Option<u64> {
        let now = Instant::now();
        self.limits().iter().filter_map(|limit| limit.rate(now)).min()
    }

    /// How many bytes to ask for at once at most, so that pieces come often; `None`: any number.
    pub fn piece_bytes(&self) -> Option<usize> {
        let piece = (self.rate()? / PIECES_PER_S).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
        usize::try_from(piece).ok()
    }

    /// Waits until so many bytes may go. Dropped before, it has used its place up all the same.
    pub async fn take(&self, bytes: usize) {
        let mut changed = None;
        let mut places: Vec<(Arc<Mutex<Bucket>>, u64)> = Vec::new();
        loop {
            let limits = self.limits();
            let now = Instant::now();
            let mut wait = Duration::ZERO;
            for limit in &limits {
                let mut bucket = limit.bucket.lock();
                let rate = limit.rate(now);
                bucket.fill(rate, now);
                let known = places.iter().find(|(of, _)| Arc::ptr_eq(of, &limit.bucket));
                let place = match known {
                    Some((_, place)) => *place,
                    None => {
                        let place = bucket.queue(bytes as u64);
                        places.push((Arc::clone(&limit.bucket), place));
                        place
                    }
                };
                // Looked at again: what was taken just now may go at once where there is no rate.
                bucket.fill(rate, now);
                wait = wait.max(bucket.wait(place, rate));
            }
            if wait.is_zero() {
                return;
            }
            let changed = changed.get_or_insert_with(|| self.shared.changed.subscribe());
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK)) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Waits until so many bytes may go, piece by piece. `alive` is told of each piece, and of none
    /// (0) each second while it waits; where it says no, the wait is over.
    pub async fn hold(
        &self,
        bytes: usize,
        mut alive: impl FnMut(usize) -> bool,
    ) -> Result<(), GaveUp> {
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(self.piece_bytes().unwrap_or(left));
            let mut take = std::pin::pin!(self.take(piece));
            while tokio::time::timeout(Duration::from_secs(1), &mut take).await.is_err() {
                if !alive(0) {
                    return Err(GaveUp);
                }
            }
            if !alive(piece) {
                return Err(GaveUp);
            }
            left -= piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(number: u64, subject: &str, bytes_per_s: u64) -> RateLimit {
        let step = RateStep { after: Duration::ZERO, bytes_per_s: Some(bytes_per_s) };
        RateLimit { number, subject: subject.parse().unwrap(), steps: vec![step] }
    }

    fn pass(throttle: &Throttle, host: &str, from: &str) -> Pass {
        let party = Party { hosts: vec![host.to_owned()], addresses: Vec::new() };
        throttle.pass(party, from.parse().unwrap())
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    async fn taken(pass: &Pass, bytes: usize) -> Duration {
        let begun = Instant::now();
        pass.hold(bytes, |_| true).await.unwrap();
        begun.elapsed()
    }

    /// What 250 ms of saved rate let through at once does not count.
    fn least(bytes: u64, rate: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / rate as f64 - 0.25 - 0.05)
    }

    #[test]
    fn two_of_one_host_stay_below_its_limit_together_and_others_are_free() {
        run(async {
            let throttle = Throttle::default();
            throttle.set(vec![limit(1, "host web", 100_000)]);
            let (one, two) = (pass(&throttle, "web", "::1"), pass(&throttle, "web", "::1"));
            let begun = Instant::now();
            let (first, second) = tokio::join!(taken(&one, 50_000), taken(&two, 50_000));
            assert!(begun.elapsed() >= least(100_000, 100_000), "{:?}", begun.elapsed());
            // They take turns: neither is through long before the other.
            let apart = first.abs_diff(second);
            assert!(apart < begun.elapsed() / 2, "{first:?} {second:?}");
            let other = pass(&throttle, "db", "::1");
            assert_eq!(other.rate(), None);
            other.take(usize::MAX / 2).await;
        });
    }

    #[test]
    fn the_lowest_of_all_that_count_holds() {
        run(async {
            let throttle = Throttle::default();
            throttle.set(vec![
                limit(1, "all", 1_000_000),
                limit(2, "network 10.2.0.0/16", 50_000),
                limit(3, "host web", 200_000),
            ]);
            let inside = pass(&throttle, "web", "10.2.3.4");
            assert_eq!(inside.rate(), Some(50_000));
            assert_eq!(pass(&throttle, "web", "10.3.3.4").rate(), Some(200_000));
            assert_eq!(pass(&throttle, "db", "10.3.3.4").rate(), Some(1_000_000));
            // One that the server knows at an address in the network, and that comes from elsewhere.
            let party = Party { hosts: Vec::new(), addresses: vec!["10.2.9.9".parse().unwrap()] };
            assert_eq!(throttle.pass(party, "::1".parse().unwrap()).rate(), Some(50_000));
            let time = taken(&inside, 50_000).await;
            assert!(time >= least(50_000, 50_000), "{time:?}");
        });
    }

    #[test]
    fn a_slow_one_does_not_hold_up_those_beside_it() {
        run(async {
            let throttle = Throttle::default();
            throttle.set(vec![limit(1, "all", 100_000_000), limit(2, "host web", 10_000)]);
            let (slow, quick) = (pass(&throttle, "web", "::1"), pass(&throttle, "db", "::1"));
            slow.take(1_000_000).await;
            tokio::select! {
                () = slow.take(10) => panic!("100 s of debt are not paid"),
                time = taken(&quick, 1_000_000) => assert!(time < Duration::from_secs(5), "{time:?}"),
            }
        });
    }

    #[test]
    fn a_limit_that_comes_or_goes_is_felt_by_those_who_wait() {
        run(async {
            let throttle = Throttle::default();
            throttle.set(vec![limit(7, "all", 10_000)]);
            let one = pass(&throttle, "web", "::1");
            one.take(100_000_000).await;
            let mut waits = std::pin::pin!(one.take(1));
            let slow = tokio::time::timeout(Duration::from_millis(300), &mut waits).await;
            assert!(slow.is_err(), "10,000 s of debt are not paid");
            throttle.set(Vec::new());
            waits.await;
            // And back: the same number again, with what it had.
            throttle.set(vec![limit(8, "all", 10_000)]);
            assert_eq!(one.rate(), Some(10_000));
            one.take(1_000_000).await;
            let slow = tokio::time::timeout(Duration::from_millis(300), one.take(1)).await;
            assert!(slow.is_err());
        });
    }

    #[test]
    fn a_step_counts_from_its_moment_on_and_the_last_holds() {
        run(async {
            let throttle = Throttle::default();
            let step = |ms, bytes_per_s| RateStep { after: Duration::from_millis(ms), bytes_per_s };
            let subject = Subject::All;
            let steps = vec![step(0, None), step(300, Some(10_000)), step(700, None)];
            throttle.set(vec![RateLimit { number: 1, subject, steps }]);
            let one = pass(&throttle, "web", "::1");
            assert_eq!(one.rate(), None);
            let begun = Instant::now();
            while one.rate().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(20), "its moment never came");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(begun.elapsed() >= Duration::from_millis(250));
            one.take(50_000_000).await;
            // The debt goes with the rate.
            one.take(1).await;
            assert_eq!(one.rate(), None);
        });
    }

    #[test]
    fn whoever_gives_up_does_not_wait() {
        run(async {
            let throttle = Throttle::default();
            throttle.set(vec![limit(1, "all", 10_000)]);
            let one = pass(&throttle, "web", "::1");
            one.take(100_000_000).await;
            let mut asked = 0;
            let held = one
                .hold(10, |_| {
                    asked += 1;
                    asked < 2
                })
                .await;
            assert_eq!((held, asked), (Err(GaveUp), 2));
        });
    }
}
