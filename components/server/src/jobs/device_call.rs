//! Jobs that a device does alone: checking a datastore, making its index again, collecting garbage.

use std::sync::Arc;

use simsim_catalog::{
    AuditEntry, Catalog, CatalogError, Job, JobFilter, JobKind, JobStart, JobState, KeyHolder,
    NewJob, Severity, Waiting,
};
use simsim_control::verbs::{
    CollectGarbage, DomainKey, RebuildIndex, ScrubDatastore, VerifyDatastore, VerifyMode,
};
use simsim_model::StoreId;

use super::long_call::{CallEnd, see_through};
use super::running::Running;
use super::wish::{CollectWish, HealWish, ScrubWish, VerifyWish, Wish};
use crate::ServerError;
use crate::api::VerifyDepth;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::retention::{carry_out_all, decide_all};
use crate::rights::Object;

/// Checks a datastore, or one saveset of it.
pub(crate) async fn verify(
    house: &House,
    job: &Job,
    wish: &VerifyWish,
    running: &Arc<Running>,
) -> CallEnd {
    let prepared = async {
        begin(house, job, running).await?;
        let domain_keys = match wish.depth {
            // A saveset's own tree cannot be followed without its key, however deep one looks.
            VerifyDepth::Structure if job.saveset.is_none() => Vec::new(),
            _ if job.client == house.nodes.own() || wish.keys_to_device => {
                keys_of(house, job, running).await?
            }
            _ => {
                let line = "the device is on another host and is not given keys: the ciphertext \
                            is checked, the names are not";
                running.log(Severity::Info, line).await;
                Vec::new()
            }
        };
        Ok::<_, ServerError>(VerifyDatastore {
            store: job.store,
            job: job.number,
            mode: match wish.depth {
                VerifyDepth::Structure => VerifyMode::Structure,
                VerifyDepth::Bytes => VerifyMode::Bytes,
            },
            domain_keys,
            saveset: job.saveset,
            mend: false,
        })
    };
    match prepared.await {
        Ok(verb) => {
            let silence_max = house.silence_max;
            see_through(&house.nodes, running, job.client, Some(verb), silence_max).await
        }
        Err(error) => CallEnd::Refused(error),
    }
}

/// Checks of a datastore what was checked longest ago. What it finds is healed by each replication that knows the
/// datastore: such a job is queued.
pub(crate) async fn scrub(
    house: &House,
    job: &Job,
    wish: &ScrubWish,
    running: &Arc<Running>,
) -> CallEnd {
    if let Err(error) = begin(house, job, running).await {
        return CallEnd::Refused(error);
    }
    let verb = ScrubDatastore {
        store: job.store,
        job: job.number,
        bytes_max: wish.budget.bytes_max.unwrap_or(0),
        seconds_max: u64::from(wish.budget.minutes_max.unwrap_or(0)) * 60,
    };
    let end = see_through(&house.nodes, running, job.client, Some(verb), house.silence_max).await;
    after_scrub(house, job, running, &end).await;
    end
}

/// What was found damaged is healed by each replication that knows the datastore: such a job is queued.
pub(crate) async fn after_scrub(house: &House, job: &Job, running: &Arc<Running>, end: &CallEnd) {
    let damaged = match end {
        CallEnd::Told(result) => result.checked.is_some_and(|checked| checked.damaged > 0),
        _ => false,
    };
    if damaged {
        let (store, by) = (job.store, job.requested_by.clone());
        let queued =
            house.books.run(move |catalog| heal_jobs(catalog, store, &by, now_unix_ms())).await;
        let line = match queued {
            Ok(jobs) if jobs.is_empty() => "no replication knows this datastore: what is damaged \
                is healed by the next backup, as far as it lies there still"
                .to_owned(),
            Ok(jobs) => {
                house.jobs.wake();
                let jobs: Vec<String> =
                    jobs.iter().map(|(job, by)| format!("{job} ('{by}')")).collect();
                format!("jobs that heal it from copies are queued: {}", jobs.join(", "))
            }
            Err(error) => format!("it could not be healed: {}", error.full_message()),
        };
        running.log(Severity::Warning, line).await;
    }
}

/// Queues a healing by each replication of a datastore that none waits or runs for.
fn heal_jobs(
    catalog: &Catalog,
    store: StoreId,
    by: &str,
    now_unix_ms: i64,
) -> Result<Vec<(u64, String)>, CatalogError> {
    let filter = JobFilter {
        kind: Some(JobKind::Heal),
        states: vec![JobState::Queued, JobState::Running],
        ..JobFilter::default()
    };
    let open = catalog.jobs(&filter)?;
    let mut queued = Vec::new();
    for relation in catalog.replications()? {
        let is_its = [relation.source, relation.target].contains(&store);
        if !is_its || open.iter().any(|job| job.task_name == relation.name) {
            continue;
        }
        let wish = Wish::Heal(HealWish { replication: relation.name.clone(), damaged: store });
        let Ok(request) = wish.to_text() else { continue };
        let new = NewJob {
            kind: JobKind::Heal,
            task: None,
            task_name: relation.name.clone(),
            client: catalog.datastore_with_id(relation.dialler())?.device,
            store: relation.dialled(),
            domain: None,
            drive: Some(relation.drive),
            level: None,
            saveset: None,
            pool: None,
            request,
            requested_by: by.to_owned(),
            waiting: Waiting::default(),
        };
        queued.push((catalog.queue_job(&new, now_unix_ms)?.number, relation.name));
    }
    Ok(queued)
}

/// Makes the index of a datastore again from its packs.
pub(crate) async fn rebuild(house: &House, job: &Job, running: &Arc<Running>) -> CallEnd {
    if let Err(error) = begin(house, job, running).await {
        return CallEnd::Refused(error);
    }
    let verb = RebuildIndex { store: job.store, job: job.number };
    see_through(&house.nodes, running, job.client, Some(verb), house.silence_max).await
}

/// Removes what no saveset of a datastore needs.
pub(crate) async fn collect(
    house: &House,
    job: &Job,
    wish: &CollectWish,
    running: &Arc<Running>,
) -> CallEnd {
    if let Err(error) = begin(house, job, running).await {
        return CallEnd::Refused(error);
    }
    if wish.expire
        && let Err(error) = expire(house, job, running).await
    {
        return CallEnd::Refused(error);
    }
    let verb = CollectGarbage { store: job.store, job: job.number, over_budget: wish.over_budget };
    see_through(&house.nodes, running, job.client, Some(verb), house.silence_max).await
}

/// Deletes what is expired, and says so in the job's log. What its devices could not be told is done later; a
/// run that would delete too much is refused, and the job with it, so that somebody looks.
async fn expire(house: &House, job: &Job, running: &Arc<Running>) -> Result<(), ServerError> {
    let by = job.requested_by.clone();
    let entry = AuditEntry {
        principal: by.clone(),
        verb: "retention.run".to_owned(),
        object: Object::Suite.to_string(),
        allowed: true,
        detail: format!("job {}", job.number),
    };
    house.books.audit(entry).await?;
    let decided = decide_all(house, by, false, false).await?;
    let carried = carry_out_all(house).await?;
    if let Some(doubt) = decided.frozen {
        running.log(Severity::Warning, format!("nothing expires: {doubt}")).await;
    }
    let line = format!(
        "{} of {} savesets are expired; {} were deleted, {} wait",
        decided.expired.len(),
        decided.judged,
        carried.gone.len(),
        carried.waiting
    );
    running.log(Severity::Info, line).await;
    for trouble in carried.trouble {
        running.log(Severity::Warning, trouble).await;
    }
    Ok(())
}

async fn begin(house: &House, job: &Job, running: &Arc<Running>) -> Result<(), ServerError> {
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

/// Keys for one check, handed to the device for this job alone: of the saveset's domain, or of
/// every domain of the datastore whose key the Server holds.
async fn keys_of(
    house: &House,
    job: &Job,
    running: &Arc<Running>,
) -> Result<Vec<DomainKey>, ServerError> {
    let (store, saveset) = (job.store, job.saveset);
    let domains = house
        .books
        .run(move |catalog| {
            let only = saveset.map(|id| catalog.saveset(id)).transpose()?.map(|row| row.domain);
            let mut domains = catalog.domains_in(store)?;
            domains.retain(|domain| only.is_none_or(|only| only == domain.domain));
            Ok(domains)
        })
        .await?;
    let mut keys = Vec::new();
    for domain in domains {
        match house.domain_keys.open(&domain)? {
            Some(key) => keys.push(DomainKey { domain: domain.domain, key }),
            None => {
                let who = match domain.key_held_by {
                    KeyHolder::Client => "its owner alone holds the key",
                    _ => "nobody has brought the key",
                };
                let line = format!(
                    "domain {}: {who}; its ciphertext is checked, not its names",
                    domain.domain.short()
                );
                running.log(Severity::Info, line).await;
            }
        }
    }
    Ok(keys)
}
