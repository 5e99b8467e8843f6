//! Keys that a client holds alone, as far as the Server has to know: are they still there, and was the
//! client's recovery kit shown to be kept? Looked at each time the client is reached, and whenever it
//! says that something changed. Slots for a newer kit are brought to the datastore.

use serde::{Deserialize, Serialize};
use simsim_catalog::{Catalog, CatalogError, Client, ClientId, Domain, KeyHolder};
use simsim_control::verbs::DomainKeyHeld;
use simsim_format::KeySlots;

use super::domain_keys::push_slots;
use crate::ServerError;
use crate::books::Books;
use crate::house::House;
use crate::jobs::DEVICE_PATIENCE;

/// What was seen at the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct HeldKeysSeen {
    /// When the kit was shown to be kept; `None`: not yet.
    pub proven_unix_ms: Option<i64>,
    /// The pages that its owner prints, on the client's host.
    pub pages: Vec<String>,
    /// Datastores whose key the client does not hold any more.
    pub lost: Vec<String>,
}

/// What was seen of a client's keys last; `None` before the first look.
pub(crate) async fn seen(
    books: &Books,
    client: ClientId,
) -> Result<Option<HeldKeysSeen>, ServerError> {
    books.run(move |catalog| seen_in(catalog, client)).await
}

/// The same for whoever asks about many.
pub(crate) fn seen_in(
    catalog: &Catalog,
    client: ClientId,
) -> Result<Option<HeldKeysSeen>, CatalogError> {
    let bytes = catalog.setting(&setting(client))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Asks a client about the keys that it alone holds, if there are any.
pub(crate) async fn look_after_held(house: &House, client: &Client) -> Result<(), ServerError> {
    let owner = client.id;
    let (domains, stores) =
        house.books.run(|catalog| Ok((catalog.domains()?, catalog.datastore_names()?))).await?;
    let of_client =
        |domain: &&Domain| domain.owner == Some(owner) && domain.key_held_by == KeyHolder::Client;
    if !domains.iter().any(|domain| of_client(&domain)) {
        return Ok(());
    }
    let line = house.nodes.line(owner, DEVICE_PATIENCE).await?;
    let mut now = HeldKeysSeen::default();
    for domain in domains.iter().filter(of_client) {
        let (store, id) = (domain.store, domain.domain);
        let reply = line.call(DomainKeyHeld { store, domain: id }).await?;
        if !reply.held {
            let name = stores.get(&store).cloned().unwrap_or_else(|| store.to_string());
            now.lost.push(name);
            continue;
        }
        now.proven_unix_ms = reply.kit_proven_unix_ms;
        now.pages = reply.kit_pages;
        if is_newer(domain, &reply.slots) {
            let mut domain = domain.clone();
            domain.slots = Some(reply.slots);
            bring(house, domain).await?;
        }
    }
    let kept = serde_json::to_vec(&now).map_err(|error| ServerError::Lost(error.to_string()))?;
    house.books.run(move |catalog| catalog.set_setting(&setting(owner), &kept)).await
}

/// Whether these are whole slots of the domain for another kit than the one that is known. The same
/// key wrapped twice for one kit differs in its bytes and not in the kit's id.
fn is_newer(domain: &Domain, slots: &[u8]) -> bool {
    let ids = |bytes: &[u8]| -> Option<Vec<[u8; 16]>> {
        let slots = KeySlots::decode(bytes).ok().filter(|slots| slots.domain == domain.domain)?;
        Some(slots.slots.iter().map(|slot| slot.id).collect())
    };
    match ids(slots) {
        Some(new) if !new.is_empty() => domain.slots.as_deref().and_then(ids) != Some(new),
        _ => false,
    }
}

/// Slots for a newer kit, into catalog and datastore. A device that is away gets them when it is
/// reached again.
async fn bring(house: &House, domain: Domain) -> Result<(), ServerError> {
    let (id, store, slots) = (domain.domain, domain.store, domain.slots.clone());
    let datastore = house
        .books
        .run(move |catalog| {
            catalog.set_domain_key(id, None, KeyHolder::Client, None, slots.as_deref())?;
            catalog.datastore_with_id(store)
        })
        .await?;
    let pushed = async {
        let device = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
        push_slots(&device, &domain).await
    };
    if let Err(error) = pushed.await {
        tracing::warn!(datastore = %datastore.name, error = %error.full_message(),
            "a client's new key slots follow when the device is reached");
    }
    Ok(())
}

fn setting(client: ClientId) -> String {
    format!("held.{}", client.0)
}
