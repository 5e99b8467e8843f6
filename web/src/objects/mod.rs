//! Forms for everything that an administrator sets. One table says what each kind of object is made
//! of; this room makes lists, forms, checks while they are filled in, and command lines from it.

mod findings;
mod form;
mod kind;
mod request;
mod table;

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_model::Kind as ErrorKind;

pub use kind::Kind;
pub use table::KINDS;

use crate::find::Find;
use crate::parts::{
    Page, Place, Tone, act as button, alert, badge, block, command, empty, link, section,
    table as rows_of,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Failure, Shown, Visit};

fn kind(noun: &str) -> Result<&'static Kind, Failure> {
    KINDS
        .iter()
        .find(|kind| kind.noun == noun)
        .ok_or_else(|| Failure::not_found(tf("There is no kind of object '{}'.", &[&noun])))
}

/// Every text of the table, for the list of texts.
#[cfg(test)]
pub fn texts() -> Vec<&'static str> {
    let mut texts = Vec::new();
    for kind in KINDS {
        texts.extend([kind.title, kind.one, kind.about, kind.removing]);
        texts.extend(kind.columns.iter().map(|(head, _)| *head));
        texts.extend(kind.acts.iter().map(|(_, label, _)| *label));
        for field in kind.fields {
            texts.extend([field.label, field.help]);
            if let kind::Input::Choose(choices) = field.input {
                texts.extend(choices.iter().map(|(_, words)| *words));
            }
        }
    }
    texts.retain(|text| !text.is_empty());
    texts
}

/// All objects of a kind, as the server tells them.
async fn all(visit: &Visit, kind: &Kind) -> Result<Vec<Value>, Failure> {
    listed(visit, kind.list, kind.within).await
}

async fn listed(visit: &Visit, verb: &str, within: &str) -> Result<Vec<Value>, Failure> {
    let mut found: Value = visit.look(verb).await?;
    if !within.is_empty() {
        found = found[within].take();
    }
    Ok(match found {
        Value::Array(list) => list,
        _ => Vec::new(),
    })
}

/// A value as one text.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => t("yes").to_owned(),
        Value::Bool(false) => t("no").to_owned(),
        Value::Array(list) => list.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What stands at a place of an answer; `*` goes through a list.
fn at(value: &Value, place: &str) -> Value {
    let Some((first, rest)) = place.split_once('/') else {
        return match (value, place.parse::<usize>()) {
            (Value::Array(list), Ok(number)) => list.get(number).cloned().unwrap_or_default(),
            _ => value.get(place).cloned().unwrap_or_default(),
        };
    };
    match (first, value) {
        ("*", Value::Array(list)) => list.iter().map(|one| at(one, rest)).collect(),
        _ => at(&value.get(first).cloned().unwrap_or_default(), rest),
    }
}

fn name_of(kind: &Kind, one: &Value) -> String {
    text_of(&one[kind.name])
}

fn cell(kind: &Kind, one: &Value, place: &str) -> Markup {
    let value = at(one, place);
    let text = text_of(&value);
    match (place, &value) {
        ("health/green", Value::Bool(true)) => badge(Tone::Good, t("green")),
        ("health/green", _) => badge(Tone::Warn, t("not green")),
        ("enabled", Value::Bool(false)) => badge(Tone::Warn, t("no")),
        ("last_state", Value::String(state)) => crate::parts::state(&state.replace(' ', "_")),
        _ if place == kind.name => {
            let to = match kind.noun {
                "tasks" => link(&["tasks", &text]),
                "datastores" => link(&["storage", &text]),
                noun => link(&["set-up", noun, "change", &text]),
            };
            html! { a href=(to) { (text) } }
        }
        _ => html! { (text) },
    }
}

/// All of a kind.
pub async fn list(visit: &Visit, noun: &str) -> Shown {
    let kind = kind(noun)?;
    let found = all(visit, kind).await?;
    let find = Find::of(visit);
    let fits = |one: &&Value| find.fits(&text_of(&one[kind.name]));
    let shown: Vec<&Value> = found.iter().filter(fits).collect();
    let rows = find
        .page_of(&shown, PAGE)
        .iter()
        .map(|one| kind.columns.iter().map(|(_, place)| cell(kind, one, place)).collect())
        .collect();
    let heads: Vec<&str> = kind.columns.iter().map(|(head, _)| t(head)).collect();
    let list = format!("/set-up/{}", kind.noun);
    let new = format!("{list}/new");
    let body = html! {
        h1 { (t(kind.title)) }
        p { (t(kind.about)) }
        div.acts {
            a.button.first href=(new) { (tf("Add: {}", &[&t(kind.one)])) }
            a href="/set-up" { (t("Everything that is set")) }
        }
        (find.form(&list, found.len() > 10))
        @if shown.is_empty() { (empty(&tf("There is none yet: {}", &[&t(kind.about)]), Some((&new, &tf("Add: {}", &[&t(kind.one)]))))) }
        @else { (rows_of(t(kind.title), &heads, rows)) }
        (find.pages(&list, shown.len(), PAGE))
        (command(&format!("{} list", kind.command)))
    };
    Ok(Page::new(t(kind.title), Place::SetUp, body).into())
}

/// Objects of one page of a list.
const PAGE: usize = 100;

/// A new one.
pub async fn new(visit: &Visit, noun: &str) -> Shown {
    let kind = kind(noun)?;
    let mut trouble = None;
    let mut document = form::begin(visit, kind);
    if let Some(fields) = visit.sent() {
        let request = request::of(kind, fields, None)?;
        match visit.ask::<Value>(kind.add, &request).await {
            Ok(made) => return Ok(told(visit, kind, &request, &made)),
            Err(failure) if shown_in_form(&failure) => trouble = Some(failure.message),
            Err(failure) => return Err(failure),
        }
        document = request;
    }
    let title = tf("Add: {}", &[&t(kind.one)]);
    let form = form::of(visit, kind, &document, None, trouble.as_deref()).await?;
    let body = html! { h1 { (title) } p { (t(kind.about)) } (form) };
    Ok(Page::new(title, Place::SetUp, body).into())
}

/// Errors that a person mends in the form.
fn shown_in_form(failure: &Failure) -> bool {
    !matches!(failure.kind, ErrorKind::Denied | ErrorKind::Internal)
}

/// What is to be said of something that was made: secrets once, what waits for whom; else the list.
fn told(visit: &Visit, kind: &'static Kind, request: &Value, made: &Value) -> Answer {
    let _ = visit;
    let name = text_of(&request[kind.name]);
    let approval = made.get("approval").or_else(|| made.get("pool").and(made.get("approval")));
    let waits =
        approval.and_then(|one| one["approval"].as_u64()).or_else(|| made["waits_for"].as_u64());
    let waits = waits.or_else(|| made["token"]["waits_for"].as_u64());
    let warnings = made["warnings"].as_array().cloned().unwrap_or_default();
    let secret = made["secret"].as_str();
    if secret.is_none() && waits.is_none() && warnings.is_empty() {
        return Answer::See(match kind.noun {
            "tasks" => link(&["tasks", &name]),
            "datastores" => link(&["storage", &name]),
            noun => format!("/set-up/{noun}"),
        });
    }
    let title = tf("{}: {}", &[&t(kind.one), &name]);
    let body = html! {
        h1 { (title) }
        @if let Some(secret) = secret {
            (section(t("Its secret: it is shown this once"), html! {
                (block(secret))
                @for place in ["url", "ftp_url"] { @if let Some(url) = made[place].as_str().filter(|url| !url.is_empty()) { p { (t("Where it goes: ")) code { (url) } } } }
            }))
        }
        @if let Some(waits) = waits { (alert(Tone::Warn, html! { p { (t("A part of it waits for a second person: ")) a href=(format!("/approvals/{waits}")) { (tf("approval {}", &[&waits])) } } })) }
        @for warning in &warnings { (alert(Tone::Warn, html! { p { (text_of(warning)) } })) }
        p { a href=(format!("/set-up/{}", kind.noun)) { (t("To the list")) } }
    };
    Answer::Page(Box::new(Page::new(title, Place::SetUp, body)))
}

async fn one_of(visit: &Visit, kind: &Kind, name: &str) -> Result<Value, Failure> {
    let mut found = all(visit, kind).await?.into_iter();
    found
        .find(|one| name_of(kind, one) == name)
        .ok_or_else(|| Failure::not_found(tf("There is no {} '{}'.", &[&t(kind.one), &name])))
}

/// One that is there: looked at, and changed where it can be.
pub async fn change(visit: &Visit, noun: &str, name: &str) -> Shown {
    let kind = kind(noun)?;
    let view = one_of(visit, kind, name).await?;
    let mut trouble = None;
    let mut document = view.clone();
    if let (Some(fields), false) = (visit.sent(), kind.change.is_empty()) {
        let request = request::of(kind, fields, Some(&view))?;
        match visit.ask::<Value>(kind.change, &request).await {
            Ok(made) => return Ok(told(visit, kind, &request, &made)),
            Err(failure) if shown_in_form(&failure) => trouble = Some(failure.message),
            Err(failure) => return Err(failure),
        }
        document = request;
    }
    let title = tf("{}: {}", &[&t(kind.one), &name]);
    let body = html! {
        h1 { (title) }
        @if !kind.acts.is_empty() {
            div.acts { @for (act, label, _) in kind.acts { (button(visit, &link(&["set-up", kind.noun, "act", act, name]), t(label), "first")) } }
        }
        @if kind.change.is_empty() {
            (section(t("How it is"), form::facts(&view)))
        } @else {
            (form::of(visit, kind, &document, Some(&view), trouble.as_deref()).await?)
        }
        @if !kind.remove.is_empty() { (removal(visit, kind, name)) }
    };
    Ok(Page::new(title, Place::SetUp, body).into())
}

fn removal(visit: &Visit, kind: &Kind, name: &str) -> Markup {
    let verb = if kind.remove.ends_with("revoke") { "revoke" } else { "remove" };
    html! {
        details #removal {
            summary { (t("Remove it")) }
            p { (t(kind.removing)) }
            (crate::parts::form(visit, &link(&["set-up", kind.noun, "remove", name]), html! {
                button.danger type="submit" data-confirm=(tf("Remove {} '{}'?", &[&t(kind.one), &name])) { (t("Remove")) }
            }))
            (command(&format!("{} {verb} {}", kind.command, crate::parts::quoted(name))))
        }
    }
}

/// Removes one. What is in use is refused, with the list of who uses it.
pub async fn remove(visit: &Visit, noun: &str, name: &str) -> Shown {
    let kind = kind(noun)?;
    if visit.sent().is_some() && !kind.remove.is_empty() {
        let request = match (kind.name, name.parse::<u64>()) {
            ("number", Ok(number)) => json!({ "number": number }),
            _ => json!({ kind.name: name }),
        };
        let _: Value = visit.ask(kind.remove, request).await?;
    }
    Ok(Answer::See(format!("/set-up/{}", kind.noun)))
}

/// Does something with one.
pub async fn act(visit: &Visit, noun: &str, act: &str, name: &str) -> Shown {
    let kind = kind(noun)?;
    let back = link(&["set-up", kind.noun, "change", name]);
    let (Some(_), Some((_, label, verb))) =
        (visit.sent(), kind.acts.iter().find(|one| one.0 == act))
    else {
        return Ok(Answer::See(back));
    };
    let done: Value = visit.ask(verb, json!({ kind.name: name })).await?;
    if let Some(job) = done["job"].as_u64() {
        return Ok(Answer::See(format!("/jobs/{job}")));
    }
    if let Some(runs) = done["runs"].as_array() {
        let jobs: Vec<u64> = runs.iter().filter_map(|run| run["job"].as_u64()).collect();
        if let [only] = jobs.as_slice() {
            return Ok(Answer::See(format!("/jobs/{only}")));
        }
        return Ok(Answer::See(crate::parts::asked("/jobs", &[("event", name)])));
    }
    let body = html! {
        h1 { (t(label)) }
        (form::facts(&done))
        p { a href=(back) { (t("Back")) } }
    };
    Ok(Page::new(t(label), Place::SetUp, body).into())
}

/// What would come of a form, while it is filled in: a piece of a page.
pub async fn check(visit: &Visit, noun: &str) -> Shown {
    let kind = kind(noun)?;
    let Some(fields) = visit.sent() else { return Err(Failure::not_found(visit.path.clone())) };
    let view = match fields.get("was") {
        Some(name) => Some(one_of(visit, kind, name).await?),
        None => None,
    };
    let piece = match request::of(kind, fields, view.as_ref()) {
        Ok(request) => findings::of(visit, kind, &request, view.as_ref()).await?,
        Err(failure) => alert(Tone::Bad, html! { p { (failure.message) } }),
    };
    let reply = simsim_console::page::PageReply::html(200, piece.into_string());
    Ok(Answer::Reply(Box::new(reply)))
}

/// A request for an object of a kind as a command line; `view`: what it changes, as it is.
pub fn command_line(noun: &str, request: &Value, view: Option<&Value>) -> Option<String> {
    KINDS.iter().find(|kind| kind.noun == noun).map(|kind| request::command(kind, request, view))
}
