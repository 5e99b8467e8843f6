//! `simsim command add | change | list | show | run | remove`: what may be run on clients.

use simsim_server::api::{CommandRequest, CommandView, JobReply, NameRequest, Status};

use super::context::Context;
use super::follow;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{self, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum CommandVerb {
    /// Name a command of a client, for events of kind command; what it runs stands in the policy of the
    /// client's owner
    Add {
        /// Its name in the suite
        name: String,
        #[command(flatten)]
        arguments: Arguments,
    },
    /// Change a command: what is given replaces what there is, the rest stays
    Change {
        /// The command
        name: String,
        #[command(flatten)]
        arguments: Arguments,
    },
    /// List commands
    List(lists::Commands),
    /// Show all about a command
    Show {
        /// The command
        name: String,
    },
    /// Run a command now
    Run {
        /// The command
        name: String,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// Remove a command that no event names
    Remove {
        /// The command
        name: String,
    },
}

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The client on which it runs [default: the server's own host]
    #[arg(long)]
    client: Option<String>,
    /// Its name in the policy of the client's owner, [commands.NAME] [default: the same name]
    #[arg(long, value_name = "NAME")]
    local_name: Option<String>,
    /// Seconds after which it is ended; 0: as the policy says, else 3600
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

pub async fn run(cx: &Context, verb: CommandVerb) -> Result<u8, Failure> {
    match verb {
        CommandVerb::Add { name, arguments } => {
            let client = match arguments.client {
                Some(client) => client,
                None => cx.ask_plain::<Status>("status").await?.own_client,
            };
            let request = CommandRequest {
                name,
                client,
                local_name: arguments.local_name,
                timeout_s: arguments.timeout.filter(|seconds| *seconds > 0),
            };
            let view: CommandView = cx.ask("command.add", &request).await?;
            cx.show(&view, detail)?;
        }
        CommandVerb::Change { name, arguments } => {
            let there: CommandView =
                cx.ask("command.show", &NameRequest { name: name.clone() }).await?;
            let timeout_s = match arguments.timeout {
                Some(seconds) => Some(seconds).filter(|seconds| *seconds > 0),
                None => there.timeout_s,
            };
            let request = CommandRequest {
                name,
                client: arguments.client.unwrap_or(there.client),
                local_name: Some(arguments.local_name.unwrap_or(there.local_name)),
                timeout_s,
            };
            let view: CommandView = cx.ask("command.change", &request).await?;
            cx.show(&view, detail)?;
        }
        CommandVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<CommandView> = cx.ask("command.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let add = "no commands; add one: simsim command add NAME --client CLIENT";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        CommandVerb::Show { name } => {
            let view: CommandView = cx.ask("command.show", &NameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        CommandVerb::Run { name, detach } => {
            let reply: JobReply = cx.ask("command.run", &NameRequest { name }).await?;
            return follow::run_to_end(cx, reply, detach).await;
        }
        CommandVerb::Remove { name } => {
            let _: () = cx.ask("command.remove", &NameRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!(
                    "command '{name}' is removed; the policy of its client stays as it is"
                ))
            })?;
        }
    }
    Ok(exit::DONE)
}

fn last(view: &CommandView) -> Text {
    match (view.last_job, &view.last_state) {
        (Some(job), Some(state)) => {
            let state = words::state(simsim_catalog::JobState::from(state.clone()));
            Text::from(format!("{job}, ")).then(state)
        }
        _ => Text::styled(Style::Dim, "never run"),
    }
}

fn table(views: &[CommandView]) -> Table {
    let mut table = Table::new([
        Column::new("COMMAND").cut_to(10),
        Column::new("CLIENT").cut_to(8),
        Column::new("ITS NAME THERE").cut_to(10).rank(1),
        Column::new("LAST RUN"),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            view.client.as_str().into(),
            view.local_name.as_str().into(),
            last(view),
        ]);
    }
    table
}

fn detail(screen: &Screen, view: &CommandView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Command ").bold(&view.name))?;
    screen.lines(facts(&[
        ("client", view.client.as_str().into()),
        ("its name there", view.local_name.as_str().into()),
        ("time limit", view.timeout_s.map_or(Text::new(), |seconds| format!("{seconds} s").into())),
        ("added", when_exactly(view.created_unix_ms).into()),
        ("last run", last(view)),
    ]))
}
