//! Opening the listeners of a row of the port registry.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use simsim_control::verbs::ListeningAddress;
use simsim_model::port_registry::Listen;
use tokio::net::TcpListener;

use crate::exit::Failure;

/// What to do when somebody else has the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenTaken {
    /// An error that names who, and the option with which another one is chosen.
    Refuse,
    /// A free port; who had the other one is said.
    TakeFree,
    /// The host works without it, and its log says what it cannot have and who has it. Also where
    /// the system does not allow the port, or has no such address.
    GoOn,
}

/// An open listener.
pub struct Opened {
    pub listener: TcpListener,
    pub address: SocketAddr,
    /// Why it is not the port that was meant.
    pub notice: Option<String>,
}

impl Opened {
    /// As the host tells its server.
    pub fn told(&self, row: &Listen) -> ListeningAddress {
        let address = self.address.to_string();
        ListeningAddress { row: row.id.to_owned(), address, drive: None }
    }

    /// Where this process itself reaches it.
    pub fn own_address(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.address.port())
    }
}

/// Opens every address of a row; with [`WhenTaken::GoOn`] those that can be had. `option` is the
/// one that chooses others.
pub async fn open(
    row: &'static Listen,
    option: &str,
    addresses: &[SocketAddr],
    when_taken: WhenTaken,
) -> Result<Vec<Opened>, Failure> {
    let mut all = Vec::new();
    for &wanted in addresses {
        let (listener, notice) = match simsim_net::listen(wanted, row).await {
            Ok(listener) => (listener, None),
            Err(error @ simsim_net::ListenError::Taken { .. })
                if when_taken == WhenTaken::TakeFree =>
            {
                let free = SocketAddr::new(wanted.ip(), 0);
                let listener = simsim_net::listen(free, row)
                    .await
                    .map_err(|error| Failure::new(error.kind(), error.to_string()))?;
                (listener, Some(taken_by(&error)))
            }
            Err(error) if when_taken == WhenTaken::GoOn => {
                tracing::error!(
                    row = row.id,
                    "{error} (another one: {option} ADDRESS:PORT); this host goes on without it"
                );
                continue;
            }
            Err(error) => {
                let text = format!("{error} (another one: {option} ADDRESS:PORT)");
                return Err(Failure::new(error.kind(), text));
            }
        };
        let address = listener.local_addr()?;
        let notice = notice.map(|why| format!("{why}; free port {} is used", address.port()));
        all.push(Opened { listener, address, notice });
    }
    Ok(all)
}

fn taken_by(error: &simsim_net::ListenError) -> String {
    match error {
        simsim_net::ListenError::Taken { port, holder, .. } => {
            format!("port {port} is taken by {holder}")
        }
        other => other.to_string(),
    }
}
