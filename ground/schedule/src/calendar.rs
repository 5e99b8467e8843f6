//! Named calendars, and sets of days on which nothing runs.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::almanac::Almanac;
use crate::days::{DateRange, Days, Weekdays};
use crate::error::{ParseError, ScheduleError};
use crate::text;

/// Days under one name, such as the holidays of a land: dates, and rules by which each year has its
/// own. As text one rule a line (or between `;`), `#` begins a remark:
///
/// ```text
/// day 25,26 of dec
/// easter + 1 day        # a Monday
/// 2026-12-27..2027-01-06
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    pub(crate) rules: Vec<Days>,
}

impl Calendar {
    /// It has no rule, and so no day.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn has(&self, day: Date, almanac: &Almanac) -> Result<bool, ScheduleError> {
        for rule in &self.rules {
            // A calendar names no calendar: the parser refuses it, so this cannot go in circles.
            if rule.calendar().is_none() && rule.has(day, None, almanac)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl FromStr for Calendar {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text::parse_calendar(text)
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<String> = self.rules.iter().map(text::days_text).collect();
        f.write_str(&rules.join("\n"))
    }
}

/// Days on which something is not to be: weekdays, dates, spans of dates, named calendars. As text with
/// commas: `sat,sun,2026-12-24..2027-01-06,calendar:bavaria`; the empty text has no day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaySet {
    pub(crate) weekdays: Weekdays,
    pub(crate) dates: Vec<DateRange>,
    pub(crate) calendars: Vec<String>,
}

impl DaySet {
    pub fn is_empty(&self) -> bool {
        self.weekdays.0 == 0 && self.dates.is_empty() && self.calendars.is_empty()
    }

    /// Which of its parts has the day, as it is written: a weekday, a date or span, a calendar.
    pub fn hit(&self, day: Date, almanac: &Almanac) -> Result<Option<String>, ScheduleError> {
        if let Some(range) = self.dates.iter().find(|range| range.has(day)) {
            return Ok(Some(text::range_text(range)));
        }
        for name in &self.calendars {
            if almanac.calendar(name)?.has(day, almanac)? {
                return Ok(Some(format!("calendar:{name}")));
            }
        }
        let weekday = self.weekdays.has(day.weekday());
        Ok(weekday.then(|| text::weekday_text(day.weekday()).to_owned()))
    }

    /// The calendars that it names.
    pub fn calendars(&self) -> impl Iterator<Item = &str> {
        self.calendars.iter().map(String::as_str)
    }
}

impl FromStr for DaySet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text::parse_day_set(text)
    }
}

impl fmt::Display for DaySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::day_set_text(self))
    }
}

text::as_text!(Calendar, DaySet);
