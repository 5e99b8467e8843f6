//! A catalog in a place of its own, with one client, one datastore and one domain in it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use simsim_catalog::{
    Catalog, CatalogOptions, CatalogPlace, Client, Datastore, DatastoreState, Domain, JobKind,
    KeyHolder, NewClient, NewJob, PostgresPlace, Saveset, SavesetState, TaskSettings, Waiting,
};
use simsim_model::{DomainId, Level, SavesetId, StoreId, TargetKind};
use simsim_testkit::Postgres;
use tempfile::TempDir;

pub const STORE: StoreId = StoreId([1; 16]);
pub const DOMAIN: DomainId = DomainId([2; 16]);
pub const AUDIT_KEY: [u8; 32] = [7; 32];

/// The database that a test is run on.
pub enum On {
    Sqlite,
    Postgres(Postgres),
}

impl On {
    pub fn is_sqlite(&self) -> bool {
        matches!(self, On::Sqlite)
    }
}

/// A place for one catalog: a file in a folder, or a schema of PostgreSQL.
pub struct Place {
    pub folder: TempDir,
    /// The connection string; `None` for a file.
    pub url: Option<String>,
}

impl Place {
    pub fn new(on: &On) -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(1);
        let folder = tempfile::tempdir().unwrap();
        let url = match on {
            On::Sqlite => None,
            On::Postgres(postgres) => {
                let schema = format!("place_{}", PLACES.fetch_add(1, Ordering::Relaxed));
                postgres.sql("postgres", &format!("CREATE SCHEMA {schema}"));
                Some(format!("{}&options=-csearch_path%3D{schema}", postgres.url("postgres")))
            }
        };
        Self { folder, url }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("catalog.db")
    }

    /// The place as one text, for another process.
    pub fn text(&self) -> String {
        self.url.clone().unwrap_or_else(|| self.file().display().to_string())
    }

    pub fn options(&self) -> CatalogOptions {
        options_of(&self.text())
    }

    pub fn open(&self) -> Catalog {
        Catalog::open(&self.options()).unwrap()
    }

    /// The database behind the catalog's back.
    pub fn raw(&self) -> Raw {
        match &self.url {
            None => {
                let file = rusqlite::Connection::open(self.file()).unwrap();
                file.pragma_update(None, "foreign_keys", true).unwrap();
                Raw::Sqlite(file)
            }
            Some(url) => {
                Raw::Postgres(Box::new(postgres::Client::connect(url, postgres::NoTls).unwrap()))
            }
        }
    }
}

pub enum Raw {
    Sqlite(rusqlite::Connection),
    Postgres(Box<postgres::Client>),
}

impl Raw {
    /// Runs statements. The error is the database's own text.
    pub fn run(&mut self, text: &str) -> Result<(), String> {
        match self {
            Raw::Sqlite(file) => file.execute_batch(text).map_err(|error| error.to_string()),
            Raw::Postgres(client) => client.batch_execute(text).map_err(|error| error.to_string()),
        }
    }

    pub fn number(&mut self, ask: &str) -> i64 {
        match self {
            Raw::Sqlite(file) => file.query_row(ask, [], |row| row.get(0)).unwrap(),
            Raw::Postgres(client) => client.query_one(ask, &[]).unwrap().get(0),
        }
    }

    pub fn bytes(&mut self, ask: &str) -> Vec<u8> {
        match self {
            Raw::Sqlite(file) => file.query_row(ask, [], |row| row.get(0)).unwrap(),
            Raw::Postgres(client) => client.query_one(ask, &[]).unwrap().get(0),
        }
    }

    /// Bytes as they are written in a statement.
    pub fn literal(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Raw::Sqlite(_) => format!("x'{digits}'"),
            Raw::Postgres(_) => format!("decode('{digits}', 'hex')"),
        }
    }
}

/// A place from its text: a connection string or the path of a file.
pub fn options_of(text: &str) -> CatalogOptions {
    let place = match PostgresPlace::is_meant(text) {
        true => {
            CatalogPlace::Postgres(PostgresPlace::parse(text, Path::new("/nonexistent")).unwrap())
        }
        false => CatalogPlace::File(PathBuf::from(text)),
    };
    CatalogOptions { place, audit_key: AUDIT_KEY, now_unix_ms: 1_000 }
}

pub fn open(text: &str) -> Catalog {
    Catalog::open(&options_of(text)).unwrap()
}

/// What a test of a module is called by the test runner.
pub fn test_name(module: &str, test: &str) -> String {
    let inner = module.split_once("::").map_or(module, |(_, inner)| inner);
    format!("{inner}::{test}")
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

pub fn furnished(on: &On) -> (Place, Catalog, Client) {
    let place = Place::new(on);
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
        pool: None,
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
        pool: None,
        request: "{}".to_owned(),
        requested_by: "local:root".to_owned(),
        waiting: Waiting::default(),
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
