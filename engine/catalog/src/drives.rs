//! Drives: numbered paths for data to a datastore. A number is pinned: once given, it names the
//! same drive for ever, and so does the port that follows from it.

use rusqlite::params;
use simsim_model::StoreId;

use crate::CatalogError;
use crate::catalog::{Catalog, next_number};
use crate::cells::Cells;
use crate::datastores::datastore_by_id;
use crate::sql::{Optional, Session};
use crate::uses::{add_open_jobs, refuse_held, users_of_place};

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
            let taken: Option<(Vec<u8>, Option<i64>)> = transaction
                .query_row(
                    "SELECT store, removed_unix_ms FROM drives WHERE drive = ?1",
                    [number],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            match taken {
                None => transaction.execute(
                    "INSERT INTO drives (drive, store, jobs_max) VALUES (?1, ?2, ?3)",
                    params![number, store.as_bytes(), jobs_max],
                )?,
                // It comes back where it was.
                Some((of, Some(_))) if of == store.as_bytes() => transaction.execute(
                    "UPDATE drives SET jobs_max = ?2, removed_unix_ms = NULL WHERE drive = ?1",
                    params![number, jobs_max],
                )?,
                Some((_, None)) => return Err(CatalogError::exists("drive", number)),
                Some(_) => {
                    return Err(CatalogError::invalid(format!(
                        "drive {number} was one of another datastore, and its number is never given to a second one: \
                         choose another"
                    )));
                }
            };
            let number = u32::try_from(number).unwrap_or(0);
            Ok(Drive { number, store, jobs_max, group: None })
        })
    }

    /// Changes how many jobs a drive takes at once.
    pub fn set_drive_jobs_max(&self, number: u32, jobs_max: u32) -> Result<Drive, CatalogError> {
        if !(1..=1000).contains(&jobs_max) {
            return Err(CatalogError::invalid("a drive takes from 1 to 1000 jobs at once"));
        }
        self.write("change a drive", |transaction| {
            let changed = transaction.execute(
                "UPDATE drives SET jobs_max = ?2 WHERE drive = ?1 AND removed_unix_ms IS NULL",
                params![number, jobs_max],
            )?;
            if changed == 0 {
                return Err(CatalogError::not_found("drive", number));
            }
            drive_numbered(transaction, number)
        })
    }

    /// Removes a drive. Its number stays with its datastore. Errors: `Busy` while something uses it, and for the last
    /// one of a datastore in service.
    pub fn remove_drive(&self, number: u32, now_unix_ms: i64) -> Result<Drive, CatalogError> {
        self.write("remove a drive", |transaction| {
            let drive = drive_numbered(transaction, number)?;
            let name = number.to_string();
            let mut by = users_of_place(transaction, ("drive", &name), "drive", &number)?;
            by.extend(drive.group.iter().map(|group| format!("drive group '{group}'")));
            add_open_jobs(transaction, &mut by, "drive", &number)?;
            refuse_held("drive", &name, by)?;
            let others: i64 = transaction.query_row(
                "SELECT COUNT(*) FROM drives WHERE store = ?1 AND drive <> ?2 AND removed_unix_ms IS NULL",
                params![drive.store.as_bytes(), number],
                |row| row.get(0),
            )?;
            if others == 0 {
                return Err(CatalogError::invalid(format!(
                    "drive {number} is the only one of its datastore, which nothing would reach then: add another one first"
                )));
            }
            transaction.execute(
                "UPDATE drives SET removed_unix_ms = ?2 WHERE drive = ?1",
                params![number, now_unix_ms],
            )?;
            Ok(drive)
        })
    }

    /// All drives by number.
    pub fn drives(&self) -> Result<Vec<Drive>, CatalogError> {
        self.read("list drives", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT drive, store, jobs_max, drive_group FROM drives
                 WHERE removed_unix_ms IS NULL ORDER BY drive",
            )?;
            let mut rows = ask.query([])?;
            let mut drives = Vec::new();
            while let Some(row) = rows.next()? {
                drives.push(from_row(&Cells::new("drives", row))?);
            }
            Ok(drives)
        })
    }

    /// One drive. Errors: `NotFound`, also for one that was removed.
    pub fn drive(&self, number: u32) -> Result<Drive, CatalogError> {
        self.read("look up a drive", |catalog| drive_numbered(catalog, number))
    }
}

fn drive_numbered(catalog: &Session<'_>, number: u32) -> Result<Drive, CatalogError> {
    let mut ask = catalog.prepare_cached(
        "SELECT drive, store, jobs_max, drive_group FROM drives
         WHERE drive = ?1 AND removed_unix_ms IS NULL",
    )?;
    let mut rows = ask.query([number])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("drives", row)),
        None => Err(CatalogError::not_found("drive", number)),
    }
}

fn from_row(cells: &Cells<'_>) -> Result<Drive, CatalogError> {
    Ok(Drive {
        number: cells.get("drive")?,
        store: cells.id("store")?,
        jobs_max: cells.get("jobs_max")?,
        group: cells.get("drive_group")?,
    })
}
