//! How fast it goes now, and how long it will take.

use std::time::Duration;

/// Older measurements fade within about this time.
const MEMORY: f64 = 6.0;

/// Rates from the counters of successive events. The first one is only a starting point: a job that
/// ran for an hour before is not thought to have done everything in the first second.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<(i64, u64)>,
    bytes_per_second: Option<f64>,
}

impl Pace {
    /// Takes in what was done at an instant of the server's clock.
    pub fn take(&mut self, at_unix_ms: i64, bytes_done: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((at_unix_ms, bytes_done));
            return;
        };
        let seconds = (at_unix_ms - then) as f64 / 1000.0;
        if seconds < 0.05 {
            return;
        }
        self.last = Some((at_unix_ms, bytes_done));
        // Counters of an attempt that begins anew go back.
        let now = bytes_done.saturating_sub(before) as f64 / seconds;
        let weight = 1.0 - (-seconds / MEMORY).exp();
        self.bytes_per_second = Some(match self.bytes_per_second {
            Some(rate) => rate + (now - rate) * weight,
            None => now,
        });
    }

    /// Bytes a second, once two events were seen.
    pub fn rate(&self) -> Option<u64> {
        self.bytes_per_second.map(|rate| rate as u64)
    }

    /// Time until so many bytes more are done; `None` where nobody can tell.
    pub fn left(&self, bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_second.filter(|rate| *rate >= 1.0)?;
        let seconds = bytes as f64 / rate;
        (seconds < 30.0 * 86_400.0).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_attaches_late_sees_the_true_rate() {
        let mut pace = Pace::default();
        pace.take(1_000_000, 500_000_000_000);
        assert_eq!((pace.rate(), pace.left(1)), (None, None), "one event is no rate");
        for second in 1..=4 {
            pace.take(1_000_000 + second * 1000, 500_000_000_000 + second as u64 * 10_000_000);
        }
        assert_eq!(pace.rate(), Some(10_000_000));
        assert_eq!(pace.left(100_000_000), Some(Duration::from_secs(10)));
        // It stands still: the rate fades, and then nothing is promised.
        for second in 5..200 {
            pace.take(1_000_000 + second * 1000, 500_040_000_000);
        }
        assert!(pace.rate().unwrap() < 10);
        assert_eq!(pace.left(1_000_000_000_000), None);
        // Clocks that jump and counters that go back do no harm.
        pace.take(0, 0);
        pace.take(5_000_000, 1);
    }
}
