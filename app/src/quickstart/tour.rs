//! One walk through the suite: back up, restore, compare.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use simsim_model::{Kind, Level, Outcome, ProgressSnapshot, TargetKind, escape_path};
use simsim_server::api::{
    CreateDatastoreRequest, DatastoreView, JobDetail, JobRequest, RestoreRequest, RunTaskRequest,
    TaskOptions, TaskRequest,
};
use simsim_server::{JobEventKind, Principal, Server};
use simsim_source::{Difference, compare, compare_without_owners};

use super::names::task_name;
use super::report::Report;
use super::{Arguments, Say};
use crate::cli::follow::bar::View;
use crate::cli::words::{rate, size};
use crate::daemon::Running;
use crate::exit::{self, Failure};
use crate::state::State;

/// Name of the datastore that is made.
const DATASTORE: &str = "main";
const TICK: Duration = Duration::from_millis(250);

/// One walk through the suite.
pub struct Tour<'a> {
    pub arguments: &'a Arguments,
    pub say: Say<'a>,
    pub state: &'a State,
    pub server: Server,
    pub folder: PathBuf,
    pub scratch: PathBuf,
}

/// A job that has ended.
pub struct Ended {
    pub detail: JobDetail,
    pub time: Duration,
}

impl Ended {
    pub fn counters(&self) -> &ProgressSnapshot {
        &self.detail.job.progress
    }

    pub fn outcome(&self) -> Outcome {
        self.detail.job.state.outcome().unwrap_or(Outcome::Interrupted)
    }
}

impl Tour<'_> {
    pub async fn run(&self, running: &Running) -> Result<u8, Failure> {
        let say = self.say;
        say.line(format!("simsim {} on this host", env!("CARGO_PKG_VERSION")))?;
        let mut console = String::new();
        for one in &running.listening {
            let note = one.notice.as_deref().unwrap_or(one.row.protocol);
            say.line(format!("  {:8} {} ({note})", one.row.id, one.address))?;
            if one.row.id == simsim_model::port_registry::CONSOLE.id {
                console = format!("https://localhost:{}/", one.address.port());
            }
        }
        let who = Principal::local_root();
        // The first visit makes the first user; later ones log in.
        if let Ok(first) = self.server.welcome(&who).await {
            console = first.url;
        }
        say.line(format!("  web      {console} (while this runs)"))?;
        let datastore = self.datastore(&who).await?;
        let skipped = self.recovery_kit(&who).await?;
        let task = self.task(&who, &datastore.name).await?;

        say.line(format!("\nBacking up {} as task '{task}'", self.folder.display()))?;
        let request = RunTaskRequest { task: task.clone(), level: Level::Incr };
        let job = self.server.run_task(&who, request).await?.job;
        let backup = self.follow(&who, job, "backup").await?;
        self.tell_backup(&backup)?;
        let Some(saveset) = backup.detail.job.saveset.filter(|_| is_saved(&backup)) else {
            return Err(failed(&backup));
        };

        say.line(format!("\nRestoring to {}", self.scratch.display()))?;
        let request = RestoreRequest {
            saveset: saveset.to_string(),
            target: Some(escape_path(self.scratch.as_os_str().as_bytes())),
            specials: true,
            owners: Some(is_root()),
            ..RestoreRequest::default()
        };
        let job = self.server.restore(&who, request).await?.job;
        let restore = self.follow(&who, job, "restore").await?;
        self.tell_problems(&restore)?;
        if !matches!(restore.outcome(), Outcome::Finished | Outcome::FinishedWithErrors) {
            return Err(failed(&restore));
        }
        let counters = restore.counters();
        say.line(format!(
            "  {} files, {} in {:.1?} ({})",
            counters.files_done,
            size(counters.bytes_done),
            restore.time,
            rate(counters.bytes_done, restore.time)
        ))?;

        let differences = self.compare().await?;
        let store = self.server.datastores(&who).await?;
        let store = store.into_iter().find(|one| one.name == datastore.name).unwrap_or(datastore);
        let report = Report {
            folder: self.folder.clone(),
            state: self.state.folder().to_owned(),
            task,
            saveset,
            backup,
            restore,
            differences,
            store,
            console,
            skipped,
        };
        let outcome = report.outcome();
        if self.arguments.json {
            say.screen.document(&report.document(outcome))?;
            say.screen.flush()?;
        } else {
            report.closing(say)?;
        }
        Ok(exit::of_outcome(outcome))
    }

    /// The datastore of this state; made on the first run.
    async fn datastore(&self, who: &Principal) -> Result<DatastoreView, Failure> {
        let mut there = self.server.datastores(who).await?;
        there.sort_by_key(|one| (one.name != DATASTORE, one.created_unix_ms));
        if let Some(first) = there.into_iter().next() {
            return Ok(first);
        }
        let path = self.state.file("datastore-main");
        let request = CreateDatastoreRequest {
            name: DATASTORE.to_owned(),
            node: None,
            path: path.to_string_lossy().into_owned(),
            drive: None,
            jobs_max: None,
            cut: None,
        };
        Ok(self.server.create_datastore(who, request).await?)
    }

    /// The task of this folder; made on its first run.
    async fn task(&self, who: &Principal, datastore: &str) -> Result<String, Failure> {
        let source = escape_path(self.folder.as_os_str().as_bytes());
        let tasks = self.server.tasks(who).await?;
        let same = |task: &&simsim_server::api::TaskView| {
            task.sources == [source.clone()] && task.client == self.server.own_name()
        };
        if let Some(task) = tasks.iter().find(same) {
            return Ok(task.name.clone());
        }
        let plain = task_name(&self.folder);
        let taken = |name: &String| tasks.iter().any(|task| task.name == *name);
        let name = std::iter::once(plain.clone())
            .chain((2..).map(|number| format!("{plain}-{number}")))
            .find(|name| !taken(name))
            .unwrap_or(plain);
        let request = TaskRequest {
            name,
            client: self.server.own_name().to_owned(),
            kind: TargetKind::Path,
            sources: vec![source],
            excludes: Vec::new(),
            options: TaskOptions::default(),
            datastore: Some(datastore.to_owned()),
            drive: None,
            drive_group: None,
            pool: None,
            eol_days: 0,
        };
        Ok(self.server.add_task(who, request).await?.name)
    }

    /// Shows a job until it has ended.
    async fn follow(
        &self,
        who: &Principal,
        job: u64,
        verb: &'static str,
    ) -> Result<Ended, Failure> {
        let begun = Instant::now();
        let mut view = View::new(self.say.screen, verb.to_owned());
        let mut events = self.server.follow_job(who, JobRequest { job }).await?;
        let mut tick = tokio::time::interval(TICK);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = tick.tick() => {
                    view.tick();
                    continue;
                }
            };
            match event {
                None => break,
                Some(event) => match event.kind {
                    JobEventKind::State { state } => view.state(state),
                    JobEventKind::Progress { progress } => {
                        view.progress(event.at_unix_ms, progress)
                    }
                    JobEventKind::Problem { .. } | JobEventKind::Log { .. } => {}
                },
            }
        }
        view.end();
        let time = begun.elapsed();
        let detail = self.server.job(who, JobRequest { job }).await?;
        Ok(Ended { detail, time })
    }

    fn tell_backup(&self, backup: &Ended) -> Result<(), Failure> {
        self.tell_problems(backup)?;
        let now = backup.counters();
        let (read, new, stored) = (now.bytes_done, now.bytes_new, now.bytes_wire);
        self.say.line(format!(
            "  {} files, {} in {:.1?} ({})",
            now.files_done,
            size(read),
            backup.time,
            rate(read, backup.time)
        ))?;
        self.say.line(format!(
            "  new: {} ({}), stored: {} ({})",
            size(new),
            factor("deduplication", read, new),
            size(stored),
            factor("compression", new, stored)
        ))
    }

    fn tell_problems(&self, ended: &Ended) -> Result<(), Failure> {
        let problems = &ended.detail.problem_list;
        for problem in problems.iter().take(10) {
            self.say.line(format!("  {}: {}", problem.path_text(), problem.message))?;
        }
        let more = ended.detail.job.problems.saturating_sub(problems.len().min(10) as u64);
        if more > 0 {
            self.say.line(format!("  … and {more} more"))?;
        }
        Ok(())
    }

    /// Original against restored.
    async fn compare(&self) -> Result<Vec<Difference>, Failure> {
        let what = if is_root() {
            "every byte and attribute"
        } else {
            "every byte and attribute but owners, which only root can restore"
        };
        self.say.line(format!("\nComparing {what}"))?;
        let restored = self.scratch.join(self.folder.strip_prefix("/").unwrap_or(&self.folder));
        let original = self.folder.clone();
        let compared = tokio::task::spawn_blocking(move || match is_root() {
            true => compare(&original, &restored),
            false => compare_without_owners(&original, &restored),
        });
        let differences = compared.await.map_err(|_| {
            Failure::new(Kind::Internal, "the comparison ended without an answer")
        })??;
        for difference in differences.iter().take(20) {
            self.say.line(format!("  differs: {difference}"))?;
        }
        match differences.len() {
            0 => self.say.line("  identical")?,
            count => self.say.line(format!("  {count} differences"))?,
        }
        Ok(differences)
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_saved(backup: &Ended) -> bool {
    matches!(backup.outcome(), Outcome::Finished | Outcome::FinishedWithErrors)
}

fn failed(ended: &Ended) -> Failure {
    let job = &ended.detail.job;
    match &job.error {
        Some(error) => Failure::new(error.kind, error.message.clone()),
        None if job.state.outcome() == Some(Outcome::Cancelled) => {
            Failure::new(Kind::Cancelled, format!("job {} was cancelled", job.job))
        }
        None => {
            let text = format!("job {} ended as {}", job.job, job.state.as_str());
            Failure::new(Kind::Internal, text)
        }
    }
}

fn factor(noun: &str, before: u64, after: u64) -> String {
    if before == 0 || after == 0 {
        format!("{noun}: nothing new")
    } else {
        format!("{noun} {:.2}×", before as f64 / after as f64)
    }
}
