//! Where a report comes from.

use std::collections::BTreeMap;

use simsim_catalog::{Catalog, CatalogError, LifeBooks};
use simsim_model::Outcome;
use simsim_retention::Verdict;

use super::DAY_MS;
use crate::api::{
    Aspect, DatastoreView, Report, ReportApproval, ReportJob, ReportKind, ReportPool, ReportRun,
    ReportStore, ReportTask, TaskHealth,
};
use crate::clock::now_unix_ms;
use crate::retention::Judged;
use crate::rights::Principal;
use crate::{Server, ServerError, health};

/// Rows of each list.
const ROWS_MAX: u32 = 50;
const WEEK_MS: i64 = 7 * DAY_MS;

/// The report of a span of time.
pub(crate) async fn gather(server: &Server, from: i64, until: i64) -> Result<Report, ServerError> {
    let root = Principal::local_root();
    let now = now_unix_ms();
    let stores = server.datastores(&root).await?;
    let warnings = server.status(&root).await?.warnings;
    let read = move |catalog: &Catalog| -> Result<_, CatalogError> {
        let saved = catalog.saved(now.saturating_sub(WEEK_MS))?;
        let tasks = health::with(catalog, &saved, now)?;
        Ok((
            (catalog.ends_between(from, until)?, catalog.bad_ends(from, until, ROWS_MAX)?),
            catalog.not_run_between(from, until, ROWS_MAX)?,
            (saved, tasks, catalog.approvals(true)?, catalog.life_books()?),
        ))
    };
    let ((ends, bad), (late, late_total), (saved, tasks, approvals, books)) =
        server.house.books.run(read).await?;
    let mut kinds: BTreeMap<String, ReportKind> = BTreeMap::new();
    for end in &ends {
        let of = kinds.entry(end.kind.clone()).or_default();
        of.kind.clone_from(&end.kind);
        let count = match end.outcome {
            Outcome::Finished => &mut of.finished,
            Outcome::FinishedWithErrors => &mut of.finished_with_errors,
            Outcome::Failed => &mut of.failed,
            Outcome::Cancelled => &mut of.cancelled,
            Outcome::Interrupted => &mut of.interrupted,
        };
        *count += end.jobs;
        of.bytes = of.bytes.saturating_add(end.bytes);
        of.bytes_new = of.bytes_new.saturating_add(end.bytes_new);
    }
    let bad_total =
        ends.iter().filter(|end| end.outcome != Outcome::Finished).map(|end| end.jobs).sum();
    let (expires, frozen) = expires(&books, now)?;
    let untested = untested(&tasks);
    let mut report = Report {
        server: server.house.name.clone(),
        from_unix_ms: from,
        until_unix_ms: until,
        made_unix_ms: now,
        headline: String::new(),
        good: false,
        kinds: kinds.into_values().collect(),
        bad: bad
            .into_iter()
            .map(|(row, why)| ReportJob {
                job: row.job,
                kind: row.kind,
                task: row.task_name,
                client: row.client_name,
                outcome: row.outcome,
                ended_unix_ms: row.ended_unix_ms,
                problems: row.problems,
                why,
            })
            .collect(),
        bad_total,
        late: late
            .into_iter()
            .map(|run| ReportRun {
                at_unix_ms: run.occurrence_unix_ms.unwrap_or(run.decided_unix_ms),
                why: match run.why {
                    Some(why) => format!("{}: {why}", run.fate.as_str()),
                    None => run.fate.as_str().to_owned(),
                },
                event: run.event,
                subject: run.subject,
            })
            .collect(),
        late_total,
        tasks: tasks.len() as u64,
        tasks_green: tasks.iter().filter(|one| one.health.green).count() as u64,
        not_green: not_green(&tasks),
        untested_total: untested.len() as u64,
        untested: untested.into_iter().take(ROWS_MAX as usize).collect(),
        datastores: stores.iter().map(|store| of_store(store, &saved)).collect(),
        expires,
        frozen,
        approvals: approvals
            .into_iter()
            .filter(|one| one.expires_unix_ms > now)
            .take(ROWS_MAX as usize)
            .map(|one| ReportApproval {
                approval: one.number,
                about: one.about,
                asked_by: one.asked_by,
                asked_unix_ms: one.asked_unix_ms,
                expires_unix_ms: one.expires_unix_ms,
            })
            .collect(),
        warnings,
    };
    report.good =
        report.bad_total == 0 && report.late_total == 0 && report.tasks == report.tasks_green;
    report.headline = headline(&report);
    Ok(report)
}

fn headline(report: &Report) -> String {
    let sum = |of: fn(&ReportKind) -> u64| report.kinds.iter().map(of).sum::<u64>();
    let ended = sum(|kind| kind.finished) + report.bad_total;
    let mut parts = Vec::new();
    let mut say = |count: u64, one: &str, many: &str| match count {
        0 => {}
        1 => parts.push(format!("1 {one}")),
        _ => parts.push(format!("{count} {many}")),
    };
    say(sum(|kind| kind.failed + kind.interrupted), "job failed", "jobs failed");
    say(sum(|kind| kind.finished_with_errors), "job had errors", "jobs had errors");
    say(report.late_total, "run did not come", "runs did not come");
    let red = report.tasks - report.tasks_green;
    match red {
        0 => {}
        _ => parts.push(format!("{red} of {} tasks not green", report.tasks)),
    }
    match (parts.is_empty(), ended) {
        (true, 0) => "nothing ran, and nothing is missing".to_owned(),
        (true, 1) => "all is well: 1 job ended".to_owned(),
        (true, _) => format!("all is well: {ended} jobs ended"),
        (false, _) => parts.join(", "),
    }
}

fn not_green(tasks: &[TaskHealth]) -> Vec<ReportTask> {
    let mut red: Vec<ReportTask> = tasks
        .iter()
        .filter(|one| !one.health.green)
        .map(|one| {
            let bad = one.health.findings.iter().filter(|found| !found.good);
            let words: Vec<&str> = bad.map(|found| found.words.as_str()).collect();
            ReportTask {
                task: one.task.clone(),
                client: one.client.clone(),
                overdue: one.health.overdue,
                words: words.join("; "),
            }
        })
        .collect();
    // What somebody should act on first.
    red.sort_by_key(|one| !one.overdue);
    red.truncate(ROWS_MAX as usize);
    red
}

fn untested(tasks: &[TaskHealth]) -> Vec<ReportTask> {
    let mut found = Vec::new();
    for one in tasks {
        let test = one.health.findings.iter().find(|found| found.aspect == Aspect::RestoreTest);
        let words = match test {
            None => "no restore test is asked for".to_owned(),
            Some(test) if test.last_unix_ms.is_none() => test.words.clone(),
            Some(_) => continue,
        };
        found.push(ReportTask {
            task: one.task.clone(),
            client: one.client.clone(),
            overdue: test.is_some_and(|test| test.overdue),
            words,
        });
    }
    found
}

fn of_store(store: &DatastoreView, saved: &simsim_catalog::Saved) -> ReportStore {
    let stored = saved.stores.get(&store.store).copied().unwrap_or_default();
    let put = stored.recent_stored_bytes;
    let free = store.device.as_ref().map(|device| device.free_bytes);
    let days = |free: u64| u128::from(free) * 7 / u128::from(put.max(1));
    ReportStore {
        datastore: store.name.clone(),
        capacity_bytes: store.device.as_ref().map(|device| device.capacity_bytes),
        free_bytes: free,
        stored_bytes: store.device.as_ref().map(|device| device.packs_bytes),
        saved_bytes: stored.bytes,
        put_in_week_bytes: put,
        full_in_days: free
            .filter(|_| put > 0)
            .map(|free| u64::try_from(days(free)).unwrap_or(u64::MAX)),
        trouble: store.trouble.clone(),
    }
}

/// By pool; and why nothing expires, where that is so.
fn expires(books: &LifeBooks, now: i64) -> Result<(Vec<ReportPool>, Option<String>), ServerError> {
    let judged = Judged::of(books, now)?;
    let decided = judged.verdicts()?;
    let soon = crate::retention::instant(now.saturating_add(WEEK_MS));
    let mut pools: BTreeMap<&str, ReportPool> = BTreeMap::new();
    for (saveset, (_, verdict)) in judged.savesets.iter().zip(&decided.verdicts) {
        let of = pools.entry(&saveset.pool).or_default();
        match verdict {
            Verdict::Expire { .. } => {
                of.expired += 1;
                of.expired_bytes = of.expired_bytes.saturating_add(saveset.bytes);
            }
            Verdict::Keep { until: Some(until), .. } if *until <= soon => {
                of.soon += 1;
                of.soon_bytes = of.soon_bytes.saturating_add(saveset.bytes);
            }
            Verdict::Keep { .. } => {}
        }
    }
    let named = pools.into_iter().filter(|(_, one)| one.expired + one.soon > 0);
    let named = named.map(|(pool, one)| ReportPool { pool: pool.to_owned(), ..one });
    Ok((named.collect(), decided.frozen.map(|doubt| doubt.to_string())))
}
