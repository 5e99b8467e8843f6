//! `simsim config export | diff | apply`: what an administrator set up, as one file.
//!
//! The file says what there is to be; applying it adds and changes what differs, and applying it again does
//! nothing. What the file does not name stays, unless `--prune` says otherwise. Hosts enrol by themselves,
//! savesets and keys are no configuration, and no secret is in the file.

mod differences;
mod file;
mod names;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use simsim_model::Kind;
use simsim_server::api::{ClientView, IdentityProviderView, NotificationView};

use self::differences::{Change, carry_out, changes};
use self::file::{Configuration, Named};
use super::context::Context;
use super::text::{Style, Text};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum ConfigVerb {
    /// Print the configuration of the server, or write it into a file
    Export {
        /// The file, which must not be there yet; '-': standard output [default: standard output]
        file: Option<PathBuf>,
    },
    /// Show what applying a file would change
    Diff {
        /// The file; '-': standard input
        file: PathBuf,
        /// As if what the file does not name were to be removed
        #[arg(long)]
        prune: bool,
    },
    /// Make the server what a file says; what differs is added and changed
    Apply {
        /// The file; '-': standard input
        file: PathBuf,
        /// Remove what the file does not name; datastores and hosts stay in any case
        #[arg(long)]
        prune: bool,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
}

/// What differs, and whether it does still.
#[derive(Debug, Serialize)]
struct Report {
    applied: bool,
    changes: Vec<Change>,
}

pub async fn run(cx: &Context, verb: ConfigVerb) -> Result<u8, Failure> {
    match verb {
        ConfigVerb::Export { file } => {
            let there = Configuration::of_server(cx).await?;
            let Some(file) = file.filter(|file| !is_standard_output(file)) else {
                if cx.screen.is_json() {
                    cx.screen.document(&there)?;
                } else {
                    let text = there.to_text()?;
                    text.lines().try_for_each(|line| cx.screen.line(line.to_owned()))?;
                }
                return Ok(exit::DONE);
            };
            write_new(&file, &there.to_text()?)?;
            cx.show(&serde_json::json!({ "written": file }), |screen, _| {
                screen.line(format!("the configuration is in {}", file.display()))
            })?;
        }
        ConfigVerb::Diff { file, prune } => {
            let (there, wanted) = (Configuration::of_server(cx).await?, read(&file)?);
            report(cx, false, changes(&there, &wanted, prune)?)?;
        }
        ConfigVerb::Apply { file, prune, dry_run } => {
            let (there, wanted) = (Configuration::of_server(cx).await?, read(&file)?);
            let found = changes(&there, &wanted, prune)?;
            let clients: Vec<ClientView> = cx.ask_plain("client.list").await?;
            let hosts: Vec<String> = clients.into_iter().map(|one| one.name).collect();
            names::check(&there, &wanted, &hosts, &found, prune)?;
            if !dry_run {
                carry_out(cx, &wanted, &found).await?;
                say_what_lacks_a_secret(cx).await?;
                say_who_needs_a_password(cx, &there, &wanted);
            }
            report(cx, !dry_run, found)?;
        }
    }
    Ok(exit::DONE)
}

/// No secret is in the file: who applied it gives them.
async fn say_what_lacks_a_secret(cx: &Context) -> Result<(), Failure> {
    let told: Vec<NotificationView> = cx.ask_plain("notification.list").await?;
    for one in told.iter().filter(|one| one.secret_missing) {
        let name = &one.name;
        cx.screen.aside(format!(
            "notification '{name}' tells nothing before its secret is given: simsim notification change {name} \
             --secret-file FILE"
        ));
    }
    let providers: Vec<IdentityProviderView> = cx.ask_plain("identity-provider.list").await?;
    for one in providers.iter().filter(|one| one.secret_missing) {
        let name = &one.name;
        cx.screen.aside(format!(
            "nobody signs in by '{name}' before its secret is given: simsim identity-provider change {name} --secret-file \
             FILE"
        ));
    }
    Ok(())
}

/// Nor is a password: who is new has one that nobody knows.
fn say_who_needs_a_password(cx: &Context, there: &Configuration, wanted: &Configuration) {
    let known = there.users.as_deref().unwrap_or_default();
    for Named(user) in wanted.users.as_deref().unwrap_or_default() {
        let is_new = !known.iter().any(|one| one.0.name == user.name);
        if is_new && user.provider.is_none() {
            cx.screen.aside(format!(
                "user '{0}' logs in once a password is set: simsim user password {0}",
                user.name
            ));
        }
    }
}

fn report(cx: &Context, applied: bool, changes: Vec<Change>) -> Result<(), Failure> {
    cx.show(&Report { applied, changes }, |screen, report| {
        if report.changes.is_empty() {
            screen.aside("the server is as the file says");
            return Ok(());
        }
        for change in &report.changes {
            let (sign, style) = match change.change {
                "add" => ("+", Style::Good),
                "change" => ("~", Style::Warn),
                "remove" => ("-", Style::Bad),
                _ => ("·", Style::Dim),
            };
            let mut line =
                Text::styled(style, format!("{sign} {} ", change.noun)).bold(&change.name);
            if let Some(why) = &change.why {
                line = line.dim(format!(": {why}"));
            }
            screen.line(line)?;
            for field in &change.fields {
                screen.line(format!("    {field}"))?;
            }
        }
        if !report.applied {
            screen.aside("nothing was changed");
        }
        Ok(())
    })
}

fn read(file: &Path) -> Result<Configuration, Failure> {
    let name = match file == Path::new("-") {
        true => "of standard input".to_owned(),
        false => file.display().to_string(),
    };
    let failed = |error: std::io::Error| {
        Failure::new(Kind::Invalid, format!("cannot read the configuration {name}: {error}"))
    };
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(file).map_err(failed)?;
    }
    Configuration::parse(&text).map_err(|wrong| {
        let why = format!("the configuration {name} cannot be read: {}", wrong.why);
        let failure = Failure::new(Kind::Invalid, why);
        wrong
            .line
            .into_iter()
            .fold(failure, |failure, line| failure.detail(line.into()))
            .next("how it looks: simsim config export")
    })
}

fn is_standard_output(file: &Path) -> bool {
    file == Path::new("-") || file == Path::new("/dev/stdout")
}

/// No file that is there is overwritten; a pipe or a device is written to.
fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let is_way = std::fs::metadata(file).is_ok_and(|there| !there.is_file() && !there.is_dir());
    let open = std::fs::OpenOptions::new().write(true).create_new(!is_way).open(file);
    open.and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        if is_way { Ok(()) } else { open.sync_all() }
    })
    .map_err(|error| {
        Failure::new(Kind::Invalid, format!("cannot write {}: {error}", file.display()))
    })
}
