//! Looking into savesets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::SavesetId;

/// Lists a directory of a saveset.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LsRequest {
    /// An id or its beginning; empty together with a `task`: its newest saveset.
    #[serde(default)]
    pub saveset: String,
    #[serde(default)]
    pub task: Option<String>,
    /// Escaped; default: `/`.
    #[serde(default)]
    pub path: String,
    /// Only names after this one, escaped: the next page.
    #[serde(default)]
    pub after: Option<String>,
    /// 0: 10,000, which is also the most.
    #[serde(default)]
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LsReply {
    pub saveset: SavesetId,
    pub entries: Vec<EntryView>,
    /// There are more: ask again after the last name.
    pub more: bool,
}

/// One entry of a saveset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// From the root of the saveset, escaped.
    pub path: String,
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `char_device`, `block_device`.
    pub kind: String,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of a file; of a directory the sum of all files beneath.
    pub bytes: u64,
    /// Files beneath a directory.
    pub files: u64,
    pub mtime_unix_s: i64,
    pub mtime_nanos: u32,
    pub nlink: u64,
    /// Target of a symbolic link, escaped.
    pub link_target: Option<String>,
    /// Its content could not be read when it was backed up.
    pub missing: bool,
}

/// Finds entries by name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindRequest {
    #[serde(default)]
    pub saveset: String,
    #[serde(default)]
    pub task: Option<String>,
    /// With `*`, `?` and `[…]`; matched against the name, or against the whole path where it
    /// holds a `/`.
    pub pattern: String,
    /// Only beneath this path, escaped; default: `/`.
    #[serde(default)]
    pub path: String,
    /// Only what comes after this path, escaped: the next page.
    #[serde(default)]
    pub after: Option<String>,
    /// 0: 1000; 10,000 at most.
    #[serde(default)]
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindReply {
    pub saveset: SavesetId,
    pub entries: Vec<EntryView>,
    /// The search ended at the limit: ask again after the last path.
    pub more: bool,
}

/// What differs between two savesets of one domain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// An id or its beginning.
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub path: String,
    /// Only what comes after this path, escaped: the next page.
    #[serde(default)]
    pub after: Option<String>,
    /// 0: 10,000, which is also the most.
    #[serde(default)]
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffReply {
    pub from: SavesetId,
    pub to: SavesetId,
    pub changes: Vec<ChangeView>,
    /// The comparison ended at the limit: ask again after the last path.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeView {
    /// Escaped.
    pub path: String,
    pub change: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    Removed,
    /// Content or size differs.
    Content,
    /// Only attributes differ.
    Metadata,
}
