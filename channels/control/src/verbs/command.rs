//! Runs a command of the client owner's policy.

use minicbor::{Decode, Encode};

use super::JobResult;

/// Runs the command with this name in the policy of the client's owner. No line, argument or variable of
/// the request becomes part of it. Events: progress.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RunCommand {
    #[n(0)]
    pub job: u64,
    /// The *local name*; never a command line.
    #[n(1)]
    pub local_name: String,
    /// So long it may run; absent: as long as the client lets it.
    #[n(2)]
    pub timeout_s: Option<u32>,
    /// What it is called in the suite, for the command's surroundings.
    #[n(3)]
    #[cbor(default)]
    pub name: String,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RunCommandReply {
    #[n(0)]
    pub result: JobResult,
}
