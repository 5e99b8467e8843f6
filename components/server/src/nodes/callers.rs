//! Hosts that call the Server, because nobody can dial them (access mode OUTBOUND).
//!
//! A call is a connection with many streams. On the first one the Server asks, as if it had dialled:
//! the host proves its key, and the session goes to that host's task, which waits for it. Streams
//! that the host opens afterwards lead to data ports of the suite; the Server connects to them in the
//! host's place, to those only that it named to this host for a job. What goes over them is sealed by
//! tickets of which the Server's relay knows nothing.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{AccessMode, Catalog, CatalogError, ClientId};
use simsim_control::{ControlClient, Expected, PublicKey};
use simsim_model::limits;
use simsim_net::mux::{Mux, MuxHandle, MuxIncoming, Side};
use simsim_net::{Admission, BoxedWire, outbound};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::registry::Nodes;
use crate::ServerError;
use crate::books::Books;

/// From the connection to the proof of the host's key.
const HANDSHAKE: Duration = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
/// A data port that does not answer for so long is reported to the host.
const DIAL_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that one host may have relayed at once: those of its jobs.
const RELAYED_MAX: usize = 256;
/// Addresses that are kept for one host; beyond it the oldest jobs' are forgotten first.
const ADDRESSES_MAX: usize = 256;

/// Sessions of hosts that have called and were not taken up yet.
#[derive(Default)]
pub(crate) struct Callers {
    slots: Mutex<HashMap<ClientId, Arc<Slot>>>,
    strangers: Admission,
}

#[derive(Default)]
struct Slot {
    session: Mutex<Option<ControlClient>>,
    came: Notify,
}

impl Callers {
    fn slot(&self, id: ClientId) -> Arc<Slot> {
        Arc::clone(self.slots.lock().entry(id).or_default())
    }

    /// The next session of a host. A newer one takes the place of one that nobody took up.
    pub(crate) async fn next(&self, id: ClientId) -> ControlClient {
        let slot = self.slot(id);
        loop {
            let came = slot.came.notified();
            if let Some(session) = slot.session.lock().take() {
                return session;
            }
            came.await;
        }
    }

    /// Resolves when a host has called anew: the session that it had is of no use any more.
    pub(crate) async fn called_anew(&self, id: ClientId) {
        let slot = self.slot(id);
        loop {
            let came = slot.came.notified();
            if slot.session.lock().is_some() {
                return;
            }
            came.await;
        }
    }

    fn deliver(&self, id: ClientId, session: ControlClient) {
        let slot = self.slot(id);
        *slot.session.lock() = Some(session);
        slot.came.notify_waiters();
    }
}

impl Nodes {
    /// Takes a call, and serves it to its end.
    pub(crate) async fn take_call(&self, mut wire: BoxedWire, from: IpAddr) {
        let stranger = self.keeper.callers.strangers.admit_newest(from);
        let evicted = stranger.eviction();
        // Dropped with the session: the host's connection ends with it.
        let (over, gone) = guard();
        let proving = async {
            let relay = outbound::begun(&mut wire).await.map_err(|error| error.to_string())?;
            let (streams, incoming) = Mux::new(wire, Side::Listener, outbound::limits());
            Ok::<_, String>((self.prove(streams, from, over).await?, incoming, relay))
        };
        let proved = tokio::select! {
            proved = tokio::time::timeout(HANDSHAKE, proving) => proved,
            () = evicted => {
                tracing::warn!(peer = %from, "too many calls without a proof; the oldest is closed");
                return;
            }
        };
        let ((id, name, session), incoming, relay) = match proved {
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
        if let Err(error) = self.note_way(id, from, relay).await {
            tracing::warn!(node = %name, %error, "could not note from where a host calls");
        }
        self.keeper.callers.deliver(id, session);
        tokio::select! {
            () = self.relay(id, &name, incoming) => {}
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
    ) -> Result<(ClientId, String, ControlClient), String> {
        let stream = streams.open().await.map_err(|error| error.to_string())?;
        let clients = self.keeper.books.run(|catalog| catalog.clients()).await;
        let known: HashMap<PublicKey, (ClientId, String)> = clients
            .map_err(|error| error.full_message())?
            .into_iter()
            .filter(|one| one.is_enrolled() && one.access_mode == AccessMode::Outbound)
            .filter_map(|one| Some((one.host_key.parse().ok()?, (one.id, one.name))))
            .collect();
        let is_known = |key: &PublicKey| known.contains_key(key);
        let expected = Expected::AnyOf(&is_known);
        // The streams live as long as the session does.
        let keeper = Box::new((streams, over));
        let label = from.to_string();
        let called = self.keeper.dialers.over(stream, &label, expected, keeper).await;
        let (session, key) = called.map_err(|error| {
            format!("{error}; a host that calls must be enrolled, with access mode OUTBOUND")
        })?;
        let (id, name) = known.get(&key).cloned().ok_or("its key is known no more")?;
        Ok((id, name, session))
    }

    /// Writes down from where a host calls, or which RDS passes its call on: firewall rules are about
    /// that, and the way of its data.
    async fn note_way(
        &self,
        id: ClientId,
        from: IpAddr,
        relay: Option<String>,
    ) -> Result<(), ServerError> {
        let from = from.to_canonical().to_string();
        let noted = self.keeper.books.run(move |catalog| {
            let relay = relay.and_then(|name| catalog.client(&name).ok());
            let relay = relay.filter(|one| one.is_enrolled() && one.has_role("device"));
            let name = relay.as_ref().map(|relay| relay.name.clone()).unwrap_or_default();
            let kept = catalog.setting(&relay_setting(id))?.unwrap_or_default();
            if kept != name.as_bytes() {
                catalog.set_setting(&relay_setting(id), name.as_bytes())?;
            }
            let client = catalog.client_numbered(id)?;
            if relay.is_some() || client.addresses == [from.as_str()] {
                return Ok(());
            }
            catalog.set_client_addresses(&client.name, &[from], client.listen_port).map(drop)
        });
        noted.await
    }

    /// Connects streams to data ports until the call ends.
    async fn relay(&self, id: ClientId, name: &str, mut incoming: MuxIncoming) {
        let room = Arc::new(Semaphore::new(RELAYED_MAX));
        let mut relayed = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                stream = incoming.next() => {
                    let Some(mut stream) = stream else { return };
                    let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                        tracing::warn!(node = name, "too many connections over one call; one is refused");
                        continue;
                    };
                    let (books, name) = (self.keeper.books.clone(), name.to_owned());
                    relayed.spawn(async move {
                        let _place = place;
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

fn guard() -> (DropGuard, CancellationToken) {
    let token = CancellationToken::new();
    (token.clone().drop_guard(), token)
}

/// One stream: connects it to the port that is asked for, and carries bytes until both ends close.
async fn carry(books: &Books, id: ClientId, stream: &mut BoxedWire) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let asked = tokio::time::timeout(HANDSHAKE, outbound::asked(stream));
    let address = asked.await.map_err(|_| "it asked for nothing")?.map_err(broken)?;
    let told = addresses_told(books, id).await.map_err(|error| error.full_message())?;
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

fn relay_setting(id: ClientId) -> String {
    format!("outbound.relay.{}", id.0)
}

/// The RDS that passes a host's calls on, by name, as of its last call.
pub(crate) fn relay_of(catalog: &Catalog, id: ClientId) -> Result<Option<String>, CatalogError> {
    let kept = catalog.setting(&relay_setting(id))?;
    let name = kept.and_then(|name| String::from_utf8(name).ok());
    Ok(name.filter(|name| !name.is_empty()))
}

async fn addresses_told(books: &Books, id: ClientId) -> Result<BTreeSet<String>, ServerError> {
    let kept = books.run(move |catalog| catalog.setting(&told_setting(id))).await?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Remembers addresses that a host is told of: the only ones to which its streams lead.
pub(crate) async fn remember_addresses(
    books: &Books,
    id: ClientId,
    addresses: Vec<String>,
) -> Result<(), ServerError> {
    let mut told = addresses_told(books, id).await?;
    if addresses.iter().all(|address| told.contains(address)) {
        return Ok(());
    }
    if told.len() + addresses.len() > ADDRESSES_MAX {
        told.clear();
    }
    told.extend(addresses);
    let bytes = serde_json::to_vec(&told).map_err(|error| ServerError::Lost(error.to_string()))?;
    books.run(move |catalog| catalog.set_setting(&told_setting(id), &bytes)).await
}
