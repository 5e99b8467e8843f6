//! One call of a session.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::heard::Heard;
use super::{ControlClient, Outgoing};
use crate::ControlError;
use crate::envelope::{Envelope, Part};
use crate::verbs::{Event, Reply, Verb};

/// A call in work. Dropping it tells the peer that nobody waits any more.
pub struct Call<V: Verb> {
    id: u64,
    session: ControlClient,
    events: mpsc::Receiver<Heard>,
    reply: oneshot::Receiver<Result<Reply, ControlError>>,
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb> fmt::Debug for Call<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", V::NAME, self.id)
    }
}

impl<V: Verb> Call<V> {
    pub(super) fn new(
        id: u64,
        session: ControlClient,
        events: mpsc::Receiver<Heard>,
        reply: oneshot::Receiver<Result<Reply, ControlError>>,
    ) -> Self {
        Self { id, session, events, reply, verb: PhantomData }
    }

    /// The next event; `None` when the answer is there, or the session ended. Events that nobody
    /// looks at wait up to a bound; more are left out.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await.map(Heard::look)
    }

    /// Waits for the answer. Errors as [`ControlClient::call`].
    pub async fn finish(mut self) -> Result<V::Reply, ControlError> {
        let shared = Arc::clone(self.session.shared());
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
        let shared = self.session.shared();
        let was_open = shared.calls().open.remove(&self.id).is_some();
        if was_open {
            let forget = Outgoing::Message(Envelope::new(self.id, Part::Forget, 0, vec![]));
            if let Err(TrySendError::Full(forget)) = shared.out.try_send(forget)
                && let Ok(runtime) = Handle::try_current()
            {
                let out = shared.out.clone();
                // Ends with the session at the latest.
                runtime.spawn(async move { out.send(forget).await });
            }
        }
    }
}
