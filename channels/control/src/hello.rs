//! The first message of either side: who speaks, and which protocol.
//!
//! The same major version is required. A peer of another minor version is spoken to with what
//! both know: unknown fields are passed over, unknown verbs answered with *unsupported*.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::verbs::Roles;

/// Bytes of a name or version that is kept of a peer's hello.
const TEXT_BYTES_MAX: usize = 256;

/// Version of the control protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
#[cbor(map)]
pub struct ProtocolVersion {
    #[n(0)]
    #[cbor(default)]
    pub major: u16,
    #[n(1)]
    #[cbor(default)]
    pub minor: u16,
}

impl ProtocolVersion {
    /// What this code speaks.
    pub const OURS: Self = Self { major: 1, minor: 1 };
    /// The first that knows commands before and after a backup.
    pub const WITH_COMMANDS: Self = Self { major: 1, minor: 1 };
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// How a node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    #[n(0)]
    #[cbor(default)]
    pub protocol: ProtocolVersion,
    /// Version of the suite, such as `0.1.0`.
    #[n(1)]
    #[cbor(default)]
    pub suite_version: String,
    /// The node's own name for itself; for people, never an identity.
    #[n(2)]
    #[cbor(default)]
    pub name: String,
    #[n(3)]
    #[cbor(default)]
    pub roles: Roles,
}

impl Hello {
    /// Introduces a node of this version of the code.
    pub fn new(name: impl Into<String>, roles: Roles) -> Self {
        Self {
            protocol: ProtocolVersion::OURS,
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.into(),
            roles,
        }
    }

    /// Cuts what a peer says of itself to lengths fit for logs and tables.
    pub(crate) fn bounded(mut self) -> Self {
        for text in [&mut self.suite_version, &mut self.name] {
            text.retain(|c| !c.is_control());
            text.truncate(crate::wire::cut(text, TEXT_BYTES_MAX).len());
        }
        self
    }
}
