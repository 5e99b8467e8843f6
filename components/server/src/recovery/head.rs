//! What a backup of a server says of itself, for people who choose among several.

use serde::{Deserialize, Serialize};
use simsim_catalog::{Catalog, CatalogError, ClientId};
use simsim_model::{StoreId, escape_path};

use crate::clock::now_unix_ms;
use crate::house::House;

/// The first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfBackupHead {
    pub server: String,
    /// Fingerprint of the server's key, as clients pin it.
    pub fingerprint: String,
    pub suite_version: String,
    /// The catalog's schema.
    pub schema_step: i64,
    pub made_unix_ms: i64,
    pub clients: u64,
    pub tasks: u64,
    pub savesets: u64,
    pub datastores: Vec<DatastoreHead>,
}

/// A datastore that the server knew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatastoreHead {
    pub name: String,
    pub store: StoreId,
    /// The host of its device.
    pub host: String,
    /// Whether that is the server's own host.
    pub own: bool,
    /// Its folder there, escaped.
    pub path: String,
}

impl SelfBackupHead {
    /// What needs no look into the catalog.
    pub(super) fn shell(house: &House) -> (Self, ClientId) {
        let head = Self {
            server: house.name.clone(),
            fingerprint: house.identity.fingerprint(),
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_step: Catalog::schema_step(),
            made_unix_ms: now_unix_ms(),
            clients: 0,
            tasks: 0,
            savesets: 0,
            datastores: Vec::new(),
        };
        (head, house.nodes.own())
    }

    /// With what the catalog says; `own`: the server's own host.
    pub(super) fn filled(mut self, catalog: &Catalog, own: ClientId) -> Result<Self, CatalogError> {
        let clients = catalog.clients()?;
        for one in catalog.datastores()? {
            self.savesets += catalog.saveset_count(one.store)?;
            let host = clients.iter().find(|client| client.id == one.device);
            self.datastores.push(DatastoreHead {
                name: one.name,
                store: one.store,
                host: host.map_or_else(String::new, |host| host.name.clone()),
                own: one.device == own,
                path: escape_path(&one.path),
            });
        }
        self.clients = clients.iter().filter(|client| client.is_enrolled()).count() as u64;
        self.tasks = catalog.tasks()?.len() as u64;
        Ok(self)
    }
}
