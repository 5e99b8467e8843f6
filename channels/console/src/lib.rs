//! The console channel: JSON over HTTP between a server and whoever steers it.
//!
//! Two listeners, one handler. The local socket is for the command line on the server's host: its
//! file mode is its access control, and its callers have every right. Port 11401 is TLS for
//! everybody else: programs and command lines with API tokens, browsers with sessions. Who proves
//! nothing gets the page to log in and the health checks. See `docs/protocol/console.md`.
//!
//! | room | does |
//! |---|---|
//! | `listen` | accepts connections, within the limits for strangers |
//! | `answer` | from a request to its response: who asks, what for |
//! | `body`, `reply` | JSON of strangers; documents, problems, streams |
//! | [`page`] | pages for browsers, and the forms on them |
//! | [`api`] | what the side behind is asked |
//! | `local`, `remote`, `dialled` | the dialling ends |
//! | `watched` | health and figures |
//! | `tls` | the certificate of the port |

mod answer;
pub mod api;
mod body;
mod dialled;
mod error;
mod listen;
mod local;
pub mod page;
mod remote;
mod reply;
mod tls;
mod watched;

pub use answer::RESOURCES;
pub use api::{Api, ApiError, ApiReply, Asker, Credentials, NotKnown, SecretText};
pub use error::ConsoleError;
pub use listen::{serve_local, serve_tls};
pub use local::LocalClient;
pub use remote::{RemoteClient, ServerProof, pin_of_file};
pub use tls::TlsIdentity;
