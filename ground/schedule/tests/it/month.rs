//! A month of a server with two hundred tasks, as its round will be: what is due, what the plan of its
//! backup day says of it, and a clock that jumps by ten years either way.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use simsim_schedule::{
    BackupDays, Considered, Event, EventKind, Fate, Plan, Priority, Programme, Subject, due, plan,
};

use crate::sample::{almanac, at, schedule};

const YEARS_10_S: i64 = 10 * 365 * 86_400;

/// Twenty clients of ten tasks: each night, on Sundays in full instead; a drill a month; a collection a
/// day that always runs.
fn programme() -> Programme {
    let schedules = [
        ("nightly", "22:30 Europe/Berlin missed all 3"),
        ("weekly", "sun 23:15 Europe/Berlin missed all 3"),
        ("drill", "first sat of month 02:30 Europe/Berlin missed all 3"),
        ("daily", "02:30 Europe/Berlin missed all 3"),
    ];
    let mut events = Vec::new();
    let mut add = |name: String, kind, on: &str, subject: String, priority| {
        events.push(Event {
            schedule: Some(on.to_owned()),
            subjects: vec![Subject { name: subject, expected_s: 600 }],
            priority: Priority::new(priority).unwrap(),
            ..Event::new(name, kind)
        });
    };
    for task in 0..200 {
        let subject = format!("client{}-task{}", task / 10, task % 10);
        add(format!("incr{task}"), EventKind::Backup, "nightly", subject.clone(), 10);
        add(format!("full{task}"), EventKind::Backup, "weekly", subject.clone(), 50);
        if task % 10 == 0 {
            add(format!("drill{task}"), EventKind::RestoreDrill, "drill", subject, 1);
        }
    }
    add("gc".to_owned(), EventKind::GarbageCollection, "daily", "vault".to_owned(), 0);
    Programme {
        events,
        schedules: schedules
            .iter()
            .map(|(name, text)| ((*name).to_owned(), schedule(text)))
            .collect(),
        backup_days: BackupDays::changing(schedule("12:00 Europe/Berlin")),
        runs_at_once: BTreeMap::new(),
        bounds: BTreeMap::new(),
    }
}

#[test]
fn a_month_of_two_hundred_tasks_loses_and_doubles_nothing_whatever_the_clock_does() {
    let (programme, almanac) = (programme(), almanac("UTC"));
    // March has the night in which Berlin has no half past two.
    let (begin, end) = (at("2026-03-03 12:10"), at("2026-04-02 12:10"));
    // Rounds, each 20 minutes after the other, in which the clock is wrong, and by how much.
    let wrong = [
        (100..103, YEARS_10_S),
        (400..402, -YEARS_10_S),
        (750..752, YEARS_10_S),
        (1290..1293, -YEARS_10_S),
        (1840..1843, YEARS_10_S),
    ];
    let mut considered = vec![Considered::until(begin); programme.events.len()];
    let mut plans: BTreeMap<Date, Plan> = BTreeMap::new();
    let mut ran: BTreeSet<(Timestamp, &str)> = BTreeSet::new();
    for round in 1..=2160i64 {
        let skew =
            wrong.iter().find(|(rounds, _)| rounds.contains(&round)).map_or(0, |wrong| wrong.1);
        let now = begin + SignedDuration::from_mins(20 * round) + SignedDuration::from_secs(skew);
        for (event, considered) in programme.events.iter().zip(&mut considered) {
            let schedule = &programme.schedules[event.schedule.as_ref().unwrap()];
            let due = due(schedule, &almanac, considered, now).unwrap();
            for run in due.runs {
                let day = programme.backup_days.of(run.occurrence, &almanac).unwrap();
                let plan = plans
                    .entry(day.date)
                    .or_insert_with(|| plan(&programme, &almanac, day.begin, day.end).unwrap());
                match plan.fate(&event.name, &event.subjects[0].name, run.occurrence) {
                    Some(Fate::Runs) => {
                        assert!(
                            ran.insert((run.occurrence, &event.name)),
                            "{} {}",
                            run.occurrence,
                            event.name
                        );
                    }
                    Some(Fate::Suppressed { by, .. }) => assert!(by.starts_with("full"), "{by}"),
                    other => panic!("{} {}: {other:?}", run.occurrence, event.name),
                }
            }
            *considered = due.considered;
        }
    }
    let expected = plan(&programme, &almanac, begin, end).unwrap();
    let expected: BTreeSet<(Timestamp, &str)> = expected
        .entries
        .iter()
        .filter(|entry| entry.fate == Fate::Runs)
        .map(|entry| (entry.at, entry.event.as_str()))
        .collect();
    assert!(expected.len() > 200 * 30, "{}", expected.len());
    let lost: Vec<_> = expected.difference(&ran).take(3).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    // What else ran has a time that only a wrong clock showed, and is not much.
    let extra: Vec<_> = ran.difference(&expected).collect();
    assert!(extra.iter().all(|(at, _)| *at < begin || *at > end), "{:?}", extra.first());
    assert!(extra.len() <= programme.events.len() * 4 * wrong.len(), "{}", extra.len());
}
