//! What the page says is so: each schedule in it is read, each occurrence is when it says, each error
//! reads as shown.

use simsim_schedule::{Calendar, DaySet, Schedule};

use crate::sample::{almanac, at, schedule};

const PAGE: &str = include_str!("../../../../docs/reference/schedules.md");

/// The lines of all fenced blocks of a name.
fn fenced(name: &str) -> Vec<&'static str> {
    let fence = format!("```{name}\n");
    let blocks = PAGE.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let lines: Vec<&str> = blocks.flat_map(str::lines).filter(|line| !line.is_empty()).collect();
    assert!(!lines.is_empty(), "no block '{name}'");
    lines
}

fn said(line: &str) -> &str {
    line.split("  #").next().unwrap().trim_end()
}

#[test]
fn every_schedule_of_the_page_is_read() {
    for line in fenced("schedule") {
        let read: Schedule = schedule(said(line));
        assert_eq!(schedule(&read.to_string()), read, "{line}");
    }
    for line in fenced("days") {
        said(line).parse::<DaySet>().unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let calendar = fenced("calendar").join("\n");
    calendar.parse::<Calendar>().unwrap();
}

/// `SCHEDULE => INSTANT, INSTANT …`: the next ones after 2026-03-28 12:00 in Berlin, as local times.
#[test]
fn every_occurrence_of_the_page_is_when_it_says() {
    let almanac = almanac("Europe/Berlin");
    for line in fenced("occurrences") {
        let (text, times) = line.split_once(" => ").unwrap_or_else(|| panic!("{line}"));
        let schedule = schedule(text.trim());
        let zone = almanac.zone(schedule.zone()).unwrap();
        let mut now = at("2026-03-28 11:00");
        for time in times.split(", ") {
            now = simsim_schedule::next_after(&schedule, &almanac, now).unwrap().unwrap();
            let local = zone.local(now);
            assert_eq!(local.strftime("%Y-%m-%d %H:%M").to_string(), time.trim(), "{line}");
        }
    }
}

/// `TEXT => message`.
#[test]
fn every_error_of_the_page_reads_so() {
    for line in fenced("refused") {
        let (text, message) = line.split_once(" => ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(text.trim().parse::<Schedule>().unwrap_err().to_string(), message.trim());
    }
}
