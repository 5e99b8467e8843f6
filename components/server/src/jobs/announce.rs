//! What running jobs tell whoever listens: states, counters, problems, log lines.

use serde::{Deserialize, Serialize};
use simsim_catalog::{JobState, Severity};
use simsim_model::{Problem, ProgressSnapshot};
use tokio::sync::broadcast;

use crate::clock::now_unix_ms;

/// Events that a slow listener may lag behind before it misses some.
const EVENTS_KEPT: usize = 4096;

/// One event of one job.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct JobEvent {
    pub job: u64,
    pub at_unix_ms: i64,
    #[serde(flatten)]
    pub kind: JobEventKind,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JobEventKind {
    /// The job is in another state. After one that has ended nothing more comes.
    State { state: JobState },
    /// Counters, about four times a second.
    Progress { progress: ProgressSnapshot },
    /// One item went wrong.
    Problem { problem: Problem },
    /// A line for people.
    Log { severity: Severity, line: String },
}

/// Where events are told. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    sender: broadcast::Sender<JobEvent>,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(EVENTS_KEPT).0 }
    }

    pub(crate) fn tell(&self, job: u64, kind: JobEventKind) {
        // Nobody listening is no error.
        let _ = self.sender.send(JobEvent { job, at_unix_ms: now_unix_ms(), kind });
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<JobEvent> {
        self.sender.subscribe()
    }
}
