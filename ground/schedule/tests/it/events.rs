//! Events as documents, and what is found wrong with them.

use std::collections::BTreeMap;

use simsim_model::{Level, Outcome};
use simsim_schedule::{Ending, Event, EventKind, Place, Priority, Subject, Trouble, check};

use crate::sample::{almanac, schedule};

fn backup(name: &str) -> Event {
    let subjects = vec![Subject { name: "web".to_owned(), expected_s: 600 }];
    Event { subjects, schedule: Some("nightly".to_owned()), ..Event::new(name, EventKind::Backup) }
}

fn troubles(events: &[Event]) -> Vec<String> {
    let schedules = BTreeMap::from([("nightly".to_owned(), schedule("22:00"))]);
    check(events, &schedules, &almanac("UTC")).iter().map(Trouble::to_string).collect()
}

#[test]
fn an_event_is_a_document_with_defaults() {
    let text = r#"{"name": "gc", "kind": "garbage-collection", "subjects": [{"name": "vault"}]}"#;
    let read: Event = serde_json::from_str(text).unwrap();
    let subjects = vec![Subject { name: "vault".to_owned(), expected_s: 0 }];
    assert_eq!(read, Event { subjects, ..Event::new("gc", EventKind::GarbageCollection) });
    assert!(read.enabled && read.priority == Priority::new(1).unwrap());
    for wrong in
        [r#"{"name": "a", "kind": "backup", "prioirty": 5}"#, r#"{"name": "a", "kind": "backups"}"#]
    {
        assert!(serde_json::from_str::<Event>(wrong).is_err(), "{wrong}");
    }
    let full = Event {
        level: Some(Level::Diff),
        place: Some(Place::Group("fast".to_owned())),
        pool: Some("weekly".to_owned()),
        interface: Some("https://vault".to_owned()),
        blocking_dates: "sat,calendar:holidays".parse().unwrap(),
        priority: Priority::HIGHEST,
        ..backup("all")
    };
    let json = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), full);
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
    }
    assert!(serde_json::from_str::<Priority>("100").is_err());
    assert_eq!(Priority::new(100), None);
}

#[test]
fn follow_ups_go_by_the_outcome() {
    let mut event = backup("a");
    event.follow_ups.success = vec!["verify".to_owned()];
    event.follow_ups.failure = vec!["alarm".to_owned()];
    let after = |outcome| event.follow_ups.after(Ending::of(outcome)).join(" ");
    assert_eq!(after(Outcome::Finished), "verify");
    assert_eq!(after(Outcome::FinishedWithErrors), "");
    for outcome in [Outcome::Failed, Outcome::Cancelled, Outcome::Interrupted] {
        assert_eq!(after(outcome), "alarm");
    }
}

#[test]
fn circles_of_follow_ups_are_found_however_long() {
    let follows = |name: String, next: Vec<String>| {
        let mut event = backup(&name);
        event.follow_ups.warning = next;
        event
    };
    assert_eq!(
        troubles(&[follows("a".into(), vec!["a".into()])]),
        ["follow-ups go in a circle: a → a; take one of them out"]
    );
    let mut chain: Vec<Event> = (0..2000)
        .map(|n| follows(format!("e{n}"), vec![format!("e{}", n + 1), format!("e{}", n + 2)]))
        .collect();
    chain.push(backup("e2000"));
    chain.push(backup("e2001"));
    assert_eq!(troubles(&chain), [""; 0], "a long way without a circle");
    chain[1999].follow_ups.failure.push("e3".to_owned());
    let found = troubles(&chain);
    assert!(found[0].starts_with("follow-ups go in a circle: e3 → e4 → "), "{found:?}");
    assert!(found[0].contains(" → e3; "), "{found:?}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut lost = backup("lost");
    lost.schedule = Some("never".to_owned());
    lost.follow_ups.success = vec!["nobody".to_owned()];
    lost.blocking_dates = "calendar:moon".parse().unwrap();
    let mut always = backup("always");
    (always.priority, always.blocking) = (Priority::ALWAYS, true);
    let mut drill = Event::new("drill", EventKind::RestoreDrill);
    drill.level = Some(Level::Full);
    let mut newday = backup("newday");
    newday.kind = EventKind::BackupDayChange;
    newday.follow_ups.failure = vec!["lost".to_owned()];
    let found = troubles(&[lost, always, drill, newday, backup("always")]);
    assert_eq!(
        found,
        [
            "event 'lost' names schedule 'never', which is not there",
            "event 'lost' names calendar 'moon', which is not there",
            "event 'always' has priority 0, runs always, and so can have no blocking dates and block nothing: give it 1 to 99",
            "event 'drill' of kind restore-drill needs a subject",
            "event 'drill' names a level, which only backups have: take it out",
            "event 'newday' changes the backup day and has no subject: take it out",
            "event 'newday' changes the backup day, which has no job that ends, so nothing would start its follow-ups: take them out, and give them a schedule",
            "two events have the name 'always': rename one",
            "event 'lost' is followed by 'nobody', which is not there",
        ]
    );
    let schedules = BTreeMap::from([("s".to_owned(), schedule("calendar:moon 22:00 Moon/Base"))]);
    let found: Vec<String> =
        check(&[], &schedules, &almanac("UTC")).iter().map(Trouble::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("'moon'") && found[1].contains("Moon/Base"), "{found:?}");
}
