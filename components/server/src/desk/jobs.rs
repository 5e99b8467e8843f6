//! Jobs: running tasks, listing, following, cancelling, logs.

use simsim_catalog::{
    ClientId, Job, JobFilter, JobKind, JobState, NO_STORE, NewJob, StoreNames, Waiting,
};
use simsim_model::{TargetKind, escape_path};
use simsim_transfer::throttle::Party;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::commands::check_commands;
use super::named::{check_event, check_task};
use super::pools::PoolPlace;
use super::tasks::{check_size, options_of, refuse_beside_group, sources_of};
use crate::api::{
    Asked, BackupRequest, JobDetail, JobListRequest, JobReply, JobRequest, JobView, LimitedView,
    LogReply, LogRequest, RunTaskRequest, VerifyDepth,
};
use crate::clock::now_unix_ms;
use crate::jobs::{BackupWish, JobEvent, JobEventKind, Wish, backup_of};
use crate::rates::{self, Limit};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError, wake};

/// Paths that are longer together are shortened where they stand for a task's name.
const PATHS_NAME_BYTES_MAX: usize = 256;

impl Server {
    /// Queues a backup of a task.
    pub async fn run_task(
        &self,
        who: &Principal,
        request: RunTaskRequest,
    ) -> Result<JobReply, ServerError> {
        let name = request.task.clone();
        let task = self.house.books.run(move |catalog| catalog.task(&name)).await?;
        let settings = &task.settings;
        if crate::streams::is_external(settings.kind, &options_of(&settings.options)?) {
            return Err(ServerError::invalid(format!(
                "the streams of task '{0}' come from outside: send one with a token, or start a job \
                 that waits for one with 'simsim backup {0} --external'",
                settings.name
            )));
        }
        let object = Object::task(settings);
        let detail = format!("task '{}', {}", settings.name, request.level.as_str());
        self.may_do(who, Right::Backup, "task.run", object, detail).await?;
        let new = backup_of(task, request.level, who.name().to_owned(), &[])?;
        self.queue(new).await
    }

    /// Queues a backup of paths, without a task.
    pub async fn backup_paths(
        &self,
        who: &Principal,
        request: BackupRequest,
    ) -> Result<JobReply, ServerError> {
        let client = request.client.clone().unwrap_or_else(|| self.house.own_name.clone());
        let sources = sources_of(&request.sources, TargetKind::Path)?;
        if sources.is_empty() {
            return Err(ServerError::invalid("say what to back up: at least one path"));
        }
        check_size(&sources, &request.excludes)?;
        check_commands(&request.options)?;
        self.check_choices(&request.options.interfaces).await?;
        let object = Object::Client(&client);
        let name = name_of_paths(&sources);
        let detail = format!("{name}, {}", request.level.as_str());
        if request.options.has_commands() {
            let verb = "have commands run at";
            self.may_see(who, Right::Administer, verb, object).await?;
        }
        self.may_do(who, Right::Backup, "backup", object, detail).await?;
        let place = PoolPlace {
            datastore: request.datastore,
            drive: request.drive,
            drive_group: request.drive_group,
        };
        let place = self.place_in_pool(request.pool.as_deref(), place).await?;
        let request = BackupRequest {
            datastore: place.datastore,
            drive: place.drive,
            drive_group: place.drive_group,
            ..request
        };
        let store = match &request.drive_group {
            Some(group) => {
                refuse_beside_group(group, request.datastore.as_deref(), request.drive)?;
                self.store_of_group(group, &client, &name).await?
            }
            None => self.house.datastore(request.datastore).await?.store,
        };
        let client = self.house.books.run(move |catalog| catalog.client(&client)).await?;
        if !client.is_enrolled() {
            return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
        }
        let wish = Wish::Backup(BackupWish {
            kind: TargetKind::Path,
            sources: request.sources,
            excludes: request.excludes,
            options: request.options,
            level: request.level,
            eol_days: request.eol_days,
            drive_group: request.drive_group,
        });
        self.queue(NewJob {
            kind: JobKind::Backup,
            task: None,
            task_name: name,
            client: client.id,
            store,
            domain: None,
            drive: request.drive,
            level: Some(request.level),
            saveset: None,
            pool: request.pool,
            request: wish.to_text()?,
            requested_by: who.name().to_owned(),
            waiting: Waiting::default(),
        })
        .await
    }

    /// Puts a job into the queue and looks at it.
    pub(crate) async fn queue(&self, mut new: NewJob) -> Result<JobReply, ServerError> {
        let status = self.house.nodes.status(new.client);
        let reached = status.is_none_or(|status| status.line.is_some_and(|line| !line.is_lost()));
        let job = self
            .house
            .books
            .run(move |catalog| {
                // Who sleeps is woken and waited for.
                if !reached
                    && new.waiting.start_by_unix_ms.is_none()
                    && wake::of_client(&catalog.client_numbered(new.client)?).is_some()
                {
                    new.waiting.start_by_unix_ms = Some(now_unix_ms() + wake::PATIENCE_MS);
                }
                catalog.queue_job(&new, now_unix_ms())
            })
            .await?;
        let announcer = self.house.jobs.announcer();
        announcer.tell(job.number, JobEventKind::State { state: job.state });
        self.house.jobs.wake();
        Ok(JobReply { job: job.number })
    }

    /// The jobs of clients that the caller may see, newest first.
    pub async fn jobs(
        &self,
        who: &Principal,
        request: JobListRequest,
    ) -> Result<Vec<JobView>, ServerError> {
        let within = self.may_list(who, "list jobs of", request.client.as_deref()).await?;
        let (jobs, stores) = self
            .house
            .books
            .run(move |catalog| {
                let client: Option<ClientId> = match &request.client {
                    Some(name) => Some(catalog.client(name)?.id),
                    None => None,
                };
                let states = match request.open_only {
                    true => vec![JobState::Queued, JobState::Running],
                    false => request.outcomes.iter().copied().map(JobState::Ended).collect(),
                };
                let filter = JobFilter {
                    kind: request.kind,
                    task_name: request.task.clone(),
                    client,
                    within,
                    event: request.event.clone(),
                    states,
                    ended_since_unix_ms: request.ended_since_unix_ms,
                    ended_until_unix_ms: request.ended_until_unix_ms,
                    before: request.before,
                    limit: if request.limit == 0 { 100 } else { request.limit },
                };
                let jobs = catalog.jobs(&filter)?;
                // Of one who does not see all of them it is not said whether a task or an event is there.
                if jobs.is_empty() && filter.within.is_none() {
                    if let Some(name) = &filter.task_name
                        && let Some(unknown) = check_task(catalog, name)?
                    {
                        return Ok(Err(unknown));
                    }
                    if let Some(name) = &filter.event
                        && let Some(unknown) = check_event(catalog, name)?
                    {
                        return Ok(Err(unknown));
                    }
                }
                Ok(Ok((jobs, catalog.datastore_names()?)))
            })
            .await??;
        let limits = rates::all(&self.house).await?;
        Ok(jobs.into_iter().map(|job| self.job_view(job, &stores, &limits)).collect())
    }

    /// One job with its problems.
    pub async fn job(
        &self,
        who: &Principal,
        request: JobRequest,
    ) -> Result<JobDetail, ServerError> {
        let job = self.seen_job(who, request.job).await?;
        let (problem_list, stores, checked) = self
            .house
            .books
            .run(move |catalog| {
                let problems = catalog.job_problems(request.job)?;
                Ok((problems, catalog.datastore_names()?, catalog.checked(request.job)?))
            })
            .await?;
        let limits = rates::all(&self.house).await?;
        Ok(JobDetail { job: self.job_view(job, &stores, &limits), problem_list, checked })
    }

    /// Asks a job to end. One that waits is cancelled at once; one that runs ends when its client
    /// says so.
    pub async fn cancel_job(
        &self,
        who: &Principal,
        request: JobRequest,
    ) -> Result<JobView, ServerError> {
        let job = self.seen_job(who, request.job).await?;
        let object = Object::job(&job);
        let detail = format!("job {}", request.job);
        self.may_do(who, Right::Backup, "job.cancel", object, detail).await?;
        crate::streams::end_job(&self.house, request.job).await?;
        self.house.scheduler.wake();
        let number = request.job;
        let (job, stores) = self
            .house
            .books
            .run(move |catalog| Ok((catalog.job(number)?, catalog.datastore_names()?)))
            .await?;
        let limits = rates::all(&self.house).await?;
        Ok(self.job_view(job, &stores, &limits))
    }

    /// Lines of a job's log.
    pub async fn job_log(
        &self,
        who: &Principal,
        request: LogRequest,
    ) -> Result<LogReply, ServerError> {
        self.seen_job(who, request.job).await?;
        let limit = if request.limit == 0 { 1000 } else { request.limit };
        let lines = self
            .house
            .books
            .run(move |catalog| catalog.job_log(request.job, request.from, limit))
            .await?;
        Ok(LogReply { lines })
    }

    /// Follows a job: its state now, then its events until it has ended.
    pub async fn follow_job(
        &self,
        who: &Principal,
        request: JobRequest,
    ) -> Result<JobFollower, ServerError> {
        // First listen, then look: nothing falls between.
        let events = self.house.jobs.announcer().listen();
        let job = self.seen_job(who, request.job).await?;
        Ok(JobFollower {
            server: self.clone(),
            job: request.job,
            events,
            first: Some(JobEvent {
                job: job.number,
                at_unix_ms: now_unix_ms(),
                kind: JobEventKind::State { state: job.state },
            }),
            ended: false,
        })
    }

    async fn seen_job(&self, who: &Principal, number: u64) -> Result<Job, ServerError> {
        let job = self.house.books.run(move |catalog| catalog.job(number)).await?;
        let object = Object::job(&job);
        self.may_see(who, Right::View, "see a job of", object).await?;
        Ok(job)
    }

    fn job_view(&self, job: Job, stores: &StoreNames, limits: &[Limit]) -> JobView {
        let limited = self.limited(&job, limits);
        let asked = self.asked(&job);
        let progress = match job.state {
            JobState::Running => self.house.jobs.progress(job.number).unwrap_or(job.progress),
            _ => job.progress,
        };
        // The id of a backup's saveset is chosen before there is one.
        let committed = matches!(
            job.state,
            JobState::Ended(
                simsim_model::Outcome::Finished | simsim_model::Outcome::FinishedWithErrors
            )
        );
        let saveset = job.saveset.filter(|_| job.kind != JobKind::Backup || committed);
        JobView {
            job: job.number,
            kind: job.kind.as_str().to_owned(),
            task: job.task_name,
            client: job.client_name,
            datastore: match job.store {
                NO_STORE => String::new(),
                store => stores.get(&store).cloned().unwrap_or_else(|| store.to_string()),
            },
            drive: job.drive,
            level: job.level,
            saveset,
            requested_by: job.requested_by,
            event: job.waiting.event,
            attempt: job.waiting.attempt,
            retry_of: job.waiting.retry_of,
            state: job.state,
            queued_unix_ms: job.queued_unix_ms,
            started_unix_ms: job.started_unix_ms,
            ended_unix_ms: job.ended_unix_ms,
            cancel_asked: job.cancel_asked_unix_ms.is_some(),
            progress,
            asked,
            waits: self.house.jobs.waits(job.number),
            limited,
            error: job.error,
            problems: job.problems_total,
        }
    }

    /// The lowest rate limit that counts for a running job. Of one that an earlier server started only
    /// the host is known whose data it is.
    fn limited(&self, job: &Job, limits: &[Limit]) -> Option<LimitedView> {
        let moves = matches!(
            job.kind,
            JobKind::Backup
                | JobKind::Restore
                | JobKind::Drill
                | JobKind::Replicate
                | JobKind::Migrate
                | JobKind::Heal
        );
        if job.state != JobState::Running || !moves {
            return None;
        }
        let party = self.house.jobs.party(job.number).unwrap_or_else(|| Party {
            hosts: vec![job.client_name.clone()],
            addresses: Vec::new(),
        });
        rates::lowest(limits, &party, &rates::now())
    }

    fn asked(&self, job: &Job) -> Asked {
        match Wish::of(job) {
            Ok(Wish::Backup(wish)) => Asked {
                stream: crate::streams::is_external(wish.kind, &wish.options),
                paths: wish.sources,
                ..Asked::default()
            },
            Ok(Wish::Read(_)) => Asked { stream: true, ..Asked::default() },
            Ok(Wish::Restore(wish)) => Asked {
                paths: wish.paths,
                patterns: wish.patterns,
                target: wish.target,
                overwrite: Some(wish.overwrite),
                dry_run: wish.dry_run,
                ..Asked::default()
            },
            Ok(Wish::Drill(wish)) => Asked { target: wish.folder, ..Asked::default() },
            Ok(Wish::Verify(wish)) => Asked {
                depth: Some(wish.depth),
                keys_withheld: wish.depth == VerifyDepth::Bytes
                    && !wish.keys_to_device
                    && job.client != self.house.nodes.own(),
                ..Asked::default()
            },
            Ok(
                Wish::Rebuild
                | Wish::Collect(_)
                | Wish::Replicate(_)
                | Wish::Migrate(_)
                | Wish::Scrub(_)
                | Wish::Heal(_)
                | Wish::Command(_),
            )
            | Err(_) => Asked::default(),
        }
    }
}

/// What stands for a task's name where there is none: the paths themselves, and for very long ones
/// their beginning with a hash. It begins with `/`, as no task's name does.
fn name_of_paths(sources: &[Vec<u8>]) -> String {
    let mut paths: Vec<String> = sources.iter().map(|path| escape_path(path)).collect();
    paths.sort_unstable();
    let name = paths.join(" ");
    if name.len() <= PATHS_NAME_BYTES_MAX {
        return name;
    }
    let beginning: String = name.chars().take(PATHS_NAME_BYTES_MAX / 8).collect();
    format!("{beginning}… {}", &blake3::hash(name.as_bytes()).to_hex()[..16])
}

/// The events of one job, from its state at the time of asking to its end.
pub struct JobFollower {
    server: Server,
    job: u64,
    events: broadcast::Receiver<JobEvent>,
    first: Option<JobEvent>,
    ended: bool,
}

impl JobFollower {
    /// The next event; `None` after the job has ended, or when the Server stops. A caller that was too slow for all events
    /// misses some of them, never the end.
    pub async fn next(&mut self) -> Option<JobEvent> {
        if self.ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            self.ended = is_end(&first);
            return Some(first);
        }
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = self.server.house.stop.cancelled() => Err(RecvError::Closed),
            };
            match event {
                Ok(event) if event.job == self.job => {
                    self.ended = is_end(&event);
                    return Some(event);
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    let number = self.job;
                    let job = self.server.house.books.run(move |catalog| catalog.job(number)).await;
                    match job {
                        Ok(job) if !job.state.is_ended() => {}
                        Ok(job) => {
                            self.ended = true;
                            return Some(JobEvent {
                                job: self.job,
                                at_unix_ms: now_unix_ms(),
                                kind: JobEventKind::State { state: job.state },
                            });
                        }
                        Err(_) => {
                            self.ended = true;
                            return None;
                        }
                    }
                }
                Err(RecvError::Closed) => {
                    self.ended = true;
                    return None;
                }
            }
        }
    }
}

fn is_end(event: &JobEvent) -> bool {
    matches!(&event.kind, JobEventKind::State { state } if state.is_ended())
}
