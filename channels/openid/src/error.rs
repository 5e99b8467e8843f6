//! What stood between us and an identity.

use simsim_model::Kind;

/// Longest text of the other side that is shown.
const SAID_CHARS_MAX: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenIdError {
    /// What was set up cannot be right.
    #[error("{0}")]
    Invalid(String),
    #[error("{at} is not reached: {why}")]
    Unreachable { at: String, why: String },
    #[error("{at} is not trusted, or speaks no TLS: {why}")]
    Untrusted { at: String, why: String },
    #[error("{at} did not answer within {seconds} s")]
    Late { at: String, seconds: u64 },
    /// It answered something that cannot be right.
    #[error("{at} answered what cannot be taken: {why}")]
    Strange { at: String, why: String },
    /// It said no.
    #[error("{at} refused: {said}")]
    Refused { at: String, said: String },
    /// What it signed does not count.
    #[error("the identity that the provider sent does not count: {0}")]
    NoProof(String),
}

impl OpenIdError {
    pub fn kind(&self) -> Kind {
        match self {
            OpenIdError::Invalid(_) => Kind::Invalid,
            OpenIdError::Unreachable { .. } | OpenIdError::Late { .. } => Kind::Unreachable,
            OpenIdError::Untrusted { .. }
            | OpenIdError::Refused { .. }
            | OpenIdError::Strange { .. }
            | OpenIdError::NoProof(_) => Kind::Denied,
        }
    }

    pub(crate) fn strange(at: &str, why: impl ToString) -> Self {
        OpenIdError::Strange { at: at.to_owned(), why: one_line(&why.to_string()) }
    }
}

/// Text of a stranger as one line without control characters.
pub fn one_line(text: &str) -> String {
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
    one_line(&text)
}
