//! Events: adding, changing, listing, removing and starting them; what became of their occurrences.

use std::collections::HashMap;

use jiff::Timestamp;
use simsim_catalog::{Catalog, EventRow, NewEvent, OwnSchedule, Put, Run, RunFilter, Use};
use simsim_schedule::{
    Considered, Event, EventKind, FollowUps, Place, Priority, Schedule, Subject, check, next_after,
};

use super::datastores::check_name;
use super::interfaces::CHOOSING;
use super::restore::check_budget;
use super::schedules::{check_schedule, gone};
use crate::api::{EventRequest, EventView, NameRequest, RunListRequest, RunView, StartedView};
use crate::clock::now_unix_ms;
use crate::jobs::{JobEventKind, check_options};
use crate::rights::{Object, Principal, Right};
use crate::scheduler::{EventDocument, Loaded, Setup, SetupError, instant, open_runs, started};
use crate::{Server, ServerError};

/// Further attempts of one job.
const RETRIES_MAX: u8 = 20;
/// Subjects that an event names one by one.
const SUBJECTS_MAX: usize = 1000;

impl Server {
    /// Adds an event. It counts from now: nothing that lies behind was missed.
    pub async fn add_event(
        &self,
        who: &Principal,
        request: EventRequest,
    ) -> Result<EventView, ServerError> {
        check_name(&request.name)?;
        self.put_event(who, "event.add", Put::Add, request).await
    }

    /// Replaces all of an event but its name. Where its schedule changes, or it was disabled, it counts from
    /// now.
    pub async fn change_event(
        &self,
        who: &Principal,
        request: EventRequest,
    ) -> Result<EventView, ServerError> {
        self.put_event(who, "event.change", Put::Change, request).await
    }

    async fn put_event(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: EventRequest,
    ) -> Result<EventView, ServerError> {
        let document = document_of(&request)?;
        let _choosing = CHOOSING.lock().await;
        self.check_choices(document.event.interface.as_slice()).await?;
        // Data of one client comes to another: whoever sets events up does not get that right by it.
        if let Some(client) = request.drill.as_ref().and_then(|drill| drill.client.as_deref()) {
            let verb = "set up restore drills on another client";
            self.may_see(who, Right::RestoreToOther, verb, Object::Suite).await?;
            self.may_see(who, Right::RestoreToOther, verb, Object::Client(client)).await?;
        }
        let detail = detail(&request);
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        let view = self
            .ask_setup(move |catalog| {
                keep(catalog, put, document, request.at.as_ref())?;
                let setup = Setup::read(catalog)?;
                one_view(catalog, &setup, &request.name)
            })
            .await?;
        self.house.scheduler.wake();
        Ok(view)
    }

    /// All events, by name.
    pub async fn events(&self, who: &Principal) -> Result<Vec<EventView>, ServerError> {
        self.may_see(who, Right::View, "list events", Object::Suite).await?;
        self.ask_setup(|catalog| {
            let setup = Setup::read(catalog)?;
            let events = 0..setup.loaded.len();
            events.map(|number| view(catalog, &setup, number)).collect()
        })
        .await
    }

    /// One event.
    pub async fn event(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<EventView, ServerError> {
        self.may_see(who, Right::View, "see an event", Object::Suite).await?;
        self.ask_setup(move |catalog| {
            let setup = Setup::read(catalog)?;
            one_view(catalog, &setup, &request.name)
        })
        .await
    }

    /// Removes an event, and the schedule that it was given with `at`. What it ran stays; jobs of it that wait still run.
    pub async fn delete_event(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name;
        self.may_do(who, Right::Administer, "event.remove", Object::Suite, name.clone()).await?;
        self.house.books.run(move |catalog| catalog.delete_event(&name)).await?;
        self.house.scheduler.wake();
        Ok(())
    }

    /// Starts an event now, for all its subjects, whatever its schedule and priority say. It takes the right for
    /// the suite; one of backups is started by whoever holds it for every task that it reaches now.
    pub async fn run_event(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<StartedView, ServerError> {
        let name = request.name;
        let held = self.may_run_event(who, &name).await?;
        let asked_by = who.name().to_owned();
        let (view, jobs) = self
            .ask_setup(move |catalog| {
                let now = now_unix_ms();
                let setup = Setup::read(catalog)?;
                let loaded = loaded(&setup, &name, catalog)?;
                if let Some(held) = held
                    && backed_up(catalog, &setup, &name)? != held
                {
                    let text = format!("event '{name}' was changed just now: start it again");
                    return Err(SetupError::Refused(text));
                }
                let cause = format!("by hand {}", catalog.next_hand()?);
                let day = setup.programme.backup_days.of(instant(now), &setup.almanac)?;
                let open = open_runs(catalog)?;
                let day = day.date.to_string();
                let mut runs = started(catalog, &setup, loaded, &cause, &day, &open)?;
                // What follows a refusal is not what the person started.
                let own = runs.iter_mut().filter(|run| run.event == name);
                for job in own.filter_map(|run| run.job.as_mut()) {
                    job.requested_by = asked_by.clone();
                    job.waiting.rank = simsim_catalog::RANK_FIRST;
                }
                let jobs = catalog.keep_runs(&runs, now)?;
                let own = runs.iter().filter(|run| run.event == name).count();
                let limit = u32::try_from(own).unwrap_or(u32::MAX);
                let filter = RunFilter { event: Some(name), limit, ..RunFilter::default() };
                let mut views = Vec::new();
                // It may act on nothing now; no limit would be all of its runs.
                let kept = if own == 0 { Vec::new() } else { catalog.runs(&filter)? };
                for run in kept {
                    views.push(run_view(catalog, run)?);
                }
                views.reverse();
                Ok((StartedView { runs: views }, jobs))
            })
            .await?;
        for job in jobs {
            let state = JobEventKind::State { state: job.state };
            self.house.jobs.announcer().tell(job.number, state);
        }
        self.house.jobs.wake();
        Ok(view)
    }

    /// Checks that somebody may start an event, and writes it down. For what alone; `None`: whatever it reaches.
    async fn may_run_event(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<Option<Vec<(String, String)>>, ServerError> {
        let verb = "event.run";
        let mut held = Vec::new();
        if !who.may(Right::Backup, Object::Suite) {
            let name = name.to_owned();
            let reached =
                move |catalog: &Catalog| backed_up(catalog, &Setup::read(catalog)?, &name);
            held = self.ask_setup(reached).await?;
        }
        let may = |(client, task): &(String, String)| {
            who.may(Right::Backup, Object::Task { client, task })
        };
        // Which tasks it reaches is not told to who may not start it.
        if held.is_empty() || !held.iter().all(may) {
            self.may_do(who, Right::Backup, verb, Object::Suite, name).await?;
            return Ok(None);
        }
        let object = match held.as_slice() {
            [(client, task)] => Object::Task { client, task }.to_string(),
            several => format!("{} tasks", several.len()),
        };
        self.write_down(who, verb, object, true, name.to_owned()).await?;
        Ok(Some(held))
    }

    /// What became of the occurrences of events, newest first.
    pub async fn runs(
        &self,
        who: &Principal,
        request: RunListRequest,
    ) -> Result<Vec<RunView>, ServerError> {
        self.may_see(who, Right::View, "list runs", Object::Suite).await?;
        self.house
            .books
            .run(move |catalog| {
                let filter = RunFilter {
                    event: request.event,
                    subject: request.subject,
                    only_not_run: request.only_not_run,
                    before: request.before,
                    limit: if request.limit == 0 { 100 } else { request.limit },
                };
                catalog.runs(&filter)?.into_iter().map(|run| run_view(catalog, run)).collect()
            })
            .await
    }
}

/// The document of a request, fit in itself.
fn document_of(request: &EventRequest) -> Result<EventDocument, ServerError> {
    let name = &request.name;
    let refuse = |why: String| Err(ServerError::invalid(format!("event '{name}': {why}")));
    let is_drill = request.kind == EventKind::RestoreDrill;
    if request.drill.is_some() && !is_drill {
        return refuse("only restore drills have options of a drill".to_owned());
    }
    if let Some(options) = &request.drill {
        check_options(options)?;
    }
    if request.schedule.is_some() && request.at.is_some() {
        return refuse("name a schedule or say when, not both".to_owned());
    }
    if request.drive.is_some() && request.drive_group.is_some() {
        return refuse("name a drive or a drive group, not both".to_owned());
    }
    let is_backup = request.kind == EventKind::Backup;
    let has_place = request.drive.is_some() || request.drive_group.is_some();
    if !is_backup && (has_place || request.interface.is_some()) {
        return refuse("only backups have a drive, a drive group or an interface".to_owned());
    }
    if !is_backup && request.pool.is_some() {
        return refuse("only backups have a media pool".to_owned());
    }
    let is_command = request.kind == EventKind::Command;
    if !is_backup && !is_drill && !is_command && !request.locations.is_empty() {
        return refuse("only backups, restore drills and commands have locations".to_owned());
    }
    if !is_backup && !is_drill && !request.task_groups.is_empty() {
        return refuse("only backups and restore drills have task groups".to_owned());
    }
    if request.depth.is_some() && request.kind != EventKind::Verification {
        return refuse("only verifications have a depth".to_owned());
    }
    if let Some(budget) = &request.scrub {
        if request.kind != EventKind::Verification
            || request.depth == Some(crate::api::VerifyDepth::Bytes)
        {
            return refuse("only verifications are scrubs, and those read no plaintext".to_owned());
        }
        check_budget(budget)?;
    }
    if request.retries > RETRIES_MAX {
        return refuse(format!("at most {RETRIES_MAX} retries"));
    }
    if request.timeout_s == Some(0) {
        return refuse("a time limit is a second or more".to_owned());
    }
    if request.subjects.len() > SUBJECTS_MAX {
        return refuse(format!("at most {SUBJECTS_MAX} subjects; use a task group"));
    }
    let subjects = request.subjects.iter();
    let place = request.drive.map(Place::Drive);
    let event = Event {
        schedule: request.schedule.clone().or(request.at.as_ref().map(|_| name.clone())),
        enabled: request.enabled,
        priority: request.priority,
        subjects: subjects.map(|name| Subject { name: name.clone(), expected_s: 0 }).collect(),
        blocking: request.blocking,
        blocking_dates: request.blocking_dates.clone(),
        follow_ups: request.follow_ups.clone(),
        level: request.level,
        pool: request.pool.clone(),
        place: place.or(request.drive_group.clone().map(Place::Group)),
        interface: request.interface.clone(),
        ..Event::new(name, request.kind)
    };
    Ok(EventDocument {
        event,
        task_groups: request.task_groups.clone(),
        locations: request.locations.clone(),
        all: request.all,
        retries: request.retries,
        retry_after_s: request.retry_after_s,
        timeout_s: request.timeout_s,
        depth: request.depth,
        scrub: request.scrub,
        drill: request.drill.clone(),
    })
}

/// Holds an event against all others, and keeps it.
fn keep(
    catalog: &Catalog,
    put: Put,
    document: EventDocument,
    at: Option<&Schedule>,
) -> Result<(), SetupError> {
    let now = now_unix_ms();
    let name = document.event.name.clone();
    let setup = Setup::read(catalog)?;
    let mut schedules = setup.programme.schedules.clone();
    if let Some(line) = at {
        check_schedule(&setup.almanac, line)?;
        schedules.insert(name.clone(), line.clone());
    }
    // Held against the others as they are named; that its groups and all it acts on may be empty now is no trouble.
    let mut event = document.event.clone();
    let by_others =
        document.all || !document.task_groups.is_empty() || !document.locations.is_empty();
    if let (Some(pool), Some(_)) = (&event.pool, &event.place)
        && catalog.pool(pool)?.has_place()
    {
        return Err(SetupError::Refused(format!(
            "media pool '{pool}' says where its backups go: name no drive and no drive group beside it"
        )));
    }
    if event.subjects.is_empty() && by_others {
        event.subjects.push(Subject { name: String::new(), expected_s: 0 });
    }
    let others = setup.programme.events.iter().filter(|other| other.name != name).cloned();
    let mut events: Vec<Event> = others.collect();
    for other in &mut events {
        match other.kind {
            // What an older version took of another event is no reason to refuse this one.
            EventKind::BackupDayChange => other.follow_ups = FollowUps::default(),
            _ if other.subjects.is_empty() => {
                other.subjects.push(Subject { name: String::new(), expected_s: 0 });
            }
            _ => {}
        }
    }
    events.push(event);
    let troubles = check(&events, &schedules, &setup.almanac);
    if !troubles.is_empty() {
        let lines: Vec<String> = troubles.iter().map(ToString::to_string).collect();
        return Err(SetupError::Refused(lines.join("; ")));
    }
    let former = setup.loaded.iter().find(|one| one.row.name == name);
    let own_schedule = at.map(|line| OwnSchedule {
        line: line.to_string(),
        calendars: line.calendars().map(str::to_owned).collect(),
    });
    let anew = former.is_none_or(|former| {
        former.document.event.schedule != document.event.schedule
            || at.is_some()
            || (!former.document.event.enabled && document.event.enabled)
    });
    let considered = Considered::until(instant(now));
    let new = NewEvent {
        kind: document.event.kind.as_str().to_owned(),
        schedule: document.event.schedule.clone(),
        own_schedule,
        enabled: document.event.enabled,
        uses: uses_of(&document),
        document: serde_json::to_string(&document).map_err(SetupError::text)?,
        considered: match anew {
            true => Some(serde_json::to_string(&considered).map_err(SetupError::text)?),
            false => None,
        },
        name,
    };
    catalog.put_event(put, &new, now)?;
    Ok(())
}

/// By which interface the data of an event's jobs goes, where it says so.
pub(super) fn interface_of(row: &EventRow) -> Result<Option<String>, ServerError> {
    let document: EventDocument = serde_json::from_str(&row.document).map_err(|error| {
        ServerError::Lost(format!("event '{}' cannot be read: {error}", row.name))
    })?;
    Ok(document.event.interface)
}

/// Everything that an event names, but its schedule.
fn uses_of(document: &EventDocument) -> Vec<Use> {
    let event = &document.event;
    let noun = match event.kind {
        EventKind::Backup | EventKind::RestoreDrill => "task",
        EventKind::Replication => "replication",
        EventKind::Migration => "migration",
        EventKind::GarbageCollection => "datastore",
        EventKind::Command => "command",
        // Which one is seen when it runs.
        EventKind::Verification | EventKind::BackupDayChange => simsim_catalog::DATASTORE_OR_TASK,
    };
    let mut uses: Vec<Use> =
        event.subjects.iter().map(|one| Use::new("subject", noun, &one.name)).collect();
    if let Some(drill) = &document.drill {
        uses.extend(drill.client.iter().map(|one| Use::new("place", "client", one)));
        uses.extend(drill.copy.iter().map(|one| Use::new("place", "datastore", one)));
    }
    uses.extend(document.task_groups.iter().map(|one| Use::new("subject", "task group", one)));
    uses.extend(document.locations.iter().map(|one| Use::new("subject", "location", one)));
    let pool = event.pool.iter().filter(|pool| *pool != simsim_catalog::DEFAULT_POOL);
    uses.extend(pool.map(|one| Use::new("pool", "media pool", one)));
    let follow_ups = &event.follow_ups;
    let next = follow_ups.success.iter().chain(&follow_ups.warning).chain(&follow_ups.failure);
    uses.extend(next.map(|one| Use::new("follow-up", "event", one)));
    uses.extend(
        event.blocking_dates.calendars().map(|one| Use::new("blocking date", "calendar", one)),
    );
    uses.extend(event.place.iter().map(|place| match place {
        Place::Drive(number) => Use::new("place", "drive", number.to_string()),
        Place::Group(name) => Use::new("place", "drive group", name),
    }));
    uses
}

fn loaded<'a>(setup: &'a Setup, name: &str, catalog: &Catalog) -> Result<&'a Loaded, SetupError> {
    match setup.loaded.iter().find(|one| one.row.name == name) {
        Some(loaded) => Ok(loaded),
        // With the catalog's own words for what is not there.
        None => Err(catalog.event(name).map_or_else(SetupError::from, |_| gone("event", name))),
    }
}

/// The tasks that an event of backups reaches now, with their clients; none of any other event, and of none.
fn backed_up(
    catalog: &Catalog,
    setup: &Setup,
    name: &str,
) -> Result<Vec<(String, String)>, SetupError> {
    let number = setup.loaded.iter().position(|one| one.row.name == name);
    let event = number.map(|number| &setup.programme.events[number]);
    let Some(event) = event.filter(|event| event.kind == EventKind::Backup) else {
        return Ok(Vec::new());
    };
    let tasks = catalog.tasks()?.into_iter().map(|task| (task.settings.name, task.settings.client));
    let clients: HashMap<String, String> = tasks.collect();
    let mut reached = Vec::new();
    for subject in &event.subjects {
        let client = clients.get(&subject.name).ok_or_else(|| gone("task", &subject.name))?;
        reached.push((client.clone(), subject.name.clone()));
    }
    Ok(reached)
}

fn one_view(catalog: &Catalog, setup: &Setup, name: &str) -> Result<EventView, SetupError> {
    loaded(setup, name, catalog)?;
    let number = setup.loaded.iter().position(|one| one.row.name == name);
    number.map_or_else(|| Err(gone("event", name)), |number| view(catalog, setup, number))
}

fn view(catalog: &Catalog, setup: &Setup, number: usize) -> Result<EventView, SetupError> {
    let Loaded { row, document } = &setup.loaded[number];
    let written_out = &setup.programme.events[number];
    let event = document.event.clone();
    let schedule = setup.schedule(&event);
    let now = instant(now_unix_ms());
    let next: Option<Timestamp> = match schedule.filter(|_| event.enabled) {
        Some(schedule) => next_after(schedule, &setup.almanac, now)?,
        None => None,
    };
    let zone = setup.almanac.zone(schedule.and_then(Schedule::zone))?;
    let filter = RunFilter { event: Some(row.name.clone()), limit: 1, ..RunFilter::default() };
    let last = catalog.runs(&filter)?.into_iter().next();
    let (drive, drive_group) = match event.place {
        None => (None, None),
        Some(Place::Drive(number)) => (Some(number), None),
        Some(Place::Group(name)) => (None, Some(name)),
    };
    Ok(EventView {
        name: event.name,
        kind: event.kind,
        line: schedule.map(ToString::to_string),
        schedule: event.schedule,
        enabled: event.enabled,
        priority: event.priority,
        subjects: event.subjects.into_iter().map(|one| one.name).collect(),
        task_groups: document.task_groups.clone(),
        locations: document.locations.clone(),
        all: document.all,
        acts_on: written_out.subjects.iter().map(|one| one.name.clone()).collect(),
        blocking: event.blocking,
        blocking_dates: event.blocking_dates,
        follow_ups: event.follow_ups,
        level: event.level,
        pool: event.pool,
        drive,
        drive_group,
        interface: event.interface,
        depth: document.depth,
        scrub: document.scrub,
        drill: document.drill.clone(),
        retries: document.retries,
        retry_after_s: document.retry_after_s,
        timeout_s: document.timeout_s,
        next_unix_ms: next.map(|next| next.as_millisecond()),
        next: next.map(|next| zone.show(next)),
        last: last.map(|run| run_view(catalog, run)).transpose()?,
        created_unix_ms: row.created_unix_ms,
    })
}

fn run_view(catalog: &Catalog, run: Run) -> Result<RunView, simsim_catalog::CatalogError> {
    let state = match run.job {
        Some(job) => Some(catalog.job(job)?.state.as_str().to_owned()),
        None => None,
    };
    Ok(RunView {
        run: run.run,
        event: run.event,
        kind: run.kind,
        subject: run.subject,
        cause: run.cause,
        backup_day: run.backup_day,
        fate: run.fate,
        why: run.why,
        decided_unix_ms: run.decided_unix_ms,
        job: run.job,
        state,
    })
}

fn detail(request: &EventRequest) -> String {
    let when = match (&request.schedule, &request.at) {
        (Some(name), _) => format!("schedule '{name}'"),
        (None, Some(line)) => line.to_string(),
        (None, None) => "no schedule".to_owned(),
    };
    let priority = match request.priority {
        Priority::ALWAYS => "always".to_owned(),
        other => format!("priority {}", other.number()),
    };
    let subjects = match request.all {
        true => "all".to_owned(),
        false => request
            .subjects
            .iter()
            .chain(&request.task_groups)
            .cloned()
            .collect::<Vec<_>>()
            .join(", "),
    };
    format!("'{}', {}, {when}, {priority}: {subjects}", request.name, request.kind.as_str())
}
