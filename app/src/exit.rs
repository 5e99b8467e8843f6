//! Exit statuses: one exhaustive table from what happened to a number (`docs/reference/exit-status.md`).

use std::process::ExitCode;

use simsim_model::{Kind, Outcome};

use crate::cli::text::Text;

/// Everything was done.
pub const DONE: u8 = 0;
/// Finished with errors: something is missing, the report names it.
pub const WITH_ERRORS: u8 = 3;

/// Whoever read the answer went away (`simsim ls | head`): as if by SIGPIPE.
pub const READER_GONE: u8 = 141;

/// The status of an error kind. 2 is clap's for a command line that it does not understand.
pub const fn of_kind(kind: Kind) -> u8 {
    match kind {
        Kind::Invalid => 2,
        Kind::Internal => 1,
        Kind::Denied => 4,
        Kind::NotFound => 5,
        Kind::Busy => 6,
        Kind::Full => 7,
        Kind::Unreachable => 8,
        Kind::Corrupt => 9,
        Kind::Cancelled => 130,
    }
}

/// The status of a job's outcome.
pub const fn of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Finished => DONE,
        Outcome::FinishedWithErrors => WITH_ERRORS,
        Outcome::Failed => 1,
        Outcome::Cancelled => 130,
        Outcome::Interrupted => 10,
    }
}

/// An error at the edge of the binary: what and where, more about it, what to do next, and the
/// status that says which kind.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// Lines that belong to the message, such as candidates.
    pub details: Vec<Text>,
    /// What to do next, a sentence each.
    pub next: Vec<String>,
    reader_gone: bool,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message, details: Vec::new(), next: Vec::new(), reader_gone: false }
    }

    /// With a line more about what happened.
    pub fn detail(mut self, line: Text) -> Self {
        self.details.push(line);
        self
    }

    /// With something that can be done about it.
    pub fn next(mut self, sentence: impl Into<String>) -> Self {
        self.next.push(sentence.into());
        self
    }

    pub fn status(&self) -> u8 {
        if self.reader_gone { READER_GONE } else { of_kind(self.kind) }
    }

    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    /// Whether there is somebody to tell it to.
    pub fn is_quiet(&self) -> bool {
        self.reader_gone
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Errors of the rooms below carry their own kind.
macro_rules! from_error {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.kind(), error.to_string())
            }
        }
    )+};
}
pub(crate) use from_error;

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let reader_gone = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { reader_gone, ..Self::new(Kind::of_io(&error), error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ret05_every_kind_and_outcome_has_its_status() {
        let kinds: Vec<(&str, u8)> =
            Kind::ALL.iter().map(|kind| (kind.as_str(), of_kind(*kind))).collect();
        assert_eq!(
            kinds,
            [
                ("invalid", 2),
                ("denied", 4),
                ("not_found", 5),
                ("busy", 6),
                ("full", 7),
                ("unreachable", 8),
                ("corrupt", 9),
                ("cancelled", 130),
                ("internal", 1),
            ]
        );
        assert_eq!(of_outcome(Outcome::Finished), 0);
        assert_eq!(of_outcome(Outcome::FinishedWithErrors), 3);
        assert_eq!(of_outcome(Outcome::Failed), 1);
        assert_eq!(of_outcome(Outcome::Cancelled), 130);
        assert_eq!(of_outcome(Outcome::Interrupted), 10);
    }
}
