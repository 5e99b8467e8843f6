//! How fast a copy may go: a bucket that fills at the rate of the moment.
//!
//! Bytes may go while the bucket is not empty, and a segment may overdraw it: the next one then
//! waits until the debt is paid. So the rate holds for segments of any size. The clock on the wall is
//! asked which rate counts, and a clock that does not stand still measures the time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use simsim_model::{Progress, Rate};
use simsim_mover::Pace;

/// What may go at once after a pause, in time at the rate.
const BURST: Duration = Duration::from_millis(250);
/// How long a wait goes on before the rate and the wish to cancel are looked at again.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Bucket {
    rates: Vec<Rate>,
    state: Mutex<State>,
}

struct State {
    /// Bytes that may go; below 0: a debt.
    level: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(rates: Vec<Rate>) -> Self {
        Self { rates, state: Mutex::new(State { level: 0.0, filled: Instant::now() }) }
    }

    fn allowed_now(&self) -> Option<u64> {
        let now = jiff::Zoned::now();
        let day = u8::try_from(now.weekday().to_monday_zero_offset()).unwrap_or_default();
        let minute = u16::try_from(now.hour()).unwrap_or_default() * 60
            + u16::try_from(now.minute()).unwrap_or_default();
        Rate::allowed(&self.rates, day, minute)
    }
}

impl State {
    /// Fills the bucket for the time that has passed; takes the bytes if it is not empty.
    fn take(&mut self, bytes: u64, rate: u64, now: Instant) -> bool {
        let rate = rate as f64;
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.level = (self.level + rate * passed).min(rate * BURST.as_secs_f64());
        if self.level < 0.0 {
            return false;
        }
        self.level -= bytes as f64;
        true
    }
}

impl Pace for Bucket {
    fn wait(&self, bytes: u64, progress: &Progress) {
        while !progress.is_cancelled() {
            let Some(rate) = self.allowed_now() else {
                *self.state.lock() = State { level: 0.0, filled: Instant::now() };
                return;
            };
            let mut state = self.state.lock();
            if state.take(bytes, rate, Instant::now()) {
                return;
            }
            let missing = Duration::from_secs_f64((-state.level / rate as f64).clamp(0.001, 60.0));
            drop(state);
            std::thread::sleep(missing.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_any_time_for_segments_of_any_size() {
        let begun = Instant::now();
        for segment in [1_000u64, 300_000, 2_000_000] {
            let mut state = State { level: 0.0, filled: begun };
            let (mut now, mut gone) = (begun, 0u64);
            while now < begun + Duration::from_secs(100) {
                while state.take(segment, 1_000_000, now) {
                    gone += segment;
                }
                now += Duration::from_millis(10);
            }
            // At most the burst and one segment more than the rate.
            let most = 100_000_000 + 250_000 + segment;
            assert!(gone <= most && gone + 2 * segment >= 99_000_000, "{segment}: {gone}");
        }
    }

    #[test]
    fn a_pause_saves_up_no_more_than_the_burst() {
        let begun = Instant::now();
        let mut state = State { level: 0.0, filled: begun };
        let later = begun + Duration::from_secs(3600);
        let mut gone = 0;
        while state.take(10_000, 1_000_000, later) {
            gone += 10_000;
        }
        assert!((250_000..=260_000).contains(&gone), "{gone}");
    }

    #[test]
    fn whoever_cancels_does_not_wait() {
        let bucket = Bucket::new(vec!["10KB/s".parse().unwrap()]);
        let progress = Progress::new();
        bucket.wait(1 << 30, &progress);
        progress.cancel();
        bucket.wait(1 << 30, &progress);
    }
}
