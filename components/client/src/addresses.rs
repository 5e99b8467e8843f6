//! Where a device takes data: what the server named becomes the routes that the data channel dials.

use std::sync::Arc;

use simsim_net::tls::Pin;
use simsim_transfer::{Route, routes};

use crate::{Client, ClientError};

/// The routes of a job, in the server's order. `outbound`: through the connection that this host
/// keeps open to its server, and not by itself. `client_keys`: keys of this host that the device knows.
///
/// # Errors
/// When an address is malformed, or none is left; when there is to be an outbound connection, and
/// this host opens none.
pub(crate) fn routes_of(
    client: &Client,
    urls: &[String],
    drive: u32,
    device_keys: &[Vec<u8>],
    client_keys: &[Vec<u8>],
    outbound: bool,
) -> Result<Vec<Route>, ClientError> {
    let pins = |keys: &[Vec<u8>]| -> Vec<Pin> {
        keys.iter().filter_map(|key| <[u8; 32]>::try_from(key.as_slice()).ok().map(Pin)).collect()
    };
    let (known, ports) = (pins(client_keys), &client.options.data_ports);
    let own = client.options.tls.as_deref().map(|tls| (tls, known.as_slice()));
    let routes = routes(urls, drive, &pins(device_keys), own, ports)?;
    if !outbound {
        return Ok(routes);
    }
    let opener = client.options.outbound.as_ref().ok_or(ClientError::Request(
        "the server says that data goes by the outbound connection, and this host opens none",
    ))?;
    Ok(routes.into_iter().map(|route| route.through(Arc::clone(opener))).collect())
}
