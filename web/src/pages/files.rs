//! The files of a saveset, a folder at a time, whatever its size.

use maud::{Markup, html};
use serde_json::json;
use simsim_console::page::PageBody;
use simsim_server::Right;
use simsim_server::api::{EntryView, LsReply, SavesetDetail, SavesetView};

use crate::pages::restore::steps;
use crate::parts::{Page, Place, asked, command, empty, form, link, quoted, table};
use crate::text::{t, tf, tn};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::words::{size, when};

/// Entries of one page.
const PAGE: u32 = 200;

pub async fn show(visit: &Visit, id: &str) -> Shown {
    let detail: SavesetDetail = visit.ask("saveset.show", json!({ "saveset": id })).await?;
    let saveset = &detail.saveset;
    let id = saveset.saveset.to_string();
    let path = visit.query.get("path").unwrap_or("/");
    let request =
        json!({ "saveset": id, "path": path, "after": visit.query.get("after"), "limit": PAGE });
    let found: LsReply = visit.ask("saveset.ls", request).await?;
    let place = link(&["savesets", &id, "files"]);
    let body = html! {
        h1 { (tf("{} as it was", &[&saveset.client])) " " (when(saveset.committed_unix_ms)) }
        (steps(1))
        p { (saveset.task) " · " (crate::words::level(saveset.level)) " · " (tn(saveset.files, t("1 file"), t("{} files"))) " · " (size(saveset.bytes)) " · " a href=(link(&["savesets", &id])) { (t("About it")) } }
        (crumbs(&place, path))
        @if found.entries.is_empty() { (empty(t("This folder is empty."), None)) } @else {
            (form(visit, &link(&["savesets", &id, "restore"]), html! {
                div.acts {
                    @if visit.may(Right::Restore) { button.first type="submit" { (t("Restore what is marked")) } }
                    button type="submit" name="path" value=(path) { (t("Restore this folder")) }
                    span.quiet { (t("Nothing starts before the summary.")) }
                }
                (entries(saveset, &id, visit.may(Right::RestoreToOther), &place, &found.entries))
            }))
        }
        @if let (true, Some(last)) = (found.more, found.entries.last()) {
            p { a href=(asked(&place, &[("path", path), ("after", name_of(&last.path))])) { (t("More")) } }
        }
        (command(&format!("simsim ls {} {}", id.get(..12).unwrap_or(&id), quoted(path))))
    };
    Ok(Page::new(tf("Files of {}", &[&saveset.client]), Place::Restore, body).into())
}

/// Bytes of a file that a preview shows.
const PREVIEW_BYTES: usize = 64 * 1024;

/// Sends a file or a folder.
pub async fn download(visit: &Visit, id: &str) -> Shown {
    let path = visit.query.get("path").unwrap_or("/");
    Ok(Answer::Reply(Box::new(visit.download(id, path).await?)))
}

/// The beginning of a file, as text where it is text.
pub async fn preview(visit: &Visit, id: &str) -> Shown {
    let path = visit.query.get("path").unwrap_or("/");
    let PageBody::Download { mut bytes, .. } = visit.download(id, path).await?.body else {
        return Err(Failure::not_found(path));
    };
    let mut begun = Vec::new();
    while begun.len() < PREVIEW_BYTES {
        match bytes.recv().await {
            Some(Ok(part)) => begun.extend_from_slice(&part),
            Some(Err(text)) => {
                return Err(Failure { kind: simsim_model::Kind::Corrupt, message: text });
            }
            None => break,
        }
    }
    drop(bytes);
    let cut = begun.len() >= PREVIEW_BYTES;
    begun.truncate(PREVIEW_BYTES);
    // A character may be cut in the middle at the end.
    let text = match std::str::from_utf8(&begun) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(begun.get(..error.valid_up_to()).unwrap_or_default()).ok()
        }
        Err(_) => None,
    };
    let text = text.filter(|text| !text.contains('\0'));
    let to = asked(&link(&["savesets", id, "download"]), &[("path", path)]);
    let body = html! {
        h1.mono { (path) }
        div.acts { a.button.first href=(to) { (t("Download")) } a href=(asked(&link(&["savesets", id, "files"]), &[("path", folder_of(path))])) { (t("Back to the files")) } }
        @match text {
            Some(text) => pre.log tabindex="0" { (text) },
            None => (empty(t("This is no text. Download it to look at it."), None)),
        }
        @if cut { p.quiet { (t("Only the beginning is shown.")) } }
    };
    Ok(Page::new(name_of(path), Place::Restore, body).into())
}

/// The folder that a path is in.
pub fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

/// The last part of a path.
pub fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn crumbs(place: &str, path: &str) -> Markup {
    let mut whole = String::new();
    let mut steps = vec![("/".to_owned(), t("all").to_owned())];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        whole.push('/');
        whole.push_str(part);
        steps.push((whole.clone(), part.to_owned()));
    }
    html! {
        nav aria-label=(t("Folder")) {
            ol.crumbs { @for (path, name) in &steps { li { a href=(asked(place, &[("path", path)])) { (name) } } } }
        }
    }
}

fn entries(
    saveset: &SavesetView,
    id: &str,
    may: bool,
    place: &str,
    entries: &[EntryView],
) -> Markup {
    let rows = entries.iter().map(|one| {
        let name = name_of(&one.path);
        let folder = one.kind == "directory";
        vec![
            html! { input type="checkbox" name="path" value=(one.path) aria-label=(tf("Mark {}", &[&name])); },
            html! {
                @if folder { a href=(asked(place, &[("path", &one.path)])) { (name) "/" } } @else { (name) }
                @if let Some(target) = &one.link_target { span.quiet { " → " (target) } }
                @if one.missing { " " (crate::parts::badge(crate::parts::Tone::Bad, t("could not be read"))) }
            },
            html! { (size(one.bytes)) @if folder { " · " (tn(one.files, t("1 file"), t("{} files"))) } },
            when(one.mtime_unix_s.saturating_mul(1000)),
            html! { span.mono { (mode(one)) } },
            html! {
                @if !folder {
                    @if may { a href=(asked(&link(&["savesets", id, "preview"]), &[("path", &one.path)])) aria-label=(tf("Look at {}", &[&name])) { (t("Look")) } " · " }
                    a href=(asked("/history", &[("of", &saveset.client), ("path", &one.path)])) aria-label=(tf("Versions of {}", &[&name])) { (t("Versions")) }
                }
                @if may { @if !folder { " · " } a href=(asked(&link(&["savesets", id, "download"]), &[("path", &one.path)])) aria-label=(tf("Download {}", &[&name])) { (t("Download")) } }
            },
        ]
    });
    table(
        t("Files"),
        &[t("Mark"), t("Name"), t("Size"), t("Changed"), t("Mode"), t("More")],
        rows.collect(),
    )
}

/// Permission bits as `ls -l` shows them.
fn mode(one: &EntryView) -> String {
    let bit = |at: u32, sign: char| if one.mode & (1 << at) == 0 { '-' } else { sign };
    let first = match one.kind.as_str() {
        "directory" => 'd',
        "symlink" => 'l',
        "fifo" => 'p',
        "socket" => 's',
        "char_device" => 'c',
        "block_device" => 'b',
        _ => '-',
    };
    let bits =
        [(8, 'r'), (7, 'w'), (6, 'x'), (5, 'r'), (4, 'w'), (3, 'x'), (2, 'r'), (1, 'w'), (0, 'x')];
    std::iter::once(first).chain(bits.into_iter().map(|(at, sign)| bit(at, sign))).collect()
}
