//! The answering side of a session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simsim_model::Kind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{CALLS_MAX, OUT_QUEUE, Outgoing, write_frames};
use crate::envelope::{Envelope, Part};
use crate::frame::{FrameError, FrameReader};
use crate::handler::{Caller, EventSender, Principal, VerbHandler};
use crate::hello::ProtocolVersion;
use crate::verbs::{BodyError, Request, decode_body, encode_body};
use crate::{Hello, Timing, VerbError};

/// Time to write what is left when a session ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Calls beyond [`CALLS_MAX`] are answered with `Busy` while there are fewer than this; then the
/// session ends: such a peer does not read its answers.
const ANSWERS_MAX: usize = CALLS_MAX * 4;

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
pub(crate) async fn answer<S>(stream: S, terms: Terms, stop: CancellationToken) -> Ended
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut from, to) = tokio::io::split(stream);
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let mut writer = tokio::spawn(write_frames(to, queue, terms.timing.beat));
    let mut reader = FrameReader::new();
    let mut calls = Calls { set: JoinSet::new(), open: HashMap::new(), ids: HashMap::new() };
    let ended = converse(&mut from, &mut reader, &out, &mut calls, terms, &stop).await;
    calls.set.abort_all();
    let reason = match &ended {
        Ended::Closed => None,
        Ended::Stopped => Some("the daemon is shutting down"),
        Ended::Broken(reason) => Some(reason.as_str()),
    };
    if let Some(last) = reason.and_then(Outgoing::goodbye) {
        let _ = timeout(LAST_WORDS, async {
            if out.send(last).await.is_ok() {
                let _ = (&mut writer).await;
            }
        })
        .await;
    }
    writer.abort();
    ended
}

/// Calls in work.
struct Calls {
    set: JoinSet<()>,
    open: HashMap<u64, AbortHandle>,
    ids: HashMap<Id, u64>,
}

impl Calls {
    fn spawn(&mut self, id: u64, work: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(work);
        self.ids.insert(handle.id(), id);
        self.open.insert(id, handle);
    }

    /// Forgets a finished call; its number when it panicked.
    fn reap(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) -> Option<u64> {
        let (task, panicked) = match ended {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let id = self.ids.remove(&task)?;
        if self.open.get(&id).is_some_and(|handle| handle.id() == task) {
            self.open.remove(&id);
        }
        panicked.then_some(id)
    }
}

async fn converse<R: AsyncRead + Unpin>(
    from: &mut R,
    reader: &mut FrameReader,
    out: &mpsc::Sender<Outgoing>,
    calls: &mut Calls,
    terms: Terms,
    stop: &CancellationToken,
) -> Ended {
    let theirs = tokio::select! {
        () = stop.cancelled() => return Ended::Stopped,
        theirs = timeout(terms.timing.handshake, first(from, reader)) => theirs,
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
            Some(ended) = calls.set.join_next_with_id() => {
                if let Some(id) = calls.reap(ended) {
                    tracing::error!(call = id, "the handler of a control verb panicked");
                    let out = out.clone();
                    calls.spawn(id, async move {
                        fail(&out, id, Kind::Internal, "a defect in this node; see its log").await;
                    });
                }
            }
            frame = reader.next_within(from, terms.timing.idle) => {
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(FrameError::Closed) => return Ended::Closed,
                    Err(error) => return Ended::Broken(error.to_string()),
                };
                if let Some(ended) = take(&frame, out, calls, &caller, &terms.handler) {
                    return ended;
                }
            }
        }
    }
}

/// The caller's hello.
async fn first<R: AsyncRead + Unpin>(
    from: &mut R,
    reader: &mut FrameReader,
) -> Result<Hello, String> {
    let frame = reader.next(from).await.map_err(|error| error.to_string())?;
    let envelope = Envelope::decode(&frame)?;
    if envelope.part != Part::Hello {
        return Err("the first message is not a hello".to_owned());
    }
    decode_body("hello", &envelope.body).map_err(|error| error.to_string())
}

/// Takes one frame. An end when the session cannot go on.
fn take(
    frame: &Zeroizing<Vec<u8>>,
    out: &mpsc::Sender<Outgoing>,
    calls: &mut Calls,
    caller: &Arc<Caller>,
    handler: &Arc<dyn VerbHandler>,
) -> Option<Ended> {
    let envelope = match Envelope::decode(frame) {
        Ok(envelope) => envelope,
        Err(reason) => return Some(Ended::Broken(reason)),
    };
    let id = envelope.id;
    match envelope.part {
        Part::Request => {}
        Part::Forget => {
            if let Some(call) = calls.open.remove(&id) {
                call.abort();
            }
            return None;
        }
        Part::Goodbye => return Some(Ended::Closed),
        // A second hello, beats, and parts of later versions.
        _ => return None,
    }
    if calls.open.contains_key(&id) {
        return Some(Ended::Broken(format!("call number {id} is used twice")));
    }
    if calls.set.len() >= ANSWERS_MAX {
        return Some(Ended::Broken("answers are not read".to_owned()));
    }
    let out = out.clone();
    if calls.set.len() >= CALLS_MAX {
        calls.spawn(id, async move {
            let text = format!("{CALLS_MAX} calls are in work already: wait for one to end");
            fail(&out, id, Kind::Busy, &text).await;
        });
        return None;
    }
    let request = Request::decode(envelope.verb, &envelope.body);
    let verb = envelope.verb;
    let caller = Arc::clone(caller);
    let handler = Arc::clone(handler);
    calls.spawn(id, async move {
        match request {
            Err(BodyError::UnknownVerb(_)) => {
                send(&out, Envelope::new(id, Part::Unsupported, verb, Vec::new())).await;
            }
            Err(error) => fail(&out, id, Kind::Invalid, &error.to_string()).await,
            Ok(request) if !allowed(&caller.principal, &request) => {
                let text = format!("'{}' is not for hosts that are not enrolled", request.name());
                fail(&out, id, Kind::Denied, &text).await;
            }
            Ok(request) => {
                let events = EventSender::new(id, out.clone());
                match handler.handle(&caller, request, events).await {
                    Ok(reply) => {
                        let envelope = Envelope::new(id, Part::Reply, verb, reply.encode());
                        if let Err(bytes) = send_sized(&out, envelope).await {
                            let text = format!("the answer has {bytes} bytes: ask for less");
                            fail(&out, id, Kind::Internal, &text).await;
                        }
                    }
                    Err(error) => fail(&out, id, error.kind, &error.message).await,
                }
            }
        }
    });
    None
}

/// What a stranger may say.
fn allowed(principal: &Principal, request: &Request) -> bool {
    match principal {
        Principal::Server => true,
        Principal::Joiner(_) => matches!(request, Request::Ping(_) | Request::Join(_)),
    }
}

async fn fail(out: &mpsc::Sender<Outgoing>, id: u64, kind: Kind, message: &str) {
    let message = crate::wire::cut(message, crate::verbs::RESULT_SENTENCE_BYTES_MAX);
    let body = encode_body(&VerbError::new(kind, message));
    send(out, Envelope::new(id, Part::Failure, 0, body)).await;
}

async fn send(out: &mpsc::Sender<Outgoing>, envelope: Envelope) {
    // Small by construction, so it always fits.
    let _ = send_sized(out, envelope).await;
}

/// The size, when it is larger than a peer accepts.
async fn send_sized(out: &mpsc::Sender<Outgoing>, envelope: Envelope) -> Result<(), usize> {
    let frame = envelope.into_frame()?;
    // The queue ends with the session; nobody waits for the answer then.
    let _ = out.send(Outgoing::Frame(frame)).await;
    Ok(())
}
