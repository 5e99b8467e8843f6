//! Notifications: whom the server tells what, and on which way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::Outcome;

/// Adds a notification, or replaces all of one but its name. It is told what ended as one of `outcomes`, and what `watch`
/// finds missing; of jobs and tasks only those that fit each of the lists that are not empty.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationRequest {
    pub name: String,
    /// `false`: nothing is told, and what waits is kept.
    #[serde(default = "yes")]
    pub enabled: bool,
    pub via: Via,
    /// The password for the mail server, or the key of the signature; never shown again. `None`: the one that is there
    /// stays, unless it would go to another host; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// It has a secret. Without one that is given now or was before, nothing goes out until somebody gives it: so a
    /// configuration without secrets can be applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_secret: bool,
    #[serde(default = "bad_outcomes")]
    pub outcomes: Vec<Outcome>,
    /// Kinds of jobs, such as `backup`; empty: all.
    #[serde(default)]
    pub kinds: Vec<String>,
    #[serde(default)]
    pub tasks: Vec<String>,
    #[serde(default)]
    pub clients: Vec<String>,
    #[serde(default)]
    pub watch: Vec<Watch>,
    /// When it tells the report: the line of a schedule, such as `daily at 07:00`; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

fn yes() -> bool {
    true
}

/// What is told unless something else is asked for: everything that is not good.
pub fn bad_outcomes() -> Vec<Outcome> {
    vec![Outcome::FinishedWithErrors, Outcome::Failed, Outcome::Interrupted]
}

/// The way to whom is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Via {
    /// SMTP.
    Mail {
        server: String,
        /// `None`: 465 with `tls`, 587 with `starttls`, 25 with `none`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        #[serde(default)]
        security: MailSecurity,
        /// PEM of the authority that signed the mail server's certificate; `None`: whom the host trusts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// With it the secret is its password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        from: String,
        to: Vec<String>,
    },
    /// A POST of a JSON document.
    Webhook {
        /// `https://…`
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
    },
    /// A program of the server's host.
    Program {
        /// Its name in `server.notify_programs` of the server's settings; never a command line.
        local_name: String,
    },
}

/// How the line to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailSecurity {
    /// From the first byte.
    #[default]
    Tls,
    Starttls,
    /// In clear, without a password.
    None,
}

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchSubject {
    /// A task without a backup that *finished* for `after_h` hours.
    Backup,
    /// A datastore without a verification that *finished* for `after_h` hours.
    Verification,
    /// A task without a restore drill that passed for `after_h` hours.
    Drill,
    /// A task that is not green for `after_h` hours.
    Green,
    /// The server itself without a backup for `after_h` hours.
    SelfBackup,
    /// A host that was not reached for `after_h` hours.
    Host,
    /// A datastore with less than `below_percent` of its room free.
    Space,
    /// An event whose newest occurrence should have run and did not.
    Missed,
    /// The server's clock is in doubt.
    Clock,
    /// An act waits for a second person.
    Approval,
    /// Another notification whose messages nobody takes.
    Delivery,
}

impl WatchSubject {
    pub const ALL: [WatchSubject; 11] = [
        WatchSubject::Backup,
        WatchSubject::Verification,
        WatchSubject::Drill,
        WatchSubject::Green,
        WatchSubject::SelfBackup,
        WatchSubject::Host,
        WatchSubject::Space,
        WatchSubject::Missed,
        WatchSubject::Clock,
        WatchSubject::Approval,
        WatchSubject::Delivery,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            WatchSubject::Backup => "backup",
            WatchSubject::Verification => "verification",
            WatchSubject::Drill => "drill",
            WatchSubject::Green => "green",
            WatchSubject::SelfBackup => "self_backup",
            WatchSubject::Host => "host",
            WatchSubject::Space => "space",
            WatchSubject::Missed => "missed",
            WatchSubject::Clock => "clock",
            WatchSubject::Approval => "approval",
            WatchSubject::Delivery => "delivery",
        }
    }

    /// Whether it is missing after a time.
    pub const fn takes_hours(self) -> bool {
        matches!(
            self,
            WatchSubject::Backup
                | WatchSubject::Verification
                | WatchSubject::Drill
                | WatchSubject::Green
                | WatchSubject::SelfBackup
                | WatchSubject::Host
        )
    }
}

/// One thing that is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    pub subject: WatchSubject,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_h: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below_percent: Option<u8>,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationView {
    pub name: String,
    pub enabled: bool,
    pub via: Via,
    pub has_secret: bool,
    /// It has one that nobody gave yet: nothing goes out.
    pub secret_missing: bool,
    pub outcomes: Vec<Outcome>,
    pub kinds: Vec<String>,
    pub tasks: Vec<String>,
    pub clients: Vec<String>,
    pub watch: Vec<Watch>,
    /// When it tells the report.
    pub report: Option<String>,
    pub created_unix_ms: i64,
    /// What it said is missing now.
    pub absent: Vec<AbsenceView>,
    /// Messages that wait.
    pub waiting: u64,
    /// Since when the oldest of them does.
    pub waiting_since_unix_ms: Option<i64>,
    /// Why that one was not taken yet.
    pub last_error: Option<String>,
    pub last_sent_unix_ms: Option<i64>,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AbsenceView {
    pub subject: String,
    pub text: String,
    pub since_unix_ms: i64,
    /// When it was told last.
    pub told_unix_ms: i64,
}

/// What kind of notice it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A job ended.
    Outcome,
    /// Something is missing, new or since a day.
    Absence,
    /// It is not missing any more.
    Recovery,
    /// The report.
    Report,
    /// A person tries the way.
    Test,
}

/// One thing that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    pub notice: NoticeKind,
    /// A sentence for people.
    pub text: String,
    pub at_unix_ms: i64,
    /// Of an absence and its recovery: what is missing, such as `backup home`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Of an absence: it was said before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What a report says, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<super::Report>>,
}

/// Asks for messages, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesRequest {
    /// Only those of this notification.
    #[serde(default)]
    pub notification: Option<String>,
    /// At most so many; 0: 100.
    #[serde(default)]
    pub limit: u32,
}

/// One message: what is told at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    pub message: u64,
    pub notification: String,
    /// `waiting`, `sent`, `given_up`.
    pub state: String,
    pub notices: Vec<Notice>,
    /// So many more found no room.
    pub left_out: u64,
    pub made_unix_ms: i64,
    pub attempts: u64,
    /// When it is tried next.
    pub not_before_unix_ms: i64,
    pub last_error: Option<String>,
    pub ended_unix_ms: Option<i64>,
}
