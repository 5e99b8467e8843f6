//! The writing half of a session: one queue, one task, and a beat when there is nothing to say.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::coding::{Bytes, Outward};
use crate::envelope::{Envelope, Part};
use crate::verbs::Event;

/// Messages that wait to be written. Events are small; what answers may take together is bounded
/// where they are made.
pub(crate) const OUT_QUEUE: usize = 16;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Envelope),
    /// A large answer, and the room that it takes until it is written.
    Answer(Envelope, OwnedSemaphorePermit),
    /// Write this and close.
    Last(Envelope),
}

impl Outgoing {
    /// An event of call `id`; `None` for one that is too large to send.
    pub(crate) fn event(id: u64, event: &Event) -> Option<Self> {
        let envelope = Envelope::new(id, Part::Event, event.number(), event.encode());
        envelope.sized().ok().map(Outgoing::Message)
    }

    /// Closes the session with a reason.
    pub(crate) fn goodbye(reason: &str) -> Option<Self> {
        Envelope::goodbye(reason).sized().ok().map(Outgoing::Last)
    }
}

/// Writes until the queue ends, and a beat whenever it was empty for `beat`.
pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(
    mut to: W,
    mut coding: Box<dyn Outward>,
    mut queue: mpsc::Receiver<Outgoing>,
    beat: Duration,
) -> io::Result<()> {
    let mut frame = |envelope| -> io::Result<Bytes> {
        coding.frame(envelope).map_err(|reason| {
            tracing::error!(reason, "a control message could not be sent");
            io::Error::other(reason)
        })
    };
    loop {
        match tokio::time::timeout(beat, queue.recv()).await {
            Ok(Some(Outgoing::Message(envelope))) => to.write_all(&frame(envelope)?).await?,
            Ok(Some(Outgoing::Answer(envelope, _room))) => {
                to.write_all(&frame(envelope)?).await?;
            }
            Ok(Some(Outgoing::Last(envelope))) => {
                to.write_all(&frame(envelope)?).await?;
                break;
            }
            Ok(None) => break,
            Err(_) => to.write_all(&frame(Envelope::beat())?).await?,
        }
        if queue.is_empty() {
            to.flush().await?;
        }
    }
    to.flush().await?;
    to.shutdown().await
}
