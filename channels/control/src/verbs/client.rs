//! Verbs that a client answers: back up, restore, and the keys that it holds alone.

use minicbor::{Decode, Encode};
use simsim_model::{DomainId, Level, Overwrite, SavesetId, Secret, StoreId, TargetKind, Ticket};

use super::JobResult;

/// The names that a saveset carries, sealed, in its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct SavesetNames {
    /// The client as enrolled.
    #[n(0)]
    #[cbor(default)]
    pub client: String,
    /// The task.
    #[n(1)]
    #[cbor(default)]
    pub task: String,
}

/// Backs up. Events: progress and problems; the answer comes at the end of the job.
///
/// The ticket carries the job's number, the store, the domain and the id of the new saveset. How
/// to cut comes from the device. A second `StartBackup` with the number of a running job is
/// refused as `Busy`: follow it instead.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct StartBackup {
    #[n(0)]
    pub ticket: Ticket,
    /// Interfaces such as `https://host:port`, in order of preference.
    #[n(1)]
    #[cbor(default)]
    pub device_addresses: Vec<String>,
    #[n(2)]
    #[cbor(default)]
    pub names: SavesetNames,
    #[n(3)]
    pub kind: TargetKind,
    /// Absolute paths, any bytes; for a stream the name of its one file.
    #[n(4)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub sources: Vec<Vec<u8>>,
    /// Patterns in gitignore syntax.
    #[n(5)]
    #[cbor(default)]
    pub excludes: Vec<String>,
    /// Leave out directories that a `CACHEDIR.TAG` marks.
    #[n(6)]
    #[cbor(default)]
    pub exclude_caches: bool,
    /// Do not descend into other file systems.
    #[n(7)]
    #[cbor(default)]
    pub one_file_system: bool,
    /// Leave out larger files.
    #[n(8)]
    pub file_bytes_max: Option<u64>,
    /// The *local name* of a command in the client owner's policy; never a command line.
    #[n(9)]
    pub stream_command: Option<String>,
    #[n(10)]
    pub level: Level,
    /// The saveset that unchanged files are compared with.
    #[n(11)]
    pub base: Option<SavesetId>,
    /// Absent: the client holds the key itself.
    #[n(12)]
    pub domain_key: Option<Secret>,
    /// TLS keys that the device may show, 32 bytes each.
    #[n(13)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub device_keys: Vec<Vec<u8>>,
    /// The device is reached through the connection that this host keeps open to its server.
    #[n(14)]
    #[cbor(default)]
    pub outbound: bool,
    /// TLS keys of this host that the device knows, 32 bytes each; none: whichever it shows now.
    #[n(15)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub client_keys: Vec<Vec<u8>>,
    /// The *local name* of a command that runs before anything is read. Towards 1.1 and later only.
    #[n(16)]
    pub pre_command: Option<String>,
    /// The *local name* of a command that runs after it, whatever became of it. Towards 1.1 and later only.
    #[n(17)]
    pub post_command: Option<String>,
    /// So long each of them may run; absent: as long as the client lets it.
    #[n(18)]
    pub command_timeout_s: Option<u32>,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct StartBackupReply {
    #[n(0)]
    pub result: JobResult,
}

/// Restores. Events and answer as for a backup.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct StartRestore {
    #[n(0)]
    pub ticket: Ticket,
    /// Interfaces such as `https://host:port`, in order of preference.
    #[n(1)]
    #[cbor(default)]
    pub device_addresses: Vec<String>,
    #[n(2)]
    pub saveset: SavesetId,
    /// Absent: the client holds the key itself.
    #[n(3)]
    pub domain_key: Option<Secret>,
    /// Paths as stored; empty: everything.
    #[n(4)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub selection: Vec<Vec<u8>>,
    /// Patterns that narrow the selection; empty: no narrowing.
    #[n(5)]
    #[cbor(default)]
    pub patterns: Vec<String>,
    /// Directory to restore into; empty: the original place.
    #[n(6)]
    #[cbor(default, with = "minicbor::bytes")]
    pub target: Vec<u8>,
    /// A policy that this version does not know reads as *never*.
    #[n(7)]
    #[cbor(default, decode_with = "crate::wire::or_default")]
    pub overwrite: Overwrite,
    /// Make devices, set setuid bits and capabilities.
    #[n(8)]
    #[cbor(default)]
    pub specials: bool,
    /// Set owners and groups.
    #[n(9)]
    #[cbor(default)]
    pub owners: bool,
    /// Say what would be done, and write nothing.
    #[n(10)]
    #[cbor(default)]
    pub dry_run: bool,
    /// TLS keys that the device may show, 32 bytes each.
    #[n(11)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub device_keys: Vec<Vec<u8>>,
    /// The device is reached through the connection that this host keeps open to its server.
    #[n(12)]
    #[cbor(default)]
    pub outbound: bool,
    /// TLS keys of this host that the device knows, 32 bytes each; none: whichever it shows now.
    #[n(13)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub client_keys: Vec<Vec<u8>>,
    /// Other copies, in the order in which they are asked for what this one cannot give.
    #[n(14)]
    #[cbor(default)]
    pub other_copies: Vec<OtherCopy>,
    /// The name of the datastore, for people.
    #[n(15)]
    #[cbor(default)]
    pub datastore: String,
}

/// Another copy of what is restored, with a ticket of its own.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct OtherCopy {
    /// The name of its datastore, for people.
    #[n(0)]
    #[cbor(default)]
    pub datastore: String,
    #[n(1)]
    pub ticket: Ticket,
    #[n(2)]
    #[cbor(default)]
    pub device_addresses: Vec<String>,
    #[n(3)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub device_keys: Vec<Vec<u8>>,
    #[n(4)]
    #[cbor(default)]
    pub outbound: bool,
    #[n(5)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub client_keys: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct StartRestoreReply {
    #[n(0)]
    pub result: JobResult,
}

/// Does this client hold the domain's key itself?
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct DomainKeyHeld {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub domain: DomainId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct DomainKeyHeldReply {
    #[n(0)]
    #[cbor(default)]
    pub held: bool,
    /// The key wrapped for the client's recovery kit as it is now; empty where it is not held.
    #[n(1)]
    #[cbor(default, with = "minicbor::bytes")]
    pub slots: Vec<u8>,
    /// When the kit was shown to be kept, by the client's clock; absent: not yet.
    #[n(2)]
    pub kit_proven_unix_ms: Option<i64>,
    /// Where the kit's pages to print lie on the client's host.
    #[n(3)]
    #[cbor(default)]
    pub kit_pages: Vec<String>,
}

/// Makes a key for the domain that never leaves this client.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct CreateHeldKey {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub domain: DomainId,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct CreateHeldKeyReply {
    /// The wrapped slots, never the key.
    #[n(0)]
    #[cbor(default, with = "minicbor::bytes")]
    pub slots: Vec<u8>,
}
