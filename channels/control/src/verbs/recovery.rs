//! The verb by which hosts are witnesses of who their server is, when there are two of one identity.

use minicbor::{Decode, Encode};

/// The server says when it came back from a backup of itself last; 0: never. The host remembers the newest of
/// its server's key, durably, before it answers.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ServerRecovered {
    #[n(0)]
    #[cbor(default)]
    pub recovered_unix_ms: u64,
}

/// The newest that it ever heard. Where that is newer than what the server said, another one took its
/// place, and this one has to stop.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ServerRecoveredReply {
    #[n(0)]
    #[cbor(default)]
    pub newest_unix_ms: u64,
}
