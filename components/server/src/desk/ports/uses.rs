//! Who needs whose data port, and by which interface: as a job would choose.

use std::net::IpAddr;

use simsim_catalog::{
    AccessMode, Client, ClientId, Datastore, DatastoreState, Domain, Drive, Replication, Task,
    TaskSettings,
};
use simsim_control::verbs::DataEndpoint;
use simsim_model::interface::{Interface, Scheme};
use simsim_model::port_plan::{
    DataProtocol, DataUse, DrivePlace, Interface as PlanInterface, PortConfiguration,
    Replication as PlanReplication, UseKind,
};

use super::names::resolve;
use super::told::{self, Told};
use crate::ServerError;
use crate::api::TaskOptions;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{Choice, DeviceDoors};
use crate::streams::is_external;

/// What the catalog says, as of one moment.
pub(super) struct Known {
    pub(super) clients: Vec<Client>,
    datastores: Vec<Datastore>,
    tasks: Vec<Task>,
    domains: Vec<Domain>,
    drives: Vec<Drive>,
    replications: Vec<Replication>,
    /// Interfaces of hosts and choices of clients, by name and in order.
    interfaces: Vec<(String, String)>,
    choices: Vec<(String, String)>,
    /// Names of codes, and whether they are for hosts that call.
    pub(super) joining: Vec<(Option<String>, bool)>,
    /// The listeners that each host last told of.
    pub(super) listening: Vec<(ClientId, Vec<Told>)>,
    /// Hosts that pass calls of others on.
    pub(super) relays: Vec<ClientId>,
}

/// Who dials a device, by what and why.
struct Wanted<'k> {
    client: &'k Client,
    /// What the job itself says about the interfaces.
    said: Vec<String>,
    why: String,
    /// It is the server's own process, which has no key for the ports of drives.
    looks: bool,
}

impl Known {
    pub(super) async fn of(house: &House) -> Result<Self, ServerError> {
        let known = house.books.run(|catalog| {
            let clients: Vec<Client> =
                catalog.clients()?.into_iter().filter(Client::is_enrolled).collect();
            let (mut listening, mut relays) = (Vec::new(), Vec::new());
            for client in &clients {
                listening.push((client.id, told::last(catalog, client.id)?));
                if client.has_role("device") && told::relays(catalog, client.id)? {
                    relays.push(client.id);
                }
            }
            Ok(Self {
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
                relays,
            })
        });
        known.await
    }

    /// Tasks, savesets that may be restored, the server that looks into savesets, and replications.
    pub(super) async fn fill(&self, own: ClientId, plan: &mut PortConfiguration) {
        for datastore in &self.datastores {
            let Some(device) = self.client(datastore.device) else { continue };
            if datastore.state != DatastoreState::Active {
                continue;
            }
            let wanted = self.wanted(own, datastore, device, &mut plan.uses).await;
            let drives: Vec<u32> = self
                .drives
                .iter()
                .filter(|drive| drive.store == datastore.store)
                .map(|drive| drive.number)
                .collect();
            for Wanted { client, said, why, looks } in wanted {
                let said = if said.is_empty() { self.choices_of(&client.name) } else { said };
                let doors = match self.doors(device, &said, able(client, device, looks), looks) {
                    Ok(doors) => doors,
                    Err(no) => {
                        plan.troubles.push(format!("{why}: '{}': {no}", client.name));
                        continue;
                    }
                };
                for kind in self.kinds(device, &doors, &drives).await {
                    plan.uses.push(DataUse {
                        client: client.name.clone(),
                        device: device.name.clone(),
                        kind,
                        why: why.clone(),
                    });
                }
            }
        }
        plan.replications = self.replications().await;
    }

    fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// Who needs the data port of the host of a datastore. Streams from outside stand in `uses` at once.
    async fn wanted<'k>(
        &'k self,
        own: ClientId,
        datastore: &Datastore,
        device: &Client,
        uses: &mut Vec<DataUse>,
    ) -> Vec<Wanted<'k>> {
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let leads_here = |settings: &TaskSettings| match &settings.drive_group {
            Some(group) => self
                .drives
                .iter()
                .any(|one| one.store == datastore.store && one.group.as_ref() == Some(group)),
            None => settings.store == datastore.store,
        };
        for task in self.tasks.iter().filter(|task| leads_here(&task.settings)) {
            let Some(client) = self.client(task.client_id) else { continue };
            let options: TaskOptions =
                serde_json::from_str(&task.settings.options).unwrap_or_default();
            let said = options.interfaces.clone();
            let why = format!("task '{}' and datastore '{}'", task.settings.name, datastore.name);
            if !is_external(task.settings.kind, &options) {
                wanted.push(Wanted { client, said, why, looks: false });
                continue;
            }
            let (name, store) = (&task.settings.name, &datastore.name);
            let outside = self.outside(own).await;
            let by_https = outside.iter().any(|one| one.protocol == DataProtocol::Https);
            let why = format!("{why}, streams from outside");
            uses.extend(self.external(own, client, outside, why));
            if device.id == own {
                continue;
            }
            let why = format!("streams of task '{name}' into datastore '{store}', redirected");
            // Who comes by FTP is never sent elsewhere.
            if options.redirect && by_https {
                let said = vec![Scheme::Https.as_str().to_owned()];
                wanted.push(Wanted { client, said, why, looks: false });
            }
            let why = format!("streams of task '{name}' into datastore '{store}', relayed");
            let by_server = self.client(own);
            wanted.extend(by_server.map(|client| Wanted { client, said, why, looks: true }));
        }
        let restores = |client, why| Wanted { client, said: Vec::new(), why, looks: false };
        for domain in self.domains.iter().filter(|domain| domain.store == datastore.store) {
            let Some(owner) = domain.owner.and_then(|id| self.client(id)) else { continue };
            let (owner_name, name) = (&owner.name, &datastore.name);
            wanted
                .push(restores(owner, format!("savesets of '{owner_name}' in datastore '{name}'")));
        }
        // Who may have to restore from a copy.
        for relation in self.replications.iter().filter(|one| one.target == datastore.store) {
            for domain in self.domains.iter().filter(|one| one.store == relation.source) {
                let Some(owner) = domain.owner.and_then(|id| self.client(id)) else { continue };
                if relation.client_name.as_ref().is_some_and(|name| *name != owner.name) {
                    continue;
                }
                let (owner_name, name) = (&owner.name, &datastore.name);
                let why = format!("copies of savesets of '{owner_name}' in datastore '{name}'");
                wanted.push(restores(owner, why));
            }
        }
        if let Some(client) = self.client(own) {
            let why = format!("looking into savesets of datastore '{}'", datastore.name);
            wanted.push(Wanted { client, said: Vec::new(), why, looks: true });
        }
        wanted
    }

    /// Which device dials which, for copies.
    async fn replications(&self) -> Vec<PlanReplication> {
        let host = |store| {
            let datastore = self.datastores.iter().find(|one| one.store == store)?;
            let device = self.client(datastore.device)?;
            (datastore.state == DatastoreState::Active).then_some(device)
        };
        let mut planned = Vec::new();
        for one in &self.replications {
            let (Some(source), Some(target)) = (host(one.source), host(one.target)) else {
                continue;
            };
            let dialled = if one.pull { source } else { target };
            // By the port of a drive and by nothing else, whatever the hosts choose for themselves.
            let mut at = Vec::new();
            for given in self.given(dialled).into_iter().filter(|one| one.scheme == Scheme::Drive) {
                at.push(self.drive_place(dialled, &given).await);
            }
            planned.push(PlanReplication {
                source: source.name.clone(),
                target: target.name.clone(),
                drive: one.drive,
                at,
                pull: one.pull,
                why: format!("replication '{}'", one.name),
            });
        }
        planned
    }

    /// The doors by which streams from outside come in: those for HTTPS and FTP among the server's
    /// interfaces, or HTTPS where none of these was set.
    async fn outside(&self, own: ClientId) -> Vec<PlanInterface> {
        let mut named = Vec::new();
        if let Some(server) = self.client(own) {
            for one in self.given(server) {
                if one.scheme == Scheme::Https || one.scheme.is_ftp() {
                    named.extend(self.planned(server, &one).await);
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
        let server = self.client(own)?;
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

    /// The interfaces that administrators gave a host.
    fn given(&self, host: &Client) -> Vec<Interface> {
        let given = self.interfaces.iter().filter(|(name, _)| *name == host.name);
        given.filter_map(|(_, url)| url.parse().ok()).collect()
    }

    /// The data listeners of a host, those first that others can reach. One that never told has all
    /// of the registry.
    fn endpoints(&self, device: &Client) -> Vec<DataEndpoint> {
        let told = self.listening.iter().find(|(id, _)| *id == device.id);
        let told = told.map(|(_, told)| told.as_slice()).unwrap_or_default();
        let endpoint = |row: &str, port| DataEndpoint { row: row.to_owned(), port };
        if told.is_empty() {
            let of = |scheme: &Scheme| {
                let row = scheme.row();
                // Each drive has its own.
                let port = if *scheme == Scheme::Drive { 0 } else { row.ports.first() };
                endpoint(row.id, port)
            };
            return Scheme::ALL.iter().map(of).collect();
        }
        let is_data = |row: &str| Scheme::ALL.iter().any(|scheme| scheme.row().id == row);
        let mut open: Vec<_> =
            told.iter().filter_map(Told::door).filter(|(row, _)| is_data(row)).collect();
        open.sort_by_key(|(_, address)| address.ip().is_loopback());
        open.iter().map(|(row, address)| endpoint(row, address.port())).collect()
    }

    /// The interfaces that a job would take, in order; none: the suite's default.
    ///
    /// # Errors
    /// Why such a job fails.
    fn doors(
        &self,
        device: &Client,
        said: &[String],
        able: &[Scheme],
        looks: bool,
    ) -> Result<Vec<Interface>, String> {
        let endpoints = self.endpoints(device);
        let mut given = self.given(device);
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
        let (name, hosts) = (device.name.as_str(), device.addresses.as_slice());
        let nobody_says = choices.is_empty() && given.is_empty();
        let doors = DeviceDoors { name, given, endpoints: &endpoints, hosts };
        let chosen = doors.choose(&choices, able)?;
        // By HTTP at its own addresses, and nobody chose: that is the default.
        match nobody_says && chosen.iter().all(|one| one.scheme == Scheme::Http) {
            true => Ok(Vec::new()),
            false => Ok(chosen),
        }
    }

    /// Interfaces in the words of the plan.
    async fn kinds(&self, device: &Client, doors: &[Interface], drives: &[u32]) -> Vec<UseKind> {
        let (mut named, mut at) = (Vec::new(), Vec::new());
        for door in doors {
            match self.planned(device, door).await {
                Some(one) if named.contains(&one) => {}
                Some(one) => named.push(one),
                None => {
                    let place = self.drive_place(device, door).await;
                    if !at.contains(&place) {
                        at.push(place);
                    }
                }
            }
        }
        let mut kinds = Vec::new();
        if !named.is_empty() || doors.is_empty() {
            kinds.push(UseKind::Interfaces(named));
        }
        if !at.is_empty() {
            kinds.push(UseKind::Drives { numbers: drives.to_vec(), at });
        }
        kinds
    }

    /// An interface in the words of the plan; none for the ports of drives.
    async fn planned(&self, device: &Client, door: &Interface) -> Option<PlanInterface> {
        let protocol = match door.scheme {
            Scheme::Http => DataProtocol::Http,
            Scheme::Https => DataProtocol::Https,
            Scheme::Ftp | Scheme::Ftpes => {
                DataProtocol::Ftp { passive: !door.active, active: door.active }
            }
            Scheme::Drive => return None,
        };
        let (host, addresses) = self.place(device, door).await;
        Some(PlanInterface { protocol, port: door.port, addresses, host })
    }

    async fn drive_place(&self, device: &Client, door: &Interface) -> DrivePlace {
        let (host, addresses) = self.place(device, door).await;
        DrivePlace { port: door.port.filter(|port| *port != 0), addresses, host }
    }

    /// Name and addresses of an interface that an administrator gave; neither of one that follows from the
    /// host's own addresses.
    async fn place(&self, device: &Client, door: &Interface) -> (String, Vec<IpAddr>) {
        let same = |given: &Interface| given.scheme == door.scheme && given.host == door.host;
        if !self.given(device).iter().any(same) {
            return (String::new(), Vec::new());
        }
        (door.host.clone(), resolve(&door.host).await.unwrap_or_default())
    }
}

/// Protocols that the one who dials speaks.
fn able(client: &Client, device: &Client, looks: bool) -> &'static [Scheme] {
    let calls = client.access_mode == AccessMode::Outbound && client.id != device.id;
    match (looks, calls) {
        (true, _) => &[Scheme::Http, Scheme::Https, Scheme::Ftp, Scheme::Ftpes],
        // Data connections of FTP do not ride on another one.
        (false, true) => &[Scheme::Http, Scheme::Https, Scheme::Drive],
        (false, false) => &Scheme::ALL,
    }
}
