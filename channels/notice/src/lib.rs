//! The ways on which the server tells people: mail, a web address, a program on its own host.
//!
//! Each takes one [`Letter`] and says in words what became of it. Nothing here is kept and nothing is tried again: the
//! server's outbox does that. What the other side answers is hostile input: it is cut to a line.
//!
//! | room | does |
//! |---|---|
//! | `mail` | SMTP, with TLS from the start or by STARTTLS |
//! | `post` | HTTPS, one POST of JSON with a keyed hash of it |
//! | `program` | a program of the server's settings |

mod error;
mod letter;
mod mail;
mod post;
mod program;

pub use error::NoticeError;
pub use letter::Letter;
pub use mail::{Mail, Protection, check_mail};
pub use post::{Post, SIGNATURE_HEADER, check_post};
pub use program::run_program;

/// So long one delivery may take, whichever way.
pub const DELIVERY_MAX: std::time::Duration = std::time::Duration::from_secs(60);
