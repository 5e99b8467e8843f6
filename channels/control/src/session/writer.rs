//! The writing half of a session: one queue, one task, and a beat when there is nothing to say.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::envelope::{Envelope, Part};
use crate::verbs::Event;

/// Messages that wait to be written. With `limits::CONTROL_MESSAGE_BYTES_MAX` this bounds what a
/// slow peer can make a session hold.
pub(crate) const OUT_QUEUE: usize = 16;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Frame(Zeroizing<Vec<u8>>),
    /// Write this and close.
    Last(Zeroizing<Vec<u8>>),
}

impl Outgoing {
    /// An event of call `id`; `None` for one that is too large to send.
    pub(crate) fn event(id: u64, event: &Event) -> Option<Self> {
        let envelope = Envelope::new(id, Part::Event, event.number(), event.encode());
        envelope.into_frame().ok().map(Outgoing::Frame)
    }

    /// Closes the session with a reason.
    pub(crate) fn goodbye(reason: &str) -> Option<Self> {
        Envelope::goodbye(reason).into_frame().ok().map(Outgoing::Last)
    }
}

/// Writes until the queue ends, and a beat whenever it was empty for `beat`.
pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(
    mut to: W,
    mut queue: mpsc::Receiver<Outgoing>,
    beat: Duration,
) -> io::Result<()> {
    loop {
        match tokio::time::timeout(beat, queue.recv()).await {
            Ok(Some(Outgoing::Frame(frame))) => to.write_all(&frame).await?,
            Ok(Some(Outgoing::Last(frame))) => {
                to.write_all(&frame).await?;
                break;
            }
            Ok(None) => break,
            Err(_) => {
                if let Ok(frame) = Envelope::beat().into_frame() {
                    to.write_all(&frame).await?;
                }
            }
        }
        if queue.is_empty() {
            to.flush().await?;
        }
    }
    to.flush().await?;
    to.shutdown().await
}
