//! Calendars, schedules and task groups; the plan of what will run.

use jiff::{SignedDuration, Timestamp};
use simsim_catalog::{Catalog, CatalogError, NamedText, Put, TaskGroup};
use simsim_schedule::{
    Almanac, Calendar, Collision, Entry, Fate, Plan, Resource, Schedule, next_after, plan,
};

use super::datastores::check_name;
use crate::api::{
    CalendarRequest, CalendarView, NameRequest, PlannedView, PreviewRequest, PreviewView,
    ScheduleRequest, ScheduleView, TaskGroupRequest, TaskGroupView, TryScheduleRequest,
};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::scheduler::{EventDocument, Setup, SetupError, Wheres, almanac, instant};
use crate::{Server, ServerError};

const DAYS_DEFAULT: u32 = 14;
const DAYS_MAX: u32 = 366;
const ENTRIES_DEFAULT: u32 = 1000;
/// So many of the next occurrences of a schedule are shown.
const NEXT_SHOWN: usize = 5;

impl Server {
    /// Adds a calendar.
    pub async fn add_calendar(
        &self,
        who: &Principal,
        request: CalendarRequest,
    ) -> Result<CalendarView, ServerError> {
        check_name(&request.name)?;
        self.put_calendar(who, "calendar.add", Put::Add, request).await
    }

    /// Gives a calendar other days.
    pub async fn change_calendar(
        &self,
        who: &Principal,
        request: CalendarRequest,
    ) -> Result<CalendarView, ServerError> {
        self.put_calendar(who, "calendar.change", Put::Change, request).await
    }

    async fn put_calendar(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: CalendarRequest,
    ) -> Result<CalendarView, ServerError> {
        if request.days.is_empty() {
            return Err(ServerError::invalid(format!(
                "calendar '{}' would have no day: give it some, such as 'day 25,26 of dec; easter + 1 day'",
                request.name
            )));
        }
        self.may_do(who, Right::Administer, verb, Object::Suite, request.name.clone()).await?;
        let view = self
            .house
            .books
            .run(move |catalog| {
                let days = request.days.to_string();
                catalog.put_calendar(put, &request.name, &days, now_unix_ms())?;
                let all = catalog.calendars()?;
                let one = all.into_iter().find(|one| one.name == request.name);
                let users = catalog.users_of("calendar", &request.name)?;
                Ok(CalendarView {
                    name: request.name,
                    days: request.days,
                    users,
                    created_unix_ms: one.map_or(0, |one| one.created_unix_ms),
                })
            })
            .await?;
        self.house.scheduler.wake();
        Ok(view)
    }

    /// All calendars, by name.
    pub async fn calendars(&self, who: &Principal) -> Result<Vec<CalendarView>, ServerError> {
        self.may_see(who, Right::View, "list calendars", Object::Suite).await?;
        self.ask_setup(|catalog| {
            catalog.calendars()?.into_iter().map(|one| calendar_view(catalog, one)).collect()
        })
        .await
    }

    /// One calendar.
    pub async fn calendar(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<CalendarView, ServerError> {
        self.may_see(who, Right::View, "see a calendar", Object::Suite).await?;
        self.ask_setup(move |catalog| {
            let all = catalog.calendars()?;
            let one = named("calendar", all, request.name)?;
            calendar_view(catalog, one)
        })
        .await
    }

    /// Removes a calendar that nothing names.
    pub async fn delete_calendar(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name;
        self.may_do(who, Right::Administer, "calendar.remove", Object::Suite, name.clone()).await?;
        self.house.books.run(move |catalog| catalog.delete_calendar(&name)).await
    }

    /// Adds a schedule.
    pub async fn add_schedule(
        &self,
        who: &Principal,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, ServerError> {
        check_name(&request.name)?;
        self.put_schedule(who, "schedule.add", Put::Add, request).await
    }

    /// Gives a schedule another line. What lies behind is not decided on anew.
    pub async fn change_schedule(
        &self,
        who: &Principal,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, ServerError> {
        self.put_schedule(who, "schedule.change", Put::Change, request).await
    }

    async fn put_schedule(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, ServerError> {
        let detail = format!("'{}': {}", request.name, request.line);
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        let view = self
            .ask_setup(move |catalog| {
                let almanac = almanac(&catalog.calendars()?)?;
                check_schedule(&almanac, &request.line)?;
                let calendars: Vec<String> = request.line.calendars().map(str::to_owned).collect();
                let line = request.line.to_string();
                catalog.put_schedule(put, &request.name, &line, &calendars, now_unix_ms())?;
                let all = catalog.schedules()?;
                let one = all.into_iter().find(|one| one.name == request.name);
                let one = one.ok_or_else(|| gone("schedule", &request.name))?;
                schedule_view(catalog, &almanac, one)
            })
            .await?;
        self.house.scheduler.wake();
        Ok(view)
    }

    /// When a line would run. Nothing is kept.
    pub async fn try_schedule(
        &self,
        who: &Principal,
        request: TryScheduleRequest,
    ) -> Result<ScheduleView, ServerError> {
        self.may_see(who, Right::View, "try a schedule", Object::Suite).await?;
        self.ask_setup(move |catalog| {
            let almanac = almanac(&catalog.calendars()?)?;
            check_schedule(&almanac, &request.line)?;
            let one = NamedText {
                name: String::new(),
                text: request.line.to_string(),
                created_unix_ms: now_unix_ms(),
            };
            schedule_view(catalog, &almanac, one)
        })
        .await
    }

    /// All schedules, by name.
    pub async fn schedules(&self, who: &Principal) -> Result<Vec<ScheduleView>, ServerError> {
        self.may_see(who, Right::View, "list schedules", Object::Suite).await?;
        self.ask_setup(|catalog| {
            let almanac = almanac(&catalog.calendars()?)?;
            let all = catalog.schedules()?;
            all.into_iter().map(|one| schedule_view(catalog, &almanac, one)).collect()
        })
        .await
    }

    /// One schedule.
    pub async fn schedule(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<ScheduleView, ServerError> {
        self.may_see(who, Right::View, "see a schedule", Object::Suite).await?;
        self.ask_setup(move |catalog| {
            let almanac = almanac(&catalog.calendars()?)?;
            let one = named("schedule", catalog.schedules()?, request.name)?;
            schedule_view(catalog, &almanac, one)
        })
        .await
    }

    /// Removes a schedule that no event runs by.
    pub async fn delete_schedule(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name;
        self.may_do(who, Right::Administer, "schedule.remove", Object::Suite, name.clone()).await?;
        self.house.books.run(move |catalog| catalog.delete_schedule(&name)).await
    }

    /// Makes a task group.
    pub async fn add_task_group(
        &self,
        who: &Principal,
        request: TaskGroupRequest,
    ) -> Result<TaskGroupView, ServerError> {
        check_name(&request.name)?;
        self.put_task_group(who, "task-group.add", Put::Add, request).await
    }

    /// Gives a task group these tasks and no others.
    pub async fn change_task_group(
        &self,
        who: &Principal,
        request: TaskGroupRequest,
    ) -> Result<TaskGroupView, ServerError> {
        self.put_task_group(who, "task-group.change", Put::Change, request).await
    }

    async fn put_task_group(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: TaskGroupRequest,
    ) -> Result<TaskGroupView, ServerError> {
        let detail = format!("'{}': {}", request.name, request.tasks.join(", "));
        self.may_see(who, Right::Administer, verb, Object::Suite).await?;
        let group = request.name.clone();
        self.drills_nothing_new(who, move |document| document.task_groups.contains(&group)).await?;
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        self.house
            .books
            .run(move |catalog| {
                let TaskGroupRequest { name, tasks } = request;
                let group = catalog.put_task_group(put, &name, &tasks, now_unix_ms())?;
                group_view(catalog, group)
            })
            .await
    }

    /// Checks that somebody may bring data to another client, where a restore drill there takes what these documents
    /// name: what comes to it is restored there.
    pub(super) async fn drills_nothing_new(
        &self,
        who: &Principal,
        names: impl Fn(&EventDocument) -> bool + Send + Sync + 'static,
    ) -> Result<(), ServerError> {
        let drilled = self
            .ask_setup(move |catalog| {
                let setup = Setup::read(catalog)?;
                let documents = setup.loaded.iter().map(|loaded| &loaded.document);
                Ok(documents
                    .filter(|document| {
                        document.drill.as_ref().is_some_and(|drill| drill.client.is_some())
                    })
                    .any(names))
            })
            .await?;
        match drilled {
            true => {
                let verb = "bring more to a restore drill on another client of";
                self.may_see(who, Right::RestoreToOther, verb, Object::Suite).await
            }
            false => Ok(()),
        }
    }

    /// All task groups, by name.
    pub async fn task_groups(&self, who: &Principal) -> Result<Vec<TaskGroupView>, ServerError> {
        self.may_see(who, Right::View, "list task groups", Object::Suite).await?;
        let all = |catalog: &Catalog| {
            catalog.task_groups()?.into_iter().map(|group| group_view(catalog, group)).collect()
        };
        self.house.books.run(all).await
    }

    /// One task group.
    pub async fn task_group(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<TaskGroupView, ServerError> {
        self.may_see(who, Right::View, "see a task group", Object::Suite).await?;
        let one = move |catalog: &Catalog| group_view(catalog, catalog.task_group(&request.name)?);
        self.house.books.run(one).await
    }

    /// Removes a task group; its tasks stay.
    pub async fn delete_task_group(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name;
        self.may_do(who, Right::Administer, "task-group.remove", Object::Suite, name.clone())
            .await?;
        self.house.books.run(move |catalog| catalog.delete_task_group(&name)).await
    }

    /// What will run, when and where; what does not, and why; what collides.
    pub async fn preview(
        &self,
        who: &Principal,
        request: PreviewRequest,
    ) -> Result<PreviewView, ServerError> {
        self.may_see(who, Right::View, "see the plan", Object::Suite).await?;
        let days = if request.days == 0 { DAYS_DEFAULT } else { request.days };
        if days > DAYS_MAX {
            return Err(ServerError::invalid(format!("at most {DAYS_MAX} days")));
        }
        let from = instant(now_unix_ms());
        let span = SignedDuration::from_hours(i64::from(days) * 24);
        let until = from.checked_add(span).unwrap_or(Timestamp::MAX);
        self.ask_setup(move |catalog| {
            let mut setup = Setup::read(catalog)?;
            let events = || setup.programme.events.iter().map(|event| event.name.clone());
            if let Some(event) = &request.event
                && !events().any(|name| name == *event)
            {
                return Ok(Err(ServerError::not_found_near("event", event, events())));
            }
            let wheres = setup.look_ahead(catalog)?;
            let laid_out = plan(&setup.programme, &setup.almanac, from, until)?;
            Ok(Ok(preview_view(&setup, &wheres, &laid_out, &request, from, until)))
        })
        .await?
    }

    /// Asks the catalog for something that may be wrong in other ways than the catalog's own.
    pub(crate) async fn ask_setup<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Catalog) -> Result<T, SetupError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let books = self.house.books.clone();
        let asked = tokio::task::spawn_blocking(move || ask(books.catalog()));
        let answer = asked.await.map_err(|error| ServerError::Lost(error.to_string()))?;
        answer.map_err(ServerError::from)
    }
}

fn unreadable(noun: &'static str, one: &NamedText, why: &impl ToString) -> SetupError {
    SetupError::Unreadable { noun, name: one.name.clone(), why: why.to_string() }
}

pub(crate) fn gone(noun: &'static str, name: &str) -> SetupError {
    let why = "it was removed at the same moment".to_owned();
    SetupError::Unreadable { noun, name: name.to_owned(), why }
}

/// Its zone and calendars are there.
pub(crate) fn check_schedule(almanac: &Almanac, schedule: &Schedule) -> Result<(), SetupError> {
    almanac.zone(schedule.zone())?;
    for calendar in schedule.calendars() {
        almanac.calendar(calendar)?;
    }
    Ok(())
}

/// The one of this name.
fn named(noun: &'static str, all: Vec<NamedText>, name: String) -> Result<NamedText, SetupError> {
    let found = all.into_iter().find(|one| one.name == name);
    found.ok_or_else(|| CatalogError::NotFound { noun, name }.into())
}

fn calendar_view(catalog: &Catalog, one: NamedText) -> Result<CalendarView, SetupError> {
    let days = one.text.parse::<Calendar>();
    Ok(CalendarView {
        users: catalog.users_of("calendar", &one.name)?,
        days: days.map_err(|error| unreadable("calendar", &one, &error))?,
        name: one.name,
        created_unix_ms: one.created_unix_ms,
    })
}

fn schedule_view(
    catalog: &Catalog,
    almanac: &Almanac,
    one: NamedText,
) -> Result<ScheduleView, SetupError> {
    let line: Schedule = one.text.parse().map_err(|error| unreadable("schedule", &one, &error))?;
    let zone = almanac.zone(line.zone())?;
    let (mut next, mut next_unix_ms) = (Vec::new(), Vec::new());
    let mut after = instant(now_unix_ms());
    while next.len() < NEXT_SHOWN {
        let Some(at) = next_after(&line, almanac, after)? else { break };
        next.push(zone.show(at));
        next_unix_ms.push(at.as_millisecond());
        after = at;
    }
    Ok(ScheduleView {
        users: catalog.users_of("schedule", &one.name)?,
        name: one.name,
        line,
        next,
        next_unix_ms,
        created_unix_ms: one.created_unix_ms,
    })
}

fn group_view(
    catalog: &Catalog,
    group: TaskGroup,
) -> Result<TaskGroupView, simsim_catalog::CatalogError> {
    Ok(TaskGroupView {
        users: catalog.users_of("task group", &group.name)?,
        name: group.name,
        tasks: group.tasks,
        created_unix_ms: group.created_unix_ms,
    })
}

fn preview_view(
    setup: &Setup,
    wheres: &Wheres,
    plan: &Plan,
    request: &PreviewRequest,
    from: Timestamp,
    until: Timestamp,
) -> PreviewView {
    let limit = if request.limit == 0 { ENTRIES_DEFAULT } else { request.limit } as usize;
    let mut collisions = plan.collisions.iter().peekable();
    let (mut entries, mut more) = (Vec::new(), 0);
    for (number, entry) in plan.entries.iter().enumerate() {
        let mut collides = Vec::new();
        while let Some(collision) = collisions.next_if(|one| one.entry <= number) {
            collides.push(collision_text(plan, collision));
        }
        let is_wanted = request.event.as_ref().is_none_or(|event| *event == entry.event);
        let refused =
            wheres.of(&entry.event, &entry.subject).is_some_and(|one| one.refused.is_some());
        let is_trouble = refused || !collides.is_empty() || entry.fate != Fate::Runs;
        if !is_wanted || (request.only_trouble && !is_trouble) {
            continue;
        }
        if entries.len() < limit {
            entries.push(planned_view(setup, wheres, entry, collides));
        } else {
            more += 1;
        }
    }
    PreviewView {
        from_unix_ms: from.as_millisecond(),
        until_unix_ms: until.as_millisecond(),
        entries,
        more,
        cut_at_unix_ms: plan.cut_at.map(|at| at.as_millisecond()),
    }
}

fn planned_view(
    setup: &Setup,
    wheres: &Wheres,
    entry: &Entry,
    collides: Vec<String>,
) -> PlannedView {
    let found = wheres.of(&entry.event, &entry.subject);
    let refused = found.and_then(|found| found.refused.as_deref());
    let (fate, why) = match &entry.fate {
        Fate::Runs => ("runs", refused.map(|why| format!("now it could not be queued: {why}"))),
        Fate::Suppressed { by, priority } => {
            ("suppressed", Some(format!("event '{by}' has priority {}", priority.number())))
        }
        Fate::Blocked { by } => ("blocked", Some(format!("{by} is a blocking date"))),
        Fate::Blocks => ("blocks", Some("it blocks others and never runs".to_owned())),
    };
    let zone = setup.almanac.zone(None);
    PlannedView {
        at_unix_ms: entry.at.as_millisecond(),
        at: zone.map_or_else(|_| entry.at.to_string(), |zone| zone.show(entry.at)),
        backup_day: entry.backup_day.to_string(),
        event: entry.event.clone(),
        kind: entry.kind.as_str().to_owned(),
        subject: entry.subject.clone(),
        priority: entry.priority.number(),
        place: found.and_then(|found| found.place.clone()),
        expected_s: entry.expected_s,
        fate: fate.to_owned(),
        why,
        collides,
    }
}

fn collision_text(plan: &Plan, collision: &Collision) -> String {
    let what = match &collision.resource {
        Resource::Subject(_) => "the same subject".to_owned(),
        Resource::Bound { bound, most } => format!("{bound} (at most {most} at once)"),
    };
    let mut names: Vec<String> = collision
        .with
        .iter()
        .filter_map(|number| plan.entries.get(*number))
        .map(|entry| match entry.subject.is_empty() {
            true => format!("'{}'", entry.event),
            false => format!("'{}' of '{}'", entry.subject, entry.event),
        })
        .collect();
    if collision.more > 0 {
        names.push(format!("{} more", collision.more));
    }
    format!("{what}, with {}", names.join(", "))
}
