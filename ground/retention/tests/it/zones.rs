//! Buckets in the policy's zone, also where its clock is changed.

use simsim_retention::{Rule, Why};

use crate::sample::{at, decided, kept, policies, saveset, why};

#[test]
fn a_day_is_a_day_of_the_policys_zone() {
    // 23:30 UTC of the 25th is 00:30 of the 26th in Berlin, and 18:30 of the 25th in New York.
    let all = [
        saveset(1, at("2026-11-25 10:00")),
        saveset(2, at("2026-11-25 23:30")),
        saveset(3, at("2026-11-26 20:00")),
    ];
    let of = |policy: &str| kept(&decided(&all, &policies(policy), "2026-11-27"));
    assert_eq!(of("daily 2"), [2, 3]);
    assert_eq!(of("daily 2, zone Europe/Berlin"), [1, 3]);
    assert_eq!(of("daily 2, zone America/New_York"), [2, 3]);
    // 2027-01-01 belongs to the last week of 2026.
    let turn = [
        saveset(1, at("2026-12-28 12:00")),
        saveset(2, at("2027-01-01 12:00")),
        saveset(3, at("2027-01-04 12:00")),
    ];
    assert_eq!(kept(&decided(&turn, &policies("weekly 5"), "2027-02-01")), [2, 3]);
    assert_eq!(kept(&decided(&turn, &policies("yearly 5"), "2027-02-01")), [1, 3]);
}

#[test]
fn an_hour_that_comes_twice_is_two_and_a_day_of_23_hours_is_one() {
    // Berlin, 2026-10-25: from 00:00 to 02:00 UTC it is two o'clock for two hours.
    let twice = [
        saveset(1, at("2026-10-25 00:10")),
        saveset(2, at("2026-10-25 00:50")),
        saveset(3, at("2026-10-25 01:10")),
        saveset(4, at("2026-10-25 01:50")),
        saveset(5, at("2026-10-25 02:10")),
    ];
    let decision = decided(&twice, &policies("hourly 9, zone Europe/Berlin"), "2026-10-26");
    assert_eq!(kept(&decision), [2, 4, 5]);
    let bucket = |number| match &why(&decision, number)[0] {
        Why::Rule { rule: Rule::Hourly, bucket, .. } => bucket.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (bucket(2), bucket(4), bucket(5)),
        ("2026-10-25 02:00".into(), "2026-10-25 02:00".into(), "2026-10-25 03:00".into())
    );
    // Lord Howe goes back by half an hour at 15:00 UTC: 01:30 to 02:00 comes twice.
    let half = [
        saveset(1, at("2026-04-04 14:40")),
        saveset(2, at("2026-04-04 15:10")),
        saveset(3, at("2026-04-04 15:40")),
    ];
    assert_eq!(
        kept(&decided(&half, &policies("hourly 9, zone Australia/Lord_Howe"), "2026-04-05")),
        [1, 2, 3]
    );
    // Berlin, 2026-03-29 has 23 hours: 23:30 UTC of the 28th to 21:30 UTC.
    let short = [
        saveset(1, at("2026-03-28 23:30")),
        saveset(2, at("2026-03-29 21:30")),
        saveset(3, at("2026-03-29 22:30")),
    ];
    assert_eq!(
        kept(&decided(&short, &policies("daily 9, zone Europe/Berlin"), "2026-03-31")),
        [2, 3]
    );
}

#[test]
fn a_zone_that_is_not_known_gives_no_verdict() {
    let all = [saveset(1, at("2026-11-25 10:00"))];
    let policies = policies("daily 2, zone Moon/Base");
    let error = simsim_retention::decide(
        &all,
        &policies,
        &crate::sample::clock("2026-11-26"),
        None,
        &crate::sample::almanac(),
    );
    assert!(error.unwrap_err().to_string().contains("Moon/Base"));
}
