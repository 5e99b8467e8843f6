//! Drive groups: names for drives, so that a task may be given several and uses whichever is free.
//!
//! A drive is in one group at most. The drives of a group may lead to several datastores, also on
//! several hosts.

use rusqlite::params;
use simsim_model::StoreId;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::{Optional, Session};
use crate::uses::{add_named, refuse_held, users};

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveGroup {
    pub name: String,
    /// Numbers of its drives, at least one, ascending.
    pub drives: Vec<u32>,
    pub created_unix_ms: i64,
}

impl Catalog {
    /// Adds a group of some drives. Errors: `Invalid` for a name that is taken, for a drive that is
    /// in another group and for no drive at all; `NotFound` for a drive that is not there.
    pub fn add_drive_group(
        &self,
        name: &str,
        drives: &[u32],
        now_unix_ms: i64,
    ) -> Result<DriveGroup, CatalogError> {
        self.write("add a drive group", |transaction| {
            if group_by_name(transaction, name)?.is_some() {
                return Err(CatalogError::exists("drive group", name));
            }
            transaction.execute(
                "INSERT INTO drive_groups (name, created_unix_ms) VALUES (?1, ?2)",
                params![name, now_unix_ms],
            )?;
            put_drives(transaction, name, drives)?;
            there(transaction, name)
        })
    }

    /// Gives a group these drives and no others. Jobs that run on one that leaves it go on.
    pub fn change_drive_group(
        &self,
        name: &str,
        drives: &[u32],
    ) -> Result<DriveGroup, CatalogError> {
        self.write("change a drive group", |transaction| {
            there(transaction, name)?;
            transaction
                .execute("UPDATE drives SET drive_group = NULL WHERE drive_group = ?1", [name])?;
            put_drives(transaction, name, drives)?;
            there(transaction, name)
        })
    }

    /// Removes a group; its drives stay. `held`: who uses it besides those that the catalog knows. Errors: `Busy` with
    /// all of them while events, tasks or pools use it.
    pub fn delete_drive_group(
        &self,
        name: &str,
        held: &[String],
    ) -> Result<DriveGroup, CatalogError> {
        self.write("remove a drive group", |transaction| {
            let group = there(transaction, name)?;
            let mut by = users(transaction, "drive group", name)?;
            for (noun, table) in [("task", "tasks"), ("media pool", "pools")] {
                let ask = format!("SELECT name FROM {table} WHERE drive_group = ?1 ORDER BY name");
                add_named(transaction, &mut by, noun, &ask, &name)?;
            }
            by.extend_from_slice(held);
            refuse_held("drive group", name, by)?;
            transaction
                .execute("UPDATE drives SET drive_group = NULL WHERE drive_group = ?1", [name])?;
            transaction.execute("DELETE FROM drive_groups WHERE name = ?1", [name])?;
            Ok(group)
        })
    }

    /// All groups by name.
    pub fn drive_groups(&self) -> Result<Vec<DriveGroup>, CatalogError> {
        self.read("list drive groups", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT name FROM drive_groups ORDER BY name")?;
            let names: Vec<String> =
                ask.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            names.iter().map(|name| there(catalog, name)).collect()
        })
    }

    /// One group. Errors: `NotFound`.
    pub fn drive_group(&self, name: &str) -> Result<DriveGroup, CatalogError> {
        self.read("look up a drive group", |catalog| there(catalog, name))
    }

    /// The datastore of the newest saveset of a client's task that others may be compared with.
    ///
    /// Which is the newest tell the numbers of the jobs, given by one server, and not the clocks of
    /// several devices. A saveset that no job of this catalog made (it was found in a datastore) is
    /// older than those.
    pub fn last_store_of(
        &self,
        client_name: &str,
        task_name: &str,
    ) -> Result<Option<StoreId>, CatalogError> {
        self.read("look where a task's savesets are", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT store FROM savesets WHERE client_name = ?1 AND task_name = ?2
                     AND state = 'present' AND level <> 'copy'
                 ORDER BY (SELECT MAX(job) FROM results WHERE results.kind = 'backup'
                         AND results.saveset = savesets.saveset) DESC NULLS LAST,
                     committed_unix_ns DESC LIMIT 1",
            )?;
            let mut rows = ask.query([client_name, task_name])?;
            rows.next()?.map(|row| Cells::new("savesets", row).id("store")).transpose()
        })
    }

    /// A job of a group that waits goes into this datastore, and its task is known to go there.
    pub fn place_job(&self, number: u64, store: StoreId) -> Result<(), CatalogError> {
        self.write("choose a job's datastore", |transaction| {
            let number = crate::cells::count_cell(number)?;
            transaction.execute(
                "UPDATE jobs SET store = ?2 WHERE job = ?1 AND state = 'queued'",
                params![number, store.as_bytes()],
            )?;
            transaction.execute(
                "UPDATE tasks SET store = ?2 WHERE drive_group IS NOT NULL
                     AND task = (SELECT task FROM jobs WHERE job = ?1)",
                params![number, store.as_bytes()],
            )?;
            Ok(())
        })
    }
}

fn put_drives(transaction: &Session<'_>, name: &str, drives: &[u32]) -> Result<(), CatalogError> {
    if drives.is_empty() {
        return Err(CatalogError::invalid(format!(
            "drive group '{name}' needs at least one drive"
        )));
    }
    for drive in drives {
        let group: Option<Option<String>> = transaction
            .query_row(
                "SELECT drive_group FROM drives WHERE drive = ?1 AND removed_unix_ms IS NULL",
                [drive],
                |row| row.get(0),
            )
            .optional()?;
        match group {
            None => return Err(CatalogError::not_found("drive", drive)),
            Some(Some(other)) if other != name => {
                return Err(CatalogError::invalid(format!(
                    "drive {drive} is in drive group '{other}': a drive is in one group at most"
                )));
            }
            Some(_) => {}
        }
        transaction
            .execute("UPDATE drives SET drive_group = ?2 WHERE drive = ?1", params![drive, name])?;
    }
    Ok(())
}

fn group_by_name(catalog: &Session<'_>, name: &str) -> Result<Option<DriveGroup>, CatalogError> {
    let created: Option<i64> = catalog
        .query_row("SELECT created_unix_ms FROM drive_groups WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(created_unix_ms) = created else { return Ok(None) };
    let mut ask =
        catalog.prepare_cached("SELECT drive FROM drives WHERE drive_group = ?1 ORDER BY drive")?;
    let drives = ask.query_map([name], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Some(DriveGroup { name: name.to_owned(), drives, created_unix_ms }))
}

fn there(catalog: &Session<'_>, name: &str) -> Result<DriveGroup, CatalogError> {
    group_by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("drive group", name))
}
