//! Sessions: requests, events and answers over any byte stream.
//!
//! One side calls (the dialler), the other answers (the listener). Nothing here knows SSH: the
//! same core runs over any stream that delivers bytes in order.
//!
//! Rules that keep it from locking up: the reading half of a side never waits for its writing
//! half; queues are bounded, and whoever fills one without reading answers loses the session.

mod abort;
mod answer;
mod call;
mod calls;
mod client;
mod heard;
mod shared;
mod writer;

pub(crate) use answer::{Ended, Terms, answer};
pub use call::Call;
pub use client::ControlClient;
pub(crate) use writer::Outgoing;
use writer::{OUT_QUEUE, write_frames};

/// Calls of one session that a listener works on at the same time; further ones are answered
/// with `Busy`.
pub const CALLS_MAX: usize = 64;

#[cfg(test)]
mod tests;
