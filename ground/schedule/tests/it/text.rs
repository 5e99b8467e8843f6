//! The text form: what it means, what is shown, and where an error points.

use proptest::prelude::*;
use simsim_schedule::{Calendar, DaySet, Schedule};

use crate::sample::{all, schedule};

#[test]
fn what_people_write_is_shown_in_one_form() {
    for (written, shown) in [
        ("22:00", "daily 22:00"),
        ("every day at 9:05", "daily 09:05"),
        ("WEEKDAYS 22:00", "weekdays 22:00"),
        ("mon,tue,wed,thu,fri 22:00", "weekdays 22:00"),
        ("22:00,12:00,22:00 sat, sun", "weekends 12:00,22:00"),
        ("fri-mon 01:00", "mon,fri-sun 01:00"),
        ("every 15m 08:00-18:00 mon-fri", "every 15m 08:00-18:00 weekdays"),
        ("every 15 minutes", "every 15m"),
        ("every 120m", "every 2h"),
        ("every 1 day 03:00", "daily 03:00"),
        ("every 3d 03:00 from 2026-12-01", "every 3 days 03:00 from 2026-12-01"),
        ("every 2 weeks on fri at 22:00", "every 2 weeks on fri 22:00"),
        ("every 2w fri 22:00", "every 2 weeks on fri 22:00"),
        ("last sun of month 03:00 Europe/Berlin", "last sun of month 03:00 Europe/Berlin"),
        ("first sun of month + 2 days 03:00", "first sun of month + 2 days 03:00"),
        ("first sun of month +2d 03:00", "first sun of month + 2 days 03:00"),
        ("second-last fri of jan-mar 03:00", "second-last fri of jan-mar 03:00"),
        ("last day of month 23:00", "day -1 of month 23:00"),
        ("day -1,15,1 of jan,jul 23:00", "day 1,15,-1 of jan,jul 23:00"),
        ("easter - 2 days 09:00", "easter - 2 days 09:00"),
        ("once 2026-12-24 22:00", "2026-12-24 22:00"),
        ("on 2027-01-06,2026-12-24 22:00 utc", "2026-12-24,2027-01-06 22:00 UTC"),
        ("2026-12-24..2026-12-31 22:00", "2026-12-24..2026-12-31 22:00"),
        ("calendar:quarter-ends 22:00 zone CET", "calendar:quarter-ends 22:00 zone CET"),
        ("22:00 within 240m missed all 5", "daily 22:00 within 4h missed all 5"),
        ("22:00 missed once within 48h", "daily 22:00 within 2d"),
        (
            "missed skip 22:00 except sat,calendar:b,calendar:a,2026-12-24",
            "daily 22:00 except sat,2026-12-24,calendar:a,calendar:b missed skip",
        ),
        ("every 1h 22:00-24:00", "every 1h 22:00-00:00"),
    ] {
        let read = schedule(written);
        assert_eq!(read.to_string(), shown, "{written}");
        assert_eq!(shown.parse::<Schedule>().as_ref(), Ok(&read), "{shown}");
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, format!("\"{shown}\""));
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), read);
    }
}

#[test]
fn an_error_points_at_the_word_and_says_what_would_be_right() {
    for (text, column, word, why) in [
        ("", 1, "end", "a time such as 22:00"),
        ("weekdays", 9, "end", "a time such as 22:00"),
        ("wekdays 22:00", 1, "wekdays", "did you mean 'weekdays'"),
        ("daily 22:00 expect sat", 13, "expect", "did you mean 'except'"),
        ("daily banana 22:00", 7, "banana", "a schedule has days"),
        ("mon-fry 22:00", 1, "mon-fry", "weekdays are mon"),
        ("daily 25:00", 7, "25:00", "00:00 to 23:59"),
        ("daily 22:0", 7, "22:0", "00:00 to 23:59"),
        ("daily 22:00, 24:00", 14, "24:00", "00:00 to 23:59"),
        ("22:00 except sat ,  sonday,mon", 21, "sonday", "calendar:NAME"),
        ("every 0m", 7, "0m", "1 minute to 31 days"),
        ("every 99999999999m", 7, "99999999999m", "1 minute to 31 days"),
        ("every 15x", 7, "15x", "such as 15m or 4h"),
        ("every", 6, "end", "how often"),
        ("every 3 moons 22:00", 9, "moons", "minutes, hours, days or weeks"),
        ("every 15m 08:00-08:00", 11, "08:00-08:00", "whole day"),
        ("daily 08:00-18:00", 7, "08:00-18:00", "stands behind 'every'"),
        ("day 32 of month 22:00", 5, "32", "1 to 31"),
        ("day 1,0 of month 22:00", 7, "0", "1 to 31"),
        ("day 30 of feb 22:00", 5, "30", "more than 29 days"),
        ("day 1,-31 of feb,apr 22:00", 7, "-31", "more than 30 days"),
        ("day 1 22:00", 7, "22:00", "'of month'"),
        ("day 1 of juli 22:00", 10, "juli", "months are jan"),
        ("last banana of month 22:00", 6, "banana", "weekdays are"),
        ("2026-02-30 22:00", 1, "2026-02-30", "no such day"),
        ("2026-2-3 22:00", 1, "2026-2-3", "year-month-day"),
        ("2026-12-24,2026-13-01 22:00", 12, "2026-13-01", "no such day"),
        ("2026-12-24..2026-12-23 22:00", 13, "2026-12-23", "ends before it begins"),
        ("daily 22:00 from 2027-01-01 until 2026-01-01", 29, "until", "before it begins"),
        ("daily daily 22:00", 7, "daily", "said twice"),
        ("daily 22:00 at 23:00", 16, "23:00", "said twice"),
        ("22:00 + 2 days", 7, "+", "a shift belongs to days"),
        ("fri + 2 22:00", 9, "22:00", "stands 'days'"),
        ("fri + 2", 8, "end", "'days'"),
        ("fri + 400 days 22:00", 7, "400", "1 to 366"),
        ("22:00 missed never", 14, "never", "'skip', 'once', or 'all'"),
        ("22:00 missed all", 17, "end", "how many at most"),
        ("22:00 missed all 5000", 18, "5000", "1 to 1000"),
        ("22:00 within soon", 14, "soon", "90m, 4h or 2d"),
        ("22:00 except christmas", 14, "christmas", "calendar:NAME"),
        ("22:00 except sat,calendar:", 18, "calendar:", "a name of letters"),
        ("22:00 zone Europe;Berlin", 12, "Europe;Berlin", "a time zone is a name"),
        ("on banana 22:00", 4, "banana", "stand days"),
        ("über 22:00", 1, "über", "not known"),
        ("täglich 22:00", 1, "täglich", "not known"),
    ] {
        let error = match text.parse::<Schedule>() {
            Err(error) => error,
            Ok(read) => panic!("{text} was read as {read}"),
        };
        assert_eq!((error.column, error.word.as_str()), (column, word), "{text}: {error}");
        assert!(error.why.contains(why), "{text}: {error}");
    }
    let error = "daily 22:00 expect sat".parse::<Schedule>().unwrap_err();
    assert_eq!(
        error.marked("daily 22:00 expect sat"),
        "daily 22:00 expect sat\n            ^^^^^^"
    );
}

#[test]
fn days_mean_what_they_say() {
    let days = |text: &str, from, until| -> Vec<String> {
        all(&format!("{text} 12:00"), "UTC", from, until)
            .iter()
            .map(|at| at[..10].to_owned())
            .collect()
    };
    let december = |text| days(text, "2026-12-01", "2027-01-01");
    assert_eq!(
        december("every 10 days from 2026-12-02"),
        ["2026-12-02", "2026-12-12", "2026-12-22"]
    );
    assert_eq!(
        december("every 2 weeks on mon,fri from 2026-12-03"),
        ["2026-12-04", "2026-12-14", "2026-12-18", "2026-12-28"]
    );
    assert_eq!(december("first,last sun of month"), ["2026-12-06", "2026-12-27"]);
    assert_eq!(december("first sun of month + 2 days"), ["2026-12-08"]);
    assert_eq!(december("last day of nov + 3 days"), ["2026-12-03"]);
    assert_eq!(december("fifth thu of dec"), ["2026-12-31"]);
    assert_eq!(december("day 1,-1 of month"), ["2026-12-01", "2026-12-31"]);
    assert_eq!(december("day 31 of jan,mar"), [""; 0]);
    assert_eq!(december("weekends until 2026-12-12"), ["2026-12-05", "2026-12-06", "2026-12-12"]);
    assert_eq!(december("calendar:holidays"), ["2026-12-25", "2026-12-26", "2026-12-31"]);
    assert_eq!(
        december("calendar:holidays - 1 day"),
        ["2026-12-24", "2026-12-25", "2026-12-30", "2026-12-31"]
    );
    assert_eq!(december("thu-sat from 2026-12-24 except calendar:holidays"), ["2026-12-24"]);
    assert_eq!(
        december("2026-12-24..2026-12-27 except sat"),
        ["2026-12-24", "2026-12-25", "2026-12-27"]
    );
    assert_eq!(days("easter - 2 days", "2026-01-01", "2028-01-01"), ["2026-04-03", "2027-03-26"]);
    assert_eq!(days("day 29 of feb", "2025-01-01", "2033-01-01"), ["2028-02-29", "2032-02-29"]);
}

#[test]
fn calendars_and_sets_of_days_are_read_and_shown() {
    let text = "day 25,26 of dec  # Christmas\n\n easter + 1 day; first mon of may\n2026-12-27..2027-01-06\n";
    let calendar: Calendar = text.parse().unwrap();
    let shown = "day 25,26 of dec\neaster + 1 day\nfirst mon of may\n2026-12-27..2027-01-06";
    assert_eq!(calendar.to_string(), shown);
    assert_eq!(shown.parse(), Ok(calendar));
    for (text, column, why) in [
        ("day 25 of dec\n22:00", 15, "a calendar has days"),
        ("day 25 of dec; calendar:other", 16, "names no other"),
        ("+ 2 days", 9, "days"),
    ] {
        let error = text.parse::<Calendar>().unwrap_err();
        assert_eq!(error.column, column, "{error}");
        assert!(error.why.contains(why), "{error}");
    }
    let many = |rules: usize| vec!["easter"; rules].join(";");
    assert!(many(1000).parse::<Calendar>().is_ok());
    assert!(many(1001).parse::<Calendar>().unwrap_err().why.contains("1000 rules"));
    let set: DaySet = "calendar:x, sun,sat, 2026-12-24..2026-12-26".parse().unwrap();
    assert_eq!(set.to_string(), "sat,sun,2026-12-24..2026-12-26,calendar:x");
    assert_eq!(set.to_string().parse(), Ok(set));
    assert_eq!("".parse::<DaySet>().unwrap().to_string(), "");
    assert!("sat sun".parse::<DaySet>().unwrap_err().why.contains("commas"));
}

/// Texts of schedules: some days, some times, some of the rest, in any order.
fn written() -> impl Strategy<Value = String> {
    let weekday = prop::sample::select(vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"]);
    let month =
        prop::sample::select(vec!["month", "jan", "feb,mar", "apr-oct", "dec-feb", "jan,dec"]);
    let nth = prop::sample::select(vec![
        "first",
        "second,last",
        "fifth",
        "third-last",
        "last,second-last",
    ]);
    let span = prop::collection::vec((weekday.clone(), weekday.clone()), 1..4).prop_map(|spans| {
        spans.iter().map(|(a, b)| format!("{a}-{b}")).collect::<Vec<_>>().join(",")
    });
    let date = (1990i16..2100, 1i8..13, 1i8..29).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}"));
    let days = prop_oneof![
        Just(String::new()),
        Just("daily".to_owned()),
        Just("easter".to_owned()),
        Just("calendar:a.b-c_d".to_owned()),
        span.clone(),
        (1u16..367).prop_map(|n| format!("every {n} days")),
        (1u16..53, span).prop_map(|(n, on)| format!("every {n} weeks on {on}")),
        (prop::collection::vec(prop_oneof![1i8..29, -28i8..0], 1..5), month.clone()).prop_map(
            |(days, of)| {
                let days: Vec<String> = days.iter().map(i8::to_string).collect();
                format!("day {} of {of}", days.join(", "))
            }
        ),
        (nth, weekday, month).prop_map(|(nth, on, of)| format!("{nth} {on} of {of}")),
        prop::collection::vec((date.clone(), date.clone()), 1..4).prop_map(|dates| {
            let range = |(a, b): &(String, String)| format!("{}..{}", a.min(b), a.max(b));
            dates.iter().map(range).collect::<Vec<_>>().join(",")
        }),
    ];
    let shift = prop_oneof![Just(None), (1i16..367).prop_map(Some), (-366i16..0).prop_map(Some)];
    let days = (days, shift).prop_map(|(days, shift)| match shift {
        Some(shift) if !days.is_empty() && shift > 0 => format!("{days} + {shift} days"),
        Some(shift) if !days.is_empty() => format!("{days} - {} days", -shift),
        _ => days,
    });
    let time = (0u8..24, 0u8..60).prop_map(|(hour, minute)| format!("{hour:02}:{minute:02}"));
    let times = prop_oneof![
        prop::collection::vec(time.clone(), 1..4).prop_map(|times| times.join(",")),
        (1u32..44_641).prop_map(|minutes| format!("every {minutes}m")),
        (1u32..1000, 0u8..24, 0u8..59).prop_map(|(minutes, h, m)| {
            format!("every {minutes}m {h:02}:{m:02}-{:02}:{:02}", (h + 7) % 24, m + 1)
        }),
    ];
    let rest = prop::sample::subsequence(
        vec![
            "Europe/Berlin",
            "from 2026-01-01",
            "until 2026-12-31",
            "except sat,2026-12-24..2027-01-06,calendar:x",
            "within 90m",
            "missed all 17",
        ],
        0..=6,
    );
    (days, times, rest).prop_perturb(|(days, times, rest), mut random| {
        let mut parts: Vec<String> = rest.iter().map(|part| (*part).to_owned()).collect();
        for part in [days, times] {
            let at = random.random_range(0..=parts.len());
            parts.insert(at, part);
        }
        parts.join(" ")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_shown_is_read_again_as_the_same_value(text in written()) {
        let read = schedule(&text);
        let shown = read.to_string();
        prop_assert_eq!(schedule(&shown), read, "{} as {}", text, shown);
        prop_assert_eq!(schedule(&shown).to_string(), shown);
    }

    #[test]
    fn whatever_is_written_is_read_or_refused_inside_the_text(
        text in prop_oneof![
            "\\PC{0,60}",
            "([a-z]{1,8}|[0-9,.:+-]{1,8}|every|day|of|month|last|except|calendar:| |,){0,14}",
        ],
    ) {
        for error in [
            text.parse::<Schedule>().err(),
            text.parse::<Calendar>().err(),
            text.parse::<DaySet>().err(),
        ].into_iter().flatten() {
            let characters = text.chars().count();
            prop_assert!((1..=characters + 1).contains(&error.column), "{} in {:?}", error, text);
            let word: String = text.chars().skip(error.column - 1).take(error.word.chars().count()).collect();
            let joined = error.word.contains(',');
            prop_assert!(joined || error.word == "end" || word == error.word, "{} in {:?}", error, text);
        }
    }
}
