//! Small choices that travel from the command line to the mover.

use minicbor::{Decode, Encode};

/// Backup levels. Every level's saveset is complete; the level says what was read again.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Level {
    /// Every file is read again.
    #[n(0)]
    Full,
    /// Files that changed since the last FULL are read.
    #[n(1)]
    Diff,
    /// Files that changed since the last saveset of the task are read.
    #[n(2)]
    Incr,
    /// As FULL, outside the chain: never a base.
    #[n(3)]
    Copy,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Full => "full",
            Level::Diff => "diff",
            Level::Incr => "incr",
            Level::Copy => "copy",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Level::Full, Level::Diff, Level::Incr, Level::Copy]
            .into_iter()
            .find(|level| level.as_str() == text)
    }

    /// The byte in a manifest.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Level::Full),
            1 => Some(Level::Diff),
            2 => Some(Level::Incr),
            3 => Some(Level::Copy),
            _ => None,
        }
    }
}

/// What a restore does where something already is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Overwrite {
    /// Leave what is there, and report it.
    #[default]
    #[n(0)]
    Never,
    /// Replace what differs in size or modification time.
    #[n(1)]
    IfChanged,
    /// Replace what is older than the saved file.
    #[n(2)]
    IfNewer,
    /// Replace always.
    #[n(3)]
    Always,
}

/// What a task reads.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum TargetKind {
    /// Paths of a file system.
    #[n(0)]
    Path,
    /// One plain stream, cut and sealed at the device.
    #[n(1)]
    Stream,
}
