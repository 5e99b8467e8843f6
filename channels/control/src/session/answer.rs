//! The answering side of a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simsim_model::{Kind, limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::abort::AbortOnDrop;
use super::calls::Calls;
use super::{CALLS_MAX, OUT_QUEUE, Outgoing, write_frames};
use crate::coding::{Coding, Inward};
use crate::envelope::{Envelope, Part};
use crate::frame::{FrameError, FrameReader};
use crate::handler::{Caller, EventSender, Principal, VerbHandler};
use crate::hello::ProtocolVersion;
use crate::verbs::{BodyError, Join, Ping, Request, Verb, decode_body, encode_body};
use crate::{Hello, Timing, VerbError};

/// Time to write what is left when a session ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Calls beyond [`CALLS_MAX`] are answered with `Busy` while there are fewer than this; then the
/// session ends: such a peer does not read its answers.
const ANSWERS_MAX: usize = CALLS_MAX * 4;
/// Bytes of requests of one session that are in work at the same time.
const CALL_BYTES_MAX: usize = 8 * limits::CONTROL_MESSAGE_BYTES_MAX;

/// Large answers of one session that wait until the caller reads them, in KiB: with the requests in
/// work and the small answers less than a connection may hold.
const ANSWERS_KIB_MAX: usize = 16 * 1024;
/// An answer up to this size is small: all that may wait are 4 MiB together.
const ANSWER_SMALL_BYTES: usize = 64 * 1024;

/// What a listener brings into a session.
pub(crate) struct Terms {
    pub(crate) hello: Hello,
    pub(crate) principal: Principal,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) handler: Arc<dyn VerbHandler>,
    pub(crate) timing: Timing,
}

/// How a session ended, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The caller closed it.
    Closed,
    /// This side was asked to stop.
    Stopped,
    /// Something was wrong; the text was sent as the goodbye where possible.
    Broken(String),
}

/// Answers verbs until the stream ends, something is wrong with it, or `stop` is cancelled.
/// Running calls are dropped then.
pub(crate) async fn answer<S>(
    stream: S,
    coding: Coding,
    terms: Terms,
    stop: CancellationToken,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut from, to) = tokio::io::split(stream);
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let Coding { outward, mut inward } = coding;
    let mut writer = tokio::spawn(write_frames(to, outward, queue, terms.timing.beat));
    // Also when this future is dropped: whoever still holds a sender of events would keep the
    // writer, and its beats the peer's belief that somebody is here.
    let _guard = AbortOnDrop(writer.abort_handle());
    let reader = FrameReader::new(inward.frame_bytes_max());
    let mut hearing = Hearing { from: &mut from, reader, coding: inward.as_mut() };
    let mut calls = Calls::default();
    let out = Out { queue: out, room: Arc::new(Semaphore::new(ANSWERS_KIB_MAX)) };
    let ended = converse(&mut hearing, &out, &mut calls, terms, &stop).await;
    calls.drop_all();
    let reason = match &ended {
        Ended::Closed => None,
        Ended::Stopped => Some("the daemon is shutting down"),
        Ended::Broken(reason) => Some(reason.as_str()),
    };
    if let Some(last) = reason.and_then(Outgoing::goodbye) {
        let _ = timeout(LAST_WORDS, async {
            if out.queue.send(last).await.is_ok() {
                let _ = (&mut writer).await;
            }
        })
        .await;
    }
    writer.abort();
    ended
}

/// What is said to the caller.
#[derive(Clone)]
struct Out {
    queue: mpsc::Sender<Outgoing>,
    /// For large answers, in KiB.
    room: Arc<Semaphore>,
}

/// The reading half.
struct Hearing<'a, R> {
    from: &'a mut R,
    reader: FrameReader,
    coding: &'a mut dyn Inward,
}

async fn converse<R: AsyncRead + Unpin>(
    hearing: &mut Hearing<'_, R>,
    out: &Out,
    calls: &mut Calls,
    terms: Terms,
    stop: &CancellationToken,
) -> Ended {
    let theirs = tokio::select! {
        () = stop.cancelled() => return Ended::Stopped,
        theirs = timeout(terms.timing.handshake, first(hearing)) => theirs,
    };
    let theirs = match theirs {
        Ok(Ok(theirs)) => theirs,
        Ok(Err(reason)) => return Ended::Broken(reason),
        Err(_) => return Ended::Broken("no hello came in time".to_owned()),
    };
    let hello = Envelope::new(0, Part::Hello, 0, encode_body(&terms.hello));
    send(out, hello).await;
    if theirs.protocol.major != ProtocolVersion::OURS.major {
        return Ended::Broken(format!(
            "this node speaks control protocol {}, not {}",
            ProtocolVersion::OURS,
            theirs.protocol
        ));
    }
    let caller =
        Arc::new(Caller { principal: terms.principal, peer: terms.peer, hello: theirs.bounded() });
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            Some(panicked) = calls.ended() => {
                if let Some(id) = panicked {
                    tracing::error!(call = id, "the handler of a control verb panicked");
                    let out = out.clone();
                    calls.spawn(id, 0, async move {
                        fail(&out, id, Kind::Internal, "a defect in this node; see its log").await;
                    });
                }
            }
            frame = hearing.reader.next_within(hearing.from, terms.timing.idle) => {
                let envelope = match frame {
                    Ok(frame) => hearing.coding.envelope(frame),
                    Err(FrameError::Closed) => return Ended::Closed,
                    Err(error) => Err(error.to_string()),
                };
                let ended = match envelope {
                    Ok(envelope) => take(&envelope, out, calls, &caller, &terms.handler),
                    Err(reason) => Some(Ended::Broken(reason)),
                };
                if let Some(ended) = ended {
                    return ended;
                }
            }
        }
    }
}

/// The caller's hello.
async fn first<R: AsyncRead + Unpin>(hearing: &mut Hearing<'_, R>) -> Result<Hello, String> {
    let frame = hearing.reader.next(hearing.from).await.map_err(|error| error.to_string())?;
    let envelope = hearing.coding.envelope(frame)?;
    if envelope.part != Part::Hello {
        return Err("the first message is not a hello".to_owned());
    }
    decode_body("hello", &envelope.body).map_err(|error| error.to_string())
}

/// Takes one message. An end when the session cannot go on.
fn take(
    envelope: &Envelope,
    out: &Out,
    calls: &mut Calls,
    caller: &Arc<Caller>,
    handler: &Arc<dyn VerbHandler>,
) -> Option<Ended> {
    let id = envelope.id;
    match envelope.part {
        Part::Request => {}
        Part::Forget => {
            calls.forget(id);
            return None;
        }
        Part::Goodbye => return Some(Ended::Closed),
        // A second hello, beats, and parts of later versions.
        _ => return None,
    }
    if calls.has(id) {
        return Some(Ended::Broken(format!("call number {id} is used twice")));
    }
    if calls.count() >= ANSWERS_MAX {
        return Some(Ended::Broken("answers are not read".to_owned()));
    }
    let (verb, bytes) = (envelope.verb, envelope.body.len());
    let busy = calls.count() >= CALLS_MAX || calls.bytes() + bytes > CALL_BYTES_MAX;
    // What is refused is not looked at, and does not wait in memory for its refusal to be read.
    let refusal = if busy {
        let text = format!(
            "{CALLS_MAX} calls, or {CALL_BYTES_MAX} bytes of requests, are in work already: wait \
             for one to end"
        );
        Err((Kind::Busy, text))
    } else if !allowed(&caller.principal, verb) {
        Err((Kind::Denied, "this verb is not for hosts that are not enrolled".to_owned()))
    } else {
        match Request::decode(verb, &envelope.body) {
            Ok(request) => Ok(Some(request)),
            Err(BodyError::UnknownVerb(_)) => Ok(None),
            Err(error) => Err((Kind::Invalid, error.to_string())),
        }
    };
    let out = out.clone();
    match refusal {
        Ok(Some(request)) => {
            let (caller, handler) = (Arc::clone(caller), Arc::clone(handler));
            calls.spawn(id, bytes, async move {
                let events = EventSender::new(id, out.queue.clone());
                match handler.handle(&caller, request, events).await {
                    Ok(reply) => {
                        let envelope = Envelope::new(id, Part::Reply, verb, reply.encode());
                        if let Err((kind, text)) = reply_sized(&out, envelope).await {
                            fail(&out, id, kind, &text).await;
                        }
                    }
                    Err(error) => fail(&out, id, error.kind, &error.message).await,
                }
            });
        }
        Ok(None) => calls.spawn(id, 0, async move {
            send(&out, Envelope::new(id, Part::Unsupported, verb, Vec::new())).await;
        }),
        Err((kind, text)) => calls.spawn(id, 0, async move { fail(&out, id, kind, &text).await }),
    }
    None
}

/// What a stranger may say.
fn allowed(principal: &Principal, verb: u16) -> bool {
    match principal {
        Principal::Server => true,
        Principal::Joiner(_) => matches!(verb, Ping::NUMBER | Join::NUMBER),
    }
}

async fn fail(out: &Out, id: u64, kind: Kind, message: &str) {
    let message = crate::wire::cut(message, crate::verbs::RESULT_SENTENCE_BYTES_MAX);
    let body = encode_body(&VerbError::new(kind, message));
    send(out, Envelope::new(id, Part::Failure, 0, body)).await;
}

async fn send(out: &Out, envelope: Envelope) {
    // Small by construction, so it always fits. The queue ends with the session; nobody waits for
    // the answer then.
    if let Ok(envelope) = envelope.sized() {
        let _ = out.queue.send(Outgoing::Message(envelope)).await;
    }
}

/// Sends an answer of any size. An error when it is larger than a peer accepts, or would wait with
/// too much else that the peer has not read.
async fn reply_sized(out: &Out, envelope: Envelope) -> Result<(), (Kind, String)> {
    let envelope = envelope
        .sized()
        .map_err(|bytes| (Kind::Internal, format!("the answer has {bytes} bytes: ask for less")))?;
    let bytes = envelope.body.len();
    let answer = if bytes <= ANSWER_SMALL_BYTES {
        Outgoing::Message(envelope)
    } else {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        match Arc::clone(&out.room).try_acquire_many_owned(kib) {
            Ok(room) => Outgoing::Answer(envelope, room),
            Err(_) => {
                let text = format!(
                    "{} MiB of answers wait to be read already: read them, then ask again",
                    ANSWERS_KIB_MAX / 1024
                );
                return Err((Kind::Busy, text));
            }
        }
    };
    let _ = out.queue.send(answer).await;
    Ok(())
}
