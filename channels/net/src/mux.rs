//! Many wires upon one: a multiplexer.
//!
//! Where only one connection can be had (a pair of FTP data ports, the connection of a client that
//! nobody can dial) everything that two hosts say to each other goes upon it, each conversation on
//! a stream of its own. Either side opens streams, either side takes them, and a stream is a wire
//! like any other. What travels is yamux, version 0; its frames carry no secrets and prove nothing:
//! who is at the other end comes out above, as on every wire.
//!
//! Memory is bounded: a stream has a window of 256 KiB, which grows on long lines while all windows
//! together stay below [`MuxLimits::memory_bytes_max`]. Who lets a stream fill up slows down that
//! stream and no other.
//!
//! Both sides send a byte every [`MuxLimits::heartbeat`] on a stream that is kept for it, so that no
//! firewall forgets the connection, and a side that has heard nothing for [`MuxLimits::dead_peer`]
//! ends it. When the wire ends, every stream ends: a read that waits for more than it got fails with
//! `ConnectionReset`, and only what the other side ended in order reads as an end.

mod driver;
mod ends;
mod line;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use simsim_model::{Kind, limits};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::BoxedWire;
use stream::MuxStream;

/// Which end of the wire this is. The two ends must differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that made the connection.
    Dialer,
    /// The one that took it.
    Listener,
}

/// How much a multiplexer may hold, and how long it waits.
#[derive(Debug, Clone)]
pub struct MuxLimits {
    /// Streams at the same time, of both sides together: 1 to 1024. One more is refused where it is
    /// opened here, and reset where the other side opens it.
    pub streams_max: usize,
    /// So many until [`MuxHandle::allow_all`] says that the other side is who it should be.
    pub streams_unproven: usize,
    /// What was received and not read yet, of all streams together. At least 256 KiB for each stream
    /// and 4 MiB more; less is raised to that.
    pub memory_bytes_max: usize,
    /// Sent this often while nothing else is.
    pub heartbeat: Duration,
    /// A peer that was not heard for so long is dead.
    pub dead_peer: Duration,
}

impl MuxLimits {
    /// What is really held to: [`MuxLimits::memory_bytes_max`], raised to what the streams need.
    pub fn windows_bytes_max(&self) -> usize {
        driver::windows_bytes_max(self)
    }
}

impl Default for MuxLimits {
    /// 32 streams in 32 MiB; a heartbeat every 8 s, dead after 30 s.
    fn default() -> Self {
        Self {
            streams_max: 32,
            streams_unproven: usize::MAX,
            memory_bytes_max: limits::CONNECTION_MEMORY_BYTES_MAX,
            heartbeat: Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS),
            dead_peer: Duration::from_millis(limits::DEAD_PEER_MS),
        }
    }
}

/// No stream could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// The connection below is gone.
    #[error("the connection that carries it has ended: {why}")]
    Ended { why: String },
    /// There are as many streams as there may be.
    #[error("there are {streams_max} streams on one connection already: end some first")]
    Full { streams_max: usize },
}

impl MuxError {
    /// `Unreachable` or `Busy`.
    pub fn kind(&self) -> Kind {
        match self {
            MuxError::Ended { .. } => Kind::Unreachable,
            MuxError::Full { .. } => Kind::Busy,
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuxEnd {
    /// One of the two sides closed it; else it was lost.
    pub closed: bool,
    /// For people.
    pub why: String,
}

/// Somebody wants a stream.
struct Open(oneshot::Sender<Result<MuxStream, MuxError>>);

/// Makes a wire into many. Must be called on a runtime; one task drives the wire.
pub struct Mux;

impl Mux {
    /// Both ends of what comes of `wire`: a handle that opens streams, and the streams that the
    /// other side opens.
    ///
    /// The connection is closed in order when nobody holds anything of it any more (no handle, no
    /// [`MuxIncoming`], no stream): what was written is sent first.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(wire: BoxedWire, side: Side, limits: MuxLimits) -> (MuxHandle, MuxIncoming) {
        let (orders, ordered) = mpsc::channel(8);
        let streams_max = limits.streams_max.clamp(1, STREAMS_MAX);
        let allowed = Arc::new(AtomicUsize::new(limits.streams_unproven.clamp(1, streams_max)));
        let (over, ended) = watch::channel(None);
        let (incoming, arrived) = mpsc::channel(limits.streams_max.clamp(1, STREAMS_MAX));
        let held = orders.downgrade();
        let driver =
            driver::Driver::new(wire, side, limits, Arc::clone(&allowed), held, ordered, incoming);
        let cut = Arc::new(Notify::new());
        tokio::spawn(driver.run(Arc::clone(&cut), over));
        let watch = MuxWatch { cut, ended };
        let handle = MuxHandle { orders: orders.clone(), allowed, streams_max, watch };
        (handle, MuxIncoming { arrived, _held: orders })
    }
}

/// The most streams that [`MuxLimits::streams_max`] may allow.
const STREAMS_MAX: usize = 1024;

/// Opens streams. Clones are the same.
#[derive(Clone)]
pub struct MuxHandle {
    orders: mpsc::Sender<Open>,
    allowed: Arc<AtomicUsize>,
    streams_max: usize,
    watch: MuxWatch,
}

impl MuxHandle {
    /// A new stream to the other side, which hears of it with the first byte that is written.
    ///
    /// # Errors
    /// [`MuxError::Ended`] when the wire is gone, [`MuxError::Full`] when there are too many.
    pub async fn open(&self) -> Result<BoxedWire, MuxError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Open(answer)).await;
        // An order that is given at the very end may lie in the queue as long as anybody can give
        // more, and nobody takes it: the end itself is waited for as well.
        let opened = tokio::select! {
            biased;
            opened = answered => opened.ok(),
            _ = self.watch.ended() => None,
        };
        match opened {
            Some(opened) => opened.map(|stream| Box::new(stream) as BoxedWire),
            None => Err(MuxError::Ended { why: self.watch.ended().await.why }),
        }
    }

    /// The other side has proved who it is: from now on it may have [`MuxLimits::streams_max`].
    pub fn allow_all(&self) {
        self.allowed.store(self.streams_max, Ordering::Release);
    }

    /// Sees the end of the connection without keeping it open.
    pub fn watch(&self) -> MuxWatch {
        self.watch.clone()
    }
}

/// Sees the end of a connection, and can cut it, without keeping it open.
#[derive(Clone)]
pub struct MuxWatch {
    cut: Arc<Notify>,
    ended: watch::Receiver<Option<MuxEnd>>,
}

impl MuxWatch {
    /// Waits for the end, and says how it came.
    pub async fn ended(&self) -> MuxEnd {
        let mut ended = self.ended.clone();
        let told = ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        let defect =
            || MuxEnd { closed: false, why: "a defect here; the log says where".to_owned() };
        told.unwrap_or_else(defect)
    }

    /// Has it ended?
    pub fn is_over(&self) -> bool {
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }

    /// Ends the connection at once, with all that is on it. What was written and not sent yet is lost.
    pub fn cut(&self) {
        self.cut.notify_one();
    }
}

/// The streams that the other side opens.
pub struct MuxIncoming {
    arrived: mpsc::Receiver<MuxStream>,
    /// Who takes streams keeps the connection open.
    _held: mpsc::Sender<Open>,
}

impl MuxIncoming {
    /// The next stream; `None` when the connection has ended. May be given up at any time without
    /// losing one.
    pub async fn next(&mut self) -> Option<BoxedWire> {
        self.arrived.recv().await.map(|stream| Box::new(stream) as BoxedWire)
    }
}
