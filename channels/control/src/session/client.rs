//! The calling side of a session, as a component holds it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::abort::AbortOnDrop;
use super::call::Call;
use super::heard::{self, Room};
use super::shared::{Pending, Shared, first, listen};
use super::{OUT_QUEUE, Outgoing, write_frames};
use crate::coding::Coding;
use crate::envelope::{Envelope, Part};
use crate::frame::FrameReader;
use crate::hello::ProtocolVersion;
use crate::verbs::{Verb, encode_body};
use crate::{ControlError, Hello, Timing};

/// A session with a node. Clones share it; it closes with the last one.
#[derive(Clone)]
pub struct ControlClient {
    session: Arc<Session>,
}

struct Session {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
    /// What the stream lives on (a connection of another protocol).
    keeper: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl Session {
    fn end(&self, reason: &str) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.end(reason);
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlClient({})", self.session.shared.label)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end("closed here");
    }
}

impl ControlClient {
    /// Opens a session over a stream: says hello and waits for the other's. `coding` says what its
    /// frames are; `label` names the peer in errors; `keeper` is dropped with the session.
    pub(crate) async fn open<S>(
        stream: S,
        coding: Coding,
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
        let Coding { outward, mut inward } = coding;
        let writer = tokio::spawn(write_frames(to, outward, queue, timing.beat)).abort_handle();
        let guard = AbortOnDrop(writer);
        let ours = Envelope::new(0, Part::Hello, 0, encode_body(hello));
        let _ = out.send(Outgoing::Message(ours)).await;
        let mut reader = FrameReader::new(inward.frame_bytes_max());
        let first = first(&mut from, &mut reader, inward.as_mut());
        let peer = match timeout(timing.handshake, first).await {
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
            room: Room::new(),
        });
        let listening = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            let coding = inward.as_mut();
            let reason = listen(&mut from, &mut reader, coding, &listening, timing.dead).await;
            listening.end(&reason);
        });
        let writer = guard.disarm();
        let tasks = [writer, listener.abort_handle()];
        Ok(Self { session: Arc::new(Session { shared, tasks, keeper: Mutex::new(Some(keeper)) }) })
    }

    /// Ends the session now, for everybody who shares it: open calls fail, and what the stream lives
    /// on is dropped. `reason` is what they are told.
    pub fn close(&self, reason: &str) {
        self.session.end(reason);
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
        let request =
            Envelope::new(id, Part::Request, V::NUMBER, body).sized().map_err(|bytes| {
                ControlError::TooLarge { verb: V::NAME, bytes, max: CONTROL_MESSAGE_BYTES_MAX }
            })?;
        let (events_in, events) = heard::queue();
        let (reply_in, reply) = oneshot::channel();
        {
            let mut waiting = shared.calls();
            if let Some(reason) = &waiting.ended {
                return Err(shared.lost(reason));
            }
            let pending =
                Pending { verb: V::NUMBER, name: V::NAME, events: events_in, reply: reply_in };
            waiting.open.insert(id, pending);
        }
        // Made before the wait, so that a caller who gives up here leaves nothing behind.
        let call = Call::new(id, self.clone(), events, reply);
        // A queue that ended has told the reason to the call already.
        let _ = shared.out.send(Outgoing::Message(request)).await;
        Ok(call)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.session.shared
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
