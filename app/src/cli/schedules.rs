//! `simsim schedule`, `calendar` and `task-group`: when things run, on which days, and for which tasks
//! together; and the plan of what will run.

use std::path::PathBuf;

use simsim_schedule::{Calendar, Schedule};
use simsim_server::api::{
    CalendarRequest, CalendarView, NameRequest, PlannedView, PreviewRequest, PreviewView,
    ScheduleRequest, ScheduleView, TaskGroupRequest, TaskGroupView,
};

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{lasting_roughly, when};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum ScheduleVerb {
    /// Add a schedule
    Add {
        /// Its name
        name: String,
        /// When, such as 'weekdays 22:00', 'every 15m 08:00-18:00 mon-fri', 'last sun of month 03:00'
        #[arg(required = true)]
        line: Vec<String>,
    },
    /// Give a schedule another line; what lies behind is not decided on anew
    Change {
        /// The schedule
        name: String,
        /// When
        #[arg(required = true)]
        line: Vec<String>,
    },
    /// List schedules, with what comes next
    List(lists::Names),
    /// Show a schedule: what comes next, and what runs by it
    Show {
        /// The schedule
        name: String,
    },
    /// Remove a schedule by which no event runs
    Remove {
        /// The schedule
        name: String,
    },
    /// Show what will run, when and where, what will not, and what collides
    Preview {
        /// So many days from now
        #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        /// Only this event
        #[arg(long)]
        event: Option<String>,
        /// Only what does not run, or has to wait
        #[arg(long)]
        trouble: bool,
        /// At most so many
        #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 200)]
        limit: u32,
    },
}

#[derive(clap::Subcommand, Debug)]
pub enum CalendarVerb {
    /// Add a calendar: days under a name, such as holidays
    Add {
        /// Its name
        name: String,
        #[command(flatten)]
        days: DaysArguments,
    },
    /// Give a calendar other days
    Change {
        /// The calendar
        name: String,
        #[command(flatten)]
        days: DaysArguments,
    },
    /// List calendars
    List(lists::Names),
    /// Show a calendar: its days, and what names it
    Show {
        /// The calendar
        name: String,
    },
    /// Remove a calendar that nothing names
    Remove {
        /// The calendar
        name: String,
    },
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub struct DaysArguments {
    /// Its days, with ';' between them, such as 'day 25,26 of dec; easter + 1 day; 2026-12-31'
    days: Option<String>,
    /// Read them from this file, one a line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(clap::Subcommand, Debug)]
pub enum TaskGroupVerb {
    /// Make a group of tasks, for one event
    Add {
        /// Its name
        name: String,
        /// Tasks
        tasks: Vec<String>,
    },
    /// Give a group these tasks and no others
    Change {
        /// The group
        name: String,
        /// Tasks
        tasks: Vec<String>,
    },
    /// List task groups
    List(lists::TaskGroups),
    /// Show a task group: its tasks, and what names it
    Show {
        /// The group
        name: String,
    },
    /// Remove a group that no event names; its tasks stay
    Remove {
        /// The group
        name: String,
    },
}

pub async fn run(cx: &Context, verb: ScheduleVerb) -> Result<u8, Failure> {
    match verb {
        ScheduleVerb::Add { name, line } => {
            let request = ScheduleRequest { name, line: parse(&line.join(" "))? };
            let view: ScheduleView = cx.ask("schedule.add", &request).await?;
            show_schedule(cx, &view)?;
            if !cx.screen.is_json() {
                let name = &view.name;
                cx.screen
                    .aside(format!("to use it: simsim event add NAME TASK... --schedule {name}"));
            }
        }
        ScheduleVerb::Change { name, line } => {
            let request = ScheduleRequest { name, line: parse(&line.join(" "))? };
            let view: ScheduleView = cx.ask("schedule.change", &request).await?;
            show_schedule(cx, &view)?;
        }
        ScheduleVerb::Show { name } => {
            let view: ScheduleView = cx.ask("schedule.show", &NameRequest { name }).await?;
            show_schedule(cx, &view)?;
        }
        ScheduleVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<ScheduleView> = cx.ask("schedule.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let add = "no schedules; add one: simsim schedule add NAME 'weekdays 22:00'";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                let mut table = Table::new([
                    Column::new("SCHEDULE").cut_to(8),
                    Column::new("WHEN").cut_to(20),
                    Column::new("NEXT").rank(1),
                    Column::new("USED BY").cut_to(10).rank(2),
                ]);
                for view in views {
                    table.row([
                        Text::new().bold(&view.name),
                        view.line.to_string().into(),
                        view.next.first().map_or_else(never, |next| next.as_str().into()),
                        view.users.join(", ").into(),
                    ]);
                }
                screen.table(&table)
            })?;
        }
        ScheduleVerb::Remove { name } => {
            let request = NameRequest { name };
            let () = cx.ask("schedule.remove", &request).await?;
            removed(cx, "schedule", &request.name)?;
        }
        ScheduleVerb::Preview { days, event, trouble, limit } => {
            let request = PreviewRequest { days, event, only_trouble: trouble, limit };
            let view: PreviewView = cx.ask("schedule.preview", &request).await?;
            cx.show(&view, |screen, view| preview(screen, view, days, trouble))?;
        }
    }
    Ok(exit::DONE)
}

pub async fn run_calendar(cx: &Context, verb: CalendarVerb) -> Result<u8, Failure> {
    match verb {
        CalendarVerb::Add { name, days } => {
            let request = CalendarRequest { name, days: days.read()? };
            let view: CalendarView = cx.ask("calendar.add", &request).await?;
            cx.show(&view, calendar)?;
        }
        CalendarVerb::Change { name, days } => {
            let request = CalendarRequest { name, days: days.read()? };
            let view: CalendarView = cx.ask("calendar.change", &request).await?;
            cx.show(&view, calendar)?;
        }
        CalendarVerb::Show { name } => {
            let view: CalendarView = cx.ask("calendar.show", &NameRequest { name }).await?;
            cx.show(&view, calendar)?;
        }
        CalendarVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<CalendarView> = cx.ask("calendar.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let next = "simsim calendar add holidays 'day 25,26 of dec; easter + 1 day'";
                    let add = format!("no calendars; add one: {next}");
                    lists::nothing(screen, &request, &add);
                }
                views.iter().try_for_each(|view| calendar(screen, view))
            })?;
        }
        CalendarVerb::Remove { name } => {
            let request = NameRequest { name };
            let () = cx.ask("calendar.remove", &request).await?;
            removed(cx, "calendar", &request.name)?;
        }
    }
    Ok(exit::DONE)
}

pub async fn run_group(cx: &Context, verb: TaskGroupVerb) -> Result<u8, Failure> {
    match verb {
        TaskGroupVerb::Add { name, tasks } => {
            let request = TaskGroupRequest { name, tasks };
            let view: TaskGroupView = cx.ask("task-group.add", &request).await?;
            cx.show(&view, |screen, view| groups(screen, std::slice::from_ref(view)))?;
        }
        TaskGroupVerb::Change { name, tasks } => {
            let request = TaskGroupRequest { name, tasks };
            let view: TaskGroupView = cx.ask("task-group.change", &request).await?;
            cx.show(&view, |screen, view| groups(screen, std::slice::from_ref(view)))?;
        }
        TaskGroupVerb::Show { name } => {
            let view: TaskGroupView = cx.ask("task-group.show", &NameRequest { name }).await?;
            cx.show(&view, |screen, view| groups(screen, std::slice::from_ref(view)))?;
        }
        TaskGroupVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<TaskGroupView> = cx.ask("task-group.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let add = "no task groups; add one: simsim task-group add NAME TASK...";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                groups(screen, views)
            })?;
        }
        TaskGroupVerb::Remove { name } => {
            let request = NameRequest { name };
            let () = cx.ask("task-group.remove", &request).await?;
            removed(cx, "task group", &request.name)?;
        }
    }
    Ok(exit::DONE)
}

impl DaysArguments {
    fn read(&self) -> Result<Calendar, Failure> {
        let text = match (&self.days, &self.file) {
            (Some(days), _) => days.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
                Failure::new(
                    simsim_model::Kind::Invalid,
                    format!("cannot read {}: {error}", file.display()),
                )
            })?,
            (None, None) => String::new(),
        };
        text.parse().map_err(|error: simsim_schedule::ParseError| wrong(&error))
    }
}

/// A schedule's line, as it was typed.
pub fn parse(line: &str) -> Result<Schedule, Failure> {
    line.parse().map_err(|error: simsim_schedule::ParseError| wrong(&error))
}

fn wrong(error: &simsim_schedule::ParseError) -> Failure {
    Failure::new(simsim_model::Kind::Invalid, error.to_string())
        .next("how days and times are written: docs/reference/schedules.md")
}

/// A line about something that is gone, or the document of nothing.
pub fn removed(cx: &Context, noun: &str, name: &str) -> Result<(), Failure> {
    let document = serde_json::json!({ "removed": name });
    cx.show(&document, |screen, _| screen.line(format!("removed {noun} '{name}'")))
}

fn never() -> Text {
    Text::styled(Style::Dim, "never")
}

fn show_schedule(cx: &Context, view: &ScheduleView) -> Result<(), Failure> {
    cx.show(view, |screen, view| {
        let users = match view.users.is_empty() {
            true => String::new(),
            false => format!(" (used by {})", view.users.join(", ")),
        };
        screen.line(Text::new().bold(&view.name).plain(format!(": {}", view.line)).dim(users))?;
        if view.next.is_empty() {
            return screen.line(Text::styled(Style::Warn, "  it has no occurrence from now on"));
        }
        view.next.iter().try_for_each(|next| screen.line(format!("  next: {next}")))
    })
}

fn calendar(screen: &Screen, view: &CalendarView) -> Result<(), Failure> {
    let users = match view.users.is_empty() {
        true => String::new(),
        false => format!(" (used by {})", view.users.join(", ")),
    };
    screen.line(Text::new().bold(&view.name).dim(users))?;
    let days = view.days.to_string();
    days.lines().try_for_each(|day| screen.line(format!("  {day}")))
}

fn groups(screen: &Screen, views: &[TaskGroupView]) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("TASK GROUP").cut_to(8),
        Column::new("TASKS").cut_to(16),
        Column::new("USED BY").cut_to(10).rank(1),
    ]);
    for view in views {
        let tasks = match view.tasks.is_empty() {
            true => Text::styled(Style::Dim, "none"),
            false => view.tasks.join(", ").into(),
        };
        table.row([Text::new().bold(&view.name), tasks, view.users.join(", ").into()]);
    }
    screen.table(&table)
}

fn preview(screen: &Screen, view: &PreviewView, days: u32, trouble: bool) -> Result<(), Failure> {
    if view.entries.is_empty() {
        screen.aside(match trouble {
            true => format!("nothing is suppressed, blocked, refused or collides in the next {days} days"),
            false => format!("nothing runs by itself in the next {days} days; add an event: simsim event add NAME TASK... --at 'daily 22:00'"),
        });
        return Ok(());
    }
    let mut table = Table::new([
        Column::new("WHEN"),
        Column::new("EVENT").cut_to(10),
        Column::new("KIND").rank(2),
        Column::new("SUBJECT").cut_to(10),
        Column::new("WHERE").cut_to(8).rank(3),
        Column::new("TAKES").right().rank(4),
        Column::new("FATE").cut_to(16),
    ]);
    for entry in &view.entries {
        table.row([
            entry.at.as_str().into(),
            Text::new().bold(&entry.event),
            entry.kind.as_str().into(),
            entry.subject.as_str().into(),
            entry.place.as_deref().unwrap_or_default().into(),
            match entry.expected_s {
                0 => Text::new(),
                seconds => lasting_roughly(std::time::Duration::from_secs(seconds)).into(),
            },
            fate(entry),
        ]);
    }
    screen.table(&table)?;
    if view.more > 0 {
        screen.aside(Text::new().dim(format!("{} more: -n NUMBER", view.more)));
    }
    if let Some(at) = view.cut_at_unix_ms {
        screen.aside(format!("the plan would be too large and ends {}", when(at)));
    }
    Ok(())
}

fn fate(entry: &PlannedView) -> Text {
    let mut words = Vec::new();
    words.extend(entry.why.clone());
    words.extend(entry.collides.iter().map(|with| format!("waits for {with}")));
    let words = match words.is_empty() {
        true => entry.fate.clone(),
        false => format!("{}: {}", entry.fate, words.join("; ")),
    };
    match entry.fate.as_str() {
        "runs" if entry.collides.is_empty() && entry.why.is_none() => words.into(),
        "runs" => Text::styled(Style::Warn, words),
        _ => Text::styled(Style::Dim, words),
    }
}
