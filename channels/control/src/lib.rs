//! The control channel: how a server tells clients and devices what to do.
//!
//! Clients and devices listen, the server dials: over SSH (`smssh`), or over plain TCP where both
//! sides were told to (`ctrl`). One session core carries typed verbs (`verbs`) in frames over both:
//! many calls at once, answers matched by number, events while a long verb works, beats while
//! nothing happens. A component plugs a `VerbHandler` and a `ListenPolicy`
//! into a listener, and asks through a `ControlClient`. A host becomes known by a join code
//! (`join`). Framing, fields and failure replies: `docs/protocol/control.md`.

// What strangers send is read here and below.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod coding;
pub mod ctrl;
mod door;
mod envelope;
mod error;
mod frame;
mod handler;
mod hello;
mod identity;
mod job_book;
pub mod join;
mod join_code;
mod public_key;
mod session;
pub mod smssh;
mod timing;
pub mod verbs;
mod wire;

pub use ctrl::{CtrlDialer, CtrlListener, Expected};
pub use error::{ControlError, VerbError};
pub use handler::{
    Answer, Caller, EventSender, JOIN_USER, ListenPolicy, Principal, SERVER_USER, VerbHandler,
};
pub use hello::{Hello, ProtocolVersion};
pub use identity::Identity;
pub use job_book::{Job, JobBook};
pub use join::join;
pub use join_code::{JoinCode, JoinCodeError};
pub use public_key::{ParseKeyError, PublicKey};
pub use session::{CALLS_MAX, Call, ControlClient};
pub use smssh::{SmsshDialer, SmsshListener};
pub use timing::Timing;
