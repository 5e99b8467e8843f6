//! What can be wrong with bytes.

use simsim_model::Kind;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{what} ends too early")]
    Truncated { what: &'static str },
    #[error("{what} is malformed: {why}")]
    Malformed { what: &'static str, why: &'static str },
    #[error(
        "{what} has format version {found}; this program reads up to {known}: use a newer simsim"
    )]
    Version { what: &'static str, found: u32, known: u32 },
    #[error("{what} is larger than its limit of {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
    #[error("{what} has more {of} than its limit of {limit}")]
    TooMany { what: &'static str, of: &'static str, limit: usize },
    #[error("{what} fails its checksum")]
    Checksum { what: &'static str },
    #[error("{what} does not open with this key, or was altered")]
    Seal { what: &'static str },
    #[error(
        "group {group} of the recovery kit has a typing error: compare it with the printed page"
    )]
    KitGroup { group: usize },
    #[error("{what} has other content than its name says")]
    Name { what: &'static str },
    /// What was just made here does not open to what it was made of.
    #[error(
        "what was sealed here does not open to what was read: {why}. The memory or a library of this host is faulty; nothing wrong was stored. Test its memory, then back up again"
    )]
    Proof { why: String },
    #[error("compression failed: {why}")]
    Compress { why: String },
}

impl FormatError {
    pub fn kind(&self) -> Kind {
        match self {
            FormatError::Version { .. } | FormatError::KitGroup { .. } => Kind::Invalid,
            FormatError::Seal { .. } => Kind::Denied,
            FormatError::Compress { .. } => Kind::Internal,
            _ => Kind::Corrupt,
        }
    }
}
