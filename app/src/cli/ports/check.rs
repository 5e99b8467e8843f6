//! `simsim ports check`: what stands in the way, looked for before it fails at night.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use simsim_console::TlsIdentity;
use simsim_control::Identity;
use simsim_model::port_registry::{FTP, FTP_DATA, Listen};
use simsim_net::tls::Validity;
use simsim_net::{ListenError, SocketState, SourcePorts, holder_of, processes, sockets};
use simsim_server::api::HostCheck;

use crate::cli::context::Context;
use crate::cli::screen::Screen;
use crate::cli::text::{Style, Text};
use crate::cli::words::when;
use crate::daemon::{Enrolment, Role, Settings};
use crate::exit::{self, Failure};
use crate::state::{Holder, State};

/// Clocks that differ by more are worth a warning; tickets and locks count by the device's clock.
const CLOCK_WARN_MS: i64 = 5_000;
/// By more than this, logs of two hosts cannot be read side by side, and certificates fail.
const CLOCK_BAD_MS: i64 = 300_000;
/// A certificate that is good for less than this should have been renewed.
const CERTIFICATE_WARN_S: i64 = 14 * 86_400;
/// A name service gets this long for one name.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

#[derive(clap::Args, Debug)]
pub struct CheckArguments {
    /// What this host is to become [default: what its state folder says]
    #[arg(long)]
    role: Option<RoleWord>,
    /// Settings of the daemon, if they lie elsewhere
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// What a host can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleWord {
    Server,
    Rds,
    Client,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// `port`, `source_ports`, `name`, `clock`, `key`, `certificate`, `host`.
    about: &'static str,
    what: String,
    grade: Grade,
    message: String,
    /// What to do.
    next: Option<String>,
}

/// All of it.
#[derive(Debug, Serialize)]
struct Findings {
    role: &'static str,
    findings: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, about: &'static str, what: impl Into<String>, grade: Grade, message: String) {
        self.findings.push(Finding { about, what: what.into(), grade, message, next: None });
    }

    /// What to do about the last one.
    fn next(&mut self, sentence: impl Into<String>) {
        if let Some(last) = self.findings.last_mut() {
            last.next = Some(sentence.into());
        }
    }
}

pub async fn run(cx: &Context, arguments: CheckArguments, state: &State) -> Result<u8, Failure> {
    let settings = Settings::load(arguments.settings.as_deref(), state)?;
    let holder = state.holder();
    let role = role(arguments.role, holder.as_ref(), state);
    let mut found = Findings { role: role.as_str(), findings: Vec::new() };
    let planned = planned(role, &settings, holder.as_ref());
    for (row, option, address) in &planned {
        port(&mut found, row, option, *address, holder.as_ref()).await;
    }
    let mut ports: Vec<u16> = planned.iter().map(|(_, _, address)| address.port()).collect();
    if planned.iter().any(|(row, ..)| row.id == FTP.id) {
        data_ports(&mut found, &settings).await?;
        let (first, last) = settings.data_ports()?.range();
        ports.extend(first..=last);
    }
    source_ports(&mut found, &ports);
    own_name(&mut found, &settings.name_or_host()).await;
    keys(&mut found, role, state);
    if role.has_device() {
        data_certificate(&mut found, state, unix_s());
    }
    if role == Role::Server && holder.is_some() {
        let hosts: Vec<HostCheck> = cx.ask_plain("ports.hosts").await?;
        for host in &hosts {
            look_at(&mut found, host).await;
        }
    }
    cx.show(&found, text)?;
    let bad = found.findings.iter().any(|finding| finding.grade == Grade::Bad);
    Ok(if bad { exit::WITH_ERRORS } else { exit::DONE })
}

fn role(named: Option<RoleWord>, holder: Option<&Holder>, state: &State) -> Role {
    match (named, holder.map(|holder| holder.role.as_str())) {
        (Some(RoleWord::Server), _) => Role::Server,
        (Some(RoleWord::Rds), _) => Role::Rds,
        (Some(RoleWord::Client), _) => Role::Client,
        (None, Some("server" | "quickstart")) => Role::Server,
        (None, Some("rds")) => Role::Rds,
        (None, Some("client")) => Role::Client,
        (None, _) if state.is_of_server() => Role::Server,
        (None, _) if state.file("device").is_dir() => Role::Rds,
        (None, _) => Role::Client,
    }
}

/// What listens here, or will: row, option that chooses another address, address. A running daemon
/// knows best.
fn planned(
    role: Role,
    settings: &Settings,
    holder: Option<&Holder>,
) -> Vec<(&'static Listen, &'static str, SocketAddr)> {
    let mut planned = settings.listeners(role);
    let Some(holder) = holder.filter(|holder| !holder.listening.is_empty()) else {
        return planned;
    };
    for (row, _, address) in &mut planned {
        let mut told = holder.listening.iter().filter(|one| one.row == row.id);
        let told = told.find_map(|one| one.address.parse::<SocketAddr>().ok());
        *address = told.unwrap_or(*address);
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

/// The range for FTP data: nobody listens there but for a transfer that waits for its connection.
async fn data_ports(found: &mut Findings, settings: &Settings) -> Result<(), Failure> {
    let data_ports = settings.data_ports()?;
    let (first, last) = data_ports.range();
    let what = format!("{} {first}-{last}", FTP_DATA.id);
    let mut taken = 0;
    for port in first..=last {
        let address = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        let Err(error) = simsim_net::listen(address, &FTP_DATA).await else { continue };
        let ours = match holder_of(port) {
            Some(simsim_net::Holder::Process(process)) => process.name == "simsim",
            _ => false,
        };
        if !ours {
            taken += 1;
            found.add("port", format!("{} {port}", FTP_DATA.id), Grade::Bad, error.to_string());
            found.next("end who has it, or choose another range: ftp.data_ports in the settings");
        }
    }
    if taken == 0 {
        let message = format!(
            "free, for {} transfers at once; each port is open only while a transfer waits for its \
             connection",
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

async fn own_name(found: &mut Findings, name: &str) {
    match lookup(name).await {
        Ok(addresses) => {
            let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let elsewhere = addresses.iter().any(|address| !address.is_loopback());
            let (grade, more) = match elsewhere {
                true => (Grade::Good, ""),
                false => (Grade::Warning, ": only this host itself finds it there"),
            };
            found.add("name", name, grade, format!("this host's name leads to {list}{more}"));
            if !elsewhere {
                found.next("give other hosts an address: advertise in [server] of the settings, or 'simsim client addresses'");
            }
            backwards(found, name, &addresses).await;
        }
        Err(why) => {
            let message = format!("this host's own name does not resolve: {why}");
            found.add("name", name, Grade::Warning, message);
            found.next("enter it into DNS or /etc/hosts, or set 'name' in the settings");
        }
    }
}

/// From addresses to names, by the host's own way of looking names up.
async fn backwards(found: &mut Findings, name: &str, addresses: &[IpAddr]) {
    for address in addresses.iter().filter(|address| !address.is_loopback()) {
        match reverse(*address).await {
            None => {
                let message = format!("no name leads back from {address}");
                found.add("name", name, Grade::Warning, message);
                found.next(
                    "nothing of the suite needs it; logs of others are easier to read with it",
                );
            }
            Some(back) => {
                let same = back.iter().any(|one| short(one) == short(name) || one == name);
                let list = back.join(", ");
                let grade = if same { Grade::Good } else { Grade::Warning };
                found.add("name", name, grade, format!("{address} leads back to {list}"));
            }
        }
    }
}

fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    match tokio::time::timeout(LOOKUP_PATIENCE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(addresses)) => {
            let mut kept: Vec<IpAddr> = Vec::new();
            for address in addresses.map(|address| address.ip()) {
                if !kept.contains(&address) {
                    kept.push(address);
                }
            }
            Ok(kept)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_PATIENCE.as_secs())),
    }
}

/// `getent` asks what the host's programs ask: files, DNS and whatever else is configured.
async fn reverse(address: IpAddr) -> Option<Vec<String>> {
    let mut getent = tokio::process::Command::new("getent");
    getent.arg("hosts").arg(address.to_string()).kill_on_drop(true);
    let output = tokio::time::timeout(LOOKUP_PATIENCE, getent.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: Vec<String> = text.split_whitespace().skip(1).map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

fn keys(found: &mut Findings, role: Role, state: &State) {
    let file = match role {
        Role::Server => state.file("server/identity"),
        Role::Rds | Role::Client => state.file("identity"),
    };
    let what = file.display().to_string();
    if !file.exists() {
        found.add("key", what, Grade::Good, "not made yet: the first start makes it".to_owned());
    } else {
        match Identity::load_or_create(&file) {
            Ok(identity) => {
                let message = format!("this host's key is {}", identity.fingerprint());
                found.add("key", what, Grade::Good, message);
            }
            Err(error) => found.add("key", what, Grade::Bad, error.to_string()),
        }
    }
    if role == Role::Server {
        certificate(found, state);
        return;
    }
    let file = Enrolment::file(state);
    let what = file.display().to_string();
    match Enrolment::load(&file) {
        Ok(Some(enrolment)) => {
            let key = enrolment.key().map(|key| key.fingerprint()).unwrap_or_default();
            let message = format!(
                "obeys the server '{}' with key {key}, as '{}', dialled on port {}",
                enrolment.server, enrolment.name, enrolment.port
            );
            found.add("key", what, Grade::Good, message);
        }
        Ok(None) => {
            found.add("key", what, Grade::Warning, "this host has joined no server".to_owned());
            found.next("on the server: simsim client code NAME; here: simsim client join");
        }
        Err(failure) => found.add("key", what, Grade::Bad, failure.message),
    }
}

fn certificate(found: &mut Findings, state: &State) {
    let what = state.file("console.crt").display().to_string();
    if !state.file("console.crt").exists() || !state.file("console.key").exists() {
        let message = "the console's is not made yet: the first start makes it".to_owned();
        found.add("certificate", what, Grade::Good, message);
        return;
    }
    match TlsIdentity::open(state.folder(), Vec::new()) {
        Ok(_) => {
            let message = "the console's certificate and its key belong together".to_owned();
            found.add("certificate", what, Grade::Good, message);
        }
        Err(error) => {
            found.add("certificate", what, Grade::Bad, error.to_string());
            found.next("put the right pair there, or remove both: the next start makes a new one");
        }
    }
}

/// The certificate that strangers' tools see at the data ports: hosts of the suite look at the key.
fn data_certificate(found: &mut Findings, state: &State, now_unix_s: i64) {
    let file = state.file("tls.crt");
    let what = file.display().to_string();
    let validity = match std::fs::read(&file) {
        Ok(pem) => Validity::of_pem(&pem).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = "for data with TLS none is made yet: the first start makes it".to_owned();
            found.add("certificate", what, Grade::Good, message);
            return;
        }
        Err(error) => Err(error.to_string()),
    };
    match validity {
        Ok(validity) => {
            let (grade, message) = how_long(validity, now_unix_s);
            found.add("certificate", what, grade, message);
            if grade != Grade::Good {
                found.next(
                    "the server renews its own by itself while it reaches this host; a pair of \
                     yours is renewed by you: put it into tls.key and tls.crt and restart",
                );
            }
        }
        Err(why) => {
            found.add("certificate", what, Grade::Bad, why);
            found.next("put the right pair there, or remove both: the next start makes a new one");
        }
    }
}

/// What is to be said of a certificate at a moment.
fn how_long(validity: Validity, now_unix_s: i64) -> (Grade, String) {
    let day = |unix_s: i64| when(unix_s.saturating_mul(1000));
    let left = validity.not_after_unix_s.saturating_sub(now_unix_s);
    if now_unix_s < validity.not_before_unix_s {
        let from = day(validity.not_before_unix_s);
        return (
            Grade::Bad,
            format!("for data with TLS: good from {from} only; is the clock right?"),
        );
    }
    match left {
        ..0 => {
            let until = day(validity.not_after_unix_s);
            (
                Grade::Bad,
                format!("for data with TLS: it ran out on {until}; other people's tools refuse it"),
            )
        }
        0..CERTIFICATE_WARN_S => {
            (Grade::Warning, format!("for data with TLS: it runs out in {} days", left / 86_400))
        }
        _ => (
            Grade::Good,
            format!("for data with TLS: good until {}", day(validity.not_after_unix_s)),
        ),
    }
}

fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Another host, as the server sees it.
async fn look_at(found: &mut Findings, host: &HostCheck) {
    let name = host.name.as_str();
    match (host.connected, &host.trouble) {
        (true, None) => {
            let round = host.round_trip_us.unwrap_or(0);
            let message =
                format!("reached; a round trip takes {}.{:03} ms", round / 1000, round % 1000);
            found.add("host", name, Grade::Good, message);
        }
        (_, why) => {
            let why = why.as_deref().unwrap_or("not dialled yet");
            found.add("host", name, Grade::Bad, format!("not reached: {why}"));
            found
                .next(format!("what a firewall must let through: simsim ports plan --host {name}"));
        }
    }
    if let Some(difference) = host.clock_difference_ms {
        let grade = match difference.abs() {
            0..=CLOCK_WARN_MS => Grade::Good,
            ms if ms <= CLOCK_BAD_MS => Grade::Warning,
            _ => Grade::Bad,
        };
        let words = match difference {
            0.. => "ahead of",
            _ => "behind",
        };
        let (seconds, rest) = (difference.abs() / 1000, difference.abs() % 1000);
        let message = format!("its clock is {seconds}.{rest:03} s {words} the server's");
        found.add("clock", name, grade, message);
        if grade != Grade::Good {
            found.next(format!("set the clocks by NTP on '{name}' and on the server"));
        }
    }
    for one in &host.names {
        match &one.trouble {
            Some(why) => {
                let message = format!("'{}' does not resolve: {why}", one.name);
                found.add("name", name, Grade::Bad, message);
                found
                    .next(format!("enter it into DNS, or: simsim client addresses {name} ADDRESS"));
            }
            None if one.name.parse::<IpAddr>().is_ok() => {}
            None => {
                let list =
                    one.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                found.add("name", name, Grade::Good, format!("'{}' leads to {list}", one.name));
                backwards(found, &one.name, &one.addresses).await;
            }
        }
    }
}

fn text(screen: &Screen, found: &Findings) -> Result<(), Failure> {
    screen.line(Text::new().dim(format!("This host as {}", found.role)))?;
    for finding in &found.findings {
        let (style, mark) = match finding.grade {
            Grade::Good => (Style::Good, "good"),
            Grade::Warning => (Style::Warn, "look"),
            Grade::Bad => (Style::Bad, "bad "),
        };
        screen.line(
            Text::styled(style, mark)
                .plain("  ")
                .bold(format!("{} {}", finding.about.replace('_', " "), finding.what))
                .plain(format!(": {}", finding.message)),
        )?;
        if let Some(next) = &finding.next {
            screen.line(Text::new().dim("      → ").plain(next))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_said_to_run_out_before_it_does() {
        let day = 86_400;
        let validity = Validity { not_before_unix_s: day, not_after_unix_s: 100 * day };
        let grade = |now: i64| how_long(validity, now).0;
        assert_eq!(grade(0), Grade::Bad, "not yet");
        assert_eq!(grade(50 * day), Grade::Good);
        assert_eq!(grade(86 * day), Grade::Good, "14 days are left");
        assert_eq!(grade(86 * day + 1), Grade::Warning);
        assert_eq!(grade(100 * day), Grade::Warning);
        assert_eq!(grade(100 * day + 1), Grade::Bad);
        assert!(how_long(validity, 90 * day).1.contains("in 10 days"));
    }
}
