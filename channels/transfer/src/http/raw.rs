//! Raw streams over HTTPS: plain bytes of any tool, behind a token or a one-time ticket.
//!
//! ```text
//! PUT  /v1/streams/TASK            store the body       201, the saveset
//! GET  /v1/streams/TASK            the newest saveset   200, or 206 with Range
//! GET  /v1/streams/TASK?saveset=ID this one
//! HEAD /v1/streams/TASK            what there is
//! …    /v1/streams/TASK/TICKET     the same with a one-time ticket in place of a token
//! ```
//!
//! The door speaks HTTP and nothing else; who may do what is the gate's. A secret that came without
//! TLS was readable on the way: such a request is refused before anything is looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, EXPECT, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use simsim_model::Kind;

use super::answer::{Caller, Reply, plain};
use super::body::OutBody;
use super::listener::Device;
use super::raw_head::{Asked, Range, given_secret, range_of, target};
use crate::TransferError;
use crate::error::status_of;
use crate::gate::{
    Opened, PIECE_BYTES_MAX, SecretText, StreamCaller, StreamFacts, StreamGuest, StreamRefusal,
    StreamSource, Why,
};

/// What raw streams lie under.
pub(super) const PREFIX: &str = "/v1/streams/";
/// The kind of entrance at which they are taken.
const DOOR: &str = "https";
/// Pieces of a stream that are ready before the caller takes them.
const READ_AHEAD: usize = 2;
/// A refused body is read and dropped for so long beside the refusal, so that it gets through.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn answer(
    device: Arc<Device>,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Reply {
    let (head, body) = request.into_parts();
    let mut upload = Upload { body, waits: head.headers.contains_key(EXPECT), begun: false };
    let done = serve(&device, &caller, &head, &mut upload).await;
    match done {
        Ok(reply) => reply,
        Err(refusal) => {
            tracing::warn!(
                peer = %caller.ip, method = %head.method, why = refusal.word(),
                text = refusal.text, "raw stream refused"
            );
            upload.drop_beside_the_answer();
            refused(&refusal)
        }
    }
}

/// The body, and whether its sender still waits for leave to send it.
struct Upload {
    body: Incoming,
    waits: bool,
    begun: bool,
}

impl Upload {
    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        self.begun = true;
        loop {
            match self.body.frame().await? {
                // Anything else is trailers.
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// A tool that is in the middle of sending reads an answer only while its bytes are taken. One
    /// that waits for leave is not given it.
    fn drop_beside_the_answer(self) {
        if self.body.is_end_stream() || (self.waits && !self.begun) {
            return;
        }
        let mut body = self.body;
        tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, async move {
            while let Some(Ok(_)) = body.frame().await {}
        }));
    }
}

async fn serve(
    device: &Arc<Device>,
    caller: &Arc<Caller>,
    head: &hyper::http::request::Parts,
    upload: &mut Upload,
) -> Result<Reply, StreamRefusal> {
    if caller.door != DOOR {
        let text = "raw streams go over HTTPS, or over FTP with TLS: on this port the token could be \
                    read on the way. Use https:// and the port of HTTPS ('simsim ports list' on the \
                    server shows it), and make another token in place of this one";
        return Err(StreamRefusal::new(Kind::Denied, text));
    }
    let asked = match head.method {
        Method::PUT | Method::GET | Method::HEAD => target(&head.uri)?,
        _ => {
            let mut reply =
                plain(StatusCode::METHOD_NOT_ALLOWED, "PUT stores, GET and HEAD read\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT"));
            return Ok(reply);
        }
    };
    let Some((user, secret)) = given_secret(&head.headers, &asked)? else {
        return Ok(unauthorized(
            "a token is needed: curl -H @FILE, with a file that holds the line 'Authorization: \
             Bearer TOKEN'; 'simsim token create NAME --task TASK' on the server makes one",
        ));
    };
    let Some(gate) = device.gate.get() else {
        return Err(StreamRefusal::busy("this host is starting and takes no streams yet", 5));
    };
    let whom = StreamCaller { user, secret, address: caller.ip, door: DOOR, follows: true };
    let guest = gate.admit(whom).await?;
    caller.proved();
    caller.streams.store(true, std::sync::atomic::Ordering::Relaxed);
    match head.method {
        Method::PUT => store(&*guest, &asked, &head.headers, caller, upload).await,
        Method::HEAD => {
            let facts = guest.look(&asked.task, asked.saveset.as_deref()).await?;
            Ok(of_stream(&facts, range_for(&head.headers, &facts)?, None))
        }
        _ => read(guest, &asked, &head.headers, caller).await,
    }
}

async fn store(
    guest: &dyn StreamGuest,
    asked: &Asked,
    headers: &HeaderMap,
    caller: &Caller,
    upload: &mut Upload,
) -> Result<Reply, StreamRefusal> {
    if headers.contains_key(CONTENT_RANGE) {
        let text = "a stream cannot be resumed over HTTPS: nothing of the first part was kept; send \
                    it again from its start";
        return Err(StreamRefusal::new(Kind::Invalid, text));
    }
    if asked.saveset.is_some() {
        let text = "a stream that is stored becomes a new saveset: leave '?saveset=' out";
        return Err(StreamRefusal::new(Kind::Invalid, text));
    }
    let mut sink = match guest.put(&asked.task).await? {
        Opened::Elsewhere(url) => return elsewhere(&url),
        Opened::Here(sink) => sink,
    };
    let task = &asked.task;
    tracing::info!(peer = %caller.ip, guest = guest.name(), task, "raw stream begins");
    loop {
        let piece = tokio::select! {
            piece = upload.next() => piece,
            over = sink.over() => return Err(over),
        };
        match piece {
            None => break,
            Some(Ok(mut data)) => {
                while data.has_remaining() {
                    let now = data.len().min(PIECE_BYTES_MAX);
                    sink.write(data.split_to(now)).await?;
                }
            }
            Some(Err(error)) => {
                let why = format!("its sender went away after {} bytes ({error})", sink.offset());
                sink.abort(&why).await;
                let text = format!("the stream broke off: {why}; nothing of it is kept");
                return Err(StreamRefusal::new(Kind::Invalid, text));
            }
        }
    }
    let stored = sink.finish().await?;
    tracing::info!(
        peer = %caller.ip, guest = guest.name(), task, bytes = stored.bytes,
        saveset = %stored.saveset, "raw stream stored"
    );
    let text = format!("saveset {}, {} bytes\n", stored.saveset, stored.bytes);
    let mut reply = plain(StatusCode::CREATED, text);
    let headers = reply.headers_mut();
    put(headers, ETAG, &format!("\"{}\"", stored.saveset));
    put(headers, LOCATION, &format!("{PREFIX}{task}?saveset={}", stored.saveset));
    Ok(reply)
}

async fn read(
    guest: Box<dyn StreamGuest>,
    asked: &Asked,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Reply, StreamRefusal> {
    let source = match guest.get(&asked.task, asked.saveset.as_deref()).await? {
        Opened::Elsewhere(url) => return elsewhere(&url),
        Opened::Here(source) => source,
    };
    let facts = source.facts().clone();
    let range = match range_for(headers, &facts)? {
        Range::Beyond => return Ok(of_stream(&facts, Range::Beyond, None)),
        range => range,
    };
    tracing::info!(
        peer = %caller.ip, guest = guest.name(), task = asked.task, saveset = %facts.saveset,
        "raw stream is read"
    );
    let (first, length) = range.span(facts.bytes);
    let (pieces, out) = tokio::sync::mpsc::channel(READ_AHEAD);
    tokio::spawn(pump(source, first, length, pieces));
    Ok(of_stream(&facts, range, Some(OutBody::raw(out, length))))
}

/// Reads ahead of the caller, a few pieces; ends when the caller has gone.
async fn pump(
    mut source: Box<dyn StreamSource>,
    first: u64,
    length: u64,
    pieces: tokio::sync::mpsc::Sender<Result<Bytes, TransferError>>,
) {
    let mut done = 0;
    while done < length {
        let most = usize::try_from(length - done).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        let piece = tokio::select! {
            piece = source.read(first + done, most) => piece,
            () = pieces.closed() => return,
        };
        let piece = match piece {
            Ok(piece) if !piece.is_empty() => Ok(piece),
            Ok(_) => Err(format!("it ends after {} bytes", first + done)),
            Err(refusal) => Err(refusal.text),
        };
        if let Err(why) = &piece {
            tracing::warn!(saveset = %source.facts().saveset, why, "a raw stream could not be read to its end");
        }
        done += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let failed = piece.is_err();
        if pieces.send(piece.map_err(TransferError::Raw)).await.is_err() || failed {
            return;
        }
    }
}

fn range_for(headers: &HeaderMap, facts: &StreamFacts) -> Result<Range, StreamRefusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = format!("\"{}\"", facts.saveset);
    // Another saveset than the one that was begun: the whole.
    if text(IF_RANGE).is_some_and(|condition: &str| condition != etag) {
        return Ok(Range::Whole);
    }
    Ok(text(RANGE).map_or(Range::Whole, |range| range_of(range, facts.bytes)))
}

/// The answer to a read; without a body it is that of `HEAD`.
fn of_stream(facts: &StreamFacts, range: Range, body: Option<OutBody>) -> Reply {
    let size = facts.bytes;
    if range == Range::Beyond {
        let text = format!("the stream has {size} bytes\n");
        let mut reply = plain(StatusCode::RANGE_NOT_SATISFIABLE, text);
        put(reply.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
        return reply;
    }
    let (first, length) = range.span(size);
    let mut reply = Response::new(body.unwrap_or_else(|| OutBody::plain(Bytes::new())));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    put(headers, CONTENT_LENGTH, &length.to_string());
    put(headers, ETAG, &format!("\"{}\"", facts.saveset));
    put(headers, CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", facts.task));
    if range != Range::Whole {
        let last = first + length.saturating_sub(1);
        put(headers, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    reply
}

/// Sends the caller to another host, method and body as they are.
fn elsewhere(url: &SecretText) -> Result<Reply, StreamRefusal> {
    let text = "the data goes to another host: follow there (curl -L)\n";
    let mut reply = plain(StatusCode::TEMPORARY_REDIRECT, text);
    let mut location = HeaderValue::from_str(url.reveal())
        .map_err(|_| StreamRefusal::new(Kind::Internal, "the device's address cannot be said"))?;
    location.set_sensitive(true);
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

fn put(headers: &mut HeaderMap, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn unauthorized(text: &str) -> Reply {
    let mut reply = plain(StatusCode::UNAUTHORIZED, format!("{text}\n"));
    let realm = HeaderValue::from_static("Basic realm=\"simsim raw streams\"");
    reply.headers_mut().insert(WWW_AUTHENTICATE, realm);
    reply
}

fn refused(refusal: &StreamRefusal) -> Reply {
    let status = match refusal.why {
        Why::NotProved => return unauthorized(&refusal.text),
        Why::TooOften => 429,
        Why::Failed(kind) => status_of(kind),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = plain(status, format!("{}\n", refusal.text));
    let headers = reply.headers_mut();
    if let Some(seconds) = refusal.again_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    // What is left of a body is dropped with the connection.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Whether a request is one for a raw stream.
pub(super) fn is_one(path: &str) -> bool {
    path.starts_with(PREFIX) || path == PREFIX.trim_end_matches('/')
}
