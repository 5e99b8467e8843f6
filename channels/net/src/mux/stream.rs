//! One stream: a wire whose end can be told from its loss.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead as _, AsyncWrite as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::Open;
use super::driver::FRAME_BYTES;
use super::ends::Ends;

/// Slices below this are gathered into one frame.
const SMALL_BYTES: usize = 4 * 1024;

/// A stream of a multiplexer. One that is dropped without a shutdown is reset at the other side.
pub(super) struct MuxStream {
    stream: yamux::Stream,
    /// Our half was ended in order.
    shut: bool,
    gathered: Vec<u8>,
    live: Arc<AtomicUsize>,
    ends: Ends,
    /// Who has a stream keeps the connection open.
    _held: mpsc::Sender<Open>,
}

impl MuxStream {
    pub(super) fn new(
        stream: yamux::Stream,
        live: &Arc<AtomicUsize>,
        ends: &Ends,
        held: mpsc::Sender<Open>,
    ) -> Self {
        live.fetch_add(1, Ordering::AcqRel);
        ends.open(stream.id().val());
        let (live, ends) = (Arc::clone(live), ends.clone());
        Self { stream, shut: false, gathered: Vec::new(), live, ends, _held: held }
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.ends.forget(self.stream.id().val());
        self.live.fetch_sub(1, Ordering::AcqRel);
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let free = into.initialize_unfilled();
        // An error is that the other side could not be told how much was read: no end in order.
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, free)).unwrap_or(0);
        if read == 0 && !self.ends.has_ended(self.stream.id().val()) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the other side gave the stream up, or the connection below it ended",
            )));
        }
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes).map_err(|error| lost(&error))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let Some(first) = filled.next() else { return Poll::Ready(Ok(0)) };
        if first.len() >= SMALL_BYTES || filled.next().is_none() {
            return self.poll_write(cx, first);
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        for slice in slices {
            let now = slice.len().min(FRAME_BYTES - gathered.len());
            gathered.extend_from_slice(slice.get(..now).unwrap_or_default());
        }
        let written = self.as_mut().poll_write(cx, &gathered);
        self.gathered = gathered;
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|error| lost(&error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        if self.stream.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        ready!(Pin::new(&mut self.stream).poll_close(cx)).map_err(|error| lost(&error))?;
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

fn lost(error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, format!("the connection below ended: {error}"))
}
