//! What a running verb tells before its answer.

use simsim_model::{Problem, ProgressSnapshot};

use super::{BodyError, decode_body, encode_body};

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

    /// Reads event `number`; total over any bytes.
    pub fn decode(number: u16, bytes: &[u8]) -> Result<Self, BodyError> {
        match number {
            1 => decode_body("progress", bytes).map(Event::Progress),
            2 => decode_body("problem", bytes).map(Event::Problem),
            other => Err(BodyError::UnknownVerb(other)),
        }
    }
}
