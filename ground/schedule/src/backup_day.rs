//! The backup day: from one backup-day change to the next one.
//!
//! A backup of Monday's data that runs on Tuesday at one o'clock belongs to Monday: priorities and
//! blocking dates count by such days. When they change is a schedule of its own, mostly one time a day;
//! `weekdays 08:00` makes a day of each weekend that begins on Friday.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::almanac::{Almanac, Zone};
use crate::error::ScheduleError;
use crate::occurrences::{last_until, next_after, occurrences};
use crate::schedule::Schedule;

/// One backup day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupDay {
    /// Its first instant. Before the first change of all it is the beginning of time.
    pub begin: Timestamp,
    /// The first instant of the next day.
    pub end: Timestamp,
    /// Its name: the local date on which it begins.
    pub date: Date,
}

/// When backup days change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct BackupDays {
    change: Schedule,
}

impl BackupDays {
    /// `change`: the schedule of the backup-day change, such as `daily 08:00`.
    pub fn changing(change: Schedule) -> Self {
        Self { change }
    }

    /// The backup day of an instant.
    pub fn of(&self, at: Timestamp, almanac: &Almanac) -> Result<BackupDay, ScheduleError> {
        let zone = almanac.zone(self.change.zone())?;
        let begin = last_until(&self.change, almanac, at)?;
        let end = next_after(&self.change, almanac, at)?.unwrap_or(Timestamp::MAX);
        Ok(day(&zone, begin.unwrap_or(Timestamp::MIN), end))
    }

    /// The backup days that have an instant of `from` to before `until`, whole, in order; so many at
    /// most.
    pub(crate) fn between(
        &self,
        from: Timestamp,
        until: Timestamp,
        most: usize,
        almanac: &Almanac,
    ) -> Result<Vec<BackupDay>, ScheduleError> {
        let zone = almanac.zone(self.change.zone())?;
        let mut days = vec![self.of(from, almanac)?];
        let mut begin = days.last().map_or(Timestamp::MAX, |day| day.end);
        let mut changes = occurrences(&self.change, almanac, begin, Timestamp::MAX)?.skip(1);
        while begin < until && days.len() < most {
            let end = changes.next().unwrap_or(Timestamp::MAX);
            days.push(day(&zone, begin, end));
            begin = end;
        }
        Ok(days)
    }
}

fn day(zone: &Zone, begin: Timestamp, end: Timestamp) -> BackupDay {
    BackupDay { begin, end, date: zone.local(begin).date() }
}
