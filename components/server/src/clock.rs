//! The Server's clock. Instants in the catalog are for people; nothing is ordered or deleted by
//! them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; negative before.
pub(crate) fn now_unix_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}
