//! A catalog in a folder of its own, with one client, one datastore and one domain in it.

use std::path::PathBuf;

use rusqlite::Connection;
use simsim_catalog::{
    Catalog, CatalogOptions, Client, Datastore, DatastoreState, Domain, JobKind, KeyHolder,
    NewClient, NewJob, Saveset, SavesetState, TaskSettings,
};
use simsim_model::{DomainId, Level, SavesetId, StoreId, TargetKind};
use tempfile::TempDir;

pub const STORE: StoreId = StoreId([1; 16]);
pub const DOMAIN: DomainId = DomainId([2; 16]);
pub const AUDIT_KEY: [u8; 32] = [7; 32];

pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("catalog.db")
    }

    pub fn open(&self) -> Catalog {
        open(&self.file())
    }

    /// The database behind the catalog's back.
    pub fn raw(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

pub fn options(file: &std::path::Path) -> CatalogOptions {
    CatalogOptions { path: file.to_owned(), audit_key: AUDIT_KEY, now_unix_ms: 1_000 }
}

pub fn open(file: &std::path::Path) -> Catalog {
    Catalog::open(&options(file)).unwrap()
}

pub fn new_client(name: &str) -> NewClient {
    NewClient {
        name: name.to_owned(),
        host_key: format!("ssh-ed25519 {name}"),
        addresses: vec!["alpha.example".to_owned()],
        listen_port: 4711,
        suite_version: "0.1.0".to_owned(),
    }
}

/// One client "alpha", one datastore "main", drive 1, one domain.
pub fn furnish(catalog: &Catalog) -> Client {
    let client = catalog.enrol_self(&new_client("alpha"), 1_000).unwrap();
    catalog
        .add_datastore(&Datastore {
            store: STORE,
            name: "main".to_owned(),
            device: client.id,
            path: b"/srv/\xff".to_vec(),
            state: DatastoreState::Active,
            created_unix_ms: 1_000,
        })
        .unwrap();
    catalog.add_drive(STORE, None, 4).unwrap();
    catalog
        .add_domain(&Domain {
            domain: DOMAIN,
            store: STORE,
            owner: Some(client.id),
            key_held_by: KeyHolder::Server,
            sealed_key: Some(vec![9; 60]),
            slots: None,
            created_unix_ms: 1_000,
        })
        .unwrap();
    client
}

pub fn furnished() -> (Place, Catalog, Client) {
    let place = Place::new();
    let catalog = place.open();
    let client = furnish(&catalog);
    (place, catalog, client)
}

pub fn task_settings(name: &str) -> TaskSettings {
    TaskSettings {
        name: name.to_owned(),
        client: "alpha".to_owned(),
        kind: TargetKind::Path,
        sources: vec![b"/home/\xfe\\x".to_vec()],
        excludes: vec!["*.tmp".to_owned()],
        options: "{}".to_owned(),
        store: STORE,
        drive_group: None,
        drive: Some(1),
        eol_days: 30,
    }
}

pub fn backup_job(client: &Client) -> NewJob {
    NewJob {
        kind: JobKind::Backup,
        task: None,
        task_name: "home".to_owned(),
        client: client.id,
        store: STORE,
        domain: Some(DOMAIN),
        drive: None,
        level: Some(Level::Full),
        saveset: None,
        request: "{}".to_owned(),
        requested_by: "local:root".to_owned(),
    }
}

pub fn saveset(sequence: u64) -> Saveset {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&sequence.to_be_bytes());
    Saveset {
        saveset: SavesetId(id),
        store: STORE,
        sequence,
        domain: DOMAIN,
        client_name: "alpha".to_owned(),
        task_name: "home".to_owned(),
        level: Level::Full,
        base: None,
        scan_started_unix_ns: 5,
        committed_unix_ns: 6 + sequence as i64,
        lock_until_unix_s: 7,
        files: 8,
        dirs: 9,
        bytes: 10,
        bytes_new: 11,
        bytes_stored: 12,
        problems: sequence % 2,
        state: SavesetState::Present,
    }
}
