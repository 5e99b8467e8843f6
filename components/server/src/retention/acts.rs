//! Acts that may need a second person: what each would do, and doing it.
//!
//! An act is weighed against the catalog and done in the same transaction. One that needs a second
//! person is kept instead, with its exact content; when another principal approves it, it is weighed
//! again, by what holds then: a lock or a hold that has come meanwhile still stands.

use serde::{Deserialize, Serialize};
use simsim_catalog::{
    Approval, ApprovalEnd, ApprovalState, LifeBooks, LifeChange, NewApproval, NewDeletion, Pool,
};
use simsim_model::{SavesetId, StoreId};
use simsim_retention::{Approval as TwoPersons, Policy, Verdict, Why, adopt, explain, simulate};

use super::judge::{Judged, label, policies, zone_error};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::people::providers::ProviderAct;
use crate::people::second_person::{self, PeopleChange, Second, WeighedChange};
use crate::rights::{Principal, Right, person_of};

/// How long an act waits for the second person.
pub(crate) const APPROVAL_HOURS: i64 = 72;
/// Savesets that are named in the sentence about an act.
const NAMED_MAX: usize = 5;

/// One act, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Wherever they lie, or in one datastore only.
    DeleteSavesets {
        savesets: Vec<SavesetId>,
        store: Option<StoreId>,
        why: String,
    },
    ReleaseHold {
        saveset: SavesetId,
    },
    ChangePool {
        pool: String,
        policy: String,
        store: Option<StoreId>,
        drive: Option<u32>,
        drive_group: Option<String>,
        /// Tasks that would be left without any restorable saveset; filled in when it is asked for.
        #[serde(default)]
        emptied: Vec<String>,
    },
    /// What somebody may.
    People(PeopleChange),
    /// By whom people sign in, and what they may then.
    Provider(ProviderAct),
}

impl Act {
    fn verb(&self) -> &'static str {
        match self {
            Act::DeleteSavesets { .. } => "saveset.delete",
            Act::ReleaseHold { .. } => "saveset.hold",
            Act::ChangePool { .. } => "pool.change",
            Act::People(change) => change.verb(),
            Act::Provider(act) => act.verb(),
        }
    }

    /// What whoever asks for it holds, and whether for the whole suite.
    fn right(&self) -> (Right, bool) {
        match self {
            Act::DeleteSavesets { .. } => (Right::Delete, false),
            Act::ReleaseHold { .. } => (Right::Administer, false),
            Act::ChangePool { .. } => (Right::Administer, true),
            Act::People(_) | Act::Provider(_) => (Right::People, true),
        }
    }

    fn to_text(&self) -> Result<String, ServerError> {
        serde_json::to_string(self).map_err(|error| ServerError::Lost(error.to_string()))
    }
}

/// The act of a kept request.
pub(crate) fn read_act(approval: &Approval) -> Result<Act, ServerError> {
    serde_json::from_str(&approval.request).map_err(|error| {
        ServerError::invalid(format!(
            "what approval {} is for cannot be read: {error}",
            approval.number
        ))
    })
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    Done(Done),
    /// It waits for a second person, under this number.
    Asked(u64),
}

/// An act that was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// What is to be deleted now, and where.
    pub deletions: Vec<(SavesetId, StoreId)>,
}

/// An act, weighed.
struct Weighed {
    changes: Vec<LifeChange>,
    done: Done,
    /// Why it takes a second person; empty: it does not.
    needs: Vec<String>,
    /// What it would do, for people.
    about: String,
    /// As it is to be kept.
    act: Act,
}

/// Who wants an act now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asker<'a> {
    First(&'a str),
    /// The approval, and the principal who gives it.
    Second(&'a Approval, &'a str),
}

/// Does an act, or keeps it for a second person. Rights were looked at, and it was written down.
pub(crate) async fn perform(house: &House, who: &Principal, act: Act) -> Result<Came, ServerError> {
    let by = who.name().to_owned();
    let decide = move |books: &LifeBooks| {
        let now = now_unix_ms();
        let weighed = match weigh(&act, books, Asker::First(&by), now) {
            Ok(weighed) => weighed,
            Err(error) => return (Err(error), Vec::new()),
        };
        if weighed.needs.is_empty() {
            return (Ok(Some(weighed.done)), weighed.changes);
        }
        match ask(&weighed, &by, now) {
            Ok(new) => (Ok(None), vec![LifeChange::Ask(new)]),
            Err(error) => (Err(error), Vec::new()),
        }
    };
    let (came, asked) =
        house.books.run(move |catalog| catalog.change_lives(now_unix_ms(), decide)).await?;
    simsim_model::failpoint::hit("server.deletions_decided");
    match (came?, asked.first()) {
        (Some(done), _) => Ok(Came::Done(done)),
        (None, Some(number)) => Ok(Came::Asked(*number)),
        (None, None) => Err(ServerError::Lost("an act was neither done nor kept".to_owned())),
    }
}

/// The second person's word. `digest`: the beginning of what was looked at.
pub(crate) async fn keep(
    house: &House,
    who: &Principal,
    number: u64,
    digest: Option<String>,
    note: String,
    approves: bool,
) -> Result<Done, ServerError> {
    let by = who.name().to_owned();
    let decide = move |books: &LifeBooks| {
        let now = now_unix_ms();
        let ended = || -> Result<_, ServerError> {
            let approval = open_approval(books, number, now)?;
            if let Some(digest) = &digest
                && !(digest.len() >= 8 && approval.digest.starts_with(digest.as_str()))
            {
                return Err(ServerError::Refused(format!(
                    "approval {number} has another digest than '{digest}': look at it again with \
                     'simsim approval show {number}'"
                )));
            }
            let end =
                |state| ApprovalEnd { number, state, decided_by: by.clone(), note: note.clone() };
            if !approves {
                return Ok((Done::default(), vec![LifeChange::End(end(ApprovalState::Rejected))]));
            }
            two_persons(approval, &by, &[])?;
            if let Some(why) = second_person::speaks_for(books, &approval.asked_by, &by) {
                return Err(ServerError::Refused(format!("approval {number}: {why}")));
            }
            let act = read_act(approval)?;
            if let Some(why) = second_person::lost(books, approval, act.right(), now)? {
                return Err(ServerError::Refused(format!("approval {number}: {why}")));
            }
            let weighed = weigh(&act, books, Asker::Second(approval, &by), now)?;
            let mut changes = vec![LifeChange::End(end(ApprovalState::Approved))];
            changes.extend(weighed.changes);
            Ok((weighed.done, changes))
        };
        match ended() {
            Ok((done, changes)) => (Ok(done), changes),
            Err(error) => (Err(error), Vec::new()),
        }
    };
    let (done, _) =
        house.books.run(move |catalog| catalog.change_lives(now_unix_ms(), decide)).await?;
    simsim_model::failpoint::hit("server.deletions_decided");
    done
}

fn open_approval(books: &LifeBooks, number: u64, now: i64) -> Result<&Approval, ServerError> {
    let approval = books.approvals.iter().find(|one| one.number == number).ok_or_else(|| {
        ServerError::invalid(format!(
            "approval {number} is not open: 'simsim approval list' shows those that are"
        ))
    })?;
    match approval.expires_unix_ms > now {
        true => Ok(approval),
        false => Err(ServerError::Refused(format!(
            "approval {number} has expired: whoever wants it asks again"
        ))),
    }
}

/// Nobody approves what he asked for.
fn two_persons(approval: &Approval, by: &str, tasks: &[String]) -> Result<TwoPersons, ServerError> {
    let (Some(asked), Some(second)) = (person_of(&approval.asked_by), person_of(by)) else {
        return Err(nobody(by));
    };
    TwoPersons::of_two(asked, second, tasks.iter().cloned())
        .map_err(|error| ServerError::Refused(format!("approval {}: {error}", approval.number)))
}

fn nobody(by: &str) -> ServerError {
    ServerError::Refused(format!(
        "'{by}' belongs to no person, and this takes two persons: use a token of a user ('simsim api-token \
         create NAME --user USER')"
    ))
}

fn ask(weighed: &Weighed, by: &str, now: i64) -> Result<NewApproval, ServerError> {
    if person_of(by).is_none() {
        return Err(nobody(by));
    }
    Ok(NewApproval {
        verb: weighed.act.verb().to_owned(),
        request: weighed.act.to_text()?,
        about: format!("{}: {}", weighed.about, weighed.needs.join("; ")),
        asked_by: by.to_owned(),
        expires_unix_ms: now.saturating_add(APPROVAL_HOURS * 3_600_000),
    })
}

fn weigh(act: &Act, books: &LifeBooks, asker: Asker<'_>, now: i64) -> Result<Weighed, ServerError> {
    match act {
        Act::People(change) => {
            let (asked_by, second) = persons(asker);
            Ok(of_people(act, change.weigh(books, asked_by, second.as_ref())?))
        }
        Act::Provider(provider) => {
            let (asked_by, second) = persons(asker);
            Ok(of_people(act, provider.weigh(books, asked_by, second.as_ref())?))
        }
        Act::DeleteSavesets { savesets, store, why } => {
            weigh_deletion(act, books, savesets, *store, why, asker, now)
        }
        Act::ReleaseHold { saveset } => {
            let found = books.lives.iter().find(|life| life.saveset.saveset == *saveset);
            let hold = found.and_then(|life| life.hold.as_ref()).ok_or_else(|| {
                ServerError::invalid(format!("saveset {} is not held", saveset.short()))
            })?;
            Ok(Weighed {
                changes: vec![LifeChange::Release(*saveset)],
                done: Done::default(),
                needs: vec!["a legal hold is released by two persons".to_owned()],
                about: format!(
                    "release the legal hold of saveset {}, which {} set ({})",
                    saveset.short(),
                    hold.by,
                    hold.why
                ),
                act: act.clone(),
            })
        }
        Act::ChangePool { pool, policy, store, drive, drive_group, emptied } => {
            let there = books.pools.iter().find(|one| one.name == *pool);
            let there = there.ok_or_else(|| ServerError::not_found("media pool", pool))?;
            let judged = Judged::of(books, now)?;
            let mut after = policies(books)?;
            let parsed = policy
                .parse()
                .map_err(|error| ServerError::invalid(format!("the policy: {error}")))?;
            after.pools.insert(pool.clone(), parsed);
            let simulation = simulate(
                &judged.savesets,
                &judged.policies,
                &after,
                &judged.clock,
                &judged.almanac,
            )
            .map_err(zone_error)?;
            let consent = match asker {
                Asker::First(_) => None,
                Asker::Second(approval, by) => Some(two_persons(approval, by, emptied)?),
            };
            let mut needs = Vec::new();
            if let Err(refusal) = adopt(&simulation, consent.as_ref()) {
                if consent.is_some() {
                    return Err(ServerError::Refused(format!(
                        "more tasks than when it was asked for: {refusal}"
                    )));
                }
                needs.push(refusal.to_string());
            }
            // Where there is somebody who could agree: a lone administrator has nobody to ask.
            let (asked_by, _) = persons(asker);
            let before: Policy = there.policy.parse().unwrap_or_default();
            let weaker = after.pools.get(pool).is_some_and(|after| after.is_weaker_than(&before));
            let holds_any = judged.savesets.iter().any(|saveset| saveset.pool == *pool);
            let lets_go = weaker || !simulation.expires.is_empty();
            if lets_go && holds_any && second_person::others(books, asked_by, &[])? {
                needs.push("it keeps less than the policy of now".to_owned());
            }
            let new = Pool {
                policy: policy.clone(),
                store: *store,
                drive: *drive,
                drive_group: drive_group.clone(),
                ..there.clone()
            };
            Ok(Weighed {
                changes: vec![LifeChange::Pool(new)],
                done: Done::default(),
                about: format!(
                    "give pool '{pool}' the policy '{policy}' in place of '{}', by which {} of {} \
                     savesets expire",
                    there.policy,
                    simulation.expires.len(),
                    judged.savesets.len()
                ),
                needs,
                act: Act::ChangePool {
                    pool: pool.clone(),
                    policy: policy.clone(),
                    store: *store,
                    drive: *drive,
                    drive_group: drive_group.clone(),
                    emptied: simulation.emptied,
                },
            })
        }
    }
}

/// Who asked for an act, and who approves it.
fn persons(asker: Asker<'_>) -> (&str, Option<Second<'_>>) {
    match asker {
        Asker::First(by) => (by, None),
        Asker::Second(approval, by) => {
            let second = Second { by, asked_unix_ms: approval.asked_unix_ms };
            (approval.asked_by.as_str(), Some(second))
        }
    }
}

fn of_people(act: &Act, weighed: WeighedChange) -> Weighed {
    Weighed {
        changes: vec![weighed.change],
        done: Done::default(),
        needs: weighed.needs,
        about: weighed.about,
        act: act.clone(),
    }
}

fn weigh_deletion(
    act: &Act,
    books: &LifeBooks,
    savesets: &[SavesetId],
    store: Option<StoreId>,
    why: &str,
    asker: Asker<'_>,
    now: i64,
) -> Result<Weighed, ServerError> {
    let judged = Judged::of(books, now)?;
    let decision = judged.verdicts()?;
    if let Some(doubt) = &decision.frozen {
        return Err(ServerError::Refused(format!(
            "nothing is deleted while the clock is in doubt: {doubt} ('simsim retention confirm-clock')"
        )));
    }
    let zone = judged.almanac.zone(None).map_err(zone_error)?;
    let (asked_by, approval) = match asker {
        Asker::First(by) => (by, None),
        Asker::Second(approval, _) => (approval.asked_by.as_str(), Some(approval.number)),
    };
    let (mut changes, mut done, mut needs) = (Vec::new(), Done::default(), Vec::new());
    for id in savesets {
        let mut places = judged.places(*id);
        places.retain(|at| {
            store.is_none_or(|store| judged.lives.get(*at).is_some_and(|life| life.store == store))
        });
        if places.is_empty() {
            return Err(not_there(books, *id, store));
        }
        for at in places {
            let (Some(life), Some(saveset), Some((_, verdict))) =
                (judged.lives.get(at), judged.savesets.get(at), decision.verdicts.get(at))
            else {
                continue;
            };
            if let Verdict::Keep { why, .. } = verdict {
                let kept = explain(saveset, verdict, &zone);
                if why.iter().any(|why| matches!(why, Why::LegalHold { .. } | Why::Lock { .. })) {
                    return Err(ServerError::Refused(format!(
                        "{kept} Nobody deletes it before that has ended"
                    )));
                }
                needs.push(kept);
            }
            changes.push(LifeChange::Delete(NewDeletion {
                saveset: *id,
                store: life.store,
                why: why.to_owned(),
                asked_by: asked_by.to_owned(),
                approval,
                copy_in: None,
            }));
            done.deletions.push((*id, life.store));
        }
    }
    needs.dedup();
    let more = needs.len().saturating_sub(NAMED_MAX);
    needs.truncate(NAMED_MAX);
    if more > 0 {
        needs.push(format!("and {more} more"));
    }
    let mut tasks: Vec<String> = Vec::new();
    for at in savesets.iter().flat_map(|id| judged.places(*id)) {
        let name = judged.lives.get(at).map(|life| label(life)).unwrap_or_default();
        if !tasks.contains(&name) {
            tasks.push(name);
        }
    }
    let about = format!("delete {} savesets of {} ({why})", savesets.len(), tasks.join(", "));
    Ok(Weighed { changes, done, needs, about, act: act.clone() })
}

fn not_there(books: &LifeBooks, id: SavesetId, store: Option<StoreId>) -> ServerError {
    let deleting = books.lives.iter().any(|life| {
        life.saveset.saveset == id
            && life.deletion.is_some()
            && store.is_none_or(|store| life.store == store)
    });
    match deleting {
        true => ServerError::Refused(format!("saveset {} is being deleted already", id.short())),
        false => ServerError::not_found("manifest of saveset", id),
    }
}
