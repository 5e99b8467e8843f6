//! The listening end: a host waits for its server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::server::Config;
use russh::{MethodKind, MethodSet};
use simsim_net::{Admission, Admitted, Severer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::algorithms::{CHANNEL_PACKETS, PACKET_BYTES, PREFERRED, WINDOW_BYTES, ssh_id};
use super::visitor::{Login, Step, Visitor, principal};
use crate::handler::{ListenPolicy, Principal, VerbHandler};
use crate::session::{Ended, Terms, answer};
use crate::{Hello, Identity, Timing};

/// Rejections take this long, whatever their cause; the first probe of OpenSSH does not.
const REJECTION_TIME: Duration = Duration::from_millis(200);
/// Keys that one connection may try.
const LOGIN_ATTEMPTS_MAX: usize = 6;
/// Pause after a failed accept: out of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Sessions get this long to say goodbye at a shutdown.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// The SSH listener of a node.
pub struct SmsshListener {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    hello: Hello,
    policy: Arc<dyn ListenPolicy>,
    handler: Arc<dyn VerbHandler>,
    admission: Admission,
    timing: Timing,
}

impl SmsshListener {
    /// A listener that shows `identity` as its host key and introduces itself with `hello`.
    pub fn new(
        identity: &Identity,
        hello: Hello,
        policy: Arc<dyn ListenPolicy>,
        handler: Arc<dyn VerbHandler>,
    ) -> Self {
        Self::with_timing(identity, hello, policy, handler, Timing::default())
    }

    /// As [`SmsshListener::new`], with lower time limits.
    pub fn with_timing(
        identity: &Identity,
        hello: Hello,
        policy: Arc<dyn ListenPolicy>,
        handler: Arc<dyn VerbHandler>,
        timing: Timing,
    ) -> Self {
        let config = Config {
            server_id: ssh_id(),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: REJECTION_TIME,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![(*identity.private()).clone()],
            window_size: WINDOW_BYTES,
            maximum_packet_size: PACKET_BYTES,
            channel_buffer_size: CHANNEL_PACKETS,
            preferred: PREFERRED,
            max_auth_attempts: LOGIN_ATTEMPTS_MAX,
            // Sessions have beats, and the owner of each connection has deadlines of its own.
            inactivity_timeout: Some(timing.idle),
            keepalive_interval: None,
            ..Config::default()
        };
        let config = Arc::new(config);
        let admission = Admission::new();
        let shared = Shared { config, hello, policy, handler, admission, timing };
        Self { shared: Arc::new(shared) }
    }

    /// Accepts connections until `shutdown` resolves; then sessions get a goodbye, and it returns.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let stop = CancellationToken::new();
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let place = self.shared.admission.admit_newest(peer.ip());
                        let shared = Arc::clone(&self.shared);
                        let stop = stop.clone();
                        connections.spawn(shared.visit(stream, peer, place, stop));
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
}

impl Shared {
    /// One connection from accept to close.
    async fn visit(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: Admitted,
        stop: CancellationToken,
    ) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        simsim_net::tune(&stream);
        // Cuts also when this task is aborted: the library's own task would live on.
        let _cut = match Severer::of(&stream) {
            Ok(severer) => severer.on_drop(),
            Err(error) => {
                tracing::warn!(%peer, %error, "control connection dropped");
                return;
            }
        };
        let end = self.converse(stream, peer, place, &stop).await;
        tracing::debug!(%peer, end, "control connection closed");
    }

    async fn converse(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Admitted,
        stop: &CancellationToken,
    ) -> String {
        let deadline = Instant::now() + self.timing.handshake;
        let (steps_in, mut steps) = mpsc::unbounded_channel();
        let visitor = Visitor::new(Arc::clone(&self.policy), steps_in);
        let entered = async {
            let running = russh::server::run_stream(Arc::clone(&self.config), stream, visitor)
                .await
                .map_err(|error| error.to_string())?;
            match steps.recv().await {
                Some(Step::LoggedIn(login)) => Ok((running, login)),
                _ => Err("it ended without a log-in".to_owned()),
            }
        };
        let entered = tokio::select! {
            () = stop.cancelled() => return "shutting down".to_owned(),
            () = place.evicted() => return "gave way to a newer stranger".to_owned(),
            entered = timeout_at(deadline, entered) => entered,
        };
        let (mut running, login) = match entered {
            Ok(Ok(entered)) => entered,
            Ok(Err(reason)) => return reason,
            Err(_) => return "no log-in in time".to_owned(),
        };
        // A stranger with a key of its own is still a stranger: it keeps its place until the end.
        let place = match login.principal {
            Principal::Server => {
                place.authenticated();
                None
            }
            Principal::Joiner(_) => Some(place),
        };
        tracing::debug!(%peer, user = login.user, key = login.key.fingerprint(), "logged in");
        let started = tokio::select! {
            () = stop.cancelled() => return "shutting down".to_owned(),
            () = evicted(place.as_ref()) => return "gave way to a newer stranger".to_owned(),
            started = timeout(self.timing.handshake, steps.recv()) => started,
            _ = &mut running => return "it ended without the subsystem".to_owned(),
        };
        let Ok(Some(Step::Started(stream))) = started else {
            return "the subsystem was not asked for".to_owned();
        };
        let terms = Terms {
            hello: self.hello.clone(),
            principal: login.principal,
            peer: Some(peer),
            handler: Arc::clone(&self.handler),
            timing: self.timing,
        };
        tokio::select! {
            ended = answer(stream, terms, stop.clone()) => {
                // What was written last leaves through the library's own task.
                let _ = timeout(SHUTDOWN_TIME / 2, running).await;
                match ended {
                    Ended::Closed => "by the caller".to_owned(),
                    Ended::Stopped => "shutting down".to_owned(),
                    Ended::Broken(reason) => {
                        tracing::info!(%peer, reason, "control session ended");
                        reason
                    }
                }
            }
            () = self.withdrawn(&login) => {
                tracing::warn!(%peer, user = login.user, "enrolment withdrawn: session cut");
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

async fn evicted(place: Option<&Admitted>) {
    match place {
        Some(place) => place.evicted().await,
        None => std::future::pending().await,
    }
}
