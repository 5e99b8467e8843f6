//! The Server: opening its state, and the tasks that run beside the verbs.

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use simsim_catalog::{AuditEntry, Client, ClientId, NewClient, Within};
use simsim_control::verbs::Roles;
use simsim_control::{Hello, Identity, Timing};
use simsim_net::BoxedWire;
use simsim_net::outbound::Purpose;
use simsim_transfer::DataPorts;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ServerError;
use crate::audit_head;
use crate::books::Books;
use crate::catalogs;
use crate::clock::now_unix_ms;
use crate::config::{ServerConfig, host_name};
use crate::desk;
use crate::house::House;
use crate::jobs::{Announcer, Jobs};
use crate::keys::{DomainKeys, KitStore};
use crate::nodes::{Dialers, Nodes, OwnHost};
use crate::notices;
use crate::prune;
use crate::rates;
use crate::reconcile;
use crate::retention;
use crate::rights::{Object, Principal, Right};
use crate::scheduler;
use crate::search::{self, Searching};

/// The setting that remembers which client is the Server's own host.
const OWN_CLIENT: &str = "own.client";
/// How often the end of the audit chain is kept beside the catalog, the time is written down, and what
/// could not be deleted yet is tried again.
const HEAD_INTERVAL: Duration = Duration::from_secs(60);
/// How long a stop waits for what runs beside the verbs.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How to start the Server.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// The state folder of the whole suite; the Server's part lies in `<state>/server`.
    pub state: PathBuf,
    pub config: ServerConfig,
    /// The file that the daemon's settings were read from, if any: it goes into the server's own backups.
    pub settings_file: Option<PathBuf>,
    /// `host:port` of this host's own control listener, over loopback.
    pub dial_self: Vec<String>,
    /// The same of its listener for CTRL; empty where its settings do not enable it.
    pub dial_self_ctrl: Vec<String>,
    /// The port on which hosts that nobody can dial call this one (row `https`); none where it takes no calls.
    pub called_at: Option<u16>,
    /// Time limits of control sessions.
    pub timing: Timing,
    /// For FTP in active mode: ports of this host.
    pub data_ports: DataPorts,
}

/// The running Server. Cheap to clone. Its verbs are in `desk`, by subject.
#[derive(Clone)]
pub struct Server {
    pub(crate) house: Arc<House>,
}

/// The identity of the Server: the key that it logs in to nodes with, and the host key of the
/// listener that other hosts join at. Made at first use.
pub fn open_identity(state: &Path) -> Result<Identity, ServerError> {
    let folder = make_folder(state)?;
    Identity::load_or_create(&folder.join("identity"))
        .map_err(|error| ServerError::Key(error.to_string()))
}

impl Server {
    /// Opens the state and begins to reach nodes and run jobs. Jobs that ran when the Server ended
    /// are picked up.
    ///
    /// Errors: `Busy` while another server runs on the same state; `Corrupt` for a damaged
    /// catalog or key.
    pub async fn start(options: StartOptions) -> Result<Self, ServerError> {
        let StartOptions {
            state,
            config,
            settings_file,
            dial_self,
            dial_self_ctrl,
            called_at,
            timing,
            data_ports,
        } = options;
        let folder = make_folder(&state)?;
        let identity = open_identity(&state)?;
        let (master, catalog) = {
            let (folder, setting) = (folder.clone(), config.catalog.clone());
            tokio::task::spawn_blocking(move || catalogs::open(&folder, &setting))
                .await
                .map_err(|error| ServerError::Lost(error.to_string()))??
        };
        let books = Books::new(catalog);
        let own = enrol_own_host(&books, &config, &identity).await?;
        let name = config.name_or_host();
        let hello = Hello::new(name.clone(), Roles::SERVER);
        let dialers = Dialers::new(&identity, &hello, timing);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let own_host = OwnHost {
            id: own.id,
            name: own.name.clone(),
            smssh: dial_self,
            ctrl: dial_self_ctrl,
            https: called_at,
        };
        let (nodes, reached) =
            Nodes::new(dialers, books.clone(), own_host, stop.clone(), tasks.clone());
        let wrapping = master.wrapping().clone();
        let house = Arc::new(House {
            search: Searching::new(&folder),
            folder,
            name,
            own_name: own.name,
            identity,
            nodes,
            jobs: Jobs::new(books.clone(), Announcer::new()),
            scheduler: Default::default(),
            streams: Default::default(),
            domain_keys: DomainKeys::new(wrapping.clone()),
            kit: KitStore::new(wrapping.clone()),
            master: wrapping,
            authority: Default::default(),
            people: Default::default(),
            figures: Default::default(),
            readiness: Default::default(),
            started_unix_ms: now_unix_ms(),
            silence_max: timing.dead + Duration::from_secs(u64::from(config.silent_grace_s)),
            unrevoked: Default::default(),
            data_ports,
            stop,
            tasks,
            books,
            config,
            settings_file,
        });
        let server = Self { house };
        server.begin(reached).await?;
        Ok(server)
    }

    async fn begin(&self, reached: mpsc::UnboundedReceiver<ClientId>) -> Result<(), ServerError> {
        let house = &self.house;
        for client in house.books.run(|catalog| catalog.clients()).await? {
            if client.is_enrolled() {
                house.nodes.add(&client);
            }
        }
        let start = AuditEntry {
            principal: "server".to_owned(),
            verb: "server.start".to_owned(),
            object: house.name.clone(),
            allowed: true,
            detail: env!("CARGO_PKG_VERSION").to_owned(),
        };
        house.books.audit(start).await?;
        let jobs = house.jobs.clone().run(Arc::clone(house));
        spawn_until(house, jobs);
        spawn_until(house, scheduler::run(Arc::downgrade(house)));
        spawn_until(house, reconcile::run(Arc::downgrade(house), reached));
        spawn_until(house, search::run(Arc::downgrade(house)));
        spawn_until(house, notices::look_on(Arc::downgrade(house)));
        spawn_until(house, notices::deliver_on(Arc::downgrade(house)));
        spawn_until(house, prune::run(Arc::downgrade(house)));
        spawn_until(house, rates::keep_told(Arc::downgrade(house)));
        spawn_until(house, desk::probe_on(Arc::downgrade(house)));
        let weak = Arc::downgrade(house);
        spawn_until(house, async move {
            loop {
                tokio::time::sleep(HEAD_INTERVAL).await;
                let Some(house) = weak.upgrade() else { return };
                if let Err(error) = audit_head::keep(&house).await {
                    tracing::warn!(%error, "the end of the audit chain could not be kept");
                }
                retention::look(&house).await;
            }
        });
        Ok(())
    }

    /// Stops dialling and starting. Running jobs go on at their clients, and are picked up by the
    /// next start.
    pub async fn stop(&self) {
        if let Err(error) = audit_head::keep(&self.house).await {
            tracing::warn!(%error, "the end of the audit chain could not be kept");
        }
        self.house.stop.cancel();
        self.house.tasks.close();
        if tokio::time::timeout(STOP_PATIENCE, self.house.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }

    /// Takes a connection that a host opened because nobody can dial it, and serves it to its end: a call,
    /// or one over which it joins.
    pub async fn take_call(&self, wire: BoxedWire, from: IpAddr) {
        let Some(caller) = self.house.nodes.begun(wire, from).await else { return };
        match caller.begun.purpose {
            Purpose::Call => self.house.nodes.take_call(caller).await,
            Purpose::Join => self.take_joiner(caller).await,
        }
    }

    /// The identity to listen with on this host.
    pub fn identity(&self) -> &Identity {
        &self.house.identity
    }

    /// The name under which the Server's own host is enrolled.
    pub fn own_name(&self) -> &str {
        &self.house.own_name
    }

    /// Checks a right for something that changes nothing. A refusal is written down.
    pub(crate) async fn may_see(
        &self,
        who: &Principal,
        right: Right,
        verb: &'static str,
        object: Object<'_>,
    ) -> Result<(), ServerError> {
        let Err(refusal) = who.check(right, verb, object) else { return Ok(()) };
        self.write_down(who, verb, object.to_string(), false, refusal.to_string()).await?;
        Err(refusal)
    }

    /// Checks that somebody may see anything that a list could hold, of one client where it is named. Which rows that
    /// is; `None`: all of them.
    pub(crate) async fn may_list(
        &self,
        who: &Principal,
        verb: &'static str,
        client: Option<&str>,
    ) -> Result<Option<Within>, ServerError> {
        let Some(within) = who.within(Right::View) else { return Ok(None) };
        match client {
            Some(client) => {
                self.may_see_of(who, Right::View, verb, client).await?;
                Ok((!who.may(Right::View, Object::Client(client))).then_some(within))
            }
            None => {
                if within.is_empty() {
                    self.may_see(who, Right::View, verb, Object::Suite).await?;
                }
                Ok(Some(within))
            }
        }
    }

    /// Checks a right for a client, or for a task of it.
    pub(crate) async fn may_see_of(
        &self,
        who: &Principal,
        right: Right,
        verb: &'static str,
        client: &str,
    ) -> Result<(), ServerError> {
        match who.reaches(right, client) {
            true => Ok(()),
            false => self.may_see(who, right, verb, Object::Client(client)).await,
        }
    }

    /// Checks a right for something that changes the suite, and writes the act down *before* it
    /// is done: an act that cannot be written down is refused.
    pub(crate) async fn may_do(
        &self,
        who: &Principal,
        right: Right,
        verb: &'static str,
        object: Object<'_>,
        detail: impl Into<String> + Send,
    ) -> Result<(), ServerError> {
        self.may_see(who, right, verb, object).await?;
        self.write_down(who, verb, object.to_string(), true, detail.into()).await
    }

    pub(crate) async fn write_down(
        &self,
        who: &Principal,
        verb: &'static str,
        object: String,
        allowed: bool,
        detail: String,
    ) -> Result<(), ServerError> {
        let entry = AuditEntry {
            principal: who.name().to_owned(),
            verb: verb.to_owned(),
            object,
            allowed,
            detail,
        };
        self.house.books.audit(entry).await
    }
}

fn spawn_until(house: &House, work: impl Future<Output = ()> + Send + 'static) {
    let stop = house.stop.clone();
    house.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}

fn make_folder(state: &Path) -> Result<PathBuf, ServerError> {
    let folder = state.join("server");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|source| ServerError::io("make the folder", &folder, source))?;
    Ok(folder)
}

/// The Server's own host as a client. Its row keeps the name that it was given first.
async fn enrol_own_host(
    books: &Books,
    config: &ServerConfig,
    identity: &Identity,
) -> Result<Client, ServerError> {
    let advertise =
        if config.advertise.is_empty() { vec![host_name()] } else { config.advertise.clone() };
    let new = NewClient {
        name: config.name_or_host(),
        host_key: identity.public().to_string(),
        addresses: advertise,
        listen_port: config.control_port,
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    books
        .run(move |catalog| {
            let kept = catalog.setting(OWN_CLIENT)?.and_then(|name| String::from_utf8(name).ok());
            let new = NewClient { name: kept.clone().unwrap_or_else(|| new.name.clone()), ..new };
            if kept.is_some() {
                let there = catalog.client(&new.name)?;
                let same = there.is_enrolled()
                    && there.host_key == new.host_key
                    && there.addresses == new.addresses
                    && there.listen_port == new.listen_port;
                if same {
                    return Ok(there);
                }
            }
            let client = catalog.enrol_self(&new, now_unix_ms())?;
            catalog.set_setting(OWN_CLIENT, new.name.as_bytes())?;
            Ok(client)
        })
        .await
}
