//! An instant as files carry it.

/// Seconds since 1970-01-01 UTC, and nanoseconds. Before 1970 the seconds are negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    pub seconds: i64,
    /// 0 ..= 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    pub const NANOS_MAX: u32 = 999_999_999;

    pub const fn new(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos }
    }

    /// Nanoseconds since 1970; saturates in the years 1677 and 2262.
    pub fn unix_nanos(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanos))
    }

    pub fn from_unix_nanos(nanos: i64) -> Self {
        Self {
            seconds: nanos.div_euclid(1_000_000_000),
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
        }
    }
}
