//! Making the catalog's savesets again from the manifests in datastores.
//!
//! Domains that the catalog does not know are taken in first: their key slots lie beside the data
//! and open with the master key, or with the recovery kit. Where neither fits, the savesets are
//! listed without names.

use std::collections::HashMap;

use simsim_catalog::{ClientId, Datastore, Domain, KeyHolder};
use simsim_control::verbs::{GetKeySlots, ListDomains};
use simsim_format::{DomainKey, Manifest, ManifestDetails, RecoveryKit, WrappingKey};
use simsim_model::{DomainId, Kind, StoreId};

use crate::api::{CatalogRebuildReply, CatalogRebuildRequest, RebuiltDatastore};
use crate::clock::now_unix_ms;
use crate::jobs::DEVICE_PATIENCE;
use crate::nodes::Line;
use crate::reconcile::{Row, manifests_after, row_of};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Makes saveset rows again. Idempotent: a second run changes nothing.
    pub async fn rebuild_catalog(
        &self,
        who: &Principal,
        request: CatalogRebuildRequest,
    ) -> Result<CatalogRebuildReply, ServerError> {
        let wanted = request.datastore.clone().unwrap_or_else(|| "all".to_owned());
        self.may_do(who, Right::Maintain, "catalog.rebuild", Object::Suite, wanted).await?;
        let kit = request.kit.as_deref().map(RecoveryKit::parse).transpose();
        // Typed by somebody: nothing stored is damaged, whatever is wrong with it.
        let kit = kit.map_err(|error| ServerError::invalid(error.to_string()))?;
        let kit = kit.map(|kit| kit.wrapping_key());
        let datastores = match request.datastore {
            Some(name) => vec![self.house.datastore(Some(name)).await?],
            None => self.house.books.run(|catalog| catalog.datastores()).await?,
        };
        let mut rebuilt = Vec::new();
        for datastore in datastores {
            rebuilt.push(self.rebuild_one(datastore, kit.as_ref()).await?);
        }
        Ok(CatalogRebuildReply { datastores: rebuilt })
    }

    pub(crate) async fn rebuild_one(
        &self,
        datastore: Datastore,
        kit: Option<&WrappingKey>,
    ) -> Result<RebuiltDatastore, ServerError> {
        let house = &self.house;
        let store = datastore.store;
        let line = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
        let mut damaged = Vec::new();
        let mut manifests = Vec::new();
        for entry in manifests_after(&line, store, 0).await? {
            match Manifest::decode(&entry.bytes) {
                Ok(manifest) if manifest.store == store => manifests.push(manifest),
                Ok(manifest) => damaged.push(format!(
                    "saveset {}: its manifest belongs to datastore {}",
                    entry.saveset, manifest.store
                )),
                Err(error) => damaged.push(format!("saveset {}: {error}", entry.saveset)),
            }
        }
        let homes = self.homes(&manifests).await?;
        let domains_found = self.take_in_domains(&line, &datastore, &homes, kit).await?;
        self.find_owners(&manifests).await?;
        let (mut rows, mut copies) = (Vec::new(), Vec::new());
        for manifest in &manifests {
            match row_of(house, manifest).await? {
                Some(Row::Saveset(row)) => rows.push(row),
                Some(Row::Copy(row)) => copies.push(row),
                None => damaged.push(format!(
                    "saveset {}: its domain {} belongs to another datastore",
                    manifest.saveset, manifest.domain
                )),
            }
        }
        let report = house
            .books
            .run(move |catalog| {
                let report = catalog.rebuild_savesets(store, &rows)?;
                catalog.rebuild_copies(store, &copies)?;
                Ok(report)
            })
            .await?;
        Ok(RebuiltDatastore { datastore: datastore.name, rows: report, domains_found, damaged })
    }

    /// Where the domains of copies are at home, as far as these datastores are known.
    async fn homes(
        &self,
        manifests: &[Manifest],
    ) -> Result<HashMap<DomainId, StoreId>, ServerError> {
        let known = self.house.books.run(|catalog| catalog.datastores()).await?;
        let is_known = |store: &StoreId| known.iter().any(|one| one.store == *store);
        let home = |manifest: &Manifest| Some((manifest.domain, manifest.origin?));
        Ok(manifests.iter().filter_map(home).filter(|(_, store)| is_known(store)).collect())
    }

    /// Adds domains that the datastore has and the catalog does not, and brings keys to those that
    /// nobody had the key of.
    async fn take_in_domains(
        &self,
        line: &Line,
        datastore: &Datastore,
        homes: &HashMap<DomainId, StoreId>,
        kit: Option<&WrappingKey>,
    ) -> Result<u64, ServerError> {
        let house = &self.house;
        let store = datastore.store;
        let known: HashMap<DomainId, Domain> = house
            .books
            .run(|catalog| catalog.domains())
            .await?
            .into_iter()
            .map(|domain| (domain.domain, domain))
            .collect();
        let mut found = 0;
        for id in line.call(ListDomains { store }).await?.domains {
            let there = known.get(&id);
            if there.is_some_and(|domain| domain.key_held_by != KeyHolder::Nobody) {
                continue;
            }
            let slots = match line.call(GetKeySlots { store, domain: id }).await {
                Ok(reply) => Some(reply.slots),
                Err(error) if error.kind() == Kind::NotFound => None,
                Err(error) => return Err(error),
            };
            let key =
                slots.as_deref().and_then(|slots| house.domain_keys.unwrap_slots(id, slots, kit));
            let (sealed_key, slots, holder) = match key {
                Some(key) => {
                    let mut kits = house.kit.wrapping_keys(&house.books).await?;
                    if kits.is_empty() {
                        kits.extend(kit.cloned());
                    }
                    let sealed = house.domain_keys.seal(id, &key)?;
                    let slots = house.domain_keys.slots(id, &key, &kits)?;
                    (Some(sealed), Some(slots), KeyHolder::Server)
                }
                None => (None, slots, KeyHolder::Nobody),
            };
            if there.is_none() {
                found += 1;
            }
            let home = homes.get(&id).copied().unwrap_or(store);
            house
                .books
                .run(move |catalog| {
                    catalog.add_domain(&Domain {
                        domain: id,
                        store: home,
                        owner: None,
                        key_held_by: KeyHolder::Nobody,
                        sealed_key: None,
                        slots: slots.clone(),
                        created_unix_ms: now_unix_ms(),
                    })?;
                    catalog.set_domain_key(
                        id,
                        None,
                        holder,
                        sealed_key.as_deref(),
                        slots.as_deref(),
                    )
                })
                .await?;
        }
        Ok(found)
    }

    /// Gives domains without an owner to the enrolled client that their manifests name, where that
    /// client has no other domain in the datastore.
    async fn find_owners(&self, manifests: &[Manifest]) -> Result<(), ServerError> {
        let house = &self.house;
        let domains = house.books.run(|catalog| catalog.domains()).await?;
        for domain in domains.into_iter().filter(|domain| domain.owner.is_none()) {
            let Some(key) = house.domain_keys.open(&domain)? else { continue };
            let key = DomainKey::new(&key);
            let named = manifests
                .iter()
                .filter(|manifest| manifest.domain == domain.domain)
                .filter_map(|manifest| {
                    let sealed = &manifest.sealed_details;
                    ManifestDetails::open(&key, manifest.domain, manifest.saveset, sealed).ok()
                })
                .map(|details| details.client)
                .next();
            let Some(name) = named else { continue };
            house
                .books
                .run(move |catalog| {
                    let owner: Option<ClientId> =
                        catalog.clients()?.into_iter().find(|c| c.name == name).map(|c| c.id);
                    let Some(owner) = owner else { return Ok(()) };
                    if catalog.domain_of(domain.store, owner)?.is_some() {
                        return Ok(());
                    }
                    catalog.set_domain_key(
                        domain.domain,
                        Some(owner),
                        domain.key_held_by,
                        domain.sealed_key.as_deref(),
                        domain.slots.as_deref(),
                    )
                })
                .await?;
        }
        Ok(())
    }
}
