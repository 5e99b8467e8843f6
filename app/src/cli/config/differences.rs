//! What differs between a configuration and another one, and making it so.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use simsim_model::Kind;

use super::file::{Configuration, DEFAULT_POOL, DatastoreWanted, Named, name_of};
use crate::cli::context::{Context, defect};
use crate::exit::Failure;

/// One difference.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// `add`, `change`, `remove`, `kept`.
    pub change: &'static str,
    pub noun: &'static str,
    pub name: String,
    /// Of a change: what becomes of each field.
    pub fields: Vec<String>,
    pub why: Option<String>,
}

/// How a kind of object is asked for, in the order in which they stand on each other.
struct Noun {
    noun: &'static str,
    add: &'static str,
    /// None: it cannot be changed.
    change: Option<&'static str>,
    remove: &'static str,
}

const NOUNS: &[Noun] = &[
    noun("location", "location.add", Some("location.change"), "location.remove"),
    noun("place of client", "client.place", Some("client.place"), "client.place"),
    noun("waking of client", "client.set-wake", Some("client.set-wake"), "client.set-wake"),
    noun("interfaces of host", "interface.set", Some("interface.set"), "interface.set"),
    noun("ways of client", "interface.choose", Some("interface.choose"), "interface.choose"),
    noun("drive group", "drive-group.add", Some("drive-group.change"), "drive-group.remove"),
    noun("calendar", "calendar.add", Some("calendar.change"), "calendar.remove"),
    noun("schedule", "schedule.add", Some("schedule.change"), "schedule.remove"),
    noun("pool", "pool.add", Some("pool.change"), "pool.remove"),
    noun("task", "task.add", Some("task.change"), "task.delete"),
    noun("task group", "task-group.add", Some("task-group.change"), "task-group.remove"),
    noun("replication", "replication.add", Some("replication.change"), "replication.remove"),
    noun("migration", "migration.add", Some("migration.change"), "migration.remove"),
    noun("command", "command.add", Some("command.change"), "command.remove"),
    noun("notification", "notification.add", Some("notification.change"), "notification.remove"),
    noun(
        "identity provider",
        "identity-provider.add",
        Some("identity-provider.change"),
        "identity-provider.remove",
    ),
    noun("user", "user.add", Some("user.change"), "user.remove"),
    noun("event", "event.add", Some("event.change"), "event.remove"),
];

const fn noun(
    noun: &'static str,
    add: &'static str,
    change: Option<&'static str>,
    remove: &'static str,
) -> Noun {
    Noun { noun, add, change, remove }
}

/// The objects of a kind by name, as they are asked for.
pub(super) fn objects(of: &Configuration, noun: &str) -> Result<BTreeMap<String, Value>, Failure> {
    match noun {
        "location" => by_name(&of.locations),
        "place of client" => by_name(&of.placed),
        "waking of client" => by_name(&of.woken),
        "interfaces of host" => by_name(of.interfaces.as_deref().unwrap_or_default()),
        "ways of client" => by_name(of.choices.as_deref().unwrap_or_default()),
        "drive group" => by_name(&of.drive_groups),
        "calendar" => by_name(&of.calendars),
        "schedule" => by_name(&of.schedules),
        "pool" => by_name(&of.pools),
        "task" => by_name(&of.tasks),
        "task group" => by_name(&of.task_groups),
        "replication" => by_name(&of.replications),
        "migration" => by_name(&of.migrations),
        "command" => by_name(&of.commands),
        "notification" => by_name(&of.notifications),
        "identity provider" => by_name(&of.identity_providers),
        "user" => by_name(of.users.as_deref().unwrap_or_default()),
        _ => by_name(&of.events),
    }
}

fn by_name<T: Serialize>(list: &[Named<T>]) -> Result<BTreeMap<String, Value>, Failure> {
    let mut map = BTreeMap::new();
    for one in list {
        let value = serde_json::to_value(&one.0).map_err(defect)?;
        let name = name_of(&value).to_owned();
        if map.insert(name.clone(), value).is_some() {
            let why = format!("the configuration names '{name}' twice in one list");
            return Err(Failure::new(Kind::Invalid, why));
        }
    }
    Ok(map)
}

/// A list that a file has not says nothing of what there is; files of before there were such lists have none.
fn is_left_out(of: &Configuration, noun: &str) -> bool {
    match noun {
        "interfaces of host" => of.interfaces.is_none(),
        "ways of client" => of.choices.is_none(),
        "user" => of.users.is_none(),
        _ => false,
    }
}

/// Rate limits have no names: what they say is what they are.
fn rates(of: &Configuration) -> BTreeMap<String, Value> {
    let values = of.rates.iter().filter_map(|one| serde_json::to_value(&one.0).ok());
    values.map(|value| (rate_name(&value), value)).collect()
}

fn rate_name(value: &Value) -> String {
    let whose = match (&value["host"], &value["network"]) {
        (Value::String(host), _) => format!("host {host}"),
        (_, Value::String(network)) => format!("network {network}"),
        _ => "all".to_owned(),
    };
    let rates = value["rates"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!("{whose}: {}", rates.collect::<Vec<_>>().join("; "))
}

/// All differences, in the order in which they are made good.
pub fn changes(
    there: &Configuration,
    wanted: &Configuration,
    prune: bool,
) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for datastore in &wanted.datastores {
        changes.extend(of_datastore(there, datastore)?);
    }
    for datastore in &there.datastores {
        if !wanted.datastores.iter().any(|one| one.name == datastore.name) {
            changes.push(kept("datastore", &datastore.name, "datastores are never removed so"));
        }
    }
    for noun in NOUNS.iter().filter(|noun| !is_left_out(wanted, noun.noun)) {
        let (old, new) = (objects(there, noun.noun)?, objects(wanted, noun.noun)?);
        let found = differences(noun.noun, &old, &new, prune);
        // A replication is of its two datastores.
        let fixed = |one: &&Change| {
            let of_two =
                |field: &String| field.starts_with("source: ") || field.starts_with("target: ");
            noun.change.is_none() || (noun.noun == "replication" && one.fields.iter().any(of_two))
        };
        let mut differs = found.iter().filter(|one| one.change == "change");
        if let Some(one) = differs.find(fixed) {
            let why = format!(
                "{} '{}' differs ({}), and a file cannot change it: remove it first; its copies stay",
                one.noun,
                one.name,
                one.fields.join(", ")
            );
            return Err(Failure::new(Kind::Invalid, why));
        }
        changes.extend(found);
    }
    changes.extend(differences("rate limit", &rates(there), &rates(wanted), prune));
    if there.queue != wanted.queue {
        let value = |of: &Configuration| serde_json::to_value(&of.queue).map_err(defect);
        let fields = fields(&value(there)?, &value(wanted)?);
        changes.push(Change { fields, ..change("change", "queue", "limits") });
    }
    Ok(changes)
}

fn change(change: &'static str, noun: &'static str, name: &str) -> Change {
    Change { change, noun, name: name.to_owned(), fields: Vec::new(), why: None }
}

fn kept(noun: &'static str, name: &str, why: &str) -> Change {
    Change { why: Some(why.to_owned()), ..change("kept", noun, name) }
}

fn differences(
    noun: &'static str,
    old: &BTreeMap<String, Value>,
    new: &BTreeMap<String, Value>,
    prune: bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, value) in new {
        match old.get(name) {
            None => changes.push(change("add", noun, name)),
            Some(there) => {
                let mut fields = fields(there, value);
                // What the file leaves to the server is as the server chose.
                let chosen = match noun {
                    "task" => "datastore: ",
                    "replication" => "drive: ",
                    // Of a file that was written by hand, or by an older version.
                    "notification" | "identity provider" => "has_secret: ",
                    _ => "\0",
                };
                fields.retain(|field| !(field.starts_with(chosen) && field.ends_with(" → none")));
                if !fields.is_empty() {
                    changes.push(Change { fields, ..change("change", noun, name) });
                }
            }
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push(match prune && name != DEFAULT_POOL {
            true => change("remove", noun, name),
            false => kept(noun, name, "the file does not name it; --prune removes it"),
        });
    }
    changes
}

/// `name: old → new` for each field that differs.
fn fields(old: &Value, new: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut fields = Vec::new();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        let is_nothing = |value: Option<&Value>| value.is_none_or(Value::is_null);
        if before != after && !(is_nothing(before) && is_nothing(after)) {
            fields.push(format!("{name}: {} → {}", shown(before), shown(after)));
        }
    }
    fields
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn of_datastore(
    there: &Configuration,
    wanted: &DatastoreWanted,
) -> Result<Option<Change>, Failure> {
    let name = &wanted.name;
    let refuse = |why: String| {
        let why = format!("datastore '{name}': {why}");
        Err(Failure::new(Kind::Invalid, why))
    };
    if wanted.drives.is_empty() {
        return refuse("it needs at least one drive".to_owned());
    }
    let Some(old) = there.datastores.iter().find(|one| one.name == *name) else {
        return Ok(Some(change("add", "datastore", name)));
    };
    if old.path != wanted.path
        || wanted.node.as_ref().is_some_and(|node| old.node.as_ref() != Some(node))
    {
        let host = old.node.as_deref().unwrap_or_default();
        return refuse(format!(
            "it lies in {} on '{host}', and a file cannot move it: move the folder and attach it there",
            old.path
        ));
    }
    let mut fields = Vec::new();
    for drive in &wanted.drives {
        match old.drives.iter().find(|one| one.number == drive.number) {
            None => fields.push(format!("drive {}: none → {} jobs", drive.number, drive.jobs_max)),
            Some(known) if known != drive => fields.push(format!(
                "drive {}: {} jobs → {} jobs",
                drive.number, known.jobs_max, drive.jobs_max
            )),
            Some(_) => {}
        }
    }
    Ok((!fields.is_empty()).then(|| Change { fields, ..change("change", "datastore", name) }))
}

/// Makes the server what the file says. What stands on each other is done in its order; where one of
/// several events needs another one first, they are tried in turn until none is left.
pub async fn carry_out(
    cx: &Context,
    wanted: &Configuration,
    changes: &[Change],
) -> Result<(), Failure> {
    for datastore in &wanted.datastores {
        if changes.iter().any(|one| one.noun == "datastore" && one.name == datastore.name) {
            make_datastore(cx, datastore).await?;
        }
    }
    for noun in NOUNS {
        let objects = objects(wanted, noun.noun)?;
        let mut asks = Vec::new();
        for change in changes.iter().filter(|change| change.noun == noun.noun) {
            let Some(body) = objects.get(&change.name) else { continue };
            let is_default = noun.noun == "pool" && change.name == DEFAULT_POOL;
            match (change.change, noun.change) {
                ("add", Some(again)) if is_default => asks.push((again, body.clone())),
                ("add", _) if noun.noun == "user" => asks.push((noun.add, new_user(body)?)),
                ("add", _) => asks.push((noun.add, body.clone())),
                ("change", Some(again)) if noun.noun == "user" => {
                    asks.push((again, known_user(cx, body).await?));
                }
                ("change", Some(again)) => asks.push((again, body.clone())),
                _ => {}
            }
        }
        in_turn(cx, asks).await?;
    }
    for noun in NOUNS.iter().rev() {
        let gone = changes.iter().filter(|one| one.noun == noun.noun && one.change == "remove");
        let asks = gone.map(|one| (noun.remove, removal(noun.noun, &one.name))).collect();
        in_turn(cx, asks).await?;
    }
    set_rates(cx, wanted, changes).await?;
    if changes.iter().any(|one| one.noun == "queue") {
        set_limits(cx, wanted).await?;
    }
    Ok(())
}

fn removal(noun: &str, name: &str) -> Value {
    match noun {
        "interfaces of host" => json!({ "host": name, "interfaces": [] }),
        "ways of client" => json!({ "client": name, "choices": [] }),
        _ => json!({ "name": name }),
    }
}

/// No password is in the file: a new user gets one that nobody knows, until somebody sets another.
fn new_user(body: &Value) -> Result<Value, Failure> {
    let mut body = body.clone();
    if body["provider"].is_null() {
        let secret = simsim_format::random_bytes::<32>().map_err(defect)?;
        body["password"] = json!(secret.map(|byte| format!("{byte:02x}")).concat());
    }
    Ok(body)
}

/// What somebody may who signs in by a provider is said there, and stays as it is.
async fn known_user(cx: &Context, body: &Value) -> Result<Value, Failure> {
    let mut body = body.clone();
    if !body["provider"].is_null() {
        let there: Value = cx.ask("user.show", &json!({ "name": body["name"] })).await?;
        body["grants"] = there["grants"].clone();
    }
    Ok(body)
}

/// Asks each of these, again and again until none is left or none can be done.
async fn in_turn(cx: &Context, mut asks: Vec<(&str, Value)>) -> Result<(), Failure> {
    while !asks.is_empty() {
        let before = asks.len();
        let mut left = Vec::new();
        let mut failed = None;
        for (verb, body) in asks {
            let answer: Result<Value, Failure> = cx.ask(verb, &body).await;
            if let Err(failure) = answer {
                // What was to go is gone, such as the schedule of an event with its event.
                if failure.kind == Kind::NotFound && verb.ends_with(".remove") {
                    continue;
                }
                failed.get_or_insert(failure);
                left.push((verb, body));
            }
        }
        match failed {
            Some(failure) if left.len() == before => return Err(failure),
            _ => asks = left,
        }
    }
    Ok(())
}

async fn make_datastore(cx: &Context, wanted: &DatastoreWanted) -> Result<(), Failure> {
    let there: Vec<Value> = cx.ask_plain("datastore.list").await?;
    let mut known = there.into_iter().find(|one| one["name"] == wanted.name.as_str());
    if known.is_none()
        && let Some(first) = wanted.drives.first()
    {
        let body = json!({
            "name": wanted.name, "node": wanted.node, "path": wanted.path,
            "drive": first.number, "jobs_max": first.jobs_max
        });
        known = Some(cx.ask("datastore.create", &body).await?);
    }
    let known = known.unwrap_or_default();
    let numbers: Vec<u64> = known["drives"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|drive| drive["number"].as_u64())
        .collect();
    for drive in wanted.drives.iter().filter(|one| numbers.contains(&u64::from(one.number))) {
        let body = json!({ "number": drive.number, "jobs_max": drive.jobs_max });
        let _: Value = cx.ask("drive.change", &body).await?;
    }
    for drive in wanted.drives.iter().filter(|one| !numbers.contains(&u64::from(one.number))) {
        let body = json!({
            "datastore": wanted.name, "number": drive.number, "jobs_max": drive.jobs_max
        });
        let _: Value = cx.ask("drive.add", &body).await?;
    }
    Ok(())
}

async fn set_rates(
    cx: &Context,
    wanted: &Configuration,
    changes: &[Change],
) -> Result<(), Failure> {
    let rates = rates(wanted);
    for change in changes.iter().filter(|change| change.noun == "rate limit") {
        match (change.change, rates.get(&change.name)) {
            ("add", Some(body)) => {
                let _: Value = cx.ask("rate.add", body).await?;
            }
            ("remove", _) => {
                let there: Value = cx.ask_plain("rate.list").await?;
                for rate in there["rates"].as_array().into_iter().flatten() {
                    let whose = rate["counts_for"].as_str().unwrap_or_default();
                    let lines = rate["rates"].as_array().into_iter().flatten();
                    let lines: Vec<&str> = lines.filter_map(Value::as_str).collect();
                    if format!("{whose}: {}", lines.join("; ")) == change.name {
                        let body = json!({ "number": rate["number"] });
                        let _: Value = cx.ask("rate.remove", &body).await?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

async fn set_limits(cx: &Context, wanted: &Configuration) -> Result<(), Failure> {
    let there: Value = cx.ask_plain("queue.show").await?;
    let body = json!({ "jobs_max": wanted.queue.jobs_max });
    let _: Value = cx.ask("queue.limit", &body).await?;
    let kinds = [
        ("client", "clients", &wanted.queue.clients),
        ("drive_group", "drive_groups", &wanted.queue.drive_groups),
    ];
    for (field, list, limits) in kinds {
        for old in there[list].as_array().into_iter().flatten() {
            let name = old["name"].as_str().unwrap_or_default();
            if !limits.contains_key(name) {
                let _: Value = cx.ask("queue.limit", &json!({ field: name })).await?;
            }
        }
        for (name, jobs_max) in limits {
            let body = json!({ field: name, "jobs_max": jobs_max });
            let _: Value = cx.ask("queue.limit", &body).await?;
        }
    }
    Ok(())
}
