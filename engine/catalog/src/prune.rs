//! What has been kept long enough: runs, jobs with their results and logs, deletions that are done, messages that went
//! out. Nothing goes that something else still stands on; the audit log and the evidence of drills never go.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;

/// What ended before goes; `None`: it is kept for ever. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptSince {
    pub runs: Option<i64>,
    pub jobs: Option<i64>,
    pub job_logs: Option<i64>,
    pub deletions: Option<i64>,
    pub messages: Option<i64>,
}

/// How many rows went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub runs: u64,
    /// With their results and problems, and what was left of their logs.
    pub jobs: u64,
    /// Lines.
    pub job_logs: u64,
    pub deletions: u64,
    pub messages: u64,
}

impl Pruned {
    pub fn rows(&self) -> u64 {
        self.runs + self.jobs + self.job_logs + self.deletions + self.messages
    }
}

/// Jobs that nothing stands on any more: there is a later one of the same kind for the same thing, and a later good
/// one where it was good; nobody waits for its end; it made or checked no saveset that is still there, and says of no
/// damage; it has no evidence. Said with NOT, so
/// that SQLite goes by the index of the end, and not by one of what nearly all jobs are.
const JOBS: &str = "SELECT job FROM jobs WHERE ended_unix_ms < ?1 AND NOT (noticed = 0)
    AND NOT (followed = 0 AND event > '')
    AND NOT EXISTS (SELECT 1 FROM drills WHERE drills.job = jobs.job)
    AND NOT (kind IN ('backup', 'verify') AND saveset IS NOT NULL AND (
        EXISTS (SELECT 1 FROM savesets
            WHERE savesets.saveset = jobs.saveset AND savesets.state = 'present')
        OR EXISTS (SELECT 1 FROM copies WHERE copies.saveset = jobs.saveset)))
    AND NOT (kind IN ('verify', 'scrub', 'heal') AND EXISTS (SELECT 1 FROM job_problems
        WHERE job_problems.job = jobs.job AND job_problems.kind = 'missing_data'))
    AND EXISTS (SELECT 1 FROM jobs AS later WHERE later.task_name = jobs.task_name
        AND later.kind = jobs.kind AND later.job > jobs.job AND later.client = jobs.client
        AND (later.store = jobs.store OR jobs.store IS NULL)
        AND (jobs.kind <> 'heal' OR later.request = jobs.request)
        AND (jobs.kind <> 'verify' OR jobs.saveset IS NOT NULL OR later.saveset IS NULL)
        AND later.ended_unix_ms IS NOT NULL
        AND (jobs.state <> 'finished' OR later.state = 'finished'))
    ORDER BY ended_unix_ms, job LIMIT ?2";

impl Catalog {
    /// Removes what is older, at most `limit` rows of each kind, in one transaction: who asks again until nothing
    /// went holds nobody up.
    pub fn prune(&self, since: &KeptSince, limit: u32) -> Result<Pruned, CatalogError> {
        self.write("remove what is old", |transaction| {
            let mut pruned = Pruned::default();
            let remove = |text: &str, before: i64| -> Result<u64, CatalogError> {
                Ok(transaction.execute(text, params![before, limit])? as u64)
            };
            if let Some(before) = since.job_logs {
                // By whole jobs, so that no log has a hole.
                pruned.job_logs = remove(
                    "DELETE FROM job_log WHERE job IN (SELECT job FROM jobs WHERE ended_unix_ms < ?1
                         AND EXISTS (SELECT 1 FROM job_log AS line WHERE line.job = jobs.job)
                         ORDER BY ended_unix_ms, job LIMIT ?2)",
                    before,
                )?;
            }
            if let Some(before) = since.runs {
                // The newest one of an event and subject says how they stand.
                pruned.runs = remove(
                    "DELETE FROM runs WHERE run IN (SELECT run FROM runs WHERE decided_unix_ms < ?1
                         AND EXISTS (SELECT 1 FROM runs AS later WHERE later.event = runs.event
                             AND later.subject = runs.subject AND later.run > runs.run
                             AND later.fate IN ('runs', 'missed', 'refused'))
                         AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.job = runs.job
                             AND (jobs.ended_unix_ms IS NULL OR jobs.followed = 0))
                         ORDER BY run LIMIT ?2)",
                    before,
                )?;
            }
            if let Some(before) = since.jobs {
                let jobs: Vec<i64> = transaction
                    .prepare_cached(JOBS)?
                    .query_map(params![before, limit], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for job in &jobs {
                    transaction.execute("DELETE FROM results WHERE job = ?1", [*job])?;
                    transaction.execute("DELETE FROM jobs WHERE job = ?1", [*job])?;
                }
                pruned.jobs = jobs.len() as u64;
            }
            if let Some(before) = since.deletions {
                // While a copy is left somewhere, a deletion keeps others from bringing it back here.
                pruned.deletions = remove(
                    "DELETE FROM deletions WHERE done_unix_ms < ?1 AND saveset IN (
                         SELECT saveset FROM deletions AS done WHERE done_unix_ms < ?1
                             AND NOT EXISTS (SELECT 1 FROM savesets
                                 WHERE savesets.saveset = done.saveset AND savesets.state = 'present')
                             AND NOT EXISTS (SELECT 1 FROM copies WHERE copies.saveset = done.saveset)
                         ORDER BY done_unix_ms, saveset LIMIT ?2)",
                    before,
                )?;
            }
            if let Some(before) = since.messages {
                pruned.messages = remove(
                    "DELETE FROM outbox WHERE message IN (SELECT message FROM outbox
                         WHERE state <> 'waiting' AND ended_unix_ms < ?1 ORDER BY message LIMIT ?2)",
                    before,
                )?;
            }
            Ok(pruned)
        })
    }
}
