//! `simsim event`: what runs by a schedule, and what became of it.

use simsim_schedule::{DaySet, EventKind, FollowUps, Priority};
use simsim_server::api::{
    EventRequest, EventView, NameRequest, RunListRequest, RunView, StartedView, VerifyDepth,
};

use super::backup::LevelChoice;
use super::context::Context;
use super::drills::DrillArguments;
use super::lists;
use super::schedules;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{lasting_roughly, parse_size, when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum EventVerb {
    /// Add an event: what runs by itself, and when
    Add {
        /// Its name
        name: String,
        /// What it does
        #[arg(long, value_name = "KIND", default_value = "backup")]
        kind: KindChoice,
        /// It is there, and does not run yet
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        settings: EventArguments,
    },
    /// Change an event: what is given replaces what there is, the rest stays
    Change {
        /// The event
        name: String,
        #[command(flatten)]
        settings: EventArguments,
    },
    /// Let an event run by its schedule; it counts from now
    Enable {
        /// The event
        name: String,
    },
    /// Let an event not run by its schedule any more
    Disable {
        /// The event
        name: String,
    },
    /// List events, with what comes next
    List(lists::Events),
    /// Show all about an event
    Show {
        /// The event
        name: String,
    },
    /// Start an event now, whatever its schedule and priority say
    Run {
        /// The event
        name: String,
    },
    /// List what became of occurrences, the newest first: what ran, and why others did not
    Runs {
        /// Only of this event
        event: Option<String>,
        /// Only of this task, datastore or replication
        #[arg(long)]
        subject: Option<String>,
        /// Only what did not run
        #[arg(long)]
        not_run: bool,
        /// Only runs with a lower number: what came before
        #[arg(long, value_name = "RUN")]
        before: Option<u64>,
        /// At most so many, the newest
        #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 25)]
        limit: u32,
    },
    /// Remove an event; what it ran stays
    Remove {
        /// The event
        name: String,
    },
}

#[derive(clap::Args, Debug, Default)]
pub struct EventArguments {
    /// What it acts on: tasks; datastores for garbage-collection and verification; replications; migrations
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<String>,
    /// All tasks of this task group, too; may be repeated
    #[arg(long = "task-group", value_name = "GROUP")]
    task_groups: Vec<String>,
    /// All tasks or commands of the clients in this location and beneath it, too; may be repeated; 'none': of none
    #[arg(long = "location", value_name = "LOCATION")]
    locations: Vec<String>,
    /// Everything that there is, and whatever is added later
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    all: Option<bool>,
    /// When, such as 'weekdays 22:00'; kept as a schedule of the event's name
    #[arg(long, value_name = "LINE", conflicts_with = "schedule")]
    at: Option<String>,
    /// When, by the name of a schedule; 'none': only by hand, or after other events
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// 1 to 99: of events of one kind for one subject on one backup day the highest runs; 0: always
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=99))]
    priority: Option<u8>,
    /// Backups: what is read again
    #[arg(long, value_name = "LEVEL")]
    level: Option<LevelChoice>,
    /// Backups: the media pool, in place of what the task says; 'none': as the task says
    #[arg(long)]
    pool: Option<String>,
    /// Only this drive, in place of what the task says
    #[arg(long, value_name = "NUMBER", conflicts_with = "drive_group")]
    drive: Option<u16>,
    /// Any drive of this group, in place of what the task says
    #[arg(long, value_name = "GROUP")]
    drive_group: Option<String>,
    /// By which interface the data goes, in place of what the task says
    #[arg(long)]
    interface: Option<String>,
    /// Verifications: read every byte
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    bytes: Option<bool>,
    /// Verifications of datastores: only what was checked longest ago, at most so much a run, such as 200GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    scrub_size: Option<u64>,
    /// The same, at most so many minutes a run
    #[arg(long, value_name = "NUMBER")]
    scrub_minutes: Option<u32>,
    #[command(flatten)]
    drill: DrillArguments,
    /// It never runs, and suppresses events of lower priority as if it did
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    blocking: Option<bool>,
    /// Backup days on which it does not run, such as 'sat,sun,2026-12-24,calendar:holidays'; '': none
    #[arg(long, value_name = "DAYS")]
    blocking_dates: Option<String>,
    /// Start this event when all its jobs have finished; may be repeated; 'none': nothing
    #[arg(long, value_name = "EVENT")]
    on_success: Vec<String>,
    /// Start this event when one of its jobs finished with errors, and none failed
    #[arg(long, value_name = "EVENT")]
    on_warning: Vec<String>,
    /// Start this event when one of its jobs failed, or none of them could be queued
    #[arg(long, value_name = "EVENT")]
    on_failure: Vec<String>,
    /// Try a job that failed so often again
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u8).range(0..=20))]
    retries: Option<u8>,
    /// Minutes before the first of these; before each further one twice as long, at most six hours
    #[arg(long, value_name = "MINUTES")]
    retry_after: Option<u32>,
    /// Minutes after which a job is ended, and has failed; 0: never
    #[arg(long, value_name = "MINUTES")]
    timeout: Option<u32>,
}

/// What an event does.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindChoice {
    /// Backs tasks up
    Backup,
    /// Runs replications
    Replication,
    /// Runs migrations
    Migration,
    /// Checks datastores, or the newest savesets of tasks
    Verification,
    /// Restores samples of tasks for a test
    RestoreDrill,
    /// Removes what no saveset of a datastore needs
    GarbageCollection,
    /// Runs commands of clients
    Command,
    /// Begins the next backup day
    BackupDayChange,
}

impl KindChoice {
    fn kind(self) -> EventKind {
        match self {
            KindChoice::Backup => EventKind::Backup,
            KindChoice::Replication => EventKind::Replication,
            KindChoice::Migration => EventKind::Migration,
            KindChoice::Verification => EventKind::Verification,
            KindChoice::RestoreDrill => EventKind::RestoreDrill,
            KindChoice::GarbageCollection => EventKind::GarbageCollection,
            KindChoice::Command => EventKind::Command,
            KindChoice::BackupDayChange => EventKind::BackupDayChange,
        }
    }
}

pub async fn run(cx: &Context, verb: EventVerb) -> Result<u8, Failure> {
    match verb {
        EventVerb::Add { name, kind, disabled, settings } => {
            let mut request = empty(name, kind.kind());
            request.enabled = !disabled;
            settings.apply(&mut request)?;
            let view: EventView = cx.ask("event.add", &request).await?;
            cx.show(&view, detail)?;
            if !cx.screen.is_json() {
                cx.screen.aside("what will run: simsim schedule preview");
            }
        }
        EventVerb::Change { name, settings } => {
            let mut request = there(cx, &name).await?;
            settings.apply(&mut request)?;
            let view: EventView = cx.ask("event.change", &request).await?;
            cx.show(&view, detail)?;
        }
        EventVerb::Enable { name } => enable(cx, &name, true).await?,
        EventVerb::Disable { name } => enable(cx, &name, false).await?,
        EventVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<EventView> = cx.ask("event.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let add = "nothing runs by itself; add an event: simsim event add nightly --all --at 'daily 22:00'";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        EventVerb::Show { name } => {
            let view: EventView = cx.ask("event.show", &NameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        EventVerb::Run { name } => {
            let view: StartedView = cx.ask("event.run", &NameRequest { name }).await?;
            cx.show(&view, |screen, view| runs(screen, &view.runs))?;
        }
        EventVerb::Runs { event, subject, not_run, before, limit } => {
            let request = RunListRequest { event, subject, only_not_run: not_run, before, limit };
            let views: Vec<RunView> = cx.ask("run.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside("no occurrence was decided on yet");
                    return Ok(());
                }
                runs(screen, views)?;
                if let Some(last) = views.last().filter(|_| views.len() == limit as usize) {
                    screen
                        .aside(Text::new().dim(format!("what came before: --before {}", last.run)));
                }
                Ok(())
            })?;
        }
        EventVerb::Remove { name } => {
            let request = NameRequest { name };
            let () = cx.ask("event.remove", &request).await?;
            schedules::removed(cx, "event", &request.name)?;
        }
    }
    Ok(exit::DONE)
}

async fn enable(cx: &Context, name: &str, enabled: bool) -> Result<(), Failure> {
    let mut request = there(cx, name).await?;
    request.enabled = enabled;
    let view: EventView = cx.ask("event.change", &request).await?;
    cx.show(&view, detail)
}

fn empty(name: String, kind: EventKind) -> EventRequest {
    EventRequest {
        name,
        kind,
        schedule: None,
        at: None,
        enabled: true,
        priority: Priority::default(),
        subjects: Vec::new(),
        task_groups: Vec::new(),
        locations: Vec::new(),
        all: false,
        blocking: false,
        blocking_dates: DaySet::default(),
        follow_ups: FollowUps::default(),
        level: None,
        pool: None,
        drive: None,
        drive_group: None,
        interface: None,
        depth: None,
        scrub: None,
        drill: None,
        retries: 0,
        retry_after_s: 0,
        timeout_s: None,
    }
}

/// The event as it is, to be asked for again.
async fn there(cx: &Context, name: &str) -> Result<EventRequest, Failure> {
    let view: EventView = cx.ask("event.show", &NameRequest { name: name.to_owned() }).await?;
    Ok(request_of(view))
}

/// What asks for an event that is just so.
pub fn request_of(view: EventView) -> EventRequest {
    EventRequest {
        name: view.name,
        kind: view.kind,
        schedule: view.schedule,
        at: None,
        enabled: view.enabled,
        priority: view.priority,
        subjects: view.subjects,
        task_groups: view.task_groups,
        locations: view.locations,
        all: view.all,
        blocking: view.blocking,
        blocking_dates: view.blocking_dates,
        follow_ups: view.follow_ups,
        level: view.level,
        pool: view.pool,
        drive: view.drive,
        drive_group: view.drive_group,
        interface: view.interface,
        depth: view.depth,
        scrub: view.scrub,
        drill: view.drill,
        retries: view.retries,
        retry_after_s: view.retry_after_s,
        timeout_s: view.timeout_s,
    }
}

impl EventArguments {
    /// Puts what was given in the place of what there is.
    fn apply(self, request: &mut EventRequest) -> Result<(), Failure> {
        fn replace<T>(there: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *there = given;
            }
        }
        let names = |there: &mut Vec<String>, given: Vec<String>| match given.as_slice() {
            [] => {}
            [none] if none == "none" => there.clear(),
            _ => *there = given,
        };
        names(&mut request.subjects, self.subjects);
        names(&mut request.task_groups, self.task_groups);
        names(&mut request.locations, self.locations);
        match self.pool.as_deref() {
            None => {}
            Some("none") => request.pool = None,
            Some(pool) => request.pool = Some(pool.to_owned()),
        }
        replace(&mut request.all, self.all);
        if let Some(line) = &self.at {
            request.at = Some(schedules::parse(line)?);
            request.schedule = None;
        }
        match self.schedule.as_deref() {
            None => {}
            Some("none") => request.schedule = None,
            Some(name) => request.schedule = Some(name.to_owned()),
        }
        replace(&mut request.priority, self.priority.and_then(Priority::new));
        if let Some(level) = self.level {
            request.level = Some(level.level());
        }
        if let Some(drive) = self.drive {
            (request.drive, request.drive_group) = (Some(drive), None);
        }
        if let Some(group) = self.drive_group {
            (request.drive, request.drive_group) = (None, Some(group));
        }
        request.interface = self.interface.or(request.interface.take());
        if let Some(bytes) = self.bytes {
            let depth = if bytes { VerifyDepth::Bytes } else { VerifyDepth::Structure };
            request.depth = Some(depth);
        }
        if self.scrub_size.is_some() || self.scrub_minutes.is_some() {
            let budget = request.scrub.get_or_insert_default();
            budget.bytes_max = self.scrub_size.or(budget.bytes_max);
            budget.minutes_max = self.scrub_minutes.or(budget.minutes_max);
        }
        if self.drill.is_given() {
            self.drill.apply(request.drill.get_or_insert_default())?;
        }
        replace(&mut request.blocking, self.blocking);
        if let Some(days) = &self.blocking_dates {
            let days = days.parse();
            request.blocking_dates = days.map_err(|error: simsim_schedule::ParseError| {
                Failure::new(simsim_model::Kind::Invalid, error.to_string())
            })?;
        }
        names(&mut request.follow_ups.success, self.on_success);
        names(&mut request.follow_ups.warning, self.on_warning);
        names(&mut request.follow_ups.failure, self.on_failure);
        replace(&mut request.retries, self.retries);
        replace(
            &mut request.retry_after_s,
            self.retry_after.map(|minutes| minutes.saturating_mul(60)),
        );
        match self.timeout {
            None => {}
            Some(0) => request.timeout_s = None,
            Some(minutes) => request.timeout_s = Some(minutes.saturating_mul(60)),
        }
        Ok(())
    }
}

fn table(views: &[EventView]) -> Table {
    let mut table = Table::new([
        Column::new("EVENT").cut_to(8),
        Column::new("KIND").rank(2),
        Column::new("ACTS ON").cut_to(12),
        Column::new("WHEN").cut_to(16).rank(3),
        Column::new("PRIORITY").right().rank(4),
        Column::new("NEXT"),
        Column::new("LAST").cut_to(10).rank(1),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            view.kind.as_str().into(),
            subjects(view),
            view.line.as_deref().unwrap_or("by hand, or after others").into(),
            priority(view.priority),
            next(view),
            view.last.as_ref().map_or_else(Text::new, fate),
        ]);
    }
    table
}

fn priority(priority: Priority) -> Text {
    match priority {
        Priority::ALWAYS => "always".into(),
        other => other.number().to_string().into(),
    }
}

fn next(view: &EventView) -> Text {
    match &view.next {
        _ if !view.enabled => Text::styled(Style::Dim, "disabled"),
        Some(next) => next.as_str().into(),
        None => Text::styled(Style::Dim, "never by itself"),
    }
}

fn subjects(view: &EventView) -> Text {
    match view.acts_on.is_empty() {
        true if view.kind == EventKind::BackupDayChange => Text::new(),
        true => Text::styled(Style::Warn, "nothing"),
        false if view.all => format!("all: {}", view.acts_on.join(", ")).into(),
        false => view.acts_on.join(", ").into(),
    }
}

fn fate(run: &RunView) -> Text {
    match (&run.state, run.job) {
        (Some(state), Some(job)) => format!("{} (job {job})", state.replace('_', " ")).into(),
        _ => format!("{:?}", run.fate).to_lowercase().into(),
    }
}

fn runs(screen: &Screen, views: &[RunView]) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("RUN").right().rank(4),
        Column::new("DECIDED"),
        Column::new("EVENT").cut_to(8),
        Column::new("SUBJECT").cut_to(8),
        Column::new("CAUSE").cut_to(10).rank(3),
        Column::new("BACKUP DAY").rank(2),
        Column::new("FATE").cut_to(20),
    ]);
    for view in views {
        let mut words = fate(view);
        if let Some(why) = &view.why {
            words = words.plain(format!(": {why}"));
        }
        table.row([
            view.run.to_string().into(),
            when(view.decided_unix_ms).into(),
            Text::new().bold(&view.event),
            view.subject.as_str().into(),
            view.cause.as_str().into(),
            view.backup_day.as_str().into(),
            words,
        ]);
    }
    screen.table(&table)
}

fn detail(screen: &Screen, view: &EventView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Event ").bold(&view.name))?;
    let place = match (view.drive, &view.drive_group) {
        (Some(drive), _) => format!("drive {drive}"),
        (None, Some(group)) => format!("drive group {group}"),
        (None, None) => String::new(),
    };
    let minutes = |seconds: u32| lasting_roughly(std::time::Duration::from_secs(seconds.into()));
    let retries = match view.retries {
        0 => String::new(),
        times => format!("{times}, the first after {}", minutes(view.retry_after_s.max(60))),
    };
    let list = |names: &[String]| -> Text { names.join(", ").into() };
    let last = view.last.as_ref().map_or_else(Text::new, |run| {
        fate(run).plain(format!(" {}", when_exactly(run.decided_unix_ms)))
    });
    screen.lines(facts(&[
        ("does", view.kind.as_str().into()),
        ("acts on", subjects(view)),
        ("task groups", list(&view.task_groups)),
        ("locations", list(&view.locations)),
        ("when", view.line.as_deref().unwrap_or("by hand, or after other events").into()),
        ("schedule", view.schedule.as_deref().unwrap_or_default().into()),
        ("next", next(view)),
        ("priority", priority(view.priority)),
        ("blocking", if view.blocking { "it never runs itself".into() } else { Text::new() }),
        ("not on", view.blocking_dates.to_string().into()),
        (
            "drill",
            view.drill
                .as_ref()
                .map_or_else(Text::new, |drill| super::drills::in_words(drill).into()),
        ),
        ("level", view.level.map_or_else(Text::new, |level| level.as_str().into())),
        ("pool", view.pool.as_deref().unwrap_or_default().into()),
        ("goes to", place.into()),
        ("interface", view.interface.as_deref().unwrap_or_default().into()),
        ("on success", list(&view.follow_ups.success)),
        ("on warning", list(&view.follow_ups.warning)),
        ("on failure", list(&view.follow_ups.failure)),
        ("retries", retries.into()),
        ("time limit", view.timeout_s.map_or_else(Text::new, |s| minutes(s).into())),
        ("last", last),
        ("added", when_exactly(view.created_unix_ms).into()),
    ]))
}
