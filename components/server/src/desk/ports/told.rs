//! What hosts tell of their listeners, kept in the catalog: a plan does not depend on who is awake.

use std::net::SocketAddr;

use simsim_catalog::{Catalog, CatalogError, ClientId};
use simsim_control::verbs::NodeStateReply;
use simsim_model::port_plan::PlannedHost;
use simsim_model::port_registry::{CONSOLE, CTRL, DRIVE, FTP, FTP_DATA, HTTP, HTTPS, Host};

use crate::ServerError;
use crate::books::Books;
use crate::house::House;

/// One listener that a host told of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Told {
    row: String,
    address: String,
    /// It is the port of this drive, and of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drive: Option<u32>,
}

impl Told {
    fn address(&self) -> Option<SocketAddr> {
        self.address.parse().ok()
    }

    /// Row and port of a listener; port 0 of row `drive`: each drive has its own.
    pub(super) fn door(&self) -> Option<(&str, SocketAddr)> {
        let mut address = self.address()?;
        if self.row == DRIVE.id {
            address.set_port(0);
        }
        self.drive.is_none().then_some((self.row.as_str(), address))
    }
}

/// Where the listeners of a host are remembered.
fn setting(id: ClientId) -> String {
    format!("ports.told.{}", id.0)
}

/// What a host last told; nothing where it never did.
pub(super) fn last(catalog: &Catalog, id: ClientId) -> Result<Vec<Told>, CatalogError> {
    let kept = catalog.setting(&setting(id))?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Where it is remembered that a host passes calls of others on.
fn relays_setting(id: ClientId) -> String {
    format!("ports.relays.{}", id.0)
}

/// Whether a host passes calls of others on, as it last told.
pub(super) fn relays(catalog: &Catalog, id: ClientId) -> Result<bool, CatalogError> {
    Ok(catalog.setting(&relays_setting(id))?.is_some_and(|kept| !kept.is_empty()))
}

/// Remembers what a node says that it listens on, and whether it passes calls on. A plan without it has
/// the registry's ports.
pub(crate) async fn remember(books: &Books, id: ClientId, state: &NodeStateReply) {
    const TOLD_MAX: usize = 256;
    const ROW_BYTES_MAX: usize = 32;
    let word: &[u8] = if state.relays_calls { b"relays" } else { b"" };
    let told: Vec<Told> = state
        .listening
        .iter()
        .filter(|one| one.row.len() <= ROW_BYTES_MAX)
        .filter(|one| one.address.parse::<SocketAddr>().is_ok())
        .take(TOLD_MAX)
        .map(|one| Told { row: one.row.clone(), address: one.address.clone(), drive: one.drive })
        .collect();
    let kept = books
        .run(move |catalog| {
            let Ok(bytes) = serde_json::to_vec(&told) else { return Ok(()) };
            for (name, now) in [(setting(id), bytes.as_slice()), (relays_setting(id), word)] {
                if catalog.setting(&name)?.unwrap_or_default() != now {
                    catalog.set_setting(&name, now)?;
                }
            }
            Ok(())
        })
        .await;
    if let Err(error) = kept {
        tracing::warn!(%error, "what a node listens on could not be kept");
    }
}

/// The ports for FTP data that a host last told of, else those of the registry.
pub(crate) async fn ftp_range(house: &House, id: ClientId) -> Result<(u16, u16), ServerError> {
    let told = house.books.run(move |catalog| last(catalog, id)).await?;
    let mut host = PlannedHost::new("", Host::Client, Vec::new());
    listens(&mut host, &told);
    Ok(host.ports.ftp_data())
}

/// The port of row `https` that a host last told of, else that of the registry.
pub(crate) fn https_port(catalog: &Catalog, id: ClientId) -> Result<u16, CatalogError> {
    let mut host = PlannedHost::new("", Host::Rds, Vec::new());
    listens(&mut host, &last(catalog, id)?);
    Ok(host.ports.of(&HTTPS))
}

/// The ports of a host as it told them. One that told nothing has the registry's.
pub(super) fn listens(host: &mut PlannedHost, told: &[Told]) {
    for one in told {
        let Some(address) = one.address() else { continue };
        if let (Some(drive), true) = (one.drive, one.row == DRIVE.id) {
            host.ports.drives.push((drive, address.port()));
            continue;
        }
        // Of several listeners of a row the first that others can reach counts.
        let beyond = !address.ip().is_loopback();
        let seen = |told: &&Told| told.row == one.row && told.drive.is_none();
        let better = |told: &Told| told.address().is_some_and(|one| !one.ip().is_loopback());
        let counts = told.iter().filter(seen).find(|told| better(told)).or(told.iter().find(seen));
        for row in [&CTRL, &HTTP, &HTTPS, &FTP, &CONSOLE, &DRIVE] {
            if one.row == row.id && counts == Some(one) {
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
    let of_drives = |one: &Told| one.row == DRIVE.id && one.drive.is_none();
    host.ports.no_drives = !told.is_empty() && !told.iter().any(of_drives);
}

pub(super) fn set_port(host: &mut PlannedHost, row: &str, port: u16) {
    host.ports.changed.retain(|(id, _)| id != row);
    host.ports.changed.push((row.to_owned(), port));
}

#[cfg(test)]
mod tests {
    use simsim_model::port_plan::NoDrivePort;

    use super::*;

    fn told(rows: &[(&str, &str, Option<u32>)]) -> PlannedHost {
        let one = |(row, address, drive): &(&str, &str, Option<u32>)| Told {
            row: (*row).to_owned(),
            address: (*address).to_owned(),
            drive: *drive,
        };
        let told: Vec<Told> = rows.iter().map(one).collect();
        let mut host = PlannedHost::new("far", Host::Rds, Vec::new());
        listens(&mut host, &told);
        host
    }

    #[test]
    fn drives_are_where_their_host_says_and_nowhere_else() {
        let base = DRIVE.ports.first();
        assert_eq!(told(&[]).ports.drive(2), Ok(base + 2), "it never told anything");
        let none = told(&[("http", "[::]:7", None)]);
        assert_eq!(none.ports.drive(2), Err(NoDrivePort::NotOpen));
        let changed = told(&[("drive", "[::]:12000", None)]);
        assert_eq!(changed.ports.drive(2), Ok(12_002));
        let free = told(&[("drive", "[::]:0", None), ("drive", "[::]:40123", Some(2))]);
        assert_eq!(free.ports.drive(2), Ok(40_123));
        assert_eq!(free.ports.drive(3), Err(NoDrivePort::Free));
    }

    #[test]
    fn of_several_addresses_the_first_counts_that_others_can_reach() {
        let drives = [("drive", "127.0.0.1:9", None), ("drive", "[::]:12000", None)];
        assert_eq!(told(&drives).ports.drive(1), Ok(12_001));
        let three = [("http", "127.0.0.1:9", None), ("http", "0.0.0.0:8", None)];
        let three = told(&[three.as_slice(), &[("http", "[::]:7", None)]].concat());
        assert_eq!(three.ports.of(&HTTP), 8);
        assert_eq!(told(&[("http", "127.0.0.1:9", None)]).ports.of(&HTTP), 9);
    }
}
