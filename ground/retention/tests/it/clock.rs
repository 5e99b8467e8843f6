//! GC13: a clock that jumped deletes nothing, and does not stop deletion for good.

use simsim_retention::{ClockReading, Doubt, Verdict, Why, decide};

use crate::sample::{almanac, at, clock, decided, kept, nightly, policies, verdict};

#[test]
fn gc13_a_clock_that_jumped_ten_years_either_way_expires_nothing() {
    let mut all = nightly(30);
    all[3].locked_until = Some(at("2026-06-01"));
    for policy in ["eol 10 days", "last 5, daily 7", "eol 10 days, weekly 2"] {
        let policies = policies(policy);
        let right = decided(&all, &policies, "2026-02-01");
        assert_eq!(right.frozen, None);
        let expired: Vec<_> =
            right.verdicts.iter().filter(|(_, verdict)| !verdict.is_kept()).collect();
        assert!(!expired.is_empty(), "{policy}: otherwise this shows nothing");
        for (now, last_known) in [
            ("2016-02-01", "2026-02-01"),
            ("2016-02-01", "2016-01-31"),
            ("2036-02-01", "2026-02-01"),
            ("2026-01-30 21:59", "2026-01-30 21:59"),
        ] {
            let clock = ClockReading { last_known: at(last_known), ..clock(now) };
            let decision = decide(&all, &policies, &clock, None, &almanac()).unwrap();
            assert_eq!(kept(&decision).len(), 30, "{policy} at {now}");
            let doubt = decision.frozen.expect(now);
            assert!(doubt.to_string().contains("set the clock right, or confirm it"), "{doubt}");
            assert_eq!(matches!(doubt, Doubt::Ahead { .. }), now.starts_with("2036"), "{doubt}");
        }
        // Right again: the same as if nothing had been.
        assert_eq!(decided(&all, &policies, "2026-02-01"), right);
    }
}

#[test]
fn gc13_frozen_savesets_say_so_and_a_person_may_confirm_the_clock() {
    let all = nightly(30);
    let policies = policies("last 5");
    let jumped = ClockReading { last_known: at("2026-02-01"), ..clock("2026-04-01") };
    let decision = decide(&all, &policies, &jumped, None, &almanac()).unwrap();
    let frozen = Verdict::Keep { why: vec![Why::ClockInDoubt], until: None };
    assert_eq!(verdict(&decision, 1), &frozen);
    assert!(
        !matches!(verdict(&decision, 30), Verdict::Keep { why, .. } if why.contains(&Why::ClockInDoubt))
    );
    let confirmed = ClockReading { confirmed_by: Some("ada".to_owned()), ..jumped };
    let decision = decide(&all, &policies, &confirmed, None, &almanac()).unwrap();
    assert_eq!((decision.frozen, kept(&decision).len()), (None, 5));
    // Also where no saveset is as new as what the server wrote down.
    let back = ClockReading { last_known: at("2026-04-01"), ..clock("2026-03-01") };
    let decision = decide(&all, &policies, &back, None, &almanac()).unwrap();
    let doubt = Doubt::Behind { now: at("2026-03-01"), newest: at("2026-04-01") };
    assert_eq!((decision.frozen, kept(&decision).len()), (Some(doubt), 30));
    // Off for less than the bound is no jump.
    let off = ClockReading { last_known: at("2026-03-10"), ..clock("2026-04-01") };
    assert_eq!(decide(&all, &policies, &off, None, &almanac()).unwrap().frozen, None);
}
