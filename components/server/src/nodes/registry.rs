//! All nodes by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{AccessMode, Client, ClientId};
use simsim_control::verbs::Ping;
use simsim_control::{ControlError, PublicKey};
use simsim_model::Kind;
use simsim_model::port_registry::{CTRL, HTTPS, SMSSH};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callers::Callers;
use super::dialers::Dialers;
use super::node::Node;
use super::{Line, NodeStatus};
use crate::ServerError;
use crate::books::Books;
use crate::way::Way;

/// The Server's own host, as a node.
#[derive(Debug, Clone)]
pub(crate) struct OwnHost {
    pub id: ClientId,
    /// As enrolled.
    pub name: String,
    /// `host:port` of its own listeners for each access mode, over loopback.
    pub smssh: Vec<String>,
    pub ctrl: Vec<String>,
    /// The port on which hosts that nobody can dial call it; none where it takes no calls.
    pub https: Option<u16>,
}

/// What every node's task needs.
pub(crate) struct Keeper {
    pub dialers: Dialers,
    pub callers: Callers,
    pub books: Books,
    own: OwnHost,
    reached: mpsc::UnboundedSender<ClientId>,
}

impl Keeper {
    /// Tells whoever listens that a node was reached anew.
    pub(crate) fn reached(&self, id: ClientId) {
        let _ = self.reached.send(id);
    }

    /// The way to a client's control listener; for one that calls, its way to the Server.
    pub(crate) fn way_to(&self, client: &Client) -> Way {
        let (own, name) = (&self.own.name, &client.name);
        match client.access_mode {
            AccessMode::Smssh => Way::new(own, name, SMSSH.id, control_port(client)),
            AccessMode::Ctrl => Way::new(own, name, CTRL.id, control_port(client)),
            AccessMode::Outbound => {
                let port = self.own.https.unwrap_or(HTTPS.ports.first());
                Way::new(name, own, HTTPS.id, port)
            }
        }
    }

    /// `host:port` for the client's access mode, in the order they are tried.
    pub(crate) fn dial_addresses(&self, client: &Client) -> Vec<String> {
        let own = match client.access_mode {
            AccessMode::Smssh => &self.own.smssh,
            AccessMode::Ctrl => &self.own.ctrl,
            AccessMode::Outbound => return Vec::new(),
        };
        if client.id == self.own.id && !own.is_empty() {
            return own.clone();
        }
        let port = control_port(client);
        client.addresses.iter().map(|host| with_port(host, port)).collect()
    }
}

/// The port on which a client listens in its access mode.
pub(crate) fn control_port(client: &Client) -> u16 {
    match client.access_mode {
        AccessMode::Smssh | AccessMode::Outbound => client.listen_port,
        AccessMode::Ctrl => client.ctrl_port.unwrap_or(CTRL.ports.first()),
    }
}

/// A bare IPv6 address gets its brackets.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Nodes {
    pub(super) keeper: Arc<Keeper>,
    nodes: Arc<Mutex<HashMap<ClientId, Arc<Node>>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Nodes {
    /// Also answers the stream of nodes that were reached anew.
    pub(crate) fn new(
        dialers: Dialers,
        books: Books,
        own: OwnHost,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> (Self, mpsc::UnboundedReceiver<ClientId>) {
        let (reached, heard) = mpsc::unbounded_channel();
        let keeper = Arc::new(Keeper { dialers, callers: Callers::default(), books, own, reached });
        (Self { keeper, nodes: Arc::default(), stop, tasks }, heard)
    }

    /// Keeps a client reached from now on. One that was there before (with an old key or old
    /// addresses) is dropped first.
    pub(crate) fn add(&self, client: &Client) {
        let node = Node::new(client, self.keeper.way_to(client), self.stop.child_token());
        if let Some(old) = self.nodes.lock().insert(client.id, Arc::clone(&node)) {
            old.stop.cancel();
        }
        self.tasks.spawn(node.keep(Arc::clone(&self.keeper)));
    }

    /// Drops a client: its session ends, and it is dialled no more.
    pub(crate) fn remove(&self, id: ClientId) {
        if let Some(node) = self.nodes.lock().remove(&id) {
            node.stop.cancel();
        }
    }

    pub(super) fn node(&self, id: ClientId) -> Option<Arc<Node>> {
        self.nodes.lock().get(&id).map(Arc::clone)
    }

    /// The host of access mode OUTBOUND that is enrolled with this key. A key that is enrolled twice
    /// is that of the name under which it joined last.
    pub(super) fn caller_with(&self, key: &PublicKey) -> Option<Arc<Node>> {
        let nodes = self.nodes.lock();
        let calling = nodes
            .values()
            .filter(|node| node.mode == AccessMode::Outbound && node.key.as_ref() == Some(key));
        calling.max_by_key(|node| node.enrolled_unix_ms).map(Arc::clone)
    }

    /// Whether a host calls, and cannot be dialled when it is needed.
    pub(crate) fn calls(&self, id: ClientId) -> bool {
        self.node(id).is_some_and(|node| node.mode == AccessMode::Outbound)
    }

    /// The port on which hosts call this server; none where it takes no calls.
    pub(crate) fn called_at(&self) -> Option<u16> {
        self.keeper.own.https
    }

    pub(crate) fn own(&self) -> ClientId {
        self.keeper.own.id
    }

    /// Dials a client's control listener anew, in its access mode and at these addresses, and answers the quickest of a few
    /// round trips.
    pub(crate) async fn try_control(
        &self,
        client: &Client,
        addresses: &[String],
    ) -> Result<Duration, ControlError> {
        let key: PublicKey = client.host_key.parse().map_err(|_| ControlError::Malformed {
            peer: client.name.as_str().into(),
            reason: "its host key in the catalog cannot be read".to_owned(),
        })?;
        let session = self.keeper.dialers.dial(client, addresses, &key).await?;
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let begun = Instant::now();
            session.call(Ping {}).await?;
            quickest = quickest.min(begun.elapsed());
        }
        Ok(quickest)
    }

    /// How a node is reached now; `None` for one that is not dialled.
    pub(crate) fn status(&self, id: ClientId) -> Option<NodeStatus> {
        self.nodes.lock().get(&id).map(|node| node.status.borrow().clone())
    }

    /// The session with a node. Where there is none, dials at once and waits for `patience`;
    /// the error is that of the last attempt.
    pub(crate) async fn line(&self, id: ClientId, patience: Duration) -> Result<Line, ServerError> {
        let node = self.nodes.lock().get(&id).map(Arc::clone).ok_or_else(|| {
            ServerError::node(
                &format!("client number {}", id.0),
                Kind::Denied,
                "it is not enrolled, or was revoked",
            )
        })?;
        let mut status = node.status.subscribe();
        let deadline = Instant::now() + patience;
        loop {
            let now = status.borrow_and_update().clone();
            if let Some(line) = now.line.filter(|line| !line.is_lost()) {
                return Ok(line);
            }
            node.wake.notify_one();
            let next = tokio::time::timeout_at(deadline, status.changed()).await;
            let why = status.borrow().last_error.clone();
            let hopeless = node.stop.is_cancelled()
                || matches!(&why, Some((Kind::Denied | Kind::Corrupt | Kind::Invalid, _)));
            let connected = status.borrow().line.is_some();
            if !connected && (next.is_err() || hopeless) {
                let (kind, message) =
                    why.unwrap_or_else(|| (Kind::Unreachable, node.way.blocked("no answer yet")));
                let prefix = format!("{}: ", node.name);
                let message = message.strip_prefix(&prefix).unwrap_or(&message);
                return Err(ServerError::node(&node.name, kind, message));
            }
            if !connected {
                // Not more than one attempt each half second while somebody waits.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
