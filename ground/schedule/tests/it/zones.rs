//! Clocks that are set forward and back, in the zones where it is hardest.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use simsim_schedule::{last_until, next_after, occurrences};

use crate::sample::{all, almanac, at, schedule};

#[test]
fn a_time_that_does_not_exist_is_the_first_instant_after_the_gap() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
    let berlin = |text| all(text, "Europe/Berlin", "2026-03-28", "2026-03-31");
    assert_eq!(berlin("02:30"), ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"]);
    assert_eq!(berlin("03:00"), ["2026-03-28 02:00", "2026-03-29 01:00", "2026-03-30 01:00"]);
    // New York, 2026-03-08: 02:00 becomes 03:00, at 07:00 UTC.
    let york = all("02:15", "America/New_York", "2026-03-07", "2026-03-10");
    assert_eq!(york, ["2026-03-07 07:15", "2026-03-08 07:00", "2026-03-09 06:15"]);
    // Lord Howe, 2026-10-04: 02:00 becomes 02:30, at 15:30 UTC of the day before.
    let lord_howe = all("02:10", "Australia/Lord_Howe", "2026-10-02", "2026-10-05");
    assert_eq!(lord_howe, ["2026-10-02 15:40", "2026-10-03 15:30", "2026-10-04 15:10"]);
    // São Paulo, 2018-11-04: midnight becomes 01:00, at 03:00 UTC.
    let paulo = all("00:00", "America/Sao_Paulo", "2018-11-03", "2018-11-06");
    assert_eq!(paulo, ["2018-11-03 03:00", "2018-11-04 03:00", "2018-11-05 02:00"]);
}

#[test]
fn several_times_in_one_gap_run_once() {
    let found = all("02:10,02:20,03:00", "Europe/Berlin", "2026-03-29", "2026-03-30");
    assert_eq!(found, ["2026-03-29 01:00"]);
    let day = all("00:00,00:30,01:00,01:30", "America/Sao_Paulo", "2018-11-04", "2018-11-05");
    assert_eq!(day, ["2018-11-04 03:00", "2018-11-04 03:30"]);
}

#[test]
fn a_time_that_exists_twice_runs_the_first_time_only() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC.
    let berlin = all("02:30", "Europe/Berlin", "2026-10-24", "2026-10-27");
    assert_eq!(berlin, ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"]);
    let york = all("01:30", "America/New_York", "2026-11-01", "2026-11-02");
    assert_eq!(york, ["2026-11-01 05:30"]);
    // Lord Howe, 2026-04-05: 02:00 becomes 01:30, at 15:00 UTC of the day before.
    let lord_howe = all("01:45", "Australia/Lord_Howe", "2026-04-03", "2026-04-06");
    assert_eq!(lord_howe, ["2026-04-03 14:45", "2026-04-04 14:45", "2026-04-05 15:15"]);
    // São Paulo, 2018-02-18: midnight becomes 23:00 of the 17th, at 02:00 UTC.
    let paulo = all("23:30", "America/Sao_Paulo", "2018-02-17", "2018-02-19");
    assert_eq!(paulo, ["2018-02-17 01:30", "2018-02-18 01:30"]);
}

#[test]
fn a_day_that_does_not_exist_is_a_gap_like_any_other() {
    // Apia has no 2011-12-30: the 29th ends at 10:00 UTC of the 30th, and the 31st begins there.
    let daily = all("12:00", "Pacific/Apia", "2011-12-28", "2012-01-01");
    assert_eq!(
        daily,
        [
            "2011-12-28 22:00",
            "2011-12-29 22:00",
            "2011-12-30 10:00",
            "2011-12-30 22:00",
            "2011-12-31 22:00"
        ]
    );
    let once = all("2011-12-30 18:00", "Pacific/Apia", "2011-12-01", "2012-02-01");
    assert_eq!(once, ["2011-12-30 10:00"]);
    // Nothing counts through a day that is not there.
    let hours = all("every 12h", "Pacific/Apia", "2011-12-29 11:00", "2011-12-31 11:00");
    assert_eq!(hours.len(), 4);
    assert_eq!(all("every 12h fri", "Pacific/Apia", "2011-12-29", "2012-01-02"), [""; 0]);
}

#[test]
fn intervals_count_real_time_and_days_are_local() {
    // 23 hours have 23 runs, 25 hours have 25.
    let hours = |from, until| all("every 1h", "Europe/Berlin", from, until).len();
    assert_eq!(hours("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), 23);
    assert_eq!(hours("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), 25);
    let within = all("every 30m 01:00-04:00", "Europe/Berlin", "2026-03-28", "2026-03-29 20:00");
    assert_eq!(within.len(), 6 + 4, "{within:?}");
    let within =
        all("every 30m 01:00-04:00", "Europe/Berlin", "2026-10-24 10:00", "2026-10-25 20:00");
    assert_eq!(within.len(), 8, "{within:?}");
    let weekly = all("sun 22:00", "Europe/Berlin", "2026-03-20", "2026-04-06");
    assert_eq!(weekly, ["2026-03-22 21:00", "2026-03-29 20:00", "2026-04-05 20:00"]);
    // Six hours are six hours also in the night in which the clock changes.
    let six = all("every 6h sat,sun", "Europe/Berlin", "2026-10-24", "2026-10-26");
    assert_eq!(six.first().unwrap(), "2026-10-24 05:00");
    assert_eq!(
        six,
        [
            "2026-10-24 05:00",
            "2026-10-24 11:00",
            "2026-10-24 17:00",
            "2026-10-24 23:00",
            "2026-10-25 05:00",
            "2026-10-25 11:00",
            "2026-10-25 17:00"
        ]
    );
}

#[test]
fn a_span_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let found = all("every 2h 22:00-03:00 fri", "UTC", "2026-11-27", "2026-11-30");
    assert_eq!(found, ["2026-11-27 22:00", "2026-11-28 00:00", "2026-11-28 02:00"]);
    let inside = all("every 2h 22:00-03:00 fri", "UTC", "2026-11-28", "2026-11-28 02:00");
    assert_eq!(inside, ["2026-11-28 00:00"]);
}

const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Casablanca",
    "UTC",
];
const TEXTS: [&str; 9] = [
    "00:00,00:30,02:15,23:45",
    "every 7h",
    "every 45m 22:30-03:15",
    "weekdays 02:30",
    "last sun of month + 2 days 00:15",
    "every 3 days 02:00",
    "every 2 weeks on sat,sun 23:59",
    "day 29,30 of month 12:00",
    "2011-12-29..2012-01-02 06:00",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Forward, backward and one by one are the same occurrences; a span is the sum of its parts.
    #[test]
    fn all_ways_of_asking_have_the_same_answer(
        zone in 0..ZONES.len(),
        text in 0..TEXTS.len(),
        second in prop_oneof![1_293_836_400i64..1_420_066_800, 1_767_222_000i64..1_800_000_000],
        days in 1i64..40,
        cut in 0.0f64..1.0,
    ) {
        let (schedule, almanac) = (schedule(TEXTS[text]), almanac(ZONES[zone]));
        let from = Timestamp::from_second(second).unwrap();
        let until = from + SignedDuration::from_hours(days * 24);
        let between = from + SignedDuration::from_secs((days as f64 * 86_400.0 * cut) as i64);
        let span = |from, until| -> Vec<Timestamp> {
            occurrences(&schedule, &almanac, from, until).unwrap().collect()
        };
        let whole = span(from, until);
        prop_assert!(whole.windows(2).all(|pair| pair[0] < pair[1]), "{whole:?}");
        prop_assert!(whole.iter().all(|at| *at >= from && *at < until));
        let parts: Vec<Timestamp> = span(from, between).into_iter().chain(span(between, until)).collect();
        prop_assert_eq!(&whole, &parts);
        for pair in whole.windows(2) {
            prop_assert_eq!(next_after(&schedule, &almanac, pair[0]).unwrap(), Some(pair[1]));
            let before = pair[1] - SignedDuration::from_nanos(1);
            prop_assert_eq!(last_until(&schedule, &almanac, before).unwrap(), Some(pair[0]));
            prop_assert_eq!(last_until(&schedule, &almanac, pair[1]).unwrap(), Some(pair[1]));
        }
    }
}

#[test]
fn work_is_bounded_at_both_ends_of_time() {
    let almanac = almanac("Europe/Berlin");
    for text in [
        "day 29 of feb 02:00",
        "every 1m",
        "2030-01-01 00:00",
        "fifth mon of feb 01:00",
        "easter 09:00",
    ] {
        let schedule = schedule(text);
        for end in [Timestamp::MIN, Timestamp::MAX] {
            let after = next_after(&schedule, &almanac, end).unwrap();
            assert!(after.is_none_or(|at| at > end), "{text}");
            let until = last_until(&schedule, &almanac, end).unwrap();
            assert!(until.is_none_or(|at| at <= end), "{text}");
        }
    }
    let leap = schedule("day 29 of feb 02:00");
    assert_eq!(
        next_after(&leap, &almanac, at("2096-03-01")).unwrap(),
        Some(at("2104-02-29 01:00"))
    );
    let late = schedule("daily 02:00 from 9000-01-01");
    assert_eq!(
        next_after(&late, &almanac, at("2026-01-01")).unwrap(),
        Some(at("9000-01-01 01:00"))
    );
}

#[test]
fn an_unknown_zone_or_calendar_is_said_and_nothing_is_left_out_silently() {
    let almanac = almanac("UTC");
    for (text, what) in [
        ("22:00 Europe/Berln", "Europe/Berln"),
        ("22:00 except calendar:hollidays", "hollidays"),
        ("calendar:hollidays 22:00", "hollidays"),
    ] {
        let error = next_after(&schedule(text), &almanac, at("2026-01-01")).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}
