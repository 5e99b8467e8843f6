//! How the suite is.

use std::collections::HashSet;

use simsim_catalog::{
    Catalog, CatalogError, Client, DatastoreState, Job, JobFilter, JobKind, JobState, Task,
};
use simsim_format::KitProof;
use simsim_model::Outcome;
use simsim_schedule::{Event, EventKind};

use crate::api::{KitState, Status};
use crate::clock::{lasting_ms, now_unix_ms};
use crate::jobs::QueueRules;
use crate::keys::{HeldKeysSeen, held_keys_seen_in};
use crate::recovery::{newest_self_backup, self_backup_warning};
use crate::rights::{Object, Principal, Right};
use crate::scheduler::{Setup, SetupError};
use crate::{Server, ServerError};

/// Hosts of one kind of trouble that are named one by one.
const NAMED_MAX: usize = 10;

/// Tasks that are not green and are named one by one.
const NOT_GREEN_MAX: usize = 5;

impl Server {
    /// Counts, states, and what somebody should act on.
    pub async fn status(&self, who: &Principal) -> Result<Status, ServerError> {
        self.may_see(who, Right::View, "see the state of", Object::Suite).await?;
        let house = &self.house;
        let (clients, datastores, tasks, savesets, open, last) = house
            .books
            .run(|catalog| {
                let datastores = catalog.datastores()?;
                let mut savesets = 0;
                for datastore in &datastores {
                    savesets += catalog.saveset_count(datastore.store)?;
                }
                let open = catalog.jobs(&JobFilter {
                    states: vec![JobState::Queued, JobState::Running],
                    ..JobFilter::default()
                })?;
                let tasks = catalog.tasks()?;
                // One that somebody cancelled says nothing about how the task is saved.
                let cancelled = JobState::Ended(Outcome::Cancelled);
                let ended: Vec<_> = JobState::ALL
                    .into_iter()
                    .filter(|state| state.is_ended() && *state != cancelled)
                    .collect();
                let mut last = Vec::new();
                for task in &tasks {
                    // One that runs now does not make good what the one before it left.
                    let filter = JobFilter {
                        kind: Some(JobKind::Backup),
                        task_name: Some(task.settings.name.clone()),
                        states: ended.clone(),
                        limit: 1,
                        ..JobFilter::default()
                    };
                    // Another task of this name may have been there before.
                    let jobs = catalog.jobs(&filter)?;
                    last.extend(jobs.into_iter().filter(|job| job.task == Some(task.id)));
                }
                Ok((catalog.clients()?, datastores, tasks.len(), savesets, open, last))
            })
            .await?;
        let mut warnings = Vec::new();
        let enrolled: Vec<_> = clients.iter().filter(|client| client.is_enrolled()).collect();
        let mut connected = 0;
        let mut away = Vec::new();
        for client in &enrolled {
            let status = house.nodes.status(client.id);
            let listens = status.as_ref().is_some_and(|status| status.listens_for_ctrl);
            warnings.extend(super::clients::unencrypted(client, listens));
            match status {
                Some(status) if status.line.is_some() => connected += 1,
                Some(status) => {
                    let why =
                        status.last_error.map_or("not dialled yet".to_owned(), |(_, why)| why);
                    away.push(format!("client '{}' is not reached: {why}", client.name));
                }
                None => {}
            }
        }
        warnings.extend(few(away, "clients are not reached: see them with 'simsim client list'"));
        let kit = match house.kit.proof(&house.books).await? {
            None => {
                warnings.push(
                    "there is no recovery kit: with this server all its keys would be lost; make \
                     one with 'simsim key kit new'"
                        .to_owned(),
                );
                KitState::None
            }
            Some(KitProof::Open { .. }) => {
                warnings.push(
                    "nobody has shown that the recovery kit was kept: do it with 'simsim key kit prove'"
                        .to_owned(),
                );
                KitState::Unproven
            }
            Some(KitProof::Proven { unix_ms }) => KitState::Proven { proven_unix_ms: unix_ms },
        };
        for datastore in &datastores {
            if datastore.state == DatastoreState::Detached {
                warnings.push(format!("datastore '{}' is out of service", datastore.name));
            }
        }
        let hosts: Vec<Client> = enrolled.iter().copied().cloned().collect();
        warnings.extend(house.books.run(move |catalog| of_hosts(catalog, &hosts)).await?);
        let self_backup_unix_ms = house.books.run(newest_self_backup).await?;
        if kit != KitState::None {
            let warning =
                house.books.run(move |catalog| self_backup_warning(catalog, now_unix_ms()));
            warnings.extend(warning.await?);
        }
        warnings.extend(house.scheduler.trouble());
        warnings.extend(self.ask_setup(uncovered).await?);
        if let Some(paused) = house.books.run(QueueRules::read).await?.paused {
            let since = lasting_ms(now_unix_ms().saturating_sub(paused.since_unix_ms));
            warnings.push(format!(
                "the queue is paused by {} since {since}: let jobs start again with 'simsim queue resume'",
                paused.by
            ));
        }
        if let Some(doubt) = self.clock_view().await?.doubt {
            warnings.push(format!(
                "nothing expires and nothing is deleted: {doubt} ('simsim retention confirm-clock')"
            ));
        }
        let waiting = house.books.run(|catalog| catalog.approvals(true)).await?;
        let now = now_unix_ms();
        let waiting = waiting.iter().filter(|one| one.expires_unix_ms > now).count();
        if waiting > 0 {
            let acts = match waiting {
                1 => "1 act waits".to_owned(),
                more => format!("{more} acts wait"),
            };
            warnings
                .push(format!("{acts} for a second person: see what with 'simsim approval list'"));
        }
        let tasks_now =
            house.books.run(move |catalog| crate::health::of_tasks(catalog, now)).await?;
        warnings.extend(health_warnings(&tasks_now));
        let told = house.books.run(|catalog| catalog.notifications()).await?;
        warnings.extend(super::notifications::without_secret(&told));
        let providers = house.books.run(|catalog| catalog.identity_providers()).await?;
        warnings.extend(super::identity_providers::without_secret(&providers));
        let undelivered = house.books.run(|catalog| catalog.next_messages()).await?;
        warnings.extend(super::notifications::undelivered(&undelivered));
        warnings.extend(last.iter().filter_map(|job| backup_warning(job, now)));
        let count = |state| open.iter().filter(|job| job.state == state).count() as u64;
        Ok(Status {
            name: house.name.clone(),
            own_client: house.own_name.clone(),
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: house.started_unix_ms,
            fingerprint: house.identity.fingerprint(),
            clients_enrolled: enrolled.len() as u64,
            clients_connected: connected,
            datastores: datastores.len() as u64,
            tasks: tasks as u64,
            tasks_green: tasks_now.iter().filter(|one| one.health.green).count() as u64,
            savesets,
            jobs_queued: count(JobState::Queued),
            jobs_running: count(JobState::Running),
            kit,
            self_backup_unix_ms,
            search: self.search_state(),
            warnings,
        })
    }
}

/// What there is to say about the keys that hosts hold, and about their certificates.
fn of_hosts(catalog: &Catalog, hosts: &[Client]) -> Result<Vec<String>, CatalogError> {
    let mut warnings = Vec::new();
    for host in hosts {
        if let Some(seen) = held_keys_seen_in(catalog, host.id)? {
            warnings.extend(held_key_warnings(&host.name, &seen));
        }
    }
    let now = now_unix_ms();
    let mut late = Vec::new();
    for host in hosts {
        late.extend(crate::certificates::overdue(catalog, host, now)?);
    }
    warnings.extend(few(late, "hosts show a certificate that runs out"));
    Ok(warnings)
}

/// Warnings of one kind: the first of them, and how many there are beside.
fn few(mut warnings: Vec<String>, others: &str) -> Vec<String> {
    let more = warnings.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        warnings.truncate(NAMED_MAX);
        warnings.push(format!("{more} more {others}"));
    }
    warnings
}

/// Tasks that no event backs up by itself. Whoever has no event at all starts everything by hand.
fn uncovered(catalog: &Catalog) -> Result<Vec<String>, SetupError> {
    let setup = Setup::read(catalog)?;
    let runs = |event: &&Event| {
        let schedule = event.schedule.is_some() && event.enabled && !event.blocking;
        schedule && event.kind == EventKind::Backup
    };
    let is_self = |task: &Task| {
        let options = super::options_of(&task.settings.options).unwrap_or_default();
        crate::recovery::is_self_backup(task.settings.kind, &options)
    };
    let tasks = catalog.tasks()?;
    let own: HashSet<&str> =
        tasks.iter().filter(|task| is_self(task)).map(|task| task.settings.name.as_str()).collect();
    let events: Vec<&Event> = setup.programme.events.iter().filter(runs).collect();
    // The one that every server has from the start says nothing about the others.
    let only_own =
        |event: &&Event| event.subjects.iter().all(|one| own.contains(one.name.as_str()));
    if events.iter().all(only_own) {
        return Ok(Vec::new());
    }
    let covered: HashSet<&str> =
        events.iter().flat_map(|event| &event.subjects).map(|one| one.name.as_str()).collect();
    let mut names = Vec::new();
    for task in &tasks {
        let options = super::options_of(&task.settings.options).unwrap_or_default();
        let external = crate::streams::is_external(task.settings.kind, &options);
        if !external && !covered.contains(task.settings.name.as_str()) {
            names.push(task.settings.name.clone());
        }
    }
    let names: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    Ok(match names.as_slice() {
        [] => Vec::new(),
        [one] => {
            vec![format!("no event backs up task {one}: it is saved only when somebody does it")]
        }
        _ => vec![format!(
            "no event backs up tasks {}: they are saved only when somebody does it",
            names.join(", ")
        )],
    })
}

/// What there is to say about tasks that should be green by now: of the first ones, and how many others there are.
fn health_warnings(all: &[crate::api::TaskHealth]) -> Vec<String> {
    let mut warnings: Vec<String> = all.iter().filter_map(health_warning).collect();
    let others = warnings.len().saturating_sub(NOT_GREEN_MAX);
    if others > 0 {
        warnings.truncate(NOT_GREEN_MAX);
        warnings
            .push(format!("{others} further tasks are not green: 'simsim task list' says which"));
    }
    warnings
}

/// What there is to say about a task that should be green by now.
fn health_warning(one: &crate::api::TaskHealth) -> Option<String> {
    let overdue = one.health.findings.iter().filter(|found| found.overdue);
    let words: Vec<&str> = overdue.map(|found| found.words.as_str()).collect();
    let text = words.join("; ");
    (!text.is_empty()).then(|| format!("task '{}' is not green: {text}", one.task))
}

/// What there is to say about the keys that a client holds alone.
fn held_key_warnings(client: &str, seen: &HeldKeysSeen) -> Vec<String> {
    let mut warnings: Vec<String> = seen
        .lost
        .iter()
        .map(|datastore| {
            format!(
                "client '{client}' alone should hold the key of its savesets in '{datastore}', and does \
                 not hold it any more: bring it back on that host with 'simsim key recover'"
            )
        })
        .collect();
    if seen.proven_unix_ms.is_none() && warnings.is_empty() {
        warnings.push(format!(
            "nobody has shown that the recovery kit of client '{client}' was kept: do it on that host \
             with 'simsim key kit prove'"
        ));
    }
    warnings
}

/// What there is to say about the last backup of a task; nothing about one that is *finished*.
fn backup_warning(job: &Job, now_unix_ms: i64) -> Option<String> {
    let outcome = job.state.outcome()?;
    let (name, number) = (&job.task_name, job.number);
    let why = match (&job.error, job.problems_total) {
        _ if outcome == Outcome::Finished => return None,
        (Some(error), _) => format!(": {}", error.message),
        (None, 0) => String::new(),
        (None, 1) => ": 1 problem".to_owned(),
        (None, problems) => format!(": {problems} problems"),
    };
    let ago = match job.ended_unix_ms {
        Some(at) => format!(" {} ago", lasting_ms(now_unix_ms.saturating_sub(at))),
        None => String::new(),
    };
    Some(format!(
        "the last backup of task '{name}' (job {number}){ago}: {outcome}{why}; see it with 'simsim \
         job show {number}', run it again with 'simsim backup {name}'"
    ))
}
