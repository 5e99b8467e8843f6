//! Files by name, over all savesets of all clients.

use maud::{Markup, html};
use serde_json::json;
use simsim_server::api::{FoundVersion, NotIndexed, SearchReply};

use crate::parts::{Page, Place, Tone, alert, asked, command, empty, link, quoted, table};
use crate::text::{t, tf, tn};
use crate::visit::{Shown, Visit};
use crate::words::{size, when};

pub async fn show(visit: &Visit) -> Shown {
    let query = &visit.query;
    let Some(pattern) = query.get("q") else {
        let body = html! {
            h1 { (t("Search")) }
            p { (t("Type a part of a file's name at the top of the page. With * ? or [ ] the whole name must match; with a / the whole path.")) }
        };
        return Ok(Page::new(t("Search"), Place::Restore, body).into());
    };
    let request = json!({
        "pattern": pattern,
        "ignore_case": query.get("case").is_none(),
        "client": query.get("client"),
        "task": query.get("task"),
        "after": query.get("after"),
        "limit": 100,
    });
    let found: SearchReply = visit.ask("search", request).await?;
    let body = html! {
        h1 { (tf("Files named {}", &[&pattern])) }
        form.filters method="get" action="/search" data-at-once {
            input type="hidden" name="q" value=(pattern);
            div { label for="client" { (t("Client")) } input #client name="client" value=[query.get("client")]; }
            div { label for="task" { (t("Task")) } input #task name="task" value=[query.get("task")]; }
            div { label for="case" { (t("Exact case")) } input #case type="checkbox" name="case" value="1" checked[query.has("case")]; }
            button type="submit" { (t("Filter")) }
        }
        @if found.found.is_empty() && found.next.is_none() { (empty(t("No file of any saveset has such a name."), None)) } @else { (versions(&found.found)) }
        @if let Some(next) = &found.next { p { a href=(asked("/search", &{ let mut pairs = query.pairs_with("after", next); pairs.retain(|(_, value)| !value.is_empty()); pairs })) { (t("More")) } } }
        (beyond(&found.not_indexed, &found.not_searchable))
        (command(&format!("simsim search {}", quoted(pattern))))
    };
    Ok(Page::new(t("Search"), Place::Restore, body).into())
}

fn versions(found: &[FoundVersion]) -> Markup {
    let rows = found.iter().map(|one| {
        let last = one.last_saveset.to_string();
        let folder = one.path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let folder = if folder.is_empty() { "/" } else { folder };
        vec![
            html! { span.mono { (one.path) } @if one.kind == "directory" { "/" } },
            html! { (one.client) " · " (one.task) },
            html! { (size(one.bytes)) },
            when(one.mtime_unix_s.saturating_mul(1000)),
            html! { (when(one.last_unix_ms)) @if one.ended { br; span.quiet { (t("another one since, or none")) } } },
            html! {
                a href=(asked(&link(&["savesets", &last, "files"]), &[("path", if one.kind == "directory" { &one.path } else { folder })])) aria-label=(tf("Folder of {}", &[&one.path])) { (t("Folder")) } " · "
                a href=(asked("/history", &[("of", &one.client), ("path", &one.path)])) aria-label=(tf("Versions of {}", &[&one.path])) { (t("Versions")) }
            },
        ]
    });
    table(
        t("Files"),
        &[t("Path"), t("Of"), t("Size"), t("Changed"), t("Last saved"), t("More")],
        rows.collect(),
    )
}

/// What a search does not reach.
pub fn beyond(not_indexed: &[NotIndexed], not_searchable: &[String]) -> Markup {
    html! {
        @if !not_indexed.is_empty() {
            (alert(Tone::Warn, html! {
                p { (tn(not_indexed.len(), t("1 saveset is not in the search yet."), t("{} savesets are not in the search yet."))) }
                details { summary { (t("Which ones")) } ul.plain { @for one in not_indexed { li { (one.client) " " (one.task) ": " (one.why) } } } }
            }))
        }
        @for sentence in not_searchable { (alert(Tone::Quiet, html! { p { (sentence) } })) }
    }
}
