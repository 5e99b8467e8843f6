//! A restore drill: a restore into a scratch place, a comparison there, and nothing left of it.

use minicbor::{Decode, Encode};

use super::{JobResult, StartRestore};

/// Restores a sample into a scratch place, compares it with the saveset, and removes it. A verb of its own: a
/// client that does not know it restores nothing. Events: progress and problems.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RunDrill {
    /// Of it count the ticket, the ways to the device, the saveset and the key. `target` is the folder in
    /// which the scratch place is made; empty: a folder of the client's own.
    #[n(0)]
    pub restore: StartRestore,
    /// The same seed takes the same files of the same saveset.
    #[n(1)]
    #[cbor(default)]
    pub seed: u64,
    /// At most so many files; 0: all.
    #[n(2)]
    #[cbor(default)]
    pub files_max: u32,
    /// At most so many bytes, but always the largest file and the one that was changed last; 0: no limit.
    #[n(3)]
    #[cbor(default)]
    pub bytes_max: u64,
    /// Also read and compare the source, where it stands as it was backed up.
    #[n(4)]
    #[cbor(default)]
    pub compare_source: bool,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RunDrillReply {
    #[n(0)]
    pub result: JobResult,
}
