//! Plans: who runs, who does not and why, and who will have to wait.

use std::collections::BTreeMap;

use simsim_schedule::{
    BackupDays, Bound, Event, EventKind, Fate, Place, Plan, Priority, Programme, Resource, Subject,
    plan,
};

use crate::sample::{almanac, at, schedule};

fn programme(backup_day: &str, schedules: &[(&str, &str)], events: Vec<Event>) -> Programme {
    Programme {
        events,
        schedules: schedules
            .iter()
            .map(|(name, text)| ((*name).to_owned(), schedule(text)))
            .collect(),
        backup_days: BackupDays::changing(schedule(backup_day)),
        runs_at_once: BTreeMap::new(),
        bounds: BTreeMap::new(),
    }
}

fn event(name: &str, on: &str, task: &str, priority: u8) -> Event {
    Event {
        schedule: Some(on.to_owned()),
        subjects: vec![Subject { name: task.to_owned(), expected_s: 3600 }],
        priority: Priority::new(priority).unwrap(),
        ..Event::new(name, EventKind::Backup)
    }
}

fn planned(programme: &Programme, from: &str, until: &str) -> Plan {
    plan(programme, &almanac("UTC"), at(from), at(until)).unwrap()
}

fn lines(plan: &Plan) -> Vec<String> {
    let fate = |fate: &Fate| match fate {
        Fate::Runs => "runs".to_owned(),
        Fate::Suppressed { by, priority } => format!("suppressed by {by} ({})", priority.number()),
        Fate::Blocked { by } => format!("blocked by {by}"),
        Fate::Blocks => "blocks".to_owned(),
    };
    let line = |entry: &simsim_schedule::Entry| {
        format!("{} {} {}", entry.at.strftime("%d %H:%M"), entry.event, fate(&entry.fate))
    };
    plan.entries.iter().map(line).collect()
}

const DAYS: [(&str, &str); 5] = [
    ("late", "23:30"),
    ("nightly", "22:00"),
    ("weekly", "sun 23:00"),
    ("early", "daily 01:00"),
    ("hourly", "every 8h 06:00-23:00"),
];

#[test]
fn the_highest_priority_of_a_backup_day_runs_and_the_others_say_by_what() {
    let programme = programme(
        "daily 12:00",
        &DAYS,
        vec![
            event("incr", "nightly", "web", 10),
            event("full", "weekly", "web", 50),
            event("other task", "nightly", "mail", 1),
            event("always", "nightly", "web", 0),
        ],
    );
    // 2026-11-29 is a Sunday.
    assert_eq!(
        lines(&planned(&programme, "2026-11-28 12:00", "2026-11-30 12:00")),
        [
            "28 22:00 incr runs",
            "28 22:00 other task runs",
            "28 22:00 always runs",
            "29 22:00 incr suppressed by full (50)",
            "29 22:00 other task runs",
            "29 22:00 always runs",
            "29 23:00 full runs",
        ]
    );
}

#[test]
fn suppression_counts_by_backup_day_also_where_a_span_shows_only_a_part() {
    let events = || vec![event("early", "early", "web", 10), event("full", "weekly", "web", 50)];
    // One o'clock on Monday is still Sunday's backup day where that changes at noon.
    let noon = programme("daily 12:00", &DAYS, events());
    let monday = planned(&noon, "2026-11-30", "2026-11-30 12:00");
    assert_eq!(lines(&monday), ["30 01:00 early suppressed by full (50)"]);
    assert_eq!(monday.entries[0].backup_day.to_string(), "2026-11-29");
    let before = planned(&noon, "2026-11-29 20:00", "2026-11-29 22:59");
    assert_eq!(lines(&before), [""; 0]);
    let midnight = programme("daily 00:00", &DAYS, events());
    assert_eq!(
        lines(&planned(&midnight, "2026-11-30", "2026-11-30 12:00")),
        ["30 01:00 early runs"]
    );
    // A backup day over the weekend: from Friday at eight to Monday at eight.
    let weekend = programme("weekdays 08:00", &DAYS, events());
    let all = planned(&weekend, "2026-11-27 08:00", "2026-12-01 08:00");
    assert_eq!(
        lines(&all),
        [
            "28 01:00 early suppressed by full (50)",
            "29 01:00 early suppressed by full (50)",
            "29 23:00 full runs",
            "30 01:00 early suppressed by full (50)",
            "01 01:00 early runs",
        ]
    );
    assert_eq!(all.entries[3].backup_day.to_string(), "2026-11-27");
}

#[test]
fn equal_priorities_all_run_and_an_event_does_not_suppress_itself() {
    let programme = programme(
        "daily 00:00",
        &DAYS,
        vec![
            event("a", "nightly", "web", 10),
            event("b", "nightly", "web", 10),
            event("c", "hourly", "mail", 7),
        ],
    );
    let plan = planned(&programme, "2026-11-26", "2026-11-27");
    assert!(plan.entries.iter().all(|entry| entry.fate == Fate::Runs), "{:?}", lines(&plan));
    assert_eq!(plan.entries.len(), 5);
    // Both at once for one task: the second has to wait.
    assert_eq!(plan.collisions.len(), 1);
    assert_eq!(plan.collisions[0].resource, Resource::Subject("web".to_owned()));
}

#[test]
fn kinds_do_not_suppress_each_other() {
    let mut drill = event("drill", "nightly", "web", 99);
    drill.kind = EventKind::RestoreDrill;
    let programme = programme("daily 00:00", &DAYS, vec![event("a", "nightly", "web", 1), drill]);
    let plan = planned(&programme, "2026-11-26", "2026-11-27");
    assert_eq!(lines(&plan), ["26 22:00 a runs", "26 22:00 drill runs"]);
    assert_eq!(plan.collisions, []);
}

#[test]
fn blocking_dates_are_backup_days_and_what_is_blocked_suppresses_nothing() {
    let mut full = event("full", "early", "web", 50);
    full.blocking_dates = "sun,calendar:holidays".parse().unwrap();
    let incr = event("incr", "early", "web", 10);
    let programme = programme("daily 12:00", &DAYS, vec![full, incr]);
    assert_eq!(
        lines(&planned(&programme, "2026-12-25", "2026-12-29")),
        [
            "25 01:00 full runs",
            "25 01:00 incr suppressed by full (50)",
            // One o'clock on the 26th belongs to the 25th.
            "26 01:00 full blocked by calendar:holidays",
            "26 01:00 incr runs",
            "27 01:00 full blocked by calendar:holidays",
            "27 01:00 incr runs",
            "28 01:00 full blocked by sun",
            "28 01:00 incr runs",
        ]
    );
}

#[test]
fn a_blocking_event_suppresses_lower_ones_and_never_runs() {
    let mut maintenance = event("maintenance", "weekly", "web", 60);
    maintenance.blocking = true;
    let mut always = event("always", "nightly", "web", 0);
    always.enabled = true;
    let mut off = event("off", "nightly", "web", 99);
    off.enabled = false;
    let programme = programme(
        "daily 12:00",
        &DAYS,
        vec![
            maintenance,
            event("incr", "nightly", "web", 10),
            event("equal", "late", "web", 60),
            always,
            off,
        ],
    );
    let plan = planned(&programme, "2026-11-29 12:00", "2026-11-30 12:00");
    assert_eq!(
        lines(&plan),
        [
            "29 22:00 incr suppressed by maintenance (60)",
            "29 22:00 always runs",
            "29 23:00 maintenance blocks",
            "29 23:30 equal runs",
        ]
    );
    let fate = plan.fate("incr", "web", at("2026-11-29 22:00"));
    assert!(matches!(fate, Some(Fate::Suppressed { by, .. }) if by == "maintenance"), "{fate:?}");
    assert_eq!(plan.fate("incr", "web", at("2026-11-29 22:01")), None);
}

#[test]
fn runs_collide_on_tasks_drives_and_groups_by_their_expected_time() {
    let on = |name: &str, task: &str, place: Place, hours: u64| {
        let mut event = event(name, "nightly", task, 1);
        event.subjects[0].expected_s = hours * 3600;
        event.place = Some(place);
        event
    };
    let fast = || Place::Group("fast".to_owned());
    let mut late = on("late", "a", Place::Drive(2), 1);
    late.schedule = Some("weekly".to_owned());
    let mut programme = programme(
        "daily 12:00",
        &DAYS,
        vec![
            on("a", "a", Place::Drive(1), 2),
            on("b", "b", Place::Drive(1), 1),
            on("c", "c", fast(), 1),
            on("d", "d", fast(), 1),
            on("e", "e", fast(), 0),
            late,
        ],
    );
    programme.runs_at_once.insert(Bound::Group("fast".to_owned()), 2);
    let plan = planned(&programme, "2026-11-29 12:00", "2026-11-30 12:00");
    let found: Vec<(&str, &Resource, Vec<&str>)> = plan
        .collisions
        .iter()
        .map(|collision| {
            let name = |entry: &usize| plan.entries[*entry].event.as_str();
            (name(&collision.entry), &collision.resource, collision.with.iter().map(name).collect())
        })
        .collect();
    assert_eq!(
        found,
        [
            ("b", &Resource::Bound { bound: Bound::Drive(1), most: 1 }, vec!["a"]),
            ("e", &Resource::Bound { bound: Bound::from(fast()), most: 2 }, vec!["c", "d"]),
            ("late", &Resource::Subject("a".to_owned()), vec!["a"]),
        ]
    );
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["entries"][0]["fate"], "runs");
    assert_eq!(json["entries"][0]["at"], "2026-11-29T22:00:00Z");
    assert_eq!(json["cut_at"], serde_json::Value::Null);
}

#[test]
fn what_each_subject_counts_against_is_its_own_and_the_narrowest_bound_speaks() {
    let mut both = event("both", "nightly", "a", 1);
    both.subjects.push(Subject { name: "b".to_owned(), expected_s: 3600 });
    let other = event("other", "nightly", "c", 1);
    let mut programme = programme("daily 12:00", &DAYS, vec![both, other]);
    let client = || Bound::Client("vault".to_owned());
    let mut bounds = |event: &str, subject: &str, drive: u16| {
        let of_event = programme.bounds.entry(event.to_owned()).or_default();
        of_event.insert(subject.to_owned(), vec![Bound::Drive(drive), client(), Bound::Queue]);
    };
    bounds("both", "a", 1);
    bounds("both", "b", 2);
    bounds("other", "c", 1);
    programme.runs_at_once.insert(client(), 2);
    programme.runs_at_once.insert(Bound::Queue, 3);
    let found = |programme: &Programme| -> Vec<(String, Resource, usize)> {
        let plan = planned(programme, "2026-11-29 12:00", "2026-11-30 12:00");
        let subject = |entry: usize| plan.entries[entry].subject.clone();
        let collisions = plan.collisions.iter();
        collisions.map(|one| (subject(one.entry), one.resource.clone(), one.with.len())).collect()
    };
    let on = |subject: &str, bound: Bound, most: u32, with: usize| {
        (subject.to_owned(), Resource::Bound { bound, most }, with)
    };
    assert_eq!(
        found(&programme),
        [on("c", Bound::Drive(1), 1, 1), on("c", client(), 2, 2)],
        "two drives do not collide, and of the queue there is room"
    );
    programme.runs_at_once.insert(client(), 1);
    programme.runs_at_once.insert(Bound::Drive(1), 2);
    programme.runs_at_once.insert(Bound::Queue, 1);
    // The queue is as full as the client, of the same runs.
    assert_eq!(found(&programme), [on("b", client(), 1, 1), on("c", client(), 1, 2)]);
}

#[test]
fn a_fortnight_of_two_hundred_tasks_costs_what_it_shows() {
    let mut events = Vec::new();
    for task in 0..200 {
        let name = format!("task{task}");
        let place = Some(Place::Drive(task % 4));
        events.push(Event {
            place: place.clone(),
            ..event(&format!("incr{task}"), "nightly", &name, 10)
        });
        events.push(Event { place, ..event(&format!("full{task}"), "weekly", &name, 50) });
    }
    let programme = programme("daily 08:00", &DAYS, events);
    let first = planned(&programme, "2026-11-26", "2026-12-10");
    assert_eq!(first.entries.len(), 200 * (14 + 2));
    // 400 events look at 14 days, two before and two behind, and lay out what they find.
    assert!(first.steps <= 400 * (14 + 6) + 200 * (16 + 3) + 20, "{}", first.steps);
    assert_eq!(first, planned(&programme, "2026-11-26", "2026-12-10"), "the same again");
    assert!(first.collisions.iter().all(|c| c.with.len() <= simsim_schedule::COLLISIONS_NAMED_MAX));
    assert!(first.collisions.iter().any(|collision| collision.more > 0));
}

#[test]
fn a_plan_that_would_be_too_large_ends_with_a_whole_backup_day_and_says_where() {
    let mut events = Vec::new();
    for task in 0..20 {
        let mut event = event(&format!("e{task}"), "often", &format!("t{task}"), 1);
        event.subjects[0].expected_s = 0;
        events.push(event);
    }
    let programme = programme("daily 00:00", &[("often", "every 1m")], events);
    let plan = planned(&programme, "2026-11-26", "9999-01-01");
    assert_eq!(plan.cut_at, Some(at("2026-12-02")));
    assert_eq!(plan.entries.len(), 6 * 1440 * 20);
    assert!(plan.entries.last().unwrap().at < at("2026-12-02"));
    let rare = self::programme("daily 00:00", &DAYS, vec![event("a", "weekly", "web", 1)]);
    let plan = planned(&rare, "2026-11-26", "9999-01-01");
    assert_eq!(plan.cut_at, Some(at("2037-11-08")), "4,000 days");
    assert_eq!(planned(&rare, "2026-11-26", "2026-11-26"), Plan::default());
    // A backup day that never changes is one day, and not endless work.
    let still = self::programme("2020-01-01 00:00", &DAYS, vec![event("a", "nightly", "web", 1)]);
    assert_eq!(planned(&still, "2026-11-26", "2026-11-28").entries.len(), 2);
    let never = self::programme("2030-01-01 00:00", &DAYS, vec![event("a", "nightly", "web", 1)]);
    assert_eq!(planned(&never, "2026-11-26", "2026-11-28").entries.len(), 2);
}

#[test]
fn a_programme_that_names_what_is_not_there_is_refused() {
    let programme = programme("daily 00:00", &[], vec![event("a", "nightly", "web", 1)]);
    let error = plan(&programme, &almanac("UTC"), at("2026-11-26"), at("2026-11-27")).unwrap_err();
    assert_eq!(error.to_string(), "event 'a' names schedule 'nightly', which is not there");
}
