//! What the tests compute with: zones that are built in, and one calendar.

use jiff::Timestamp;
use simsim_schedule::{Almanac, Schedule, Zones, occurrences};

pub fn almanac(zone: &str) -> Almanac {
    let holidays = "day 25,26 of dec\nday 1 of jan\neaster - 2 days; easter + 1 day\n2026-12-31";
    Almanac::new(Zones::bundled(), zone)
        .unwrap()
        .with_calendar("holidays", holidays.parse().unwrap())
}

/// An instant; a date and time without a zone are UTC.
pub fn at(text: &str) -> Timestamp {
    match text.len() {
        10 => format!("{text}T00:00:00Z").parse(),
        19 => format!("{}Z", text.replace(' ', "T")).parse(),
        16 => format!("{}:00Z", text.replace(' ', "T")).parse(),
        _ => text.parse(),
    }
    .unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The occurrences of a schedule in UTC, as `2026-11-26 22:00`.
pub fn all(text: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let (schedule, almanac) = (schedule(text), almanac(zone));
    let found = occurrences(&schedule, &almanac, at(from), at(until)).unwrap();
    found.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).collect()
}
