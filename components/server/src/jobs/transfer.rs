//! Tickets: made here, told to the device and to the client over their control channels, and
//! nowhere else.

use std::net::IpAddr;
use std::time::Duration;

use simsim_catalog::{AccessMode, Client, ClientId, Datastore};
use simsim_control::verbs::{
    DataEndpoint, GrantTransfer, NodeState, Ping, RevokeTransfer, SavesetNames,
};
use simsim_format::random_bytes;
use simsim_model::interface::{Interface, Scheme};
use simsim_model::{Direction, DomainId, Kind, Level, SavesetId, Secret, Ticket, TransferId};
use simsim_net::tls::Pin;
use simsim_transfer::throttle::Party;
use simsim_transfer::{DataPorts, Route, routes};

use super::ways::{Choice, DeviceDoors};
use crate::desk::ftp_range;
use crate::house::House;
use crate::nodes::{Line, relay_of, remember_addresses};
use crate::way::Way;
use crate::{ServerError, rates, reconcile};

/// How long a device may take to be reached before a job that needs it fails.
pub(crate) const DEVICE_PATIENCE: Duration = Duration::from_secs(15);

/// A ticket for copies lives so long: one domain waits for those before it. It is revoked when its
/// job ends.
pub(super) const COPY_TICKET_S: u64 = 7 * 86_400;

/// What a ticket is for.
pub(crate) struct TransferWish<'a> {
    pub transfer: TransferId,
    pub job: u64,
    pub client: &'a str,
    pub drive: u32,
    pub datastore: &'a Datastore,
    pub domain: DomainId,
    pub direction: Direction,
    pub saveset: SavesetId,
    pub bytes_max: u64,
    /// What the job itself says about the interfaces; empty: as the client says.
    pub interfaces: &'a [String],
    /// This process itself dials the device. It has no key for the ports of drives.
    pub by_server: bool,
    /// Of a restore whose stream the device opens itself: the domain's key.
    pub stream_key: Option<&'a Secret>,
    /// Of a raw stream that this process passes on: the address of the tool.
    pub seen_from: Option<IpAddr>,
}

/// A transfer that the device expects.
pub(crate) struct Granted {
    pub ticket: Ticket,
    /// Interfaces of the device for this client, in order of preference.
    pub urls: Vec<String>,
    /// TLS keys that the device may show.
    pub device_keys: Vec<Vec<u8>>,
    /// TLS keys of the client that the device was told.
    pub client_keys: Vec<Vec<u8>>,
    /// From the client to the device.
    pub way: Way,
    /// The client goes there through its connection to the Server.
    pub outbound: bool,
    /// Whose rate limits count for it.
    pub party: Party,
}

impl Granted {
    /// The ways for a transfer that this process itself dials.
    pub(crate) fn routes(&self, ports: &DataPorts) -> Result<Vec<Route>, ServerError> {
        let pins: Vec<Pin> = self
            .device_keys
            .iter()
            .filter_map(|key| <[u8; 32]>::try_from(key.as_slice()).ok().map(Pin))
            .collect();
        routes(&self.urls, self.ticket.drive, &pins, None, ports)
            .map_err(|error| ServerError::node("the device", Kind::Invalid, error.to_string()))
    }
}

/// A backup's own part of a grant.
pub(crate) struct BackupGrant {
    pub level: Level,
    /// The saveset that it is compared with, the only one that it may read.
    pub base: Option<SavesetId>,
    pub eol_days: u32,
    /// A pre-command may take so long before the transfer begins.
    pub first_s: u32,
    /// For a plain stream, which the device cuts and seals itself.
    pub stream: Option<(Secret, SavesetNames)>,
}

/// Makes a ticket and tells the device to expect the transfer. Its expiry and the new saveset's
/// lock date count from the *device's* clock, which is the one that holds them.
pub(crate) async fn grant(
    house: &House,
    wish: &TransferWish<'_>,
    backup: Option<BackupGrant>,
    to: ClientId,
) -> Result<Granted, ServerError> {
    grant_for(house, wish, backup, to, None).await
}

/// As [`grant`], with a ticket that is good for so many seconds: what another copy is needed for comes late, if ever.
pub(super) async fn grant_for(
    house: &House,
    wish: &TransferWish<'_>,
    backup: Option<BackupGrant>,
    to: ClientId,
    valid_s: Option<u64>,
) -> Result<Granted, ServerError> {
    let device = house.nodes.line(wish.datastore.device, DEVICE_PATIENCE).await?;
    let device_unix_s = clock_of(&device).await?;
    let valid_s = valid_s.unwrap_or(match wish.direction.is_copy() {
        true => COPY_TICKET_S,
        false => u64::from(house.config.ticket_minutes) * 60,
    });
    let valid_s = valid_s + backup.as_ref().map_or(0, |grant| u64::from(grant.first_s));
    let ticket = Ticket {
        transfer: wish.transfer,
        job: wish.job,
        client: wish.client.to_owned(),
        drive: wish.drive,
        store: wish.datastore.store,
        domain: wish.domain,
        direction: wish.direction,
        bytes_max: wish.bytes_max,
        expires_unix_s: device_unix_s + valid_s,
        secret: Secret(random_bytes()?),
        saveset: wish.saveset,
    };
    let bases = backup.as_ref().map(|grant| grant.base.into_iter().collect());
    let (level, lock_until_unix_s, stream) = match backup {
        None => {
            let stream = wish.stream_key.map(|key| (key.clone(), SavesetNames::default()));
            (None, 0, stream)
        }
        Some(grant) => {
            let lock = match grant.eol_days {
                0 => 0,
                days => device_unix_s + u64::from(days) * 86_400,
            };
            (Some(grant.level), lock, grant.stream)
        }
    };
    let (domain_key, names) = stream.unzip();
    let guide = Guide::of(house, wish, to).await?;
    let outbound = guide.outbound;
    let client_keys = match guide.mentions(Scheme::Drive) {
        true => tls_keys_of(house, to).await,
        false => Vec::new(),
    };
    let party = party(house, wish, &guide.device, to).await?;
    // Before the transfer, so that no byte of it goes faster than it may.
    if let Err(error) = rates::tell(house, &device).await {
        let error = error.full_message();
        tracing::warn!(device = %guide.device, %error, "the device does not hold the rate limits");
    }
    let verb = GrantTransfer {
        ticket: ticket.clone(),
        domain_key,
        lock_until_unix_s,
        level,
        names,
        client_keys: client_keys.clone(),
        hosts: party.hosts.clone(),
        addresses: party.addresses.iter().map(IpAddr::to_string).collect(),
        bases,
    };
    let mut told = device.call(verb.clone()).await;
    // A device that was reached this moment may not have its datastores yet.
    if told.as_ref().is_err_and(|error| error.kind() == Kind::NotFound)
        && reconcile::take_in(house, &device, wish.datastore).await.is_ok()
    {
        told = device.call(verb).await;
    }
    let led = async {
        let reply = told?;
        let ways = guide.ways(house, &reply.endpoints, to).await?;
        if outbound {
            let addresses = ways
                .iter()
                .filter_map(|way| way.parse::<Interface>().ok()?.address(wish.drive))
                .collect();
            remember_addresses(&house.books, to, addresses).await?;
        }
        // Over an outbound connection it is the Server that dials.
        let from = if outbound || wish.by_server { house.own_name.as_str() } else { wish.client };
        let ranges = [ftp_range(house, to).await?, ftp_range(house, guide.number).await?];
        let way = Way::of_urls(from, &guide.device, &ways, wish.drive, ranges);
        Ok((reply.device_keys, ways, way))
    };
    match led.await {
        Ok((device_keys, urls, way)) => {
            Ok(Granted { ticket, urls, device_keys, client_keys, way, outbound, party })
        }
        // The device may have heard, whatever came of it: what leads nowhere is taken back.
        Err(error) => {
            withdraw_transfer(house, wish.datastore.device, wish.transfer).await;
            Err(error)
        }
    }
}

/// Whose rate limits count for a transfer.
async fn party(
    house: &House,
    wish: &TransferWish<'_>,
    device: &str,
    to: ClientId,
) -> Result<Party, ServerError> {
    let mut hosts = vec![wish.client.to_owned()];
    if device != wish.client {
        hosts.push(device.to_owned());
    }
    let addresses = match wish.seen_from {
        Some(address) => vec![address],
        None if wish.by_server => Vec::new(),
        None => {
            let client = house.books.run(move |catalog| catalog.client_numbered(to)).await?;
            rates::addresses_of(&client).await
        }
    };
    Ok(Party { hosts, addresses })
}

/// The TLS keys that the host may show at the port of a drive. One that is not reached has none:
/// it is reached, or fails, when the job begins.
async fn tls_keys_of(house: &House, host: ClientId) -> Vec<Vec<u8>> {
    let asked = async {
        let line = house.nodes.line(host, DEVICE_PATIENCE).await?;
        line.call(NodeState {}).await
    };
    match asked.await {
        Ok(state) if !state.tls_key.is_empty() => vec![state.tls_key],
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::debug!(%error, "the TLS key of a host is not known");
            Vec::new()
        }
    }
}

/// What was said about the interfaces for a transfer.
struct Guide {
    /// The device, by name.
    device: String,
    number: ClientId,
    given: Vec<Interface>,
    choices: Vec<Choice>,
    able: &'static [Scheme],
    outbound: bool,
}

impl Guide {
    async fn of(house: &House, wish: &TransferWish<'_>, to: ClientId) -> Result<Self, ServerError> {
        let number = wish.datastore.device;
        let (device, given, of_client, calls, relay) = house
            .books
            .run(move |catalog| {
                let device = catalog.client_numbered(number)?.name;
                let calls = catalog.client_numbered(to)?.access_mode == AccessMode::Outbound;
                let relay = if calls { relay_of(catalog, to)? } else { None };
                let (given, choices) = (catalog.interfaces(number)?, catalog.client_choices(to)?);
                Ok((device, given, choices, calls, relay))
            })
            .await?;
        // The relay's own door is open to the client: its data need not go round by the Server.
        let at_relay = relay.as_ref() == Some(&device);
        let outbound = calls && !at_relay && number != to;
        let said = if wish.interfaces.is_empty() { &of_client } else { wish.interfaces };
        let kept = given.len();
        // A newer server's protocol is passed over; that is no leave to take any other.
        let given: Vec<Interface> = given.iter().filter_map(|url| url.parse().ok()).collect();
        if kept > 0 && given.is_empty() {
            let text =
                format!("none of the interfaces of '{device}' is one that this version knows");
            return Err(ServerError::invalid(text));
        }
        let choices: Result<Vec<Choice>, String> =
            said.iter().map(|text| Choice::parse(text)).collect();
        let mut choices = choices.map_err(ServerError::invalid)?;
        if at_relay {
            choices = vec![Choice::Scheme(Scheme::Https)];
        }
        // Where this process dials itself it has no key for the ports of drives: where only these were
        // chosen for its host's own data, it goes as if nobody chose.
        let looks = wish.by_server;
        let mut given = given;
        if looks {
            let is_drive = |choice: &Choice| match choice {
                Choice::Scheme(scheme) => *scheme == Scheme::Drive,
                Choice::Interface(interface) => interface.scheme == Scheme::Drive,
            };
            choices.retain(|choice| !is_drive(choice));
            given.retain(|given| given.scheme != Scheme::Drive);
        }
        Ok(Self {
            device,
            number,
            given,
            choices,
            able: match (looks, outbound) {
                (true, _) => &[Scheme::Http, Scheme::Https, Scheme::Ftp, Scheme::Ftpes],
                // Data connections of FTP do not ride on another one.
                (false, true) => &[Scheme::Http, Scheme::Https, Scheme::Drive],
                (false, false) => &Scheme::ALL,
            },
            outbound,
        })
    }

    fn mentions(&self, scheme: Scheme) -> bool {
        let chosen = self.choices.iter().any(|choice| match choice {
            Choice::Scheme(chosen) => *chosen == scheme,
            Choice::Interface(interface) => interface.scheme == scheme,
        });
        chosen || self.given.iter().any(|given| given.scheme == scheme)
    }

    /// The interfaces for host `to`, in order, as texts.
    async fn ways(
        &self,
        house: &House,
        endpoints: &[DataEndpoint],
        to: ClientId,
    ) -> Result<Vec<String>, ServerError> {
        // Who dials: over an outbound connection the Server does, in the client's place.
        let dialler = if self.outbound { house.nodes.own() } else { to };
        let hosts = device_addresses(house, self.number, dialler).await?;
        let (name, given) = (self.device.as_str(), self.given.clone());
        let doors = DeviceDoors { name, given, endpoints, hosts: &hosts };
        let ways = doors.choose(&self.choices, self.able).map_err(ServerError::invalid)?;
        Ok(ways.iter().map(Interface::to_string).collect())
    }
}

/// A transfer from a device to the Server itself, to look into a saveset.
pub(crate) async fn grant_restore(
    house: &House,
    datastore: &Datastore,
    drive: u32,
    domain: DomainId,
    saveset: SavesetId,
) -> Result<Granted, ServerError> {
    let wish = TransferWish {
        transfer: TransferId(random_bytes()?),
        job: 0,
        client: &house.own_name,
        drive,
        datastore,
        domain,
        direction: Direction::Restore,
        saveset,
        bytes_max: 0,
        interfaces: &[],
        by_server: true,
        stream_key: None,
        seen_from: None,
    };
    grant(house, &wish, None, house.nodes.own()).await
}

/// As [`revoke`]; a device that cannot be told now is told when it is reached again.
pub(crate) async fn withdraw_transfer(house: &House, device: ClientId, transfer: TransferId) {
    if !revoke(house, device, transfer).await {
        house.unrevoked.lock().push((device, transfer));
    }
}

/// As [`withdraw_transfer`], of a ticket that was written down.
pub(crate) async fn withdraw_ticket(house: &House, device: ClientId, transfer: TransferId) {
    if revoke(house, device, transfer).await {
        forget_ticket(house, transfer).await;
    } else {
        house.unrevoked.lock().push((device, transfer));
    }
}

/// Its device was told. One that stays in the books is withdrawn once more at the next start.
pub(crate) async fn forget_ticket(house: &House, transfer: TransferId) {
    let forgotten = house.books.run(move |catalog| catalog.forget_ticket(transfer)).await;
    if let Err(error) = forgotten {
        let error = error.full_message();
        tracing::warn!(%transfer, %error, "a ticket that was withdrawn stays in the books");
    }
}

/// Ends a transfer on the device, or forgets its ticket. A device that cannot be told ends it by
/// itself: the ticket expires, and a session that nobody feeds is given up.
pub(crate) async fn revoke(house: &House, device: ClientId, transfer: TransferId) -> bool {
    let told = async {
        let line = house.nodes.line(device, Duration::from_secs(2)).await?;
        line.call(RevokeTransfer { transfer }).await
    };
    if let Err(error) = told.await {
        tracing::warn!(%transfer, %error, "a transfer could not be revoked at the device");
        return false;
    }
    true
}

async fn clock_of(device: &Line) -> Result<u64, ServerError> {
    let reply = device.call(Ping {}).await?;
    Ok(u64::try_from(reply.unix_ns).unwrap_or(0) / 1_000_000_000)
}

/// Where client `to` reaches the device. On one host loopback comes first. For the Server's own
/// device, the address of this host that leads to the client comes last: it works where names do
/// not.
pub(crate) async fn device_addresses(
    house: &House,
    device: ClientId,
    to: ClientId,
) -> Result<Vec<String>, ServerError> {
    let (device, client) = house
        .books
        .run(move |catalog| Ok((catalog.client_numbered(device)?, catalog.client_numbered(to)?)))
        .await?;
    let mut hosts: Vec<String> = Vec::new();
    if device.id == client.id {
        hosts.push("127.0.0.1".to_owned());
        hosts.push("::1".to_owned());
    }
    hosts.extend(device.addresses.iter().cloned());
    if device.id == house.nodes.own() && client.id != device.id {
        hosts.extend(address_towards(&client).await.map(|address| address.to_string()));
    }
    let mut addresses: Vec<String> = Vec::new();
    for host in hosts {
        if !addresses.contains(&host) {
            addresses.push(host);
        }
    }
    Ok(addresses)
}

/// This host's own address on the way to a client. Connecting a datagram socket sends nothing.
pub(crate) async fn address_towards(client: &Client) -> Option<IpAddr> {
    for host in &client.addresses {
        let target = crate::nodes::with_port(host, client.listen_port);
        let Ok(found) = tokio::net::lookup_host(&target).await else { continue };
        for address in found {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let Ok(socket) = tokio::net::UdpSocket::bind(any).await else { continue };
            if socket.connect(address).await.is_ok()
                && let Ok(own) = socket.local_addr()
                && !own.ip().is_unspecified()
            {
                return Some(own.ip());
            }
        }
    }
    None
}
