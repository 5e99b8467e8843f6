//! Media pools: names for how long savesets live, and for where they go.
//!
//! The pool [`DEFAULT_POOL`] is always there. It has a row only once somebody has changed it; before
//! that its policy is `forever`. What names no pool is in it, so that nothing is deleted of whoever
//! has never heard of pools.

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::datastores::datastore_by_id;
use crate::sql::{Optional, Session};
use crate::uses::{add_named, refuse_held};

/// The pool of everything that names none.
pub const DEFAULT_POOL: &str = "default";

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    /// A policy in the text form of the retention room; opaque here.
    pub policy: String,
    /// Where its backups go, if it says so: a datastore, perhaps by one drive only, or a drive group.
    pub store: Option<StoreId>,
    pub drive: Option<u32>,
    pub drive_group: Option<String>,
    pub created_unix_ms: i64,
}

impl Pool {
    /// The default pool as long as nobody has changed it.
    fn untouched_default() -> Self {
        Self {
            name: DEFAULT_POOL.to_owned(),
            policy: "forever".to_owned(),
            store: None,
            drive: None,
            drive_group: None,
            created_unix_ms: 0,
        }
    }

    /// Whether it says where backups go.
    pub fn has_place(&self) -> bool {
        self.store.is_some() || self.drive_group.is_some()
    }
}

impl Catalog {
    /// Adds a pool. Errors: `Invalid` for a name that is taken or a drive of another datastore.
    pub fn add_pool(&self, pool: &Pool) -> Result<(), CatalogError> {
        self.write("add a media pool", |transaction| {
            if pool.name == DEFAULT_POOL || pool_row(transaction, &pool.name)?.is_some() {
                return Err(CatalogError::exists("media pool", &pool.name));
            }
            put_pool(transaction, pool)
        })
    }

    /// All pools by name, the default one among them.
    pub fn pools(&self) -> Result<Vec<Pool>, CatalogError> {
        self.read("list media pools", all_pools)
    }

    /// One pool. Errors: `NotFound`.
    pub fn pool(&self, name: &str) -> Result<Pool, CatalogError> {
        self.read("look up a media pool", |catalog| pool_by_name(catalog, name))
    }

    /// What refers to a pool, as people call it: tasks, savesets, jobs that have not ended.
    pub fn pool_users(&self, name: &str) -> Result<Vec<String>, CatalogError> {
        self.read("look who uses a media pool", |catalog| users(catalog, name, &[]))
    }

    /// Removes a pool. `held`: who uses it besides those that the catalog knows. Errors: `Busy` with all of them while
    /// tasks, savesets or open jobs use it, `Invalid` for the default one.
    pub fn delete_pool(&self, name: &str, held: &[String]) -> Result<Pool, CatalogError> {
        self.write("remove a media pool", |transaction| {
            let pool = pool_by_name(transaction, name)?;
            if name == DEFAULT_POOL {
                return Err(CatalogError::invalid(
                    "the pool 'default' is of everything that names no pool: it stays; change its policy instead",
                ));
            }
            refuse_held("media pool", name, users(transaction, name, held)?)?;
            // Backups whose savesets are all gone do not hold it.
            transaction.execute("UPDATE backups SET pool = NULL WHERE pool = ?1", [name])?;
            transaction.execute("DELETE FROM copy_lives WHERE pool = ?1", [name])?;
            transaction.execute("DELETE FROM pools WHERE name = ?1", [name])?;
            Ok(pool)
        })
    }
}

/// Savesets, of which there may be many, are the last.
fn users(catalog: &Session<'_>, name: &str, held: &[String]) -> Result<Vec<String>, CatalogError> {
    let mut users = Vec::new();
    let mut ask = catalog.prepare_cached(
        "SELECT name FROM tasks WHERE COALESCE(pool, 'default') = ?1 ORDER BY name",
    )?;
    for task in ask.query_map([name], |row| row.get::<String>(0))? {
        users.push(format!("task '{}'", task?));
    }
    let mut ask = catalog.prepare_cached(
        "SELECT job FROM jobs WHERE state IN ('queued', 'running') AND kind = 'backup'
             AND COALESCE(pool, 'default') = ?1 ORDER BY job",
    )?;
    for job in ask.query_map([name], |row| row.get::<i64>(0))? {
        users.push(format!("job {}", job?));
    }
    users.extend(crate::uses::users(catalog, "media pool", name)?);
    let mut from = Vec::new();
    let ask = "SELECT name FROM migrations WHERE from_pool = ?1 ORDER BY name";
    add_named(catalog, &mut from, "migration", ask, &name)?;
    from.retain(|migration| !users.contains(migration));
    users.extend(from);
    users.extend_from_slice(held);
    let mut ask = catalog.prepare_cached(
        "SELECT saveset FROM backups WHERE COALESCE(pool, 'default') = ?1
             AND (EXISTS (SELECT 1 FROM savesets
                     WHERE savesets.saveset = backups.saveset AND state = 'present')
                 OR EXISTS (SELECT 1 FROM copies WHERE copies.saveset = backups.saveset
                     AND NOT EXISTS (SELECT 1 FROM copy_lives
                         WHERE copy_lives.saveset = copies.saveset
                             AND copy_lives.store = copies.store AND copy_lives.pool IS NOT NULL)))
         ORDER BY number DESC",
    )?;
    let mut rows = ask.query([name])?;
    while let Some(row) = rows.next()? {
        let saveset: SavesetId = Cells::new("backups", row).id("saveset")?;
        users.push(format!("saveset {}", saveset.short()));
    }
    let mut ask = catalog.prepare_cached(
        "SELECT copies.saveset AS saveset FROM copies JOIN copy_lives
             ON copy_lives.saveset = copies.saveset AND copy_lives.store = copies.store
         WHERE copy_lives.pool = ?1 ORDER BY copies.number DESC",
    )?;
    let mut rows = ask.query([name])?;
    while let Some(row) = rows.next()? {
        let saveset: SavesetId = Cells::new("copies", row).id("saveset")?;
        users.push(format!("the copy of saveset {}", saveset.short()));
    }
    Ok(users)
}

pub(crate) fn all_pools(catalog: &Session<'_>) -> Result<Vec<Pool>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM pools ORDER BY name")?;
    let mut rows = ask.query([])?;
    let mut pools = Vec::new();
    while let Some(row) = rows.next()? {
        pools.push(from_row(&Cells::new("pools", row))?);
    }
    if !pools.iter().any(|pool: &Pool| pool.name == DEFAULT_POOL) {
        pools.push(Pool::untouched_default());
        pools.sort_by(|one, other| one.name.cmp(&other.name));
    }
    Ok(pools)
}

pub(crate) fn pool_by_name(catalog: &Session<'_>, name: &str) -> Result<Pool, CatalogError> {
    match pool_row(catalog, name)? {
        Some(pool) => Ok(pool),
        None if name == DEFAULT_POOL => Ok(Pool::untouched_default()),
        None => Err(CatalogError::not_found("media pool", name)),
    }
}

/// The pool as a cell of what is in it: nothing for the default one.
pub(crate) fn pool_cell<'p>(
    catalog: &Session<'_>,
    pool: Option<&'p str>,
) -> Result<Option<&'p str>, CatalogError> {
    let pool = pool.filter(|name| *name != DEFAULT_POOL);
    if let Some(name) = pool {
        pool_by_name(catalog, name)?;
    }
    Ok(pool)
}

fn pool_row(catalog: &Session<'_>, name: &str) -> Result<Option<Pool>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM pools WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("pools", row))).transpose()
}

/// Writes a pool in place of what was there. Tasks of it go where it says.
pub(crate) fn put_pool(transaction: &Session<'_>, pool: &Pool) -> Result<(), CatalogError> {
    place_is_there(transaction, pool)?;
    transaction.execute(
        "INSERT INTO pools (name, policy, store, drive, drive_group, created_unix_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE SET policy = excluded.policy, store = excluded.store,
             drive = excluded.drive, drive_group = excluded.drive_group",
        params![
            pool.name,
            pool.policy,
            pool.store.as_ref().map(StoreId::as_bytes),
            pool.drive,
            pool.drive_group,
            pool.created_unix_ms
        ],
    )?;
    if let Some(store) = &pool.store {
        transaction.execute(
            "UPDATE tasks SET store = ?2, drive = ?3, drive_group = NULL WHERE pool = ?1",
            params![pool.name, store.as_bytes(), pool.drive],
        )?;
    }
    if let Some(group) = &pool.drive_group {
        // Of the group's datastores the one where the task was, if it is among them.
        transaction.execute(
            "UPDATE tasks SET drive = NULL, drive_group = ?2,
                 store = CASE WHEN store IN (SELECT store FROM drives WHERE drive_group = ?2)
                     THEN store
                     ELSE (SELECT store FROM drives WHERE drive_group = ?2 ORDER BY drive LIMIT 1) END
             WHERE pool = ?1",
            params![pool.name, group],
        )?;
    }
    Ok(())
}

fn place_is_there(catalog: &Session<'_>, pool: &Pool) -> Result<(), CatalogError> {
    if let Some(group) = &pool.drive_group {
        if pool.store.is_some() || pool.drive.is_some() {
            return Err(CatalogError::invalid(
                "a media pool stands for a drive group, or for a datastore and its drive, not both",
            ));
        }
        let drives: i64 = catalog.query_row(
            "SELECT COUNT(*) FROM drives WHERE drive_group = ?1",
            [group],
            |row| row.get(0),
        )?;
        if drives == 0 {
            return Err(CatalogError::not_found("drive group", group));
        }
    }
    let Some(store) = pool.store else {
        return match pool.drive {
            Some(_) => Err(CatalogError::invalid("a drive is of a datastore: name that too")),
            None => Ok(()),
        };
    };
    datastore_by_id(catalog, store)?;
    let Some(drive) = pool.drive else { return Ok(()) };
    let leads_to: Option<Vec<u8>> = catalog
        .query_row(
            "SELECT store FROM drives WHERE drive = ?1 AND removed_unix_ms IS NULL",
            [drive],
            |row| row.get(0),
        )
        .optional()?;
    match leads_to {
        None => Err(CatalogError::not_found("drive", drive)),
        Some(found) if found == store.as_bytes() => Ok(()),
        Some(_) => Err(CatalogError::invalid(format!(
            "drive {drive} leads to another datastore than the pool's"
        ))),
    }
}

fn from_row(cells: &Cells<'_>) -> Result<Pool, CatalogError> {
    Ok(Pool {
        name: cells.get("name")?,
        policy: cells.get("policy")?,
        store: cells.id_or_none("store")?,
        drive: cells.get("drive")?,
        drive_group: cells.get("drive_group")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
