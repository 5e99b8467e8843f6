//! `simsim replication add | list | show | remove | run | heal`: copies of savesets in other datastores.

use simsim_server::api::{
    AddReplicationRequest, HealRequest, JobReply, ReplicationRequest, ReplicationView,
};

use super::context::Context;
use super::follow;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{count, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum ReplicationVerb {
    /// Copy savesets of a datastore into another one, each time that the replication is run
    Add(AddArguments),
    /// Change a replication; what is not given stays. Its datastores stay in any case
    Change {
        /// Its name
        name: String,
        #[command(flatten)]
        arguments: ChangeArguments,
    },
    /// List replications
    List,
    /// Show all about a replication
    Show {
        /// The replication
        name: String,
    },
    /// Remove a replication; the copies that it made stay
    Remove {
        /// The replication
        name: String,
    },
    /// Copy what the other datastore does not have yet, and follow it to the end
    Run {
        /// The replication
        name: String,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// Bring what a datastore has lost, as a check or a restore has found, from the other one of a
    /// replication; then check it, and put back what was damaged
    Heal {
        /// The replication
        name: String,
        /// The datastore that is damaged: either of the two
        datastore: String,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
}

#[derive(clap::Args, Debug)]
pub struct AddArguments {
    /// Its name
    name: String,
    /// The datastore whose savesets are copied
    #[arg(long, value_name = "DATASTORE")]
    from: String,
    /// The datastore that gets the copies
    #[arg(long, value_name = "DATASTORE")]
    to: String,
    /// The host of the copies dials the other one [default: the host of the originals dials]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    pull: Option<bool>,
    /// The drive, of the datastore that is dialled, whose port it is [default: its first one]
    #[arg(long, value_name = "NUMBER")]
    drive: Option<u32>,
    /// Only savesets of this client
    #[arg(long)]
    client: Option<String>,
    /// Only savesets of this task
    #[arg(long)]
    task: Option<String>,
    /// How fast, and when, by the clock of the host that dials, such as 20MB/s or 'mon-fri
    /// 08:00-18:00 5MB/s'; may be repeated, and the last one that is now counts
    #[arg(long = "limit", value_name = "RATE")]
    limits: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub struct ChangeArguments {
    /// The host of the copies dials the other one
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    pull: Option<bool>,
    /// The drive, of the datastore that is dialled, whose port it is [default: with --pull its first one]
    #[arg(long, value_name = "NUMBER")]
    drive: Option<u32>,
    /// Only savesets of this client; 'none': of any
    #[arg(long)]
    client: Option<String>,
    /// Only savesets of this task; 'none': of any
    #[arg(long)]
    task: Option<String>,
    /// How fast, and when: in place of all limits that it has; 'none': no limit
    #[arg(long = "limit", value_name = "RATE")]
    limits: Vec<String>,
}

impl ChangeArguments {
    /// What is given, over what there is.
    fn over(self, there: AddReplicationRequest) -> AddReplicationRequest {
        let named = |given: Option<String>, there: Option<String>| match given.as_deref() {
            None => there,
            Some("none") => None,
            Some(_) => given,
        };
        let pull = self.pull.unwrap_or(there.pull);
        // The drive is one of the datastore that is dialled.
        let drive = if pull == there.pull { there.drive } else { None };
        AddReplicationRequest {
            pull,
            drive: self.drive.or(drive),
            client: named(self.client, there.client),
            task: named(self.task, there.task),
            limits: match self.limits.as_slice() {
                [] => there.limits,
                [one] if one == "none" => Vec::new(),
                _ => self.limits,
            },
            ..there
        }
    }
}

/// As it is asked of a server.
pub fn request_of(view: ReplicationView) -> AddReplicationRequest {
    AddReplicationRequest {
        name: view.name,
        source: view.source,
        target: view.target,
        pull: view.pull,
        drive: Some(view.drive),
        client: view.client,
        task: view.task,
        limits: view.limits,
    }
}

pub async fn run(cx: &Context, verb: ReplicationVerb) -> Result<u8, Failure> {
    match verb {
        ReplicationVerb::Add(arguments) => {
            let AddArguments { name, from, to, pull, drive, client, task, limits } = arguments;
            let request = AddReplicationRequest {
                name,
                source: from,
                target: to,
                pull: pull.unwrap_or_default(),
                drive,
                client,
                task,
                limits,
            };
            let view: ReplicationView = cx.ask("replication.add", &request).await?;
            cx.show(&view, detail)?;
            if !cx.screen.is_json() {
                cx.screen.aside(format!("to run it: simsim replication run {}", view.name));
            }
        }
        ReplicationVerb::Change { name, arguments } => {
            let there: ReplicationView =
                cx.ask("replication.show", &ReplicationRequest { name }).await?;
            let request = arguments.over(request_of(there));
            let view: ReplicationView = cx.ask("replication.change", &request).await?;
            cx.show(&view, detail)?;
        }
        ReplicationVerb::List => {
            let views: Vec<ReplicationView> = cx.ask_plain("replication.list").await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside("no replications; add one: simsim replication add --help");
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        ReplicationVerb::Show { name } => {
            let view: ReplicationView =
                cx.ask("replication.show", &ReplicationRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        ReplicationVerb::Remove { name } => {
            let view: ReplicationView =
                cx.ask("replication.remove", &ReplicationRequest { name }).await?;
            cx.show(&view, |screen, view| {
                screen.line(format!("removed '{}'; its copies stay", view.name))
            })?;
        }
        ReplicationVerb::Run { name, detach } => {
            let reply: JobReply = cx.ask("replication.run", &ReplicationRequest { name }).await?;
            return follow::run_to_end(cx, reply, detach).await;
        }
        ReplicationVerb::Heal { name, datastore, detach } => {
            let reply: JobReply =
                cx.ask("replication.heal", &HealRequest { name, datastore }).await?;
            return follow::run_to_end(cx, reply, detach).await;
        }
    }
    Ok(exit::DONE)
}

fn table(views: &[ReplicationView]) -> Table {
    let mut table = Table::new([
        Column::new("REPLICATION").cut_to(8),
        Column::new("FROM").cut_to(8),
        Column::new("TO").cut_to(8),
        Column::new("DIALS").rank(2),
        Column::new("LIMITS").cut_to(10).rank(3),
        Column::new("SAVESETS").right().rank(1),
        Column::new("MISSING").right(),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            view.source.as_str().into(),
            view.target.as_str().into(),
            dialler(view).into(),
            view.limits.join(", ").into(),
            count(view.savesets).into(),
            missing(view),
        ]);
    }
    table
}

fn dialler(view: &ReplicationView) -> &str {
    if view.pull { &view.target_host } else { &view.source_host }
}

fn missing(view: &ReplicationView) -> Text {
    match view.missing {
        0 => Text::styled(Style::Dim, "none"),
        some => Text::from(count(some)),
    }
}

fn detail(screen: &Screen, view: &ReplicationView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Replication ").bold(&view.name))?;
    let optional = |text: &Option<String>| text.as_deref().map_or_else(Text::new, Text::from);
    let dialled = if view.pull { &view.source_host } else { &view.target_host };
    screen.lines(facts(&[
        ("from", format!("{} on '{}'", view.source, view.source_host).into()),
        ("to", format!("{} on '{}'", view.target, view.target_host).into()),
        ("dials", format!("'{}' dials '{dialled}' by drive {}", dialler(view), view.drive).into()),
        ("client", optional(&view.client)),
        ("task", optional(&view.task)),
        ("limits", view.limits.join(", ").into()),
        ("added", when_exactly(view.created_unix_ms).into()),
        ("savesets", count(view.savesets).into()),
        ("missing", missing(view)),
    ]))
}
