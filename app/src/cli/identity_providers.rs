//! `simsim identity-provider add | change | list | show | test | remove`: by whom people sign in.

use std::path::{Path, PathBuf};

use simsim_model::Kind;
use simsim_server::Granted;
use simsim_server::api::{
    GroupGrants, IdentityProviderRequest, IdentityProviderView, NameRequest, usual_groups_claim,
    usual_name_claim, usual_scopes,
};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::users::{parse_right, parse_role, waiting, words};
use super::words::when_exactly;
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum IdentityProviderVerb {
    /// Add an identity provider: people sign in by it, and may what their groups there may here
    Add {
        /// Its name, which stands on the page for logging in
        name: String,
        /// The provider's web address, exactly as it calls itself; it stays
        #[arg(long, value_name = "URL")]
        issuer: String,
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
    /// Change an identity provider: what is given replaces what there is, the rest stays
    Change {
        /// The identity provider
        name: String,
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
    /// List identity providers
    List,
    /// Show all about an identity provider, and the address to be registered there
    Show {
        /// The identity provider
        name: String,
    },
    /// Ask an identity provider now what it says of itself, and for its keys
    Test {
        /// The identity provider
        name: String,
    },
    /// Remove an identity provider by which nobody signs in any more
    Remove {
        /// The identity provider
        name: String,
    },
}

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// As this suite is registered at the provider
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The client secret: the first line of this file; '-': of standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The people of a group may this: a role, for everything or for what 'user add' names; several times for several.
    /// Replaces all groups there were
    #[arg(long, value_name = "GROUP=ROLE[:CLIENT|@LOCATION|…]", value_parser = parse_group_role)]
    group: Vec<GroupGrant>,
    /// The same with a single right
    #[arg(long, value_name = "GROUP=RIGHT[:CLIENT|@LOCATION|…]", value_parser = parse_group_right)]
    group_right: Vec<GroupGrant>,
    /// Whether a user is made at the first sign-in; else only who was added is let in: 'simsim user add NAME --provider' [default: false]
    #[arg(long, value_name = "TRUE|FALSE")]
    create_users: Option<bool>,
    /// The claim that becomes the user's name, at the first time [default: preferred_username]
    #[arg(long, value_name = "CLAIM")]
    name_claim: Option<String>,
    /// The claim with the groups; a dot leads into objects [default: groups]
    #[arg(long, value_name = "CLAIM")]
    groups_claim: Option<String>,
    /// What is asked for beside 'openid'; 'none': nothing [default: profile]
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
    /// The authority that signed the provider's certificate, PEM; 'none': whom the server's host trusts [default: none]
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Nobody signs in by it, and its users are out, until --on
    #[arg(long, conflicts_with = "on")]
    off: bool,
    /// People sign in by it again
    #[arg(long)]
    on: bool,
}

/// One thing that a group may.
#[derive(Debug, Clone)]
pub struct GroupGrant {
    group: String,
    granted: Granted,
}

/// The group stands before the last `=`, for its name may have some.
fn of_group(text: &str, parse: fn(&str) -> Result<Granted, String>) -> Result<GroupGrant, String> {
    match text.rsplit_once('=') {
        Some((group, what)) if !group.is_empty() => {
            Ok(GroupGrant { group: group.to_owned(), granted: parse(what)? })
        }
        _ => Err("write GROUP=ROLE, such as ops=operator".to_owned()),
    }
}

fn parse_group_role(text: &str) -> Result<GroupGrant, String> {
    of_group(text, parse_role)
}

fn parse_group_right(text: &str) -> Result<GroupGrant, String> {
    of_group(text, parse_right)
}

pub async fn run(cx: &Context, verb: IdentityProviderVerb) -> Result<u8, Failure> {
    match verb {
        IdentityProviderVerb::Add { name, issuer, arguments } => {
            let Some(client_id) = arguments.client_id.clone() else {
                let text = "say as what this suite is registered there: --client-id ID";
                return Err(Failure::new(Kind::Invalid, text));
            };
            let request = IdentityProviderRequest {
                name,
                enabled: true,
                issuer,
                client_id,
                secret: None,
                has_secret: false,
                scopes: usual_scopes(),
                name_claim: usual_name_claim(),
                groups_claim: usual_groups_claim(),
                groups: Vec::new(),
                creates_users: false,
                authority: None,
            };
            let request = arguments.onto(request)?;
            let view: IdentityProviderView = cx.ask("identity-provider.add", &request).await?;
            cx.show(&view, detail)?;
        }
        IdentityProviderVerb::Change { name, arguments } => {
            let there: IdentityProviderView =
                cx.ask("identity-provider.show", &NameRequest { name }).await?;
            let request = arguments.onto(request_of(there))?;
            let view: IdentityProviderView = cx.ask("identity-provider.change", &request).await?;
            cx.show(&view, detail)?;
        }
        IdentityProviderVerb::List => {
            let views: Vec<IdentityProviderView> = cx.ask_plain("identity-provider.list").await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside(
                        "no identity providers; add one: simsim identity-provider add NAME --issuer URL --client-id ID",
                    );
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        IdentityProviderVerb::Show { name } => {
            let view: IdentityProviderView =
                cx.ask("identity-provider.show", &NameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        IdentityProviderVerb::Test { name } => {
            let view: IdentityProviderView =
                cx.ask("identity-provider.test", &NameRequest { name }).await?;
            cx.show(&view, |screen, view| {
                screen.line(format!("{} answers, and has keys that can be used", view.issuer))
            })?;
        }
        IdentityProviderVerb::Remove { name } => {
            let _: () =
                cx.ask("identity-provider.remove", &NameRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!("identity provider '{name}' is removed"))
            })?;
        }
    }
    Ok(exit::DONE)
}

/// As it is asked for, without its secret.
pub fn request_of(view: IdentityProviderView) -> IdentityProviderRequest {
    IdentityProviderRequest {
        name: view.name,
        enabled: view.enabled,
        issuer: view.issuer,
        client_id: view.client_id,
        secret: None,
        has_secret: view.has_secret,
        scopes: view.scopes,
        name_claim: view.name_claim,
        groups_claim: view.groups_claim,
        groups: view.groups,
        creates_users: view.creates_users,
        authority: view.authority,
    }
}

impl Arguments {
    fn onto(
        self,
        mut request: IdentityProviderRequest,
    ) -> Result<IdentityProviderRequest, Failure> {
        if let Some(file) = &self.secret_file {
            request.secret = Some(first_line(file)?);
        }
        if let Some(file) = &self.authority {
            request.authority = match file == Path::new("none") {
                true => None,
                false => Some(read(file)?),
            };
        }
        let given: Vec<GroupGrant> = self.group.into_iter().chain(self.group_right).collect();
        if !given.is_empty() {
            request.groups.clear();
        }
        for one in given {
            match request.groups.iter_mut().find(|there| there.group == one.group) {
                Some(there) => there.grants.push(one.granted),
                None => {
                    request.groups.push(GroupGrants { group: one.group, grants: vec![one.granted] })
                }
            }
        }
        if !self.scopes.is_empty() {
            request.scopes = self.scopes.into_iter().filter(|scope| scope != "none").collect();
        }
        request.client_id = self.client_id.unwrap_or(request.client_id);
        request.creates_users = self.create_users.unwrap_or(request.creates_users);
        request.name_claim = self.name_claim.unwrap_or(request.name_claim);
        request.groups_claim = self.groups_claim.unwrap_or(request.groups_claim);
        if self.on || self.off {
            request.enabled = self.on;
        }
        Ok(request)
    }
}

fn first_line(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        return Ok(super::users::one_line("secret")?.to_string());
    }
    Ok(read(file)?.lines().next().unwrap_or_default().to_owned())
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::new(Kind::of_io(&error), format!("cannot read {}: {error}", file.display()))
    })
}

fn state(view: &IdentityProviderView) -> Text {
    match (view.enabled, view.secret_missing, view.waits_for) {
        (_, true, _) => Text::styled(Style::Warn, "its secret was not given: --secret-file"),
        (_, _, Some(_)) => Text::styled(Style::Warn, "waits for a second person"),
        (false, false, None) => Text::styled(Style::Dim, "off"),
        (true, false, None) => Text::styled(Style::Good, "on"),
    }
}

fn table(views: &[IdentityProviderView]) -> Table {
    let mut table = Table::new([
        Column::new("PROVIDER").cut_to(10),
        Column::new("ISSUER").cut_to(16),
        Column::new("USERS").right(),
        Column::new("STATE").cut_to(16),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            view.issuer.as_str().into(),
            view.users.to_string().into(),
            state(view),
        ]);
    }
    table
}

fn detail(screen: &Screen, view: &IdentityProviderView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Identity provider ").bold(&view.name))?;
    let secret = if view.has_secret && !view.secret_missing { "kept, sealed" } else { "none" };
    let users = match view.creates_users {
        true => format!("{}; made at the first sign-in", view.users),
        false => format!("{}; only who was added is let in", view.users),
    };
    let authority = match &view.authority {
        Some(_) => "one of its own",
        None => "whom the server's host trusts",
    };
    screen.lines(facts(&[
        ("issuer", view.issuer.as_str().into()),
        ("client id", view.client_id.as_str().into()),
        ("secret", secret.into()),
        ("register there", view.redirect.as_str().into()),
        (
            "asks for",
            std::iter::once("openid")
                .chain(view.scopes.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(" ")
                .into(),
        ),
        ("name", format!("claim {}", view.name_claim).into()),
        ("groups", format!("claim {}", view.groups_claim).into()),
        ("authority", authority.into()),
        ("users", users.into()),
        ("state", state(view)),
        ("set up alone by", view.alone.as_deref().unwrap_or("nobody").into()),
        ("added", when_exactly(view.created_unix_ms).into()),
    ]))?;
    for one in &view.groups {
        screen.line(format!("  group '{}' may: {}", one.group, words(&one.grants)))?;
    }
    if view.groups.is_empty() {
        screen.aside("no group may anything: nobody is let in by it");
    }
    waiting(screen, view.waits_for);
    Ok(())
}
