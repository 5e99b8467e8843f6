//! What the end of an event's job starts: another attempt, or the events that follow.
//!
//! Follow-ups start when all jobs of one cause have ended, and the worst end of them counts: what follows
//! the backups of a night waits for the last of them. Where none of its runs could be queued, there is no job
//! that ends: the failure is followed in the round that found it.

use jiff::Timestamp;
use simsim_catalog::{Catalog, CatalogError, Job, JobState, NewJob, NewRun, RunFate, Waiting};
use simsim_model::Outcome;
use simsim_schedule::{Ending, EventKind};

use super::programme::{Loaded, Setup};
use super::round::{Open, queued, waiting_of};

/// No attempt waits longer than this before it begins.
const RETRY_AFTER_S_MAX: u64 = 6 * 3600;
/// Before the first other attempt, where the event does not say.
const RETRY_AFTER_S: u32 = 60;

/// What is to be written down for the end of a job.
pub(crate) struct Follow {
    pub runs: Vec<NewRun>,
    pub retry: Option<NewJob>,
}

/// Decides what follows the end of `job`.
pub(crate) fn follow(
    catalog: &Catalog,
    setup: &Setup,
    job: &Job,
    open: &Open,
    now: Timestamp,
) -> Result<Follow, CatalogError> {
    let nothing = Follow { runs: Vec::new(), retry: None };
    let loaded = setup.loaded.iter().find(|one| one.row.name == job.waiting.event);
    // An event that is not there any more: nobody says what follows.
    let Some(loaded) = loaded else { return Ok(nothing) };
    if let Some(retry) = retry(loaded, job, now) {
        return Ok(Follow { retry: Some(retry), ..nothing });
    }
    let Some((group, ending)) = whole_group(catalog, job)? else { return Ok(nothing) };
    let day = setup.programme.backup_days.of(now, &setup.almanac);
    let day = day.map(|day| day.date.to_string()).unwrap_or_default();
    let cause = format!("after run {group}");
    let runs = followers(catalog, setup, loaded, ending, &cause, &day, open)?;
    Ok(Follow { runs, ..nothing })
}

/// The runs of the events that follow such an end of an event.
fn followers(
    catalog: &Catalog,
    setup: &Setup,
    loaded: &Loaded,
    ending: Ending,
    cause: &str,
    day: &str,
    open: &Open,
) -> Result<Vec<NewRun>, CatalogError> {
    let mut runs = Vec::new();
    for name in loaded.document.event.follow_ups.after(ending) {
        let next = setup.loaded.iter().find(|one| one.row.name == *name);
        let Some(next) = next.filter(|next| next.document.event.enabled) else { continue };
        runs.extend(started(catalog, setup, next, cause, day, open)?);
    }
    Ok(runs)
}

/// What follows runs of one cause of which none has a job and one was refused: no job will end that
/// could be followed, so it belongs to the step in which the runs are kept.
pub(crate) fn after_refusal(
    catalog: &Catalog,
    setup: &Setup,
    loaded: &Loaded,
    runs: &[NewRun],
    open: &Open,
) -> Result<Vec<NewRun>, CatalogError> {
    let refused = runs.iter().find(|run| run.fate == RunFate::Refused);
    let Some(refused) = refused.filter(|_| runs.iter().all(|run| run.job.is_none())) else {
        return Ok(Vec::new());
    };
    let cause = format!("after '{}' {}", refused.event, refused.cause);
    followers(catalog, setup, loaded, Ending::Failure, &cause, &refused.backup_day, open)
}

/// The runs of an event that something else than its schedule starts, and what follows them if none can be
/// queued.
pub(crate) fn started(
    catalog: &Catalog,
    setup: &Setup,
    loaded: &Loaded,
    cause: &str,
    day: &str,
    open: &Open,
) -> Result<Vec<NewRun>, CatalogError> {
    let number = setup.loaded.iter().position(|one| one.row.name == loaded.row.name);
    let event = number.map(|number| &setup.programme.events[number]);
    let Some(event) = event else { return Ok(Vec::new()) };
    let base = NewRun {
        event: event.name.clone(),
        cause: cause.to_owned(),
        subject: String::new(),
        kind: event.kind.as_str().to_owned(),
        occurrence_unix_ms: None,
        backup_day: day.to_owned(),
        fate: RunFate::Runs,
        why: None,
        job: None,
    };
    if event.kind == EventKind::BackupDayChange {
        return Ok(vec![base]);
    }
    let mut runs = Vec::new();
    for subject in &event.subjects {
        let new = NewRun { subject: subject.name.clone(), ..base.clone() };
        runs.push(queued(catalog, &loaded.document, new, waiting_of(&loaded.document), open)?);
    }
    let more = after_refusal(catalog, setup, loaded, &runs, open)?;
    runs.extend(more);
    Ok(runs)
}

/// Another attempt, where the event wants one and the job failed while it ran.
fn retry(loaded: &Loaded, job: &Job, now: Timestamp) -> Option<NewJob> {
    let failed = matches!(job.state, JobState::Ended(Outcome::Failed | Outcome::Interrupted));
    let again = failed
        && loaded.document.event.enabled
        && job.started_unix_ms.is_some()
        && job.waiting.attempt <= u32::from(loaded.document.retries);
    if !again {
        return None;
    }
    let first = match loaded.document.retry_after_s {
        0 => RETRY_AFTER_S,
        seconds => seconds,
    };
    let doublings = job.waiting.attempt.saturating_sub(1).min(16);
    let after_s = (u64::from(first) << doublings).min(RETRY_AFTER_S_MAX);
    let after_ms = i64::try_from(after_s * 1000).unwrap_or(i64::MAX);
    Some(NewJob {
        kind: job.kind,
        task: job.task,
        task_name: job.task_name.clone(),
        client: job.client,
        store: job.store,
        domain: None,
        drive: asked_drive(job),
        level: job.level,
        saveset: job.saveset.filter(|_| job.kind != simsim_catalog::JobKind::Backup),
        pool: job.pool.clone(),
        request: job.request.clone(),
        requested_by: job.requested_by.clone(),
        waiting: Waiting {
            not_before_unix_ms: Some(now.as_millisecond().saturating_add(after_ms)),
            start_by_unix_ms: None,
            attempt: job.waiting.attempt.saturating_add(1),
            retry_of: Some(job.number),
            held_by: None,
            ..job.waiting.clone()
        },
    })
}

/// A job that ran has the drive that it got; another attempt of a group's job may take another one.
fn asked_drive(job: &Job) -> Option<u32> {
    let wish = crate::jobs::Wish::of(job).ok();
    match wish.is_some_and(|wish| wish.drive_group().is_some()) {
        true => None,
        false => job.drive,
    }
}

/// Where all jobs of the cause have ended, and this is the last to be followed: the first run's number, which
/// names the cause, and the worst end.
fn whole_group(catalog: &Catalog, job: &Job) -> Result<Option<(u64, Ending)>, CatalogError> {
    let group = catalog.runs_beside(job.number)?;
    let mut worst = Ending::Success;
    for run in &group {
        match (run.fate, run.job) {
            (RunFate::Refused, _) => worst = Ending::Failure,
            (_, None) => {}
            (_, Some(beside)) => {
                let JobState::Ended(outcome) = beside.state else { return Ok(None) };
                if beside.job != job.number && !beside.followed {
                    return Ok(None);
                }
                worst = worse(worst, Ending::of(outcome));
            }
        }
    }
    Ok(group.first().map(|first| (first.run, worst)))
}

fn worse(one: Ending, other: Ending) -> Ending {
    match (one, other) {
        (Ending::Failure, _) | (_, Ending::Failure) => Ending::Failure,
        (Ending::Warning, _) | (_, Ending::Warning) => Ending::Warning,
        (Ending::Success, Ending::Success) => Ending::Success,
    }
}
