//! Following a job to its end.
//!
//! On a terminal a bar shows what is done, the rate of the last seconds, the time that is left and
//! the file in work; elsewhere a plain line comes every ten seconds. Who attaches to a job that runs
//! already sees true figures at once, because rates are taken from what arrives and not from the
//! beginning of the job.
//!
//! Ctrl-C asks the job to end and waits for its clear end; the second one leaves it to itself. A
//! server that restarts meanwhile is waited for.

pub mod bar;
mod pace;

use std::time::{Duration, Instant};

use simsim_catalog::Severity;
use simsim_model::{Kind, Outcome, Problem};
use simsim_server::api::{JobDetail, JobReply, JobRequest, JobView};
use simsim_server::{JobEvent, JobEventKind};
use tokio::sync::mpsc;

use self::bar::View;
use super::context::Context;
use super::jobs;
use super::words;
use crate::exit::{self, Failure};

/// How long a server that went away is waited for.
const AWAY_MAX: Duration = Duration::from_secs(60);
const AWAY_RETRY: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);

/// Follows a job that was just queued, shows how it ended, and answers with its exit status. With
/// `detach` only its number is shown.
pub async fn run_to_end(cx: &Context, reply: JobReply, detach: bool) -> Result<u8, Failure> {
    if detach {
        cx.show(&reply, |screen, reply| {
            screen.line(format!(
                "job {} is queued; follow it: simsim job follow {}",
                reply.job, reply.job
            ))
        })?;
        return Ok(exit::DONE);
    }
    to_end(cx, reply.job).await
}

/// Follows any job to its end and shows that.
pub async fn to_end(cx: &Context, job: u64) -> Result<u8, Failure> {
    let view = View::new(&cx.screen, format!("job {job}"));
    let detail = watch(cx, job, view).await?;
    cx.show(&detail, jobs::ended_text)?;
    status_of(&detail.job)
}

/// Shows each event as a document on a line of its own, to the job's end.
pub async fn events(cx: &Context, job: u64) -> Result<u8, Failure> {
    let detail = watch(cx, job, View::Events).await?;
    status_of(&detail.job)
}

/// The exit status of an ended job: that of its outcome, and for a failed one that of its error.
pub fn status_of(job: &JobView) -> Result<u8, Failure> {
    let outcome = job.state.outcome().unwrap_or(Outcome::Interrupted);
    Ok(match (&job.error, outcome) {
        (Some(error), Outcome::Failed) => exit::of_kind(error.kind),
        _ => exit::of_outcome(outcome),
    })
}

async fn watch(cx: &Context, job: u64, mut view: View) -> Result<JobDetail, Failure> {
    let mut interrupts = Interrupts::new();
    let mut away_since: Option<Instant> = None;
    loop {
        let heard = listen(cx, job, &mut view, &mut interrupts).await;
        if let Err(failure) = heard {
            if failure.kind != Kind::Unreachable {
                view.end();
                return Err(failure);
            }
        } else {
            away_since = None;
        }
        match cx.ask::<JobDetail>("job.show", &JobRequest { job }).await {
            Ok(detail) if detail.job.state.is_ended() => {
                view.end();
                return Ok(detail);
            }
            Ok(_) => {}
            Err(failure) if failure.kind == Kind::Unreachable => {
                let since = *away_since.get_or_insert_with(|| {
                    view.say(&cx.screen, "the server went away; waiting for it to come back");
                    Instant::now()
                });
                if since.elapsed() > AWAY_MAX {
                    view.end();
                    return Err(failure.next(format!(
                        "the job may still run at its client; later: simsim job follow {job}"
                    )));
                }
            }
            Err(failure) => {
                view.end();
                return Err(failure);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AWAY_RETRY) => {}
            () = interrupts.next() => interrupted(cx, job, &mut view, &mut interrupts).await?,
        }
    }
}

/// Listens until the stream of events ends.
async fn listen(
    cx: &Context,
    job: u64,
    view: &mut View,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut each = move |line: serde_json::Value| sender.send(line).is_ok();
    let body = serde_json::json!({ "job": job });
    let stream = cx.console().lines("job.follow", &body, &mut each);
    tokio::pin!(stream);
    let mut tick = tokio::time::interval(TICK);
    let ended = loop {
        tokio::select! {
            Some(line) = events.recv() => show(cx, line, view)?,
            ended = &mut stream => break ended,
            _ = tick.tick() => view.tick(),
            () = interrupts.next() => interrupted(cx, job, view, interrupts).await?,
        }
    };
    while let Ok(line) = events.try_recv() {
        show(cx, line, view)?;
    }
    Ok(ended?)
}

fn show(cx: &Context, line: serde_json::Value, view: &mut View) -> Result<(), Failure> {
    if let View::Events = view {
        return cx.screen.document_line(&line);
    }
    // An event of a kind that a newer server knows is no reason to stop.
    let Ok(event) = serde_json::from_value::<JobEvent>(line) else { return Ok(()) };
    match event.kind {
        JobEventKind::State { state } => view.state(state),
        JobEventKind::Progress { progress } => view.progress(event.at_unix_ms, progress),
        // Somebody is waited for: to be silent about it would look like working.
        JobEventKind::Log { severity: Severity::Warning, line } => {
            view.say(&cx.screen, &line);
        }
        // Problems are counted in the progress, and listed at the end.
        JobEventKind::Problem { .. } | JobEventKind::Log { .. } => {}
    }
    Ok(())
}

/// One problem for people.
pub fn problem_line(problem: &Problem) -> String {
    if problem.path.is_empty() {
        return problem.message.clone();
    }
    format!("{}: {}", problem.path_text(), problem.message)
}

async fn interrupted(
    cx: &Context,
    job: u64,
    view: &mut View,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    interrupts.count += 1;
    if interrupts.count > 1 {
        view.end();
        return Err(Failure::new(Kind::Cancelled, format!("job {job} is left; it ends by itself"))
            .next(format!("see how: simsim job show {job}")));
    }
    view.say(
        &cx.screen,
        &format!("cancelling job {job}; once more Ctrl-C leaves it without waiting"),
    );
    match cx.ask::<JobView>("job.cancel", &JobRequest { job }).await {
        Ok(_) => Ok(()),
        // It may have ended just now, or the server is away: the loop outside finds out.
        Err(failure) if matches!(failure.kind, Kind::Invalid | Kind::Unreachable) => Ok(()),
        Err(failure) => {
            view.end();
            Err(failure)
        }
    }
}

/// Ctrl-C, counted.
struct Interrupts {
    signal: Option<tokio::signal::unix::Signal>,
    count: u32,
}

impl Interrupts {
    fn new() -> Self {
        let kind = tokio::signal::unix::SignalKind::interrupt();
        Self { signal: tokio::signal::unix::signal(kind).ok(), count: 0 }
    }

    async fn next(&mut self) {
        match &mut self.signal {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Bytes that are done, or at least read: a large file counts before it is finished.
fn moved(progress: &simsim_model::ProgressSnapshot) -> u64 {
    progress.bytes_done.max(progress.bytes_read)
}

/// `1,204 files, 1.20 GB of 2.85 GB`.
fn amount(progress: &simsim_model::ProgressSnapshot) -> String {
    let of = |done: String, all: u64| match all {
        0 => done,
        all => format!("{done} of {}", words::size(all)),
    };
    format!(
        "{}, {}",
        words::counted(progress.files_done, "file"),
        of(words::size(moved(progress)), progress.bytes_expected)
    )
}
