//! Another policy: what it would let go, and when it needs a second person.

use std::collections::BTreeSet;

use jiff::Timestamp;
use simsim_model::{Kind, SavesetId};
use simsim_schedule::{Almanac, ScheduleError};

use crate::decide::{ClockReading, Doubt, Verdict, Why, doubt, instant, judge};
use crate::policy::Policies;
use crate::saveset::Saveset;

/// What another policy would change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Simulation {
    /// What would expire and is kept now, in the order of the savesets that were asked about.
    pub expires: Vec<Loss>,
    /// The sum of their `bytes`. What a deletion of them frees is another number, less or more.
    pub bytes: u64,
    /// What is expired now and would be kept.
    pub kept_again: Vec<SavesetId>,
    /// Tasks that have a restorable saveset and would have none, sorted. [`adopt`] refuses them.
    pub emptied: Vec<String>,
    /// The clock is in doubt: nothing expires before that is settled, and then this.
    pub frozen: Option<Doubt>,
}

/// A saveset that would expire.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    pub id: SavesetId,
    pub task: String,
    pub pool: String,
    #[serde(serialize_with = "instant")]
    pub stamped: Timestamp,
    pub bytes: u64,
    /// What keeps it now.
    pub kept_by: Vec<Why>,
}

/// Compares two sets of policies over the same savesets at the same instant. Nothing is changed.
///
/// # Errors
/// The time zone of a policy is unknown.
pub fn simulate(
    savesets: &[Saveset],
    before: &Policies,
    after: &Policies,
    clock: &ClockReading,
    almanac: &Almanac,
) -> Result<Simulation, ScheduleError> {
    let guarded = |_: &str| false;
    let now = judge(savesets, before, clock.now, almanac, &guarded)?;
    let then = judge(savesets, after, clock.now, almanac, &guarded)?;
    // Tasks that hold on to their last saveset already are no work of the new policy.
    let newly = then.last_of.into_iter().filter(|task| !now.last_of.contains(task));
    let emptied: BTreeSet<String> = newly.collect();
    let then = judge(savesets, after, clock.now, almanac, &|task| emptied.contains(task))?;
    let (mut expires, mut kept_again) = (Vec::new(), Vec::new());
    for ((saveset, before), after) in savesets.iter().zip(now.verdicts).zip(then.verdicts) {
        match (before, after) {
            (Verdict::Keep { why, .. }, Verdict::Expire { .. }) => expires.push(Loss {
                id: saveset.id,
                task: saveset.task.clone(),
                pool: saveset.pool.clone(),
                stamped: saveset.stamped,
                bytes: saveset.bytes,
                kept_by: why,
            }),
            (Verdict::Expire { .. }, Verdict::Keep { .. }) => kept_again.push(saveset.id),
            _ => {}
        }
    }
    let bytes = expires.iter().fold(0u64, |sum, loss| sum.saturating_add(loss.bytes));
    let emptied = emptied.into_iter().collect();
    Ok(Simulation { expires, bytes, kept_again, emptied, frozen: doubt(savesets, clock) })
}

/// Whether the policy that was simulated may be taken.
pub fn adopt(simulation: &Simulation, approval: Option<&Approval>) -> Result<(), Refusal> {
    let covered = |task: &&String| approval.is_some_and(|approval| approval.covers(task));
    let tasks: Vec<String> =
        simulation.emptied.iter().filter(|task| !covered(task)).cloned().collect();
    if tasks.is_empty() { Ok(()) } else { Err(Refusal { tasks }) }
}

/// A policy is not taken: these tasks would be left without a restorable saveset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy would leave {} without any restorable saveset: {}; change it, or have a second person approve it",
    count(tasks), tasks.join(", ")
)]
pub struct Refusal {
    /// Sorted; at least one.
    pub tasks: Vec<String>,
}

fn count(tasks: &[String]) -> String {
    if tasks.len() == 1 { "a task".to_owned() } else { format!("{} tasks", tasks.len()) }
}

impl Refusal {
    pub fn kind(&self) -> Kind {
        Kind::Denied
    }
}

/// Two persons want tasks to lose their last restorable saveset. The caller has made sure who they are,
/// and writes them into the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    asked_by: String,
    approved_by: String,
    tasks: BTreeSet<String>,
}

/// An approval that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    #[error("'{0}' asked for it and cannot approve it too: another person has to")]
    SamePerson(String),
    #[error("it does not say who asks and who approves")]
    Nobody,
}

impl Approval {
    /// For these tasks and no others. Two persons: names that differ in more than letter case.
    pub fn of_two(
        asked_by: &str,
        approved_by: &str,
        tasks: impl IntoIterator<Item = String>,
    ) -> Result<Self, ApprovalError> {
        let (asked, approved) = (asked_by.trim(), approved_by.trim());
        if asked.is_empty() || approved.is_empty() {
            return Err(ApprovalError::Nobody);
        }
        if asked.to_lowercase() == approved.to_lowercase() {
            return Err(ApprovalError::SamePerson(asked.to_owned()));
        }
        let tasks = tasks.into_iter().collect();
        Ok(Self { asked_by: asked.to_owned(), approved_by: approved.to_owned(), tasks })
    }

    pub fn asked_by(&self) -> &str {
        &self.asked_by
    }

    pub fn approved_by(&self) -> &str {
        &self.approved_by
    }

    pub fn covers(&self, task: &str) -> bool {
        self.tasks.contains(task)
    }
}
