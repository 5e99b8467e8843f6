//! Locks that were extended, as the devices hold them.
//!
//! A lock that a person extends stands with the backup, and is owed to the device of each datastore in
//! which the saveset lies until that says that it holds it. What is owed is not written down anywhere: it
//! is whatever a backup's lock is later than what its device is known to hold. So a copy that comes later
//! is owed its lock, too, and a server that dies after the lock was set owes it still.

use std::collections::HashMap;

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::sql::Session;

/// What a device is known to hold of one saveset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldLock {
    /// 0: none but that of the manifest.
    pub until_unix_s: u64,
    /// Why it does not hold what it is owed.
    pub trouble: Option<String>,
}

/// Originals and copies whose backup is locked for longer than the manifest and the device know.
const OWED: &str = "FROM (
        SELECT saveset, store FROM savesets WHERE state = 'present'
        UNION SELECT saveset, store FROM copies) AS places
    JOIN backups ON backups.saveset = places.saveset
    JOIN savesets ON savesets.saveset = places.saveset
    LEFT JOIN held_locks ON held_locks.saveset = places.saveset AND held_locks.store = places.store
    WHERE backups.lock_until_unix_s > savesets.lock_until_unix_s
        AND backups.lock_until_unix_s > COALESCE(held_locks.until_unix_s, 0)";

impl Catalog {
    /// Datastores whose devices are owed a lock.
    pub fn stores_with_owed_locks(&self) -> Result<Vec<StoreId>, CatalogError> {
        self.read("list locks that devices are owed", |catalog| {
            let mut ask = catalog.prepare_cached(&format!(
                "SELECT DISTINCT places.store AS store {OWED} ORDER BY store"
            ))?;
            let mut rows = ask.query([])?;
            let mut stores = Vec::new();
            while let Some(row) = rows.next()? {
                stores.push(Cells::new("held_locks", row).id("store")?);
            }
            Ok(stores)
        })
    }

    /// At most `limit` locks that the device of a datastore is owed, in order of the savesets' ids, of
    /// those after `after`.
    pub fn owed_locks(
        &self,
        store: StoreId,
        after: Option<SavesetId>,
        limit: usize,
    ) -> Result<Vec<(SavesetId, u64)>, CatalogError> {
        let after = after.map_or(Vec::new(), |saveset| saveset.as_bytes().to_vec());
        self.read("list locks that a device is owed", |catalog| {
            let mut ask = catalog.prepare_cached(&format!(
                "SELECT places.saveset AS saveset, backups.lock_until_unix_s AS until_unix_s {OWED}
                    AND places.store = ?1 AND places.saveset > ?2
                 ORDER BY places.saveset LIMIT ?3"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = ask.query(params![store.as_bytes(), after, limit])?;
            let mut owed = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("held_locks", row);
                owed.push((cells.id("saveset")?, cells.count("until_unix_s")?));
            }
            Ok(owed)
        })
    }

    /// Writes down what the device of a datastore says that it holds.
    pub fn keep_held_locks(
        &self,
        store: StoreId,
        held: &[(SavesetId, HeldLock)],
    ) -> Result<(), CatalogError> {
        self.write("keep locks that a device holds", |transaction| {
            for (saveset, held) in held {
                transaction.execute(
                    "INSERT INTO held_locks (saveset, store, until_unix_s, trouble)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (saveset, store) DO UPDATE SET
                         until_unix_s = excluded.until_unix_s, trouble = excluded.trouble",
                    params![
                        saveset.as_bytes(),
                        store.as_bytes(),
                        // One beyond every calendar is as good as one at its end.
                        count_cell(held.until_unix_s.min(LATEST_UNIX_S))?,
                        held.trouble
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// What the device of one datastore is known to hold.
    pub fn held_locks_in(
        &self,
        store: StoreId,
    ) -> Result<HashMap<SavesetId, HeldLock>, CatalogError> {
        self.read("list locks that a device holds", |catalog| {
            let held = held_locks(catalog)?.into_iter();
            let here = held.filter(|((_, there), _)| *there == store);
            Ok(here.map(|((saveset, _), lock)| (saveset, lock)).collect())
        })
    }

    /// Locks of backups that were extended, by saveset, and what devices are known to hold of them.
    #[expect(clippy::type_complexity, reason = "two maps that are read of one moment")]
    pub fn extended_locks(
        &self,
    ) -> Result<(HashMap<SavesetId, u64>, HashMap<(SavesetId, StoreId), HeldLock>), CatalogError>
    {
        self.read("list locks", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT saveset, lock_until_unix_s FROM backups WHERE lock_until_unix_s > 0",
            )?;
            let mut rows = ask.query([])?;
            let mut extended = HashMap::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("backups", row);
                extended.insert(cells.id("saveset")?, cells.count("lock_until_unix_s")?);
            }
            drop(rows);
            Ok((extended, held_locks(catalog)?))
        })
    }

    /// Why the device of a datastore does not hold what it is owed; it keeps what it holds.
    pub fn keep_lock_trouble(
        &self,
        store: StoreId,
        savesets: &[SavesetId],
        trouble: &str,
    ) -> Result<(), CatalogError> {
        self.write("keep why a lock is not held", |transaction| {
            for saveset in savesets {
                transaction.execute(
                    "INSERT INTO held_locks (saveset, store, until_unix_s, trouble)
                     VALUES (?1, ?2, 0, ?3)
                     ON CONFLICT (saveset, store) DO UPDATE SET trouble = excluded.trouble",
                    params![saveset.as_bytes(), store.as_bytes(), trouble],
                )?;
            }
            Ok(())
        })
    }
}

/// The last second of the year 9999.
const LATEST_UNIX_S: u64 = 253_402_300_799;

pub(crate) fn held_locks(
    catalog: &Session<'_>,
) -> Result<HashMap<(SavesetId, StoreId), HeldLock>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM held_locks")?;
    let mut rows = ask.query([])?;
    let mut held = HashMap::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("held_locks", row);
        let lock =
            HeldLock { until_unix_s: cells.count("until_unix_s")?, trouble: cells.get("trouble")? };
        held.insert((cells.id("saveset")?, cells.id("store")?), lock);
    }
    Ok(held)
}
