//! How fast it goes now, and how long it will take.

use std::time::Duration;

use simsim_model::ProgressSnapshot;

/// Older measurements fade within about this time.
const MEMORY: f64 = 6.0;

/// Rates from the counters of successive events. The first one is only a starting point: a job that
/// ran for an hour before is not thought to have done everything in the first second.
///
/// Two counters are watched, and the faster one counts: what is done stands still while a large file
/// is read, and what is read while unchanged files are passed.
#[derive(Debug, Default)]
pub struct Pace {
    done: Track,
    moved: Track,
}

#[derive(Debug, Default)]
struct Track {
    last: Option<(i64, u64)>,
    bytes_per_second: Option<f64>,
}

impl Pace {
    /// Takes in the counters of an instant of the server's clock.
    pub fn take(&mut self, at_unix_ms: i64, now: &ProgressSnapshot) {
        self.done.take(at_unix_ms, now.bytes_done);
        self.moved.take(at_unix_ms, now.bytes_read);
    }

    fn bytes_per_second(&self) -> Option<f64> {
        let (done, moved) = (self.done.bytes_per_second?, self.moved.bytes_per_second?);
        Some(done.max(moved))
    }

    /// Bytes a second, once two events were seen.
    pub fn rate(&self) -> Option<u64> {
        self.bytes_per_second().map(|rate| rate as u64)
    }

    /// Time until so many bytes more are done; `None` where nobody can tell.
    pub fn left(&self, bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_second().filter(|rate| *rate >= 1.0)?;
        let seconds = bytes as f64 / rate;
        (seconds < 30.0 * 86_400.0).then(|| Duration::from_secs_f64(seconds))
    }
}

impl Track {
    fn take(&mut self, at_unix_ms: i64, bytes: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((at_unix_ms, bytes));
            return;
        };
        let seconds = (at_unix_ms - then) as f64 / 1000.0;
        if seconds < 0.05 {
            return;
        }
        self.last = Some((at_unix_ms, bytes));
        // Counters of an attempt that begins anew go back.
        let now = bytes.saturating_sub(before) as f64 / seconds;
        let weight = 1.0 - (-seconds / MEMORY).exp();
        self.bytes_per_second = Some(match self.bytes_per_second {
            Some(rate) => rate + (now - rate) * weight,
            None => now,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(done: u64, read: u64) -> ProgressSnapshot {
        ProgressSnapshot { bytes_done: done, bytes_read: read, ..ProgressSnapshot::default() }
    }

    #[test]
    fn who_attaches_late_sees_the_true_rate() {
        let mut pace = Pace::default();
        pace.take(1_000_000, &counters(500_000_000_000, 0));
        assert_eq!((pace.rate(), pace.left(1)), (None, None), "one event is no rate");
        for second in 1..=4 {
            let done = 500_000_000_000 + second as u64 * 10_000_000;
            pace.take(1_000_000 + second * 1000, &counters(done, 0));
        }
        assert_eq!(pace.rate(), Some(10_000_000));
        assert_eq!(pace.left(100_000_000), Some(Duration::from_secs(10)));
        // It stands still: the rate fades, and then nothing is promised.
        for second in 5..200 {
            pace.take(1_000_000 + second * 1000, &counters(500_040_000_000, 0));
        }
        assert!(pace.rate().unwrap() < 10);
        assert_eq!(pace.left(1_000_000_000_000), None);
        // Clocks that jump and counters that go back do no harm.
        pace.take(0, &counters(0, 0));
        pace.take(5_000_000, &counters(1, 0));
    }

    #[test]
    fn a_large_file_that_is_being_read_has_a_rate() {
        let mut pace = Pace::default();
        for second in 0..4 {
            pace.take(second * 1000, &counters(7, second as u64 * 5_000_000));
        }
        assert_eq!(pace.rate(), Some(5_000_000));
    }
}
