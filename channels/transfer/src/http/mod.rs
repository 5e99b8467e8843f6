//! The data port over HTTP/1.1: `line` and `transfer` dial it, `listener` and `answer` listen.

mod answer;
mod body;
mod line;
mod listener;
mod open;
mod session;
mod stream;
mod transfer;
mod watch;
mod work;

pub use listener::{HttpListener, ListenOptions};
pub use stream::{StreamReader, StreamWriter};
pub use transfer::{DialOptions, HttpTransfer};

/// Carries the request number, in decimal digits.
pub(crate) const REQUEST_HEADER: &str = "simsim-request";
/// Content type of a body of sealed frames; everything else is plain text.
pub(crate) const FRAMES: &str = "application/vnd.simsim.frames";
