//! The listening end: a host waits for its server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::server::Config;
use russh::{MethodKind, MethodSet};
use simsim_net::{Admitted, Severer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::algorithms::{CHANNEL_PACKETS, PACKET_BYTES, PREFERRED, WINDOW_BYTES, ssh_id};
use super::visitor::{Step, Visitor};
use crate::coding::Coding;
use crate::door::{Door, Guest, SHUTDOWN_TIME, Visit, evicted};
use crate::handler::{ListenPolicy, Principal, VerbHandler};
use crate::{Hello, Identity, Timing};

/// Rejections take this long, whatever their cause; the first probe of OpenSSH does not.
const REJECTION_TIME: Duration = Duration::from_millis(200);
/// Keys that one connection may try.
const LOGIN_ATTEMPTS_MAX: usize = 6;

/// The SSH listener of a node.
pub struct SmsshListener {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    door: Door,
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
        let door = Door { hello, policy, handler, timing };
        Self { shared: Arc::new(Shared { config: Arc::new(config), door }) }
    }

    /// Accepts connections until `shutdown` resolves; then sessions get a goodbye, and it returns.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        Door::serve(listener, shutdown, |visit| Arc::clone(&self.shared).visit(visit)).await;
    }
}

impl Shared {
    /// One connection from accept to close.
    async fn visit(self: Arc<Self>, visit: Visit) {
        let Visit { stream, peer, place, stop } = visit;
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
        let deadline = Instant::now() + self.door.timing.handshake;
        let (steps_in, mut steps) = mpsc::unbounded_channel();
        let visitor = Visitor::new(Arc::clone(&self.door.policy), steps_in);
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
            started = timeout(self.door.timing.handshake, steps.recv()) => started,
            _ = &mut running => return "it ended without the subsystem".to_owned(),
        };
        let Ok(Some(Step::Started(stream))) = started else {
            return "the subsystem was not asked for".to_owned();
        };
        // What was written last leaves through the library's own task.
        let after = async {
            let _ = timeout(SHUTDOWN_TIME / 2, running).await;
        };
        let guest = Guest { login, peer: Some(peer), place };
        self.door.session(stream, Coding::plain(), &guest, stop, after).await
    }
}
