//! The console channel: JSON over HTTP between a server and whoever steers it.
//!
//! Two listeners, one handler. The local socket is for the command line on the server's host: its
//! file mode is its access control, and its callers have every right. Port 11401 is TLS for
//! everybody else; until the suite has users and roles it answers with a status page and a health
//! check, and refuses the API. See `docs/protocol/console.md`.

mod error;
mod listen;
mod local;
mod tls;

pub use error::ConsoleError;
pub use listen::{Api, ApiError, ApiReply, ApiRequest, Caller, serve_local, serve_tls};
pub use local::LocalClient;
pub use tls::TlsIdentity;
