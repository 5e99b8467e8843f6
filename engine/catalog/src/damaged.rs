//! Savesets that are known to be damaged, and where else they lie.

use std::collections::HashSet;

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::deletions;
use crate::lives::{Checks, LastCheck, Since};
use crate::sql::Session;

/// A saveset in a datastore, whose last check there found damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSaveset {
    pub saveset: SavesetId,
    pub store: StoreId,
    pub client_name: String,
    pub task_name: String,
    pub committed_unix_ns: i64,
    pub is_copy: bool,
    pub found_unix_ms: i64,
    /// Where else it lies and is not known to be damaged.
    pub others: Vec<StoreId>,
}

/// Where a saveset lies.
struct Lying {
    store: StoreId,
    since: Since,
    is_copy: bool,
    client_name: String,
    task_name: String,
    committed_unix_ns: i64,
}

impl Catalog {
    /// Every saveset that is there, is not to be deleted, and whose last check found damage; those that were
    /// found last first.
    pub fn damaged_savesets(&self) -> Result<Vec<DamagedSaveset>, CatalogError> {
        self.read("look what is damaged", |catalog| {
            let checks = Checks::read(catalog)?;
            let suspects = checks.suspects();
            if suspects.is_empty() {
                return Ok(Vec::new());
            }
            let pending = deletions::pending(catalog)?;
            let going: HashSet<(SavesetId, StoreId)> =
                pending.into_iter().map(|one| (one.saveset, one.store)).collect();
            let mut found = Vec::new();
            for saveset in suspects {
                let mut places = places(catalog, saveset)?;
                places.retain(|place| !going.contains(&(saveset, place.store)));
                let judged: Vec<_> = places
                    .into_iter()
                    .map(|place| (checks.of(saveset, place.store, place.since), place))
                    .collect();
                let sound: Vec<StoreId> = judged
                    .iter()
                    .filter(|((check, _), _)| *check != LastCheck::Damaged)
                    .map(|(_, place)| place.store)
                    .collect();
                for ((check, at), place) in judged {
                    if check != LastCheck::Damaged {
                        continue;
                    }
                    found.push(DamagedSaveset {
                        saveset,
                        store: place.store,
                        client_name: place.client_name,
                        task_name: place.task_name,
                        committed_unix_ns: place.committed_unix_ns,
                        is_copy: place.is_copy,
                        found_unix_ms: at.unwrap_or_default(),
                        others: sound.clone(),
                    });
                }
            }
            found.sort_by_key(|one| (std::cmp::Reverse(one.found_unix_ms), one.saveset.0));
            Ok(found)
        })
    }
}

/// Its original, and its copies.
fn places(catalog: &Session<'_>, saveset: SavesetId) -> Result<Vec<Lying>, CatalogError> {
    let mut ask = catalog.prepare_cached(
        "SELECT client_name, task_name, committed_unix_ns, savesets.store AS there, -1 AS copy, 0 AS after_job
             FROM savesets WHERE saveset = ?1 AND state = 'present'
         UNION ALL
         SELECT client_name, task_name, committed_unix_ns, copies.store AS there, copies.number AS copy,
                 copies.after_job AS after_job
             FROM copies JOIN savesets ON savesets.saveset = copies.saveset WHERE copies.saveset = ?1",
    )?;
    let mut rows = ask.query(params![saveset.as_bytes()])?;
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("savesets", row);
        let committed_unix_ns: i64 = cells.get("committed_unix_ns")?;
        let copy = u64::try_from(cells.get::<i64>("copy")?).ok();
        places.push(Lying {
            store: cells.id("there")?,
            since: match copy {
                Some(number) => Since::Copy { number, after_job: cells.count("after_job")? },
                None => Since::Commit(committed_unix_ns.div_euclid(1_000_000)),
            },
            is_copy: copy.is_some(),
            client_name: cells.get("client_name")?,
            task_name: cells.get("task_name")?,
            committed_unix_ns,
        });
    }
    Ok(places)
}
