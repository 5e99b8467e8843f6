//! What differs between two points in time.

use maud::html;
use serde_json::json;
use simsim_server::api::{ChangeKind, DiffReply, SavesetDetail};

use crate::parts::{Page, Place, Tone, asked, badge, command, empty, link, table};
use crate::text::{t, tf};
use crate::visit::{Shown, Visit};
use crate::words::when;

const PAGE: u32 = 500;

pub async fn show(visit: &Visit, from: &str, to: &str) -> Shown {
    let path = visit.query.get("path").unwrap_or_default();
    let request = json!({ "from": from, "to": to, "path": path, "after": visit.query.get("after"), "limit": PAGE });
    let found: DiffReply = visit.ask("saveset.diff", request).await?;
    let one: SavesetDetail = visit.ask("saveset.show", json!({ "saveset": from })).await?;
    let other: SavesetDetail = visit.ask("saveset.show", json!({ "saveset": to })).await?;
    let place = link(&["savesets", from, "compare", to]);
    let rows = found.changes.iter().map(|change| {
        let mark = match change.change {
            ChangeKind::Added => badge(Tone::Good, t("added")),
            ChangeKind::Removed => badge(Tone::Bad, t("removed")),
            ChangeKind::Content => badge(Tone::Warn, t("content")),
            ChangeKind::Metadata => badge(Tone::Quiet, t("attributes")),
        };
        vec![
            mark,
            html! { span.mono { (change.path) } },
            html! { a href=(asked("/history", &[("of", &other.saveset.client), ("path", &change.path)])) aria-label=(tf("Versions of {}", &[&change.path])) { (t("Versions")) } },
        ]
    });
    let body = html! {
        h1 { (t("What changed")) }
        p { (when(one.saveset.committed_unix_ms)) " → " (when(other.saveset.committed_unix_ms)) " · " (other.saveset.client) " " (other.saveset.task) }
        p { a href=(link(&["savesets", to, "compare", from])) { (t("The other way round")) } }
        @if found.changes.is_empty() { (empty(t("Nothing differs."), None)) } @else { (table(t("What changed"), &[t("Change"), t("Path"), t("More")], rows.collect())) }
        @if let (true, Some(last)) = (found.more, found.changes.last()) { p { a href=(asked(&place, &[("path", path), ("after", &last.path)])) { (t("More")) } } }
        (command(&format!("simsim diff {} {}", from.get(..12).unwrap_or(from), to.get(..12).unwrap_or(to))))
    };
    Ok(Page::new(t("What changed"), Place::Restore, body).into())
}
