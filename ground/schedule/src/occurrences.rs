//! The occurrences of a schedule, forward and backward, a local day at a time.
//!
//! Work is bounded whatever the schedule says: a search gives up after [`DAYS_SEARCHED_MAX`] local days
//! in a row without an occurrence, and one day has at most one for each of its minutes.

use std::collections::VecDeque;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::almanac::{Almanac, Zone};
use crate::days::COUNTED_FROM;
use crate::error::ScheduleError;
use crate::schedule::{Schedule, Times};

/// For so many local days without an occurrence a search goes on. The calendar repeats itself after
/// 146,097 days, 400 years: what does not come until then never comes, but for lists of dates and
/// the end of long exclusions.
pub const DAYS_SEARCHED_MAX: u32 = 146_097;

/// The occurrences from `from` (included) to `until` (not included), in order, each instant once.
/// Computed while they are taken.
///
/// # Errors
/// The schedule's zone or a calendar that it names is unknown.
pub fn occurrences<'a>(
    schedule: &'a Schedule,
    almanac: &'a Almanac,
    from: Timestamp,
    until: Timestamp,
) -> Result<Occurrences<'a>, ScheduleError> {
    let days = DaysOf::new(schedule, almanac)?;
    // The day before may reach into this one: over midnight, and over a day that a zone leaves out.
    let local = days.zone.local(from).date();
    let day = local.checked_sub(2.days()).unwrap_or(Date::MIN);
    Ok(Occurrences {
        day: Some(days.first_after(day)),
        days,
        from,
        until,
        ready: VecDeque::new(),
        empty_days: 0,
        looked_at: 0,
    })
}

/// The first occurrence after an instant; `None` where none comes within [`DAYS_SEARCHED_MAX`] days.
pub fn next_after(
    schedule: &Schedule,
    almanac: &Almanac,
    at: Timestamp,
) -> Result<Option<Timestamp>, ScheduleError> {
    let Ok(from) = at.checked_add(SignedDuration::from_nanos(1)) else { return Ok(None) };
    Ok(occurrences(schedule, almanac, from, Timestamp::MAX)?.next())
}

/// The last occurrence at an instant or before; `None` where there is none within
/// [`DAYS_SEARCHED_MAX`] days.
pub fn last_until(
    schedule: &Schedule,
    almanac: &Almanac,
    at: Timestamp,
) -> Result<Option<Timestamp>, ScheduleError> {
    Ok(backward(schedule, almanac, Timestamp::MIN, at, 1)?.pop())
}

/// The last occurrences after one instant and at another one or before, the newest first, so many at
/// most.
pub(crate) fn backward(
    schedule: &Schedule,
    almanac: &Almanac,
    after: Timestamp,
    at: Timestamp,
    most: usize,
) -> Result<Vec<Timestamp>, ScheduleError> {
    let days = DaysOf::new(schedule, almanac)?;
    let mut found: Vec<Timestamp> = Vec::new();
    let local = days.zone.local(at).date();
    let mut day = Some(days.last_before(local.checked_add(1.day()).unwrap_or(Date::MAX)));
    let earliest = days.zone.local(after).date().checked_sub(2.days()).unwrap_or(Date::MIN);
    let mut empty_days = 0;
    while let Some(today) = day.filter(|day| *day >= earliest) {
        let ready = days.instants(today)?;
        empty_days = if ready.is_empty() { empty_days + 1 } else { 0 };
        for instant in ready.into_iter().rev().filter(|instant| *instant <= at && *instant > after)
        {
            if found.last() != Some(&instant) {
                found.push(instant);
            }
            if found.len() >= most {
                return Ok(found);
            }
        }
        if empty_days >= DAYS_SEARCHED_MAX || days.is_before_all(today) {
            break;
        }
        day = today.yesterday().ok();
    }
    Ok(found)
}

/// See [`occurrences`].
#[derive(Debug)]
pub struct Occurrences<'a> {
    days: DaysOf<'a>,
    /// The next day to look at.
    day: Option<Date>,
    from: Timestamp,
    until: Timestamp,
    ready: VecDeque<Timestamp>,
    empty_days: u32,
    looked_at: u64,
}

impl Occurrences<'_> {
    /// How many local days were looked at: the work that was done.
    pub fn days_looked_at(&self) -> u64 {
        self.looked_at
    }
}

impl Iterator for Occurrences<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        loop {
            if let Some(instant) = self.ready.pop_front() {
                if instant >= self.until {
                    (self.day, self.ready) = (None, VecDeque::new());
                    return None;
                }
                if instant >= self.from {
                    // Two local times in one gap are one instant, and one occurrence.
                    self.from = instant.checked_add(SignedDuration::from_nanos(1)).ok()?;
                    return Some(instant);
                }
                continue;
            }
            let day = self.day?;
            self.looked_at += 1;
            // Calendars were looked up when this began, so that nothing can fail here.
            self.ready = self.days.instants(day).unwrap_or_default().into();
            self.empty_days = if self.ready.is_empty() { self.empty_days + 1 } else { 0 };
            let begins = self.days.zone.begin(day);
            let over = begins.is_none_or(|begins| begins >= self.until);
            let done = over || self.empty_days >= DAYS_SEARCHED_MAX || self.days.is_after_all(day);
            self.day = if done { None } else { day.tomorrow().ok() };
        }
    }
}

/// A schedule with all that it names looked up.
#[derive(Debug)]
struct DaysOf<'a> {
    schedule: &'a Schedule,
    almanac: &'a Almanac,
    zone: Zone,
    /// The first and the last day that can have an occurrence.
    first: Date,
    last: Date,
}

impl<'a> DaysOf<'a> {
    fn new(schedule: &'a Schedule, almanac: &'a Almanac) -> Result<Self, ScheduleError> {
        let zone = almanac.zone(schedule.zone())?;
        for name in schedule.calendars() {
            almanac.calendar(name)?;
        }
        let listed = schedule.days.bounds();
        let first = schedule.from.unwrap_or(Date::MIN);
        let last = schedule.until.unwrap_or(Date::MAX);
        Ok(Self {
            schedule,
            almanac,
            zone,
            first: listed.map_or(first, |listed| first.max(listed.first)),
            last: listed.map_or(last, |listed| last.min(listed.last)),
        })
    }

    fn first_after(&self, day: Date) -> Date {
        day.max(self.first)
    }

    fn last_before(&self, day: Date) -> Date {
        day.min(self.last)
    }

    fn is_after_all(&self, day: Date) -> bool {
        day >= self.last
    }

    fn is_before_all(&self, day: Date) -> bool {
        day <= self.first
    }

    /// The occurrences of a local day, in order.
    fn instants(&self, day: Date) -> Result<Vec<Timestamp>, ScheduleError> {
        let schedule = self.schedule;
        let valid = (self.first..=self.last).contains(&day);
        if !valid || !schedule.days.has(day, schedule.from, self.almanac)? {
            return Ok(Vec::new());
        }
        if schedule.except.hit(day, self.almanac)?.is_some() {
            return Ok(Vec::new());
        }
        Ok(match &schedule.times {
            Times::At(times) => {
                times.iter().filter_map(|time| self.zone.instant(day.to_datetime(*time))).collect()
            }
            Times::Every { minutes, span: Some((begin, end)) } => {
                let last_day = if begin < end { Ok(day) } else { day.tomorrow() };
                let last_day = last_day.unwrap_or(Date::MAX);
                let begins = self.zone.instant(day.to_datetime(*begin));
                let ends = self.zone.instant(last_day.to_datetime(*end));
                begins
                    .zip(ends)
                    .map_or_else(Vec::new, |(begins, ends)| steps(begins, begins, ends, *minutes))
            }
            Times::Every { minutes, span: None } => {
                let counted_from = self.zone.begin(schedule.from.unwrap_or(COUNTED_FROM));
                let ends = day.tomorrow().ok().and_then(|next| self.zone.begin(next));
                match (counted_from, self.zone.begin(day), ends) {
                    (Some(zero), Some(begins), Some(ends)) => steps(zero, begins, ends, *minutes),
                    _ => Vec::new(),
                }
            }
        })
    }
}

/// Instants from `begins` to before `ends` that are whole intervals of real time away from `zero`.
fn steps(zero: Timestamp, begins: Timestamp, ends: Timestamp, minutes: u32) -> Vec<Timestamp> {
    let step = i64::from(minutes.max(1)) * 60;
    let (zero, begins, ends) = (zero.as_second(), begins.as_second(), ends.as_second());
    let first = zero + (begins - zero).div_euclid(step) * step;
    let first = if first < begins { first + step } else { first };
    let many = (ends - first).max(0).div_euclid(step) + 1;
    let instants = (0..many).map(|at| first + at * step).filter(|instant| *instant < ends);
    instants.filter_map(|instant| Timestamp::from_second(instant).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::almanac::Zones;
    use crate::days::{Days, MonthDays, Months, Rule, Weekdays};

    #[test]
    fn what_never_comes_ends_the_search() {
        let almanac = Almanac::new(Zones::bundled(), "UTC").unwrap();
        let mut schedule: Schedule = "22:00".parse().unwrap();
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        for rule in [
            // The parser refuses the first one; who builds it gets an answer all the same.
            Rule::Months(MonthDays::Numbers(vec![30]), Months(2)),
            Rule::Weeks(1, Weekdays(0)),
            Rule::Dates(Vec::new()),
        ] {
            schedule.days = Days { rule, shift: 0 };
            let mut all = occurrences(&schedule, &almanac, now, Timestamp::MAX).unwrap();
            assert_eq!(all.next(), None);
            assert!(
                all.days_looked_at() <= u64::from(DAYS_SEARCHED_MAX),
                "{}",
                all.days_looked_at()
            );
            assert_eq!(next_after(&schedule, &almanac, now), Ok(None));
            assert_eq!(last_until(&schedule, &almanac, now), Ok(None));
        }
    }

    #[test]
    fn steps_are_whole_intervals_from_zero() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let seconds = |zero, begins, ends, minutes| -> Vec<i64> {
            steps(at(zero), at(begins), at(ends), minutes)
                .iter()
                .map(|step| step.as_second())
                .collect()
        };
        assert_eq!(seconds(0, 0, 180, 1), [0, 60, 120]);
        assert_eq!(seconds(0, 1, 181, 1), [60, 120, 180]);
        assert_eq!(seconds(600, -60, 61, 2), [0]);
        assert_eq!(seconds(0, 61, 119, 1), [0i64; 0]);
        assert_eq!(seconds(0, 100, 100, 1), [0i64; 0]);
        assert_eq!(seconds(0, 120, 60, 1), [0i64; 0]);
    }
}
