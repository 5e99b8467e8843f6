//! Which TCP ports of an address take a connection: all 65,535 of them, in seconds.
//!
//! Thousands of connections begin at once and are looked at a moment later. A firewall that drops
//! gives no answer at all, so a port counts as closed when nothing came within the moment; a test
//! that expects a port to be open asks for it by itself, with patience.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, getpeername, ipproto, socket_with,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections at once, if the process may have so many.
const BATCH: usize = 16_384;
/// Descriptors that are left to the rest of the process.
const SPARE: u64 = 256;
/// From the last connection of a batch to the look at all of them.
const MOMENT: Duration = Duration::from_millis(400);
/// For the second look at a port that was found.
const PATIENCE: Duration = Duration::from_secs(5);

/// The open ports of `address`, as seen from the calling thread's network.
pub fn open_ports(address: IpAddr) -> std::io::Result<Vec<u16>> {
    let all: Vec<u16> = (1..=u16::MAX).collect();
    let mut seen = Vec::new();
    for batch in all.chunks(batch_size()) {
        let mut begun: Vec<(u16, OwnedFd)> = Vec::with_capacity(batch.len());
        for port in batch {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
            // Refused at once, or under way: which of them is seen below.
            let _ = connect(&socket, &SocketAddr::new(address, *port));
            begun.push((*port, socket));
        }
        std::thread::sleep(MOMENT);
        seen.extend(
            begun.iter().filter(|(_, socket)| getpeername(socket).is_ok()).map(|(port, _)| port),
        );
    }
    // On one host, two of these connections may have met each other, or one itself.
    seen.retain(|port| listens(SocketAddr::new(address, *port)));
    Ok(seen)
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE)
        .is_ok_and(|stream| stream.local_addr().ok() != stream.peer_addr().ok())
}

fn batch_size() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    match getrlimit(Resource::Nofile).current {
        Some(most) => {
            BATCH.min(usize::try_from(most.saturating_sub(SPARE)).unwrap_or(BATCH)).max(64)
        }
        None => BATCH,
    }
}
