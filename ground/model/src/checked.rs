//! What a check of a datastore or saveset looked at.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Counts of a check.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Encode,
    Decode,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[cbor(map)]
pub struct Checked {
    /// Whole packs; 0 where only one saveset was checked.
    #[n(0)]
    #[cbor(default)]
    pub packs: u64,
    #[n(1)]
    #[cbor(default)]
    pub segments: u64,
    #[n(2)]
    #[cbor(default)]
    pub chunks: u64,
    #[n(3)]
    #[cbor(default)]
    pub bytes: u64,
    /// Damages that were found.
    #[n(4)]
    #[cbor(default)]
    pub damaged: u64,
}
