//! What happened in a span of time: from an instant on, and before another one.

use rusqlite::params;
use simsim_model::Outcome;

use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::{CatalogError, JobResultRow, JobTotal, Run, results, runs};

impl Catalog {
    /// Sums of the jobs that ended in a span, by kind and outcome.
    pub fn ends_between(
        &self,
        from_unix_ms: i64,
        until_unix_ms: i64,
    ) -> Result<Vec<JobTotal>, CatalogError> {
        self.read("sum up what ended", |catalog| {
            // PostgreSQL's sums are of another type than what they sum up.
            let mut ask = catalog.prepare_cached(
                "SELECT kind, outcome, COUNT(*) AS jobs, CAST(SUM(files) AS BIGINT) AS files,
                     CAST(SUM(bytes) AS BIGINT) AS bytes,
                     CAST(SUM(bytes_new) AS BIGINT) AS bytes_new,
                     CAST(SUM(bytes_wire) AS BIGINT) AS bytes_wire,
                     CAST(SUM(problems) AS BIGINT) AS problems
                 FROM results WHERE ended_unix_ms >= ?1 AND ended_unix_ms < ?2
                 GROUP BY kind, outcome ORDER BY kind, outcome",
            )?;
            let mut rows = ask.query([from_unix_ms, until_unix_ms])?;
            let mut totals = Vec::new();
            while let Some(row) = rows.next()? {
                totals.push(results::total_from_row(&Cells::new("results", row))?);
            }
            Ok(totals)
        })
    }

    /// The newest jobs that ended in a span otherwise than as *finished*, each with its error.
    pub fn bad_ends(
        &self,
        from_unix_ms: i64,
        until_unix_ms: i64,
        limit: u32,
    ) -> Result<Vec<(JobResultRow, Option<String>)>, CatalogError> {
        self.read("look what ended badly", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT results.*, jobs.error_message AS error_message
                 FROM results JOIN jobs ON jobs.job = results.job
                 WHERE results.ended_unix_ms >= ?1 AND results.ended_unix_ms < ?2
                     AND results.outcome <> ?3
                 ORDER BY results.job DESC LIMIT ?4",
            )?;
            let good = Outcome::Finished.as_str();
            let mut rows = ask.query(params![from_unix_ms, until_unix_ms, good, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("results", row);
                found.push((results::from_row(&cells)?, cells.get("error_message")?));
            }
            Ok(found)
        })
    }

    /// The newest runs that were missed or refused in a span, and how many there are.
    pub fn not_run_between(
        &self,
        from_unix_ms: i64,
        until_unix_ms: i64,
        limit: u32,
    ) -> Result<(Vec<Run>, u64), CatalogError> {
        self.read("look what did not run", |catalog| {
            const WHERE: &str = "FROM runs WHERE fate IN ('missed', 'refused')
                AND decided_unix_ms >= ?1 AND decided_unix_ms < ?2";
            let span = [from_unix_ms, until_unix_ms];
            let total: i64 =
                catalog.query_row(&format!("SELECT COUNT(*) {WHERE}"), span, |row| row.get(0))?;
            let mut ask =
                catalog.prepare_cached(&format!("SELECT * {WHERE} ORDER BY run DESC LIMIT ?3"))?;
            let mut rows =
                ask.query(params![from_unix_ms, until_unix_ms, count_cell(u64::from(limit))?])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(runs::from_row(&Cells::new("runs", row))?);
            }
            Ok((found, total.unsigned_abs()))
        })
    }
}
