//! Rows from a configuration.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::configuration::{
    Access, DataProtocol, DataUse, DrivePlace, Interface, NoDrivePort, PlannedHost,
    PortConfiguration, UseKind, control_row,
};
use crate::port_registry::{CONSOLE, DIAL, DRIVE, FTP_DATA, HTTPS, Host, LISTEN, Listen, SMSSH};

/// What stands at one end of a row.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// An enrolled host.
    Host,
    /// Whoever may: browsers, hosts that join.
    Anyone,
    /// Another vendor's system.
    System,
}

/// One end of a row.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct PlanEnd {
    pub kind: EndKind,
    /// The host as enrolled, or the system; words for anyone.
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Its address does not count: anyone, or a host behind a translator of addresses.
    pub anywhere: bool,
}

/// One of several addresses of a row, as it is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlanPlace {
    /// As an administrator wrote it for an interface; empty: the host, under the names that it is
    /// enrolled with.
    pub host: String,
    pub addresses: Vec<IpAddr>,
}

/// One connection that must be possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlanRow {
    /// Row of the port registry, such as `smssh`; for another vendor's system its module.
    pub row: String,
    pub from: PlanEnd,
    pub to: PlanEnd,
    /// TCP ports of `to`, both included.
    pub first_port: u16,
    pub last_port: u16,
    pub protocol: String,
    /// The suite uses it where nothing is configured.
    pub default: bool,
    /// Both ends are one host: it stays on loopback, and no firewall is asked.
    pub local: bool,
    /// What needs it, a sentence each.
    pub why: Vec<String>,
    /// Of a way for data: the interfaces of `to` behind it. A job that reaches one of them does not ask
    /// for the others; its network may be another one.
    #[serde(default)]
    pub places: Vec<PlanPlace>,
    /// Of row `drive`: the drive's number.
    #[serde(default)]
    pub drive: Option<u32>,
}

impl PlanRow {
    /// `11322`, or `11002-11007`.
    pub fn ports(&self) -> String {
        match self.first_port == self.last_port {
            true => self.first_port.to_string(),
            false => format!("{}-{}", self.first_port, self.last_port),
        }
    }

    /// `smssh: server to web, port 11322`: the same for the same connection in every plan.
    pub fn title(&self) -> String {
        format!("{}: {} to {}, port {}", self.row, self.from.name, self.to.name, self.ports())
    }

    /// Whether `port` is one of this row.
    pub fn has_port(&self, port: u16) -> bool {
        (self.first_port..=self.last_port).contains(&port)
    }
}

/// A host of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlanHost {
    pub name: String,
    /// `server`, `rds`, `client`.
    pub role: String,
    pub addresses: Vec<IpAddr>,
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PortPlan {
    pub hosts: Vec<PlanHost>,
    /// In the order of the registry, then by host.
    pub rows: Vec<PlanRow>,
    /// What an administrator should know before the plan is used, a sentence each.
    pub warnings: Vec<String>,
}

impl PortPlan {
    /// The plan of a configuration.
    pub fn of(configuration: &PortConfiguration) -> Self {
        let mut planner = Planner { configuration, plan: PortPlan::default() };
        configuration.troubles.iter().for_each(|text| planner.warn(text.clone()));
        planner.hosts();
        planner.control();
        for data in &configuration.uses {
            planner.data(data);
        }
        planner.replication();
        planner.console();
        planner.systems();
        planner.lost();
        planner.sorted()
    }

    /// Rows that the host with this name opens or takes.
    pub fn rows_of<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a PlanRow> {
        let is_it = move |end: &PlanEnd| end.kind == EndKind::Host && end.name == host;
        self.rows.iter().filter(move |row| is_it(&row.from) || is_it(&row.to))
    }
}

struct Planner<'a> {
    configuration: &'a PortConfiguration,
    plan: PortPlan,
}

impl<'a> Planner<'a> {
    fn host(&self, name: &str) -> Option<&'a PlannedHost> {
        self.configuration.hosts.iter().find(|host| host.name == name)
    }

    fn server(&self) -> Option<&'a PlannedHost> {
        self.configuration.hosts.iter().find(|host| host.role == Host::Server)
    }

    fn warn(&mut self, text: String) {
        if !self.plan.warnings.contains(&text) {
            self.plan.warnings.push(text);
        }
    }

    fn hosts(&mut self) {
        for host in &self.configuration.hosts {
            let role = host.role.as_str().to_owned();
            let addresses = host.addresses.clone();
            self.plan.hosts.push(PlanHost { name: host.name.clone(), role, addresses });
            if host.access == Access::Ctrl {
                self.warn(format!(
                    "host '{}' is steered over CTRL, which is not encrypted: prefer access mode \
                     SMSSH",
                    host.name
                ));
            }
        }
        if self.server().is_none() {
            self.warn("no host of the configuration is the server".to_owned());
        }
    }

    /// Who steers whom.
    fn control(&mut self) {
        let Some(server) = self.server() else { return };
        for host in &self.configuration.hosts {
            match (control_row(&host.access), &host.access) {
                (Some(row), _) => {
                    let why = format!("access mode {} of '{}'", row.id.to_uppercase(), host.name);
                    let port = host.ports.of(row);
                    self.listen(row, end(server), end(host), (port, port), row.default, why);
                }
                (None, Access::Outbound { relay }) => {
                    let Some(to) = self.relay_of(host, relay.as_deref()) else { continue };
                    let port = to.ports.of(&HTTPS);
                    let mut from = end(host);
                    from.anywhere = host.addresses.is_empty();
                    let why = format!(
                        "access mode OUTBOUND of '{}': control and data on one connection",
                        host.name
                    );
                    self.listen(&HTTPS, from, end(to), (port, port), false, why);
                    if to.name != server.name {
                        let why = format!("'{}' passes calls of '{}' on", to.name, host.name);
                        self.pass_on(to, server, why);
                    }
                }
                (None, _) => {}
            }
            if host.relays {
                let why = format!("'{}' may pass calls of its site on", host.name);
                self.pass_on(host, server, why);
            }
        }
        for joining in &self.configuration.joining {
            let row = if joining.outbound { &HTTPS } else { &SMSSH };
            let who = if joining.name.is_empty() { "a new host" } else { &joining.name };
            let mut why = format!("a join code for {who} is valid");
            if joining.outbound {
                why.push_str(", for access mode OUTBOUND");
            }
            let relays = self.configuration.hosts.iter().filter(|host| host.relays);
            let doors = [server].into_iter().chain(relays.filter(|_| joining.outbound));
            for to in doors {
                let (from, port) = (anyone("hosts that join", &[]), to.ports.of(row));
                self.listen(row, from, end(to), (port, port), false, why.clone());
            }
        }
    }

    /// The second half of a call that an RDS passes on.
    fn pass_on(&mut self, relay: &PlannedHost, server: &PlannedHost, why: String) {
        let port = server.ports.of(&HTTPS);
        self.listen(&HTTPS, end(relay), end(server), (port, port), false, why);
    }

    /// Whom an outbound host dials.
    fn relay_of(&mut self, host: &PlannedHost, relay: Option<&str>) -> Option<&'a PlannedHost> {
        let Some(name) = relay else { return self.server() };
        let found = self.host(name).filter(|found| has_device(found));
        if found.is_none() {
            self.warn(format!(
                "host '{}' relays through '{name}', which is no RDS of the suite",
                host.name
            ));
        }
        found
    }

    /// Where a client's data goes.
    fn data(&mut self, data: &DataUse) {
        let (Some(client), Some(device)) = (self.host(&data.client), self.host(&data.device))
        else {
            self.warn(format!(
                "{}: '{}' or '{}' is not enrolled",
                data.why, data.client, data.device
            ));
            return;
        };
        let why = data.why.clone();
        // Who really dials: for an outbound client the server. What lies at the host that passes its
        // calls on goes to the port that it calls anyway.
        // A stranger's tool on its host dials by itself.
        let external = matches!(data.kind, UseKind::External { .. });
        let (dialler, why) = match &client.access {
            Access::Outbound { relay } if !external && client.name != device.name => {
                let Some(called) = self.relay_of(client, relay.as_deref()) else { return };
                let Some(server) = self.server() else { return };
                if called.name == device.name || server.name == device.name {
                    return;
                }
                (server, format!("{why}, relayed for '{}'", client.name))
            }
            _ => (client, why),
        };
        match &data.kind {
            UseKind::Interfaces(interfaces) => self.interfaces(dialler, device, interfaces, &why),
            UseKind::Drives { numbers, at } => {
                for drive in numbers {
                    self.drive(dialler, device, *drive, at, &why);
                }
            }
            UseKind::External { interfaces, server_relays } => {
                let Some(server) = self.server() else { return };
                self.interfaces(dialler, server, interfaces, &why);
                if device.name != server.name {
                    let dialler = if *server_relays { server } else { dialler };
                    self.interfaces(dialler, device, interfaces, &why);
                }
            }
        }
    }

    fn interfaces(
        &mut self,
        client: &PlannedHost,
        device: &PlannedHost,
        interfaces: &[Interface],
        why: &str,
    ) {
        let default = [Interface::DEFAULT];
        let (interfaces, is_default) = match interfaces {
            [] => (default.as_slice(), true),
            named => (named, false),
        };
        for interface in interfaces {
            let row = interface.row();
            let port = interface.port.unwrap_or_else(|| device.ports.of(row));
            let (to, place) = placed(device, &interface.host, &interface.addresses);
            let (from, default) = (end(client), is_default && row.default);
            let made = made(row, from, to.clone(), (port, port), default, why.to_owned());
            self.add(PlanRow { places: vec![place], ..made });
            let DataProtocol::Ftp { passive, active } = interface.protocol else { continue };
            if passive {
                let (from, range) = (end(client), device.ports.ftp_data());
                self.ftp_range(device, range);
                self.listen(&FTP_DATA, from, to, range, false, format!("{why}, passive FTP"));
            }
            if active {
                let (from, to, range) = (end(device), end(client), client.ports.ftp_data());
                self.ftp_range(client, range);
                self.listen(&FTP_DATA, from, to, range, false, format!("{why}, active FTP"));
            }
        }
    }

    fn ftp_range(&mut self, host: &PlannedHost, (first, last): (u16, u16)) {
        let ports = u32::from(last).saturating_sub(u32::from(first)) + 1;
        if last < first || !ports.is_multiple_of(2) {
            self.warn(format!(
                "the FTP range {first}-{last} of '{}' gives {} transfers: two ports are needed \
                 for each",
                host.name,
                if last < first { 0 } else { ports / 2 }
            ));
        }
    }

    fn drive(
        &mut self,
        from: &PlannedHost,
        device: &PlannedHost,
        drive: u32,
        at: &[DrivePlace],
        why: &str,
    ) {
        let by_itself = [DrivePlace::default()];
        let places = if at.is_empty() { by_itself.as_slice() } else { at };
        for at in places {
            let port = match at.port.map_or_else(|| device.ports.drive(drive), Ok) {
                Ok(port) => port,
                Err(no) => {
                    let name = &device.name;
                    self.warn(match no {
                        NoDrivePort::NotOpen => format!(
                            "{why}: drive {drive} of '{name}' has no port, because '{name}' listens \
                             for no drives: name an address in 'drive' below [listen] of its settings"
                        ),
                        NoDrivePort::Free => format!(
                            "{why}: drive {drive} of '{name}' takes a free port at each start, which \
                             no firewall can know: name a port in 'drive' below [listen] of its \
                             settings"
                        ),
                        NoDrivePort::Beyond => {
                            format!("drive {drive} of '{name}' has no port below 65,536")
                        }
                    });
                    continue;
                }
            };
            let (to, place) = placed(device, &at.host, &at.addresses);
            let made = made(&DRIVE, end(from), to, (port, port), false, why.to_owned());
            self.add(PlanRow { places: vec![place], drive: Some(drive), ..made });
        }
    }

    fn replication(&mut self) {
        for one in &self.configuration.replications {
            let (Some(source), Some(target)) = (self.host(&one.source), self.host(&one.target))
            else {
                let (source, target) = (&one.source, &one.target);
                self.warn(format!("{}: '{source}' or '{target}' is not enrolled", one.why));
                continue;
            };
            let (dialler, dialled) = if one.pull { (target, source) } else { (source, target) };
            self.drive(dialler, dialled, one.drive, &one.at, &one.why);
        }
    }

    fn console(&mut self) {
        let Some(server) = self.server() else { return };
        let port = server.ports.of(&CONSOLE);
        let (from, why) = match server.console_is_open {
            true => (
                anyone("authorised browsers and scripts", &self.configuration.console_from),
                "the console listens beyond loopback",
            ),
            false => (end(server), "the console listens on loopback only"),
        };
        self.listen(&CONSOLE, from, end(server), (port, port), CONSOLE.default, why.to_owned());
    }

    fn systems(&mut self) {
        for system in &self.configuration.systems {
            let rows: Vec<_> = DIAL.iter().filter(|row| row.module == system.module).collect();
            if rows.is_empty() {
                self.warn(format!("the registry has no module '{}'", system.module));
            }
            let to = PlanEnd {
                kind: EndKind::System,
                name: system.name.clone(),
                addresses: system.addresses.clone(),
                anywhere: false,
            };
            if system.addresses.is_empty() {
                self.warn(format!("'{}' has no address that can be found", system.name));
            }
            for row in rows {
                let mut from: Vec<&PlannedHost> = Vec::new();
                // Beside a data mover the server looks what there is; device hosts act alone.
                if row.from.contains(&"server") && !row.from.contains(&"rds") {
                    from.extend(self.server());
                }
                from.extend(system.hosts.iter().filter_map(|name| self.host(name)));
                for host in from {
                    let why = format!("{} '{}'", row.module, system.name);
                    let made = PlanRow {
                        row: row.module.to_owned(),
                        from: end(host),
                        to: to.clone(),
                        first_port: row.port,
                        last_port: row.port,
                        protocol: row.protocol.to_owned(),
                        default: false,
                        local: false,
                        why: vec![why],
                        places: Vec::new(),
                        drive: None,
                    };
                    self.add(made);
                }
            }
        }
    }

    /// Hosts and interfaces that a rule would have to name, and that have no address.
    fn lost(&mut self) {
        for row in self.plan.rows.clone().iter().filter(|row| !row.local) {
            let lost = |one: &&PlanPlace| !one.host.is_empty() && one.addresses.is_empty();
            for place in row.places.iter().filter(lost) {
                self.warn(format!(
                    "the interface '{}' of '{}' has no address that the server finds: rules with it \
                     are left out; enter the name into DNS, or set an address in its place with \
                     'simsim interface set'",
                    place.host, row.to.name
                ));
            }
        }
        for host in &self.configuration.hosts {
            let is_it = |end: &PlanEnd| {
                let unknown = host.addresses.is_empty() && end.addresses.is_empty();
                end.kind == EndKind::Host && end.name == host.name && unknown && !end.anywhere
            };
            if self.plan.rows.iter().any(|row| !row.local && (is_it(&row.from) || is_it(&row.to))) {
                self.warn(format!(
                    "host '{0}' has no address that others could use: rules with it are left out; \
                     name one with 'simsim client addresses {0} ADDRESS'",
                    host.name
                ));
            }
        }
    }

    fn listen(
        &mut self,
        row: &Listen,
        from: PlanEnd,
        to: PlanEnd,
        ports: (u16, u16),
        default: bool,
        why: String,
    ) {
        self.add(made(row, from, to, ports, default, why));
    }

    /// Keeps a row once, with every reason for it and every address.
    fn add(&mut self, row: PlanRow) {
        let is_same =
            |kept: &PlanEnd, end: &PlanEnd| (kept.kind, &kept.name) == (end.kind, &end.name);
        let same = |kept: &&mut PlanRow| {
            kept.row == row.row
                && is_same(&kept.from, &row.from)
                && is_same(&kept.to, &row.to)
                && kept.first_port == row.first_port
                && kept.last_port == row.last_port
        };
        let Some(kept) = self.plan.rows.iter_mut().find(same) else {
            self.plan.rows.push(row);
            return;
        };
        kept.default |= row.default;
        for (kept, end) in [(&mut kept.from, row.from), (&mut kept.to, row.to)] {
            kept.anywhere |= end.anywhere;
            for address in end.addresses {
                if !kept.addresses.contains(&address) {
                    kept.addresses.push(address);
                }
            }
        }
        for place in row.places {
            match kept.places.iter_mut().find(|kept| kept.host == place.host) {
                Some(same) => {
                    for address in place.addresses {
                        if !same.addresses.contains(&address) {
                            same.addresses.push(address);
                        }
                    }
                }
                None => kept.places.push(place),
            }
        }
        for why in row.why {
            if !kept.why.contains(&why) {
                kept.why.push(why);
            }
        }
    }

    fn sorted(mut self) -> PortPlan {
        let place = |row: &PlanRow| {
            let listen = LISTEN.iter().position(|listen| listen.id == row.row);
            listen.unwrap_or(LISTEN.len())
        };
        self.plan.rows.sort_by(|a, b| {
            let key = |row: &PlanRow| (place(row), row.first_port);
            key(a).cmp(&key(b)).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to)))
        });
        self.plan
    }
}

fn made(
    row: &Listen,
    from: PlanEnd,
    to: PlanEnd,
    (first_port, last_port): (u16, u16),
    default: bool,
    why: String,
) -> PlanRow {
    let local = from.kind == EndKind::Host && from.name == to.name;
    PlanRow {
        row: row.id.to_owned(),
        from,
        to,
        first_port,
        last_port,
        protocol: row.protocol.to_owned(),
        default,
        local,
        why: vec![why],
        places: Vec::new(),
        drive: None,
    }
}

/// A device's host at one of its interfaces.
fn placed(device: &PlannedHost, host: &str, addresses: &[IpAddr]) -> (PlanEnd, PlanPlace) {
    let mut to = end(device);
    let beyond: Vec<IpAddr> =
        addresses.iter().filter(|address| !address.is_loopback()).copied().collect();
    // Without a name it is the host itself; so it is where the name leads to loopback.
    let by_host = if addresses.is_empty() { host.is_empty() } else { beyond.is_empty() };
    if !by_host {
        to.addresses = beyond;
    }
    let addresses = to.addresses.clone();
    (to, PlanPlace { host: host.to_owned(), addresses })
}

fn has_device(host: &PlannedHost) -> bool {
    matches!(host.role, Host::Server | Host::Rds)
}

fn end(host: &PlannedHost) -> PlanEnd {
    PlanEnd {
        kind: EndKind::Host,
        name: host.name.clone(),
        addresses: host.addresses.clone(),
        anywhere: false,
    }
}

fn anyone(who: &str, addresses: &[IpAddr]) -> PlanEnd {
    PlanEnd {
        kind: EndKind::Anyone,
        name: who.to_owned(),
        addresses: addresses.to_vec(),
        anywhere: addresses.is_empty(),
    }
}
