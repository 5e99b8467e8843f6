//! The configuration as it stands in a file, and how it is read from a server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use simsim_server::api::{
    AddPoolRequest, AddRateRequest, AddReplicationRequest, CalendarRequest, CalendarView,
    ChooseInterfacesRequest, ClientPlaceRequest, ClientView, ClientWakeRequest, CommandRequest,
    CommandView, DatastoreView, DriveGroupRequest, DriveGroupView, EventRequest, EventView,
    IdentityProviderRequest, IdentityProviderView, InterfacesView, LocationRequest, LocationView,
    MigrationRequest, MigrationView, NotificationRequest, NotificationView, PoolView, QueueView,
    RatesView, ReplicationView, ScheduleRequest, ScheduleView, SetInterfacesRequest,
    TaskGroupRequest, TaskGroupView, TaskRequest, TaskView, UserRequest, UserView,
};

use crate::cli::context::{Context, defect};
use crate::cli::{events, identity_providers, migrations, notifications, replications};
use crate::exit::Failure;

/// The only version of the file there is.
const VERSION: u32 = 1;
/// The pool that is always there.
pub const DEFAULT_POOL: &str = "default";
const FOREVER: &str = "forever";

/// Everything that can be set up as a file. Each list is in the order of names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    pub version: u32,
    pub queue: QueueLimits,
    pub locations: Vec<Named<LocationRequest>>,
    /// Where hosts stand, and how they are woken. Hosts themselves join.
    pub placed: Vec<Named<ClientPlaceRequest>>,
    pub woken: Vec<Named<ClientWakeRequest>>,
    pub datastores: Vec<DatastoreWanted>,
    /// As the two below that may be missing: a file that has no such list says nothing of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<Named<SetInterfacesRequest>>>,
    /// By which interfaces the data of clients goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Named<ChooseInterfacesRequest>>>,
    pub drive_groups: Vec<Named<DriveGroupRequest>>,
    pub calendars: Vec<Named<CalendarRequest>>,
    pub schedules: Vec<Named<ScheduleRequest>>,
    pub pools: Vec<Named<AddPoolRequest>>,
    pub tasks: Vec<Named<TaskRequest>>,
    pub task_groups: Vec<Named<TaskGroupRequest>>,
    pub replications: Vec<Named<AddReplicationRequest>>,
    pub migrations: Vec<Named<MigrationRequest>>,
    pub commands: Vec<Named<CommandRequest>>,
    pub notifications: Vec<Named<NotificationRequest>>,
    pub identity_providers: Vec<Named<IdentityProviderRequest>>,
    /// Without their passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<Named<UserRequest>>>,
    pub events: Vec<Named<EventRequest>>,
    pub rates: Vec<Named<AddRateRequest>>,
}

/// A request as it is asked of the server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Named<T>(pub T);

/// Its name alone: what else it says may be a secret.
impl<T: Serialize> std::fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = serde_json::to_value(&self.0).unwrap_or_default();
        f.debug_tuple("Named").field(&name_of(&value)).finish()
    }
}

/// What a request is about: its name, or the host or client that it names.
pub fn name_of(request: &Value) -> &str {
    let named = ["name", "host", "client"].into_iter().find_map(|field| request[field].as_str());
    named.unwrap_or_default()
}

impl<T: Serialize> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        let value = |one: &T| serde_json::to_value(one).ok();
        value(&self.0) == value(&other.0)
    }
}

/// A datastore with all its drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatastoreWanted {
    pub name: String,
    /// The device host; none: the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub path: String,
    /// At least one.
    pub drives: Vec<DriveWanted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveWanted {
    pub number: u32,
    pub jobs_max: u32,
}

/// How many jobs run at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs_max: Option<u32>,
    pub clients: BTreeMap<String, u32>,
    pub drive_groups: BTreeMap<String, u32>,
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// One line; where the file is not understood, it begins with the line and the column.
    pub why: String,
    /// The line of the file in which that is.
    pub line: Option<String>,
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self { why, line: None }
    }
}

impl Wrong {
    fn at(text: &str, error: &toml::de::Error) -> Self {
        let message: Vec<&str> = error.message().split_whitespace().collect();
        let message = message.join(" ");
        let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
            return message.into();
        };
        let number = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(begin..).unwrap_or_default().chars().count() + 1;
        let line = text.get(begin..).and_then(|rest| rest.lines().next());
        let line = line.map(str::trim).filter(|line| !line.is_empty());
        Self {
            why: format!("line {number}, column {column}: {message}"),
            line: line.map(str::to_owned),
        }
    }
}

impl Configuration {
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let read: Self = toml::from_str(text).map_err(|error| Wrong::at(text, &error))?;
        Ok(match read.version {
            VERSION => read.in_one_form(),
            0 => Err(format!("it does not say its version: begin with 'version = {VERSION}'")),
            other => Err(format!("it is of version {other}, and this simsim reads {VERSION}")),
        }?)
    }

    /// Texts in the one form in which the server keeps them, so that only what means something else differs.
    fn in_one_form(mut self) -> Result<Self, String> {
        fn rates(texts: &mut [String]) -> Result<(), String> {
            for text in texts {
                let rate: simsim_model::Rate =
                    text.parse().map_err(|error| format!("'{text}': {error}"))?;
                *text = rate.to_string();
            }
            Ok(())
        }
        for Named(pool) in &mut self.pools {
            let policy: simsim_retention::Policy = pool
                .policy
                .parse()
                .map_err(|error| format!("the policy of pool '{}': {error}", pool.name))?;
            pool.policy = policy.to_string();
        }
        for Named(command) in &mut self.commands {
            command.local_name.get_or_insert_with(|| command.name.clone());
        }
        for Named(replication) in &mut self.replications {
            rates(&mut replication.limits)?;
        }
        for Named(limit) in &mut self.rates {
            rates(&mut limit.rates)?;
        }
        Ok(self)
    }

    pub fn to_text(&self) -> Result<String, Failure> {
        let text = toml::to_string(self).map_err(defect)?;
        Ok(format!("# The configuration of a simsim server: docs/reference/config.md\n{text}"))
    }

    /// What the server has now.
    pub async fn of_server(cx: &Context) -> Result<Self, Failure> {
        let clients: Vec<ClientView> = cx.ask_plain("client.list").await?;
        let locations: Vec<LocationView> = cx.ask_plain("location.list").await?;
        let datastores: Vec<DatastoreView> = cx.ask_plain("datastore.list").await?;
        let groups: Vec<DriveGroupView> = cx.ask_plain("drive-group.list").await?;
        let calendars: Vec<CalendarView> = cx.ask_plain("calendar.list").await?;
        let schedules: Vec<ScheduleView> = cx.ask_plain("schedule.list").await?;
        let pools: Vec<PoolView> = cx.ask_plain("pool.list").await?;
        let tasks: Vec<TaskView> = cx.ask_plain("task.list").await?;
        let task_groups: Vec<TaskGroupView> = cx.ask_plain("task-group.list").await?;
        let replications: Vec<ReplicationView> = cx.ask_plain("replication.list").await?;
        let moves: Vec<MigrationView> = cx.ask_plain("migration.list").await?;
        let commands: Vec<CommandView> = cx.ask_plain("command.list").await?;
        let told: Vec<NotificationView> = cx.ask_plain("notification.list").await?;
        let providers: Vec<IdentityProviderView> = cx.ask_plain("identity-provider.list").await?;
        let events: Vec<EventView> = cx.ask_plain("event.list").await?;
        let users: Vec<UserView> = cx.ask_plain("user.list").await?;
        let ways: Vec<InterfacesView> = cx.ask_plain("interface.list").await?;
        let rates: RatesView = cx.ask_plain("rate.list").await?;
        let queue: QueueView = cx.ask_plain("queue.show").await?;
        let placed: Vec<&str> = pools
            .iter()
            .filter(|pool| pool.datastore.is_some() || pool.drive_group.is_some())
            .map(|pool| pool.name.as_str())
            .collect();
        let tasks = tasks.into_iter().map(|task| Named(task_of(task, &placed))).collect();
        let mut limits: Vec<_> = rates.rates.into_iter().map(|one| Named(rate_of(one))).collect();
        limits.sort_by_cached_key(|one| serde_json::to_string(&one.0).unwrap_or_default());
        let of = |limits: Vec<simsim_server::api::LimitOf>| {
            limits.into_iter().map(|one| (one.name, one.jobs_max)).collect()
        };
        Ok(Self {
            version: VERSION,
            queue: QueueLimits {
                jobs_max: queue.jobs_max,
                clients: of(queue.clients),
                drive_groups: of(queue.drive_groups),
            },
            locations: in_order(locations).into_iter().map(Named).collect(),
            placed: clients
                .iter()
                .filter(|client| client.location.is_some())
                .map(|client| {
                    let (name, location) = (client.name.clone(), client.location.clone());
                    Named(ClientPlaceRequest { name, location })
                })
                .collect(),
            woken: clients
                .into_iter()
                .filter(|client| client.wake.is_some())
                .map(|client| Named(ClientWakeRequest { name: client.name, wake: client.wake }))
                .collect(),
            datastores: datastores.into_iter().map(datastore_of).collect(),
            interfaces: Some(ways.iter().filter(|one| one.set).map(interfaces_of).collect()),
            choices: Some(
                ways.into_iter()
                    .filter(|one| !one.choices.is_empty())
                    .map(|one| {
                        Named(ChooseInterfacesRequest { client: one.host, choices: one.choices })
                    })
                    .collect(),
            ),
            drive_groups: groups.into_iter().map(|one| Named(group_of(one))).collect(),
            calendars: calendars
                .into_iter()
                .map(|one| Named(CalendarRequest { name: one.name, days: one.days }))
                .collect(),
            schedules: schedules
                .into_iter()
                .map(|one| Named(ScheduleRequest { name: one.name, line: one.line }))
                .collect(),
            pools: pools.into_iter().filter(is_set).map(|one| Named(pool_of(one))).collect(),
            tasks,
            task_groups: task_groups
                .into_iter()
                .map(|one| Named(TaskGroupRequest { name: one.name, tasks: one.tasks }))
                .collect(),
            replications: replications
                .into_iter()
                .map(|one| Named(replications::request_of(one)))
                .collect(),
            migrations: moves.into_iter().map(|one| Named(migrations::request_of(one))).collect(),
            commands: commands.into_iter().map(|one| Named(command_of(one))).collect(),
            notifications: told
                .into_iter()
                .map(|one| Named(notifications::request_of(one)))
                .collect(),
            identity_providers: providers
                .into_iter()
                .map(|one| Named(identity_providers::request_of(one)))
                .collect(),
            users: Some(users.into_iter().map(user_of).collect()),
            events: events.into_iter().map(|one| Named(events::request_of(one))).collect(),
            rates: limits,
        })
    }
}

/// Each location behind the one that it is in, so that they can be added in this order.
fn in_order(mut left: Vec<LocationView>) -> Vec<LocationRequest> {
    let mut ordered: Vec<LocationRequest> = Vec::new();
    while !left.is_empty() {
        let is_ready = |view: &LocationView| {
            view.parent.is_none()
                || ordered.iter().any(|one| Some(&one.name) == view.parent.as_ref())
        };
        let at = left.iter().position(is_ready).unwrap_or(0);
        let view = left.remove(at);
        ordered.push(LocationRequest { name: view.name, parent: view.parent, note: view.note });
    }
    ordered
}

/// The default pool is there without anybody's doing.
fn is_set(pool: &PoolView) -> bool {
    let is_default = pool.name == DEFAULT_POOL && pool.policy == FOREVER;
    !is_default || pool.datastore.is_some() || pool.drive_group.is_some()
}

fn datastore_of(view: DatastoreView) -> DatastoreWanted {
    let drives = view.drives.iter();
    DatastoreWanted {
        name: view.name,
        node: Some(view.node),
        path: view.path,
        drives: drives
            .map(|one| DriveWanted { number: one.number, jobs_max: one.jobs_max })
            .collect(),
    }
}

fn interfaces_of(view: &InterfacesView) -> Named<SetInterfacesRequest> {
    let interfaces = view.interfaces.iter().map(|one| one.url.clone()).collect();
    Named(SetInterfacesRequest { host: view.host.clone(), interfaces })
}

/// Of who signs in by a provider, the groups there say what they may.
fn user_of(view: UserView) -> Named<UserRequest> {
    Named(UserRequest {
        name: view.name,
        grants: if view.provider.is_some() { Vec::new() } else { view.grants },
        disabled: view.disabled,
        password: None,
        provider: view.provider,
    })
}

fn group_of(view: DriveGroupView) -> DriveGroupRequest {
    let drives = view.drives.iter().map(|drive| drive.number).collect();
    DriveGroupRequest { name: view.name, drives }
}

fn command_of(view: CommandView) -> CommandRequest {
    CommandRequest {
        name: view.name,
        client: view.client,
        local_name: Some(view.local_name),
        timeout_s: view.timeout_s,
    }
}

fn pool_of(view: PoolView) -> AddPoolRequest {
    AddPoolRequest {
        name: view.name,
        policy: view.policy,
        datastore: view.datastore,
        drive: view.drive,
        drive_group: view.drive_group,
    }
}

/// `placed`: pools that say where the backups of their tasks go.
fn task_of(view: TaskView, placed: &[&str]) -> TaskRequest {
    let by_pool = view.pool.as_deref().is_some_and(|pool| placed.contains(&pool));
    let by_group = view.drive_group.is_some();
    TaskRequest {
        name: view.name,
        client: view.client,
        kind: view.kind,
        sources: view.sources,
        excludes: view.excludes,
        options: view.options,
        datastore: (!by_pool && !by_group).then_some(view.datastore),
        drive: view.drive.filter(|_| !by_pool),
        drive_group: view.drive_group.filter(|_| !by_pool),
        pool: view.pool,
        eol_days: view.eol_days,
    }
}

fn rate_of(view: simsim_server::api::RateView) -> AddRateRequest {
    let (host, network) = match view.counts_for.split_once(' ') {
        Some(("host", name)) => (Some(name.to_owned()), None),
        Some(("network", network)) => (None, Some(network.to_owned())),
        _ => (None, None),
    };
    AddRateRequest { host, network, rates: view.rates }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place_in_one_line() {
        let wrong = |text: &str| Configuration::parse(text).unwrap_err();
        let found = wrong("version = 1\n\n[queue]\njobs_max = 'ü' x\n");
        assert!(found.why.starts_with("line 4, column "), "{found:?}");
        assert_eq!(found.line.as_deref(), Some("jobs_max = 'ü' x"));
        let found = wrong("version = 1\n[[schedule]]\nname = 'x'\n");
        assert!(found.why.starts_with("line "), "{found:?}");
        assert!(found.why.contains("unknown field `schedule`"), "{found:?}");
        assert!(!found.why.contains('\n'), "{found:?}");
        let found = wrong("version = 1\n[[schedules]]\nname = 'x'\nline = 'dayly 1:00'\n");
        assert!(found.why.contains("did you mean 'daily'?"), "{found:?}");
        assert_eq!(
            wrong(""),
            "it does not say its version: begin with 'version = 1'".to_owned().into()
        );
    }
}
