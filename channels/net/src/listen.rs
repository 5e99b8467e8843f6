//! Opening a listener, with an error that names who is in the way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::net::sockopt;
use simsim_model::Kind;
use simsim_model::port_registry::Listen;
use tokio::net::{TcpListener, TcpSocket};

use crate::holder::{Holder, holder_of};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Someone else has the port.
    #[error(
        "port {port} ({protocol}) on {address} is taken by {holder}: stop it, or choose another \
         address or port for '{row}' in the configuration"
    )]
    Taken { port: u16, protocol: &'static str, row: &'static str, address: IpAddr, holder: String },
    /// The system does not allow it.
    #[error(
        "may not listen on {address} ({protocol}): ports below 1024 need root or the capability \
         CAP_NET_BIND_SERVICE"
    )]
    Denied { address: SocketAddr, protocol: &'static str, source: io::Error },
    /// This host does not have the address.
    #[error(
        "this host has no address {address} ({protocol}): configure one that it has for '{row}', \
         or all of them with [::]"
    )]
    NoSuchAddress { address: IpAddr, protocol: &'static str, row: &'static str, source: io::Error },
    /// What the operating system said.
    #[error("cannot listen on {address} ({protocol}): {source}")]
    System { address: SocketAddr, protocol: &'static str, source: io::Error },
}

impl ListenError {
    /// `Busy` when taken, `Denied`, `Invalid` for a foreign address, else by the system's error.
    pub fn kind(&self) -> Kind {
        match self {
            ListenError::Taken { .. } => Kind::Busy,
            ListenError::Denied { .. } => Kind::Denied,
            ListenError::NoSuchAddress { .. } => Kind::Invalid,
            ListenError::System { source, .. } => Kind::of_io(source),
        }
    }
}

/// Listens on `address` for the port registry's `row`. The port is the one in `address`; 0 takes
/// a free one. An unspecified IPv6 address takes IPv4 connections as well, and on a host without
/// IPv6 becomes the unspecified IPv4 address.
///
/// # Errors
/// [`ListenError`]; a taken port names its holder where `/proc` shows it.
pub async fn listen(address: SocketAddr, row: &Listen) -> Result<TcpListener, ListenError> {
    match open(address) {
        Err(error)
            if address.ip().is_ipv6()
                && address.ip().is_unspecified()
                && error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            tracing::info!(%address, "this host has no IPv6; listening on IPv4 only");
            open(address).map_err(|error| (address, error))
        }
        result => result.map_err(|error| (address, error)),
    }
    .map_err(|(address, source)| explain(address, row, source))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(address) => {
            let socket = TcpSocket::new_v6()?;
            let dual = address.ip().is_unspecified();
            sockopt::set_ipv6_v6only(&socket, !dual)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn explain(address: SocketAddr, row: &Listen, source: io::Error) -> ListenError {
    let protocol = row.protocol;
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = match holder_of(address.port()) {
                Some(Holder::Process(process)) if process.pid == std::process::id() => {
                    format!("this process itself ({}, {})", process.name, process.pid)
                }
                holder => holder.unwrap_or(Holder::Unknown).to_string(),
            };
            ListenError::Taken {
                port: address.port(),
                protocol,
                row: row.id,
                address: address.ip(),
                holder,
            }
        }
        io::ErrorKind::PermissionDenied => ListenError::Denied { address, protocol, source },
        io::ErrorKind::AddrNotAvailable => {
            ListenError::NoSuchAddress { address: address.ip(), protocol, row: row.id, source }
        }
        _ => ListenError::System { address, protocol, source },
    }
}
