//! `simsim user`: who may ask the server from elsewhere, and what.

use std::io::{BufRead, Read};

use simsim_model::Kind;
use simsim_server::api::{
    ConsoleSessionRequest, ConsoleSessionView, LoggedOut, OneTimeReply, OneTimeRequest,
    OwnOneTimeRequest, OwnPasswordRequest, PasswordRequest, RoleView, UserNameRequest, UserRequest,
    UserView, WelcomeReply,
};
use simsim_server::{Granted, Right, Role};
use zeroize::Zeroizing;

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{counted, when};
use crate::exit::{self, Failure};

/// A password is no longer than this.
const PASSWORD_BYTES_MAX: u64 = 4096;

#[derive(clap::Subcommand, Debug)]
pub enum UserVerb {
    /// Add a user; the password is asked for, or read from standard input
    Add {
        /// The name
        name: String,
        #[command(flatten)]
        grants: GrantArguments,
        /// The user signs in by this identity provider: no password, and roles by the groups there
        #[arg(long, value_name = "PROVIDER", conflicts_with_all = ["role", "right"])]
        provider: Option<String>,
    },
    /// Print a link with which the first user is made in a browser; it serves once
    Welcome,
    /// List users
    List(lists::Users),
    /// Show a user
    Show {
        /// The user
        name: String,
    },
    /// Give a user other roles and rights, or let the user in no more
    Change {
        /// The user
        name: String,
        #[command(flatten)]
        grants: GrantArguments,
        /// Neither the user nor the user's tokens are let in
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// The user is let in again
        #[arg(long)]
        enable: bool,
    },
    /// Give a user another password; it is asked for, or read from standard input. Without a name your own,
    /// which takes the old one first
    Password {
        /// The user
        name: Option<String>,
    },
    /// Give a user a new secret for one-time passwords, shown this once, or take it away. Without a name your
    /// own, which takes your password
    OneTime {
        /// The user
        name: Option<String>,
        /// The user needs none any more
        #[arg(long)]
        off: bool,
    },
    /// List browsers in which users are logged in
    Sessions {
        /// Only this user's
        name: Option<String>,
    },
    /// Log a user out in every browser, at once
    LogOut {
        /// The user
        name: String,
    },
    /// End one session, at once
    EndSession {
        /// As 'simsim user sessions' shows it
        session: String,
    },
    /// Remove a user, with the user's API tokens and sessions
    Remove {
        /// The user
        name: String,
    },
    /// List roles, with the rights that they give
    Roles,
}

/// What somebody may.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct GrantArguments {
    /// A role, for everything, for one client, for all in a location, for a task or for the tasks of a pool; several
    /// times for several
    #[arg(long, value_name = "ROLE[:CLIENT|@LOCATION|:task/TASK|:pool/POOL]", value_parser = parse_role)]
    role: Vec<Granted>,
    /// A single right, in the same way
    #[arg(long, value_name = "RIGHT[:CLIENT|@LOCATION|:task/TASK|:pool/POOL]", value_parser = parse_right)]
    right: Vec<Granted>,
}

impl GrantArguments {
    pub fn all(self) -> Vec<Granted> {
        self.role.into_iter().chain(self.right).collect()
    }
}

pub fn parse_role(text: &str) -> Result<Granted, String> {
    let (what, granted) = Granted::split(text);
    let role = Role::parse(what)
        .ok_or_else(|| format!("roles are {}", Role::ALL.map(Role::as_str).join(", ")))?;
    Ok(Granted { role: Some(role), ..granted })
}

pub fn parse_right(text: &str) -> Result<Granted, String> {
    let (what, granted) = Granted::split(text);
    let right = Right::parse(what)
        .ok_or_else(|| format!("rights are {}", Right::ALL.map(Right::as_str).join(", ")))?;
    Ok(Granted { right: Some(right), ..granted })
}

pub async fn run(cx: &Context, verb: UserVerb) -> Result<u8, Failure> {
    match verb {
        UserVerb::Add { name, grants, provider } => {
            let password = match provider {
                Some(_) => None,
                None => Some(new_password(&name)?.to_string()),
            };
            let request =
                UserRequest { name, grants: grants.all(), disabled: false, password, provider };
            let user: UserView = cx.ask("user.add", &request).await?;
            cx.show(&user, |screen, user| {
                screen.line(format!("user '{}' may: {}", user.name, words(&user.grants)))?;
                waiting(screen, user.waits_for);
                Ok(())
            })?;
        }
        UserVerb::Welcome => {
            let made: WelcomeReply = cx.ask_plain("user.welcome").await?;
            cx.show(&made, |screen, made| {
                screen.line(made.url.clone())?;
                screen.aside(format!("it serves once, until {}", when(made.expires_unix_ms)));
                Ok(())
            })?;
        }
        UserVerb::List(wanted) => {
            let request = wanted.request();
            let users: Vec<UserView> = cx.ask("user.list", &request).await?;
            cx.show(&users, |screen, users| {
                if users.is_empty() {
                    let add = "no users; add one: simsim user add NAME --role ROLE";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                screen.table(&table(users))
            })?;
        }
        UserVerb::Show { name } => {
            let user: UserView = cx.ask("user.show", &UserNameRequest { name }).await?;
            cx.show(&user, shown)?;
        }
        UserVerb::Change { name, grants, disable, enable } => {
            let before: UserView =
                cx.ask("user.show", &UserNameRequest { name: name.clone() }).await?;
            let grants = grants.all();
            if grants.is_empty() && !disable && !enable {
                let text = "say what to change: --role, --right, --disable or --enable";
                return Err(Failure::new(Kind::Invalid, text));
            }
            let request = UserRequest {
                name,
                grants: if grants.is_empty() { before.grants } else { grants },
                disabled: disable || (before.disabled && !enable),
                password: None,
                provider: None,
            };
            let user: UserView = cx.ask("user.change", &request).await?;
            cx.show(&user, shown)?;
        }
        UserVerb::Password { name: None } => {
            let old = one_password("your password now")?.to_string();
            let password = new_password("you")?.to_string();
            let _: () = cx.ask("me.password", &OwnPasswordRequest { old, password }).await?;
            cx.show(&serde_json::json!({ "changed": true }), |screen, _| {
                screen.line("you have another password; your sessions have ended")
            })?;
        }
        UserVerb::Password { name: Some(name) } => {
            let password = new_password(&name)?.to_string();
            let user: UserView =
                cx.ask("user.password", &PasswordRequest { name, password }).await?;
            cx.show(&user, |screen, user| {
                screen
                    .line(format!("user '{}' has another password; sessions have ended", user.name))
            })?;
        }
        UserVerb::OneTime { name: None, off } => {
            let password = one_password("your password")?.to_string();
            let request = OwnOneTimeRequest { password, on: !off };
            let reply: OneTimeReply = cx.ask("me.one-time", &request).await?;
            cx.show(&reply, one_time)?;
        }
        UserVerb::OneTime { name: Some(name), off } => {
            let request = OneTimeRequest { name, on: !off };
            let reply: OneTimeReply = cx.ask("user.one-time", &request).await?;
            cx.show(&reply, one_time)?;
        }
        UserVerb::Sessions { name } => {
            let mut all: Vec<ConsoleSessionView> = cx.ask_plain("session.list").await?;
            all.retain(|one| name.as_ref().is_none_or(|name| one.user == *name));
            cx.show(&all, |screen, all| {
                if all.is_empty() {
                    screen.aside("nobody is logged in by a browser");
                    return Ok(());
                }
                screen.table(&sessions(all))
            })?;
        }
        UserVerb::LogOut { name } => {
            let done: LoggedOut = cx.ask("user.log-out", &UserNameRequest { name }).await?;
            cx.show(&done, |screen, done| {
                screen.line(format!(
                    "user '{}' is logged out: {}",
                    done.user,
                    counted(done.sessions, "session")
                ))
            })?;
        }
        UserVerb::EndSession { session } => {
            let request = ConsoleSessionRequest { session };
            let done: ConsoleSessionView = cx.ask("session.end", &request).await?;
            cx.show(&done, |screen, done| {
                screen.line(format!("a session of user '{}' has ended", done.user))
            })?;
        }
        UserVerb::Remove { name } => {
            let user: UserView = cx.ask("user.remove", &UserNameRequest { name }).await?;
            cx.show(&user, |screen, user| match user.waits_for {
                None => screen.line(format!("user '{}' is gone", user.name)),
                waits => {
                    screen.line(format!("user '{}' stays for now", user.name))?;
                    waiting(screen, waits);
                    Ok(())
                }
            })?;
        }
        UserVerb::Roles => {
            let roles: Vec<RoleView> = cx.ask_plain("role.list").await?;
            cx.show(&roles, |screen, roles| {
                let mut table = Table::new([Column::new("ROLE"), Column::new("RIGHTS").cut_to(20)]);
                for role in roles {
                    let rights: Vec<&str> =
                        role.rights.iter().map(|right| right.as_str()).collect();
                    let rights = rights.join(", ");
                    table.row([Text::new().bold(role.role.as_str()), rights.as_str().into()]);
                }
                screen.table(&table)
            })?;
        }
    }
    Ok(exit::DONE)
}

fn sessions(all: &[ConsoleSessionView]) -> Table {
    let mut table = Table::new([
        Column::new("SESSION"),
        Column::new("USER").cut_to(20),
        Column::new("FROM").cut_to(20),
        Column::new("BEGAN"),
        Column::new("USED"),
    ]);
    for one in all {
        table.row([
            Text::new().bold(&one.session),
            one.user.as_str().into(),
            one.address.as_str().into(),
            when(one.created_unix_ms).into(),
            when(one.used_unix_ms).into(),
        ]);
    }
    table
}

/// What was given, for people.
pub fn words(grants: &[Granted]) -> String {
    let mut words: Vec<String> = Vec::new();
    for grant in grants {
        let what = match (grant.role, grant.right) {
            (Some(role), _) => role.as_str().to_owned(),
            (None, Some(right)) => format!("right {}", right.as_str()),
            (None, None) => continue,
        };
        words.push(match grant {
            Granted { client: Some(client), .. } => format!("{what} for {client}"),
            Granted { location: Some(location), .. } => format!("{what} in {location}"),
            Granted { task: Some(task), .. } => format!("{what} for task {task}"),
            Granted { pool: Some(pool), .. } => format!("{what} for pool {pool}"),
            _ => what,
        });
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// The secret alone on standard output; the rest beside.
fn one_time(screen: &Screen, reply: &OneTimeReply) -> Result<(), Failure> {
    let name = &reply.user.name;
    let (Some(secret), Some(uri)) = (&reply.secret, &reply.uri) else {
        return screen.line(format!("user '{name}' logs in with the password alone"));
    };
    screen.aside(format!("type this into the authenticator of '{name}'; it is shown this once:"));
    screen.line(secret.as_str())?;
    screen.flush()?;
    screen.aside(Text::new().dim("  → ").plain(format!("or make a picture of it: {uri}")));
    Ok(())
}

fn shown(screen: &Screen, user: &UserView) -> Result<(), Failure> {
    screen.line(Text::new().bold(&user.name))?;
    screen.line(format!("  may         {}", words(&user.grants)))?;
    screen.line(format!("  state       {}", state(user).0))?;
    let by_provider = user.provider.as_ref().map(|name| format!("identity provider '{name}'"));
    let proof = if user.one_time_passwords { "password and one-time password" } else { "password" };
    screen.line(format!("  logs in by  {}", by_provider.as_deref().unwrap_or(proof)))?;
    screen.line(format!("  added       {}", when(user.created_unix_ms)))?;
    let seen = user.seen_unix_ms.map_or_else(|| "never".to_owned(), when);
    screen.line(format!("  logged in   {seen}"))?;
    waiting(screen, user.waits_for);
    Ok(())
}

/// What a second person has to agree to, if anything.
pub fn waiting(screen: &Screen, approval: Option<u64>) {
    if let Some(number) = approval {
        screen.aside(format!(
            "a change waits for a second person, for 72 hours: simsim approval show {number}"
        ));
    }
}

fn state(user: &UserView) -> (String, Style) {
    match (user.disabled, user.locked_until_unix_ms) {
        (true, _) => ("disabled".to_owned(), Style::Warn),
        (_, Some(until)) => (format!("held up until {}", when(until)), Style::Warn),
        _ => ("let in".to_owned(), Style::Good),
    }
}

fn table(users: &[UserView]) -> Table {
    let mut table = Table::new([
        Column::new("USER").cut_to(10),
        Column::new("MAY").cut_to(12),
        Column::new("STATE"),
        Column::new("LOGGED IN").rank(1),
    ]);
    for user in users {
        let (state, style) = state(user);
        let seen = user.seen_unix_ms.map_or_else(|| "never".to_owned(), when);
        let may = words(&user.grants);
        table.row([
            Text::new().bold(&user.name),
            may.as_str().into(),
            Text::styled(style, &state),
            seen.as_str().into(),
        ]);
    }
    table
}

/// A new password: asked for twice on a terminal, without showing it; else the line that standard
/// input has.
fn new_password(user: &str) -> Result<Zeroizing<String>, Failure> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() {
        return one_line("password");
    }
    let quiet = Quiet::begin()?;
    let first = typed(&format!("password for '{user}': "))?;
    let again = typed("once more: ")?;
    drop(quiet);
    if *first != *again {
        return Err(Failure::new(Kind::Invalid, "the two passwords differ: nothing was changed"));
    }
    Ok(first)
}

/// A password that there is: asked for once, or the next line of standard input.
fn one_password(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() {
        return one_line("password");
    }
    let _quiet = Quiet::begin()?;
    typed(&format!("{prompt}: "))
}

/// The line that standard input has.
pub fn one_line(what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().lock().take(PASSWORD_BYTES_MAX).read_line(&mut text)?;
    let length = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(length);
    if text.is_empty() {
        return Err(Failure::new(Kind::Invalid, format!("standard input has no {what}"))
            .next("give it as one line, or type it on a terminal"));
    }
    Ok(text)
}

fn typed(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    eprint!("{prompt}");
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().lock().take(PASSWORD_BYTES_MAX).read_line(&mut text)?;
    eprintln!();
    let length = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(length);
    Ok(text)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet(rustix::termios::Termios);

impl Quiet {
    fn begin() -> Result<Self, Failure> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)
            .map_err(std::io::Error::from)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_typed_as_roles_and_rights_with_or_without_a_client() {
        let grant = parse_role("operator").unwrap();
        assert_eq!((grant.role, grant.client), (Some(Role::Operator), None));
        let grant = parse_right("restore-to-other:web").unwrap();
        assert_eq!(words(std::slice::from_ref(&grant)), "right restore-to-other for web");
        assert!(parse_role("operatr").unwrap_err().contains("operator"));
        assert!(parse_right("operator").unwrap_err().contains("restore-to-other"));
        let grant = parse_role("restore@berlin").unwrap();
        assert_eq!(words(std::slice::from_ref(&grant)), "restore in berlin");
        assert_eq!(words(&[]), "nothing");
    }
}
