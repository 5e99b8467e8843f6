//! `simsim ports list`: the sockets of the suite's processes on this host.

use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use simsim_model::port_registry::{DIAL, DRIVE, LISTEN, PortSet};
use simsim_net::{Process, Socket, SocketState, processes, sockets};

use crate::cli::context::Context;
use crate::cli::screen::Screen;
use crate::cli::table::{Column, Table};
use crate::cli::text::{Style, Text};
use crate::cli::words::ago;
use crate::exit::{self, Failure};
use crate::state::{Holder, State};

/// Name of the suite's processes in the kernel.
const PROGRAM: &str = "simsim";
/// Drives have numbers up to this one.
const DRIVE_MAX: u16 = 9999;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Listens,
    /// A connection that came to one of its ports.
    Takes,
    Dials,
}

/// One open port or connection.
#[derive(Serialize)]
struct OpenPort {
    way: Way,
    /// Row of the registry, or module of a dialled system; null where the port is no row's.
    row: Option<String>,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    pid: u32,
    process: String,
    unit: Option<String>,
    /// When the process started: nothing of it is older.
    since_unix_ms: Option<i64>,
}

pub fn run(cx: &Context, state: &State) -> Result<u8, Failure> {
    let open = open_ports(state.holder().as_ref())?;
    cx.show(&open, |screen, open| table(screen, open, state))?;
    Ok(exit::DONE)
}

fn open_ports(holder: Option<&Holder>) -> Result<Vec<OpenPort>, Failure> {
    let all = sockets()?;
    let inodes: Vec<u64> = all.iter().map(|socket| socket.inode).collect();
    let processes = processes(&inodes);
    let ours: Vec<(&Socket, &Process)> = all
        .iter()
        .filter_map(|socket| Some((socket, processes.get(&socket.inode)?)))
        .filter(|(_, process)| {
            process.name == PROGRAM || holder.is_some_and(|holder| holder.pid == process.pid)
        })
        .collect();
    let mut open: Vec<OpenPort> = ours
        .iter()
        .map(|(socket, process)| {
            let taken = ours.iter().any(|(other, owner)| {
                other.state == SocketState::Listening
                    && owner.pid == process.pid
                    && other.local.port() == socket.local.port()
            });
            let way = match socket.state {
                SocketState::Listening => Way::Listens,
                SocketState::Established if taken => Way::Takes,
                SocketState::Established => Way::Dials,
            };
            let own = holder.filter(|holder| holder.pid == process.pid);
            let row = match way {
                Way::Listens | Way::Takes => listening_row(own, socket.local.port()),
                Way::Dials => dialled_row(socket.remote.port()),
            };
            let since = process.started.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            OpenPort {
                way,
                row,
                local: socket.local,
                remote: (way != Way::Listens).then_some(socket.remote),
                pid: process.pid,
                process: process.name.clone(),
                unit: process.unit.clone(),
                since_unix_ms: since.and_then(|since| i64::try_from(since.as_millis()).ok()),
            }
        })
        .collect();
    open.sort_by_key(|one| (one.pid, one.way, one.local.port(), one.remote));
    Ok(open)
}

/// As the daemon itself says, else by the registry.
fn listening_row(holder: Option<&Holder>, port: u16) -> Option<String> {
    let said = holder.and_then(|holder| {
        holder.listening.iter().find(|one| {
            one.address.parse::<SocketAddr>().is_ok_and(|address| address.port() == port)
        })
    });
    said.map(|one| one.row.clone()).or_else(|| registry_row(port))
}

fn registry_row(port: u16) -> Option<String> {
    let row = LISTEN.iter().find(|row| match row.ports {
        PortSet::One(one) => one == port,
        PortSet::Range(first, last) => (first..=last).contains(&port),
        PortSet::PerDrive(_) => false,
    });
    let drives = DRIVE.ports.first()..=DRIVE.ports.first().saturating_add(DRIVE_MAX);
    row.map(|row| row.id).or_else(|| drives.contains(&port).then_some(DRIVE.id)).map(str::to_owned)
}

fn dialled_row(port: u16) -> Option<String> {
    registry_row(port)
        .or_else(|| DIAL.iter().find(|row| row.port == port).map(|row| row.module.to_owned()))
}

fn table(screen: &Screen, open: &[OpenPort], state: &State) -> Result<(), Failure> {
    if open.is_empty() {
        screen.line("No process of the suite has a port open here, as far as you may see.")?;
        if !rustix::process::geteuid().is_root() {
            screen.line(Text::new().dim("Processes of other users are seen by root only."))?;
        }
        let folder = state.folder().display();
        return screen.line(Text::new().dim(format!("The state folder is {folder}.")));
    }
    let mut table = Table::new([
        Column::new("WAY"),
        Column::new("ROW"),
        Column::new("LOCAL"),
        Column::new("REMOTE"),
        Column::new("PROCESS"),
        Column::new("UNIT").rank(2),
        Column::new("SINCE").rank(1),
    ]);
    for one in open {
        let way = match one.way {
            Way::Listens => Text::styled(Style::Good, "listens"),
            Way::Takes => "takes".into(),
            Way::Dials => "dials".into(),
        };
        table.row([
            way,
            one.row.as_deref().map_or_else(|| Text::new().dim("none"), Text::from),
            one.local.to_string().into(),
            one.remote.map_or_else(Text::new, |remote| remote.to_string().into()),
            format!("{} {}", one.process, one.pid).into(),
            one.unit.as_deref().map_or_else(Text::new, Text::from),
            one.since_unix_ms.map_or_else(Text::new, |at| ago(at).into()),
        ]);
    }
    screen.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::HeldPort;
    use simsim_model::port_registry::{CONSOLE, FTP_DATA, HTTP, SMSSH};

    #[test]
    fn a_port_is_of_the_row_that_the_daemon_says_or_else_of_the_registrys() {
        let holder = Holder {
            listening: vec![HeldPort { row: "http".to_owned(), address: "[::]:7".to_owned() }],
            ..Holder::default()
        };
        assert_eq!(listening_row(Some(&holder), 7).as_deref(), Some("http"));
        assert_eq!(listening_row(None, 7), None);
        for row in [SMSSH, HTTP, CONSOLE, FTP_DATA] {
            assert_eq!(registry_row(row.ports.first()).as_deref(), Some(row.id));
        }
        assert_eq!(registry_row(DRIVE.ports.first() + 12).as_deref(), Some("drive"));
        assert_eq!(dialled_row(DIAL[1].port).as_deref(), Some(DIAL[1].module));
    }
}
