//! `simsim jobs`, `job`, `logs`: what is done, was done, and how it went.

use std::time::Duration;

use simsim_catalog::{JobKind, JobState, Severity};
use simsim_model::{Outcome, Overwrite};
use simsim_server::api::{
    HoldRequest, JobDetail, JobListRequest, JobRequest, JobView, LogReply, LogRequest, VerifyDepth,
};

use super::context::Context;
use super::follow::{self, problem_line};
use super::lists;
use super::rates;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{
    self, clock, count, counted, lasting_ms, now_unix_ms, rate, size, when, when_exactly,
};
use crate::exit::{self, Failure};

/// Problems in a closing report; `job show` has them all.
const PROBLEMS_SHOWN: usize = 10;
const LOG_PAGE: u32 = 1000;
const LOG_WAIT: Duration = Duration::from_millis(500);

#[derive(clap::Args, Debug)]
pub struct ListArguments {
    /// Only jobs that have not ended
    #[arg(long)]
    open: bool,
    /// Only jobs that ended like that: finished, finished_with_errors, failed, cancelled, interrupted; several
    /// with commas between them
    #[arg(long, value_name = "OUTCOMES", value_delimiter = ',', value_parser = outcome, conflicts_with = "open")]
    outcome: Vec<Outcome>,
    /// Only jobs of this task
    #[arg(long)]
    task: Option<String>,
    /// Only jobs of this client
    #[arg(long)]
    client: Option<String>,
    /// Only jobs of this kind: backup, restore, verify, scrub, rebuild, collect, replicate, migrate, heal, command, drill
    #[arg(long, value_parser = lists::word::<JobKind>)]
    kind: Option<JobKind>,
    /// Only jobs of this event
    #[arg(long)]
    event: Option<String>,
    /// Only jobs with a lower number: what came before
    #[arg(long, value_name = "JOB")]
    before: Option<u64>,
    /// At most so many, the newest
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 25)]
    limit: u32,
}

#[derive(clap::Subcommand, Debug)]
pub enum JobVerb {
    /// Show all about a job, with its problems
    Show {
        /// The job's number
        job: u64,
    },
    /// Ask a job to end
    Cancel {
        /// The job's number
        job: u64,
    },
    /// Hold a job that waits, until it is released
    Hold {
        /// The job's number
        job: u64,
    },
    /// Let a job that is held start when it can
    Release {
        /// The job's number
        job: u64,
    },
    /// Print a job's log, as 'simsim logs' does
    Log(LogArguments),
    /// Follow a job to its end; with --json, each event as a document on a line
    Follow {
        /// The job's number
        job: u64,
    },
}

#[derive(clap::Args, Debug)]
pub struct LogArguments {
    /// The job's number
    job: u64,
    /// Go on until the job has ended
    #[arg(long, short)]
    follow: bool,
}

fn outcome(text: &str) -> Result<Outcome, String> {
    Outcome::parse(text).ok_or_else(|| {
        let all = [
            Outcome::Finished,
            Outcome::FinishedWithErrors,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::Interrupted,
        ];
        let all = all.map(Outcome::as_str).join(", ");
        format!("there is no such outcome; those there are: {all}")
    })
}

pub async fn list(cx: &Context, arguments: ListArguments) -> Result<u8, Failure> {
    let limit = arguments.limit.max(1);
    let request = JobListRequest {
        task: arguments.task,
        client: arguments.client,
        kind: arguments.kind,
        event: arguments.event,
        open_only: arguments.open,
        outcomes: arguments.outcome,
        before: arguments.before,
        limit,
        ..JobListRequest::default()
    };
    let jobs: Vec<JobView> = cx.ask("job.list", &request).await?;
    cx.show(&jobs, |screen, jobs| {
        if jobs.is_empty() {
            screen.aside(if arguments.open { "no job is open" } else { "no jobs" });
            return Ok(());
        }
        screen.table(&table(jobs))?;
        for job in jobs {
            if let Some(waits) = &job.waits {
                screen.line(Text::styled(Style::Warn, format!("job {}: {waits}", job.job)))?;
            }
            if let Some(limited) = job.limited.as_ref().map(rates::limited) {
                screen.line(Text::new().dim(format!("job {}: {limited}", job.job)))?;
            }
        }
        if let Some(last) = jobs.last().filter(|_| jobs.len() == limit as usize) {
            screen.aside(Text::new().dim(format!("what came before: --before {}", last.job)));
        }
        Ok(())
    })?;
    Ok(exit::DONE)
}

pub async fn run(cx: &Context, verb: JobVerb) -> Result<u8, Failure> {
    match verb {
        JobVerb::Show { job } => {
            let detail: JobDetail = cx.ask("job.show", &JobRequest { job }).await?;
            cx.show(&detail, detail_text)?;
            Ok(exit::DONE)
        }
        JobVerb::Cancel { job } => {
            let job: JobView = cx.ask("job.cancel", &JobRequest { job }).await?;
            cx.show(&job, |screen, job| {
                screen.line(match job.state.outcome() {
                    Some(outcome) => format!("job {} has ended: {outcome}", job.job),
                    None => format!(
                        "job {} was asked to end; see it: simsim job follow {}",
                        job.job, job.job
                    ),
                })
            })?;
            Ok(exit::DONE)
        }
        JobVerb::Hold { job } => hold(cx, job, true).await,
        JobVerb::Release { job } => hold(cx, job, false).await,
        JobVerb::Log(arguments) => logs(cx, arguments).await,
        JobVerb::Follow { job } if cx.screen.is_json() => follow::events(cx, job).await,
        JobVerb::Follow { job } => follow::to_end(cx, job).await,
    }
}

async fn hold(cx: &Context, job: u64, hold: bool) -> Result<u8, Failure> {
    let job: JobView = cx.ask("job.hold", &HoldRequest { job, hold }).await?;
    cx.show(&job, |screen, job| {
        screen.line(match hold {
            true => format!("job {0} is held; let it go: simsim job release {0}", job.job),
            false => format!("job {} starts when it can", job.job),
        })
    })?;
    Ok(exit::DONE)
}

pub async fn logs(cx: &Context, arguments: LogArguments) -> Result<u8, Failure> {
    let job = arguments.job;
    let mut from = 0;
    loop {
        // Asked first: what is written until then is read below.
        let ended = !arguments.follow || {
            let detail: JobDetail = cx.ask("job.show", &JobRequest { job }).await?;
            detail.job.state.is_ended()
        };
        loop {
            let request = LogRequest { job, from, limit: LOG_PAGE };
            let reply: LogReply = cx.ask("job.log", &request).await?;
            for line in &reply.lines {
                from = line.position + 1;
                if cx.screen.is_json() {
                    cx.screen.document_line(line)?;
                } else {
                    cx.screen.line(log_line(line))?;
                }
            }
            if reply.lines.len() < LOG_PAGE as usize {
                break;
            }
        }
        cx.screen.flush()?;
        if ended {
            return Ok(exit::DONE);
        }
        tokio::time::sleep(LOG_WAIT).await;
    }
}

fn log_line(line: &simsim_catalog::LogLine) -> Text {
    let style = match line.severity {
        Severity::Info => Style::Plain,
        Severity::Warning => Style::Warn,
        Severity::Error => Style::Bad,
    };
    let word = match line.severity {
        Severity::Info => "",
        Severity::Warning => "warning: ",
        Severity::Error => "error: ",
    };
    Text::new()
        .dim(when_exactly(line.at_unix_ms))
        .plain("  ")
        .add(style, word)
        .add(style, &line.line)
}

/// How a job ended, after it was followed.
pub fn ended_text(screen: &Screen, detail: &JobDetail) -> Result<(), Failure> {
    let job = &detail.job;
    let mut head =
        Text::new().bold(format!("Job {}", job.job)).plain("  ").then(words::state(job.state));
    if let Some(lasted) = lasted(job) {
        head = head.plain(format!(" in {}", lasting_ms(lasted)));
    }
    screen.line(head)?;
    for line in figures(job).into_iter().chain(checked(detail)) {
        screen.line(Text::from("  ").plain(line))?;
    }
    if let Some(error) = &job.error {
        screen.line(Text::from("  ").add(Style::Bad, &error.message))?;
    }
    problems(screen, detail, PROBLEMS_SHOWN)?;
    if lacked_keys(detail) {
        screen.aside(Text::new().dim("  → ").plain(
            "to check names too, hand the keys that the server has to the device: simsim verify \
             --bytes --keys-to-device",
        ));
    }
    if let (Some(saveset), "backup") = (job.saveset, job.kind.as_str()) {
        let short = saveset.short();
        screen.line(
            Text::from("  saveset ")
                .bold(&short)
                .dim(format!("   look into it: simsim ls {short}")),
        )?;
    }
    Ok(())
}

fn detail_text(screen: &Screen, detail: &JobDetail) -> Result<(), Failure> {
    let job = &detail.job;
    screen.line(Text::new().bold(format!("Job {}", job.job)))?;
    let instant = |at: Option<i64>| at.map_or_else(Text::new, |at| when_exactly(at).into());
    let mut state = words::state(job.state);
    if job.cancel_asked && !job.state.is_ended() {
        state = state.plain(", asked to end");
    }
    screen.lines(facts(&[
        ("what", what(job).into()),
        ("task", job.task.as_str().into()),
        ("client", job.client.as_str().into()),
        ("datastore", on_drive(job).into()),
        ("paths", job.asked.paths.join("  ").into()),
        ("only", job.asked.patterns.join("  ").into()),
        ("into", place(job)),
        ("what is there", policy(job).into()),
        ("state", state),
        ("waits", Text::styled(Style::Warn, job.waits.as_deref().unwrap_or_default())),
        ("speed", job.limited.as_ref().map(rates::limited).unwrap_or_default().into()),
        ("asked by", job.requested_by.as_str().into()),
        ("queued", instant(Some(job.queued_unix_ms))),
        ("begun", instant(job.started_unix_ms)),
        ("ended", instant(job.ended_unix_ms)),
        ("saveset", job.saveset.map_or_else(Text::new, |id| id.to_string().into())),
        (
            "error",
            job.error
                .as_ref()
                .map_or_else(Text::new, |error| Text::styled(Style::Bad, &error.message)),
        ),
    ]))?;
    for line in figures(job).into_iter().chain(checked(detail)) {
        screen.line(Text::from("  ").plain(line))?;
    }
    problems(screen, detail, usize::MAX)
}

fn problems(screen: &Screen, detail: &JobDetail, most: usize) -> Result<(), Failure> {
    let list = &detail.problem_list;
    for problem in list.iter().take(most) {
        let style = match problem.kind {
            simsim_model::ProblemKind::Note => Style::Dim,
            _ => Style::Warn,
        };
        screen.line(Text::from("  • ").add(style, problem_line(problem)))?;
    }
    let kept = list.len();
    let shown = kept.min(most);
    if kept > shown {
        let text = format!(
            "  … and {} more: simsim job show {}",
            count((kept - shown) as u64),
            detail.job.job
        );
        screen.line(Text::new().dim(text))?;
    } else if detail.job.problems > kept as u64 {
        let text = format!(
            "  … and {} more that were only counted",
            count(detail.job.problems - kept as u64)
        );
        screen.line(Text::new().dim(text))?;
    }
    Ok(())
}

/// What was moved, in one or two lines.
fn figures(job: &JobView) -> Vec<String> {
    let done = &job.progress;
    if matches!(job.kind.as_str(), "replicate" | "migrate" | "heal") {
        return match (done.bytes_wire, done.files_done) {
            (0, 0) if job.state == JobState::Ended(Outcome::Finished) => {
                vec!["nothing was missing".to_owned()]
            }
            (sent, files) => vec![format!(
                "copies of {}, {}; sent {}",
                counted(files, "file"),
                size(done.bytes_done),
                size(sent)
            )],
        };
    }
    if done.files_done == 0 && done.bytes_done == 0 && done.dirs_done == 0 {
        return Vec::new();
    }
    let time = lasted(job).and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
    let speed = time.map(|ms| format!(" ({})", rate(done.bytes_done, Duration::from_millis(ms))));
    let folders = match done.dirs_done {
        0 => String::new(),
        dirs => format!(" in {}", counted(dirs, "folder")),
    };
    let mut lines = vec![format!(
        "{}{folders}, {}{}",
        counted(done.files_done, "file"),
        size(done.bytes_done),
        speed.unwrap_or_default()
    )];
    if job.kind == "backup" {
        lines.push(match done.bytes_new {
            0 => "nothing in them was new".to_owned(),
            new => format!("new {}, stored in {}", size(new), size(done.bytes_wire)),
        });
    }
    lines
}

/// What a check looked at.
fn checked(detail: &JobDetail) -> Option<String> {
    let checked = detail.checked.as_ref()?;
    let packs = match checked.packs {
        // One saveset is not checked pack by pack.
        0 => String::new(),
        packs => format!("{}, ", counted(packs, "pack")),
    };
    let damaged = match checked.damaged {
        0 => "nothing is damaged".to_owned(),
        damaged => format!("{} found", counted(damaged, "damage")),
    };
    Some(format!(
        "checked {packs}{}, {}, {}: {damaged}",
        counted(checked.segments, "segment"),
        counted(checked.chunks, "chunk"),
        size(checked.bytes)
    ))
}

/// Whether a check could have looked deeper with keys that the server did not hand out.
fn lacked_keys(detail: &JobDetail) -> bool {
    detail.checked.is_some()
        && detail.job.asked.keys_withheld
        && detail.problem_list.iter().any(|problem| {
            problem.kind == simsim_model::ProblemKind::Note
                && problem.message.contains("without a key")
        })
}

fn lasted(job: &JobView) -> Option<i64> {
    let end = job.ended_unix_ms.or_else(|| (job.state == JobState::Running).then(now_unix_ms))?;
    Some(end - job.started_unix_ms?)
}

fn what(job: &JobView) -> String {
    let asked = &job.asked;
    if asked.stream {
        return format!("{}, raw stream", job.kind);
    }
    let how = match (job.level, asked.depth) {
        (Some(level), _) => level.as_str(),
        _ if asked.dry_run => "dry run",
        (None, Some(VerifyDepth::Bytes)) => "every byte",
        (None, Some(VerifyDepth::Structure) | None) => return job.kind.clone(),
    };
    format!("{}, {how}", job.kind)
}

/// Where a restore writes.
fn place(job: &JobView) -> Text {
    match (&job.asked.target, job.kind.as_str()) {
        (Some(target), _) => target.as_str().into(),
        _ if job.asked.stream => Text::new(),
        (None, "restore") => "where the files were".into(),
        (None, _) => Text::new(),
    }
}

/// What a restore does where something already is.
fn policy(job: &JobView) -> &'static str {
    match job.asked.overwrite {
        None => "",
        Some(Overwrite::Never) => "left, and reported",
        Some(Overwrite::IfChanged) => "replaced where it differs in size or time",
        Some(Overwrite::IfNewer) => "replaced where it is older",
        Some(Overwrite::Always) => "replaced",
    }
}

fn on_drive(job: &JobView) -> String {
    match job.drive {
        Some(drive) => format!("{}, drive {drive}", job.datastore),
        None => job.datastore.clone(),
    }
}

fn table(jobs: &[JobView]) -> Table {
    let mut table = Table::new([
        Column::new("JOB").right(),
        Column::new("WHAT"),
        Column::new("TASK").cut_to(8).rank(1),
        Column::new("CLIENT").cut_to(6).rank(4),
        Column::new("DATASTORE").cut_to(6).rank(8),
        Column::new("STATE"),
        Column::new("BEGUN").rank(2),
        Column::new("TOOK").rank(3),
        Column::new("FILES").right().rank(6),
        Column::new("SIZE").right().rank(5),
        Column::new("PROBLEMS").right().rank(7),
        Column::new("TO").cut_to(8).rank(9),
    ]);
    for job in jobs {
        let begun = job.started_unix_ms.unwrap_or(job.queued_unix_ms);
        let begun = if now_unix_ms() - begun < 43_200_000 { clock(begun) } else { when(begun) };
        let done = &job.progress;
        let number =
            |number: u64, text: String| if number == 0 { Text::new() } else { text.into() };
        table.row([
            Text::new().bold(job.job.to_string()),
            what(job).into(),
            job.task.as_str().into(),
            job.client.as_str().into(),
            job.datastore.as_str().into(),
            words::state(job.state),
            begun.into(),
            lasted(job).map_or_else(Text::new, |ms| lasting_ms(ms).into()),
            number(done.files_done, count(done.files_done)),
            number(done.bytes_done, size(done.bytes_done)),
            number(job.problems, count(job.problems)),
            place(job),
        ]);
    }
    table
}
