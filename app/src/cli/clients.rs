//! `simsim client list | show | code | revoke | addresses | set | rotate-key`: the enrolled hosts, from the server's side.

use simsim_catalog::AccessMode;
use simsim_server::api::{
    ClientAddressesRequest, ClientPlaceRequest, ClientRequest, ClientSetRequest, ClientView,
    ClientWakeRequest, CommandListRequest, CommandView, JoinCodeReply, JoinCodeRequest,
    KeyRotatedReply, RevokeReply, RotateKeyRequest, TaskListRequest, TaskView, WakeAddress,
};

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{ago, counted, when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum ClientVerb {
    /// List enrolled hosts, and whether they are reached
    List(lists::Clients),
    /// Show all about a client, and what uses it
    Show {
        /// The client
        name: String,
    },
    /// Make a one-time code with which a host can join
    Code {
        /// The only name that may join with it; an enrolled client of that name is renewed
        name: Option<String>,
        /// For a host that calls this server because nobody can dial it (access mode OUTBOUND), and for no
        /// other: it joins where it calls, and needs no other port of the server
        #[arg(long)]
        outbound: bool,
    },
    /// Take all rights from a client, now; its savesets stay
    Revoke {
        /// The client
        name: String,
    },
    /// Change where a client is dialled
    Addresses {
        /// The client
        name: String,
        /// Host names or addresses, in order of preference
        #[arg(required = true, value_name = "HOST")]
        addresses: Vec<String>,
        /// The port on which it listens for the server's orders
        #[arg(long)]
        port: Option<u16>,
    },
    /// Change how a client is steered
    Set {
        /// The client
        name: String,
        /// smssh: over SSH. ctrl: over plain TCP, authenticated but not encrypted; the client's
        /// settings must enable it. outbound: the client calls this server, and is told so with
        /// 'client join --outbound'. The client is reached in this mode and in no other
        #[arg(long, value_name = "MODE")]
        access_mode: AccessMode,
        /// The port on which it listens in this mode
        #[arg(long)]
        port: Option<u16>,
    },
    /// Say in which location a host stands
    Place {
        /// The client
        name: String,
        /// The location; 'none': nowhere
        location: String,
    },
    /// Wake a host that sleeps; with --card, say how it is woken whenever a job waits for it
    Wake {
        /// The client
        name: String,
        /// The address of its network card, such as 00:1b:44:11:3a:b7; 'none': it is woken no more
        #[arg(long, value_name = "ADDRESS")]
        card: Option<String>,
        /// Where the packet goes, such as 192.0.2.255:9 [default: everybody in the server's network]
        #[arg(long, value_name = "ADDRESS:PORT", requires = "card")]
        to: Option<String>,
    },
    /// Give a host another TLS key and certificate, by which others know it at ports with TLS
    RotateKey {
        /// The host; the server's own as well
        name: String,
        /// The old key was stolen: jobs that began with it and have to dial again fail
        #[arg(long)]
        now: bool,
    },
}

pub async fn run(cx: &Context, verb: ClientVerb) -> Result<u8, Failure> {
    match verb {
        ClientVerb::List(wanted) => {
            let request = wanted.request();
            let clients: Vec<ClientView> = cx.ask("client.list", &request).await?;
            cx.show(&clients, |screen, clients| {
                if clients.is_empty() {
                    lists::nothing(screen, &request, "no clients");
                    return Ok(());
                }
                list_text(screen, clients)
            })?;
        }
        ClientVerb::Show { name } => {
            let client: ClientView = cx.ask("client.show", &ClientRequest { name }).await?;
            let of_it = Some(client.name.clone());
            let tasks = TaskListRequest { client: of_it.clone(), ..TaskListRequest::default() };
            let tasks: Vec<TaskView> = cx.beside("task.list", &tasks).await?;
            let commands = CommandListRequest { client: of_it, ..CommandListRequest::default() };
            let commands: Vec<CommandView> = cx.beside("command.list", &commands).await?;
            cx.show(&client, |screen, client| detail(screen, client, &tasks, &commands))?;
        }
        ClientVerb::Code { name, outbound } => {
            let request = JoinCodeRequest { name, outbound };
            let reply: JoinCodeReply = cx.ask("client.join-code", &request).await?;
            cx.show(&reply, code_text)?;
        }
        ClientVerb::Revoke { name } => {
            let reply: RevokeReply = cx.ask("client.revoke", &ClientRequest { name }).await?;
            cx.show(&reply, |screen, reply| {
                let ended = match reply.jobs_ended.len() as u64 {
                    0 => "no job of it was open".to_owned(),
                    jobs => format!("{} of it ended", counted(jobs, "job")),
                };
                screen.line(format!("client '{}' is revoked; {ended}", reply.client.name))?;
                if !reply.still_named_by.is_empty() {
                    screen.aside(format!(
                        "it is still named by {}: change or remove what is to go on without it",
                        reply.still_named_by.join(", ")
                    ));
                }
                Ok(())
            })?;
        }
        ClientVerb::Addresses { name, addresses, port } => {
            let request = ClientAddressesRequest { name, addresses, listen_port: port };
            let client: ClientView = cx.ask("client.addresses", &request).await?;
            cx.show(&client, |screen, client| list_text(screen, std::slice::from_ref(client)))?;
        }
        ClientVerb::Set { name, access_mode, port } => {
            let request = ClientSetRequest { name, access_mode, port };
            let client: ClientView = cx.ask("client.set", &request).await?;
            cx.show(&client, |screen, client| list_text(screen, std::slice::from_ref(client)))?;
        }
        ClientVerb::Place { name, location } => {
            let location = Some(location).filter(|name| name != "none");
            let request = ClientPlaceRequest { name, location };
            let client: ClientView = cx.ask("client.place", &request).await?;
            cx.show(&client, |screen, client| list_text(screen, std::slice::from_ref(client)))?;
        }
        ClientVerb::Wake { name, card: None, .. } => {
            let client: ClientView = cx.ask("client.wake", &ClientRequest { name }).await?;
            cx.show(&client, |screen, client| {
                screen.line(format!("a packet that wakes '{}' was sent", client.name))
            })?;
        }
        ClientVerb::Wake { name, card: Some(card), to } => {
            let wake = (card != "none").then_some(WakeAddress { card, to });
            let request = ClientWakeRequest { name, wake };
            let client: ClientView = cx.ask("client.set-wake", &request).await?;
            cx.show(&client, |screen, client| {
                screen.line(match &client.wake {
                    Some(wake) => format!("'{}' is woken at {}", client.name, wake.card),
                    None => format!("'{}' is not woken any more", client.name),
                })
            })?;
        }
        ClientVerb::RotateKey { name, now } => {
            let request = RotateKeyRequest { name, now };
            let reply: KeyRotatedReply = cx.ask("client.rotate-key", &request).await?;
            cx.show(&reply, |screen, reply| {
                screen.line(format!(
                    "'{}' shows TLS key {} now, and no more {}",
                    reply.client, reply.tls_key, reply.former_tls_key
                ))?;
                if !now {
                    screen.line("what is under way finds the old key until it ends, for 8 days at most")?;
                }
                screen.line(match reply.certificate_until_unix_ms {
                    Some(until) => {
                        format!("with a certificate of the suite's authority, good until {}", when(until))
                    }
                    None => "with no certificate of the suite's authority: 'simsim interface set' gives \
                             the host a name for one"
                        .to_owned(),
                })
            })?;
        }
    }
    Ok(exit::DONE)
}

fn code_text(screen: &Screen, reply: &JoinCodeReply) -> Result<(), Failure> {
    let whom = match &reply.name {
        Some(name) => format!("On the host that becomes '{name}', type:"),
        None => "On the host that joins, type:".to_owned(),
    };
    screen.line(whom)?;
    screen.line("")?;
    screen.line(Text::from("  ").bold(&reply.command))?;
    screen.line("")?;
    screen.line(Text::new().dim(format!("It serves once, until {}.", when(reply.expires_unix_ms))))
}

/// The table, and beneath it what no column has room for: why somebody is not reached, and what
/// somebody should know for as long as it is so.
fn list_text(screen: &Screen, clients: &[ClientView]) -> Result<(), Failure> {
    screen.table(&table(clients))?;
    remarks(screen, clients)
}

fn remarks(screen: &Screen, clients: &[ClientView]) -> Result<(), Failure> {
    for client in clients.iter().filter(|client| !client.connected && client.state == "enrolled") {
        if let Some(trouble) = &client.trouble {
            let prefix = format!("{}: ", client.name);
            let why = trouble.strip_prefix(&prefix).unwrap_or(trouble);
            screen.line(Text::styled(Style::Warn, format!("{prefix}{why}")))?;
        }
    }
    for warning in clients.iter().filter_map(|client| client.warning.as_deref()) {
        screen.line(Text::styled(Style::Warn, format!("warning: {warning}")))?;
    }
    Ok(())
}

fn detail(
    screen: &Screen,
    client: &ClientView,
    tasks: &[TaskView],
    commands: &[CommandView],
) -> Result<(), Failure> {
    screen.line(Text::new().bold("Client ").bold(&client.name))?;
    let moment = |at: Option<i64>| at.map_or_else(Text::new, |at| when_exactly(at).into());
    let port = match client.access_mode {
        AccessMode::Smssh => Some(client.listen_port),
        AccessMode::Ctrl => Some(client.ctrl_port),
        AccessMode::Outbound => None,
    };
    let tasks: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    let commands: Vec<&str> = commands.iter().map(|command| command.name.as_str()).collect();
    screen.lines(facts(&[
        ("state", state(client)),
        ("mode", mode(client)),
        ("addresses", client.addresses.join(" ").into()),
        ("port", port.map_or_else(Text::new, |port| port.to_string().into())),
        ("roles", client.roles.join(" ").into()),
        ("platform", client.platform.as_str().into()),
        ("version", client.suite_version.as_str().into()),
        ("host key", client.fingerprint.as_str().into()),
        ("location", client.location.as_deref().unwrap_or_default().into()),
        ("woken at", client.wake.as_ref().map_or_else(Text::new, |wake| wake.card.as_str().into())),
        ("tasks", tasks.join(", ").into()),
        ("commands", commands.join(", ").into()),
        ("enrolled", when_exactly(client.enrolled_unix_ms).into()),
        ("revoked", moment(client.revoked_unix_ms)),
        ("last seen", moment(client.last_seen_unix_ms)),
    ]))?;
    remarks(screen, std::slice::from_ref(client))
}

fn state(client: &ClientView) -> Text {
    match (client.state.as_str(), client.connected) {
        ("enrolled", true) => Text::styled(Style::Good, "reached"),
        ("enrolled", false) => Text::styled(Style::Warn, "not reached"),
        (other, _) => Text::styled(Style::Bad, other),
    }
}

fn mode(client: &ClientView) -> Text {
    match client.access_mode {
        AccessMode::Smssh | AccessMode::Outbound => client.access_mode.as_str().into(),
        AccessMode::Ctrl => Text::styled(Style::Warn, "ctrl, not encrypted"),
    }
}

fn table(clients: &[ClientView]) -> Table {
    let mut table = Table::new([
        Column::new("CLIENT").cut_to(10),
        Column::new("STATE"),
        Column::new("MODE"),
        Column::new("ROLES").rank(3),
        Column::new("ADDRESSES").cut_to(12).rank(2),
        Column::new("LAST SEEN").rank(1),
        Column::new("PLATFORM").rank(4),
        Column::new("VERSION").rank(5),
    ]);
    for client in clients {
        table.row([
            Text::new().bold(&client.name),
            state(client),
            mode(client),
            client.roles.join(" ").into(),
            client.addresses.join(" ").into(),
            client.last_seen_unix_ms.map_or_else(Text::new, |at| ago(at).into()),
            client.platform.as_str().into(),
            client.suite_version.as_str().into(),
        ]);
    }
    table
}
