//! Everything that can go wrong on the way, and what it means for the caller.

use simsim_model::{Kind, SessionError};

/// An error of the channel itself or one that the device answered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error(
        "no answer from {peer} for {silent_s} s ({last}); check that the device runs and that the firewall lets this port through"
    )]
    Unreachable { peer: String, silent_s: u64, last: String },
    #[error("{peer} refused the transfer with HTTP status {status}: {text}; {advice}")]
    Refused { peer: String, status: u16, text: String, advice: &'static str },
    #[error(
        "{peer} refused the login for the transfer: {text}; the ticket is unknown there, or the device was restarted: start a new job"
    )]
    Login { peer: String, text: String },
    #[error("frame {number} is damaged, was moved or belongs to another request")]
    FrameDamaged { number: u32 },
    #[error("frame {found} came where frame {expected} was due")]
    FrameOrder { expected: u32, found: u32 },
    #[error(
        "frame {number} says it has {length} bytes, which is not between its least size and {max}"
    )]
    FrameLength { number: u32, length: u32, max: u32 },
    #[error("frame {number} is of type {found}, which has no place here")]
    FrameType { number: u32, found: u8 },
    #[error("the body is larger than the {max} bytes that this verb may have")]
    BodyTooLarge { max: usize },
    #[error("the body ends after {frames} frames and without its final frame")]
    BodyTruncated { frames: u32 },
    #[error("the final frame counts {counted} bytes, the body has {found}")]
    BodyCount { counted: u64, found: u64 },
    #[error("bytes follow the final frame")]
    TrailingBytes,
    #[error("the message of '{verb}' cannot be understood: {what}")]
    Message { verb: &'static str, what: &'static str },
    #[error("this transfer has been closed or aborted; start a new job")]
    Ended,
    #[error("what was on its way is not wanted any more")]
    Unwanted,
    #[error("the operating system gave no random bytes or the cipher failed")]
    Cipher,
    #[error("{0}")]
    Peer(SessionError),
    #[error("the raw stream could not be read to its end: {0}")]
    Raw(String),
}

impl TransferError {
    pub fn kind(&self) -> Kind {
        match self {
            TransferError::Unreachable { .. } => Kind::Unreachable,
            TransferError::Refused { status, .. } => kind_of_status(*status),
            TransferError::Login { .. } => Kind::Denied,
            TransferError::FrameDamaged { .. }
            | TransferError::FrameOrder { .. }
            | TransferError::BodyTruncated { .. }
            | TransferError::BodyCount { .. }
            | TransferError::TrailingBytes => Kind::Corrupt,
            TransferError::FrameLength { .. }
            | TransferError::FrameType { .. }
            | TransferError::BodyTooLarge { .. }
            | TransferError::Message { .. } => Kind::Invalid,
            TransferError::Ended | TransferError::Unwanted => Kind::Cancelled,
            TransferError::Cipher | TransferError::Raw(_) => Kind::Internal,
            TransferError::Peer(error) => error.kind(),
        }
    }
}

impl From<TransferError> for SessionError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Peer(error) => error,
            other => SessionError::new(other.kind(), other.to_string()),
        }
    }
}

/// The HTTP status of a sealed error reply. The sealed frame says what really happened; the
/// status is for proxies and for whoever reads a capture.
pub const fn status_of(kind: Kind) -> u16 {
    match kind {
        Kind::Invalid => 400,
        Kind::Denied => 403,
        Kind::NotFound => 404,
        Kind::Busy => 503,
        Kind::Full => 507,
        Kind::Unreachable => 504,
        Kind::Corrupt => 422,
        Kind::Cancelled => 410,
        Kind::Internal => 500,
    }
}

/// What a status without a sealed body means; anybody on the way may have sent it.
fn kind_of_status(status: u16) -> Kind {
    match status {
        403 | 404 | 409 | 410 => Kind::Denied,
        429 | 503 => Kind::Busy,
        400..=499 => Kind::Invalid,
        _ => Kind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_status() {
        let table: Vec<_> =
            Kind::ALL.iter().map(|kind| (kind.as_str(), status_of(*kind))).collect();
        assert_eq!(
            table,
            [
                ("invalid", 400),
                ("denied", 403),
                ("not_found", 404),
                ("busy", 503),
                ("full", 507),
                ("unreachable", 504),
                ("corrupt", 422),
                ("cancelled", 410),
                ("internal", 500)
            ]
        );
    }
}
