//! Datastores: areas with deduplication on a device host, known by the id in their files.

use std::collections::HashMap;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use simsim_model::StoreId;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::deletions::STAYS;
use crate::sql::{Optional, Session};
use crate::uses::{add_open_jobs, refuse_held, users, users_of_place};
use crate::{CatalogError, ClientId};

/// Whether jobs may use a datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatastoreState {
    Active,
    /// Taken out of service; its savesets stay listed.
    Detached,
}

impl DatastoreState {
    pub const fn as_str(self) -> &'static str {
        match self {
            DatastoreState::Active => "active",
            DatastoreState::Detached => "detached",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [DatastoreState::Active, DatastoreState::Detached].into_iter().find(|s| s.as_str() == text)
    }
}

/// One datastore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datastore {
    pub store: StoreId,
    pub name: String,
    /// The device host that serves it.
    pub device: ClientId,
    /// Its folder on that host: any bytes.
    pub path: Vec<u8>,
    pub state: DatastoreState,
    pub created_unix_ms: i64,
}

/// Names of datastores by id.
pub type StoreNames = HashMap<StoreId, String>;

const COLUMNS: &str = "store, name, device, path, state, created_unix_ms";

impl Catalog {
    /// Adds a datastore. Errors: `Invalid` where the name or the id is there already.
    pub fn add_datastore(&self, datastore: &Datastore) -> Result<(), CatalogError> {
        self.write("add a datastore", |transaction| {
            let taken: Option<String> = transaction
                .query_row(
                    "SELECT name FROM datastores
                     WHERE (name = ?1 OR store = ?2) AND removed_unix_ms IS NULL",
                    params![datastore.name, datastore.store.as_bytes()],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(name) = taken {
                return Err(CatalogError::exists("datastore", name));
            }
            // One that was removed may come again.
            transaction.execute(
                "INSERT INTO datastores (store, name, device, path, state, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (store) DO UPDATE SET name = excluded.name, device = excluded.device,
                    path = excluded.path, state = excluded.state, removed_unix_ms = NULL",
                params![
                    datastore.store.as_bytes(),
                    datastore.name,
                    datastore.device.0,
                    datastore.path,
                    datastore.state.as_str(),
                    datastore.created_unix_ms
                ],
            )?;
            Ok(())
        })
    }

    /// Says where a datastore is served from now on: it was attached at another host or folder.
    pub fn move_datastore(
        &self,
        store: StoreId,
        device: ClientId,
        path: &[u8],
        state: DatastoreState,
    ) -> Result<Datastore, CatalogError> {
        self.write("move a datastore", |transaction| {
            transaction.execute(
                "UPDATE datastores SET device = ?2, path = ?3, state = ?4 WHERE store = ?1",
                params![store.as_bytes(), device.0, path, state.as_str()],
            )?;
            datastore_by_id(transaction, store)
        })
    }

    /// Removes one that is out of service and holds nothing that is listed. Jobs of the past name it, with when it was
    /// removed. Errors: `Busy` while something uses it or a saveset is listed in it; `Invalid` while it is in service.
    pub fn remove_datastore(&self, name: &str, now_unix_ms: i64) -> Result<(), CatalogError> {
        self.write("remove a datastore", |transaction| {
            let datastore = by_name(transaction, name)?;
            if datastore.state != DatastoreState::Detached {
                return Err(CatalogError::invalid(format!(
                    "datastore '{name}' is in service: take it out first"
                )));
            }
            let store = datastore.store.as_bytes();
            let mut by = users_of_datastore(transaction, &datastore)?;
            let listed: i64 = transaction.query_row(
                &format!(
                    "SELECT (SELECT COUNT(*) FROM savesets WHERE store = ?1 AND {STAYS})
                        + (SELECT COUNT(*) FROM copies WHERE store = ?1)"
                ),
                [store],
                |row| row.get(0),
            )?;
            if listed > 0 {
                by.push(format!("{listed} savesets that are listed in it (delete them first)"));
            }
            add_open_jobs(transaction, &mut by, "store", &store)?;
            refuse_held("datastore", name, by)?;
            // The name is free again.
            let then = format!("{name} (removed, {})", datastore.store.short());
            transaction.execute(
                "UPDATE datastores SET name = ?2, removed_unix_ms = ?3 WHERE store = ?1",
                params![store, then, now_unix_ms],
            )?;
            transaction.execute(
                "UPDATE drives SET drive_group = NULL, removed_unix_ms = ?2
                 WHERE store = ?1 AND removed_unix_ms IS NULL",
                params![store, now_unix_ms],
            )?;
            Ok(())
        })
    }

    /// What goes to a datastore or acts on it, as `noun 'name'`: also by one of its drives.
    pub fn users_of_datastore(&self, name: &str) -> Result<Vec<String>, CatalogError> {
        self.read("look who uses a datastore", |catalog| {
            users_of_datastore(catalog, &by_name(catalog, name)?)
        })
    }

    /// One datastore by name. Errors: `NotFound`.
    pub fn datastore(&self, name: &str) -> Result<Datastore, CatalogError> {
        self.read("look up a datastore", |catalog| by_name(catalog, name))
    }

    /// One datastore by id. Errors: `NotFound`.
    pub fn datastore_with_id(&self, store: StoreId) -> Result<Datastore, CatalogError> {
        self.read("look up a datastore", |catalog| datastore_by_id(catalog, store))
    }

    /// The names of all datastores, also of those that were removed.
    pub fn datastore_names(&self) -> Result<StoreNames, CatalogError> {
        self.read("list datastores", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT store, name FROM datastores")?;
            let mut rows = ask.query([])?;
            let mut names = StoreNames::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("datastores", row);
                names.insert(cells.id("store")?, cells.get("name")?);
            }
            Ok(names)
        })
    }

    /// All datastores by name.
    pub fn datastores(&self) -> Result<Vec<Datastore>, CatalogError> {
        self.read("list datastores", |catalog| {
            let mut ask = catalog.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM datastores WHERE removed_unix_ms IS NULL ORDER BY name"
            ))?;
            let mut rows = ask.query([])?;
            let mut datastores = Vec::new();
            while let Some(row) = rows.next()? {
                datastores.push(from_row(&Cells::new("datastores", row))?);
            }
            Ok(datastores)
        })
    }
}

fn users_of_datastore(
    catalog: &Session<'_>,
    datastore: &Datastore,
) -> Result<Vec<String>, CatalogError> {
    let store = datastore.store.as_bytes();
    let mut by = users_of_place(catalog, ("datastore", &datastore.name), "store", &store)?;
    let mut ask = catalog.prepare_cached(
        "SELECT drive FROM drives WHERE store = ?1 AND removed_unix_ms IS NULL ORDER BY drive",
    )?;
    let drives: Vec<i64> = ask.query_map([store], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for drive in drives {
        for user in users(catalog, "drive", &drive.to_string())? {
            if !by.contains(&user) {
                by.push(user);
            }
        }
    }
    Ok(by)
}

fn by_name(catalog: &Session<'_>, name: &str) -> Result<Datastore, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM datastores WHERE name = ?1 AND removed_unix_ms IS NULL"
    ))?;
    let mut rows = ask.query([name])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("datastores", row)),
        None => Err(CatalogError::not_found("datastore", name)),
    }
}

pub(crate) fn datastore_by_id(
    catalog: &Session<'_>,
    store: StoreId,
) -> Result<Datastore, CatalogError> {
    let mut ask =
        catalog.prepare_cached(&format!("SELECT {COLUMNS} FROM datastores WHERE store = ?1"))?;
    let mut rows = ask.query([store.as_bytes()])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("datastores", row)),
        None => Err(CatalogError::not_found("datastore", store)),
    }
}

fn from_row(cells: &Cells<'_>) -> Result<Datastore, CatalogError> {
    Ok(Datastore {
        store: cells.id("store")?,
        name: cells.get("name")?,
        device: ClientId(cells.get("device")?),
        path: cells.get("path")?,
        state: cells.word("state", DatastoreState::parse)?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
