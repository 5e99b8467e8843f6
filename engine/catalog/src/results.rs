//! Results: one row for each job that ended. They stay when savesets go.

use rusqlite::params;
use simsim_model::{Checked, Level, Outcome, SavesetId};

use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell, json_cell};
use crate::sql::Session;
use crate::{CatalogError, Job, JobEnd};

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResultRow {
    pub job: u64,
    pub saveset: Option<SavesetId>,
    /// `backup`, `restore`, `verify`, `rebuild`.
    pub kind: String,
    pub task_name: String,
    pub client_name: String,
    pub level: Option<Level>,
    pub outcome: Outcome,
    /// `None` for a job that never started.
    pub started_unix_ms: Option<i64>,
    pub ended_unix_ms: i64,
    pub files: u64,
    pub bytes: u64,
    pub bytes_new: u64,
    pub bytes_wire: u64,
    pub problems: u64,
}

impl Catalog {
    /// Results, newest first; of one saveset (the backup that made it, and every restore and
    /// verification since), or of all. `limit` 0: all.
    pub fn results(
        &self,
        saveset: Option<SavesetId>,
        limit: u32,
    ) -> Result<Vec<JobResultRow>, CatalogError> {
        let limit = if limit == 0 { u32::MAX } else { limit };
        self.read("list results", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM results WHERE saveset = ?1 OR ?1 IS NULL ORDER BY job DESC LIMIT ?2",
            )?;
            let mut rows = ask.query(params![saveset.as_ref().map(SavesetId::as_bytes), limit])?;
            let mut results = Vec::new();
            while let Some(row) = rows.next()? {
                results.push(from_row(&Cells::new("results", row))?);
            }
            Ok(results)
        })
    }

    /// What a verification looked at; `None` for one that has not ended, and for every other job.
    pub fn checked(&self, job: u64) -> Result<Option<Checked>, CatalogError> {
        self.read("look up what was checked", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT checked FROM results WHERE job = ?1")?;
            let mut rows = ask.query([count_cell(job)?])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let cells = Cells::new("results", row);
            match cells.get::<Option<String>>("checked")? {
                Some(_) => cells.json("checked").map(Some),
                None => Ok(None),
            }
        })
    }
}

/// Part of the transaction that ends the job. A backup that committed nothing names no saveset.
pub(crate) fn add_result(
    transaction: &Session<'_>,
    job: &Job,
    end: &JobEnd,
    now_unix_ms: i64,
) -> Result<(), CatalogError> {
    let saveset = match job.kind {
        crate::JobKind::Backup => end.saveset.as_ref().map(|saveset| saveset.saveset),
        _ => job.saveset,
    };
    transaction.execute(
        "INSERT INTO results (job, saveset, kind, task_name, client_name, level, outcome,
             started_unix_ms, ended_unix_ms, files, bytes, bytes_new, bytes_wire, problems, checked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            count_cell(job.number)?,
            saveset.as_ref().map(SavesetId::as_bytes),
            job.kind.as_str(),
            job.task_name,
            job.client_name,
            job.level.map(Level::as_str),
            end.outcome.as_str(),
            job.started_unix_ms,
            now_unix_ms,
            count_cell(end.progress.files_done)?,
            count_cell(end.progress.bytes_done)?,
            count_cell(end.progress.bytes_new)?,
            count_cell(end.progress.bytes_wire)?,
            count_cell(end.problems_total)?,
            end.checked.as_ref().map(json_cell).transpose()?,
        ],
    )?;
    add_to_totals(transaction, job, end)
}

/// Sums of jobs that ended, all since the catalog was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTotal {
    pub kind: String,
    pub outcome: Outcome,
    pub jobs: u64,
    pub files: u64,
    pub bytes: u64,
    pub bytes_new: u64,
    pub bytes_wire: u64,
    pub problems: u64,
}

impl Catalog {
    /// What jobs came to, by kind and outcome. They stay when results are removed.
    pub fn job_totals(&self) -> Result<Vec<JobTotal>, CatalogError> {
        self.read("sum up its jobs", |catalog| {
            let mut ask =
                catalog.prepare_cached("SELECT * FROM job_totals ORDER BY kind, outcome")?;
            let mut rows = ask.query([])?;
            let mut totals = Vec::new();
            while let Some(row) = rows.next()? {
                totals.push(total_from_row(&Cells::new("job_totals", row))?);
            }
            Ok(totals)
        })
    }
}

fn add_to_totals(transaction: &Session<'_>, job: &Job, end: &JobEnd) -> Result<(), CatalogError> {
    transaction.execute(
        "INSERT INTO job_totals (kind, outcome, jobs, files, bytes, bytes_new, bytes_wire, problems)
         VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (kind, outcome) DO UPDATE SET jobs = job_totals.jobs + 1,
             files = job_totals.files + excluded.files, bytes = job_totals.bytes + excluded.bytes,
             bytes_new = job_totals.bytes_new + excluded.bytes_new,
             bytes_wire = job_totals.bytes_wire + excluded.bytes_wire,
             problems = job_totals.problems + excluded.problems",
        params![
            job.kind.as_str(),
            end.outcome.as_str(),
            count_cell(end.progress.files_done)?,
            count_cell(end.progress.bytes_done)?,
            count_cell(end.progress.bytes_new)?,
            count_cell(end.progress.bytes_wire)?,
            count_cell(end.problems_total)?,
        ],
    )?;
    Ok(())
}

pub(crate) fn total_from_row(cells: &Cells<'_>) -> Result<JobTotal, CatalogError> {
    Ok(JobTotal {
        kind: cells.get("kind")?,
        outcome: cells.word("outcome", Outcome::parse)?,
        jobs: cells.count("jobs")?,
        files: cells.count("files")?,
        bytes: cells.count("bytes")?,
        bytes_new: cells.count("bytes_new")?,
        bytes_wire: cells.count("bytes_wire")?,
        problems: cells.count("problems")?,
    })
}

pub(crate) fn from_row(cells: &Cells<'_>) -> Result<JobResultRow, CatalogError> {
    Ok(JobResultRow {
        job: cells.count("job")?,
        saveset: cells.id_or_none("saveset")?,
        kind: cells.get("kind")?,
        task_name: cells.get("task_name")?,
        client_name: cells.get("client_name")?,
        level: cells.word_or_none("level", Level::parse)?,
        outcome: cells.word("outcome", Outcome::parse)?,
        started_unix_ms: cells.get("started_unix_ms")?,
        ended_unix_ms: cells.get("ended_unix_ms")?,
        files: cells.count("files")?,
        bytes: cells.count("bytes")?,
        bytes_new: cells.count("bytes_new")?,
        bytes_wire: cells.count("bytes_wire")?,
        problems: cells.count("problems")?,
    })
}
