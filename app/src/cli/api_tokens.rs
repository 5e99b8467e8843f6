//! `simsim api-token`: secrets with which programs and command lines ask the server from elsewhere.

use simsim_model::Kind;
use simsim_server::api::{
    API_TOKEN_DAYS, ApiTokenNameRequest, ApiTokenView, ChangeApiTokenRequest, CreateApiTokenReply,
    CreateApiTokenRequest,
};

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::Text;
use super::tokens::{moment, parse_days, state};
use super::users::{GrantArguments, waiting, words};
use super::words::{when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum ApiTokenVerb {
    /// Make a token; it is shown this once
    Create {
        /// Its name
        name: String,
        /// Whose it is: it never may more than this user, and goes with the user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        grants: GrantArguments,
        /// When it expires, such as 90d or 12w; never: not at all [default: 90d]
        #[arg(long, value_name = "TIME|never", value_parser = parse_days)]
        expires: Option<u32>,
    },
    /// List tokens; their secrets are nowhere
    List(lists::ApiTokens),
    /// Show all about a token but its secret
    Show {
        /// The token
        name: String,
    },
    /// Change what a token may or when it expires; its secret stays
    Change {
        /// The token
        name: String,
        #[command(flatten)]
        grants: GrantArguments,
        /// When it expires, from now, such as 90d or 12w; never: not at all
        #[arg(long, value_name = "TIME|never", value_parser = parse_days)]
        expires: Option<u32>,
    },
    /// Take a token's right, now
    Revoke {
        /// The token
        name: String,
    },
}

pub async fn run(cx: &Context, verb: ApiTokenVerb) -> Result<u8, Failure> {
    match verb {
        ApiTokenVerb::Create { name, user, grants, expires } => {
            let expires_days = expires.unwrap_or(API_TOKEN_DAYS);
            let grants = grants.all();
            let request = CreateApiTokenRequest { name, user, grants, expires_days };
            let reply: CreateApiTokenReply = cx.ask("api-token.create", &request).await?;
            let pin = cx.console().local().and_then(|local| {
                let file = local.socket().with_file_name("console.crt");
                simsim_console::pin_of_file(&file).ok()
            });
            cx.show(&reply, |screen, reply| created(screen, reply, pin.as_deref()))?;
        }
        ApiTokenVerb::Show { name } => {
            let request = ApiTokenNameRequest { name };
            let token: ApiTokenView = cx.ask("api-token.show", &request).await?;
            cx.show(&token, detail)?;
        }
        ApiTokenVerb::List(wanted) => {
            let request = wanted.request();
            let tokens: Vec<ApiTokenView> = cx.ask("api-token.list", &request).await?;
            cx.show(&tokens, |screen, tokens| {
                if tokens.is_empty() {
                    let make = "no API tokens; make one: simsim api-token create NAME --role ROLE";
                    lists::nothing(screen, &request, make);
                    return Ok(());
                }
                screen.table(&table(tokens))
            })?;
        }
        ApiTokenVerb::Change { name, grants, expires } => {
            let grants = Some(grants.all()).filter(|grants| !grants.is_empty());
            if grants.is_none() && expires.is_none() {
                let text = "say what to change: --role, --right or --expires";
                return Err(Failure::new(Kind::Invalid, text));
            }
            let request = ChangeApiTokenRequest { name, grants, expires_days: expires };
            let token: ApiTokenView = cx.ask("api-token.change", &request).await?;
            cx.show(&token, detail)?;
        }
        ApiTokenVerb::Revoke { name } => {
            let request = ApiTokenNameRequest { name };
            let token: ApiTokenView = cx.ask("api-token.revoke", &request).await?;
            cx.show(&token, |screen, token| {
                screen.line(format!("API token '{}' is revoked", token.name))
            })?;
        }
    }
    Ok(exit::DONE)
}

/// The secret alone on standard output, so that a script can take it; the rest beside.
fn created(screen: &Screen, reply: &CreateApiTokenReply, pin: Option<&str>) -> Result<(), Failure> {
    let token = &reply.token;
    let until = match token.expires_unix_ms {
        Some(expires) => format!("until {}", when(expires)),
        None => "for ever".to_owned(),
    };
    let of = token.user.as_ref().map_or(String::new(), |user| format!(" of user '{user}'"));
    screen.aside(format!(
        "API token '{}'{of}, {}, {until}; it is shown this once:",
        token.name,
        words(&token.grants)
    ));
    screen.line(reply.secret.as_str())?;
    screen.flush()?;
    let next = |text: String| Text::new().dim("  → ").plain(text);
    screen.aside(next("keep it in a file that only its user can read".to_owned()));
    if let Some(pin) = pin {
        screen.aside(next(format!(
            "use it: simsim --server https://HOST --server-pin {pin} --token-file FILE status"
        )));
    }
    Ok(())
}

fn detail(screen: &Screen, token: &ApiTokenView) -> Result<(), Failure> {
    screen.line(Text::new().bold("API token ").bold(&token.name))?;
    screen.lines(facts(&[
        ("user", token.user.as_deref().unwrap_or_default().into()),
        ("may", words(&token.grants).into()),
        ("state", state(&token.state)),
        ("made by", token.created_by.as_str().into()),
        ("made", when_exactly(token.created_unix_ms).into()),
        ("expires", moment(token.expires_unix_ms)),
        ("revoked", token.revoked_unix_ms.map_or_else(Text::new, |at| when_exactly(at).into())),
        ("last used", moment(token.used_unix_ms)),
    ]))?;
    waiting(screen, token.waits_for);
    Ok(())
}

fn table(tokens: &[ApiTokenView]) -> Table {
    let mut table = Table::new([
        Column::new("TOKEN").cut_to(10),
        Column::new("USER").cut_to(8),
        Column::new("MAY").cut_to(12),
        Column::new("STATE"),
        Column::new("EXPIRES").rank(1),
        Column::new("LAST USED").rank(2),
    ]);
    for token in tokens {
        let may = words(&token.grants);
        table.row([
            Text::new().bold(&token.name),
            token.user.as_deref().unwrap_or("-").into(),
            may.as_str().into(),
            state(&token.state),
            moment(token.expires_unix_ms),
            moment(token.used_unix_ms),
        ]);
    }
    table
}
