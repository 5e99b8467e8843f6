//! What keeps a saveset and what ends it: why, keep, hold, lock, delete.

use jiff::{SignedDuration, Timestamp};
use simsim_catalog::{
    Catalog, Deletion, DeletionStage, Hold, LastCheck, Life, LifeBooks, LifeChange, Saveset,
    StoreNames,
};
use simsim_model::{SavesetId, StoreId};
use simsim_retention::{DAYS_MAX, Verdict, Why, explain, extend_lock};

use crate::api::{
    DeleteSavesetsRequest, DeletionView, HoldSavesetRequest, HoldView, KeepSavesetRequest,
    LifeView, LockSavesetRequest, SavesetLives, SavesetRequest, SavesetsDeleted,
};
use crate::clock::now_unix_ms;
use crate::retention::{
    Act, Came, Judged, carry_out, instant, label, perform, tell_locks_in, zone_error,
};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// The longest lock from now on: a hundred years.
const LOCK_DAYS_MAX: i64 = 36_525;
/// Savesets of one request.
const SAVESETS_MAX: usize = 1000;
/// Of the reason for a hold or a deletion.
const WHY_BYTES_MAX: usize = 1024;

impl Server {
    /// Everything that keeps a saveset and its copies, and when they go.
    pub async fn why_saveset(
        &self,
        who: &Principal,
        request: SavesetRequest,
    ) -> Result<SavesetLives, ServerError> {
        let saveset = self.house.saveset(&request.saveset, None).await?;
        let object = Object::saveset(&saveset);
        self.may_see(who, Right::View, "see a saveset of", object).await?;
        self.lives_of(&saveset).await
    }

    /// Gives a saveset an EOL of its own, later than what keeps it otherwise.
    pub async fn keep_saveset(
        &self,
        who: &Principal,
        request: KeepSavesetRequest,
    ) -> Result<SavesetLives, ServerError> {
        let saveset = self.house.saveset(&request.saveset, None).await?;
        let detail = match (request.until_unix_s, request.days) {
            (Some(until), None) => format!("until {}", instant(until.saturating_mul(1000))),
            (None, Some(days)) if (1..=DAYS_MAX).contains(&days) => format!("{days} days"),
            _ => {
                return Err(ServerError::invalid(format!(
                    "say until when, or for how many days from its stamp (1 to {DAYS_MAX})"
                )));
            }
        };
        let object = Object::saveset(&saveset);
        let detail = format!("saveset {}, {detail}", saveset.saveset);
        self.may_do(who, Right::Administer, "saveset.keep", object, detail).await?;
        let id = saveset.saveset;
        let decide = move |books: &LifeBooks| Ok(LifeChange::Eol(id, eol_of(books, id, &request)?));
        self.change_life(&saveset, decide).await
    }

    /// Puts a saveset under legal hold, or asks a second person to release it.
    pub async fn hold_saveset(
        &self,
        who: &Principal,
        request: HoldSavesetRequest,
    ) -> Result<SavesetLives, ServerError> {
        let saveset = self.house.saveset(&request.saveset, None).await?;
        let id = saveset.saveset;
        let object = Object::saveset(&saveset);
        let verb = "saveset.hold";
        if request.release {
            if request.why.is_some() {
                return Err(ServerError::invalid("a reason belongs to a hold, not to its release"));
            }
            let detail = format!("release saveset {id}");
            self.may_do(who, Right::Administer, verb, object, detail).await?;
            let came = perform(&self.house, who, Act::ReleaseHold { saveset: id }).await?;
            let mut lives = self.lives_of(&saveset).await?;
            if let Came::Asked(number) = came {
                lives.approval = Some(self.approval_view(number).await?);
            }
            return Ok(lives);
        }
        let why = request.why.unwrap_or_default();
        check_why(&why, "a hold")?;
        let detail = format!("saveset {id}: {why}");
        self.may_do(who, Right::Administer, verb, object, detail).await?;
        let by = who.name().to_owned();
        let decide = move |books: &LifeBooks| {
            let hold = Hold { by: by.clone(), why: why.clone(), since_unix_ms: now_unix_ms() };
            match stays(books, id)?.hold {
                Some(_) => Err(ServerError::invalid("it is under legal hold already")),
                None => Ok(LifeChange::Hold(id, hold)),
            }
        };
        self.change_life(&saveset, decide).await
    }

    /// Locks a saveset until an instant, later than its lock of now.
    pub async fn lock_saveset(
        &self,
        who: &Principal,
        request: LockSavesetRequest,
    ) -> Result<SavesetLives, ServerError> {
        let saveset = self.house.saveset(&request.saveset, None).await?;
        let id = saveset.saveset;
        let object = Object::saveset(&saveset);
        self.may_see(who, Right::Administer, "saveset.lock", object).await?;
        let until = lock_end(request.until_unix_s)?;
        let detail = format!("saveset {id} until {until}");
        self.may_do(who, Right::Administer, "saveset.lock", object, detail).await?;
        let wanted = request.until_unix_s;
        let decide = move |books: &LifeBooks| {
            let current = match stays(books, id)?.lock_until_unix_s {
                0 => None,
                until => Some(second(until)?),
            };
            let refused =
                |error: simsim_retention::LockError| ServerError::Refused(error.to_string());
            extend_lock(current, until).map_err(refused)?;
            Ok(LifeChange::Lock(id, wanted))
        };
        self.change_life(&saveset, decide).await?;
        simsim_model::failpoint::hit("server.lock_set");
        // Devices that are away are told later; the answer says which.
        for store in self.stores_of(id).await? {
            if let Err(error) = tell_locks_in(&self.house, store).await {
                let error = error.full_message();
                tracing::warn!(saveset = %id, %error, "a lock could not be told to a device");
            }
        }
        self.lives_of(&saveset).await
    }

    /// Datastores in which a saveset lies.
    async fn stores_of(&self, id: SavesetId) -> Result<Vec<StoreId>, ServerError> {
        let books = self.house.books.run(|catalog| catalog.life_books()).await?;
        let lives = books.lives.iter().filter(|life| life.saveset.saveset == id);
        Ok(lives.map(|life| life.store).collect())
    }

    /// Decides on a saveset in one transaction, and shows what keeps it now.
    async fn change_life(
        &self,
        saveset: &Saveset,
        mut decide: impl FnMut(&LifeBooks) -> Result<LifeChange, ServerError> + Send + 'static,
    ) -> Result<SavesetLives, ServerError> {
        let decide = move |books: &LifeBooks| match decide(books) {
            Ok(change) => (Ok(()), vec![change]),
            Err(error) => (Err(error), Vec::new()),
        };
        let changed = move |catalog: &Catalog| catalog.change_lives(now_unix_ms(), decide);
        let (done, _) = self.house.books.run(changed).await?;
        done?;
        self.lives_of(saveset).await
    }

    /// Deletes savesets. What is expired goes at once; anything else waits for a second person; what
    /// is locked or held does not go at all.
    pub async fn delete_savesets(
        &self,
        who: &Principal,
        request: DeleteSavesetsRequest,
    ) -> Result<SavesetsDeleted, ServerError> {
        if request.savesets.is_empty() || request.savesets.len() > SAVESETS_MAX {
            return Err(ServerError::invalid(format!("name 1 to {SAVESETS_MAX} savesets")));
        }
        check_why(&request.why, "a deletion")?;
        let store = match request.datastore {
            Some(name) => Some(self.house.datastore(Some(name)).await?.store),
            None => None,
        };
        let mut found: Vec<Saveset> = Vec::new();
        for id in &request.savesets {
            let saveset = self.house.saveset(id, None).await?;
            let object = Object::saveset(&saveset);
            self.may_see(who, Right::Delete, "saveset.delete", object).await?;
            if !found.iter().any(|one| one.saveset == saveset.saveset) {
                found.push(saveset);
            }
        }
        for saveset in &found {
            let object = Object::saveset(saveset);
            let detail = format!("saveset {}: {}", saveset.saveset, request.why);
            self.may_do(who, Right::Delete, "saveset.delete", object, detail).await?;
        }
        let savesets: Vec<SavesetId> = found.iter().map(|one| one.saveset).collect();
        let act = Act::DeleteSavesets { savesets: savesets.clone(), store, why: request.why };
        let mut reply = SavesetsDeleted {
            savesets,
            deleted: 0,
            waiting: 0,
            trouble: Vec::new(),
            approval: None,
        };
        let done = match perform(&self.house, who, act).await? {
            Came::Asked(number) => {
                reply.approval = Some(self.approval_view(number).await?);
                return Ok(reply);
            }
            Came::Done(done) => done,
        };
        let mut stores: Vec<StoreId> = done.deletions.iter().map(|(_, store)| *store).collect();
        stores.sort_unstable();
        stores.dedup();
        for store in stores {
            match carry_out(&self.house, store).await {
                Ok(carried) => reply.trouble.extend(carried.trouble),
                Err(error) => reply.trouble.push(error.full_message()),
            }
        }
        let deletions = self.house.books.run(|catalog| catalog.deletions()).await?;
        for place in done.deletions {
            let one = deletions.iter().find(|one| (one.saveset, one.store) == place);
            match one.map(Deletion::stage) {
                Some(DeletionStage::Done) => reply.deleted += 1,
                Some(_) => reply.waiting += 1,
                None => {}
            }
        }
        Ok(reply)
    }

    async fn lives_of(&self, saveset: &Saveset) -> Result<SavesetLives, ServerError> {
        let id = saveset.saveset;
        let (books, deletions, names) = self
            .house
            .books
            .run(move |catalog| {
                let names = catalog.datastore_names()?;
                Ok((catalog.life_books()?, catalog.deletions_of(id)?, names))
            })
            .await?;
        let judged = Judged::of(&books, now_unix_ms())?;
        let decision = judged.verdicts()?;
        let zone = judged.almanac.zone(None).map_err(zone_error)?;
        let mut lives = Vec::new();
        for at in judged.places(id) {
            let (Some(life), Some(one), Some((_, verdict))) =
                (judged.lives.get(at), judged.savesets.get(at), decision.verdicts.get(at))
            else {
                continue;
            };
            let (state, until) = match verdict {
                Verdict::Keep { until, .. } => ("kept", until.map(|at| at.as_millisecond())),
                Verdict::Expire { .. } => ("expired", None),
            };
            let mut view = life_view(life, &names);
            view.state = state.to_owned();
            view.until_unix_ms = until;
            view.explained = explain(one, verdict, &zone);
            if let Some(more) = who_holds(life) {
                view.explained = format!("{} {more}", view.explained);
            }
            lives.push(view);
        }
        for life in books.lives.iter().filter(|life| life.saveset.saveset == id) {
            if let Some(deletion) = &life.deletion {
                let mut view = life_view(life, &names);
                view.explained = format!("It is being deleted: {}.", deletion.why);
                view.deletion = Some(deletion_view(deletion));
                lives.push(view);
            }
        }
        for deletion in deletions.iter().filter(|one| one.stage() == DeletionStage::Done) {
            lives.push(gone_view(saveset, deletion, &names));
        }
        Ok(SavesetLives { saveset: id, lives, approval: None })
    }
}

/// Which of a lock and a hold the device keeps by itself.
fn who_holds(life: &Life) -> Option<String> {
    let now = u64::try_from(now_unix_ms().div_euclid(1000)).unwrap_or(0);
    let lock = (life.lock_until_unix_s > now).then(|| {
        match life.held_until_unix_s >= life.lock_until_unix_s {
            true => "Its device holds that lock by itself, whatever this server says.".to_owned(),
            false => format!(
                "Its device does not hold that lock yet: {}.",
                life.lock_trouble.as_deref().unwrap_or("it is told as soon as it is reached")
            ),
        }
    });
    let hold = life.hold.as_ref().map(|_| "A hold is kept by this server alone.".to_owned());
    let both: Vec<String> = hold.into_iter().chain(lock).collect();
    (!both.is_empty()).then(|| both.join(" "))
}

/// The own EOL that was asked for, if nothing lives shorter by it.
fn eol_of(
    books: &LifeBooks,
    id: SavesetId,
    request: &KeepSavesetRequest,
) -> Result<i64, ServerError> {
    let life = stays(books, id)?;
    let eol = match (request.until_unix_s, request.days) {
        (Some(until), _) => Timestamp::from_second(until)
            .map_err(|_| ServerError::invalid("that instant is beyond the calendar"))?,
        (None, days) => {
            let days = SignedDuration::from_hours(24 * i64::from(days.unwrap_or(0)));
            let stamped = instant(life.stamped_unix_ms);
            stamped.checked_add(days).unwrap_or(Timestamp::MAX)
        }
    };
    let judged = Judged::of(books, now_unix_ms())?;
    let before = judged.verdicts()?;
    let zone = judged.almanac.zone(None).map_err(zone_error)?;
    for at in judged.places(id) {
        let own_life = judged.lives.get(at).is_some_and(|life| life.own_life);
        let after = judged.verdict_with(at, |saveset| {
            // The EOL of a copy stays where it is the later one.
            let own = saveset.eol.filter(|_| own_life);
            saveset.eol = own.max(Some(eol));
        })?;
        let (Some((_, before)), Some(after)) = (before.verdicts.get(at), after) else { continue };
        if is_shorter(before, &after) {
            let kept = judged.savesets.get(at).map(|one| explain(one, before, &zone));
            return Err(ServerError::Refused(format!(
                "an EOL of {} would let it go earlier than now: {} To delete it before, 'simsim saveset \
                 delete' asks a second person",
                zone.show(eol),
                kept.unwrap_or_default()
            )));
        }
    }
    Ok(eol.as_second())
}

/// Does an EOL take a reason away, or shorten one? That it is the newest of its task now is none that
/// lasts, and rules do not look at an EOL.
fn is_shorter(before: &Verdict, after: &Verdict) -> bool {
    let (before, after) = match (before, after) {
        (Verdict::Expire { .. }, _) => return false,
        (Verdict::Keep { .. }, Verdict::Expire { .. }) => return true,
        (Verdict::Keep { why: before, .. }, Verdict::Keep { why: after, .. }) => (before, after),
    };
    before.iter().any(|why| match why {
        Why::Forever | Why::NoPolicy | Why::NothingNewer => !after.contains(why),
        Why::Eol { until: before, .. } => {
            !after.iter().any(|why| matches!(why, Why::Eol { until, .. } if until >= before))
        }
        Why::LegalHold { .. }
        | Why::Lock { .. }
        | Why::Rule { .. }
        | Why::WhenWhole { .. }
        | Why::NewestOfTask
        | Why::ClockInDoubt => false,
    })
}

/// One of a saveset's lives that is not past keeping: not deleted, and no device was told to.
fn stays(books: &LifeBooks, id: SavesetId) -> Result<&Life, ServerError> {
    let mut lives = books.lives.iter().filter(|life| life.saveset.saveset == id).peekable();
    if lives.peek().is_none() {
        return Err(ServerError::not_found("manifest of saveset", id));
    }
    let told = |life: &&Life| {
        life.deletion.as_ref().is_some_and(|deletion| deletion.stage() == DeletionStage::Told)
    };
    lives.find(|life| !told(life)).ok_or_else(|| {
        ServerError::Refused(format!(
            "saveset {} is being deleted: its device was told, and nobody can take that back",
            id.short()
        ))
    })
}

fn second(unix_s: u64) -> Result<Timestamp, ServerError> {
    let at = i64::try_from(unix_s).ok().and_then(|at| Timestamp::from_second(at).ok());
    at.ok_or_else(|| ServerError::invalid("that instant is beyond the calendar"))
}

/// When a lock may end: later than now, and not so late that a slip of the pen lasts for ever.
fn lock_end(unix_s: u64) -> Result<Timestamp, ServerError> {
    let until = second(unix_s)?;
    let now = instant(now_unix_ms());
    if until <= now {
        return Err(ServerError::invalid(format!(
            "a lock ends in the future, and {until} has passed: nothing was locked"
        )));
    }
    let days = SignedDuration::from_hours(24 * LOCK_DAYS_MAX);
    let latest = now.checked_add(days).unwrap_or(Timestamp::MAX);
    if until > latest {
        return Err(ServerError::invalid(format!(
            "nobody can end a lock before its time, so it lasts 100 years ({LOCK_DAYS_MAX} days) at most: until \
             {latest}, and not until {until}"
        )));
    }
    Ok(until)
}

fn check_why(why: &str, what: &str) -> Result<(), ServerError> {
    match why.trim().is_empty() || why.len() > WHY_BYTES_MAX {
        false => Ok(()),
        true => Err(ServerError::invalid(format!(
            "{what} needs a reason that others will read, of at most {WHY_BYTES_MAX} bytes"
        ))),
    }
}

fn store_name(store: StoreId, names: &StoreNames) -> String {
    names.get(&store).cloned().unwrap_or_else(|| store.to_string())
}

fn life_view(life: &Life, names: &StoreNames) -> LifeView {
    LifeView {
        datastore: store_name(life.store, names),
        is_copy: !life.is_original(),
        task: label(life),
        pool: life.pool.clone(),
        state: "deleting".to_owned(),
        stamped_unix_ms: life.stamped_unix_ms,
        number: life.number,
        made_for: life.made_for.as_str().to_owned(),
        eol_unix_s: life.eol_unix_s,
        lock_until_unix_s: life.lock_until_unix_s,
        held_until_unix_s: life.held_until_unix_s,
        lock_trouble: life.lock_trouble.clone(),
        hold: life.hold.as_ref().map(|hold| HoldView {
            by: hold.by.clone(),
            why: hold.why.clone(),
            since_unix_ms: hold.since_unix_ms,
        }),
        check: match life.check {
            LastCheck::NotYet => "not-yet",
            LastCheck::Whole => "whole",
            LastCheck::Damaged => "damaged",
        }
        .to_owned(),
        checked_unix_ms: life.checked_unix_ms,
        until_unix_ms: None,
        explained: String::new(),
        deletion: None,
    }
}

/// What is left of one that is gone: its row, and who ended it.
fn gone_view(saveset: &Saveset, deletion: &Deletion, names: &StoreNames) -> LifeView {
    LifeView {
        datastore: store_name(deletion.store, names),
        is_copy: deletion.store != saveset.store,
        task: format!("{}:{}", saveset.client_name, saveset.task_name),
        pool: String::new(),
        state: "deleted".to_owned(),
        stamped_unix_ms: saveset.committed_unix_ns.div_euclid(1_000_000),
        number: 0,
        made_for: String::new(),
        eol_unix_s: None,
        lock_until_unix_s: 0,
        held_until_unix_s: 0,
        lock_trouble: None,
        hold: None,
        check: "not-yet".to_owned(),
        checked_unix_ms: None,
        until_unix_ms: None,
        explained: format!("It was deleted ({}), as {} asked.", deletion.why, deletion.asked_by),
        deletion: Some(deletion_view(deletion)),
    }
}

fn deletion_view(deletion: &Deletion) -> DeletionView {
    DeletionView {
        why: deletion.why.clone(),
        asked_by: deletion.asked_by.clone(),
        approval: deletion.approval,
        decided_unix_ms: deletion.decided_unix_ms,
        told_unix_ms: deletion.told_unix_ms,
        done_unix_ms: deletion.done_unix_ms,
        trouble: deletion.trouble.clone(),
    }
}
