//! How the last days went, for pictures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks how the last days went.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrendsRequest {
    /// Today and the days before it; 0: 30. At most 366.
    pub days: u32,
}

/// The last days, and what there is in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trends {
    /// Every one of them, the oldest first.
    pub days: Vec<DayView>,
    /// Savesets that are there.
    pub savesets: u64,
    /// What they hold, without deduplication and compression.
    pub bytes: u64,
    /// What of it was new to its datastore.
    pub bytes_new: u64,
    /// What that takes.
    pub bytes_stored: u64,
}

/// One day by the Server's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DayView {
    /// Such as `2026-03-29`.
    pub date: String,
    pub begin_unix_ms: i64,
    pub end_unix_ms: i64,
    /// Jobs that ended on it.
    pub finished: u64,
    pub finished_with_errors: u64,
    pub failed: u64,
    pub interrupted: u64,
    pub cancelled: u64,
    /// Savesets that were made on it, and what they added.
    pub savesets: u64,
    pub bytes: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
}
