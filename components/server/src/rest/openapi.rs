//! The document of the resources, OpenAPI 3.1, made from the table of routes and the structs of verbs.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use simsim_console::api::Method;

use super::ROOT;
use super::pages::{ITEMS, ITEMS_MAX};
use super::request::field;
use super::route::{Does, Page, Route, Turn};
use super::shapes::{Pair, Shapes};
use super::table::ROUTES;
use crate::desk::{VERBS, right_needed};

/// Made once.
static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

/// The document.
pub(super) fn document() -> Value {
    DOCUMENT.clone()
}

fn make() -> Value {
    let mut shapes = Shapes::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let pair = (route.shape.make)(&mut shapes);
        let place = paths.entry(format!("{ROOT}{}", route.path)).or_insert_with(|| json!({}));
        place[route.method.as_str().to_lowercase()] = operation(route, pair);
    }
    let session = shapes.typed::<Nothing, crate::api::SessionView>().reply;
    paths.insert(format!("{ROOT}/session"), of_session(&session));
    let mut schemas = shapes.named();
    // What goes wrong with one file of a job is called a problem, too.
    schemas.insert("ProblemDetails".to_owned(), problem_schema());
    let mut tags: Vec<&str> = ROUTES.iter().map(|route| route.tag).collect();
    tags.push("Session");
    tags.dedup();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "simsim",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The server of a backup suite, over its console port",
            "description": "Instants end in _unix_ms, sizes are bytes, ids are hexadecimal texts; in \
                            paths every byte that is not printable UTF-8, and the backslash, is written \
                            \\xNN. Lists come in pages: 'next' is the address of the one that follows.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "tags": tags.iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "__Host-simsim" },
            },
            "responses": {
                "Problem": {
                    "description": "A failure (RFC 9457)",
                    "content": { "application/problem+json": {
                        "schema": { "$ref": "#/components/schemas/ProblemDetails" },
                    }},
                },
            },
        },
    })
}

#[derive(schemars::JsonSchema)]
struct Nothing {}

fn operation(route: &Route, pair: Pair) -> Value {
    let Pair { mut request, reply } = pair;
    let fields = match request["properties"].take() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let required: Vec<String> = request["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let in_path: Vec<&str> = route.path.split('/').filter_map(field).collect();
    let mut parameters: Vec<Value> = in_path
        .iter()
        .map(|name| {
            let schema = fields.get(*name).map_or_else(|| json!({"type": "string"}), plain);
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let mut body = None;
    let others = fields.iter().filter(|(name, _)| !in_path.contains(&name.as_str()));
    if route.method == Method::Get {
        let turn = match &route.does {
            Does::List(page) => Some(page),
            _ => None,
        };
        for (name, schema) in others {
            let hidden = turn.is_some_and(|page| {
                name == "limit" || matches!(page.turn, Turn::ByVerb { field, .. } if field == name)
            });
            if !hidden && !matches!(route.does, Does::Pick | Does::Document) {
                let required = required.contains(name);
                parameters.push(json!({
                    "name": name, "in": "query", "required": required, "schema": plain(schema),
                }));
            }
        }
        if let Some(page) = turn {
            parameters.extend(of_page(page));
        }
    } else {
        let others: Map<String, Value> =
            others.map(|(name, schema)| (name.clone(), schema.clone())).collect();
        if !others.is_empty() {
            let required: Vec<&String> =
                required.iter().filter(|name| others.contains_key(*name)).collect();
            let schema = json!({
                "type": "object",
                "additionalProperties": false,
                "required": required,
                "properties": others,
            });
            body = Some(json!({
                "required": !required.is_empty(),
                "content": { "application/json": { "schema": schema } },
            }));
        }
    }
    let conditional = route.find.is_some() || route.method == Method::Get;
    if conditional {
        for name in ["If-Match", "If-None-Match"] {
            parameters.push(json!({
                "name": name, "in": "header", "required": false, "schema": {"type": "string"},
                "description": "ETags, or *",
            }));
        }
    }
    let mut operation = json!({
        "operationId": id(route),
        "tags": [route.tag],
        "summary": summary(route),
        "parameters": parameters,
        "responses": responses(route, reply, conditional),
        "x-simsim-verb": route.verb,
        "x-simsim-right": right_needed(route.verb).map(|right| right.as_str()),
    });
    if let Some(right) = right_needed(route.verb) {
        operation["description"] = json!(format!("Needs the right `{}`.", right.as_str()));
    }
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}

fn id(route: &Route) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let path: String = route.path.chars().filter(|c| !matches!(c, '{' | '}')).map(plain).collect();
    format!("{}{path}", route.method.as_str().to_lowercase())
}

fn summary(route: &Route) -> String {
    let words = VERBS.iter().find(|(verb, _)| *verb == route.verb).map_or("", |(_, words)| *words);
    match &route.does {
        Does::Document => "This document".to_owned(),
        Does::Pick => format!("One of: {}", words.trim()),
        Does::Put { change: Some(_) } => "Makes it, or changes it to be so".to_owned(),
        Does::Put { change: None } => "Makes it, where it is not there already".to_owned(),
        _ => words.trim().to_owned(),
    }
}

/// The schema of a parameter: a text is never null.
fn plain(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        if fields.get("default") == Some(&Value::Null) {
            fields.remove("default");
        }
        if let Some(Value::Array(types)) = fields.get_mut("type") {
            types.retain(|one| one != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                fields.insert("type".to_owned(), one);
            }
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(Value::Array(several)) = fields.get_mut(several) {
                several.retain(|one| one["type"] != "null");
            }
        }
    }
    schema
}

fn of_page(page: &Page) -> Vec<Value> {
    let (usual, after) = match page.turn {
        Turn::Whole { .. } => (ITEMS, "string"),
        Turn::ByVerb { limit, key: "path", .. } => (limit, "string"),
        Turn::ByVerb { limit, .. } => (limit, "integer"),
    };
    let mut parameters = vec![
        json!({
            "name": "limit", "in": "query", "required": false,
            "schema": { "type": "integer", "minimum": 1, "maximum": ITEMS_MAX, "default": usual },
        }),
        json!({
            "name": "after", "in": "query", "required": false,
            "description": "Only what comes after this one: 'next' has it",
            "schema": match after {
                "integer" => json!({ "type": "integer", "minimum": 0 }),
                _ => json!({ "type": "string" }),
            },
        }),
    ];
    for name in page.filters {
        parameters.push(json!({
            "name": name, "in": "query", "required": false, "schema": { "type": "string" },
            "description": "Only those with this",
        }));
    }
    parameters
}

fn responses(route: &Route, reply: Value, conditional: bool) -> Value {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let etag = json!({ "ETag": { "schema": { "type": "string" } } });
    let location = json!({ "Location": { "schema": { "type": "string" } } });
    let mut responses = match &route.does {
        Does::List(page) => {
            let schema = listed(page, reply);
            json!({ "200": { "description": "A page", "headers": etag, "content": json(schema) } })
        }
        Does::One => {
            json!({ "200": { "description": "As it is now", "headers": etag, "content": json(reply) } })
        }
        Does::Pick => {
            let items = route.find.as_ref().and_then(|find| find.by).map_or("", |(items, _)| items);
            let schema = item(items, reply);
            json!({ "200": { "description": "As it is now", "headers": etag, "content": json(schema) } })
        }
        Does::Put { .. } => json!({
            "200": { "description": "It is so", "headers": etag, "content": json(reply.clone()) },
            "201": {
                "description": "It was made",
                "headers": { "ETag": etag["ETag"], "Location": location["Location"] },
                "content": json(reply),
            },
        }),
        Does::Set | Does::Delete | Does::Act { makes: None } => {
            json!({ "200": { "description": "Done", "content": json(reply) } })
        }
        Does::Act { makes: Some(_) } => {
            json!({ "201": { "description": "Made", "headers": location, "content": json(reply) } })
        }
        Does::Job => json!({
            "202": { "description": "The job is queued", "headers": location, "content": json(reply) },
        }),
        Does::Events => json!({
            "200": {
                "description": "Server-sent events until the job has ended; the data of each is a document",
                "content": { "text/event-stream": { "schema": reply } },
            },
        }),
        Does::Document => json!({ "200": {
            "description": "OpenAPI 3.1", "headers": etag, "content": json(json!({"type": "object"})),
        }}),
    };
    if conditional && route.method == Method::Get && !matches!(route.does, Does::Events) {
        responses["304"] = json!({ "description": "You have it", "headers": etag });
    }
    responses["default"] = json!({ "$ref": "#/components/responses/Problem" });
    responses
}

/// The schema of one item of a list.
fn item(items: &str, reply: Value) -> Value {
    let list = if items.is_empty() { reply } else { field_of(&reply, items) };
    let list = resolved(&list);
    list["items"].clone()
}

/// The schema of a page: what the verb answers, with `items` and `next`.
fn listed(page: &Page, reply: Value) -> Value {
    let list = match page.items {
        "" => reply.clone(),
        items => field_of(&reply, items),
    };
    let mut schema = match page.items {
        "" => json!({ "type": "object", "properties": {}, "required": [] }),
        _ => resolved(&reply),
    };
    if let Some(fields) = schema["properties"].as_object_mut() {
        fields.remove(page.items);
        fields.remove("more");
        fields.insert("items".to_owned(), list);
        fields.insert(
            "next".to_owned(),
            json!({ "type": ["string", "null"], "description": "Where the next page is" }),
        );
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| name != page.items && name != "more");
        required.extend([json!("items"), json!("next")]);
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("title");
    }
    schema
}

fn field_of(reply: &Value, name: &str) -> Value {
    resolved(reply)["properties"][name].clone()
}

/// What a reference leads to; made anew, because the others are still being made.
fn resolved(schema: &Value) -> Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema.clone() };
    let name = reference.rsplit('/').next().unwrap_or_default();
    REFERRED.get(name).cloned().unwrap_or_else(|| schema.clone())
}

/// Every named schema.
static REFERRED: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let mut shapes = Shapes::new();
    for route in ROUTES {
        (route.shape.make)(&mut shapes);
    }
    shapes.named()
});

fn problem_schema() -> Value {
    let text = || json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "kind"],
        "properties": {
            "type": { "type": "string", "description": "urn:simsim:problem: and the kind" },
            "title": text(),
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What is wrong, and what to do" },
            "kind": text(),
        },
    })
}

/// Logging in and out, which the listener does itself.
fn of_session(session: &Value) -> Value {
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let shown = json!({
        "description": "Who is logged in", "content": { "application/json": { "schema": session } },
    });
    let changes = json!([{
        "name": "X-CSRF-Token", "in": "header", "required": true, "schema": { "type": "string" },
    }]);
    json!({
        "get": {
            "operationId": "get_session", "tags": ["Session"], "summary": "Who is logged in",
            "security": [{ "session": [] }],
            "responses": { "200": shown, "default": problem },
        },
        "post": {
            "operationId": "post_session", "tags": ["Session"], "summary": "Logs in",
            "description": "The answer sets the cookie of the session.",
            "security": [],
            "requestBody": { "required": true, "content": { "application/json": { "schema": {
                "type": "object",
                "required": ["user", "password"],
                "properties": {
                    "user": { "type": "string" },
                    "password": { "type": "string" },
                    "code": { "type": "string", "description": "The one-time password, where the user has them" },
                },
            }}}},
            "responses": { "200": shown, "default": problem },
        },
        "delete": {
            "operationId": "delete_session", "tags": ["Session"], "summary": "Logs out",
            "security": [{ "session": [] }],
            "parameters": changes,
            "responses": { "204": { "description": "Logged out" }, "default": problem },
        },
    })
}
