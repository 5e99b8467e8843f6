//! Restore drills: restores for a test, with evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::{Drilled, Outcome};

/// Which saveset of a task a drill restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrillSaveset {
    #[default]
    Newest,
    /// Any that is there, by the seed.
    Random,
}

/// How a drill goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrillOptions {
    /// Files at most, taken by chance; `None`: 100. The largest and the one that was changed last are always
    /// among them.
    pub files: Option<u32>,
    /// Bytes at most, but for these two; `None`: 1 GiB.
    pub bytes: Option<u64>,
    /// Everything, in place of a sample.
    pub all: bool,
    pub saveset: DrillSaveset,
    /// The client that restores; `None`: the one that was backed up.
    pub client: Option<String>,
    /// The folder on that client in which the scratch place is made, escaped; `None`: the client's own.
    pub folder: Option<String>,
    /// Also read and compare the sources that stand as they were backed up.
    pub compare_source: bool,
    /// The datastore to read from, where the saveset lies in several.
    pub copy: Option<String>,
}

/// Runs a drill now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    pub task: String,
    /// This one of its savesets: an id or its beginning.
    #[serde(default)]
    pub saveset: Option<String>,
    /// Takes the same files again; `None`: others each time.
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    pub options: DrillOptions,
}

/// Lists drills, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrillListRequest {
    pub task: Option<String>,
    /// The client whose data it is.
    pub client: Option<String>,
    /// Only those that passed, or only those that did not.
    pub passed: Option<bool>,
    /// Only drills with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: 100.
    pub limit: u32,
}

/// Names a drill by its job.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillJobRequest {
    pub drill: u64,
}

/// The document that is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillDocument {
    /// `simsim restore drill 1`.
    pub format: String,
    /// The number of its job.
    pub drill: u64,
    pub server: String,
    pub suite_version: String,
    pub task: String,
    /// The client whose data it is.
    pub client: String,
    pub saveset: String,
    /// The datastore that was read.
    pub datastore: String,
    pub store: String,
    /// Another one than that in which it was made.
    pub is_copy: bool,
    /// The client that restored.
    pub restored_on: String,
    pub requested_by: String,
    /// Empty for what a person started.
    pub event: String,
    pub seed: u64,
    pub files_max: u32,
    pub bytes_max: u64,
    pub all: bool,
    pub compared_source: bool,
    pub started_unix_ms: Option<i64>,
    pub ended_unix_ms: i64,
    #[schemars(with = "String")]
    pub outcome: Outcome,
    /// It ended as finished, and nothing differed.
    pub passed: bool,
    pub error: Option<String>,
    /// What was restored, how long that took, and what differed; `None` where it did not come so far.
    pub result: Option<Drilled>,
    /// How long a restore of everything would have taken, worked out of what was measured.
    pub restore_all_ms: Option<u64>,
}

/// The document with its signature. Whoever has it and the server's key can check it, also without the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillEvidence {
    /// The text of a [`DrillDocument`], byte for byte as it was signed.
    pub document: String,
    /// Ed25519 over `simsim restore drill evidence 1`, a newline, and the document; hexadecimal.
    pub signature: String,
    /// The server's key, in OpenSSH's form.
    pub key: String,
    /// The row of the audit log that holds the document's BLAKE3 hash.
    pub audit_position: u64,
}

/// One drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillView {
    pub drill: u64,
    pub passed: bool,
    pub ended_unix_ms: i64,
    pub document: DrillDocument,
    pub audit_position: u64,
}

/// What checking evidence came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillVerified {
    pub drill: u64,
    pub holds: bool,
    /// The key of this server signed it.
    pub signed: bool,
    /// The row of the audit log holds its hash.
    pub in_audit_log: bool,
    /// The chain of the audit log holds.
    pub chain_holds: bool,
    /// What does not hold.
    pub findings: Vec<String>,
    pub document: Option<DrillDocument>,
}
