//! The calling side of a session.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{OUT_QUEUE, Outgoing, write_frames};
use crate::envelope::{Envelope, Goodbye, Part};
use crate::frame::{FrameError, FrameReader};
use crate::hello::ProtocolVersion;
use crate::verbs::{Event, Reply, Verb, decode_body, encode_body};
use crate::{ControlError, Hello, Timing, VerbError};

/// Events of one call that wait to be looked at; more are left out.
const EVENTS_QUEUE: usize = 256;

/// A session with a node. Clones share it; it closes with the last one.
#[derive(Clone)]
pub struct ControlClient {
    session: Arc<Session>,
}

struct Session {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
    /// What the stream lives on (a connection of another protocol).
    _keeper: Box<dyn Any + Send + Sync>,
}

struct Shared {
    label: Arc<str>,
    peer: Hello,
    out: mpsc::Sender<Outgoing>,
    next: AtomicU64,
    calls: Mutex<Calls>,
    ended: watch::Sender<Option<Arc<str>>>,
}

#[derive(Default)]
struct Calls {
    open: HashMap<u64, Pending>,
    /// Set once; no call is opened afterwards.
    ended: Option<Arc<str>>,
}

struct Pending {
    verb: u16,
    name: &'static str,
    events: mpsc::Sender<Event>,
    reply: oneshot::Sender<Result<Reply, ControlError>>,
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlClient({})", self.session.shared.label)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.end("closed here");
    }
}

impl ControlClient {
    /// Opens a session over a stream: says hello and waits for the other's. `label` names the
    /// peer in errors; `keeper` is dropped with the session.
    pub(crate) async fn open<S>(
        stream: S,
        hello: &Hello,
        label: &str,
        timing: Timing,
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<Self, ControlError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (mut from, to) = tokio::io::split(stream);
        let (out, queue) = mpsc::channel(OUT_QUEUE);
        let writer = tokio::spawn(write_frames(to, queue, timing.beat)).abort_handle();
        let guard = AbortOnDrop(writer);
        if let Ok(frame) = Envelope::new(0, Part::Hello, 0, encode_body(hello)).into_frame() {
            let _ = out.send(Outgoing::Frame(frame)).await;
        }
        let mut reader = FrameReader::new();
        let peer = match timeout(timing.handshake, first(&mut from, &mut reader)).await {
            Ok(Ok(peer)) => peer.bounded(),
            Ok(Err(reason)) => {
                return Err(ControlError::Handshake { peer: label.to_owned(), reason });
            }
            Err(_) => {
                return Err(ControlError::TimedOut {
                    peer: label.to_owned(),
                    step: "hello",
                    seconds: timing.handshake.as_secs(),
                });
            }
        };
        if peer.protocol.major != ProtocolVersion::OURS.major {
            return Err(ControlError::Version {
                peer: label.to_owned(),
                suite_version: peer.suite_version,
                theirs: peer.protocol,
                ours: ProtocolVersion::OURS,
            });
        }
        let shared = Arc::new(Shared {
            label: label.into(),
            peer,
            out,
            next: AtomicU64::new(1),
            calls: Mutex::default(),
            ended: watch::Sender::new(None),
        });
        let listening = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            let reason = listen(&mut from, &mut reader, &listening, timing.dead).await;
            listening.end(&reason);
        });
        let writer = guard.disarm();
        let tasks = [writer, listener.abort_handle()];
        Ok(Self { session: Arc::new(Session { shared, tasks, _keeper: keeper }) })
    }

    /// How the peer introduced itself.
    pub fn peer(&self) -> &Hello {
        &self.session.shared.peer
    }

    /// The peer's address, for people.
    pub fn label(&self) -> &str {
        &self.session.shared.label
    }

    /// Asks, and waits for the answer; events are passed over.
    ///
    /// # Errors
    /// `Verb` with the peer's own kind and sentence; `Unsupported`; `Lost` (kind `Unreachable`)
    /// when the session ends before the answer, at the latest `Timing::dead` after the peer fell
    /// silent.
    pub async fn call<V: Verb>(&self, verb: V) -> Result<V::Reply, ControlError> {
        self.start(verb).await?.finish().await
    }

    /// As [`ControlClient::call`], and gives up after `limit`: for verbs that a healthy peer
    /// answers at once.
    pub async fn call_within<V: Verb>(
        &self,
        limit: Duration,
        verb: V,
    ) -> Result<V::Reply, ControlError> {
        timeout(limit, self.call(verb)).await.unwrap_or_else(|_| {
            Err(ControlError::TimedOut {
                peer: self.label().to_owned(),
                step: V::NAME,
                seconds: limit.as_secs(),
            })
        })
    }

    /// Asks; events and the answer are taken from the [`Call`].
    pub async fn start<V: Verb>(&self, verb: V) -> Result<Call<V>, ControlError> {
        let shared = &self.session.shared;
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let body = verb.into().encode();
        let frame =
            Envelope::new(id, Part::Request, V::NUMBER, body).into_frame().map_err(|bytes| {
                ControlError::TooLarge { verb: V::NAME, bytes, max: CONTROL_MESSAGE_BYTES_MAX }
            })?;
        let (events_in, events) = mpsc::channel(EVENTS_QUEUE);
        let (reply_in, reply) = oneshot::channel();
        {
            let mut calls = shared.calls();
            if let Some(reason) = &calls.ended {
                return Err(shared.lost(reason));
            }
            let pending =
                Pending { verb: V::NUMBER, name: V::NAME, events: events_in, reply: reply_in };
            calls.open.insert(id, pending);
        }
        // Made before the wait, so that a caller who gives up here leaves nothing behind.
        let call = Call { id, session: self.clone(), events, reply, verb: PhantomData };
        // A queue that ended has told the reason to the call already.
        let _ = shared.out.send(Outgoing::Frame(frame)).await;
        Ok(call)
    }

    /// Has the session ended?
    pub fn is_closed(&self) -> bool {
        self.session.shared.calls().ended.is_some()
    }

    /// Waits for the end of the session, and says why it ended.
    pub async fn closed(&self) -> String {
        let mut ended = self.session.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.as_deref().unwrap_or_default().to_owned(),
            Err(_) => "closed here".to_owned(),
        }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        // No holder of the lock leaves the map half changed.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, reason: &Arc<str>) -> ControlError {
        ControlError::Lost { peer: Arc::clone(&self.label), reason: Arc::clone(reason) }
    }

    /// Ends all calls with the first reason given.
    fn end(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        let open = {
            let mut calls = self.calls();
            if calls.ended.is_some() {
                return;
            }
            calls.ended = Some(Arc::clone(&reason));
            std::mem::take(&mut calls.open)
        };
        for pending in open.into_values() {
            let _ = pending.reply.send(Err(self.lost(&reason)));
        }
        self.ended.send_replace(Some(reason));
    }

    /// Takes one envelope; a reason when the session is over.
    fn take(&self, envelope: Envelope) -> Option<String> {
        let id = envelope.id;
        match envelope.part {
            Part::Event => {
                let calls = self.calls();
                if let (Some(pending), Ok(event)) =
                    (calls.open.get(&id), Event::decode(envelope.verb, &envelope.body))
                {
                    let _ = pending.events.try_send(event);
                }
            }
            Part::Reply | Part::Failure | Part::Unsupported => {
                // A call that nobody waits for any more is not in the map.
                let pending = self.calls().open.remove(&id)?;
                let result = self.result(&envelope, &pending);
                let _ = pending.reply.send(result);
            }
            Part::Goodbye => {
                let goodbye: Goodbye = decode_body("goodbye", &envelope.body).unwrap_or_default();
                let reason = crate::wire::cut(&goodbye.reason, 500);
                return Some(format!("closed by the other side ({})", reason.escape_debug()));
            }
            // Beats, a second hello, and parts of later versions.
            _ => {}
        }
        None
    }

    fn result(&self, envelope: &Envelope, pending: &Pending) -> Result<Reply, ControlError> {
        let malformed = |reason: String| ControlError::Malformed {
            peer: Arc::clone(&self.label),
            reason: format!("answer to '{}': {reason}", pending.name),
        };
        match envelope.part {
            Part::Unsupported => Err(ControlError::Unsupported {
                peer: Arc::clone(&self.label),
                suite_version: self.peer.suite_version.clone(),
                verb: pending.name,
            }),
            Part::Failure => match decode_body::<VerbError>("failure", &envelope.body) {
                Ok(error) => Err(ControlError::Verb(error)),
                Err(error) => Err(malformed(error.to_string())),
            },
            _ if envelope.verb != pending.verb => {
                Err(malformed(format!("it belongs to verb {}", envelope.verb)))
            }
            _ => Reply::decode(envelope.verb, &envelope.body)
                .map_err(|error| malformed(error.to_string())),
        }
    }
}

/// Reads until the session is over, and says why.
async fn listen<R: AsyncRead + Unpin>(
    from: &mut R,
    reader: &mut FrameReader,
    shared: &Shared,
    dead: Duration,
) -> String {
    loop {
        let frame = match reader.next_within(from, dead).await {
            Ok(frame) => frame,
            Err(error) => return error.to_string(),
        };
        match Envelope::decode(&frame) {
            Ok(envelope) => {
                if let Some(reason) = shared.take(envelope) {
                    return reason;
                }
            }
            Err(reason) => return reason,
        }
    }
}

/// The listener's hello.
async fn first<R: AsyncRead + Unpin>(
    from: &mut R,
    reader: &mut FrameReader,
) -> Result<Hello, String> {
    let frame = match reader.next(from).await {
        Ok(frame) => frame,
        Err(FrameError::Closed) => return Err("it closed the connection without a hello".into()),
        Err(error) => return Err(error.to_string()),
    };
    let envelope = Envelope::decode(&frame)?;
    match envelope.part {
        Part::Hello => decode_body("hello", &envelope.body).map_err(|error| error.to_string()),
        Part::Goodbye => {
            let goodbye: Goodbye = decode_body("goodbye", &envelope.body).unwrap_or_default();
            Err(format!("it closed the session ({})", goodbye.reason.escape_debug()))
        }
        _ => Err("its first message is not a hello".to_owned()),
    }
}

/// A call in work. Dropping it tells the peer that nobody waits any more.
pub struct Call<V: Verb> {
    id: u64,
    session: ControlClient,
    events: mpsc::Receiver<Event>,
    reply: oneshot::Receiver<Result<Reply, ControlError>>,
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb> fmt::Debug for Call<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", V::NAME, self.id)
    }
}

impl<V: Verb> Call<V> {
    /// The next event; `None` when the answer is there, or the session ended.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for the answer. Errors as [`ControlClient::call`].
    pub async fn finish(mut self) -> Result<V::Reply, ControlError> {
        let shared = Arc::clone(&self.session.session.shared);
        let reply = match (&mut self.reply).await {
            Ok(reply) => reply?,
            Err(_) => return Err(shared.lost(&"closed here".into())),
        };
        V::reply_of(reply).ok_or_else(|| ControlError::Malformed {
            peer: Arc::clone(&shared.label),
            reason: format!("the answer to '{}' is one to another verb", V::NAME),
        })
    }
}

impl<V: Verb> Drop for Call<V> {
    fn drop(&mut self) {
        let shared = &self.session.session.shared;
        let was_open = shared.calls().open.remove(&self.id).is_some();
        if was_open && let Ok(frame) = Envelope::new(self.id, Part::Forget, 0, vec![]).into_frame()
        {
            let frame = Outgoing::Frame(frame);
            if let Err(TrySendError::Full(frame)) = shared.out.try_send(frame)
                && let Ok(runtime) = Handle::try_current()
            {
                let out = shared.out.clone();
                // Ends with the session at the latest.
                runtime.spawn(async move { out.send(frame).await });
            }
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    fn disarm(self) -> AbortHandle {
        let handle = self.0.clone();
        std::mem::forget(self);
        handle
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
