//! What runs by a schedule, and whether all events together make sense.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use simsim_model::Level;

use crate::almanac::Almanac;
use crate::calendar::DaySet;
use crate::schedule::Schedule;

/// What an event does.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Subjects are tasks.
    Backup,
    /// Restores of tasks' savesets to a scratch place, compared there. Subjects are tasks.
    RestoreDrill,
    /// Subjects are replications.
    Replication,
    /// Subjects are migrations.
    Migration,
    /// Subjects are datastores or tasks.
    Verification,
    /// Subjects are datastores.
    GarbageCollection,
    /// Subjects are commands.
    Command,
    /// The next backup day begins. It has no subject.
    BackupDayChange,
}

impl EventKind {
    pub const ALL: [EventKind; 8] = [
        EventKind::Backup,
        EventKind::RestoreDrill,
        EventKind::Replication,
        EventKind::Migration,
        EventKind::Verification,
        EventKind::GarbageCollection,
        EventKind::Command,
        EventKind::BackupDayChange,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::Backup => "backup",
            EventKind::RestoreDrill => "restore-drill",
            EventKind::Replication => "replication",
            EventKind::Migration => "migration",
            EventKind::Verification => "verification",
            EventKind::GarbageCollection => "garbage-collection",
            EventKind::Command => "command",
            EventKind::BackupDayChange => "backup-day-change",
        }
    }
}

/// 1 to 99: of several events of one kind for one subject on one backup day those with the highest run.
/// 0: runs always, and suppresses nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "u8", try_from = "u8")]
pub struct Priority(u8);

impl Priority {
    pub const ALWAYS: Priority = Priority(0);
    pub const HIGHEST: Priority = Priority(99);

    /// `None` above 99.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::HIGHEST.0 { Some(Self(number)) } else { None }
    }

    pub const fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// 1: lower than whatever somebody chooses.
    fn default() -> Self {
        Self(1)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Self::new(number).ok_or_else(|| format!("a priority is 0 to 99, not {number}"))
    }
}

/// Where data of a run goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Drive(u16),
    /// A drive group: whichever of its drives is free.
    Group(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Drive(number) => write!(f, "drive {number}"),
            Place::Group(name) => write!(f, "drive group '{name}'"),
        }
    }
}

/// What an event acts on, and for how long that is expected to take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    pub name: String,
    /// Seconds, such as the last run took; 0: not known, and then it collides with nothing after its
    /// first instant.
    #[serde(default)]
    pub expected_s: u64,
}

/// Events that the end of a run starts, by name.
#[derive(
    Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields)]
pub struct FollowUps {
    /// After *finished*.
    pub success: Vec<String>,
    /// After *finished with errors*.
    pub warning: Vec<String>,
    /// After every other outcome.
    pub failure: Vec<String>,
}

/// Which list of [`FollowUps`] an outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Success,
    Warning,
    Failure,
}

impl Ending {
    pub fn of(outcome: simsim_model::Outcome) -> Self {
        match outcome {
            simsim_model::Outcome::Finished => Ending::Success,
            simsim_model::Outcome::FinishedWithErrors => Ending::Warning,
            _ => Ending::Failure,
        }
    }
}

impl FollowUps {
    pub fn after(&self, ending: Ending) -> &[String] {
        match ending {
            Ending::Success => &self.success,
            Ending::Warning => &self.warning,
            Ending::Failure => &self.failure,
        }
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.success.iter().chain(&self.warning).chain(&self.failure)
    }
}

/// What runs, and how. In documents a field that is not known is refused: a slip of the pen is no
/// default.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Unique among all events.
    pub name: String,
    pub kind: EventKind,
    /// The name of its schedule; none for what only follows other events or is started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub priority: Priority,
    /// A task group is written out by the caller, so that each task stands for itself.
    #[serde(default)]
    pub subjects: Vec<Subject>,
    /// It never runs, and suppresses as if it did.
    #[serde(default)]
    pub blocking: bool,
    /// Backup days on which it does not run.
    #[serde(default)]
    pub blocking_dates: DaySet,
    #[serde(default)]
    pub follow_ups: FollowUps,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The media pool, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The data address that clients use, such as `https://vault:11443`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

fn yes() -> bool {
    true
}

impl Event {
    /// An event with the least: everything else has its default.
    pub fn new(name: impl Into<String>, kind: EventKind) -> Self {
        Self {
            name: name.into(),
            kind,
            schedule: None,
            enabled: true,
            priority: Priority::default(),
            subjects: Vec::new(),
            blocking: false,
            blocking_dates: DaySet::default(),
            follow_ups: FollowUps::default(),
            level: None,
            pool: None,
            place: None,
            interface: None,
        }
    }
}

/// Why events cannot be taken as they are. Each says which event and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Trouble {
    #[error("two events have the name '{0}': rename one")]
    NameTwice(String),
    #[error("event '{event}' names schedule '{schedule}', which is not there")]
    UnknownSchedule { event: String, schedule: String },
    #[error("{what} names calendar '{calendar}', which is not there")]
    UnknownCalendar { what: String, calendar: String },
    #[error(
        "schedule '{schedule}' names time zone '{zone}', which is not known; such as Europe/Berlin"
    )]
    UnknownZone { schedule: String, zone: String },
    #[error("event '{event}' is followed by '{follow_up}', which is not there")]
    UnknownFollowUp { event: String, follow_up: String },
    #[error("follow-ups go in a circle: {}; take one of them out", .0.join(" → "))]
    Circle(Vec<String>),
    #[error(
        "event '{0}' has priority 0, runs always, and so can have no blocking dates and block nothing: give it 1 to 99"
    )]
    AlwaysAndBlocked(String),
    #[error("event '{event}' of kind {kind} needs a subject")]
    NoSubject { event: String, kind: &'static str },
    #[error("event '{0}' changes the backup day and has no subject: take it out")]
    SubjectOfDayChange(String),
    #[error(
        "event '{0}' changes the backup day, which has no job that ends, so nothing would start its follow-ups: take them out, and give them a schedule"
    )]
    FollowUpOfDayChange(String),
    #[error("event '{0}' names a level, which only backups have: take it out")]
    LevelOfOther(String),
}

/// Everything that is wrong with events and schedules taken together, in order; nothing if they can be
/// taken.
pub fn check(
    events: &[Event],
    schedules: &BTreeMap<String, Schedule>,
    almanac: &Almanac,
) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for (name, schedule) in schedules {
        let what = format!("schedule '{name}'");
        troubles.extend(unknown_calendars(&what, schedule.calendars(), almanac));
        if let Some(zone) = schedule.zone().filter(|zone| almanac.zone(Some(zone)).is_err()) {
            troubles.push(Trouble::UnknownZone { schedule: name.clone(), zone: zone.to_owned() });
        }
    }
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        let name = &event.name;
        if numbers.insert(name, number).is_some() {
            troubles.push(Trouble::NameTwice(name.clone()));
        }
        if let Some(schedule) = event.schedule.as_ref().filter(|s| !schedules.contains_key(*s)) {
            troubles
                .push(Trouble::UnknownSchedule { event: name.clone(), schedule: schedule.clone() });
        }
        let what = format!("event '{name}'");
        troubles.extend(unknown_calendars(&what, event.blocking_dates.calendars(), almanac));
        if event.priority == Priority::ALWAYS
            && (event.blocking || !event.blocking_dates.is_empty())
        {
            troubles.push(Trouble::AlwaysAndBlocked(name.clone()));
        }
        match event.kind {
            EventKind::BackupDayChange if !event.subjects.is_empty() => {
                troubles.push(Trouble::SubjectOfDayChange(name.clone()));
            }
            EventKind::BackupDayChange => {}
            kind if event.subjects.is_empty() => {
                troubles.push(Trouble::NoSubject { event: name.clone(), kind: kind.as_str() });
            }
            _ => {}
        }
        if event.kind == EventKind::BackupDayChange && event.follow_ups.all().next().is_some() {
            troubles.push(Trouble::FollowUpOfDayChange(name.clone()));
        }
        if event.level.is_some() && event.kind != EventKind::Backup {
            troubles.push(Trouble::LevelOfOther(name.clone()));
        }
    }
    for event in events {
        for follow_up in event.follow_ups.all().filter(|name| !numbers.contains_key(name.as_str()))
        {
            let follow_up = follow_up.clone();
            troubles.push(Trouble::UnknownFollowUp { event: event.name.clone(), follow_up });
        }
    }
    troubles.extend(circle(events, &numbers).map(Trouble::Circle));
    troubles
}

fn unknown_calendars<'a>(
    what: &str,
    named: impl Iterator<Item = &'a str>,
    almanac: &Almanac,
) -> Vec<Trouble> {
    let unknown = named.filter(|name| almanac.calendar(name).is_err());
    let trouble =
        |name: &str| Trouble::UnknownCalendar { what: what.to_owned(), calendar: name.to_owned() };
    unknown.map(trouble).collect()
}

/// A circle of follow-ups, from an event back to it, if there is one. Each event and each follow-up is
/// looked at once.
fn circle(events: &[Event], numbers: &BTreeMap<&str, usize>) -> Option<Vec<String>> {
    let next: Vec<Vec<usize>> = events
        .iter()
        .map(|event| {
            let known =
                event.follow_ups.all().filter_map(|name| numbers.get(name.as_str()).copied());
            known.collect::<BTreeSet<usize>>().into_iter().collect()
        })
        .collect();
    let mut done = vec![false; events.len()];
    for begin in 0..events.len() {
        // The way from the beginning, each with how many of its follow-ups were looked at.
        let mut way: Vec<(usize, usize)> = if done[begin] { Vec::new() } else { vec![(begin, 0)] };
        while let Some((here, looked_at)) = way.last_mut() {
            let here = *here;
            let Some(there) = next[here].get(*looked_at).copied() else {
                done[here] = true;
                way.pop();
                continue;
            };
            *looked_at += 1;
            if let Some(at) = way.iter().position(|(step, _)| *step == there) {
                let steps = way[at..].iter().map(|(step, _)| *step).chain([there]);
                return Some(steps.map(|step| events[step].name.clone()).collect());
            }
            if !done[there] {
                way.push((there, 0));
            }
        }
    }
    None
}
