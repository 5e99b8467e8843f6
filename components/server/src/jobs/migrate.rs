//! A migration: copy, prove the copies, let originals go.
//!
//! ```text
//! how long the copies are to live ─► copies at the target ─► rows of the copies ─► each is checked, and the finding
//! written down ─► one transaction decides on originals, from rows alone ─► their device is told
//! ```
//! Each arrow is durable before the next one begins, and each step finds by itself what is left of it to do.
//! So a job that was cut off at any point is run again from its beginning, by the next start of the server or by the
//! next run of the migration, and nothing that it remembered is missed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use simsim_catalog::{
    Catalog, CopyCheck, Job, JobKind, JobStart, JobState, LastCheck, Life, LifeBooks, Migration,
    NewJob, Replication, SavesetCopy, Severity, Waiting,
};
use simsim_control::verbs::{DomainKey, JobResult, PROVE_SAVESETS_MAX, ProveSavesets};
use simsim_format::random_bytes;
use simsim_model::failpoint;
use simsim_model::{DomainId, Outcome, SavesetId};

use super::long_call::{CallEnd, see_through};
use super::replicate::{Meant, Way, copy, is_about, listed, wait_for};
use super::running::Running;
use super::wish::{MigrateWish, Wish};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::retention::{carry_out, let_go};

const DAY_MS: i64 = 86_400_000;

/// What a migration is about, of one moment.
pub(crate) struct Candidates {
    /// What lies in the source and fits, in the order of the backups.
    pub savesets: Vec<(SavesetId, DomainId)>,
    /// Those of them that have no copy in the target.
    pub missing: HashSet<SavesetId>,
    /// Of those that have one: no check has proven it.
    pub unproven: HashSet<SavesetId>,
}

impl Candidates {
    pub(crate) fn of(
        books: &LifeBooks,
        migration: &Migration,
        relation: &Replication,
        gone_at_target: &HashSet<SavesetId>,
        now_unix_ms: i64,
    ) -> Self {
        let at_target: HashMap<SavesetId, &Life> = books
            .lives
            .iter()
            .filter(|life| life.store == relation.target)
            .map(|life| (life.saveset.saveset, life))
            .collect();
        let mut found =
            Self { savesets: Vec::new(), missing: HashSet::new(), unproven: HashSet::new() };
        for life in books.lives.iter().filter(|life| life.store == relation.source) {
            let id = life.saveset.saveset;
            let there = at_target.get(&id);
            // What was deleted in the target does not come there again by itself.
            let stays_away = there.is_none() && gone_at_target.contains(&id)
                || there.is_some_and(|copy| copy.deletion.is_some());
            if stays_away || !fits(life, migration, relation, now_unix_ms) {
                continue;
            }
            found.savesets.push((id, life.saveset.domain));
            match there {
                None => {
                    found.missing.insert(id);
                }
                Some(copy) if copy.check != LastCheck::Whole => {
                    found.unproven.insert(id);
                }
                Some(_) => {}
            }
        }
        found
    }
}

/// Is a saveset of the source one that the migration moves?
pub(crate) fn fits(life: &Life, migration: &Migration, relation: &Replication, now: i64) -> bool {
    let age = i64::from(migration.older_than_days) * DAY_MS;
    life.deletion.is_none()
        && is_about(relation, &life.saveset)
        && migration.is_about(&life.saveset)
        && migration.from_pool.as_ref().is_none_or(|pool| *pool == life.pool)
        && (age == 0 || life.stamped_unix_ms <= now.saturating_sub(age))
}

/// The job of a migration.
pub(crate) fn migration_job(
    catalog: &Catalog,
    name: &str,
    requested_by: String,
    waiting: Waiting,
) -> Result<NewJob, ServerError> {
    let migration = catalog.migration(name)?;
    let relation = catalog.replication(&migration.replication)?;
    let wish = Wish::Migrate(MigrateWish { migration: migration.name.clone() });
    Ok(NewJob {
        kind: JobKind::Migrate,
        task: None,
        task_name: migration.name,
        client: catalog.datastore_with_id(relation.dialler())?.device,
        store: relation.dialled(),
        domain: None,
        drive: Some(relation.drive),
        level: None,
        saveset: None,
        pool: None,
        request: wish.to_text()?,
        requested_by,
        waiting,
    })
}

pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &MigrateWish,
    running: &Arc<Running>,
) -> CallEnd {
    match stages(house, job, wish, running).await {
        Ok(end) => end,
        Err(error) => CallEnd::Refused(error),
    }
}

/// After a restart of the server: what a device still does for the job is waited for, then the job is done from its
/// beginning, which finds most of it done.
pub(crate) async fn go_on(
    house: &House,
    job: &Job,
    wish: &MigrateWish,
    running: &Arc<Running>,
) -> CallEnd {
    let name = wish.migration.clone();
    let relation = house
        .books
        .run(move |catalog| catalog.replication(&catalog.migration(&name)?.replication))
        .await;
    let devices = match relation {
        Ok(relation) => {
            let stores = [relation.dialler(), relation.target];
            let devices = house.books.run(move |catalog| {
                stores.iter().map(|store| Ok(catalog.datastore_with_id(*store)?.device)).collect()
            });
            devices.await
        }
        Err(error) => Err(error),
    };
    let devices: Vec<simsim_catalog::ClientId> = match devices {
        Ok(devices) => devices,
        Err(error) => return CallEnd::Refused(error),
    };
    match wait_for(house, running, &devices).await {
        Some(end) => end,
        None => run(house, job, wish, running).await,
    }
}

async fn stages(
    house: &House,
    job: &Job,
    wish: &MigrateWish,
    running: &Arc<Running>,
) -> Result<CallEnd, ServerError> {
    let name = wish.migration.clone();
    let migration = house.books.run(move |catalog| catalog.migration(&name)).await?;
    let way = Way::of(house, &migration.replication, None).await?;
    // What the target has and the catalog does not know yet is not sent again, and is not forgotten.
    listed(house, &way).await?;
    let found = candidates(house, &migration, &way.relation).await?;
    let ids: Vec<SavesetId> = found.savesets.iter().map(|(id, _)| *id).collect();
    let (planned, store) = (migration.clone(), way.target.store);
    house.books.run(move |catalog| catalog.plan_copies(&planned, store, &ids)).await?;
    failpoint::hit("server.migration_planned");

    let mut meant = Meant::new();
    for (id, domain) in found.savesets.iter().filter(|(id, _)| found.missing.contains(id)) {
        meant.entry(*domain).or_default().push(*id);
    }
    let mut result = if meant.is_empty() {
        begin(house, job, running).await?;
        nothing_copied(running)
    } else {
        let end = copy(house, job, &way, meant, running).await;
        // Whatever became of it: what has arrived is listed.
        let rows = listed(house, &way).await;
        match end {
            CallEnd::Told(result) if is_done(result.outcome) => {
                rows?;
                *result
            }
            end => return Ok(end),
        }
    };
    failpoint::hit("server.migration_copied");
    if running.cancel.is_cancelled() {
        return Ok(cancelled());
    }

    let found = candidates(house, &migration, &way.relation).await?;
    if let Some(end) = prove(house, job, &way, &found, running, &mut result).await? {
        return Ok(end);
    }
    if migration.keep_originals {
        return Ok(CallEnd::Told(Box::new(result)));
    }
    if running.cancel.is_cancelled() {
        return Ok(cancelled());
    }
    let gone = let_go(house, &migration, &way.relation, &job.requested_by).await?;
    failpoint::hit("server.migration_decided");
    for line in gone.stay {
        running.log(Severity::Info, line).await;
    }
    if let Some(doubt) = gone.frozen {
        running.log(Severity::Warning, format!("no original is let go: {doubt}")).await;
    }
    match carry_out(house, way.source.store).await {
        Ok(carried) => {
            let line = format!(
                "{} originals are let go; {} savesets were deleted in '{}', {} wait",
                gone.decided,
                carried.gone.len(),
                way.source.name,
                carried.waiting
            );
            running.log(Severity::Info, line).await;
            for trouble in carried.trouble {
                running.log(Severity::Warning, trouble).await;
            }
        }
        // Decided is decided: the device is told when it is reached again.
        Err(error) => {
            let line = format!(
                "{} originals are let go as soon as the device of '{}' is reached again ({})",
                gone.decided,
                way.source.name,
                error.full_message()
            );
            running.log(Severity::Warning, line).await;
        }
    }
    Ok(CallEnd::Told(Box::new(result)))
}

async fn candidates(
    house: &House,
    migration: &Migration,
    relation: &Replication,
) -> Result<Candidates, ServerError> {
    let (migration, relation) = (migration.clone(), relation.clone());
    house
        .books
        .run(move |catalog| {
            let gone = catalog.deleted_in(relation.target)?.into_iter().collect();
            let books = catalog.life_books()?;
            Ok(Candidates::of(&books, &migration, &relation, &gone, now_unix_ms()))
        })
        .await
}

/// Checks every copy that no check has proven, some at a time, and writes down what was found of each.
async fn prove(
    house: &House,
    job: &Job,
    way: &Way,
    found: &Candidates,
    running: &Arc<Running>,
    result: &mut JobResult,
) -> Result<Option<CallEnd>, ServerError> {
    let target = way.target.store;
    let keys = keys_for(house, way, found, running).await?;
    let unproven: Vec<SavesetId> =
        found.savesets.iter().map(|(id, _)| *id).filter(|id| found.unproven.contains(id)).collect();
    for some in unproven.chunks(PROVE_SAVESETS_MAX) {
        // Which copies these are is known before the check begins, and not asked again.
        let ids: HashSet<SavesetId> = some.iter().copied().collect();
        let copies: Vec<SavesetCopy> = house
            .books
            .run(move |catalog| {
                let mut copies = catalog.copies()?;
                copies.retain(|copy| copy.store == target && ids.contains(&copy.saveset));
                Ok(copies)
            })
            .await?;
        let asked = u64::from_le_bytes(random_bytes()?);
        let verb = ProveSavesets {
            store: target,
            job: job.number,
            asked,
            savesets: copies.iter().map(|copy| copy.saveset).collect(),
            domain_keys: keys.clone(),
        };
        let device = way.target.device;
        let end = see_through(&house.nodes, running, device, Some(verb), house.silence_max).await;
        let told = match end {
            CallEnd::Told(told) if is_done(told.outcome) => told,
            end => return Ok(Some(end)),
        };
        let Some(proven) = told.proven.filter(|proven| proven.asked == asked) else {
            return Err(ServerError::Lost(format!(
                "the device of '{}' lost the check of the copies; run the migration again",
                way.target.name
            )));
        };
        let whole: HashSet<SavesetId> = proven.whole.into_iter().collect();
        let checks: Vec<CopyCheck> = copies
            .iter()
            .map(|copy| CopyCheck {
                saveset: copy.saveset,
                copy: copy.number,
                whole: whole.contains(&copy.saveset),
            })
            .collect();
        let damaged = checks.iter().filter(|check| !check.whole).count();
        let number = job.number;
        house
            .books
            .run(move |catalog| catalog.keep_copy_checks(target, number, &checks, now_unix_ms()))
            .await?;
        failpoint::hit("server.migration_proven");
        let line = format!(
            "{} copies in '{}' were checked, {damaged} are damaged",
            copies.len(),
            way.target.name
        );
        running.log(Severity::Info, line).await;
        if damaged > 0 {
            result.outcome = Outcome::FinishedWithErrors;
            result.problems_total += told.problems_total;
            result.problems.extend(told.problems);
        }
        if running.cancel.is_cancelled() {
            return Ok(Some(cancelled()));
        }
    }
    Ok(None)
}

/// Keys leave this host for no check: the device of another host holds ciphertext against its checksums.
async fn keys_for(
    house: &House,
    way: &Way,
    found: &Candidates,
    running: &Arc<Running>,
) -> Result<Vec<DomainKey>, ServerError> {
    if found.unproven.is_empty() {
        return Ok(Vec::new());
    }
    if way.target.device != house.nodes.own() {
        let line = "the copies are on another host, whose device is not given keys: their \
                    ciphertext is checked, the names of their plaintext are not";
        running.log(Severity::Info, line).await;
        return Ok(Vec::new());
    }
    let domains: HashSet<DomainId> = found
        .savesets
        .iter()
        .filter(|(id, _)| found.unproven.contains(id))
        .map(|(_, domain)| *domain)
        .collect();
    let mut keys = Vec::new();
    for domain in domains {
        let row = house.books.run(move |catalog| catalog.domain(domain)).await?;
        if let Some(key) = house.domain_keys.open(&row)? {
            keys.push(DomainKey { domain, key });
        }
    }
    Ok(keys)
}

async fn begin(house: &House, job: &Job, running: &Arc<Running>) -> Result<(), ServerError> {
    if job.state != JobState::Queued {
        return Ok(());
    }
    let start = JobStart {
        drive: Some(running.drive),
        transfer: None,
        domain: None,
        saveset: None,
        level: None,
    };
    let number = job.number;
    house.books.run(move |catalog| catalog.start_job(number, &start, now_unix_ms())).await?;
    running.tell_state(JobState::Running);
    Ok(())
}

fn is_done(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Finished | Outcome::FinishedWithErrors)
}

fn cancelled() -> CallEnd {
    CallEnd::Refused(ServerError::Refused(
        "cancelled; what was copied stays, and the next run goes on with it".to_owned(),
    ))
}

fn nothing_copied(running: &Running) -> JobResult {
    JobResult {
        outcome: Outcome::Finished,
        error: None,
        snapshot: running.progress(),
        problems: Vec::new(),
        problems_total: 0,
        commit: None,
        started_unix_ns: 0,
        finished_unix_ns: 0,
        checked: None,
        drilled: None,
        proven: None,
    }
}
