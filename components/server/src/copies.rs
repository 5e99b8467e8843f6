//! Which copy of a saveset is read: the one that somebody names, else the nearest one of which no damage is known, and
//! where that cannot be read now, another one whose device is there.

use simsim_catalog::{ClientId, Datastore, DatastoreState, Saveset, SavesetState};
use simsim_model::{SavesetId, StoreId};

use crate::ServerError;
use crate::house::House;

impl House {
    /// The datastores in which a saveset lies, that of its row first.
    pub(crate) async fn stores_of(&self, saveset: &Saveset) -> Result<Vec<Datastore>, ServerError> {
        let (id, own) = (saveset.saveset, saveset.store);
        let is_there = saveset.state == SavesetState::Present;
        self.books
            .run(move |catalog| {
                let mut stores: Vec<StoreId> = Vec::new();
                stores.extend(is_there.then_some(own));
                stores.extend(catalog.copies_of(id)?.iter().map(|copy| copy.store));
                // What is to be deleted is not read any more.
                let deletions = catalog.deletions_of(id)?;
                stores.retain(|store| !deletions.iter().any(|one| one.store == *store));
                stores.into_iter().map(|store| catalog.datastore_with_id(store)).collect()
            })
            .await
    }

    /// The same for a client that is to have it: what is known to be damaged comes last, then the nearest comes first, by the
    /// locations in which the client and the devices stand.
    pub(crate) async fn stores_for(
        &self,
        saveset: &Saveset,
        client: &str,
    ) -> Result<Vec<Datastore>, ServerError> {
        let stores = self.stores_of(saveset).await?;
        if stores.len() < 2 {
            return Ok(stores);
        }
        let (id, client) = (saveset.saveset, client.to_owned());
        let devices: Vec<ClientId> = stores.iter().map(|store| store.device).collect();
        let (damaged, distances) = self
            .books
            .run(move |catalog| {
                Ok((catalog.damaged_savesets()?, catalog.distances(&client, &devices)?))
            })
            .await?;
        let is_damaged =
            |store: StoreId| damaged.iter().any(|one| (one.saveset, one.store) == (id, store));
        let mut ranked: Vec<_> = stores.into_iter().zip(distances).collect();
        ranked.sort_by_key(|(store, distance)| (is_damaged(store.store), *distance));
        Ok(ranked.into_iter().map(|(store, _)| store).collect())
    }

    /// The datastore from which a saveset is read. `named`: somebody says which one; `client`: who is to have it.
    pub(crate) async fn store_to_read(
        &self,
        saveset: &Saveset,
        named: Option<&str>,
        client: Option<&str>,
    ) -> Result<Datastore, ServerError> {
        let stores = match client {
            Some(client) => self.stores_for(saveset, client).await?,
            None => self.stores_of(saveset).await?,
        };
        if let Some(name) = named {
            let names: Vec<&str> = stores.iter().map(|one| one.name.as_str()).collect();
            let lies_in = names.join(", ");
            return stores.iter().find(|one| one.name == name).cloned().ok_or_else(|| {
                ServerError::invalid(format!(
                    "saveset {} is not in datastore '{name}': it lies in {lies_in}",
                    saveset.saveset.short()
                ))
            });
        }
        let reached = stores.iter().find(|one| self.is_served(one));
        match reached.or(stores.first()) {
            Some(store) => Ok(store.clone()),
            None if self.is_deleted(saveset.saveset).await? => Err(ServerError::Refused(format!(
                "saveset {} was deleted, or is being deleted: 'simsim saveset why' says by whom",
                saveset.saveset.short()
            ))),
            None => Err(ServerError::not_found("manifest of saveset", saveset.saveset)),
        }
    }

    async fn is_deleted(&self, saveset: SavesetId) -> Result<bool, ServerError> {
        let found = self.books.run(move |catalog| catalog.deletions_of(saveset)).await?;
        Ok(!found.is_empty())
    }

    /// In service, and its device is reached now.
    pub(crate) fn is_served(&self, datastore: &Datastore) -> bool {
        let line = self.nodes.status(datastore.device).and_then(|status| status.line);
        datastore.state == DatastoreState::Active && line.is_some_and(|line| !line.is_lost())
    }
}
