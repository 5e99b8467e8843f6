//! SMSSH: the control channel over SSH, both ends.
//!
//! A real SSH server and client, narrowed to one purpose: Ed25519 identities, public keys only,
//! strict key exchange, AES-256-GCM, and one subsystem that carries a session. Clients and
//! devices listen, the server dials; the port stands in the port registry (`SMSSH`).

mod algorithms;
mod dialer;
mod listener;
mod visitor;

pub use dialer::{ExpectedKey, SmsshDialer};
pub use listener::SmsshListener;

/// The only subsystem.
pub const SUBSYSTEM: &str = "simsim";

/// What a person reads who connects with `ssh`.
pub const NO_SHELL: &str = "simsim: this port speaks the backup control protocol; there is no \
                            shell here. Use the subsystem 'simsim'.";
