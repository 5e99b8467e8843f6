//! Jobs: running, asking, following, ending.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::{JobError, JobKind, JobState, LogLine};
pub use simsim_model::Checked;
use simsim_model::{Level, Outcome, Overwrite, Problem, ProgressSnapshot, SavesetId};

use super::{LimitedView, TaskOptions, VerifyDepth};

/// Runs a task now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTaskRequest {
    pub task: String,
    /// Default: INCR. Without a saveset to compare with it becomes FULL.
    #[serde(default = "incr")]
    pub level: Level,
}

/// Backs paths of a client up once, without a task. The paths stand for the task's name: the same
/// paths are compared with what they were the last time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// `None`: the Server's own host.
    #[serde(default)]
    pub client: Option<String>,
    /// Absolute paths, escaped; at least one.
    pub sources: Vec<String>,
    /// In the syntax of gitignore.
    #[serde(default)]
    pub excludes: Vec<String>,
    #[serde(default)]
    pub options: TaskOptions,
    /// `None`: the only datastore there is.
    #[serde(default)]
    pub datastore: Option<String>,
    /// `None`: any drive of the datastore.
    #[serde(default)]
    pub drive: Option<u32>,
    /// Any drive of this group, in place of a datastore or a drive.
    #[serde(default)]
    pub drive_group: Option<String>,
    /// The media pool of the saveset, as for a task.
    #[serde(default)]
    pub pool: Option<String>,
    /// Days for which the saveset cannot be removed; 0: no lock.
    #[serde(default)]
    pub eol_days: u32,
    /// Default: INCR. Without a saveset to compare with it becomes FULL.
    #[serde(default = "incr")]
    pub level: Level,
}

fn incr() -> Level {
    Level::Incr
}

/// A job that was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobReply {
    pub job: u64,
}

/// Names a job.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    pub job: u64,
}

/// Lists jobs, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobListRequest {
    pub task: Option<String>,
    pub client: Option<String>,
    /// Only jobs of this kind.
    pub kind: Option<JobKind>,
    /// Only jobs of this event.
    pub event: Option<String>,
    /// Only jobs that have not ended.
    pub open_only: bool,
    /// Only jobs that ended like one of these; empty: any.
    pub outcomes: Vec<Outcome>,
    /// Only jobs that ended at or after this instant.
    pub ended_since_unix_ms: Option<i64>,
    /// And before this one.
    pub ended_until_unix_ms: Option<i64>,
    /// Only jobs with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: 100.
    pub limit: u32,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    pub job: u64,
    /// `backup`, `restore`, `verify`, `rebuild`.
    pub kind: String,
    pub task: String,
    pub client: String,
    pub datastore: String,
    pub drive: Option<u32>,
    pub level: Option<Level>,
    /// Backup: the new saveset, once it is committed. Restore, verify: the one that is read.
    pub saveset: Option<SavesetId>,
    pub requested_by: String,
    /// The event that it is of; empty for what a person started.
    #[serde(default)]
    pub event: String,
    /// From 1.
    #[serde(default)]
    pub attempt: u32,
    /// The job that it is another attempt of.
    #[serde(default)]
    pub retry_of: Option<u64>,
    pub state: JobState,
    pub queued_unix_ms: i64,
    pub started_unix_ms: Option<i64>,
    pub ended_unix_ms: Option<i64>,
    pub cancel_asked: bool,
    pub progress: ProgressSnapshot,
    pub error: Option<JobError>,
    pub problems: u64,
    #[serde(default)]
    pub asked: Asked,
    /// What it waits for, while it does.
    #[serde(default)]
    pub waits: Option<String>,
    /// The lowest rate limit that counts for it now, while it runs.
    #[serde(default)]
    pub limited: Option<LimitedView>,
}

/// What a job was asked to do, as far as its task or saveset does not say it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Asked {
    /// Backup: what is read. Restore: what is wanted; empty: everything.
    pub paths: Vec<String>,
    /// Restore: of the paths only what matches.
    pub patterns: Vec<String>,
    /// Restore: the folder to restore beneath; `None`: where the files were.
    pub target: Option<String>,
    /// Restore only.
    pub overwrite: Option<Overwrite>,
    /// Restore: nothing is written.
    pub dry_run: bool,
    /// Backup, restore: the data comes from another tool or goes to it, as a raw stream.
    pub stream: bool,
    /// Verify only.
    pub depth: Option<VerifyDepth>,
    /// Verify: names are not checked, because the device is on another host and was not given keys.
    pub keys_withheld: bool,
}

/// A job with what it has to report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    pub job: JobView,
    /// The first thousand.
    pub problem_list: Vec<Problem>,
    /// What a check looked at, once it has ended.
    pub checked: Option<Checked>,
}

/// Lines of a job's log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    pub job: u64,
    /// First position.
    #[serde(default)]
    pub from: u64,
    /// 0: 1000.
    #[serde(default)]
    pub limit: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LogReply {
    pub lines: Vec<LogLine>,
}
