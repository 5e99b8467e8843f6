//! Shows schedules, calendars and sets of days, in one order and the shortest words.

use jiff::civil::{Time, Weekday};

use crate::calendar::DaySet;
use crate::days::{DAY_NAMES, DateRange, Days, MONTH_NAMES, MonthDays, Months, Rule, Weekdays};
use crate::schedule::{Missed, Schedule, Times};

pub(crate) fn schedule_text(schedule: &Schedule) -> String {
    let mut parts = Vec::new();
    let days = days_text(&schedule.days);
    match &schedule.times {
        Times::At(times) => {
            parts.push(days);
            parts.push(join(times.iter().map(|time| time_text(*time))));
        }
        Times::Every { minutes, span } => {
            parts.push(format!("every {}", minutes_text(*minutes, false)));
            parts.extend(
                span.map(|(begin, end)| format!("{}-{}", time_text(begin), time_text(end))),
            );
            if schedule.days != Days::DAILY {
                parts.push(days);
            }
        }
    }
    parts.extend(schedule.zone.as_ref().map(|zone| match zone.contains('/') || zone == "UTC" {
        true => zone.clone(),
        false => format!("zone {zone}"),
    }));
    parts.extend(schedule.from.map(|day| format!("from {day}")));
    parts.extend(schedule.until.map(|day| format!("until {day}")));
    if !schedule.except.is_empty() {
        parts.push(format!("except {}", schedule.except));
    }
    parts.extend(
        schedule.window_minutes.map(|window| format!("within {}", minutes_text(window, true))),
    );
    match schedule.missed {
        Missed::Once => {}
        Missed::Skip => parts.push("missed skip".to_owned()),
        Missed::All(most) => parts.push(format!("missed all {most}")),
    }
    parts.join(" ")
}

pub(crate) fn days_text(days: &Days) -> String {
    let rule = match &days.rule {
        Rule::Days(1) => "daily".to_owned(),
        Rule::Days(n) => format!("every {n} days"),
        Rule::Weeks(1, Weekdays::WORKING) => "weekdays".to_owned(),
        Rule::Weeks(1, Weekdays::WEEKEND) => "weekends".to_owned(),
        Rule::Weeks(1, on) => weekdays_text(*on),
        Rule::Weeks(n, on) => format!("every {n} weeks on {}", weekdays_text(*on)),
        Rule::Months(MonthDays::Numbers(numbers), months) => {
            format!("day {} of {}", join(numbers.iter().map(i8::to_string)), months_text(*months))
        }
        Rule::Months(MonthDays::Nth(nth, on), months) => {
            let nth = join(nth.iter().map(|nth| ordinal(*nth)));
            format!("{nth} {} of {}", weekdays_text(*on), months_text(*months))
        }
        Rule::Easter => "easter".to_owned(),
        Rule::Dates(ranges) => join(ranges.iter().map(range_text)),
        Rule::Calendar(name) => format!("calendar:{name}"),
    };
    let unit = if days.shift.abs() == 1 { "day" } else { "days" };
    match days.shift {
        0 => rule,
        shift if shift > 0 => format!("{rule} + {shift} {unit}"),
        shift => format!("{rule} - {} {unit}", -shift),
    }
}

pub(crate) fn day_set_text(set: &DaySet) -> String {
    let weekdays = (set.weekdays.0 != 0).then(|| weekdays_text(set.weekdays));
    let dates = set.dates.iter().map(range_text);
    let calendars = set.calendars.iter().map(|name| format!("calendar:{name}"));
    join(weekdays.into_iter().chain(dates).chain(calendars))
}

pub(crate) fn range_text(range: &DateRange) -> String {
    match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}..{}", range.first, range.last),
    }
}

pub(crate) fn weekday_text(day: Weekday) -> &'static str {
    let at = day.to_monday_zero_offset() as usize;
    DAY_NAMES.get(at).copied().unwrap_or_default()
}

fn ordinal(nth: i8) -> String {
    let names = ["first", "second", "third", "fourth", "fifth"];
    let name =
        names.get(usize::from(nth.unsigned_abs()).saturating_sub(1)).copied().unwrap_or_default();
    match nth {
        -1 => "last".to_owned(),
        nth if nth < 0 => format!("{name}-last"),
        _ => name.to_owned(),
    }
}

fn weekdays_text(days: Weekdays) -> String {
    spans(u16::from(days.0), &DAY_NAMES)
}

fn months_text(months: Months) -> String {
    match months {
        Months::ALL => "month".to_owned(),
        months => spans(months.0, &MONTH_NAMES),
    }
}

/// Names of the bits; three and more in a row as `first-last`.
fn spans(bits: u16, names: &[&str]) -> String {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < names.len() {
        let row =
            names[at..].iter().enumerate().take_while(|(more, _)| bits >> (at + more) & 1 == 1);
        let row: Vec<&str> = row.map(|(_, name)| *name).collect();
        at += row.len().max(1);
        match row.as_slice() {
            [first, _, .., last] => parts.push(format!("{first}-{last}")),
            few => parts.extend(few.iter().map(|name| (*name).to_owned())),
        }
    }
    parts.join(",")
}

fn time_text(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

fn minutes_text(minutes: u32, days: bool) -> String {
    match minutes {
        minutes if days && minutes.is_multiple_of(24 * 60) => format!("{}d", minutes / (24 * 60)),
        minutes if minutes.is_multiple_of(60) => format!("{}h", minutes / 60),
        minutes => format!("{minutes}m"),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<String>>().join(",")
}
