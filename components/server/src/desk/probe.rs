//! Trying every way of the port plan, each from the host that would dial it.
//!
//! Control ways are tried by the Server itself, with the key that it expects. Ways for data are
//! tried by the host that dials, at the names that a job would give it, with a ticket that the device
//! at the other end was told of: so a way counts as open only when the right host answers. Where no
//! ticket can be had, ports with TLS are asked for their key and protocol. Nothing is stored, and the
//! tickets are revoked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use simsim_catalog::{AccessMode, Client, ClientId, Datastore, DatastoreState};
use simsim_control::ControlError;
use simsim_control::verbs::{
    NodeState, PROBE_ADDRESSES_MAX, PROBE_WAYS_MAX, Probe, ProbeFinding, ProbeState, ProbeWay,
};
use simsim_format::random_bytes;
use simsim_model::interface::Scheme;
use simsim_model::port_plan::{EndKind, PlanPlace, PlanRow, PortPlan};
use simsim_model::port_registry::{CTRL, FTP, FTP_DATA, HTTPS, LISTEN, SMSSH};
use simsim_model::{Direction, DomainId, Level, SavesetId, TransferId};
use simsim_net::outbound::OUTBOUND_PROTOCOL;
use simsim_net::{DialError, Failure};

use crate::api::{ProbeReport, ProbeRequest, ProbedRow};
use crate::house::House;
use crate::jobs::{BackupGrant, TransferWish, device_addresses, grant, withdraw_transfer};
use crate::nodes::relay_of;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// A node that is not reached within this time does not try anything.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the suite while ways are tried.
struct Known {
    clients: Vec<Client>,
    datastores: Vec<Datastore>,
    /// Number and datastore of each drive.
    drives: Vec<(u32, simsim_model::StoreId)>,
}

/// Tries every way again and again, so that what the page of ports shows is not older than the setting says.
pub(crate) async fn probe_on(house: Weak<House>) {
    let Some(every) = house.upgrade().map(|house| house.config.probe_interval_s) else { return };
    if every == 0 {
        return;
    }
    loop {
        tokio::time::sleep(Duration::from_secs(u64::from(every))).await;
        let Some(house) = house.upgrade() else { return };
        let server = Server { house };
        if let Err(error) = server.try_ways(ProbeRequest::default()).await {
            let error = error.full_message();
            tracing::warn!(%error, "the ways of the port plan could not be tried; they are tried again");
        }
    }
}

impl Server {
    /// Tries every way of the plan, or those from and to one host.
    pub async fn probe_ports(
        &self,
        who: &Principal,
        request: ProbeRequest,
    ) -> Result<ProbeReport, ServerError> {
        let asked = request.host.clone().unwrap_or_else(|| "every host".to_owned());
        self.may_do(who, Right::Maintain, "ports.probe", Object::Suite, asked).await?;
        self.try_ways(request).await
    }

    async fn try_ways(&self, request: ProbeRequest) -> Result<ProbeReport, ServerError> {
        let plan = Arc::new(PortPlan::of(&self.port_configuration().await?));
        if let Some(name) = &request.host
            && !plan.hosts.iter().any(|host| host.name == *name)
        {
            return Err(ServerError::not_found("client", name));
        }
        let of_host = |row: &&PlanRow| {
            let name = request.host.as_deref();
            name.is_none_or(|name| row.from.name == name || row.to.name == name)
        };
        // A job that reaches one interface does not ask for the others: each is told of by itself.
        let rows: Vec<PlanRow> = plan
            .rows
            .iter()
            .filter(|row| !row.local)
            .filter(of_host)
            .flat_map(|row| match row.places.as_slice() {
                [] | [_] => vec![row.clone()],
                several => {
                    let at =
                        |place: &PlanPlace| PlanRow { places: vec![place.clone()], ..row.clone() };
                    several.iter().map(at).collect()
                }
            })
            .collect();
        let known = self.known_for_probe().await?;
        let mut probed: Vec<ProbedRow> = rows.iter().map(ProbedRow::not_tried).collect();
        let mut trying = Vec::new();
        for (from, places) in by_asked(&plan, &rows) {
            let (server, known) = (self.clone(), known.clone());
            let ways: Vec<(usize, PlanRow)> = places
                .into_iter()
                .filter_map(|place| Some((place, rows.get(place)?.clone())))
                .collect();
            let plan = Arc::clone(&plan);
            trying.push(tokio::spawn(
                async move { server.try_from(&from, ways, &plan, &known).await },
            ));
        }
        for one in trying {
            let found = one.await.map_err(|error| ServerError::Lost(error.to_string()))?;
            for (place, finding) in found {
                if let Some(row) = probed.get_mut(place) {
                    row.take(finding);
                }
            }
        }
        self.note_probes(&probed, request.host.is_none()).await?;
        Ok(ProbeReport { rows: probed })
    }

    async fn known_for_probe(&self) -> Result<std::sync::Arc<Known>, ServerError> {
        let known = self.house.books.run(|catalog| {
            let mut datastores = catalog.datastores()?;
            datastores.retain(|one| one.state == DatastoreState::Active);
            Ok(Known {
                clients: catalog.clients()?.into_iter().filter(Client::is_enrolled).collect(),
                datastores,
                drives: catalog.drives()?.iter().map(|one| (one.number, one.store)).collect(),
            })
        });
        Ok(std::sync::Arc::new(known.await?))
    }

    /// Everything that one host dials.
    async fn try_from(
        &self,
        from: &str,
        rows: Vec<(usize, PlanRow)>,
        plan: &PortPlan,
        known: &Known,
    ) -> Vec<(usize, Finding)> {
        let mut found = Vec::new();
        let mut asked: Vec<(usize, Way)> = Vec::new();
        for (place, row) in rows {
            let addresses = self.addresses_of(&row, known).await;
            if row.from.kind != EndKind::Host {
                found.push((place, Finding::not_tried("whoever dials it is no host of the suite")));
            } else if row.row == FTP_DATA.id {
                // Its ports are open for a transfer only: one is begun.
                let Some((control, active)) = control_of(plan, &row) else {
                    let why = "nothing of the plan uses these ports for a transfer";
                    found.push((place, Finding::not_tried(why)));
                    continue;
                };
                let addresses = self.addresses_of(control, known).await;
                let mut way = self.way(control, addresses, known).await;
                way.way.protocol.clear();
                if way.granted.is_none() {
                    let why = way.note.unwrap_or_default();
                    let text = format!("its ports are open for a transfer only: {why}");
                    found.push((place, Finding::not_tried(&text)));
                    continue;
                }
                FTP_DATA.id.clone_into(&mut way.way.row);
                way.way.active = active;
                asked.push((place, way));
            } else if addresses.is_empty() {
                let why = format!("'{}' has no known address", row.to.name);
                found.push((place, Finding::not_tried(&why)));
            } else if row.row == SMSSH.id || row.row == CTRL.id {
                found.push((place, self.try_control(&row, &addresses, known).await));
            } else {
                let way = self.way(&row, addresses, known).await;
                match way.may_be_asked() {
                    true => asked.push((place, way)),
                    false => {
                        let why = way.note.as_deref().unwrap_or("there is no ticket for it");
                        let text = format!(
                            "a port that is not of the registry is tried with a ticket only: {why}"
                        );
                        found.push((place, Finding::not_tried(&text)));
                    }
                }
            }
        }
        for some in asked.chunks(PROBE_WAYS_MAX) {
            found.extend(self.ask(from, some, known).await);
        }
        for (_, way) in &asked {
            if let Some((device, transfer)) = way.granted {
                withdraw_transfer(&self.house, device, transfer).await;
            }
        }
        found
    }

    async fn try_control(&self, row: &PlanRow, addresses: &[String], known: &Known) -> Finding {
        let Some(client) = known.clients.iter().find(|client| client.name == row.to.name) else {
            return Finding::not_tried("it is not enrolled any more");
        };
        match self.house.nodes.try_control(client, addresses).await {
            Ok(round_trip) => Finding {
                state: "open",
                message: String::new(),
                address: None,
                round_trip_us: u64::try_from(round_trip.as_micros()).ok(),
                sample: None,
            },
            Err(error) => Finding::of_control(&error),
        }
    }

    /// The way as its dialler is asked to try it, with a ticket where the device gives one.
    async fn way(&self, row: &PlanRow, addresses: Vec<String>, known: &Known) -> Way {
        let mut way = ProbeWay {
            row: row.row.clone(),
            addresses,
            ticket: None,
            device_keys: Vec::new(),
            active: false,
            protocol: String::new(),
        };
        // What is opened there is a call: data rides on it, by whatever door.
        if self.is_call(row, known).await {
            way.protocol = String::from_utf8_lossy(OUTBOUND_PROTOCOL).into_owned();
        }
        let takes_tickets = Scheme::of_row(&row.row).is_some();
        if !takes_tickets || row.to.kind != EndKind::Host {
            return Way { way, granted: None, note: None };
        }
        match self.ticket(row, known).await {
            Ok((ticket, device_keys, device)) => {
                let granted = Some((device, ticket.transfer));
                way.ticket = Some(ticket);
                way.device_keys = device_keys;
                Way { way, granted, note: None }
            }
            Err(error) => {
                way.device_keys = self.keys_of(&row.to.name, known).await;
                let why = error.full_message();
                let note = format!("only the port was tried, not who answers: {why}");
                Way { way, granted: None, note: Some(note) }
            }
        }
    }

    /// Does `row` carry the calls of its dialler, or calls that it passes on?
    async fn is_call(&self, row: &PlanRow, known: &Known) -> bool {
        if row.row != HTTPS.id {
            return false;
        }
        let calls = known.clients.iter().filter(|one| one.access_mode == AccessMode::Outbound);
        for client in calls {
            let id = client.id;
            let relay = self.house.books.run(move |catalog| relay_of(catalog, id)).await;
            let relay = relay.ok().flatten();
            let server = &self.house.own_name;
            let called = relay.as_ref().unwrap_or(server);
            let calls = row.from.name == client.name && row.to.name == *called;
            let passes = relay.as_ref() == Some(&row.from.name) && row.to.name == *server;
            if calls || passes {
                return true;
            }
        }
        false
    }

    /// The TLS keys that a host may show.
    async fn keys_of(&self, host: &str, known: &Known) -> Vec<Vec<u8>> {
        let Some(client) = known.clients.iter().find(|client| client.name == host) else {
            return Vec::new();
        };
        let asked = async {
            let line = self.house.nodes.line(client.id, NODE_PATIENCE).await?;
            line.call(NodeState {}).await
        };
        match asked.await {
            Ok(state) if !state.tls_key.is_empty() => vec![state.tls_key],
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::debug!(host, %error, "the TLS key of a host is not known");
                Vec::new()
            }
        }
    }

    /// `host:port` where a row is dialled. Of data these are the names that a job would give to its
    /// host, which looks them up itself.
    async fn addresses_of(&self, row: &PlanRow, known: &Known) -> Vec<String> {
        let with_port = |host: &str| match host.contains(':') {
            true => format!("[{host}]:{}", row.first_port),
            false => format!("{host}:{}", row.first_port),
        };
        let enrolled = |name: &str| known.clients.iter().find(|client| client.name == name);
        let mut hosts: Vec<String> = Vec::new();
        for place in &row.places {
            if !place.host.is_empty() {
                hosts.push(place.host.clone());
                continue;
            }
            let (Some(device), Some(from)) = (enrolled(&row.to.name), enrolled(&row.from.name))
            else {
                continue;
            };
            match device_addresses(&self.house, device.id, from.id).await {
                Ok(names) => hosts.extend(names),
                Err(error) => tracing::debug!(%error, "where a device is dialled is not known"),
            }
        }
        if hosts.is_empty() {
            hosts = row.to.addresses.iter().map(IpAddr::to_string).collect();
        }
        // One that runs on this machine may be known by loopback alone, which is a way from here.
        if hosts.is_empty() && row.from.name == self.house.own_name {
            hosts = enrolled(&row.to.name).map_or(Vec::new(), |client| client.addresses.clone());
        }
        let mut dialled: Vec<String> = Vec::new();
        for address in hosts.iter().map(|host| with_port(host)) {
            if !dialled.contains(&address) {
                dialled.push(address);
            }
        }
        dialled.truncate(PROBE_ADDRESSES_MAX);
        dialled
    }

    async fn ticket(
        &self,
        row: &PlanRow,
        known: &Known,
    ) -> Result<(simsim_model::Ticket, Vec<Vec<u8>>, ClientId), ServerError> {
        let device = known.clients.iter().find(|client| client.name == row.to.name);
        let dialler = known.clients.iter().find(|client| client.name == row.from.name);
        let (Some(device), Some(dialler)) = (device, dialler) else {
            return Err(ServerError::not_found("client", &row.to.name));
        };
        let own_drive = |number: u32| row.drive.is_none_or(|drive| drive == number);
        let served = known.drives.iter().find_map(|(number, store)| {
            let datastore = known.datastores.iter().find(|one| one.store == *store)?;
            (datastore.device == device.id && own_drive(*number)).then_some((*number, datastore))
        });
        let Some((drive, datastore)) = served else {
            return Err(ServerError::Nothing { noun: "datastore" });
        };
        // A protocol of the row: `ftp` for FTP with TLS as well.
        let door = [row.row.clone()];
        let wish = TransferWish {
            transfer: TransferId(random_bytes()?),
            job: 0,
            client: &dialler.name,
            drive,
            datastore,
            domain: DomainId(random_bytes()?),
            direction: Direction::Backup,
            saveset: SavesetId(random_bytes()?),
            bytes_max: 1,
            interfaces: &door,
            // Also on the server's host it is the client there that dials, with the key of its host.
            by_server: false,
            stream_key: None,
            seen_from: None,
        };
        let backup =
            BackupGrant { level: Level::Full, base: None, eol_days: 0, first_s: 0, stream: None };
        let granted = grant(&self.house, &wish, Some(backup), dialler.id).await?;
        Ok((granted.ticket, granted.device_keys, device.id))
    }

    /// Has the host `from` try some ways.
    async fn ask(&self, from: &str, ways: &[(usize, Way)], known: &Known) -> Vec<(usize, Finding)> {
        let none = |why: &str| -> Vec<(usize, Finding)> {
            ways.iter().map(|(place, _)| (*place, Finding::not_tried(why))).collect()
        };
        let Some(client) = known.clients.iter().find(|client| client.name == from) else {
            return none("who dials it is not enrolled any more");
        };
        let line = match self.house.nodes.line(client.id, NODE_PATIENCE).await {
            Ok(line) => line,
            Err(error) => return none(&error.full_message()),
        };
        let request = Probe { ways: ways.iter().map(|(_, way)| way.way.clone()).collect() };
        let reply = match line.call_slow(request).await {
            Ok(reply) => reply,
            Err(error) => return none(&error.full_message()),
        };
        let missing = || Finding::not_tried("the host left it out");
        let mut findings = reply.findings.iter();
        ways.iter()
            .map(|(place, way)| {
                let told = findings.next().map(|told| Finding::of_node(told, way.note.as_deref()));
                (*place, told.unwrap_or_else(missing))
            })
            .collect()
    }
}

/// A way with what has to be cleared away afterwards.
struct Way {
    way: ProbeWay,
    granted: Option<(ClientId, TransferId)>,
    /// What the finding does not say.
    note: Option<String>,
}

impl Way {
    /// A node tries other ports than the registry's with a ticket only, and refuses a whole request
    /// where one of its ways is none of these.
    fn may_be_asked(&self) -> bool {
        let row = LISTEN.iter().find(|row| row.id == self.way.row);
        let port = |address: &String| address.rsplit_once(':')?.1.parse::<u16>().ok();
        let is_of_row = |port: u16| row.is_none_or(|row| row.ports.contains(port));
        self.way.ticket.is_some() || self.way.addresses.iter().filter_map(port).all(is_of_row)
    }
}

/// Places of rows by the host that tries them: the one that dials, or for FTP data in active mode the
/// client, whose transfer makes the device dial.
fn by_asked(plan: &PortPlan, rows: &[PlanRow]) -> BTreeMap<String, Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let asked = match control_of(plan, row) {
            Some((control, _)) => &control.from.name,
            None => &row.from.name,
        };
        groups.entry(asked.clone()).or_default().push(place);
    }
    groups
}

/// The row of the control connections of a row for FTP data, and whether that is active mode: the
/// data goes against the direction of its control connections then.
fn control_of<'p>(plan: &'p PortPlan, row: &PlanRow) -> Option<(&'p PlanRow, bool)> {
    if row.row != FTP_DATA.id {
        return None;
    }
    let between = |from: &str, to: &str| {
        plan.rows.iter().find(|one| {
            let hosts = one.from.kind == EndKind::Host && one.to.kind == EndKind::Host;
            hosts && one.row == FTP.id && one.from.name == from && one.to.name == to
        })
    };
    let (from, to) = (row.from.name.as_str(), row.to.name.as_str());
    let passive = between(from, to).map(|control| (control, false));
    passive.or_else(|| between(to, from).map(|control| (control, true)))
}

/// What became of one row.
pub(crate) struct Finding {
    pub state: &'static str,
    pub message: String,
    pub address: Option<String>,
    pub round_trip_us: Option<u64>,
    /// Bytes and microseconds.
    pub sample: Option<(u64, u64)>,
}

impl Finding {
    fn plain(state: &'static str, message: String) -> Self {
        Self { state, message, address: None, round_trip_us: None, sample: None }
    }

    fn not_tried(why: &str) -> Self {
        Self::plain("not_tried", why.to_owned())
    }

    fn of_control(error: &ControlError) -> Self {
        let state = match error {
            ControlError::Dial(DialError::Failed { attempts }) => {
                match attempts.first().map(|attempt| &attempt.failure) {
                    Some(Failure::Refused) => "refused",
                    Some(Failure::Filtered) => "filtered",
                    Some(Failure::Unresolvable(_) | Failure::Other(_)) | None => "no_way",
                }
            }
            ControlError::Dial(DialError::NoAddress) => "no_way",
            ControlError::HostKey { .. } | ControlError::LoginRefused { .. } => "wrong_identity",
            _ => "wrong_service",
        };
        Self::plain(state, error.to_string())
    }

    fn of_node(told: &ProbeFinding, note: Option<&str>) -> Self {
        let state = match told.state {
            ProbeState::Open => "open",
            ProbeState::Refused => "refused",
            ProbeState::Filtered => "filtered",
            ProbeState::WrongService => "wrong_service",
            ProbeState::WrongIdentity => "wrong_identity",
            ProbeState::NoWay => "no_way",
        };
        let message = match (told.message.as_str(), note) {
            ("", Some(note)) if !told.proved => note.to_owned(),
            (message, _) => message.to_owned(),
        };
        Self {
            state,
            message,
            address: Some(told.address.clone()).filter(|address| !address.is_empty()),
            round_trip_us: Some(told.round_trip_us).filter(|time| *time > 0),
            sample: (told.sample_us > 0).then_some((told.sample_bytes, told.sample_us)),
        }
    }
}
