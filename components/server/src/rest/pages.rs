//! Lists: filters, limits, and what comes next.

use serde_json::{Map, Value, json};
use simsim_console::api::{ResourceReply, ResourceRequest};
use simsim_model::Kind;

use super::request::{Asked, encoded, text_of};
use super::route::{More, Next, Page, Turn};
use super::{ROOT, problem};

/// Items of a page, where nothing else is said; and at most.
pub(super) const ITEMS: usize = 1000;
pub(super) const ITEMS_MAX: usize = 10_000;

/// What is wanted of a list.
pub(super) struct Wanted {
    limit: usize,
    after: Option<String>,
    filters: Vec<(String, String)>,
}

/// The request of the verb behind a list, and what is done with its answer.
pub(super) fn ask(page: &Page, asked: &Asked<'_>) -> Result<(Value, Wanted), ResourceReply> {
    let wrong = |text: String| problem(400, Kind::Invalid, text);
    let usual = match page.turn {
        Turn::Whole { .. } => ITEMS,
        Turn::ByVerb { limit, .. } => limit,
    };
    let mut wanted = Wanted { limit: usual, after: None, filters: Vec::new() };
    let mut rest: Vec<(String, String)> = Vec::new();
    for (name, value) in &asked.query {
        match name.as_str() {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=ITEMS_MAX).contains(limit));
                let text = || format!("'limit' is a number from 1 to {ITEMS_MAX}");
                wanted.limit = limit.ok_or_else(|| wrong(text()))?;
            }
            "after" => wanted.after = Some(value.clone()),
            other if page.filters.contains(&other) => {
                wanted.filters.push((name.clone(), value.clone()));
            }
            _ => rest.push((name.clone(), value.clone())),
        }
    }
    match page.turn {
        Turn::Whole { .. } => {
            let mut body = asked.body_with(&rest)?;
            if asked.takes("limit") {
                body["limit"] = json!(u32::MAX);
            }
            Ok((body, wanted))
        }
        Turn::ByVerb { field, next, .. } => {
            rest.push(("limit".to_owned(), wanted.limit.to_string()));
            if let Some(after) = &wanted.after {
                let text = match next {
                    Next::Same | Next::Name => after.clone(),
                    Next::Following => {
                        let number = after.parse::<u64>().ok().and_then(|n| n.checked_add(1));
                        number
                            .ok_or_else(|| wrong("'after' is a number here".to_owned()))?
                            .to_string()
                    }
                };
                rest.push((field.to_owned(), text));
            }
            Ok((asked.body_with(&rest)?, wanted))
        }
    }
}

/// The page of an answer: `items`, `next`, and what else the answer has.
pub(super) fn cut(
    page: &Page,
    wanted: &Wanted,
    answer: Value,
    request: &ResourceRequest,
) -> Result<Value, ResourceReply> {
    let (mut rest, items) = match answer {
        Value::Array(items) => (Map::new(), items),
        Value::Object(mut fields) => match fields.remove(page.items) {
            Some(Value::Array(items)) => (fields, items),
            _ => (fields, Vec::new()),
        },
        _ => (Map::new(), Vec::new()),
    };
    let (items, next) = match page.turn {
        Turn::Whole { key } => {
            let mut items = items;
            items.retain(|item| {
                wanted.filters.iter().all(|(field, value)| text_of(&item[field]) == *value)
            });
            let begin = match &wanted.after {
                None => 0,
                Some(after) => match items.iter().position(|item| text_of(&item[key]) == *after) {
                    Some(at) => at + 1,
                    None => {
                        let text = format!(
                            "'after' names none of this list any more: begin without it ('{}')",
                            after.escape_debug()
                        );
                        return Err(problem(400, Kind::Invalid, text));
                    }
                },
            };
            let more = items.len().saturating_sub(begin) > wanted.limit;
            let items: Vec<Value> = items.into_iter().skip(begin).take(wanted.limit).collect();
            let next = items.last().filter(|_| more).map(|item| text_of(&item[key]));
            (items, next)
        }
        Turn::ByVerb { key, next, more, .. } => {
            let more = match more {
                More::Field(name) => rest.remove(name) == Some(Value::Bool(true)),
                More::Full => items.len() >= wanted.limit,
            };
            let after = items.last().filter(|_| more).map(|item| text_of(&item[key]));
            let after = after.map(|text| match next {
                Next::Name => text.rsplit('/').next().unwrap_or_default().to_owned(),
                Next::Same | Next::Following => text,
            });
            (items, after)
        }
    };
    rest.insert("items".to_owned(), Value::Array(items));
    let next = next.map(|after| link(request, &after));
    rest.insert("next".to_owned(), next.map_or(Value::Null, Value::String));
    Ok(Value::Object(rest))
}

/// The same request, for what comes after.
fn link(request: &ResourceRequest, after: &str) -> String {
    let kept = request.query.split('&').filter(|pair| {
        !pair.is_empty() && pair.split('=').next().is_some_and(|name| name != "after")
    });
    let mut query: Vec<String> = kept.map(str::to_owned).collect();
    query.push(format!("after={}", encoded(after)));
    format!("{ROOT}{}?{}", request.path, query.join("&"))
}
