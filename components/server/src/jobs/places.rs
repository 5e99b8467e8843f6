//! What the jobs that wait may be given, and why they wait: drives, limits, the pause of the queue.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use simsim_catalog::{Catalog, CatalogError, DatastoreState, Drive, Job, JobLimits};
use simsim_model::{Level, StoreId};

use super::wish::Wish;
use crate::clock::lasting_ms;

/// The setting that holds the [`QueueRules`].
const RULES: &str = "queue.rules";

/// What holds for the whole queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct QueueRules {
    /// So many jobs at once.
    pub jobs_max: Option<u32>,
    /// Nothing starts.
    pub paused: Option<Paused>,
}

/// Who paused the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paused {
    pub by: String,
    pub since_unix_ms: i64,
    pub why: String,
}

impl QueueRules {
    pub(crate) fn read(catalog: &Catalog) -> Result<Self, CatalogError> {
        let kept = catalog.setting(RULES)?;
        Ok(kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    pub(crate) fn keep(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        catalog.set_setting(RULES, &serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What the jobs that wait may be given.
pub(crate) struct Places {
    drives: Vec<Drive>,
    /// Datastores in service.
    active: HashSet<StoreId>,
    /// Where the last saveset of a job's task is; for jobs of drive groups.
    last: HashMap<u64, StoreId>,
    limits: JobLimits,
    rules: QueueRules,
    now_unix_ms: i64,
}

impl Places {
    pub(crate) fn read(
        catalog: &Catalog,
        queued: &[Job],
        now_unix_ms: i64,
    ) -> Result<Self, CatalogError> {
        let datastores = catalog.datastores()?;
        let active = datastores.iter().filter(|one| one.state == DatastoreState::Active);
        let mut last = HashMap::new();
        for job in queued {
            if group_of(job).is_some()
                && let Some(store) = catalog.last_store_of(&job.client_name, &job.task_name)?
            {
                last.insert(job.number, store);
            }
        }
        let active = active.map(|one| one.store).collect();
        Ok(Self {
            drives: catalog.drives()?,
            active,
            last,
            limits: catalog.job_limits()?,
            rules: QueueRules::read(catalog)?,
            now_unix_ms,
        })
    }

    /// Whether a job may start at all now; else what it waits for. `reached`: its client is.
    pub(crate) fn may_start(&self, job: &Job, reached: bool) -> Result<(), String> {
        let waiting = &job.waiting;
        if let Some(who) = &waiting.held_by {
            return Err(format!(
                "it is held by {who}: release it with 'simsim job release {}'",
                job.number
            ));
        }
        if let Some(paused) = &self.rules.paused {
            let why = if paused.why.is_empty() { "" } else { ": " };
            return Err(format!("the queue is paused by {}{why}{}", paused.by, paused.why));
        }
        if let Some(at) = waiting.not_before_unix_ms.filter(|at| *at > self.now_unix_ms) {
            let wait = lasting_ms(at.saturating_sub(self.now_unix_ms));
            return Err(format!("attempt {} begins in {wait}", waiting.attempt));
        }
        let by = waiting.start_by_unix_ms;
        if by.is_some_and(|by| by < self.now_unix_ms) {
            return Err("its start window has passed".to_owned());
        }
        // Whoever has time waits for a client that is away; a job without a start window finds out.
        if by.is_some() && !reached {
            return Err(format!("'{}' is not reached", job.client_name));
        }
        Ok(())
    }

    /// Whether one more job may run, beside all that do and those of its client.
    pub(crate) fn has_room(&self, job: &Job, all: usize, of_client: usize) -> Result<(), String> {
        if let Some(most) = self.rules.jobs_max.filter(|most| all >= *most as usize) {
            return Err(format!("{most} jobs run, as many as may run at once"));
        }
        let most = self.limits.clients.get(&job.client).copied();
        match most.filter(|most| of_client >= *most as usize) {
            Some(most) => Err(format!(
                "{most} jobs run on '{}', as many as may run there at once",
                job.client_name
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn group_of_drive(&self, number: u32) -> Option<&str> {
        let drive = self.drives.iter().find(|drive| drive.number == number)?;
        drive.group.as_deref()
    }

    /// Whether the group of a drive takes no more jobs.
    pub(crate) fn group_is_full(&self, drive: &Drive, running: &dyn Fn(&str) -> usize) -> bool {
        let Some(group) = &drive.group else { return false };
        self.limits.groups.get(group).is_some_and(|most| running(group) >= *most as usize)
    }

    /// What a job waits for whose drives are all full.
    pub(crate) fn why_full(drives: &[&Drive]) -> String {
        let numbers: Vec<String> = drives.iter().map(|drive| drive.number.to_string()).collect();
        match numbers.as_slice() {
            [] => "no drive leads to its datastore".to_owned(),
            [one] => format!("drive {one} takes no more jobs at once"),
            _ => format!("drives {} take no more jobs at once", numbers.join(", ")),
        }
    }

    /// The drives that a job may take; `full` are those without a free place.
    pub(crate) fn drives_for(&self, job: &Job, full: &dyn Fn(&Drive) -> bool) -> Vec<&Drive> {
        let Some(group) = group_of(job) else {
            let is_its = |drive: &&Drive| {
                drive.store == job.store && job.drive.is_none_or(|wanted| wanted == drive.number)
            };
            return self.drives.iter().filter(is_its).collect();
        };
        let all: Vec<&Drive> =
            self.drives.iter().filter(|drive| drive.group.as_ref() == Some(&group)).collect();
        // Where none is in service, the job is started and told so.
        let some: Vec<&Drive> =
            all.iter().copied().filter(|drive| self.active.contains(&drive.store)).collect();
        let all = if some.is_empty() { all } else { some };
        let near: Vec<&Drive> = match self.last.get(&job.number) {
            Some(last) => all.iter().copied().filter(|drive| drive.store == *last).collect(),
            None => Vec::new(),
        };
        let compares = !matches!(job.level, Some(Level::Full | Level::Copy));
        match near.is_empty() || (!compares && near.iter().all(|drive| full(drive))) {
            true => all,
            false => near,
        }
    }
}

fn group_of(job: &Job) -> Option<String> {
    Wish::of(job).ok()?.drive_group().map(str::to_owned)
}
