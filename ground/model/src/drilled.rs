//! What a restore drill came to, as the client that restored tells it.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Lines in [`Drilled::differences`] at most; all are counted.
pub const DIFFERENCES_KEPT_MAX: usize = 100;

/// Counts and times of a restore drill.
#[derive(
    Debug,
    Clone,
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
pub struct Drilled {
    /// Everything but directories that was restored, and its bytes.
    #[n(0)]
    #[cbor(default)]
    pub files: u64,
    #[n(1)]
    #[cbor(default)]
    pub bytes: u64,
    /// The same of the whole saveset.
    #[n(2)]
    #[cbor(default)]
    pub files_of: u64,
    #[n(3)]
    #[cbor(default)]
    pub bytes_of: u64,
    /// Pieces whose names were computed from what lay in the scratch place.
    #[n(4)]
    #[cbor(default)]
    pub chunks: u64,
    /// From the first question to the device until everything was written.
    #[n(5)]
    #[cbor(default)]
    pub restore_ms: u64,
    #[n(6)]
    #[cbor(default)]
    pub compare_ms: u64,
    /// What is not as the saveset says, for people; the first hundred.
    #[n(7)]
    #[cbor(default)]
    pub differences: Vec<String>,
    #[n(8)]
    #[cbor(default)]
    pub differences_total: u64,
    /// Files whose source stands as it was backed up, and was read and compared too.
    #[n(9)]
    #[cbor(default)]
    pub sources_same: u64,
    /// Files whose source was changed or removed since, or may not be read.
    #[n(10)]
    #[cbor(default)]
    pub sources_changed: u64,
    /// Devices, which are not made in a scratch place, and what was not in the saveset to begin with.
    #[n(11)]
    #[cbor(default)]
    pub left_out: u64,
}

impl Drilled {
    /// Notes a difference.
    pub fn differs(&mut self, line: String) {
        self.differences_total += 1;
        if self.differences.len() < DIFFERENCES_KEPT_MAX {
            self.differences.push(line);
        }
    }
}
