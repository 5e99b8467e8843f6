//! Savesets to judge.

use jiff::Timestamp;
use simsim_model::{Outcome, SavesetId};
use simsim_retention::{
    Check, ClockReading, Decision, MadeFor, Policies, Saveset, Verdict, Why, decide,
};
use simsim_schedule::{Almanac, Zones};

pub fn almanac() -> Almanac {
    Almanac::new(Zones::bundled(), "UTC").unwrap()
}

/// An instant of UTC: `2026-11-26` or `2026-11-26 22:00`.
pub fn at(text: &str) -> Timestamp {
    let text = if text.len() == 10 { format!("{text} 00:00") } else { text.to_owned() };
    format!("{}:00Z", text.replace(' ', "T")).parse().unwrap()
}

pub fn id(number: u64) -> SavesetId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SavesetId(bytes)
}

/// A finished backup of task `web` in pool `daily`; its number is its sequence.
pub fn saveset(number: u64, stamped: Timestamp) -> Saveset {
    Saveset {
        id: id(number),
        backup: id(number),
        task: "web".to_owned(),
        pool: "daily".to_owned(),
        made_for: MadeFor::Server,
        stamped,
        sequence: number,
        client_says: None,
        outcome: Outcome::Finished,
        check: Check::NotYet,
        eol: None,
        own_life: false,
        locked_until: None,
        legal_hold: None,
        bytes: 1000 + number,
    }
}

/// One backup each day at 22:00 UTC, beginning on 2026-01-01, numbered from 1.
pub fn nightly(days: u64) -> Vec<Saveset> {
    let first = at("2026-01-01 22:00");
    (0..days)
        .map(|day| saveset(day + 1, first + jiff::SignedDuration::from_hours(24 * day as i64)))
        .collect()
}

pub fn policies(daily: &str) -> Policies {
    let mut policies = Policies::default();
    policies.pools.insert("daily".to_owned(), daily.parse().unwrap());
    policies
}

/// A clock that is right.
pub fn clock(now: &str) -> ClockReading {
    ClockReading { now: at(now), last_known: at(now), ahead_max_s: 30 * 86_400, confirmed_by: None }
}

pub fn decided(savesets: &[Saveset], policies: &Policies, now: &str) -> Decision {
    decide(savesets, policies, &clock(now), None, &almanac()).unwrap()
}

/// The numbers of the savesets that are kept.
pub fn kept(decision: &Decision) -> Vec<u64> {
    let kept = decision.verdicts.iter().filter(|(_, verdict)| verdict.is_kept());
    kept.map(|(id, _)| u64::from_be_bytes(id.0[..8].try_into().unwrap())).collect()
}

pub fn verdict(decision: &Decision, number: u64) -> &Verdict {
    &decision.verdicts.iter().find(|(found, _)| *found == id(number)).unwrap().1
}

pub fn why(decision: &Decision, number: u64) -> Vec<Why> {
    match verdict(decision, number) {
        Verdict::Keep { why, .. } => why.clone(),
        Verdict::Expire { .. } => Vec::new(),
    }
}
