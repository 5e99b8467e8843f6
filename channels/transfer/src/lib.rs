//! Backup data between a client and a device, both ends.
//!
//! A ticket came to both over the control channel. The client opens it with a proof, both ends
//! derive keys from its secret and two nonces, and from then on every body on the wire is a row
//! of sealed frames; a stranger sees the random transfer id, sizes and times, and nothing else.
//! `docs/protocol/transfer-http.md` has the bytes.
//!
//! From the inside out: [`verb`] names what may be asked, `keys` turns a ticket into proofs and
//! keys, `frame` seals and opens bodies, `messages` says what stands in them, `window` refuses
//! what was seen before, `handler` is what a device implements, and `http` carries it all over
//! any wire: [`HttpTransfer`] dials by its [`Route`]s, [`TransferListener`] listens at its
//! [`Entrance`]s. `ftp` makes wires of FTP data connections, for the same two.
//!
//! [`throttle`] is how fast a device lets all this go.
//!
//! Beside transfers stand raw streams, plain bytes of other people's tools over TLS: [`gate`] is what
//! every door asks of whoever stands behind it.

mod device_gate;
mod error;
pub mod frame;
mod ftp;
pub mod gate;
mod handler;
mod http;
pub mod keys;
mod ledger;
pub mod messages;
mod pipe;
mod routes;
pub mod throttle;
pub mod verb;
mod window;
mod wrong_secrets;

pub use device_gate::{DeviceGate, stream_ticket};
pub use error::TransferError;
pub use ftp::{DATA_CONNECTION, DataPorts, DataPortsError, FtpListener, FtpOptions, FtpWay};
pub use handler::TransferHandler;
pub use http::{
    Brought, DialOptions, Dialer, Dialing, Entrance, HttpTransfer, Knock, ListenOptions, OnWait,
    Route, Sample, StreamReader, StreamWriter, TransferListener, knock, knock_ftp,
};
pub use pipe::{PipeReader, PipeWriter, ReaderGone, pipe};
pub use routes::{RoutesError, routes};
pub use verb::Verb;
pub use window::Window;
pub use wrong_secrets::{Counted, WRONG_SECRETS_MAX, WrongSecrets};
