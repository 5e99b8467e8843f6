//! What a job has to tell, line by line.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::jobs::job_exists;

/// Lines of one job beyond this number are dropped; the last one kept says so.
pub const LOG_LINES_KEPT_MAX: usize = 10_000;

/// How loud a line is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Severity::Info, Severity::Warning, Severity::Error]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// From 0, without gaps.
    pub position: u64,
    pub at_unix_ms: i64,
    pub severity: Severity,
    pub line: String,
}

impl Catalog {
    /// Adds a line to a job's log. Lines that come when the log is full are dropped.
    pub fn add_log_line(
        &self,
        job: u64,
        severity: Severity,
        line: &str,
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("add to a job's log", |transaction| {
            if !job_exists(transaction, job)? {
                return Err(CatalogError::not_found("job", job));
            }
            let number = count_cell(job)?;
            let next: i64 = transaction.query_row(
                "SELECT COALESCE(MAX(position) + 1, 0) FROM job_log WHERE job = ?1",
                [number],
                |row| row.get(0),
            )?;
            let kept_max = LOG_LINES_KEPT_MAX as i64;
            let (severity, line) = match next {
                full if full >= kept_max => return Ok(()),
                last if last == kept_max - 1 => {
                    (Severity::Warning, "this log is full; later lines were dropped")
                }
                _ => (severity, line),
            };
            transaction.execute(
                "INSERT INTO job_log (job, position, at_unix_ms, severity, line)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![number, next, now_unix_ms, severity.as_str(), line],
            )?;
            Ok(())
        })
    }

    /// A job's lines from position `from` on, at most `limit`.
    pub fn job_log(&self, job: u64, from: u64, limit: u32) -> Result<Vec<LogLine>, CatalogError> {
        self.read("read a job's log", |catalog| {
            if !job_exists(catalog, job)? {
                return Err(CatalogError::not_found("job", job));
            }
            let mut ask = catalog.prepare_cached(
                "SELECT position, at_unix_ms, severity, line FROM job_log
                 WHERE job = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
            )?;
            let mut rows = ask.query(params![count_cell(job)?, count_cell(from)?, limit])?;
            let mut lines = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("job_log", row);
                lines.push(LogLine {
                    position: cells.count("position")?,
                    at_unix_ms: cells.get("at_unix_ms")?,
                    severity: cells.word("severity", Severity::parse)?,
                    line: cells.get("line")?,
                });
            }
            Ok(lines)
        })
    }
}
