//! What savesets say of the task that they are of and of the datastore that they lie in: sums and newest instants, in
//! one pass over a few columns. Who wants to know how tasks stand needs no row of a saveset.

use std::collections::{HashMap, HashSet};

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::deletions;
use crate::lives::{Checks, LastCheck, Since};
use crate::sql::Session;
use crate::{CatalogError, Replication};

/// Of one task: savesets that are there and are not to be deleted. Instants are stamps of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedTask {
    pub savesets: u64,
    pub newest_unix_ms: Option<i64>,
    /// Without a problem, and not found damaged.
    pub good_unix_ms: Option<i64>,
    /// The newest check that found one whole.
    pub whole_unix_ms: Option<i64>,
    /// The one that was found damaged last, and when.
    pub damaged: Option<(SavesetId, i64)>,
    /// The newest one without a problem in each datastore.
    pub newest_in: Vec<(StoreId, i64)>,
    /// Where the newest one has its row; copies do not count.
    pub home: Option<StoreId>,
}

/// Of one datastore, copies among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredIn {
    pub savesets: u64,
    /// What they would need without deduplication and compression.
    pub bytes: u64,
    /// What those put there that were stamped since `recent_since_unix_ms`.
    pub recent_stored_bytes: u64,
}

/// All of it, of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// By client and task.
    pub tasks: HashMap<(String, String), SavedTask>,
    pub stores: HashMap<StoreId, StoredIn>,
}

/// What a replication has not copied yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    pub savesets: u64,
    /// The stamp of the oldest of them.
    pub since_unix_ms: Option<i64>,
}

/// The newest end of a kind of jobs in a datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEnd {
    pub store: StoreId,
    pub ended_unix_ms: i64,
}

impl Catalog {
    /// What savesets say of their tasks and datastores.
    pub fn saved(&self, recent_since_unix_ms: i64) -> Result<Saved, CatalogError> {
        self.read("look how tasks are saved", |catalog| saved(catalog, recent_since_unix_ms))
    }

    /// What waits to be copied by a replication. What was deleted in the target, or is to be, does not.
    pub fn replication_lag(&self, relation: &Replication) -> Result<Lag, CatalogError> {
        self.read("look what is to be copied", |catalog| {
            const THERE: &str =
                "AND (client_name = ?3 OR ?3 IS NULL) AND (task_name = ?4 OR ?4 IS NULL)
                AND NOT (savesets.store = ?2 AND state = 'present')
                AND NOT EXISTS (SELECT 1 FROM copies AS target
                    WHERE target.saveset = savesets.saveset AND target.store = ?2)
                AND NOT EXISTS (SELECT 1 FROM deletions
                    WHERE deletions.saveset = savesets.saveset AND deletions.store IN (?1, ?2))";
            let mut ask = catalog.prepare_cached(&format!(
                "SELECT COUNT(*) AS waiting, MIN(stamped_unix_ms) AS since FROM (
                     SELECT stamped_unix_ms FROM savesets
                         JOIN backups ON backups.saveset = savesets.saveset
                         WHERE savesets.store = ?1 AND state = 'present' {THERE}
                     UNION ALL
                     SELECT stamped_unix_ms FROM copies
                         JOIN savesets ON savesets.saveset = copies.saveset
                         JOIN backups ON backups.saveset = copies.saveset
                         WHERE copies.store = ?1 {THERE}) AS lacking"
            ))?;
            let mut rows = ask.query(params![
                relation.source.as_bytes(),
                relation.target.as_bytes(),
                relation.client_name,
                relation.task_name
            ])?;
            let Some(row) = rows.next()? else { return Ok(Lag::default()) };
            let cells = Cells::new("savesets", row);
            Ok(Lag { savesets: cells.count("waiting")?, since_unix_ms: cells.get("since")? })
        })
    }

    /// When the newest job of a kind ended as *finished* in each datastore, one about a single saveset left out.
    pub fn last_ends(&self, kind: &str) -> Result<Vec<LastEnd>, CatalogError> {
        self.read("look for the last jobs of datastores", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT store, MAX(ended_unix_ms) AS ended FROM jobs
                 WHERE kind = ?1 AND state = 'finished' AND store IS NOT NULL AND saveset IS NULL
                 GROUP BY store ORDER BY store",
            )?;
            let mut rows = ask.query([kind])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("jobs", row);
                found.push(LastEnd {
                    store: cells.id("store")?,
                    ended_unix_ms: cells.get("ended")?,
                });
            }
            Ok(found)
        })
    }
}

fn saved(catalog: &Session<'_>, recent_since_unix_ms: i64) -> Result<Saved, CatalogError> {
    let checks = Checks::read(catalog)?;
    let pending: HashSet<(SavesetId, StoreId)> =
        deletions::pending(catalog)?.into_iter().map(|one| (one.saveset, one.store)).collect();
    const NEEDED: &str =
        "client_name, task_name, savesets.saveset AS saveset, problems, bytes, bytes_stored,
        committed_unix_ns, stamped_unix_ms";
    let mut ask = catalog.prepare_cached(&format!(
        "SELECT {NEEDED}, savesets.store AS there, backups.number AS own, -1 AS copy, 0 AS after_job
             FROM savesets
             JOIN backups ON backups.saveset = savesets.saveset WHERE state = 'present'
         UNION ALL
         SELECT {NEEDED}, copies.store AS there, backups.number - backups.number AS own,
                 copies.number AS copy, copies.after_job AS after_job FROM copies
             JOIN savesets ON savesets.saveset = copies.saveset
             JOIN backups ON backups.saveset = copies.saveset"
    ))?;
    let mut rows = ask.query([])?;
    let mut saved = Saved::default();
    // By task: the number of the newest original.
    let mut numbers: HashMap<(String, String), u64> = HashMap::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("savesets", row);
        let (saveset, store): (SavesetId, StoreId) = (cells.id("saveset")?, cells.id("there")?);
        if pending.contains(&(saveset, store)) {
            continue;
        }
        let stamped: i64 = cells.get("stamped_unix_ms")?;
        let stored = saved.stores.entry(store).or_default();
        stored.savesets += 1;
        stored.bytes = stored.bytes.saturating_add(cells.count("bytes")?);
        if stamped >= recent_since_unix_ms {
            let bytes = cells.count("bytes_stored")?;
            stored.recent_stored_bytes = stored.recent_stored_bytes.saturating_add(bytes);
        }
        let key: (String, String) = (cells.get("client_name")?, cells.get("task_name")?);
        let number = cells.count("own")?;
        if number > 0 {
            let newest = numbers.entry(key.clone()).or_default();
            if number >= *newest {
                *newest = number;
                saved.tasks.entry(key.clone()).or_default().home = Some(store);
            }
        }
        let of = saved.tasks.entry(key).or_default();
        of.savesets += 1;
        of.newest_unix_ms = of.newest_unix_ms.max(Some(stamped));
        // One with errors is none that green could rest on, wherever it was copied.
        if cells.count("problems")? == 0 {
            match of.newest_in.iter_mut().find(|(one, _)| *one == store) {
                Some((_, newest)) => *newest = stamped.max(*newest),
                None => of.newest_in.push((store, stamped)),
            }
        }
        let committed: i64 = cells.get("committed_unix_ns")?;
        let since = match u64::try_from(cells.get::<i64>("copy")?) {
            Ok(number) => Since::Copy { number, after_job: cells.count("after_job")? },
            Err(_) => Since::Commit(committed.div_euclid(1_000_000)),
        };
        let (check, at) = checks.of(saveset, store, since);
        let at = at.unwrap_or_default();
        match check {
            LastCheck::Whole => of.whole_unix_ms = of.whole_unix_ms.max(Some(at)),
            LastCheck::Damaged if of.damaged.is_none_or(|(_, before)| before <= at) => {
                of.damaged = Some((saveset, at));
            }
            LastCheck::Damaged | LastCheck::NotYet => {}
        }
        if check != LastCheck::Damaged && cells.count("problems")? == 0 {
            of.good_unix_ms = of.good_unix_ms.max(Some(stamped));
        }
    }
    Ok(saved)
}
