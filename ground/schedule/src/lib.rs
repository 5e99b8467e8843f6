//! When things run: a value computes it, and nobody looks at a clock.
//!
//! A [`Schedule`] is one line of text: which days, which times of these days, in which zone. It has
//! *occurrences*, instants that are the same whoever asks and whenever; [`occurrences`] goes through
//! them, [`next_after`] and [`last_until`] find one. What a schedule does not hold itself, zones and
//! named calendars, stands in an [`Almanac`] that the caller brings. [`due`] says what has to start
//! now, given what was [`Considered`] before: after a night without power, and after a clock that
//! jumped in either direction, each occurrence starts at most once and a long absence does not start
//! thousands.
//!
//! An [`Event`] says what runs by a schedule. [`plan`] lays a [`Programme`] of events out over a span
//! of time: what runs, what is suppressed and by what, what is blocked by which date, what collides.
//!
//! A server's round, then: for each event [`due`]; for each run the [`Fate`] of its occurrence in the
//! plan of its backup day; runs and what was considered stored in one step; the rest is its queue's.
//!
//! Everything here is a function of its arguments: a simulated month is a loop. The rules, the text
//! forms and examples stand in `docs/reference/schedules.md`; why this is a crate, and which time zone
//! data counts, in decision 22.

mod almanac;
mod backup_day;
mod bound;
mod calendar;
mod days;
mod due;
mod error;
mod event;
mod occurrences;
mod plan;
mod schedule;
mod text;

pub use almanac::{Almanac, Zone, Zones};
pub use backup_day::{BackupDay, BackupDays};
pub use bound::Bound;
pub use calendar::{Calendar, DaySet};
pub use days::DateRange;
pub use due::{CLOCK_STEADY_S, Considered, Due, Run, due};
pub use error::{ParseError, ScheduleError};
pub use event::{Ending, Event, EventKind, FollowUps, Place, Priority, Subject, Trouble, check};
pub use occurrences::{DAYS_SEARCHED_MAX, Occurrences, last_until, next_after, occurrences};
pub use plan::{
    COLLISIONS_NAMED_MAX, Collision, Entry, Fate, PLAN_DAYS_MAX, PLAN_OCCURRENCES_MAX, Plan,
    Programme, Resource, plan,
};
pub use schedule::{Missed, START_WINDOW_DEFAULT_MINUTES, Schedule};
