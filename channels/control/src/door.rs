//! What the listeners of all access modes have in common: strangers are admitted within limits,
//! whoever was proved gets a session, and loses it when it is not enrolled any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simsim_net::{Admission, Admitted};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::coding::Coding;
use crate::handler::{JOIN_USER, ListenPolicy, Principal, VerbHandler};
use crate::session::{Ended, Terms, answer};
use crate::{Hello, PublicKey, Timing};

/// Pause after a failed accept: out of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Sessions get this long to say goodbye at a shutdown.
pub(crate) const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// A connection that was accepted, and is a stranger's until the opposite is proved.
pub(crate) struct Visit {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Admitted,
    pub(crate) stop: CancellationToken,
}

/// Who was proved.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) key: PublicKey,
    pub(crate) principal: Principal,
}

/// Somebody who was proved, and may come in.
pub(crate) struct Guest {
    pub(crate) login: Login,
    /// Absent where there is no socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The place of a stranger, who keeps it until the end.
    pub(crate) place: Option<Admitted>,
}

/// Who `user` with `key` is now.
pub(crate) fn principal(
    policy: &dyn ListenPolicy,
    user: &str,
    key: &PublicKey,
) -> Option<Principal> {
    if user == JOIN_USER {
        return policy.joins_open().then_some(Principal::Joiner(*key));
    }
    // Whatever the policy says, a stranger is one only under the name for strangers.
    policy.principal(user, key).filter(|principal| matches!(principal, Principal::Server))
}

/// What stands behind a listener.
pub(crate) struct Door {
    pub(crate) hello: Hello,
    pub(crate) policy: Arc<dyn ListenPolicy>,
    pub(crate) handler: Arc<dyn VerbHandler>,
    pub(crate) timing: Timing,
}

impl Door {
    /// Accepts connections until `shutdown` resolves, and gives each to `visit`, which watches
    /// `Visit::stop` and its place. Then waits a moment for the visits to end.
    pub(crate) async fn serve<F>(
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
        visit: impl Fn(Visit) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let admission = Admission::new();
        let stop = CancellationToken::new();
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let place = admission.admit_newest(peer.ip());
                        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                        simsim_net::tune(&stream);
                        connections.spawn(visit(Visit { stream, peer, place, stop: stop.clone() }));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a control connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        stop.cancel();
        let _ = timeout(SHUTDOWN_TIME, async { while connections.join_next().await.is_some() {} })
            .await;
    }

    /// The session of `guest`, until it ends, the key is withdrawn, or a stranger has to give way.
    /// `after` is waited for when the session itself has ended: what was said last may still be on
    /// its way. Answers why it ended, for the log.
    pub(crate) async fn session<S>(
        &self,
        stream: S,
        coding: Coding,
        guest: &Guest,
        stop: &CancellationToken,
        after: impl Future<Output = ()>,
    ) -> String
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let Guest { login, peer, place } = guest;
        let terms = Terms {
            hello: self.hello.clone(),
            principal: login.principal,
            peer: *peer,
            handler: Arc::clone(&self.handler),
            timing: self.timing,
        };
        tokio::select! {
            ended = answer(stream, coding, terms, stop.clone()) => {
                after.await;
                match ended {
                    Ended::Closed => "by the caller".to_owned(),
                    Ended::Stopped => "shutting down".to_owned(),
                    Ended::Broken(reason) => {
                        tracing::info!(?peer, reason, "control session ended");
                        reason
                    }
                }
            }
            () = self.withdrawn(login) => {
                tracing::warn!(?peer, user = login.user, "enrolment withdrawn: session cut");
                "enrolment withdrawn".to_owned()
            }
            () = evicted(place.as_ref()) => "gave way to a newer stranger".to_owned(),
        }
    }

    /// Resolves when the policy does not know the key any more, or when a stranger has stayed for
    /// longer than a join takes.
    async fn withdrawn(&self, login: &Login) {
        if matches!(login.principal, Principal::Joiner(_)) {
            tokio::time::sleep(self.timing.idle).await;
            return;
        }
        let mut ticks = interval_at(Instant::now() + self.timing.recheck, self.timing.recheck);
        loop {
            ticks.tick().await;
            let now = principal(self.policy.as_ref(), &login.user, &login.key);
            if now != Some(login.principal) {
                return;
            }
        }
    }
}

/// Resolves when a stranger has lost its place; never without one.
pub(crate) async fn evicted(place: Option<&Admitted>) {
    match place {
        Some(place) => place.evicted().await,
        None => std::future::pending().await,
    }
}
