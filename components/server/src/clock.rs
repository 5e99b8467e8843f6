//! The Server's clock. Instants in the catalog are for people; nothing is ordered or deleted by
//! them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; negative before. Tests set it otherwise in debug builds.
pub(crate) fn now_unix_ms() -> i64 {
    wall_unix_ms().saturating_add(simsim_model::failpoint::clock_shift_ms())
}

fn wall_unix_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// A time for people, in its largest unit.
pub(crate) fn lasting_ms(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
