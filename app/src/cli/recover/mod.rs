//! `simsim recover`: a lost server comes back from a datastore, or a copy of one, and the recovery kit.
//!
//! ```text
//! find      the backups of a server that a kit opens, the newest first
//! settings  the daemon's settings, for where the catalog is now
//! place     from a folder beside everything into the state folder, so that it may end at any moment
//! ```

mod find;
mod place;
mod settings;

use std::path::{Path, PathBuf};

use serde::Serialize;
use simsim_model::{Kind, SavesetId};
use simsim_server::{DatastoreHead, RecoverInto, SelfBackup, SelfBackupHead};

use self::find::{Found, Source};
use self::place::Staging;
use super::context::CommonArguments;
use super::kit;
use super::screen::Screen;
use super::table::facts;
use super::text::{Style, Text, plain};
use super::words::{ago, count, counted, when};
use crate::exit::{self, Failure};
use crate::state::State;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The folder of a datastore or of a copy of it, or several; nothing is written there
    #[arg(required = true, value_name = "DATASTORE")]
    datastores: Vec<PathBuf>,
    /// The recovery kit; '-' reads standard input [default: its groups are asked for]
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
    /// Read the newest backup of the server to its end, say what it would bring back, and change nothing
    #[arg(long)]
    check: bool,
    /// This backup, by its saveset or the beginning of it [default: the newest that is whole]
    #[arg(long)]
    saveset: Option<String>,
    /// Where the catalog is to be: an empty database of PostgreSQL, postgresql://USER@HOST/DATABASE
    /// [default: a file in the state folder, wherever it was before]
    #[arg(long, value_name = "PLACE", conflicts_with = "check")]
    catalog: Option<String>,
    /// Passwords for it, in the form of PostgreSQL's password file [default: those that were backed up]
    #[arg(long, value_name = "FILE", requires = "catalog")]
    catalog_passwords: Option<PathBuf>,
    /// Where missing parts of an index, and the catalog of a check, may be kept meanwhile [default: the
    /// system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

/// What came back, or would.
#[derive(Debug, Serialize)]
pub struct RecoverReport {
    /// Nothing was changed.
    pub checked_only: bool,
    pub saveset: SavesetId,
    /// The datastore that it was in.
    pub datastore: String,
    #[serde(flatten)]
    pub head: SelfBackupHead,
    /// Rows of the catalog; 0 where a run before had taken them in.
    pub rows: u64,
    /// Where the audit log's chain is broken, if it is.
    pub audit_break: Option<String>,
    /// Newer backups that could not be used.
    pub passed_over: Vec<PassedOver>,
    pub state: PathBuf,
    /// Files that were there already, so that the backup's lie beside them.
    pub beside: Vec<PathBuf>,
}

/// A backup that could not be used.
#[derive(Debug, Clone, Serialize)]
pub struct PassedOver {
    pub saveset: SavesetId,
    pub datastore: String,
    pub committed_unix_ms: i64,
    pub why: String,
}

pub fn run(arguments: Arguments, state: &State, common: &CommonArguments) -> Result<u8, Failure> {
    let screen = common.screen();
    if !arguments.check && place::was_done(state)? {
        return Err(Failure::new(
            Kind::Invalid,
            format!("a server is in {} already", state.folder().display()),
        )
        .next("a server comes back into an empty state folder: name another with --state DIR")
        .next("to look whether a backup of a server would do: --check"));
    }
    let scratch = arguments.scratch.as_deref();
    let locked = find::open(&arguments.datastores, scratch)?;
    let kit = match &arguments.kit {
        Some(file) => kit::parse(&kit::read_text(file)?)?,
        None if screen.can_ask() => kit::ask()?,
        None => {
            return Err(Failure::new(Kind::Invalid, "the recovery kit is needed")
                .next("name the file with it: --kit FILE, or --kit - for standard input"));
        }
    };
    let sources = find::unlock(locked, &kit, &screen)?;
    let found = find::candidates(&sources, arguments.saveset.as_deref())?;
    let mut passed_over = Vec::new();
    for one in &found {
        match try_one(one, &sources, &kit, &arguments, state, &screen) {
            Ok(mut report) => {
                report.passed_over = passed_over;
                if screen.is_json() {
                    screen.document(&report)?;
                } else {
                    shown(&screen, &report)?;
                }
                screen.flush()?;
                return Ok(match report.passed_over.is_empty() {
                    true => exit::DONE,
                    false => exit::WITH_ERRORS,
                });
            }
            // Another one may do; everything else is about this host, and would meet the next one too.
            Err(failure) if matches!(failure.kind, Kind::Corrupt | Kind::Denied) => {
                screen.aside(
                    Text::styled(Style::Warn, "passed over: ")
                        .plain(format!("saveset {} ", one.saveset.saveset.short()))
                        .plain(format!("of {}: ", when(one.saveset.committed_unix_ms)))
                        .plain(plain(&failure.message)),
                );
                passed_over.push(PassedOver {
                    saveset: one.saveset.saveset,
                    datastore: one.source.copy.name().to_owned(),
                    committed_unix_ms: one.saveset.committed_unix_ms,
                    why: failure.message,
                });
            }
            Err(failure) => return Err(failure),
        }
    }
    let text =
        format!("none of {} of a server can be used", counted(passed_over.len() as u64, "backup"));
    let failure = Failure::new(Kind::Corrupt, text)
        .next("name further datastores or copies of them: simsim recover FOLDER FOLDER")
        .next("what clients saved is not touched by this: simsim rescue FOLDER list");
    Err(passed_over.iter().fold(failure, |failure, one| {
        failure.detail(Text::from(one.saveset.short()).plain(format!(
            "  {}  {}",
            when(one.committed_unix_ms),
            plain(&one.why)
        )))
    }))
}

fn try_one(
    one: &Found<'_>,
    sources: &[Source],
    kit: &simsim_format::RecoveryKit,
    arguments: &Arguments,
    state: &State,
    screen: &Screen,
) -> Result<RecoverReport, Failure> {
    let stream = one.source.copy.stream(one.saveset.saveset)?;
    let mut backup = SelfBackup::open(stream, kit)?;
    let head = backup.head().clone();
    if !screen.is_json() {
        screen.lines(head_lines(&head, one))?;
        screen.flush()?;
    }
    let me = match rustix::process::geteuid() {
        user if user.is_root() => "local:root".to_owned(),
        user => format!("local:{}", user.as_raw()),
    };
    let mut into = RecoverInto {
        folder: Path::new(""),
        catalog: "",
        passwords: None,
        saveset: one.saveset.saveset,
        moved: &[],
        principal: &me,
    };
    let mut report = RecoverReport {
        checked_only: arguments.check,
        saveset: one.saveset.saveset,
        datastore: one.source.copy.name().to_owned(),
        head,
        rows: 0,
        audit_break: None,
        passed_over: Vec::new(),
        state: state.folder().to_owned(),
        beside: Vec::new(),
    };
    if arguments.check {
        let scratch = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = tempfile::Builder::new().prefix("simsim-recover-").tempdir_in(&scratch)?;
        into.folder = scratch.path();
        let checked = backup.check(&into)?;
        (report.rows, report.audit_break) = (checked.rows, checked.audit_break);
        return Ok(report);
    }
    let catalog = arguments.catalog.clone().unwrap_or_default();
    let text = settings::fit(backup.settings(), &catalog)?;
    backup.set_settings(text);
    let passwords = arguments.catalog_passwords.as_deref().map(std::fs::read).transpose()?;
    let moved = moved(&report.head, sources);
    let staging = Staging::begin(state)?;
    into.folder = staging.folder();
    into.catalog = &catalog;
    into.passwords = passwords.as_deref();
    into.moved = &moved;
    let recovered = match backup.recover(&into) {
        Ok(recovered) => recovered,
        Err(error) => {
            staging.give_up();
            return Err(error.into());
        }
    };
    (report.rows, report.audit_break) = (recovered.rows, recovered.audit_break);
    report.beside = staging.place(state, &recovered.files)?;
    Ok(report)
}

/// Datastores of the server's own host that are not where they were, and are among those that were named.
fn moved(head: &SelfBackupHead, sources: &[Source]) -> Vec<(simsim_model::StoreId, String)> {
    let gone = |one: &&DatastoreHead| {
        let path = simsim_model::unescape_path(&one.path).unwrap_or_default();
        let path =
            PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path));
        one.own && !path.is_dir()
    };
    let mut moved = Vec::new();
    for one in head.datastores.iter().filter(gone) {
        let here = sources.iter().find(|source| source.copy.store() == one.store);
        if let Some(path) = here.and_then(|source| source.folder.to_str()) {
            moved.push((one.store, path.to_owned()));
        }
    }
    moved
}

fn head_lines(head: &SelfBackupHead, one: &Found<'_>) -> Vec<Text> {
    let own = head
        .datastores
        .iter()
        .map(|datastore| format!("{} on {} ({})", datastore.name, datastore.host, datastore.path));
    let mut lines = vec![Text::new().bold("Server ").bold(plain(&head.server))];
    lines.extend(facts(&[
        ("backed up", format!("{}, {}", when(head.made_unix_ms), ago(head.made_unix_ms)).into()),
        (
            "saveset",
            format!("{} in {}", one.saveset.saveset.short(), one.source.copy.name()).into(),
        ),
        ("by", format!("simsim {}", plain(&head.suite_version)).into()),
        ("clients", count(head.clients).into()),
        ("tasks", count(head.tasks).into()),
        ("savesets", count(head.savesets).into()),
        ("datastores", plain(&own.collect::<Vec<_>>().join(", ")).into_owned().into()),
        ("its key", Text::new().dim(plain(&head.fingerprint))),
    ]));
    lines
}

fn shown(screen: &Screen, report: &RecoverReport) -> Result<(), Failure> {
    screen.line("")?;
    if let Some(at) = &report.audit_break {
        let text = format!("its audit log was broken before: {at}");
        screen.line(Text::styled(Style::Warn, plain(&text)))?;
    }
    if report.checked_only {
        let text = format!(
            "whole: {} of the catalog read, nothing was changed",
            counted(report.rows, "row")
        );
        return screen.line(Text::styled(Style::Good, text));
    }
    let text = format!("it is back in {}", plain(&report.state.to_string_lossy()));
    screen.line(Text::styled(Style::Good, text))?;
    for file in &report.beside {
        let text = format!("kept beside what was there already: {}", file.display());
        screen.line(Text::styled(Style::Warn, plain(&text)))?;
    }
    screen.line("")?;
    for (what, verb) in [
        ("start it; nothing runs by itself yet", "simsim server"),
        ("see who is reached, and what is missing", "simsim status"),
        ("let jobs start again", "simsim queue resume"),
        (
            "let savesets expire again, when holds and locks are as they should be",
            "simsim retention confirm-clock",
        ),
    ] {
        screen.line(Text::from(format!("  {what}:")))?;
        screen.line(Text::new().bold(format!("    {verb}")))?;
    }
    screen.line("")?;
    screen.line(
        Text::new()
            .dim("make sure that the old server does not run: two servers of one identity do harm"),
    )
}
