//! `simsim interface list | show | set | choose`: by which addresses backup data goes.

use simsim_server::api::{
    AuthorityRequest, AuthorityView, ChooseInterfacesRequest, InterfaceHostRequest, InterfacesView,
    SetInterfacesReply, SetInterfacesRequest,
};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::when;
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum InterfaceVerb {
    /// List the interfaces of the hosts that take data
    List,
    /// Show the interfaces of one host, who chose them, and by which its own data goes
    Show {
        /// The host
        host: String,
    },
    /// Print the certificate of the suite's authority, for tools such as curl --cacert FILE
    #[command(args_conflicts_with_subcommands = true)]
    Authority {
        #[command(subcommand)]
        verb: Option<AuthorityVerb>,
    },
    /// Give a host these interfaces, in order of preference; without any: back to HTTP at its
    /// addresses
    Set {
        /// The host
        host: String,
        /// Such as https://vault, http://192.0.2.1:8000 or ftp://vault?mode=active; a bare host means
        /// FTP
        #[arg(value_name = "INTERFACE")]
        interfaces: Vec<String>,
    },
    /// Let a client's data go by these interfaces, in order; without any: whatever the device has
    Choose {
        /// The client whose data it is
        client: String,
        /// Interfaces, or protocols: http, https, ftp, ftpes (FTP with TLS), drive
        #[arg(value_name = "INTERFACE|PROTOCOL")]
        choices: Vec<String>,
    },
}

#[derive(clap::Subcommand, Debug)]
pub enum AuthorityVerb {
    /// Make another authority; tools that trust the old one go on until 'finish', a year at most
    Rotate {
        /// The old key was stolen: tools that trust only the old authority are refused at once
        #[arg(long)]
        now: bool,
    },
    /// Give the old authority up, once every tool trusts the new one
    Finish {
        /// Also while hosts still show certificates of the old authority
        #[arg(long)]
        now: bool,
    },
}

pub async fn run(cx: &Context, verb: InterfaceVerb) -> Result<u8, Failure> {
    match verb {
        InterfaceVerb::List => {
            let views: Vec<InterfacesView> = cx.ask_plain("interface.list").await?;
            cx.show(&views, |screen, views| screen.table(&table(views)))?;
        }
        InterfaceVerb::Show { host } => {
            let request = InterfaceHostRequest { host };
            let view: InterfacesView = cx.ask("interface.show", &request).await?;
            cx.show(&view, detail)?;
        }
        InterfaceVerb::Authority { verb: None } => {
            let view: AuthorityView = cx.ask_plain("interface.authority").await?;
            cx.show(&view, |screen, view| {
                for line in authority_lines(view) {
                    screen.aside(line);
                }
                screen.line(view.certificate.trim_end())
            })?;
        }
        InterfaceVerb::Authority { verb: Some(verb) } => {
            let (name, now) = match verb {
                AuthorityVerb::Rotate { now } => ("authority.rotate", now),
                AuthorityVerb::Finish { now } => ("authority.finish", now),
            };
            let view: AuthorityView = cx.ask(name, &AuthorityRequest { now }).await?;
            cx.show(&view, |screen, view| {
                screen.line(format!("the authority that signs: SHA-256 {}", view.fingerprint))?;
                for line in authority_lines(view) {
                    screen.line(line)?;
                }
                if name == "authority.rotate" {
                    screen.line("for tools: simsim interface authority > simsim-ca.pem")?;
                }
                Ok(())
            })?;
        }
        InterfaceVerb::Set { host, interfaces } => {
            let request = SetInterfacesRequest { host, interfaces };
            let reply: SetInterfacesReply = cx.ask("interface.set", &request).await?;
            cx.show(&reply, |screen, reply| {
                for warning in &reply.warnings {
                    screen.aside(warning.as_str());
                }
                screen.table(&table(std::slice::from_ref(&reply.view)))
            })?;
        }
        InterfaceVerb::Choose { client, choices } => {
            let request = ChooseInterfacesRequest { client, choices };
            let view: InterfacesView = cx.ask("interface.choose", &request).await?;
            cx.show(&view, |screen, view| screen.line(goes_by(view)))?;
        }
    }
    Ok(exit::DONE)
}

fn detail(screen: &Screen, view: &InterfacesView) -> Result<(), Failure> {
    if view.interfaces.is_empty() {
        let text = format!("'{}' takes no data: it has no interfaces", view.host);
        screen.line(Text::new().dim(text))?;
    } else {
        screen.table(&table(std::slice::from_ref(view)))?;
    }
    screen.line(goes_by(view))
}

fn goes_by(view: &InterfacesView) -> String {
    match view.choices.is_empty() {
        true => format!("data of '{}' goes by what the device has", view.host),
        false => format!("data of '{}' goes by {}", view.host, view.choices.join(", ")),
    }
}

/// What is under way.
fn authority_lines(view: &AuthorityView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(transition) = &view.transition {
        lines.push(format!(
            "a rotation is under way: tools that trust only the old authority go on until {}, or until \
             'simsim interface authority finish'",
            when(transition.ends_unix_ms)
        ));
    }
    if !view.behind.is_empty() {
        lines.push(format!(
            "still with a certificate of the old authority, because not reached since: {}",
            view.behind.join(", ")
        ));
    }
    lines
}

fn table(views: &[InterfacesView]) -> Table {
    let mut table = Table::new([
        Column::new("HOST").cut_to(10),
        Column::new("INTERFACE"),
        Column::new("FROM").rank(2),
        Column::new("CHOSEN BY").cut_to(16).rank(1),
    ]);
    for view in views {
        for one in &view.interfaces {
            let from = match view.set {
                true => Text::from("set"),
                false => Text::styled(Style::Dim, "default"),
            };
            table.row([
                Text::new().bold(&view.host),
                one.url.as_str().into(),
                from,
                one.chosen_by.join(", ").into(),
            ]);
        }
    }
    table
}
