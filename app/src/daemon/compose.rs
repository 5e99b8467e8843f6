//! What runs where, and nothing else:
//!
//! ```text
//! client = client
//! rds    = client + device
//! server = client + device + server
//! ```
//!
//! The port table follows from these sums: a client listens for its server (row `smssh`), a device
//! also for data (`http`), a server also for people (`console`).

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use simsim_client::Client;
use simsim_console::{Api, TlsIdentity};
use simsim_control::verbs::{DataEndpoint, ListeningAddress, Roles};
use simsim_control::{Hello, Identity, SmsshListener, Timing};
use simsim_device::Device;
use simsim_model::Kind;
use simsim_model::port_registry::{CONSOLE, HTTP, Listen, SMSSH};
use simsim_server::{Server, StartOptions, open_identity};
use simsim_transfer::{HttpListener, ListenOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::console::ServerConsole;
use super::enrolment::Enrolment;
use super::listen::{Opened, WhenTaken, open};
use super::node::{Node, Orders};
use super::settings::{Settings, host_name};
use crate::exit::Failure;
use crate::state::{Lock, State};

/// Jobs and connections get this long to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A server that is obeyed no more is shut out within this time; to look costs one small file.
const ENROLMENT_RECHECK: Duration = Duration::from_secs(2);

/// What a host of the suite is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Rds,
    Server,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Rds => "rds",
            Role::Server => "server",
        }
    }

    const fn roles(self) -> Roles {
        match self {
            Role::Client => Roles::CLIENT,
            Role::Rds => Roles::RDS,
            Role::Server => Roles::SERVER,
        }
    }

    const fn has_device(self) -> bool {
        matches!(self, Role::Rds | Role::Server)
    }
}

/// A listener, for people.
pub struct Listening {
    pub row: &'static Listen,
    pub address: SocketAddr,
    pub notice: Option<String>,
}

/// A host of the suite that runs in this process.
pub struct Running {
    pub server: Option<Server>,
    pub listening: Vec<Listening>,
    client: Arc<Client>,
    device: Option<Arc<Device>>,
    shutdown: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    lock: Lock,
}

/// Starts what `role` is made of, on a state folder that nobody else works with.
pub async fn start(
    role: Role,
    state: &State,
    settings: &Settings,
    when_taken: WhenTaken,
) -> Result<Running, Failure> {
    let lock = state.lock(role.as_str())?;
    if role != Role::Server && state.is_of_server() {
        let text = format!(
            "the state folder {} is a server's: start 'simsim server' on it, or name another with \
             --state",
            state.folder().display()
        );
        return Err(Failure::new(Kind::Invalid, text));
    }
    let ports = Ports::open(role, settings, when_taken).await?;
    let (identity, orders, name) = who_am_i(role, state, settings, &ports)?;
    let handle = tokio::runtime::Handle::current();
    let client = Client::new(&state.file("client"), settings.client_options(), handle);
    let device = match role.has_device() {
        true => Some(open_device(state, settings, &ports.http).await?),
        false => None,
    };
    let node = Arc::new(Node {
        name: name.clone(),
        roles: role.roles(),
        started: Instant::now(),
        client: Arc::clone(&client),
        device: device.clone(),
        server: OnceLock::new(),
        orders,
        listening: ports.told(),
    });
    let (shutdown, ended) = watch::channel(false);
    let listening = ports.listening();
    let mut running =
        Running { server: None, listening, client, device, shutdown, tasks: Vec::new(), lock };
    running.serve(role, state, settings, ports, node, &identity, &name, ended).await?;
    Ok(running)
}

/// The listeners of a role, open.
struct Ports {
    smssh: Vec<Opened>,
    http: Vec<Opened>,
    console: Vec<Opened>,
}

impl Ports {
    async fn open(role: Role, settings: &Settings, taken: WhenTaken) -> Result<Self, Failure> {
        let smssh = open(&SMSSH, "--listen", &settings.smssh(), taken).await?;
        let http = match role.has_device() {
            true => open(&HTTP, "--http", &settings.http(), taken).await?,
            false => Vec::new(),
        };
        let console = match role {
            Role::Server => open(&CONSOLE, "--console", &settings.console(), taken).await?,
            Role::Rds | Role::Client => Vec::new(),
        };
        Ok(Self { smssh, http, console })
    }

    fn rows(&self) -> impl Iterator<Item = (&'static Listen, &Opened)> {
        let rows = [(&SMSSH, &self.smssh), (&HTTP, &self.http), (&CONSOLE, &self.console)];
        rows.into_iter().flat_map(|(row, opened)| opened.iter().map(move |one| (row, one)))
    }

    fn told(&self) -> Vec<ListeningAddress> {
        self.rows().map(|(row, one)| one.told(row)).collect()
    }

    fn listening(&self) -> Vec<Listening> {
        self.rows()
            .map(|(row, one)| Listening { row, address: one.address, notice: one.notice.clone() })
            .collect()
    }
}

/// This host's key, whose orders it takes, and its name.
fn who_am_i(
    role: Role,
    state: &State,
    settings: &Settings,
    ports: &Ports,
) -> Result<(Identity, Orders, String), Failure> {
    if role == Role::Server {
        let identity = open_identity(state.folder())?;
        let orders = Orders::Own(identity.public());
        return Ok((identity, orders, settings.name_or_host()));
    }
    let identity = Identity::load_or_create(&state.file("identity"))?;
    let enrolment = Enrolment::file(state);
    let name = match Enrolment::load(&enrolment)? {
        Some(joined) => {
            tracing::info!(server = joined.server, name = joined.name, "obeys");
            if !ports.smssh.iter().any(|one| one.address.port() == joined.port) {
                tracing::warn!(
                    "the server dials port {}, where nobody listens: listen there, or tell it \
                     with 'simsim client addresses' on its host",
                    joined.port
                );
            }
            joined.name
        }
        None => {
            tracing::warn!(
                "this host has joined no server yet: 'simsim client join SERVER --code CODE', \
                 with a code that 'simsim client code NAME' makes there"
            );
            settings.name_or_host()
        }
    };
    Ok((identity, Orders::Enrolled(enrolment), name))
}

/// Opening datastores reads their indexes and may take a while.
async fn open_device(
    state: &State,
    settings: &Settings,
    http: &[Opened],
) -> Result<Arc<Device>, Failure> {
    let (folder, options) = (state.file("device"), settings.device_options());
    let device =
        tokio::task::spawn_blocking(move || Device::new(&folder, options)).await.map_err(
            |_| Failure::new(Kind::Internal, "the device did not start; the log says why"),
        )??;
    let endpoint =
        |one: &Opened| DataEndpoint { row: HTTP.id.to_owned(), port: one.address.port() };
    let mut endpoints: Vec<DataEndpoint> = http.iter().map(endpoint).collect();
    endpoints.dedup();
    device.set_endpoints(endpoints);
    Ok(device)
}

impl Running {
    #[allow(clippy::too_many_arguments)]
    async fn serve(
        &mut self,
        role: Role,
        state: &State,
        settings: &Settings,
        ports: Ports,
        node: Arc<Node>,
        identity: &Identity,
        name: &str,
        ended: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let timing = Timing { recheck: ENROLMENT_RECHECK, ..Timing::default() };
        let control_port = ports.smssh.first().map_or(0, |one| one.address.port());
        let dial_self = ports.smssh.iter().map(|one| one.own_address().to_string()).collect();
        for one in ports.smssh {
            let hello = Hello::new(name, role.roles());
            let (policy, handler) = (Arc::clone(&node) as Arc<_>, Arc::clone(&node) as Arc<_>);
            let door = SmsshListener::with_timing(identity, hello, policy, handler, timing);
            self.tasks.push(tokio::spawn(door.serve(one.listener, until(ended.clone()))));
        }
        for (one, device) in ports.http.into_iter().zip(self.device.iter().cycle()) {
            let (handler, options) = (Arc::clone(device) as Arc<_>, ListenOptions::default());
            let data = HttpListener::serve(one.listener, handler, options, until(ended.clone()));
            self.tasks.push(tokio::spawn(data));
        }
        if role == Role::Server {
            let mut config = settings.server.clone();
            name.clone_into(&mut config.name);
            config.control_port = control_port;
            if config.advertise.is_empty() {
                config.advertise.push(host_name());
            }
            let options =
                StartOptions { state: state.folder().to_owned(), config, dial_self, timing };
            let server = Server::start(options).await?;
            self.server = Some(server.clone());
            let _ = node.server.set(server.clone());
            let api: Arc<dyn Api> = Arc::new(ServerConsole { server, name: name.to_owned() });
            simsim_console::serve_local(&state.socket(), Arc::clone(&api), ended.clone()).await?;
            let names = vec!["localhost".to_owned(), name.to_owned()];
            let tls = TlsIdentity::open(state.folder(), names)?;
            for one in ports.console {
                let (api, ended) = (Arc::clone(&api), ended.clone());
                simsim_console::serve_tls(one.listener, &tls, api, ended);
            }
        }
        self.lock.set_control_port(control_port)
    }

    /// Ends in order: no new jobs, no new connections, then what runs; datastores close last.
    /// Jobs that run at other hosts go on there, and the next start picks them up.
    pub async fn stop(self) {
        if let Some(server) = &self.server {
            server.stop().await;
        }
        self.client.close(STOP_PATIENCE).await;
        let _ = self.shutdown.send(true);
        for task in self.tasks {
            if tokio::time::timeout(STOP_PATIENCE * 2, task).await.is_err() {
                tracing::warn!("a listener did not end in time");
            }
        }
        if let Some(device) = &self.device {
            let closed = device.close(STOP_PATIENCE);
            if tokio::time::timeout(STOP_PATIENCE * 2, closed).await.is_err() {
                tracing::error!(
                    "a datastore does not close; it will be opened as after a power cut"
                );
            }
        }
    }
}

async fn until(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|end| *end).await;
}
