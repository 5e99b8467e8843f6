//! `simsim ports check`: what stands in the way, looked for before it fails at night.
//!
//! [`listeners`](mod@listeners) looks at the ports that this host takes, [`names`] at the names that it
//! has and dials, [`certificates`] at what other people's tools are shown; keys follow here, and on the
//! server the other hosts.

mod certificates;
mod listeners;
mod names;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use simsim_control::Identity;
use simsim_server::api::HostCheck;

use self::certificates::{console_certificate, data_certificate, given_certificate};
use self::listeners::listeners;
use self::names::{backwards, dialled_names, own_name};
use crate::cli::context::Context;
use crate::cli::screen::Screen;
use crate::cli::text::{Style, Text};
use crate::daemon::{Enrolment, Role, Settings};
use crate::exit::{self, Failure};
use crate::state::{Holder, State};

/// Clocks that differ by more are worth a warning; tickets and locks count by the device's clock.
const CLOCK_WARN_MS: i64 = 5_000;
/// By more than this, logs of two hosts cannot be read side by side, and certificates fail.
const CLOCK_BAD_MS: i64 = 300_000;
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

/// The host that is looked at.
struct Here<'h> {
    role: Role,
    settings: &'h Settings,
    /// The daemon that runs.
    holder: Option<&'h Holder>,
    state: &'h State,
}

impl Here<'_> {
    /// Whether this host calls its server, and then listens for no orders.
    fn calls(&self, enrolment: Option<&Enrolment>) -> bool {
        let joined = enrolment.is_some_and(|joined| !joined.outbound.is_empty());
        self.role != Role::Server && (joined || !self.settings.client.outbound.is_empty())
    }
}

pub async fn run(cx: &Context, arguments: CheckArguments, state: &State) -> Result<u8, Failure> {
    let settings = Settings::load(arguments.settings.as_deref(), state)?;
    let holder = state.holder();
    let role = role(arguments.role, holder.as_ref(), state);
    let mut found = Findings { role: role.as_str(), findings: Vec::new() };
    let enrolment = Enrolment::load(&Enrolment::file(state)).ok().flatten();
    let here = Here { role, settings: &settings, holder: holder.as_ref(), state };
    listeners(&mut found, &here, enrolment.as_ref()).await?;
    own_name(&mut found, &settings.name_or_host()).await;
    dialled_names(&mut found, &here, enrolment.as_ref()).await;
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
        console_certificate(found, state);
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
    given_certificate(found, host, unix_s());
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
