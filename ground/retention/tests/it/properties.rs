//! What holds for all savesets and policies.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use simsim_model::Outcome;
use simsim_retention::{
    Check, ClockReading, Decision, MadeFor, Policies, Policy, Rule, Saveset, Verdict, decide,
    explain,
};

use crate::sample::{almanac, at, id, saveset};

fn instant(hours: i64) -> Timestamp {
    at("2026-01-01") + SignedDuration::from_mins(hours * 60 + 7)
}

/// Some savesets of two tasks in two pools, copies among them, in any order, with jumping stamps.
fn savesets() -> impl Strategy<Value = Vec<Saveset>> {
    let outcome = prop::sample::select(vec![
        Outcome::Finished,
        Outcome::Finished,
        Outcome::Finished,
        Outcome::FinishedWithErrors,
        Outcome::Failed,
    ]);
    let check =
        prop::sample::select(vec![Check::Whole, Check::NotYet, Check::NotYet, Check::Damaged]);
    let life = (
        prop::option::weighted(0.1, 0i64..3000),
        prop::option::weighted(0.1, 0i64..3000),
        prop::bool::weighted(0.05),
    );
    let one = (0i64..2000, any::<[bool; 3]>(), outcome, check, life, 0usize..4);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut made: Vec<Saveset> = Vec::new();
        for (number, (hours, [task, pool, owner], outcome, check, (eol, lock, hold), copy_of)) in
            all.into_iter().enumerate()
        {
            let mut saveset = saveset(number as u64 + 1, instant(hours));
            saveset.task = if task { "web" } else { "mail" }.to_owned();
            if owner && number % 3 == 0 {
                saveset.made_for = MadeFor::Owner;
            }
            if let Some(original) = made.get(copy_of).filter(|_| number % 5 == 4) {
                saveset = Saveset { id: id(number as u64 + 1), ..original.clone() };
            }
            saveset.pool = if pool { "daily" } else { "long" }.to_owned();
            (saveset.outcome, saveset.check) = (outcome, check);
            saveset.eol = eol.map(instant);
            saveset.locked_until = lock.map(instant);
            saveset.legal_hold = hold.then(|| "case 12".to_owned());
            made.push(saveset);
        }
        made
    })
}

/// A policy that limits something.
fn policy() -> impl Strategy<Value = Policy> {
    let rules = prop::collection::vec((0usize..6, 1u32..9), 0..5);
    let rest = prop::sample::select(vec![
        "",
        ", only finished",
        ", only verified",
        ", zone America/Sao_Paulo",
    ]);
    (rules, prop::option::of(1u32..60), rest).prop_map(|(rules, eol, rest)| {
        let first = eol.map_or("last 1".to_owned(), |days| format!("eol {days} days"));
        let policy: Policy = format!("{first}{rest}").parse().unwrap();
        rules
            .into_iter()
            .fold(policy, |policy, (rule, number)| policy.keeping(Rule::ALL[rule], number))
    })
}

fn decided(savesets: &[Saveset], policies: &Policies, now: Timestamp) -> Decision {
    let clock = ClockReading {
        now,
        last_known: now,
        ahead_max_s: 86_400,
        confirmed_by: Some("ada".to_owned()),
    };
    decide(savesets, policies, &clock, None, &almanac()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_larger_number_never_expires_more(
        savesets in savesets(), daily in policy(), long in policy(), rule in 0usize..6, more in 1u32..20, hours in 0i64..4000,
    ) {
        let mut policies = Policies::default();
        policies.pools.insert("daily".to_owned(), daily.clone());
        policies.pools.insert("long".to_owned(), long);
        let before = decided(&savesets, &policies, instant(hours));
        let rule = Rule::ALL[rule];
        policies.pools.insert("daily".to_owned(), daily.clone().keeping(rule, daily.keeps(rule) + more));
        let after = decided(&savesets, &policies, instant(hours));
        for ((id, before), (_, after)) in before.verdicts.iter().zip(&after.verdicts) {
            prop_assert!(!before.is_kept() || after.is_kept(), "{} of {:?} {:?}", id, before, after);
        }
    }

    #[test]
    fn deciding_again_about_what_is_left_expires_nothing(
        savesets in savesets(), daily in policy(), long in policy(), hours in 0i64..4000,
    ) {
        let mut policies = Policies::default();
        policies.pools.insert("daily".to_owned(), daily);
        policies.pools.insert("long".to_owned(), long);
        let first = decided(&savesets, &policies, instant(hours));
        let left: Vec<Saveset> = savesets.iter().zip(&first.verdicts)
            .filter(|(_, (_, verdict))| verdict.is_kept()).map(|(saveset, _)| saveset.clone()).collect();
        let second = decided(&left, &policies, instant(hours));
        prop_assert!(second.verdicts.iter().all(|(_, verdict)| verdict.is_kept()));
        prop_assert_eq!(&first, &decided(&savesets, &policies, instant(hours)));
        // Each task that had something restorable has it still.
        for task in ["web", "mail"] {
            let has = |savesets: &[Saveset]| savesets.iter().any(|saveset| saveset.task == task && saveset.is_restorable());
            prop_assert_eq!(has(&savesets), has(&left));
        }
        let zone = almanac().zone(None).unwrap();
        for (saveset, (id, verdict)) in savesets.iter().zip(&first.verdicts) {
            prop_assert_eq!(saveset.id, *id);
            let text = explain(saveset, verdict, &zone);
            prop_assert!(text.ends_with('.') && text.matches(". ").count() >= 1, "{}", text);
            match verdict {
                Verdict::Keep { why, until } => {
                    prop_assert!(!why.is_empty());
                    prop_assert!(until.is_none_or(|until| until > instant(hours)));
                }
                Verdict::Expire { since } => prop_assert!(*since <= instant(hours)),
            }
            let held = saveset.legal_hold.is_some() || saveset.locked_until.is_some_and(|until| until > instant(hours));
            prop_assert!(!held || verdict.is_kept());
        }
    }

    #[test]
    fn a_longer_lock_never_shortens_a_life(
        savesets in savesets(), daily in policy(), which in any::<prop::sample::Index>(), more in 0i64..3000, hours in 0i64..4000,
    ) {
        prop_assume!(!savesets.is_empty());
        let mut policies = Policies::default();
        policies.pools.insert("daily".to_owned(), daily);
        let before = decided(&savesets, &policies, instant(hours));
        let mut longer = savesets.clone();
        let at = which.index(longer.len());
        let until = longer[at].locked_until.unwrap_or(instant(hours)) + SignedDuration::from_hours(more);
        longer[at].locked_until = Some(simsim_retention::extend_lock(longer[at].locked_until, until).unwrap());
        let after = decided(&longer, &policies, instant(hours));
        for ((_, before), (_, after)) in before.verdicts.iter().zip(&after.verdicts) {
            match (before, after) {
                (Verdict::Keep { .. }, Verdict::Expire { .. }) => prop_assert!(false, "{:?} {:?}", before, after),
                (Verdict::Keep { until: Some(before), .. }, Verdict::Keep { until: Some(after), .. }) => {
                    prop_assert!(after >= before)
                }
                (Verdict::Keep { until: None, .. }, Verdict::Keep { until, .. }) => {
                    prop_assert!(until.is_none(), "{before:?} {after:?}")
                }
                _ => {}
            }
        }
    }

    /// Nothing that others do makes a saveset expire earlier than its EOL and its lock.
    #[test]
    fn eol_and_lock_hold_whoever_else_is_there(savesets in savesets(), others in savesets(), hours in 0i64..4000) {
        let mut policies = Policies::default();
        policies.pools.insert("daily".to_owned(), "eol 20 days, last 2".parse().unwrap());
        let mut all = savesets.clone();
        all.extend(others.into_iter().map(|other| Saveset { id: id(other.sequence + 1000), backup: id(other.sequence + 1000), sequence: other.sequence + 1000, ..other }));
        let now = instant(hours);
        let decision = decided(&all, &policies, now);
        for (saveset, (_, verdict)) in savesets.iter().zip(&decision.verdicts) {
            let days = SignedDuration::from_hours(20 * 24);
            let eol = saveset.eol.unwrap_or(saveset.stamped + days);
            let held = now < eol || saveset.locked_until.is_some_and(|until| now < until);
            prop_assert!(!held || verdict.is_kept());
        }
    }
}
