//! The ports that this host takes: free, open, or somebody else's; and whether the system may give one
//! of them away.

use std::net::{Ipv6Addr, SocketAddr};

use simsim_device::listed_drives;
use simsim_model::port_registry::{
    CONSOLE, CTRL, DRIVE, FTP, FTP_DATA, HTTP, HTTPS, Listen, SMSSH,
};
use simsim_net::{ListenError, SocketState, SourcePorts, holder_of, processes, sockets};

use super::{Findings, Grade, Here};
use crate::daemon::{Enrolment, drive_address};
use crate::exit::Failure;
use crate::state::Holder;

/// A listener: row, option that chooses another address, address.
type Planned = (&'static Listen, &'static str, SocketAddr);

/// Rows that a host may listen on, and the option that chooses another address.
const ROWS: [(&Listen, &str); 7] = [
    (&SMSSH, "--listen"),
    (&CTRL, "--ctrl"),
    (&HTTP, "--http"),
    (&HTTPS, "--https"),
    (&FTP, "--ftp"),
    (&CONSOLE, "--console"),
    (&DRIVE, "--drive"),
];

/// All of it.
pub(super) async fn listeners(
    found: &mut Findings,
    here: &Here<'_>,
    enrolment: Option<&Enrolment>,
) -> Result<(), Failure> {
    let calls = here.calls(enrolment);
    if calls {
        let message = "this host calls its server, and listens for no orders".to_owned();
        found.add("port", "none for control", Grade::Good, message);
    }
    let drives = match here.role.has_device() {
        true => listed_drives(&here.state.file("device")),
        false => Ok(Vec::new()),
    };
    let drives = drives.unwrap_or_else(|error| {
        found.add("port", DRIVE.id, Grade::Bad, format!("which drives there are: {error}"));
        Vec::new()
    });
    let planned = planned(here, calls, &drives);
    for (row, option, address) in &planned {
        port(found, row, option, *address, here.holder).await;
    }
    let mut ports: Vec<u16> = planned.iter().map(|(_, _, address)| address.port()).collect();
    let is_ftp_server = planned.iter().any(|(row, ..)| row.id == FTP.id);
    data_ports(found, here, is_ftp_server).await?;
    let (first, last) = here.settings.data_ports()?.range();
    ports.extend(first..=last);
    ports.sort_unstable();
    ports.dedup();
    source_ports(found, &ports);
    Ok(())
}

/// What listens here, or will. A running daemon knows best where; what the settings have beside it should
/// be open too. `calls`: this host has no listener for control.
fn planned(here: &Here<'_>, calls: bool, drives: &[u32]) -> Vec<Planned> {
    let is_control = |row: &Listen| [SMSSH.id, CTRL.id].contains(&row.id);
    let mut meant: Vec<Planned> = here.settings.listeners(here.role);
    meant.retain(|(row, ..)| !(calls && is_control(row)));
    for base in here.settings.drive().into_iter().filter(|_| here.role.has_device()) {
        let of_drive = |drive: &u32| Some((&DRIVE, "--drive", drive_address(base, *drive)?));
        meant.extend(drives.iter().filter_map(of_drive));
    }
    let Some(holder) = here.holder else { return meant };
    let told = |row: &Listen| -> Vec<SocketAddr> {
        let of_row = holder.listening.iter().filter(|one| one.row == row.id);
        of_row.filter_map(|one| one.address.parse().ok()).collect()
    };
    let mut planned: Vec<Planned> = Vec::new();
    for (row, option) in &ROWS {
        let open = told(row);
        let of_row: Vec<SocketAddr> =
            meant.iter().filter(|(meant, ..)| meant.id == row.id).map(|(.., one)| *one).collect();
        let missing = of_row.len().saturating_sub(open.len());
        // Which of the settings' are open: those at the same address, whatever port it came to be.
        let is_open = |meant: &&SocketAddr| {
            open.iter().any(|open| {
                let same_port = row.id != DRIVE.id || meant.port() == open.port();
                open.ip() == meant.ip() && same_port
            })
        };
        planned.extend(open.iter().map(|one| (*row, *option, *one)));
        let closed = of_row.iter().filter(|one| !is_open(one)).take(missing);
        planned.extend(closed.map(|one| (*row, *option, *one)));
    }
    planned
}

async fn port(
    found: &mut Findings,
    row: &'static Listen,
    option: &str,
    address: SocketAddr,
    holder: Option<&Holder>,
) {
    let what = format!("{} {address}", row.id);
    if address.port() == 0 {
        found.add("port", what, Grade::Good, "a free port is taken at the start".to_owned());
        return;
    }
    if let Some(holder) = holder
        && is_held_by(address.port(), holder.pid)
    {
        let message = format!("open, by simsim {} (process {})", holder.role, holder.pid);
        found.add("port", what, Grade::Good, message);
        return;
    }
    match simsim_net::listen(address, row).await {
        Ok(_) => match holder {
            None => found.add("port", what, Grade::Good, "free".to_owned()),
            Some(holder) => {
                let message = format!(
                    "free, although simsim {} (process {}) runs: it does not listen there",
                    holder.role, holder.pid
                );
                found.add("port", what, Grade::Bad, message);
                found.next("its log says why; it takes the port after a restart");
            }
        },
        Err(error @ ListenError::Taken { .. }) => {
            found.add("port", what, Grade::Bad, error.to_string());
            let unit = match holder_of(address.port()) {
                Some(simsim_net::Holder::Process(process)) => process.unit,
                _ => None,
            };
            found.next(match unit {
                Some(unit) => format!(
                    "'systemctl stop {unit}' ends who has it; or choose another port: {option} \
                     ADDRESS:PORT"
                ),
                None => format!("end who has it, or choose another port: {option} ADDRESS:PORT"),
            });
        }
        Err(error) => {
            found.add("port", what, Grade::Bad, error.to_string());
            found.next(format!("choose another address: {option} ADDRESS:PORT"));
        }
    }
}

/// The range for FTP data: nobody listens there but for a transfer that waits for its connection. A
/// host without an FTP listener needs it where a device that it dials works in active mode.
async fn data_ports(
    found: &mut Findings,
    here: &Here<'_>,
    is_ftp_server: bool,
) -> Result<(), Failure> {
    let data_ports = here.settings.data_ports()?;
    let (first, last) = data_ports.range();
    let what = format!("{} {first}-{last}", FTP_DATA.id);
    let (grade, only) = match is_ftp_server {
        true => (Grade::Bad, ""),
        false => (Grade::Warning, "; only transfers by FTP in active mode need them here"),
    };
    let mut taken = 0;
    for port in first..=last {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let Err(error) = simsim_net::listen(address, &FTP_DATA).await else { continue };
        let ours = match holder_of(port) {
            Some(simsim_net::Holder::Process(process)) => process.name == "simsim",
            _ => false,
        };
        if !ours {
            taken += 1;
            found.add("port", format!("{} {port}", FTP_DATA.id), grade, format!("{error}{only}"));
            found.next("end who has it, or choose another range: ftp.data_ports in the settings");
        }
    }
    if taken == 0 {
        let message = format!(
            "free, for {} transfers at once; each port is open only while a transfer waits for its \
             connection{only}",
            data_ports.pairs()
        );
        found.add("port", what, Grade::Good, message);
    }
    Ok(())
}

fn is_held_by(port: u16, pid: u32) -> bool {
    let all = sockets().unwrap_or_default();
    let of_port =
        all.iter().filter(|one| one.state == SocketState::Listening && one.local.port() == port);
    let inodes: Vec<u64> = of_port.map(|one| one.inode).collect();
    processes(&inodes).values().any(|process| process.pid == pid)
}

fn source_ports(found: &mut Findings, ports: &[u16]) {
    let Some(system) = SourcePorts::read() else { return };
    let (first, last) = system.range;
    let given: Vec<String> =
        ports.iter().filter(|port| system.may_give(**port)).map(ToString::to_string).collect();
    let what = format!("{first}-{last}");
    if given.is_empty() {
        let message = "no port of the suite may be given to an outgoing connection".to_owned();
        found.add("source_ports", what, Grade::Good, message);
        return;
    }
    let list = given.join(",");
    let message = format!(
        "an outgoing connection may get {list} before the daemon starts: they are in \
         net.ipv4.ip_local_port_range"
    );
    found.add("source_ports", what, Grade::Warning, message);
    let mut all: Vec<String> = system
        .reserved
        .iter()
        .map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    all.extend(given);
    let all = all.join(",");
    found.next(format!("reserve them: sysctl -w net.ipv4.ip_local_reserved_ports={all}"));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::daemon::{Role, Settings};
    use crate::state::{HeldPort, State};

    fn shown(
        settings: &str,
        role: Role,
        calls: bool,
        open: Option<&[(&str, &str)]>,
    ) -> Vec<String> {
        let settings = Settings::parse(Path::new("simsim.toml"), settings).unwrap();
        let state = State::named_or_default(Some(Path::new("/nowhere"))).unwrap();
        let holder = open.map(|open| Holder {
            listening: open
                .iter()
                .map(|(row, address)| HeldPort {
                    row: (*row).to_owned(),
                    address: (*address).to_owned(),
                })
                .collect(),
            ..Holder::default()
        });
        let here = Here { role, settings: &settings, holder: holder.as_ref(), state: &state };
        let planned = planned(&here, calls, &[1, 4]);
        planned.iter().map(|(row, _, address)| format!("{} {address}", row.id)).collect()
    }

    #[test]
    fn a_host_that_calls_takes_no_port_for_orders() {
        assert_eq!(shown("", Role::Client, true, Some(&[])), [""; 0]);
        assert_eq!(shown("", Role::Client, true, None), [""; 0]);
        let http = format!("http [::]:{}", HTTP.ports.first());
        assert_eq!(shown("", Role::Rds, true, Some(&[])), std::slice::from_ref(&http));
        let smssh = format!("smssh [::]:{}", SMSSH.ports.first());
        assert_eq!(shown("", Role::Rds, false, None), [smssh, http]);
    }

    #[test]
    fn every_drive_has_its_port_and_what_is_open_counts_before_what_was_meant() {
        let settings = "[listen]\nsmssh = []\nctrl = [\"[::1]:5\"]\nhttp = [\"[::1]:6\", \"[::2]:6\"]\n\
                        drive = [\"[::1]:7000\"]\n";
        let closed = ["ctrl [::1]:5", "http [::1]:6", "http [::2]:6", "drive [::1]:7001"];
        let mut all = closed.to_vec();
        all.push("drive [::1]:7004");
        assert_eq!(shown(settings, Role::Rds, false, None), all);
        // A client has no drives.
        assert_eq!(shown(settings, Role::Client, false, None), ["ctrl [::1]:5"]);
        let open = [("ctrl", "[::1]:9"), ("http", "[::2]:6"), ("drive", "[::1]:7004")];
        let found = shown(settings, Role::Rds, false, Some(&open));
        let expected = [
            "ctrl [::1]:9",
            "http [::2]:6",
            "http [::1]:6",
            "drive [::1]:7004",
            "drive [::1]:7001",
        ];
        assert_eq!(found, expected);
    }
}
