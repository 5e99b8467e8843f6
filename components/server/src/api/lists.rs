//! What of a list is wanted: fields that are left out ask for nothing, those that are there must all fit.
//!
//! A `name` is a part of the name, or a pattern with `*`, `?`, `[…]` or `{…}` that the whole name fits; upper and lower
//! case are the same.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::{AccessMode, ClientState};
use simsim_model::TargetKind;
use simsim_schedule::EventKind;

use crate::people::Role;

/// Lists schedules, calendars or media pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NameListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
}

/// Lists clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    /// Those that stand in this location; for whoever sees the whole suite, also those in locations within it.
    pub location: Option<String>,
    pub state: Option<ClientState>,
    pub access_mode: Option<AccessMode>,
    /// Whether a control session is open now.
    pub connected: Option<bool>,
}

/// Lists datastores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatastoreListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    /// The host with the device that keeps it.
    pub node: Option<String>,
}

/// Lists locations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocationListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    /// Those that are in this one itself.
    pub parent: Option<String>,
}

/// Lists commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    pub client: Option<String>,
}

/// Lists notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NotificationListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    pub enabled: Option<bool>,
    /// Those that tell of this task: by name, by its client, or of all.
    pub task: Option<String>,
    /// Those that tell of this client, by name or of all.
    pub client: Option<String>,
}

/// Lists task groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskGroupListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    /// Those with this task.
    pub task: Option<String>,
}

/// Lists tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    pub client: Option<String>,
    pub kind: Option<TargetKind>,
    /// The media pool of its savesets; tasks that name none are in `default`.
    pub pool: Option<String>,
    /// Takes the right to see task groups.
    pub task_group: Option<String>,
    /// As it is shown: with a drive group, where its last job went.
    pub datastore: Option<String>,
    pub green: Option<bool>,
}

/// Lists events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    pub kind: Option<EventKind>,
    /// The name of the schedule by which it runs.
    pub schedule: Option<String>,
    /// Those that act on this task now.
    pub task: Option<String>,
    pub enabled: Option<bool>,
}

/// Lists users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    pub disabled: Option<bool>,
    /// Those who have this role, for everything or for a part.
    pub role: Option<Role>,
}

/// Whether a token may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    Valid,
    Expired,
    Revoked,
}

impl TokenState {
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenState::Valid => "valid",
            TokenState::Expired => "expired",
            TokenState::Revoked => "revoked",
        }
    }
}

/// Lists API tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiTokenListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    pub state: Option<TokenState>,
}

/// Lists access tokens for raw streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenListRequest {
    /// A part of the name, or a pattern such as `web*`.
    pub name: Option<String>,
    pub task: Option<String>,
    pub client: Option<String>,
    pub state: Option<TokenState>,
}
