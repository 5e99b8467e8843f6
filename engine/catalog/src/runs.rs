//! Runs: what became of each occurrence of an event, for each of its subjects.
//!
//! What was decided, the jobs that came of it and the time that counts as decided on are written in one
//! transaction. So a run is never lost and never started twice, wherever the Server dies; an occurrence
//! that two rounds decide on is kept once.

use rusqlite::params;
use rusqlite::types::Value;

use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, count_cell};
use crate::jobs::{job_by_number, queue_job};
use crate::sql::{Optional, Session};
use crate::{CatalogError, Job, JobState, NewJob};

/// What became of an occurrence.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RunFate {
    Runs,
    Suppressed,
    Blocked,
    Blocks,
    /// Its time had passed, and the missed-run policy let it go.
    Missed,
    /// It was to run and could not even be queued.
    Refused,
}

impl RunFate {
    pub const ALL: [RunFate; 6] = [
        RunFate::Runs,
        RunFate::Suppressed,
        RunFate::Blocked,
        RunFate::Blocks,
        RunFate::Missed,
        RunFate::Refused,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            RunFate::Runs => "runs",
            RunFate::Suppressed => "suppressed",
            RunFate::Blocked => "blocked",
            RunFate::Blocks => "blocks",
            RunFate::Missed => "missed",
            RunFate::Refused => "refused",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        RunFate::ALL.into_iter().find(|fate| fate.as_str() == text)
    }
}

/// A run that was decided on.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub event: String,
    /// With event and subject its identity.
    pub cause: String,
    pub subject: String,
    pub kind: String,
    pub occurrence_unix_ms: Option<i64>,
    pub backup_day: String,
    pub fate: RunFate,
    pub why: Option<String>,
    /// What is queued for it.
    pub job: Option<NewJob>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub run: u64,
    pub event: String,
    pub cause: String,
    pub subject: String,
    pub kind: String,
    pub occurrence_unix_ms: Option<i64>,
    pub backup_day: String,
    pub fate: RunFate,
    pub why: Option<String>,
    pub decided_unix_ms: i64,
    pub job: Option<u64>,
}

/// A run of the same event and cause as another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunBeside {
    pub run: u64,
    pub fate: RunFate,
    /// Its last job.
    pub job: Option<JobBeside>,
}

/// How a job of a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobBeside {
    pub job: u64,
    pub state: JobState,
    /// What its end starts was started.
    pub followed: bool,
}

/// What a round decided on for one event.
#[derive(Debug, Clone)]
pub struct Round {
    pub event: String,
    /// What was considered when the round began: another round that came between undoes this one.
    pub before: Option<String>,
    pub after: String,
    pub runs: Vec<NewRun>,
}

/// Which runs to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub event: Option<String>,
    pub subject: Option<String>,
    /// Only what did not run.
    pub only_not_run: bool,
    /// Only runs with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: all.
    pub limit: u32,
}

impl Catalog {
    /// Keeps what a round decided, and queues its jobs. `None`: the event changed or went, or another
    /// round came first; nothing was written.
    pub fn keep_round(
        &self,
        round: &Round,
        now_unix_ms: i64,
    ) -> Result<Option<Vec<Job>>, CatalogError> {
        self.write("keep what is to run", |transaction| {
            let there = crate::events::by_name(transaction, &round.event)?;
            if there.is_none_or(|event| event.considered != round.before) {
                return Ok(None);
            }
            transaction.execute(
                "UPDATE events SET considered = ?2 WHERE name = ?1",
                params![round.event, round.after],
            )?;
            put_runs(transaction, &round.runs, now_unix_ms).map(Some)
        })
    }

    /// Keeps runs that a person or another server asked for, with their jobs.
    pub fn keep_runs(&self, runs: &[NewRun], now_unix_ms: i64) -> Result<Vec<Job>, CatalogError> {
        self.write("keep what is to run", |transaction| put_runs(transaction, runs, now_unix_ms))
    }

    /// A number that no other run by hand has.
    pub fn next_hand(&self) -> Result<i64, CatalogError> {
        self.write("number a run", |transaction| next_number(transaction, "hand"))
    }

    /// Ended jobs of events whose follow-ups were not started yet, oldest first.
    pub fn unfollowed_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        self.read("look what has ended", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM jobs WHERE followed = 0 AND event > ''
                     AND state NOT IN ('queued', 'running') ORDER BY job",
            )?;
            let mut rows = ask.query([])?;
            let mut jobs = Vec::new();
            while let Some(row) = rows.next()? {
                jobs.push(crate::job::from_row(&Cells::new("jobs", row))?);
            }
            Ok(jobs)
        })
    }

    /// Starts what follows the end of a job, once. A job that was followed already is left alone.
    pub fn follow_job(
        &self,
        number: u64,
        runs: &[NewRun],
        retry: Option<&NewJob>,
        now_unix_ms: i64,
    ) -> Result<Vec<Job>, CatalogError> {
        self.write("start what follows a job", |transaction| {
            let marked = transaction.execute(
                "UPDATE jobs SET followed = 1 WHERE job = ?1 AND followed = 0",
                [count_cell(number)?],
            )?;
            if marked == 0 {
                return Ok(Vec::new());
            }
            let mut jobs = put_runs(transaction, runs, now_unix_ms)?;
            if let Some(retry) = retry {
                let job = queue_job(transaction, retry, now_unix_ms)?;
                transaction.execute(
                    "UPDATE runs SET job = ?2 WHERE job = ?1",
                    params![count_cell(number)?, count_cell(job.number)?],
                )?;
                jobs.push(job);
            }
            Ok(jobs)
        })
    }

    /// Jobs of events that have not ended, each with the event and the subject of its run.
    pub fn open_runs(&self) -> Result<Vec<(String, String, u64)>, CatalogError> {
        self.read("look what of the events runs", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT runs.event AS event, runs.subject AS subject, runs.job AS job FROM runs
                 JOIN jobs ON jobs.job = runs.job WHERE jobs.state IN ('queued', 'running')
                 ORDER BY runs.job",
            )?;
            let mut rows = ask.query([])?;
            let mut open = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("runs", row);
                open.push((cells.get("event")?, cells.get("subject")?, cells.count("job")?));
            }
            Ok(open)
        })
    }

    /// All runs of one event and cause: that of the job, and those beside it. Empty for a job that no
    /// run has.
    pub fn runs_beside(&self, job: u64) -> Result<Vec<RunBeside>, CatalogError> {
        self.read("look at the runs beside a job", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT beside.run AS run, beside.fate AS fate, beside.job AS job,
                     jobs.state AS state, jobs.followed AS followed
                 FROM runs AS own
                 JOIN runs AS beside ON beside.event = own.event AND beside.cause = own.cause
                 LEFT JOIN jobs ON jobs.job = beside.job
                 WHERE own.job = ?1 ORDER BY beside.run",
            )?;
            let mut rows = ask.query([count_cell(job)?])?;
            let mut runs = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("runs", row);
                let job = cells.get::<Option<i64>>("job")?.and_then(|job| u64::try_from(job).ok());
                let job = match job {
                    Some(job) => Some(JobBeside {
                        job,
                        state: cells.word("state", JobState::parse)?,
                        followed: cells.get::<i64>("followed")? != 0,
                    }),
                    None => None,
                };
                runs.push(RunBeside {
                    run: cells.count("run")?,
                    fate: cells.word("fate", RunFate::parse)?,
                    job,
                });
            }
            Ok(runs)
        })
    }

    /// Runs, newest first.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, CatalogError> {
        let mut text = "SELECT * FROM runs WHERE 1 = 1".to_owned();
        let mut values: Vec<Value> = Vec::new();
        for (column, value) in [("event", &filter.event), ("subject", &filter.subject)] {
            if let Some(value) = value {
                text.push_str(&format!(" AND {column} = ?"));
                values.push(value.clone().into());
            }
        }
        if filter.only_not_run {
            text.push_str(" AND fate <> 'runs'");
        }
        if let Some(before) = filter.before {
            text.push_str(" AND run < ?");
            values.push(count_cell(before)?.into());
        }
        text.push_str(" ORDER BY run DESC");
        if filter.limit > 0 {
            text.push_str(&format!(" LIMIT {}", filter.limit));
        }
        self.read("list runs", |catalog| {
            let mut ask = catalog.prepare_cached(&text)?;
            let mut rows = ask.query(values)?;
            let mut runs = Vec::new();
            while let Some(row) = rows.next()? {
                runs.push(from_row(&Cells::new("runs", row))?);
            }
            Ok(runs)
        })
    }

    /// Seconds that the last good jobs of a kind took, by the name of their task (or what stands for
    /// it).
    pub fn last_durations_s(&self) -> Result<Vec<(String, String, u64)>, CatalogError> {
        self.read("look how long jobs took", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT kind, task_name, ended_unix_ms - started_unix_ms AS took FROM results
                 WHERE job IN (SELECT MAX(job) FROM results
                     WHERE outcome IN ('finished', 'finished_with_errors')
                         AND started_unix_ms IS NOT NULL GROUP BY kind, task_name)
                 ORDER BY kind, task_name",
            )?;
            let mut rows = ask.query([])?;
            let mut durations = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("results", row);
                let took: i64 = cells.get("took")?;
                let seconds = u64::try_from(took).unwrap_or(0).div_ceil(1000);
                durations.push((cells.get("kind")?, cells.get("task_name")?, seconds));
            }
            Ok(durations)
        })
    }
}

/// Rows and jobs of runs; one whose identity is there already is passed over with its job.
fn put_runs(
    transaction: &Session<'_>,
    runs: &[NewRun],
    now_unix_ms: i64,
) -> Result<Vec<Job>, CatalogError> {
    let mut jobs = Vec::new();
    for new in runs {
        let there: Option<i64> = transaction
            .query_row(
                "SELECT run FROM runs WHERE event = ?1 AND cause = ?2 AND subject = ?3",
                params![new.event, new.cause, new.subject],
                |row| row.get(0),
            )
            .optional()?;
        if there.is_some() {
            continue;
        }
        let job = match &new.job {
            Some(job) => Some(queue_job(transaction, job, now_unix_ms)?),
            None => None,
        };
        let number = next_number(transaction, "run")?;
        transaction.execute(
            "INSERT INTO runs (run, event, cause, subject, kind, occurrence_unix_ms, backup_day,
                 fate, why, decided_unix_ms, job)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                number,
                new.event,
                new.cause,
                new.subject,
                new.kind,
                new.occurrence_unix_ms,
                new.backup_day,
                new.fate.as_str(),
                new.why,
                now_unix_ms,
                job.as_ref().map(|job| count_cell(job.number)).transpose()?,
            ],
        )?;
        if let Some(job) = job {
            jobs.push(job_by_number(transaction, job.number)?);
        }
    }
    Ok(jobs)
}

pub(crate) fn from_row(cells: &Cells<'_>) -> Result<Run, CatalogError> {
    Ok(Run {
        run: cells.count("run")?,
        event: cells.get("event")?,
        cause: cells.get("cause")?,
        subject: cells.get("subject")?,
        kind: cells.get("kind")?,
        occurrence_unix_ms: cells.get("occurrence_unix_ms")?,
        backup_day: cells.get("backup_day")?,
        fate: cells.word("fate", RunFate::parse)?,
        why: cells.get("why")?,
        decided_unix_ms: cells.get("decided_unix_ms")?,
        job: cells.get::<Option<i64>>("job")?.and_then(|job| u64::try_from(job).ok()),
    })
}
