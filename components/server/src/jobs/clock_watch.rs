//! Notices a wall clock that jumps beside the one that only goes on.

use std::time::Instant;

use simsim_schedule::CLOCK_STEADY_S;

/// Both clocks as of the last look.
pub(crate) struct ClockWatch {
    steady: Instant,
    wall_unix_ms: i64,
}

impl ClockWatch {
    pub(crate) fn begin(wall_unix_ms: i64) -> Self {
        Self { steady: Instant::now(), wall_unix_ms }
    }

    /// By how much the wall clock went otherwise than time did since the last look, where that is a jump.
    pub(crate) fn jump(&mut self, wall_unix_ms: i64) -> Option<i64> {
        let passed = i64::try_from(self.steady.elapsed().as_millis()).unwrap_or(i64::MAX);
        let jump = wall_unix_ms.saturating_sub(self.wall_unix_ms).saturating_sub(passed);
        *self = Self::begin(wall_unix_ms);
        (jump.abs() > CLOCK_STEADY_S * 1000).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_goes_otherwise_than_time_has_jumped() {
        let ten_years = 10 * 365 * 86_400_000_i64;
        let mut watch = ClockWatch::begin(1_000);
        assert_eq!(watch.jump(2_000), None, "a second is no jump");
        let ahead = watch.jump(2_000 + ten_years).unwrap();
        assert!((ten_years - 1_000..=ten_years).contains(&ahead), "{ahead}");
        let back = watch.jump(2_000).unwrap();
        assert!((-ten_years - 1_000..=-ten_years).contains(&back), "{back}");
    }
}
