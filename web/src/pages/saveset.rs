//! One saveset: what it is, what keeps it, where it lies.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::Right;
use simsim_server::api::{
    JobReply, LifeView, SavesetDetail, SavesetLives, SavesetView, SavesetsDeleted,
};

use crate::pages::restore::outcome;
use crate::parts::{
    Page, Place, Tone, act as button, alert, badge, command, facts, form, link, section, table,
    waits_for,
};
use crate::text::{t, tf, tn};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::words::{count, size, when, when_or};

pub async fn show(visit: &Visit, id: &str) -> Shown {
    let detail: SavesetDetail = visit.ask("saveset.show", json!({ "saveset": id })).await?;
    let one = &detail.saveset;
    let id = one.saveset.to_string();
    let lives: SavesetLives = visit.ask("saveset.why", json!({ "saveset": id })).await?;
    let request = json!({ "client": one.client, "task": one.task, "limit": 50 });
    let others: Vec<SavesetView> = match one.task.is_empty() {
        true => Vec::new(),
        false => visit.ask("saveset.list", request).await?,
    };
    let title = tf("Saveset of {} {}", &[&one.client, &one.task]);
    let body = html! {
        h1 { (title) }
        @if let Some(approval) = &lives.approval { (waits_for(approval)) }
        div.acts {
            a.button.first href=(link(&["savesets", &id, "files"])) { (t("Look into it")) }
            @if visit.may(Right::Restore) { (button(visit, &link(&["savesets", &id, "restore"]), t("Restore all of it"), "")) }
            @if visit.may(Right::Maintain) { (button(visit, &link(&["savesets", &id, "verify"]), t("Check every byte"), "")) }
        }
        (section(t("About it"), facts(vec![
            (t("Saved"), when(one.committed_unix_ms)),
            (t("Outcome"), outcome(one)),
            (t("Level"), html! { (crate::words::level(one.level)) }),
            (t("Compared with"), html! { @match one.base { Some(base) => { @let base = base.to_string(); a.mono href=(link(&["savesets", &base])) { (base.get(..12).unwrap_or(&base)) } } None => span.quiet { (t("nothing")) } } }),
            (t("Files"), html! { (count(one.files)) " · " (tn(one.dirs, t("1 folder"), t("{} folders"))) }),
            (t("Size"), html! { (size(one.bytes)) }),
            (t("New in it"), html! { (size(one.bytes_new)) " → " (tf("{} stored", &[&size(one.bytes_stored)])) }),
            (t("Number"), html! { span.mono { (id) } }),
        ])))
        (section(t("What keeps it"), html! { @for life in &lives.lives { (life_of(life)) } (command(&format!("simsim saveset why {}", id.get(..12).unwrap_or(&id)))) }))
        @if visit.may(Right::Delete) || visit.may(Right::Administer) { (keeping(visit, &id, one, &lives)) }
        @if others.len() > 1 { (compare(visit, &id, &others)) }
        (results(&detail))
    };
    Ok(Page::new(title, Place::Restore, body).into())
}

fn life_of(life: &LifeView) -> Markup {
    let tone = match life.state.as_str() {
        "kept" => Tone::Good,
        "expired" => Tone::Warn,
        _ => Tone::Quiet,
    };
    let check = match life.check.as_str() {
        "whole" => badge(Tone::Good, t("checked: whole")),
        "damaged" => badge(Tone::Bad, t("checked: damaged")),
        _ => badge(Tone::Quiet, t("not checked yet")),
    };
    html! {
        h3 { a href=(link(&["storage", &life.datastore])) { (life.datastore) } @if life.is_copy { " " (t("(copy)")) } " " (badge(tone, &life.state)) " " (check) }
        p { (life.explained) }
        @if let Some(hold) = &life.hold { p { (badge(Tone::Warn, t("legal hold"))) " " (hold.why) " " span.quiet { (hold.by) ", " (when(hold.since_unix_ms)) } } }
        @if let Some(deletion) = &life.deletion { p { (tf("Deleted because: {}", &[&deletion.why])) " " span.quiet { (deletion.asked_by) ", " (when(deletion.decided_unix_ms)) } @if let Some(trouble) = &deletion.trouble { " " (trouble) } } }
        @if life.lock_until_unix_s > life.held_until_unix_s { p { (badge(Tone::Warn, t("lock not told to its device yet"))) @if let Some(trouble) = &life.lock_trouble { " " (trouble) } } }
        @else if life.lock_until_unix_s > 0 { p { (badge(Tone::Good, t("locked"))) " " (t("Its device keeps it by itself until")) " " (when(i64::try_from(life.held_until_unix_s).unwrap_or(i64::MAX).saturating_mul(1000))) } }
        p.quiet { (tf("Pool {}", &[&life.pool])) " · " (t("expires ")) (when_or(life.until_unix_ms, t("not by time"))) }
    }
}

fn keeping(visit: &Visit, id: &str, one: &SavesetView, lives: &SavesetLives) -> Markup {
    let short = id.get(..12).unwrap_or(id);
    let held = lives.lives.iter().any(|life| life.hold.is_some());
    html! {
        details #keeping {
            summary { (t("Keep, hold, lock or delete it")) }
            div.grid {
                (section(t("Keep it longer"), form(visit, &link(&["savesets", id, "keep"]), html! {
                    label for="days" { (t("Days from when it was made")) } " "
                    input #days name="days" type="number" min="1" required; " "
                    button type="submit" { (t("Keep")) }
                    (command(&format!("simsim saveset keep {short} --eol 90")))
                })))
                (section(t("Legal hold"), form(visit, &link(&["savesets", id, "hold"]), html! {
                    @if held {
                        input type="hidden" name="release" value="1";
                        p { (t("Releasing a hold takes a second person.")) }
                        button type="submit" { (t("Ask to release it")) }
                    } @else {
                        label for="hold-why" { (t("Why")) } " "
                        input #hold-why name="why" required; " "
                        button type="submit" { (t("Hold")) }
                        p.quiet { (t("While it is held nothing deletes it, neither a policy nor a person.")) }
                    }
                })))
                (section(t("Lock"), form(visit, &link(&["savesets", id, "lock"]), html! {
                    label for="until" { (t("Until")) } " "
                    input #until type="date" name="until" required; " "
                    button type="submit" { (t("Lock")) }
                    p.quiet { (t("A lock can only be made longer, by nobody shorter.")) @if one.lock_until_unix_s > 0 { " " (t("Locked until ")) (when(i64::try_from(one.lock_until_unix_s).unwrap_or(i64::MAX).saturating_mul(1000))) } }
                })))
                (section(t("Delete"), form(visit, &link(&["savesets", id, "delete"]), html! {
                    label for="delete-why" { (t("Why")) } " "
                    input #delete-why name="why" required; " "
                    button.danger type="submit" data-confirm=(t("Delete this saveset?")) { (t("Delete")) }
                    p.quiet { (t("What has not expired takes a second person. What other savesets share stays.")) }
                })))
            }
        }
    }
}

fn compare(visit: &Visit, id: &str, others: &[SavesetView]) -> Markup {
    let _ = visit;
    html! {
        details #compare {
            summary { (t("Compare with another point in time")) }
            ul.plain {
                @for other in others.iter().filter(|other| other.saveset.to_string() != id) {
                    li { a href=(link(&["savesets", &other.saveset.to_string(), "compare", id])) { (when(other.committed_unix_ms)) } " " (crate::words::level(other.level)) " " (size(other.bytes)) }
                }
            }
        }
    }
}

fn results(detail: &SavesetDetail) -> Markup {
    let rows = detail.results.iter().map(|result| {
        vec![
            html! { a href=(format!("/jobs/{}", result.job)) { (result.job) } },
            html! { (result.kind) },
            crate::parts::state(result.outcome.as_str()),
            when(result.ended_unix_ms),
        ]
    });
    section(
        t("Jobs that made and read it"),
        table(
            t("Jobs that made and read it"),
            &[t("Job"), t("Kind"), t("Outcome"), t("Ended")],
            rows.collect(),
        ),
    )
}

/// The midnight, by the server's clock, with which a date begins.
fn midnight(date: &str) -> Option<i64> {
    let date: jiff::civil::Date = date.parse().ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp().as_second())
}

pub async fn act(visit: &Visit, id: &str, act: &str) -> Shown {
    let back = link(&["savesets", id]);
    let Some(fields) = visit.sent() else { return Ok(Answer::See(back)) };
    match act {
        "keep" => {
            let _: Value = visit
                .ask("saveset.keep", json!({ "saveset": id, "days": fields.number("days") }))
                .await?;
        }
        "hold" => {
            let request = match fields.has("release") {
                true => json!({ "saveset": id, "release": true }),
                false => json!({ "saveset": id, "why": fields.get("why") }),
            };
            let _: Value = visit.ask("saveset.hold", request).await?;
        }
        "lock" => {
            let until = fields.get("until").and_then(midnight);
            let until = until.ok_or_else(|| Failure::invalid(t("A lock needs a date.")))?;
            let _: Value =
                visit.ask("saveset.lock", json!({ "saveset": id, "until_unix_s": until })).await?;
        }
        "delete" => {
            let request = json!({ "savesets": [id], "why": fields.get("why").unwrap_or_default() });
            let done: SavesetsDeleted = visit.ask("saveset.delete", request).await?;
            let body = html! {
                h1 { (t("Delete")) }
                @if let Some(approval) = &done.approval { (waits_for(approval)) }
                @else { (alert(Tone::Good, html! { p { (tf("Deleted: {}. Decided and not done yet: {}.", &[&done.deleted, &done.waiting])) } })) }
                @for trouble in &done.trouble { (alert(Tone::Warn, html! { p { (trouble) } })) }
                p { a href="/restore" { (t("To the time line")) } }
            };
            return Ok(Page::new(t("Delete"), Place::Restore, body).into());
        }
        "verify" => {
            let request = json!({ "saveset": id, "depth": "bytes" });
            let queued: JobReply = visit.ask("datastore.verify", request).await?;
            return Ok(Answer::See(format!("/jobs/{}", queued.job)));
        }
        _ => return Err(Failure::not_found(visit.path.clone())),
    }
    Ok(Answer::See(back))
}
