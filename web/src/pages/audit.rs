//! The audit log, and whether its chain holds.

use maud::html;
use serde_json::json;
use simsim_server::api::{AuditListReply, AuditVerifyReply};

use crate::parts::{Page, Place, Tone, act as button, alert, asked, badge, command, empty, table};
use crate::text::{t, tf};
use crate::visit::{Shown, Visit};
use crate::words::when;

const PAGE: u32 = 100;

pub async fn show(visit: &Visit) -> Shown {
    let verified: Option<AuditVerifyReply> = match visit.sent() {
        Some(_) => Some(visit.look("audit.verify").await?),
        None => None,
    };
    // Pages go back in time: each is asked for by the first row of the one before it.
    let before = visit.query.number("before");
    let request = match before {
        Some(before) => {
            let after = before.saturating_sub(u64::from(PAGE) + 1);
            json!({ "after": after, "limit": before.saturating_sub(after + 1).min(u64::from(PAGE)) })
        }
        None => json!({ "after": 0, "limit": PAGE, "newest": true }),
    };
    let found: AuditListReply = visit.ask("audit.list", request).await?;
    let rows = found.rows.iter().rev().map(|row| {
        vec![
            html! { (row.position) },
            when(row.at_unix_ms),
            html! { (row.entry.principal) },
            html! { code { (row.entry.verb) } @if !row.entry.allowed { " " (badge(Tone::Bad, t("refused"))) } },
            html! { (row.entry.object) },
            html! { (row.entry.detail) },
        ]
    });
    let body = html! {
        h1 { (t("Audit log")) }
        p { (t("Every act and every refusal, in a chain of hashes: a row that is removed, changed or moved is found.")) }
        div.acts { (button(visit, "/audit", t("Check the chain"), "first")) }
        @if let Some(verified) = &verified {
            @match &verified.finding {
                None => (alert(Tone::Good, html! { p { (tf("The chain holds: {} rows.", &[&verified.rows])) } })),
                Some(finding) => (alert(Tone::Bad, html! { p { (finding) } })),
            }
        }
        @if found.rows.is_empty() { (empty(t("There is nothing earlier."), None)) }
        @else { (table(t("Audit log"), &[t("Row"), t("When"), t("Who"), t("What"), t("To what"), t("More")], rows.collect())) }
        @if let Some(first) = found.rows.first().filter(|row| row.position > 1) { p { a href=(asked("/audit", &[("before", &first.position.to_string())])) { (t("Earlier")) } } }
        (command("simsim audit verify"))
    };
    Ok(Page::new(t("Audit log"), Place::Audit, body).into())
}
