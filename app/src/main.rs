//! `simsim`, the one binary: reads the command line, composes what runs here, maps what happened
//! to an exit status.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod exit;
mod listen;
mod node;
mod quickstart;
mod show;
mod standalone;

/// Tests name points here at which a debug build dies or stops; release builds ignore it.
const FAILPOINTS_VARIABLE: &str = "SIMSIM_FAILPOINTS";
/// What is logged, as `tracing` filters: `info`, `simsim_device=debug`, …
const LOG_VARIABLE: &str = "SIMSIM_LOG";

/// Open network backup suite: Server, Remote Device Server and Client in one binary.
#[derive(Parser)]
#[command(name = "simsim", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Back up a folder through the real ports, restore it, compare: all on this host
    ///
    /// Starts server, device and client in one process, on the suite's own ports or, where one is
    /// taken, on a free one that is named. The datastore stays: a second run shows what
    /// deduplication saves.
    Quickstart(quickstart::Arguments),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if let Err(failure) = prepare() {
        eprintln!("simsim: {failure}");
        return failure.code();
    }
    let done = match line.verb {
        Verb::Quickstart(arguments) => quickstart::run(&arguments),
        Verb::Completions { shell } => {
            let mut command = CommandLine::command();
            clap_complete::generate(shell, &mut command, "simsim", &mut std::io::stdout());
            Ok(exit::DONE)
        }
        Verb::Man => manual(),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("simsim: {failure}");
            failure.code()
        }
    }
}

fn prepare() -> Result<(), exit::Failure> {
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "warn".to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).map_err(|error| {
        exit::Failure::new(simsim_model::Kind::Invalid, format!("{LOG_VARIABLE}: {error}"))
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Ok(points) = std::env::var(FAILPOINTS_VARIABLE) {
        simsim_model::failpoint::arm(&points).map_err(|why| {
            exit::Failure::new(simsim_model::Kind::Invalid, format!("{FAILPOINTS_VARIABLE}: {why}"))
        })?;
    }
    Ok(())
}

fn manual() -> Result<u8, exit::Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(CommandLine::command()).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(exit::DONE)
}

/// The folder for a part's state: `$XDG_STATE_HOME/simsim/<part>`, else below the home folder.
fn state_folder(part: &str) -> Result<PathBuf, exit::Failure> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
        .ok_or_else(|| {
            let text = "there is no home folder: name a folder with --state";
            exit::Failure::new(simsim_model::Kind::NotFound, text)
        })?;
    Ok(base.join("simsim").join(part))
}
