//! What a schedule needs to know of the world: time zones and named calendars.
//!
//! Clocks are set forward and back. Three rules, here and nowhere else: a local time that a zone leaves
//! out means the first instant after the gap; one that it has twice means the first of both; a day that
//! a zone leaves out altogether is a gap like any other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::calendar::Calendar;
use crate::error::ScheduleError;

/// Where time zones come from.
#[derive(Debug, Clone)]
pub struct Zones(TimeZoneDatabase);

impl Zones {
    /// The IANA database that is built into the binary: the same on every host, as old as the binary.
    pub fn bundled() -> Self {
        Self(TimeZoneDatabase::bundled())
    }

    /// The caller's own database, such as the host's (`TimeZoneDatabase::from_env()` of jiff, which
    /// takes the built-in one where the host has none). Looking a zone up in that one reads a file.
    pub fn of(database: TimeZoneDatabase) -> Self {
        Self(database)
    }

    /// The zone of an IANA name; letter case does not matter.
    pub fn get(&self, name: &str) -> Result<Zone, ScheduleError> {
        let zone = match name.eq_ignore_ascii_case("UTC") {
            true => Ok(TimeZone::UTC),
            false => self.0.get(name),
        };
        zone.map(Zone).map_err(|_| ScheduleError::UnknownZone(name.to_owned()))
    }
}

/// One time zone, looked up.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The local date and time of an instant.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.0.to_datetime(at)
    }

    /// The instant of a local date and time: of one that does not exist the first instant after the
    /// gap, of one that exists twice the first. `None` beyond the years -9999 to 9999.
    pub fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, after } => {
                // Read by the later offset it lies before the gap, read by the earlier one behind it.
                let earlier = after.to_timestamp(local).ok()?;
                let later = before.to_timestamp(local).ok()?;
                let mut turns =
                    self.0.following(earlier).take_while(|turn| turn.timestamp() <= later);
                let turn = turns.find(|turn| turn.offset() == after);
                Some(turn.map_or(later, |turn| turn.timestamp()))
            }
        }
    }

    /// When a local day begins; where it has no midnight, with its first instant.
    pub fn begin(&self, day: Date) -> Option<Timestamp> {
        self.instant(day.to_datetime(Time::midnight()))
    }

    /// An instant as people of the zone write it: `2026-11-26 22:00 Europe/Berlin`.
    pub fn show(&self, at: Timestamp) -> String {
        let local = self.local(at);
        let name = self.0.iana_name().unwrap_or("UTC");
        format!("{} {:02}:{:02} {name}", local.date(), local.hour(), local.minute())
    }
}

/// Zones, named calendars, and the zone of schedules that name none.
#[derive(Debug, Clone)]
pub struct Almanac {
    zones: Zones,
    zone: Zone,
    calendars: BTreeMap<String, Calendar>,
}

impl Almanac {
    /// `zone`: an IANA name, for schedules without one; usually the server's.
    pub fn new(zones: Zones, zone: &str) -> Result<Self, ScheduleError> {
        let zone = zones.get(zone)?;
        Ok(Self { zones, zone, calendars: BTreeMap::new() })
    }

    /// Adds a calendar, or puts it in the place of the one of the same name.
    pub fn with_calendar(mut self, name: impl Into<String>, calendar: Calendar) -> Self {
        self.calendars.insert(name.into(), calendar);
        self
    }

    pub fn calendar(&self, name: &str) -> Result<&Calendar, ScheduleError> {
        self.calendars.get(name).ok_or_else(|| ScheduleError::UnknownCalendar(name.to_owned()))
    }

    /// The zone of that name, or the one of schedules that name none.
    pub fn zone(&self, name: Option<&str>) -> Result<Zone, ScheduleError> {
        name.map_or_else(|| Ok(self.zone.clone()), |name| self.zones.get(name))
    }
}
