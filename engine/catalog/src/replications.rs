//! Replications: from which datastore savesets are copied into which other one, and how.

use rusqlite::params;
use simsim_model::StoreId;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, json_cell};
use crate::datastores::datastore_by_id;
use crate::schedules::Put;
use crate::sql::{Optional, Session};
use crate::uses::refuse_used;

/// One relation between two datastores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// For people: unique.
    pub name: String,
    pub source: StoreId,
    pub target: StoreId,
    /// The target's device dials the source's; else the other way round.
    pub pull: bool,
    /// The drive, of the datastore that is dialled, whose port it is.
    pub drive: u32,
    /// Only savesets of this client, of this task.
    pub client_name: Option<String>,
    pub task_name: Option<String>,
    /// How fast, and when: texts of the Server's own.
    pub rates: Vec<String>,
    pub created_unix_ms: i64,
}

impl Replication {
    /// The datastore whose device is dialled.
    pub fn dialled(&self) -> StoreId {
        if self.pull { self.source } else { self.target }
    }

    /// The datastore whose device dials.
    pub fn dialler(&self) -> StoreId {
        if self.pull { self.target } else { self.source }
    }
}

impl Catalog {
    /// Adds a replication, or replaces all of one but its name and its datastores. Errors: `Invalid` for one
    /// datastore twice, a drive of another datastore, or other datastores than before; exists, for its name;
    /// `NotFound`, where there is none to be changed.
    pub fn put_replication(&self, put: Put, new: &Replication) -> Result<(), CatalogError> {
        if new.source == new.target {
            return Err(CatalogError::invalid("a datastore cannot be copied into itself"));
        }
        self.write("keep a replication", |transaction| {
            for store in [new.source, new.target] {
                datastore_by_id(transaction, store)?;
            }
            match (put, by_name(transaction, &new.name)?) {
                (Put::Add, Some(_)) => {
                    return Err(CatalogError::exists("replication", &new.name));
                }
                (Put::Change, None) => {
                    return Err(CatalogError::not_found("replication", &new.name));
                }
                // What was copied, and a job that runs, are of these two.
                (Put::Change, Some(old)) if (old.source, old.target) != (new.source, new.target) => {
                    return Err(CatalogError::invalid(format!(
                        "replication '{}' is between two other datastores, which cannot be changed: remove it, and add another; its copies stay",
                        new.name
                    )));
                }
                (Put::Add, None) | (Put::Change, Some(_)) => {}
            }
            let leads_to: Option<Vec<u8>> = transaction
                .query_row("SELECT store FROM drives WHERE drive = ?1 AND removed_unix_ms IS NULL", [new.drive], |row| {
                    row.get(0)
                })
                .optional()?;
            if leads_to.as_deref() != Some(new.dialled().as_bytes()) {
                return Err(CatalogError::invalid(format!(
                    "drive {} does not lead to the datastore that is dialled",
                    new.drive
                )));
            }
            transaction.execute(
                "INSERT INTO replications (name, source, target, pull, drive, client_name,
                     task_name, rates, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (name) DO UPDATE SET pull = excluded.pull, drive = excluded.drive,
                     client_name = excluded.client_name, task_name = excluded.task_name,
                     rates = excluded.rates",
                params![
                    new.name,
                    new.source.as_bytes(),
                    new.target.as_bytes(),
                    i64::from(new.pull),
                    new.drive,
                    new.client_name,
                    new.task_name,
                    json_cell(&new.rates)?,
                    new.created_unix_ms
                ],
            )?;
            Ok(())
        })
    }

    /// All replications, by name.
    pub fn replications(&self) -> Result<Vec<Replication>, CatalogError> {
        self.read("list replications", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT * FROM replications ORDER BY name")?;
            let mut rows = ask.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(from_row(&Cells::new("replications", row))?);
            }
            Ok(all)
        })
    }

    /// One replication. Errors: `NotFound`.
    pub fn replication(&self, name: &str) -> Result<Replication, CatalogError> {
        self.read("look up a replication", |catalog| there(catalog, name))
    }

    /// Removes a replication; the copies that it made stay. Errors: `NotFound`.
    pub fn delete_replication(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a replication", |transaction| {
            refuse_used(transaction, "replication", name)?;
            match transaction.execute("DELETE FROM replications WHERE name = ?1", [name])? {
                0 => Err(CatalogError::not_found("replication", name)),
                _ => Ok(()),
            }
        })
    }
}

pub(crate) fn there(catalog: &Session<'_>, name: &str) -> Result<Replication, CatalogError> {
    by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("replication", name))
}

fn by_name(catalog: &Session<'_>, name: &str) -> Result<Option<Replication>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM replications WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("replications", row))).transpose()
}

fn from_row(cells: &Cells<'_>) -> Result<Replication, CatalogError> {
    Ok(Replication {
        name: cells.get("name")?,
        source: cells.id("source")?,
        target: cells.id("target")?,
        pull: cells.get::<i64>("pull")? != 0,
        drive: cells.get("drive")?,
        client_name: cells.get("client_name")?,
        task_name: cells.get("task_name")?,
        rates: cells.json("rates")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
