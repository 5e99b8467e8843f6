//! Originals that a migration has moved: which of them go.
//!
//! One goes by a copy in the target that a check, begun after the copy was listed, found whole; that is to live on by
//! its own pool; and that nothing is about to delete. What keeps the original by a policy is no reason, for the
//! policy goes with the copy; a lock, a hold, being the newest restorable saveset of its task, and a clock in doubt
//! are. All of it is read and decided in one transaction, and once more before a device is told.

use simsim_catalog::{LastCheck, Life, LifeBooks, LifeChange, Migration, NewDeletion, Replication};
use simsim_model::StoreId;
use simsim_retention::{Verdict, Why};

use super::judge::Judged;
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::fits;

/// Lines about originals that stay, at most.
const STAYING_NAMED: usize = 10;

/// What was decided.
#[derive(Debug, Default)]
pub(crate) struct LetGo {
    pub decided: usize,
    /// Why others stay.
    pub stay: Vec<String>,
    pub frozen: Option<String>,
}

/// Why an original stays that a copy in `target` might let go; `None`: it goes. `at` is its place among the lives.
pub(super) fn stays(
    judged: &Judged<'_>,
    decision: &simsim_retention::Decision,
    at: usize,
    target: StoreId,
) -> Option<String> {
    let (Some(life), Some((_, verdict))) = (judged.lives.get(at), decision.verdicts.get(at)) else {
        return Some("it is not known any more".to_owned());
    };
    if decision.frozen.is_some() {
        return Some("the clock is in doubt".to_owned());
    }
    if let Verdict::Keep { why, .. } = verdict {
        for why in why {
            match why {
                Why::LegalHold { .. } => return Some("it is under legal hold".to_owned()),
                Why::Lock { until } => return Some(format!("it is locked until {until}")),
                Why::NewestOfTask => {
                    return Some("it is the newest restorable saveset of its task".to_owned());
                }
                Why::ClockInDoubt => return Some("the clock is in doubt".to_owned()),
                Why::Eol { .. }
                | Why::Rule { .. }
                | Why::WhenWhole { .. }
                | Why::Forever
                | Why::NoPolicy
                | Why::NothingNewer => {}
            }
        }
    }
    let copies = judged.places(life.saveset.saveset);
    let copy = copies.into_iter().find(|at| is_in(judged, *at, target));
    let Some((copy, kept)) = copy.and_then(|at| {
        let (life, (_, verdict)) = (judged.lives.get(at)?, decision.verdicts.get(at)?);
        Some((*life, verdict.is_kept()))
    }) else {
        return Some("it has no copy there".to_owned());
    };
    if copy.deletion.is_some() {
        return Some("its copy is about to be deleted".to_owned());
    }
    if copy.check != LastCheck::Whole {
        return Some("no check has proven its copy".to_owned());
    }
    if verdict.is_kept() && !kept {
        return Some(format!("its copy in pool '{}' is expired already", copy.pool));
    }
    None
}

fn is_in(judged: &Judged<'_>, at: usize, store: StoreId) -> bool {
    judged.lives.get(at).is_some_and(|life| life.store == store)
}

/// Decides on all originals of a migration.
pub(crate) async fn let_go(
    house: &House,
    migration: &Migration,
    relation: &Replication,
    by: &str,
) -> Result<LetGo, ServerError> {
    let (migration, relation, by) = (migration.clone(), relation.clone(), by.to_owned());
    let decide = move |books: &LifeBooks| {
        let decided = || -> Result<_, ServerError> {
            let now = now_unix_ms();
            let judged = Judged::of(books, now)?;
            let decision = judged.verdicts()?;
            let mut gone = LetGo {
                frozen: decision.frozen.as_ref().map(ToString::to_string),
                ..LetGo::default()
            };
            let mut changes = Vec::new();
            let mut staying = 0usize;
            for (at, life) in judged.lives.iter().enumerate() {
                if life.store != relation.source || !fits(life, &migration, &relation, now) {
                    continue;
                }
                match stays(&judged, &decision, at, relation.target) {
                    None => changes.push(deletion(life, &migration, relation.target, &by)),
                    Some(why) => {
                        staying += 1;
                        if staying <= STAYING_NAMED {
                            let id = life.saveset.saveset.short();
                            gone.stay.push(format!("saveset {id} stays where it is: {why}"));
                        }
                    }
                }
            }
            if staying > STAYING_NAMED {
                gone.stay.push(format!("and {} more stay", staying - STAYING_NAMED));
            }
            gone.decided = changes.len();
            Ok((gone, changes))
        };
        match decided() {
            Ok((gone, changes)) => (Ok(gone), changes),
            Err(error) => (Err(error), Vec::new()),
        }
    };
    let (gone, _) =
        house.books.run(move |catalog| catalog.change_lives(now_unix_ms(), decide)).await?;
    gone
}

fn deletion(life: &Life, migration: &Migration, target: StoreId, by: &str) -> LifeChange {
    LifeChange::Delete(NewDeletion {
        saveset: life.saveset.saveset,
        store: life.store,
        why: format!("moved by migration '{}'", migration.name),
        asked_by: by.to_owned(),
        approval: None,
        copy_in: Some(target),
    })
}
