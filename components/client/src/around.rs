//! What runs before and after a backup, and what is owed meanwhile.
//!
//! From before the pre-command starts until the post-command has ended, a file `owed/JOB.toml` in the
//! client's folder names the post-command. A client that was killed finds it at its next start and runs
//! the command then, before it takes a job that has commands: a database is not left standing still.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use simsim_control::Job;
use simsim_control::verbs::StartBackup;
use simsim_model::{CommitReply, Kind, Problem, ProblemKind, failpoint};

use crate::commands::{Failed, Start, in_one_line};
use crate::{Client, ClientError, Policy};

/// A job with commands looks this often whether what is owed was done, and whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The commands of one backup, between the first and the second.
pub(crate) struct Around<'a> {
    client: &'a Client,
    request: &'a StartBackup,
    policy: Policy,
    /// The pre-command was started, so the post-command is owed.
    owes: bool,
}

impl<'a> Around<'a> {
    /// Looks both commands up and runs the first; the backup may begin when this returns.
    ///
    /// # Errors
    /// Why nothing may be read. The second command has run then, if the first was started.
    pub(crate) fn begin(
        client: &'a Client,
        request: &'a StartBackup,
        job: &Arc<Job>,
    ) -> Result<Self, ClientError> {
        let policy = client.policy()?;
        let mut around = Self { client, request, policy, owes: false };
        for name in [&request.pre_command, &request.post_command].into_iter().flatten() {
            around.policy.command(name)?;
        }
        if request.pre_command.is_none() && request.post_command.is_none() {
            return Ok(around);
        }
        client.owed.wait(job)?;
        for (line, failed) in client.owed.take_reports() {
            let kind = if failed { ProblemKind::Command } else { ProblemKind::Note };
            job.problem(Problem::new(b"commands".to_vec(), kind, line));
        }
        if let Some(post) = &request.post_command {
            let owed = OwedCommand {
                job: request.ticket.job,
                client: request.names.client.clone(),
                task: request.names.task.clone(),
                post_command: post.clone(),
                timeout_s: request.command_timeout_s,
            };
            client.owed.note(&owed)?;
            around.owes = true;
        }
        failpoint::hit("client.post_command_owed");
        match around.before(job) {
            Ok(()) => Ok(around),
            Err(error) => {
                around.after(job, outcome_of(&error));
                Err(error)
            }
        }
    }

    fn before(&self, job: &Arc<Job>) -> Result<(), ClientError> {
        let Some(name) = &self.request.pre_command else { return Ok(()) };
        let command = self.policy.command(name)?;
        let progress = job.progress();
        progress.set_waits(&format!("the pre-command '{name}' runs"));
        let surroundings = self.surroundings("before");
        let start = Start {
            command,
            surroundings: &surroundings,
            timeout_s: self.request.command_timeout_s,
            unwanted: &|| progress.is_cancelled(),
        };
        let done = start.run();
        progress.set_waits("");
        failpoint::hit("client.pre_command_done");
        let said = done.map_err(|failed| match failed {
            Failed::Unwanted => ClientError::Cancelled,
            Failed::Badly { what, said } => {
                ClientError::PreCommand { name: name.clone(), what, said: in_one_line(&said) }
            }
        })?;
        note(job, name, said);
        Ok(())
    }

    /// Runs the second command, whatever became of the backup, and returns that.
    pub(crate) fn end(
        self,
        job: &Arc<Job>,
        done: Result<Option<CommitReply>, ClientError>,
    ) -> Result<Option<CommitReply>, ClientError> {
        let outcome = match &done {
            Ok(_) if job.errors_total() > 0 => "finished-with-errors",
            Ok(_) => "finished",
            Err(error) => outcome_of(error),
        };
        self.after(job, outcome);
        done
    }

    fn after(&self, job: &Arc<Job>, outcome: &str) {
        let Some(name) = self.request.post_command.as_ref().filter(|_| self.owes) else { return };
        let progress = job.progress();
        progress.set_waits(&format!("the post-command '{name}' runs"));
        let mut surroundings = self.surroundings("after");
        surroundings.push(("SIMSIM_OUTCOME", outcome.to_owned()));
        let done =
            self.policy.command(name).map_err(|error| error.to_string()).and_then(|command| {
                let start = Start {
                    command,
                    surroundings: &surroundings,
                    timeout_s: self.request.command_timeout_s,
                    // A job that is cancelled owes it all the same.
                    unwanted: &|| false,
                };
                start.run().map_err(|failed| bad_end(name, failed))
            });
        progress.set_waits("");
        match done {
            Ok(said) => note(job, name, said),
            Err(why) => job.problem(Problem::new(name.as_bytes(), ProblemKind::Command, why)),
        }
        if let Err(error) = self.client.owed.paid(self.request.ticket.job) {
            tracing::error!(%error, "a post-command ran and will run again");
        }
    }

    fn surroundings(&self, phase: &str) -> Vec<(&'static str, String)> {
        vec![
            ("SIMSIM_JOB", self.request.ticket.job.to_string()),
            ("SIMSIM_CLIENT", self.request.names.client.clone()),
            ("SIMSIM_TASK", self.request.names.task.clone()),
            ("SIMSIM_LEVEL", self.request.level.as_str().to_owned()),
            ("SIMSIM_PHASE", phase.to_owned()),
        ]
    }
}

fn outcome_of(error: &ClientError) -> &'static str {
    match error.kind() {
        Kind::Cancelled => "cancelled",
        _ => "failed",
    }
}

fn note(job: &Job, name: &str, said: String) {
    if !said.is_empty() {
        job.problem(Problem::new(name.as_bytes(), ProblemKind::Note, in_one_line(&said)));
    }
}

fn bad_end(name: &str, failed: Failed) -> String {
    match failed {
        Failed::Unwanted => format!("the post-command '{name}' was ended"),
        Failed::Badly { what, said } => {
            format!("the post-command '{name}' {what}. It said: {}", in_one_line(&said))
        }
    }
}

/// A post-command that has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OwedCommand {
    job: u64,
    client: String,
    task: String,
    post_command: String,
    timeout_s: Option<u32>,
}

/// What this client owes.
#[derive(Clone)]
pub(crate) struct Owed {
    folder: PathBuf,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// What an earlier run of this client owed was looked after.
    settled: bool,
    /// What became of it, and whether that is bad, for the next job.
    reports: Vec<(String, bool)>,
}

impl Owed {
    /// What is owed in this folder; [`Owed::settle`] has not run yet.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, state: Arc::default() }
    }

    /// Runs what an earlier run of this client owed, on a thread of its own.
    pub(crate) fn settle(&self, policy: PathBuf) {
        let owed = self.clone();
        let begun = std::thread::Builder::new().name("owed-commands".to_owned()).spawn(move || {
            owed.settle_now(&policy);
            owed.is_settled();
        });
        if let Err(error) = begun {
            tracing::error!(%error, "no thread for post-commands that are owed");
            self.is_settled();
        }
    }

    fn is_settled(&self) {
        self.state.0.lock().settled = true;
        self.state.1.notify_all();
    }

    fn settle_now(&self, policy: &Path) {
        for path in self.files() {
            let (line, failed) = match self.settle_one(&path, policy) {
                Ok(line) => (line, false),
                Err(line) => (line, true),
            };
            match failed {
                true => tracing::error!("{line}"),
                false => tracing::warn!("{line}"),
            }
            self.state.0.lock().reports.push((line, failed));
        }
    }

    /// Runs one that is owed; it is owed no more when its command has run.
    fn settle_one(&self, path: &Path, policy: &Path) -> Result<String, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let owed: OwedCommand = toml::from_str(&text)
            .map_err(|error| format!("{} names no post-command: {error}", path.display()))?;
        let name = &owed.post_command;
        let told =
            format!("job {} of task '{}' owed the post-command '{name}'", owed.job, owed.task);
        let policy = Policy::load(policy).map_err(|error| format!("{told}: {error}"))?;
        let command = policy.command(name).map_err(|error| format!("{told}: {error}"))?;
        let surroundings = [
            ("SIMSIM_JOB", owed.job.to_string()),
            ("SIMSIM_CLIENT", owed.client.clone()),
            ("SIMSIM_TASK", owed.task.clone()),
            ("SIMSIM_PHASE", "after".to_owned()),
            ("SIMSIM_OUTCOME", "interrupted".to_owned()),
        ];
        let start = Start {
            command,
            surroundings: &surroundings,
            timeout_s: owed.timeout_s,
            unwanted: &|| false,
        };
        let done = start.run();
        let kept = remove(path, &self.folder)
            .map_err(|error| format!("{told}; it ran, and runs again at the next start: {error}"));
        match done {
            Ok(said) => {
                kept?;
                let said = in_one_line(&said);
                let said = if said.is_empty() { said } else { format!(". It said: {said}") };
                Ok(format!("{told}; it ran when this client started again{said}"))
            }
            Err(failed) => Err(format!("{told}; {}", bad_end(name, failed))),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        files
    }

    /// Waits until nothing of an earlier run is owed.
    fn wait(&self, job: &Job) -> Result<(), ClientError> {
        let progress = job.progress();
        let mut state = self.state.0.lock();
        while !state.settled {
            progress.set_waits("a post-command of an earlier job runs");
            if progress.is_cancelled() {
                return Err(ClientError::Cancelled);
            }
            self.state.1.wait_for(&mut state, LOOK_INTERVAL);
        }
        progress.set_waits("");
        Ok(())
    }

    fn take_reports(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.state.0.lock().reports)
    }

    fn path(&self, job: u64) -> PathBuf {
        self.folder.join(format!("{job}.toml"))
    }

    /// Writes down what is owed, durably.
    fn note(&self, owed: &OwedCommand) -> Result<(), ClientError> {
        let path = self.path(owed.job);
        let text = toml::to_string(owed)
            .map_err(|_| ClientError::Request("the names of a task cannot be written down"))?;
        let written = || -> io::Result<()> {
            if !self.folder.exists() {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
                if let Some(parent) = self.folder.parent() {
                    File::open(parent)?.sync_all()?;
                }
            }
            let new = path.with_extension("new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(ClientError::file("write", &path))
    }

    /// It has run.
    fn paid(&self, job: u64) -> io::Result<()> {
        remove(&self.path(job), &self.folder)
    }
}

fn remove(path: &Path, folder: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    File::open(folder)?.sync_all()
}
