//! Migrations: which savesets move by the way of a replication, what becomes of their first place, and
//! how long their copies live.

use rusqlite::params;
use simsim_model::{Level, SavesetId};

use crate::catalog::Catalog;
use crate::cells::{Cells, json_cell};
use crate::pools::pool_by_name;
use crate::replications;
use crate::schedules::Put;
use crate::sql::Session;
use crate::uses::{Use, forget_uses, put_uses, refuse_held, users};
use crate::{CatalogError, Saveset};

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// For people: unique.
    pub name: String,
    /// By whose way it copies: from which datastore into which, who dials whom, how fast.
    pub replication: String,
    /// Only savesets of this client, of this task.
    pub client_name: Option<String>,
    pub task_name: Option<String>,
    /// Only what is in this pool.
    pub from_pool: Option<String>,
    /// Only these levels; empty: any.
    pub levels: Vec<Level>,
    /// Only what the server stamped so many days ago or before; 0: any age.
    pub older_than_days: u32,
    /// Else they are let go when their copies are proven.
    pub keep_originals: bool,
    /// The pool of the copies; `None`: that of their backup.
    pub pool: Option<String>,
    /// The EOL of the copies, from the stamp of their backup; 0: as the pool says.
    pub eol_days: u32,
    pub created_unix_ms: i64,
}

impl Migration {
    /// Whether it is about a saveset of its source, as far as names and level go.
    pub fn is_about(&self, saveset: &Saveset) -> bool {
        let fits =
            |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|it| it == name);
        fits(&self.client_name, &saveset.client_name)
            && fits(&self.task_name, &saveset.task_name)
            && (self.levels.is_empty() || self.levels.contains(&saveset.level))
    }

    fn uses(&self) -> Vec<Use> {
        let mut uses = vec![Use::new("way", "replication", &self.replication)];
        uses.extend(self.pool.iter().map(|pool| Use::new("pool of copies", "media pool", pool)));
        uses
    }
}

impl Catalog {
    /// Adds a migration, or replaces all of one but its name. Errors: exists, `NotFound`, as `put` says;
    /// `NotFound` for its replication and its pools.
    pub fn put_migration(&self, put: Put, new: &Migration) -> Result<(), CatalogError> {
        self.write("keep a migration", |transaction| {
            match (put, by_name(transaction, &new.name)?) {
                (Put::Add, Some(_)) => return Err(CatalogError::exists("migration", &new.name)),
                (Put::Change, None) => return Err(CatalogError::not_found("migration", &new.name)),
                _ => {}
            }
            replications::there(transaction, &new.replication)?;
            for pool in new.pool.iter().chain(&new.from_pool) {
                pool_by_name(transaction, pool)?;
            }
            transaction.execute(
                "INSERT INTO migrations (name, replication, client_name, task_name, from_pool, levels,
                     older_than_days, keep_originals, pool, eol_days, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT (name) DO UPDATE SET replication = excluded.replication,
                     client_name = excluded.client_name, task_name = excluded.task_name,
                     from_pool = excluded.from_pool, levels = excluded.levels,
                     older_than_days = excluded.older_than_days,
                     keep_originals = excluded.keep_originals, pool = excluded.pool,
                     eol_days = excluded.eol_days",
                params![
                    new.name,
                    new.replication,
                    new.client_name,
                    new.task_name,
                    new.from_pool,
                    json_cell(&new.levels.iter().map(|level| level.as_str()).collect::<Vec<_>>())?,
                    new.older_than_days,
                    i64::from(new.keep_originals),
                    new.pool,
                    new.eol_days,
                    new.created_unix_ms
                ],
            )?;
            let uses: Vec<Use> =
                new.uses().into_iter().filter(|one| one.name != crate::DEFAULT_POOL).collect();
            put_uses(transaction, "migration", &new.name, &uses)
        })
    }

    /// All migrations, by name.
    pub fn migrations(&self) -> Result<Vec<Migration>, CatalogError> {
        self.read("list migrations", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT * FROM migrations ORDER BY name")?;
            let mut rows = ask.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(from_row(&Cells::new("migrations", row))?);
            }
            Ok(all)
        })
    }

    /// One migration. Errors: `NotFound`.
    pub fn migration(&self, name: &str) -> Result<Migration, CatalogError> {
        self.read("look up a migration", |catalog| {
            by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("migration", name))
        })
    }

    /// Removes a migration; what it moved stays where it is, and its copies live as they were given. Errors:
    /// `NotFound`; `Busy` while an event names it or a job of it has not ended.
    pub fn delete_migration(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a migration", |transaction| {
            let mut by = users(transaction, "migration", name)?;
            let mut ask = transaction.prepare_cached(
                "SELECT job FROM jobs WHERE kind = 'migrate' AND task_name = ?1
                     AND state IN ('queued', 'running') ORDER BY job",
            )?;
            for job in ask.query_map([name], |row| row.get::<i64>(0))? {
                by.push(format!("job {}, which has not ended (cancel it or wait)", job?));
            }
            refuse_held("migration", name, by)?;
            if transaction.execute("DELETE FROM migrations WHERE name = ?1", [name])? == 0 {
                return Err(CatalogError::not_found("migration", name));
            }
            forget_uses(transaction, "migration", name)
        })
    }

    /// Gives copies that are about to be made in a datastore their own pool and EOL. One that has them
    /// keeps them.
    pub fn plan_copies(
        &self,
        migration: &Migration,
        store: simsim_model::StoreId,
        savesets: &[SavesetId],
    ) -> Result<(), CatalogError> {
        if migration.pool.is_none() && migration.eol_days == 0 {
            return Ok(());
        }
        self.write("say how long copies live", |transaction| {
            for saveset in savesets {
                transaction.execute(
                    "INSERT INTO copy_lives (saveset, store, pool, eol_unix_s, migration)
                     SELECT saveset, ?2, ?3, CASE WHEN ?4 > 0
                         THEN stamped_unix_ms / 1000 + ?4 * 86400 END, ?5
                     FROM backups WHERE saveset = ?1
                     ON CONFLICT (saveset, store) DO NOTHING",
                    params![
                        saveset.as_bytes(),
                        store.as_bytes(),
                        migration.pool,
                        i64::from(migration.eol_days),
                        migration.name
                    ],
                )?;
            }
            Ok(())
        })
    }
}

fn by_name(catalog: &Session<'_>, name: &str) -> Result<Option<Migration>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM migrations WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("migrations", row))).transpose()
}

fn from_row(cells: &Cells<'_>) -> Result<Migration, CatalogError> {
    let words: Vec<String> = cells.json("levels")?;
    let levels: Option<Vec<Level>> = words.iter().map(|word| Level::parse(word)).collect();
    Ok(Migration {
        name: cells.get("name")?,
        replication: cells.get("replication")?,
        client_name: cells.get("client_name")?,
        task_name: cells.get("task_name")?,
        from_pool: cells.get("from_pool")?,
        levels: levels.unwrap_or_default(),
        older_than_days: cells.get("older_than_days")?,
        keep_originals: cells.get::<i64>("keep_originals")? != 0,
        pool: cells.get("pool")?,
        eol_days: cells.get("eol_days")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
