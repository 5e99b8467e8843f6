//! The connection that this host keeps open to its server, where nobody can dial this host.
//!
//! It is dialled again when it breaks, after a pause that grows to half a minute. On it the server
//! asks, as on a connection that it had opened itself: the same handler answers, and only the server
//! of the enrolment is obeyed. Jobs go on while it is away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use simsim_control::CtrlListener;
use simsim_model::limits;
use simsim_model::port_registry::HTTPS;
use simsim_net::mux::{Mux, Side};
use simsim_net::outbound::{self, Current, OUTBOUND_PROTOCOL, Purpose, Relay};
use simsim_net::tls::TlsConnect;
use simsim_net::{Admission, BoxedWire};
use simsim_transfer::Brought;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::compose::until;
use super::enrolment::Enrolment;
use super::node::Node;

/// From the first address to the end of the TLS handshake.
const DIAL_PATIENCE: Duration = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
/// The first pause between two attempts; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A host that has no server to call looks again so often: it may have joined one.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Calls of other hosts that an RDS passes on at a time.
const RELAYED_MAX: usize = 256;
/// At the end, for the session with the server.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 64 * 1024;
/// A call on which nothing moves in one direction for so long is dead: both ends send heartbeats.
const RELAY_IDLE: Duration = Duration::from_millis(limits::DEAD_PEER_MS);
/// A connection that lasted so long was a good one: the next pause is short again.
const LASTED: Duration = Duration::from_secs(10);

/// Keeps the connection.
pub struct OutboundCall {
    /// From the settings; empty: as the enrolment says.
    pub servers: Vec<String>,
    pub enrolment: PathBuf,
    pub listener: CtrlListener,
    pub current: Current,
}

impl OutboundCall {
    /// Until the end.
    pub async fn keep(self, ended: watch::Receiver<bool>) {
        let stop = CancellationToken::new();
        let calling = self.call_again_and_again(&stop);
        let mut calling = std::pin::pin!(calling);
        tokio::select! {
            () = until(ended) => {}
            () = &mut calling => {}
        }
        // The session says goodbye, and then nobody is waited for.
        stop.cancel();
        let _ = tokio::time::timeout(GOODBYE, calling).await;
        self.current.set(None);
    }

    async fn call_again_and_again(&self, stop: &CancellationToken) {
        let mut pause = PAUSE_FIRST;
        loop {
            let servers = self.servers();
            if servers.is_empty() {
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
            let why = match dial(&servers).await {
                Ok(wire) => {
                    let begun = tokio::time::Instant::now();
                    let why = self.call(wire, stop).await.unwrap_or_else(|why| why);
                    if begun.elapsed() >= LASTED {
                        pause = PAUSE_FIRST;
                    }
                    why
                }
                Err(why) => format!("TCP port of row {}: {why}", HTTPS.id),
            };
            self.current.set(None);
            if stop.is_cancelled() {
                return;
            }
            tracing::warn!(to = servers.join(" or "), why, "no outbound connection to the server");
            // Many hosts of a site that lost their server at once do not come back at once.
            tokio::time::sleep(pause / 2 + pause.mul_f64(random() / 2.0)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// `host:port` of the server, as it stands now.
    fn servers(&self) -> Vec<String> {
        if !self.servers.is_empty() {
            return self.servers.clone();
        }
        let joined = Enrolment::load(&self.enrolment).ok().flatten();
        joined.map(|joined| joined.outbound).unwrap_or_default()
    }

    /// One connection, to its end; why it ended.
    async fn call(&self, mut wire: BoxedWire, stop: &CancellationToken) -> Result<String, String> {
        let begun = outbound::begin(&mut wire, Purpose::Call).await;
        begun.map_err(|error| error.to_string())?;
        let (streams, mut incoming) = Mux::new(wire, Side::Dialer, outbound::limits());
        self.current.set(Some(streams));
        let mut sessions = JoinSet::new();
        let mut why = "the server closed it".to_owned();
        loop {
            tokio::select! {
                stream = incoming.next() => match stream {
                    Some(stream) => {
                        let (listener, stop) = (self.listener.clone(), stop.clone());
                        sessions.spawn(async move {
                            listener.answer_over(stream, None, &stop).await
                        });
                    }
                    None => return Ok(why),
                },
                Some(ended) = sessions.join_next() => {
                    if let Ok(ended) = ended {
                        why = format!("the session with the server ended: {ended}");
                    }
                }
            }
        }
    }
}

/// The envelope of a call, to the first of `servers` that answers.
pub(super) async fn dial(servers: &[String]) -> Result<BoxedWire, String> {
    let tls = TlsConnect::envelope(OUTBOUND_PROTOCOL).map_err(|error| error.to_string())?;
    let dialling = async {
        let stream = simsim_net::dial(servers, DIAL_PATIENCE).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let address = servers.first().map_or("", String::as_str);
        tls.greet(address, stream).await
    };
    let stream = tokio::time::timeout(DIAL_PATIENCE, dialling)
        .await
        .map_err(|_| format!("no answer in {} s", DIAL_PATIENCE.as_secs()))??;
    if stream.get_ref().1.alpn_protocol() != Some(OUTBOUND_PROTOCOL) {
        return Err("it takes no calls: is it the port of the server, or of its relay?".to_owned());
    }
    Ok(Box::new(stream))
}

/// Calls that come in at this host's own port: a server takes them up, an RDS passes them on.
pub struct Calls {
    /// Calls that an RDS passes on and that are too new to have proved anything to the server.
    pub young: Admission,
    pub incoming: mpsc::Receiver<Brought>,
    pub node: Arc<Node>,
    /// `host:port` of the server, for an RDS.
    pub relay_to: Vec<String>,
}

impl Calls {
    /// Each by itself, until the end.
    pub async fn take(mut self, ended: watch::Receiver<bool>) {
        let mut serving = JoinSet::new();
        let mut end = std::pin::pin!(until(ended));
        loop {
            tokio::select! {
                () = &mut end => return,
                Some(_) = serving.join_next() => {}
                call = self.incoming.recv() => {
                    let Some(call) = call else { return };
                    if let Some(server) = self.node.server.get().cloned() {
                        serving.spawn(async move { server.take_call(call.wire, call.from).await });
                    } else if !self.relay_to.is_empty() && serving.len() < RELAYED_MAX {
                        let (relay_to, node) = (self.relay_to.clone(), Arc::clone(&self.node));
                        let place = self.young.admit_newest(call.from);
                        serving.spawn(async move {
                            let evicted = place.eviction();
                            let aged = async {
                                // The server closes what has proved nothing by then.
                                tokio::time::sleep(DIAL_PATIENCE * 2).await;
                                place.authenticated();
                                std::future::pending::<()>().await;
                            };
                            tokio::select! {
                                () = pass_on(call, &relay_to, &node) => {}
                                () = evicted => {}
                                () = aged => {}
                            }
                        });
                    }
                    // Else it is closed: its host calls again when this one is ready.
                }
            }
        }
    }
}

/// Copies the bytes of a call, or of a host that joins, inside TLS, in both directions; who is at its ends
/// is theirs to prove.
async fn pass_on(call: Brought, relay_to: &[String], node: &Node) {
    let dialling = async {
        let mut server = dial(relay_to).await?;
        // Told before it is sent: the server may ask for it at once.
        let word = node.relayed.word()?;
        let said = Relay { name: node.known_as(), word: word.to_string() };
        let begun = outbound::begin_relayed(&mut server, &said).await;
        begun.map(|()| (server, word)).map_err(|error| error.to_string())
    };
    match dialling.await {
        Ok((server, _word)) => {
            tracing::info!(peer = %call.from, "a call is passed on to the server");
            // Who ends one direction has ended the call: nobody keeps a place by never leaving.
            let (mut from_host, mut to_host) = tokio::io::split(call.wire);
            let (mut from_server, mut to_server) = tokio::io::split(server);
            tokio::select! {
                () = carry(&mut from_host, &mut to_server) => {}
                () = carry(&mut from_server, &mut to_host) => {}
            }
            let _ = tokio::time::timeout(GOODBYE, to_host.shutdown()).await;
        }
        Err(why) => {
            tracing::warn!(peer = %call.from, to = relay_to.join(" or "), why, "a call cannot be passed on");
        }
    }
}

/// Bytes of one direction, until it ends or nothing comes any more.
async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut bytes = vec![0; COPY_BYTES];
    loop {
        let Ok(Ok(read @ 1..)) = tokio::time::timeout(RELAY_IDLE, from.read(&mut bytes)).await
        else {
            return;
        };
        let some = bytes.get(..read).unwrap_or_default();
        let sent = async {
            to.write_all(some).await?;
            to.flush().await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let bytes: [u8; 2] = simsim_format::random_bytes().unwrap_or_default();
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}
