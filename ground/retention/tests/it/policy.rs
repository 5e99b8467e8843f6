//! The text form of policies.

use proptest::prelude::*;
use simsim_retention::{Counting, Policies, Policy, Rule};

#[test]
fn what_people_write_is_shown_in_one_form() {
    for (written, shown) in [
        ("forever", "forever"),
        ("eol 30 days", "eol 30 days"),
        ("EOL 30d", "eol 30 days"),
        ("eol 1", "eol 1 day"),
        (
            "yearly 5,last 7 ,daily 14, weekly 8, monthly 12",
            "last 7, daily 14, weekly 8, monthly 12, yearly 5",
        ),
        ("hourly 24, eol 10 days, only verified", "eol 10 days, hourly 24, only verified"),
        ("zone Europe/Berlin, only finished, last 1", "last 1, only finished, zone Europe/Berlin"),
        ("forever, zone UTC", "forever, zone UTC"),
    ] {
        let read: Policy = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(read.to_string(), shown);
        assert_eq!(shown.parse(), Ok(read.clone()));
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, format!("\"{shown}\""));
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), read);
    }
    let policy: Policy = "last 7, daily 14, only verified".parse().unwrap();
    assert_eq!(
        (policy.keeps(Rule::Daily), policy.keeps(Rule::Weekly), policy.eol_days()),
        (14, 0, None)
    );
    assert_eq!(policy.counting(), Counting::Verified);
    let policies: Policies =
        serde_json::from_str(r#"{"pools": {"daily": "last 7"}, "task_eol_days": {"web": 3}}"#)
            .unwrap();
    assert_eq!(policies.pools["daily"].keeps(Rule::Last), 7);
}

#[test]
fn an_error_points_at_the_word_and_says_what_would_be_right() {
    for (text, column, word, why) in [
        ("", 1, "end", "'forever' keeps everything"),
        ("last 7,", 8, "end", "a rule is missing here"),
        ("last", 5, "end", "how many to keep"),
        ("last 7, dayly 3", 9, "dayly", "last, hourly, daily"),
        ("last seven", 6, "seven", "1 to 100000"),
        ("last 0", 6, "0", "1 to 100000"),
        ("last +7", 6, "+7", "1 to 100000"),
        ("last 7 daily 3", 8, "daily", "separated by commas"),
        ("last 7, last 8", 9, "last", "said twice"),
        ("eol 0 days", 5, "0", "1 to 365250"),
        ("eol 30 weeks", 8, "weeks", "separated by commas"),
        ("eol", 4, "end", "a number of days"),
        ("last 7, only good", 14, "good", "'finished' or 'verified'"),
        ("last 7, zone Europe;Berlin", 14, "Europe;Berlin", "a time zone is a name"),
        ("last 7, forever", 9, "forever", "needs no rules"),
        ("only verified", 14, "end", "nothing says how long"),
    ] {
        let error = text.parse::<Policy>().unwrap_err();
        assert_eq!((error.column, error.word.as_str()), (column, word), "{text}: {error}");
        assert!(error.why.contains(why), "{text}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_is_written_is_read_again_or_refused_inside_the_text(
        text in prop_oneof![
            "\\PC{0,40}",
            "((last|daily|eol|forever|only|finished|zone|UTC|,|[0-9]{1,3}|days)[ ,]){0,10}",
        ],
    ) {
        match text.parse::<Policy>() {
            Ok(read) => prop_assert_eq!(read.to_string().parse::<Policy>().unwrap(), read),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.column), "{}", error),
        }
    }
}

#[test]
fn a_policy_is_weaker_where_anything_could_go_earlier() {
    let weaker = |after: &str, before: &str| {
        let of = |text: &str| text.parse::<Policy>().unwrap();
        of(after).is_weaker_than(&of(before))
    };
    // Each keeps something that the other does not.
    let both = ["last 30", "eol 100 days", "last 7, only verified", "last 7"];
    for (before, after) in [
        ("forever", "last 100"),
        ("forever", "eol 3650 days"),
        ("last 7", "last 6"),
        ("last 7, daily 14", "last 30"),
        ("last 7, eol 30 days", "last 7, eol 29 days"),
        ("last 7, eol 30 days", "last 7"),
        ("last 7", "eol 100 days"),
        ("last 7", "last 7, only verified"),
        // What is proven may make way for what is not.
        ("last 7, only verified", "last 7"),
    ] {
        assert!(weaker(after, before), "{before} -> {after}");
        assert!(!weaker(before, after) || both.contains(&after), "{after} -> {before}");
        assert!(!weaker(before, before) && !weaker(after, after));
    }
    for (before, after) in
        [("last 7", "forever"), ("last 7", "last 8, daily 2"), ("last 7", "last 7, eol 5 days")]
    {
        assert!(!weaker(after, before), "{before} -> {after}");
    }
}
