//! The verbs of the control channel: what a server asks of clients and devices, and what a host
//! that joins asks of a server.
//!
//! Every verb is a message with numbered fields and an answer with numbered fields
//! (`docs/protocol/control.md`). Numbers are never used twice. A field that came later is
//! optional and defaulted, so that a peer one minor version older or newer is understood; a verb
//! that a peer does not know is answered with *unsupported*, and the session goes on.

mod ask;
mod check;
mod client;
mod command;
mod datastore;
mod deletion;
mod drill;
mod event;
mod job;
mod join;
mod manifest;
mod node;
mod probe;
mod prove;
mod rates;
mod recovery;
mod replicate;
mod scrub;
mod transfer;

pub use ask::*;
pub use check::*;
pub use client::*;
pub use command::*;
pub use datastore::*;
pub use deletion::*;
pub use drill::*;
pub use event::Event;
pub use job::*;
pub use join::*;
pub use manifest::*;
pub use node::*;
pub use probe::*;
pub use prove::*;
pub use rates::*;
pub use recovery::*;
pub use replicate::*;
pub use scrub::*;
pub use transfer::*;

use minicbor::{Decode, Encode};

/// A message that can be sent as a request, and the answer that belongs to it.
pub trait Verb: Into<Request> + Send {
    /// Number on the wire.
    const NUMBER: u16;
    /// Name for people and logs.
    const NAME: &'static str;
    /// The answer.
    type Reply: Into<Reply> + Send;

    /// Takes this verb's answer out of the enum; `None` when it is the answer of another verb.
    fn reply_of(reply: Reply) -> Option<Self::Reply>;
}

/// Why the bytes of a message were not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The verb came with a later version.
    #[error("verb {0} is not known to this version")]
    UnknownVerb(u16),
    /// The bytes are not what the verb's fields say.
    #[error("the fields of verb '{verb}' are malformed: {reason}")]
    Malformed { verb: &'static str, reason: String },
}

pub(crate) fn encode_body<T: Encode<()>>(message: &T) -> Vec<u8> {
    // Room for all but a few messages: a secret is not left behind in a buffer that moved.
    let mut bytes = Vec::with_capacity(1024);
    // Writing to a Vec cannot fail, and no encoder of a message refuses a value.
    if let Err(error) = minicbor::encode(message, &mut bytes) {
        tracing::error!(%error, "a control message could not be encoded");
        bytes.clear();
    }
    bytes
}

pub(crate) fn decode_body<T: for<'b> Decode<'b, ()>>(
    verb: &'static str,
    bytes: &[u8],
) -> Result<T, BodyError> {
    minicbor::decode(bytes)
        .map_err(|error| BodyError::Malformed { verb, reason: error.to_string() })
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $number:literal $name:literal $verb:ident => $reply:ident;)*) => {
        /// Any request.
        #[derive(Debug, Clone)]
        pub enum Request {
            $($(#[$doc])* $verb($verb),)*
        }

        /// Any answer.
        #[derive(Debug, Clone)]
        pub enum Reply {
            $($verb($reply),)*
        }

        impl Request {
            /// Number and name of every verb, in order of their numbers.
            pub const ALL: &'static [(u16, &'static str)] = &[$(($number, $name),)*];

            /// Name of the verb with this number.
            pub(crate) fn name_of(number: u16) -> Option<&'static str> {
                match number {
                    $($number => Some($name),)*
                    _ => None,
                }
            }

            /// The verb's number on the wire.
            pub fn number(&self) -> u16 {
                match self { $(Request::$verb(_) => $number,)* }
            }

            /// The verb's name for people and logs.
            pub fn name(&self) -> &'static str {
                match self { $(Request::$verb(_) => $name,)* }
            }

            /// The fields as bytes.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Request::$verb(message) => encode_body(message),)* }
            }

            /// Reads the fields of verb `number`; total over any bytes.
            pub fn decode(number: u16, bytes: &[u8]) -> Result<Self, BodyError> {
                match number {
                    $($number => decode_body($name, bytes).map(Request::$verb),)*
                    other => Err(BodyError::UnknownVerb(other)),
                }
            }
        }

        impl Reply {
            /// Number of the verb that this answers.
            pub fn number(&self) -> u16 {
                match self { $(Reply::$verb(_) => $number,)* }
            }

            /// The fields as bytes.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Reply::$verb(message) => encode_body(message),)* }
            }

            /// Reads the answer to verb `number`; total over any bytes.
            pub fn decode(number: u16, bytes: &[u8]) -> Result<Self, BodyError> {
                match number {
                    $($number => decode_body($name, bytes).map(Reply::$verb),)*
                    other => Err(BodyError::UnknownVerb(other)),
                }
            }
        }

        $(
            impl From<$verb> for Request {
                fn from(message: $verb) -> Self {
                    Request::$verb(message)
                }
            }

            impl Verb for $verb {
                const NUMBER: u16 = $number;
                const NAME: &'static str = $name;
                type Reply = $reply;
                fn reply_of(reply: Reply) -> Option<$reply> {
                    match reply {
                        Reply::$verb(message) => Some(message),
                        _ => None,
                    }
                }
            }

            impl From<$reply> for Reply {
                fn from(message: $reply) -> Self {
                    Reply::$verb(message)
                }
            }
        )*
    };
}

verbs! {
    /// Is anybody there?
    1 "ping" Ping => PingReply;
    /// Who is there, and what runs?
    2 "node-state" NodeState => NodeStateReply;
    /// Tries ways to other hosts.
    3 "probe" Probe => ProbeReply;
    /// Shows this certificate from now on.
    4 "install-certificate" InstallCertificate => InstallCertificateReply;
    /// Ends a running job.
    10 "cancel-job" CancelJob => CancelJobReply;
    /// What became of a job?
    11 "job-state" JobState => JobStateReply;
    /// Attaches to the events of a job.
    12 "follow-job" FollowJob => FollowJobReply;
    /// Client: backs up.
    20 "start-backup" StartBackup => StartBackupReply;
    /// Client: restores.
    21 "start-restore" StartRestore => StartRestoreReply;
    /// Client: does it hold a domain's key itself?
    22 "domain-key-held" DomainKeyHeld => DomainKeyHeldReply;
    /// Client: makes a domain key that never leaves it.
    23 "create-held-key" CreateHeldKey => CreateHeldKeyReply;
    /// Client: does the owner of its host want something of the server?
    24 "next-ask" NextAsk => NextAskReply;
    /// Client: the answer to what its owner wanted.
    25 "answer-ask" AnswerAsk => AnswerAskReply;
    /// Device: makes a datastore.
    40 "create-datastore" CreateDatastore => CreateDatastoreReply;
    /// Device: serves a datastore that exists.
    41 "attach-datastore" AttachDatastore => AttachDatastoreReply;
    /// Device: stops serving a datastore.
    42 "detach-datastore" DetachDatastore => DetachDatastoreReply;
    /// Device: sizes, counts and condition of a datastore.
    43 "datastore-state" DatastoreState => DatastoreStateReply;
    /// Device: every datastore that it serves.
    44 "list-datastores" ListDatastores => ListDatastoresReply;
    /// Device: expects a transfer.
    45 "grant-transfer" GrantTransfer => GrantTransferReply;
    /// Device: ends or forgets a transfer.
    46 "revoke-transfer" RevokeTransfer => RevokeTransferReply;
    /// Device: how far is a transfer?
    47 "transfer-state" TransferState => TransferStateReply;
    /// Device: manifests, oldest first.
    48 "list-manifests" ListManifests => ListManifestsReply;
    /// Device: one manifest.
    49 "get-manifest" GetManifest => GetManifestReply;
    /// Device: checks a datastore.
    50 "verify-datastore" VerifyDatastore => VerifyDatastoreReply;
    /// Device: builds the index again from the packs.
    51 "rebuild-index" RebuildIndex => RebuildIndexReply;
    /// Device: keeps a domain's wrapped keys.
    52 "put-key-slots" PutKeySlots => PutKeySlotsReply;
    /// Device: gives a domain's wrapped keys.
    53 "get-key-slots" GetKeySlots => GetKeySlotsReply;
    /// Device: domains of a datastore.
    54 "list-domains" ListDomains => ListDomainsReply;
    /// Device: the numbers of a datastore's drives.
    55 "set-drives" SetDrives => SetDrivesReply;
    /// Device: copies savesets between a datastore of its own and one of another device.
    65 "replicate" Replicate => ReplicateReply;
    /// Server: enrols the caller.
    80 "join" Join => JoinReply;
    /// Device: how fast data may go.
    90 "set-rates" SetRates => SetRatesReply;
    /// Makes another TLS key, which is not shown yet.
    91 "prepare-tls-key" PrepareTlsKey => PrepareTlsKeyReply;
    /// Shows the TLS key that was prepared.
    92 "switch-tls-key" SwitchTlsKey => SwitchTlsKeyReply;
    /// Device: removes what no saveset needs.
    93 "collect-garbage" CollectGarbage => CollectGarbageReply;
    /// Device: deletes savesets.
    94 "delete-savesets" DeleteSavesets => DeleteSavesetsReply;
    /// When did the server come back from a backup of itself last?
    95 "server-recovered" ServerRecovered => ServerRecoveredReply;
    /// Device: which of these savesets are whole?
    96 "prove-savesets" ProveSavesets => ProveSavesetsReply;
    /// Device: checks what was checked longest ago.
    97 "scrub-datastore" ScrubDatastore => ScrubDatastoreReply;
    /// Device: locks savesets for longer.
    98 "extend-locks" ExtendLocks => ExtendLocksReply;
    /// Device: locks that are later than their manifests say.
    99 "list-locks" ListLocks => ListLocksReply;
    /// Client: restores into a scratch place and compares.
    100 "run-drill" RunDrill => RunDrillReply;
    /// Client: runs a command of its owner.
    120 "run-command" RunCommand => RunCommandReply;
}
