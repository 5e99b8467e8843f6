//! Options of a connection that carries small answers quickly and notices a dead peer.

use rustix::net::sockopt;
use std::time::Duration;
use tokio::net::TcpStream;

/// Silence before the first probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered probes until the connection counts as dead: 15 s + 3 × 5 s is the 30 s of
/// `limits::DEAD_PEER_MS`.
const KEEPALIVE_PROBES: u32 = 3;
/// Sent data that nobody acknowledges for this long ends the connection; so does a peer that takes none
/// for as long, but for [`crate::Patient`].
pub(crate) const USER_TIMEOUT_MS: u32 = simsim_model::limits::DEAD_PEER_MS as u32;

/// Sets TCP_NODELAY, keep-alive (15 s idle, then 3 probes 5 s apart) and TCP_USER_TIMEOUT (30 s).
/// A system that lacks one of them still has the others, and the channels' own heartbeats.
pub fn tune(stream: &TcpStream) {
    let results = [
        ("TCP_NODELAY", sockopt::set_tcp_nodelay(stream, true)),
        ("SO_KEEPALIVE", sockopt::set_socket_keepalive(stream, true)),
        ("TCP_KEEPIDLE", sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)),
        ("TCP_KEEPINTVL", sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)),
        ("TCP_KEEPCNT", sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)),
        ("TCP_USER_TIMEOUT", sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS)),
    ];
    for (option, result) in results {
        if let Err(error) = result {
            tracing::debug!(option, %error, "socket option not set");
        }
    }
}

/// Puts urgent bytes where they stand among the others: clients of FTP send the end of ABOR so.
pub fn urgent_in_line(stream: &TcpStream) {
    if let Err(error) = sockopt::set_socket_oobinline(stream, true) {
        tracing::debug!(option = "SO_OOBINLINE", %error, "socket option not set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tuned_connection_has_every_option() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream);
        assert!(sockopt::tcp_nodelay(&stream).unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEPALIVE_PROBES);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), USER_TIMEOUT_MS);
    }
}
