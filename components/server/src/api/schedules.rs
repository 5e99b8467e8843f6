//! Calendars, schedules, task groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_schedule::{Calendar, Schedule};

/// Adds or changes a calendar.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarRequest {
    pub name: String,
    /// Its days, a rule a line or between `;`, as `docs/reference/schedules.md` says.
    #[schemars(with = "String")]
    pub days: Calendar,
}

/// Names a calendar, a schedule, a task group or an event.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameRequest {
    pub name: String,
}

/// One calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarView {
    pub name: String,
    #[schemars(with = "String")]
    pub days: Calendar,
    /// Who names it, such as `schedule 'nightly'`.
    pub users: Vec<String>,
    pub created_unix_ms: i64,
}

/// Adds or changes a schedule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    pub name: String,
    /// One line, such as `weekdays 22:00`.
    #[schemars(with = "String")]
    pub line: Schedule,
}

/// A line of a schedule, to be looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TryScheduleRequest {
    #[schemars(with = "String")]
    pub line: Schedule,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    pub name: String,
    #[schemars(with = "String")]
    pub line: Schedule,
    /// Who names it, such as `event 'nightly'`.
    pub users: Vec<String>,
    /// Its next occurrences, at most five, in the Server's local time with the zone's name.
    pub next: Vec<String>,
    pub next_unix_ms: Vec<i64>,
    pub created_unix_ms: i64,
}

/// Makes a task group, or gives one these tasks and no others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskGroupRequest {
    pub name: String,
    pub tasks: Vec<String>,
}

/// One task group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskGroupView {
    pub name: String,
    pub tasks: Vec<String>,
    /// Who names it, such as `event 'nightly'`.
    pub users: Vec<String>,
    pub created_unix_ms: i64,
}

/// What will run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PreviewRequest {
    /// From now; 0: 14. At most 366.
    pub days: u32,
    /// Only this event.
    pub event: Option<String>,
    /// Only what does not run, or collides.
    pub only_trouble: bool,
    /// 0: 1,000.
    pub limit: u32,
}

/// The plan of the days that lie ahead.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PreviewView {
    pub from_unix_ms: i64,
    pub until_unix_ms: i64,
    pub entries: Vec<PlannedView>,
    /// There are more entries than were asked for.
    pub more: u64,
    /// The plan ends here, because it would be too large.
    pub cut_at_unix_ms: Option<i64>,
}

/// One occurrence of one event for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedView {
    pub at_unix_ms: i64,
    /// The same in the Server's local time.
    pub at: String,
    /// The date on which its backup day begins.
    pub backup_day: String,
    pub event: String,
    pub kind: String,
    pub subject: String,
    pub priority: u8,
    /// Where it goes as things are: a drive with its datastore, a datastore with several drives, or a drive
    /// group; none for commands, and for what could not be queued now.
    pub place: Option<String>,
    /// Seconds that its last job took; 0: not known.
    pub expected_s: u64,
    /// `runs`, `suppressed`, `blocked`, `blocks`.
    pub fate: String,
    /// What keeps it from running; of one that runs, why it could not be queued as things are now.
    pub why: Option<String>,
    /// What it will have to wait for, as far as expected durations tell: another run of its subject, or a drive,
    /// drive group, datastore, client or queue that takes no more at once.
    pub collides: Vec<String>,
}
