//! `simsim token`: secrets with which other people's tools store and read the raw streams of a task.

use simsim_catalog::TokenAllows;
use simsim_server::api::{
    ChangeTokenRequest, CreateTokenReply, CreateTokenRequest, TOKEN_DAYS, TokenNameRequest,
    TokenView,
};

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum TokenVerb {
    /// Make a token for one external task; it is shown this once
    Create {
        /// Its name
        name: String,
        /// The task whose streams it is for
        #[arg(long)]
        task: String,
        /// What it is good for
        #[arg(long, value_name = "WHAT", default_value = "store")]
        allow: AllowChoice,
        /// When it expires, such as 90d or 12w; never: not at all [default: 90d]
        #[arg(long, value_name = "TIME|never", value_parser = parse_days)]
        expires: Option<u32>,
    },
    /// List tokens; their secrets are nowhere
    List(lists::Tokens),
    /// Show all about a token but its secret
    Show {
        /// The token
        name: String,
    },
    /// Change what a token allows or when it expires; its secret stays
    Change {
        /// The token
        name: String,
        /// What it is good for
        #[arg(long, value_name = "WHAT", required_unless_present = "expires")]
        allow: Option<AllowChoice>,
        /// When it expires, from now, such as 90d or 12w; never: not at all
        #[arg(long, value_name = "TIME|never", value_parser = parse_days)]
        expires: Option<u32>,
    },
    /// Take a token's right, now; a stream that runs with it is ended
    Revoke {
        /// The token
        name: String,
    },
}

/// What a token is good for, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AllowChoice {
    /// Store streams
    Store,
    /// Read streams back
    Read,
    /// Store and read
    Both,
}

impl From<AllowChoice> for TokenAllows {
    fn from(choice: AllowChoice) -> Self {
        match choice {
            AllowChoice::Store => TokenAllows::Store,
            AllowChoice::Read => TokenAllows::Read,
            AllowChoice::Both => TokenAllows::Both,
        }
    }
}

/// Days from `90d`, `12w`, `1y`; 0 for `never`.
pub(super) fn parse_days(text: &str) -> Result<u32, String> {
    if text == "never" {
        return Ok(0);
    }
    let wrong =
        || "write a number of days, weeks or years, such as 90d, 12w, 1y, or never".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let days = match unit {
        "d" => 1,
        "w" => 7,
        "y" => 365,
        _ => return Err(wrong()),
    };
    number.checked_mul(days).filter(|days| *days > 0).ok_or_else(wrong)
}

pub async fn run(cx: &Context, verb: TokenVerb) -> Result<u8, Failure> {
    match verb {
        TokenVerb::Create { name, task, allow, expires } => {
            let expires_days = expires.unwrap_or(TOKEN_DAYS);
            let request = CreateTokenRequest { name, task, allow: allow.into(), expires_days };
            let reply: CreateTokenReply = cx.ask("token.create", &request).await?;
            cx.show(&reply, created)?;
        }
        TokenVerb::Show { name } => {
            let token: TokenView = cx.ask("token.show", &TokenNameRequest { name }).await?;
            cx.show(&token, detail)?;
        }
        TokenVerb::List(wanted) => {
            let request = wanted.request();
            let tokens: Vec<TokenView> = cx.ask("token.list", &request).await?;
            cx.show(&tokens, |screen, tokens| {
                if tokens.is_empty() {
                    let make = "no tokens; make one: simsim token create NAME --task TASK";
                    lists::nothing(screen, &request, make);
                    return Ok(());
                }
                screen.table(&table(tokens))
            })?;
        }
        TokenVerb::Change { name, allow, expires } => {
            let allow = allow.map(TokenAllows::from);
            let request = ChangeTokenRequest { name, allow, expires_days: expires };
            let token: TokenView = cx.ask("token.change", &request).await?;
            cx.show(&token, detail)?;
        }
        TokenVerb::Revoke { name } => {
            let token: TokenView = cx.ask("token.revoke", &TokenNameRequest { name }).await?;
            cx.show(&token, |screen, token| {
                screen.line(format!("token '{}' is revoked", token.name))
            })?;
        }
    }
    Ok(exit::DONE)
}

/// The secret alone on standard output, so that a script can take it; the rest beside.
fn created(screen: &Screen, reply: &CreateTokenReply) -> Result<(), Failure> {
    let token = &reply.token;
    let until = match token.expires_unix_ms {
        Some(expires) => format!("until {}", when(expires)),
        None => "for ever".to_owned(),
    };
    screen.aside(format!(
        "token '{}' for task '{}', to {}, {until}; it is shown this once:",
        token.name,
        token.task,
        uses(token.allow)
    ));
    screen.line(reply.secret.as_str())?;
    screen.flush()?;
    let next = |text: String| Text::new().dim("  → ").plain(text);
    if reply.url.is_empty() && reply.ftp_url.is_empty() {
        screen.aside(next(
            "this server listens neither for HTTPS nor for FTP yet: set 'listen.https' in its settings"
                .to_owned(),
        ));
        return Ok(());
    }
    let (stores, reads) = (token.allow.may_store(), token.allow.may_read());
    if !reply.url.is_empty() {
        screen.aside(next(
            "keep it in a file that only its user can read: the line 'Authorization: Bearer TOKEN'"
                .to_owned(),
        ));
        let curl = "curl --fail-with-body --cacert simsim-ca.pem -H @FILE";
        if stores {
            screen.aside(next(format!("store: … | {curl} -T - {}", reply.url)));
        }
        if reads {
            screen.aside(next(format!("read: {curl} {} | …", reply.url)));
        }
    }
    if !reply.ftp_url.is_empty() {
        screen.aside(next(
            "for FTP keep it in such a file for curl: the line 'user = \"backup:TOKEN\"'"
                .to_owned(),
        ));
        let curl = "curl --ssl-reqd --cacert simsim-ca.pem -K FILE";
        if stores {
            screen.aside(next(format!("store: … | {curl} -T - {}", reply.ftp_url)));
        }
        if reads {
            screen.aside(next(format!("read: {curl} {} | …", reply.ftp_url)));
        }
    }
    Ok(())
}

fn detail(screen: &Screen, token: &TokenView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Token ").bold(&token.name))?;
    screen.lines(facts(&[
        ("task", token.task.as_str().into()),
        ("client", token.client.as_str().into()),
        ("may", uses(token.allow).into()),
        ("state", state(&token.state)),
        ("made", when_exactly(token.created_unix_ms).into()),
        ("expires", moment(token.expires_unix_ms)),
        ("revoked", token.revoked_unix_ms.map_or_else(Text::new, |at| when_exactly(at).into())),
        ("last used", moment(token.used_unix_ms)),
    ]))
}

/// Whether a token may be used, by its word.
pub(super) fn state(state: &str) -> Text {
    let style = if state == "valid" { Style::Good } else { Style::Warn };
    Text::styled(style, state)
}

pub(super) fn moment(at: Option<i64>) -> Text {
    at.map_or_else(|| "never".to_owned(), when).into()
}

fn uses(allow: TokenAllows) -> &'static str {
    match allow {
        TokenAllows::Store => "store",
        TokenAllows::Read => "read",
        TokenAllows::Both => "store and read",
    }
}

fn table(tokens: &[TokenView]) -> Table {
    let mut table = Table::new([
        Column::new("TOKEN").cut_to(10),
        Column::new("TASK").cut_to(8),
        Column::new("MAY"),
        Column::new("STATE"),
        Column::new("EXPIRES").rank(1),
        Column::new("LAST USED").rank(2),
    ]);
    for token in tokens {
        table.row([
            Text::new().bold(&token.name),
            token.task.as_str().into(),
            uses(token.allow).into(),
            state(&token.state),
            moment(token.expires_unix_ms),
            moment(token.used_unix_ms),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_with_their_unit() {
        for (text, days) in [("90d", 90), ("12w", 84), ("1y", 365), ("never", 0)] {
            assert_eq!(parse_days(text), Ok(days));
        }
        for bad in ["", "90", "d", "0d", "-1d", "90 d", "4294967295w", "1h"] {
            assert!(parse_days(bad).is_err(), "{bad}");
        }
    }
}
