//! A lock: until then nothing and nobody deletes the saveset. It can be extended and never shortened.

use jiff::Timestamp;
use simsim_model::Kind;

/// A lock that would end earlier than the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the saveset is locked until {current}: a lock can be extended and never shortened; name a later instant"
)]
pub struct LockError {
    pub current: Timestamp,
}

impl LockError {
    pub fn kind(&self) -> Kind {
        Kind::Denied
    }
}

/// The lock that a saveset has from now on. The same instant again is no error.
pub fn extend_lock(current: Option<Timestamp>, until: Timestamp) -> Result<Timestamp, LockError> {
    match current.filter(|current| *current > until) {
        Some(current) => Err(LockError { current }),
        None => Ok(until),
    }
}
