//! A schedule: which days, which times of these days, where, from when until when, and how late.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};

use crate::calendar::DaySet;
use crate::days::Days;
use crate::error::ParseError;
use crate::text;

/// The start window of a schedule that names none.
pub const START_WINDOW_DEFAULT_MINUTES: u32 = 60;

/// When something runs. One line of text, in which the parts stand in any order; what is shown is read
/// again as the same value. In JSON it is that text. The grammar stands in
/// `docs/reference/schedules.md`.
///
/// ```
/// use simsim_schedule::Schedule;
/// let nightly: Schedule = "weekdays 22:00 Europe/Berlin except calendar:holidays".parse().unwrap();
/// assert_eq!(nightly.to_string(), "weekdays 22:00 Europe/Berlin except calendar:holidays");
/// let error = "wekdays 22:00".parse::<Schedule>().unwrap_err();
/// assert!(error.to_string().starts_with("'wekdays' (character 1): "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub(crate) days: Days,
    pub(crate) times: Times,
    /// An IANA name; `None`: the almanac's zone.
    pub(crate) zone: Option<String>,
    pub(crate) from: Option<Date>,
    pub(crate) until: Option<Date>,
    pub(crate) except: DaySet,
    pub(crate) window_minutes: Option<u32>,
    pub(crate) missed: Missed,
}

/// Which times of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Times {
    /// Local times, in order, each once.
    At(Vec<Time>),
    /// Every so many minutes of real time, 1 or more. Inside a span of local time they are counted
    /// from its beginning, and its end is not part of it; without one they are counted through from
    /// the first valid day, over midnights and changed clocks.
    Every { minutes: u32, span: Option<(Time, Time)> },
}

/// What becomes of runs that were missed: of occurrences that are over when somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They do not run.
    Skip,
    /// One run stands for all of them, unless the newest occurrence may still start anyway.
    #[default]
    Once,
    /// The newest of them run, each by itself, so many at most.
    All(u16),
}

impl Schedule {
    /// The IANA name of its zone, where it has one of its own.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// How long after an occurrence its run may still start, in seconds.
    pub fn start_window_s(&self) -> i64 {
        i64::from(self.window_minutes.unwrap_or(START_WINDOW_DEFAULT_MINUTES)) * 60
    }

    pub fn missed(&self) -> Missed {
        self.missed
    }

    /// The calendars that it names; the almanac must have each of them.
    pub fn calendars(&self) -> impl Iterator<Item = &str> {
        self.days.calendar().into_iter().chain(self.except.calendars())
    }
}

impl FromStr for Schedule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text::parse_schedule(text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::schedule_text(self))
    }
}

text::as_text!(Schedule);
