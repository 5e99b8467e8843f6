//! Domain keys: one random key per datastore and owner, made at first use.
//!
//! A key that the Server holds is sealed by the master key in the catalog, and wrapped for the
//! master key and the recovery kit in the datastore, before the first byte is backed up with it.
//! A key that a client holds is made by the client; what passes here are its wrapped slots.

use simsim_catalog::{Catalog, CatalogError, Client, Datastore, Domain, KeyHolder};
use simsim_control::verbs::{CreateHeldKey, DomainKeyHeld, GetKeySlots, PutKeySlots};
use simsim_format::{KeySlots, WrappingKey, random_bytes};
use simsim_model::{DomainId, Kind, Secret, StoreId};
use zeroize::{Zeroize, Zeroizing};

use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::DEVICE_PATIENCE;
use crate::nodes::Line;

/// Makes, seals and opens domain keys.
#[derive(Clone)]
pub(crate) struct DomainKeys {
    master: WrappingKey,
}

impl DomainKeys {
    pub(crate) fn new(master: WrappingKey) -> Self {
        Self { master }
    }

    /// The domain of a client in a datastore, with its key unless the client holds it. Made where
    /// there is none; then its slots lie in the datastore before this returns.
    pub(crate) async fn for_backup(
        &self,
        house: &House,
        datastore: &Datastore,
        client: &Client,
    ) -> Result<(Domain, Option<Secret>), ServerError> {
        let (store, owner) = (datastore.store, client.id);
        let there = house.books.run(move |catalog| catalog.domain_of(store, owner)).await?;
        let domain = match there {
            Some(domain) => domain,
            None => self.make(house, datastore, client, KeyHolder::Server).await?,
        };
        match domain.key_held_by {
            KeyHolder::Server => {
                let key = self.open(&domain)?;
                Ok((domain, key))
            }
            KeyHolder::Client => {
                let line = house.nodes.line(client.id, DEVICE_PATIENCE).await?;
                let held = line.call(DomainKeyHeld { store, domain: domain.domain }).await?.held;
                if held {
                    return Ok((domain, None));
                }
                Err(ServerError::Key(format!(
                    "client '{}' is to hold the key of its domain {} alone, and does not hold it any more: bring it back on that host with 'simsim key recover'",
                    client.name, domain.domain
                )))
            }
            KeyHolder::Nobody => Err(ServerError::Key(format!(
                "nobody has brought the key of domain {}: give the recovery kit to 'simsim datastore rebuild-catalog'",
                domain.domain
            ))),
        }
    }

    /// Makes the domain of a client in a datastore. One that is there is answered as it is.
    pub(crate) async fn make(
        &self,
        house: &House,
        datastore: &Datastore,
        client: &Client,
        holder: KeyHolder,
    ) -> Result<Domain, ServerError> {
        let id = DomainId(random_bytes()?);
        let store = datastore.store;
        let (sealed_key, slots) = match holder {
            KeyHolder::Client => {
                let line = house.nodes.line(client.id, DEVICE_PATIENCE).await?;
                let made = line.call(CreateHeldKey { store, domain: id }).await?;
                // Only what opens as slots of this domain goes into a datastore.
                let slots = KeySlots::decode(&made.slots)?;
                if slots.domain != id {
                    return Err(ServerError::node(
                        &client.name,
                        Kind::Corrupt,
                        "it made key slots of another domain",
                    ));
                }
                (None, made.slots)
            }
            KeyHolder::Server | KeyHolder::Nobody => {
                let key = Secret(random_bytes()?);
                let kits = house.kit.wrapping_keys(&house.books).await?;
                (Some(self.seal(id, &key)?), self.slots(id, &key, &kits)?)
            }
        };
        let domain = Domain {
            domain: id,
            store,
            owner: Some(client.id),
            key_held_by: if sealed_key.is_some() { KeyHolder::Server } else { holder },
            sealed_key,
            slots: Some(slots),
            created_unix_ms: now_unix_ms(),
        };
        // First beside the data, then in the catalog: a key that is used is never only here.
        let device = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
        push_slots(&device, &domain).await?;
        let kept = domain.clone();
        house.books.run(move |catalog| catalog.add_domain(&kept)).await
    }

    /// The key of a domain that the Server holds; `None` where it does not.
    pub(crate) fn open(&self, domain: &Domain) -> Result<Option<Secret>, ServerError> {
        let Some(sealed) = &domain.sealed_key else { return Ok(None) };
        let plain = Zeroizing::new(
            self.master.open(&purpose(domain.domain), sealed).map_err(|_| {
                ServerError::Key(format!(
                    "the key of domain {} does not open with the master key: the catalog and the key files belong to different servers, or one is damaged",
                    domain.domain
                ))
            })?,
        );
        match <[u8; 32]>::try_from(plain.as_slice()) {
            Ok(mut key) => {
                let secret = Secret(key);
                key.zeroize();
                Ok(Some(secret))
            }
            Err(_) => Err(ServerError::Key(format!(
                "the key of domain {} has a wrong length",
                domain.domain
            ))),
        }
    }

    /// A key as it lies in the catalog.
    pub(crate) fn seal(&self, domain: DomainId, key: &Secret) -> Result<Vec<u8>, ServerError> {
        Ok(self.master.seal(&purpose(domain), &key.0)?)
    }

    /// Slots for the master key and for kits.
    pub(crate) fn slots(
        &self,
        domain: DomainId,
        key: &Secret,
        kits: &[WrappingKey],
    ) -> Result<Vec<u8>, ServerError> {
        let mut slots = KeySlots::new(domain);
        slots.add(&self.master, key)?;
        for kit in kits {
            slots.add(kit, key)?;
        }
        Ok(slots.encode())
    }

    /// The key out of slots found in a datastore, by the master key or a kit.
    pub(crate) fn unwrap_slots(
        &self,
        domain: DomainId,
        bytes: &[u8],
        kit: Option<&WrappingKey>,
    ) -> Option<Secret> {
        let slots = KeySlots::decode(bytes).ok().filter(|slots| slots.domain == domain)?;
        slots.open(&self.master).ok().or_else(|| slots.open(kit?).ok())
    }

    /// Wraps every key that the Server holds for these kits and no others. Returns the domains whose slots must
    /// reach their datastores.
    pub(crate) fn wrap_all(
        &self,
        catalog: &Catalog,
        kits: &[WrappingKey],
    ) -> Result<Vec<Domain>, ServerError> {
        let mut wrapped = Vec::new();
        for mut domain in catalog.domains()? {
            let Some(key) = self.open(&domain)? else { continue };
            let slots = self.slots(domain.domain, &key, kits)?;
            catalog.set_domain_key(
                domain.domain,
                None,
                KeyHolder::Server,
                domain.sealed_key.as_deref(),
                Some(&slots),
            )?;
            domain.slots = Some(slots);
            wrapped.push(domain);
        }
        Ok(wrapped)
    }
}

/// Wraps every key that the Server holds for these kits, in the catalog and beside the data. How many, and the
/// datastores whose device was not reached: their slots follow when it is.
pub(crate) async fn wrap_for_kits(
    house: &House,
    kits: &[WrappingKey],
) -> Result<(u64, Vec<String>), ServerError> {
    let (books, keys, kits) = (house.books.clone(), house.domain_keys.clone(), kits.to_vec());
    let wrapped = tokio::task::spawn_blocking(move || keys.wrap_all(books.catalog(), &kits));
    let wrapped = wrapped.await.map_err(|error| ServerError::Lost(error.to_string()))??;
    let mut pending = Vec::new();
    for datastore in house.books.run(|catalog| catalog.datastores()).await? {
        let brought = async {
            let line = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
            bring_slots(house, &line, datastore.store).await
        };
        if let Err(error) = brought.await {
            tracing::warn!(datastore = %datastore.name, error = %error.full_message(),
                "key slots for the kit follow when the device is reached");
            pending.push(datastore.name);
        }
    }
    Ok((wrapped.len() as u64, pending))
}

/// Keeps a domain's slots beside its data.
pub(crate) async fn push_slots(device: &Line, domain: &Domain) -> Result<(), ServerError> {
    let Some(slots) = domain.slots.clone() else { return Ok(()) };
    device.call(PutKeySlots { store: domain.store, domain: domain.domain, slots }).await?;
    Ok(())
}

/// Brings the slots in a datastore to what the catalog has, where they differ.
pub(crate) async fn bring_slots(
    house: &House,
    device: &Line,
    store: StoreId,
) -> Result<(), ServerError> {
    let domains = house
        .books
        .run(move |catalog: &Catalog| -> Result<_, CatalogError> { catalog.domains_in(store) });
    for domain in domains.await? {
        let Some(slots) = &domain.slots else { continue };
        let there = match device.call(GetKeySlots { store, domain: domain.domain }).await {
            Ok(reply) => reply.slots == *slots,
            Err(error) if error.kind() == Kind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !there {
            let slots = slots.clone();
            device.call(PutKeySlots { store, domain: domain.domain, slots }).await?;
        }
    }
    Ok(())
}

fn purpose(domain: DomainId) -> Vec<u8> {
    [b"simsim catalog domain key v1".as_slice(), &domain.0].concat()
}
