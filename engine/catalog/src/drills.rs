//! Restore drills that ended, with their evidence. Evidence stays when savesets and tasks go.

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::sql::Session;
use crate::{AuditEntry, CatalogError};

/// One drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    pub job: u64,
    pub task_name: String,
    /// The client whose data it is.
    pub client_name: String,
    pub saveset: SavesetId,
    /// The copy that was read.
    pub store: StoreId,
    pub passed: bool,
    pub ended_unix_ms: i64,
    /// The text that was signed.
    pub document: String,
    /// Hexadecimal.
    pub signature: String,
    /// The position in the audit log.
    pub audit: u64,
}

/// Which drills to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct DrillFilter {
    pub task_name: Option<String>,
    pub client_name: Option<String>,
    pub passed: Option<bool>,
    /// Only jobs with a lower number: the next page.
    pub before: Option<u64>,
    /// 0: all.
    pub limit: u32,
}

impl Catalog {
    /// Keeps a drill and its row of the audit log, in one step; `entry` is that row, and `audit` of `drill` is
    /// set to its position. One that is kept already stays as it is, and is answered.
    pub fn keep_drill(
        &self,
        drill: &Drill,
        entry: &AuditEntry,
        now_unix_ms: i64,
    ) -> Result<Drill, CatalogError> {
        self.write("keep a restore drill", |transaction| {
            if let Some(there) = by_job(transaction, drill.job)? {
                return Ok(there);
            }
            let audit = self.append_audit(transaction, entry, now_unix_ms)?;
            transaction.execute(
                "INSERT INTO drills (job, task_name, client_name, saveset, store, passed,
                     ended_unix_ms, document, signature, audit)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    count_cell(drill.job)?,
                    drill.task_name,
                    drill.client_name,
                    drill.saveset.as_bytes(),
                    drill.store.as_bytes(),
                    i64::from(drill.passed),
                    drill.ended_unix_ms,
                    drill.document,
                    drill.signature,
                    count_cell(audit)?
                ],
            )?;
            Ok(Drill { audit, ..drill.clone() })
        })
    }

    /// One drill. Errors: `NotFound`.
    pub fn drill(&self, job: u64) -> Result<Drill, CatalogError> {
        self.read("look up a restore drill", |catalog| {
            by_job(catalog, job)?.ok_or_else(|| CatalogError::not_found("restore drill", job))
        })
    }

    /// Drills, newest first.
    pub fn drills(&self, filter: &DrillFilter) -> Result<Vec<Drill>, CatalogError> {
        let limit = if filter.limit == 0 { u32::MAX } else { filter.limit };
        let before = filter.before.map_or(Ok(i64::MAX), count_cell)?;
        self.read("list restore drills", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM drills WHERE job < ?1 AND (task_name = ?2 OR ?2 IS NULL)
                     AND (client_name = ?3 OR ?3 IS NULL) AND (passed = ?4 OR ?4 IS NULL)
                 ORDER BY job DESC LIMIT ?5",
            )?;
            let mut rows = ask.query(params![
                before,
                filter.task_name,
                filter.client_name,
                filter.passed.map(i64::from),
                limit
            ])?;
            let mut drills = Vec::new();
            while let Some(row) = rows.next()? {
                drills.push(from_row(&Cells::new("drills", row))?);
            }
            Ok(drills)
        })
    }

    /// Client, task, whether it was one that passed, and when the newest such drill ended.
    pub fn last_drills(&self) -> Result<Vec<(String, String, bool, i64)>, CatalogError> {
        self.read("look up the last restore drills", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT client_name, task_name, passed, MAX(ended_unix_ms) AS ended_unix_ms
                 FROM drills GROUP BY client_name, task_name, passed",
            )?;
            let mut rows = ask.query([])?;
            let mut last = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("drills", row);
                let (client, task) = (cells.get("client_name")?, cells.get("task_name")?);
                let passed = cells.get::<i64>("passed")? != 0;
                last.push((client, task, passed, cells.get("ended_unix_ms")?));
            }
            Ok(last)
        })
    }
}

fn by_job(catalog: &Session<'_>, job: u64) -> Result<Option<Drill>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM drills WHERE job = ?1")?;
    let mut rows = ask.query([count_cell(job)?])?;
    rows.next()?.map(|row| from_row(&Cells::new("drills", row))).transpose()
}

fn from_row(cells: &Cells<'_>) -> Result<Drill, CatalogError> {
    Ok(Drill {
        job: cells.count("job")?,
        task_name: cells.get("task_name")?,
        client_name: cells.get("client_name")?,
        saveset: cells.id("saveset")?,
        store: cells.id("store")?,
        passed: cells.get::<i64>("passed")? != 0,
        ended_unix_ms: cells.get("ended_unix_ms")?,
        document: cells.get("document")?,
        signature: cells.get("signature")?,
        audit: cells.count("audit")?,
    })
}
