//! What every channel needs of the network: open a listener and name who is in the way, admit
//! strangers within limits, tune a connection so that a dead peer is noticed, dial a host by all
//! its addresses with an error that names each of them, TLS, and many wires upon one.

// What strangers send is read here and below.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod admission;
mod dial;
mod holder;
mod listen;
pub mod mux;
mod network;
pub mod outbound;
mod patient;
mod sever;
mod sockets;
mod source_ports;
mod tcp_info;
pub mod tls;
mod tune;
mod wake;
mod wire;

pub use admission::{Admission, Admitted};
pub use dial::{Attempt, DialError, Failure, dial};
pub use holder::{Holder, holder_of};
pub use listen::{ListenError, listen};
pub use network::{Network, NetworkError};
pub use patient::Patient;
pub use sever::{CutOnDrop, Severer};
pub use sockets::{Process, Socket, SocketState, processes, sockets};
pub use source_ports::SourcePorts;
pub use tune::{tune, urgent_in_line};
pub use wake::{HardwareAddress, WAKE_EVERYBODY, wake};
pub use wire::{BoxedWire, Wire};
