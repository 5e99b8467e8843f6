//! The port plan of this suite, from the catalog; and how its hosts are seen from here.
//!
//! [`told`] is what hosts say of their listeners, [`uses`] who needs whose data port and by which
//! interface, [`names`] how names become addresses.

mod names;
mod told;
mod uses;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use simsim_catalog::{AccessMode, Client};
use simsim_control::verbs::Ping;
use simsim_model::port_plan::{Access, Joining, PlannedHost, PortConfiguration, PortPlan};
use simsim_model::port_registry::{CTRL, Host, SMSSH};

pub(crate) use told::{ftp_range, https_port, remember};

use self::names::{addresses_of, distinct, resolve};
use self::told::{listens, set_port};
use self::uses::Known;
use crate::api::{HostCheck, NameCheck};
use crate::certificates;
use crate::clock::now_unix_ms;
use crate::jobs::address_towards;
use crate::nodes::{control_port, relay_of};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// A node gets this long to say what time it is.
const CLOCK_PATIENCE: Duration = Duration::from_secs(5);

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
            certificate_until_unix_ms: None,
        };
        // Nothing else depends on it: a catalog that cannot be read is told of elsewhere.
        let until = certificates::good_until(&self.house, client.id).await;
        check.certificate_until_unix_ms = until.ok().flatten();
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

    /// The configuration of the plan.
    pub(crate) async fn port_configuration(&self) -> Result<PortConfiguration, ServerError> {
        let known = Known::of(&self.house).await?;
        let own = self.house.nodes.own();
        let mut configuration = PortConfiguration {
            joining: known
                .joining
                .iter()
                .map(|(name, outbound)| Joining {
                    name: name.clone().unwrap_or_default(),
                    outbound: *outbound,
                })
                .collect(),
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
            host.relays = client.id != own && known.relays.contains(&client.id);
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
        known.fill(own, &mut configuration).await;
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

fn role(client: &Client, is_own: bool) -> Host {
    match (is_own, client.has_role("device")) {
        (true, _) => Host::Server,
        (false, true) => Host::Rds,
        (false, false) => Host::Client,
    }
}
