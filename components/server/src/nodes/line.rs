//! One open control session with a node, with errors that name the node.

use std::sync::Arc;
use std::time::Duration;

use simsim_control::verbs::Verb;
use simsim_control::{Call, ControlClient, ControlError, ProtocolVersion};
use simsim_model::{Kind, limits};

use crate::ServerError;

/// A verb that opens, makes or closes a datastore may take so long.
const SLOW_PATIENCE: Duration = Duration::from_secs(600);

/// A session. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    node: Arc<str>,
    client: ControlClient,
}

impl Line {
    pub(crate) fn new(node: Arc<str>, client: ControlClient) -> Self {
        Self { node, client }
    }

    /// Asks a verb whose answer comes at once. A node that takes longer than
    /// [`limits::DEAD_PEER_MS`] counts as unreachable, although its line may be open.
    pub(crate) async fn call<V: Verb>(&self, verb: V) -> Result<V::Reply, ServerError> {
        self.call_within(Duration::from_millis(limits::DEAD_PEER_MS), verb).await
    }

    /// Asks a verb that may take its time, such as opening a large datastore.
    pub(crate) async fn call_slow<V: Verb>(&self, verb: V) -> Result<V::Reply, ServerError> {
        self.call_within(SLOW_PATIENCE, verb).await
    }

    async fn call_within<V: Verb>(
        &self,
        patience: Duration,
        verb: V,
    ) -> Result<V::Reply, ServerError> {
        match tokio::time::timeout(patience, self.client.call(verb)).await {
            Ok(answer) => answer.map_err(|error| self.error(&error)),
            Err(_) => Err(ServerError::node(
                &self.node,
                Kind::Unreachable,
                format!("no answer to '{}' within {} s", V::NAME, patience.as_secs()),
            )),
        }
    }

    /// Starts a verb that runs as long as its job.
    pub(crate) async fn start<V: Verb>(&self, verb: V) -> Result<Call<V>, ServerError> {
        self.client.start(verb).await.map_err(|error| self.error(&error))
    }

    /// Which protocol the node speaks.
    pub(crate) fn protocol(&self) -> ProtocolVersion {
        self.client.peer().protocol
    }

    /// Whether the session can be used no more.
    pub(crate) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// Ends the session for everybody who works with it.
    pub(crate) fn close(&self, reason: &str) {
        self.client.close(reason);
    }

    /// Waits for the end of the session, and says why it ended.
    pub(crate) async fn closed(&self) -> String {
        self.client.closed().await
    }

    /// Why this node is not worked with.
    pub(crate) fn refused(&self, why: String) -> ServerError {
        ServerError::node(&self.node, Kind::Denied, why)
    }

    /// The error of a verb, with the node's name.
    pub(crate) fn error(&self, error: &ControlError) -> ServerError {
        ServerError::node(&self.node, error.kind(), error.to_string())
    }
}
