//! `simsim notification add | change | list | show | messages | test | remove`: whom the server tells what.

use std::path::PathBuf;

use simsim_model::{Kind, Outcome};
use simsim_server::api::{
    MailSecurity, MessageView, MessagesRequest, NameRequest, NotificationRequest, NotificationView,
    Via, Watch, WatchSubject, bad_outcomes,
};

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::when_exactly;
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum NotificationVerb {
    /// Add a notification: mail, a web address or a program of the server's host
    Add {
        /// Its name
        name: String,
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
    /// Change a notification: what is given replaces what there is, the rest stays
    Change {
        /// The notification
        name: String,
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
    /// List notifications
    List(lists::Notifications),
    /// Show all about a notification, and what it says is missing
    Show {
        /// The notification
        name: String,
    },
    /// What was told and what waits to be told, newest first
    Messages {
        /// Only those of this notification
        name: Option<String>,
    },
    /// Send a test now, and say what the other side answers
    Test {
        /// The notification
        name: String,
    },
    /// Remove a notification, with what it still had to tell
    Remove {
        /// The notification
        name: String,
    },
}

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Tell by mail, through this mail server: HOST or HOST:PORT
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with_all = ["webhook", "program"])]
    mail_server: Option<String>,
    /// How the line to the mail server is protected: tls, starttls, or none on this host [default: tls]
    #[arg(long, value_name = "HOW")]
    security: Option<String>,
    /// The user at the mail server; its password is the secret
    #[arg(long)]
    user: Option<String>,
    /// The sender of mail
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Who gets mail
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    to: Vec<String>,
    /// Tell by a POST of JSON to this address
    #[arg(long, value_name = "URL", conflicts_with = "program")]
    webhook: Option<String>,
    /// Tell a program of the server's host, by its name in [server.notify_programs] of its settings
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// The authority that signed the other side's certificate, PEM [default: whom the server's host trusts]
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The password for the mail server, or the key of the signature: the first line of this file
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Tell jobs that end like that; 'none': no job [default: finished_with_errors,failed,interrupted]
    #[arg(long, value_name = "OUTCOMES", value_delimiter = ',')]
    outcome: Vec<String>,
    /// Only jobs of these kinds; 'all': any
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only these tasks; 'all': any
    #[arg(long, value_name = "TASKS", value_delimiter = ',')]
    task: Vec<String>,
    /// Only these clients; 'all': any
    #[arg(long, value_name = "CLIENTS", value_delimiter = ',')]
    client: Vec<String>,
    /// Tell what is missing: backup=26h, verification=30d, drill=90d, green=1d, self-backup=2d, host=2d,
    /// space=10%, missed, clock, approval, delivery; 'none': nothing
    #[arg(long, value_name = "WATCHES", value_delimiter = ',')]
    watch: Vec<String>,
    /// Tell the report at these times, such as 'daily at 07:00'; 'none': never
    #[arg(long, value_name = "SCHEDULE")]
    report: Option<String>,
    /// Tell nothing until --on
    #[arg(long, conflicts_with = "on")]
    off: bool,
    /// Tell again
    #[arg(long)]
    on: bool,
}

pub async fn run(cx: &Context, verb: NotificationVerb) -> Result<u8, Failure> {
    match verb {
        NotificationVerb::Add { name, arguments } => {
            let via = arguments.via(None)?;
            let request = NotificationRequest {
                name,
                enabled: true,
                via,
                secret: None,
                has_secret: false,
                outcomes: bad_outcomes(),
                kinds: Vec::new(),
                tasks: Vec::new(),
                clients: Vec::new(),
                watch: Vec::new(),
                report: None,
            };
            let request = arguments.onto(request)?;
            let view: NotificationView = cx.ask("notification.add", &request).await?;
            cx.show(&view, detail)?;
        }
        NotificationVerb::Change { name, arguments } => {
            let there: NotificationView =
                cx.ask("notification.show", &NameRequest { name }).await?;
            let mut request = request_of(there);
            request.via = arguments.via(Some(request.via))?;
            let request = arguments.onto(request)?;
            let view: NotificationView = cx.ask("notification.change", &request).await?;
            cx.show(&view, detail)?;
        }
        NotificationVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<NotificationView> = cx.ask("notification.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let add = "no notifications: nobody is told anything; add one: simsim notification add NAME";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        NotificationVerb::Show { name } => {
            let view: NotificationView = cx.ask("notification.show", &NameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        NotificationVerb::Messages { name } => {
            let request = MessagesRequest { notification: name, limit: 0 };
            let views: Vec<MessageView> = cx.ask("notification.messages", &request).await?;
            cx.show(&views, messages)?;
        }
        NotificationVerb::Test { name } => {
            let view: NotificationView = cx.ask("notification.test", &NameRequest { name }).await?;
            cx.show(&view, |screen, view| {
                screen.line(format!("a test was taken: {}", goes_to(&view.via)))
            })?;
        }
        NotificationVerb::Remove { name } => {
            let _: () = cx.ask("notification.remove", &NameRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!("notification '{name}' is removed"))
            })?;
        }
    }
    Ok(exit::DONE)
}

/// As it is asked for, without its secret.
pub fn request_of(view: NotificationView) -> NotificationRequest {
    NotificationRequest {
        name: view.name,
        enabled: view.enabled,
        via: view.via,
        secret: None,
        has_secret: view.has_secret,
        outcomes: view.outcomes,
        kinds: view.kinds,
        tasks: view.tasks,
        clients: view.clients,
        watch: view.watch,
        report: view.report,
    }
}

fn invalid(text: impl Into<String>) -> Failure {
    Failure::new(Kind::Invalid, text.into())
}

impl Arguments {
    /// The way that was asked for, or the one there is with what was asked for.
    fn via(&self, there: Option<Via>) -> Result<Via, Failure> {
        let authority = match &self.authority {
            Some(file) => Some(read(file)?),
            None => None,
        };
        if let Some(local_name) = &self.program {
            return Ok(Via::Program { local_name: local_name.clone() });
        }
        if let Some(url) = &self.webhook {
            let before = match there {
                Some(Via::Webhook { authority, .. }) => authority,
                _ => None,
            };
            return Ok(Via::Webhook { url: url.clone(), authority: authority.or(before) });
        }
        match there {
            Some(Via::Webhook { url, authority: before }) if self.mail_server.is_none() => {
                Ok(Via::Webhook { url, authority: authority.or(before) })
            }
            Some(Via::Program { local_name }) if self.mail_server.is_none() => {
                Ok(Via::Program { local_name })
            }
            Some(Via::Mail { server, port, security, authority: before, user, from, to }) => {
                let (server, port) = match &self.mail_server {
                    Some(text) => host_and_port(text)?,
                    None => (server, port),
                };
                Ok(Via::Mail {
                    server,
                    port,
                    security: self.security(security)?,
                    authority: authority.or(before),
                    user: self.user.clone().or(user).filter(|user| user != "none"),
                    from: self.from.clone().unwrap_or(from),
                    to: if self.to.is_empty() { to } else { self.to.clone() },
                })
            }
            _ => {
                let Some(server) = &self.mail_server else {
                    return Err(invalid("say on which way: --mail-server, --webhook or --program"));
                };
                let (server, port) = host_and_port(server)?;
                let Some(from) = self.from.clone() else {
                    return Err(invalid("mail needs a sender: --from ADDRESS"));
                };
                Ok(Via::Mail {
                    server,
                    port,
                    security: self.security(MailSecurity::default())?,
                    authority,
                    user: self.user.clone(),
                    from,
                    to: self.to.clone(),
                })
            }
        }
    }

    fn security(&self, there: MailSecurity) -> Result<MailSecurity, Failure> {
        match self.security.as_deref() {
            None => Ok(there),
            Some("tls") => Ok(MailSecurity::Tls),
            Some("starttls") => Ok(MailSecurity::Starttls),
            Some("none") => Ok(MailSecurity::None),
            Some(other) => Err(invalid(format!("--security '{other}': tls, starttls or none"))),
        }
    }

    fn onto(&self, mut request: NotificationRequest) -> Result<NotificationRequest, Failure> {
        if let Some(file) = &self.secret_file {
            let text = read(file)?;
            request.secret = Some(text.lines().next().unwrap_or_default().to_owned());
        }
        if !self.outcome.is_empty() {
            request.outcomes = self
                .outcome
                .iter()
                .filter(|word| *word != "none")
                .map(|word| {
                    let known = Outcome::parse(&word.replace('-', "_"));
                    known.ok_or_else(|| {
                        invalid(format!(
                            "--outcome '{word}': finished, finished_with_errors, failed, cancelled, interrupted"
                        ))
                    })
                })
                .collect::<Result<_, _>>()?;
        }
        let lists = [
            (&self.kind, &mut request.kinds),
            (&self.task, &mut request.tasks),
            (&self.client, &mut request.clients),
        ];
        for (given, list) in lists {
            if !given.is_empty() {
                *list = given.iter().filter(|word| *word != "all").cloned().collect();
            }
        }
        if !self.watch.is_empty() {
            let watch = self.watch.iter().filter(|word| *word != "none");
            request.watch = watch.map(|text| watch_of(text)).collect::<Result<_, _>>()?;
        }
        if let Some(line) = &self.report {
            request.report = Some(line.clone()).filter(|line| line != "none");
        }
        if self.on || self.off {
            request.enabled = self.on;
        }
        Ok(request)
    }
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::new(Kind::of_io(&error), format!("cannot read {}: {error}", file.display()))
    })
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), Failure> {
    let bare = |host: &str| host.trim_matches(['[', ']']).to_owned();
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().map_err(|_| invalid(format!("'{port}' is no port")))?;
            Ok((bare(host), Some(port)))
        }
        _ => Ok((bare(text), None)),
    }
}

/// `backup=26h`, `space=10%`, `clock`.
fn watch_of(text: &str) -> Result<Watch, Failure> {
    let (word, figure) = match text.split_once('=') {
        Some((word, figure)) => (word, Some(figure)),
        None => (text, None),
    };
    let known =
        WatchSubject::ALL.into_iter().find(|subject| subject.as_str() == word.replace('-', "_"));
    let Some(subject) = known else {
        let words = WatchSubject::ALL.map(WatchSubject::as_str).join(", ");
        return Err(invalid(format!("--watch '{text}': {words}")));
    };
    let mut watch = Watch { subject, after_h: None, below_percent: None };
    let Some(figure) = figure else { return Ok(watch) };
    let wrong =
        || invalid(format!("--watch '{text}': write hours or days as 26h or 2d, a part as 10%"));
    if let Some(percent) = figure.strip_suffix('%') {
        watch.below_percent = Some(percent.parse().map_err(|_| wrong())?);
    } else if let Some(hours) = figure.strip_suffix('h') {
        watch.after_h = Some(hours.parse().map_err(|_| wrong())?);
    } else {
        let days: u32 =
            figure.strip_suffix('d').and_then(|days| days.parse().ok()).ok_or_else(wrong)?;
        watch.after_h = Some(days.saturating_mul(24));
    }
    Ok(watch)
}

fn watch_text(watch: &Watch) -> String {
    let word = watch.subject.as_str().replace('_', "-");
    match (watch.after_h, watch.below_percent) {
        (Some(hours), _) => format!("{word}={hours}h"),
        (_, Some(percent)) => format!("{word}={percent}%"),
        _ => word,
    }
}

fn goes_to(via: &Via) -> String {
    match via {
        Via::Mail { server, to, .. } => format!("mail by {server} to {}", to.join(", ")),
        Via::Webhook { url, .. } => format!("POST to {url}"),
        Via::Program { local_name } => format!("program {local_name} of the server's host"),
    }
}

fn state(view: &NotificationView) -> Text {
    match (&view.last_error, view.waiting) {
        (Some(error), waiting) => Text::styled(Style::Bad, format!("{waiting} not taken: {error}")),
        (None, 0) if !view.enabled => Text::styled(Style::Dim, "off"),
        (None, 0) => Text::from("all told"),
        (None, waiting) => Text::from(format!("{waiting} about to go")),
    }
}

fn secret(view: &NotificationView) -> Text {
    match (view.has_secret, view.secret_missing) {
        (_, true) => Text::styled(Style::Warn, "not given yet: --secret-file"),
        (true, false) => "kept, sealed".into(),
        (false, false) => "none".into(),
    }
}

fn table(views: &[NotificationView]) -> Table {
    let mut table = Table::new([
        Column::new("NOTIFICATION").cut_to(10),
        Column::new("TELLS").cut_to(16),
        Column::new("MISSING").right(),
        Column::new("STATE").cut_to(16),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            goes_to(&view.via).into(),
            view.absent.len().to_string().into(),
            state(view),
        ]);
    }
    table
}

fn detail(screen: &Screen, view: &NotificationView) -> Result<(), Failure> {
    let all = |list: &[String]| if list.is_empty() { "all".to_owned() } else { list.join(", ") };
    let outcomes: Vec<_> = view.outcomes.iter().map(ToString::to_string).collect();
    let watch: Vec<_> = view.watch.iter().map(watch_text).collect();
    screen.line(Text::new().bold("Notification ").bold(&view.name))?;
    screen.lines(facts(&[
        ("tells", goes_to(&view.via).into()),
        ("secret", secret(view)),
        ("outcomes", outcomes.join(", ").into()),
        ("kinds", all(&view.kinds).into()),
        ("tasks", all(&view.tasks).into()),
        ("clients", all(&view.clients).into()),
        ("watches", watch.join(", ").into()),
        ("report", view.report.as_deref().unwrap_or("never").into()),
        ("state", state(view)),
        (
            "last told",
            view.last_sent_unix_ms.map_or(Text::from("never"), |at| when_exactly(at).into()),
        ),
    ]))?;
    for absent in &view.absent {
        screen.line(Text::from("missing: ").then(Text::from(absent.text.as_str())))?;
    }
    Ok(())
}

fn messages(screen: &Screen, views: &Vec<MessageView>) -> Result<(), Failure> {
    if views.is_empty() {
        screen.aside("nothing was told yet, and nothing waits");
    }
    for view in views {
        let head = format!(
            "message {} of '{}', {}: {} ({} attempts)",
            view.message,
            view.notification,
            when_exactly(view.made_unix_ms),
            view.state.replace('_', " "),
            view.attempts
        );
        screen.line(head)?;
        if let Some(error) = &view.last_error {
            screen.line(Text::styled(Style::Bad, format!("  not taken: {error}")))?;
        }
        for notice in &view.notices {
            screen.line(format!("  {}", notice.text))?;
        }
    }
    Ok(())
}
