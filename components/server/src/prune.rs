//! What is kept only for a time: looked through once an hour of the server's clock, in small steps, and not while that
//! clock is in doubt: one that jumped ahead would make everything old.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use simsim_catalog::{KeptSince, Pruned};

use crate::clock::now_unix_ms;
use crate::house::House;
use crate::{Server, ServerError};

const LOOK_INTERVAL: Duration = Duration::from_secs(20);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Rows of each kind that go in one transaction.
const ROWS: u32 = 500;
const DAYS_MAX: u32 = 36_500;

/// How many days things are kept; 0: for ever. The audit log, and the evidence of restore drills, stay in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepConfig {
    /// What became of the occurrences of events.
    pub runs_days: u32,
    /// Jobs that ended, with their results and problems.
    pub jobs_days: u32,
    /// The lines of their logs.
    pub job_logs_days: u32,
    /// Deletions that are done.
    pub deletions_days: u32,
    /// Messages of notifications that went out, or were given up.
    pub messages_days: u32,
}

impl Default for KeepConfig {
    fn default() -> Self {
        Self {
            runs_days: 400,
            jobs_days: 400,
            job_logs_days: 90,
            deletions_days: 400,
            messages_days: 30,
        }
    }
}

impl KeepConfig {
    /// The error names the figure that is out of its range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let figures = [
            ("runs_days", self.runs_days),
            ("jobs_days", self.jobs_days),
            ("job_logs_days", self.job_logs_days),
            ("deletions_days", self.deletions_days),
            ("messages_days", self.messages_days),
        ];
        match figures.into_iter().find(|(_, days)| *days > DAYS_MAX) {
            Some((name, _)) => Err(format!("keep.{name}: from 0, for ever, to {DAYS_MAX}")),
            None => Ok(()),
        }
    }

    fn since(&self, now: i64) -> KeptSince {
        let since = |days: u32| (days > 0).then(|| now.saturating_sub(i64::from(days) * DAY_MS));
        KeptSince {
            runs: since(self.runs_days),
            jobs: since(self.jobs_days),
            job_logs: since(self.job_logs_days),
            deletions: since(self.deletions_days),
            messages: since(self.messages_days),
        }
    }
}

/// Looks until the server ends.
pub(crate) async fn run(house: Weak<House>) {
    let mut looked_at: Option<i64> = None;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(house) = house.upgrade() else { return };
        let now = now_unix_ms();
        if looked_at.is_some_and(|at| (0..HOUR_MS).contains(&now.saturating_sub(at))) {
            continue;
        }
        match look(&house, now).await {
            Ok(false) => {}
            Ok(true) => looked_at = Some(now),
            Err(error) => {
                let error = error.full_message();
                tracing::warn!(%error, "what is old could not be removed; it is tried again");
            }
        }
    }
}

/// False: the clock is in doubt.
async fn look(house: &Arc<House>, now: i64) -> Result<bool, ServerError> {
    let server = Server { house: Arc::clone(house) };
    if server.clock_view().await?.doubt.is_some() {
        return Ok(false);
    }
    let since = house.config.keep.since(now);
    let mut sum = Pruned::default();
    loop {
        let gone = house.books.run(move |catalog| catalog.prune(&since, ROWS)).await?;
        sum.runs += gone.runs;
        sum.jobs += gone.jobs;
        sum.job_logs += gone.job_logs;
        sum.deletions += gone.deletions;
        sum.messages += gone.messages;
        if gone.rows() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    if sum.rows() > 0 {
        let Pruned { runs, jobs, job_logs, deletions, messages } = sum;
        tracing::info!(runs, jobs, job_logs, deletions, messages, "what was old is removed");
    }
    Ok(true)
}
