//! The recovery kit, and who holds domain keys.

use simsim_catalog::{Client, Domain, KeyHolder};
use simsim_format::RecoveryKit;

use crate::api::{CreateDomainRequest, DomainView, KitProofReply, KitProofRequest, KitReply};
use crate::clock::now_unix_ms;
use crate::jobs::DEVICE_PATIENCE;
use crate::keys::bring_slots;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Makes a recovery kit, in place of the one before, and wraps every key for it that the Server
    /// holds. Shown once; that it was kept is proven with [`Server::prove_kit`].
    pub async fn create_kit(&self, who: &Principal) -> Result<KitReply, ServerError> {
        let house = &self.house;
        self.may_do(who, Right::Keys, "key.kit", Object::Suite, "").await?;
        let kit = RecoveryKit::generate()?;
        // Remembered first: a domain that is made meanwhile is wrapped for it already.
        let asked = house.kit.replace(&house.books, &kit).await?;
        let wrapping = kit.wrapping_key();
        let server = self.clone();
        let wrapped = tokio::task::spawn_blocking(move || {
            server.house.domain_keys.wrap_all(server.house.books.catalog(), &wrapping)
        })
        .await
        .map_err(|error| ServerError::Lost(error.to_string()))??;
        let mut pending = Vec::new();
        for datastore in house.books.run(|catalog| catalog.datastores()).await? {
            let brought = async {
                let line = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
                bring_slots(house, &line, datastore.store).await
            };
            if let Err(error) = brought.await {
                tracing::warn!(datastore = %datastore.name, error = %error.full_message(),
                    "the new kit's slots follow when the device is reached");
                pending.push(datastore.name);
            }
        }
        Ok(KitReply { groups: kit.groups(), asked, domains: wrapped.len() as u64, pending })
    }

    /// Shows that the kit was kept. A wrong answer changes the question.
    pub async fn prove_kit(
        &self,
        who: &Principal,
        request: KitProofRequest,
    ) -> Result<KitProofReply, ServerError> {
        let house = &self.house;
        self.may_do(who, Right::Keys, "key.prove", Object::Suite, "").await?;
        let proven = house.kit.prove(&house.books, &request.groups, now_unix_ms()).await?;
        let asked = house.kit.asked(&house.books).await?.unwrap_or_default();
        Ok(KitProofReply { proven, asked })
    }

    /// The groups of the kit that a proof asks for now; empty once it is proven.
    pub async fn kit_question(&self, who: &Principal) -> Result<Vec<usize>, ServerError> {
        self.may_see(who, Right::Keys, "prove the kit of", Object::Suite).await?;
        Ok(self.house.kit.asked(&self.house.books).await?.unwrap_or_default())
    }

    /// Makes a client's domain in a datastore before its first backup, and decides who holds its
    /// key. A domain that is there is answered as it is; who holds its key cannot be changed.
    pub async fn create_domain(
        &self,
        who: &Principal,
        request: CreateDomainRequest,
    ) -> Result<DomainView, ServerError> {
        let house = &self.house;
        let object = Object::Client(&request.client);
        let holder = if request.held_by_client { KeyHolder::Client } else { KeyHolder::Server };
        self.may_do(who, Right::Keys, "key.domain", object, holder.as_str()).await?;
        let datastore = house.datastore(request.datastore.clone()).await?;
        let name = request.client.clone();
        let client = house.books.run(move |catalog| catalog.client(&name)).await?;
        let (store, owner) = (datastore.store, client.id);
        let there = house.books.run(move |catalog| catalog.domain_of(store, owner)).await?;
        let domain = match there {
            Some(domain) if domain.key_held_by != holder => {
                return Err(ServerError::invalid(format!(
                    "client '{}' has a domain in '{}' already, whose key is held by the {}; it cannot be changed, because what was saved is sealed with it",
                    client.name,
                    datastore.name,
                    domain.key_held_by.as_str()
                )));
            }
            Some(domain) => domain,
            None => house.domain_keys.make(house, &datastore, &client, holder).await?,
        };
        Ok(domain_view(&domain, &datastore.name, Some(&client)))
    }

    /// All domains.
    pub async fn domains(&self, who: &Principal) -> Result<Vec<DomainView>, ServerError> {
        self.may_see(who, Right::View, "list domains", Object::Suite).await?;
        let (domains, clients, stores) = self
            .house
            .books
            .run(|catalog| Ok((catalog.domains()?, catalog.clients()?, catalog.datastore_names()?)))
            .await?;
        Ok(domains
            .iter()
            .map(|domain| {
                let owner = clients.iter().find(|client| Some(client.id) == domain.owner);
                let store = stores.get(&domain.store).map_or("", String::as_str);
                domain_view(domain, store, owner)
            })
            .collect())
    }
}

fn domain_view(domain: &Domain, datastore: &str, owner: Option<&Client>) -> DomainView {
    DomainView {
        domain: domain.domain,
        datastore: datastore.to_owned(),
        owner: owner.map(|client| client.name.clone()),
        key_held_by: domain.key_held_by.as_str().to_owned(),
        created_unix_ms: domain.created_unix_ms,
    }
}
