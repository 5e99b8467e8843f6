//! Taking a port of the registry, or a free one when somebody else has it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use simsim_model::port_registry::Listen;
use tokio::net::TcpListener;

use crate::exit::Failure;

/// A listener, and what to say when it is not on its own port.
pub struct Taken {
    pub listener: TcpListener,
    pub address: SocketAddr,
    pub notice: Option<String>,
}

/// Listens on loopback: on the row's own port, else on a free one.
pub async fn on_loopback(row: &Listen) -> Result<Taken, Failure> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let own = SocketAddr::new(ip, row.ports.first());
    let (listener, notice) = match simsim_net::listen(own, row).await {
        Ok(listener) => (listener, None),
        Err(error) => {
            let listener = simsim_net::listen(SocketAddr::new(ip, 0), row)
                .await
                .map_err(|error| Failure::new(error.kind(), error.to_string()))?;
            (listener, Some(error.to_string()))
        }
    };
    let address = listener.local_addr()?;
    let notice = notice.map(|why| format!("{why}; using free port {} instead", address.port()));
    Ok(Taken { listener, address, notice })
}
