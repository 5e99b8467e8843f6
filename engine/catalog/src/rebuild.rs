//! Making saveset rows again from the manifests of a datastore.
//!
//! The manifests are the truth and the rows a copy: what differs is corrected, what is not there
//! is added, and a row whose manifest is gone is marked *missing* and kept, because that a
//! saveset was there is worth knowing. Running it twice changes nothing the second time.

use std::collections::{HashMap, HashSet};

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::copies::make_way;
use crate::savesets::{from_row, put_saveset, saveset_by_id};
use crate::{CatalogError, Saveset, SavesetState};

/// What a rebuild changed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub struct RebuildReport {
    pub added: u64,
    pub corrected: u64,
    pub unchanged: u64,
    /// Rows whose manifest is not in the datastore any more.
    pub missing: u64,
}

impl Catalog {
    /// Brings the rows of one datastore to what its manifests say, all or nothing. `savesets` is
    /// *all* of them. A name that the caller could not open (empty) does not overwrite one that
    /// the row has. Datastore and domains must be there. Errors: `Invalid` otherwise.
    pub fn rebuild_savesets(
        &self,
        store: StoreId,
        savesets: &[Saveset],
    ) -> Result<RebuildReport, CatalogError> {
        if let Some(foreign) = savesets.iter().find(|saveset| saveset.store != store) {
            return Err(CatalogError::invalid(format!(
                "saveset {} belongs to datastore {} and not to {store}",
                foreign.saveset, foreign.store
            )));
        }
        self.write("rebuild its savesets", |transaction| {
            let mut rows: HashMap<SavesetId, Saveset> = HashMap::new();
            let mut ask = transaction.prepare_cached("SELECT * FROM savesets WHERE store = ?1")?;
            let mut found = ask.query([store.as_bytes()])?;
            while let Some(row) = found.next()? {
                let row = from_row(&Cells::new("savesets", row))?;
                rows.insert(row.saveset, row);
            }
            let mut report = RebuildReport::default();
            let mut write = Vec::new();
            for saveset in savesets {
                let mut saveset = saveset.clone();
                match rows.remove(&saveset.saveset) {
                    None => report.added += 1,
                    Some(row) => {
                        saveset.keep_names_of(&row);
                        if row == saveset {
                            report.unchanged += 1;
                            continue;
                        }
                        report.corrected += 1;
                    }
                }
                write.push(saveset);
            }
            // Sequences may have changed hands: first out of the way, then in.
            for saveset in &write {
                if let Some(there) = saveset_by_id(transaction, saveset.saveset)? {
                    make_way(transaction, &there, store)?;
                }
                transaction.execute(
                    "DELETE FROM savesets WHERE saveset = ?1",
                    [saveset.saveset.as_bytes()],
                )?;
            }
            let mut deleted: HashSet<SavesetId> = HashSet::new();
            let mut ask = transaction.prepare_cached(
                "SELECT saveset FROM deletions WHERE store = ?1 AND told_unix_ms IS NOT NULL",
            )?;
            let mut found = ask.query([store.as_bytes()])?;
            while let Some(row) = found.next()? {
                deleted.insert(Cells::new("deletions", row).id("saveset")?);
            }
            for row in rows.values() {
                // That one is gone which was deleted is as it should be.
                if !deleted.contains(&row.saveset) {
                    report.missing += 1;
                }
                let taken = write.iter().any(|saveset| saveset.sequence == row.sequence);
                if taken {
                    // Its place belongs to a saveset that is really there.
                    transaction.execute(
                        "DELETE FROM savesets WHERE saveset = ?1",
                        [row.saveset.as_bytes()],
                    )?;
                } else {
                    transaction.execute(
                        "UPDATE savesets SET state = ?2 WHERE saveset = ?1",
                        params![row.saveset.as_bytes(), SavesetState::Missing.as_str()],
                    )?;
                }
            }
            for saveset in &write {
                put_saveset(transaction, saveset)?;
            }
            Ok(report)
        })
    }
}
