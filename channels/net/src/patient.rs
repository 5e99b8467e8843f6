//! A connection on which the other end may stand still for as long as it likes, and may not be gone.
//!
//! TCP_USER_TIMEOUT tells a peer that is gone from one that is slow as long as that one takes bytes. A
//! reader that takes none for 30 s (a program behind a pipe, a disk that is busy, a device whose
//! memory others have) is ended by it all the same, although it answers each question whether it takes
//! more. So while the other end stands still and answers, the time-out moves on ahead of it, a few
//! seconds each time; the system then asks as often, and ends the connection as soon as one question
//! stays without an answer for long. Nothing here waits by itself: whoever holds the connection decides
//! how long it may stand still.
//!
//! [`AsyncWriteExt::shutdown`](tokio::io::AsyncWriteExt::shutdown) returns when the other end has
//! everything: what the system still holds when a connection is dropped has nobody to watch over it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::tcp_info::TcpInfo;
use crate::tune::{USER_TIMEOUT_MS, tune};

/// How often a connection with bytes on their way is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// While the other end stands still and answers, the time-out is so far ahead. A question comes at
/// least as often, and one without an answer is the last but one: 30 s from the last answer to the end.
const AHEAD: Duration = Duration::from_secs(15);
/// The first look whether the other end has everything, and the longest pause between two.
const CLOSING: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// A TCP connection for data.
#[derive(Debug)]
pub struct Patient {
    stream: TcpStream,
    /// When to look next, while bytes may be on their way.
    look: Option<Pin<Box<Sleep>>>,
    /// Since when the other end stands still.
    stands: Option<Instant>,
    /// The time-out was moved.
    moved: bool,
    closing: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl Patient {
    /// Tunes the connection as well.
    pub fn new(stream: TcpStream) -> Self {
        tune(&stream);
        Self { stream, look: None, stands: None, moved: false, closing: None }
    }

    pub fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(Ok(_)) if self.look.is_none() => self.look = Some(Box::pin(sleep(LOOK))),
            Poll::Ready(_) => {}
            Poll::Pending => self.watch(cx),
        }
        done
    }

    /// Looks after the time-out when it is due; called whenever somebody waits for the connection.
    fn watch(&mut self, cx: &mut Context<'_>) {
        while let Some(look) = &mut self.look {
            if look.as_mut().poll(cx).is_pending() {
                return;
            }
            look.as_mut().reset(Instant::now() + LOOK);
            let info = TcpInfo::of(&self.stream);
            match info.filter(TcpInfo::is_outstanding) {
                Some(info) if info.stands_still() => {
                    let since = *self.stands.get_or_insert_with(Instant::now);
                    if info.answers() {
                        self.time_out(since.elapsed() + AHEAD);
                    }
                }
                found => {
                    self.stands = None;
                    if self.moved {
                        self.time_out(Duration::from_millis(USER_TIMEOUT_MS.into()));
                        self.moved = false;
                    }
                    if found.is_none() {
                        self.look = None;
                    }
                }
            }
        }
    }

    fn time_out(&mut self, after: Duration) {
        let after = u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(USER_TIMEOUT_MS);
        self.moved = true;
        if let Err(error) = sockopt::set_tcp_user_timeout(&self.stream, after) {
            tracing::debug!(option = "TCP_USER_TIMEOUT", %error, "socket option not set");
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if read.is_pending() {
            self.watch(cx);
        }
        read
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.closing = Some((Box::pin(sleep(CLOSING.0)), CLOSING.0));
        }
        loop {
            let rest = TcpInfo::of(&self.stream).filter(TcpInfo::is_outstanding);
            if rest.is_none() {
                return Poll::Ready(Ok(()));
            }
            self.watch(cx);
            let Some((wait, pause)) = &mut self.closing else { return Poll::Ready(Ok(())) };
            ready!(wait.as_mut().poll(cx));
            *pause = (*pause * 2).min(CLOSING.1);
            wait.as_mut().reset(Instant::now() + *pause);
        }
    }
}
