//! What starts when somebody looks at a clock: a steady one, one that was off, one that jumps.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use simsim_schedule::{Considered, Due, due, occurrences};

use crate::sample::{almanac, at, schedule};

const YEARS_10_S: i64 = 10 * 365 * 86_400;

/// What is due when somebody looks at these instants, one after the other.
fn looks(text: &str, begin: &str, looks: &[&str]) -> Vec<Due> {
    let (schedule, almanac) = (schedule(text), almanac("UTC"));
    let mut considered = Considered::until(at(begin));
    let mut all = Vec::new();
    for now in looks {
        let due = due(&schedule, &almanac, &considered, at(now)).unwrap();
        considered = due.considered.clone();
        all.push(due);
    }
    all
}

fn runs(due: &Due) -> Vec<String> {
    let late = |late| if late { " late" } else { "" };
    let run = |run: &simsim_schedule::Run| {
        format!("{}{}", run.occurrence.strftime("%Y-%m-%d %H:%M"), late(run.late))
    };
    due.runs.iter().map(run).collect()
}

#[test]
fn an_occurrence_starts_once_and_late_only_inside_its_window() {
    let all = looks(
        "22:00 within 30m missed skip",
        "2026-11-26 12:00",
        &[
            "2026-11-26 21:59",
            "2026-11-26 22:00",
            "2026-11-26 22:01",
            "2026-11-27 22:30",
            "2026-11-28 22:31",
        ],
    );
    let ran: Vec<Vec<String>> = all.iter().map(runs).collect();
    assert_eq!(
        ran,
        [
            vec![],
            vec!["2026-11-26 22:00".to_owned()],
            vec![],
            vec!["2026-11-27 22:00".to_owned()],
            vec![]
        ]
    );
    assert_eq!(all[1].runs[0].start_by, at("2026-11-26 22:30"));
    assert_eq!(all.iter().map(|due| due.skipped).collect::<Vec<_>>(), [0, 0, 0, 0, 1]);
}

#[test]
fn what_was_missed_follows_the_policy() {
    let after = |policy: &str, now: &str| {
        let text = format!("22:00 within 1h {policy}");
        let due = looks(&text, "2026-11-20 23:00", &[now]).remove(0);
        (runs(&due), due.skipped)
    };
    let text = |runs: &[&str]| runs.iter().map(|run| (*run).to_owned()).collect::<Vec<_>>();
    // Off since the 20th; on again in the morning of the 26th, or just in time for that day's run.
    assert_eq!(after("missed skip", "2026-11-26 08:00"), (vec![], 5));
    assert_eq!(after("missed skip", "2026-11-26 22:10"), (text(&["2026-11-26 22:00"]), 5));
    assert_eq!(after("missed once", "2026-11-26 08:00"), (text(&["2026-11-25 22:00 late"]), 4));
    assert_eq!(after("missed once", "2026-11-26 22:10"), (text(&["2026-11-26 22:00"]), 5));
    let two = ["2026-11-24 22:00 late", "2026-11-25 22:00 late"];
    assert_eq!(after("missed all 2", "2026-11-26 08:00"), (text(&two), 3));
    let three = ["2026-11-24 22:00 late", "2026-11-25 22:00 late", "2026-11-26 22:00"];
    assert_eq!(after("missed all 2", "2026-11-26 22:10"), (text(&three), 3));
    assert_eq!(after("missed all 99", "2026-11-26 08:00").0.len(), 5);
    let late = looks("22:00 within 1h", "2026-11-20 23:00", &["2026-11-26 08:00"]);
    assert_eq!(late[0].runs[0].start_by, at("2026-11-26 09:00"));
}

#[test]
fn a_clock_that_goes_back_repeats_nothing_and_says_until_when() {
    let all = looks(
        "every 10m missed all 1000",
        "2026-11-26 12:00",
        &["2026-11-26 12:31", "2026-11-26 12:05", "2026-11-26 12:31", "2026-11-26 12:40"],
    );
    assert_eq!(all.iter().map(|due| due.runs.len()).collect::<Vec<_>>(), [3, 0, 0, 1]);
    assert_eq!(all[1].waits_until, Some(at("2026-11-26 12:31")));
    assert_eq!(all[2].waits_until, None);
}

#[test]
fn ten_years_back_repeat_nothing_and_do_not_stand_still() {
    let all = looks(
        "every 1h missed all 5",
        "2026-11-26 12:30",
        &[
            "2026-11-26 13:00",
            "2016-11-26 13:10",
            "2016-11-26 14:00",
            "2016-11-26 14:10",
            "2026-11-26 14:20",
            "2026-11-26 15:00",
        ],
    );
    let ran: Vec<Vec<String>> = all.iter().map(runs).collect();
    assert_eq!(
        ran,
        [
            vec!["2026-11-26 13:00"],
            vec![],
            vec!["2016-11-26 14:00"],
            vec![],
            vec!["2026-11-26 14:00"],
            vec!["2026-11-26 15:00"],
        ]
    );
}

#[test]
fn ten_years_ahead_start_no_thousands_and_the_way_back_loses_nothing() {
    for (policy, most) in [("skip", 1), ("once", 1), ("all 7", 8)] {
        let text = format!("every 1m missed {policy}");
        let all = looks(
            &text,
            "2026-11-26 12:00",
            &["2036-11-26 12:00", "2026-11-26 12:03", "2036-11-26 12:01"],
        );
        assert!(all[0].runs.len() <= most, "{policy}: {:?}", all[0].runs);
        assert!(all[0].skipped_more && all[0].skipped <= 1000, "{policy}");
        assert_eq!(runs(&all[1]).last().unwrap(), "2026-11-26 12:03", "{policy}");
        assert_eq!(runs(&all[2]), ["2036-11-26 12:01"], "{policy}");
    }
}

#[test]
fn two_times_in_one_gap_are_missed_once() {
    // Berlin, 2026-03-29: both times are 03:00, at 01:00 UTC.
    let all =
        looks("02:10,02:40 Europe/Berlin missed all 5", "2026-03-28 12:00", &["2026-03-29 12:00"]);
    assert_eq!(runs(&all[0]), ["2026-03-29 01:00 late"]);
}

#[test]
fn what_was_considered_survives_being_stored() {
    let due = &looks("every 1h", "2026-11-26 12:30", &["2036-11-26 13:00"])[0];
    let json = serde_json::to_string(&due.considered).unwrap();
    assert!(json.contains("2036-11-26T13:00:00Z"), "{json}");
    assert_eq!(serde_json::from_str::<Considered>(&json).unwrap(), due.considered);
    for wrong in [
        r#"[["x","2026-01-01T00:00:00Z"]]"#,
        r#"[["2027-01-01T00:00:00Z","2026-01-01T00:00:00Z"]]"#,
    ] {
        assert!(serde_json::from_str::<Considered>(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A month whose clock jumps by up to ten years and back: each occurrence runs at most once, and
    /// none whose time the clock showed when it was right is lost.
    #[test]
    fn a_month_of_jumping_clocks_neither_loses_nor_doubles(
        jumps in prop::collection::vec(
            (0u32..43_200, prop_oneof![
                Just(YEARS_10_S), Just(-YEARS_10_S), -90i64..90, -86_400i64..86_400, Just(0),
            ], 1u32..600),
            0..12,
        ),
        text in prop::sample::select(vec!["every 30m", "22:00,03:30", "weekdays 02:30 Europe/Berlin"]),
        policy in prop::sample::select(vec!["skip", "once", "all 3"]),
    ) {
        let schedule = schedule(&format!("{text} missed {policy}"));
        let almanac = almanac("UTC");
        let begin = at("2026-03-10 00:00:30");
        let mut considered = Considered::until(begin);
        let mut ran: BTreeSet<Timestamp> = BTreeSet::new();
        // What the clock showed while it was right and went on from a right minute.
        let mut shown: Vec<Timestamp> = Vec::new();
        for minute in 1u32..43_200 {
            let truth = begin + SignedDuration::from_mins(i64::from(minute));
            let skew = jumps.iter().rev().find(|(from, _, long)| (*from..from + long).contains(&minute));
            let skew = skew.map_or(0, |jump| jump.1);
            let now = truth + SignedDuration::from_secs(skew);
            let due = due(&schedule, &almanac, &considered, now).unwrap();
            prop_assert!(due.runs.len() <= 4);
            for run in &due.runs {
                prop_assert!(ran.insert(run.occurrence), "{} twice", run.occurrence);
                prop_assert!(run.occurrence <= now && now <= run.start_by);
            }
            considered = due.considered;
            if skew == 0 {
                shown.push(truth);
            }
        }
        for pair in shown.windows(2).filter(|pair| (pair[1] - pair[0]).get_seconds() <= 60) {
            let from = pair[0] + SignedDuration::from_nanos(1);
            let until = pair[1] + SignedDuration::from_nanos(1);
            for occurrence in occurrences(&schedule, &almanac, from, until).unwrap() {
                prop_assert!(ran.contains(&occurrence), "{occurrence} was lost");
            }
        }
    }
}
