//! Rate limits: how fast data may go, and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds a limit: of a host, of a network, or without either of all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRateRequest {
    /// A host by name: its limit counts for all data that comes from it or goes to it.
    #[serde(default)]
    pub host: Option<String>,
    /// Such as `10.2.0.0/16`.
    #[serde(default)]
    pub network: Option<String>,
    /// Lines such as `mon-fri 08:00-18:00 5MB/s`, by the Server's local time; of several the last
    /// one that is now counts.
    pub rates: Vec<String>,
}

/// Names a limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateRequest {
    pub number: u64,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateView {
    pub number: u64,
    /// `all`, `host NAME`, `network 10.2.0.0/16`.
    pub counts_for: String,
    pub rates: Vec<String>,
    /// Bytes a second that it allows now; `None`: any number.
    pub now_bytes_per_s: Option<u64>,
    /// When that changes next, within a week.
    pub until_unix_ms: Option<i64>,
    pub created_unix_ms: i64,
}

/// All limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RatesView {
    pub rates: Vec<RateView>,
    /// The zone whose clock counts; empty where its name is not known.
    pub time_zone: String,
}

/// A limit that was added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateReply {
    #[serde(flatten)]
    pub rate: RateView,
    /// Devices that could not be told, and why.
    pub untold: Vec<String>,
}

/// The lowest limit that counts for a job now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitedView {
    pub bytes_per_s: u64,
    /// What the limit counts for, as in [`RateView`].
    pub by: String,
    /// Its number.
    pub number: u64,
}
