//! Replications: adding, listing, removing and running them; healing one datastore from another.

use std::collections::HashSet;

use simsim_catalog::{
    Catalog, CatalogError, JobKind, NewJob, Put, Replication, SavesetFilter, Waiting,
};
use simsim_model::{Rate, SavesetId};

use super::datastores::check_name;
use crate::api::{
    AddReplicationRequest, HealRequest, JobReply, ReplicationRequest, ReplicationView,
};
use crate::clock::now_unix_ms;
use crate::jobs::{HealWish, ReplicateWish, Wish, is_about};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Limits of one replication.
const LIMITS_MAX: usize = 32;

impl Server {
    /// Adds a replication. It copies nothing until it is run.
    pub async fn add_replication(
        &self,
        who: &Principal,
        request: AddReplicationRequest,
    ) -> Result<ReplicationView, ServerError> {
        self.put_replication(who, "replication.add", Put::Add, request).await
    }

    /// Replaces all of a replication but its name and its datastores. A job that runs goes on as it began.
    pub async fn change_replication(
        &self,
        who: &Principal,
        request: AddReplicationRequest,
    ) -> Result<ReplicationView, ServerError> {
        self.put_replication(who, "replication.change", Put::Change, request).await
    }

    async fn put_replication(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: AddReplicationRequest,
    ) -> Result<ReplicationView, ServerError> {
        check_name(&request.name)?;
        let detail = format!("'{}' into '{}'", request.source, request.target);
        let object = Object::Datastore(&request.source);
        self.may_do(who, Right::Administer, verb, object, detail).await?;
        if request.limits.len() > LIMITS_MAX {
            return Err(ServerError::invalid(format!("at most {LIMITS_MAX} limits")));
        }
        let rates: Result<Vec<Rate>, _> =
            request.limits.iter().map(|limit| limit.parse()).collect();
        let rates = rates.map_err(|error| ServerError::invalid(error.to_string()))?;
        let source = self.house.datastore(Some(request.source)).await?;
        let target = self.house.datastore(Some(request.target)).await?;
        let dialled = if request.pull { &source } else { &target };
        let drive = match request.drive {
            Some(drive) => drive,
            None => {
                let store = dialled.store;
                let drives = self.house.books.run(|catalog| catalog.drives()).await?;
                let own = drives.iter().filter(|drive| drive.store == store);
                own.map(|drive| drive.number).min().ok_or_else(|| {
                    ServerError::invalid(format!("datastore '{}' has no drive", dialled.name))
                })?
            }
        };
        let new = Replication {
            name: request.name.clone(),
            source: source.store,
            target: target.store,
            pull: request.pull,
            drive,
            client_name: request.client,
            task_name: request.task,
            rates: rates.iter().map(Rate::to_string).collect(),
            created_unix_ms: now_unix_ms(),
        };
        let name = request.name;
        self.house
            .books
            .run(move |catalog| {
                check_filter(catalog, new.client_name.as_deref(), new.task_name.as_deref())?;
                catalog.put_replication(put, &new)?;
                view(catalog, &catalog.replication(&name)?)
            })
            .await
    }

    /// All replications.
    pub async fn replications(&self, who: &Principal) -> Result<Vec<ReplicationView>, ServerError> {
        self.may_see(who, Right::View, "list replications", Object::Suite).await?;
        self.house
            .books
            .run(|catalog| catalog.replications()?.iter().map(|one| view(catalog, one)).collect())
            .await
    }

    /// One replication.
    pub async fn replication(
        &self,
        who: &Principal,
        request: ReplicationRequest,
    ) -> Result<ReplicationView, ServerError> {
        self.may_see(who, Right::View, "see a replication", Object::Suite).await?;
        let name = request.name;
        self.house.books.run(move |catalog| view(catalog, &catalog.replication(&name)?)).await
    }

    /// Removes a replication. The copies that it made stay.
    pub async fn delete_replication(
        &self,
        who: &Principal,
        request: ReplicationRequest,
    ) -> Result<ReplicationView, ServerError> {
        let detail = request.name.clone();
        self.may_do(who, Right::Administer, "replication.remove", Object::Suite, detail).await?;
        let name = request.name;
        self.house
            .books
            .run(move |catalog| {
                let there = view(catalog, &catalog.replication(&name)?)?;
                catalog.delete_replication(&name)?;
                Ok(there)
            })
            .await
    }

    /// Queues a run of a replication.
    pub async fn run_replication(
        &self,
        who: &Principal,
        request: ReplicationRequest,
    ) -> Result<JobReply, ServerError> {
        let detail = request.name.clone();
        self.may_do(who, Right::Backup, "replication.run", Object::Suite, detail).await?;
        let name = request.name.clone();
        let relation = self.house.books.run(move |catalog| catalog.replication(&name)).await?;
        let wish = Wish::Replicate(ReplicateWish { replication: request.name });
        self.queue_copy(who, &relation, JobKind::Replicate, &wish).await
    }

    /// Queues bringing what a datastore has lost.
    pub async fn heal(
        &self,
        who: &Principal,
        request: HealRequest,
    ) -> Result<JobReply, ServerError> {
        let object = Object::Datastore(&request.datastore);
        let detail = request.name.clone();
        self.may_do(who, Right::Maintain, "replication.heal", object, detail).await?;
        let damaged = self.house.datastore(Some(request.datastore)).await?;
        let name = request.name.clone();
        let relation = self.house.books.run(move |catalog| catalog.replication(&name)).await?;
        if ![relation.source, relation.target].contains(&damaged.store) {
            return Err(ServerError::invalid(format!(
                "replication '{}' is not between datastore '{}' and another one",
                relation.name, damaged.name
            )));
        }
        let wish = Wish::Heal(HealWish { replication: request.name, damaged: damaged.store });
        self.queue_copy(who, &relation, JobKind::Heal, &wish).await
    }

    async fn queue_copy(
        &self,
        who: &Principal,
        relation: &Replication,
        kind: JobKind,
        wish: &Wish,
    ) -> Result<JobReply, ServerError> {
        let dialler = relation.dialler();
        let dialler = self.house.books.run(move |catalog| catalog.datastore_with_id(dialler));
        self.queue(NewJob {
            kind,
            task: None,
            task_name: relation.name.clone(),
            client: dialler.await?.device,
            store: relation.dialled(),
            domain: None,
            drive: Some(relation.drive),
            level: None,
            saveset: None,
            pool: None,
            request: wish.to_text()?,
            requested_by: who.name().to_owned(),
            waiting: Waiting::default(),
        })
        .await
    }
}

/// Refuses names that nobody has, which are typing errors. A task may be gone whose savesets are still there.
pub(super) fn check_filter(
    catalog: &Catalog,
    client: Option<&str>,
    task: Option<&str>,
) -> Result<(), CatalogError> {
    if let Some(client) = client {
        catalog.client(client)?;
    }
    let Some(task) = task else { return Ok(()) };
    let Err(missing) = catalog.task(task) else { return Ok(()) };
    let filter = SavesetFilter {
        client_name: client.map(str::to_owned),
        task_name: Some(task.to_owned()),
        limit: 1,
        ..SavesetFilter::default()
    };
    match catalog.savesets(&filter)?.is_empty() {
        true => Err(missing),
        false => Ok(()),
    }
}

fn view(catalog: &Catalog, relation: &Replication) -> Result<ReplicationView, CatalogError> {
    let source = catalog.datastore_with_id(relation.source)?;
    let target = catalog.datastore_with_id(relation.target)?;
    let there: HashSet<SavesetId> =
        catalog.savesets_in(target.store)?.into_iter().map(|(_, one)| one.saveset).collect();
    let deleted: HashSet<SavesetId> = catalog.deleted_in(target.store)?.into_iter().collect();
    let mut wanted: Vec<SavesetId> = Vec::new();
    for (_, saveset) in catalog.savesets_in(source.store)? {
        if is_about(relation, &saveset) && !deleted.contains(&saveset.saveset) {
            wanted.push(saveset.saveset);
        }
    }
    let missing = wanted.iter().filter(|saveset| !there.contains(saveset)).count();
    Ok(ReplicationView {
        name: relation.name.clone(),
        source_host: catalog.client_numbered(source.device)?.name,
        source: source.name,
        target_host: catalog.client_numbered(target.device)?.name,
        target: target.name,
        pull: relation.pull,
        drive: relation.drive,
        client: relation.client_name.clone(),
        task: relation.task_name.clone(),
        limits: relation.rates.clone(),
        created_unix_ms: relation.created_unix_ms,
        savesets: wanted.len() as u64,
        missing: missing as u64,
    })
}
