//! Sums by day: how jobs ended, and what backups added.

use rusqlite::params;
use simsim_model::Outcome;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;

const DAY_MS: i64 = 86_400_000;

/// How many jobs of a kind ended like that on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayOutcome {
    /// Days since 1970, of the clock that was asked for.
    pub day: i64,
    /// How they ended.
    pub outcome: Outcome,
    pub jobs: u64,
}

/// What backups added on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayAdded {
    pub day: i64,
    pub savesets: u64,
    /// Sizes of what was backed up, of what was new of it, and of what that takes.
    pub bytes: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
}

impl Catalog {
    /// Ended jobs since an instant by day and outcome, oldest first. `offset_ms`: how far the clock whose
    /// days count is ahead of UTC.
    pub fn outcomes_by_day(
        &self,
        since_unix_ms: i64,
        offset_ms: i64,
    ) -> Result<Vec<DayOutcome>, CatalogError> {
        self.read("count jobs by day", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT (ended_unix_ms + ?1) / ?2 AS day, state, COUNT(*) AS jobs FROM jobs
                 WHERE ended_unix_ms >= ?3 GROUP BY 1, 2 ORDER BY 1, 2",
            )?;
            let mut rows = ask.query(params![offset_ms, DAY_MS, since_unix_ms])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("jobs", row);
                let outcome = cells.word("state", Outcome::parse)?;
                found.push(DayOutcome {
                    day: cells.get("day")?,
                    outcome,
                    jobs: cells.count("jobs")?,
                });
            }
            Ok(found)
        })
    }

    /// What backups added since an instant by day, oldest first, all datastores together.
    pub fn added_by_day(
        &self,
        since_unix_ms: i64,
        offset_ms: i64,
    ) -> Result<Vec<DayAdded>, CatalogError> {
        self.read("sum savesets by day", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT (committed_unix_ns / 1000000 + ?1) / ?2 AS day, COUNT(*) AS savesets,
                    CAST(SUM(bytes) AS BIGINT) AS bytes, CAST(SUM(bytes_new) AS BIGINT) AS bytes_new,
                    CAST(SUM(bytes_stored) AS BIGINT) AS bytes_stored
                 FROM savesets WHERE committed_unix_ns >= ?3 GROUP BY 1 ORDER BY 1",
            )?;
            let since = since_unix_ms.saturating_mul(1_000_000);
            let mut rows = ask.query(params![offset_ms, DAY_MS, since])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("savesets", row);
                found.push(DayAdded {
                    day: cells.get("day")?,
                    savesets: cells.count("savesets")?,
                    bytes: cells.count("bytes")?,
                    bytes_new: cells.count("bytes_new")?,
                    bytes_stored: cells.count("bytes_stored")?,
                });
            }
            Ok(found)
        })
    }

    /// The sizes of all savesets that are there, what was new of them, and what that took.
    pub fn sizes_in_all(&self) -> Result<DayAdded, CatalogError> {
        self.read("sum savesets", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT COUNT(*) AS savesets, CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes,
                    CAST(COALESCE(SUM(bytes_new), 0) AS BIGINT) AS bytes_new,
                    CAST(COALESCE(SUM(bytes_stored), 0) AS BIGINT) AS bytes_stored
                 FROM savesets WHERE state = 'present'",
            )?;
            let mut rows = ask.query(params![])?;
            let Some(row) = rows.next()? else {
                return Ok(DayAdded {
                    day: 0,
                    savesets: 0,
                    bytes: 0,
                    bytes_new: 0,
                    bytes_stored: 0,
                });
            };
            let cells = Cells::new("savesets", row);
            Ok(DayAdded {
                day: 0,
                savesets: cells.count("savesets")?,
                bytes: cells.count("bytes")?,
                bytes_new: cells.count("bytes_new")?,
                bytes_stored: cells.count("bytes_stored")?,
            })
        })
    }

    /// Whether there is any user.
    pub fn has_users(&self) -> Result<bool, CatalogError> {
        self.read("look for users", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT name FROM users LIMIT 1")?;
            let mut rows = ask.query(params![])?;
            Ok(rows.next()?.is_some())
        })
    }
}
