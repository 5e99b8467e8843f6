//! RET01 and RET02: what happened to others, and does not here.

use jiff::SignedDuration;
use simsim_retention::{Approval, ApprovalError, MadeFor, Why, adopt, decide, simulate};

use crate::sample::{almanac, at, clock, decided, kept, nightly, policies, saveset, why};

#[test]
fn ret01_a_policy_that_leaves_a_task_with_nothing_is_refused_without_a_second_person() {
    let mut all = nightly(20);
    let mut other = saveset(21, at("2026-01-30 22:00"));
    other.task = "mail".to_owned();
    all.push(other);
    let (before, after) = (policies("last 7"), policies("eol 3 days"));
    let now = clock("2026-02-01");
    let simulation = simulate(&all, &before, &after, &now, &almanac()).unwrap();
    assert_eq!(simulation.emptied, ["web"], "the other task has one of two days ago");
    assert_eq!(simulation.expires.len(), 7);
    assert_eq!(simulation.bytes, (14..=20).map(|number| 1000 + number).sum::<u64>());
    assert!(simulation.expires.iter().all(|loss| loss.task == "web" && !loss.kept_by.is_empty()));
    let refusal = adopt(&simulation, None).unwrap_err();
    assert_eq!(refusal.tasks, ["web"]);
    assert!(
        refusal.to_string().contains("a task without any restorable saveset: web"),
        "{refusal}"
    );
    // Another task's approval does not cover it, and nobody approves what he asked for.
    let of = |tasks: &[&str]| {
        Approval::of_two("ada", "grace", tasks.iter().map(|task| (*task).to_owned()))
    };
    assert_eq!(adopt(&simulation, Some(&of(&["mail"]).unwrap())), Err(refusal));
    assert_eq!(
        Approval::of_two("ada", " ADA ", []),
        Err(ApprovalError::SamePerson("ada".to_owned()))
    );
    assert_eq!(Approval::of_two("ada", " ", []), Err(ApprovalError::Nobody));
    let approval = of(&["web"]).unwrap();
    assert_eq!((approval.asked_by(), approval.approved_by()), ("ada", "grace"));
    assert_eq!(adopt(&simulation, Some(&approval)), Ok(()));

    // Whatever policy is in force, the newest stays until two persons agreed.
    let decision = decided(&all, &after, "2026-02-01");
    assert_eq!(kept(&decision), [20, 21]);
    assert_eq!(decision.last_of, ["web"]);
    assert_eq!(why(&decision, 20), [Why::NewestOfTask]);
    let decision = decide(&all, &after, &now, Some(&approval), &almanac()).unwrap();
    assert_eq!(kept(&decision), [21]);
}

#[test]
fn ret01_a_task_that_rests_on_its_last_saveset_stops_no_other_change() {
    let all = nightly(5);
    let (before, after) = (policies("eol 3 days"), policies("eol 2 days"));
    let simulation = simulate(&all, &before, &after, &clock("2026-06-01"), &almanac()).unwrap();
    assert_eq!(simulation.emptied, [""; 0]);
    assert_eq!(simulation.expires, []);
    assert_eq!(adopt(&simulation, None), Ok(()));
}

#[test]
fn ret01_what_would_be_kept_again_is_said() {
    let all = nightly(5);
    let simulation =
        simulate(&all, &policies("last 1"), &policies("last 3"), &clock("2026-06-01"), &almanac())
            .unwrap();
    assert_eq!(simulation.kept_again, [crate::sample::id(3), crate::sample::id(4)]);
    assert_eq!((simulation.expires.len(), simulation.bytes), (0, 0));
    let json = serde_json::to_value(&simulation).unwrap();
    assert_eq!(json["emptied"], serde_json::json!([]));
}

#[test]
fn ret02_ten_thousand_savesets_of_a_rogue_client_push_nothing_good_out() {
    let good = nightly(60);
    for policy in [
        "last 7",
        "last 3, daily 14, weekly 8, monthly 12, yearly 5",
        "eol 30 days, hourly 24",
        "last 5, only verified",
    ] {
        let mut good = good.clone();
        good[4].locked_until = Some(at("2027-01-01"));
        good[55].check = simsim_retention::Check::Whole;
        let alone = kept(&decided(&good, &policies(policy), "2026-03-02 12:00"));
        assert!(alone.contains(&5), "{policy}");
        // Made within an hour by the same client for the same task, with any dates that it likes.
        let mut all = good.clone();
        for number in 0..10_000u64 {
            let stamped = at("2026-03-02 11:00") + SignedDuration::from_millis(number as i64 * 300);
            let mut rogue = saveset(100 + number, stamped);
            rogue.made_for = MadeFor::Owner;
            rogue.check = simsim_retention::Check::Whole;
            let years = SignedDuration::from_hours(24 * 365 * (number as i64 % 400 - 200));
            rogue.client_says = Some(stamped + years);
            all.push(rogue);
        }
        let decision = decided(&all, &policies(policy), "2026-03-02 12:00");
        let kept = kept(&decision);
        let of_good: Vec<u64> = kept.iter().copied().filter(|number| *number <= 60).collect();
        assert_eq!(of_good, alone, "{policy}");
        // What the client says changes nothing.
        for saveset in &mut all {
            saveset.client_says = None;
        }
        assert_eq!(decided(&all, &policies(policy), "2026-03-02 12:00"), decision, "{policy}");
    }
}

#[test]
fn ret02_the_last_saveset_of_a_task_is_one_that_the_server_wanted() {
    let mut all = nightly(3);
    all.push(saveset(4, at("2026-01-04 22:00")));
    all[3].made_for = MadeFor::Owner;
    let decision = decided(&all, &policies("eol 1 day"), "2026-06-01");
    assert_eq!(kept(&decision), [3]);
    // Where there is no other, what an owner asked for is better than nothing.
    let decision = decided(&all[3..], &policies("eol 1 day"), "2026-06-01");
    assert_eq!(kept(&decision), [4]);
}
