//! The wire as yamux wants it: small writes gathered, large ones passed on without a copy, reads
//! through a buffer, and the time of the last byte that came.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ends::{Ends, Frames};
use crate::BoxedWire;

/// Bytes read at once: heads of frames and small bodies come together.
const READ_BYTES: usize = 64 * 1024;
/// A write below this is kept until more comes or it is flushed.
const SMALL_BYTES: usize = 4 * 1024;
/// What is kept at most.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// When the peer was last heard.
#[derive(Debug)]
pub(super) struct Heard {
    base: Instant,
    at_ms: AtomicU64,
}

impl Heard {
    fn mark(&self) {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Relaxed);
    }

    pub(super) fn silent(&self) -> Duration {
        let at = Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
        self.base.elapsed().saturating_sub(at)
    }
}

pub(super) struct Line {
    wire: BoxedWire,
    heard: Arc<Heard>,
    /// Received and not taken yet: `read[taken..filled]`.
    read: Box<[u8]>,
    taken: usize,
    filled: usize,
    /// To be sent: `kept[sent..]`.
    kept: Vec<u8>,
    sent: usize,
    frames: Frames,
}

impl Line {
    pub(super) fn new(wire: BoxedWire, ends: Ends) -> (Self, Arc<Heard>) {
        let heard = Arc::new(Heard { base: Instant::now(), at_ms: AtomicU64::new(0) });
        let read = vec![0; READ_BYTES].into_boxed_slice();
        let kept = Vec::with_capacity(KEPT_BYTES_MAX);
        let line = Self {
            wire,
            heard: Arc::clone(&heard),
            read,
            taken: 0,
            filled: 0,
            kept,
            sent: 0,
            frames: Frames::new(ends),
        };
        (line, heard)
    }

    /// Sends what is kept.
    fn send_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.kept.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.wire).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.kept.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends what is kept and `more` in one call; says how much of `more` went.
    fn send_both(&mut self, cx: &mut Context<'_>, more: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let kept = self.kept.get(self.sent..).unwrap_or_default();
            let before = kept.len();
            let both = [io::IoSlice::new(kept), io::IoSlice::new(more)];
            let sent = ready!(Pin::new(&mut self.wire).poll_write_vectored(cx, &both))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent.min(before);
            if sent >= before {
                self.kept.clear();
                self.sent = 0;
                if sent > before {
                    return Poll::Ready(Ok(sent - before));
                }
            }
        }
    }
}

impl futures_io::AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if line.taken == line.filled {
            let direct = into.len() >= READ_BYTES;
            let mut buffer = match direct {
                true => ReadBuf::new(into),
                false => ReadBuf::new(&mut line.read),
            };
            ready!(Pin::new(&mut line.wire).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read > 0 {
                line.heard.mark();
            }
            if direct || read == 0 {
                line.frames.see(into.get(..read).unwrap_or_default());
                return Poll::Ready(Ok(read));
            }
            line.taken = 0;
            line.filled = read;
        }
        let waiting = line.read.get(line.taken..line.filled).unwrap_or_default();
        let now = waiting.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..now), waiting.get(..now)) {
            to.copy_from_slice(from);
            line.frames.see(from);
        }
        line.taken += now;
        Poll::Ready(Ok(now))
    }
}

impl futures_io::AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        if bytes.len() >= SMALL_BYTES {
            if line.wire.is_write_vectored() {
                return line.send_both(cx, bytes);
            }
            ready!(line.send_kept(cx))?;
            return Pin::new(&mut line.wire).poll_write(cx, bytes);
        }
        if line.kept.len() + bytes.len() > KEPT_BYTES_MAX {
            ready!(line.send_kept(cx))?;
        }
        line.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        ready!(line.send_kept(cx))?;
        Pin::new(&mut line.wire).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        ready!(line.send_kept(cx))?;
        Pin::new(&mut line.wire).poll_shutdown(cx)
    }
}
