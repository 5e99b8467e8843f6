//! The recovery kit, and who holds domain keys.

use simsim_catalog::{Client, Domain, KeyHolder};
use simsim_format::{KitProof, RecoveryKit};

use crate::api::{
    CreateDomainRequest, DomainView, HeldKeyView, KitProofReply, KitProofRequest, KitReply,
};
use crate::clock::now_unix_ms;
use crate::keys::{HeldKeysSeen, held_keys_seen, look_after_held, wrap_for_kits};
use crate::recovery::newest_self_backup;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Makes a recovery kit, in place of the one before, and wraps every key for it that the Server
    /// holds; for the one before too, until the server was backed up for the new one. Shown once; that it was kept is proven with [`Server::prove_kit`].
    pub async fn create_kit(&self, who: &Principal) -> Result<KitReply, ServerError> {
        let house = &self.house;
        self.may_do(who, Right::Keys, "key.kit", Object::Suite, "").await?;
        let kit = RecoveryKit::generate()?;
        // Remembered first: a domain that is made meanwhile is wrapped for it already.
        let backed_up = house.books.run(newest_self_backup).await?.is_some();
        let asked = house.kit.replace(&house.books, &kit, backed_up).await?;
        let (wrapped, pending) =
            wrap_for_kits(house, &house.kit.wrapping_keys(&house.books).await?).await?;
        crate::recovery::set_up(self).await;
        Ok(KitReply {
            of: "server".to_owned(),
            name: house.name.clone(),
            fingerprint: Some(house.identity.fingerprint()),
            groups: kit.groups(),
            asked,
            domains: wrapped,
            pending,
        })
    }

    /// Shows that the kit was kept. A wrong answer changes the question.
    pub async fn prove_kit(
        &self,
        who: &Principal,
        request: KitProofRequest,
    ) -> Result<KitProofReply, ServerError> {
        let house = &self.house;
        self.may_do(who, Right::Keys, "key.prove", Object::Suite, "").await?;
        let before = house.kit.proof(&house.books).await?;
        let proof = house.kit.prove(&house.books, &request.groups, now_unix_ms()).await?;
        let was_proven = matches!(before, Some(KitProof::Proven { .. }));
        if proof.asked().is_empty() && !was_proven {
            // From now on only this kit is kept, and what was backed up before it does not open.
            crate::recovery::back_up_now(self).await;
        }
        Ok(KitProofReply { proven: proof.asked().is_empty(), asked: proof.asked().to_vec() })
    }

    /// The groups of the kit that a proof asks for now; empty once it is proven.
    pub async fn kit_question(&self, who: &Principal) -> Result<Vec<usize>, ServerError> {
        self.may_see(who, Right::Keys, "prove the kit of", Object::Suite).await?;
        let proof = self.house.kit.proof(&self.house.books).await?;
        Ok(proof.map(|proof| proof.asked().to_vec()).unwrap_or_default())
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
        if request.held_by_client && client.id == house.nodes.own() {
            return Err(ServerError::invalid(
                "this is the server's own host: a key that its client held alone would lie here all the same",
            ));
        }
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
        if let Err(error) = look_after_held(house, &client).await {
            let error = error.full_message();
            tracing::warn!(%error, "the keys that a client holds could not be looked after");
        }
        let seen = held_keys_seen(&house.books, client.id).await?;
        Ok(domain_view(&domain, &datastore.name, Some(&client), seen.as_ref()))
    }

    /// All domains.
    pub async fn domains(&self, who: &Principal) -> Result<Vec<DomainView>, ServerError> {
        self.may_see(who, Right::View, "list domains", Object::Suite).await?;
        let (domains, clients, stores) = self
            .house
            .books
            .run(|catalog| Ok((catalog.domains()?, catalog.clients()?, catalog.datastore_names()?)))
            .await?;
        let mut views = Vec::new();
        for domain in &domains {
            let owner = clients.iter().find(|client| Some(client.id) == domain.owner);
            let store = stores.get(&domain.store).map_or("", String::as_str);
            let seen = match owner {
                Some(owner) => held_keys_seen(&self.house.books, owner.id).await?,
                None => None,
            };
            views.push(domain_view(domain, store, owner, seen.as_ref()));
        }
        Ok(views)
    }
}

fn domain_view(
    domain: &Domain,
    datastore: &str,
    owner: Option<&Client>,
    seen: Option<&HeldKeysSeen>,
) -> DomainView {
    let seen = seen.filter(|_| domain.key_held_by == KeyHolder::Client);
    DomainView {
        domain: domain.domain,
        datastore: datastore.to_owned(),
        owner: owner.map(|client| client.name.clone()),
        key_held_by: domain.key_held_by.as_str().to_owned(),
        created_unix_ms: domain.created_unix_ms,
        held: seen.map(|seen| HeldKeyView {
            lost: seen.lost.iter().any(|name| name == datastore),
            kit_proven_unix_ms: seen.proven_unix_ms,
            kit_pages: seen.pages.clone(),
        }),
    }
}
