//! From the addresses that a server names to the ways that a client dials.

use simsim_model::interface::{Interface, InterfaceError, Scheme};
use simsim_net::tls::{Pin, TlsConnect, TlsError, TlsIdentity};

use crate::{DataPorts, FtpWay, Route};

/// Addresses that cannot become routes.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    #[error("{address}: {source}")]
    Tls { address: String, source: TlsError },
    #[error("there is no data address that this host can use; given: {given}")]
    None { given: String },
}

/// The routes to a device, in the order of `urls`. Neighbours of one protocol become one route.
/// `pins`: TLS keys that the device may show. `own`: this host's, for the ports of drives, and which
/// keys of this host the device knows (none: whichever it shows now). `drive`: its number. `ports`: this
/// host's range for FTP in active mode.
///
/// # Errors
/// A malformed address, one with TLS without a key to expect, or when nothing is left to dial.
pub fn routes(
    urls: &[String],
    drive: u32,
    pins: &[Pin],
    own: Option<(&TlsIdentity, &[Pin])>,
    ports: &DataPorts,
) -> Result<Vec<Route>, RoutesError> {
    let mut grouped: Vec<((Scheme, bool), Vec<String>)> = Vec::new();
    for url in urls {
        let interface: Interface = url.parse()?;
        let Some(address) = interface.address(drive) else { continue };
        let kind = (interface.scheme, interface.active);
        match grouped.last_mut() {
            Some((last, addresses)) if *last == kind => addresses.push(address),
            _ => grouped.push((kind, vec![address])),
        }
    }
    let mut routes = Vec::new();
    for ((scheme, active), addresses) in grouped {
        let tls = |own: Option<(&TlsIdentity, &[Pin])>| {
            let address = addresses.join(", ");
            let tls = match own {
                Some((own, known)) => TlsConnect::known_by(pins.to_vec(), own, known),
                None => TlsConnect::new(pins.to_vec(), None),
            };
            tls.map_err(|source| RoutesError::Tls { address, source })
        };
        routes.push(match scheme {
            Scheme::Http => Route::http(addresses),
            Scheme::Https => {
                let tls = tls(None)?;
                Route::https(addresses, tls)
            }
            Scheme::Drive => {
                let tls = tls(own)?;
                Route::drive(addresses, tls)
            }
            Scheme::Ftp | Scheme::Ftpes => {
                let way = match active {
                    true => FtpWay::active(ports.clone()),
                    false => FtpWay::passive(),
                };
                let way = match scheme {
                    Scheme::Ftpes => way.with_tls(tls(None)?),
                    _ => way,
                };
                Route::ftp(addresses, way)
            }
        });
    }
    if routes.is_empty() {
        let given = if urls.is_empty() { "(none)".to_owned() } else { urls.join(", ") };
        return Err(RoutesError::None { given });
    }
    Ok(routes)
}
