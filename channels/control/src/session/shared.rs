//! What the calls of one session share: who waits for which answer, and why the session ended.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::{mpsc, oneshot, watch};

use super::Outgoing;
use super::heard::{EventsIn, Room};
use crate::coding::Inward;
use crate::envelope::{Envelope, Goodbye, Part};
use crate::frame::{FrameError, FrameReader};
use crate::verbs::{Event, Reply, decode_body};
use crate::{ControlError, Hello, VerbError};

/// Bytes of a peer's words that are shown.
const REASON_BYTES_MAX: usize = 500;

/// The calling side of one session.
pub(super) struct Shared {
    pub(super) label: Arc<str>,
    pub(super) peer: Hello,
    pub(super) out: mpsc::Sender<Outgoing>,
    pub(super) next: AtomicU64,
    pub(super) calls: Mutex<Waiting>,
    pub(super) ended: watch::Sender<Option<Arc<str>>>,
    pub(super) room: Room,
}

/// Calls that wait for their answers.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) open: HashMap<u64, Pending>,
    /// Set once; no call is opened afterwards.
    pub(super) ended: Option<Arc<str>>,
}

/// A call that waits for its answer.
pub(super) struct Pending {
    pub(super) verb: u16,
    pub(super) name: &'static str,
    pub(super) events: EventsIn,
    pub(super) reply: oneshot::Sender<Result<Reply, ControlError>>,
}

impl Shared {
    pub(super) fn calls(&self) -> MutexGuard<'_, Waiting> {
        // No holder of the lock leaves the map half changed.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lost(&self, reason: &Arc<str>) -> ControlError {
        ControlError::Lost { peer: Arc::clone(&self.label), reason: Arc::clone(reason) }
    }

    /// Ends all calls with the first reason given.
    pub(super) fn end(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        let open = {
            let mut calls = self.calls();
            if calls.ended.is_some() {
                return;
            }
            calls.ended = Some(Arc::clone(&reason));
            std::mem::take(&mut calls.open)
        };
        for pending in open.into_values() {
            let _ = pending.reply.send(Err(self.lost(&reason)));
        }
        self.ended.send_replace(Some(reason));
    }

    /// Takes one envelope; a reason when the session is over.
    fn take(&self, envelope: Envelope) -> Option<String> {
        let id = envelope.id;
        match envelope.part {
            Part::Event => {
                let calls = self.calls();
                if let (Some(pending), Ok(event)) =
                    (calls.open.get(&id), Event::decode(envelope.verb, &envelope.body))
                {
                    self.room.take(&pending.events, event, envelope.body.len());
                }
            }
            Part::Reply | Part::Failure | Part::Unsupported => {
                // A call that nobody waits for any more is not in the map.
                let pending = self.calls().open.remove(&id)?;
                let result = self.result(&envelope, &pending);
                let _ = pending.reply.send(result);
            }
            Part::Goodbye => {
                let goodbye: Goodbye = decode_body("goodbye", &envelope.body).unwrap_or_default();
                let reason = crate::wire::cut(&goodbye.reason, REASON_BYTES_MAX);
                return Some(format!("closed by the other side ({})", reason.escape_debug()));
            }
            // Beats, a second hello, and parts of later versions.
            _ => {}
        }
        None
    }

    fn result(&self, envelope: &Envelope, pending: &Pending) -> Result<Reply, ControlError> {
        let malformed = |reason: String| ControlError::Malformed {
            peer: Arc::clone(&self.label),
            reason: format!("answer to '{}': {reason}", pending.name),
        };
        match envelope.part {
            Part::Unsupported => Err(ControlError::Unsupported {
                peer: Arc::clone(&self.label),
                suite_version: self.peer.suite_version.clone(),
                verb: pending.name,
            }),
            Part::Failure => match decode_body::<VerbError>("failure", &envelope.body) {
                Ok(error) => Err(ControlError::Verb(error)),
                Err(error) => Err(malformed(error.to_string())),
            },
            _ if envelope.verb != pending.verb => {
                Err(malformed(format!("it belongs to verb {}", envelope.verb)))
            }
            _ => Reply::decode(envelope.verb, &envelope.body)
                .map_err(|error| malformed(error.to_string())),
        }
    }
}

/// Reads until the session is over, and says why.
pub(super) async fn listen<R: AsyncRead + Unpin>(
    from: &mut R,
    reader: &mut FrameReader,
    coding: &mut dyn Inward,
    shared: &Shared,
    dead: Duration,
) -> String {
    loop {
        let frame = match reader.next_within(from, dead).await {
            Ok(frame) => frame,
            Err(error) => return error.to_string(),
        };
        match coding.envelope(frame) {
            Ok(envelope) => {
                if let Some(reason) = shared.take(envelope) {
                    return reason;
                }
            }
            Err(reason) => return reason,
        }
    }
}

/// The listener's hello.
pub(super) async fn first<R: AsyncRead + Unpin>(
    from: &mut R,
    reader: &mut FrameReader,
    coding: &mut dyn Inward,
) -> Result<Hello, String> {
    let frame = match reader.next(from).await {
        Ok(frame) => frame,
        Err(FrameError::Closed) => return Err("it closed the connection without a hello".into()),
        Err(error) => return Err(error.to_string()),
    };
    let envelope = coding.envelope(frame)?;
    match envelope.part {
        Part::Hello => decode_body("hello", &envelope.body).map_err(|error| error.to_string()),
        Part::Goodbye => {
            let goodbye: Goodbye = decode_body("goodbye", &envelope.body).unwrap_or_default();
            let reason = crate::wire::cut(&goodbye.reason, REASON_BYTES_MAX);
            Err(format!("it closed the session ({})", reason.escape_debug()))
        }
        _ => Err("its first message is not a hello".to_owned()),
    }
}
