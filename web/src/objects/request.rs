//! From a form to the request of a verb, and to the words of a command line.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use simsim_server::{Granted, Right, Role};

use super::kind::{Field, Flag, Input, Kind};
use crate::parts::quoted;
use crate::text::{t, tf};
use crate::visit::{Failure, Fields};

/// The request that a form means. `view`: what is changed, as it is.
pub fn of(kind: &Kind, fields: &Fields, view: Option<&Value>) -> Result<Value, Failure> {
    let mut document = Value::Object(Map::new());
    if let Some(view) = view {
        for name in kind.carried {
            if let Some(value) = view.get(name).filter(|value| !value.is_null()) {
                document[*name] = value.clone();
            }
        }
    }
    for field in kind.fields {
        let value = match (field.fixed, view) {
            (true, Some(view)) => field.of(view).clone(),
            _ => value_of(field, fields)?,
        };
        // A way is a choice: what belongs to another one is left away, and so are empty secrets.
        let optional = field.at.starts_with("via/") || matches!(field.input, Input::Secret);
        if optional && (value.is_null() || value == json!([])) {
            forget(field, &mut document);
            continue;
        }
        if value.is_null() && view.is_none() {
            continue;
        }
        field.put(&mut document, value);
    }
    Ok(tidied(kind, document))
}

fn forget(field: &Field, document: &mut Value) {
    let Some((first, last)) = field.at.split_once('/') else { return };
    if let Some(Value::Object(inner)) = document.get_mut(first) {
        inner.remove(last);
    }
}

/// What the server's answers have and its requests do not.
fn tidied(kind: &Kind, mut document: Value) -> Value {
    let Value::Object(fields) = &mut document else { return document };
    match kind.noun {
        "events" => {
            // A line stands in place of a schedule's name.
            if fields.get("at").is_some_and(Value::is_string) {
                fields.remove("schedule");
            } else {
                fields.remove("at");
            }
            for name in ["priority", "retries", "retry_after_s", "blocking_dates"] {
                if fields.get(name).is_some_and(Value::is_null) {
                    fields.remove(name);
                }
            }
        }
        "tasks" | "migrations" | "locations" => {
            let empties =
                [("eol_days", json!(0)), ("older_than_days", json!(0)), ("note", json!(""))];
            for (name, empty) in empties {
                if fields.get(name).is_some_and(Value::is_null) {
                    fields.insert(name.to_owned(), empty);
                }
            }
        }
        _ => {}
    }
    fields.retain(|name, value| {
        !(value.is_null() && ["allow", "expires_days"].contains(&name.as_str()))
    });
    document
}

/// What stands in one field of a form.
fn value_of(field: &Field, fields: &Fields) -> Result<Value, Failure> {
    let text = fields.get(field.at);
    let number = |text: &str| {
        text.parse::<u64>().map(Value::from).map_err(|_| {
            Failure::invalid(tf("{}: '{}' is no whole number.", &[&t(field.label), &text]))
        })
    };
    Ok(match field.input {
        Input::Text | Input::Pick(..) | Input::Choose(_) => text.map_or(Value::Null, Value::from),
        Input::Secret => {
            fields.exactly(field.at).map_or(Value::Null, |secret| match secret.reveal() {
                "" => Value::Null,
                text => Value::from(text),
            })
        }
        Input::Lines => json!(fields.lines(field.at)),
        Input::Number => text.map_or(Ok(Value::Null), number)?,
        Input::Box => Value::Bool(fields.has(field.at)),
        Input::PickMany(..) => json!(fields.all(field.at).collect::<Vec<_>>()),
        Input::PickNumbers(..) => {
            Value::Array(fields.all(field.at).map(number).collect::<Result<_, _>>()?)
        }
        Input::Grants => Value::Array(
            fields.lines(field.at).iter().map(|line| grant(line)).collect::<Result<_, _>>()?,
        ),
        Input::Groups => groups(&fields.lines(field.at))?,
        Input::Passage => fields
            .get(field.at)
            .map_or(Value::Null, |text| Value::from(format!("{}\n", text.replace("\r\n", "\n")))),
        Input::Watches => Value::Array(
            fields.lines(field.at).iter().map(|line| watch(line)).collect::<Result<_, _>>()?,
        ),
    })
}

/// `operator`, `restore:alpha`, `restore@berlin`, `backup:task/home`, `backup:pool/gold`.
fn grant(line: &str) -> Result<Value, Failure> {
    let (what, scope) = Granted::split(line);
    let granted = match (Role::parse(what), Right::parse(what)) {
        (Some(role), _) => Granted { role: Some(role), ..scope },
        (None, Some(right)) => Granted { right: Some(right), ..scope },
        (None, None) => {
            return Err(Failure::invalid(tf("'{}' is neither a role nor a right.", &[&what])));
        }
    };
    Ok(json!(granted))
}

/// `ops=operator`: the group stands before the last `=`, for its name may have some.
fn groups(lines: &[String]) -> Result<Value, Failure> {
    let mut found: Vec<Value> = Vec::new();
    for line in lines {
        let Some((group, what)) = line.rsplit_once('=') else {
            return Err(Failure::invalid(tf(
                "'{}': write GROUP=ROLE, such as ops=operator.",
                &[line],
            )));
        };
        let (group, grant) = (group.trim(), grant(what.trim())?);
        match found.iter_mut().find(|one| one["group"] == group) {
            Some(one) => {
                one["grants"].as_array_mut().into_iter().for_each(|all| all.push(grant.clone()))
            }
            None => found.push(json!({ "group": group, "grants": [grant] })),
        }
    }
    Ok(Value::Array(found))
}

/// What groups may, as lines.
pub fn group_lines(groups: &Value) -> Vec<String> {
    group_grants(groups).map(|(group, grant)| format!("{group}={}", grant_line(grant))).collect()
}

fn group_grants(groups: &Value) -> impl Iterator<Item = (&str, &Value)> {
    groups.as_array().into_iter().flatten().flat_map(|one| {
        let group = one["group"].as_str().unwrap_or_default();
        one["grants"].as_array().into_iter().flatten().map(move |grant| (group, grant))
    })
}

/// A grant as a line.
pub fn grant_line(grant: &Value) -> String {
    Granted::deserialize(grant).map(|granted| granted.line()).unwrap_or_default()
}

/// `backup=26h`, `verification=30d`, `space=10%`, `missed`.
fn watch(line: &str) -> Result<Value, Failure> {
    let wrong = || Failure::invalid(tf("'{}': such as backup=26h, space=10% or missed.", &[&line]));
    let line = line.replace("self-backup", "self_backup");
    let line = line.as_str();
    let Some((subject, after)) = line.split_once('=') else {
        return Ok(json!({ "subject": line.trim() }));
    };
    let (subject, after) = (subject.trim(), after.trim());
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    if let Some(percent) = after.strip_suffix('%') {
        return Ok(json!({ "subject": subject, "below_percent": number(percent)? }));
    }
    let hours = match (after.strip_suffix('h'), after.strip_suffix('d')) {
        (Some(hours), _) => number(hours)?,
        (_, Some(days)) => number(days)?.checked_mul(24).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    Ok(json!({ "subject": subject, "after_h": hours }))
}

/// A watch as a line.
pub fn watch_line(watch: &Value) -> String {
    let subject = watch["subject"].as_str().unwrap_or_default().replace('_', "-");
    match (watch["after_h"].as_u64(), watch["below_percent"].as_u64()) {
        (Some(hours), _) if hours % 24 == 0 => format!("{subject}={}d", hours / 24),
        (Some(hours), _) => format!("{subject}={hours}h"),
        (_, Some(percent)) => format!("{subject}={percent}%"),
        _ => subject,
    }
}

/// The entries of a value, as words.
fn words_of(field: &Field, value: &Value) -> Vec<String> {
    match (value, &field.input) {
        (Value::Null, _) => Vec::new(),
        (Value::Array(list), Input::Grants) => list.iter().map(grant_line).collect(),
        (groups, Input::Groups) => group_lines(groups),
        (Value::Array(list), Input::Watches) => list.iter().map(watch_line).collect(),
        (Value::Array(list), _) => list.iter().map(super::text_of).collect(),
        (Value::String(text), _) if text.is_empty() => Vec::new(),
        (Value::String(text), _) => vec![text.clone()],
        (other, _) => vec![other.to_string()],
    }
}

/// The same request as a command line.
pub fn command(kind: &Kind, request: &Value, view: Option<&Value>) -> String {
    let verb = match view {
        Some(_) if kind.adding != "set" => "change",
        _ => kind.adding,
    };
    let mut words = vec![format!("{} {verb}", kind.command)];
    let mut flags: Vec<String> = Vec::new();
    let mut unsaid: Vec<&str> = Vec::new();
    for field in kind.fields {
        let value = field.of(request);
        let before = view.map(|view| field.of(view));
        // Of a change only what differs; what is named by its place always.
        let same = before
            .is_some_and(|before| before == value || (is_nothing(before) && is_nothing(value)));
        let entries = words_of(field, value);
        match field.flag {
            Flag::Plain => words.extend(entries.iter().map(|word| quoted(word))),
            _ if same || (view.is_some() && field.fixed) => {}
            Flag::With(flag) | Flag::Each(flag) | Flag::Joined(flag)
                if entries.is_empty() && view.is_some() =>
            {
                match field.emptied {
                    true => flags.push(format!("{flag} none")),
                    false => unsaid.push(t(field.label)),
                }
            }
            Flag::With(flag) => flags.extend(entries.iter().map(|word| valued(flag, word))),
            Flag::Each(flag) if matches!(field.input, Input::Grants) => {
                for (word, grant) in entries.iter().zip(value.as_array().into_iter().flatten()) {
                    let flag = if grant["right"].is_string() { "--right" } else { flag };
                    flags.push(format!("{flag} {}", quoted(word)));
                }
            }
            Flag::Each(flag) if matches!(field.input, Input::Groups) => {
                for (word, (_, grant)) in entries.iter().zip(group_grants(value)) {
                    let flag = if grant["right"].is_string() { "--group-right" } else { flag };
                    flags.push(valued(flag, word));
                }
            }
            Flag::Each(flag) => flags.extend(entries.iter().map(|word| valued(flag, word))),
            Flag::Joined(flag) if !entries.is_empty() => {
                flags.push(format!("{flag} {}", quoted(&entries.join(","))))
            }
            Flag::Switch(flag) if *value == Value::Bool(true) => flags.push(flag.to_owned()),
            Flag::TrueFalse(flag)
                if value.is_boolean() && (view.is_some() || *value == Value::Bool(true)) =>
            {
                flags.push(format!("{flag}={value}"));
            }
            _ => {}
        }
    }
    if kind.noun == "rates"
        && !flags.iter().any(|flag| flag.starts_with("--host") || flag.starts_with("--network"))
    {
        flags.push("--all".to_owned());
    }
    if kind.noun == "events" && request["enabled"] == Value::Bool(false) && view.is_none() {
        flags.push("--disabled".to_owned());
    }
    words.extend(flags);
    if !unsaid.is_empty() {
        words.push(tf("# and, here only, emptied: {}", &[&unsaid.join(", ")]));
    }
    words.join(" ")
}

/// An option with its value. One that begins with a dash would be taken for an option.
fn valued(flag: &str, word: &str) -> String {
    let sign = if word.starts_with('-') { '=' } else { ' ' };
    format!("{flag}{sign}{}", quoted(word))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(set) => !set,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_and_watches_are_lines() {
        for line in [
            "operator",
            "restore:alpha",
            "restore@berlin",
            "approve",
            "backup:task/home",
            "view:pool/gold",
        ] {
            assert_eq!(grant_line(&grant(line).unwrap()), line);
        }
        assert!(grant("king").is_err());
        let lines = ["ops=operator", "ops=restore@berlin", "cn=admins,dc=corp=administrator"];
        let lines: Vec<String> = lines.map(str::to_owned).to_vec();
        let read = groups(&lines).unwrap();
        assert_eq!(read[0]["grants"].as_array().unwrap().len(), 2);
        assert_eq!(group_lines(&read), lines);
        for wrong in ["ops", "ops=king"] {
            assert!(groups(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        for (line, shown) in [
            ("backup=26h", "backup=26h"),
            ("verification=30d", "verification=30d"),
            ("host=48h", "host=2d"),
            ("space=10%", "space=10%"),
            ("missed", "missed"),
        ] {
            assert_eq!(watch_line(&watch(line).unwrap()), shown);
        }
        for wrong in ["backup=x", "backup=1w", "space=%"] {
            assert!(watch(wrong).is_err(), "{wrong}");
        }
    }
}
