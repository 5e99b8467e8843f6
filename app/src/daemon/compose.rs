//! What runs where, and nothing else:
//!
//! ```text
//! client = client
//! rds    = client + device
//! server = client + device + server
//! ```
//!
//! The port table follows from these sums: a client listens for its server (row `smssh`, and `ctrl`
//! where the settings enable it), a device also for data (`http`, and `https` and `ftp` where they
//! are switched on), a server also for people (`console`). A local socket is for the owner of each.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use simsim_client::{Client, ClientOptions};
use simsim_console::{Api, TlsIdentity as ConsoleIdentity};
use simsim_control::verbs::{DataEndpoint, ListeningAddress, Roles};
use simsim_control::{CtrlListener, Hello, Identity, SmsshListener, Timing};
use simsim_device::Device;
use simsim_model::Kind;
use simsim_model::interface::Scheme;
use simsim_model::port_registry::{
    CONSOLE, CTRL, DRIVE, FTP, FTP_DATA, HTTP, HTTPS, Listen, SMSSH,
};
use simsim_net::Admission;
use simsim_net::outbound::{Current, OUTBOUND_PROTOCOL, Opener};
use simsim_net::tls::{Peers, TlsDoor, TlsIdentity};
use simsim_server::{Server, StartOptions, open_identity};
use simsim_transfer::{
    DataPorts, DeviceGate, Entrance, FtpListener, FtpOptions, ListenOptions, TransferListener,
};
use simsim_web::Web;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::client_console::ClientConsole;
use super::console::ServerConsole;
use super::drives::{DrivePorts, first_base};
use super::enrolment::Enrolment;
use super::listen::{Opened, WhenTaken, open};
use super::node::{Node, Orders, Relayed};
use super::outbound::{Calls, OutboundCall};
use super::settings::{Settings, host_name};
use super::witness::Witness;
use crate::exit::Failure;
use crate::state::{HeldPort, Lock, State};

/// Jobs and connections get this long to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A server that is obeyed no more is shut out within this time; to look costs one small file.
const ENROLMENT_RECHECK: Duration = Duration::from_secs(2);

/// Calls of other hosts that wait to be taken up; a further one is closed, and its host calls again.
const CALLS_WAITING_MAX: usize = 64;

/// A client of the suite has four connections for a transfer, and one to ask whether it is heard.
const CONNECTIONS_OF_A_TRANSFER: usize = 6;

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

    pub const fn has_device(self) -> bool {
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
    let calls = role != Role::Server && calls_its_server(state, settings)?;
    let ports = Ports::open(role, settings, calls, when_taken).await?;
    let (identity, orders, name) = who_am_i(role, state, settings, &ports, calls)?;
    let handle = tokio::runtime::Handle::current();
    let tls = Arc::new(TlsIdentity::open(state.folder(), &tls_names(settings, &name))?);
    let data_ports = settings.data_ports()?;
    let options = settings.client_options(Arc::clone(&tls), data_ports.clone());
    let outbound = Current::default();
    let opener: Arc<dyn Opener> = Arc::new(outbound.clone());
    let options = ClientOptions { host: name.clone(), outbound: Some(opener), ..options };
    let client = Client::new(&state.file("client"), options, handle);
    let device = match role.has_device() {
        true => Some(open_device(state, settings, &ports, &tls).await?),
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
        listening: ports.told(&data_ports),
        drive_base: first_base(&ports.drive),
        tls: Arc::clone(&tls),
        relayed: Relayed::default(),
        witness: Witness::new(state),
        relays_calls: role != Role::Server && !settings.relay_calls_to().is_empty(),
    });
    let (shutdown, ended) = watch::channel(false);
    let listening = ports.listening();
    let mut running =
        Running { server: None, listening, client, device, shutdown, tasks: Vec::new(), lock };
    if role != Role::Server {
        let (policy, handler) = (Arc::clone(&node) as Arc<_>, Arc::clone(&node) as Arc<_>);
        let (hello, timing) = (Hello::new(&*name, role.roles()), timing());
        let call = OutboundCall {
            servers: settings.outbound(),
            enrolment: Enrolment::file(state),
            listener: CtrlListener::with_timing(&identity, hello, policy, handler, timing),
            current: outbound,
        };
        running.tasks.push(tokio::spawn(call.keep(ended.clone())));
    }
    running.serve(role, state, settings, ports, data_ports, node, &identity, &name, ended).await?;
    Ok(running)
}

/// The listeners of a role, open.
struct Ports {
    smssh: Vec<Opened>,
    ctrl: Vec<Opened>,
    http: Vec<Opened>,
    https: Vec<Opened>,
    ftp: Vec<Opened>,
    console: Vec<Opened>,
    /// Addresses for the ports of drives, which open with their drives.
    drive: Vec<SocketAddr>,
}

impl Ports {
    /// `calls`: this host calls its server, and listens for no orders.
    async fn open(
        role: Role,
        settings: &Settings,
        calls: bool,
        taken: WhenTaken,
    ) -> Result<Self, Failure> {
        let (smssh, ctrl) = match calls {
            true => (Vec::new(), Vec::new()),
            false => (settings.smssh(), settings.ctrl()),
        };
        if smssh.is_empty() && ctrl.is_empty() && !calls {
            let text = "listen.smssh: at least one address, where listen.ctrl has none either and \
                        this host does not call its server (client.outbound)";
            return Err(Failure::new(Kind::Invalid, text));
        }
        if role == Role::Server && smssh.is_empty() {
            let text = "listen.smssh: a server needs an address: its own client is reached there, and hosts join";
            return Err(Failure::new(Kind::Invalid, text));
        }
        // Without it an RDS or a client can do nothing at all; a server still has its other hosts.
        let steered = match (role, taken) {
            (Role::Rds | Role::Client, WhenTaken::GoOn) => WhenTaken::Refuse,
            (_, taken) => taken,
        };
        let only_ctrl = smssh.is_empty();
        let smssh = open(&SMSSH, "--listen", &smssh, steered).await?;
        let ctrl = open(&CTRL, "--ctrl", &ctrl, if only_ctrl { steered } else { taken }).await?;
        let (mut http, mut https, mut ftp) = (Vec::new(), Vec::new(), Vec::new());
        let drive = if role.has_device() { settings.drive() } else { Vec::new() };
        if role.has_device() {
            http = open(&HTTP, "--http", &settings.http(), taken).await?;
            https = open(&HTTPS, "--https", &settings.https(), taken).await?;
            ftp = open(&FTP, "--ftp", &settings.ftp(), taken).await?;
        }
        let console = match role {
            Role::Server => open(&CONSOLE, "--console", &settings.console(), taken).await?,
            Role::Rds | Role::Client => Vec::new(),
        };
        Ok(Self { smssh, ctrl, http, https, ftp, console, drive })
    }

    fn rows(&self) -> impl Iterator<Item = (&'static Listen, &Opened)> {
        let rows = [
            (&SMSSH, &self.smssh),
            (&CTRL, &self.ctrl),
            (&HTTP, &self.http),
            (&HTTPS, &self.https),
            (&FTP, &self.ftp),
            (&CONSOLE, &self.console),
        ];
        rows.into_iter().flat_map(|(row, opened)| opened.iter().map(move |one| (row, one)))
    }

    /// As the server hears it. Of drives it hears the addresses to which their numbers are added. Of the
    /// range for FTP data it hears both ends, where it is not the registry's: its ports are open while
    /// a transfer runs.
    fn told(&self, data_ports: &DataPorts) -> Vec<ListeningAddress> {
        let mut told: Vec<ListeningAddress> = self.rows().map(|(row, one)| one.told(row)).collect();
        told.extend(self.drive.iter().map(|base| ListeningAddress {
            row: DRIVE.id.to_owned(),
            address: base.to_string(),
            drive: None,
        }));
        let (first, last) = data_ports.range();
        if (first, last) != DataPorts::default().range() {
            let end = |port: u16| ListeningAddress {
                row: FTP_DATA.id.to_owned(),
                address: SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).to_string(),
                drive: None,
            };
            told.extend([end(first), end(last)]);
        }
        told
    }

    fn listening(&self) -> Vec<Listening> {
        self.rows()
            .map(|(row, one)| Listening { row, address: one.address, notice: one.notice.clone() })
            .collect()
    }
}

/// Whether this host calls its server: the settings say so, or it joined like that.
fn calls_its_server(state: &State, settings: &Settings) -> Result<bool, Failure> {
    let joined = Enrolment::load(&Enrolment::file(state))?;
    Ok(!settings.client.outbound.is_empty()
        || joined.is_some_and(|joined| !joined.outbound.is_empty()))
}

/// This host's key, whose orders it takes, and its name.
fn who_am_i(
    role: Role,
    state: &State,
    settings: &Settings,
    ports: &Ports,
    calls: bool,
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
            if calls {
                tracing::info!("this host calls its server, and listens for no orders");
            } else if ports.smssh.is_empty() {
                tracing::warn!(
                    "this host listens for CTRL only: on the server, say 'simsim client set {} \
                     --access-mode ctrl'",
                    joined.name
                );
            } else if !ports.smssh.iter().any(|one| one.address.port() == joined.port) {
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

fn timing() -> Timing {
    Timing { recheck: ENROLMENT_RECHECK, ..Timing::default() }
}

/// The names under which others may reach this host, for its first certificate.
fn tls_names(settings: &Settings, name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned(), host_name()];
    names.extend(settings.server.advertise.iter().cloned());
    names.push("localhost".to_owned());
    names.sort();
    names.dedup();
    names
}

/// Opening datastores reads their indexes and may take a while.
async fn open_device(
    state: &State,
    settings: &Settings,
    ports: &Ports,
    tls: &Arc<TlsIdentity>,
) -> Result<Arc<Device>, Failure> {
    let (folder, options) = (state.file("device"), settings.device_options());
    let device =
        tokio::task::spawn_blocking(move || Device::new(&folder, options)).await.map_err(
            |_| Failure::new(Kind::Internal, "the device did not start; the log says why"),
        )??;
    let mut endpoints: Vec<DataEndpoint> = ports
        .rows()
        .filter(|(row, _)| Scheme::of_row(row.id).is_some())
        .map(|(row, one)| DataEndpoint { row: row.id.to_owned(), port: one.address.port() })
        .collect();
    endpoints.dedup();
    device.set_endpoints(endpoints);
    device.set_tls(Arc::clone(tls));
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
        data_ports: DataPorts,
        node: Arc<Node>,
        identity: &Identity,
        name: &str,
        ended: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let timing = timing();
        let meant = settings.smssh().first().map_or(0, SocketAddr::port);
        let control_port = ports.smssh.first().map_or(meant, |one| one.address.port());
        let own = |ports: &[Opened]| -> Vec<String> {
            ports.iter().map(|one| one.own_address().to_string()).collect()
        };
        let (dial_self, dial_self_ctrl) = (own(&ports.smssh), own(&ports.ctrl));
        let called_at = ports.https.first().map(|one| one.address.port());
        for one in ports.smssh {
            let hello = Hello::new(name, role.roles());
            let (policy, handler) = (Arc::clone(&node) as Arc<_>, Arc::clone(&node) as Arc<_>);
            let door = SmsshListener::with_timing(identity, hello, policy, handler, timing);
            self.tasks.push(tokio::spawn(door.serve(one.listener, until(ended.clone()))));
        }
        for one in ports.ctrl {
            let hello = Hello::new(name, role.roles());
            let (policy, handler) = (Arc::clone(&node) as Arc<_>, Arc::clone(&node) as Arc<_>);
            let door = CtrlListener::with_timing(identity, hello, policy, handler, timing);
            self.tasks.push(tokio::spawn(door.serve(one.listener, until(ended.clone()))));
        }
        let mut data = None;
        if let Some(device) = &self.device {
            let handler = Arc::clone(device) as Arc<_>;
            let mut options = ListenOptions::default();
            let wanted = settings.device.transfers_max * CONNECTIONS_OF_A_TRANSFER;
            options.connections_max = options.connections_max.max(wanted);
            let doors = TransferListener::new(handler, options);
            data = Some(doors.clone());
            let mut entrances: Vec<Entrance> =
                ports.http.into_iter().map(|one| Entrance::http(one.listener)).collect();
            let relay_to = settings.relay_calls_to();
            let takes_calls = role == Role::Server || !relay_to.is_empty();
            let (called, calls) = mpsc::channel(CALLS_WAITING_MAX);
            for one in ports.https {
                let mut spoken: Vec<&[u8]> = Vec::new();
                if takes_calls {
                    spoken.extend([OUTBOUND_PROTOCOL, b"http/1.1"]);
                }
                let door = TlsDoor::speaking(&node.tls, Peers::Anybody, &spoken)?;
                let entrance = Entrance::https(one.listener, door);
                entrances.push(entrance.divert(OUTBOUND_PROTOCOL, called.clone()));
            }
            let calls = Calls {
                young: Admission::new(),
                incoming: calls,
                node: Arc::clone(&node),
                relay_to,
            };
            self.tasks.push(tokio::spawn(calls.take(ended.clone())));
            let door = TlsDoor::new(&node.tls, Peers::Anybody)?;
            let ftp = FtpListener::new(
                doors.clone(),
                data_ports.clone(),
                Some(door),
                FtpOptions::default(),
            );
            for one in ports.ftp {
                self.tasks.push(tokio::spawn(ftp.serve(one.listener, until(ended.clone()))));
            }
            for entrance in entrances {
                self.tasks.push(tokio::spawn(doors.serve(entrance, until(ended.clone()))));
            }
            let bases = ports.drive;
            if !bases.is_empty() {
                let (door, device) = (DrivePorts::door(&node.tls, device)?, Arc::clone(device));
                let lock = self.lock.handle();
                let ports = DrivePorts { device, doors, door, bases, lock };
                self.tasks.push(tokio::spawn(ports.keep(ended.clone())));
            }
        }
        if role == Role::Server {
            let mut config = settings.server.clone();
            name.clone_into(&mut config.name);
            config.control_port = control_port;
            config.console = ports.console.first().map(|one| {
                let local = one.address.ip().is_loopback();
                let host = if local { "localhost".to_owned() } else { host_name() };
                format!("https://{host}:{}", one.address.port())
            });
            if config.advertise.is_empty() {
                config.advertise.push(host_name());
            }
            let state_folder = state.folder().to_owned();
            let options = StartOptions {
                state: state_folder,
                config,
                settings_file: settings.file.clone(),
                dial_self,
                dial_self_ctrl,
                called_at,
                timing,
                data_ports,
            };
            let server = Server::start(options).await?;
            self.server = Some(server.clone());
            // Raw streams of other people's tools: all of them come to the server first.
            if let Some(doors) = &data {
                doors.take_streams(server.stream_gate());
            }
            let _ = node.server.set(server.clone());
            let api: Arc<dyn Api> =
                Arc::new(ServerConsole { web: Web::new(server.clone(), name.to_owned()), server });
            simsim_console::serve_local(&state.socket(), Arc::clone(&api), ended.clone()).await?;
            let names = vec!["localhost".to_owned(), name.to_owned()];
            let tls = ConsoleIdentity::open(state.folder(), names)?;
            for one in ports.console {
                let (api, ended) = (Arc::clone(&api), ended.clone());
                simsim_console::serve_tls(one.listener, &tls, api, ended);
            }
        } else {
            if let (Some(doors), Some(device)) = (&data, &self.device) {
                doors.take_streams(Arc::new(DeviceGate::new(Arc::clone(device) as Arc<_>)));
            }
            let client = Arc::clone(&self.client);
            let api: Arc<dyn Api> = Arc::new(ClientConsole { client });
            simsim_console::serve_local(&state.socket(), api, ended.clone()).await?;
        }
        let held = self
            .listening
            .iter()
            .map(|one| HeldPort { row: one.row.id.to_owned(), address: one.address.to_string() });
        self.lock.set_ports(control_port, held.collect())
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

/// Waits for the end.
pub async fn until(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|end| *end).await;
}
