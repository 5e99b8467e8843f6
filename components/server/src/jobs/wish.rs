//! What a job was asked to do, as kept with it in the catalog: a job that waits or was interrupted
//! needs nothing but its row to be understood.

use serde::{Deserialize, Serialize};
use simsim_catalog::{Datastore, Job, JobKind, NewJob, Task, Waiting};
use simsim_model::{Level, Overwrite, StoreId, TargetKind, escape_path};

use crate::ServerError;
use crate::api::{ScrubOptions, TaskOptions, VerifyDepth};

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub(crate) enum Wish {
    Backup(BackupWish),
    Restore(RestoreWish),
    /// Another tool reads a raw stream.
    Read(ReadWish),
    Verify(VerifyWish),
    Scrub(ScrubWish),
    Rebuild,
    Collect(CollectWish),
    Replicate(ReplicateWish),
    Migrate(MigrateWish),
    Heal(HealWish),
    Command(CommandWish),
    Drill(DrillWish),
}

/// A task as it was when the job was queued: later changes do not touch the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupWish {
    pub kind: TargetKind,
    /// Escaped paths.
    pub sources: Vec<String>,
    pub excludes: Vec<String>,
    pub options: TaskOptions,
    /// The level that was asked for.
    pub level: Level,
    pub eol_days: u32,
    /// Any drive of this group, in place of one datastore's.
    #[serde(default)]
    pub drive_group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoreWish {
    /// Escaped paths; empty: everything.
    pub paths: Vec<String>,
    pub patterns: Vec<String>,
    /// Escaped path of the place to restore beneath; `None`: where the files were.
    pub target: Option<String>,
    pub overwrite: Overwrite,
    pub specials: bool,
    pub owners: bool,
    pub dry_run: bool,
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Somebody names the copy: no other one is read.
    #[serde(default)]
    pub only_copy: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadWish {
    /// The device gives it, where it is on another host and the caller follows.
    pub redirect: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifyWish {
    pub depth: VerifyDepth,
    pub keys_to_device: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubWish {
    pub budget: ScrubOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CollectWish {
    pub over_budget: bool,
    /// First deletes what is expired, wherever it lies.
    #[serde(default)]
    pub expire: bool,
}

/// The relation is looked up when the job begins: what it says then counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicateWish {
    pub replication: String,
}

/// What the migration says when the job begins counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MigrateWish {
    pub migration: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealWish {
    pub replication: String,
    /// The datastore that has lost something.
    pub damaged: StoreId,
}

/// A command as it was when the job was queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandWish {
    /// Its name in the policy of the client's owner.
    pub local_name: String,
    #[serde(default)]
    pub timeout_s: Option<u32>,
}

/// Which saveset and which copy stand in the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DrillWish {
    /// The client whose data it is.
    pub of_client: String,
    pub seed: u64,
    /// Both 0: everything.
    pub files_max: u32,
    pub bytes_max: u64,
    /// Escaped; `None`: the client's own.
    #[serde(default)]
    pub folder: Option<String>,
    #[serde(default)]
    pub compare_source: bool,
    /// Somebody names the copy: no other one is read.
    #[serde(default)]
    pub only_copy: bool,
}

impl DrillWish {
    pub(crate) fn is_all(&self) -> bool {
        self.files_max == 0 && self.bytes_max == 0
    }
}

impl Wish {
    /// The drive group that a job may use.
    pub(crate) fn drive_group(&self) -> Option<&str> {
        match self {
            Wish::Backup(wish) => wish.drive_group.as_deref(),
            _ => None,
        }
    }

    /// Is it a backup of the server itself?
    pub(crate) fn is_self_backup(&self) -> bool {
        matches!(self, Wish::Backup(wish) if crate::recovery::is_self_backup(wish.kind, &wish.options))
    }

    /// Does its data come from, or go to, another tool, or from the server itself? Then no node of the
    /// suite works on it.
    pub(crate) fn is_raw(&self) -> bool {
        match self {
            Wish::Backup(wish) => {
                crate::streams::is_external(wish.kind, &wish.options) || self.is_self_backup()
            }
            Wish::Read(_) => true,
            _ => false,
        }
    }

    pub(crate) fn to_text(&self) -> Result<String, ServerError> {
        serde_json::to_string(self).map_err(|error| ServerError::Lost(error.to_string()))
    }

    pub(crate) fn of(job: &Job) -> Result<Self, ServerError> {
        serde_json::from_str(&job.request).map_err(|error| {
            ServerError::invalid(format!(
                "what job {} was asked cannot be read: {error}",
                job.number
            ))
        })
    }
}

/// A backup of a task as it is now. `interfaces`: by which its data goes, in place of what the task says.
pub(crate) fn backup_of(
    task: Task,
    level: Level,
    requested_by: String,
    interfaces: &[String],
) -> Result<NewJob, ServerError> {
    let settings = task.settings;
    let mut options = crate::desk::options_of(&settings.options)?;
    if !interfaces.is_empty() {
        options.interfaces = interfaces.to_vec();
    }
    let wish = Wish::Backup(BackupWish {
        kind: settings.kind,
        sources: settings.sources.iter().map(|path| escape_path(path)).collect(),
        excludes: settings.excludes,
        options,
        level,
        eol_days: settings.eol_days,
        drive_group: settings.drive_group,
    });
    Ok(NewJob {
        kind: JobKind::Backup,
        task: Some(task.id),
        task_name: settings.name,
        client: task.client_id,
        store: settings.store,
        domain: None,
        drive: settings.drive,
        level: Some(level),
        saveset: None,
        pool: settings.pool,
        request: wish.to_text()?,
        requested_by,
        waiting: Waiting::default(),
    })
}

/// A job that a device does on all of a datastore.
pub(crate) fn whole_datastore(
    datastore: &Datastore,
    kind: JobKind,
    wish: &Wish,
    requested_by: String,
    waiting: Waiting,
) -> Result<NewJob, ServerError> {
    Ok(NewJob {
        kind,
        task: None,
        task_name: String::new(),
        client: datastore.device,
        store: datastore.store,
        domain: None,
        drive: None,
        level: None,
        saveset: None,
        pool: None,
        request: wish.to_text()?,
        requested_by,
        waiting,
    })
}

/// Paths from their escaped texts.
pub(crate) fn paths_of(texts: &[String]) -> Result<Vec<Vec<u8>>, ServerError> {
    texts
        .iter()
        .map(|text| {
            simsim_model::unescape_path(text).ok_or_else(|| {
                ServerError::invalid(format!(
                    "'{text}': a backslash must begin an escape such as \\x5c"
                ))
            })
        })
        .collect()
}
