//! The life of a job. There is no way but these:
//!
//! ```text
//! queued ──► running ──► finished | finished with errors | failed | cancelled | interrupted
//!    └─────────────────────────────► failed | cancelled
//! ```
//!
//! An ended job never moves again, and a job that did not start cannot have finished.

use serde::{Deserialize, Serialize};
use simsim_model::Outcome;

use crate::cells::outcome_cell;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum JobState {
    /// Waits for a free place on a drive.
    Queued,
    Running,
    Ended(Outcome),
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [JobState; 7] = [
        JobState::Queued,
        JobState::Running,
        JobState::Ended(Outcome::Finished),
        JobState::Ended(Outcome::FinishedWithErrors),
        JobState::Ended(Outcome::Failed),
        JobState::Ended(Outcome::Cancelled),
        JobState::Ended(Outcome::Interrupted),
    ];

    pub const fn is_ended(self) -> bool {
        matches!(self, JobState::Ended(_))
    }

    pub const fn outcome(self) -> Option<Outcome> {
        match self {
            JobState::Ended(outcome) => Some(outcome),
            JobState::Queued | JobState::Running => None,
        }
    }

    /// Whether a job may go from this state to that one.
    pub const fn may_become(self, next: JobState) -> bool {
        match (self, next) {
            (JobState::Queued, JobState::Running)
            | (JobState::Queued, JobState::Ended(Outcome::Failed | Outcome::Cancelled))
            | (JobState::Running, JobState::Ended(_)) => true,
            (JobState::Queued, JobState::Queued | JobState::Ended(_))
            | (JobState::Running, JobState::Queued | JobState::Running)
            | (JobState::Ended(_), _) => false,
        }
    }

    /// The word in the catalog and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Ended(outcome) => outcome_cell(outcome),
        }
    }

    /// The inverse of [`JobState::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        JobState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

impl schemars::JsonSchema for JobState {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JobState".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words = JobState::ALL.map(JobState::as_str);
        schemars::json_schema!({ "type": "string", "enum": words })
    }
}

impl From<JobState> for String {
    fn from(state: JobState) -> Self {
        state.as_str().to_owned()
    }
}

/// A word that no version knows reads as *interrupted*: never as success, never as running.
impl From<String> for JobState {
    fn from(text: String) -> Self {
        JobState::parse(&text).unwrap_or(JobState::Ended(Outcome::Interrupted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_steps_is_the_drawing_above() {
        let drawn: Vec<String> = JobState::ALL
            .into_iter()
            .flat_map(|from| JobState::ALL.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .map(|(from, to)| format!("{} > {}", from.as_str(), to.as_str()))
            .collect();
        assert_eq!(
            drawn,
            [
                "queued > running",
                "queued > failed",
                "queued > cancelled",
                "running > finished",
                "running > finished_with_errors",
                "running > failed",
                "running > cancelled",
                "running > interrupted",
            ]
        );
    }

    #[test]
    fn words_round_trip_and_unknown_ones_are_never_a_success() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
        }
        assert_eq!(JobState::from("splendid".to_owned()), JobState::Ended(Outcome::Interrupted));
    }
}
