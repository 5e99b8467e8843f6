//! Data connections: who may make one, from where, and how long it may take.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use simsim_model::port_registry::FTP_DATA;
use simsim_net::{Failure, Patient};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::address::with_port;

/// From the reply that names a port to the connection that has come there.
pub(crate) const ARRIVAL_TIME: Duration = Duration::from_secs(10);

/// Opens a port of the range at the address at which the control connection came in.
pub(crate) async fn open_port(at: SocketAddr) -> Result<TcpListener, simsim_net::ListenError> {
    simsim_net::listen(at, &FTP_DATA).await
}

/// Waits for the connection of the one host that may come. Others are turned away, and the port
/// stays open for the right one until the time is over; afterwards it is closed.
pub(crate) async fn welcome(
    listener: TcpListener,
    peer: IpAddr,
    within: Duration,
) -> Result<Patient, String> {
    let until = Instant::now() + within;
    let expected = peer.to_canonical();
    loop {
        let accepted = timeout_at(until, listener.accept()).await.map_err(|_| {
            let port = listener.local_addr().map_or(0, |address| address.port());
            let seconds = within.as_secs();
            format!(
                "the FTP data connection from {expected} did not come to port {port}: no answer within \
                 {seconds} s; does a firewall let the range through?"
            )
        })?;
        let (stream, from) = accepted.map_err(|error| error.to_string())?;
        if from.ip().to_canonical() == expected {
            return Ok(Patient::new(stream));
        }
        tracing::warn!(
            peer = %from, %expected,
            "a data connection from another host than the control connection's; closed"
        );
    }
}

/// The address from which this host would speak with another one. Nothing is sent.
async fn own_address(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(to).await.ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical())
}

/// Makes the connection to a port that the other side named, from the address that the control
/// connection has here: the other side takes it from no other.
pub(crate) async fn connect(
    from: SocketAddr,
    to: SocketAddr,
    within: Duration,
) -> Result<Patient, String> {
    let failed = |failure: Failure| format!("{to} {failure}");
    let dial = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port that is bound before the connection is used up for all peers, and for a minute
        // after it: only where the system would take another address.
        if own_address(to).await.is_none_or(|own| own != from.ip().to_canonical()) {
            socket.bind(with_port(from, 0))?;
        }
        socket.connect(to).await
    };
    match tokio::time::timeout(within, dial).await {
        Ok(Ok(stream)) => Ok(Patient::new(stream)),
        Ok(Err(error)) => Err(failed(match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::TimedOut => Failure::Filtered,
            _ => Failure::Other(error),
        })),
        Err(_) => Err(failed(Failure::Filtered)),
    }
}
