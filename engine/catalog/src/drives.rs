//! Drives: numbered paths for data to a datastore. A number is pinned: once given, it names the
//! same drive for ever, and so does the port that follows from it.

use rusqlite::params;
use simsim_model::StoreId;

use crate::CatalogError;
use crate::catalog::{Catalog, next_number};
use crate::cells::Cells;
use crate::datastores::datastore_by_id;
use crate::sql::Optional;

/// Highest number of a drive.
const DRIVE_MAX: i64 = 9999;

/// One drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    pub number: u32,
    pub store: StoreId,
    /// Jobs that use the drive at once; more wait in the queue.
    pub jobs_max: u32,
    /// The drive group that it is in.
    pub group: Option<String>,
}

impl Catalog {
    /// Adds a drive to a datastore under the number asked for, or the next one never used.
    pub fn add_drive(
        &self,
        store: StoreId,
        number: Option<u32>,
        jobs_max: u32,
    ) -> Result<Drive, CatalogError> {
        if !(1..=1000).contains(&jobs_max) {
            return Err(CatalogError::invalid("a drive takes from 1 to 1000 jobs at once"));
        }
        self.write("add a drive", |transaction| {
            datastore_by_id(transaction, store)?;
            let number = match number {
                Some(number) => i64::from(number),
                None => loop {
                    let next = next_number(transaction, "drive")?;
                    let taken: Option<i64> = transaction
                        .query_row("SELECT drive FROM drives WHERE drive = ?1", [next], |row| {
                            row.get(0)
                        })
                        .optional()?;
                    if taken.is_none() {
                        break next;
                    }
                },
            };
            if number > DRIVE_MAX {
                return Err(CatalogError::invalid(format!(
                    "drive {number}: numbers go up to {DRIVE_MAX}"
                )));
            }
            let taken: Option<i64> = transaction
                .query_row("SELECT drive FROM drives WHERE drive = ?1", [number], |row| row.get(0))
                .optional()?;
            if taken.is_some() {
                return Err(CatalogError::exists("drive", number));
            }
            transaction.execute(
                "INSERT INTO drives (drive, store, jobs_max) VALUES (?1, ?2, ?3)",
                params![number, store.as_bytes(), jobs_max],
            )?;
            let number = u32::try_from(number).unwrap_or(0);
            Ok(Drive { number, store, jobs_max, group: None })
        })
    }

    /// Changes how many jobs a drive takes at once.
    pub fn set_drive_jobs_max(&self, number: u32, jobs_max: u32) -> Result<(), CatalogError> {
        if !(1..=1000).contains(&jobs_max) {
            return Err(CatalogError::invalid("a drive takes from 1 to 1000 jobs at once"));
        }
        self.write("change a drive", |transaction| {
            let changed = transaction.execute(
                "UPDATE drives SET jobs_max = ?2 WHERE drive = ?1",
                params![number, jobs_max],
            )?;
            if changed == 0 {
                return Err(CatalogError::not_found("drive", number));
            }
            Ok(())
        })
    }

    /// All drives by number.
    pub fn drives(&self) -> Result<Vec<Drive>, CatalogError> {
        self.read("list drives", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT drive, store, jobs_max, drive_group FROM drives ORDER BY drive",
            )?;
            let mut rows = ask.query([])?;
            let mut drives = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("drives", row);
                drives.push(Drive {
                    number: cells.get("drive")?,
                    store: cells.id("store")?,
                    jobs_max: cells.get("jobs_max")?,
                    group: cells.get("drive_group")?,
                });
            }
            Ok(drives)
        })
    }
}
