//! Restores and checks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::Overwrite;

/// Restores a saveset, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreRequest {
    /// An id or its beginning; empty together with a `task`: its newest saveset.
    pub saveset: String,
    /// The task whose newest saveset is meant.
    pub task: Option<String>,
    /// Paths as stored, escaped; empty: everything.
    pub paths: Vec<String>,
    /// Patterns that narrow the selection; empty: no narrowing.
    pub patterns: Vec<String>,
    /// The client to restore to; `None`: the one that was backed up. Another one needs the right
    /// `restore-to-other`.
    pub client: Option<String>,
    /// The directory to restore beneath, escaped; `None`: where the files were. Needs the right
    /// `restore-elsewhere`.
    pub target: Option<String>,
    pub overwrite: Overwrite,
    /// Make devices, set setuid bits and capabilities.
    pub specials: bool,
    /// Set owners and groups; default yes.
    pub owners: Option<bool>,
    /// Say what would be done, and write nothing.
    pub dry_run: bool,
    /// By which of the device's interfaces the data comes; empty: as the client says.
    pub interfaces: Vec<String>,
    /// The datastore to read from, where the saveset lies in several; `None`: that of its row, and
    /// where its device is not reached now, another one.
    pub copy: Option<String>,
}

/// How deep a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifyDepth {
    /// Packs, index and manifests agree with each other, and every checksum holds.
    #[default]
    Structure,
    /// Every byte is read and every name checked, where the Server has the key.
    Bytes,
}

/// Checks a datastore or one saveset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyRequest {
    /// `None`: that of the saveset, or the only one there is. A saveset that has copies is checked in
    /// the one that is named.
    pub datastore: Option<String>,
    /// Only what this saveset needs: an id or its beginning.
    pub saveset: Option<String>,
    pub depth: VerifyDepth,
    /// Hand domain keys to a device on another host, for this job. Without it, and on such a
    /// device, `bytes` checks the ciphertext of everything and the names of nothing: who holds the
    /// device does not learn keys by being asked for a check.
    pub keys_to_device: bool,
}

/// How much one scrub reads. Nothing: everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScrubOptions {
    /// At most so many bytes of packs, and one pack at least.
    pub bytes_max: Option<u64>,
    pub minutes_max: Option<u32>,
}

/// Checks of a datastore what was checked longest ago, without keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScrubRequest {
    /// `None`: the only one there is.
    pub datastore: Option<String>,
    pub budget: ScrubOptions,
}
