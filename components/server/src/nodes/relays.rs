//! From where a host calls, or which RDS passes its call on: firewall rules are about that, and the way
//! of its data.
//!
//! Anybody on the way could say so. What counts is the RDS's own word: before a call it sends one that
//! nobody else knows, and on its own session, where it has proved its key, it is asked for the words of
//! the calls that it passes on. Its address does not matter, which may be a translator's, or of the
//! other family of addresses.

use std::net::IpAddr;
use std::time::Duration;

use simsim_catalog::{Catalog, CatalogError, Client, ClientId};
use simsim_control::verbs::NodeState;
use simsim_model::Kind;
use simsim_model::port_registry::HTTPS;
use simsim_net::outbound::Relay;

use super::registry::{Keeper, Nodes};
use crate::ServerError;
use crate::desk::https_port;
use crate::way::Way;

/// So long a call waits at its begin for its relay's word.
pub(crate) const PROOF_PATIENCE: Duration = Duration::from_secs(3);
/// A relay that is not reached is asked again after so long.
const AGAIN: Duration = Duration::from_secs(20);

pub(super) fn relay_setting(id: ClientId) -> String {
    format!("outbound.relay.{}", id.0)
}

/// Remembers which RDS passes a host's calls on, or that none does.
pub(crate) fn note_relay(
    catalog: &Catalog,
    id: ClientId,
    relay: Option<&str>,
) -> Result<(), CatalogError> {
    let name = relay.unwrap_or_default().as_bytes();
    let kept = catalog.setting(&relay_setting(id))?.unwrap_or_default();
    if kept != name {
        catalog.set_setting(&relay_setting(id), name)?;
    }
    Ok(())
}

/// The RDS that passes a host's calls on, by name, as of its last call.
pub(crate) fn relay_of(catalog: &Catalog, id: ClientId) -> Result<Option<String>, CatalogError> {
    let kept = catalog.setting(&relay_setting(id))?;
    let name = kept.and_then(|name| String::from_utf8(name).ok());
    Ok(name.filter(|name| !name.is_empty()))
}

impl Keeper {
    /// Of a host whose calls an RDS passes on: its way to that, and the way from there to the server.
    pub(super) async fn half_ways(&self, client: &Client) -> Option<(Way, Way)> {
        let id = client.id;
        let relay = self.books.run(move |catalog| {
            let Some(relay) = relay_of(catalog, id)? else { return Ok(None) };
            let port = https_port(catalog, catalog.client(&relay)?.id)?;
            Ok(Some((relay, port)))
        });
        let (relay, port) = relay.await.ok().flatten()?;
        let mut on = self.way_to(client);
        let to_relay = Way::new(&client.name, &relay, HTTPS.id, port);
        on.from = relay;
        Some((to_relay, on))
    }
}

impl Nodes {
    /// Writes down from where a host calls. `said`: what came before the call, name and word.
    ///
    /// # Errors
    /// When the relay is not reached within `patience`: nothing is changed then.
    pub(super) async fn note_way(
        &self,
        id: ClientId,
        from: IpAddr,
        said: Option<&Relay>,
        patience: Duration,
    ) -> Result<(), ServerError> {
        let relay = match said {
            Some(said) => self.proved_relay(said, patience).await?,
            None => None,
        };
        let from = from.to_canonical().to_string();
        let noted = self.keeper.books.run(move |catalog| {
            note_relay(catalog, id, relay.as_deref())?;
            let client = catalog.client_numbered(id)?;
            // Clients dial a device host at its addresses: they are the administrator's.
            let stays = relay.is_some() || client.has_role("device");
            if stays || client.addresses == [from.as_str()] {
                return Ok(());
            }
            catalog.set_client_addresses(&client.name, &[from], client.listen_port).map(drop)
        });
        noted.await
    }

    /// Whether it was noted.
    pub(super) fn noted(&self, host: &str, done: Result<(), ServerError>) -> bool {
        if let Err(error) = &done {
            let error = error.full_message();
            tracing::warn!(node = host, error, "could not note from where a host calls yet");
        }
        done.is_ok()
    }

    /// The same until it is noted; then it waits for ever.
    pub(super) async fn note_later(
        &self,
        id: ClientId,
        from: IpAddr,
        said: Option<&Relay>,
        host: &str,
    ) {
        while !self.noted(host, self.note_way(id, from, said, AGAIN).await) {
            tokio::time::sleep(AGAIN).await;
        }
        std::future::pending().await
    }

    /// The name of the RDS, where it says of itself that it passes this connection on.
    ///
    /// # Errors
    /// When it is not reached within `patience`.
    pub(crate) async fn proved_relay(
        &self,
        said: &Relay,
        patience: Duration,
    ) -> Result<Option<String>, ServerError> {
        let name = said.name.clone();
        let relay = self.keeper.books.run(move |catalog| Ok(catalog.client(&name).ok())).await?;
        let Some(relay) = relay.filter(|one| one.is_enrolled() && one.has_role("device")) else {
            return Ok(None);
        };
        let asked = async {
            let line = self.line(relay.id, patience).await?;
            line.call(NodeState {}).await
        };
        let state = match tokio::time::timeout(patience, asked).await {
            Ok(state) => state?,
            Err(_) => {
                let why = format!("no answer within {} s", patience.as_secs());
                return Err(ServerError::node(&relay.name, Kind::Unreachable, why));
            }
        };
        let hexadecimal =
            |one: &Vec<u8>| -> String { one.iter().map(|byte| format!("{byte:02x}")).collect() };
        if state.relayed.iter().any(|one| hexadecimal(one) == said.word) {
            return Ok(Some(relay.name));
        }
        tracing::warn!(relay = %relay.name, "a connection says that a relay passes it on, which knows nothing of it");
        Ok(None)
    }
}
