//! The verdict on each saveset.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use simsim_model::{Outcome, SavesetId};
use simsim_schedule::{Almanac, ScheduleError};

use crate::change::Approval;
use crate::policy::{Policies, Rule};
use crate::rules::{self, counts};
use crate::saveset::{MadeFor, Saveset};

/// What the server knows of the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    pub now: Timestamp,
    /// The last instant that the server wrote down before, such as at its last look at savesets.
    pub last_known: Timestamp,
    /// By more than this many seconds later than `last_known` the clock is in doubt: longer than the
    /// server is ever off, such as 30 days.
    pub ahead_max_s: u32,
    /// Who looked at the clock and said that it is right; then it is not doubted.
    pub confirmed_by: Option<String>,
}

impl ClockReading {
    /// Whether the clock can be right. `newest`: the newest stamp that the server gave.
    pub fn doubt(&self, newest: Option<Timestamp>) -> Option<Doubt> {
        if self.confirmed_by.is_some() {
            return None;
        }
        let newest = newest.map_or(self.last_known, |newest| newest.max(self.last_known));
        if self.now < newest {
            return Some(Doubt::Behind { now: self.now, newest });
        }
        let ahead = self.now.duration_since(self.last_known);
        let doubted = ahead > SignedDuration::from_secs(i64::from(self.ahead_max_s));
        doubted.then_some(Doubt::Ahead { now: self.now, last_known: self.last_known })
    }
}

/// Why the clock is in doubt. Nothing expires until it is right again, or a person confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    #[error("the clock says {now}, but it was {newest} before: set the clock right, or confirm it")]
    Behind {
        #[serde(serialize_with = "instant")]
        now: Timestamp,
        #[serde(serialize_with = "instant")]
        newest: Timestamp,
    },
    #[error(
        "the clock says {now}, long after {last_known}, when it was last known: set the clock right, or confirm it"
    )]
    Ahead {
        #[serde(serialize_with = "instant")]
        now: Timestamp,
        #[serde(serialize_with = "instant")]
        last_known: Timestamp,
    },
}

/// Whose EOL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EolOf {
    Saveset,
    Task,
    Pool,
}

/// One thing that keeps a saveset.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    LegalHold {
        note: String,
    },
    Lock {
        #[serde(serialize_with = "instant")]
        until: Timestamp,
    },
    Eol {
        #[serde(serialize_with = "instant")]
        until: Timestamp,
        of: EolOf,
    },
    /// A keep rule with its number has it: as the newest of a bucket, or in a place from the newest.
    Rule {
        rule: Rule,
        number: u32,
        bucket: String,
    },
    /// It is known to be damaged and takes no place of a good one; were it whole, this rule would have it. A copy or the
    /// next backup may heal it.
    WhenWhole {
        rule: Rule,
        number: u32,
        bucket: String,
    },
    /// The policy of its pool lets nothing expire.
    Forever,
    /// Its pool has no policy.
    NoPolicy,
    /// It does not count for keep rules (not verified, with errors, damaged), and no newer one of its
    /// task does.
    NothingNewer,
    /// It is the newest restorable saveset of its task: of those that the server wanted if there is one,
    /// else of all; of several copies the original while that is there.
    NewestOfTask,
    /// Nothing else keeps it, but the clock is in doubt.
    ClockInDoubt,
}

/// What becomes of a saveset.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Keep {
        /// Every reason; at least one.
        why: Vec<Why>,
        /// When the last reason ends, where all of them end at an instant that is known.
        #[serde(serialize_with = "maybe_instant")]
        until: Option<Timestamp>,
    },
    Expire {
        /// Since when nothing keeps it, as far as that can be told: never later than now.
        #[serde(serialize_with = "instant")]
        since: Timestamp,
    },
}

impl Verdict {
    pub fn is_kept(&self) -> bool {
        matches!(self, Verdict::Keep { .. })
    }
}

/// The verdicts on all savesets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// Nothing expires, and why not.
    pub frozen: Option<Doubt>,
    /// In the order of the savesets that were asked about.
    pub verdicts: Vec<(SavesetId, Verdict)>,
    /// Tasks of whose restorable savesets only the newest is left, and that only because it is the
    /// newest; sorted.
    pub last_of: Vec<String>,
}

/// What becomes of each saveset. All savesets of the tasks must be there, because rules count them; the
/// same arguments give the same verdicts, and asking again about what is left gives none that expires.
///
/// # Errors
/// The time zone of a policy is unknown; then there is no verdict.
pub fn decide(
    savesets: &[Saveset],
    policies: &Policies,
    clock: &ClockReading,
    approval: Option<&Approval>,
    almanac: &Almanac,
) -> Result<Decision, ScheduleError> {
    let may_be_emptied = |task: &str| approval.is_some_and(|approval| approval.covers(task));
    let judged = judge(savesets, policies, clock.now, almanac, &may_be_emptied)?;
    let frozen = doubt(savesets, clock);
    let frozen_verdict = |verdict: Verdict| match verdict {
        Verdict::Expire { .. } if frozen.is_some() => {
            Verdict::Keep { why: vec![Why::ClockInDoubt], until: None }
        }
        verdict => verdict,
    };
    let verdicts = judged.verdicts.into_iter().map(frozen_verdict);
    let verdicts = savesets.iter().map(|saveset| saveset.id).zip(verdicts).collect();
    Ok(Decision { frozen, verdicts, last_of: judged.last_of })
}

pub(crate) fn doubt(savesets: &[Saveset], clock: &ClockReading) -> Option<Doubt> {
    clock.doubt(savesets.iter().map(|saveset| saveset.stamped).max())
}

pub(crate) struct Judged {
    pub verdicts: Vec<Verdict>,
    /// Tasks that would have no restorable saveset if their newest did not stay for being it.
    pub last_of: Vec<String>,
}

/// The verdicts if the clock is right. A task keeps its newest restorable saveset
/// unless it may be emptied.
pub(crate) fn judge(
    savesets: &[Saveset],
    policies: &Policies,
    now: Timestamp,
    almanac: &Almanac,
    may_be_emptied: &dyn Fn(&str) -> bool,
) -> Result<Judged, ScheduleError> {
    let kept = rules::keep(savesets, policies, almanac)?;
    let counted = newest_counted(savesets, policies);
    let mut verdicts: Vec<Verdict> = savesets
        .iter()
        .zip(kept.why)
        .zip(kept.newest)
        .map(|((saveset, why), newest)| {
            let counted = counted.get(&(saveset.task.as_str(), saveset.made_for));
            let newer = counted.is_some_and(|newest| *newest > saveset.sequence);
            verdict(saveset, policies, now, why, newest, newer)
        })
        .collect();
    let mut last_of = Vec::new();
    for (task, Newest { at, others_are_kept }) in newest_restorable(savesets, &verdicts) {
        if may_be_emptied(task) {
            continue;
        }
        match &mut verdicts[at] {
            Verdict::Keep { why, until } => {
                why.push(Why::NewestOfTask);
                *until = None;
            }
            expired => {
                *expired = Verdict::Keep { why: vec![Why::NewestOfTask], until: None };
                if !others_are_kept {
                    last_of.push(task.to_owned());
                }
            }
        }
    }
    Ok(Judged { verdicts, last_of })
}

fn verdict(
    saveset: &Saveset,
    policies: &Policies,
    now: Timestamp,
    rules: Vec<Why>,
    newest: Option<Timestamp>,
    newer_counts: bool,
) -> Verdict {
    let mut why = Vec::new();
    why.extend(saveset.legal_hold.clone().map(|note| Why::LegalHold { note }));
    let lock = saveset.locked_until;
    why.extend(lock.filter(|until| now < *until).map(|until| Why::Lock { until }));
    let policy = policies.pools.get(&saveset.pool);
    let eol = eol(saveset, policies);
    why.extend(eol.filter(|(until, _)| now < *until).map(|(until, of)| Why::Eol { until, of }));
    why.extend(rules);
    match policy {
        None => why.push(Why::NoPolicy),
        Some(policy) if eol.is_none() && !policy.has_rules() => why.push(Why::Forever),
        Some(policy) => {
            // What no rule may count and no EOL holds is still better than nothing.
            let ended = matches!(saveset.outcome, Outcome::Finished | Outcome::FinishedWithErrors);
            let uncounted = ended && !counts(saveset, policy.counting());
            if eol.is_none() && uncounted && !newer_counts {
                why.push(Why::NothingNewer);
            }
        }
    }
    if why.is_empty() {
        let rules = policy.filter(|policy| policy.has_rules());
        let ends = [lock, eol.map(|(until, _)| until), rules.and(newest), Some(saveset.stamped)];
        let since = ends.into_iter().flatten().max().unwrap_or(now).min(now);
        return Verdict::Expire { since };
    }
    let ends = why.iter().map(|why| match why {
        Why::Lock { until } | Why::Eol { until, .. } => Some(*until),
        _ => None,
    });
    let until = ends.collect::<Option<Vec<Timestamp>>>().and_then(|ends| ends.into_iter().max());
    Verdict::Keep { why, until }
}

/// The EOL of a saveset: its own, else its task's, else its pool's.
fn eol(saveset: &Saveset, policies: &Policies) -> Option<(Timestamp, EolOf)> {
    if let Some(until) = saveset.eol {
        return Some((until, EolOf::Saveset));
    }
    let of_task = policies.task_eol_days.get(&saveset.task).filter(|_| !saveset.own_life);
    let of_task = of_task.map(|days| (*days, EolOf::Task));
    let of_pool = || Some((policies.pools.get(&saveset.pool)?.eol_days()?, EolOf::Pool));
    let (days, of) = of_task.or_else(of_pool)?;
    let days = SignedDuration::from_hours(i64::from(days) * 24);
    Some((saveset.stamped.checked_add(days).unwrap_or(Timestamp::MAX), of))
}

/// For each task the sequence of its newest saveset that counts for the rules of its pool. What an owner
/// asked for is never better than what the server wanted.
fn newest_counted<'a>(
    savesets: &'a [Saveset],
    policies: &Policies,
) -> BTreeMap<(&'a str, MadeFor), u64> {
    let mut newest: BTreeMap<(&str, MadeFor), u64> = BTreeMap::new();
    for saveset in savesets {
        let policy = policies.pools.get(&saveset.pool);
        if policy.is_some_and(|policy| counts(saveset, policy.counting())) {
            let key = (saveset.task.as_str(), saveset.made_for);
            let sequence = newest.entry(key).or_insert(saveset.sequence);
            *sequence = (*sequence).max(saveset.sequence);
        }
    }
    newest
}

/// The newest restorable saveset of a task.
struct Newest {
    at: usize,
    /// Of the others at least one is kept.
    others_are_kept: bool,
}

/// For each task that has one. One that the server wanted goes before one that an owner asked for, and an
/// original before its copies. What is kept otherwise plays no part, so that a policy that keeps more
/// moves nothing.
fn newest_restorable<'a>(
    savesets: &'a [Saveset],
    verdicts: &[Verdict],
) -> BTreeMap<&'a str, Newest> {
    let rank = |at: usize| {
        let saveset = &savesets[at];
        let is_original = saveset.id == saveset.backup;
        (saveset.made_for == MadeFor::Server, saveset.sequence, is_original, saveset.id)
    };
    let mut tasks: BTreeMap<&str, Newest> = BTreeMap::new();
    for (at, saveset) in savesets.iter().enumerate().filter(|(_, saveset)| saveset.is_restorable())
    {
        let first = Newest { at, others_are_kept: false };
        let newest = tasks.entry(&saveset.task).or_insert(first);
        if rank(at) > rank(newest.at) {
            newest.at = at;
        }
        newest.others_are_kept |= verdicts[at].is_kept();
    }
    tasks
}

pub(crate) fn instant<S: serde::Serializer>(
    at: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn maybe_instant<S: serde::Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
