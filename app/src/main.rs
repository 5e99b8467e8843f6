//! `simsim`, the one binary: reads the command line, composes what runs here, maps what happened
//! to an exit status.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use daemon::{DaemonArguments, DeviceArguments, Role, ServerArguments};
use state::State;

mod allocator;
mod cli;
mod daemon;
mod exit;
mod kit;
mod log;
mod quickstart;
mod state;

/// Tests name points here at which a debug build dies or stops; release builds ignore it.
const FAILPOINTS_VARIABLE: &str = "SIMSIM_FAILPOINTS";

/// Open network backup suite: Server, Remote Device Server and Client in one binary.
#[derive(Parser)]
#[command(name = "simsim", version, arg_required_else_help = true)]
struct CommandLine {
    /// The state folder: of the daemon that is started, or whose server is asked [default:
    /// /var/lib/simsim for root, else simsim below $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, global = true, help_heading = cli::GLOBAL, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    common: cli::CommonArguments,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the server: catalog, queue and keys, with a device and a client of its own
    Server(ServerArguments),
    /// Run a remote device server: a device and a client that obey a server elsewhere
    Rds(DeviceArguments),
    /// Run the client of this host; or, with a verb, enrol this host and manage clients
    #[command(args_conflicts_with_subcommands = true)]
    Client {
        #[command(flatten)]
        daemon: DaemonArguments,
        #[command(subcommand)]
        verb: Option<ClientVerb>,
    },
    #[command(flatten)]
    Asked(Box<cli::Verb>),
    /// Ports: what firewalls must let through, what is open here, what stands in the way
    Ports {
        #[command(subcommand)]
        verb: cli::ports::PortsVerb,
    },
    /// The catalog of a server that does not run: move it to another database
    Catalog {
        #[command(subcommand)]
        verb: cli::catalog::CatalogVerb,
    },
    /// Bring a lost server back: from a datastore, or a copy of one, and the recovery kit
    Recover(cli::recover::Arguments),
    /// Restore with nothing but a copy of a datastore and the recovery kit: no server needed
    Rescue(cli::rescue::Arguments),
    /// Back up a folder through the real ports, restore it, compare: all on this host
    ///
    /// Starts server, device and client in one process, on the suite's own ports or, where one is
    /// taken, on a free one that is named. The datastore stays: a second run shows what
    /// deduplication saves.
    Quickstart(quickstart::Arguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them
    Man(cli::pages::ManArguments),
    /// Print docs/reference/cli.md
    #[command(hide = true)]
    Reference,
}

#[derive(Subcommand)]
enum ClientVerb {
    /// On a host that is new: enrol it at a server, with a one-time code
    Join(daemon::JoinArguments),
    #[command(flatten)]
    Asked(cli::ClientVerb),
}

impl Verb {
    fn is_daemon(&self) -> bool {
        matches!(self, Verb::Server(_) | Verb::Rds(_) | Verb::Client { verb: None, .. })
    }
}

fn main() -> ExitCode {
    allocator::share_one_heap();
    let line = cli::pages::grouped(CommandLine::command())
        .try_get_matches()
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let line = match line {
        Ok(line) => line,
        Err(error) => return not_understood(&error),
    };
    let common = line.common.clone();
    let done = prepare(line.verb.is_daemon()).and_then(|()| run(line));
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            cli::tell(&failure, &common);
            failure.code()
        }
    }
}

/// Help, or what is wrong with the command line: for programs as the document of any failure.
fn not_understood(error: &clap::Error) -> ExitCode {
    let is_json =
        std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if !error.use_stderr() || !is_json {
        error.exit();
    }
    let failure = cli::usage_failure(error);
    cli::tell(&failure, &cli::CommonArguments { json: true, ..Default::default() });
    failure.code()
}

fn run(line: CommandLine) -> Result<u8, exit::Failure> {
    let named = line.state.as_deref();
    let common = &line.common;
    let screen = || common.screen();
    let state = || State::named_or_default(named);
    match line.verb {
        Verb::Server(arguments) => daemon::run(Role::Server, &state()?, arguments),
        Verb::Rds(arguments) => daemon::run(Role::Rds, &state()?, arguments.into()),
        Verb::Client { daemon, verb: None } => daemon::run(Role::Client, &state()?, daemon.into()),
        Verb::Client { verb: Some(ClientVerb::Join(arguments)), .. } => {
            daemon::join(&arguments, &state()?, &screen())
        }
        Verb::Client { verb: Some(ClientVerb::Asked(verb)), .. } => {
            cli::run_client(verb, cli::Way::of(common, &state()?)?, common)
        }
        Verb::Asked(verb) => cli::run(*verb, cli::Way::of(common, &state()?)?, common),
        Verb::Ports { verb } => cli::ports::run_here(verb, &state()?, common),
        Verb::Catalog { verb } => cli::catalog::run(verb, &state()?, common),
        Verb::Recover(arguments) => cli::recover::run(arguments, &state()?, common),
        Verb::Rescue(arguments) => cli::rescue::run(arguments, common),
        Verb::Quickstart(arguments) => {
            let state = State::named_or_below_home(named, "quickstart")?;
            quickstart::run(&arguments, &state, common)
        }
        Verb::Completions { shell } => {
            cli::pages::completions(CommandLine::command(), shell, &screen())
        }
        Verb::Man(arguments) => cli::pages::man(CommandLine::command(), &arguments, &screen()),
        Verb::Reference => cli::pages::reference(CommandLine::command(), &screen()),
    }
}

/// The log of a verb, failpoints, and nothing of this process's memory for others. A daemon's log begins when its
/// settings are read.
fn prepare(is_daemon: bool) -> Result<(), exit::Failure> {
    let invalid = |text: String| exit::Failure::new(simsim_model::Kind::Invalid, text);
    if !is_daemon {
        log::begin_for_verb()?;
    }
    daemon::hide_memory();
    if let Ok(points) = std::env::var(FAILPOINTS_VARIABLE) {
        let points = match points.strip_prefix("clock=") {
            Some(_) => {
                simsim_model::failpoint::set_clock(clock_of_tests_ms);
                points.split_once(',').map_or("", |(_, points)| points).to_owned()
            }
            None => points,
        };
        simsim_model::failpoint::arm(&points)
            .map_err(|why| invalid(format!("{FAILPOINTS_VARIABLE}: {why}")))?;
    }
    Ok(())
}

/// By how many milliseconds a test sets this host's clock: what the file says now that stands first among the
/// failpoints, as `clock=FILE`.
fn clock_of_tests_ms() -> i64 {
    let points = std::env::var(FAILPOINTS_VARIABLE).unwrap_or_default();
    let first = points.split(',').next().and_then(|first| first.strip_prefix("clock="));
    let text = first.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
