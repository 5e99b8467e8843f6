//! What is wanted of a list: the options that verbs called `list` have in common, and what is said of an empty one.

use serde::de::DeserializeOwned;
use simsim_catalog::{AccessMode, ClientState};
use simsim_model::TargetKind;
use simsim_schedule::EventKind;
use simsim_server::Role;
use simsim_server::api::{
    ApiTokenListRequest, ClientListRequest, CommandListRequest, DatastoreListRequest,
    EventListRequest, LocationListRequest, NameListRequest, NotificationListRequest,
    TaskGroupListRequest, TaskListRequest, TokenListRequest, TokenState, UserListRequest,
};

use super::screen::Screen;

/// A word as the server's documents have it.
pub fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Says that a list is empty: that nothing fits, or what makes something that would stand there.
pub fn nothing<R: Default + PartialEq>(screen: &Screen, request: &R, otherwise: &str) {
    screen.aside(match *request == R::default() {
        true => otherwise,
        false => "nothing fits what was asked for",
    });
}

#[derive(clap::Args, Debug)]
pub struct Names {
    /// Only those with this in their names, or whose names fit a pattern such as 'web*'
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
}

impl Names {
    pub fn request(self) -> NameListRequest {
        NameListRequest { name: self.name }
    }
}

#[derive(clap::Args, Debug)]
pub struct Clients {
    #[command(flatten)]
    names: Names,
    /// Only those that stand in this location, or in one within it
    #[arg(long)]
    location: Option<String>,
    /// Only those in this state: enrolled, revoked
    #[arg(long, value_name = "STATE", value_parser = word::<ClientState>)]
    is: Option<ClientState>,
    /// Only those that are steered in this mode: smssh, ctrl, outbound
    #[arg(long, value_name = "MODE")]
    access_mode: Option<AccessMode>,
    /// Only those that are reached now; '=false': only the others
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    connected: Option<bool>,
}

impl Clients {
    pub fn request(self) -> ClientListRequest {
        let Self { names, location, is, access_mode, connected } = self;
        ClientListRequest { name: names.name, location, state: is, access_mode, connected }
    }
}

#[derive(clap::Args, Debug)]
pub struct Datastores {
    #[command(flatten)]
    names: Names,
    /// Only those that this host keeps
    #[arg(long, value_name = "CLIENT")]
    node: Option<String>,
}

impl Datastores {
    pub fn request(self) -> DatastoreListRequest {
        DatastoreListRequest { name: self.names.name, node: self.node }
    }
}

#[derive(clap::Args, Debug)]
pub struct Locations {
    #[command(flatten)]
    names: Names,
    /// Only those that are in this one itself
    #[arg(long = "in", value_name = "LOCATION")]
    parent: Option<String>,
}

impl Locations {
    pub fn request(self) -> LocationListRequest {
        LocationListRequest { name: self.names.name, parent: self.parent }
    }
}

#[derive(clap::Args, Debug)]
pub struct Commands {
    #[command(flatten)]
    names: Names,
    /// Only those of this client
    #[arg(long)]
    client: Option<String>,
}

impl Commands {
    pub fn request(self) -> CommandListRequest {
        CommandListRequest { name: self.names.name, client: self.client }
    }
}

#[derive(clap::Args, Debug)]
pub struct Notifications {
    #[command(flatten)]
    names: Names,
    /// Only those that tell; '=false': only those that are off
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    enabled: Option<bool>,
    /// Only those that tell of this task, by name, by its client or of all
    #[arg(long)]
    task: Option<String>,
    /// Only those that tell of this client, by name or of all
    #[arg(long)]
    client: Option<String>,
}

impl Notifications {
    pub fn request(self) -> NotificationListRequest {
        let Self { names, enabled, task, client } = self;
        NotificationListRequest { name: names.name, enabled, task, client }
    }
}

#[derive(clap::Args, Debug)]
pub struct TaskGroups {
    #[command(flatten)]
    names: Names,
    /// Only those with this task
    #[arg(long)]
    task: Option<String>,
}

impl TaskGroups {
    pub fn request(self) -> TaskGroupListRequest {
        TaskGroupListRequest { name: self.names.name, task: self.task }
    }
}

#[derive(clap::Args, Debug)]
pub struct Tasks {
    #[command(flatten)]
    names: Names,
    /// Only those of this client
    #[arg(long)]
    client: Option<String>,
    /// Only those of this kind: path, stream
    #[arg(long, value_parser = word::<TargetKind>)]
    kind: Option<TargetKind>,
    /// Only those whose savesets are in this media pool; 'default': also those that name none
    #[arg(long)]
    pool: Option<String>,
    /// Only those in this task group
    #[arg(long, value_name = "GROUP")]
    task_group: Option<String>,
    /// Only those whose savesets go into this datastore
    #[arg(long)]
    datastore: Option<String>,
    /// Only those that are green; '=false': only the others
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    green: Option<bool>,
}

impl Tasks {
    pub fn request(self) -> TaskListRequest {
        let Self { names, client, kind, pool, task_group, datastore, green } = self;
        TaskListRequest { name: names.name, client, kind, pool, task_group, datastore, green }
    }
}

#[derive(clap::Args, Debug)]
pub struct Events {
    #[command(flatten)]
    names: Names,
    /// Only those that do this: backup, replication, migration, verification, restore-drill, garbage-collection,
    /// command, backup-day-change
    #[arg(long, value_parser = word::<EventKind>)]
    kind: Option<EventKind>,
    /// Only those that run by this schedule
    #[arg(long)]
    schedule: Option<String>,
    /// Only those that act on this task now
    #[arg(long)]
    task: Option<String>,
    /// Only those that run by their schedules; '=false': only those that are disabled
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    enabled: Option<bool>,
}

impl Events {
    pub fn request(self) -> EventListRequest {
        let Self { names, kind, schedule, task, enabled } = self;
        EventListRequest { name: names.name, kind, schedule, task, enabled }
    }
}

#[derive(clap::Args, Debug)]
pub struct Users {
    #[command(flatten)]
    names: Names,
    /// Only those who are not let in; '=false': only the others
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    disabled: Option<bool>,
    /// Only those with this role, for everything or for a part
    #[arg(long, value_parser = word::<Role>)]
    role: Option<Role>,
}

impl Users {
    pub fn request(self) -> UserListRequest {
        UserListRequest { name: self.names.name, disabled: self.disabled, role: self.role }
    }
}

#[derive(clap::Args, Debug)]
pub struct ApiTokens {
    #[command(flatten)]
    names: Names,
    /// Only those of this user
    #[arg(long)]
    user: Option<String>,
    /// Only those in this state: valid, expired, revoked
    #[arg(long, value_name = "STATE", value_parser = word::<TokenState>)]
    is: Option<TokenState>,
}

impl ApiTokens {
    pub fn request(self) -> ApiTokenListRequest {
        ApiTokenListRequest { name: self.names.name, user: self.user, state: self.is }
    }
}

#[derive(clap::Args, Debug)]
pub struct Tokens {
    #[command(flatten)]
    names: Names,
    /// Only those for this task
    #[arg(long)]
    task: Option<String>,
    /// Only those for tasks of this client
    #[arg(long)]
    client: Option<String>,
    /// Only those in this state: valid, expired, revoked
    #[arg(long, value_name = "STATE", value_parser = word::<TokenState>)]
    is: Option<TokenState>,
}

impl Tokens {
    pub fn request(self) -> TokenListRequest {
        let Self { names, task, client, is } = self;
        TokenListRequest { name: names.name, task, client, state: is }
    }
}
