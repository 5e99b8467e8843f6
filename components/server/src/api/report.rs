//! The report: what ran, what failed, what is not well, on one page.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::Outcome;

/// Asks for a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReportRequest {
    /// Of this day in the server's time zone, such as `2026-11-26`; `None`: of the last 24 hours.
    pub day: Option<String>,
    /// Also as a page.
    pub html: bool,
}

/// A report with its words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportReply {
    pub report: Report,
    pub text: String,
    /// Where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

/// What happened in a span of time, and how things stand when it is made. A list has the first fifty; its total counts all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub server: String,
    pub from_unix_ms: i64,
    pub until_unix_ms: i64,
    pub made_unix_ms: i64,
    /// In one line.
    pub headline: String,
    /// Nothing failed, nothing is late, every task is green.
    pub good: bool,
    /// What ran, by kind.
    pub kinds: Vec<ReportKind>,
    /// Jobs that ended otherwise than as *finished*, newest first.
    pub bad: Vec<ReportJob>,
    pub bad_total: u64,
    /// Runs that were missed or refused in the span, newest first.
    pub late: Vec<ReportRun>,
    pub late_total: u64,
    pub tasks: u64,
    pub tasks_green: u64,
    pub not_green: Vec<ReportTask>,
    /// Tasks of which no restore was ever tried, or none is asked for.
    pub untested: Vec<ReportTask>,
    pub untested_total: u64,
    pub datastores: Vec<ReportStore>,
    /// What expires, by pool.
    pub expires: Vec<ReportPool>,
    /// Why nothing expires now.
    pub frozen: Option<String>,
    pub approvals: Vec<ReportApproval>,
    /// What `status` warns of.
    pub warnings: Vec<String>,
}

/// Jobs of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportKind {
    pub kind: String,
    pub finished: u64,
    pub finished_with_errors: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub interrupted: u64,
    pub bytes: u64,
    pub bytes_new: u64,
}

/// A job that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportJob {
    pub job: u64,
    pub kind: String,
    pub task: String,
    pub client: String,
    pub outcome: Outcome,
    pub ended_unix_ms: i64,
    pub problems: u64,
    pub why: Option<String>,
}

/// A run that did not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportRun {
    pub event: String,
    pub subject: String,
    pub at_unix_ms: i64,
    /// `missed` or `refused`, and why.
    pub why: String,
}

/// A task with something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportTask {
    pub task: String,
    pub client: String,
    /// Somebody should act.
    pub overdue: bool,
    pub words: String,
}

/// A datastore and its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportStore {
    pub datastore: String,
    /// Of its file system; `None`: its device did not answer.
    pub capacity_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
    /// What its packs take.
    pub stored_bytes: Option<u64>,
    /// What its savesets would take without deduplication and compression.
    pub saved_bytes: u64,
    /// What backups of the last seven days put there.
    pub put_in_week_bytes: u64,
    /// When it is full if that goes on; `None`: it does not grow, or it is not known.
    pub full_in_days: Option<u64>,
    pub trouble: Option<String>,
}

/// What expires in a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportPool {
    pub pool: String,
    /// Savesets that nothing keeps any more.
    pub expired: u64,
    pub expired_bytes: u64,
    /// Savesets that nothing keeps after the next seven days.
    pub soon: u64,
    pub soon_bytes: u64,
}

/// An act that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportApproval {
    pub approval: u64,
    pub about: String,
    pub asked_by: String,
    pub asked_unix_ms: i64,
    pub expires_unix_ms: i64,
}
