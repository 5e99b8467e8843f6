//! CTRL: the control channel over plain TCP, both ends.
//!
//! For networks whose administrators must see what passes. Both ends prove their enrolled keys to
//! each other (`handshake`); from then on every message is authenticated, its number, kind, verb
//! and size can be read by everybody, and its body by nobody else (`record`). Nothing is
//! negotiated, so there is nothing to downgrade to. Off until the settings of a host enable it;
//! no host joins at its port. The same exchange works over any stream, in either direction of its
//! opening ([`CtrlDialer::call_over`], [`CtrlListener::answer_over`]): so hosts are steered that call
//! their server, and so they join ([`CtrlListener::answer_joiner_over`]). The port stands in the port registry (`CTRL`), the bytes in
//! `docs/protocol/control-ctrl.md`.

mod dialer;
mod handshake;
mod keys;
mod line;
mod listener;
mod record;

pub use dialer::{CtrlDialer, Expected};
pub use listener::CtrlListener;
pub(crate) use listener::JOINS_CLOSED;

#[cfg(test)]
mod tests;
