//! Jobs: what runs, waits and has ended.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_model::Kind;
use simsim_server::Right;
use simsim_server::api::{JobView, QueueView};

use crate::parts::{
    Page, Place, Tone, act, alert, asked, command, empty, form, link, meter, section, state, table,
};
use crate::text::{t, tf, tn};
use crate::visit::{Failure, Shown, Visit};
use crate::words::{lasting, now, since, size, when};

/// Jobs of one page.
const PAGE: usize = 50;

pub async fn show(visit: &Visit) -> Shown {
    let query = &visit.query;
    let open = query.has("open");
    let outcome = query.get("outcome").unwrap_or_default();
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
    let request = json!({
        "task": query.get("task"),
        "client": query.get("client"),
        "event": query.get("event"),
        "open_only": open,
        "outcomes": if outcome.is_empty() { vec![] } else { vec![outcome] },
        "ended_since_unix_ms": number("since"),
        "ended_until_unix_ms": number("until"),
        "before": query.number("before"),
        "limit": PAGE,
    });
    // Where a name is wrong the filters stay, so that it can be mended.
    let (found, unknown) = match visit.ask::<Vec<JobView>>("job.list", request).await {
        Ok(found) => (found, None),
        Err(failure) if failure.kind == Kind::NotFound => (Vec::new(), Some(failure.message)),
        Err(failure) => return Err(failure),
    };
    let queue: Option<QueueView> = visit.glance("queue.show", Value::Null).await?;
    let older = found.last().filter(|_| found.len() == PAGE).map(|last| {
        let before = last.job.to_string();
        asked("/jobs", &query.pairs_with("before", &before))
    });
    let live = html! {
        @if let Some(queue) = &queue { (waiting(visit, queue)) }
        @if let Some(unknown) = &unknown { (alert(Tone::Warn, html! { p { (unknown) } })) }
        @else if found.is_empty() { (empty(t("No job fits."), None)) } @else { (list(&found)) }
        @if let Some(older) = &older { p { a href=(older) { (t("Older jobs")) } } }
    };
    let body = html! {
        h1 { (t("Jobs")) }
        (filters(visit, outcome, open))
    };
    Ok(Page::new(t("Jobs"), Place::Jobs, body).with_live(live).into())
}

fn filters(visit: &Visit, outcome: &str, open: bool) -> Markup {
    let query = &visit.query;
    let outcomes = [
        ("", t("any")),
        ("finished", t("finished")),
        ("finished_with_errors", t("finished with errors")),
        ("failed", t("failed")),
        ("interrupted", t("interrupted")),
        ("cancelled", t("cancelled")),
    ];
    html! {
        form.filters method="get" action="/jobs" data-at-once {
            div { label for="outcome" { (t("Outcome")) }
                select #outcome name="outcome" { @for (value, words) in outcomes { option value=(value) selected[value == outcome] { (words) } } } }
            div { label for="task" { (t("Task")) } input #task name="task" value=[query.get("task")]; }
            div { label for="client" { (t("Client")) } input #client name="client" value=[query.get("client")]; }
            div { label for="event" { (t("Event")) } input #event name="event" value=[query.get("event")]; }
            div { label for="open" { (t("Open only")) } input #open type="checkbox" name="open" value="1" checked[open]; }
            @for name in ["since", "until"] { @if let Some(value) = query.get(name) { input type="hidden" name=(name) value=(value); } }
            button type="submit" { (t("Filter")) }
            a href="/jobs" { (t("All")) }
        }
        @if let (Some(since), Some(until)) = (query.get("since").and_then(|text| text.parse().ok()), query.get("until").and_then(|text| text.parse::<i64>().ok())) {
            p.quiet { (t("Ended between ")) (when(since)) (t(" and ")) (when(until)) }
        }
    }
}

/// What waits, and why nothing starts.
fn waiting(visit: &Visit, queue: &QueueView) -> Markup {
    let may = visit.may(Right::Maintain);
    html! {
        @if let Some(by) = &queue.paused_by {
            (alert(Tone::Warn, html! {
                p { (tf("The queue is paused by {}: nothing starts.", &[by])) @if let Some(why) = &queue.paused_why { " " (why) } }
                @if may { (act(visit, "/queue/resume", t("Let jobs start again"), "first")) }
            }))
        } @else if may {
            details #pause {
                summary { (t("Pause the queue")) }
                (form(visit, "/queue/pause", html! {
                    p { (t("What runs goes on; nothing else starts until it is resumed.")) }
                    label for="why" { (t("Why")) } " "
                    input #why name="why"; " "
                    button type="submit" { (t("Pause")) }
                    (command("simsim queue pause"))
                }))
            }
        }
        @if queue.waiting.iter().any(|one| one.held_by.is_some()) {
            p.quiet { (t("Jobs that are held start when somebody releases them.")) }
        }
    }
}

/// The same columns everywhere.
pub fn list(jobs: &[JobView]) -> Markup {
    let now = now();
    let rows = jobs.iter().map(|job| {
        let task = html! {
            @if job.task.is_empty() || job.kind != "backup" { (job.task) } @else { a href=(link(&["tasks", &job.task])) { (job.task) } }
        };
        let time = match (job.started_unix_ms, job.ended_unix_ms) {
            (Some(begun), Some(ended)) => html! { (since(ended, now)) " · " (lasting(ended - begun)) },
            (Some(begun), None) => html! { (tf("since {}", &[&lasting(now - begun)])) },
            _ => html! { (since(job.queued_unix_ms, now)) },
        };
        vec![
            html! { a href=(format!("/jobs/{}", job.job)) { (job.job) } },
            html! {
                (state(&job.state.to_string().replace(' ', "_")))
                @if let Some(waits) = &job.waits { br; span.quiet { (waits) } }
                @if let Some(error) = &job.error { br; span.quiet { (error.message) } }
            },
            html! { (job.kind) @if let Some(level) = job.level { " " (crate::words::level(level)) } },
            task,
            html! { a href=(link(&["clients", &job.client])) { (job.client) } },
            html! { (size(job.progress.bytes_done)) @if job.problems > 0 { " · " (tn(job.problems, t("1 problem"), t("{} problems"))) } },
            time,
        ]
    });
    table(
        t("Jobs"),
        &[t("Job"), t("State"), t("Kind"), t("Task"), t("Client"), t("Data"), t("When")],
        rows.collect(),
    )
}

/// Jobs that run, with how far they are.
pub fn running(jobs: &[JobView]) -> Markup {
    html! {
        ul.plain {
            @for job in jobs {
                li {
                    (state(&job.state.to_string().replace(' ', "_"))) " "
                    a href=(format!("/jobs/{}", job.job)) { (job.kind) " " (job.task) } " · " (job.client)
                    (progress(job))
                }
            }
        }
    }
}

/// How far a job is, how fast, and how long it will take.
pub fn progress(job: &JobView) -> Markup {
    let now = now();
    let made = &job.progress;
    let Some(begun) = job.started_unix_ms else {
        return html! { @if let Some(waits) = &job.waits { div.quiet { (waits) } } };
    };
    let until = job.ended_unix_ms.unwrap_or(now);
    let spent = u64::try_from(until - begun).unwrap_or(0).max(1);
    let rate = made.bytes_done.saturating_mul(1000) / spent;
    let left = made.bytes_expected.saturating_sub(made.bytes_done);
    html! {
        @if made.bytes_expected > 0 && job.ended_unix_ms.is_none() {
            @let words = tf("{} of {}", &[&size(made.bytes_done), &size(made.bytes_expected)]);
            (meter(made.bytes_done, made.bytes_expected, &words, Tone::Busy))
        }
        div.quiet {
            (tf("{}, {}, {}/s", &[&tn(made.files_done, t("1 file"), t("{} files")), &size(made.bytes_done), &size(rate)]))
            @if made.bytes_expected > made.bytes_done && rate > 0 && job.ended_unix_ms.is_none() {
                " · " (tf("about {} left", &[&lasting(i64::try_from(left / rate).unwrap_or(i64::MAX / 1000).saturating_mul(1000))]))
            }
            @if !made.waits.is_empty() { " · " (made.waits) }
            @if !made.current.is_empty() && job.ended_unix_ms.is_none() { br; span.mono { (made.current) } }
        }
    }
}

/// Pauses and resumes.
pub async fn queue(visit: &Visit, act: &str) -> Shown {
    let Some(form) = visit.sent() else { return Err(Failure::not_found(visit.path.clone())) };
    let why = form.get("why").unwrap_or_default();
    let _: Value = match act {
        "pause" => visit.ask("queue.pause", json!({ "why": why })).await?,
        "resume" => visit.look("queue.resume").await?,
        _ => return Err(Failure::not_found(visit.path.clone())),
    };
    Ok(crate::visit::Answer::See("/jobs".to_owned()))
}

/// The last jobs of something, in a box.
pub fn lately(title: &str, jobs: &[JobView], more: &str) -> Markup {
    section(
        title,
        html! {
            @if jobs.is_empty() { p.quiet { (t("None yet.")) } } @else { (list(jobs)) p { a href=(more) { (t("All of them")) } } }
        },
    )
}
