//! What keeps a saveset, one reason at a time and together.

use simsim_model::Outcome;
use simsim_retention::{
    Check, EolOf, LockError, MadeFor, Rule, Verdict, Why, explain, extend_lock,
};

use crate::sample::{almanac, at, decided, id, kept, nightly, policies, saveset, verdict, why};

#[test]
fn rules_together_keep_what_any_of_them_keeps() {
    // 2026-01-01 is a Thursday; the 60th night is Sunday, 2026-03-01.
    let all = nightly(60);
    let of = |policy: &str| kept(&decided(&all, &policies(policy), "2026-03-02"));
    assert_eq!(of("last 3"), [58, 59, 60]);
    assert_eq!(of("daily 2"), [59, 60]);
    assert_eq!(of("weekly 3"), [46, 53, 60]);
    assert_eq!(of("monthly 3"), [31, 59, 60]);
    assert_eq!(of("yearly 5"), [60]);
    assert_eq!(of("last 2, weekly 3, monthly 3"), [31, 46, 53, 59, 60]);
    assert_eq!(of("forever").len(), 60);
    let decision = decided(&all, &policies("last 2, weekly 3, monthly 3"), "2026-03-02");
    let rule = |rule, number, bucket: &str| Why::Rule { rule, number, bucket: bucket.to_owned() };
    assert_eq!(
        why(&decision, 60),
        [
            rule(Rule::Last, 2, "1"),
            rule(Rule::Weekly, 3, "week 9 of 2026"),
            rule(Rule::Monthly, 3, "2026-03"),
            Why::NewestOfTask,
        ]
    );
    assert_eq!(verdict(&decision, 58), &Verdict::Expire { since: at("2026-03-01 22:00") });
}

#[test]
fn several_backups_of_one_bucket_leave_the_newest() {
    let hours: Vec<_> = (0..48)
        .map(|half| {
            saveset(half + 1, at("2026-05-05") + jiff::SignedDuration::from_mins(30 * half as i64))
        })
        .collect();
    let of = |policy: &str| kept(&decided(&hours, &policies(policy), "2026-05-06"));
    assert_eq!(of("hourly 3"), [44, 46, 48]);
    assert_eq!(of("daily 7, hourly 1"), [48]);
}

#[test]
fn eol_is_the_savesets_own_else_its_tasks_else_its_pools() {
    let mut all = nightly(3);
    let mut policies = policies("eol 10 days");
    let decision = decided(&all, &policies, "2026-01-11 22:30");
    assert_eq!(kept(&decision), [2, 3]);
    assert_eq!(verdict(&decision, 1), &Verdict::Expire { since: at("2026-01-11 22:00") });
    let until = at("2026-01-12 22:00");
    assert_eq!(
        verdict(&decision, 2),
        &Verdict::Keep { why: vec![Why::Eol { until, of: EolOf::Pool }], until: Some(until) }
    );
    policies.task_eol_days.insert("web".to_owned(), 20);
    all[1].eol = Some(at("2026-01-05"));
    let decision = decided(&all, &policies, "2026-01-12 22:30");
    assert_eq!(kept(&decision), [1, 3]);
    assert_eq!(why(&decision, 1), [Why::Eol { until: at("2026-01-21 22:00"), of: EolOf::Task }]);
    // EOL holds beside rules, and an instant is known only where all reasons have one.
    all[1].eol = Some(at("2030-01-01"));
    all[2].locked_until = Some(at("2031-01-01"));
    let decision = decided(&all, &crate::sample::policies("last 1"), "2026-06-01");
    assert_eq!(kept(&decision), [2, 3]);
    assert!(
        matches!(verdict(&decision, 2), Verdict::Keep { until: Some(until), .. } if *until == at("2030-01-01"))
    );
    assert!(matches!(verdict(&decision, 3), Verdict::Keep { until: None, .. }));
}

#[test]
fn holds_and_locks_keep_whatever_the_policy_says() {
    let mut all = nightly(5);
    all[0].legal_hold = Some("case 12, asked for by Ada".to_owned());
    all[1].locked_until = Some(at("2027-01-01"));
    let of = |now| kept(&decided(&all, &policies("last 1"), now));
    assert_eq!(of("2026-12-31"), [1, 2, 5]);
    assert_eq!(of("2027-01-01"), [1, 5]);
    assert_eq!(extend_lock(None, at("2027-01-01")), Ok(at("2027-01-01")));
    assert_eq!(extend_lock(Some(at("2027-01-01")), at("2027-01-01")), Ok(at("2027-01-01")));
    let refused = extend_lock(Some(at("2027-01-01")), at("2026-12-31")).unwrap_err();
    assert_eq!(refused, LockError { current: at("2027-01-01") });
    assert!(refused.to_string().contains("never shortened"), "{refused}");
}

#[test]
fn what_failed_or_is_damaged_takes_no_place_of_a_good_one() {
    let mut all = nightly(10);
    all[9].outcome = Outcome::Failed;
    all[8].outcome = Outcome::Interrupted;
    all[7].check = Check::Damaged;
    all[6].outcome = Outcome::FinishedWithErrors;
    all[5].check = Check::Whole;
    let of = |policy: &str| kept(&decided(&all, &policies(policy), "2026-02-01"));
    // The damaged one is newer than all that is good, and some of it may be wanted.
    assert_eq!(of("last 2"), [6, 7, 8]);
    // What finished with errors is the newest restorable one.
    assert_eq!(of("last 2, only finished"), [5, 6, 7, 8]);
    assert_eq!(of("last 2, only verified"), [6, 7, 8]);
    let decision = decided(&all, &policies("last 2, only verified"), "2026-02-01");
    let when_whole =
        |rule, number, bucket: &str| Why::WhenWhole { rule, number, bucket: bucket.to_owned() };
    assert_eq!(why(&decision, 8), [when_whole(Rule::Last, 2, "1"), Why::NothingNewer]);
    // Once later ones are verified they go; the damaged one not before the rule would let it go if it were whole.
    let mut later = |number: u64| {
        let mut one = saveset(number, at(&format!("2026-01-{number} 22:00")));
        one.check = Check::Whole;
        all.push(one);
        let decision = decided(&all, &policies("last 2, only verified"), "2026-02-01");
        (kept(&decision), decision)
    };
    let (left, decision) = later(11);
    assert_eq!(left, [6, 8, 11]);
    assert_eq!(why(&decision, 8), [when_whole(Rule::Last, 2, "2")]);
    assert_eq!(later(12).0, [11, 12]);
}

#[test]
fn what_is_damaged_keeps_its_time_and_costs_no_good_one_its_place() {
    let mut all = nightly(6);
    all[1].check = Check::Damaged;
    all[2].check = Check::Damaged;
    all[3].outcome = Outcome::Failed;
    let of = |all: &[simsim_retention::Saveset], policy: &str| {
        kept(&decided(all, &policies(policy), "2026-02-01"))
    };
    // The good ones are what they would be without the damaged ones; these stay beside them.
    assert_eq!(of(&all, "last 3"), [1, 3, 5, 6]);
    assert_eq!(of(&all, "last 4"), [1, 2, 3, 5, 6]);
    assert_eq!(of(&all, "daily 3"), [1, 3, 5, 6]);
    // Healed, they take their places again.
    all[2].check = Check::Whole;
    assert_eq!(of(&all, "last 3"), [3, 5, 6]);
}

#[test]
fn copies_of_one_backup_are_one_and_each_pool_has_its_own_rules() {
    let mut all = nightly(4);
    for number in 1..=4 {
        let original = all[number as usize - 1].clone();
        // Another copy in the same pool, and one in a pool for long.
        for (copy, pool) in [(10 + number, "daily"), (20 + number, "yearly")] {
            all.push(simsim_retention::Saveset {
                id: id(copy),
                pool: pool.to_owned(),
                ..original.clone()
            });
        }
    }
    let mut policies = policies("last 2");
    policies.pools.insert("yearly".to_owned(), "eol 365 days".parse().unwrap());
    assert_eq!(kept(&decided(&all, &policies, "2026-02-01")), [3, 4, 21, 22, 13, 23, 14, 24]);
    assert_eq!(kept(&decided(&all, &policies, "2027-02-01")), [3, 4, 13, 14]);
    // A pool without a policy loses nothing.
    policies.pools.remove("yearly");
    let decision = decided(&all, &policies, "2036-02-01");
    assert_eq!(why(&decision, 21), [Why::NoPolicy]);
}

#[test]
fn the_server_counts_and_not_the_clocks() {
    // The third was made while the server's clock was ten years ahead.
    let mut all = nightly(5);
    all[2].stamped = at("2036-01-03 22:00");
    let clock = simsim_retention::ClockReading {
        confirmed_by: Some("Ada".to_owned()),
        ..crate::sample::clock("2026-01-06")
    };
    let policies = policies("last 2");
    let decision = simsim_retention::decide(&all, &policies, &clock, None, &almanac()).unwrap();
    assert_eq!(kept(&decision), [4, 5]);
    assert_eq!(verdict(&decision, 3), &Verdict::Expire { since: at("2026-01-06") });
}

#[test]
fn what_owners_ask_for_is_counted_by_itself() {
    let mut all = nightly(6);
    for at in [1, 3, 5] {
        all[at].made_for = MadeFor::Owner;
    }
    assert_eq!(kept(&decided(&all, &policies("last 2"), "2026-02-01")), [3, 4, 5, 6]);
}

#[test]
fn a_person_is_told_why_in_sentences() {
    let mut all = nightly(3);
    all[0].legal_hold = Some("case 12, asked for by Ada".to_owned());
    all[0].locked_until = Some(at("2027-01-01"));
    let zone = almanac().zone(Some("Europe/Berlin")).unwrap();
    let told = |policy: &str, number: u64| {
        let decision = decided(&all, &policies(policy), "2026-01-10");
        explain(&all[number as usize - 1], verdict(&decision, number), &zone)
    };
    let begin = "of task 'web' in pool 'daily' is of the backup of 2026-01-0";
    assert_eq!(
        told("last 1, eol 30 days", 1),
        format!(
            "Saveset 00000000 {begin}1 23:00 Europe/Berlin. It is under legal hold until a person lifts it: case 12, \
         asked for by Ada. It is locked until 2027-01-01 01:00 Europe/Berlin; nobody can shorten that. The EOL of \
         its pool keeps it until 2026-01-31 23:00 Europe/Berlin. When it expires cannot be told yet."
        )
    );
    assert_eq!(
        told("last 1, daily 1", 3),
        format!(
            "Saveset 00000000 {begin}3 23:00 Europe/Berlin. The rule 'last 1' keeps it: it is number 1 from the newest. \
         The rule 'daily 1' keeps it: it is the newest of 2026-01-03. It is the newest restorable saveset of its \
         task, which only a second person lets go. When it expires cannot be told yet."
        )
    );
    assert_eq!(
        told("last 1", 2),
        format!(
            "Saveset 00000000 {begin}2 23:00 Europe/Berlin. Nothing has kept it since 2026-01-03 23:00 Europe/Berlin; \
         it is expired and may be deleted."
        )
    );
    assert!(
        told("eol 1 day", 3).contains("newest restorable saveset of its task"),
        "{}",
        told("eol 1 day", 3)
    );
    assert!(
        told("eol 30 days", 2).ends_with(
            "It expires at 2026-02-01 23:00 Europe/Berlin, if nothing else keeps it then."
        )
    );
}
