//! Lays events out over a span of time: what runs, what does not and why, and what collides.
//!
//! Whole backup days are looked at, also those that the span only touches, because what is suppressed
//! follows from all of a day. The same arguments give the same plan, in the order of time and then of
//! the events.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::almanac::Almanac;
use crate::backup_day::{BackupDay, BackupDays};
use crate::bound::Bound;
use crate::error::ScheduleError;
use crate::event::{Event, EventKind, Place, Priority};
use crate::occurrences::{Occurrences, occurrences};
use crate::schedule::Schedule;

/// So many occurrences are laid out, each with all its subjects; a plan with more ends before the
/// backup day in which it would have more.
pub const PLAN_OCCURRENCES_MAX: usize = 200_000;
/// So many backup days are laid out; a longer plan ends before the next one.
pub const PLAN_DAYS_MAX: usize = 4_000;
/// Of a backup day that is longer than this before the span, or behind it, the rest is not looked at.
const DAY_LOOKED_AT_S: i64 = 40 * 24 * 3600;
/// So many others are named of a collision; the rest is counted.
pub const COLLISIONS_NAMED_MAX: usize = 8;

/// What a plan is made of.
#[derive(Debug, Clone)]
pub struct Programme {
    pub events: Vec<Event>,
    pub schedules: BTreeMap<String, Schedule>,
    pub backup_days: BackupDays,
    /// How many runs go on at once there; 1 where it says nothing.
    pub runs_at_once: BTreeMap<Bound, u32>,
    /// By event and subject: what its runs count against, the narrowest first. Where nothing is said of a
    /// subject, its runs count against the place of the event.
    pub bounds: BTreeMap<String, BTreeMap<String, Vec<Bound>>>,
}

impl Programme {
    /// What the run of an entry counts against.
    fn bounds_of(&self, entry: &Entry) -> Cow<'_, [Bound]> {
        let told = self.bounds.get(&entry.event).and_then(|event| event.get(&entry.subject));
        match told {
            Some(told) => Cow::Borrowed(told),
            None => Cow::Owned(entry.place.iter().cloned().map(Bound::from).collect()),
        }
    }
}

/// What becomes of an occurrence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum Fate {
    Runs,
    /// An event of higher priority has the backup day.
    Suppressed {
        /// The name of that event.
        by: String,
        priority: Priority,
    },
    /// A blocking date of the event itself.
    Blocked {
        /// Which of the blocking dates, as it is written there.
        by: String,
    },
    /// A blocking event: it does not run, and suppresses others.
    Blocks,
}

/// One occurrence of one event for one subject.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    #[serde(serialize_with = "instant")]
    pub at: Timestamp,
    /// The backup day, by the date on which it begins.
    #[serde(serialize_with = "day")]
    pub backup_day: Date,
    pub event: String,
    pub kind: EventKind,
    /// Empty for a backup-day change.
    pub subject: String,
    pub priority: Priority,
    pub expected_s: u64,
    /// Where the event says that it goes.
    pub place: Option<Place>,
    #[serde(flatten)]
    pub fate: Fate,
}

/// What two runs cannot both have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A run of the same kind and subject is expected to go on still.
    Subject(String),
    /// As many runs as it takes are expected to go on still.
    Bound {
        bound: Bound,
        /// How many those are.
        most: u32,
    },
}

/// A run that will have to wait, as far as expected durations tell.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Collision {
    /// The number of its entry in the plan.
    pub entry: usize,
    pub resource: Resource,
    /// Entries that go on still; [`COLLISIONS_NAMED_MAX`] at most.
    pub with: Vec<usize>,
    /// How many more there are.
    pub more: usize,
}

/// What will be.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Plan {
    /// In the order of time, then of the events, then of their subjects.
    pub entries: Vec<Entry>,
    /// In the order of entries.
    pub collisions: Vec<Collision>,
    /// The plan ends here, before the end of the span, because it would be too large.
    #[serde(serialize_with = "maybe_instant")]
    pub cut_at: Option<Timestamp>,
    /// How much was done: local days looked at, and occurrences with each of their subjects.
    pub steps: u64,
}

impl Plan {
    /// What becomes of an occurrence, if it is in the plan.
    pub fn fate(&self, event: &str, subject: &str, at: Timestamp) -> Option<&Fate> {
        let begin = self.entries.partition_point(|entry| entry.at < at);
        let same = self.entries.get(begin..)?.iter().take_while(|entry| entry.at == at);
        let mut found = same.filter(|entry| entry.event == event && entry.subject == subject);
        found.next().map(|entry| &entry.fate)
    }
}

/// The plan of `from` (included) to `until` (not included). Work grows with the number of occurrences
/// in the backup days that this touches, and of days for each event.
///
/// # Errors
/// A schedule, zone or calendar that is named is unknown; [`check`](crate::check) finds all of them.
pub fn plan(
    programme: &Programme,
    almanac: &Almanac,
    from: Timestamp,
    until: Timestamp,
) -> Result<Plan, ScheduleError> {
    if from >= until {
        return Ok(Plan::default());
    }
    let days = programme.backup_days.between(from, until, PLAN_DAYS_MAX, almanac)?;
    let around = SignedDuration::from_secs(DAY_LOOKED_AT_S);
    let begin = from.checked_sub(around).unwrap_or(Timestamp::MIN);
    let end = until.checked_add(around).unwrap_or(Timestamp::MAX);
    let mut queue = Queue::new(programme, almanac, &days, begin, end)?;
    let cut_at = days.last().map(|day| day.end).filter(|end| *end < until);
    let mut plan = Plan { steps: days.len() as u64, cut_at, ..Plan::default() };
    let mut full = false;
    let mut laid_out = 0;
    for day in days {
        let mut entries = Vec::new();
        while let Some((at, number)) = queue.next_before(day.end) {
            let event = &programme.events[number];
            laid_out += event.subjects.len().max(1);
            if laid_out > PLAN_OCCURRENCES_MAX {
                plan.cut_at = Some(day.begin.max(from));
                full = true;
                break;
            }
            let blocked = event.blocking_dates.hit(day.date, almanac)?;
            entries.extend(entries_of(event, at, &day, blocked));
        }
        if full {
            break;
        }
        suppress(&mut entries);
        plan.steps += entries.len() as u64;
        plan.entries
            .extend(entries.into_iter().filter(|entry| entry.at >= from && entry.at < until));
    }
    plan.steps += queue.days_looked_at();
    plan.collisions = collisions(&plan.entries, programme);
    Ok(plan)
}

/// The occurrences of all events in the order of time.
struct Queue<'a> {
    /// The number of an event and what is left of it.
    sources: Vec<(usize, Occurrences<'a>)>,
    /// The next occurrence of each source.
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl<'a> Queue<'a> {
    /// What lies in these days, but nothing before `begin` and after `end`.
    fn new(
        programme: &'a Programme,
        almanac: &'a Almanac,
        days: &[BackupDay],
        begin: Timestamp,
        end: Timestamp,
    ) -> Result<Self, ScheduleError> {
        let begin = days.first().map_or(begin, |day| day.begin.max(begin));
        let end = days.last().map_or(end, |day| day.end.min(end));
        let (mut sources, mut heap) = (Vec::new(), BinaryHeap::new());
        for (number, event) in
            programme.events.iter().enumerate().filter(|(_, event)| event.enabled)
        {
            let Some(name) = &event.schedule else { continue };
            let schedule = programme.schedules.get(name).ok_or_else(|| {
                ScheduleError::UnknownSchedule { event: event.name.clone(), schedule: name.clone() }
            })?;
            let mut source = occurrences(schedule, almanac, begin, end)?;
            heap.extend(source.next().map(|at| Reverse((at, sources.len()))));
            sources.push((number, source));
        }
        Ok(Self { sources, heap })
    }

    fn next_before(&mut self, end: Timestamp) -> Option<(Timestamp, usize)> {
        let Reverse((at, source)) =
            self.heap.peek().copied().filter(|Reverse((at, _))| *at < end)?;
        self.heap.pop();
        let (number, rest) = &mut self.sources[source];
        self.heap.extend(rest.next().map(|next| Reverse((next, source))));
        Some((at, *number))
    }

    fn days_looked_at(&self) -> u64 {
        self.sources.iter().map(|(_, source)| source.days_looked_at()).sum()
    }
}

fn entries_of(
    event: &Event,
    at: Timestamp,
    day: &BackupDay,
    blocked: Option<String>,
) -> Vec<Entry> {
    let fate = match blocked {
        Some(by) => Fate::Blocked { by },
        None if event.blocking => Fate::Blocks,
        None => Fate::Runs,
    };
    let entry = |subject: &str, expected_s| Entry {
        at,
        backup_day: day.date,
        event: event.name.clone(),
        kind: event.kind,
        subject: subject.to_owned(),
        priority: event.priority,
        expected_s,
        place: event.place.clone(),
        fate: fate.clone(),
    };
    match event.subjects.as_slice() {
        [] => vec![entry("", 0)],
        subjects => {
            subjects.iter().map(|subject| entry(&subject.name, subject.expected_s)).collect()
        }
    }
}

/// Of the entries of one backup day: those of a lower priority than the highest one of their kind and
/// subject do not run. What is blocked suppresses nothing; priority 0 neither does nor is.
fn suppress(entries: &mut [Entry]) {
    let mut highest: BTreeMap<(EventKind, String), (Priority, String)> = BTreeMap::new();
    let counts = |entry: &Entry| {
        entry.priority != Priority::ALWAYS && !matches!(entry.fate, Fate::Blocked { .. })
    };
    for entry in entries.iter().filter(|entry| counts(entry)) {
        let first = || (entry.priority, entry.event.clone());
        let best = highest.entry((entry.kind, entry.subject.clone())).or_insert_with(first);
        if entry.priority > best.0 {
            *best = first();
        }
    }
    for entry in entries.iter_mut().filter(|entry| counts(entry)) {
        let best = highest.get(&(entry.kind, entry.subject.clone()));
        if let Some((priority, by)) = best.filter(|best| best.0 > entry.priority) {
            entry.fate = Fate::Suppressed { by: by.clone(), priority: *priority };
        }
    }
}

/// Runs that go on, the one that ends first in front, each with its entry.
type GoingOn = BTreeSet<(Timestamp, usize)>;

fn collisions(entries: &[Entry], programme: &Programme) -> Vec<Collision> {
    let mut subjects: BTreeMap<(EventKind, &str), GoingOn> = BTreeMap::new();
    let mut bounds: BTreeMap<Bound, GoingOn> = BTreeMap::new();
    let mut found = Vec::new();
    for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.fate == Fate::Runs)
    {
        // Even what takes no time at all collides with what begins at the same instant.
        let expected_s = i64::try_from(entry.expected_s.max(1)).unwrap_or(i64::MAX);
        let end =
            entry.at.checked_add(SignedDuration::from_secs(expected_s)).unwrap_or(Timestamp::MAX);
        if entry.kind != EventKind::BackupDayChange {
            let going_on = subjects.entry((entry.kind, &entry.subject)).or_default();
            let resource = Resource::Subject(entry.subject.clone());
            found.extend(collision(going_on, 1, number, entry.at, end, resource));
        }
        let mut of_entry: Vec<Collision> = Vec::new();
        for bound in programme.bounds_of(entry).iter() {
            let most = programme.runs_at_once.get(bound).copied().unwrap_or(1).max(1);
            let going_on = match bounds.get_mut(bound) {
                Some(going_on) => going_on,
                None => bounds.entry(bound.clone()).or_default(),
            };
            let resource = Resource::Bound { bound: bound.clone(), most };
            let found = collision(going_on, most as usize, number, entry.at, end, resource);
            // A wider bound that the same runs fill says nothing new.
            let is_new = |one: &Collision| {
                of_entry.iter().all(|other| (&other.with, other.more) != (&one.with, one.more))
            };
            let found = found.filter(is_new);
            of_entry.extend(found);
        }
        found.extend(of_entry);
    }
    found
}

/// Lets what is over go, and says whether as many as there may be go on still.
fn collision(
    going_on: &mut GoingOn,
    most: usize,
    entry: usize,
    at: Timestamp,
    end: Timestamp,
    resource: Resource,
) -> Option<Collision> {
    while going_on.first().is_some_and(|first| first.0 <= at) {
        going_on.pop_first();
    }
    let collides = going_on.len() >= most;
    let with: Vec<usize> = going_on.iter().take(COLLISIONS_NAMED_MAX).map(|run| run.1).collect();
    let more = going_on.len() - with.len();
    going_on.insert((end, entry));
    collides.then_some(Collision { entry, resource, with, more })
}

fn instant<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn maybe_instant<S: serde::Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

fn day<S: serde::Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}
