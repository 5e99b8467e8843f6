//! What a component plugs into a listener: who may come in, and what answers verbs.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use simsim_model::{Problem, ProgressSnapshot};
use tokio::sync::mpsc;

use crate::session::Outgoing;
use crate::verbs::{Event, Reply, Request};
use crate::{Hello, PublicKey, VerbError};

/// The user name with which a server logs in.
pub const SERVER_USER: &str = "server";
/// The user name of a host that has a join code and is not enrolled yet.
pub const JOIN_USER: &str = "join";

/// Who a session was proved to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// The server that this node is enrolled with.
    Server,
    /// Nobody yet: the owner of this key, with a join code or without. The core lets it say `Ping`
    /// and `Join` only, and counts it as a stranger.
    Joiner(PublicKey),
}

/// Who a verb comes from.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Principal,
    /// Address of the other end of the connection; absent where there is no socket.
    pub peer: Option<SocketAddr>,
    /// How the caller introduced itself.
    pub hello: Hello,
}

/// Decides at each log-in, and again every few seconds while a session lasts, who a key is.
pub trait ListenPolicy: Send + Sync + 'static {
    /// Who logs in as `user` with `key`; `None` refuses. Never asked for [`JOIN_USER`].
    fn principal(&self, user: &str, key: &PublicKey) -> Option<Principal>;

    /// May strangers log in as [`JOIN_USER`] now, because a join code is valid?
    fn joins_open(&self) -> bool {
        false
    }
}

/// The answer that a handler works on.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, VerbError>> + Send + 'a>>;

/// Answers verbs.
///
/// Calls run at the same time. The future is dropped when the session ends or the caller does not
/// wait any more: work that has to outlive the session (a job) is spawned and only awaited here.
/// A verb that is not this node's is answered with a [`VerbError`] of kind `Invalid`.
pub trait VerbHandler: Send + Sync + 'static {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> Answer<'a>;
}

/// Tells the caller of a long verb what happens. Clones tell the same caller. Usable from any
/// thread; a caller that is gone is no error.
#[derive(Debug, Clone)]
pub struct EventSender {
    id: u64,
    out: mpsc::Sender<Outgoing>,
}

impl EventSender {
    pub(crate) fn new(id: u64, out: mpsc::Sender<Outgoing>) -> Self {
        Self { id, out }
    }

    /// Tells without waiting. False when the line is slow and the event was left out, or when
    /// nobody is there.
    pub fn offer(&self, event: &Event) -> bool {
        // Half of the queue is kept for answers.
        if self.out.capacity() * 2 < self.out.max_capacity() {
            return false;
        }
        Outgoing::event(self.id, event).is_some_and(|event| self.out.try_send(event).is_ok())
    }

    /// [`EventSender::offer`] of counters.
    pub fn progress(&self, snapshot: ProgressSnapshot) -> bool {
        self.offer(&Event::Progress(snapshot))
    }

    /// [`EventSender::offer`] of a problem; the job's result has it in any case.
    pub fn problem(&self, problem: Problem) -> bool {
        self.offer(&Event::Problem(problem))
    }

    /// Tells, and waits while the line is slow. False when nobody is there.
    pub async fn send(&self, event: &Event) -> bool {
        match Outgoing::event(self.id, event) {
            Some(event) => self.out.send(event).await.is_ok(),
            None => true,
        }
    }

    /// Has the session ended?
    pub fn is_closed(&self) -> bool {
        self.out.is_closed()
    }
}
