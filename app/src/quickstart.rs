//! `simsim quickstart`: the main job, end to end, on this host.
//!
//! It is a server like any other, started by the same page as the daemon (`daemon::compose`), that
//! listens on loopback and ends when the job is done. What it made stays: `simsim server` on the
//! same state folder goes on from there.

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use simsim_format::{KitOwner, KitPage};
use simsim_model::{Kind, Level, Outcome, ProgressSnapshot, SavesetId, TargetKind, escape_path};
use simsim_server::api::{
    CreateDatastoreRequest, DatastoreView, JobDetail, JobRequest, KitProofRequest, KitState,
    RestoreRequest, RunTaskRequest, TaskOptions, TaskRequest,
};
use simsim_server::{JobEventKind, Principal, Server};
use simsim_source::{Difference, compare, compare_without_owners};

use crate::cli::{CommonArguments, Screen};
use crate::daemon::{Running, Signals, start_quickstart};
use crate::exit::{self, Failure};
use crate::kit::KitFiles;
use crate::show::{Live, rate, size};
use crate::state::State;

/// Folders that make a good example, in order of preference.
const EXAMPLES: [&str; 3] = ["/usr/share/doc", "/usr/include", "/etc"];
/// Name of the datastore that is made.
const DATASTORE: &str = "main";
/// Wrong answers until the proof is put off.
const PROOF_TRIES: usize = 3;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to back up; without one, an example that every host has
    folder: Option<PathBuf>,
    /// Ask nothing; what was skipped is said
    #[arg(long)]
    yes: bool,
    /// Print one JSON document instead of text (schema: docs/reference/json.md)
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, state: &State, common: &CommonArguments) -> Result<u8, Failure> {
    let screen = CommonArguments { json: arguments.json, ..common.clone() }.screen();
    let say = Say { screen: &screen, json: arguments.json };
    let folder = folder(arguments.folder.as_deref(), say)?;
    if folder.starts_with(state.folder()) || state.folder().starts_with(&folder) {
        let text = format!(
            "the state folder {} and the folder {} lie in one another: name another --state",
            state.folder().display(),
            folder.display()
        );
        return Err(Failure::new(Kind::Invalid, text));
    }
    state.make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let running = start_quickstart(state).await?;
        let Some(server) = running.server.clone() else {
            return Err(Failure::new(Kind::Internal, "the server did not start"));
        };
        let scratch = Scratch(state.file(&format!("restore-{}", std::process::id())));
        let tour = Tour { arguments, say, state, server, folder, scratch: scratch.0.clone() };
        let done = tokio::select! {
            done = tour.run(&running) => done,
            name = signals.next() => {
                Err(Failure::new(Kind::Cancelled, format!("ended by {name}")))
            }
        };
        running.stop().await;
        drop(scratch);
        done
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

/// Text for people as the walk goes on; nothing of it with `--json`. A reader that went away, or a
/// full disk, ends the walk.
#[derive(Clone, Copy)]
struct Say<'a> {
    screen: &'a Screen,
    json: bool,
}

impl Say<'_> {
    fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        for line in text.as_ref().split('\n') {
            self.screen.line(line)?;
        }
        self.screen.flush()
    }
}

/// One walk through the suite.
struct Tour<'a> {
    arguments: &'a Arguments,
    say: Say<'a>,
    state: &'a State,
    server: Server,
    folder: PathBuf,
    scratch: PathBuf,
}

/// A job that has ended.
struct Ended {
    detail: JobDetail,
    time: Duration,
}

impl Ended {
    fn counters(&self) -> &ProgressSnapshot {
        &self.detail.job.progress
    }

    fn outcome(&self) -> Outcome {
        self.detail.job.state.outcome().unwrap_or(Outcome::Interrupted)
    }
}

impl Tour<'_> {
    async fn run(&self, running: &Running) -> Result<u8, Failure> {
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
        say.line(format!("  status   {console} (while this runs)"))?;
        let who = Principal::local_root();
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
        let outcome = worse(backup.outcome(), restore.outcome(), !differences.is_empty());
        let store = self.server.datastores(&who).await?;
        let store = store.into_iter().find(|one| one.name == datastore.name).unwrap_or(datastore);
        let report =
            Report { task, saveset, backup, restore, differences, store, console, skipped };
        if self.arguments.json {
            say.screen.document(&self.document(&report, outcome))?;
            say.screen.flush()?;
        } else {
            self.closing(&report)?;
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

    /// Makes the kit on the first run and asks for proof that it was kept. Answers why there is no
    /// proof.
    async fn recovery_kit(&self, who: &Principal) -> Result<Option<String>, Failure> {
        let say = self.say;
        let status = self.server.status(who).await?;
        let files = KitFiles::in_folder(self.state.folder());
        match status.kit {
            KitState::Proven { .. } => return Ok(None),
            KitState::Unproven => {
                let why = format!("proof that {} was kept elsewhere", files.text.display());
                say.line(format!(
                    "\nRecovery kit: there is no {why} yet (while the server runs: {} --state {} key kit prove)",
                    program(),
                    shell_word(self.state.folder())
                ))?;
                return Ok(Some(why));
            }
            KitState::None => {}
        }
        let kit = self.server.create_kit(who).await?;
        let owner = KitOwner::Server { name: status.name, fingerprint: status.fingerprint };
        files.write(&KitPage { owner: &owner, groups: &kit.groups })?;
        say.line(
            "\nRecovery kit: with it and a copy of the datastore, everything can be restored.",
        )?;
        // A log of this output should not hold the key to everything.
        if std::io::stdout().is_terminal() {
            say.line(format!("  {}", kit.groups.join("-")))?;
        }
        say.line(format!("  text {}", files.text.display()))?;
        say.line(format!("  page {}, to be printed", files.page.display()))?;
        let skipped = match (self.arguments.yes, say.json, std::io::stdin().is_terminal()) {
            (true, ..) => "--yes",
            (_, true, _) => "--json",
            (_, _, false) => "no terminal to ask at",
            _ => return self.prove(who, kit.asked).await,
        };
        let why = format!("proof that the kit was kept elsewhere ({skipped})");
        say.line(format!("  skipped: {why}"))?;
        Ok(Some(why))
    }

    async fn prove(
        &self,
        who: &Principal,
        mut asked: Vec<usize>,
    ) -> Result<Option<String>, Failure> {
        self.say
            .line("Print it or write it down, and show that you have it (Enter alone: later).")?;
        for _ in 0..PROOF_TRIES {
            let mut groups = Vec::new();
            for group in &asked {
                self.say.line(format!("Type group {group}:"))?;
                let typed = tokio::task::spawn_blocking(read_line).await;
                let typed = typed.unwrap_or_else(|_| Ok(String::new()))?;
                if typed.is_empty() {
                    let why = "proof that the kit was kept elsewhere (put off)".to_owned();
                    self.say.line(format!("  skipped: {why}"))?;
                    return Ok(Some(why));
                }
                groups.push(typed);
            }
            let reply = self.server.prove_kit(who, KitProofRequest { groups }).await?;
            if reply.proven {
                self.say.line("  proven: the kit was kept")?;
                return Ok(None);
            }
            self.say.line("That is not what stands on the kit.")?;
            asked = reply.asked;
        }
        Err(Failure::new(Kind::Denied, "the recovery kit was not shown to be kept"))
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
        let mut live = Live::new(verb, self.say.json);
        let mut events = self.server.follow_job(who, JobRequest { job }).await?;
        while let Some(event) = events.next().await {
            if let JobEventKind::Progress { progress } = event.kind {
                live.update(&progress);
            }
        }
        live.done();
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

    fn document(&self, report: &Report, outcome: Outcome) -> serde_json::Value {
        let side = |ended: &Ended| {
            serde_json::json!({
                "job": ended.detail.job.job,
                "seconds": ended.time.as_secs_f64(),
                "counters": ended.counters(),
            })
        };
        let problems = report.backup.detail.problem_list.iter();
        let kit = KitFiles::in_folder(self.state.folder());
        serde_json::json!({
            "folder": self.folder.to_string_lossy(),
            "state": self.state.folder().to_string_lossy(),
            "task": report.task,
            "saveset": report.saveset,
            "outcome": outcome.as_str(),
            "backup": side(&report.backup),
            "restore": side(&report.restore),
            "problems": problems.chain(&report.restore.detail.problem_list).collect::<Vec<_>>(),
            "differences": report.differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "datastore": report.store.path,
            "datastore_bytes": report.store.device.as_ref().map(|device| device.packs_bytes),
            "recovery_kit": kit.text.to_string_lossy(),
            "skipped": report.skipped.iter().collect::<Vec<_>>(),
            "console": report.console,
        })
    }

    fn closing(&self, report: &Report) -> Result<(), Failure> {
        let say = self.say;
        let kit = KitFiles::in_folder(self.state.folder());
        let (simsim, state) = (program(), shell_word(self.state.folder()));
        let bytes = report.store.device.as_ref().map_or(0, |device| device.packs_bytes);
        say.line(format!("\nSaveset {} of task '{}'", report.saveset, report.task))?;
        say.line(format!("  datastore    {} ({})", report.store.path, size(bytes)))?;
        say.line(format!("  state        {}", self.state.folder().display()))?;
        say.line(format!("  recovery kit {}", kit.text.display()))?;
        if let Some(skipped) = &report.skipped {
            say.line(format!("  skipped      {skipped}"))?;
        }
        say.line("\nNext. Run it again, and only what changed is read and stored:")?;
        say.line(format!("  {simsim} --state {state} quickstart {}", shell_word(&self.folder)))?;
        say.line("Or go on with what was made, as a server that stays:")?;
        say.line(format!("  {simsim} --state {state} server"))?;
        say.line("and, while it runs, in another terminal:")?;
        say.line(format!("  {simsim} --state {state} status"))?;
        say.line(format!("  {simsim} --state {state} savesets"))?;
        say.line(format!("  {simsim} --state {state} backup {}", report.task))
    }
}

struct Report {
    task: String,
    saveset: SavesetId,
    backup: Ended,
    restore: Ended,
    differences: Vec<Difference>,
    store: DatastoreView,
    console: String,
    skipped: Option<String>,
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

fn read_line() -> std::io::Result<String> {
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    Ok(typed.trim().to_owned())
}

/// The folder, absolute and existing.
fn folder(named: Option<&Path>, say: Say<'_>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        let text = |error| format!("the folder '{}': {error}", named.display());
        return named
            .canonicalize()
            .map_err(|error| Failure::new(Kind::of_io(&error), text(error)));
    }
    let example =
        EXAMPLES.iter().map(Path::new).find(|path| path.is_dir()).ok_or_else(|| {
            Failure::new(Kind::NotFound, "name a folder: simsim quickstart FOLDER")
        })?;
    say.line(format!(
        "No folder was named: {} serves as an example, since every host has one. Your own: simsim quickstart FOLDER",
        example.display()
    ))?;
    Ok(example.canonicalize()?)
}

/// A name for the task of a folder: the letters and digits of its path.
fn task_name(folder: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let text: String = folder.to_string_lossy().chars().map(plain).collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-");
    name.truncate(48);
    if name.is_empty() { "root".to_owned() } else { name }
}

/// How this program is called from a shell: by its name where that is found, else by its path.
fn program() -> String {
    let named = std::env::var_os("PATH").is_some_and(|folders| {
        std::env::split_paths(&folders).any(|folder| folder.join("simsim").is_file())
    });
    match std::env::current_exe() {
        Ok(path) if !named => shell_word(&path),
        _ => "simsim".to_owned(),
    }
}

/// A path as a shell reads it back.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn factor(noun: &str, before: u64, after: u64) -> String {
    if before == 0 || after == 0 {
        format!("{noun}: nothing new")
    } else {
        format!("{noun} {:.2}×", before as f64 / after as f64)
    }
}

fn worse(one: Outcome, two: Outcome, different: bool) -> Outcome {
    let rank = |outcome: &Outcome| exit::of_outcome(*outcome) != exit::DONE;
    let outcome = [one, two].into_iter().find(rank).unwrap_or(Outcome::Finished);
    if different && outcome == Outcome::Finished { Outcome::FinishedWithErrors } else { outcome }
}

/// Removes the restored tree when dropped; folders without write permission are opened first.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        match remove(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("simsim: {} stays behind: {error}\n", self.0.display());
                let _ = std::io::stderr().write_all(text.as_bytes());
            }
            _ => {}
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(path)? {
            remove(&entry?.path())?;
        }
        std::fs::remove_dir(path)
    } else {
        std::fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_after_its_folder_and_words_survive_a_shell() {
        assert_eq!(task_name(Path::new("/usr/share/doc")), "usr-share-doc");
        assert_eq!(task_name(Path::new("/")), "root");
        assert_eq!(task_name(Path::new("/a b/ä")), "a-b");
        assert_eq!(shell_word(Path::new("/a/b")), "/a/b");
        assert_eq!(shell_word(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
