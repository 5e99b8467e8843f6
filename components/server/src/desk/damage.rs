//! What is known to be damaged, and what would put it right.

use simsim_catalog::Replication;

use crate::api::{DamageRequest, DamageView};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Savesets whose last check found damage, those that were found last first. What is healed and checked
    /// again is not among them.
    pub async fn damage(
        &self,
        who: &Principal,
        request: DamageRequest,
    ) -> Result<Vec<DamageView>, ServerError> {
        self.may_see(who, Right::View, "datastore.damage", Object::Suite).await?;
        let only = match request.datastore {
            Some(name) => Some(self.house.datastore(Some(name)).await?.store),
            None => None,
        };
        let (damaged, names, replications) = self
            .house
            .books
            .run(|catalog| {
                let names = catalog.datastore_names()?;
                Ok((catalog.damaged_savesets()?, names, catalog.replications()?))
            })
            .await?;
        let name_of = |store| names.get(store).cloned().unwrap_or_else(|| store.to_string());
        let of = damaged.iter().filter(|one| only.is_none_or(|store| store == one.store));
        let views = of.map(|one| {
            let heals = |relation: &&Replication| {
                let other = match one.store {
                    store if store == relation.source => relation.target,
                    store if store == relation.target => relation.source,
                    _ => return false,
                };
                one.others.contains(&other)
            };
            DamageView {
                datastore: name_of(&one.store),
                saveset: one.saveset,
                client: one.client_name.clone(),
                task: one.task_name.clone(),
                committed_unix_ms: one.committed_unix_ns.div_euclid(1_000_000),
                is_copy: one.is_copy,
                found_unix_ms: one.found_unix_ms,
                sound_in: one.others.iter().map(name_of).collect(),
                healed_by: replications.iter().filter(heals).map(|it| it.name.clone()).collect(),
            }
        });
        Ok(views.collect())
    }
}
