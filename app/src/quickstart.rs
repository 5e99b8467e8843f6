//! `simsim quickstart`: the main job, end to end, on this host.

use std::io::{BufRead, IsTerminal};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use simsim_model::{Kind, Outcome};
use simsim_source::compare;

use crate::exit::{self, Failure};
use crate::show::{Live, rate, size};
use crate::standalone::{Finished, Standalone};
use crate::state::State;

/// Folders that make a good example, in order of preference.
const EXAMPLES: [&str; 3] = ["/usr/share/doc", "/usr/include", "/etc"];

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

pub fn run(arguments: &Arguments, state: &State) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(quickstart(arguments, state));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

struct Say {
    json: bool,
}

impl Say {
    fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            println!("{}", text.as_ref());
        }
    }
}

async fn quickstart(arguments: &Arguments, state: &State) -> Result<u8, Failure> {
    let say = Say { json: arguments.json };
    let folder = folder(arguments.folder.as_deref(), &say)?;
    let state = state.folder().to_owned();
    if folder.starts_with(&state) || state.starts_with(&folder) {
        let text = format!(
            "the state folder {} and the folder {} lie in one another: name another --state",
            state.display(),
            folder.display()
        );
        return Err(Failure::new(Kind::Invalid, text));
    }
    let mut suite = Standalone::start(&state).await?;
    say.line(format!("simsim {} on this host", env!("CARGO_PKG_VERSION")));
    for line in suite.listening() {
        say.line(format!("  {line}"));
    }
    if let Some(kit) = suite.new_recovery_kit() {
        recovery_kit(kit, &suite.kit_file(), arguments.yes, &say)?;
    }

    say.line(format!("\nBacking up {}", folder.display()));
    let begun = Instant::now();
    let mut live = Live::new("backup", arguments.json);
    let backup = suite.backup(&folder, &mut |now| live.update(now)).await?;
    live.done();
    let backup_time = begun.elapsed();
    report_problems(&backup, &say);
    let read = backup.result.snapshot.bytes_done;
    let stored = backup.result.snapshot.bytes_wire;
    let new = backup.result.snapshot.bytes_new;
    say.line(format!(
        "  {} files, {} in {:.1?} ({})",
        backup.result.snapshot.files_done,
        size(read),
        backup_time,
        rate(read, backup_time)
    ));
    say.line(format!(
        "  new: {} ({}), stored: {} ({})",
        size(new),
        factor("deduplication", read, new),
        size(stored),
        factor("compression", new, stored)
    ));
    let Some(saveset) = backup.saveset else {
        return finish_failed(&backup, &say);
    };

    let scratch = state.join(format!("restore-{}", std::process::id()));
    let scratch_guard = Scratch(scratch.clone());
    say.line(format!("\nRestoring to {}", scratch.display()));
    let begun = Instant::now();
    let mut live = Live::new("restore", arguments.json);
    let restore = suite.restore(saveset, &scratch, &mut |now| live.update(now)).await?;
    live.done();
    let restore_time = begun.elapsed();
    report_problems(&restore, &say);
    say.line(format!(
        "  {} files, {} in {:.1?} ({})",
        restore.result.snapshot.files_done,
        size(restore.result.snapshot.bytes_done),
        restore_time,
        rate(restore.result.snapshot.bytes_done, restore_time)
    ));

    say.line("\nComparing every byte and attribute");
    let restored = scratch.join(folder.strip_prefix("/").unwrap_or(&folder));
    let original = folder.clone();
    let differences =
        tokio::task::spawn_blocking(move || compare(&original, &restored)).await.map_err(
            |_| Failure::new(Kind::Internal, "the comparison ended without an answer"),
        )??;
    drop(scratch_guard);
    for difference in differences.iter().take(20) {
        say.line(format!("  differs: {difference}"));
    }
    if differences.is_empty() {
        say.line("  identical");
    } else {
        say.line(format!("  {} differences", differences.len()));
    }

    let outcome = worse(backup.result.outcome, restore.result.outcome, !differences.is_empty());
    if arguments.json {
        let document = serde_json::json!({
            "folder": folder.to_string_lossy(),
            "state": state.to_string_lossy(),
            "saveset": saveset,
            "outcome": outcome.as_str(),
            "backup": { "seconds": backup_time.as_secs_f64(), "counters": backup.result.snapshot },
            "restore": { "seconds": restore_time.as_secs_f64(), "counters": restore.result.snapshot },
            "problems": backup.result.problems.iter().chain(&restore.result.problems).collect::<Vec<_>>(),
            "differences": differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "datastore": suite.datastore().to_string_lossy(),
            "console": suite.console(),
        });
        println!("{document:#}");
    } else {
        closing(&suite, &folder, saveset, &say);
    }
    suite.stop().await;
    Ok(exit::of_outcome(outcome))
}

fn closing(suite: &Standalone, folder: &Path, saveset: simsim_model::SavesetId, say: &Say) {
    say.line(format!("\nSaveset {saveset}"));
    say.line(format!("  datastore    {}", suite.datastore().display()));
    say.line(format!("  recovery kit {}", suite.kit_file().display()));
    say.line(format!("  web address  {} (while this runs)", suite.console()));
    say.line("\nNext: run it again, and only what changed is read and stored:");
    say.line(format!("  simsim quickstart {}", folder.display()));
}

fn finish_failed(backup: &Finished, say: &Say) -> Result<u8, Failure> {
    let text = backup
        .result
        .error
        .as_ref()
        .map_or_else(|| "the backup came to nothing".to_owned(), |error| error.message.clone());
    say.line(format!("  failed: {text}"));
    let kind = backup.result.error.as_ref().map_or(Kind::Internal, |error| error.kind);
    Err(Failure::new(kind, text))
}

fn report_problems(finished: &Finished, say: &Say) {
    for problem in finished.result.problems.iter().take(10) {
        say.line(format!("  {}: {}", problem.path_text(), problem.message));
    }
    let more = finished.result.problems_total.saturating_sub(10);
    if more > 0 {
        say.line(format!("  … and {more} more"));
    }
}

/// The folder, absolute and existing.
fn folder(named: Option<&Path>, say: &Say) -> Result<PathBuf, Failure> {
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
    ));
    let bytes = example.as_os_str().as_bytes().to_vec();
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)).canonicalize()?)
}

/// Shows the kit and asks for proof that it was kept.
fn recovery_kit(groups: &[String], file: &Path, yes: bool, say: &Say) -> Result<(), Failure> {
    say.line("\nRecovery kit: with it and a copy of the datastore, everything can be restored.");
    say.line(format!("  it is in {}; print it or copy it to another place", file.display()));
    if yes || say.json || !std::io::stdin().is_terminal() {
        say.line("  skipped: proof that the kit was kept elsewhere (no terminal, --yes or --json)");
        return Ok(());
    }
    say.line(format!("  {}", groups.join("-")));
    let wanted = groups.get(3).map(String::as_str).unwrap_or_default();
    for _ in 0..3 {
        println!("To show that you have it, type its fourth group (Enter alone to skip for now):");
        let mut typed = String::new();
        std::io::stdin().lock().read_line(&mut typed)?;
        let typed = typed.trim();
        if typed.is_empty() {
            say.line("  skipped: proof that the kit was kept");
            return Ok(());
        }
        if typed.eq_ignore_ascii_case(wanted) {
            say.line("  kept");
            return Ok(());
        }
        println!("That is not it.");
    }
    Err(Failure::new(Kind::Denied, "the recovery kit was not shown to be kept"))
}

fn factor(noun: &str, before: u64, after: u64) -> String {
    if after == 0 {
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
        if let Err(error) = remove(&self.0) {
            eprintln!("simsim: {} stays behind: {error}", self.0.display());
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
