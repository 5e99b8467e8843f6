//! What stood in the way of a letter, in words that name the other side.

use simsim_model::Kind;

/// Longest text of the other side that is shown.
const SAID_CHARS_MAX: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    #[error("{0}")]
    Invalid(String),
    #[error("{at} is not reached: {why}")]
    Unreachable { at: String, why: String },
    #[error("{at} is not trusted, or speaks no TLS: {why}")]
    Untrusted { at: String, why: String },
    /// The other side answered, and took nothing.
    #[error("{at} refused: {said}")]
    Refused { at: String, said: String },
    #[error("{at} did not answer within {seconds} s")]
    Late { at: String, seconds: u64 },
}

impl NoticeError {
    pub fn kind(&self) -> Kind {
        match self {
            NoticeError::Invalid(_) => Kind::Invalid,
            NoticeError::Unreachable { .. } | NoticeError::Late { .. } => Kind::Unreachable,
            NoticeError::Untrusted { .. } | NoticeError::Refused { .. } => Kind::Denied,
        }
    }

    pub(crate) fn refused(at: &str, said: &str) -> Self {
        NoticeError::Refused { at: at.to_owned(), said: one_line(said) }
    }

    pub(crate) fn unreachable(at: &str, why: impl ToString) -> Self {
        NoticeError::Unreachable { at: at.to_owned(), why: one_line(&why.to_string()) }
    }

    pub(crate) fn untrusted(at: &str, why: impl ToString) -> Self {
        NoticeError::Untrusted { at: at.to_owned(), why: one_line(&why.to_string()) }
    }
}

/// Text of a stranger as one line without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_CHARS_MAX).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error with all of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}
