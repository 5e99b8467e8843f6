//! Jobs: runs of tasks, restores, verifications; from the queue to their end.
//!
//! Each step is one transaction that looks at the state first. The end of a backup writes the
//! job's state, its problems, its result and its saveset row together, so that a crash leaves
//! either all of it or a job that still counts as running and is asked for after the restart.

use rusqlite::params;
use rusqlite::types::Value;
use simsim_model::{
    DomainId, Kind, Level, Outcome, PROBLEMS_KEPT_MAX, Problem, ProgressSnapshot, SavesetId,
    StoreId, TransferId,
};

use crate::backups;
use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, count_cell, json_cell, problem_kind_cell, problem_kind_from_cell};
use crate::clients::client_by_id;
use crate::job::{NO_STORE, from_row};
use crate::pools::pool_cell;
use crate::results::add_result;
use crate::savesets::put_saveset;
use crate::sql::{Optional, Session};
use crate::{CatalogError, Job, JobEnd, JobFilter, JobKind, JobStart, JobState, NewJob};

impl Catalog {
    /// Queues a job and gives it its number.
    pub fn queue_job(&self, new: &NewJob, now_unix_ms: i64) -> Result<Job, CatalogError> {
        self.write("queue a job", |transaction| queue_job(transaction, new, now_unix_ms))
    }

    /// Queued → Running. Errors: `Invalid` in any other state.
    pub fn start_job(
        &self,
        number: u64,
        start: &JobStart,
        now_unix_ms: i64,
    ) -> Result<Job, CatalogError> {
        self.write("start a job", |transaction| {
            step(transaction, number, JobState::Running, "start")?;
            transaction.execute(
                "UPDATE jobs SET state = 'running', started_unix_ms = ?2,
                     drive = COALESCE(?3, drive), transfer = ?4, domain = COALESCE(?5, domain),
                     saveset = COALESCE(?6, saveset), level = COALESCE(?7, level)
                 WHERE job = ?1",
                params![
                    count_cell(number)?,
                    now_unix_ms,
                    start.drive,
                    start.transfer.as_ref().map(TransferId::as_bytes),
                    start.domain.as_ref().map(DomainId::as_bytes),
                    start.saveset.as_ref().map(SavesetId::as_bytes),
                    start.level.map(Level::as_str),
                ],
            )?;
            job_by_number(transaction, number)
        })
    }

    /// Keeps a running job's counters. A job that ended meanwhile keeps its last ones.
    pub fn set_job_progress(
        &self,
        number: u64,
        progress: &ProgressSnapshot,
    ) -> Result<(), CatalogError> {
        self.write("keep a job's progress", |transaction| {
            transaction.execute(
                "UPDATE jobs SET progress = ?2 WHERE job = ?1 AND state = 'running'",
                params![count_cell(number)?, json_cell(progress)?],
            )?;
            Ok(())
        })
    }

    /// Holds a job that waits, or lets it go (`None`); its start window does not count any more. Errors: `Invalid` for one that waits no more.
    pub fn hold_job(&self, number: u64, held_by: Option<&str>) -> Result<Job, CatalogError> {
        self.write("hold a job", |transaction| {
            let job = job_by_number(transaction, number)?;
            if job.state != JobState::Queued {
                return Err(CatalogError::JobState {
                    job: number,
                    state: job.state.as_str(),
                    verb: "be held or released",
                });
            }
            transaction.execute(
                "UPDATE jobs SET held_by = ?2, start_by_unix_ms = NULL WHERE job = ?1",
                params![count_cell(number)?, held_by],
            )?;
            job_by_number(transaction, number)
        })
    }

    /// The wall clock jumped by so many milliseconds to now: jobs that wait go on waiting as long as they had
    /// to. An instant that is nearer to where the clock is now was set after the jump, and stays.
    pub fn shift_waiting(&self, jump_ms: i64, now_unix_ms: i64) -> Result<(), CatalogError> {
        let between = now_unix_ms.saturating_sub(jump_ms / 2);
        let is_before = if jump_ms > 0 { "<" } else { ">" };
        self.write("follow a clock that jumped", |transaction| {
            for column in ["start_by_unix_ms", "not_before_unix_ms"] {
                transaction.execute(
                    &format!(
                        "UPDATE jobs SET {column} = {column} + ?1
                         WHERE state = 'queued' AND {column} {is_before} ?2"
                    ),
                    [jump_ms, between],
                )?;
            }
            Ok(())
        })
    }

    /// Lets jobs that wait start until then.
    pub fn start_later(&self, numbers: &[u64], by_unix_ms: i64) -> Result<(), CatalogError> {
        self.write("let jobs start later", |transaction| {
            for number in numbers {
                transaction.execute(
                    "UPDATE jobs SET start_by_unix_ms = ?2 WHERE job = ?1 AND state = 'queued'",
                    params![count_cell(*number)?, by_unix_ms],
                )?;
            }
            Ok(())
        })
    }

    /// Asks a job to end. A queued one is cancelled at once; a running one is marked, and ends
    /// when its client says so. Errors: `Invalid` for a job that has ended.
    pub fn ask_cancel(&self, number: u64, now_unix_ms: i64) -> Result<Job, CatalogError> {
        self.write("cancel a job", |transaction| {
            let job = job_by_number(transaction, number)?;
            if job.state.is_ended() {
                return Err(CatalogError::JobState {
                    job: number,
                    state: job.state.as_str(),
                    verb: "be cancelled",
                });
            }
            transaction.execute(
                "UPDATE jobs SET cancel_asked_unix_ms = COALESCE(cancel_asked_unix_ms, ?2)
                 WHERE job = ?1",
                params![count_cell(number)?, now_unix_ms],
            )?;
            if job.state == JobState::Queued {
                let end = JobEnd::because(
                    Outcome::Cancelled,
                    Kind::Cancelled,
                    "cancelled while it waited in the queue",
                );
                end_job(transaction, number, &end, now_unix_ms)?;
            }
            job_by_number(transaction, number)
        })
    }

    /// Ends a job: its state, problems, result and saveset row, all in one transaction. For a
    /// backup this is the last step of the durable order, after the manifest.
    /// Errors: `Invalid` for a step that [`JobState::may_become`] refuses.
    pub fn end_job(
        &self,
        number: u64,
        end: &JobEnd,
        now_unix_ms: i64,
    ) -> Result<Job, CatalogError> {
        self.write("end a job", |transaction| {
            end_job(transaction, number, end, now_unix_ms)?;
            job_by_number(transaction, number)
        })
    }

    /// Jobs that were running when the Server ended, oldest first. Each must be brought to an end
    /// with [`Catalog::end_job`] once its client or device has said what became of it, or as
    /// `Interrupted` when nobody knows.
    pub fn recover_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        self.jobs_in(JobState::Running)
    }

    /// Jobs that wait, in the order of the queue: by rank, then the oldest.
    pub fn queued_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        let mut jobs = self.jobs_in(JobState::Queued)?;
        jobs.sort_by_key(|job| std::cmp::Reverse(job.waiting.rank));
        Ok(jobs)
    }

    fn jobs_in(&self, state: JobState) -> Result<Vec<Job>, CatalogError> {
        let mut jobs = self.jobs(&JobFilter { states: vec![state], ..JobFilter::default() })?;
        jobs.reverse();
        Ok(jobs)
    }

    /// One job. Errors: `NotFound`.
    pub fn job(&self, number: u64) -> Result<Job, CatalogError> {
        self.read("look up a job", |catalog| job_by_number(catalog, number))
    }

    /// Jobs, newest first.
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, CatalogError> {
        let mut text = "SELECT * FROM jobs WHERE 1 = 1".to_owned();
        let mut values: Vec<Value> = Vec::new();
        if let Some(kind) = filter.kind {
            text.push_str(" AND kind = ?");
            values.push(kind.as_str().to_owned().into());
        }
        if let Some(task_name) = &filter.task_name {
            text.push_str(" AND task_name = ?");
            values.push(task_name.clone().into());
        }
        if let Some(client) = filter.client {
            text.push_str(" AND client = ?");
            values.push(client.0.into());
        }
        if let Some(event) = &filter.event {
            text.push_str(" AND event = ?");
            values.push(event.clone().into());
        }
        if !filter.states.is_empty() {
            let marks = vec!["?"; filter.states.len()].join(", ");
            text.push_str(&format!(" AND state IN ({marks})"));
            values.extend(filter.states.iter().map(|state| state.as_str().to_owned().into()));
        }
        if let Some(since) = filter.ended_since_unix_ms {
            text.push_str(" AND ended_unix_ms >= ?");
            values.push(since.into());
        }
        if let Some(until) = filter.ended_until_unix_ms {
            text.push_str(" AND ended_unix_ms < ?");
            values.push(until.into());
        }
        if let Some(before) = filter.before {
            text.push_str(" AND job < ?");
            values.push(count_cell(before)?.into());
        }
        if let Some(within) = &filter.within {
            within.add_to(&mut text, &mut values)?;
            for kind in JobKind::ALL.into_iter().filter(|kind| kind.is_on_datastore()) {
                text.push_str(" AND kind <> ?");
                values.push(kind.as_str().to_owned().into());
            }
        }
        text.push_str(" ORDER BY job DESC");
        if filter.limit > 0 {
            text.push_str(&format!(" LIMIT {}", filter.limit));
        }
        self.read("list jobs", |catalog| {
            let mut ask = catalog.prepare_cached(&text)?;
            let mut rows = ask.query(values)?;
            let mut jobs = Vec::new();
            while let Some(row) = rows.next()? {
                jobs.push(from_row(&Cells::new("jobs", row))?);
            }
            Ok(jobs)
        })
    }

    /// The problems of a job that were kept, in the order they came.
    pub fn job_problems(&self, number: u64) -> Result<Vec<Problem>, CatalogError> {
        self.read("list a job's problems", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT path, kind, message FROM job_problems WHERE job = ?1 ORDER BY position",
            )?;
            let mut rows = ask.query([count_cell(number)?])?;
            let mut problems = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("job_problems", row);
                problems.push(Problem {
                    path: cells.get("path")?,
                    kind: cells.word("kind", problem_kind_from_cell)?,
                    message: cells.get("message")?,
                });
            }
            Ok(problems)
        })
    }
}

fn end_job(
    transaction: &Session<'_>,
    number: u64,
    end: &JobEnd,
    now_unix_ms: i64,
) -> Result<(), CatalogError> {
    let job = step(transaction, number, JobState::Ended(end.outcome), "end")?;
    transaction.execute(
        "UPDATE jobs SET state = ?2, ended_unix_ms = ?3, progress = ?4, error_kind = ?5,
             error_message = ?6, problems = ?7
         WHERE job = ?1",
        params![
            count_cell(number)?,
            end.outcome.as_str(),
            now_unix_ms,
            json_cell(&end.progress)?,
            end.error.as_ref().map(|error| error.kind.as_str()),
            end.error.as_ref().map(|error| error.message.as_str()),
            count_cell(end.problems_total)?,
        ],
    )?;
    let mut add = transaction.prepare_cached(
        "INSERT INTO job_problems (job, position, path, kind, message)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (position, problem) in end.problems.iter().take(PROBLEMS_KEPT_MAX).enumerate() {
        add.execute(params![
            count_cell(number)?,
            position as i64,
            problem.path,
            problem_kind_cell(problem.kind),
            problem.message
        ])?;
    }
    if let Some(saveset) = &end.saveset {
        backups::enter(transaction, saveset, Some(now_unix_ms))?;
        put_saveset(transaction, saveset)?;
    }
    add_result(transaction, &job, end, now_unix_ms)
}

/// Reads a job and holds the step it is to make against its state.
fn step(
    transaction: &Session<'_>,
    number: u64,
    next: JobState,
    verb: &'static str,
) -> Result<Job, CatalogError> {
    let job = job_by_number(transaction, number)?;
    if !job.state.may_become(next) {
        return Err(CatalogError::JobState { job: number, state: job.state.as_str(), verb });
    }
    Ok(job)
}

/// Queues a job as part of the caller's transaction.
pub(crate) fn queue_job(
    transaction: &Session<'_>,
    new: &NewJob,
    now_unix_ms: i64,
) -> Result<Job, CatalogError> {
    let client = client_by_id(transaction, new.client)?;
    let number = next_number(transaction, "job")?;
    transaction.execute(
        "INSERT INTO jobs (job, kind, task, task_name, client, client_name, store, domain,
             drive, level, saveset, request, requested_by, state, queued_unix_ms, progress,
             problems, event, rank, start_by_unix_ms, not_before_unix_ms, timeout_s, attempt,
             retry_of, held_by, pool)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 'queued', ?14,
             ?15, 0, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
        params![
            number,
            new.kind.as_str(),
            new.task.map(|task| task.0),
            new.task_name,
            new.client.0,
            client.name,
            Some(&new.store).filter(|store| **store != NO_STORE).map(StoreId::as_bytes),
            new.domain.as_ref().map(DomainId::as_bytes),
            new.drive,
            new.level.map(Level::as_str),
            new.saveset.as_ref().map(SavesetId::as_bytes),
            new.request,
            new.requested_by,
            now_unix_ms,
            json_cell(&ProgressSnapshot::default())?,
            new.waiting.event,
            new.waiting.rank,
            new.waiting.start_by_unix_ms,
            new.waiting.not_before_unix_ms,
            new.waiting.timeout_s,
            new.waiting.attempt,
            new.waiting.retry_of.map(count_cell).transpose()?,
            new.waiting.held_by,
            pool_cell(transaction, new.pool.as_deref())?,
        ],
    )?;
    job_by_number(transaction, number.unsigned_abs())
}

pub(crate) fn job_by_number(catalog: &Session<'_>, number: u64) -> Result<Job, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM jobs WHERE job = ?1")?;
    let mut rows = ask.query([count_cell(number)?])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("jobs", row)),
        None => Err(CatalogError::not_found("job", number)),
    }
}

/// Whether a job of this number is there.
pub(crate) fn job_exists(catalog: &Session<'_>, number: u64) -> Result<bool, CatalogError> {
    let found: Option<i64> = catalog
        .query_row("SELECT job FROM jobs WHERE job = ?1", [count_cell(number)?], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}
