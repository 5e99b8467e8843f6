//! What the owner of a client's host asks of the server. The server dials, so the client cannot: the
//! server leaves a `next-ask` open with it, and brings the answer.

use minicbor::{Decode, Encode};
use simsim_model::{DomainId, StoreId};

use super::{JobError, StartRestore};

/// Does the owner want something? Answered when there is something, or with nothing after a while;
/// then it is sent again.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct NextAsk {}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct NextAskReply {
    #[n(0)]
    pub ask: Option<Ask>,
}

/// One question.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct Ask {
    /// The client's number for it.
    #[n(0)]
    pub id: u64,
    /// `saveset.list`, `saveset.resolve`, `saveset.show`, `own.read`, `own.keys`, `own.changed`.
    #[n(1)]
    pub verb: String,
    /// A JSON document.
    #[n(2)]
    #[cbor(default)]
    pub body: String,
}

/// The answer to a question.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct AnswerAsk {
    #[n(0)]
    pub id: u64,
    /// Present where it was refused or failed.
    #[n(1)]
    pub error: Option<JobError>,
    /// A JSON document, as the verb of the same name answers on the server's console.
    #[n(2)]
    #[cbor(default)]
    pub body: String,
    /// `own.read`: what it takes to read each saveset; nothing of it is to be written anywhere.
    #[n(3)]
    #[cbor(default)]
    pub reads: Vec<StartRestore>,
    /// `own.keys`: wrapped keys of the domains whose key the client is to hold alone.
    #[n(4)]
    #[cbor(default)]
    pub slots: Vec<OwnKeySlots>,
}

/// Wrapped keys of one domain.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct OwnKeySlots {
    #[n(0)]
    pub store: StoreId,
    #[n(1)]
    pub domain: DomainId,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub slots: Vec<u8>,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct AnswerAskReply {}
