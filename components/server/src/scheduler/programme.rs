//! What the catalog holds of calendars, schedules, task groups and events, read as values of
//! `ground/schedule`.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use simsim_catalog::{Catalog, CatalogError, ClientPlaces, DatastoreState, EventRow};
use simsim_schedule::{
    Almanac, BackupDays, Calendar, Considered, Event, EventKind, Programme, Schedule, Subject,
    Zones,
};

use crate::ServerError;
use crate::api::{DrillOptions, ScrubOptions, VerifyDepth};
use crate::streams::is_external;

/// When backup days change where no event says so.
const BACKUP_DAY_CHANGE: &str = "daily 08:00";

/// What an event says beside what `ground/schedule` knows of: kept in its row as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventDocument {
    /// Its subjects are those that are named one by one.
    pub event: Event,
    /// All tasks of these groups are subjects, too.
    #[serde(default)]
    pub task_groups: Vec<String>,
    /// All tasks or commands of the clients in these locations are subjects, too.
    #[serde(default)]
    pub locations: Vec<String>,
    /// Whatever its kind can act on is a subject, also what is added later.
    #[serde(default)]
    pub all: bool,
    /// So often a failed job is tried again.
    #[serde(default)]
    pub retries: u8,
    /// Before the first of these; twice as long before each further one.
    #[serde(default)]
    pub retry_after_s: u32,
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// Verifications only.
    #[serde(default)]
    pub depth: Option<VerifyDepth>,
    /// Verifications of datastores only.
    #[serde(default)]
    pub scrub: Option<ScrubOptions>,
    /// Restore drills only.
    #[serde(default)]
    pub drill: Option<DrillOptions>,
}

/// One event, ready to be decided on.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub row: EventRow,
    pub document: EventDocument,
}

impl Loaded {
    /// The time whose occurrences were decided on. One that cannot be read, or is not there, begins now.
    pub(crate) fn considered(&self, now: Timestamp) -> Considered {
        let kept = self.row.considered.as_deref();
        let kept = kept.and_then(|text| serde_json::from_str(text).ok());
        kept.unwrap_or_else(|| Considered::until(now))
    }
}

/// All events with what they stand on.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub almanac: Almanac,
    /// Its events have all their subjects written out, in the order of `loaded`. What bounds their runs is
    /// worked out only for who looks ahead.
    pub programme: Programme,
    pub loaded: Vec<Loaded>,
}

impl Setup {
    /// Reads everything. Errors: `Corrupt` for a text in the catalog that cannot be read.
    pub(crate) fn read(catalog: &Catalog) -> Result<Self, SetupError> {
        let almanac = almanac(&catalog.calendars()?)?;
        let mut schedules = BTreeMap::new();
        for schedule in catalog.schedules()? {
            let parsed: Schedule = parsed("schedule", &schedule.name, &schedule.text)?;
            schedules.insert(schedule.name, parsed);
        }
        let subjects = Subjects::read(catalog)?;
        let (mut loaded, mut events) = (Vec::new(), Vec::new());
        for row in catalog.events()? {
            let document: EventDocument =
                serde_json::from_str(&row.document).map_err(|error| SetupError::Unreadable {
                    noun: "event",
                    name: row.name.clone(),
                    why: error.to_string(),
                })?;
            events.push(subjects.written_out(&document));
            loaded.push(Loaded { row, document });
        }
        let backup_days = backup_days(&events, &schedules)?;
        let programme = Programme {
            events,
            schedules,
            backup_days,
            runs_at_once: BTreeMap::new(),
            bounds: BTreeMap::new(),
        };
        Ok(Self { almanac, programme, loaded })
    }

    /// The schedule of an event, where it has one.
    pub(crate) fn schedule(&self, event: &Event) -> Option<&Schedule> {
        self.programme.schedules.get(event.schedule.as_ref()?)
    }
}

/// Why the programme cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("{noun} '{name}' in the catalog cannot be read: {why}")]
    Unreadable { noun: &'static str, name: String, why: String },
    #[error(transparent)]
    Schedule(#[from] simsim_schedule::ScheduleError),
    #[error("{0}")]
    Refused(String),
}

impl SetupError {
    pub(crate) fn text(error: serde_json::Error) -> Self {
        SetupError::Refused(error.to_string())
    }
}

impl From<SetupError> for ServerError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Catalog(error) => error.into(),
            other => ServerError::invalid(other.to_string()),
        }
    }
}

fn parsed<T: std::str::FromStr<Err = simsim_schedule::ParseError>>(
    noun: &'static str,
    name: &str,
    text: &str,
) -> Result<T, SetupError> {
    text.parse().map_err(|error: simsim_schedule::ParseError| SetupError::Unreadable {
        noun,
        name: name.to_owned(),
        why: error.to_string(),
    })
}

/// The host's zones, its own zone, and these calendars.
pub(crate) fn almanac(calendars: &[simsim_catalog::NamedText]) -> Result<Almanac, SetupError> {
    let own = TimeZone::system();
    let zones = || Zones::of(TimeZoneDatabase::from_env());
    let own = own.iana_name().unwrap_or("UTC");
    // A host whose own zone has no name that its database knows counts in UTC.
    let mut almanac = Almanac::new(zones(), own).or_else(|_| Almanac::new(zones(), "UTC"))?;
    for calendar in calendars {
        let days: Calendar = parsed("calendar", &calendar.name, &calendar.text)?;
        almanac = almanac.with_calendar(calendar.name.clone(), days);
    }
    Ok(almanac)
}

/// The schedule of the enabled event that changes the backup day; of several the first by name.
fn backup_days(
    events: &[Event],
    schedules: &BTreeMap<String, Schedule>,
) -> Result<BackupDays, SetupError> {
    let mut changes =
        events.iter().filter(|event| event.kind == EventKind::BackupDayChange && event.enabled);
    let named = changes.find_map(|event| schedules.get(event.schedule.as_ref()?));
    let change = match named {
        Some(schedule) => schedule.clone(),
        None => parsed("schedule", "of the backup-day change", BACKUP_DAY_CHANGE)?,
    };
    Ok(BackupDays::changing(change))
}

/// A task or a command.
#[derive(Debug, Clone)]
struct OfClient {
    name: String,
    client: String,
}

/// What events can act on.
#[derive(Debug, Clone)]
struct Subjects {
    tasks: Vec<OfClient>,
    groups: HashMap<String, Vec<String>>,
    places: ClientPlaces,
    datastores: Vec<String>,
    replications: Vec<String>,
    migrations: Vec<String>,
    commands: Vec<OfClient>,
    /// Seconds, by kind and name.
    durations: HashMap<(String, String), u64>,
}

impl Subjects {
    fn read(catalog: &Catalog) -> Result<Self, CatalogError> {
        let mut tasks = Vec::new();
        for task in catalog.tasks()? {
            let options = serde_json::from_str(&task.settings.options).unwrap_or_default();
            if !is_external(task.settings.kind, &options) {
                tasks.push(OfClient { name: task.settings.name, client: task.settings.client });
            }
        }
        let datastores = catalog.datastores()?.into_iter();
        let datastores = datastores.filter(|one| one.state == DatastoreState::Active);
        let groups = catalog.task_groups()?.into_iter();
        let durations = catalog.last_durations_s()?.into_iter();
        let commands = catalog.commands()?.into_iter();
        Ok(Self {
            tasks,
            groups: groups.map(|group| (group.name, group.tasks)).collect(),
            datastores: datastores.map(|one| one.name).collect(),
            replications: catalog.replications()?.into_iter().map(|one| one.name).collect(),
            migrations: catalog.migrations()?.into_iter().map(|one| one.name).collect(),
            commands: commands.map(|one| OfClient { name: one.name, client: one.client }).collect(),
            places: catalog.client_places()?,
            durations: durations.map(|(kind, name, s)| ((kind, name), s)).collect(),
        })
    }

    /// The event with every subject by name, each once, with what its last job took.
    fn written_out(&self, document: &EventDocument) -> Event {
        let mut event = document.event.clone();
        let mut names: Vec<String> =
            event.subjects.iter().map(|subject| subject.name.clone()).collect();
        for group in &document.task_groups {
            names.extend(self.groups.get(group).into_iter().flatten().cloned());
        }
        let of_kind = match event.kind {
            EventKind::Command => &self.commands,
            _ => &self.tasks,
        };
        for location in &document.locations {
            let clients = self.places.get(location).map(Vec::as_slice).unwrap_or_default();
            let there = of_kind.iter().filter(|one| clients.contains(&one.client));
            names.extend(there.map(|one| one.name.clone()));
        }
        if document.all {
            let all = || of_kind.iter().map(|one| one.name.clone()).collect();
            names.extend(match event.kind {
                EventKind::Backup | EventKind::RestoreDrill | EventKind::Command => all(),
                EventKind::Verification | EventKind::GarbageCollection => self.datastores.clone(),
                EventKind::Replication => self.replications.clone(),
                EventKind::Migration => self.migrations.clone(),
                EventKind::BackupDayChange => Vec::new(),
            });
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let kind = match event.kind {
            EventKind::Backup => "backup",
            EventKind::Replication => "replicate",
            EventKind::Migration => "migrate",
            EventKind::Verification => "verify",
            EventKind::GarbageCollection => "collect",
            EventKind::Command => "command",
            EventKind::RestoreDrill => "drill",
            _ => "",
        };
        let expected =
            |name: &String| self.durations.get(&(kind.to_owned(), name.clone())).copied();
        event.subjects = names
            .into_iter()
            .map(|name| Subject { expected_s: expected(&name).unwrap_or(0), name })
            .collect();
        event
    }
}
