//! One node: the task that keeps its session.

use std::sync::Arc;
use std::time::Duration;

use simsim_catalog::{AccessMode, Client, ClientId, NodeFacts};
use simsim_control::verbs::{NodeState, Roles};
use simsim_control::{ControlClient, PublicKey};
use simsim_model::Kind;
use simsim_model::port_registry::CTRL;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Line;
use super::callers::Called;
use super::dialers::advice;
use super::registry::Keeper;
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::way::Way;

/// The first pause between two attempts; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often "last seen" of a reached node is written down.
const SEEN_INTERVAL: Duration = Duration::from_secs(60);

/// A host that joined so recently may not have written down yet whom it obeys.
const JOINING_MS: i64 = 10_000;

/// How a node is reached at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeStatus {
    pub line: Option<Line>,
    /// Attempts so far, failed or not.
    pub attempts: u64,
    /// Why the last attempt failed, or the session ended.
    pub last_error: Option<(Kind, String)>,
    pub connected_unix_ms: Option<i64>,
    /// What it said when it was reached last: its settings enable the unencrypted channel.
    pub listens_for_ctrl: bool,
}

/// A node that is kept reached until it is dropped from the registry.
pub(crate) struct Node {
    pub id: ClientId,
    pub name: Arc<str>,
    pub enrolled_unix_ms: i64,
    /// From the Server to its control listener.
    pub way: Way,
    pub status: watch::Sender<NodeStatus>,
    pub mode: AccessMode,
    /// The key that it is enrolled with; `None` where the catalog's cannot be read.
    pub key: Option<PublicKey>,
    /// Where a session of a host that calls waits for this task.
    pub called: Called,
    /// Somebody needs it: the next attempt comes at once.
    pub wake: Notify,
    pub stop: CancellationToken,
}

impl Node {
    pub(crate) fn new(client: &Client, way: Way, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id: client.id,
            name: client.name.as_str().into(),
            enrolled_unix_ms: client.enrolled_unix_ms,
            way,
            mode: client.access_mode,
            key: client.host_key.parse().ok(),
            called: Called::default(),
            status: watch::Sender::new(NodeStatus::default()),
            wake: Notify::new(),
            stop,
        })
    }

    /// Keeps the session until the node is stopped.
    pub(crate) async fn keep(self: Arc<Self>, keeper: Arc<Keeper>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_reached(&keeper) => {}
        }
        // A call that comes later is not taken up by a node that is gone.
        self.called.close();
        self.status.send_modify(|status| {
            // Others may hold it, with calls that never end by themselves.
            if let Some(line) = status.line.take() {
                line.close("this host is not steered any more, or in another way");
            }
            status.last_error = Some((Kind::Denied, "it is not dialled any more".to_owned()));
            status.attempts += 1;
        });
    }

    async fn keep_reached(&self, keeper: &Keeper) {
        let mut pause = PAUSE_FIRST;
        let mut was_reached = false;
        loop {
            match self.reach(keeper).await {
                Ok((line, facts)) => {
                    pause = PAUSE_FIRST;
                    was_reached = true;
                    self.note_seen(keeper, Some(facts)).await;
                    self.status.send_modify(|status| {
                        status.line = Some(line.clone());
                        status.attempts += 1;
                        status.last_error = None;
                        status.connected_unix_ms = Some(now_unix_ms());
                    });
                    tracing::info!(node = %self.name, "reached");
                    keeper.reached(self.id);
                    let why = self.until_lost(keeper, &line).await;
                    line.close(&why);
                    tracing::info!(node = %self.name, %why, "the control session ended");
                    self.status.send_modify(|status| {
                        status.line = None;
                        status.connected_unix_ms = None;
                        status.last_error =
                            Some((Kind::Unreachable, format!("the control session ended: {why}")));
                    });
                }
                Err(error) => {
                    tracing::debug!(node = %self.name, %error, "not reached");
                    // Whoever waits for it may go on waiting. One that was reached has joined: what
                    // refuses then, or shows another key, is told at once.
                    let joining = error.kind() == Kind::Denied && !was_reached && self.is_joining();
                    let kind = if joining { Kind::Unreachable } else { error.kind() };
                    self.status.send_modify(|status| {
                        status.attempts += 1;
                        status.last_error = Some((kind, error.full_message()));
                    });
                    if joining {
                        pause = PAUSE_FIRST / 2;
                    }
                }
            }
            // Up to a quarter shorter for each node in its own way, so that not all dial at once.
            let share = u32::from(self.id.0.unsigned_abs().wrapping_mul(157).to_le_bytes()[0]);
            tokio::select! {
                () = tokio::time::sleep(pause - pause * share / 1024) => {}
                () = self.wake.notified() => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn is_joining(&self) -> bool {
        (0..JOINING_MS).contains(&now_unix_ms().saturating_sub(self.enrolled_unix_ms))
    }

    async fn reach(&self, keeper: &Keeper) -> Result<(Line, NodeFacts), ServerError> {
        let id = self.id;
        let client = keeper.books.run(move |catalog| catalog.client_numbered(id)).await?;
        if !client.is_enrolled() {
            return Err(ServerError::node(&self.name, Kind::Denied, "it is revoked"));
        }
        let key: PublicKey = client.host_key.parse().map_err(|error| {
            ServerError::node(&self.name, Kind::Corrupt, format!("its host key: {error}"))
        })?;
        let session = match client.access_mode {
            AccessMode::Outbound => self.await_call(keeper, &client).await,
            AccessMode::Smssh | AccessMode::Ctrl => {
                let addresses = keeper.dial_addresses(&client);
                keeper.dialers.connect(&client, &self.way, &addresses, &key).await?
            }
        };
        let line = Line::new(Arc::clone(&self.name), session);
        crate::recovery::ask_witness(&keeper.books, &line).await?;
        let state = line.call(NodeState {}).await?;
        crate::desk::remember_ports(&keeper.books, id, &state).await;
        let listens_for_ctrl = state.listening.iter().any(|one| one.row == CTRL.id);
        self.status.send_modify(|status| status.listens_for_ctrl = listens_for_ctrl);
        let facts = NodeFacts {
            roles: role_words(state.roles),
            platform: state.platform,
            suite_version: state.suite_version,
        };
        Ok((line, facts))
    }

    /// Waits until the host calls, and says meanwhile what is waited for.
    async fn await_call(&self, keeper: &Keeper, client: &Client) -> ControlClient {
        let mut next = std::pin::pin!(self.called.next());
        // One that has called already is there at once.
        if let Ok(session) = tokio::time::timeout(Duration::from_millis(1), &mut next).await {
            return session;
        }
        let missing = match keeper.half_ways(client).await {
            // Which half is closed the server does not see.
            Some((to_relay, to_server)) => to_relay.blocked_or(&to_server, "it has not called"),
            None => self.way.blocked("it has not called"),
        };
        let why = format!("{missing}. {}", advice(client));
        self.status.send_modify(|status| {
            status.attempts += 1;
            let lost = status.last_error.take().map(|(_, lost)| format!("; before: {lost}"));
            let lost = lost.filter(|lost| lost.contains("session ended")).unwrap_or_default();
            status.last_error = Some((Kind::Unreachable, format!("{why}{lost}")));
        });
        next.await
    }

    async fn until_lost(&self, keeper: &Keeper, line: &Line) -> String {
        loop {
            tokio::select! {
                ended = tokio::time::timeout(SEEN_INTERVAL, line.closed()) => match ended {
                    Ok(why) => return why,
                    Err(_) => {
                        let asked = crate::recovery::ask_witness(&keeper.books, line).await;
                        if let Err(error) = asked
                            && error.kind() == Kind::Denied
                        {
                            return error.to_string();
                        }
                        self.note_seen(keeper, None).await;
                    }
                },
                () = self.called.again(), if self.mode == AccessMode::Outbound => {
                    return "the host has called anew".to_owned();
                }
            }
        }
    }

    async fn note_seen(&self, keeper: &Keeper, facts: Option<NodeFacts>) {
        let id = self.id;
        let noted = keeper
            .books
            .run(move |catalog| catalog.client_seen(id, facts.as_ref(), now_unix_ms()))
            .await;
        if let Err(error) = noted {
            tracing::warn!(node = %self.name, %error, "could not note that a node was seen");
        }
    }
}

fn role_words(roles: Roles) -> Vec<String> {
    [("client", roles.client), ("device", roles.device), ("server", roles.server)]
        .into_iter()
        .filter(|(_, held)| *held)
        .map(|(word, _)| word.to_owned())
        .collect()
}
