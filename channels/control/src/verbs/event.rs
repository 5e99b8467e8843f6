//! What a running verb tells before its answer.

use simsim_model::{Problem, ProgressSnapshot, limits};

use super::job::cut_sentence;
use super::{BodyError, decode_body, encode_body};

/// The path of a folder, a slash and a name.
const PROBLEM_PATH_BYTES_MAX: usize = limits::PATH_BYTES_MAX + 1 + limits::PATH_COMPONENT_BYTES_MAX;

/// One event of a long verb. Unknown events of newer peers are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Counters, about four times a second. Only the newest matters; older ones may be dropped on
    /// a slow line.
    Progress(ProgressSnapshot),
    /// An item that went wrong. On a slow line some may be missing here; the result has them.
    Problem(Problem),
}

impl Event {
    /// Number on the wire.
    pub fn number(&self) -> u16 {
        match self {
            Event::Progress(_) => 1,
            Event::Problem(_) => 2,
        }
    }

    /// Name of the event with this number.
    pub(crate) fn name_of(number: u16) -> Option<&'static str> {
        match number {
            1 => Some("progress"),
            2 => Some("problem"),
            _ => None,
        }
    }

    /// The fields as bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Event::Progress(snapshot) => encode_body(snapshot),
            Event::Problem(problem) => encode_body(problem),
        }
    }

    /// Reads event `number`; total over any bytes. Texts are cut to what honest ones have: a path
    /// to its limit, sentences to [`super::RESULT_SENTENCE_BYTES_MAX`].
    pub fn decode(number: u16, bytes: &[u8]) -> Result<Self, BodyError> {
        match number {
            1 => decode_body("progress", bytes).map(|mut snapshot: ProgressSnapshot| {
                cut_sentence(&mut snapshot.current);
                cut_sentence(&mut snapshot.waits);
                Event::Progress(snapshot)
            }),
            2 => decode_body("problem", bytes).map(|mut problem: Problem| {
                problem.path.truncate(PROBLEM_PATH_BYTES_MAX);
                cut_sentence(&mut problem.message);
                problem.path.shrink_to_fit();
                Event::Problem(problem)
            }),
            other => Err(BodyError::UnknownVerb(other)),
        }
    }
}
