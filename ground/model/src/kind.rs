//! One word for every error: what a *caller* can do about it.

use std::fmt;

/// The word that every error answers with. Front-ends map it to their own reply (exit status,
/// HTTP status, FTP code) in one exhaustive table each.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    minicbor::Encode,
    minicbor::Decode,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Kind {
    /// What was asked is malformed or contradicts itself: ask differently.
    #[n(0)]
    Invalid,
    /// The caller may not do this.
    #[n(1)]
    Denied,
    /// The thing does not exist.
    #[n(2)]
    NotFound,
    /// In use or at a limit now: try again later.
    #[n(3)]
    Busy,
    /// No room: free space first.
    #[n(4)]
    Full,
    /// The other side does not answer.
    #[n(5)]
    Unreachable,
    /// Stored or received data is damaged.
    #[n(6)]
    Corrupt,
    /// The job was cancelled by a person or by a shutdown.
    #[n(7)]
    Cancelled,
    /// A defect here, or an operating system error without a better word.
    #[n(8)]
    Internal,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::Invalid,
        Kind::Denied,
        Kind::NotFound,
        Kind::Busy,
        Kind::Full,
        Kind::Unreachable,
        Kind::Corrupt,
        Kind::Cancelled,
        Kind::Internal,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Denied => "denied",
            Kind::NotFound => "not_found",
            Kind::Busy => "busy",
            Kind::Full => "full",
            Kind::Unreachable => "unreachable",
            Kind::Corrupt => "corrupt",
            Kind::Cancelled => "cancelled",
            Kind::Internal => "internal",
        }
    }

    /// The kind that an operating system error stands for.
    pub fn of_io(error: &std::io::Error) -> Kind {
        use std::io::ErrorKind as E;
        match error.kind() {
            E::NotFound => Kind::NotFound,
            E::PermissionDenied => Kind::Denied,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::Full,
            E::ConnectionRefused
            | E::ConnectionReset
            | E::ConnectionAborted
            | E::NotConnected
            | E::BrokenPipe
            | E::HostUnreachable
            | E::NetworkUnreachable
            | E::NetworkDown
            | E::TimedOut
            | E::UnexpectedEof => Kind::Unreachable,
            E::InvalidInput => Kind::Invalid,
            E::InvalidData => Kind::Corrupt,
            E::WouldBlock | E::AddrInUse | E::ResourceBusy => Kind::Busy,
            _ => Kind::Internal,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
