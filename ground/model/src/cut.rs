//! How a datastore's data is cut into chunks. Fixed when the datastore is created.

use minicbor::{Decode, Encode};

/// Bounds and mean of content-defined chunks, in bytes.
///
/// A smaller mean finds more duplicates and costs index: about 40 bytes on disk per chunk.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[cbor(map)]
pub struct CutParameters {
    #[n(0)]
    pub min: u32,
    /// A power of two.
    #[n(1)]
    pub mean: u32,
    #[n(2)]
    pub max: u32,
}

impl Default for CutParameters {
    fn default() -> Self {
        Self { min: 16 << 10, mean: 64 << 10, max: 256 << 10 }
    }
}

impl CutParameters {
    /// Sizes that the formats and limits allow.
    pub fn is_valid(&self) -> bool {
        self.min >= 64
            && self.min < self.mean
            && self.mean < self.max
            && self.mean.is_power_of_two()
            && self.max as usize <= crate::limits::CHUNK_BYTES_MAX
    }
}
