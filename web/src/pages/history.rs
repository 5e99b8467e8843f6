//! The versions of one file.

use maud::html;
use serde_json::json;
use simsim_server::api::HistoryReply;

use crate::pages::search::beyond;
use crate::parts::{Page, Place, asked, command, empty, form, link, quoted, section, table};
use crate::text::{t, tf};
use crate::visit::{Failure, Shown, Visit};
use crate::words::{size, when};

pub async fn show(visit: &Visit) -> Shown {
    let (Some(of), Some(path)) = (visit.query.get("of"), visit.query.get("path")) else {
        return Err(Failure::invalid(t("Name a client or a task, and a path.")));
    };
    let found: HistoryReply =
        visit.ask("search.history", json!({ "of": of, "path": path })).await?;
    let body = html! {
        h1 { (tf("Versions of {}", &[&path])) }
        @if found.histories.is_empty() { (empty(t("No saveset has had this file."), None)) }
        @for history in &found.histories {
            @let rows = history.versions.iter().rev().map(|version| {
                let id = version.last_saveset.to_string();
                vec![
                    html! { (when(version.first_unix_ms)) " – " (when(version.last_unix_ms)) },
                    html! { @if version.present { (version.bytes.map_or_else(String::new, size)) } @else { span.quiet { (t("was not there")) } } },
                    html! { @if let Some(at) = version.mtime_unix_s { (when(at.saturating_mul(1000))) } },
                    html! { (version.savesets) },
                    html! {
                        @if version.present {
                            (form(visit, &link(&["savesets", &id, "restore"]), html! {
                                input type="hidden" name="path" value=(path);
                                button type="submit" { (t("Restore this version")) }
                            }))
                        }
                        a href=(asked(&link(&["savesets", &id, "files"]), &[("path", path.rsplit_once('/').map_or("/", |(folder, _)| if folder.is_empty() { "/" } else { folder }))])) aria-label=(tf("Folder as it was in {}", &[&id.get(..8).unwrap_or(&id)])) { (t("Folder")) }
                    },
                ]
            }).collect();
            (section(&format!("{} · {}", history.client, history.task), table(t("Versions"), &[t("In savesets of"), t("Size"), t("Changed"), t("Savesets"), t("More")], rows)))
        }
        (beyond(&found.not_indexed, &found.not_searchable))
        (command(&format!("simsim history {} {}", quoted(of), quoted(path))))
    };
    Ok(Page::new(t("Versions"), Place::Restore, body).into())
}
