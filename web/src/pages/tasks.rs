//! One task: how it stands, what it saves, what can be done with it.

use maud::{Markup, html};
use serde_json::json;
use simsim_server::Right;
use simsim_server::api::{DrillView, HealthFinding, JobReply, JobView, SavesetView, TaskView};

use crate::pages::jobs::lately;
use crate::parts::{Page, Place, Tone, asked, badge, command, facts, form, link, quoted, section};
use crate::text::{t, tf, tn};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::words::{lasting, now, since, size, when};

pub async fn show(visit: &Visit, name: &str) -> Shown {
    let task: TaskView = visit.ask("task.show", json!({ "name": name })).await?;
    let jobs: Vec<JobView> = visit.ask("job.list", json!({ "task": name, "limit": 10 })).await?;
    let request = json!({ "client": task.client, "task": name, "limit": 10 });
    let savesets: Vec<SavesetView> = visit.ask("saveset.list", request).await?;
    let drills: Option<Vec<DrillView>> =
        visit.glance("drill.list", json!({ "task": name, "limit": 3 })).await?;
    let live = html! {
        (section(t("How it stands"), html! {
            p {
                @if task.health.green { (badge(Tone::Good, t("green"))) " " (t("Nothing is missing.")) }
                @else { (badge(if task.health.overdue { Tone::Bad } else { Tone::Warn }, t("not green"))) @if let Some(at) = task.health.not_green_since_unix_ms { " " (since(at, now())) } }
            }
            ul.plain { @for finding in &task.health.findings { li { (aspect(finding)) } } }
        }))
        (lately(t("Jobs"), &jobs, &asked("/jobs", &[("task", name)])))
    };
    let head = html! { h1 { (task.name) } (acts(visit, &task)) };
    let body = html! {
        (section(t("What it saves"), facts(pairs(&task))))
        @if !savesets.is_empty() {
            (section(t("Newest savesets"), html! {
                ul.plain { @for one in &savesets { li { a href=(link(&["savesets", &one.saveset.to_string(), "files"])) { (when(one.committed_unix_ms)) } " " (crate::words::level(one.level)) " " (size(one.bytes)) " " (tf("{} new", &[&size(one.bytes_new)])) } } }
                p { a href=(asked("/restore", &[("client", &task.client), ("task", name)])) { (t("All of them")) } }
            }))
        }
        @if let Some(drills) = drills.filter(|drills| !drills.is_empty()) {
            (section(t("Restore drills"), html! {
                ul.plain { @for drill in &drills { li {
                    (badge(if drill.passed { Tone::Good } else { Tone::Bad }, if drill.passed { t("passed") } else { t("did not pass") })) " "
                    a href=(format!("/jobs/{}", drill.drill)) { (when(drill.ended_unix_ms)) }
                    @if let Some(ms) = drill.document.restore_all_ms { " · " (tf("a restore of everything would take about {}", &[&lasting(i64::try_from(ms).unwrap_or(i64::MAX))])) }
                } } }
                (command(&format!("simsim drill evidence {}", drills.first().map_or(0, |drill| drill.drill))))
            }))
        }
    };
    Ok(Page::new(&*task.name, Place::SetUp, body).with_live_first(head, live).into())
}

fn aspect(finding: &HealthFinding) -> Markup {
    let tone = match (finding.good, finding.overdue) {
        (true, _) => Tone::Good,
        (false, true) => Tone::Bad,
        (false, false) => Tone::Warn,
    };
    html! { (badge(tone, finding.aspect.as_str())) " " (finding.words) }
}

fn pairs(task: &TaskView) -> Vec<(&'static str, Markup)> {
    let mut pairs = vec![
        (t("Client"), html! { a href=(link(&["clients", &task.client])) { (task.client) } }),
        (t("Kind"), html! { (crate::words::word(&task.kind)) }),
        (t("What"), html! { @for source in &task.sources { div.mono { (source) } } }),
        (
            t("Into"),
            html! { a href=(link(&["storage", &task.datastore])) { (task.datastore) } @if let Some(group) = &task.drive_group { " (" (group) ")" } },
        ),
        (t("Media pool"), html! { (task.pool.as_deref().unwrap_or("default")) }),
    ];
    if !task.excludes.is_empty() {
        pairs.push((t("Left out"), html! { @for one in &task.excludes { div.mono { (one) } } }));
    }
    if task.eol_days > 0 {
        pairs.push((t("Locked for"), html! { (tn(task.eol_days, t("1 day"), t("{} days"))) }));
    }
    pairs
}

fn acts(visit: &Visit, task: &TaskView) -> Markup {
    let name = task.name.as_str();
    html! {
        @if visit.may(Right::Backup) {
            (form(visit, &link(&["tasks", name, "run"]), html! {
                div.acts {
                    label for="level" { (t("Level")) }
                    select #level name="level" {
                        option value="incr" { (t("INCR: what changed since the last saveset")) }
                        option value="diff" { (t("DIFF: what changed since the last FULL")) }
                        option value="full" { (t("FULL: everything is read")) }
                        option value="copy" { (t("COPY: as FULL, outside the chain")) }
                    }
                    button.first type="submit" { (t("Back up now")) }
                    @if visit.may(Right::Restore) { button type="submit" formaction=(link(&["tasks", name, "drill"])) { (t("Test a restore now")) } }
                    a.button href=(asked("/restore", &[("client", &task.client), ("task", name)])) { (t("Restore")) }
                    @if visit.may(Right::Administer) { a.button href=(link(&["set-up", "tasks", "change", name])) { (t("Change it")) } }
                }
            }))
            (command(&format!("simsim task run {}", quoted(name))))
        }
    }
}

pub async fn act(visit: &Visit, name: &str, act: &str) -> Shown {
    let Some(fields) = visit.sent() else { return Ok(Answer::See(link(&["tasks", name]))) };
    let queued: JobReply = match act {
        "run" => {
            let level = fields.get("level").unwrap_or("incr");
            visit.ask("task.run", json!({ "task": name, "level": level })).await?
        }
        "drill" => visit.ask("drill.run", json!({ "task": name })).await?,
        _ => return Err(Failure::not_found(visit.path.clone())),
    };
    Ok(Answer::See(format!("/jobs/{}", queued.job)))
}
