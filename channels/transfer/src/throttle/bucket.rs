//! One limit's bucket: how many bytes were asked for, and how many have been let through.

use std::time::{Duration, Instant};

/// What may go at once after a pause, in time at the rate.
const BURST_S: f64 = 0.25;

pub(super) struct Bucket {
    /// All bytes that places were taken for.
    asked: u64,
    /// Whoever has a place up to here may go.
    through: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: 0, through: 0.0, filled: now }
    }

    /// Lets through what the time since the last look allows; without a rate all that was asked for.
    pub(super) fn fill(&mut self, rate: Option<u64>, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let asked = self.asked as f64;
        self.through = match rate {
            None => asked,
            Some(rate) => {
                let rate = rate as f64;
                (self.through + rate * passed).min(asked + rate * BURST_S)
            }
        };
    }

    /// Takes a place behind all others. A piece may overdraw the bucket; the next one waits for it.
    pub(super) fn queue(&mut self, bytes: u64) -> u64 {
        let place = self.asked;
        self.asked = self.asked.saturating_add(bytes);
        place
    }

    /// How long it takes until a place is let through.
    pub(super) fn wait(&self, place: u64, rate: Option<u64>) -> Duration {
        let missing = place as f64 - self.through;
        match rate {
            Some(rate) if missing > 0.0 => {
                Duration::from_secs_f64((missing / rate.max(1) as f64).clamp(0.001, 3600.0))
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Option<u64> = Some(1_000_000);

    #[test]
    fn the_rate_holds_over_any_time_for_pieces_of_any_size() {
        let begun = Instant::now();
        for piece in [1_000u64, 300_000, 2_000_000] {
            let mut bucket = Bucket::new(begun);
            let (mut now, mut gone) = (begun, 0u64);
            let mut place = bucket.queue(piece);
            while now < begun + Duration::from_secs(100) {
                bucket.fill(RATE, now);
                while bucket.wait(place, RATE).is_zero() {
                    gone += piece;
                    place = bucket.queue(piece);
                }
                now += Duration::from_millis(10);
            }
            // At most the burst and one piece more than the rate.
            let most = 100_000_000 + 250_000 + piece;
            assert!(gone <= most && gone + 2 * piece >= 99_000_000, "{piece}: {gone}");
        }
    }

    #[test]
    fn a_pause_saves_up_no_more_than_the_burst() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(begun);
        bucket.fill(RATE, begun + Duration::from_secs(3600));
        let mut gone = 0;
        while bucket.wait(bucket.asked, RATE).is_zero() {
            bucket.queue(10_000);
            gone += 10_000;
        }
        assert!((250_000..=270_000).contains(&gone), "{gone}");
    }

    #[test]
    fn a_time_without_a_rate_leaves_neither_debt_nor_savings() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(begun);
        bucket.queue(1_000_000_000);
        bucket.fill(None, begun);
        let place = bucket.queue(1);
        assert!(bucket.wait(place, RATE).is_zero());
        let next = bucket.queue(1);
        assert!(!bucket.wait(next, RATE).is_zero());
    }
}
