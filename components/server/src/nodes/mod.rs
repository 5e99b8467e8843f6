//! Nodes: every enrolled host, reached over the control channel and kept reached.
//!
//! The Server dials; a node listens. One task per node keeps one session open, dials again with
//! growing pauses when it is lost, and writes down when the node was seen last. The Server's own
//! host is a node like any other, dialled over loopback on its real port. A node is dialled in the
//! access mode that the catalog has for it, and never in another one. One that nobody can dial calls
//! itself, and its task waits for that.

mod callers;
mod dialers;
mod line;
mod node;
mod registry;
mod relays;

pub(crate) use callers::{Caller, forget_addresses, remember_addresses};
pub(crate) use dialers::Dialers;
pub(crate) use line::Line;
pub(crate) use node::NodeStatus;
pub(crate) use registry::{Nodes, OwnHost, control_port, with_port};
pub(crate) use relays::{PROOF_PATIENCE, note_relay, relay_of};
