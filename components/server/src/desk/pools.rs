//! Media pools: adding, changing, listing and removing them.

use simsim_catalog::{Catalog, CatalogError, DEFAULT_POOL, LifeBooks, Pool};
use simsim_model::StoreId;
use simsim_retention::Policy;

use super::datastores::check_name;
use crate::api::{AddPoolRequest, ChangePoolRequest, PoolChanged, PoolNameRequest, PoolView};
use crate::clock::now_unix_ms;
use crate::people::{Scope, granted_for};
use crate::retention::{Act, Came, perform};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Adds a media pool.
    pub async fn add_pool(
        &self,
        who: &Principal,
        request: AddPoolRequest,
    ) -> Result<PoolView, ServerError> {
        check_name(&request.name)?;
        let policy = policy_text(&request.policy)?;
        let detail = format!("'{}': {policy}", request.name);
        self.may_do(who, Right::Administer, "pool.add", Object::Suite, detail).await?;
        let AddPoolRequest { name, datastore, drive, drive_group, .. } = request;
        let store = self.named_store(datastore).await?;
        let created_unix_ms = now_unix_ms();
        let pool = Pool { name, policy, store, drive, drive_group, created_unix_ms };
        self.house
            .books
            .run(move |catalog| {
                catalog.add_pool(&pool)?;
                view(catalog, &pool.name)
            })
            .await
    }

    /// Changes a media pool: what is given replaces what there is. A policy that would leave tasks
    /// without any restorable saveset waits for a second person.
    pub async fn change_pool(
        &self,
        who: &Principal,
        request: ChangePoolRequest,
    ) -> Result<PoolChanged, ServerError> {
        let policy = request.policy.as_deref().map(policy_text).transpose()?;
        let detail = match &policy {
            Some(policy) => format!("'{}': {policy}", request.name),
            None => format!("'{}': another place", request.name),
        };
        self.may_do(who, Right::Administer, "pool.change", Object::Suite, detail).await?;
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.pool(&name)).await?;
        let ChangePoolRequest { name, datastore, drive, drive_group, .. } = request;
        let elsewhere = datastore.is_some() || drive_group.is_some();
        let store = match (self.named_store(datastore).await?, elsewhere) {
            (None, false) => there.store,
            (store, _) => store,
        };
        let act = Act::ChangePool {
            pool: name.clone(),
            policy: policy.unwrap_or(there.policy),
            store,
            drive: if elsewhere { drive } else { drive.or(there.drive) },
            drive_group: if elsewhere { drive_group } else { there.drive_group },
            emptied: Vec::new(),
        };
        let approval = match perform(&self.house, who, act).await? {
            Came::Done(_) => None,
            Came::Asked(number) => Some(self.approval_view(number).await?),
        };
        let pool = self.house.books.run(move |catalog| view(catalog, &name)).await?;
        Ok(PoolChanged { pool, approval })
    }

    /// All media pools, by name.
    pub async fn pools(&self, who: &Principal) -> Result<Vec<PoolView>, ServerError> {
        self.may_see(who, Right::View, "list media pools", Object::Suite).await?;
        self.house
            .books
            .run(|catalog| {
                let books = catalog.life_books()?;
                books.pools.iter().map(|pool| view_of(catalog, &books, pool)).collect()
            })
            .await
    }

    /// One media pool.
    pub async fn pool(
        &self,
        who: &Principal,
        request: PoolNameRequest,
    ) -> Result<PoolView, ServerError> {
        self.may_see(who, Right::View, "see a media pool", Object::Suite).await?;
        self.house.books.run(move |catalog| view(catalog, &request.name)).await
    }

    /// Removes a media pool. `Busy` while tasks, savesets or open jobs use it.
    pub async fn delete_pool(
        &self,
        who: &Principal,
        request: PoolNameRequest,
    ) -> Result<PoolView, ServerError> {
        let detail = request.name.clone();
        self.may_do(who, Right::Administer, "pool.remove", Object::Suite, detail).await?;
        self.house
            .books
            .run(move |catalog| {
                let there = view(catalog, &request.name)?;
                let held = granted_for(catalog, Scope::Pool(&request.name))?;
                catalog.delete_pool(&request.name, &held)?;
                Ok(there)
            })
            .await
    }

    async fn named_store(&self, name: Option<String>) -> Result<Option<StoreId>, ServerError> {
        match name {
            Some(name) => Ok(Some(self.house.datastore(Some(name)).await?.store)),
            None => Ok(None),
        }
    }

    /// Where a task or a backup goes that names a pool: where the pool says, if it does. What is named
    /// beside the pool must be the same.
    pub(crate) async fn place_in_pool(
        &self,
        pool: Option<&str>,
        named: PoolPlace,
    ) -> Result<PoolPlace, ServerError> {
        let Some(name) = pool.map(str::to_owned) else { return Ok(named) };
        let (pool, datastore) = self
            .house
            .books
            .run(move |catalog| {
                let pool = catalog.pool(&name)?;
                let store = pool.store.map(|store| catalog.datastore_with_id(store)).transpose()?;
                Ok((pool, store.map(|datastore| datastore.name)))
            })
            .await?;
        if !pool.has_place() {
            return Ok(named);
        }
        let place =
            PoolPlace { datastore, drive: pool.drive, drive_group: pool.drive_group.clone() };
        let differs = named.datastore.is_some() && named.datastore != place.datastore
            || named.drive.is_some() && named.drive != place.drive
            || named.drive_group.is_some() && named.drive_group != place.drive_group;
        match differs {
            false => Ok(place),
            true => Err(ServerError::invalid(format!(
                "pool '{}' says where its backups go ({place}): name the pool alone, or another pool",
                pool.name
            ))),
        }
    }
}

/// A datastore, perhaps by one drive only, or a drive group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PoolPlace {
    pub datastore: Option<String>,
    pub drive: Option<u32>,
    pub drive_group: Option<String>,
}

impl std::fmt::Display for PoolPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.drive_group, &self.datastore, self.drive) {
            (Some(group), _, _) => write!(f, "drive group '{group}'"),
            (None, Some(datastore), Some(drive)) => {
                write!(f, "datastore '{datastore}', drive {drive}")
            }
            (None, Some(datastore), None) => write!(f, "datastore '{datastore}'"),
            (None, None, _) => f.write_str("nowhere in particular"),
        }
    }
}

/// A policy in the one order in which policies are written.
pub(crate) fn policy_text(text: &str) -> Result<String, ServerError> {
    let policy: Policy =
        text.parse().map_err(|error| ServerError::invalid(format!("the policy: {error}")))?;
    if let Some(zone) = policy.zone() {
        // One that nobody knows would stop every decision later.
        jiff::tz::db().get(zone).map_err(|_| {
            ServerError::invalid(format!("the policy: there is no time zone '{zone}'"))
        })?;
    }
    Ok(policy.to_string())
}

fn view(catalog: &Catalog, name: &str) -> Result<PoolView, CatalogError> {
    let books = catalog.life_books()?;
    let pool = catalog.pool(name)?;
    view_of(catalog, &books, &pool)
}

fn view_of(catalog: &Catalog, books: &LifeBooks, pool: &Pool) -> Result<PoolView, CatalogError> {
    let lives: Vec<_> = books.lives.iter().filter(|life| life.pool == pool.name).collect();
    let tasks = catalog.tasks()?.into_iter().map(|task| task.settings);
    let of_pool = |named: &Option<String>| named.as_deref().unwrap_or(DEFAULT_POOL) == pool.name;
    let datastore = pool.store.map(|store| catalog.datastore_with_id(store)).transpose()?;
    Ok(PoolView {
        name: pool.name.clone(),
        policy: pool.policy.clone(),
        datastore: datastore.map(|datastore| datastore.name),
        drive: pool.drive,
        drive_group: pool.drive_group.clone(),
        tasks: tasks.filter(|task| of_pool(&task.pool)).map(|task| task.name).collect(),
        savesets: lives.len() as u64,
        bytes: lives.iter().map(|life| life.saveset.bytes_stored).sum(),
        created_unix_ms: pool.created_unix_ms,
    })
}
