//! `simsim key`: the recovery kit, and who holds domain keys.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use simsim_format::{KitOwner, KitPage};
use simsim_model::Kind;
use simsim_server::api::{
    CreateDomainRequest, DomainView, KeyRecoverReply, KeyRecoverRequest, KitProofReply,
    KitProofRequest, KitReply,
};
use zeroize::Zeroizing;

use super::context::Context;
use super::kit;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text, plain};
use super::words::{counted, when};
use crate::exit::{self, Failure};

/// Wrong answers before the proof is put off.
const TRIES: usize = 3;

#[derive(clap::Subcommand, Debug)]
pub enum KeyVerb {
    /// The recovery kit: with it and a copy of a datastore everything can be restored; on a client
    /// that of the keys which it alone holds
    Kit {
        #[command(subcommand)]
        verb: KitVerb,
    },
    /// On a client that lost the keys which it alone held: bring them back with its recovery kit
    Recover {
        /// The file with the client's kit; '-' reads standard input [default: its groups are asked
        /// for]
        #[arg(long, value_name = "FILE")]
        kit: Option<PathBuf>,
    },
    /// Domains: one for each datastore and owner, with a key of its own
    Domain {
        #[command(subcommand)]
        verb: DomainVerb,
    },
}

#[derive(clap::Subcommand, Debug)]
pub enum KitVerb {
    /// Make a kit in place of the one before; it is shown once
    New {
        /// Write the page to print to this new file instead of the screen; one that ends in .html
        /// becomes HTML
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Ask for no proof that it was kept, and say so
        #[arg(long)]
        yes: bool,
    },
    /// Show that the kit was kept, by typing some of its groups
    Prove {
        /// The groups that are asked for, instead of typing them when asked
        #[arg(value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Make the page to print from a kit that is at hand; needs no server
    Print {
        /// The file with the kit; '-' reads standard input
        #[arg(long, value_name = "FILE")]
        kit: PathBuf,
        /// As HTML
        #[arg(long)]
        html: bool,
    },
}

#[derive(clap::Subcommand, Debug)]
pub enum DomainVerb {
    /// List domains, and who holds their keys
    List,
    /// Decide, before a client's first backup, who holds its key
    Create {
        /// The client that owns the data
        client: String,
        /// The datastore [default: the only one]
        #[arg(long)]
        datastore: Option<String>,
        /// 'client': the server never has the key, and can neither look into these savesets nor
        /// restore them to another host
        #[arg(long, value_name = "WHO", default_value = "server")]
        held_by: Holder,
    },
}

/// Who holds a domain's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Holder {
    Server,
    Client,
}

pub async fn run(cx: &Context, verb: KeyVerb) -> Result<u8, Failure> {
    match verb {
        KeyVerb::Kit { verb: KitVerb::New { file, yes } } => new(cx, file.as_deref(), yes).await,
        KeyVerb::Kit { verb: KitVerb::Prove { groups } } => prove(cx, groups).await,
        KeyVerb::Kit { verb: KitVerb::Print { kit: file, html } } => {
            let kit = kit::parse(&kit::read_text(&file)?)?;
            let groups = Zeroizing::new(kit.groups());
            let page = KitPage { owner: &KitOwner::Unknown, groups: &groups };
            let page = if html { page.html() } else { page.text() };
            if cx.screen.is_json() {
                let form = if html { "html" } else { "text" };
                cx.screen.document(&json!({ "groups": *groups, form: page.as_str() }))?;
            } else {
                cx.screen.bytes(page.as_bytes())?;
            }
            Ok(exit::DONE)
        }
        KeyVerb::Domain { verb: DomainVerb::List } => {
            let domains: Vec<DomainView> = cx.ask_plain("key.domains").await?;
            cx.show(&domains, |screen, domains| {
                if domains.is_empty() {
                    screen.aside("no domains; the first backup of a client makes its own");
                    return Ok(());
                }
                screen.table(&table(domains))
            })?;
            Ok(exit::DONE)
        }
        KeyVerb::Domain { verb: DomainVerb::Create { client, datastore, held_by } } => {
            let request = CreateDomainRequest {
                client,
                datastore,
                held_by_client: held_by == Holder::Client,
            };
            let domain: DomainView = cx.ask("key.domain", &request).await?;
            cx.show(&domain, |screen, domain| {
                screen.table(&table(std::slice::from_ref(domain)))?;
                held_text(screen, domain)
            })?;
            Ok(exit::DONE)
        }
        KeyVerb::Recover { kit: file } => recover(cx, file.as_deref()).await,
    }
}

async fn new(cx: &Context, file: Option<&Path>, yes: bool) -> Result<u8, Failure> {
    if let Some(file) = file.filter(|file| file.symlink_metadata().is_ok()) {
        // Before a kit is made that could not be written down.
        let text = format!("the file {} exists already", plain(&file.to_string_lossy()));
        return Err(Failure::new(Kind::Invalid, text)
            .next("name a file that does not exist yet: a kit is never written over another one"));
    }
    let reply: KitReply = cx.ask_plain("key.kit").await?;
    if cx.screen.is_json() {
        cx.screen.document(&reply)?;
        return Ok(exit::DONE);
    }
    let name = plain(&reply.name).into_owned();
    let owner = match &reply.fingerprint {
        Some(fingerprint) => KitOwner::Server { name, fingerprint: fingerprint.clone() },
        None => KitOwner::Client { name },
    };
    let kit = KitPage { owner: &owner, groups: &reply.groups };
    let html = file.is_some_and(|file| file.extension().is_some_and(|end| end == "html"));
    let page = if html { kit.html() } else { kit.text() };
    match file {
        Some(file) => {
            if let Err(failure) = kit::write_page(file, &page) {
                // It exists at the server already: better on the screen than nowhere.
                cx.screen.bytes(kit.text().as_bytes())?;
                return Err(failure);
            }
            let file = plain(&file.to_string_lossy()).into_owned();
            cx.screen.line(Text::from("the recovery kit is in ").bold(&file))?;
            cx.screen.line("print it, keep the page in a safe place, and remove the file")?;
        }
        None => cx.screen.bytes(page.as_bytes())?,
    }
    cx.screen.line("")?;
    cx.screen.line(format!("It opens {}.", counted(reply.domains, "domain")))?;
    if !reply.pending.is_empty() {
        let names = reply.pending.join(", ");
        let text = format!("Not reached, and brought up to date when they are: {names}");
        cx.screen.line(Text::styled(Style::Warn, text))?;
    }
    cx.screen.flush()?;
    if yes || !cx.screen.can_ask() {
        let why = if yes { "--yes" } else { "nobody to ask" };
        cx.screen.aside(Text::styled(
            Style::Warn,
            format!("skipped ({why}): proof that the kit was kept; later: simsim key kit prove"),
        ));
        return Ok(exit::DONE);
    }
    prove(cx, Vec::new()).await
}

/// What is to be done on a client that holds a key alone now.
fn held_text(screen: &Screen, domain: &DomainView) -> Result<(), Failure> {
    let (Some(held), Some(owner)) = (&domain.held, &domain.owner) else { return Ok(()) };
    if held.kit_proven_unix_ms.is_some() {
        return Ok(());
    }
    screen.line("")?;
    screen.line(format!(
        "The key lies on '{owner}' alone. Without it, or the recovery kit made there, nobody can read"
    ))?;
    screen.line("these savesets, not even this server. The kit, to be printed on that host:")?;
    for page in &held.kit_pages {
        screen.line(Text::from("  ").bold(page))?;
    }
    screen.line("Then, still there, show that it is kept:")?;
    screen.line(Text::from("  ").bold("simsim key kit prove"))?;
    screen.aside(Text::styled(
        Style::Warn,
        "not shown yet: that the kit is kept; 'simsim status' says so until it is",
    ));
    Ok(())
}

async fn recover(cx: &Context, file: Option<&Path>) -> Result<u8, Failure> {
    let kit = match file {
        Some(file) => kit::read_text(file)?,
        None if cx.screen.can_ask() => Zeroizing::new(kit::ask()?.groups().join("-")),
        None => {
            return Err(Failure::new(Kind::Invalid, "the client's recovery kit is needed")
                .next("name the file with it: --kit FILE, or --kit - for standard input"));
        }
    };
    let request = KeyRecoverRequest { kit: kit.to_string() };
    let reply: KeyRecoverReply = cx.ask("key.recover", &request).await.map_err(|failure| {
        match failure.message.contains("no verb 'key.recover'") {
            true => {
                Failure::new(Kind::Invalid, "a server's own keys are not brought back this way")
                    .next("on the client that lost its keys: simsim key recover")
                    .next("at a new server: simsim datastore rebuild-catalog --kit FILE")
            }
            false => failure,
        }
    })?;
    cx.show(&reply, |screen, reply| {
        let keys = counted(reply.brought, "key");
        screen.line(match (reply.brought, reply.held) {
            (0, 0) => "no key was brought back".to_owned(),
            (0, held) => format!("nothing was lost: {} held here", counted(held, "key")),
            (_, 0) => format!("{keys} brought back"),
            (_, held) => format!("{keys} brought back, {held} held all the time"),
        })
    })?;
    if reply.sealed == 0 {
        return Ok(exit::DONE);
    }
    let text = format!("this kit does not open {}", counted(reply.sealed, "domain"));
    Err(Failure::new(Kind::Denied, text)
        .next("it is the kit of another host, or one that was replaced by a newer one"))
}

async fn prove(cx: &Context, groups: Vec<String>) -> Result<u8, Failure> {
    let mut asked: Vec<usize> = cx.ask_plain("key.question").await?;
    if asked.is_empty() {
        return cx
            .show(&KitProofReply { proven: true, asked }, |screen, _| {
                screen.line("nothing is asked: there is no new kit, or it was shown to be kept")
            })
            .map(|()| exit::DONE);
    }
    let given = !groups.is_empty();
    if !given && !cx.screen.can_ask() {
        let text = format!("groups {} of the kit are asked for", numbers(&asked));
        return Err(Failure::new(Kind::Invalid, text)
            .next("give them in this order: simsim key kit prove GROUP GROUP"));
    }
    let mut groups = groups;
    for _ in 0..TRIES {
        if !given {
            match ask_groups(&asked)? {
                Some(typed) => groups = typed,
                None => {
                    cx.screen
                        .aside(Text::styled(Style::Warn, "put off; later: simsim key kit prove"));
                    return Ok(exit::DONE);
                }
            }
        }
        let request = KitProofRequest { groups: groups.clone() };
        let reply: KitProofReply = cx.ask("key.prove", &request).await?;
        if reply.proven || cx.screen.is_json() {
            cx.show(&reply, |screen, _| {
                screen.line(Text::styled(Style::Good, "the recovery kit is kept"))
            })?;
            return Ok(if reply.proven { exit::DONE } else { exit::of_kind(Kind::Denied) });
        }
        asked = reply.asked;
        if given {
            break;
        }
        eprintln!("That is not what stands there.");
    }
    let text =
        format!("the kit was not shown to be kept; groups {} are asked for now", numbers(&asked));
    Err(Failure::new(Kind::Denied, text)
        .next("once more: simsim key kit prove")
        .next("if it is lost, make a new one: simsim key kit new"))
}

/// `None` for an empty answer: not now.
fn ask_groups(asked: &[usize]) -> Result<Option<Vec<String>>, Failure> {
    eprintln!("To show that you keep it, type these groups from the page (Enter alone: not now).");
    let mut groups = Vec::new();
    for place in asked {
        eprint!("group {place}: ");
        let _ = std::io::stderr().flush();
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line)?;
        let typed = line.trim();
        if typed.is_empty() {
            return Ok(None);
        }
        groups.push(typed.to_owned());
    }
    Ok(Some(groups))
}

fn numbers(places: &[usize]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn table(domains: &[DomainView]) -> Table {
    let mut table = Table::new([
        Column::new("OWNER").cut_to(8),
        Column::new("DATASTORE").cut_to(8),
        Column::new("KEY HELD BY"),
        Column::new("ITS KIT").rank(3),
        Column::new("MADE").rank(1),
        Column::new("DOMAIN").rank(2),
    ]);
    for domain in domains {
        let style = if domain.key_held_by == "nobody" { Style::Bad } else { Style::Plain };
        table.row([
            domain.owner.as_deref().map_or_else(|| Text::new().dim("unknown"), Text::from),
            domain.datastore.as_str().into(),
            Text::styled(style, &domain.key_held_by),
            match &domain.held {
                None => Text::new(),
                Some(held) if held.lost => Text::styled(Style::Bad, "key lost there"),
                Some(held) if held.kit_proven_unix_ms.is_some() => {
                    Text::styled(Style::Good, "kept")
                }
                Some(_) => Text::styled(Style::Warn, "not shown to be kept"),
            },
            when(domain.created_unix_ms).into(),
            Text::new().dim(domain.domain.to_string()),
        ]);
    }
    table
}
