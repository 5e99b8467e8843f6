//! Where a device takes data: what the server named becomes the routes that the data channel dials.

use simsim_net::tls::Pin;
use simsim_transfer::{Route, routes};

use crate::{Client, ClientError};

/// The routes of a job, in the server's order.
///
/// # Errors
/// When an address is malformed, or none is left.
pub(crate) fn routes_of(
    client: &Client,
    urls: &[String],
    drive: u32,
    device_keys: &[Vec<u8>],
) -> Result<Vec<Route>, ClientError> {
    let pins: Vec<Pin> = device_keys
        .iter()
        .filter_map(|key| <[u8; 32]>::try_from(key.as_slice()).ok().map(Pin))
        .collect();
    Ok(routes(urls, drive, &pins, client.options.tls.as_deref())?)
}
