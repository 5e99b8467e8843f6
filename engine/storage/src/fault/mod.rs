//! Storage that fails on purpose, for tests of what stands above it.

mod failing;
mod power_cut;
mod recording;

pub use failing::{FailingStorage, Fault};
pub use power_cut::{CrashVariant, PowerCutStorage};
pub use recording::{Counts, RecordingStorage};
