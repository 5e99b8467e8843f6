//! Which days: patterns that a local date fits or does not.

use jiff::civil::{Date, Weekday};
use jiff::{SignedDuration, ToSpan};

use crate::almanac::Almanac;
use crate::error::ScheduleError;

pub(crate) const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
pub(crate) const MONTH_NAMES: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// How many days a month has at most, January first.
pub(crate) const MONTH_DAYS_MAX: [i8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Repetitions over several days or weeks without a first day of their own are counted from here, a
/// Monday.
pub(crate) const COUNTED_FROM: Date = Date::constant(2001, 1, 1);

/// Weekdays; bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weekdays(pub u8);

impl Weekdays {
    pub const WORKING: Weekdays = Weekdays(0x1f);
    pub const WEEKEND: Weekdays = Weekdays(0x60);

    pub fn has(self, day: Weekday) -> bool {
        self.0 >> day.to_monday_zero_offset() & 1 == 1
    }
}

/// Months; bit 0 is January.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Months(pub u16);

impl Months {
    pub const ALL: Months = Months(0xfff);

    pub fn has(self, month: i8) -> bool {
        self.0 >> (month - 1) & 1 == 1
    }
}

/// Days from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateRange {
    pub first: Date,
    pub last: Date,
}

impl DateRange {
    pub fn has(&self, day: Date) -> bool {
        (self.first..=self.last).contains(&day)
    }
}

/// Which days of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MonthDays {
    /// 1 to 31, or -1 (the last) to -31.
    Numbers(Vec<i8>),
    /// The first (1) to fifth, or the last (-1) to fifth-last, of each of these weekdays.
    Nth(Vec<i8>, Weekdays),
}

impl MonthDays {
    fn have(&self, day: Date) -> bool {
        let (from_begin, from_end) = (day.day(), day.day() - day.days_in_month() - 1);
        match self {
            MonthDays::Numbers(wanted) => {
                wanted.iter().any(|number| *number == from_begin || *number == from_end)
            }
            MonthDays::Nth(_, on) if !on.has(day.weekday()) => false,
            MonthDays::Nth(wanted, _) => wanted
                .iter()
                .any(|nth| *nth == (from_begin - 1) / 7 + 1 || *nth == (from_end + 1) / 7 - 1),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every n days, 1 or more.
    Days(u16),
    /// These weekdays of every nth week, 1 or more. Weeks begin on Monday.
    Weeks(u16, Weekdays),
    Months(MonthDays, Months),
    /// Easter Sunday of the Gregorian calendar.
    Easter,
    Dates(Vec<DateRange>),
    /// The days of a named calendar.
    Calendar(String),
}

/// A rule, and by how many days what it names is shifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Days {
    pub rule: Rule,
    /// -366 to 366.
    pub shift: i16,
}

impl Days {
    pub const DAILY: Days = Days { rule: Rule::Days(1), shift: 0 };

    /// Whether a day is one of these. `from`: the day that repetitions are counted from.
    pub fn has(
        &self,
        day: Date,
        from: Option<Date>,
        almanac: &Almanac,
    ) -> Result<bool, ScheduleError> {
        let Ok(day) = day.checked_sub(i64::from(self.shift).days()) else { return Ok(false) };
        let since = || {
            let from = from.unwrap_or(COUNTED_FROM);
            days_between(from, day)
        };
        Ok(match &self.rule {
            Rule::Days(1) => true,
            Rule::Days(n) => since().rem_euclid(i64::from((*n).max(1))) == 0,
            Rule::Weeks(n, on) => {
                let begin = from.unwrap_or(COUNTED_FROM).weekday().to_monday_zero_offset();
                let weeks = (since() + i64::from(begin)).div_euclid(7);
                on.has(day.weekday()) && weeks.rem_euclid(i64::from((*n).max(1))) == 0
            }
            Rule::Months(on, months) => months.has(day.month()) && on.have(day),
            Rule::Easter => easter(day.year()) == Some(day),
            Rule::Dates(ranges) => ranges.iter().any(|range| range.has(day)),
            Rule::Calendar(name) => almanac.calendar(name)?.has(day, almanac)?,
        })
    }

    /// The days between which all of these lie, where they are a list of dates.
    pub fn bounds(&self) -> Option<DateRange> {
        let Rule::Dates(ranges) = &self.rule else { return None };
        let shift = |day: Date, otherwise| {
            day.checked_add(i64::from(self.shift).days()).unwrap_or(otherwise)
        };
        let first = ranges.iter().map(|range| range.first).min()?;
        let last = ranges.iter().map(|range| range.last).max()?;
        Some(DateRange { first: shift(first, Date::MIN), last: shift(last, Date::MAX) })
    }

    /// The calendar that it names.
    pub fn calendar(&self) -> Option<&str> {
        match &self.rule {
            Rule::Calendar(name) => Some(name),
            _ => None,
        }
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    let between: SignedDuration = to.duration_since(from);
    between.as_secs() / 86_400
}

/// Easter Sunday, by the usual reckoning with the moon's cycle of 19 years.
fn easter(year: i16) -> Option<Date> {
    let year = i32::from(year);
    let (a, b, c) = (year.rem_euclid(19), year.div_euclid(100), year.rem_euclid(100));
    let g = (8 * b + 13).div_euclid(25);
    let moon = (19 * a + b - b.div_euclid(4) - g + 15).rem_euclid(30);
    let leap = 2 * b.rem_euclid(4) + 2 * c.div_euclid(4) - c.rem_euclid(4);
    let sunday = (32 + leap - moon).rem_euclid(7);
    let late = 7 * (a + 11 * moon + 19 * sunday).div_euclid(433);
    let month = (moon + sunday - late + 90).div_euclid(25);
    let day = (moon + sunday - late + 33 * month + 19).rem_euclid(32);
    Date::new(year as i16, month as i8, day as i8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn easter_is_when_it_was_and_will_be() {
        for (year, month, day) in [
            (1818, 3, 22),
            (1943, 4, 25),
            (1961, 4, 2),
            (2000, 4, 23),
            (2008, 3, 23),
            (2011, 4, 24),
            (2024, 3, 31),
            (2025, 4, 20),
            (2026, 4, 5),
            (2027, 3, 28),
            (2038, 4, 25),
            (2285, 3, 22),
        ] {
            assert_eq!(easter(year), Some(date(year, month, day)), "{year}");
        }
        for year in -9999..=9999 {
            let day = easter(year).unwrap_or_else(|| panic!("{year}"));
            assert_eq!(day.weekday(), Weekday::Sunday, "{year}");
        }
    }

    #[test]
    fn days_of_a_month_count_from_both_ends() {
        let of = |what: MonthDays, year, month| -> Vec<i8> {
            let first = date(year, month, 1);
            (0..first.days_in_month())
                .map(|at| first.checked_add(i64::from(at).days()).unwrap())
                .filter(|day| what.have(*day))
                .map(|day| day.day())
                .collect()
        };
        let number = |number| MonthDays::Numbers(vec![number]);
        let (monday, tuesday, sunday) = (Weekdays(1), Weekdays(2), Weekdays(64));
        assert_eq!(of(number(-1), 2028, 2), [29]);
        assert_eq!(of(number(-29), 2027, 2), [0i8; 0]);
        assert_eq!(of(number(31), 2026, 11), [0i8; 0]);
        assert_eq!(of(MonthDays::Nth(vec![1], sunday), 2026, 11), [1]);
        assert_eq!(of(MonthDays::Nth(vec![-1], sunday), 2026, 11), [29]);
        assert_eq!(of(MonthDays::Nth(vec![5], sunday), 2026, 11), [29]);
        assert_eq!(of(MonthDays::Nth(vec![2, -2], sunday), 2026, 11), [8, 22]);
        assert_eq!(of(MonthDays::Nth(vec![5], monday), 2026, 12), [0i8; 0]);
        assert_eq!(of(MonthDays::Nth(vec![-5], tuesday), 2026, 12), [1]);
    }
}
