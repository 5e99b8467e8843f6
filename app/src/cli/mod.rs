//! Verbs of the command line. Most of them ask the server of this host through its local socket and
//! show the answer; `rescue` and `recover` work without any server.
//!
//! ```text
//! context     the way to the server and the screen, for one run
//! way         the local socket, or the console port of a server elsewhere
//! screen      standard output and standard error, colours, documents
//! text table  lines and tables that are safe on a terminal and fit it
//! follow      a job from its queueing to its end
//! reference   what people call a saveset
//! paths       what people type for paths
//! paging      answers that come in pages
//! lists       what is wanted of a list
//! ```
//! Every other room is a verb or a family of verbs.

mod api_tokens;
mod approvals;
mod audit;
mod backup;
mod browse;
pub mod catalog;
mod clients;
mod commands;
mod config;
mod context;
mod datastores;
mod drills;
mod drive_groups;
mod events;
pub mod follow;
#[cfg(test)]
mod forms;
mod identity_providers;
mod interfaces;
mod jobs;
mod keys;
mod kit;
mod lists;
mod lives;
mod locations;
mod migrations;
pub mod notifications;
pub mod pages;
mod paging;
mod paths;
mod pools;
pub mod ports;
mod queue;
mod rates;
pub mod recover;
mod reference;
mod replications;
mod report;
pub mod rescue;
mod restore;
mod retention;
mod savesets;
mod schedules;
mod screen;
mod search;
mod status;
mod table;
mod tasks;
pub mod text;
mod tokens;
mod users;
mod verify;
mod way;
pub mod words;

use simsim_model::Kind;

pub use clients::ClientVerb;
pub use context::{CommonArguments, Context, GLOBAL};
pub use screen::Screen;
pub use way::Way;

use self::text::{Style, Text};
use crate::exit::Failure;

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Show how the suite is, and what somebody should act on
    Status,
    /// Report what ran, failed and did not come, and what is not well
    Report(report::Arguments),
    /// Back up a task, or paths, and follow it to the end
    Backup(backup::Arguments),
    /// List savesets, the newest first
    Savesets(savesets::ListArguments),
    /// Show all about a saveset, or decide how long it lives
    Saveset(savesets::SavesetArguments),
    /// List a folder of a saveset
    Ls(browse::LsArguments),
    /// Find entries of a saveset by name
    Find(browse::FindArguments),
    /// Find files by name over all savesets of all clients
    Search(search::SearchArguments),
    /// Show the versions of a file: when it changed, which savesets have it
    History(search::HistoryArguments),
    /// Show what differs between two savesets: + added, - removed, ~ content, a attributes
    Diff(browse::DiffArguments),
    /// Restore a saveset or a part of it, and follow it to the end
    Restore(restore::Arguments),
    /// Check a datastore or a saveset
    Verify(verify::Arguments),
    /// List jobs, the newest first
    Jobs(jobs::ListArguments),
    /// Show, cancel or follow a job
    Job {
        #[command(subcommand)]
        verb: jobs::JobVerb,
    },
    /// Print a job's log
    Logs(jobs::LogArguments),
    /// Tasks: what is backed up
    Task {
        #[command(subcommand)]
        verb: tasks::TaskVerb,
    },
    /// Task groups: tasks that one event acts on together
    TaskGroup {
        #[command(subcommand)]
        verb: schedules::TaskGroupVerb,
    },
    /// Events: what runs by itself, when, and what became of it
    Event {
        #[command(subcommand)]
        verb: events::EventVerb,
    },
    /// Locations: places in which hosts stand
    Location {
        #[command(subcommand)]
        verb: locations::LocationVerb,
    },
    /// Commands: what may be run on clients, by their owners' leave
    Command {
        #[command(subcommand)]
        verb: commands::CommandVerb,
    },
    /// Restore drills: restoring for a test, with signed evidence
    Drill {
        #[command(subcommand)]
        verb: drills::DrillVerb,
    },
    /// Notifications: whom the server tells what ended and what is missing
    Notification {
        #[command(subcommand)]
        verb: notifications::NotificationVerb,
    },
    /// Identity providers: by whom people sign in, and what their groups may
    IdentityProvider {
        #[command(subcommand)]
        verb: identity_providers::IdentityProviderVerb,
    },
    /// Schedules: when things run; and the plan of what will run
    Schedule {
        #[command(subcommand)]
        verb: schedules::ScheduleVerb,
    },
    /// Calendars: days under a name, such as holidays
    Calendar {
        #[command(subcommand)]
        verb: schedules::CalendarVerb,
    },
    /// The queue: what waits and why; pausing all, limits
    Queue {
        #[command(subcommand)]
        verb: Option<queue::QueueVerb>,
    },
    /// Access tokens: with which other people's tools store and read raw streams
    Token {
        #[command(subcommand)]
        verb: tokens::TokenVerb,
    },
    /// Datastores and their drives: where savesets are kept
    Datastore {
        #[command(subcommand)]
        verb: datastores::DatastoreVerb,
    },
    /// Drive groups: drives of which jobs use whichever is free
    DriveGroup {
        #[command(subcommand)]
        verb: drive_groups::DriveGroupVerb,
    },
    /// Media pools: how long savesets live, and where they go
    Pool {
        #[command(subcommand)]
        verb: pools::PoolVerb,
    },
    /// Retention: what expires, and deleting it
    Retention {
        #[command(subcommand)]
        verb: retention::RetentionVerb,
    },
    /// Approvals: acts that need a second person
    Approval {
        #[command(subcommand)]
        verb: approvals::ApprovalVerb,
    },
    /// Interfaces: by which addresses backup data goes
    Interface {
        #[command(subcommand)]
        verb: interfaces::InterfaceVerb,
    },
    /// Rate limits: how fast data may go, and when
    Rate {
        #[command(subcommand)]
        verb: rates::RateVerb,
    },
    /// Replications: copies of savesets in other datastores, and healing one from another
    Replication {
        #[command(subcommand)]
        verb: replications::ReplicationVerb,
    },
    /// Migrations: savesets that move to another pool or datastore
    Migration {
        #[command(subcommand)]
        verb: migrations::MigrationVerb,
    },
    /// Configuration as a file: print it, compare it, apply it
    Config {
        #[command(subcommand)]
        verb: config::ConfigVerb,
    },
    /// The recovery kit, and who holds keys
    Key {
        #[command(subcommand)]
        verb: keys::KeyVerb,
    },
    /// Users: who may ask the server from elsewhere, and what
    User {
        #[command(subcommand)]
        verb: users::UserVerb,
    },
    /// API tokens: with which programs and command lines ask the server from elsewhere
    ApiToken {
        #[command(subcommand)]
        verb: api_tokens::ApiTokenVerb,
    },
    /// The audit log: who did what
    Audit {
        #[command(subcommand)]
        verb: audit::AuditVerb,
    },
}

/// Runs a verb to its exit status.
pub fn run(verb: Verb, console: Way, common: &CommonArguments) -> Result<u8, Failure> {
    asking(console, common, async |cx| match verb {
        Verb::Status => status::run(cx).await,
        Verb::Report(arguments) => report::run(cx, arguments).await,
        Verb::Backup(arguments) => backup::run(cx, arguments).await,
        Verb::Savesets(arguments) => savesets::list(cx, arguments).await,
        Verb::Saveset(arguments) => savesets::saveset(cx, arguments).await,
        Verb::Ls(arguments) => browse::ls(cx, arguments).await,
        Verb::Find(arguments) => browse::find(cx, arguments).await,
        Verb::Search(arguments) => search::search(cx, arguments).await,
        Verb::History(arguments) => search::history(cx, arguments).await,
        Verb::Diff(arguments) => browse::diff(cx, arguments).await,
        Verb::Restore(arguments) => restore::run(cx, arguments).await,
        Verb::Verify(arguments) => verify::run(cx, arguments).await,
        Verb::Jobs(arguments) => jobs::list(cx, arguments).await,
        Verb::Job { verb } => jobs::run(cx, verb).await,
        Verb::Logs(arguments) => jobs::logs(cx, arguments).await,
        Verb::Task { verb } => tasks::run(cx, verb).await,
        Verb::TaskGroup { verb } => schedules::run_group(cx, verb).await,
        Verb::Event { verb } => events::run(cx, verb).await,
        Verb::Location { verb } => locations::run(cx, verb).await,
        Verb::Command { verb } => commands::run(cx, verb).await,
        Verb::Drill { verb } => drills::run(cx, verb).await,
        Verb::Notification { verb } => notifications::run(cx, verb).await,
        Verb::IdentityProvider { verb } => identity_providers::run(cx, verb).await,
        Verb::Schedule { verb } => schedules::run(cx, verb).await,
        Verb::Calendar { verb } => schedules::run_calendar(cx, verb).await,
        Verb::Queue { verb } => queue::run(cx, verb).await,
        Verb::Token { verb } => tokens::run(cx, verb).await,
        Verb::Datastore { verb } => datastores::run(cx, verb).await,
        Verb::DriveGroup { verb } => drive_groups::run(cx, verb).await,
        Verb::Pool { verb } => pools::run(cx, verb).await,
        Verb::Retention { verb } => retention::run(cx, verb).await,
        Verb::Approval { verb } => approvals::run(cx, verb).await,
        Verb::Interface { verb } => interfaces::run(cx, verb).await,
        Verb::Rate { verb } => rates::run(cx, verb).await,
        Verb::Replication { verb } => replications::run(cx, verb).await,
        Verb::Migration { verb } => migrations::run(cx, verb).await,
        Verb::Config { verb } => config::run(cx, verb).await,
        Verb::Key { verb } => keys::run(cx, verb).await,
        Verb::User { verb } => users::run(cx, verb).await,
        Verb::ApiToken { verb } => api_tokens::run(cx, verb).await,
        Verb::Audit { verb } => audit::run(cx, verb).await,
    })
}

/// Runs a verb of `simsim client`.
pub fn run_client(verb: ClientVerb, console: Way, common: &CommonArguments) -> Result<u8, Failure> {
    asking(console, common, async |cx| clients::run(cx, verb).await)
}

fn asking(
    console: Way,
    common: &CommonArguments,
    verb: impl AsyncFnOnce(&Context) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cx = Context::new(console, common);
    let status = runtime.block_on(verb(&cx))?;
    cx.screen.flush()?;
    Ok(status)
}

/// A command line that was not understood, as any other failure: the first words of the complaint,
/// and its tips as what to do next.
pub fn usage_failure(error: &clap::Error) -> Failure {
    use clap::error::ErrorKind;
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(Kind::Invalid, "the command line ends before it says what to do")
            .next("what there is: simsim --help");
    }
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = words(parts.next().unwrap_or_default());
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let tips = parts.filter_map(|part| part.trim_start().strip_prefix("tip: ")).map(words);
    tips.fold(Failure::new(Kind::Invalid, message), Failure::next)
        .next("how it is used: simsim --help")
}

/// Tells on standard error what went wrong, where, and what to do next; for programs as one
/// document.
pub fn tell(failure: &Failure, common: &CommonArguments) {
    if failure.is_quiet() {
        return;
    }
    let screen = common.screen();
    if screen.is_json() {
        let document = serde_json::json!({ "error": {
            "kind": failure.kind.as_str(),
            "status": failure.status(),
            "message": failure.message,
            "details": failure.details.iter().map(|line| line.render(false)).collect::<Vec<_>>(),
            "next": failure.next,
        }});
        eprintln!("{document}");
        return;
    }
    screen.aside(Text::styled(Style::Bad, "simsim: ").plain(&failure.message));
    for line in &failure.details {
        screen.aside(Text::from("  ").then(line.clone()));
    }
    for sentence in &failure.next {
        screen.aside(Text::new().dim("  → ").plain(sentence));
    }
}
