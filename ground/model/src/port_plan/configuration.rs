//! What a port plan is computed from: who is there, how each host is steered, where its data goes.
//!
//! Everything has the default that the suite has where nothing is configured: access mode SMSSH,
//! interface HTTP, the registry's ports, no console beyond the server itself.

use core::net::IpAddr;

use crate::port_registry::{CTRL, DRIVE, FTP, FTP_DATA, HTTP, HTTPS, Host, Listen, PortSet, SMSSH};

/// The suite as far as ports are concerned.
#[derive(Debug, Clone, Default)]
pub struct PortConfiguration {
    /// Every enrolled host; exactly one is the server.
    pub hosts: Vec<PlannedHost>,
    pub uses: Vec<DataUse>,
    pub replications: Vec<Replication>,
    /// Other vendors' systems that are dialled.
    pub systems: Vec<SystemUse>,
    /// Hosts that a valid join code lets in.
    pub joining: Vec<Joining>,
    /// What could not be made out while this was put together, a sentence each.
    pub troubles: Vec<String>,
    /// Who may open the console, where it listens beyond loopback; empty: anyone.
    pub console_from: Vec<IpAddr>,
}

/// A valid join code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// The name that it is bound to; an empty one may become any host.
    pub name: String,
    /// It is for a host that calls: it joins where it calls, on row `https`, and others on row `smssh`.
    pub outbound: bool,
}

/// One host.
#[derive(Debug, Clone)]
pub struct PlannedHost {
    /// As enrolled.
    pub name: String,
    pub role: Host,
    /// Its addresses, resolved; none where its names have none.
    pub addresses: Vec<IpAddr>,
    pub access: Access,
    pub ports: HostPorts,
    /// The console listens on more than loopback; only of meaning on the server.
    pub console_is_open: bool,
    /// An RDS that passes calls of other hosts on to the server.
    pub relays: bool,
}

impl PlannedHost {
    /// A host with the defaults of the suite.
    pub fn new(name: impl Into<String>, role: Host, addresses: Vec<IpAddr>) -> Self {
        Self {
            name: name.into(),
            role,
            addresses,
            access: Access::Smssh,
            ports: HostPorts::default(),
            console_is_open: false,
            relays: false,
        }
    }
}

/// How the server steers a host. There is no fallback from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// The server dials row `smssh`.
    #[default]
    Smssh,
    /// The server dials row `ctrl`.
    Ctrl,
    /// The host dials row `https`, of the server or of an RDS that relays for its site, and all it
    /// does rides on that connection.
    Outbound { relay: Option<String> },
}

/// Ports of a host that are not the registry's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPorts {
    /// `(row, port)`; the row of drives has its base here.
    pub changed: Vec<(String, u16)>,
    /// First and last port for FTP data.
    pub ftp_range: Option<(u16, u16)>,
    /// It listens for no drives at all.
    pub no_drives: bool,
    /// Drives whose port is another one than base and number, with that port. A base of 0 means that
    /// only these are known.
    pub drives: Vec<(u32, u16)>,
}

/// Why a drive has no port that could be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDrivePort {
    /// Its host listens for no drives.
    NotOpen,
    /// It takes a free one at each start.
    Free,
    /// Base and number are no port any more.
    Beyond,
}

impl HostPorts {
    /// The port of a row with one port, or the base of the drives.
    pub fn of(&self, row: &Listen) -> u16 {
        let changed = self.changed.iter().find(|(id, _)| id == row.id);
        changed.map_or(row.ports.first(), |(_, port)| *port)
    }

    /// The port of one drive.
    ///
    /// # Errors
    /// When nobody listens there, or nobody knows where.
    pub fn drive(&self, number: u32) -> Result<u16, NoDrivePort> {
        if self.no_drives {
            return Err(NoDrivePort::NotOpen);
        }
        if let Some((_, port)) = self.drives.iter().find(|(drive, _)| *drive == number) {
            return Ok(*port);
        }
        match self.of(&DRIVE) {
            0 => Err(NoDrivePort::Free),
            base => u32::from(base)
                .checked_add(number)
                .and_then(|port| u16::try_from(port).ok())
                .ok_or(NoDrivePort::Beyond),
        }
    }

    /// The range for FTP data.
    pub fn ftp_data(&self) -> (u16, u16) {
        match (self.ftp_range, FTP_DATA.ports) {
            (Some(range), _) => range,
            (None, PortSet::Range(first, last)) => (first, last),
            (None, other) => (other.first(), other.first()),
        }
    }
}

/// A protocol for backup data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub protocol: DataProtocol,
    /// `None`: the one on which the device listens.
    pub port: Option<u16>,
    /// Where it is not at the addresses of the device's host, such as in a network of its own.
    pub addresses: Vec<IpAddr>,
    /// As an administrator wrote it; empty where it is the host itself.
    pub host: String,
}

/// An interface for the ports of drives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrivePlace {
    /// `None`: each drive's own.
    pub port: Option<u16>,
    /// Where it is not at the addresses of the device's host.
    pub addresses: Vec<IpAddr>,
    /// As an administrator wrote it; empty where it is the host itself.
    pub host: String,
}

/// Which door backup data goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataProtocol {
    Http,
    Https,
    /// Who opens the data connections: the client (passive) or the device (active).
    Ftp {
        passive: bool,
        active: bool,
    },
}

impl Interface {
    /// What is used where nothing is named.
    pub const DEFAULT: Self = Self::new(DataProtocol::Http);

    pub const fn new(protocol: DataProtocol) -> Self {
        Self { protocol, port: None, addresses: Vec::new(), host: String::new() }
    }

    /// The listening row.
    pub const fn row(&self) -> &'static Listen {
        match self.protocol {
            DataProtocol::Http => &HTTP,
            DataProtocol::Https => &HTTPS,
            DataProtocol::Ftp { .. } => &FTP,
        }
    }
}

/// A client whose data goes to a datastore, or comes from there.
#[derive(Debug, Clone)]
pub struct DataUse {
    pub client: String,
    /// The device host that serves the datastore.
    pub device: String,
    pub kind: UseKind,
    /// Why, for people: `task 'home' into datastore 'main'`.
    pub why: String,
}

/// How the data travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UseKind {
    /// In order of preference; none: the default one.
    Interfaces(Vec<Interface>),
    /// Source-side deduplication straight to the ports of these drives, at the places in order of
    /// preference; none: at the host itself.
    Drives { numbers: Vec<u32>, at: Vec<DrivePlace> },
    /// A backup that starts at the client: it dials the *server* in any case, and the device only
    /// where the server does not relay.
    External { interfaces: Vec<Interface>, server_relays: bool },
}

/// Missing chunks from a datastore on one host to one on another.
#[derive(Debug, Clone)]
pub struct Replication {
    pub source: String,
    pub target: String,
    /// The drive of the side that is dialled.
    pub drive: u32,
    /// Where its port is; none: at the host itself.
    pub at: Vec<DrivePlace>,
    /// The target dials the source.
    pub pull: bool,
    pub why: String,
}

/// Another vendor's system that hosts of the suite dial.
#[derive(Debug, Clone)]
pub struct SystemUse {
    /// As in the registry's dialled rows, such as `ndmp`.
    pub module: String,
    /// The system, for people.
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Data movers or device hosts that dial it.
    pub hosts: Vec<String>,
}

/// The control row of an access mode that the server dials.
pub(super) const fn control_row(access: &Access) -> Option<&'static Listen> {
    match access {
        Access::Smssh => Some(&SMSSH),
        Access::Ctrl => Some(&CTRL),
        Access::Outbound { .. } => None,
    }
}
