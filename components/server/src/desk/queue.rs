//! The queue: what waits and why; holding jobs, pausing all, limits.

use simsim_catalog::{Catalog, CatalogError};

use crate::api::{
    HoldRequest, JobView, LimitOf, PauseRequest, QueueLimitRequest, QueueView, WaitingView,
};
use crate::clock::now_unix_ms;
use crate::jobs::{Paused, QueueRules};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// What waits, in the order in which it starts, and what holds for all.
    pub async fn queue_view(&self, who: &Principal) -> Result<QueueView, ServerError> {
        self.may_see(who, Right::View, "see the queue", Object::Suite).await?;
        let mut view = self.house.books.run(view_of).await?;
        for waiting in &mut view.waiting {
            waiting.waits = self.house.jobs.waits(waiting.job);
        }
        Ok(view)
    }

    /// Nothing starts until the queue is resumed; what runs goes on.
    pub async fn pause_queue(
        &self,
        who: &Principal,
        request: PauseRequest,
    ) -> Result<QueueView, ServerError> {
        let why = request.why.clone();
        self.may_do(who, Right::Maintain, "queue.pause", Object::Suite, why).await?;
        let by = who.name().to_owned();
        let paused = Paused { by, since_unix_ms: now_unix_ms(), why: request.why };
        self.change_queue(move |rules| rules.paused = Some(paused.clone())).await?;
        self.queue_view(who).await
    }

    /// Lets jobs start again.
    pub async fn resume_queue(&self, who: &Principal) -> Result<QueueView, ServerError> {
        self.may_do(who, Right::Maintain, "queue.resume", Object::Suite, "").await?;
        self.change_queue(|rules| rules.paused = None).await?;
        self.queue_view(who).await
    }

    /// Limits how many jobs run at once: in all, on a client, or on the drives of a group.
    pub async fn limit_queue(
        &self,
        who: &Principal,
        request: QueueLimitRequest,
    ) -> Result<QueueView, ServerError> {
        if request.jobs_max == Some(0) {
            return Err(ServerError::invalid(
                "with a limit of 0 nothing would ever run: pause the queue for that",
            ));
        }
        let most = request.jobs_max.map_or("no limit".to_owned(), |most| format!("{most} jobs"));
        let of = match (&request.client, &request.drive_group) {
            (Some(_), Some(_)) => {
                return Err(ServerError::invalid("name a client or a drive group, not both"));
            }
            (Some(client), None) => format!("client '{client}': {most}"),
            (None, Some(group)) => format!("drive group '{group}': {most}"),
            (None, None) => format!("in all: {most}"),
        };
        self.may_do(who, Right::Administer, "queue.limit", Object::Suite, of).await?;
        let jobs_max = request.jobs_max;
        match (request.client, request.drive_group) {
            (Some(client), _) => {
                self.house.books.run(move |one| one.limit_client(&client, jobs_max)).await?;
            }
            (None, Some(group)) => {
                self.house.books.run(move |one| one.limit_drive_group(&group, jobs_max)).await?;
            }
            (None, None) => self.change_queue(move |rules| rules.jobs_max = jobs_max).await?,
        }
        self.house.jobs.look_anew();
        self.queue_view(who).await
    }

    /// Holds a job that waits, or lets it go.
    pub async fn hold_job(
        &self,
        who: &Principal,
        request: HoldRequest,
    ) -> Result<JobView, ServerError> {
        let number = request.job;
        let job = self.house.books.run(move |catalog| catalog.job(number)).await?;
        let object = Object::job(&job);
        let verb = if request.hold { "job.hold" } else { "job.release" };
        self.may_do(who, Right::Backup, verb, object, format!("job {number}")).await?;
        let by = request.hold.then(|| who.name().to_owned());
        self.house.books.run(move |catalog| catalog.hold_job(number, by.as_deref())).await?;
        self.house.jobs.look_anew();
        let request = crate::api::JobRequest { job: number };
        Ok(self.job(who, request).await?.job)
    }

    async fn change_queue(
        &self,
        change: impl Fn(&mut QueueRules) + Send + 'static,
    ) -> Result<(), ServerError> {
        self.house
            .books
            .run(move |catalog| {
                let mut rules = QueueRules::read(catalog)?;
                change(&mut rules);
                rules.keep(catalog)
            })
            .await?;
        self.house.jobs.look_anew();
        Ok(())
    }
}

fn view_of(catalog: &Catalog) -> Result<QueueView, CatalogError> {
    let rules = QueueRules::read(catalog)?;
    let limits = catalog.job_limits()?;
    let clients = catalog.clients()?;
    let mut of_clients: Vec<LimitOf> = Vec::new();
    for client in clients {
        if let Some(jobs_max) = limits.clients.get(&client.id) {
            of_clients.push(LimitOf { name: client.name, jobs_max: *jobs_max });
        }
    }
    let mut of_groups: Vec<LimitOf> =
        limits.groups.into_iter().map(|(name, jobs_max)| LimitOf { name, jobs_max }).collect();
    of_groups.sort_by(|one, other| one.name.cmp(&other.name));
    let waiting = catalog.queued_jobs()?.into_iter();
    let paused = rules.paused;
    Ok(QueueView {
        jobs_max: rules.jobs_max,
        clients: of_clients,
        drive_groups: of_groups,
        paused_by: paused.as_ref().map(|paused| paused.by.clone()),
        paused_since_unix_ms: paused.as_ref().map(|paused| paused.since_unix_ms),
        paused_why: paused.map(|paused| paused.why),
        waiting: waiting
            .map(|job| WaitingView {
                job: job.number,
                kind: job.kind.as_str().to_owned(),
                task: job.task_name,
                client: job.client_name,
                event: job.waiting.event,
                rank: job.waiting.rank,
                queued_unix_ms: job.queued_unix_ms,
                start_by_unix_ms: job.waiting.start_by_unix_ms,
                held_by: job.waiting.held_by,
                waits: None,
            })
            .collect(),
        running: catalog.recover_jobs()?.len() as u64,
    })
}
