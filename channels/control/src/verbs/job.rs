//! Jobs as the control channel sees them: kinds, results, and the verbs to cancel, ask and follow.
//!
//! A job outlives the session that started it. A server that restarted, or a line that was cut,
//! asks `JobState` and attaches again with `FollowJob`.

use super::ProvenSavesets;
use minicbor::{Decode, Encode};
use simsim_model::{
    Checked, CommitReply, DIFFERENCES_KEPT_MAX, Drilled, Kind, Outcome, Problem, ProgressSnapshot,
};

/// Bytes of problems that one result carries at most, so that it stays well below
/// `limits::CONTROL_MESSAGE_BYTES_MAX`.
pub const RESULT_PROBLEM_BYTES_MAX: usize = 512 * 1024;
/// Bytes of one sentence in a result; longer ones are cut.
pub const RESULT_SENTENCE_BYTES_MAX: usize = 4096;
/// Finished jobs that a node remembers for `JobState`.
pub const FINISHED_JOBS_KEPT: usize = 100;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum JobKind {
    #[n(0)]
    Backup,
    #[n(1)]
    Restore,
    #[n(2)]
    Verify,
    #[n(3)]
    RebuildIndex,
    #[n(4)]
    Replicate,
    #[n(5)]
    CollectGarbage,
    #[n(6)]
    Command,
    #[n(7)]
    Drill,
    /// Savesets are checked one by one.
    #[n(8)]
    Prove,
    /// A kind that came with a later version.
    #[default]
    #[n(255)]
    Other,
}

impl JobKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            JobKind::Backup => "backup",
            JobKind::Restore => "restore",
            JobKind::Verify => "verify",
            JobKind::RebuildIndex => "rebuild-index",
            JobKind::Replicate => "replicate",
            JobKind::CollectGarbage => "collect-garbage",
            JobKind::Command => "command",
            JobKind::Drill => "drill",
            JobKind::Prove => "prove",
            JobKind::Other => "other",
        }
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobError {
    #[n(0)]
    #[cbor(decode_with = "crate::wire::kind_or_internal")]
    pub kind: Kind,
    /// One sentence: what, where, and what to do next.
    #[n(1)]
    #[cbor(default)]
    pub message: String,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobResult {
    /// An outcome that this version does not know reads as *failed*.
    #[n(0)]
    #[cbor(decode_with = "crate::wire::outcome_or_failed")]
    pub outcome: Outcome,
    #[n(1)]
    pub error: Option<JobError>,
    #[n(2)]
    #[cbor(default)]
    pub snapshot: ProgressSnapshot,
    /// The first problems; see [`JobResult::fit`].
    #[n(3)]
    #[cbor(default, decode_with = "crate::wire::problems")]
    pub problems: Vec<Problem>,
    /// All problems that occurred, also those that are not in `problems`.
    #[n(4)]
    #[cbor(default)]
    pub problems_total: u64,
    /// The saveset, where a backup was committed.
    #[n(5)]
    pub commit: Option<CommitReply>,
    /// By the node's clock, nanoseconds since 1970.
    #[n(6)]
    #[cbor(default)]
    pub started_unix_ns: i64,
    #[n(7)]
    #[cbor(default)]
    pub finished_unix_ns: i64,
    /// What a verification looked at.
    #[n(8)]
    pub checked: Option<Checked>,
    /// What a restore drill came to.
    #[n(9)]
    pub drilled: Option<Drilled>,
    /// Which savesets a check found whole, one by one.
    #[n(10)]
    pub proven: Option<ProvenSavesets>,
}

impl JobResult {
    /// Drops problems from the end, and cuts sentences, until the result fits a message.
    /// `problems_total` is raised to the number of problems before, if it was lower.
    pub fn fit(&mut self) {
        self.problems_total = self.problems_total.max(self.problems.len() as u64);
        if let Some(error) = &mut self.error {
            cut_sentence(&mut error.message);
        }
        if let Some(drilled) = &mut self.drilled {
            drilled.differences.truncate(DIFFERENCES_KEPT_MAX);
            drilled.differences.iter_mut().for_each(cut_sentence);
        }
        let mut bytes = 0usize;
        let mut kept = 0usize;
        for problem in &mut self.problems {
            cut_sentence(&mut problem.message);
            bytes = bytes.saturating_add(problem.path.len() + problem.message.len() + 16);
            if bytes > RESULT_PROBLEM_BYTES_MAX {
                break;
            }
            kept += 1;
        }
        self.problems.truncate(kept);
    }
}

/// Cuts a sentence at a character boundary.
pub(super) fn cut_sentence(text: &mut String) {
    if text.len() > RESULT_SENTENCE_BYTES_MAX {
        text.truncate(crate::wire::cut(text, RESULT_SENTENCE_BYTES_MAX).len());
        text.shrink_to_fit();
        text.push('…');
    }
}

/// Ends a running job; its result arrives where it was started or is followed.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CancelJob {
    #[n(0)]
    pub job: u64,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CancelJobReply {
    /// Was it running here?
    #[n(0)]
    #[cbor(default)]
    pub was_running: bool,
}

/// What became of a job? The last [`FINISHED_JOBS_KEPT`] finished ones are remembered.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct JobState {
    #[n(0)]
    pub job: u64,
}

/// Where a job is in its life, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum JobPhase {
    /// This node does not know the job: it never came, or the node was restarted since.
    #[default]
    #[n(0)]
    Unknown,
    #[n(1)]
    Running,
    #[n(2)]
    Finished,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct JobStateReply {
    #[n(0)]
    #[cbor(default, decode_with = "crate::wire::or_default")]
    pub phase: JobPhase,
    #[n(1)]
    #[cbor(default, decode_with = "crate::wire::or_default")]
    pub kind: JobKind,
    /// Present while running.
    #[n(2)]
    pub snapshot: Option<ProgressSnapshot>,
    /// Present when finished.
    #[n(3)]
    pub result: Option<JobResult>,
}

/// Attaches to the events of a job. Answered at the job's end; `NotFound` for an unknown job.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct FollowJob {
    #[n(0)]
    pub job: u64,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct FollowJobReply {
    #[n(0)]
    pub result: JobResult,
}

#[cfg(test)]
mod tests {
    use super::*;
    use simsim_model::{ProblemKind, limits};

    #[test]
    fn a_result_with_many_long_problems_fits_a_message_and_keeps_its_count() {
        let problem = Problem::new(vec![b'x'; 30_000], ProblemKind::Unreadable, "é".repeat(40_000));
        let mut result = JobResult {
            outcome: Outcome::FinishedWithErrors,
            error: Some(JobError { kind: Kind::Internal, message: "é".repeat(1 << 20) }),
            snapshot: ProgressSnapshot::default(),
            problems: vec![problem; 400],
            problems_total: 0,
            commit: None,
            started_unix_ns: 0,
            finished_unix_ns: 0,
            checked: None,
            drilled: None,
            proven: None,
        };
        result.fit();
        assert_eq!(result.problems_total, 400);
        assert!(!result.problems.is_empty());
        let bytes = super::super::encode_body(&result);
        assert!(bytes.len() < limits::CONTROL_MESSAGE_BYTES_MAX * 3 / 4, "{}", bytes.len());
    }
}
