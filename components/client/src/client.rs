//! The client's verbs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use simsim_control::verbs::{
    AnswerAskReply, CreateHeldKeyReply, DomainKeyHeldReply, Event, FollowJobReply, JobError,
    JobKind, Reply, Request, RunCommandReply, RunDrillReply, RunningJob, StartBackupReply,
    StartRestoreReply,
};
use simsim_control::{Job, JobBook, VerbError};
use simsim_format::{DomainKey, KitProof};
use simsim_model::{DomainId, Kind, Problem, Secret, StoreId};
use simsim_net::outbound::Opener;
use simsim_net::tls::TlsIdentity;
use simsim_transfer::{DataPorts, DialOptions};
use tokio::runtime::Handle;

use crate::around::Owed;
use crate::asks::Asks;
use crate::probe::{Turnstile, probe};
use crate::scratch::Scratches;
use crate::{ClientError, HeldKeys, Policy, backup, commands, drill, restore};

/// How a client works.
#[derive(Clone)]
pub struct ClientOptions {
    /// This host's name, for the pages of its recovery kit; see [`HeldKeys::set_host`].
    pub host: String,
    /// The owner's policy file; by default `policy.toml` in the state folder.
    pub policy: Option<PathBuf>,
    /// Jobs at the same time; more are refused as `Busy`.
    pub jobs_max: usize,
    /// Threads of one job that compress or open; 0 takes the number of cores.
    pub threads: usize,
    pub zstd_level: i32,
    /// Connections and patience towards a device.
    pub dial: DialOptions,
    /// Shown at the ports of drives.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Opens connections at the other end of the one that this host keeps open to its server.
    pub outbound: Option<Arc<dyn Opener>>,
    /// For FTP in active mode: ports of this host.
    pub data_ports: DataPorts,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            host: "this host".to_owned(),
            policy: None,
            jobs_max: 8,
            threads: 0,
            zstd_level: 3,
            dial: DialOptions::default(),
            tls: None,
            outbound: None,
            data_ports: DataPorts::default(),
        }
    }
}

/// A client: answers the verbs of `simsim_control::verbs` that a client answers.
pub struct Client {
    pub(crate) options: ClientOptions,
    pub(crate) handle: Handle,
    policy: PathBuf,
    keys: HeldKeys,
    pub(crate) owed: Owed,
    pub(crate) scratches: Scratches,
    pub(crate) asks: Asks,
    jobs: Arc<JobBook>,
    pub(crate) turnstile: Turnstile,
}

impl Client {
    /// A client that keeps its keys in `state_folder` and moves data on `handle`'s runtime.
    pub fn new(state_folder: &Path, options: ClientOptions, handle: Handle) -> Arc<Self> {
        let policy = options.policy.clone().unwrap_or_else(|| state_folder.join("policy.toml"));
        let owed = Owed::new(state_folder.join("owed"));
        owed.settle(policy.clone());
        let scratches = Scratches::new(state_folder);
        scratches.sweep();
        Arc::new(Self {
            policy,
            owed,
            scratches,
            keys: HeldKeys::new(state_folder.join("keys"), options.host.clone()),
            asks: Asks::default(),
            jobs: JobBook::new(options.jobs_max),
            options,
            handle,
            turnstile: Turnstile::new(),
        })
    }

    /// Answers a verb of a client; `None` for a verb of another role, and for a job that this
    /// client does not know. `events` hears progress and problems of the job that is started or
    /// followed; the job goes on when the future is dropped.
    pub async fn handle(
        self: &Arc<Self>,
        request: &Request,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Option<Result<Reply, VerbError>> {
        Some(match request {
            Request::StartBackup(request) => {
                let (client, request) = (Arc::clone(self), request.clone());
                let number = request.ticket.job;
                let work = move |job: &Arc<Job>| backup::run(&client, &request, job);
                self.run(number, JobKind::Backup, work, events)
                    .await
                    .map(|result| StartBackupReply { result }.into())
            }
            Request::StartRestore(request) => {
                let (client, request) = (Arc::clone(self), request.clone());
                let number = request.ticket.job;
                let work = move |job: &Arc<Job>| restore::run(&client, &request, job);
                self.run(number, JobKind::Restore, work, events)
                    .await
                    .map(|result| StartRestoreReply { result }.into())
            }
            Request::RunDrill(request) => {
                let (client, request) = (Arc::clone(self), request.clone());
                let number = request.restore.ticket.job;
                let work = move |job: &Arc<Job>| drill::run(&client, &request, job).map(|()| None);
                self.run(number, JobKind::Drill, work, events)
                    .await
                    .map(|result| RunDrillReply { result }.into())
            }
            Request::RunCommand(request) => {
                let (client, request) = (Arc::clone(self), request.clone());
                let number = request.job;
                let work =
                    move |job: &Arc<Job>| commands::run(&client, &request, job).map(|()| None);
                self.run(number, JobKind::Command, work, events)
                    .await
                    .map(|result| RunCommandReply { result }.into())
            }
            Request::CancelJob(request) => Ok(self.jobs.cancel(request.job)?.into()),
            Request::JobState(request) => Ok(self.jobs.state(request.job)?.into()),
            Request::FollowJob(request) => {
                let result = self.jobs.follow(request.job, events).await?;
                Ok(FollowJobReply { result }.into())
            }
            Request::Probe(request) => probe(self, request).await.map(Reply::from),
            Request::DomainKeyHeld(request) => {
                let (store, domain) = (request.store, request.domain);
                self.with_keys(move |keys| {
                    if keys.get(store, domain)?.is_none() {
                        return Ok(DomainKeyHeldReply::default().into());
                    }
                    // A key without its kit is still a key: backups go on.
                    let slots = keys.slots(store, domain).unwrap_or_else(|error| {
                        tracing::error!(%error, "a held key cannot be wrapped for a recovery kit");
                        None
                    });
                    let slots = slots.unwrap_or_default();
                    let kit_proven_unix_ms = match keys.proof() {
                        Ok(Some(KitProof::Proven { unix_ms })) => Some(unix_ms),
                        _ => None,
                    };
                    let pages = keys.pages().into_iter().filter(|page| page.exists());
                    let kit_pages = pages.map(|page| page.display().to_string()).collect();
                    Ok(DomainKeyHeldReply { held: true, slots, kit_proven_unix_ms, kit_pages }
                        .into())
                })
                .await
            }
            Request::CreateHeldKey(request) => {
                let (store, domain) = (request.store, request.domain);
                self.with_keys(move |keys| {
                    Ok(CreateHeldKeyReply { slots: keys.create(store, domain)? }.into())
                })
                .await
            }
            Request::NextAsk(_) => Ok(self.asks.next().await.into()),
            Request::AnswerAsk(answer) => {
                self.asks.answer(answer.clone());
                Ok(AnswerAskReply::default().into())
            }
            _ => return None,
        })
    }

    async fn run(
        &self,
        number: u64,
        kind: JobKind,
        work: impl FnOnce(&Arc<Job>) -> Result<Option<simsim_model::CommitReply>, ClientError>
        + Send
        + 'static,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<simsim_control::verbs::JobResult, VerbError> {
        let work = move |job: &Arc<Job>| {
            work(job).map_err(|error| {
                tracing::warn!(job = job.number(), %error, "job ended");
                JobError::from(error)
            })
        };
        let job = self
            .jobs
            .start(number, kind, work)
            .map_err(|error| VerbError::new(error.kind, error.message))?;
        tracing::info!(job = number, kind = kind.as_str(), "job started");
        let result = job.follow(events).await;
        tracing::info!(job = number, outcome = result.outcome.as_str(), "job ended");
        Ok(result)
    }

    async fn with_keys(
        self: &Arc<Self>,
        work: impl FnOnce(&HeldKeys) -> Result<Reply, ClientError> + Send + 'static,
    ) -> Result<Reply, VerbError> {
        let client = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&client.keys)).await {
            Ok(done) => done.map_err(VerbError::from),
            Err(_) => Err(VerbError::new(Kind::Internal, "a defect here; the log says where")),
        }
    }

    /// What runs here, for `NodeState`.
    pub fn running_jobs(&self) -> Vec<RunningJob> {
        self.jobs.running()
    }

    /// The keys that only this client holds.
    pub fn held_keys(&self) -> &HeldKeys {
        &self.keys
    }

    /// Refuses new jobs and ends the running ones as *interrupted*, within `patience`.
    pub async fn close(&self, patience: Duration) {
        self.jobs.close(patience).await;
    }

    /// The owner's policy as it stands now.
    pub(crate) fn policy(&self) -> Result<Policy, ClientError> {
        Policy::load(&self.policy)
    }

    /// The key that the server sent, or else the one that this client holds.
    pub(crate) fn domain_key(
        &self,
        sent: Option<&Secret>,
        store: StoreId,
        domain: DomainId,
    ) -> Result<DomainKey, ClientError> {
        if let Some(sent) = sent {
            return Ok(DomainKey::new(sent));
        }
        let held = match self.keys.get(store, domain)? {
            None => self.keys.of_domain(domain)?,
            held => held,
        };
        Ok(DomainKey::new(&held.ok_or(ClientError::NoKey)?))
    }
}

/// What the mover reports goes to the job.
pub(crate) fn on_problem(job: &Arc<Job>) -> Arc<dyn Fn(&Problem) + Send + Sync> {
    let job = Arc::clone(job);
    Arc::new(move |problem| job.problem(problem.clone()))
}
