//! What the server tells people by itself: how jobs ended, and what is missing.
//!
//! ```text
//! jobs that ended ─┐                       one transaction            one delivery a notification
//! what is missing ─┴► look, every 3 s ─► outbox, absences, noticed ─► mail | webhook | program
//! ```
//! An end that was looked at is marked in the transaction that writes what is told of it, so each is in the outbox once,
//! and goes out at least once. Nothing else waits for a delivery.
//!
//! | room | does |
//! |---|---|
//! | `look` | what there is to tell, and to whom |
//! | `missing` | what is missing, as one notification looks at it |
//! | `facts` | what the catalog and the nodes know of it |
//! | `deliver` | the outbox goes out, each message until somebody takes it |
//! | `letter` | a message in words |

mod deliver;
mod facts;
mod letter;
mod look;
mod missing;

pub(crate) use deliver::{deliver_on, is_undelivered, mail_of, post_of, send};
pub(crate) use letter::{letter_of, notices};
pub(crate) use look::look_on;

use simsim_catalog::Notification;

use crate::ServerError;
use crate::api::NotificationRequest;

/// What a notification is, from its row.
pub(crate) fn request_of(row: &Notification) -> Result<NotificationRequest, ServerError> {
    serde_json::from_str(&row.document).map_err(|error| {
        ServerError::Lost(format!("notification '{}' cannot be read: {error}", row.name))
    })
}

/// Binds a sealed secret to its notification.
pub(crate) fn purpose(name: &str) -> Vec<u8> {
    [b"secret of notification ".as_slice(), name.as_bytes()].concat()
}
