//! Tasks: what to back up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::TargetKind;

use super::{GreenWithin, Health};

/// Further options of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskOptions {
    /// Leave out directories that a `CACHEDIR.TAG` marks.
    pub exclude_caches: bool,
    /// Do not descend into other file systems.
    pub one_file_system: bool,
    /// Leave out larger files.
    pub file_bytes_max: Option<u64>,
    /// Stream tasks: the local name of a command in the policy of the client's owner.
    pub stream_command: Option<String>,
    /// Stream tasks: the streams come from other people's tools, by HTTPS with a token or a ticket; no
    /// client of the suite reads anything.
    pub external: bool,
    /// Stream tasks of the server's own host: the server itself, with its catalog, keys and settings, sealed for
    /// the recovery kit.
    #[serde(skip_serializing_if = "is_not")]
    pub self_backup: bool,
    /// External tasks: callers are sent to the device's host with their stream, which then gets the
    /// key for it; else the server passes it on, sealed.
    pub redirect: bool,
    /// By which of the device's interfaces the data goes: URLs, or protocols such as `https`, in
    /// order of preference; empty: as the client says.
    pub interfaces: Vec<String>,
    /// Runs on the client before anything is read: a name in the policy of its owner.
    pub pre_command: Option<String>,
    /// Runs on the client afterwards, whatever became of the backup: a name in the policy of its owner.
    pub post_command: Option<String>,
    /// So long each of the two may run; `None`: as the policy says, else an hour.
    pub command_timeout_s: Option<u32>,
    /// How old what makes the task green may be.
    pub green: GreenWithin,
}

impl TaskOptions {
    pub(crate) fn has_commands(&self) -> bool {
        self.pre_command.is_some() || self.post_command.is_some()
    }
}

/// Tasks of before had no such word, and one that is not set stays away from their texts.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_not(set: &bool) -> bool {
    !*set
}

/// A task, to be added or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    pub name: String,
    pub client: String,
    /// Default: paths of a file system.
    #[serde(default = "path_kind")]
    pub kind: TargetKind,
    /// Absolute paths, escaped; at least one.
    pub sources: Vec<String>,
    /// In the syntax of gitignore.
    #[serde(default)]
    pub excludes: Vec<String>,
    #[serde(default)]
    pub options: TaskOptions,
    /// `None`: the only datastore there is.
    #[serde(default)]
    pub datastore: Option<String>,
    /// `None`: any drive of the datastore.
    #[serde(default)]
    pub drive: Option<u32>,
    /// Any drive of this group, in place of a datastore or a drive.
    #[serde(default)]
    pub drive_group: Option<String>,
    /// The media pool of its savesets; one that stands for a place stands in place of datastore, drive
    /// and group. `None`: the default one.
    #[serde(default)]
    pub pool: Option<String>,
    /// Days for which a saveset cannot be removed; 0: no lock.
    #[serde(default)]
    pub eol_days: u32,
}

fn path_kind() -> TargetKind {
    TargetKind::Path
}

/// Names a task.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskNameRequest {
    pub name: String,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    pub name: String,
    pub client: String,
    pub kind: TargetKind,
    pub sources: Vec<String>,
    pub excludes: Vec<String>,
    pub options: TaskOptions,
    /// With a drive group: where its last job went, else one of the group's.
    pub datastore: String,
    pub drive: Option<u32>,
    pub drive_group: Option<String>,
    /// Where it names none, it is the default one.
    pub pool: Option<String>,
    pub eol_days: u32,
    pub created_unix_ms: i64,
    /// Its newest backup.
    pub last_job: Option<u64>,
    /// How that stands, such as `finished`.
    pub last_state: Option<String>,
    /// Whether it is green, and what is missing.
    pub health: Health,
}
