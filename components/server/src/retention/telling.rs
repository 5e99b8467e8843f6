//! Devices are told what was decided, and what they answer is written down.
//!
//! A device is told the same again until it has answered: what is gone is answered as gone. Only what
//! it was never told, or said that it kept, can still be taken back. One telling at a time: an answer
//! must not be taken for that of another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use simsim_catalog::{AuditEntry, Datastore, DatastoreState, LifeBooks, LifeChange, Told};
use simsim_control::verbs::{DELETE_SAVESETS_MAX, DeleteSavesets};
use simsim_model::{Kind, SavesetId, StoreId};

use super::clock::keep_known;
use super::judge::Judged;
use super::let_go::stays;
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::DEVICE_PATIENCE;
use crate::rights::Object;

/// Who tells the device of a datastore now.
static TELLING: Mutex<BTreeMap<StoreId, Arc<tokio::sync::Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// What came of telling devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub gone: Vec<SavesetId>,
    /// A hold or a lock came in between, or the device knows of a lock.
    pub taken_back: Vec<SavesetId>,
    /// Read by a job, or by somebody at the device: told again later.
    pub waiting: u64,
    pub trouble: Vec<String>,
}

impl Carried {
    fn add(&mut self, other: Carried) {
        self.gone.extend(other.gone);
        self.taken_back.extend(other.taken_back);
        self.waiting += other.waiting;
        self.trouble.extend(other.trouble);
    }
}

/// Tells every device what is to be deleted there. One that is away is told when it is back.
pub(crate) async fn carry_out_all(house: &House) -> Result<Carried, ServerError> {
    let mut all = Carried::default();
    for store in house.books.run(|catalog| catalog.stores_with_deletions()).await? {
        match carry_out(house, store).await {
            Ok(carried) => all.add(carried),
            Err(error) => all.trouble.push(error.full_message()),
        }
    }
    Ok(all)
}

/// Tells the device of one datastore.
pub(crate) async fn carry_out(house: &House, store: StoreId) -> Result<Carried, ServerError> {
    let turn = Arc::clone(TELLING.lock().entry(store).or_default());
    let _one = turn.lock().await;
    let pending = house.books.run(|catalog| catalog.stores_with_deletions()).await?;
    if !pending.contains(&store) {
        return Ok(Carried::default());
    }
    let datastore = house.books.run(move |catalog| catalog.datastore_with_id(store)).await?;
    if datastore.state != DatastoreState::Active {
        return Err(ServerError::Refused(format!(
            "datastore '{}' is out of service: what is to be deleted there waits until it is attached",
            datastore.name
        )));
    }
    // Before anything counts as told.
    let line = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
    let mut carried = Carried { taken_back: take_back(house, store).await?, ..Carried::default() };
    loop {
        let frozen = keep_known(house).await?.is_some();
        let telling = house
            .books
            .run(move |catalog| {
                catalog.tell_deletions(store, DELETE_SAVESETS_MAX, frozen, now_unix_ms())
            })
            .await?;
        for saveset in &telling.taken_back {
            tracing::info!(%saveset, "its deletion was taken back: a hold or a lock came in between");
        }
        carried.taken_back.extend(&telling.taken_back);
        carried.waiting = telling.waiting;
        if telling.savesets.is_empty() {
            return Ok(carried);
        }
        simsim_model::failpoint::hit("server.deletions_told");
        let asked_unix_s = u64::try_from(now_unix_ms().div_euclid(1000)).unwrap_or(0);
        let savesets = telling.savesets.clone();
        let full = savesets.len() >= DELETE_SAVESETS_MAX;
        let told = line.call_slow(DeleteSavesets { store, savesets, asked_unix_s }).await;
        let answers = match told {
            Ok(reply) => answers(&telling.savesets, reply),
            // It did nothing: a device of an older version, which does not know the verb.
            Err(error) if error.kind() == Kind::Invalid => {
                let why = error.full_message();
                carried.trouble.push(why.clone());
                telling.savesets.iter().map(|one| (*one, Told::Busy(why.clone()))).collect()
            }
            // How far it came is not known: it is told again.
            Err(error) => return Err(error),
        };
        simsim_model::failpoint::hit("server.deletions_answered");
        let gone = note(&datastore, &answers, &mut carried);
        write_down_refusals(house, &datastore, &answers).await?;
        house
            .books
            .run(move |catalog| catalog.end_deletions(store, &answers, now_unix_ms()))
            .await?;
        if !full || gone == 0 {
            return Ok(carried);
        }
    }
}

/// A device may have been away for long: what a policy, an EOL or a check keeps by now is taken back. What two
/// persons decided stands, and while the clock is in doubt nothing is told anyway.
async fn take_back(house: &House, store: StoreId) -> Result<Vec<SavesetId>, ServerError> {
    let decide = move |books: &LifeBooks| {
        let kept = || -> Result<Vec<SavesetId>, ServerError> {
            let judged = Judged::anew(books, now_unix_ms())?;
            let decision = judged.verdicts()?;
            if decision.frozen.is_some() {
                return Ok(Vec::new());
            }
            let verdicts = judged.lives.iter().zip(&decision.verdicts).enumerate();
            let kept = verdicts.filter(|(at, (life, (_, verdict)))| {
                let alone = life.deletion.as_ref().filter(|one| one.approval.is_none());
                life.store == store
                    && alone.is_some_and(|one| match one.copy_in {
                        // What it was moved by must still be there, and as good as it was.
                        Some(target) => stays(&judged, &decision, *at, target).is_some(),
                        None => verdict.is_kept(),
                    })
            });
            Ok(kept.map(|(_, (life, _))| life.saveset.saveset).collect())
        };
        match kept() {
            Ok(kept) => {
                let changes = kept.iter().map(|one| LifeChange::TakeBack(*one, store)).collect();
                (Ok(kept), changes)
            }
            Err(error) => (Err(error), Vec::new()),
        }
    };
    let now = now_unix_ms();
    let (kept, _) = house.books.run(move |catalog| catalog.change_lives(now, decide)).await?;
    kept
}

/// What the device said of each saveset that it was told. What it says of others counts for nothing,
/// and what it does not mention is still to be told.
fn answers(
    told: &[SavesetId],
    reply: simsim_control::verbs::DeleteSavesetsReply,
) -> Vec<(SavesetId, Told)> {
    let mut answers = Vec::new();
    for saveset in told {
        if reply.gone.contains(saveset) {
            answers.push((*saveset, Told::Gone));
        } else if let Some(kept) = reply.kept.iter().find(|kept| kept.saveset == *saveset) {
            let told = match kept.kind {
                Kind::Denied => Told::Refused(kept.message.clone()),
                _ => Told::Busy(kept.message.clone()),
            };
            answers.push((*saveset, told));
        }
    }
    answers
}

/// A device that refuses knows something that this catalog does not: in the audit log it stays.
async fn write_down_refusals(
    house: &House,
    datastore: &Datastore,
    answers: &[(SavesetId, Told)],
) -> Result<(), ServerError> {
    for (saveset, told) in answers {
        let Told::Refused(why) = told else { continue };
        let entry = AuditEntry {
            principal: "server".to_owned(),
            verb: "saveset.delete".to_owned(),
            object: Object::Datastore(&datastore.name).to_string(),
            allowed: false,
            detail: format!("saveset {saveset}: its device refuses: {why}"),
        };
        house.books.audit(entry).await?;
    }
    Ok(())
}

/// Counts the answers and logs what a person should know; how many are gone.
fn note(datastore: &Datastore, answers: &[(SavesetId, Told)], carried: &mut Carried) -> usize {
    let before = carried.gone.len();
    for (saveset, told) in answers {
        match told {
            Told::Gone => {
                tracing::info!(%saveset, datastore = %datastore.name, "saveset deleted");
                carried.gone.push(*saveset);
            }
            Told::Busy(why) => {
                tracing::info!(%saveset, datastore = %datastore.name, why, "saveset not deleted yet");
                carried.waiting += 1;
            }
            Told::Refused(why) => {
                tracing::warn!(%saveset, datastore = %datastore.name, why, "the device keeps it");
                carried.taken_back.push(*saveset);
                carried.trouble.push(format!("datastore '{}': {why}", datastore.name));
            }
        }
    }
    carried.gone.len() - before
}
