//! The verb by which a server asks a node to try ways to other hosts.

use minicbor::{Decode, Encode};
use simsim_model::Ticket;

/// Ways in one request at most; a node refuses more.
pub const PROBE_WAYS_MAX: usize = 32;
/// Addresses of one way at most.
pub const PROBE_ADDRESSES_MAX: usize = 8;

/// Tries ways. Nothing is stored anywhere; one such request at a time.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct Probe {
    #[n(0)]
    #[cbor(default)]
    pub ways: Vec<ProbeWay>,
}

/// One way to another host.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ProbeWay {
    /// Row of the port registry, or module of another vendor's system. Without a ticket the ports must
    /// be those of this row.
    #[n(0)]
    pub row: String,
    /// `host:port`, tried one after the other until one is open. A name is looked up by the node, as for
    /// a job.
    #[n(1)]
    #[cbor(default)]
    pub addresses: Vec<String>,
    /// A transfer that the device at the other end expects: it proves who answers, and gives a
    /// sample. The addresses are then those of the device, as for a job; for row `ftp-data` those of
    /// its control port.
    #[n(2)]
    pub ticket: Option<Ticket>,
    /// TLS keys that the device may show, 32 bytes each.
    #[n(3)]
    #[cbor(default, with = "crate::wire::byte_strings")]
    pub device_keys: Vec<Vec<u8>>,
    /// Row `ftp-data` only: the device makes the data connections, to this host.
    #[n(4)]
    #[cbor(default)]
    pub active: bool,
    /// Rows with TLS only: the protocol that the other end must choose in the handshake (ALPN); empty:
    /// any. It is tried before the ticket is. Without a ticket, `device_keys` alone are a reason for a
    /// handshake, too.
    #[n(5)]
    #[cbor(default)]
    pub protocol: String,
}

/// What a way is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ProbeState {
    /// Open; with a ticket also proven to be the right host.
    #[n(0)]
    Open,
    /// The host answers that nothing listens there.
    #[n(1)]
    Refused,
    /// No answer at all.
    #[n(2)]
    Filtered,
    /// Something else listens there.
    #[n(3)]
    WrongService,
    /// The right service of another host.
    #[n(4)]
    WrongIdentity,
    /// The name has no address, or this host has no way there.
    #[n(5)]
    NoWay,
}

/// What was found.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct ProbeFinding {
    #[n(0)]
    pub state: ProbeState,
    /// The address that was open, or the first one.
    #[n(1)]
    #[cbor(default)]
    pub address: String,
    /// For people.
    #[n(2)]
    #[cbor(default)]
    pub message: String,
    /// Of a request where there was a ticket, else of the connection; 0: not known.
    #[n(3)]
    #[cbor(default)]
    pub round_trip_us: u64,
    /// The sample: bytes to the other host, and the time that they took; 0: none was taken.
    #[n(4)]
    #[cbor(default)]
    pub sample_bytes: u64,
    #[n(5)]
    #[cbor(default)]
    pub sample_us: u64,
    /// It was seen who answers, by a ticket or by a TLS key. A node of before this field never says so.
    #[n(6)]
    #[cbor(default)]
    pub proved: bool,
}

#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub struct ProbeReply {
    /// One for each way, in order.
    #[n(0)]
    #[cbor(default)]
    pub findings: Vec<ProbeFinding>,
}
