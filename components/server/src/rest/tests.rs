//! The table against the verbs, and the document against the table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use simsim_console::api::Method;

use super::openapi::document;
use super::route::Does;
use super::table::ROUTES;
use crate::desk::VERBS;

/// Verbs that are asked at `/v1/<verb>` only. One that is new stands here until it has a route.
const WITHOUT_A_ROUTE: &[&str] = &[];

/// The method behind each verb, as its table says.
fn methods() -> BTreeMap<String, String> {
    let table = include_str!("../desk/answer.rs");
    let rows = table.lines().filter_map(|line| line.trim().split_once("\" => "));
    rows.filter_map(|(verb, rest)| {
        let method: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        Some((verb.strip_prefix('"')?.to_owned(), method))
    })
    .collect()
}

#[test]
fn every_route_asks_a_verb_and_shows_the_structs_of_that_one() {
    let mut methods = methods();
    methods.insert("job.follow".to_owned(), "follow_job".to_owned());
    assert!(methods.len() > 60, "the table was not understood");
    for route in ROUTES {
        let method = methods.get(route.verb).map(String::as_str);
        assert_eq!(method, Some(route.shape.method), "{}", route.path);
        let others = match &route.does {
            Does::Put { change } => *change,
            _ => None,
        };
        let find = route.find.as_ref().map(|find| find.verb);
        for verb in others.into_iter().chain(find) {
            assert!(methods.contains_key(verb), "{}: there is no verb '{verb}'", route.path);
        }
    }
}

#[test]
fn what_is_not_there_is_called_by_what_it_would_be() {
    let picked = ROUTES.iter().filter(|route| matches!(route.does, Does::Pick));
    let found: Vec<String> = picked.map(|route| super::things(route.path)).collect();
    assert!(found.iter().all(|things| things.ends_with('s')), "{found:?}");
    for things in ["roles", "sessions"] {
        assert!(found.iter().any(|one| one == things), "{things}: {found:?}");
    }
}

#[test]
fn every_verb_has_a_route() {
    let asked: BTreeSet<&str> = ROUTES
        .iter()
        .flat_map(|route| {
            let change = match &route.does {
                Does::Put { change } => *change,
                _ => None,
            };
            change.into_iter().chain([route.verb])
        })
        .collect();
    for (verb, _) in VERBS {
        let without = WITHOUT_A_ROUTE.contains(verb);
        assert_ne!(
            asked.contains(verb),
            without,
            "'{verb}': give it a row in rest/table.rs, or name it in WITHOUT_A_ROUTE"
        );
    }
}

#[test]
fn every_verb_says_which_right_it_needs() {
    let table = include_str!("../desk/needed.rs");
    for (verb, _) in VERBS {
        assert!(table.contains(&format!("\"{verb}\"")), "'{verb}' is not in desk/needed.rs");
    }
}

#[test]
fn no_two_routes_are_the_same_and_what_changes_is_never_read() {
    let mut seen = BTreeSet::new();
    for route in ROUTES {
        assert!(seen.insert((route.method, route.path)), "{} twice", route.path);
        let reads = matches!(
            route.does,
            Does::List(_) | Does::One | Does::Pick | Does::Events | Does::Document
        );
        assert_eq!(reads, route.method == Method::Get, "{}", route.path);
        let finds = matches!(route.does, Does::Pick | Does::Put { .. } | Does::Delete);
        assert!(!finds || route.find.is_some(), "{} finds nothing", route.path);
    }
}

/// All references in a document.
fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_has_every_route_and_every_reference_leads_somewhere() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let path = format!("/api/v1{}", route.path);
        let operation = &document["paths"][&path][route.method.as_str().to_lowercase()];
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{path}"));
        assert!(ids.insert(id.to_owned()), "{id} twice");
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.is_empty(), "{path} says nothing");
        for parameter in operation["parameters"].as_array().unwrap() {
            assert!(parameter["schema"].is_object(), "{path} {parameter}");
        }
        if let Does::List(_) = route.does {
            let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            let items = &answer["properties"]["items"];
            assert!(items["items"].is_object(), "{path}: no items in {answer:#}");
        }
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
