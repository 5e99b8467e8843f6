//! Datastores: areas with deduplication on a device host, known by the id in their files.

use std::collections::HashMap;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use simsim_model::StoreId;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::{Optional, Session};
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
                    "SELECT name FROM datastores WHERE name = ?1 OR store = ?2",
                    params![datastore.name, datastore.store.as_bytes()],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(name) = taken {
                return Err(CatalogError::exists("datastore", name));
            }
            transaction.execute(
                "INSERT INTO datastores (store, name, device, path, state, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
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

    /// One datastore by name. Errors: `NotFound`.
    pub fn datastore(&self, name: &str) -> Result<Datastore, CatalogError> {
        self.read("look up a datastore", |catalog| {
            let mut ask = catalog
                .prepare_cached(&format!("SELECT {COLUMNS} FROM datastores WHERE name = ?1"))?;
            let mut rows = ask.query([name])?;
            match rows.next()? {
                Some(row) => from_row(&Cells::new("datastores", row)),
                None => Err(CatalogError::not_found("datastore", name)),
            }
        })
    }

    /// One datastore by id. Errors: `NotFound`.
    pub fn datastore_with_id(&self, store: StoreId) -> Result<Datastore, CatalogError> {
        self.read("look up a datastore", |catalog| datastore_by_id(catalog, store))
    }

    /// The names of all datastores.
    pub fn datastore_names(&self) -> Result<StoreNames, CatalogError> {
        let all = self.datastores()?;
        Ok(all.into_iter().map(|datastore| (datastore.store, datastore.name)).collect())
    }

    /// All datastores by name.
    pub fn datastores(&self) -> Result<Vec<Datastore>, CatalogError> {
        self.read("list datastores", |catalog| {
            let mut ask = catalog
                .prepare_cached(&format!("SELECT {COLUMNS} FROM datastores ORDER BY name"))?;
            let mut rows = ask.query([])?;
            let mut datastores = Vec::new();
            while let Some(row) = rows.next()? {
                datastores.push(from_row(&Cells::new("datastores", row))?);
            }
            Ok(datastores)
        })
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
