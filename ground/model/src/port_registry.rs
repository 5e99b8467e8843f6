//! The port registry: the only place in the code where a port number stands.
//!
//! It agrees row by row with the suite's port contract; a test compares them. Everything else
//! (documentation, firewall plans, the `ports` command) is made from it.

/// What runs on a host. A server is also a device host and a client; an RDS is also a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    Server,
    Rds,
    Client,
    /// A PC with a console and a client on it.
    GuiWithClient,
}

impl Host {
    pub const fn as_str(self) -> &'static str {
        match self {
            Host::Server => "server",
            Host::Rds => "rds",
            Host::Client => "client",
            Host::GuiWithClient => "gui with client",
        }
    }
}

/// The port or ports of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSet {
    One(u16),
    /// First and last, both included.
    Range(u16, u16),
    /// Base; the drive number is added.
    PerDrive(u16),
}

impl PortSet {
    /// The only, first or base port.
    pub const fn first(self) -> u16 {
        match self {
            PortSet::One(port) | PortSet::Range(port, _) | PortSet::PerDrive(port) => port,
        }
    }

    /// Whether `port` is one of these. Drives have numbers up to 9,999.
    pub fn contains(self, port: u16) -> bool {
        match self {
            PortSet::PerDrive(base) => (base..=base.saturating_add(9999)).contains(&port),
            PortSet::One(one) => one == port,
            PortSet::Range(first, last) => (first..=last).contains(&port),
        }
    }

    /// The listener's port of drive `number`, where there is one below 65,536.
    pub fn for_drive(self, number: u32) -> Option<u16> {
        match self {
            PortSet::PerDrive(base) => {
                u32::from(base).checked_add(number).and_then(|port| u16::try_from(port).ok())
            }
            PortSet::One(port) => Some(port),
            PortSet::Range(..) => None,
        }
    }
}

/// A port that a host of the suite listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    pub id: &'static str,
    pub ports: PortSet,
    pub protocol: &'static str,
    pub on: &'static [Host],
    /// Who dials it, in the words of the contract.
    pub dialed_by: &'static [&'static str],
    /// How a user selects it.
    pub select: &'static str,
    /// Used where nothing is configured.
    pub default: bool,
}

/// A port of another vendor's system that the suite dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    pub module: &'static str,
    pub from: &'static [&'static str],
    pub to: &'static str,
    pub port: u16,
    pub protocol: &'static str,
}

/// Backups that start at the client need the *server's* data ports, also when an RDS takes the
/// data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub id: &'static str,
    pub from: &'static [&'static str],
    pub to: &'static [&'static str],
    pub listen: &'static [&'static str],
}

pub const CTRL: Listen = Listen {
    id: "ctrl",
    ports: PortSet::One(11301),
    protocol: "TCP, unencrypted control",
    on: &[Host::Server, Host::Rds, Host::Client, Host::GuiWithClient],
    dialed_by: &["server"],
    select: "client properties: access mode CTRL",
    default: false,
};

pub const SMSSH: Listen = Listen {
    id: "smssh",
    ports: PortSet::One(11322),
    protocol: "TCP/SSH, encrypted control",
    on: &[Host::Rds, Host::Client, Host::GuiWithClient, Host::Server],
    dialed_by: &["server"],
    select: "client properties: access mode SMSSH",
    default: true,
};

pub const HTTP: Listen = Listen {
    id: "http",
    ports: PortSet::One(11000),
    protocol: "TCP/HTTP, backup data",
    on: &[Host::Server, Host::Rds],
    dialed_by: &["client"],
    select: "client properties: interface http://<hostname>:11000",
    default: true,
};

pub const HTTPS: Listen = Listen {
    id: "https",
    ports: PortSet::One(11443),
    protocol: "TCP/HTTPS, backup data",
    on: &[Host::Server, Host::Rds],
    dialed_by: &["client"],
    select: "client properties: interface https://<hostname>:11443",
    default: false,
};

pub const FTP: Listen = Listen {
    id: "ftp",
    ports: PortSet::One(11001),
    protocol: "TCP/FTP, backup data: commands",
    on: &[Host::Server, Host::Rds],
    dialed_by: &["client"],
    select: "client properties: interface <hostname> or ftp://<hostname>:11001",
    default: false,
};

pub const FTP_DATA: Listen = Listen {
    id: "ftp-data",
    ports: PortSet::Range(11002, 11007),
    protocol: "TCP/FTP, backup data: data connections, three parallel transfers at two ports each",
    on: &[Host::Server, Host::Rds, Host::Client, Host::GuiWithClient],
    dialed_by: &["client", "server", "rds"],
    select: "client properties, options, firewall settings: the range in the STPD options; any other range of 2n ports gives n transfers",
    default: false,
};

pub const DRIVE: Listen = Listen {
    id: "drive",
    ports: PortSet::PerDrive(11701),
    protocol: "TCP, replication and source-side deduplication (SDS)",
    on: &[Host::Server, Host::Rds],
    dialed_by: &["client", "server", "rds"],
    select: "one listener per drive of a deduplicating datastore",
    default: false,
};

pub const CONSOLE: Listen = Listen {
    id: "console",
    ports: PortSet::One(11401),
    protocol: "TCP/HTTPS, GUI, Web UI and REST API",
    on: &[Host::Server],
    dialed_by: &["gui", "any authorised browser or script"],
    select: "always on a server; an rds and a GUI PC have no incoming GUI port",
    default: true,
};

/// Every listening row, in the order of the contract.
pub const LISTEN: [Listen; 8] = [CTRL, SMSSH, HTTP, HTTPS, FTP, FTP_DATA, DRIVE, CONSOLE];

/// Every dialled row, in the order of the contract.
pub const DIAL: [Dial; 7] = [
    Dial {
        module: "vmware-vsphere",
        from: &["server", "data mover"],
        to: "vCenter Server or ESXi host",
        port: 443,
        protocol: "TCP/HTTPS, connection",
    },
    Dial {
        module: "vmware-vsphere",
        from: &["data mover"],
        to: "ESXi host",
        port: 902,
        protocol: "TCP, data transfer",
    },
    Dial {
        module: "citrix-xenserver",
        from: &["data mover"],
        to: "XenServer",
        port: 443,
        protocol: "TCP/HTTPS, connection",
    },
    Dial {
        module: "citrix-xenserver",
        from: &["data mover"],
        to: "XenServer",
        port: 10809,
        protocol: "TCP, NBD inside TLS: changed block tracking",
    },
    Dial {
        module: "ndmp",
        from: &["data mover"],
        to: "NDMP server",
        port: 10000,
        protocol: "TCP/NDMP, control; data connections are negotiated",
    },
    Dial {
        module: "hpe-storeonce",
        from: &["server", "rds"],
        to: "HPE StoreOnce",
        port: 9387,
        protocol: "TCP, commands",
    },
    Dial {
        module: "hpe-storeonce",
        from: &["server", "rds"],
        to: "HPE StoreOnce",
        port: 9388,
        protocol: "TCP, data",
    },
];

/// Every rule, in the order of the contract.
pub const RULES: [Rule; 1] = [Rule {
    id: "external-backup",
    from: &["client"],
    to: &["server"],
    listen: &["http", "https", "ftp"],
}];
