//! Events: what runs by a schedule; runs: what became of it; the queue.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::RunFate;
use simsim_model::Level;
use simsim_schedule::{DaySet, EventKind, FollowUps, Priority, Schedule};

use super::{DrillOptions, ScrubOptions, VerifyDepth};

/// Adds an event, or replaces all of one but its name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRequest {
    pub name: String,
    #[serde(default = "backup")]
    pub kind: EventKind,
    /// The name of a schedule; none for what follows other events or is started by hand.
    #[serde(default)]
    pub schedule: Option<String>,
    /// A schedule's line, in place of a name: it is kept as the schedule of the event's name.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub at: Option<Schedule>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// 1 to 99; 0: runs always.
    #[serde(default)]
    #[schemars(with = "u8")]
    pub priority: Priority,
    /// Names of tasks, datastores or replications, as its kind has them.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// All tasks of these groups, too.
    #[serde(default)]
    pub task_groups: Vec<String>,
    /// All tasks or commands of the clients that stand in these locations, or beneath them, too.
    #[serde(default)]
    pub locations: Vec<String>,
    /// Everything that its kind can act on, also what is added later.
    #[serde(default)]
    pub all: bool,
    /// It never runs, and suppresses as if it did.
    #[serde(default)]
    pub blocking: bool,
    /// Backup days on which it does not run, such as `sat,sun,calendar:holidays`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub blocking_dates: DaySet,
    /// Events that its end starts.
    #[serde(default)]
    pub follow_ups: FollowUps,
    /// Backups; default: INCR.
    #[serde(default)]
    pub level: Option<Level>,
    /// The media pool of the backups, in place of what the task says: how long they live, and where they go if
    /// the pool says so.
    #[serde(default)]
    pub pool: Option<String>,
    /// Only this drive, in place of what the task says.
    #[serde(default)]
    pub drive: Option<u16>,
    /// Any drive of this group, in place of what the task says.
    #[serde(default)]
    pub drive_group: Option<String>,
    /// By which interface the data goes, in place of what the task says.
    #[serde(default)]
    pub interface: Option<String>,
    /// Verifications; default: every byte.
    #[serde(default)]
    pub depth: Option<VerifyDepth>,
    /// Verifications of datastores: a scrub, of what was checked longest ago, up to this budget.
    #[serde(default)]
    pub scrub: Option<ScrubOptions>,
    /// Restore drills; default: a sample of each task's newest saveset.
    #[serde(default)]
    pub drill: Option<DrillOptions>,
    /// So often a job that failed is tried again; at most 20.
    #[serde(default)]
    pub retries: u8,
    /// Before the first of these; before each further one twice as long, at most six hours. 0: 60.
    #[serde(default)]
    pub retry_after_s: u32,
    /// A job that works longer is ended, and has failed.
    #[serde(default)]
    pub timeout_s: Option<u32>,
}

fn backup() -> EventKind {
    EventKind::Backup
}

fn yes() -> bool {
    true
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    pub name: String,
    pub kind: EventKind,
    pub schedule: Option<String>,
    /// The line of its schedule.
    pub line: Option<String>,
    pub enabled: bool,
    #[schemars(with = "u8")]
    pub priority: Priority,
    /// As they were named.
    pub subjects: Vec<String>,
    pub task_groups: Vec<String>,
    pub locations: Vec<String>,
    pub all: bool,
    /// Everything that it acts on now.
    pub acts_on: Vec<String>,
    pub blocking: bool,
    #[schemars(with = "String")]
    pub blocking_dates: DaySet,
    pub follow_ups: FollowUps,
    pub level: Option<Level>,
    pub pool: Option<String>,
    pub drive: Option<u16>,
    pub drive_group: Option<String>,
    pub interface: Option<String>,
    pub depth: Option<VerifyDepth>,
    pub scrub: Option<ScrubOptions>,
    pub drill: Option<DrillOptions>,
    pub retries: u8,
    pub retry_after_s: u32,
    pub timeout_s: Option<u32>,
    /// When its schedule names it next, whatever becomes of that.
    pub next_unix_ms: Option<i64>,
    /// The same in the Server's local time.
    pub next: Option<String>,
    /// Its newest run.
    pub last: Option<RunView>,
    pub created_unix_ms: i64,
}

/// Lists runs, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunListRequest {
    pub event: Option<String>,
    pub subject: Option<String>,
    /// Only what did not run.
    pub only_not_run: bool,
    /// Only runs with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: 100.
    pub limit: u32,
}

/// What became of an occurrence of an event, for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    pub run: u64,
    pub event: String,
    pub kind: String,
    pub subject: String,
    /// `at INSTANT`, `after run N`, `after 'EVENT' CAUSE` (nothing of that could be queued), `by hand N`, `missed until INSTANT`.
    pub cause: String,
    pub backup_day: String,
    pub fate: RunFate,
    pub why: Option<String>,
    pub decided_unix_ms: i64,
    /// Its last attempt.
    pub job: Option<u64>,
    /// How that stands.
    pub state: Option<String>,
}

/// What starting an event by hand queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedView {
    pub runs: Vec<RunView>,
}

/// Holds a job that waits, or lets it go.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    pub job: u64,
    /// `false`: lets it go.
    pub hold: bool,
}

/// Pauses the queue.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PauseRequest {
    pub why: String,
}

/// Limits how many jobs run at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueLimitRequest {
    /// On this client; with neither this nor a drive group: in all.
    pub client: Option<String>,
    /// On all drives of this group together.
    pub drive_group: Option<String>,
    /// 1 or more; `None`: no limit.
    pub jobs_max: Option<u32>,
}

/// The queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// In all; `None`: as many as the drives take.
    pub jobs_max: Option<u32>,
    /// By client.
    pub clients: Vec<LimitOf>,
    /// By drive group.
    pub drive_groups: Vec<LimitOf>,
    pub paused_by: Option<String>,
    pub paused_since_unix_ms: Option<i64>,
    pub paused_why: Option<String>,
    /// What waits, in the order in which it starts.
    pub waiting: Vec<WaitingView>,
    pub running: u64,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitOf {
    pub name: String,
    pub jobs_max: u32,
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingView {
    pub job: u64,
    pub kind: String,
    pub task: String,
    pub client: String,
    /// Empty for what a person started.
    pub event: String,
    /// 100: first; else the priority of its event.
    pub rank: u8,
    pub queued_unix_ms: i64,
    pub start_by_unix_ms: Option<i64>,
    pub held_by: Option<String>,
    pub waits: Option<String>,
}
