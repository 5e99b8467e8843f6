//! Who holds a TCP port of this host, in words.

use std::fmt;

use crate::sockets::{Process, SocketState, processes, sockets};

/// The process that has a port open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Process(Process),
    /// Seen in the socket table, but its process is not visible to us.
    User {
        uid: u32,
    },
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process(Process { name, pid, unit: Some(unit), .. }) => {
                write!(f, "{name} (process {pid}, systemd unit {unit})")
            }
            Holder::Process(Process { name, pid, .. }) => write!(f, "{name} (process {pid})"),
            Holder::User { uid } => {
                write!(f, "a process of the user with id {uid} (run as root to see which)")
            }
            Holder::Unknown => f.write_str("another process"),
        }
    }
}

/// Finds the holder of a listening port. Best effort: never fails; `None` where nobody listens.
pub fn holder_of(port: u16) -> Option<Holder> {
    let all = sockets().unwrap_or_default();
    let of_port: Vec<_> = all
        .iter()
        .filter(|one| one.state == SocketState::Listening && one.local.port() == port)
        .collect();
    let inodes: Vec<u64> = of_port.iter().map(|one| one.inode).collect();
    let first = of_port.first()?;
    let process = processes(&inodes).into_values().next();
    Some(process.map_or(Holder::User { uid: first.uid }, Holder::Process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_an_own_listener_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        match holder_of(port) {
            Some(Holder::Process(process)) => assert_eq!(process.pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(listener);
        assert_eq!(holder_of(port), None);
    }

    #[test]
    fn a_holder_names_its_unit() {
        let process = Process {
            pid: 7,
            name: "nginx".to_owned(),
            unit: Some("nginx.service".to_owned()),
            started: None,
        };
        let text = Holder::Process(process).to_string();
        assert_eq!(text, "nginx (process 7, systemd unit nginx.service)");
    }
}
