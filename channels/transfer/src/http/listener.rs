//! The device's end: takes wires at its entrances and keeps the sessions.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use simsim_model::{TransferId, limits};
use simsim_net::{Admission, BoxedWire};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer::{Caller, answer};
use super::entrance::{Arrived, Entrance};
use super::session::Sessions;
use super::watch::{Moved, Watched};
use crate::TransferHandler;
use crate::gate::StreamGate;

/// A pool of memory has so much more than the largest segment, at least.
const POOL_SPARE_BYTES: usize = 1 << 20;
/// What one connection reads ahead, and holds back on its way out.
const BUFFER_BYTES: usize = 32 << 10;

/// How the device listens.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// A transfer without a request for so long is aborted.
    pub session_idle: Duration,
    /// A connection on which no byte moves for so long is closed.
    pub stall_timeout: Duration,
    /// A connection with a raw stream on which no byte moves for so long is closed. Programs that
    /// make dumps are silent while they wait for locks; a host that is gone is noticed by TCP's
    /// keep-alives much sooner.
    pub stream_silence: Duration,
    /// While a reply is being made the client hears this often that it is.
    pub wait_interval: Duration,
    /// From accept to the first proof of a ticket, and the time for one head.
    pub handshake_timeout: Duration,
    /// At each entrance. A client of the suite has five at most.
    pub connections_max: usize,
    /// Handler calls at the same time; more wait.
    pub calls_max: usize,
    /// Memory for bodies of all connections together; who gets none waits. At least the largest body.
    pub body_bytes_max: usize,
    /// Memory for what is done with them, and for replies until they are sent; who gets none waits. At
    /// least the largest reply.
    pub work_bytes_max: usize,
    /// After the signal to stop, time for requests under way.
    pub drain_timeout: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            session_idle: Duration::from_secs(300),
            stall_timeout: Duration::from_millis(limits::DEAD_PEER_MS),
            stream_silence: Duration::from_secs(3600),
            wait_interval: Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS),
            handshake_timeout: Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS),
            connections_max: 1024,
            calls_max: 64,
            body_bytes_max: 22 << 20,
            work_bytes_max: 22 << 20,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

pub(crate) struct Device {
    pub handler: Arc<dyn TransferHandler>,
    pub options: ListenOptions,
    pub sessions: Sessions,
    pub opening: Mutex<()>,
    pub opens: Semaphore,
    pub calls: Arc<Semaphore>,
    /// For bodies, in KiB, and how much there is in all.
    pub memory: Arc<Semaphore>,
    pub memory_kib: u32,
    /// For the work on them and for replies, likewise.
    pub work: Arc<Semaphore>,
    pub work_kib: u32,
    /// Entrances that are served now.
    pub entrances: AtomicUsize,
    /// Who knows about raw streams.
    pub gate: OnceLock<Arc<dyn StreamGate>>,
}

/// The device's end of all its data ports. A transfer that was opened at one entrance goes on at
/// any other. Clones are the same.
#[derive(Clone)]
pub struct TransferListener {
    device: Arc<Device>,
}

impl TransferListener {
    pub fn new(handler: Arc<dyn TransferHandler>, options: ListenOptions) -> Self {
        let memory_kib = pool_kib(options.body_bytes_max);
        let work_kib = pool_kib(options.work_bytes_max);
        let device = Arc::new(Device {
            handler,
            sessions: Sessions::default(),
            opening: Mutex::new(()),
            opens: Semaphore::new(8),
            calls: Arc::new(Semaphore::new(options.calls_max.max(1))),
            memory: Arc::new(Semaphore::new(memory_kib as usize)),
            memory_kib,
            work: Arc::new(Semaphore::new(work_kib as usize)),
            work_kib,
            entrances: AtomicUsize::new(0),
            gate: OnceLock::new(),
            options,
        });
        Self { device }
    }

    /// From now on raw streams are taken at entrances with TLS, and this gate judges them. Before,
    /// callers are asked to come again. The first gate stays.
    pub fn take_streams(&self, gate: Arc<dyn StreamGate>) {
        let _ = self.device.gate.set(gate);
    }

    /// Who judges raw streams, once there is somebody.
    pub(crate) fn gate(&self) -> Option<Arc<dyn StreamGate>> {
        self.device.gate.get().cloned()
    }

    /// A raw stream may say nothing for so long.
    pub(crate) fn stream_silence(&self) -> Duration {
        self.device.options.stream_silence
    }

    /// What the device implements.
    pub(crate) fn handler(&self) -> &Arc<dyn TransferHandler> {
        &self.device.handler
    }

    /// The client of a transfer waits for its turn: it is not idle. Blocks.
    pub(crate) fn waits(&self, transfer: &TransferId) {
        self.device.handler.waits(transfer);
        if let Some(session) = self.device.sessions.get(transfer) {
            drop(session.begin());
        }
    }

    /// Was the transfer opened, and not ended?
    pub(crate) fn is_open(&self, transfer: &TransferId) -> bool {
        self.device.sessions.get(transfer).is_some_and(|session| !session.is_ended())
    }

    /// Serves an entrance until `shutdown` is ready; then requests under way get `drain_timeout`
    /// to end. With the last entrance, transfers that are still open are aborted.
    pub fn serve<S: Future<Output = ()> + Send>(
        &self,
        entrance: Entrance,
        shutdown: S,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let device = Arc::clone(&self.device);
        device.entrances.fetch_add(1, Ordering::AcqRel);
        async move {
            serve(&device, entrance, shutdown).await;
            if device.entrances.fetch_sub(1, Ordering::AcqRel) == 1 {
                abort_all(device).await;
            }
        }
    }
}

/// A pool of so many bytes, in KiB: at least a segment fits, with what comes along.
fn pool_kib(bytes: usize) -> u32 {
    let kib = bytes.max(limits::SEGMENT_BYTES_MAX + POOL_SPARE_BYTES) / 1024;
    u32::try_from(kib).unwrap_or(u32::MAX)
}

async fn serve(
    device: &Arc<Device>,
    mut entrance: Entrance,
    shutdown: impl Future<Output = ()> + Send,
) {
    // A waiting room for each entrance: who crowds one does not close the others.
    let strangers = Admission::new();
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut reap =
        tokio::time::interval((device.options.session_idle / 4).max(Duration::from_millis(20)));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            arrived = entrance.next() => match arrived {
                Ok(Some(arrival)) => {
                    let from = arrival.from;
                    if connections.len() >= device.options.connections_max {
                        tracing::warn!(peer = %from, "too many connections; closed");
                        continue;
                    }
                    // The oldest stranger gives way, so that silent ones keep nobody out.
                    let (begun, stranger) = (Instant::now(), strangers.admit_newest(from));
                    let proved = arrival.proved;
                    let (device, stopping) = (Arc::clone(device), stopping.clone());
                    let (drive, door) = (entrance.only_drive(), entrance.kind());
                    connections.spawn(async move {
                        let evicted = stranger.eviction();
                        let stranger = Mutex::new(Some(stranger).filter(|_| proved.is_none()));
                        let work = async {
                            match arrival.wire(device.options.handshake_timeout).await {
                                Ok(Arrived::Elsewhere) => {}
                                Ok(Arrived::Here(wire, pin)) => {
                                    // Where a key is wanted, only granted hosts came so far.
                                    if drive.is_some() && pin.is_some() {
                                        drop(stranger.lock().take());
                                    }
                                    let streams = AtomicBool::new(false);
                                    let moved = Moved::now();
                                    let caller = Caller {
                                        ip: from, door, drive, pin, proved, stranger, streams, moved,
                                    };
                                    connection(device, wire, caller, begun, stopping).await;
                                }
                                Err(why) => {
                                    tracing::debug!(peer = %from, why, "no wire came about; closed");
                                }
                            }
                        };
                        tokio::select! {
                            () = work => {}
                            () = evicted => {
                                tracing::warn!(peer = %from, "too many connections without a ticket; the oldest is closed");
                            }
                        }
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = reap.tick() => reap_idle(device),
        }
    }
    drop(entrance);
    let _ = stop.send(true);
    let drain = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(device.options.drain_timeout, drain).await.is_err() {
        connections.shutdown().await;
    }
}

async fn abort_all(device: Arc<Device>) {
    let ending = tokio::task::spawn_blocking(move || {
        for session in device.sessions.all() {
            if session.end("stopped") {
                session.drop_streams();
                device.handler.aborted(&session.ticket.transfer, "the device is being stopped");
            }
        }
    });
    let _ = ending.await;
}

/// Aborts transfers whose client fell silent.
fn reap_idle(device: &Arc<Device>) {
    let idle = device.options.session_idle;
    for session in device.sessions.take_idle(idle) {
        if session.end("idle") {
            let device = Arc::clone(device);
            tokio::task::spawn_blocking(move || {
                let transfer = &session.ticket.transfer;
                tracing::warn!(transfer = %transfer.short(), "the client fell silent; transfer aborted");
                session.drop_streams();
                let reason = format!("the client was silent for {} s", idle.as_secs());
                device.handler.aborted(transfer, &reason);
            });
        }
    }
}

async fn connection(
    device: Arc<Device>,
    wire: BoxedWire,
    caller: Caller,
    begun: Instant,
    mut stopping: watch::Receiver<bool>,
) {
    let (moved, caller) = (Arc::clone(&caller.moved), Arc::new(caller));
    let options = device.options.clone();
    let io = TokioIo::new(Watched::new(wire, Arc::clone(&moved)));
    let service = {
        let caller = Arc::clone(&caller);
        service_fn(move |request| answer(Arc::clone(&device), Arc::clone(&caller), request))
    };
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.handshake_timeout)
            .max_headers(limits::HTTP_FIELDS_MAX)
            .max_header_size(limits::HTTP_HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(io, service)
    );
    let mut tick = tokio::time::interval(
        (options.stall_timeout.min(options.handshake_timeout) / 8).max(Duration::from_millis(5)),
    );
    let mut told = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(peer = %caller.ip, %error, "connection ended");
                }
                return;
            }
            _ = stopping.changed(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = tick.tick() => {
                let stranger = caller.stranger.lock().is_some();
                if stranger && begun.elapsed() >= options.handshake_timeout {
                    tracing::warn!(peer = %caller.ip, "no ticket was proved in time; connection closed");
                    return;
                }
                let quiet_max = match caller.streams.load(Ordering::Relaxed) {
                    true => options.stream_silence,
                    false => options.stall_timeout,
                };
                if moved.last().elapsed() >= quiet_max {
                    tracing::warn!(peer = %caller.ip, "no byte moved for too long; connection closed");
                    return;
                }
            }
        }
    }
}
