//! Settings of a daemon: one small TOML file, every line of it optional. What each line means is
//! told in `docs/reference/settings.md`.
//!
//! The file is the one that `--settings` names, else `simsim.toml` in the state folder, else, for
//! the host's own installation, `/etc/simsim/simsim.toml`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use simsim_client::ClientOptions;
use simsim_device::DeviceOptions;
use simsim_model::Kind;
use simsim_model::port_registry::{CONSOLE, CTRL, DRIVE, FTP, HTTP, HTTPS, Listen, SMSSH};
use simsim_net::tls::TlsIdentity;
use simsim_server::ServerConfig;
use simsim_transfer::{DataPorts, DataPortsError};

use super::compose::Role;
use crate::exit::Failure;
use crate::log::LogSettings;
use crate::state::State;

/// The settings of the host's own installation.
const HOST_SETTINGS: &str = "/etc/simsim/simsim.toml";
const SETTINGS_BYTES_MAX: u64 = 1 << 20;

/// What a file says, and what it leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// This host's name for people, and at the server; empty: the system's host name.
    pub name: String,
    /// The file that said so, if one did.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    pub log: LogSettings,
    pub listen: ListenSettings,
    pub ftp: FtpSettings,
    pub client: ClientSettings,
    pub device: DeviceSettings,
    pub server: ServerConfig,
}

/// Addresses with ports. A port that is left out is that of the port registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenSettings {
    pub smssh: Vec<ListenAddress>,
    /// The control channel without encryption: off until somebody writes addresses here.
    pub ctrl: Vec<ListenAddress>,
    pub http: Vec<ListenAddress>,
    /// Empty: not open.
    pub https: Vec<ListenAddress>,
    /// Empty: not open. Data goes over the ports of `ftp.data_ports`.
    pub ftp: Vec<ListenAddress>,
    /// Empty: not open. The number of each drive is added to the port.
    pub drive: Vec<ListenAddress>,
    /// Only on loopback unless told otherwise: until the suite has users, the page is for
    /// whoever sits at the server.
    pub console: Vec<ListenAddress>,
}

impl Default for ListenSettings {
    fn default() -> Self {
        let any = ListenAddress { ip: Ipv6Addr::UNSPECIFIED.into(), port: None };
        let loopback = ListenAddress { ip: Ipv4Addr::LOCALHOST.into(), port: None };
        Self {
            smssh: vec![any],
            ctrl: Vec::new(),
            http: vec![any],
            https: Vec::new(),
            ftp: Vec::new(),
            drive: Vec::new(),
            console: vec![loopback],
        }
    }
}

/// FTP, in all roles of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FtpSettings {
    /// For data connections that come to this host: two for each transfer.
    pub data_ports: PortRange,
}

/// First and last port, both included, written `FIRST-LAST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange(pub u16, pub u16);

impl Default for PortRange {
    fn default() -> Self {
        let (first, last) = DataPorts::default().range();
        Self(first, last)
    }
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok();
        match (port(ends.0), port(ends.1)) {
            (Some(first), Some(last)) => Ok(Self(first, last)),
            _ => Err(format!("'{text}' is no range of ports: write FIRST-LAST")),
        }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The client's half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// The owner's policy; empty: `client/policy.toml` in the state folder.
    pub policy: PathBuf,
    /// Jobs at once; more are refused.
    pub jobs_max: usize,
    /// Threads of one job; 0: one for each core.
    pub threads: usize,
    pub zstd_level: i32,
    /// `host` or `host:port` of the server, where this host calls it (access mode OUTBOUND); empty:
    /// as it was told when it joined.
    pub outbound: Vec<String>,
}

/// Characters of a wrong line that are shown.
const LINE_SHOWN_MAX: usize = 80;

impl Default for ClientSettings {
    fn default() -> Self {
        let options = ClientOptions::default();
        Self {
            policy: PathBuf::new(),
            jobs_max: options.jobs_max,
            threads: options.threads,
            zstd_level: options.zstd_level,
            outbound: Vec::new(),
        }
    }
}

/// The device's half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceSettings {
    /// Transfers at once; more are refused.
    pub transfers_max: usize,
    /// Checks and rebuilds at once.
    pub jobs_max: usize,
    /// Threads of one check or plain stream; 0: one for each core.
    pub threads: usize,
    /// For plain streams, which are compressed here.
    pub zstd_level: i32,
    /// `host` or `host:port` of the server, to which an RDS passes calls of hosts on its site; empty:
    /// it takes none.
    pub relay_calls_to: Vec<String>,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        let options = DeviceOptions::default();
        Self {
            transfers_max: options.transfers_max,
            jobs_max: options.jobs_max,
            threads: options.threads,
            zstd_level: options.zstd_level,
            relay_calls_to: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the file that is named, else that of the state, else that of the host.
    pub fn load(named: Option<&Path>, state: &State) -> Result<Self, Failure> {
        let own = state.file("simsim.toml");
        let mut places = vec![own.as_path()];
        match named {
            Some(named) => places = vec![named],
            None if state.is_of_host() => places.push(Path::new(HOST_SETTINGS)),
            None => {}
        }
        for place in places {
            match read(place) {
                Ok(text) => {
                    let settings = Self::parse(place, &text)?;
                    return Ok(Self { file: Some(place.to_owned()), ..settings });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {}
                Err(error) => {
                    let text = format!("the settings {}: {error}", place.display());
                    return Err(Failure::new(Kind::of_io(&error), text));
                }
            }
        }
        Ok(Self::default())
    }

    /// Reads a text; `file` is for messages only.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::new(Kind::Invalid, format!("the settings {}: {why}", file.display()))
        };
        let settings: Self = toml::from_str(text).map_err(|error| wrong(why(&error, text)))?;
        settings.check().map_err(wrong)?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        if !self.name.is_empty() && !simsim_control::join::is_name(&self.name) {
            return Err(format!("name = {:?}: use letters, digits, '.', '-' and '_'", self.name));
        }
        let figures = [
            ("client.jobs_max", self.client.jobs_max, 1..=1000),
            ("client.threads", self.client.threads, 0..=1024),
            ("device.transfers_max", self.device.transfers_max, 1..=10_000),
            ("device.jobs_max", self.device.jobs_max, 1..=1000),
            ("device.threads", self.device.threads, 0..=1024),
        ];
        for (name, figure, range) in figures {
            if !range.contains(&figure) {
                return Err(format!("{name}: from {} to {}", range.start(), range.end()));
            }
        }
        let levels = [
            ("client.zstd_level", self.client.zstd_level),
            ("device.zstd_level", self.device.zstd_level),
        ];
        for (name, level) in levels {
            if !(1..=19).contains(&level) {
                return Err(format!("{name}: from 1 to 19"));
            }
        }
        self.data_ports().map_err(|error| format!("ftp.data_ports: {error}"))?;
        self.server.check()
    }

    /// The name that was set, else the system's.
    pub fn name_or_host(&self) -> String {
        if self.name.is_empty() { host_name() } else { self.name.clone() }
    }

    /// The same, but that nobody from elsewhere is listened to.
    pub fn on_loopback(mut self) -> Self {
        let loopback = ListenAddress { ip: Ipv4Addr::LOCALHOST.into(), port: None };
        let listen = &mut self.listen;
        for row in [&mut listen.smssh, &mut listen.http, &mut listen.console] {
            *row = vec![loopback];
        }
        for row in [&mut listen.https, &mut listen.ftp, &mut listen.drive] {
            row.truncate(1);
            row.fill(loopback);
        }
        listen.ctrl.clear();
        self
    }

    /// The ports for FTP data, which all of this host shares.
    pub fn data_ports(&self) -> Result<DataPorts, DataPortsError> {
        DataPorts::new(self.ftp.data_ports.0, self.ftp.data_ports.1)
    }

    pub fn client_options(&self, tls: Arc<TlsIdentity>, data_ports: DataPorts) -> ClientOptions {
        let policy = Some(self.client.policy.clone()).filter(|path| !path.as_os_str().is_empty());
        ClientOptions {
            policy,
            jobs_max: self.client.jobs_max,
            threads: self.client.threads,
            zstd_level: self.client.zstd_level,
            tls: Some(tls),
            data_ports,
            ..ClientOptions::default()
        }
    }

    pub fn device_options(&self) -> DeviceOptions {
        DeviceOptions {
            transfers_max: self.device.transfers_max,
            jobs_max: self.device.jobs_max,
            threads: self.device.threads,
            zstd_level: self.device.zstd_level,
            ..DeviceOptions::default()
        }
    }

    /// `host:port` of the server, where the settings say that this host calls it.
    pub fn outbound(&self) -> Vec<String> {
        self.client.outbound.iter().map(|server| with_port(server, &HTTPS)).collect()
    }

    /// `host:port` of the server, where this host passes calls on.
    pub fn relay_calls_to(&self) -> Vec<String> {
        self.device.relay_calls_to.iter().map(|server| with_port(server, &HTTPS)).collect()
    }

    /// Rows of the port registry with the addresses for each.
    pub fn smssh(&self) -> Vec<SocketAddr> {
        addresses(&SMSSH, &self.listen.smssh)
    }

    pub fn ctrl(&self) -> Vec<SocketAddr> {
        addresses(&CTRL, &self.listen.ctrl)
    }

    pub fn http(&self) -> Vec<SocketAddr> {
        addresses(&HTTP, &self.listen.http)
    }

    pub fn https(&self) -> Vec<SocketAddr> {
        addresses(&HTTPS, &self.listen.https)
    }

    pub fn ftp(&self) -> Vec<SocketAddr> {
        addresses(&FTP, &self.listen.ftp)
    }

    pub fn drive(&self) -> Vec<SocketAddr> {
        addresses(&DRIVE, &self.listen.drive)
    }

    pub fn console(&self) -> Vec<SocketAddr> {
        addresses(&CONSOLE, &self.listen.console)
    }

    /// Every listener of a role: row, option that chooses another address, address.
    pub fn listeners(&self, role: Role) -> Vec<(&'static Listen, &'static str, SocketAddr)> {
        let mut rows = vec![(&SMSSH, "--listen", self.smssh()), (&CTRL, "--ctrl", self.ctrl())];
        if role.has_device() {
            rows.push((&HTTP, "--http", self.http()));
            rows.push((&HTTPS, "--https", self.https()));
            rows.push((&FTP, "--ftp", self.ftp()));
        }
        if role == Role::Server {
            rows.push((&CONSOLE, "--console", self.console()));
        }
        rows.into_iter()
            .flat_map(|(row, option, all)| all.into_iter().map(move |one| (row, option, one)))
            .collect()
    }
}

/// What is wrong, on one line, with the line of the file where it stands.
fn why(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    let line: String = line.chars().take(LINE_SHOWN_MAX).collect();
    format!("line {} ({line}): {message}", number + 1)
}

fn addresses(row: &Listen, given: &[ListenAddress]) -> Vec<SocketAddr> {
    let port = |given: &ListenAddress| given.port.unwrap_or(row.ports.first());
    given.iter().map(|given| SocketAddr::new(given.ip, port(given))).collect()
}

/// The host of `host`, `host:port`, `v6`, `[v6]` or `[v6]:port`.
pub fn host_of(server: &str) -> &str {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return bare;
    }
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The same with a port: that of the row where there is none.
pub(super) fn with_port(server: &str, row: &Listen) -> String {
    let usual = row.ports.first();
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("[{bare}]:{usual}");
    }
    match server.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:{usual}"),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > SETTINGS_BYTES_MAX {
        let text = format!("it is larger than {SETTINGS_BYTES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    }
    std::fs::read_to_string(path)
}

/// The system's name of this host, as far as it can be a name in the suite. The second file is for
/// services that see only processes in `/proc`.
pub fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .map(|name| name.trim().to_owned())
        .find(|name| simsim_control::join::is_name(name))
        .unwrap_or_else(|| "localhost".to_owned())
}

/// `ADDRESS`, `ADDRESS:PORT`, `[V6]:PORT` or only `PORT` for all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    pub ip: IpAddr,
    /// `None`: the registry's.
    pub port: Option<u16>,
}

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: address.ip(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self { ip, port: None });
        }
        let digits = text.strip_prefix("*:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
        if let Ok(port) = digits.parse::<u16>() {
            return Ok(Self { ip: Ipv6Addr::UNSPECIFIED.into(), port: Some(port) });
        }
        Err(format!(
            "'{text}' is no address to listen on: write ADDRESS, ADDRESS:PORT, [V6]:PORT or PORT, \
             with an address in digits"
        ))
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, Failure> {
        Settings::parse(Path::new("simsim.toml"), text)
    }

    #[test]
    fn an_empty_file_gives_the_defaults_and_a_written_one_reads_back() {
        assert_eq!(parse("").unwrap(), Settings::default());
        let mut settings = Settings { name: "vault".to_owned(), ..Settings::default() };
        settings.listen.http = vec!["192.0.2.1:7".parse().unwrap()];
        settings.server.drive_jobs_max = 2;
        assert_eq!(parse(&toml::to_string(&settings).unwrap()).unwrap(), settings);
    }

    #[test]
    fn fuzz_settings() {
        let mut settings = Settings { name: "vault".to_owned(), ..Settings::default() };
        settings.listen.http = vec!["[::1]:7".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        let samples =
            [Settings::default(), settings].map(|one| toml::to_string(&one).unwrap().into_bytes());
        simsim_testkit::fuzz("settings", &samples, |bytes| {
            match parse(&String::from_utf8_lossy(bytes)) {
                Ok(settings) => {
                    let again = toml::to_string(&settings).unwrap();
                    assert_eq!(parse(&again).unwrap(), settings);
                }
                Err(error) => assert!(!error.message.contains('\n'), "one line: {error}"),
            }
        });
    }

    #[test]
    fn typing_errors_are_named_with_file_and_line() {
        for (text, named) in [
            ("name = \"x\"\n[listen]\nsmsh = []\n", "smsh"),
            ("name = \"x\"\n\n[server]\ndrive_job_max = 1\n", "drive_job_max"),
            ("\n\nname = 3\n", "name"),
            ("[listen]\n\nhttp = [\"here\"]\n", "here"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind, Kind::Invalid);
            assert!(!error.message.contains('\n'), "one line, as it is shown: {error}");
            for part in ["simsim.toml", "line 3", named] {
                let four = part.replace('3', "4");
                assert!(error.message.contains(part) || error.message.contains(&four), "{error}");
            }
        }
    }

    #[test]
    fn figures_outside_their_range_are_refused_by_name() {
        for (section, line) in [
            ("client", "jobs_max = 0"),
            ("client", "zstd_level = 20"),
            ("device", "transfers_max = 0"),
            ("ftp", "data_ports = \"7-9\""),
            ("ftp", "data_ports = \"7\""),
            ("ftp", "data_ports = \"9-8\""),
            ("server", "drive_jobs_max = 0"),
        ] {
            let error = parse(&format!("[{section}]\n{line}\n")).unwrap_err();
            assert!(error.message.contains(line.split(' ').next().unwrap()), "{error}");
        }
        assert!(parse("name = \"a b\"").is_err());
    }

    #[test]
    fn addresses_may_leave_out_one_half() {
        let parse = |text: &str| text.parse::<ListenAddress>();
        let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        assert_eq!(parse("7").unwrap(), ListenAddress { ip: any, port: Some(7) });
        assert_eq!(parse(":7").unwrap(), ListenAddress { ip: any, port: Some(7) });
        assert_eq!(parse("[::1]:7").unwrap().to_string(), "[::1]:7");
        assert_eq!(parse("::1").unwrap().port, None);
        assert_eq!(parse("127.0.0.1:0").unwrap().port, Some(0));
        assert_eq!(parse("127.0.0.1").unwrap().to_string(), "127.0.0.1");
        for wrong in ["", "host", "host:7", "70000", "1.2.3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// `section.key` and default of every setting.
    fn leaves(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => leaves(&format!("{prefix}{key}."), inner, found),
                value => found.push((format!("{prefix}{key}"), value.to_string())),
            }
        }
    }

    #[test]
    fn the_reference_page_has_every_setting_with_its_default_and_no_other() {
        let page = include_str!("../../../docs/reference/settings.md");
        let table = toml::Table::try_from(Settings::default()).unwrap();
        let mut settings = Vec::new();
        leaves("", &table, &mut settings);
        assert!(settings.len() > 15, "{settings:?}");
        let rows: Vec<&str> = page
            .lines()
            .skip_while(|line| !line.starts_with("| key |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        assert_eq!(rows.len(), settings.len());
        for (key, default) in settings {
            let begin = format!("| `{key}` | `{default}` | ");
            assert!(rows.iter().any(|row| row.starts_with(&begin)), "{begin}");
        }
    }
}
