//! Searching over all savesets, and the versions of one file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::SavesetId;

/// Finds versions of files by name, those first that came last.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Without `*?[{`: a part of the name, escaped. With them: the whole name. With a `/`: the
    /// same of the whole path.
    pub pattern: String,
    /// The letters A to Z in any case.
    #[serde(default)]
    pub ignore_case: bool,
    #[serde(default)]
    pub client: Option<String>,
    #[serde(default)]
    pub task: Option<String>,
    /// Only versions that a saveset has which was committed at or after this instant.
    #[serde(default)]
    pub since_unix_ms: Option<i64>,
    /// And at or before this one.
    #[serde(default)]
    pub until_unix_ms: Option<i64>,
    /// `file`, `directory`, `symlink` or `special`.
    #[serde(default)]
    pub kind: Option<String>,
    /// What the answer before said under `next`.
    #[serde(default)]
    pub after: Option<String>,
    /// 0: 100; 1,000 at most.
    #[serde(default)]
    pub limit: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SearchReply {
    pub found: Vec<FoundVersion>,
    /// There may be more: ask again with this as `after`. An answer may end before its limit.
    pub next: Option<String>,
    /// Savesets that are not in the index yet, or cannot be; at most 100.
    pub not_indexed: Vec<NotIndexed>,
    /// What cannot be searched here at all, in sentences.
    pub not_searchable: Vec<String>,
}

/// A version of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundVersion {
    pub client: String,
    pub task: String,
    /// Escaped.
    pub path: String,
    /// `file`, `directory`, `symlink` or `special`.
    pub kind: String,
    /// Of a file.
    pub bytes: u64,
    pub mtime_unix_s: i64,
    /// The oldest and the newest saveset that has this version, of those that were asked for.
    pub first_saveset: SavesetId,
    pub first_unix_ms: i64,
    pub last_saveset: SavesetId,
    pub last_unix_ms: i64,
    pub savesets: u32,
    /// Later savesets of the task have another version, or none.
    pub ended: bool,
}

/// A saveset that a search does not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotIndexed {
    pub saveset: SavesetId,
    pub client: String,
    pub task: String,
    pub why: String,
}

/// The versions of one path.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// A client or a task.
    pub of: String,
    /// Escaped.
    pub path: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReply {
    /// Escaped.
    pub path: String,
    pub histories: Vec<FileHistory>,
    pub not_indexed: Vec<NotIndexed>,
    pub not_searchable: Vec<String>,
}

/// What a path was in the savesets of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileHistory {
    pub client: String,
    pub task: String,
    /// The oldest first.
    pub versions: Vec<FileVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileVersion {
    /// Was there in these savesets. Where it was not, kind, bytes and time are null.
    pub present: bool,
    pub kind: Option<String>,
    pub bytes: Option<u64>,
    pub mtime_unix_s: Option<i64>,
    pub first_saveset: SavesetId,
    pub first_unix_ms: i64,
    pub last_saveset: SavesetId,
    pub last_unix_ms: i64,
    pub savesets: u32,
}

/// How the search index is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SearchState {
    pub savesets: u64,
    /// Savesets that are to be brought in, as of the last look.
    pub waiting: u64,
    pub versions: u64,
    pub bytes: u64,
    pub memory_bytes: u64,
    /// Why it does not get on.
    pub trouble: Option<String>,
}
