//! From a request to its answer, at the device.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use simsim_model::{Name, Ticket, TransferId, limits};
use simsim_net::tls::Pin;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::body::{OutBody, Piece, work_lost};
use super::held::Held;
use super::listener::Device;
use super::open::{Opened, open};
use super::session::{AtWork, Session};
use super::watch::Moved;
use super::{FRAMES, REQUEST_HEADER};
use super::{raw, work};
use crate::error::status_of;
use crate::frame::{FIRST_PAYLOAD_BYTES, FIRST_SEALED_BYTES_MAX, FrameOpener, FrameSealer};
use crate::keys::{OPEN_BYTES, Way};
use crate::messages::{
    COPY_HEAD_BYTES, PLACE_BYTES, PUT_HEAD_BYTES, STREAM_HEAD_BYTES, STREAM_PIECE_BYTES_MAX,
};
use crate::verb::parse_path;
use crate::{TransferError, Verb};

const WHAT_THIS_IS: &str = "simsim data port; it speaks to simsim clients only\n";
/// The one answer to an unknown transfer, a wrong proof and a first frame that does not open.
const REFUSED: &str = "transfer refused\n";
/// A body up to this size needs no leave: pings and most questions are smaller.
const SMALL_BYTES: usize = FIRST_SEALED_BYTES_MAX;
/// How often a transfer whose body is coming is looked at: was it revoked meanwhile?
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A refused body is read and dropped up to here, so that the refusal gets through.
const DRAIN_BYTES_MAX: usize = 2 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) type Reply = Response<OutBody>;

/// A connection as the requests on it see it.
pub(crate) struct Caller {
    pub ip: IpAddr,
    /// At which kind of entrance it came in, for the log.
    pub door: &'static str,
    /// The drive whose port it came to.
    pub drive: Option<u32>,
    /// The TLS key that it showed.
    pub pin: Option<Pin>,
    /// The ticket that it proved, in time, before there was a connection.
    pub proved: Option<TransferId>,
    /// Gone once the caller has proved a ticket.
    pub stranger: Mutex<Option<simsim_net::Admitted>>,
    /// A raw stream goes over the connection: its other end may be silent for long.
    pub streams: AtomicBool,
    /// When a byte last moved on the connection, or was held back on purpose.
    pub moved: Arc<Moved>,
}

impl Caller {
    /// May a transfer with this ticket go through the port at which the caller came in?
    pub fn may_use(&self, ticket: &Ticket) -> Result<(), &'static str> {
        match self.drive {
            Some(drive) if drive != ticket.drive => Err("the port is another drive's"),
            _ => Ok(()),
        }
    }

    pub(super) fn is_proved(&self) -> bool {
        self.stranger.lock().is_none()
    }

    pub(super) fn proved(&self) {
        if let Some(stranger) = self.stranger.lock().take() {
            stranger.authenticated();
        }
    }
}

/// Bytes of plaintext that a verb's request may have.
fn plain_max(verb: Verb) -> usize {
    match verb {
        Verb::Open => OPEN_BYTES,
        Verb::Has | Verb::Locate => limits::NAMES_PER_REQUEST_MAX * Name::BYTES,
        Verb::Put => PUT_HEAD_BYTES + limits::SEGMENT_BYTES_MAX,
        Verb::Commit => limits::MANIFEST_BYTES_MAX,
        Verb::Savesets => limits::NAMES_PER_REQUEST_MAX * 16,
        Verb::CommitCopy => COPY_HEAD_BYTES + limits::MANIFEST_BYTES_MAX,
        Verb::Get => limits::PLACES_PER_REQUEST_MAX * PLACE_BYTES,
        Verb::Manifest => 16,
        Verb::Ping | Verb::Close | Verb::Terms => 0,
        Verb::Abort => 1024,
        Verb::StreamPut => STREAM_HEAD_BYTES + STREAM_PIECE_BYTES_MAX,
        Verb::StreamGet => 12,
    }
}

pub(crate) async fn answer(
    device: Arc<Device>,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    if raw::is_one(request.uri().path()) {
        return Ok(raw::answer(device, caller, request).await);
    }
    let Some((transfer, verb)) = parse_path(request.uri().path()) else {
        return Ok(plain(StatusCode::NOT_FOUND, WHAT_THIS_IS));
    };
    if request.method() != Method::POST {
        let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, WHAT_THIS_IS);
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(reply);
    }
    let (head, mut body) = request.into_parts();
    let answered = match verb {
        Verb::Open => open_ticket(&device, &caller, transfer, &mut body).await,
        _ => {
            let number = head.headers.get(REQUEST_HEADER);
            let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
            match number {
                Some(number) => {
                    opened_verb(&device, &caller, transfer, verb, number, &mut body).await
                }
                None => Err((StatusCode::BAD_REQUEST, REFUSED, "no request number".to_owned())),
            }
        }
    };
    Ok(match answered {
        Ok(reply) => reply,
        Err((status, text, why)) => {
            tracing::warn!(
                peer = %caller.ip, transfer = %transfer.short(), verb = verb.as_str(),
                status = status.as_u16(), %why, "request refused"
            );
            drain(body).await;
            plain(status, text)
        }
    })
}

type Refusal = (StatusCode, &'static str, String);

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(OutBody::plain(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

fn framed(status: u16, body: OutBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FRAMES));
    reply
}

async fn drain(mut body: Incoming) {
    let read = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, read).await;
}

async fn open_ticket(
    device: &Arc<Device>,
    caller: &Arc<Caller>,
    transfer: TransferId,
    body: &mut Incoming,
) -> Result<Reply, Refusal> {
    let mut given = Vec::with_capacity(OPEN_BYTES);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| (StatusCode::BAD_REQUEST, REFUSED, error.to_string()))?;
        let bytes = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
        if given.len() + bytes.len() > OPEN_BYTES {
            return Err((StatusCode::FORBIDDEN, REFUSED, "the body is too long".into()));
        }
        given.extend_from_slice(bytes);
    }
    let _permit = device.opens.acquire().await;
    let inner = Arc::clone(device);
    let caller_there = Arc::clone(caller);
    let work = move || open(&inner, &caller_there, &transfer, &given);
    let opened = tokio::task::spawn_blocking(work).await.unwrap_or(Opened::Failed);
    match opened {
        Opened::Yes(reply) => {
            caller.proved();
            device.handler.heard(&transfer);
            tracing::info!(
                peer = %caller.ip, transfer = %transfer.short(), door = caller.door,
                "transfer opened"
            );
            Ok(plain(StatusCode::OK, reply.to_vec()))
        }
        Opened::Refused(why) => Err((StatusCode::FORBIDDEN, REFUSED, why.into())),
        Opened::Expired => {
            Err((StatusCode::GONE, "the ticket has expired\n", "ticket expired".into()))
        }
        Opened::Used(why) => Err((StatusCode::CONFLICT, "the ticket was used before\n", why)),
        // Who has proved a ticket may know, and waits.
        Opened::Busy(why) => {
            caller.proved();
            tracing::info!(peer = %caller.ip, transfer = %transfer.short(), why, "a transfer waits");
            Ok(plain(StatusCode::TOO_MANY_REQUESTS, format!("{why}\n")))
        }
        Opened::Failed => {
            Err((StatusCode::INTERNAL_SERVER_ERROR, "the device failed\n", "cannot open".into()))
        }
    }
}

async fn opened_verb(
    device: &Arc<Device>,
    caller: &Caller,
    transfer: TransferId,
    verb: Verb,
    number: u64,
    body: &mut Incoming,
) -> Result<Reply, Refusal> {
    let Some(session) = device.sessions.get(&transfer) else {
        return Err((StatusCode::FORBIDDEN, REFUSED, "unknown transfer".into()));
    };
    caller
        .may_use(&session.ticket)
        .map_err(|why| (StatusCode::FORBIDDEN, REFUSED, why.to_owned()))?;
    if caller.pin.is_some_and(|pin| !device.handler.knows(&transfer, &pin)) {
        return Err((StatusCode::FORBIDDEN, REFUSED, "the TLS key is another host's".into()));
    }
    let fault =
        |error: TransferError| (StatusCode::BAD_REQUEST, "body refused\n", error.to_string());
    let max = plain_max(verb);
    let hint = body.size_hint().exact();
    let too_large = |length: u64| {
        let why = format!("a body of {length} bytes; '{}' may have {max}", verb.as_str());
        (StatusCode::PAYLOAD_TOO_LARGE, "body too large\n", why)
    };
    if let Some(length) = hint.filter(|length| *length > 2 * max as u64 + 4096) {
        return Err(too_large(length));
    }
    let room = hint.unwrap_or(max as u64).min(max as u64) as usize;
    // Who has not proved anything yet gets room for a first frame only.
    let mut memory = None;
    let key = session.keys.body_key(Way::ToDevice, verb, number).map_err(fault)?;
    let mut opener = FrameOpener::new(key, false, max, room.min(FIRST_PAYLOAD_BYTES));
    let mut at_work = None;
    let mut held = Held::new(device, caller, &session, verb, number);
    let mut turn = None;
    // What a stranger sends takes nothing of anybody's rate: it counts once it has proved genuine.
    let is_known = caller.is_proved();
    let mut uncounted = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| (StatusCode::BAD_REQUEST, "body refused\n", error.to_string()))?;
        let bytes = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
        let fed = opener.feed(bytes);
        let over = |_| (StatusCode::FORBIDDEN, REFUSED, "the transfer is over".to_owned());
        if at_work.is_none() && opener.frames() > 0 {
            // Only a genuine first frame counts: a stranger cannot use numbers up.
            if !session.window.lock().accept(number) {
                let why = format!("request number {number} was seen before");
                return Err((StatusCode::CONFLICT, "request repeated\n", why));
            }
            caller.proved();
            device.handler.heard(&transfer);
            at_work = Some(session.begin());
            if room > SMALL_BYTES {
                turn = held.turn().await.map_err(over)?;
                memory = Some(held.memory((room / 1024 + 1) as u32).await.map_err(over)?);
            }
            opener.expect(room);
        }
        uncounted += bytes.len();
        match fed {
            Ok(()) if at_work.is_some() || is_known => {
                held.wait(std::mem::take(&mut uncounted)).await.map_err(over)?;
            }
            Ok(()) => held.came(),
            Err(TransferError::BodyTooLarge { .. }) => {
                return Err(too_large(hint.unwrap_or_default()));
            }
            Err(error) if at_work.is_none() => {
                return Err((StatusCode::FORBIDDEN, REFUSED, error.to_string()));
            }
            Err(error) => return Err(fault(error)),
        }
    }
    drop(turn);
    let given = opener.finish().map_err(fault)?;
    let at_work = at_work.ok_or_else(|| fault(TransferError::BodyTruncated { frames: 0 }))?;
    let held = held.reply();
    let (tell, pieces) = mpsc::channel(1);
    let room = Room::default();
    let kept = (at_work, memory, Arc::clone(&room));
    start(device, Arc::clone(&session), verb, Bytes::from(given), tell, kept);
    let mut reply = reply(device, &session, verb, number, pieces).await.map_err(fault)?;
    let body = std::mem::replace(reply.body_mut(), OutBody::plain(Bytes::new()));
    *reply.body_mut() = body.keeping(room);
    if let Some(held) = held {
        let body = std::mem::replace(reply.body_mut(), OutBody::plain(Bytes::new()));
        *reply.body_mut() = body.held(held);
    }
    Ok(reply)
}

/// Memory of a request's work and of its reply; given back when both are over.
pub(super) type Room = Arc<OnceLock<OwnedSemaphorePermit>>;

/// Starts the work on a thread that may block, as soon as there is memory for it and a thread; what is
/// kept is let go when it is done. Meanwhile the reply says that it lives.
fn start(
    device: &Arc<Device>,
    session: Arc<Session>,
    verb: Verb,
    given: Bytes,
    tell: mpsc::Sender<Piece>,
    kept: (AtWork, Option<[OwnedSemaphorePermit; 2]>, Room),
) {
    let kib = work::kib(&*device.handler, verb, &given).min(device.work_kib);
    let inner = Arc::clone(device);
    let room = Arc::clone(&kept.2);
    let work = move |call: Option<OwnedSemaphorePermit>| {
        let _kept = (kept, call);
        work::run(&inner.handler, &session, verb, given, &tell);
    };
    // Pings tell who waits from who is dead: they wait for nothing.
    if verb == Verb::Ping {
        tokio::task::spawn_blocking(move || work(None));
        return;
    }
    let (memory, calls) = (Arc::clone(&device.work), Arc::clone(&device.calls));
    let now = Arc::clone(&memory).try_acquire_many_owned(kib);
    if let Ok(permits) = now {
        let _ = room.set(permits);
        if let Ok(call) = Arc::clone(&calls).try_acquire_owned() {
            tokio::task::spawn_blocking(move || work(Some(call)));
            return;
        }
    }
    tokio::spawn(async move {
        if room.get().is_none()
            && let Ok(permits) = memory.acquire_many_owned(kib).await
        {
            let _ = room.set(permits);
        }
        drop(room);
        let call = calls.acquire_owned().await.ok();
        tokio::task::spawn_blocking(move || work(call));
    });
}

/// The sealed reply: with its own status and size when the work is quick, else one that grows.
async fn reply(
    device: &Device,
    session: &Session,
    verb: Verb,
    number: u64,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Reply, TransferError> {
    let sealer = FrameSealer::new(session.keys.body_key(Way::ToClient, verb, number)?);
    let wait = device.options.wait_interval;
    Ok(match tokio::time::timeout(wait, pieces.recv()).await {
        Ok(Some(Piece::Last(parts))) => framed(200, OutBody::sealed(sealer, parts)),
        Ok(Some(Piece::More(parts))) => framed(200, OutBody::growing(sealer, parts, pieces, wait)),
        Ok(Some(Piece::Failed(error))) => {
            framed(status_of(error.kind), OutBody::failed(sealer, &error)?)
        }
        Ok(None) => framed(500, OutBody::failed(sealer, &work_lost())?),
        Err(_) => framed(200, OutBody::growing(sealer, Vec::new(), pieces, wait)),
    })
}
