//! Savesets that are to be deleted, or were: each in one datastore.
//!
//! ```text
//! decided ──► told to the device ──► done
//!    └── taken back: a hold or a lock came in between
//! ```
//! A decision is durable before the device is told, and is told again until the device has answered. Once
//! it was told nobody can take it back, because nobody knows how far the device is. From the decision
//! on the saveset is not read, not copied, and nothing is compared with it.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use simsim_model::{SavesetId, StoreId};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::sql::Session;

/// Of a query over `savesets`: not to be deleted where its row is.
pub(crate) const STAYS: &str = "NOT EXISTS (SELECT 1 FROM deletions
    WHERE deletions.saveset = savesets.saveset AND deletions.store = savesets.store)";

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletionStage {
    Decided,
    /// The device was told, and may have done it.
    Told,
    Done,
}

/// One saveset in one datastore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub saveset: SavesetId,
    pub store: StoreId,
    pub why: String,
    pub asked_by: String,
    /// The second person's approval, where it took one.
    pub approval: Option<u64>,
    /// Of a migration: the datastore with the copy that lets it go.
    pub copy_in: Option<StoreId>,
    pub decided_unix_ms: i64,
    pub told_unix_ms: Option<i64>,
    pub done_unix_ms: Option<i64>,
    /// Why it is not done yet, as the device said.
    pub trouble: Option<String>,
}

impl Deletion {
    pub fn stage(&self) -> DeletionStage {
        match (self.told_unix_ms, self.done_unix_ms) {
            (_, Some(_)) => DeletionStage::Done,
            (Some(_), None) => DeletionStage::Told,
            (None, None) => DeletionStage::Decided,
        }
    }
}

/// A decision to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeletion {
    pub saveset: SavesetId,
    pub store: StoreId,
    pub why: String,
    pub asked_by: String,
    pub approval: Option<u64>,
    /// Of a migration: the datastore with the copy that lets it go.
    pub copy_in: Option<StoreId>,
}

/// What a device is to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telling {
    pub savesets: Vec<SavesetId>,
    /// Decisions that were taken back, because a hold or a lock has come in between.
    pub taken_back: Vec<SavesetId>,
    /// Decisions that wait for the end of a job that reads the saveset or compares with it.
    pub waiting: u64,
}

/// What a device said of one saveset that it was to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is not there any more.
    Gone,
    /// It is being read: it is told again later.
    Busy(String),
    /// The device refuses: the decision is taken back.
    Refused(String),
}

impl Catalog {
    /// Every deletion, those that are done among them, in the order of their decisions.
    pub fn deletions(&self) -> Result<Vec<Deletion>, CatalogError> {
        self.read("list deletions", |catalog| {
            list(catalog, "SELECT * FROM deletions ORDER BY decided_unix_ms, saveset, store", &[])
        })
    }

    /// The deletions of one saveset.
    pub fn deletions_of(&self, saveset: SavesetId) -> Result<Vec<Deletion>, CatalogError> {
        let id = saveset.as_bytes().to_vec();
        self.read("look up deletions", move |catalog| {
            list(catalog, "SELECT * FROM deletions WHERE saveset = ?1 ORDER BY store", &[id])
        })
    }

    /// Datastores with deletions that are not done.
    pub fn stores_with_deletions(&self) -> Result<Vec<StoreId>, CatalogError> {
        self.read("list deletions", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT DISTINCT store FROM deletions WHERE done_unix_ms IS NULL ORDER BY store",
            )?;
            let mut rows = ask.query([])?;
            let mut stores = Vec::new();
            while let Some(row) = rows.next()? {
                stores.push(Cells::new("deletions", row).id("store")?);
            }
            Ok(stores)
        })
    }

    /// Marks at most `limit` deletions of a datastore as told and answers them, with those that were
    /// told before and not answered. What is held or locked now is taken back first; what a job uses
    /// waits. `only_told`: nothing new, as while the clock is in doubt.
    pub fn tell_deletions(
        &self,
        store: StoreId,
        limit: usize,
        only_told: bool,
        now_unix_ms: i64,
    ) -> Result<Telling, CatalogError> {
        self.write("tell deletions", |transaction| {
            let mut telling = Telling::default();
            let pending = list(
                transaction,
                "SELECT * FROM deletions WHERE store = ?1 AND done_unix_ms IS NULL
                 ORDER BY decided_unix_ms, saveset",
                &[store.as_bytes().to_vec()],
            )?;
            for deletion in pending {
                if telling.savesets.len() >= limit {
                    break;
                }
                let key = params![deletion.saveset.as_bytes(), store.as_bytes()];
                if deletion.stage() == DeletionStage::Told {
                    telling.savesets.push(deletion.saveset);
                } else if is_kept(transaction, deletion.saveset, now_unix_ms)? {
                    transaction
                        .execute("DELETE FROM deletions WHERE saveset = ?1 AND store = ?2", key)?;
                    telling.taken_back.push(deletion.saveset);
                } else if only_told || is_in_use(transaction, deletion.saveset, store)? {
                    telling.waiting += 1;
                } else {
                    transaction.execute(
                        "UPDATE deletions SET told_unix_ms = ?3 WHERE saveset = ?1 AND store = ?2",
                        params![deletion.saveset.as_bytes(), store.as_bytes(), now_unix_ms],
                    )?;
                    telling.savesets.push(deletion.saveset);
                }
            }
            Ok(telling)
        })
    }

    /// Writes down what a device answered.
    pub fn end_deletions(
        &self,
        store: StoreId,
        answers: &[(SavesetId, Told)],
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("end deletions", |transaction| {
            for (saveset, told) in answers {
                let (id, store) = (saveset.as_bytes(), store.as_bytes());
                match told {
                    Told::Gone => {
                        let changed = transaction.execute(
                            "UPDATE deletions SET done_unix_ms = ?3, trouble = NULL
                             WHERE saveset = ?1 AND store = ?2 AND told_unix_ms IS NOT NULL",
                            params![id, store, now_unix_ms],
                        )?;
                        // Nothing that was not told is said to be gone.
                        if changed > 0 {
                            transaction.execute(
                                "UPDATE savesets SET state = 'missing'
                                 WHERE saveset = ?1 AND store = ?2",
                                params![id, store],
                            )?;
                            for table in ["copies", "copy_lives", "copy_checks", "held_locks"] {
                                transaction.execute(
                                    &format!(
                                        "DELETE FROM {table} WHERE saveset = ?1 AND store = ?2"
                                    ),
                                    params![id, store],
                                )?;
                            }
                        }
                    }
                    Told::Busy(why) => {
                        transaction.execute(
                            "UPDATE deletions SET told_unix_ms = NULL, trouble = ?3
                             WHERE saveset = ?1 AND store = ?2 AND done_unix_ms IS NULL",
                            params![id, store, why],
                        )?;
                    }
                    Told::Refused(_) => {
                        transaction.execute(
                            "DELETE FROM deletions
                             WHERE saveset = ?1 AND store = ?2 AND done_unix_ms IS NULL",
                            params![id, store],
                        )?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Savesets that were deleted in a datastore, or are about to be: nobody brings them there again
    /// by himself.
    pub fn deleted_in(&self, store: StoreId) -> Result<Vec<SavesetId>, CatalogError> {
        self.read("list deletions", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT saveset FROM deletions WHERE store = ?1 ORDER BY saveset",
            )?;
            let mut rows = ask.query([store.as_bytes()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(Cells::new("deletions", row).id("saveset")?);
            }
            Ok(found)
        })
    }
}

/// Writes a decision down. One that is there stays as it is.
pub(crate) fn decide(
    transaction: &Session<'_>,
    new: &NewDeletion,
    now_unix_ms: i64,
) -> Result<(), CatalogError> {
    transaction.execute(
        "INSERT INTO deletions (saveset, store, why, asked_by, approval, copy_in, decided_unix_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (saveset, store) DO NOTHING",
        params![
            new.saveset.as_bytes(),
            new.store.as_bytes(),
            new.why,
            new.asked_by,
            new.approval.map(count_cell).transpose()?,
            new.copy_in.as_ref().map(StoreId::as_bytes),
            now_unix_ms
        ],
    )?;
    Ok(())
}

/// Takes back what was decided on a saveset and not told yet.
pub(crate) fn take_back(transaction: &Session<'_>, saveset: SavesetId) -> Result<(), CatalogError> {
    transaction.execute(
        "DELETE FROM deletions WHERE saveset = ?1 AND told_unix_ms IS NULL",
        [saveset.as_bytes()],
    )?;
    Ok(())
}

/// The same in one datastore.
pub(crate) fn take_back_in(
    transaction: &Session<'_>,
    saveset: SavesetId,
    store: StoreId,
) -> Result<(), CatalogError> {
    transaction.execute(
        "DELETE FROM deletions WHERE saveset = ?1 AND store = ?2 AND told_unix_ms IS NULL",
        params![saveset.as_bytes(), store.as_bytes()],
    )?;
    Ok(())
}

/// The datastore has it again: it was copied there once more, or put back.
pub(crate) fn is_there_again(
    transaction: &Session<'_>,
    saveset: SavesetId,
    store: StoreId,
) -> Result<(), CatalogError> {
    transaction.execute(
        "DELETE FROM deletions WHERE saveset = ?1 AND store = ?2 AND done_unix_ms IS NOT NULL",
        params![saveset.as_bytes(), store.as_bytes()],
    )?;
    Ok(())
}

/// Does a hold or a lock keep it now?
fn is_kept(
    catalog: &Session<'_>,
    saveset: SavesetId,
    now_unix_ms: i64,
) -> Result<bool, CatalogError> {
    let kept: i64 = catalog.query_row(
        "SELECT COUNT(*) FROM backups WHERE saveset = ?1
             AND (hold_by IS NOT NULL OR lock_until_unix_s > ?2)",
        params![saveset.as_bytes(), now_unix_ms.div_euclid(1000)],
        |row| row.get(0),
    )?;
    Ok(kept > 0)
}

/// Does a job that has not ended read it, or may a backup that runs be compared with it?
fn is_in_use(
    catalog: &Session<'_>,
    saveset: SavesetId,
    store: StoreId,
) -> Result<bool, CatalogError> {
    let jobs: i64 = catalog.query_row(
        "SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running') AND (saveset = ?1
             OR (state = 'running' AND kind = 'backup' AND store = ?2 AND EXISTS (
                 SELECT 1 FROM savesets WHERE savesets.saveset = ?1
                     AND savesets.client_name = jobs.client_name
                     AND savesets.task_name = jobs.task_name)))",
        params![saveset.as_bytes(), store.as_bytes()],
        |row| row.get(0),
    )?;
    Ok(jobs > 0)
}

fn list(
    catalog: &Session<'_>,
    ask: &str,
    params: &[Vec<u8>],
) -> Result<Vec<Deletion>, CatalogError> {
    let mut ask = catalog.prepare_cached(ask)?;
    let values: Vec<rusqlite::types::Value> = params.iter().map(|id| id.clone().into()).collect();
    let mut rows = ask.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(&Cells::new("deletions", row))?);
    }
    Ok(found)
}

fn from_row(cells: &Cells<'_>) -> Result<Deletion, CatalogError> {
    let approval: Option<i64> = cells.get("approval")?;
    Ok(Deletion {
        saveset: cells.id("saveset")?,
        store: cells.id("store")?,
        why: cells.get("why")?,
        asked_by: cells.get("asked_by")?,
        approval: approval.map(i64::unsigned_abs),
        copy_in: cells.id_or_none("copy_in")?,
        decided_unix_ms: cells.get("decided_unix_ms")?,
        told_unix_ms: cells.get("told_unix_ms")?,
        done_unix_ms: cells.get("done_unix_ms")?,
        trouble: cells.get("trouble")?,
    })
}

/// Every deletion that is not done, for a decision.
pub(crate) fn pending(catalog: &Session<'_>) -> Result<Vec<Deletion>, CatalogError> {
    list(catalog, "SELECT * FROM deletions WHERE done_unix_ms IS NULL", &[])
}
