//! The listening end: a host whose settings enable CTRL waits for its server.

use std::net::SocketAddr;
use std::sync::Arc;

use simsim_net::{Admitted, Severer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::handshake::{Answered, Refusal, error_line};
use super::line::{LineError, read_line, say_goodbye, write_line};
use crate::coding::Coding;
use crate::door::{Door, Guest, Login, Visit, evicted, principal};
use crate::handler::{JOIN_USER, ListenPolicy, Principal, SERVER_USER, VerbHandler};
use crate::{Hello, Identity, Timing};

/// The CTRL listener of a node. Clones are the same.
#[derive(Clone)]
pub struct CtrlListener {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    door: Door,
}

impl CtrlListener {
    /// A listener that proves `identity` and introduces itself with `hello`.
    pub fn new(
        identity: &Identity,
        hello: Hello,
        policy: Arc<dyn ListenPolicy>,
        handler: Arc<dyn VerbHandler>,
    ) -> Self {
        Self::with_timing(identity, hello, policy, handler, Timing::default())
    }

    /// As [`CtrlListener::new`], with lower time limits.
    pub fn with_timing(
        identity: &Identity,
        hello: Hello,
        policy: Arc<dyn ListenPolicy>,
        handler: Arc<dyn VerbHandler>,
        timing: Timing,
    ) -> Self {
        let door = Door { hello, policy, handler, timing };
        Self { shared: Arc::new(Shared { identity: identity.clone(), door }) }
    }

    /// Accepts connections until `shutdown` resolves; then sessions get a goodbye, and it returns.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        Door::serve(listener, shutdown, |visit| Arc::clone(&self.shared).visit(visit)).await;
    }

    /// One session over a stream that is there: this side answers, whoever connected to whom, and
    /// whatever carries the stream. The far end asks with [`CtrlDialer::call_over`]. It must prove
    /// the enrolled server's key; a key that is withdrawn later is cut off as on the port.
    ///
    /// Returns when the session has ended, with the reason for the log. When `stop` is cancelled
    /// the far end gets a goodbye. Dropping the future drops the work on open calls.
    ///
    /// [`CtrlDialer::call_over`]: super::CtrlDialer::call_over
    pub async fn answer_over<S>(
        &self,
        stream: S,
        peer: Option<SocketAddr>,
        stop: &CancellationToken,
    ) -> String
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.shared.converse(stream, peer, SERVER_USER, None, stop).await
    }

    /// As [`CtrlListener::answer_over`], for a host that joins with [`crate::join::join_over`] and for
    /// nobody else: whatever key it proves, it may say `Ping` and `Join` only, and keeps its place among
    /// strangers until the end, which comes after 60 s. While no join code is valid it is turned away before
    /// this side says who it is.
    pub async fn answer_joiner_over<S>(
        &self,
        stream: S,
        peer: Option<SocketAddr>,
        place: Admitted,
        stop: &CancellationToken,
    ) -> String
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.shared.converse(stream, peer, JOIN_USER, Some(place), stop).await
    }
}

/// What a host that joins is told while no join code is valid.
pub(crate) const JOINS_CLOSED: &str = "no join code is valid here now";

/// A visitor that does not come in.
struct Turned {
    /// For the log.
    reason: String,
    /// What it is told.
    words: Vec<u8>,
}

impl Turned {
    fn new(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { words: error_line(&reason).into_bytes(), reason }
    }
}

impl From<LineError> for Turned {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed(_) => Self { reason: "it left".to_owned(), words: Vec::new() },
            LineError::Foreign(foreign) => {
                Self { reason: format!("it speaks {}", foreign.name()), words: foreign.answer() }
            }
            LineError::Broken(reason) => Self::new(reason),
        }
    }
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Broken(reason) => Self::new(reason),
            Refusal::OtherKey(_) | Refusal::Refused => Self::new("refused"),
        }
    }
}

impl Shared {
    /// One connection from accept to close.
    async fn visit(self: Arc<Self>, visit: Visit) {
        let Visit { stream, peer, place, stop } = visit;
        // Cuts also when a session's writer is stuck, or outlives this task.
        let _cut = match Severer::of(&stream) {
            Ok(severer) => severer.on_drop(),
            Err(error) => {
                tracing::warn!(%peer, %error, "control connection dropped");
                return;
            }
        };
        let end = self.converse(stream, Some(peer), SERVER_USER, Some(place), &stop).await;
        tracing::debug!(%peer, end, "control connection closed");
    }

    /// From the first line to the end of the session. Answers why it ended, for the log.
    async fn converse<S>(
        &self,
        mut stream: S,
        peer: Option<SocketAddr>,
        user: &'static str,
        place: Option<Admitted>,
        stop: &CancellationToken,
    ) -> String
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let entering = timeout(self.door.timing.handshake, self.admit(&mut stream, user));
        let entered = tokio::select! {
            () = stop.cancelled() => return "shutting down".to_owned(),
            () = evicted(place.as_ref()) => return "gave way to a newer stranger".to_owned(),
            entered = entering => entered,
        };
        let entered = entered.unwrap_or_else(|_| Err(Turned::new("no log-in in time")));
        let (coding, login) = match entered {
            Ok(entered) => entered,
            Err(Turned { reason, words }) => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = evicted(place.as_ref()) => {}
                    () = say_goodbye(&mut stream, &words) => {}
                }
                return reason;
            }
        };
        // A stranger with a key of its own is still a stranger: it keeps its place until the end.
        let place = place.and_then(|place| match login.principal {
            Principal::Server => {
                place.authenticated();
                None
            }
            Principal::Joiner(_) => Some(place),
        });
        tracing::debug!(?peer, user, key = login.key.fingerprint(), "logged in over CTRL");
        let guest = Guest { login, peer, place };
        self.door.session(stream, coding, &guest, stop, std::future::ready(())).await
    }

    /// From the first line to the welcome.
    async fn admit<S>(&self, stream: &mut S, user: &str) -> Result<(Coding, Login), Turned>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let call = read_line(stream).await?;
        if user == JOIN_USER && !self.door.policy.joins_open() {
            return Err(Turned::new(JOINS_CLOSED));
        }
        let (answered, answer) = Answered::new(&call, &self.identity)?;
        write_line(stream, &answer).await?;
        let proof = read_line(stream).await?;
        let proven = answered.proven(&proof)?;
        let key = proven.key;
        let Some(principal) = principal(self.door.policy.as_ref(), user, &key) else {
            let words = proven.refuse()?.into_bytes();
            let reason = format!("key {} is not enrolled", key.fingerprint());
            return Err(Turned { reason, words });
        };
        let (welcome, coding) = proven.welcome()?;
        write_line(stream, &welcome).await?;
        Ok((coding, Login { user: user.to_owned(), key, principal }))
    }
}
