//! Jobs: running, asking, following, ending.

use serde::{Deserialize, Serialize};
use simsim_catalog::{JobError, JobState, LogLine};
use simsim_model::{Level, Problem, ProgressSnapshot, SavesetId};

use super::TaskOptions;

/// Runs a task now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTaskRequest {
    pub task: String,
    /// Default: INCR. Without a saveset to compare with it becomes FULL.
    #[serde(default = "incr")]
    pub level: Level,
}

/// Backs paths of a client up once, without a task. The paths stand for the task's name: the same
/// paths are compared with what they were the last time.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReply {
    pub job: u64,
}

/// Names a job.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    pub job: u64,
}

/// Lists jobs, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobListRequest {
    pub task: Option<String>,
    pub client: Option<String>,
    /// Only jobs that have not ended.
    pub open_only: bool,
    /// Only jobs with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: 100.
    pub limit: u32,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub state: JobState,
    pub queued_unix_ms: i64,
    pub started_unix_ms: Option<i64>,
    pub ended_unix_ms: Option<i64>,
    pub cancel_asked: bool,
    pub progress: ProgressSnapshot,
    pub error: Option<JobError>,
    pub problems: u64,
}

/// A job with what it has to report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    #[serde(flatten)]
    pub job: JobView,
    /// The first thousand.
    pub problem_list: Vec<Problem>,
    /// What a check looked at, once it has ended.
    pub checked: Option<Checked>,
}

/// What a check of a datastore or saveset looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Whole packs; 0 where only one saveset was checked.
    pub packs: u64,
    pub segments: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// Damages that were found.
    pub damaged: u64,
}

/// The line of the job's log, which is where it is kept.
impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { packs, segments, chunks, bytes, damaged } = self;
        write!(
            f,
            "checked {packs} packs, {segments} segments, {chunks} chunks, {bytes} bytes; {damaged} damaged"
        )
    }
}

impl Checked {
    /// Reads what was written as a line of a log; `None` for every other line.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("checked ")?;
        let mut parts = rest.split([',', ';']);
        let mut number = |noun: &str| -> Option<u64> {
            parts.next()?.trim().strip_suffix(noun)?.trim_end().parse().ok()
        };
        let packs = number("packs")?;
        let segments = number("segments")?;
        let chunks = number("chunks")?;
        let bytes = number("bytes")?;
        let damaged = number("damaged")?;
        Some(Self { packs, segments, chunks, bytes, damaged })
    }
}

/// Lines of a job's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogReply {
    pub lines: Vec<LogLine>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_checked_is_read_back_from_its_line_and_from_no_other() {
        let checked = Checked { packs: 1, segments: 20, chunks: 300, bytes: 4_000_000, damaged: 5 };
        assert_eq!(Checked::of_line(&checked.to_string()), Some(checked));
        for other in ["", "checked", "checked 1 packs", "finished", "checked a packs, 1 segments"] {
            assert_eq!(Checked::of_line(other), None, "{other}");
        }
    }
}
