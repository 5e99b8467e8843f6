//! From names to addresses, by this host's own resolver.

use std::net::IpAddr;
use std::time::Duration;

/// A name service gets this long for one name.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

/// Those under which others reach a host: loopback leads nowhere from elsewhere.
pub(super) async fn addresses_of(names: &[String]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for name in names {
        addresses.extend(resolve(name).await.unwrap_or_default());
    }
    addresses.retain(|address| !address.is_loopback());
    distinct(addresses)
}

pub(super) fn distinct(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !kept.contains(&address) {
            kept.push(address);
        }
    }
    kept
}

pub(super) async fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
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
