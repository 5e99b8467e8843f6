//! The FTP door of a device: who comes in, and how many.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_model::limits;
use simsim_net::Admission;
use simsim_net::mux::MuxLimits;
use simsim_net::tls::TlsDoor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::data::ARRIVAL_TIME;
use super::pipe::{Pipe, Pipes};
use super::ports::DataPorts;
use super::session::Session;
use super::stall::Stalls;
use crate::{Brought, Entrance, TransferListener};

/// How long a raw stream that broke off holds its place on a drive for who comes back: somewhat longer
/// than it takes to notice that a host is gone.
const RESUME_TIME: Duration = Duration::from_secs(120);

/// How the door listens.
#[derive(Debug, Clone)]
pub struct FtpOptions {
    /// From accept to the proof of a ticket, and the time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// A control connection that has logged in and says nothing for so long, while no data is on
    /// its way, is closed. So is a pipe without an open transfer.
    pub idle_timeout: Duration,
    /// Who waits for ports hears this often that it does.
    pub wait_interval: Duration,
    /// From the reply that names a port to the data connection.
    pub arrival_timeout: Duration,
    /// A raw stream whose line broke waits so long for who goes on with it.
    pub resume_timeout: Duration,
    /// After the data of a raw stream its client must be there for so long still: one that ends for
    /// another reason than the end of its data is gone by then, and one that sent all waits for the answer.
    pub afterword: Duration,
    /// For what lies upon two data connections.
    pub mux: MuxLimits,
    pub connections_max: usize,
}

impl Default for FtpOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS),
            idle_timeout: Duration::from_millis(limits::IDLE_TIMEOUT_MS),
            wait_interval: Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS),
            arrival_timeout: ARRIVAL_TIME,
            resume_timeout: RESUME_TIME,
            afterword: Duration::from_secs(1),
            mux: MuxLimits::default(),
            connections_max: 1024,
        }
    }
}

/// What all sessions of a door share.
pub(crate) struct Door {
    pub(crate) doors: TransferListener,
    pub(crate) ports: DataPorts,
    pub(crate) tls: Option<TlsDoor>,
    /// For data connections, upon some of which nobody reads.
    pub(crate) data_tls: Option<TlsDoor>,
    pub(crate) pipes: Pipes,
    pub(crate) stalls: Stalls,
    pub(crate) options: FtpOptions,
}

impl Door {
    /// The client of a pipe has shown that it still wants its transfer. False when the transfer was
    /// revoked.
    pub(crate) async fn wanted(&self, pipe: &Pipe) -> bool {
        let (doors, transfer, in_time) = (self.doors.clone(), pipe.transfer, pipe.in_time);
        let asked = tokio::task::spawn_blocking(move || {
            if in_time {
                doors.waits(&transfer);
            }
            doors.handler().ticket(&transfer).is_some()
        });
        asked.await.unwrap_or(false)
    }
}

/// The FTP door of the device behind `doors`. Clones are the same.
#[derive(Clone)]
pub struct FtpListener {
    door: Arc<Door>,
}

impl FtpListener {
    /// `ports`: the range for data connections. `tls`: for those who say AUTH TLS; without it they
    /// are refused.
    pub fn new(
        doors: TransferListener,
        ports: DataPorts,
        tls: Option<TlsDoor>,
        options: FtpOptions,
    ) -> Self {
        let (pipes, stalls) = (Pipes::default(), Stalls::default());
        let data_tls = tls.as_ref().map(TlsDoor::without_tickets);
        Self { door: Arc::new(Door { doors, ports, tls, data_tls, pipes, stalls, options }) }
    }

    /// Serves a control port until `shutdown` is ready; then requests under way get the drain time
    /// of the device's other doors.
    pub fn serve<S: Future<Output = ()> + Send>(
        &self,
        listener: TcpListener,
        shutdown: S,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let door = Arc::clone(&self.door);
        let (bring, brought) = mpsc::channel(16);
        let (drain, draining) = watch::channel(false);
        // Counted as a door of the device from now on.
        let streams = door.doors.serve(Entrance::ftp(brought), until(draining));
        async move {
            let accepting = async {
                let mut sessions = accept(&door, listener, &bring, shutdown).await;
                let _ = drain.send(true);
                // They carry what the device is still at; what stays afterwards is cut.
                while sessions.1.join_next().await.is_some() {}
            };
            let mut accepting = std::pin::pin!(accepting);
            let mut streams = std::pin::pin!(streams);
            tokio::select! {
                () = &mut streams => {}
                () = &mut accepting => streams.await,
            }
        }
    }
}

async fn until(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|end| *end).await;
}

/// Takes control connections until the end; the sessions that are left come back.
async fn accept(
    door: &Arc<Door>,
    listener: TcpListener,
    bring: &mpsc::Sender<Brought>,
    shutdown: impl Future<Output = ()> + Send,
) -> (watch::Sender<bool>, JoinSet<()>) {
    let strangers = Admission::new();
    let (stop, stopping) = watch::channel(false);
    let mut sessions = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if sessions.len() >= door.options.connections_max {
                        tracing::warn!(%peer, "too many connections; closed");
                        continue;
                    }
                    // The oldest stranger gives way, so that silent ones keep nobody out.
                    let (begun, stranger) = (Instant::now(), strangers.admit_newest(peer.ip()));
                    let (door, bring, stopping) = (Arc::clone(door), bring.clone(), stopping.clone());
                    sessions.spawn(async move {
                        let evicted = stranger.eviction();
                        tokio::select! {
                            () = session(door, bring, stream, peer, begun, stranger, stopping) => {}
                            () = evicted => {
                                tracing::warn!(%peer, "too many connections without a ticket; the oldest is closed");
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = sessions.join_next() => {}
        }
    }
    drop(listener);
    let _ = stop.send(true);
    (stop, sessions)
}

async fn session(
    door: Arc<Door>,
    bring: mpsc::Sender<Brought>,
    stream: TcpStream,
    peer: SocketAddr,
    begun: Instant,
    stranger: simsim_net::Admitted,
    stopping: watch::Receiver<bool>,
) {
    let local = match stream.local_addr() {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection that has gone already");
            return;
        }
    };
    let session = Session::new(door, bring, stream, (local, peer), begun, stranger);
    if let Err(error) = session.run(stopping).await {
        tracing::debug!(%peer, %error, "an FTP session ended");
    }
}
