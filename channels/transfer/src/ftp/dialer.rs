//! The client's end: lays a pipe to the device, and opens wires in it.
//!
//! One pipe serves all connections of a transfer. It is laid by the first who wants a wire; the
//! others wait for it. When it breaks, the next who wants a wire lays another one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_model::{Ticket, limits};
use simsim_net::BoxedWire;
use simsim_net::mux::{Mux, MuxError, MuxHandle, MuxLimits, MuxWatch, Side};
use simsim_net::tls::TlsConnect;
use tokio::sync::Mutex;

use super::address::with_port;
use super::call::{Call, Fault, Tell};
use super::data::{ARRIVAL_TIME, connect, open_port, welcome};
use super::login::{Half, PipeId};
use super::ports::{DataPorts, Pair};
use crate::http::{Dialer, Dialing, OnWait, Verdict};
use crate::keys;

/// How often it is looked whether anybody still wants to wait for a port of this host.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the device hears of a transfer that waits for a port of this host.
const SAY_INTERVAL: Duration = Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS);

/// How a device is dialled by FTP.
#[derive(Clone)]
pub struct FtpWay {
    tls: Option<TlsConnect>,
    /// Active mode: the device calls a port of this range of this host.
    active: Option<DataPorts>,
}

impl FtpWay {
    /// The client makes the data connections.
    pub fn passive() -> Self {
        Self { tls: None, active: None }
    }

    /// The device makes the data connections, to ports of this range of this host.
    pub fn active(ports: DataPorts) -> Self {
        Self { tls: None, active: Some(ports) }
    }

    /// Explicit TLS, for the control connections and for data.
    pub fn with_tls(self, tls: TlsConnect) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "ftpes" } else { "ftp" }
    }
}

/// The way of one transfer.
pub(crate) struct FtpDialer {
    way: FtpWay,
    addresses: Vec<String>,
    ticket: Ticket,
    on_wait: OnWait,
    verdict: Verdict,
    limits: MuxLimits,
    pipe: Mutex<Laid>,
}

/// How an error begins that is about the range and not about the control port.
pub const DATA_CONNECTION: &str = "the FTP data connection";

/// Logins that are refused before the transfer is.
const REFUSALS_MAX: u32 = 3;

/// The pipe, or why there is none.
#[derive(Default)]
struct Laid {
    handle: Option<MuxHandle>,
    failed: Option<(Instant, String)>,
    /// Logins that were refused, one after the other.
    refusals: u32,
}

impl FtpDialer {
    pub(crate) fn new(
        way: FtpWay,
        addresses: Vec<String>,
        ticket: Ticket,
        on_wait: OnWait,
        verdict: Verdict,
    ) -> Arc<Self> {
        let (limits, pipe) = (MuxLimits::default(), Mutex::default());
        Arc::new(Self { way, addresses, ticket, on_wait, verdict, limits, pipe })
    }

    async fn wire(&self, patience: Duration) -> Result<BoxedWire, String> {
        let asked = Instant::now();
        let mut laid = self.pipe.lock().await;
        if let Some(handle) = &laid.handle {
            match handle.open().await {
                Ok(wire) => return Ok(wire),
                Err(error @ MuxError::Full { .. }) => return Err(error.to_string()),
                Err(MuxError::Ended { why }) => {
                    tracing::info!(why, "the pipe has ended; another one is laid");
                    laid.handle = None;
                }
            }
        }
        // Somebody else has just tried, while this one waited.
        if let Some((_, why)) = laid.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(why.clone());
        }
        let lain = self.lay(patience).await;
        // No wait any more, either way.
        self.on_wait.tell("");
        match lain {
            Ok(handle) => {
                let wire = handle.open().await.map_err(|error| error.to_string());
                *laid = Laid { handle: Some(handle), ..Laid::default() };
                wire
            }
            Err(fault) => {
                let why = match fault {
                    Fault::Refused(text) => {
                        laid.refusals += 1;
                        if laid.refusals >= REFUSALS_MAX {
                            self.verdict.refuse(text.clone());
                        }
                        text
                    }
                    Fault::Other(why) => why,
                };
                laid.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Only as far as the login: is the device there?
    pub(crate) async fn greet(&self, patience: Duration) -> Result<Duration, Fault> {
        let id = keys::nonce().map_err(|error| Fault::Other(error.to_string()))?;
        let id = PipeId(id.first_chunk().copied().unwrap_or_default());
        let mut call = Call::begin(&self.addresses, self.way.tls.clone(), patience).await?;
        call.log_in(&self.ticket, id, Half::Up).await?;
        let begun = Instant::now();
        call.still_here().await?;
        let round_trip = begun.elapsed();
        call.quit().await;
        Ok(round_trip)
    }

    /// Two control connections, a data connection each, and the multiplexer upon them.
    async fn lay(&self, patience: Duration) -> Result<MuxHandle, Fault> {
        let id = keys::nonce().map_err(|error| Fault::Other(error.to_string()))?;
        let id = PipeId(id.first_chunk().copied().unwrap_or_default());
        let tell = |what: &str| self.on_wait.tell(what);
        let mut up = Call::begin(&self.addresses, self.way.tls.clone(), patience).await?;
        // The other one goes where the first one came: a name may have several addresses.
        let same = [up.peer.to_string()];
        let mut down = Call::begin(&same, self.way.tls.clone(), patience).await?;
        tokio::try_join!(
            up.log_in(&self.ticket, id, Half::Up),
            down.log_in(&self.ticket, id, Half::Down),
        )?;
        let pair = match &self.way.active {
            Some(ports) => Some(own_pair(ports, [&mut up, &mut down], &tell).await?),
            None => None,
        };
        let ports = pair.as_ref().map(|pair| (pair.first(), pair.second())).unzip();
        let (up, down) = tokio::try_join!(
            data(up, id, Half::Up, ports.0, patience, &tell),
            data(down, id, Half::Down, ports.1, patience, &tell),
        )?;
        let wire = Box::new(tokio::io::join(down.1, up.1));
        // The device opens no streams.
        let (handle, _) = Mux::new(wire, Side::Dialer, self.limits.clone());
        tokio::spawn(mind(up.0, down.0, pair, handle.watch()));
        Ok(handle)
    }
}

/// The data connection of one half; `port` is this host's, for active mode.
async fn data(
    mut call: Call,
    id: PipeId,
    half: Half,
    port: Option<u16>,
    patience: Duration,
    tell: Tell<'_>,
) -> Result<(Call, BoxedWire), String> {
    let stream = match port {
        None => {
            let to: SocketAddr = call.extended_passive(tell).await?;
            let stream = connect(call.local, to, patience).await.map_err(|why| {
                format!("{DATA_CONNECTION} to a port of the device's range: {why}")
            })?;
            call.transfer(id, half).await?;
            stream
        }
        Some(port) => {
            let listener =
                open_port(with_port(call.local, port)).await.map_err(|error| error.to_string())?;
            let at = listener.local_addr().map_err(|error| error.to_string())?;
            call.extended_port(at).await?;
            call.transfer(id, half).await?;
            let coming = welcome(listener, call.peer.ip(), ARRIVAL_TIME.min(patience * 2));
            tokio::select! {
                come = coming => come?,
                told = call.something() => {
                    let told = told.unwrap_or_else(|error| error.to_string());
                    return Err(format!("{DATA_CONNECTION} to a port of this host: {told}"));
                }
            }
        }
    };
    let wire = call.greet(stream).await?;
    Ok((call, wire))
}

impl Dialer for FtpDialer {
    /// `timeout` is how long nothing may be heard; while the device says that others come first,
    /// it takes as long as it takes.
    fn dial(&self, timeout: Duration) -> Dialing<'_> {
        Box::pin(self.wire(timeout))
    }

    /// The ports go to the next transfer now, and not only when nobody holds this one any more. Where
    /// somebody lays a pipe at this moment, the pipe ends with whoever wanted it.
    fn hang_up(&self) {
        if let Ok(mut laid) = self.pipe.try_lock() {
            laid.handle = None;
        }
    }
}

/// Two ports of this host's own range, when it is this transfer's turn. The device hears meanwhile
/// that the transfer is still wanted.
async fn own_pair(
    ports: &DataPorts,
    calls: [&mut Call; 2],
    tell: Tell<'_>,
) -> Result<Pair, String> {
    let mut place = ports.stand_in_line(false);
    let mut said = Instant::now();
    let [up, down] = calls;
    loop {
        tokio::select! {
            biased;
            pair = place.turn() => return Ok(pair),
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let (pairs, before) = (ports.pairs(), place.before());
        let text = format!(
            "All {pairs} pairs of this host's FTP data ports are in use; {before} transfers come \
             before this one"
        );
        if !tell(&text) {
            return Err("nobody waits for the data any more".to_owned());
        }
        if said.elapsed() >= SAY_INTERVAL {
            said = Instant::now();
            tokio::try_join!(up.still_here(), down.still_here())?;
        }
    }
}

/// Keeps the control connections as long as the pipe, and the pipe as long as them.
async fn mind(mut up: Call, mut down: Call, pair: Option<Pair>, pipe: MuxWatch) {
    let told = tokio::select! {
        _ = pipe.ended() => None,
        told = up.something() => Some(told),
        told = down.something() => Some(told),
    };
    if let Some(told) = told {
        let why = told.unwrap_or_else(|error| error.to_string());
        tracing::debug!(why, "a control connection ended its transfer");
        pipe.cut();
        pipe.ended().await;
    }
    tokio::join!(up.quit(), down.quit());
    drop(pair);
}
