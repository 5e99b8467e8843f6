//! One job: how far it is, its log, what it could not read.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_model::escape_path;
use simsim_server::Right;
use simsim_server::api::{JobDetail, JobReply, JobView, LogReply};

use crate::pages::jobs::progress;
use crate::parts::{
    Page, Place, Tone, act as button, alert, command, facts, link, section, state, table,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::words::{count, lasting, now, size, when, when_or};

/// Lines of the log that are shown, the last ones.
const LINES: u64 = 200;
/// Problems that are shown at once.
const PROBLEMS: usize = 100;

fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::not_found(tf("There is no job '{}'.", &[&text])))
}

pub async fn show(visit: &Visit, text: &str) -> Shown {
    let number = number(text)?;
    let detail: JobDetail = visit.ask("job.show", json!({ "job": number })).await?;
    let log: LogReply = last_lines(visit, number).await?;
    let job = &detail.job;
    let title = tf("Job {}: {} {}", &[&job.job, &job.kind, &job.task]);
    let live = html! {
        p { (state(&job.state.to_string().replace(' ', "_"))) @if job.cancel_asked && !job.state.is_ended() { " " (t("asked to end")) } }
        @if let Some(error) = &job.error { (alert(Tone::Bad, html! { p { (error.message) } })) }
        (acts(visit, job))
        (section(t("Progress"), html! { (phases(job)) (progress(job)) (sums(job)) }))
        (problems(&detail, visit))
        (section(t("Log"), log_lines(&log)))
    };
    let head = html! { h1 { (title) } };
    Ok(Page::new(title, Place::Jobs, about(&detail)).with_live_first(head, live).into())
}

/// The last lines: from as far back as the log is long.
async fn last_lines(visit: &Visit, job: u64) -> Result<LogReply, Failure> {
    let mut from = 0;
    loop {
        let request = json!({ "job": job, "from": from, "limit": 1000 });
        let mut found: LogReply = visit.ask("job.log", request).await?;
        let last = found.lines.last().map(|line| line.position);
        match last {
            Some(last) if found.lines.len() == 1000 => from = last.saturating_sub(LINES / 2),
            _ => {
                let from = found.lines.len().saturating_sub(usize::try_from(LINES).unwrap_or(200));
                found.lines.drain(..from);
                return Ok(found);
            }
        }
    }
}

fn about(detail: &JobDetail) -> Markup {
    let job = &detail.job;
    let asked = &job.asked;
    let mut pairs = vec![
        (t("Client"), html! { a href=(link(&["clients", &job.client])) { (job.client) } }),
        (
            t("Datastore"),
            html! { a href=(link(&["storage", &job.datastore])) { (job.datastore) } @if let Some(drive) = job.drive { (tf(", drive {}", &[&drive])) } },
        ),
        (
            t("Asked for by"),
            html! { (job.requested_by) @if !job.event.is_empty() { " (" a href=(link(&["set-up", "events", "change", &job.event])) { (job.event) } ")" } },
        ),
        (t("Queued"), when(job.queued_unix_ms)),
        (t("Started"), when_or(job.started_unix_ms, t("not yet"))),
        (t("Ended"), when_or(job.ended_unix_ms, t("not yet"))),
    ];
    if let Some(level) = job.level {
        pairs.push((t("Level"), html! { (crate::words::level(level)) }));
    }
    if let Some(saveset) = job.saveset {
        let id = saveset.to_string();
        pairs.push((
            t("Saveset"),
            html! { a.mono href=(link(&["savesets", &id])) { (id.get(..12).unwrap_or(&id)) } },
        ));
    }
    if job.attempt > 1 || job.retry_of.is_some() {
        pairs.push((t("Attempt"), html! { (job.attempt) @if let Some(of) = job.retry_of { " (" a href=(format!("/jobs/{of}")) { (tf("after job {}", &[&of])) } ")" } }));
    }
    if !asked.paths.is_empty() {
        pairs.push((t("Paths"), html! { @for path in asked.paths.iter().take(20) { div.mono { (path) } } @if asked.paths.len() > 20 { (tf("and {} more", &[&(asked.paths.len() - 20)])) } }));
    }
    if !asked.patterns.is_empty() {
        pairs.push((
            t("Patterns"),
            html! { @for pattern in &asked.patterns { div.mono { (pattern) } } },
        ));
    }
    if let Some(target) = &asked.target {
        pairs.push((t("Restored beneath"), html! { span.mono { (target) } }));
    }
    if let Some(limited) = &job.limited {
        pairs
            .push((t("Rate limit"), html! { (size(limited.bytes_per_s)) "/s (" (limited.by) ")" }));
    }
    section(t("About it"), facts(pairs))
}

fn acts(visit: &Visit, job: &JobView) -> Markup {
    if !visit.may(Right::Backup) {
        return html! {};
    }
    let way = |act: &str| format!("/jobs/{}/{act}", job.job);
    html! {
        div.acts {
            @if !job.state.is_ended() {
                @if job.started_unix_ms.is_none() {
                    @if job.waits.as_deref().is_some_and(|waits| waits.contains("held")) {
                        (button(visit, &way("release"), t("Release"), "first"))
                    } @else {
                        (button(visit, &way("hold"), t("Hold"), ""))
                    }
                }
                @if !job.cancel_asked { (button(visit, &way("cancel"), t("Cancel"), "danger")) }
            } @else if job.kind == "backup" && !job.task.is_empty() {
                (button(visit, &way("again"), t("Run the task again"), ""))
            }
        }
        details #on-the-command-line { summary { (t("On the command line")) } (command(&format!("simsim job follow {}", job.job))) (command(&format!("simsim job cancel {}", job.job))) (command(&format!("simsim logs {}", job.job))) }
    }
}

/// The phases of a job, and where it is.
fn phases(job: &JobView) -> Markup {
    let now = match (job.started_unix_ms, job.state.is_ended()) {
        (_, true) => 2,
        (Some(_), _) => 1,
        (None, _) => 0,
    };
    let phases = [t("waits"), t("works"), t("has ended")];
    html! { ol.steps { @for (at, phase) in phases.into_iter().enumerate() { li aria-current=[(at == now).then_some("step")] { (phase) } } } }
}

fn sums(job: &JobView) -> Markup {
    let made = &job.progress;
    let until = job.ended_unix_ms.unwrap_or_else(now);
    facts(vec![
        (t("Files"), html! { (count(made.files_done)) }),
        (t("Folders"), html! { (count(made.dirs_done)) }),
        (t("Size"), html! { (size(made.bytes_done)) }),
        (t("Read"), html! { (size(made.bytes_read)) }),
        (t("New"), html! { (size(made.bytes_new)) }),
        (t("Over the network"), html! { (size(made.bytes_wire)) }),
        (t("Problems"), html! { (count(job.problems)) }),
        (
            t("Time"),
            html! { (job.started_unix_ms.map_or_else(String::new, |begun| lasting(until - begun))) },
        ),
    ])
}

fn problems(detail: &JobDetail, visit: &Visit) -> Markup {
    if detail.problem_list.is_empty() {
        return html! {};
    }
    let all = visit.query.has("problems");
    let shown = if all { detail.problem_list.len() } else { PROBLEMS };
    let rows = detail.problem_list.iter().take(shown).map(|problem| {
        vec![html! { span.mono { (escape_path(&problem.path)) } }, html! { (problem.message) }]
    });
    section(
        t("Skipped and noticed"),
        html! {
            (table(t("Skipped and noticed"), &[t("Path"), t("What happened")], rows.collect()))
            @if detail.problem_list.len() > shown { p { a href=(format!("/jobs/{}?problems=all", detail.job.job)) { (tf("All {}", &[&detail.problem_list.len()])) } } }
            @if detail.job.problems > detail.problem_list.len() as u64 { p.quiet { (tf("{} in all; the first {} are kept.", &[&count(detail.job.problems), &detail.problem_list.len()])) } }
        },
    )
}

fn log_lines(log: &LogReply) -> Markup {
    html! {
        @if log.lines.is_empty() { p.quiet { (t("Nothing has been written yet.")) } } @else {
            div.log.mono tabindex="0" role="log" aria-label=(t("Log")) {
                @for line in &log.lines {
                    @let severity = format!("{:?}", line.severity).to_lowercase();
                    div class=(severity) { (when(line.at_unix_ms)) " " (line.line) }
                }
            }
        }
    }
}

pub async fn act(visit: &Visit, text: &str, act: &str) -> Shown {
    let number = number(text)?;
    if visit.sent().is_none() {
        return Ok(Answer::See(format!("/jobs/{number}")));
    }
    let request = json!({ "job": number });
    let _: Value = match act {
        "cancel" => visit.ask("job.cancel", request).await?,
        "hold" | "release" => {
            visit.ask("job.hold", json!({ "job": number, "hold": act == "hold" })).await?
        }
        "again" => {
            let job: JobView = visit.ask("job.show", request).await?;
            let run = json!({ "task": job.task, "level": job.level.map_or(json!("incr"), |level| json!(level)) });
            let queued: JobReply = visit.ask("task.run", run).await?;
            return Ok(Answer::See(format!("/jobs/{}", queued.job)));
        }
        _ => return Err(Failure::not_found(visit.path.clone())),
    };
    Ok(Answer::See(format!("/jobs/{number}")))
}
