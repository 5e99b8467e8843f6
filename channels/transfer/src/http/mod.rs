//! The verbs of a transfer over HTTP/1.1, on any wire. The client's end: `transfer` asks over the
//! connections of `line`, which come by a `route`. The device's end: `entrance`, `listener`,
//! `answer`. Raw streams of other people's tools: `raw`, `raw_head`.

mod answer;
mod body;
mod entrance;
mod held;
mod knock;
mod line;
mod listener;
mod open;
mod raw;
mod raw_head;
mod route;
mod session;
mod stream;
mod transfer;
mod watch;
mod work;

pub use entrance::{Brought, Entrance};
pub use knock::{Knock, Sample, knock, knock_ftp};
pub use listener::{ListenOptions, TransferListener};
pub(crate) use open::now_unix_s;
pub(crate) use route::Verdict;
pub use route::{Dialer, Dialing, OnWait, Route};
pub use stream::{StreamReader, StreamWriter};
pub use transfer::{DialOptions, HttpTransfer};

/// Carries the request number, in decimal digits.
pub(crate) const REQUEST_HEADER: &str = "simsim-request";
/// Content type of a body of sealed frames; everything else is plain text.
pub(crate) const FRAMES: &str = "application/vnd.simsim.frames";
