//! Who holds a TCP port of this host, read from `/proc`, as far as the caller may see it.
//!
//! The tables of sockets name a socket's inode and user; the process is found by looking for the
//! inode among the open descriptors. Without root only the caller's own processes show theirs.

use std::fmt;
use std::fs;
use std::path::Path;

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const STATE_LISTEN: &str = "0A";

/// The process that has a port open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Process {
        name: String,
        pid: u32,
    },
    /// Seen in the socket table, but its process is not visible to us.
    User {
        uid: u32,
    },
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { name, pid } => write!(f, "{name} (process {pid})"),
            Holder::User { uid } => {
                write!(f, "a process of the user with id {uid} (run as root to see which)")
            }
            Holder::Unknown => f.write_str("another process"),
        }
    }
}

/// Finds the holder of a listening port. Best effort: never fails.
pub(crate) fn holder_of(port: u16) -> Holder {
    let mut uid = None;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        for row in text.lines().skip(1).filter_map(Row::parse) {
            if row.port == port {
                if let Some((name, pid)) = process_with(row.inode) {
                    return Holder::Process { name, pid };
                }
                uid = Some(row.uid);
            }
        }
    }
    uid.map_or(Holder::Unknown, |uid| Holder::User { uid })
}

/// A listening socket in a table of `/proc/net`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    port: u16,
    uid: u32,
    inode: u64,
}

impl Row {
    /// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        if state != STATE_LISTEN {
            return None;
        }
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Self { port, uid, inode })
    }
}

fn process_with(inode: u64) -> Option<(String, u32)> {
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if has_descriptor(&entry.path(), &wanted) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let name = name.trim();
            let name = if name.is_empty() { "a process" } else { name };
            return Some((name.to_owned(), pid));
        }
    }
    None
}

fn has_descriptor(process: &Path, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_are_read_and_others_passed_over() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 12345 1 0000000000000000 100 0 0 10 0";
        assert_eq!(Row::parse(line), Some(Row { port: 0x1f90, uid: 1000, inode: 12345 }));
        assert_eq!(Row::parse(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(Row::parse(""), None);
        assert_eq!(Row::parse("0: zz 0 0A"), None);
    }

    #[test]
    fn the_holder_of_an_own_listener_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        match holder_of(port) {
            Holder::Process { pid, .. } => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(listener);
        assert_eq!(holder_of(port), Holder::Unknown);
    }
}
