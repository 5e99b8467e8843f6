//! Hosts that call the Server, because nobody can dial them (access mode OUTBOUND).
//!
//! A host that is not enrolled yet may join over such a connection ([`crate::Server::take_call`]); it
//! stands in the same waiting room.
//!
//! A call is a connection with many streams. On the first one the Server asks, as if it had dialled:
//! the host proves its key, and the session goes to that host's task, which waits for it. Streams
//! that the host opens afterwards lead to data ports of the suite; the Server connects to them in the
//! host's place, to those only that it named to this host for a job. What goes over them is sealed by
//! tickets of which the Server's relay knows nothing.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{AccessMode, Catalog, CatalogError, ClientId};
use simsim_control::{ControlClient, ControlError, Expected, PublicKey};
use simsim_model::limits;
use simsim_net::mux::{Mux, MuxHandle, MuxIncoming, MuxLimits, Side};
use simsim_net::outbound::Begun;
use simsim_net::{Admission, Admitted, BoxedWire, outbound};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::registry::Nodes;
use super::relays::{PROOF_PATIENCE, relay_setting};
use crate::ServerError;
use crate::books::Books;

/// From the connection to the proof of the host's key.
const HANDSHAKE: Duration = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
/// A data port that does not answer for so long is reported to the host.
const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// New connections that a host may have relayed: so many at once, and one each [`REFILL`] then.
const BURST: usize = 128;
const REFILL: Duration = Duration::from_millis(100);
/// Addresses that are kept for one host; beyond it those that were told longest ago are forgotten.
const ADDRESSES_MAX: usize = 256;

/// The waiting room for connections that have proved nothing yet.
#[derive(Default)]
pub(crate) struct Callers {
    strangers: Admission,
}

/// Somebody whose connection has begun.
pub(crate) struct Caller {
    pub wire: BoxedWire,
    pub from: IpAddr,
    pub begun: Begun,
    pub place: Admitted,
    /// By then it must have proved its key.
    pub until: Instant,
}

/// A session of a host that has called, until its task takes it up.
#[derive(Default)]
pub(crate) struct Called {
    session: Mutex<Waiting>,
    came: Notify,
}

#[derive(Default)]
enum Waiting {
    #[default]
    Nobody,
    Session(ControlClient),
    /// The task has ended.
    Closed,
}

impl Called {
    /// The next session. A newer one takes the place of one that nobody took up.
    pub(crate) async fn next(&self) -> ControlClient {
        loop {
            let came = self.came.notified();
            {
                let mut waiting = self.session.lock();
                if let Waiting::Session(_) = *waiting
                    && let Waiting::Session(session) = std::mem::take(&mut *waiting)
                {
                    return session;
                }
            }
            came.await;
        }
    }

    /// Resolves when the host has called anew: the session that it had is of no use any more.
    pub(crate) async fn again(&self) {
        loop {
            let came = self.came.notified();
            if matches!(*self.session.lock(), Waiting::Session(_)) {
                return;
            }
            came.await;
        }
    }

    /// Whether somebody will take it up; else it is dropped, and its connection with it.
    fn put(&self, session: ControlClient) -> bool {
        let mut waiting = self.session.lock();
        if matches!(*waiting, Waiting::Closed) {
            return false;
        }
        *waiting = Waiting::Session(session);
        drop(waiting);
        self.came.notify_waiters();
        true
    }

    /// From now on nothing is taken.
    pub(crate) fn close(&self) {
        *self.session.lock() = Waiting::Closed;
    }
}

impl Nodes {
    /// The beginning of a connection; `None` where none came.
    pub(crate) async fn begun(&self, mut wire: BoxedWire, from: IpAddr) -> Option<Caller> {
        let place = self.keeper.callers.strangers.admit_newest(from);
        let evicted = place.eviction();
        let until = Instant::now() + HANDSHAKE;
        let begun = tokio::select! {
            begun = tokio::time::timeout_at(until, outbound::begun(&mut wire)) => begun,
            () = evicted => {
                tracing::warn!(peer = %from, "too many calls without a proof; the oldest is closed");
                return None;
            }
        };
        match begun {
            Ok(Ok(begun)) => Some(Caller { wire, from, begun, place, until }),
            Ok(Err(error)) => {
                tracing::warn!(peer = %from, %error, "a call was refused");
                None
            }
            Err(_) => {
                tracing::warn!(peer = %from, "a call without a proof in time; closed");
                None
            }
        }
    }

    /// Takes a call, and serves it to its end.
    pub(crate) async fn take_call(&self, caller: Caller) {
        let Caller { wire, from, begun, place: stranger, until } = caller;
        let relay = begun.relay;
        let evicted = stranger.eviction();
        // Dropped with the session: the host's connection ends with it.
        let (over, gone) = guard();
        let proving = async {
            // One to prove the key on, and one of a host that is in a hurry.
            let few = MuxLimits { streams_unproven: 2, ..outbound::limits() };
            let (streams, incoming) = Mux::new(wire, Side::Listener, few);
            let proved = self.prove(streams.clone(), from, over).await?;
            streams.allow_all();
            Ok::<_, String>((proved, incoming))
        };
        let proved = tokio::select! {
            proved = tokio::time::timeout_at(until, proving) => proved,
            () = evicted => {
                tracing::warn!(peer = %from, "too many calls without a proof; the oldest is closed");
                return;
            }
        };
        let (Proved { id, name, key, session }, incoming) = match proved {
            Ok(Ok(proved)) => proved,
            Ok(Err(why)) => {
                tracing::warn!(peer = %from, why, "a call was refused");
                return;
            }
            Err(_) => {
                tracing::warn!(peer = %from, "a call without a proof in time; closed");
                return;
            }
        };
        stranger.authenticated();
        tracing::info!(node = %name, peer = %from, "has called");
        // Soon, where the relay is there: jobs of this host go by it then. Else when it is.
        let first = self.note_way(id, from, relay.as_ref(), PROOF_PATIENCE).await;
        let noted = self.noted(&name, first);
        // What was decided while the host proved its key counts: it may be revoked by now.
        let node = self.node(id).filter(|node| {
            node.mode == AccessMode::Outbound && node.key == Some(key) && !node.stop.is_cancelled()
        });
        if !node.is_some_and(|node| {
            let taken = node.called.put(session);
            node.wake.notify_one();
            taken
        }) {
            tracing::warn!(node = %name, peer = %from, "a call is closed: its host may not call any more");
            return;
        }
        tokio::select! {
            () = self.relay(id, &name, incoming) => {}
            () = self.note_later(id, from, relay.as_ref(), &name), if !noted => {}
            () = gone.cancelled() => {}
        }
        tracing::info!(node = %name, "its call has ended");
    }

    /// The host that has called: it must be enrolled, and its access mode OUTBOUND.
    async fn prove(
        &self,
        streams: MuxHandle,
        from: IpAddr,
        over: DropGuard,
    ) -> Result<Proved, String> {
        let stream = streams.open().await.map_err(|error| error.to_string())?;
        let is_known = |key: &PublicKey| self.caller_with(key).is_some();
        let expected = Expected::AnyOf(&is_known);
        // The streams live as long as the session does.
        let keeper = Box::new((streams, over));
        let label = from.to_string();
        let called = self.keeper.dialers.over(stream, &label, expected, keeper).await;
        let (session, key) = called.map_err(|error| match error {
            ControlError::HostKey { .. } => {
                format!("{error}; a host that calls must be enrolled, with access mode OUTBOUND")
            }
            other => other.to_string(),
        })?;
        let node = self.caller_with(&key).ok_or("its key is known no more")?;
        Ok(Proved { id: node.id, name: node.name.to_string(), key, session })
    }

    /// Connects streams to data ports until the call ends.
    async fn relay(&self, id: ClientId, name: &str, mut incoming: MuxIncoming) {
        let mut tokens = BURST;
        let mut refill = tokio::time::interval(REFILL);
        let mut relayed = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                _ = refill.tick() => tokens = (tokens + 1).min(BURST),
                // One that opens them faster waits, and keeps nobody else from a device.
                stream = incoming.next(), if tokens > 0 => {
                    let Some(mut stream) = stream else { return };
                    tokens -= 1;
                    let (books, name) = (self.keeper.books.clone(), name.to_owned());
                    relayed.spawn(async move {
                        if let Err(why) = carry(&books, id, &mut stream).await {
                            tracing::info!(node = name, why, "a relayed connection did not come about");
                        }
                    });
                }
                Some(_) = relayed.join_next() => {}
            }
        }
    }
}

/// A host that has proved who it is.
struct Proved {
    id: ClientId,
    name: String,
    key: PublicKey,
    session: ControlClient,
}

fn guard() -> (DropGuard, CancellationToken) {
    let token = CancellationToken::new();
    (token.clone().drop_guard(), token)
}

/// One stream: connects it to the port that is asked for, and carries bytes until both ends close.
async fn carry(books: &Books, id: ClientId, stream: &mut BoxedWire) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let asked = tokio::time::timeout(HANDSHAKE, outbound::asked(stream));
    let address = asked.await.map_err(|_| "it asked for nothing")?.map_err(broken)?;
    let told = books.run(move |catalog| told(catalog, id)).await;
    let told = told.map_err(|error| error.full_message())?;
    if !told.contains(&address) {
        let why = "this server did not name that address to this host";
        outbound::answer(stream, Err(why)).await.map_err(broken)?;
        return Err(format!("{address}: {why}"));
    }
    let mut port = match simsim_net::dial(std::slice::from_ref(&address), DIAL_PATIENCE).await {
        Ok(port) => port,
        Err(error) => {
            let why = error.to_string();
            outbound::answer(stream, Err(&why)).await.map_err(broken)?;
            return Err(why);
        }
    };
    outbound::answer(stream, Ok(())).await.map_err(broken)?;
    // How it ended is seen at both ends.
    let _ = tokio::io::copy_bidirectional(stream, &mut port).await;
    Ok(())
}

/// Where the addresses that a host was told for its jobs are remembered: they outlive a restart, as
/// its jobs do.
fn told_setting(id: ClientId) -> String {
    format!("outbound.told.{}", id.0)
}

/// In the order in which they were told last.
fn told(catalog: &Catalog, id: ClientId) -> Result<Vec<String>, CatalogError> {
    let kept = catalog.setting(&told_setting(id))?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Keeps two jobs that begin at once from forgetting each other's addresses.
static REMEMBERING: Mutex<()> = Mutex::new(());

/// Remembers addresses that a host is told of: the only ones to which its streams lead.
pub(crate) async fn remember_addresses(
    books: &Books,
    id: ClientId,
    addresses: Vec<String>,
) -> Result<(), ServerError> {
    let remember = move |catalog: &Catalog| {
        let _one_at_a_time = REMEMBERING.lock();
        let before = told(catalog, id)?;
        let mut now = before.clone();
        now.retain(|address| !addresses.contains(address));
        now.extend(addresses);
        now.drain(..now.len().saturating_sub(ADDRESSES_MAX));
        if now == before {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&now).unwrap_or_default();
        catalog.set_setting(&told_setting(id), &bytes)
    };
    books.run(remember).await
}

/// A host that is enrolled anew begins with nothing.
pub(crate) fn forget_addresses(catalog: &Catalog, id: ClientId) -> Result<(), CatalogError> {
    catalog.set_setting(&told_setting(id), b"[]")?;
    catalog.set_setting(&relay_setting(id), b"")
}
