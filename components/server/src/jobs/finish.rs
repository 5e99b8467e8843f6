//! The end of a job: what the node told is held against what the device shows, and written down.

use std::sync::Arc;
use std::time::Duration;

use simsim_catalog::{
    Datastore, Job, JobEnd, JobError, JobKind, JobState, Saveset, SavesetState, Severity,
};
use simsim_control::verbs::{GetManifest, JobResult};
use simsim_format::Manifest;
use simsim_model::{Kind, Outcome, SavesetId, StoreId, limits};
use tokio::time::Instant;

use super::long_call::CallEnd;
use super::running::Running;
use super::transfer::{DEVICE_PATIENCE, withdraw_ticket, withdraw_transfer};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;

/// Brings a job to its end in the catalog. Never leaves it unclear: where even the catalog
/// refuses, the job stays *running* there and is asked for at the next start.
pub(crate) async fn finish(house: &House, job: &Job, running: &Arc<Running>, end: CallEnd) {
    let drilled = match &end {
        CallEnd::Told(result) => result.drilled.clone(),
        _ => None,
    };
    let end = match end {
        CallEnd::Told(result) => told(house, job, running, *result).await,
        CallEnd::Lost(error) => lost(house, job, running, error, Outcome::Failed).await,
        CallEnd::Forgotten(error) => lost(house, job, running, error, Outcome::Interrupted).await,
        CallEnd::Refused(error) => failed(running, &error),
    };
    // Whatever became of it: a transfer that its host did not close would hold up collections of garbage.
    withdraw(house, job).await;
    let end = match (running.timed_out(), end.outcome) {
        (Some(timeout_s), Outcome::Cancelled) => JobEnd {
            outcome: Outcome::Failed,
            error: Some(JobError {
                kind: Kind::Cancelled,
                message: format!("it was ended because it worked for {timeout_s} s, its limit"),
            }),
            ..end
        },
        _ => end,
    };
    if let Some(error) = &end.error {
        running.log(Severity::Error, error.message.clone()).await;
    }
    let end = match job.kind {
        JobKind::Drill => with_evidence(house, job, running, end, drilled).await,
        _ => end,
    };
    let outcome = end.outcome;
    let line = match &end.saveset {
        Some(row) => format!(
            "{outcome}: saveset {}, {} files, {} bytes, {} new, {} stored",
            row.saveset, row.files, row.bytes, row.bytes_new, row.bytes_stored
        ),
        // What it looked at stands above, where there is something to tell.
        None if !matches!(job.kind, JobKind::Backup | JobKind::Restore) => outcome.to_string(),
        None => format!(
            "{outcome}: {} files, {} bytes",
            end.progress.files_done, end.progress.bytes_done
        ),
    };
    running.log(Severity::Info, line).await;
    simsim_model::failpoint::hit("server.before_row");
    let number = job.number;
    let mut pause = Duration::from_millis(200);
    // A catalog on a full disk is worth waiting for: the manifest is durable, its row is not.
    loop {
        let end = end.clone();
        let kept = house
            .books
            .run(move |catalog| {
                // A job that could not even start is still queued there: it may fail from there.
                if matches!(end.outcome, Outcome::Interrupted)
                    && catalog.job(number)?.state == JobState::Queued
                {
                    let end = JobEnd { outcome: Outcome::Failed, ..end };
                    return catalog.end_job(number, &end, now_unix_ms());
                }
                catalog.end_job(number, &end, now_unix_ms())
            })
            .await;
        match kept {
            Ok(job) => {
                simsim_model::failpoint::hit("server.after_row");
                running.tell_state(job.state);
                return;
            }
            Err(error) if matches!(error.kind(), Kind::Full | Kind::Busy) => {
                tracing::error!(job = number, error = %error.full_message(), "the end of a job cannot be written down; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(30));
            }
            Err(error) => {
                let there = house.books.run(move |catalog| catalog.job(number)).await;
                match there {
                    // Cancelled in the queue while it was about to start.
                    Ok(job) if job.state.is_ended() => running.tell_state(job.state),
                    _ => {
                        tracing::error!(job = number, error = %error.full_message(), "the end of a job could not be written down");
                        running.tell_state(JobState::Ended(Outcome::Interrupted));
                    }
                }
                return;
            }
        }
    }
}

/// Keeps the evidence of a drill. One without evidence has proven nothing.
async fn with_evidence(
    house: &House,
    job: &Job,
    running: &Arc<Running>,
    end: JobEnd,
    drilled: Option<simsim_model::Drilled>,
) -> JobEnd {
    simsim_model::failpoint::hit("server.before_evidence");
    let kept = crate::drills::keep(house, job, &end, drilled).await;
    simsim_model::failpoint::hit("server.after_evidence");
    match kept {
        Ok(None) => end,
        Ok(Some(drill)) => {
            let word = if drill.passed { "passed" } else { "did not pass" };
            let line = format!(
                "the drill {word}; its evidence stands in row {} of the audit log: simsim drill evidence {}",
                drill.audit, job.number
            );
            running.log(Severity::Info, line).await;
            end
        }
        Err(error) => JobEnd {
            outcome: Outcome::Failed,
            error: Some(JobError {
                kind: error.kind(),
                message: format!(
                    "the evidence of the drill cannot be kept: {}",
                    error.full_message()
                ),
            }),
            ..end
        },
    }
}

/// The node told how the job ended.
async fn told(house: &House, job: &Job, running: &Arc<Running>, result: JobResult) -> JobEnd {
    let mut end = JobEnd {
        outcome: result.outcome,
        error: result.error.map(|error| JobError {
            kind: error.kind,
            message: match (error.kind, running.way()) {
                (Kind::Unreachable, Some(way)) => way.blocked(&error.message),
                _ => error.message,
            },
        }),
        progress: result.snapshot,
        problems_total: result.problems_total.max(result.problems.len() as u64),
        problems: result.problems,
        checked: result.checked,
        saveset: None,
    };
    let done = matches!(end.outcome, Outcome::Finished | Outcome::FinishedWithErrors);
    if job.kind != JobKind::Backup || (!done && result.commit.is_none()) {
        return end;
    }
    match committed(house, job, running).await {
        Ok(Some(saveset)) => {
            // A saveset with problems is never shown as a success, whatever the client says.
            if done {
                end.outcome = match end.outcome {
                    Outcome::Finished => saveset.outcome(),
                    other => other,
                };
            }
            end.saveset = Some(saveset);
            end
        }
        Ok(None) if done => JobEnd {
            outcome: Outcome::Failed,
            error: Some(JobError {
                kind: Kind::Corrupt,
                message: "the client says that it finished, but the device shows no manifest: \
                          nothing can be restored from this run"
                    .to_owned(),
            }),
            ..end
        },
        Ok(None) => end,
        Err(error) => JobEnd {
            outcome: Outcome::Failed,
            error: Some(JobError {
                kind: error.kind(),
                message: format!(
                    "the device could not be asked for the manifest ({}): if the saveset is \
                     there, it is listed as soon as the device is reached again",
                    error.full_message()
                ),
            }),
            ..end
        },
    }
}

/// Nobody knows what became of the job. A backup may have been committed all the same.
async fn lost(
    house: &House,
    job: &Job,
    running: &Arc<Running>,
    error: ServerError,
    outcome: Outcome,
) -> JobEnd {
    let cancelled = running.cancel.is_cancelled();
    if job.kind == JobKind::Backup
        && let Ok(Some(saveset)) = manifest_row(house, job).await
    {
        let (problems, told) = running.problems();
        let line = "its client is not heard any more, but the device shows the manifest: \
                    the saveset is complete";
        running.log(Severity::Warning, line).await;
        return JobEnd {
            outcome: saveset.outcome(),
            error: None,
            progress: running.progress(),
            problems,
            problems_total: told.max(saveset.problems),
            checked: None,
            saveset: Some(saveset),
        };
    }
    let mut end = JobEnd { outcome, ..failed(running, &error) };
    if cancelled {
        end.outcome = Outcome::Cancelled;
        end.error = Some(JobError {
            kind: Kind::Cancelled,
            message: format!("cancelled while its node was silent ({})", error.full_message()),
        });
    }
    end
}

fn failed(running: &Arc<Running>, error: &ServerError) -> JobEnd {
    let (problems, problems_total) = running.problems();
    let cancelled = running.cancel.is_cancelled() || error.kind() == Kind::Cancelled;
    JobEnd {
        outcome: if cancelled { Outcome::Cancelled } else { Outcome::Failed },
        error: Some(JobError { kind: error.kind(), message: error.full_message() }),
        progress: running.progress(),
        problems,
        problems_total,
        checked: None,
        saveset: None,
    }
}

/// Makes sure that nothing can be written by a job that is over, and that nobody waits for it.
async fn withdraw(house: &House, job: &Job) {
    let (number, store) = (job.number, job.store);
    let found = house
        .books
        .run(move |catalog| {
            Ok((catalog.job(number)?.transfer, catalog.datastore_with_id(store)?.device))
        })
        .await;
    if let Ok((Some(transfer), device)) = found {
        withdraw_transfer(house, device, transfer).await;
    }
    // Those beside it, where the run that asked for them did not come to its end.
    let left = house.books.run(move |catalog| catalog.tickets_of(number)).await;
    for (device, transfer) in left.unwrap_or_default() {
        withdraw_ticket(house, device, transfer).await;
    }
}

/// The row of a saveset that should be there; a device that is just away is waited for.
async fn committed(
    house: &House,
    job: &Job,
    running: &Arc<Running>,
) -> Result<Option<Saveset>, ServerError> {
    let until = Instant::now() + house.silence_max;
    let mut said = false;
    loop {
        match manifest_row(house, job).await {
            Err(error) if error.kind() == Kind::Unreachable && Instant::now() < until => {
                if !said {
                    said = true;
                    running
                        .log(Severity::Warning, format!("waiting for the device: {error}"))
                        .await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

/// Asks the device for the manifest of a backup's saveset and makes the row from it.
async fn manifest_row(house: &House, job: &Job) -> Result<Option<Saveset>, ServerError> {
    let (number, store) = (job.number, job.store);
    let (job, datastore) = house
        .books
        .run(move |catalog| Ok((catalog.job(number)?, catalog.datastore_with_id(store)?)))
        .await?;
    let Some(id) = job.saveset else { return Ok(None) };
    let Some(bytes) = fetch_manifest(house, &datastore, id).await? else { return Ok(None) };
    let manifest = Manifest::decode(&bytes)?;
    let expected = manifest.saveset == id
        && manifest.store == job.store
        && Some(manifest.domain) == job.domain
        && Some(manifest.level) == job.level;
    if !expected {
        return Err(ServerError::node(
            &datastore.name,
            Kind::Corrupt,
            format!("it shows another manifest for saveset {id} than the one that was asked for"),
        ));
    }
    Ok(Some(saveset_of(&manifest, &job.client_name, &job.task_name)))
}

/// A manifest's bytes, page by page; `None`: the device has none.
pub(crate) async fn fetch_manifest(
    house: &House,
    datastore: &Datastore,
    saveset: SavesetId,
) -> Result<Option<Vec<u8>>, ServerError> {
    let line = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
    let store: StoreId = datastore.store;
    let mut bytes = Vec::new();
    loop {
        let offset = bytes.len() as u64;
        let page = match line.call(GetManifest { store, saveset, offset }).await {
            Ok(page) => page,
            Err(error) if error.kind() == Kind::NotFound && offset == 0 => return Ok(None),
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&page.bytes);
        if bytes.len() > limits::MANIFEST_BYTES_MAX {
            return Err(ServerError::node(
                &datastore.name,
                Kind::Corrupt,
                format!("the manifest of saveset {saveset} is larger than its limit"),
            ));
        }
        if bytes.len() as u64 >= page.size || page.bytes.is_empty() {
            return Ok(Some(bytes));
        }
    }
}

/// The catalog's row of a manifest.
pub(crate) fn saveset_of(manifest: &Manifest, client_name: &str, task_name: &str) -> Saveset {
    Saveset {
        saveset: manifest.saveset,
        store: manifest.store,
        sequence: manifest.sequence,
        domain: manifest.domain,
        client_name: client_name.to_owned(),
        task_name: task_name.to_owned(),
        level: manifest.level,
        base: manifest.base,
        scan_started_unix_ns: manifest.scan_started_unix_ns,
        committed_unix_ns: manifest.committed_unix_ns,
        lock_until_unix_s: manifest.lock_until_unix_s,
        files: manifest.files,
        dirs: manifest.dirs,
        bytes: manifest.bytes,
        bytes_new: manifest.bytes_new,
        bytes_stored: manifest.bytes_stored,
        problems: manifest.problems,
        state: SavesetState::Present,
    }
}
