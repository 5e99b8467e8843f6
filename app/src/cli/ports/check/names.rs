//! The names that this host has, and those that it dials.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Findings, Grade, Here};
use crate::daemon::{Enrolment, Role, host_of};

/// A name service gets this long for one name.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

/// What this host dials by itself and by name: the server or the relay that it calls, and the server to
/// which it passes calls on. Names of devices come with each job: `simsim ports probe` has the hosts look
/// these up.
pub(super) async fn dialled_names(
    found: &mut Findings,
    here: &Here<'_>,
    enrolment: Option<&Enrolment>,
) {
    let mut dialled: Vec<(String, &str)> = Vec::new();
    if here.calls(enrolment) {
        let calls = match here.settings.client.outbound.is_empty() {
            true => enrolment.map(|joined| joined.outbound.clone()).unwrap_or_default(),
            false => here.settings.outbound(),
        };
        dialled.extend(
            calls.into_iter().map(|one| (one, "this host calls it (access mode OUTBOUND)")),
        );
    }
    if here.role != Role::Server && here.role.has_device() {
        let passes = here.settings.relay_calls_to().into_iter();
        dialled.extend(passes.map(|one| (one, "this host passes calls of others on to it")));
    }
    for (server, why) in dialled {
        let host = host_of(&server);
        if host.parse::<IpAddr>().is_ok() {
            continue;
        }
        match lookup(host).await {
            Ok(addresses) => {
                let port = server.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                let to = |ip: &IpAddr| match port {
                    Some(port) => SocketAddr::new(*ip, port).to_string(),
                    None => ip.to_string(),
                };
                let list = addresses.iter().map(to).collect::<Vec<_>>().join(", ");
                found.add("name", host, Grade::Good, format!("leads to {list}; {why}"));
            }
            Err(error) => {
                found.add("name", host, Grade::Bad, format!("does not resolve: {error}; {why}"));
                found.next("enter it into DNS or /etc/hosts of this host, or name an address");
            }
        }
    }
}

pub(super) async fn own_name(found: &mut Findings, name: &str) {
    match lookup(name).await {
        Ok(addresses) => {
            let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let elsewhere = addresses.iter().any(|address| !address.is_loopback());
            let (grade, more) = match elsewhere {
                true => (Grade::Good, ""),
                false => (Grade::Warning, ": only this host itself finds it there"),
            };
            found.add("name", name, grade, format!("this host's name leads to {list}{more}"));
            if !elsewhere {
                found.next("give other hosts an address: advertise in [server] of the settings, or 'simsim client addresses'");
            }
            backwards(found, name, &addresses).await;
        }
        Err(why) => {
            let message = format!("this host's own name does not resolve: {why}");
            found.add("name", name, Grade::Warning, message);
            found.next("enter it into DNS or /etc/hosts, or set 'name' in the settings");
        }
    }
}

/// From addresses to names, by the host's own way of looking names up.
pub(super) async fn backwards(found: &mut Findings, name: &str, addresses: &[IpAddr]) {
    for address in addresses.iter().filter(|address| !address.is_loopback()) {
        match reverse(*address).await {
            None => {
                let message = format!("no name leads back from {address}");
                found.add("name", name, Grade::Warning, message);
                found.next(
                    "nothing of the suite needs it; logs of others are easier to read with it",
                );
            }
            Some(back) => {
                let same = back.iter().any(|one| short(one) == short(name) || one == name);
                let list = back.join(", ");
                let grade = if same { Grade::Good } else { Grade::Warning };
                found.add("name", name, grade, format!("{address} leads back to {list}"));
            }
        }
    }
}

fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    match tokio::time::timeout(LOOKUP_PATIENCE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(addresses)) => {
            let mut kept: Vec<IpAddr> = Vec::new();
            for address in addresses.map(|address| address.ip()) {
                if !kept.contains(&address) {
                    kept.push(address);
                }
            }
            Ok(kept)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_PATIENCE.as_secs())),
    }
}

/// `getent` asks what the host's programs ask: files, DNS and whatever else is configured.
async fn reverse(address: IpAddr) -> Option<Vec<String>> {
    let mut getent = tokio::process::Command::new("getent");
    getent.arg("hosts").arg(address.to_string()).kill_on_drop(true);
    let output = tokio::time::timeout(LOOKUP_PATIENCE, getent.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: Vec<String> = text.split_whitespace().skip(1).map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}
