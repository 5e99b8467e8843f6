//! The form of an object.

use maud::{Markup, html};
use serde_json::Value;

use super::kind::{Field, Input, Kind};
use super::{listed, request, text_of};
use crate::parts::{self, link};
use crate::text::t;
use crate::visit::{Failure, Visit};

/// What a new object begins with: what is usual, and what the address says.
pub fn begin(visit: &Visit, kind: &Kind) -> Value {
    let mut document = Value::Object(serde_json::Map::new());
    for field in kind.fields {
        let usual = match (kind.noun, field.at) {
            (_, "enabled") => Some(Value::Bool(true)),
            ("notifications", "outcomes") => {
                Some(serde_json::json!(["finished_with_errors", "failed", "interrupted"]))
            }
            ("identity-providers", "scopes") => Some(serde_json::json!(["profile"])),
            ("identity-providers", "name_claim") => Some(Value::from("preferred_username")),
            ("identity-providers", "groups_claim") => Some(Value::from("groups")),
            _ => None,
        };
        let asked = visit.query.get(field.at).map(|text| match field.input {
            Input::Lines | Input::PickMany(..) => serde_json::json!([text]),
            _ => Value::from(text),
        });
        if let Some(value) = asked.or(usual) {
            field.put(&mut document, value);
        }
    }
    document
}

/// The form, with what is known of the object.
pub async fn of(
    visit: &Visit,
    kind: &'static Kind,
    document: &Value,
    view: Option<&Value>,
    trouble: Option<&str>,
) -> Result<Markup, Failure> {
    let name = view.map(|view| text_of(&view[kind.name]));
    let action = match &name {
        Some(name) => link(&["set-up", kind.noun, "change", name]),
        None => format!("/set-up/{}/new", kind.noun),
    };
    let mut first = Vec::new();
    let mut further = Vec::new();
    let mut far = false;
    for field in kind.fields {
        if field.fixed && view.is_some() {
            continue;
        }
        let shown = one(visit, kind, field, document).await?;
        if field.further {
            far |= !super::text_of(field.of(document)).is_empty()
                && *field.of(document) != Value::Bool(false);
            further.push(shown);
        } else {
            first.push(shown);
        }
    }
    Ok(html! {
        @if let Some(trouble) = trouble { p.alert.bad role="alert" { (trouble) } }
        form method="post" action=(action) data-check=(format!("/set-up/{}/check", kind.noun)) {
            input type="hidden" name="csrf" value=(visit.session.csrf_token);
            @if let Some(name) = &name { input type="hidden" name="was" value=(name); }
            div.two {
                div.card {
                    div.fields {
                        @for field in first { (field) }
                        @if !further.is_empty() {
                            details #further open[far] { summary { (t("Further settings")) } div.fields { @for field in further { (field) } } }
                        }
                        div.acts {
                            button.first type="submit" { (if view.is_some() { t("Save") } else { t("Add") }) }
                            a href=(format!("/set-up/{}", kind.noun)) { (t("Cancel")) }
                        }
                    }
                }
                div.card aria-live="polite" { h2 { (t("What this means")) } div data-findings { p.quiet { (t("It is checked while you type.")) } } }
            }
        }
    })
}

/// One field.
async fn one(
    visit: &Visit,
    kind: &Kind,
    field: &Field,
    document: &Value,
) -> Result<Markup, Failure> {
    let value = field.of(document);
    // An event's line of its own stands under its schedule's.
    let value = if kind.noun == "events"
        && field.at == "at"
        && value.is_null()
        && document["schedule"] == document["name"]
    {
        &document["line"]
    } else {
        value
    };
    let id = field.at.replace('/', "-");
    let about = format!("{id}-help");
    let described = (!field.help.is_empty()).then_some(about.as_str());
    let help = html! { @if !field.help.is_empty() { p.help id=(about) { (t(field.help)) } } };
    let label =
        html! { label for=(id) { (t(field.label)) @if field.needed { span.quiet { " *" } } } };
    Ok(match field.input {
        Input::Text => {
            html! { div.field { (label) input id=(id) name=(field.at) value=(text_of(value)) required[field.needed] aria-describedby=[described]; (help) } }
        }
        Input::Number => {
            html! { div.field { (label) input id=(id) name=(field.at) type="number" min="0" value=(text_of(value)) required[field.needed] aria-describedby=[described]; (help) } }
        }
        Input::Secret => {
            html! { div.field { (label) input id=(id) name=(field.at) type="password" autocomplete="new-password" aria-describedby=[described]; (help) } }
        }
        Input::Lines => {
            html! { div.field { (label) textarea id=(id) name=(field.at) required[field.needed] aria-describedby=[described] { (lines(value)) } (help) } }
        }
        Input::Grants => {
            html! { div.field { (label) textarea id=(id) name=(field.at) required[field.needed] aria-describedby=[described] { (each(value, request::grant_line)) } (help) } }
        }
        Input::Groups => {
            html! { div.field { (label) textarea id=(id) name=(field.at) aria-describedby=[described] { (request::group_lines(value).join("\n")) } (help) } }
        }
        Input::Passage => {
            html! { div.field { (label) textarea id=(id) name=(field.at) spellcheck="false" aria-describedby=[described] { (text_of(value)) } (help) } }
        }
        Input::Watches => {
            html! { div.field { (label) textarea id=(id) name=(field.at) aria-describedby=[described] { (each(value, request::watch_line)) } (help) } }
        }
        Input::Box => {
            html! { div.field.box { input id=(id) type="checkbox" name=(field.at) value="1" checked[*value == Value::Bool(true)] aria-describedby=[described]; label for=(id) { (t(field.label)) } (help) } }
        }
        Input::Choose(choices) => {
            let chosen = text_of(value);
            html! { div.field { (label) select id=(id) name=(field.at) aria-describedby=[described] { @for (choice, words) in choices { option value=(choice) selected[*choice == chosen] { (t(words)) } } } (help) } }
        }
        Input::Pick(verb, within, name) => {
            let names = names(visit, verb, within, name).await?;
            let chosen = text_of(value);
            html! {
                div.field { (label)
                    select id=(id) name=(field.at) required[field.needed] aria-describedby=[described] {
                        option value="" { "–" }
                        @for one in &names { option value=(one) selected[*one == chosen] { (one) } }
                        @if !chosen.is_empty() && !names.contains(&chosen) { option value=(chosen) selected { (chosen) } }
                    }
                    (help)
                }
            }
        }
        Input::PickMany(verb, within, name) | Input::PickNumbers(verb, within, name) => {
            let names = names(visit, verb, within, name).await?;
            let chosen: Vec<String> = value
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| if one.is_object() { text_of(&one[name]) } else { text_of(one) })
                .collect();
            html! {
                fieldset {
                    legend { (t(field.label)) @if field.needed { span.quiet { " *" } } }
                    (help)
                    @if names.is_empty() { p.quiet { (t("There is nothing to choose from yet.")) } }
                    @for (number, one) in names.iter().enumerate() {
                        div.field.box { input id=(format!("{id}-{number}")) type="checkbox" name=(field.at) value=(one) checked[chosen.contains(one)]; label for=(format!("{id}-{number}")) { (one) } }
                    }
                }
            }
        }
    })
}

/// The names that can be chosen. What the person may not see cannot be.
async fn names(
    visit: &Visit,
    verb: &str,
    within: &str,
    name: &str,
) -> Result<Vec<String>, Failure> {
    let found = match listed(visit, verb, "").await {
        Err(failure) if failure.kind == simsim_model::Kind::Denied => Vec::new(),
        found => found?,
    };
    let mut names: Vec<String> = if within.is_empty() {
        let enrolled = |one: &&Value| one["state"].as_str() != Some("revoked");
        found.iter().filter(enrolled).map(|one| text_of(&one[name])).collect()
    } else {
        found
            .iter()
            .flat_map(|one| one[within].as_array().into_iter().flatten())
            .map(|one| text_of(&one[name]))
            .collect()
    };
    names.sort();
    Ok(names)
}

fn lines(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let line =
                |one: &Value| one["url"].as_str().map_or_else(|| text_of(one), str::to_owned);
            list.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        other => text_of(other),
    }
}

fn each(value: &Value, line: fn(&Value) -> String) -> String {
    value.as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// An answer as pairs of words and values.
pub fn facts(view: &Value) -> Markup {
    let pairs = view.as_object().into_iter().flatten();
    let pairs: Vec<(String, String)> = pairs
        .filter(|(_, value)| !value.is_null() && *value != &serde_json::json!([]))
        .map(|(name, value)| {
            let text = match (name.ends_with("_unix_ms"), value.as_i64()) {
                (true, Some(at)) => crate::words::clock(at),
                _ => text_of(value),
            };
            (name.trim_end_matches("_unix_ms").replace('_', " "), text)
        })
        .collect();
    parts::facts(pairs.iter().map(|(name, text)| (name.as_str(), html! { (text) })).collect())
}
