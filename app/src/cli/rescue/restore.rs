//! Restoring and verifying from a copy, in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use simsim_catalog::JobState;
use simsim_client::plan_restore;
use simsim_model::{Kind, Outcome, Problem, ProblemKind, Progress, ProgressSnapshot, SavesetId};
use simsim_mover::{RestoreJob, Selection, Verified};
use simsim_source::{FsSink, SinkOptions};

use super::copy::Copy;
use crate::cli::follow::bar::View;
use crate::cli::follow::problem_line;
use crate::cli::restore::HowArguments;
use crate::cli::screen::Screen;
use crate::cli::text::{Style, Text, plain};
use crate::cli::words::{self, count, counted, lasting, now_unix_ms, rate, size};
use crate::exit::{self, Failure, from_error};

from_error!(simsim_client::ClientError);

const TICK: Duration = Duration::from_millis(250);
/// Problems and notes that are shown.
const SHOWN: usize = 10;
/// Problems that are kept for the document.
const KEPT_MAX: usize = simsim_model::PROBLEMS_KEPT_MAX;

/// What a restore or a verification came to.
#[derive(Debug, Serialize)]
pub struct RescueReport {
    pub outcome: Outcome,
    pub seconds: f64,
    pub progress: ProgressSnapshot,
    /// The first thousand.
    pub problems: Vec<Problem>,
}

pub fn run(
    copy: &Copy,
    saveset: SavesetId,
    paths: Vec<Vec<u8>>,
    to: &Path,
    how: HowArguments,
    screen: &Screen,
) -> Result<u8, Failure> {
    let (session, key) = copy.reader(saveset)?;
    let target = std::path::absolute(to).map_err(|error| {
        let shown = plain(&to.to_string_lossy()).into_owned();
        Failure::new(Kind::Invalid, format!("the folder '{shown}': {error}"))
    })?;
    let progress = Arc::new(Progress::new());
    let problems: Arc<parking_lot::Mutex<Vec<Problem>>> = Arc::default();
    let kept = Arc::clone(&problems);
    let job = RestoreJob {
        session,
        key,
        saveset,
        selection: Selection { paths, patterns: how.pattern },
        strip: b"/".to_vec(),
        threads: 0,
        progress: Arc::clone(&progress),
        on_problem: Arc::new(move |problem: &Problem| {
            let mut kept = kept.lock();
            if kept.len() < KEPT_MAX {
                kept.push(problem.clone());
            }
        }),
    };
    if how.dry_run && !screen.is_json() {
        screen.aside(Text::new().dim("dry run: nothing is written"));
    }
    let overwrite = how.overwrite.overwrite();
    let (owners, specials, dry_run) = (!how.no_owners, how.specials, how.dry_run);
    let work = move || -> Result<(), Failure> {
        if dry_run {
            return Ok(plan_restore(&job, &target, overwrite)?);
        }
        let sink = FsSink::open(&target, SinkOptions { overwrite, owners, specials })
            .map_err(|error| Failure::new(error.kind(), error.to_string()))?;
        simsim_mover::restore(job, &sink)?;
        Ok(())
    };
    let (time, done) = watched("restore", &progress, screen, work)?;
    done?;
    let problems = std::mem::take(&mut *problems.lock());
    finish(time, progress.snapshot(), problems, screen)
}

/// Checks every byte of one saveset, or of all.
pub fn verify(copy: &Copy, only: Option<SavesetId>, screen: &Screen) -> Result<u8, Failure> {
    let progress = Arc::new(Progress::new());
    let mut readers = Vec::new();
    for saveset in copy.savesets().filter(|saveset| only.is_none_or(|only| only == *saveset)) {
        readers.push((saveset, copy.reader(saveset)?));
    }
    let shared = Arc::clone(&progress);
    let work = move || -> Result<Vec<Problem>, Failure> {
        let mut seen = Verified::default();
        let mut problems = Vec::new();
        for (saveset, (session, key)) in readers {
            let checked = simsim_mover::verify(session, key, saveset, &mut seen, 0, &shared);
            let damaged = match checked {
                Ok(report) => report.damaged,
                Err(error) if error.kind() == Kind::Cancelled => return Err(error.into()),
                Err(error) => vec![error.to_string()],
            };
            for sentence in damaged {
                shared.add(|counters| &counters.problems, 1);
                if problems.len() < KEPT_MAX {
                    let sentence = format!("saveset {}: {sentence}", saveset.short());
                    problems.push(Problem::new(Vec::new(), ProblemKind::MissingData, sentence));
                }
            }
        }
        Ok(problems)
    };
    let (time, problems) = watched("verify", &progress, screen, work)?;
    finish(time, progress.snapshot(), problems?, screen)
}

/// Works on another thread while this one shows how far it is. Ctrl-C asks the work to end; the
/// second one ends the process.
fn watched<T: Send + 'static>(
    name: &'static str,
    progress: &Arc<Progress>,
    screen: &Screen,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(Duration, T), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    let mut view = View::new(screen, name.to_owned());
    view.state(JobState::Running);
    let done = runtime.block_on(async {
        let work = tokio::task::spawn_blocking(work);
        tokio::pin!(work);
        let mut tick = tokio::time::interval(TICK);
        let mut asked = false;
        loop {
            tokio::select! {
                done = &mut work => break Some(done),
                _ = tick.tick() => view.progress(now_unix_ms(), progress.snapshot()),
                _ = tokio::signal::ctrl_c() => {
                    if asked {
                        break None;
                    }
                    asked = true;
                    progress.cancel();
                    view.say(screen, "ending; once more Ctrl-C ends at once");
                }
            }
        }
    });
    view.end();
    match done {
        Some(done) => {
            let done = done.map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
            Ok((begun.elapsed(), done))
        }
        None => {
            runtime.shutdown_background();
            Err(Failure::new(Kind::Cancelled, "ended at once; what was written so far stays"))
        }
    }
}

fn finish(
    time: Duration,
    progress: ProgressSnapshot,
    problems: Vec<Problem>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let outcome = match progress.problems {
        0 => Outcome::Finished,
        _ => Outcome::FinishedWithErrors,
    };
    let report = RescueReport { outcome, seconds: time.as_secs_f64(), progress, problems };
    if screen.is_json() {
        screen.document(&report)?;
        return Ok(exit::of_outcome(outcome));
    }
    screen.line(words::outcome(outcome).plain(format!(" in {}", lasting(time))))?;
    let done = &report.progress;
    screen.line(format!(
        "  {}, {} ({})",
        counted(done.files_done, "file"),
        size(done.bytes_done),
        rate(done.bytes_done, time)
    ))?;
    for problem in report.problems.iter().take(SHOWN) {
        let style = if problem.kind == ProblemKind::Note { Style::Dim } else { Style::Warn };
        screen.line(Text::from("  • ").add(style, problem_line(problem)))?;
    }
    let more = report.problems.len().saturating_sub(SHOWN);
    if more > 0 {
        let text = format!("  … and {} more; all of them: --json", count(more as u64));
        screen.line(Text::new().dim(text))?;
    }
    Ok(exit::of_outcome(outcome))
}
