//! The bench that every test works at: a device with one datastore behind an HTTP port, and a
//! client.

use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use simsim_client::{Client, ClientOptions};
use simsim_control::VerbError;
use simsim_control::verbs::*;
use simsim_device::{Device, DeviceOptions};
use simsim_model::*;
use simsim_transfer::{DialOptions, Entrance, ListenOptions, TransferListener};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub const STORE: StoreId = StoreId([7; 16]);
pub const DOMAIN: DomainId = DomainId([8; 16]);
pub const OTHER_DOMAIN: DomainId = DomainId([9; 16]);

pub struct Bench {
    pub folder: TempDir,
    pub device: Arc<Device>,
    pub client: Arc<Client>,
    pub address: String,
    next: AtomicU64,
    stop: Option<oneshot::Sender<()>>,
}

pub fn key() -> Secret {
    Secret([42; 32])
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Runs a test on a runtime as the daemon's.
pub fn run<F: Future<Output = ()>>(test: F) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(test);
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(ListenOptions::default(), DeviceOptions::default()).await
    }

    /// With a datastore that cuts like this.
    pub async fn cutting(cut: CutParameters) -> Self {
        Self::build(ListenOptions::default(), DeviceOptions::default(), Some(cut)).await
    }

    pub async fn with(listen: ListenOptions, options: DeviceOptions) -> Self {
        Self::build(listen, options, None).await
    }

    async fn build(
        listen: ListenOptions,
        options: DeviceOptions,
        cut: Option<CutParameters>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("device");
        let device = tokio::task::spawn_blocking(move || Device::new(&state, options))
            .await
            .unwrap()
            .unwrap();
        let dial = DialOptions { dead_peer: Duration::from_secs(3), ..DialOptions::default() };
        let options = ClientOptions { dial, ..ClientOptions::default() };
        let handle = tokio::runtime::Handle::current();
        let client = Client::new(&folder.path().join("client"), options, handle);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        device.set_endpoints(vec![DataEndpoint { row: "http".into(), port }]);
        let (stop, stopped) = oneshot::channel::<()>();
        let handler = Arc::clone(&device);
        let doors = TransferListener::new(handler, listen);
        tokio::spawn(doors.serve(Entrance::http(listener), async move {
            let _ = stopped.await;
        }));
        let bench = Self {
            folder,
            device,
            client,
            address: format!("http://127.0.0.1:{port}"),
            next: AtomicU64::new(1),
            stop: Some(stop),
        };
        let path = bench.path("store").display().to_string();
        let create = CreateDatastore {
            path,
            name: "first".into(),
            store: STORE,
            owner: "people".into(),
            cut,
        };
        bench.device(create).await.unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A number for jobs and ids that is used once.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn device<V: Verb>(&self, verb: V) -> Result<V::Reply, VerbError> {
        let reply = self.device.handle(&verb.into(), &|_| ()).await.expect("a verb of a device")?;
        Ok(V::reply_of(reply).expect("the answer of the verb"))
    }

    pub async fn client<V: Verb>(&self, verb: V) -> Result<V::Reply, VerbError> {
        self.client_with(verb, &|_| ()).await
    }

    pub async fn client_with<V: Verb>(
        &self,
        verb: V,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<V::Reply, VerbError> {
        let reply = self.client.handle(&verb.into(), events).await.expect("a verb of a client")?;
        Ok(V::reply_of(reply).expect("the answer of the verb"))
    }

    pub fn ticket(&self, direction: Direction, saveset: SavesetId) -> Ticket {
        let number = self.number();
        let mut transfer = [0; 16];
        transfer[..8].copy_from_slice(&number.to_le_bytes());
        Ticket {
            transfer: TransferId(transfer),
            job: number,
            client: "here".into(),
            drive: 1,
            store: STORE,
            domain: DOMAIN,
            direction,
            bytes_max: 0,
            expires_unix_s: now_s() + 60,
            secret: Secret([number as u8; 32]),
            saveset,
        }
    }

    pub fn saveset(&self) -> SavesetId {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&self.number().to_le_bytes());
        SavesetId(id)
    }

    pub fn grant_of(
        &self,
        ticket: &Ticket,
        level: Option<Level>,
        key: Option<Secret>,
    ) -> GrantTransfer {
        GrantTransfer {
            bases: None,
            client_keys: Vec::new(),
            hosts: Vec::new(),
            addresses: Vec::new(),
            ticket: ticket.clone(),
            domain_key: key,
            lock_until_unix_s: 0,
            level,
            names: Some(names()),
        }
    }

    pub async fn grant(&self, ticket: &Ticket, level: Option<Level>, key: Option<Secret>) {
        let grant = self.grant_of(ticket, level, key);
        let reply = self.device(grant).await.unwrap();
        assert!(self.address.ends_with(&format!(":{}", reply.endpoints[0].port)));
    }

    pub fn start_backup(
        &self,
        ticket: &Ticket,
        source: &Path,
        base: Option<SavesetId>,
    ) -> StartBackup {
        StartBackup {
            device_keys: Vec::new(),
            client_keys: Vec::new(),
            outbound: false,
            ticket: ticket.clone(),
            device_addresses: vec![self.address.clone()],
            names: names(),
            kind: TargetKind::Path,
            sources: vec![source.as_os_str().as_bytes().to_vec()],
            excludes: Vec::new(),
            exclude_caches: false,
            one_file_system: false,
            file_bytes_max: None,
            stream_command: None,
            level: if base.is_some() { Level::Incr } else { Level::Full },
            base,
            domain_key: Some(key()),
            pre_command: None,
            post_command: None,
            command_timeout_s: None,
        }
    }

    pub async fn backup(&self, source: &Path, base: Option<SavesetId>) -> (SavesetId, JobResult) {
        let saveset = self.saveset();
        let ticket = self.ticket(Direction::Backup, saveset);
        let request = self.start_backup(&ticket, source, base);
        self.grant(&ticket, Some(request.level), None).await;
        (saveset, self.client(request).await.unwrap().result)
    }

    pub fn start_restore(&self, ticket: &Ticket, target: &Path) -> StartRestore {
        StartRestore {
            other_copies: Vec::new(),
            datastore: String::new(),
            device_keys: Vec::new(),
            client_keys: Vec::new(),
            outbound: false,
            ticket: ticket.clone(),
            device_addresses: vec![self.address.clone()],
            saveset: ticket.saveset,
            domain_key: Some(key()),
            selection: Vec::new(),
            patterns: Vec::new(),
            target: target.as_os_str().as_bytes().to_vec(),
            overwrite: Overwrite::Never,
            specials: true,
            owners: true,
            dry_run: false,
        }
    }

    pub async fn restore(&self, saveset: SavesetId, target: &Path) -> JobResult {
        let ticket = self.ticket(Direction::Restore, saveset);
        self.grant(&ticket, None, None).await;
        self.client(self.start_restore(&ticket, target)).await.unwrap().result
    }

    pub async fn state(&self, ticket: &Ticket) -> Result<TransferStateReply, VerbError> {
        self.device(TransferState { transfer: ticket.transfer }).await
    }
}

pub fn names() -> SavesetNames {
    SavesetNames { client: "here".into(), task: "documents".into() }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// A small tree: text, an empty file, a large file, a link.
pub fn make_tree(root: &Path) {
    std::fs::create_dir_all(root.join("sub/empty")).unwrap();
    std::fs::write(root.join("hello.txt"), "hello, hello\n").unwrap();
    std::fs::write(root.join("nothing"), "").unwrap();
    std::fs::write(root.join("sub/large"), noise(3 << 20, 1)).unwrap();
    for number in 0..40 {
        std::fs::write(root.join(format!("sub/{number}.bin")), noise(9000, 100 + number)).unwrap();
    }
    std::os::unix::fs::symlink("hello.txt", root.join("link")).unwrap();
}

/// Bytes that do not compress.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Waits until `true`, at most ten seconds.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited ten seconds for: {what}");
}
