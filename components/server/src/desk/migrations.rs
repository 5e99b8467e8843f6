//! Migrations: adding, changing, listing, removing and running them.

use simsim_catalog::{Catalog, CatalogError, Migration, Put, Waiting};

use super::datastores::check_name;
use super::replications::check_filter;
use crate::api::{JobReply, MigrationRequest, MigrationView, NameRequest};
use crate::clock::now_unix_ms;
use crate::jobs::{Candidates, migration_job};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Longest age and EOL, as of pools.
const DAYS_MAX: u32 = simsim_retention::DAYS_MAX;

impl Server {
    /// Adds a migration. It moves nothing until it is run.
    pub async fn add_migration(
        &self,
        who: &Principal,
        request: MigrationRequest,
    ) -> Result<MigrationView, ServerError> {
        self.put_migration(who, "migration.add", Put::Add, request).await
    }

    /// Replaces all of a migration but its name. A job that runs goes on as it began.
    pub async fn change_migration(
        &self,
        who: &Principal,
        request: MigrationRequest,
    ) -> Result<MigrationView, ServerError> {
        self.put_migration(who, "migration.change", Put::Change, request).await
    }

    async fn put_migration(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: MigrationRequest,
    ) -> Result<MigrationView, ServerError> {
        check_name(&request.name)?;
        if request.older_than_days > DAYS_MAX || request.eol_days > DAYS_MAX {
            return Err(ServerError::invalid(format!(
                "the age and the EOL of a migration are at most {DAYS_MAX} days"
            )));
        }
        let originals = if request.keep_originals { "stay" } else { "go" };
        let detail = format!(
            "'{}' by replication '{}', originals {originals}",
            request.name, request.replication
        );
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        let mut levels = request.levels;
        levels.sort_unstable_by_key(|level| level.as_str());
        levels.dedup();
        let new = Migration {
            name: request.name.clone(),
            replication: request.replication,
            client_name: request.client,
            task_name: request.task,
            from_pool: request.from_pool,
            levels,
            older_than_days: request.older_than_days,
            keep_originals: request.keep_originals,
            pool: request.pool,
            eol_days: request.eol_days,
            created_unix_ms: now_unix_ms(),
        };
        self.house
            .books
            .run(move |catalog| {
                check_filter(catalog, new.client_name.as_deref(), new.task_name.as_deref())?;
                catalog.put_migration(put, &new)?;
                view(catalog, &catalog.migration(&new.name)?)
            })
            .await
    }

    /// All migrations, by name.
    pub async fn migrations(&self, who: &Principal) -> Result<Vec<MigrationView>, ServerError> {
        self.may_see(who, Right::View, "list migrations", Object::Suite).await?;
        self.house
            .books
            .run(|catalog| catalog.migrations()?.iter().map(|one| view(catalog, one)).collect())
            .await
    }

    /// One migration.
    pub async fn migration(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<MigrationView, ServerError> {
        self.may_see(who, Right::View, "see a migration", Object::Suite).await?;
        let name = request.name;
        self.house.books.run(move |catalog| view(catalog, &catalog.migration(&name)?)).await
    }

    /// Removes a migration. What it moved stays where it is.
    pub async fn delete_migration(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name;
        let verb = "migration.remove";
        self.may_do(who, Right::Administer, verb, Object::Suite, name.clone()).await?;
        self.house.books.run(move |catalog| catalog.delete_migration(&name)).await
    }

    /// Queues a run of a migration.
    pub async fn run_migration(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<JobReply, ServerError> {
        let name = request.name;
        self.may_do(who, Right::Backup, "migration.run", Object::Suite, name.clone()).await?;
        let by = who.name().to_owned();
        let ordered = self
            .house
            .books
            .run(move |catalog| Ok(migration_job(catalog, &name, by, Waiting::default())));
        self.queue(ordered.await??).await
    }
}

fn view(catalog: &Catalog, migration: &Migration) -> Result<MigrationView, CatalogError> {
    let relation = catalog.replication(&migration.replication)?;
    let gone = catalog.deleted_in(relation.target)?.into_iter().collect();
    let books = catalog.life_books()?;
    let found = Candidates::of(&books, migration, &relation, &gone, now_unix_ms());
    Ok(MigrationView {
        name: migration.name.clone(),
        replication: migration.replication.clone(),
        source: catalog.datastore_with_id(relation.source)?.name,
        target: catalog.datastore_with_id(relation.target)?.name,
        client: migration.client_name.clone(),
        task: migration.task_name.clone(),
        from_pool: migration.from_pool.clone(),
        levels: migration.levels.clone(),
        older_than_days: migration.older_than_days,
        keep_originals: migration.keep_originals,
        pool: migration.pool.clone(),
        eol_days: migration.eol_days,
        created_unix_ms: migration.created_unix_ms,
        savesets: found.savesets.len() as u64,
        missing: found.missing.len() as u64,
        unproven: found.unproven.len() as u64,
    })
}
