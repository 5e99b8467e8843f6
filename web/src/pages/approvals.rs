//! Acts that wait for a second person.

use maud::html;
use serde_json::{Value, json};
use simsim_server::Right;
use simsim_server::api::ApprovalView;

use crate::parts::{Page, Place, Tone, badge, block, command, empty, facts, form, section, table};
use crate::text::{t, tf};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::words::{when, when_or};

pub async fn list(visit: &Visit) -> Shown {
    let all = visit.query.has("all");
    let found: Vec<ApprovalView> = visit.ask("approval.list", json!({ "all": all })).await?;
    let rows = found.iter().map(|one| {
        vec![
            html! { a href=(format!("/approvals/{}", one.approval)) { (one.approval) } },
            html! { (one.about) },
            html! { (one.asked_by) },
            when(one.asked_unix_ms),
            html! { (badge(if one.state == "open" { Tone::Warn } else { Tone::Quiet }, &one.state)) },
        ]
    });
    let body = html! {
        h1 { (t("Second person")) }
        p { (t("What could do great harm takes two persons: one asks, another one looks at exactly that and approves it.")) }
        @if !all { p { a href="/approvals?all=1" { (t("Also those that were decided")) } } }
        @if found.is_empty() { (empty(t("Nothing waits."), None)) }
        @else { (table(t("Second person"), &[t("Number"), t("What"), t("Asked for by"), t("When"), t("State")], rows.collect())) }
    };
    Ok(Page::new(t("Second person"), Place::People, body).into())
}

pub async fn show(visit: &Visit, number: &str) -> Shown {
    let number: u64 = number
        .parse()
        .map_err(|_| Failure::not_found(tf("There is no approval '{}'.", &[&number])))?;
    if let Some(fields) = visit.sent() {
        let verb = match fields.get("word") {
            Some("approve") => "approval.approve",
            Some("reject") => "approval.reject",
            _ => return Err(Failure::invalid(t("Approve it, or reject it."))),
        };
        let request = json!({ "approval": number, "digest": fields.get("digest"), "note": fields.get("note").unwrap_or_default() });
        let _: Value = visit.ask(verb, request).await?;
        return Ok(Answer::See(format!("/approvals/{number}")));
    }
    let one: ApprovalView = visit.ask("approval.show", json!({ "approval": number })).await?;
    let act = serde_json::to_string_pretty(&one.act).unwrap_or_default();
    let own = one.asked_by == format!("user:{}", visit.session.user);
    let body = html! {
        h1 { (one.about) }
        (facts(vec![
            (t("State"), html! { (badge(if one.state == "open" { Tone::Warn } else { Tone::Quiet }, &one.state)) }),
            (t("Asked for by"), html! { (one.asked_by) ", " (when(one.asked_unix_ms)) }),
            (t("Open until"), when(one.expires_unix_ms)),
            (t("Decided by"), html! { (one.decided_by.as_deref().unwrap_or("–")) " " (when_or(one.decided_unix_ms, "")) }),
            (t("Note"), html! { (one.note) }),
            (t("Digest"), html! { span.mono { (one.digest) } }),
        ]))
        (section(t("Exactly this"), html! { p { code { (one.verb) } } (block(&act)) }))
        @if one.state == "open" && (own || visit.may(Right::Approve)) {
            (form(visit, &format!("/approvals/{number}"), html! {
                input type="hidden" name="digest" value=(one.digest);
                div.field { label for="note" { (t("What others are to read")) } input #note name="note"; }
                div.acts {
                    @if !own { button.first type="submit" name="word" value="approve" { (t("Approve: it is done at once")) } }
                    button.danger type="submit" name="word" value="reject" { (t("Reject")) }
                }
            }))
            @if own { p.quiet { (t("You asked for it: somebody else approves it.")) } }
        }
        (command(&format!("simsim approval show {number}")))
        p { a href="/approvals" { (t("All that waits")) } }
    };
    Ok(Page::new(t("Second person"), Place::People, body).into())
}
