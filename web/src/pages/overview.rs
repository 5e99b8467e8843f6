//! What is protected, what needs somebody, what happens now.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::Right;
use simsim_server::api::{
    ApprovalView, DatastoreView, JobView, KitState, Status, TaskView, Trends,
};

use crate::pages::jobs;
use crate::parts::{Page, Place, Tone, alert, badge, empty, figure, link, meter, section};
use crate::pictures;
use crate::text::{t, tf, tn};
use crate::visit::{Shown, Visit};
use crate::words::{ago, count, lasting, now, since, size};

/// Tasks that are listed for who sees a part of the suite.
const TASKS_MAX: usize = 100;
/// Tasks and jobs that are named in a list of what needs somebody.
const NAMED_MAX: usize = 12;

pub async fn show(visit: &Visit) -> Shown {
    // Who may see nothing at all is refused below.
    if visit.may(Right::View) && !visit.sees_all() {
        return part(visit).await;
    }
    let status: Status = visit.look("status").await?;
    let open: Vec<JobView> = visit.ask("job.list", json!({"open_only": true, "limit": 50})).await?;
    let live = live(&status, &open);
    if visit.query.has("live") {
        return Ok(Page::new("", Place::Overview, html! {}).with_live(live).into());
    }
    let bad = lately_bad();
    let (trends, tasks, datastores, approvals, bad) = tokio::try_join!(
        visit.look::<Trends>("trends"),
        visit.look::<Vec<TaskView>>("task.list"),
        visit.look::<Vec<DatastoreView>>("datastore.list"),
        visit.glance::<Vec<ApprovalView>>("approval.list", json!({})),
        visit.ask::<Vec<JobView>>("job.list", bad),
    )?;
    let head = html! { h1 { (t("Overview")) } };
    let body = html! {
        @if tasks.is_empty() { (beginning(&status, &datastores)) }
        div.grid {
            (section(t("Needs attention"), attention(&status.warnings, &tasks, &bad, approvals.as_deref().unwrap_or_default())))
            (section(t("The last 30 days"), html! {
                (pictures::days(&trends.days))
                p.quiet { (t("Each day leads to its jobs. ✕ stands for a job that failed, ! for one with errors.")) }
            }))
        }
        div.grid {
            (section(t("Capacity"), capacity(&datastores, &trends)))
            (section(t("Stored by day"), html! {
                (pictures::bars(t("Stored by day"), &trends.days, |day| day.bytes_stored))
                p { (saved(&trends)) }
            }))
        }
        (section(t("Protected"), protected(&tasks)))
    };
    Ok(Page::new(t("Overview"), Place::Overview, body).with_live_first(head, live).into())
}

/// Jobs of the last day that did not go well.
fn lately_bad() -> Value {
    json!({
        "outcomes": ["failed", "interrupted", "finished_with_errors"],
        "ended_since_unix_ms": now() - 86_400_000,
        "limit": NAMED_MAX,
    })
}

/// For who sees some clients or tasks: how these are.
async fn part(visit: &Visit) -> Shown {
    let head = html! { h1 { (t("Overview")) } };
    let open: Vec<JobView> = visit.ask("job.list", json!({"open_only": true, "limit": 50})).await?;
    let live =
        html! { @if !open.is_empty() { (section(t("Now"), html! { (jobs::running(&open)) })) } };
    if visit.query.has("live") {
        return Ok(Page::new("", Place::Overview, html! {}).with_live(live).into());
    }
    let (tasks, bad) = tokio::try_join!(
        visit.glance::<Vec<TaskView>>("task.list", Value::Null),
        visit.ask::<Vec<JobView>>("job.list", lately_bad()),
    )?;
    let tasks = tasks.unwrap_or_default();
    let body = html! {
        div.acts {
            @if visit.may(Right::Browse) { a.button.first href="/restore" { (t("Restore")) } }
            a.button href="/jobs" { (t("Jobs")) }
            a.button href="/me" { (t("What you may")) }
        }
        (section(t("Needs attention"), attention(&[], &tasks, &bad, &[])))
        (section(t("Protected"), html! {
            (protected(&tasks))
            ul.plain {
                @for task in tasks.iter().take(TASKS_MAX) {
                    li {
                        (badge(if task.health.green { Tone::Good } else if task.health.overdue { Tone::Bad } else { Tone::Warn }, if task.health.green { t("green") } else { t("not green") })) " "
                        a href=(link(&["tasks", &task.name])) { (task.name) } " · " (task.client)
                    }
                }
                @if tasks.len() > TASKS_MAX { li { (tf("and {} more", &[&(tasks.len() - TASKS_MAX)])) } }
            }
        }))
    };
    Ok(Page::new(t("Overview"), Place::Overview, body).with_live_first(head, live).into())
}

/// What a new suite needs, step by step.
fn beginning(status: &Status, datastores: &[DatastoreView]) -> Markup {
    let step = |done: bool, to: &str, words: &str| {
        html! { li { (badge(if done { Tone::Good } else { Tone::Quiet }, if done { t("done") } else { t("to do") })) " " a href=(to) { (words) } } }
    };
    section(
        t("Begin here"),
        html! {
            ol.plain {
                (step(matches!(status.kit, KitState::Proven { .. }), "/kit", t("Print the recovery kit, and show that it is kept")))
                (step(!datastores.is_empty(), "/set-up/datastores/new", t("Make a datastore: where backups are kept")))
                (step(status.clients_enrolled > 1, "/clients/add", t("Let a client join, or back up this host itself")))
                (step(false, "/set-up/tasks/new", t("Say what is backed up")))
            }
        },
    )
}

fn live(status: &Status, open: &[JobView]) -> Markup {
    let (green, all) = (status.tasks_green, status.tasks);
    let tone = if all == 0 {
        Tone::Quiet
    } else if green == all {
        Tone::Good
    } else {
        Tone::Warn
    };
    let away = status.clients_enrolled.saturating_sub(status.clients_connected);
    html! {
        div.figures {
            (figure(t("tasks are green"), &tf("{} of {}", &[&count(green), &count(all)]), "/set-up/tasks", Some(tone)))
            (figure(t("jobs run"), &count(status.jobs_running), "/jobs?open=1", (status.jobs_running > 0).then_some(Tone::Busy)))
            (figure(t("jobs wait"), &count(status.jobs_queued), "/jobs?open=1", None))
            (figure(t("hosts are reached"), &tf("{} of {}", &[&count(status.clients_connected), &count(status.clients_enrolled)]), "/clients", Some(if away == 0 { Tone::Good } else { Tone::Warn })))
            (figure(t("savesets"), &count(status.savesets), "/restore", None))
        }
        @if !open.is_empty() {
            (section(t("Now"), html! { (jobs::running(open)) }))
        }
    }
}

fn attention(
    warnings: &[String],
    tasks: &[TaskView],
    bad: &[JobView],
    approvals: &[ApprovalView],
) -> Markup {
    let now = now();
    let overdue: Vec<_> = tasks.iter().filter(|task| task.health.overdue).collect();
    if warnings.is_empty() && bad.is_empty() && overdue.is_empty() && approvals.is_empty() {
        return html! { p { (badge(Tone::Good, t("nothing"))) " " (t("Everything that was asked for is done.")) } };
    }
    html! {
        ul.plain {
            @for approval in approvals.iter().take(NAMED_MAX) {
                li { (badge(Tone::Warn, t("second person"))) " " a href=(format!("/approvals/{}", approval.approval)) { (approval.about) } }
            }
            @for warning in warnings.iter().filter(|warning| !is_of_one_of(warning, bad)) {
                li { (badge(Tone::Warn, t("look"))) " " (warning) @if warning.contains("recovery kit") { " " a href="/kit" { (t("Recovery kit")) } } }
            }
            @for task in overdue.iter().take(NAMED_MAX) {
                li {
                    (badge(Tone::Bad, t("late"))) " "
                    a href=(link(&["tasks", &task.name])) { (task.name) } ": "
                    @for finding in task.health.findings.iter().filter(|finding| finding.overdue) { (finding.words) " " }
                }
            }
            @if overdue.len() > NAMED_MAX { li { a href="/set-up/tasks" { (tf("and {} more", &[&(overdue.len() - NAMED_MAX)])) } } }
            @for job in bad {
                li {
                    (crate::parts::state(&job.state.to_string().replace(' ', "_"))) " "
                    a href=(format!("/jobs/{}", job.job)) { (job.kind) " " (job.task) } " · " (job.client)
                    @if let Some(ended) = job.ended_unix_ms { " · " (since(ended, now)) }
                    @if let Some(error) = &job.error { br; span.quiet { (error.message) } }
                }
            }
        }
    }
}

fn capacity(datastores: &[DatastoreView], trends: &Trends) -> Markup {
    if datastores.is_empty() {
        return empty(
            t(
                "There is no datastore yet. A datastore is a folder in which backups are kept, without duplicates.",
            ),
            Some(("/set-up/datastores/new", t("Make a datastore"))),
        );
    }
    let days = trends.days.len().max(1) as u64;
    let daily = trends.days.iter().map(|day| day.bytes_stored).sum::<u64>() / days;
    html! {
        ul.plain {
            @for store in datastores {
                li {
                    a href=(link(&["storage", &store.name])) { (store.name) } " · " (store.node)
                    @match &store.device {
                        Some(device) => {
                            @let used = device.capacity_bytes.saturating_sub(device.free_bytes);
                            @let part = used as f64 / device.capacity_bytes.max(1) as f64;
                            @let tone = if part > 0.95 { Tone::Bad } else if part > 0.85 { Tone::Warn } else { Tone::Good };
                            @let words = tf("{} of {} used, {} free", &[&size(used), &size(device.capacity_bytes), &size(device.free_bytes)]);
                            (meter(used, device.capacity_bytes, &words, tone))
                            (words)
                            @if let Some(left) = device.free_bytes.checked_div(daily) {
                                " · " (match left {
                                    0..3650 => tf("full in about {} days at the rate of the last 30", &[&left]),
                                    _ => t("not full for years at the rate of the last 30 days").to_owned(),
                                })
                            }
                        }
                        None => { br; (badge(Tone::Bad, t("not reached"))) " " (store.trouble.as_deref().unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

/// What deduplication and compression save.
fn saved(trends: &Trends) -> String {
    let times = |more: u64, less: u64| format!("{:.1}", more as f64 / less.max(1) as f64);
    if trends.bytes_stored == 0 {
        return t("Nothing is stored yet.").to_owned();
    }
    tf(
        "{} of backups take {}: {} times by deduplication, {} times by compression.",
        &[
            &size(trends.bytes),
            &size(trends.bytes_stored),
            &times(trends.bytes, trends.bytes_new),
            &times(trends.bytes_new, trends.bytes_stored),
        ],
    )
}

fn protected(tasks: &[TaskView]) -> Markup {
    if tasks.is_empty() {
        return empty(
            t("Nothing is backed up yet. A task says what is backed up, from which client."),
            Some(("/set-up/tasks/new", t("Add a task"))),
        );
    }
    let now = now();
    let mut clients: Vec<&str> = tasks.iter().map(|task| task.client.as_str()).collect();
    clients.dedup();
    clients.sort_unstable();
    clients.dedup();
    let green = tasks.iter().filter(|task| task.health.green).count();
    let oldest = tasks.iter().filter_map(|task| task.health.not_green_since_unix_ms).min();
    html! {
        p {
            (tf("{} of {}: {} green, which is saved, copied, checked and restored for a test, each lately enough.", &[&tn(tasks.len(), t("1 task"), t("{} tasks")), &tn(clients.len(), t("1 client"), t("{} clients")), &green]))
            @if let Some(oldest) = oldest { " " (tf("The oldest gap: {}.", &[&ago(oldest, now)])) }
        }
        @let untested = tasks.iter().filter(|task| task.health.findings.iter().any(|one| one.aspect.as_str() == "restore test" && one.last_unix_ms.is_none())).count();
        @if untested > 0 {
            (alert(Tone::Warn, html! { p { (tn(untested, t("1 task has never been restored for a test."), t("{} tasks have never been restored for a test."))) " " a href="/set-up/events/new?kind=restore" { (t("Add restore drills")) } } }))
        }
        p.quiet { (t("Longest since a good backup: ")) (longest(tasks, now)) }
    }
}

/// Whether a warning tells of a job that is listed by itself.
fn is_of_one_of(warning: &str, bad: &[JobView]) -> bool {
    bad.iter().any(|job| warning.contains(&format!("(job {})", job.job)))
}

fn longest(tasks: &[TaskView], now: i64) -> String {
    let last = |task: &TaskView| {
        let found = task.health.findings.iter().find(|one| one.aspect.as_str() == "backup");
        found.and_then(|one| one.last_unix_ms)
    };
    let oldest = tasks.iter().map(|task| (last(task).unwrap_or(i64::MIN), &task.name)).min();
    match oldest {
        Some((i64::MIN, name)) => tf("{} (never)", &[name]),
        Some((at, name)) => format!("{name} ({})", lasting(now - at)),
        None => String::new(),
    }
}
