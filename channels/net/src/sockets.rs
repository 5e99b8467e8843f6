//! TCP sockets of this host and the processes that hold them, read from `/proc`, as far as the
//! caller may see it.
//!
//! The tables of sockets name a socket's inode and user; the process is found by looking for the
//! inode among the open descriptors. Without root only the caller's own processes show theirs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `TCP_ESTABLISHED` and `TCP_LISTEN`, as the tables write them.
const STATE_ESTABLISHED: &str = "01";
const STATE_LISTEN: &str = "0A";
/// Ticks a second in `/proc/PID/stat`; fixed for programs, whatever the kernel's own clock is.
const TICKS_PER_S: u64 = 100;

/// What a socket does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketState {
    Listening,
    Established,
}

/// A TCP socket of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    pub state: SocketState,
    pub local: SocketAddr,
    /// The other end; of a listening socket all zeros.
    pub remote: SocketAddr,
    pub uid: u32,
    pub inode: u64,
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// As the kernel names it: at most 15 bytes of the program's name.
    pub name: String,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
    pub started: Option<SystemTime>,
}

/// Every listening and every established TCP socket in this network namespace.
///
/// # Errors
/// When `/proc/net/tcp` cannot be read; a host without IPv6 has no `tcp6`.
pub fn sockets() -> io::Result<Vec<Socket>> {
    let mut all: Vec<Socket> =
        fs::read_to_string("/proc/net/tcp")?.lines().skip(1).filter_map(Socket::parse).collect();
    if let Ok(text) = fs::read_to_string("/proc/net/tcp6") {
        all.extend(text.lines().skip(1).filter_map(Socket::parse));
    }
    Ok(all)
}

/// The processes that hold these sockets, by inode; a socket whose process is not visible to the
/// caller is left out. One walk through `/proc` for all of them.
pub fn processes(inodes: &[u64]) -> HashMap<u64, Process> {
    let mut found = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let mut process = None;
        for inode in held(&entry.path()) {
            if inodes.contains(&inode) {
                let process = process.get_or_insert_with(|| Process::read(pid, &entry.path()));
                found.entry(inode).or_insert_with(|| process.clone());
            }
        }
    }
    found
}

/// The inodes of sockets among a process's descriptors.
fn held(process: &Path) -> Vec<u64> {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return Vec::new() };
    descriptors
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

impl Process {
    fn read(pid: u32, folder: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let name = text("comm").trim().to_owned();
        Self {
            pid,
            name: if name.is_empty() { "a process".to_owned() } else { name },
            unit: unit_of(&text("cgroup")),
            started: started(&text("stat"), &fs::read_to_string("/proc/stat").unwrap_or_default()),
        }
    }
}

/// The innermost unit in `/proc/PID/cgroup`: `0::/system.slice/simsim-server.service`.
fn unit_of(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| {
        line.strip_prefix("0::").or_else(|| {
            // Hosts with the older hierarchy.
            line.split_once(":name=systemd:").map(|(_, path)| path)
        })
    })?;
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".socket");
    path.split('/').rfind(is_unit).map(str::to_owned)
}

/// Field 22 of `/proc/PID/stat` counts ticks from the start of the host (`btime`). The second
/// field is the name in parentheses, which may hold anything.
fn started(stat: &str, host: &str) -> Option<SystemTime> {
    let after_name = stat.rsplit_once(')')?.1;
    let ticks: u64 = after_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let boot: u64 =
        host.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(boot.checked_add(ticks / TICKS_PER_S)?))
}

impl Socket {
    /// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let local = address(fields.nth(1)?)?;
        let remote = address(fields.next()?)?;
        let state = match fields.next()? {
            STATE_LISTEN => SocketState::Listening,
            STATE_ESTABLISHED => SocketState::Established,
            _ => return None,
        };
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Self { state, local, remote, uid, inode })
    }
}

/// `0100007F:1F90`: the address as 32-bit words in the host's byte order, the port in digits.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = host.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0u8; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_are_read_and_others_passed_over() {
        let line = "   0: 0100007F:1F90 0200007F:0050 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 12345 1 0000000000000000 100 0 0 10 0";
        let one = Socket::parse(line).unwrap();
        assert_eq!((one.uid, one.inode, one.state), (1000, 12345, SocketState::Listening));
        if cfg!(target_endian = "little") {
            assert_eq!(one.local, "127.0.0.1:8080".parse().unwrap());
            assert_eq!(one.remote, "127.0.0.2:80".parse().unwrap());
            let six = address("00000000000000000000000001000000:0016").unwrap();
            assert_eq!(six, "[::1]:22".parse().unwrap());
            let mapped = address("0000000000000000FFFF00000100007F:0016").unwrap();
            assert_eq!(mapped, "127.0.0.1:22".parse().unwrap());
        }
        let established = Socket::parse(&line.replace(" 0A ", " 01 ")).unwrap();
        assert_eq!(established.state, SocketState::Established);
        assert_eq!(Socket::parse(&line.replace(" 0A ", " 06 ")), None);
        for wrong in ["", "0: zz 0 0A", "0: 0100007F:1F90", "0: 01:02 03:04 0A"] {
            assert_eq!(Socket::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_unit_is_the_innermost_service() {
        let new = "0::/system.slice/simsim-server.service\n";
        assert_eq!(unit_of(new).as_deref(), Some("simsim-server.service"));
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/sub\n";
        assert_eq!(unit_of(user).as_deref(), Some("web.service"));
        let old = "3:cpu:/\n1:name=systemd:/system.slice/nginx.service\n";
        assert_eq!(unit_of(old).as_deref(), Some("nginx.service"));
        assert_eq!(unit_of("0::/\n"), None);
        assert_eq!(unit_of(""), None);
    }

    #[test]
    fn a_process_is_found_by_its_socket_with_its_start() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let all = sockets().unwrap();
        let one = all.iter().find(|socket| socket.local == own).unwrap();
        assert_eq!(one.state, SocketState::Listening);
        let found = processes(&[one.inode]);
        let process = found.get(&one.inode).unwrap();
        assert_eq!(process.pid, std::process::id());
        let age = SystemTime::now().duration_since(process.started.unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(600), "{age:?}");
    }

    #[test]
    fn a_name_in_parentheses_does_not_shift_the_fields() {
        let rest = "S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 12300 0 0";
        let host = "cpu 1 2 3\nbtime 1000000\n";
        let at = started(&format!("7 (a) b (c)) {rest}"), host).unwrap();
        assert_eq!(at, UNIX_EPOCH + Duration::from_secs(1_000_123));
        assert_eq!(started("7 (x) S", host), None);
        assert_eq!(started(rest, ""), None);
    }
}
