//! What a job is, from the wish to the end.

use serde::{Deserialize, Serialize};
use simsim_model::{
    Checked, DomainId, Kind, Level, Outcome, Problem, ProgressSnapshot, SavesetId, StoreId,
    TransferId,
};

use crate::cells::{Cells, kind_from_cell};
use crate::{CatalogError, ClientId, JobState, Saveset, TaskId, Within};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Backup,
    Restore,
    Verify,
    /// Checks of a datastore what was checked longest ago, up to a budget. It says nothing about all of it.
    Scrub,
    /// Makes a datastore's index again from its packs.
    Rebuild,
    /// Removes what no saveset of a datastore needs.
    Collect,
    /// Copies savesets into another datastore.
    Replicate,
    /// Copies savesets into another datastore, proves the copies, and may let the originals go.
    Migrate,
    /// Brings what a datastore has lost from a copy.
    Heal,
    /// Runs a command of a client's owner.
    Command,
    /// Restores into a scratch place and compares.
    Drill,
}

impl JobKind {
    pub const ALL: [JobKind; 11] = [
        JobKind::Backup,
        JobKind::Restore,
        JobKind::Verify,
        JobKind::Scrub,
        JobKind::Rebuild,
        JobKind::Collect,
        JobKind::Replicate,
        JobKind::Migrate,
        JobKind::Heal,
        JobKind::Command,
        JobKind::Drill,
    ];

    /// Whether a device does it on a datastore, whoever has data there.
    pub const fn is_on_datastore(self) -> bool {
        match self {
            JobKind::Verify
            | JobKind::Scrub
            | JobKind::Rebuild
            | JobKind::Collect
            | JobKind::Replicate
            | JobKind::Migrate
            | JobKind::Heal => true,
            JobKind::Backup | JobKind::Restore | JobKind::Command | JobKind::Drill => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            JobKind::Backup => "backup",
            JobKind::Restore => "restore",
            JobKind::Verify => "verify",
            JobKind::Scrub => "scrub",
            JobKind::Rebuild => "rebuild",
            JobKind::Collect => "collect",
            JobKind::Replicate => "replicate",
            JobKind::Migrate => "migrate",
            JobKind::Heal => "heal",
            JobKind::Command => "command",
            JobKind::Drill => "drill",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        JobKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Stands where a job has no datastore: jobs of commands. In the table there is nothing.
pub const NO_STORE: StoreId = StoreId([0; 16]);

/// A job to be queued.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub kind: JobKind,
    pub task: Option<TaskId>,
    /// Name of the task; empty for a job without one.
    pub task_name: String,
    /// The host that works: the client of a backup or restore, the device of a verification.
    pub client: ClientId,
    pub store: StoreId,
    pub domain: Option<DomainId>,
    /// Only this drive; `None`: any drive of the datastore.
    pub drive: Option<u32>,
    pub level: Option<Level>,
    /// Restore: the saveset to read.
    pub saveset: Option<SavesetId>,
    /// Backup: the media pool of its saveset; `None`: the default one.
    pub pool: Option<String>,
    /// All that was asked for, a JSON document of the Server's own.
    pub request: String,
    /// Who asked.
    pub requested_by: String,
    /// How it waits.
    pub waiting: Waiting,
}

/// The rank of what a person started, and of events that run always.
pub const RANK_FIRST: u8 = 100;

/// How a job waits in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The event that it is of; empty for what a person started.
    pub event: String,
    /// The order of the queue, the highest first; then the oldest.
    pub rank: u8,
    /// It must have started by then, or does not run.
    pub start_by_unix_ms: Option<i64>,
    /// It does not start before.
    pub not_before_unix_ms: Option<i64>,
    /// So long it may run.
    pub timeout_s: Option<u32>,
    /// From 1.
    pub attempt: u32,
    /// The job that it is another attempt of.
    pub retry_of: Option<u64>,
    /// Who holds it: it waits until it is released.
    pub held_by: Option<String>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            event: String::new(),
            rank: RANK_FIRST,
            start_by_unix_ms: None,
            not_before_unix_ms: None,
            timeout_s: None,
            attempt: 1,
            retry_of: None,
            held_by: None,
        }
    }
}

/// What is known once a job starts.
#[derive(Debug, Clone, Copy)]
pub struct JobStart {
    pub drive: Option<u32>,
    pub transfer: Option<TransferId>,
    pub domain: Option<DomainId>,
    /// Backup: the id that the new saveset will have.
    pub saveset: Option<SavesetId>,
    /// Backup: the level that is really run (a DIFF without a FULL before it becomes a FULL).
    pub level: Option<Level>,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct JobError {
    pub kind: Kind,
    pub message: String,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct JobEnd {
    pub outcome: Outcome,
    pub error: Option<JobError>,
    pub progress: ProgressSnapshot,
    /// At most [`PROBLEMS_KEPT_MAX`] of these are kept.
    pub problems: Vec<Problem>,
    /// All problems, kept or not.
    pub problems_total: u64,
    /// What a verification looked at.
    pub checked: Option<Checked>,
    /// The saveset that a backup committed.
    pub saveset: Option<Saveset>,
}

impl JobEnd {
    /// An end without anything to show but a reason.
    pub fn because(outcome: Outcome, kind: Kind, message: impl Into<String>) -> Self {
        Self {
            outcome,
            error: Some(JobError { kind, message: message.into() }),
            progress: ProgressSnapshot::default(),
            problems: Vec::new(),
            problems_total: 0,
            checked: None,
            saveset: None,
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub number: u64,
    pub kind: JobKind,
    /// `None` for a job without a task, or whose task was deleted.
    pub task: Option<TaskId>,
    pub task_name: String,
    pub client: ClientId,
    pub client_name: String,
    pub store: StoreId,
    pub domain: Option<DomainId>,
    pub drive: Option<u32>,
    pub level: Option<Level>,
    pub saveset: Option<SavesetId>,
    /// Backup: the media pool of its saveset; `None`: the default one.
    pub pool: Option<String>,
    pub transfer: Option<TransferId>,
    pub request: String,
    pub requested_by: String,
    pub state: JobState,
    pub queued_unix_ms: i64,
    pub started_unix_ms: Option<i64>,
    pub ended_unix_ms: Option<i64>,
    pub cancel_asked_unix_ms: Option<i64>,
    pub progress: ProgressSnapshot,
    pub error: Option<JobError>,
    pub problems_total: u64,
    pub waiting: Waiting,
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// `None`: any kind.
    pub kind: Option<JobKind>,
    pub task_name: Option<String>,
    pub client: Option<ClientId>,
    /// Only jobs of these, and none that a device does on a datastore.
    pub within: Option<Within>,
    /// Only jobs of this event.
    pub event: Option<String>,
    /// Empty: any state.
    pub states: Vec<JobState>,
    /// Only jobs that ended at or after this instant.
    pub ended_since_unix_ms: Option<i64>,
    /// And before this one.
    pub ended_until_unix_ms: Option<i64>,
    /// Only jobs with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: all.
    pub limit: u32,
}

pub(crate) fn from_row(cells: &Cells<'_>) -> Result<Job, CatalogError> {
    let error = match cells.word_or_none("error_kind", kind_from_cell)? {
        Some(kind) => Some(JobError { kind, message: cells.get("error_message")? }),
        None => None,
    };
    Ok(Job {
        number: cells.count("job")?,
        kind: cells.word("kind", JobKind::parse)?,
        task: cells.get::<Option<i64>>("task")?.map(TaskId),
        task_name: cells.get("task_name")?,
        client: ClientId(cells.get("client")?),
        client_name: cells.get("client_name")?,
        store: cells.id_or_none("store")?.unwrap_or(NO_STORE),
        domain: cells.id_or_none("domain")?,
        drive: cells.get("drive")?,
        level: cells.word_or_none("level", Level::parse)?,
        saveset: cells.id_or_none("saveset")?,
        pool: cells.get("pool")?,
        transfer: cells.id_or_none("transfer")?,
        request: cells.get("request")?,
        requested_by: cells.get("requested_by")?,
        state: cells.word("state", JobState::parse)?,
        queued_unix_ms: cells.get("queued_unix_ms")?,
        started_unix_ms: cells.get("started_unix_ms")?,
        ended_unix_ms: cells.get("ended_unix_ms")?,
        cancel_asked_unix_ms: cells.get("cancel_asked_unix_ms")?,
        progress: cells.json("progress")?,
        error,
        problems_total: cells.count("problems")?,
        waiting: Waiting {
            event: cells.get("event")?,
            rank: cells.get("rank")?,
            start_by_unix_ms: cells.get("start_by_unix_ms")?,
            not_before_unix_ms: cells.get("not_before_unix_ms")?,
            timeout_s: cells.get("timeout_s")?,
            attempt: cells.get("attempt")?,
            retry_of: cells.get::<Option<i64>>("retry_of")?.and_then(|job| u64::try_from(job).ok()),
            held_by: cells.get("held_by")?,
        },
    })
}
