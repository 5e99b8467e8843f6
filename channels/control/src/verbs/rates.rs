//! The verb by which a server tells a device how fast data may go.

use minicbor::{Decode, Encode};

/// Limits that one request tells at most, and steps of one limit: so it stays below
/// `limits::CONTROL_MESSAGE_BYTES_MAX`.
pub const RATE_LIMITS_MAX: usize = 100;
pub const RATE_STEPS_MAX: usize = 400;

/// All limits that the device holds from now on, in place of those before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetRates {
    #[n(0)]
    #[cbor(default)]
    pub limits: Vec<RateLimit>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RateLimit {
    #[n(0)]
    pub number: u64,
    /// What it counts for: `all`, `host NAME`, `network 10.2.0.0/16`.
    #[n(1)]
    pub subject: String,
    /// In order of time; the last holds on.
    #[n(2)]
    #[cbor(default)]
    pub steps: Vec<RateStep>,
}

/// From when on how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RateStep {
    /// From when this is told.
    #[n(0)]
    #[cbor(default)]
    pub after_s: u64,
    /// Absent: unlimited.
    #[n(1)]
    pub bytes_per_s: Option<u64>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct SetRatesReply {}
