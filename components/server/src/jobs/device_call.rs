//! Jobs that a device does alone: checking a datastore, making its index again, collecting garbage.

use std::sync::Arc;

use simsim_catalog::{AuditEntry, Job, JobStart, JobState, KeyHolder, Severity};
use simsim_control::verbs::{CollectGarbage, DomainKey, RebuildIndex, VerifyDatastore, VerifyMode};

use super::long_call::{CallEnd, see_through};
use super::running::Running;
use super::wish::{CollectWish, VerifyWish};
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
