//! When a notification tells its report: at each occurrence of its schedule, once. What was missed while the server was
//! off is told in one report.

use simsim_schedule::{Schedule, last_until};

use super::DAY_MS;
use crate::ServerError;
use crate::retention::{almanac, instant};

/// The longest span of one report.
const SPAN_MS_MAX: i64 = 31 * DAY_MS;

/// The line of a schedule, such as `daily at 07:00`.
pub(crate) fn check(line: &str) -> Result<Schedule, ServerError> {
    let schedule: Schedule = line.parse().map_err(|error: simsim_schedule::ParseError| {
        ServerError::invalid(format!("report: {error}"))
    })?;
    if schedule.calendars().next().is_some() {
        return Err(ServerError::invalid("report: its schedule cannot name a calendar"));
    }
    let zone = almanac()?.zone(schedule.zone());
    zone.map_err(|error| ServerError::invalid(format!("report: {error}")))?;
    Ok(schedule)
}

/// What is to be done about a report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    NotYet,
    /// Nothing is told; it counts from here.
    From(i64),
    /// Of this span, as of its end.
    Tell(i64, i64),
}

/// `told`: the occurrence up to which was told; `None`: the notification has just begun to tell reports.
pub(crate) fn due(line: &str, told: Option<i64>, now: i64) -> Result<Due, ServerError> {
    let schedule = check(line)?;
    // Told in the future: the clock was wrong then, or is now.
    let Some(told) = told.filter(|told| *told <= now) else { return Ok(Due::From(now)) };
    let last = last_until(&schedule, &almanac()?, instant(now))
        .map_err(|error| ServerError::invalid(error.to_string()))?;
    Ok(match last.map(|last| last.as_millisecond()).filter(|last| *last > told) {
        None => Due::NotYet,
        // One that counts from its making on begins with a whole day.
        Some(last) => Due::Tell(told.min(last - DAY_MS).max(last - SPAN_MS_MAX), last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_occurrence_is_told_once_and_what_was_missed_in_one() {
        let line = "daily at 07:00 UTC";
        let at = |day: i64, hour: i64| day * DAY_MS + hour * 3_600_000;
        let due = |told, now| due(line, told, now).unwrap();
        assert_eq!(due(None, at(5, 6)), Due::From(at(5, 6)));
        assert_eq!(due(Some(at(5, 6)), at(5, 6) + 9), Due::NotYet);
        assert_eq!(due(Some(at(5, 6)), at(5, 8)), Due::Tell(at(4, 7), at(5, 7)));
        assert_eq!(due(Some(at(5, 7)), at(5, 8)), Due::NotYet);
        assert_eq!(due(Some(at(5, 7)), at(9, 8)), Due::Tell(at(5, 7), at(9, 7)), "off for days");
        assert_eq!(due(Some(at(5, 7)), at(90, 8)), Due::Tell(at(59, 7), at(90, 7)));
        assert_eq!(due(Some(at(90, 7)), at(5, 8)), Due::From(at(5, 8)), "the clock was wrong");
        for wrong in ["sometimes", "daily at 25:00", "daily at 07:00 Mars/Olympus"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        let told = check("daily 25:00").unwrap_err().to_string();
        assert!(told.starts_with("report: '25:00' (character 7): "), "{told}");
        assert!(!told.contains('\n'), "one line: {told}");
    }
}
