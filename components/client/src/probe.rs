//! Trying ways to other hosts, because the server asks.
//!
//! A node is no port scanner: without a ticket it dials the ports of the row that was named and no
//! other; with one it dials what a job with that ticket would dial. One request at a time, a
//! second between two, a bounded number of ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use simsim_control::VerbError;
use simsim_control::verbs::{
    PROBE_ADDRESSES_MAX, PROBE_WAYS_MAX, Probe, ProbeFinding, ProbeReply, ProbeState, ProbeWay,
};
use simsim_model::Kind;
use simsim_model::interface::Scheme;
use simsim_model::port_registry::{DIAL, DRIVE, FTP, FTP_DATA, HTTPS, LISTEN};
use simsim_net::tls::{Pin, TlsConnect};
use simsim_net::{DialError, Failure};
use simsim_transfer::{Knock, knock, knock_ftp};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::Client;
use crate::addresses::routes_of;

/// A way that gives no answer for so long is closed.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// A door that takes a connection has so long to prove what it is.
const KNOCK_PATIENCE: Duration = Duration::from_secs(6);
/// How the TLS room says that the other end is not who was expected.
const OTHER_KEY: &str = "shows another key";
/// From the end of one request to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Ways that are tried side by side.
const AT_ONCE: usize = 4;

/// Keeps requests apart.
pub(crate) struct Turnstile {
    busy: AtomicBool,
    born: Instant,
    /// Milliseconds after `born` before which nobody comes in.
    closed_until_ms: AtomicU64,
}

impl Turnstile {
    pub(crate) fn new() -> Self {
        let (busy, closed_until_ms) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { busy, born: Instant::now(), closed_until_ms }
    }

    fn enter(&self) -> Result<Turn<'_>, VerbError> {
        let busy = || VerbError::new(Kind::Busy, "this host tries ways already: ask again later");
        if self.busy.swap(true, Ordering::Acquire) {
            return Err(busy());
        }
        let turn = Turn(self);
        if self.now_ms() < self.closed_until_ms.load(Ordering::Relaxed) {
            // Left without a new pause.
            std::mem::forget(turn);
            self.busy.store(false, Ordering::Release);
            return Err(busy());
        }
        Ok(turn)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

struct Turn<'a>(&'a Turnstile);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(0);
        self.0.closed_until_ms.store(self.0.now_ms().saturating_add(pause), Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Answers the verb.
pub(crate) async fn probe(client: &Arc<Client>, request: &Probe) -> Result<ProbeReply, VerbError> {
    check(request)?;
    let _turn = client.turnstile.enter()?;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut trying = Vec::new();
    for way in request.ways.clone() {
        let (client, room) = (Arc::clone(client), Arc::clone(&room));
        trying.push(tokio::spawn(async move {
            let _place = room.acquire().await;
            try_way(&client, &way).await
        }));
    }
    let mut findings = Vec::with_capacity(trying.len());
    for one in trying {
        let defect = |_| VerbError::new(Kind::Internal, "a defect here; the log says where");
        findings.push(one.await.map_err(defect)?);
    }
    Ok(ProbeReply { findings })
}

/// Nothing is dialled unless all of it is allowed.
fn check(request: &Probe) -> Result<(), VerbError> {
    let invalid = |text: String| Err(VerbError::new(Kind::Invalid, text));
    if request.ways.len() > PROBE_WAYS_MAX {
        return invalid(format!("more than {PROBE_WAYS_MAX} ways at once"));
    }
    for way in &request.ways {
        if way.addresses.is_empty() || way.addresses.len() > PROBE_ADDRESSES_MAX {
            return invalid(format!("a way has from 1 to {PROBE_ADDRESSES_MAX} addresses"));
        }
        if way.ticket.is_some() {
            if Scheme::of_row(&way.row).is_none() && way.row != FTP_DATA.id {
                return invalid(format!("row '{}' takes no tickets", way.row));
            }
            continue;
        }
        for address in &way.addresses {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if !port.is_some_and(|port| is_of_row(&way.row, port)) {
                let text =
                    format!("'{address}' is no address of row '{}': it is not tried", way.row);
                return Err(VerbError::new(Kind::Denied, text));
            }
        }
    }
    Ok(())
}

fn is_of_row(row: &str, port: u16) -> bool {
    let listens = LISTEN.iter().any(|listen| listen.id == row && listen.ports.contains(port));
    listens || DIAL.iter().any(|dial| dial.module == row && dial.port == port)
}

/// The first address that is open counts; where none is, the first one tells why.
async fn try_way(client: &Arc<Client>, way: &ProbeWay) -> ProbeFinding {
    let mut first = None;
    for address in &way.addresses {
        let finding = match connect(address).await {
            Ok((stream, round_trip)) => {
                return answers(client, way, address, stream, round_trip).await;
            }
            Err(finding) if way.row == FTP_DATA.id => ProbeFinding {
                state: ProbeState::NoWay,
                message: format!("its control port is not reached: {}", finding.message),
                ..finding
            },
            Err(finding) => finding,
        };
        first.get_or_insert(finding);
    }
    first.unwrap_or_else(|| finding(ProbeState::NoWay, "", "no address was named".to_owned()))
}

/// Who it is behind an open port.
async fn answers(
    client: &Arc<Client>,
    way: &ProbeWay,
    address: &str,
    stream: TcpStream,
    round_trip: Duration,
) -> ProbeFinding {
    let by_tls = [HTTPS.id, DRIVE.id].contains(&way.row.as_str());
    let greets = by_tls && !way.device_keys.is_empty();
    let mut found = open(address, round_trip);
    if greets && (way.ticket.is_none() || !way.protocol.is_empty()) {
        match greet(client, way, address, stream).await {
            Ok(()) => found.proved = true,
            Err(finding) => return finding,
        }
    }
    match way.ticket {
        None => found,
        Some(_) => knock_at(Arc::clone(client), way.clone(), address.to_owned()).await,
    }
}

/// The TLS handshake alone: the right key, and the protocol that is asked for.
async fn greet(
    client: &Arc<Client>,
    way: &ProbeWay,
    address: &str,
    stream: TcpStream,
) -> Result<(), ProbeFinding> {
    let pins: Vec<Pin> = way
        .device_keys
        .iter()
        .filter_map(|key| <[u8; 32]>::try_from(key.as_slice()).ok().map(Pin))
        .collect();
    let own = client.options.tls.as_deref();
    let protocol = way.protocol.as_bytes();
    let tls = match protocol.is_empty() {
        true => TlsConnect::new(pins, own),
        false => TlsConnect::speaking(pins, own, protocol),
    };
    let tls = tls.map_err(|error| finding(ProbeState::NoWay, address, error.to_string()))?;
    let greeted = tokio::time::timeout(KNOCK_PATIENCE, tls.greet(address, stream)).await;
    let wrong = |why: String| finding(ProbeState::WrongService, address, why);
    match greeted {
        Err(_) => Err(wrong(format!("no TLS there: no answer in {} s", KNOCK_PATIENCE.as_secs()))),
        Ok(Err(why)) if why.contains(OTHER_KEY) => {
            Err(finding(ProbeState::WrongIdentity, address, why))
        }
        Ok(Err(why)) => Err(wrong(why)),
        Ok(Ok(stream)) => {
            let chosen = stream.get_ref().1.alpn_protocol().unwrap_or_default();
            if protocol.is_empty() || chosen == protocol {
                return Ok(());
            }
            let wanted = &way.protocol;
            Err(wrong(format!(
                "it is the right host, and it does not speak {wanted} there: is it the port of the \
                 server, or of an RDS that passes calls on to it?"
            )))
        }
    }
}

async fn connect(address: &str) -> Result<(TcpStream, Duration), ProbeFinding> {
    let begun = Instant::now();
    match simsim_net::dial(&[address.to_owned()], CONNECT_PATIENCE).await {
        Ok(stream) => Ok((stream, begun.elapsed())),
        Err(error) => {
            let state = match error.attempts().first().map(|attempt| &attempt.failure) {
                Some(Failure::Refused) => ProbeState::Refused,
                Some(Failure::Filtered) => ProbeState::Filtered,
                Some(Failure::Unresolvable(_) | Failure::Other(_)) | None => ProbeState::NoWay,
            };
            let message = match &error {
                DialError::Failed { attempts } => {
                    attempts.iter().map(|one| format!("{} {}", one.address, one.failure)).collect()
                }
                other @ DialError::NoAddress => other.to_string(),
            };
            Err(finding(state, address, message))
        }
    }
}

/// With the ticket it is seen who answers.
async fn knock_at(client: Arc<Client>, way: ProbeWay, address: String) -> ProbeFinding {
    let work = {
        let address = address.clone();
        move || {
            let Some(ticket) = way.ticket else { return Err("there is no ticket".to_owned()) };
            if way.row == FTP.id {
                return Ok(knock_ftp(client.handle.clone(), address, ticket, KNOCK_PATIENCE));
            }
            let url = match (way.row == FTP_DATA.id, way.active) {
                (true, true) => format!("{}://{address}?mode=active", Scheme::Ftp),
                (true, false) => format!("{}://{address}", Scheme::Ftp),
                (false, _) => format!("{}://{address}", way.row),
            };
            let routes = routes_of(&client, &[url], ticket.drive, &way.device_keys, &[], false)
                .map_err(|error| error.to_string())?;
            let route = routes.into_iter().next().ok_or("this host knows no such door")?;
            Ok(knock(client.handle.clone(), route, ticket, KNOCK_PATIENCE))
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(Knock::Open(sample))) => {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            ProbeFinding {
                sample_bytes: sample.bytes,
                sample_us: micros(sample.time),
                proved: true,
                ..open(&address, sample.round_trip)
            }
        }
        Ok(Ok(Knock::WrongIdentity(why))) => finding(ProbeState::WrongIdentity, &address, why),
        Ok(Ok(Knock::WrongService(why))) => finding(ProbeState::WrongService, &address, why),
        Ok(Ok(Knock::NoData(why))) => {
            let refused = why.contains(&Failure::Refused.to_string());
            let state = if refused { ProbeState::Refused } else { ProbeState::Filtered };
            finding(state, &address, why)
        }
        Ok(Ok(Knock::InUse)) => {
            let why = "all data ports are in use by transfers now: ask again later".to_owned();
            finding(ProbeState::NoWay, &address, why)
        }
        Ok(Err(why)) => finding(ProbeState::NoWay, &address, why),
        Err(_) => {
            finding(ProbeState::NoWay, &address, "a defect here; the log says where".to_owned())
        }
    }
}

fn open(address: &str, round_trip: Duration) -> ProbeFinding {
    ProbeFinding {
        round_trip_us: u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX),
        ..finding(ProbeState::Open, address, String::new())
    }
}

fn finding(state: ProbeState, address: &str, message: String) -> ProbeFinding {
    let address = address.to_owned();
    ProbeFinding {
        state,
        address,
        message,
        round_trip_us: 0,
        sample_bytes: 0,
        sample_us: 0,
        proved: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simsim_model::port_registry::{HTTP, SMSSH};

    fn way(row: &str, port: u16) -> ProbeWay {
        let addresses = vec![format!("192.0.2.1:{port}")];
        let row = row.to_owned();
        let (device_keys, protocol) = (Vec::new(), String::new());
        ProbeWay { row, addresses, ticket: None, device_keys, active: false, protocol }
    }

    fn kind(ways: Vec<ProbeWay>) -> Option<Kind> {
        check(&Probe { ways }).err().map(|error| error.kind)
    }

    #[test]
    fn without_a_ticket_no_port_is_tried_that_is_not_of_the_row() {
        assert_eq!(kind(vec![way("smssh", SMSSH.ports.first())]), None);
        assert_eq!(kind(vec![way("drive", DRIVE.ports.first() + 7)]), None);
        assert_eq!(kind(vec![way(DIAL[1].module, DIAL[1].port)]), None);
        let wrong = [("smssh", 22), ("smssh", HTTP.ports.first()), ("drive", 1), ("ssh", 22)];
        for (row, port) in wrong {
            let ways = vec![way("smssh", SMSSH.ports.first()), way(row, port)];
            assert_eq!(kind(ways), Some(Kind::Denied), "{row} {port}");
        }
    }

    #[test]
    fn more_ways_or_addresses_than_allowed_are_refused() {
        let one = way("smssh", SMSSH.ports.first());
        assert_eq!(kind(vec![one.clone(); PROBE_WAYS_MAX]), None);
        assert_eq!(kind(vec![one.clone(); PROBE_WAYS_MAX + 1]), Some(Kind::Invalid));
        let mut many = one.clone();
        many.addresses = vec![one.addresses[0].clone(); PROBE_ADDRESSES_MAX + 1];
        assert_eq!(kind(vec![many.clone()]), Some(Kind::Invalid));
        many.addresses.clear();
        assert_eq!(kind(vec![many]), Some(Kind::Invalid));
    }

    #[test]
    fn one_at_a_time_and_a_pause_between_two() {
        let turnstile = Turnstile::new();
        let first = turnstile.enter().unwrap();
        assert_eq!(turnstile.enter().err().unwrap().kind, Kind::Busy);
        drop(first);
        assert_eq!(turnstile.enter().err().unwrap().kind, Kind::Busy, "too soon");
        std::thread::sleep(PAUSE + Duration::from_millis(50));
        drop(turnstile.enter().unwrap());
    }
}
