//! The port plan of this suite, from the catalog; and how its hosts are seen from here.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use simsim_catalog::{
    AccessMode, Client, ClientId, Datastore, DatastoreState, Domain, Drive, Replication, Task,
    TaskSettings,
};
use simsim_control::verbs::{DataEndpoint, ListeningAddress, Ping};
use simsim_model::interface::{Interface, Scheme};
use simsim_model::port_plan::{
    Access, DataProtocol, DataUse, Interface as PlanInterface, PlannedHost, PortConfiguration,
    PortPlan, Replication as PlanReplication, UseKind,
};
use simsim_model::port_registry::{CONSOLE, CTRL, DRIVE, FTP, FTP_DATA, HTTP, HTTPS, Host, SMSSH};

use crate::api::{HostCheck, NameCheck, TaskOptions};
use crate::books::Books;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{Choice, DeviceDoors, address_towards};
use crate::nodes::{control_port, relay_of};
use crate::rights::{Object, Principal, Right};
use crate::streams::is_external;
use crate::{Server, ServerError};

/// A name service gets this long for one name.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);
/// A node gets this long to say what time it is.
const CLOCK_PATIENCE: Duration = Duration::from_secs(5);

/// What the catalog says, as of one moment.
struct Known {
    clients: Vec<Client>,
    datastores: Vec<Datastore>,
    tasks: Vec<Task>,
    domains: Vec<Domain>,
    drives: Vec<Drive>,
    replications: Vec<Replication>,
    /// Interfaces of hosts and choices of clients, by name and in order.
    interfaces: Vec<(String, String)>,
    choices: Vec<(String, String)>,
    joining: Vec<Option<String>>,
    /// The listeners that each host last told of.
    listening: Vec<(ClientId, Vec<Told>)>,
}

impl Server {
    /// Which host dials which, on what port and why: from what is configured at this moment.
    pub async fn port_plan(&self, who: &Principal) -> Result<PortPlan, ServerError> {
        self.may_see(who, Right::View, "see the port plan", Object::Suite).await?;
        Ok(PortPlan::of(&self.port_configuration().await?))
    }

    /// Every enrolled host: reached or not, its clock, its names.
    pub async fn check_hosts(&self, who: &Principal) -> Result<Vec<HostCheck>, ServerError> {
        self.may_see(who, Right::View, "check hosts", Object::Suite).await?;
        let clients = self.house.books.run(|catalog| catalog.clients()).await?;
        let mut waiting = Vec::new();
        for client in clients.into_iter().filter(Client::is_enrolled) {
            let server = self.clone();
            waiting.push(tokio::spawn(async move { server.check_host(client).await }));
        }
        let mut checks = Vec::with_capacity(waiting.len());
        for one in waiting {
            checks.push(one.await.map_err(|error| ServerError::Lost(error.to_string()))?);
        }
        Ok(checks)
    }

    async fn check_host(&self, client: Client) -> HostCheck {
        let status = self.house.nodes.status(client.id);
        let line = status.as_ref().and_then(|status| status.line.clone());
        let trouble = status.and_then(|status| status.last_error).map(|(_, why)| why);
        let mut check = HostCheck {
            name: client.name.clone(),
            connected: line.is_some(),
            trouble: trouble.filter(|_| line.is_none()),
            clock_difference_ms: None,
            round_trip_us: None,
            names: Vec::new(),
        };
        if let Some(line) = line {
            let (asked, begun) = (now_unix_ms(), Instant::now());
            let answer = tokio::time::timeout(CLOCK_PATIENCE, line.call(Ping {})).await;
            let round_trip = begun.elapsed();
            match answer {
                Ok(Ok(reply)) => {
                    let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
                    check.clock_difference_ms = Some(reply.unix_ns / 1_000_000 - asked - half);
                    let round_trip = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                    check.round_trip_us = Some(round_trip);
                }
                Ok(Err(error)) => check.trouble = Some(error.full_message()),
                Err(_) => {
                    let seconds = CLOCK_PATIENCE.as_secs();
                    check.trouble = Some(format!("no answer within {seconds} s"));
                }
            }
        }
        for name in &client.addresses {
            let (addresses, trouble) = match resolve(name).await {
                Ok(addresses) => (addresses, None),
                Err(why) => (Vec::new(), Some(why)),
            };
            check.names.push(NameCheck { name: name.clone(), addresses, trouble });
        }
        check
    }

    async fn known(&self) -> Result<Known, ServerError> {
        self.house
            .books
            .run(|catalog| {
                let clients: Vec<Client> =
                    catalog.clients()?.into_iter().filter(Client::is_enrolled).collect();
                let mut listening = Vec::new();
                for client in &clients {
                    let kept = catalog.setting(&listening_setting(client.id))?;
                    let told = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                    listening.push((client.id, told.unwrap_or_default()));
                }
                Ok(Known {
                    clients,
                    datastores: catalog.datastores()?,
                    tasks: catalog.tasks()?,
                    domains: catalog.domains()?,
                    drives: catalog.drives()?,
                    replications: catalog.replications()?,
                    interfaces: catalog.all_interfaces()?,
                    choices: catalog.all_client_choices()?,
                    joining: catalog.names_joining(now_unix_ms())?,
                    listening,
                })
            })
            .await
    }

    /// The configuration of the plan.
    pub(crate) async fn port_configuration(&self) -> Result<PortConfiguration, ServerError> {
        let known = self.known().await?;
        let own = self.house.nodes.own();
        let mut configuration = PortConfiguration {
            joining: known.joining.iter().map(|name| name.clone().unwrap_or_default()).collect(),
            ..PortConfiguration::default()
        };
        for client in &known.clients {
            let addresses = match client.id == own {
                true => self.own_addresses(&known.clients).await,
                false => addresses_of(&client.addresses).await,
            };
            let role = role(client, client.id == own);
            let mut host = PlannedHost::new(&client.name, role, addresses);
            let told = known.listening.iter().find(|(id, _)| *id == client.id);
            told.into_iter().for_each(|(_, told)| listens(&mut host, told));
            // What the server really dials counts, whatever the host says.
            set_port(&mut host, SMSSH.id, client.listen_port);
            match client.access_mode {
                AccessMode::Smssh => {}
                AccessMode::Ctrl => {
                    host.access = Access::Ctrl;
                    set_port(&mut host, CTRL.id, control_port(client));
                }
                AccessMode::Outbound => {
                    let id = client.id;
                    let relay = self.house.books.run(move |catalog| relay_of(catalog, id)).await?;
                    host.access = Access::Outbound { relay };
                }
            }
            configuration.hosts.push(host);
        }
        configuration.uses = uses(&known, own).await;
        configuration.replications = replications(&known);
        Ok(configuration)
    }

    /// Addresses of this host as others see them: those that it is known under, and those that its
    /// packets to them bear. Loopback leads nowhere from elsewhere.
    async fn own_addresses(&self, clients: &[Client]) -> Vec<IpAddr> {
        let mut addresses = addresses_of(&self.house.config.advertise).await;
        for client in clients.iter().filter(|client| client.id != self.house.nodes.own()) {
            addresses.extend(address_towards(client).await);
        }
        if addresses.is_empty() {
            addresses = addresses_of(std::slice::from_ref(&self.house.own_name)).await;
        }
        distinct(addresses)
    }
}

/// One listener that a host told of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Told {
    row: String,
    address: String,
}

/// Where the listeners of a host are remembered, so that a plan does not depend on who is awake.
fn listening_setting(id: ClientId) -> String {
    format!("ports.told.{}", id.0)
}

/// Remembers what a node says that it listens on. A plan without it has the registry's ports.
pub(crate) async fn remember(books: &Books, id: ClientId, listening: &[ListeningAddress]) {
    const TOLD_MAX: usize = 64;
    const ROW_BYTES_MAX: usize = 32;
    let told: Vec<Told> = listening
        .iter()
        .filter(|one| one.row.len() <= ROW_BYTES_MAX)
        .filter(|one| one.address.parse::<std::net::SocketAddr>().is_ok())
        .take(TOLD_MAX)
        .map(|one| Told { row: one.row.clone(), address: one.address.clone() })
        .collect();
    let kept = books
        .run(move |catalog| {
            let Ok(bytes) = serde_json::to_vec(&told) else { return Ok(()) };
            let name = listening_setting(id);
            if catalog.setting(&name)?.as_deref() == Some(bytes.as_slice()) {
                return Ok(());
            }
            catalog.set_setting(&name, &bytes)
        })
        .await;
    if let Err(error) = kept {
        tracing::warn!(%error, "what a node listens on could not be kept");
    }
}

/// The ports for FTP data that a host last told of, else those of the registry.
pub(crate) async fn ftp_range(house: &House, id: ClientId) -> Result<(u16, u16), ServerError> {
    let kept = house.books.run(move |catalog| catalog.setting(&listening_setting(id))).await?;
    let told: Vec<Told> =
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut host = PlannedHost::new("", Host::Client, Vec::new());
    listens(&mut host, &told);
    Ok(host.ports.ftp_data())
}

fn role(client: &Client, is_own: bool) -> Host {
    match (is_own, client.has_role("device")) {
        (true, _) => Host::Server,
        (false, true) => Host::Rds,
        (false, false) => Host::Client,
    }
}

fn listens(host: &mut PlannedHost, told: &[Told]) {
    for one in told {
        let Ok(address) = one.address.parse::<std::net::SocketAddr>() else { continue };
        // Of several listeners of a row the first that others can reach counts.
        let beyond = !address.ip().is_loopback();
        for row in [&CTRL, &HTTP, &HTTPS, &FTP, &CONSOLE] {
            if one.row == row.id
                && (beyond || !host.ports.changed.iter().any(|(id, _)| id == row.id))
            {
                set_port(host, row.id, address.port());
            }
        }
        host.console_is_open |= one.row == CONSOLE.id && beyond;
        // Of a range its first and its last port are told.
        if one.row == FTP_DATA.id {
            let port = address.port();
            let (first, last) = host.ports.ftp_range.unwrap_or((port, port));
            host.ports.ftp_range = Some((first.min(port), last.max(port)));
        }
    }
}

fn set_port(host: &mut PlannedHost, row: &str, port: u16) {
    host.ports.changed.retain(|(id, _)| id != row);
    host.ports.changed.push((row.to_owned(), port));
}

/// Who needs whose data port: tasks, savesets that may be restored, and the server that looks into
/// savesets; each by the interfaces that its job would take.
async fn uses(known: &Known, own: ClientId) -> Vec<DataUse> {
    let of = |id: ClientId| known.clients.iter().find(|client| client.id == id);
    let mut uses = Vec::new();
    for datastore in &known.datastores {
        let Some(device) = of(datastore.device) else { continue };
        if datastore.state != DatastoreState::Active {
            continue;
        }
        // Who dials, by what, why, and whether it is this process itself.
        let mut wanted: Vec<(&Client, Vec<String>, String, bool)> = Vec::new();
        let leads_here = |settings: &TaskSettings| match &settings.drive_group {
            Some(group) => known
                .drives
                .iter()
                .any(|one| one.store == datastore.store && one.group.as_ref() == Some(group)),
            None => settings.store == datastore.store,
        };
        for task in known.tasks.iter().filter(|task| leads_here(&task.settings)) {
            let Some(client) = of(task.client_id) else { continue };
            let options: TaskOptions =
                serde_json::from_str(&task.settings.options).unwrap_or_default();
            let why = format!("task '{}' and datastore '{}'", task.settings.name, datastore.name);
            if is_external(task.settings.kind, &options) {
                let (name, store) = (&task.settings.name, &datastore.name);
                let outside = known.outside(own).await;
                let by_https = outside.iter().any(|one| one.protocol == DataProtocol::Https);
                let why = format!("{why}, streams from outside");
                uses.extend(known.external(own, client, outside, why));
                if device.id == own {
                    continue;
                }
                let why = format!("streams of task '{name}' into datastore '{store}', redirected");
                // Who comes by FTP is never sent elsewhere.
                if options.redirect && by_https {
                    wanted.push((client, vec![Scheme::Https.as_str().to_owned()], why, false));
                }
                let why = format!("streams of task '{name}' into datastore '{store}', relayed");
                wanted.extend(of(own).map(|server| (server, options.interfaces, why, true)));
                continue;
            }
            wanted.push((client, options.interfaces, why, false));
        }
        for domain in known.domains.iter().filter(|domain| domain.store == datastore.store) {
            let Some(owner) = domain.owner.and_then(of) else { continue };
            let (owner_name, name) = (&owner.name, &datastore.name);
            let why = format!("savesets of '{owner_name}' in datastore '{name}'");
            wanted.push((owner, Vec::new(), why, false));
        }
        // Who may have to restore from a copy.
        for relation in known.replications.iter().filter(|one| one.target == datastore.store) {
            for domain in known.domains.iter().filter(|one| one.store == relation.source) {
                let Some(owner) = domain.owner.and_then(of) else { continue };
                if relation.client_name.as_ref().is_some_and(|name| *name != owner.name) {
                    continue;
                }
                let (owner_name, name) = (&owner.name, &datastore.name);
                let why = format!("copies of savesets of '{owner_name}' in datastore '{name}'");
                wanted.push((owner, Vec::new(), why, false));
            }
        }
        if let Some(server) = of(own) {
            let why = format!("looking into savesets of datastore '{}'", datastore.name);
            wanted.push((server, Vec::new(), why, true));
        }
        let drives: Vec<u32> = known
            .drives
            .iter()
            .filter(|drive| drive.store == datastore.store)
            .map(|drive| drive.number)
            .collect();
        for (client, said, why, looks) in wanted {
            let said = if said.is_empty() { known.choices_of(&client.name) } else { said };
            let doors = known.doors(device, &said, looks);
            for kind in kinds(device, &doors, &drives).await {
                uses.push(DataUse {
                    client: client.name.clone(),
                    device: device.name.clone(),
                    kind,
                    why: why.clone(),
                });
            }
        }
    }
    uses
}

/// Which device dials which, for copies.
fn replications(known: &Known) -> Vec<PlanReplication> {
    let host = |store| {
        let datastore = known.datastores.iter().find(|one| one.store == store)?;
        let device = known.clients.iter().find(|client| client.id == datastore.device)?;
        (datastore.state == DatastoreState::Active).then(|| device.name.clone())
    };
    let planned = known.replications.iter().filter_map(|one| {
        Some(PlanReplication {
            source: host(one.source)?,
            target: host(one.target)?,
            drive: one.drive,
            pull: one.pull,
            why: format!("replication '{}'", one.name),
        })
    });
    planned.collect()
}

impl Known {
    /// The doors by which streams from outside come in: those for HTTPS and FTP among the server's
    /// interfaces, or HTTPS where none of these was set.
    async fn outside(&self, own: ClientId) -> Vec<PlanInterface> {
        let server = self.clients.iter().find(|client| client.id == own);
        let mut named = Vec::new();
        if let Some(server) = server {
            let given = self.interfaces.iter().filter(|(host, _)| *host == server.name);
            for one in given.filter_map(|(_, url)| url.parse::<Interface>().ok()) {
                if one.scheme == Scheme::Https || one.scheme.is_ftp() {
                    named.extend(planned(server, &one).await);
                }
            }
        }
        match named.is_empty() {
            true => vec![PlanInterface::new(DataProtocol::Https)],
            false => named,
        }
    }

    /// A stream from outside goes to the server in any case.
    fn external(
        &self,
        own: ClientId,
        client: &Client,
        interfaces: Vec<PlanInterface>,
        why: String,
    ) -> Option<DataUse> {
        let server = self.clients.iter().find(|client| client.id == own)?;
        Some(DataUse {
            client: client.name.clone(),
            device: server.name.clone(),
            kind: UseKind::External { interfaces, server_relays: true },
            why,
        })
    }

    fn choices_of(&self, client: &str) -> Vec<String> {
        let own = self.choices.iter().filter(|(name, _)| name == client);
        own.map(|(_, choice)| choice.clone()).collect()
    }

    /// The interfaces that a job would take, in order; none: the suite's default.
    fn doors(&self, device: &Client, said: &[String], looks: bool) -> Vec<Interface> {
        let told = self.listening.iter().find(|(id, _)| *id == device.id);
        let mut open: Vec<(bool, &str, u16)> = told
            .iter()
            .flat_map(|(_, told)| told)
            .filter_map(|one| {
                let address: SocketAddr = one.address.parse().ok()?;
                Some((address.ip().is_loopback(), one.row.as_str(), address.port()))
            })
            .collect();
        // Listeners that others can reach come first.
        open.sort_by_key(|(is_loopback, ..)| *is_loopback);
        let endpoint = |(_, row, port): &(bool, &str, u16)| DataEndpoint {
            row: (*row).to_owned(),
            port: *port,
        };
        let mut endpoints: Vec<DataEndpoint> = open.iter().map(endpoint).collect();
        // Ports of drives open with their drives; each has its own.
        endpoints.push(DataEndpoint { row: DRIVE.id.to_owned(), port: DRIVE.ports.first() });
        let given = self.interfaces.iter().filter(|(host, _)| *host == device.name);
        let mut given: Vec<Interface> = given.filter_map(|(_, url)| url.parse().ok()).collect();
        let mut choices: Vec<Choice> =
            said.iter().filter_map(|text| Choice::parse(text).ok()).collect();
        if looks {
            // The Server has no key for the ports of drives.
            choices.retain(|choice| match choice {
                Choice::Scheme(scheme) => *scheme != Scheme::Drive,
                Choice::Interface(interface) => interface.scheme != Scheme::Drive,
            });
            given.retain(|one| one.scheme != Scheme::Drive);
        }
        let able: &[Scheme] = match looks {
            true => &[Scheme::Http, Scheme::Https, Scheme::Ftp, Scheme::Ftpes],
            false => &Scheme::ALL,
        };
        let (name, hosts) = (device.name.as_str(), device.addresses.as_slice());
        let doors = DeviceDoors { name, given, endpoints: &endpoints, hosts };
        let chosen = doors.choose(&choices, able).unwrap_or_default();
        // By HTTP at its own addresses, and nobody chose: that is the default.
        let by_itself = |one: &Interface| one.scheme == Scheme::Http && hosts.contains(&one.host);
        match choices.is_empty() && chosen.iter().all(by_itself) {
            true => Vec::new(),
            false => chosen,
        }
    }
}

/// Interfaces in the words of the plan.
async fn kinds(device: &Client, doors: &[Interface], drives: &[u32]) -> Vec<UseKind> {
    let mut named = Vec::new();
    for door in doors {
        named.extend(planned(device, door).await);
    }
    let mut kinds = Vec::new();
    if !named.is_empty() || doors.is_empty() {
        kinds.push(UseKind::Interfaces(named));
    }
    if doors.iter().any(|door| door.scheme == Scheme::Drive) {
        kinds.push(UseKind::Drives(drives.to_vec()));
    }
    kinds
}

/// An interface in the words of the plan; none for the ports of drives. One at another address than the
/// host's is looked up.
async fn planned(device: &Client, door: &Interface) -> Option<PlanInterface> {
    let protocol = match door.scheme {
        Scheme::Http => DataProtocol::Http,
        Scheme::Https => DataProtocol::Https,
        Scheme::Ftp | Scheme::Ftpes => {
            DataProtocol::Ftp { passive: !door.active, active: door.active }
        }
        Scheme::Drive => return None,
    };
    let addresses = match device.addresses.contains(&door.host) {
        true => Vec::new(),
        false => resolve(&door.host).await.unwrap_or_default(),
    };
    Some(PlanInterface { protocol, port: door.port, addresses })
}

async fn addresses_of(names: &[String]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for name in names {
        addresses.extend(resolve(name).await.unwrap_or_default());
    }
    addresses.retain(|address| !address.is_loopback());
    distinct(addresses)
}

fn distinct(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !kept.contains(&address) {
            kept.push(address);
        }
    }
    kept
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    match tokio::time::timeout(LOOKUP_PATIENCE, tokio::net::lookup_host((bare, 0))).await {
        Ok(Ok(found)) => Ok(distinct(found.map(|found| found.ip()).collect())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_PATIENCE.as_secs())),
    }
}
