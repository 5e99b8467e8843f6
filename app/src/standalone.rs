//! Server, device and client of one host in one process, for the quickstart.
//!
//! They meet on their real ports: jobs are started over SMSSH, data goes through the HTTP port
//! with one-time tickets. Only the catalog is missing: what is known of earlier savesets comes
//! from the datastore's own manifests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use simsim_client::{Client, ClientOptions};
use simsim_console::{Api, ApiError, ApiReply, ApiRequest, TlsIdentity};
use simsim_control::verbs::{
    AttachDatastore, CreateDatastore, DataEndpoint, Event, GrantTransfer, JobResult,
    ListDatastores, ListManifests, ListeningAddress, PutKeySlots, Roles, SavesetNames, StartBackup,
    StartRestore,
};
use simsim_control::{ControlClient, Hello, Identity, SERVER_USER, SmsshDialer, SmsshListener};
use simsim_device::{Device, DeviceOptions};
use simsim_format::{KeySlots, Manifest, RecoveryKit, WrappingKey, random_bytes};
use simsim_model::port_registry::{CONSOLE, HTTP, Listen, SMSSH};
use simsim_model::{
    Direction, DomainId, Kind, Level, Overwrite, ProgressSnapshot, SavesetId, Secret, StoreId,
    TargetKind, Ticket, TransferId,
};
use simsim_transfer::{HttpListener, ListenOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::{Failure, from_error};
use crate::node::{Node, OneServer, unix_ns};

from_error!(simsim_format::FormatError);

const NAME: &str = "quickstart";
/// A ticket must be opened within this time.
const TICKET_SECONDS: u64 = 600;

/// What is remembered between two runs. The domain key lies here sealed by the host's own key.
#[derive(Serialize, Deserialize)]
struct Book {
    store: StoreId,
    domain: DomainId,
    sealed_domain_key: Vec<u8>,
    jobs: u64,
}

/// A job's end.
pub struct Finished {
    pub result: JobResult,
    pub saveset: Option<SavesetId>,
}

/// The suite on this host.
pub struct Standalone {
    state: PathBuf,
    book: Book,
    domain_key: Secret,
    kit_groups: Option<Vec<String>>,
    line: ControlClient,
    client: Arc<Client>,
    device: Arc<Device>,
    data_url: String,
    console: String,
    listening: Vec<String>,
    shutdown: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Standalone {
    /// Starts everything below a state folder, which is made on the first run.
    pub async fn start(state: &Path) -> Result<Self, Failure> {
        make_private(state)?;
        let identity = Identity::load_or_create(&state.join("host.key"))?;
        let server = Identity::load_or_create(&state.join("server.key"))?;
        let (shutdown, ended) = watch::channel(false);
        let client = Client::new(
            &state.join("client"),
            ClientOptions::default(),
            tokio::runtime::Handle::current(),
        );
        let device = Device::new(state, DeviceOptions::default())?;

        let smssh = crate::listen::on_loopback(&SMSSH).await?;
        let http = crate::listen::on_loopback(&HTTP).await?;
        let console = crate::listen::on_loopback(&CONSOLE).await?;
        let rows = [(&SMSSH, &smssh), (&HTTP, &http), (&CONSOLE, &console)];
        let listening = rows.iter().map(|(row, taken)| said(row, taken)).collect();
        let addresses = rows
            .iter()
            .map(|(row, taken)| ListeningAddress {
                row: row.id.to_owned(),
                address: taken.address.to_string(),
            })
            .collect();
        device.set_endpoints(vec![DataEndpoint {
            row: HTTP.id.to_owned(),
            port: http.address.port(),
        }]);
        let node = Arc::new(Node {
            name: NAME.to_owned(),
            started: Instant::now(),
            client: Arc::clone(&client),
            device: Some(Arc::clone(&device)),
            listening: addresses,
        });
        let control = SmsshListener::new(
            &identity,
            Hello::new(NAME, Roles::RDS),
            Arc::new(OneServer(server.public())),
            node,
        );
        let until = |mut ended: watch::Receiver<bool>| async move {
            let _ = ended.wait_for(|end| *end).await;
        };
        let data_url = format!("http://{}", http.address);
        let control_address = smssh.address.to_string();
        let tasks = vec![
            tokio::spawn(control.serve(smssh.listener, until(ended.clone()))),
            tokio::spawn(HttpListener::serve(
                http.listener,
                Arc::clone(&device) as Arc<_>,
                ListenOptions::default(),
                until(ended.clone()),
            )),
        ];
        let tls = TlsIdentity::open(state, vec!["localhost".to_owned()])?;
        let page = Arc::new(StatusPage { data_url: data_url.clone() });
        let console_url = format!("https://localhost:{}/", console.address.port());
        simsim_console::serve_tls(console.listener, &tls, page, ended);

        let line = SmsshDialer::new(server, Hello::new(NAME, Roles::SERVER))
            .connect(&[control_address], &identity.public(), SERVER_USER)
            .await?;
        let opened = open_book(state, &line).await?;
        Ok(Self {
            state: state.to_owned(),
            book: opened.book,
            domain_key: opened.domain_key,
            kit_groups: opened.kit_groups,
            line,
            client,
            device,
            data_url,
            console: console_url,
            listening,
            shutdown,
            tasks,
        })
    }

    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    pub fn console(&self) -> &str {
        &self.console
    }

    pub fn datastore(&self) -> PathBuf {
        self.state.join("datastore")
    }

    pub fn kit_file(&self) -> PathBuf {
        self.state.join("recovery-kit.txt")
    }

    /// The recovery kit, on the run that made it.
    pub fn new_recovery_kit(&self) -> Option<&[String]> {
        self.kit_groups.as_deref()
    }

    /// Backs a folder up; the last saveset of the same folder is the base.
    pub async fn backup(
        &mut self,
        folder: &Path,
        each: &mut (dyn FnMut(&ProgressSnapshot) + Send),
    ) -> Result<Finished, Failure> {
        use std::os::unix::ffi::OsStrExt;
        let source = folder.as_os_str().as_bytes().to_vec();
        let base = self.base_of(&source).await?;
        let ticket = self.ticket(Direction::Backup, SavesetId(random_bytes()?))?;
        let names =
            SavesetNames { client: NAME.to_owned(), task: folder.to_string_lossy().into_owned() };
        let level = if base.is_some() { Level::Incr } else { Level::Full };
        self.grant(&ticket, &names, Some(level)).await?;
        let saveset = ticket.saveset;
        let verb = StartBackup {
            ticket,
            device_addresses: vec![self.data_url.clone()],
            names,
            kind: TargetKind::Path,
            sources: vec![source],
            excludes: Vec::new(),
            exclude_caches: false,
            one_file_system: false,
            file_bytes_max: None,
            stream_command: None,
            level,
            base,
            domain_key: Some(self.domain_key.clone()),
        };
        let mut call = self.line.start(verb).await?;
        while let Some(event) = call.next_event().await {
            if let Event::Progress(now) = event {
                each(&now);
            }
        }
        let result = call.finish().await?.result;
        let saveset = result.commit.as_ref().map(|_| saveset);
        Ok(Finished { result, saveset })
    }

    /// Restores a whole saveset beneath a new folder.
    pub async fn restore(
        &mut self,
        saveset: SavesetId,
        target: &Path,
        each: &mut (dyn FnMut(&ProgressSnapshot) + Send),
    ) -> Result<Finished, Failure> {
        use std::os::unix::ffi::OsStrExt;
        let ticket = self.ticket(Direction::Restore, saveset)?;
        self.grant(&ticket, &SavesetNames::default(), None).await?;
        let verb = StartRestore {
            ticket,
            device_addresses: vec![self.data_url.clone()],
            saveset,
            domain_key: Some(self.domain_key.clone()),
            selection: Vec::new(),
            patterns: Vec::new(),
            target: target.as_os_str().as_bytes().to_vec(),
            overwrite: Overwrite::Never,
            specials: true,
            owners: true,
            dry_run: false,
        };
        let mut call = self.line.start(verb).await?;
        while let Some(event) = call.next_event().await {
            if let Event::Progress(now) = event {
                each(&now);
            }
        }
        let result = call.finish().await?.result;
        Ok(Finished { result, saveset: Some(saveset) })
    }

    /// Ends listeners and closes the datastore.
    pub async fn stop(self) {
        let _ = self.shutdown.send(true);
        drop(self.line);
        let patience = Duration::from_secs(5);
        self.client.close(patience).await;
        for task in self.tasks {
            let _ = tokio::time::timeout(patience, task).await;
        }
        self.device.close(patience).await;
    }

    fn ticket(&mut self, direction: Direction, saveset: SavesetId) -> Result<Ticket, Failure> {
        self.book.jobs += 1;
        self.book.save(&self.state)?;
        let now = u64::try_from(unix_ns() / 1_000_000_000).unwrap_or(0);
        Ok(Ticket {
            transfer: TransferId(random_bytes()?),
            job: self.book.jobs,
            client: NAME.to_owned(),
            drive: 0,
            store: self.book.store,
            domain: self.book.domain,
            direction,
            bytes_max: 0,
            expires_unix_s: now + TICKET_SECONDS,
            secret: Secret(random_bytes()?),
            saveset,
        })
    }

    async fn grant(
        &self,
        ticket: &Ticket,
        names: &SavesetNames,
        level: Option<Level>,
    ) -> Result<(), Failure> {
        let grant = GrantTransfer {
            ticket: ticket.clone(),
            domain_key: None,
            lock_until_unix_s: 0,
            level,
            names: Some(names.clone()),
        };
        self.line.call(grant).await?;
        Ok(())
    }

    /// The last saveset of the domain that was made from this folder, by sequence number.
    async fn base_of(&self, source: &[u8]) -> Result<Option<SavesetId>, Failure> {
        let key = simsim_format::DomainKey::new(&self.domain_key);
        let (mut after, mut last) = (0, None);
        loop {
            let page = ListManifests { store: self.book.store, after_sequence: after, limit: 0 };
            let reply = self.line.call(page).await?;
            for entry in &reply.manifests {
                let manifest = Manifest::decode(&entry.bytes)?;
                after = after.max(manifest.sequence);
                let details = simsim_format::ManifestDetails::open(
                    &key,
                    manifest.domain,
                    manifest.saveset,
                    &manifest.sealed_details,
                );
                if details.is_ok_and(|details| details.sources.iter().any(|s| s == source)) {
                    last = Some(manifest.saveset);
                }
            }
            if !reply.more || reply.manifests.is_empty() {
                return Ok(last);
            }
        }
    }
}

fn said(row: &Listen, taken: &crate::listen::Taken) -> String {
    match &taken.notice {
        None => format!("{:8} {} ({})", row.id, taken.address, row.protocol),
        Some(notice) => format!("{:8} {} ({notice})", row.id, taken.address),
    }
}

struct Opened {
    book: Book,
    domain_key: Secret,
    kit_groups: Option<Vec<String>>,
}

/// The book of an earlier run; on the first run, a datastore, a domain, its key and its kit.
async fn open_book(state: &Path, line: &ControlClient) -> Result<Opened, Failure> {
    let host_key = WrappingKey::new(&host_secret(state)?);
    let datastore = state.join("datastore").to_string_lossy().into_owned();
    if let Some(book) = Book::load(state)? {
        let known = line.call(ListDatastores {}).await?;
        if !known.datastores.iter().any(|known| known.store == book.store) {
            line.call(AttachDatastore { path: datastore }).await?;
        }
        let opened = host_key.open(&purpose(book.domain), &book.sealed_domain_key)?;
        let key = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| {
            Failure::new(Kind::Corrupt, "the domain key in the book has a wrong length")
        })?;
        return Ok(Opened { book, domain_key: Secret(key), kit_groups: None });
    }
    let (store, domain) = (StoreId(random_bytes()?), DomainId(random_bytes()?));
    let domain_key = Secret(random_bytes()?);
    let create = CreateDatastore {
        path: datastore,
        name: NAME.to_owned(),
        store,
        owner: NAME.to_owned(),
        cut: None,
    };
    line.call(create).await?;
    let kit = RecoveryKit::generate()?;
    let mut slots = KeySlots::new(domain);
    slots.add(&kit.wrapping_key(), &domain_key)?;
    line.call(PutKeySlots { store, domain, slots: slots.encode() }).await?;
    let groups = kit.groups();
    let text = format!(
        "simsim recovery kit\n\nWith these eleven groups and a copy of the datastore {store},\neverything in it can be restored. Keep them away from this host.\n\n{}\n",
        groups.join("-")
    );
    write_private(&state.join("recovery-kit.txt"), text.as_bytes())?;
    let sealed_domain_key = host_key.seal(&purpose(domain), &domain_key.0)?;
    let book = Book { store, domain, sealed_domain_key, jobs: 0 };
    book.save(state)?;
    Ok(Opened { book, domain_key, kit_groups: Some(groups) })
}

fn purpose(domain: DomainId) -> Vec<u8> {
    [b"simsim standalone domain key v1".as_slice(), &domain.0].concat()
}

/// The host's own secret, made on the first run.
fn host_secret(state: &Path) -> Result<Secret, Failure> {
    let path = state.join("master.key");
    match std::fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).map(Secret).map_err(|_| {
            let text =
                format!("{} is damaged: restore it, or use the recovery kit", path.display());
            Failure::new(Kind::Corrupt, text)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = Secret(random_bytes()?);
            write_private(&path, &secret.0)?;
            Ok(secret)
        }
        Err(error) => Err(error.into()),
    }
}

impl Book {
    fn load(state: &Path) -> Result<Option<Self>, Failure> {
        let path = state.join("book.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                Failure::new(Kind::Corrupt, format!("{} is damaged: {error}", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn save(&self, state: &Path) -> Result<(), Failure> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
        write_private(&state.join("book.json"), &bytes)
    }
}

fn make_private(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let text = format!("the state folder {}: {error}", folder.display());
        Failure::new(Kind::of_io(&error), text)
    })
}

/// Writes a whole file that only its owner reads: under another name, synced, then renamed.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

/// What a browser sees.
struct StatusPage {
    data_url: String,
}

impl Api for StatusPage {
    fn call(
        &self,
        _: ApiRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<ApiReply, ApiError>> + Send + '_>> {
        Box::pin(async {
            let message = "the quickstart has no API".to_owned();
            Err(ApiError { kind: Kind::NotFound, message })
        })
    }

    fn page(&self) -> String {
        format!(
            "<!doctype html><meta charset=utf-8><title>simsim</title><style>body{{font:16px sans-serif;margin:3em}}</style><h1>simsim {}</h1><p>The quickstart is running. Backup data port: {}.</p>",
            env!("CARGO_PKG_VERSION"),
            self.data_url
        )
    }
}
