//! The one task that reads and writes the wire.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead as _, AsyncWrite as _};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::ends::Ends;
use super::line::{Heard, Line};
use super::stream::MuxStream;
use super::{MuxEnd, MuxError, MuxLimits, Open, STREAMS_MAX, Side};
use crate::BoxedWire;

/// The most that one frame carries: large enough that its head costs nothing, small enough that a
/// heartbeat behind it does not wait.
pub(super) const FRAME_BYTES: usize = 64 * 1024;
/// yamux gives every stream this much from the beginning.
const WINDOW_BYTES: usize = 256 * 1024;
/// Streams that are dropped here and that yamux still knows, while the wire takes nothing.
const STREAMS_SPARE: usize = 16;
/// Room for windows to grow.
const GROWTH_BYTES_MIN: usize = 4 << 20;
/// The stream of heartbeats: the first one of the dialer.
const BEAT_STREAM: u32 = 1;

pub(super) struct Driver {
    connection: yamux::Connection<Line>,
    side: Side,
    /// Streams that there may be now.
    allowed: Arc<AtomicUsize>,
    /// One stream too many was written to the log.
    told: bool,
    heartbeat: Duration,
    dead_peer: Duration,
    heard: Arc<Heard>,
    live: Arc<AtomicUsize>,
    ends: Ends,
    /// For new streams, which keep the connection open as handles do.
    held: mpsc::WeakSender<Open>,
    orders: mpsc::Receiver<Open>,
    incoming: mpsc::Sender<MuxStream>,
    /// Somebody waits for a stream that cannot be opened yet.
    opening: Option<oneshot::Sender<Result<MuxStream, MuxError>>>,
    beat: Option<yamux::Stream>,
    beaten: Option<Instant>,
}

/// Streams that yamux may know: those that there may be, and the one for heartbeats.
fn known_max(limits: &MuxLimits) -> usize {
    limits.streams_max.clamp(1, STREAMS_MAX) + STREAMS_SPARE + 1
}

/// What all windows of one connection may come to.
pub(super) fn windows_bytes_max(limits: &MuxLimits) -> usize {
    limits.memory_bytes_max.max(known_max(limits) * WINDOW_BYTES + GROWTH_BYTES_MIN)
}

/// Why the driver ends.
enum End {
    Lost(String),
    /// The other side closed it.
    Closed,
    /// Nobody on this side holds anything of it.
    Close,
    /// This side cuts it: streams learn of it as the connection is dropped.
    Cut,
}

impl Driver {
    pub(super) fn new(
        wire: BoxedWire,
        side: Side,
        limits: MuxLimits,
        allowed: Arc<AtomicUsize>,
        held: mpsc::WeakSender<Open>,
        orders: mpsc::Receiver<Open>,
        incoming: mpsc::Sender<MuxStream>,
    ) -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(known_max(&limits))
            .set_max_connection_receive_window(Some(windows_bytes_max(&limits)))
            .set_split_send_size(FRAME_BYTES);
        let mode = match side {
            Side::Dialer => yamux::Mode::Client,
            Side::Listener => yamux::Mode::Server,
        };
        let ends = Ends::default();
        let (line, heard) = Line::new(wire, ends.clone());
        Self {
            connection: yamux::Connection::new(line, config, mode),
            side,
            allowed,
            told: false,
            heartbeat: limits.heartbeat,
            dead_peer: limits.dead_peer,
            heard,
            live: Arc::default(),
            ends,
            held,
            orders,
            incoming,
            opening: None,
            beat: None,
            beaten: None,
        }
    }

    pub(super) async fn run(mut self, cut: Arc<Notify>, over: watch::Sender<Option<MuxEnd>>) {
        let period = (self.heartbeat / 4).min(self.dead_peer / 8).max(Duration::from_millis(5));
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = tokio::select! {
            end = poll_fn(|cx| self.step(cx, &mut tick)) => end,
            () = cut.notified() => End::Cut,
        };
        let end = match end {
            End::Cut => MuxEnd { closed: true, why: "it was cut on this side".to_owned() },
            End::Lost(why) => MuxEnd { closed: false, why },
            End::Closed => MuxEnd { closed: true, why: "the other side closed it".to_owned() },
            End::Close => self.close().await,
        };
        tracing::debug!(side = ?self.side, why = end.why, "a multiplexed connection ended");
        // Before anybody can ask: who finds no driver finds the reason.
        over.send_replace(Some(end));
    }

    async fn close(&mut self) -> MuxEnd {
        self.beat = None;
        let closing = poll_fn(|cx| self.connection.poll_close(cx));
        let why = match tokio::time::timeout(self.dead_peer, closing).await {
            Ok(Ok(())) => "it was closed on this side".to_owned(),
            Ok(Err(error)) => format!("it was closed on this side, and then: {error}"),
            Err(_) => "it was closed on this side, and the other took no more".to_owned(),
        };
        MuxEnd { closed: true, why }
    }

    fn step(&mut self, cx: &mut Context<'_>, tick: &mut Interval) -> Poll<End> {
        loop {
            if let Poll::Ready(end) = self.take_streams(cx) {
                return Poll::Ready(end);
            }
            // What came of this turn has to be seen by the connection once more.
            match self.follow_orders(cx) {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                Poll::Ready(None) => continue,
                Poll::Pending => {}
            }
            let mut ticked = false;
            while tick.poll_tick(cx).is_ready() {
                ticked = true;
            }
            if ticked && self.heard.silent() >= self.dead_peer {
                let seconds = self.heard.silent().as_secs_f32();
                return Poll::Ready(End::Lost(format!("nothing was heard for {seconds:.1} s")));
            }
            match self.keep_beating(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Reads and writes all that can be, and hands on what the other side opened.
    fn take_streams(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let stream = match self.connection.poll_next_inbound(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(stream))) => stream,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Lost(error.to_string())),
                Poll::Ready(None) => return Poll::Ready(End::Closed),
            };
            if self.side == Side::Listener && stream.id().val() == BEAT_STREAM {
                self.beat = Some(stream);
                continue;
            }
            let allowed = self.allowed.load(Ordering::Acquire);
            if self.live.load(Ordering::Acquire) >= allowed {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(allowed, "one stream too many; it and others are reset");
                }
                continue;
            }
            // Without anybody who holds the connection it is about to be closed.
            let Some(held) = self.held.upgrade() else { continue };
            // Fails where nobody takes streams: dropped, it is reset.
            let _ = self.incoming.try_send(MuxStream::new(stream, &self.live, &self.ends, held));
        }
    }

    /// Ready with `None` when a stream was opened.
    fn follow_orders(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        loop {
            if self.opening.is_none() {
                match self.orders.poll_recv(cx) {
                    Poll::Ready(Some(Open(answer))) => self.opening = Some(answer),
                    Poll::Ready(None) => return Poll::Ready(Some(End::Close)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let allowed = self.allowed.load(Ordering::Acquire);
            if self.live.load(Ordering::Acquire) >= allowed {
                let full = MuxError::Full { streams_max: allowed };
                if let Some(answer) = self.opening.take() {
                    let _ = answer.send(Err(full));
                }
                continue;
            }
            // The first stream of a dialer is the one for heartbeats.
            if self.side == Side::Dialer && self.beat.is_none() {
                return Poll::Pending;
            }
            return match self.connection.poll_new_outbound(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Some(End::Lost(error.to_string()))),
                Poll::Ready(Ok(stream)) => {
                    if let (Some(answer), Some(held)) = (self.opening.take(), self.held.upgrade()) {
                        // Nobody waits any more: dropped again, and never heard of there.
                        let _ =
                            answer.send(Ok(MuxStream::new(stream, &self.live, &self.ends, held)));
                    }
                    Poll::Ready(None)
                }
            };
        }
    }

    /// Sends a heartbeat where one is due and reads those of the other side. True when the
    /// connection has something new to do.
    fn keep_beating(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut new = false;
        if self.side == Side::Dialer && self.beat.is_none() {
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => (self.beat, new) = (Some(stream), true),
                Poll::Ready(Err(error)) => return Err(End::Lost(error.to_string())),
                Poll::Pending => return Ok(false),
            }
        }
        let Some(beat) = &mut self.beat else { return Ok(false) };
        let mut sink = [0; 64];
        loop {
            match Pin::new(&mut *beat).poll_read(cx, &mut sink) {
                Poll::Ready(Ok(0) | Err(_)) | Poll::Pending => break,
                Poll::Ready(Ok(_)) => new = true,
            }
        }
        let due = self.beaten.is_none_or(|at| at.elapsed() >= self.heartbeat);
        // One that finds no room is behind others: what is on its way proves as much.
        let mut quiet = Context::from_waker(Waker::noop());
        if due && let Poll::Ready(Ok(_)) = Pin::new(beat).poll_write(&mut quiet, &[0]) {
            self.beaten = Some(Instant::now());
            new = true;
        }
        Ok(new)
    }
}
