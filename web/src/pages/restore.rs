//! Restores: choose a client and a point in time, then say what goes where, and see it before it starts.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::json;
use simsim_model::Overwrite;
use simsim_server::api::{
    ClientView, JobReply, RestoreRequest, SavesetDetail, SavesetView, TaskView,
};

use crate::parts::{
    Page, Place, Tone, alert, asked, badge, command, empty, facts, form, link, quoted, section,
    table,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Fields, Shown, Visit};
use crate::words::{count, day, now, since, size, when};

/// Savesets of one time line.
const SHOWN: usize = 200;

/// Choose a client, a task, a point in time.
pub async fn choose(visit: &Visit) -> Shown {
    let query = &visit.query;
    let (client, task) = (query.get("client"), query.get("task"));
    let clients: Vec<ClientView> = visit.look("client.list").await?;
    let tasks: Vec<TaskView> = visit.look("task.list").await?;
    let request = json!({ "client": client, "task": task, "limit": SHOWN + 1 });
    let found: Vec<SavesetView> = visit.ask("saveset.list", request).await?;
    let body = html! {
        h1 { (t("Restore")) }
        (steps(0))
        p { (t("Choose whose data, then the point in time. To find a file whose place you do not know, search for it at the top of the page.")) }
        form.filters method="get" action="/restore" data-at-once {
            div { label for="client" { (t("Client")) }
                select #client name="client" {
                    option value="" { (t("all")) }
                    @for one in &clients { option value=(one.name) selected[Some(one.name.as_str()) == client] { (one.name) } }
                } }
            div { label for="task" { (t("Task")) }
                select #task name="task" {
                    option value="" { (t("all")) }
                    @for one in tasks.iter().filter(|one| client.is_none_or(|client| one.client == client)) { option value=(one.name) selected[Some(one.name.as_str()) == task] { (one.name) } }
                } }
            button type="submit" { (t("Show")) }
        }
        @if found.is_empty() {
            (empty(t("There is no saveset yet. One comes with each backup that ends well."), Some(("/set-up/tasks", t("See the tasks")))))
        } @else {
            (section(t("Time line"), time_line(&found)))
        }
        @if found.len() > SHOWN { p.quiet { (tf("The newest {} are shown: choose a client and a task to see further back.", &[&SHOWN])) } }
    };
    Ok(Page::new(t("Restore"), Place::Restore, body).into())
}

/// Savesets by day, the newest first.
fn time_line(found: &[SavesetView]) -> Markup {
    let now = now();
    let mut days: BTreeMap<String, Vec<&SavesetView>> = BTreeMap::new();
    for one in found.iter().take(SHOWN) {
        days.entry(day(one.committed_unix_ms)).or_default().push(one);
    }
    let rows = days.iter().rev().flat_map(|(_, savesets)| savesets.iter()).map(|one| {
        let id = one.saveset.to_string();
        vec![
            html! { a href=(link(&["savesets", &id, "files"])) { (when(one.committed_unix_ms)) } " " span.quiet { (since(one.committed_unix_ms, now)) } },
            html! { (one.client) },
            html! { @if one.task.is_empty() { span.quiet { (t("sealed name")) } } @else { (one.task) } },
            html! { (crate::words::level(one.level)) " " (outcome(one)) },
            html! { (count(one.files)) },
            html! { (size(one.bytes)) },
            {
                let lies_in = one.lies_in();
                let first = lies_in.first().copied().unwrap_or(&one.datastore);
                html! { (first) @if lies_in.len() > 1 { " " (tf("and {} more", &[&(lies_in.len() - 1)])) } }
            },
            html! { a href=(link(&["savesets", &id])) aria-label=(tf("About saveset {}", &[&id.get(..8).unwrap_or(&id)])) { (t("About it")) } },
        ]
    });
    table(
        t("Time line"),
        &[
            t("Saved"),
            t("Client"),
            t("Task"),
            t("Level"),
            t("Files"),
            t("Size"),
            t("Lies in"),
            t("More"),
        ],
        rows.collect(),
    )
}

pub fn outcome(one: &SavesetView) -> Markup {
    match one.outcome.as_str() {
        "finished" => badge(Tone::Good, t("finished")),
        "finished_with_errors" => badge(Tone::Warn, t("finished with errors")),
        other => badge(Tone::Bad, other),
    }
}

/// Where in a restore one is.
pub fn steps(now: usize) -> Markup {
    let steps = [t("Point in time"), t("Files"), t("Where to"), t("Summary")];
    html! { ol.steps { @for (at, step) in steps.into_iter().enumerate() { li aria-current=[(at == now).then_some("step")] { (step) } } } }
}

/// What was asked for in the form.
fn wanted(id: &str, fields: &Fields) -> RestoreRequest {
    let overwrite = match fields.get("overwrite") {
        Some("if-changed") => Overwrite::IfChanged,
        Some("if-newer") => Overwrite::IfNewer,
        Some("always") => Overwrite::Always,
        _ => Overwrite::Never,
    };
    let in_place = fields.get("where") == Some("in-place");
    let text = |name: &str| fields.get(name).map(str::to_owned);
    RestoreRequest {
        saveset: id.to_owned(),
        paths: fields.all("path").map(str::to_owned).collect(),
        patterns: fields.lines("patterns"),
        client: text("client"),
        target: if in_place { None } else { text("target") },
        overwrite,
        specials: fields.has("specials"),
        owners: fields.has("no-owners").then_some(false),
        dry_run: fields.has("dry-run"),
        copy: text("copy"),
        ..RestoreRequest::default()
    }
}

/// The same on the command line.
fn words(wanted: &RestoreRequest) -> String {
    let mut words = vec!["simsim restore".to_owned()];
    words.push(wanted.saveset.get(..12).unwrap_or(&wanted.saveset).to_owned());
    words.extend(wanted.paths.iter().map(|path| quoted(path)));
    match &wanted.target {
        Some(target) => words.push(format!("--to {}", quoted(target))),
        None => words.push("--in-place".to_owned()),
    }
    words.extend(wanted.client.iter().map(|client| format!("--client {}", quoted(client))));
    words.extend(wanted.patterns.iter().map(|one| format!("--pattern {}", quoted(one))));
    let overwrite = match wanted.overwrite {
        Overwrite::Never => None,
        Overwrite::IfChanged => Some("if-changed"),
        Overwrite::IfNewer => Some("if-newer"),
        Overwrite::Always => Some("always"),
    };
    words.extend(overwrite.map(|when| format!("--overwrite {when}")));
    words.extend(wanted.copy.iter().map(|copy| format!("--copy {}", quoted(copy))));
    if wanted.specials {
        words.push("--specials".to_owned());
    }
    if wanted.owners == Some(false) {
        words.push("--no-owners".to_owned());
    }
    if wanted.dry_run {
        words.push("--dry-run".to_owned());
    }
    words.join(" ")
}

/// Where to, then the summary, then the job.
pub async fn plan(visit: &Visit, id: &str) -> Shown {
    let detail: SavesetDetail = visit.ask("saveset.show", json!({ "saveset": id })).await?;
    let id = detail.saveset.saveset.to_string();
    let empty = Fields::default();
    let fields = visit.sent().unwrap_or(&empty);
    let wanted = wanted(&id, fields);
    match fields.get("step") {
        Some("start") => {
            let queued: JobReply = visit.ask("restore", &wanted).await?;
            Ok(Answer::See(format!("/jobs/{}", queued.job)))
        }
        Some("summary") if fields.get("where") != Some("in-place") && wanted.target.is_none() => {
            let clients: Vec<ClientView> = visit.look("client.list").await?;
            Ok(where_to(
                visit,
                &detail.saveset,
                &wanted,
                fields,
                &clients,
                Some(t("Name the folder to restore beneath.")),
            )
            .into())
        }
        Some("summary") => Ok(summary(visit, &detail.saveset, &wanted, fields).into()),
        _ => {
            let clients: Vec<ClientView> = visit.look("client.list").await?;
            Ok(where_to(visit, &detail.saveset, &wanted, fields, &clients, None).into())
        }
    }
}

/// The fields of what was chosen, carried on.
fn carried(fields: &Fields, names: &[&str]) -> Markup {
    html! {
        @for name in names { @for value in fields.all(name) { input type="hidden" name=(name) value=(value); } }
    }
}

fn chosen(wanted: &RestoreRequest) -> Markup {
    html! {
        @if wanted.paths.is_empty() { (t("everything in the saveset")) } @else {
            @for path in wanted.paths.iter().take(20) { div.mono { (path) } }
            @if wanted.paths.len() > 20 { div { (tf("and {} more", &[&(wanted.paths.len() - 20)])) } }
        }
    }
}

fn where_to(
    visit: &Visit,
    saveset: &SavesetView,
    wanted: &RestoreRequest,
    fields: &Fields,
    clients: &[ClientView],
    trouble: Option<&str>,
) -> Page {
    let id = saveset.saveset.to_string();
    let in_place = fields.get("where") == Some("in-place");
    let overwrite = fields.get("overwrite").unwrap_or("never");
    let choices = [
        ("never", t("Leave what is there, and report it")),
        ("if-changed", t("Replace what differs in size or time")),
        ("if-newer", t("Replace what is older than the saved file")),
        ("always", t("Replace always")),
    ];
    let body = html! {
        h1 { (t("Where to?")) }
        (steps(2))
        @if let Some(trouble) = trouble { p.alert.bad role="alert" { (trouble) } }
        (form(visit, &link(&["savesets", &id, "restore"]), html! {
            (carried(fields, &["path"]))
            input type="hidden" name="step" value="summary";
            div.fields {
                div.field { span.label { (t("Restored is")) } (chosen(wanted)) }
                fieldset {
                    legend { (t("Place")) }
                    div.field.box {
                        input #elsewhere type="radio" name="where" value="elsewhere" checked[!in_place];
                        label for="elsewhere" { (t("Beneath another folder: nothing that is there now is touched")) }
                    }
                    div.field { label for="target" { (t("Folder")) } input #target name="target" value=(fields.get("target").unwrap_or_default()) placeholder="/restored"; }
                    div.field.box {
                        input #in-place type="radio" name="where" value="in-place" checked[in_place];
                        label for="in-place" { (t("Where the files were")) }
                    }
                }
                div.field { label for="client" { (t("On which client")) }
                    select #client name="client" {
                        option value="" { (tf("{}, whose data it is", &[&saveset.client])) }
                        @for one in clients.iter().filter(|one| one.name != saveset.client && one.state == "enrolled") { option value=(one.name) selected[fields.get("client") == Some(one.name.as_str())] { (one.name) } }
                    }
                    p.help { (t("Restoring the data of one client to another takes a right of its own.")) }
                }
                div.field { label for="overwrite" { (t("Where something already is")) }
                    select #overwrite name="overwrite" { @for (value, words) in choices { option value=(value) selected[value == overwrite] { (words) } } } }
                details {
                    summary { (t("More choices")) }
                    div.fields {
                        div.field { label for="patterns" { (t("Only what matches, a pattern a line")) } textarea #patterns name="patterns" { (fields.get("patterns").unwrap_or_default()) } }
                        @if !saveset.copies.is_empty() {
                            div.field { label for="copy" { (t("Read from")) }
                                select #copy name="copy" {
                                    option value="" { (t("the nearest sound copy that is reached")) }
                                    option value=(saveset.datastore) { (saveset.datastore) }
                                    @for copy in &saveset.copies { option value=(copy.datastore) selected[fields.get("copy") == Some(copy.datastore.as_str())] { (copy.datastore) } }
                                } }
                        }
                        div.field.box { input #no-owners type="checkbox" name="no-owners" value="1" checked[fields.has("no-owners")]; label for="no-owners" { (t("Do not set owners and groups")) } }
                        div.field.box { input #specials type="checkbox" name="specials" value="1" checked[fields.has("specials")]; label for="specials" { (t("Also make devices, and set setuid bits and capabilities")) } }
                        div.field.box { input #dry-run type="checkbox" name="dry-run" value="1" checked[fields.has("dry-run")]; label for="dry-run" { (t("Only say what would be done")) } }
                    }
                }
                div.acts { button.first type="submit" { (t("To the summary")) } a href=(link(&["savesets", &id, "files"])) { (t("Back to the files")) } }
            }
        }))
    };
    Page::new(t("Where to?"), Place::Restore, body)
}

fn summary(visit: &Visit, saveset: &SavesetView, wanted: &RestoreRequest, fields: &Fields) -> Page {
    let id = saveset.saveset.to_string();
    let client = wanted.client.as_deref().unwrap_or(&saveset.client);
    let overwrite = match wanted.overwrite {
        Overwrite::Never => t("is left alone, and reported"),
        Overwrite::IfChanged => t("is replaced if it differs in size or time"),
        Overwrite::IfNewer => t("is replaced if it is older than the saved file"),
        Overwrite::Always => t("is replaced always"),
    };
    let names = [
        "path",
        "patterns",
        "client",
        "target",
        "where",
        "overwrite",
        "copy",
        "no-owners",
        "specials",
        "dry-run",
    ];
    let pairs = vec![
        (t("Restored is"), chosen(wanted)),
        (
            t("As it was"),
            html! { (when(saveset.committed_unix_ms)) " " span.quiet { (saveset.client) " " (saveset.task) } },
        ),
        (
            t("To"),
            html! { b { (client) } ", " @match &wanted.target { Some(target) => { (t("beneath ")) span.mono { (target) } } None => (t("where the files were")) } },
        ),
        (t("What is there"), html! { (overwrite) }),
        (
            t("Read from"),
            html! { (wanted.copy.as_deref().unwrap_or(t("the nearest sound copy that is reached"))) },
        ),
        (
            t("At most"),
            html! { (count(saveset.files)) " " (t("files")) ", " (size(saveset.bytes)) },
        ),
    ];
    let risky = wanted.target.is_none() && wanted.overwrite != Overwrite::Never && !wanted.dry_run;
    let body = html! {
        h1 { (t("Summary")) }
        (steps(3))
        @if wanted.dry_run { (alert(Tone::Busy, html! { p { (t("Nothing is written: the job only says what it would do.")) } })) }
        @if risky { (alert(Tone::Warn, html! { p { (tf("Files on {} are replaced. What they hold now is not kept.", &[&client])) } })) }
        @if wanted.client.is_some() { (alert(Tone::Warn, html! { p { (tf("Data of {} goes to another client, {}.", &[&saveset.client, &client])) } })) }
        (section(t("This will be done"), facts(pairs)))
        (command(&words(wanted)))
        (form(visit, &link(&["savesets", &id, "restore"]), html! {
            (carried(fields, &names))
            div.acts {
                button.first type="submit" name="step" value="start" { (if wanted.dry_run { t("Start the trial") } else { t("Start the restore") }) }
                button type="submit" name="step" value="change" { (t("Change it")) }
            }
        }))
        p { a href=(asked("/restore", &[("client", &saveset.client)])) { (t("Another point in time")) } }
    };
    Page::new(t("Summary"), Place::Restore, body)
}
