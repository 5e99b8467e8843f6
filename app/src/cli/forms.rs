//! Every form of the pages says the same as a command line: here these lines are held against the
//! command line's own parser.

use clap::Parser;
use serde_json::{Value, json};

use crate::CommandLine;

/// Words of a line, as a shell takes them; of quotes only single ones are used.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if !quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// What is wrong with a line.
fn wrong(line: &str) -> Option<String> {
    let words = words(line);
    let error = CommandLine::try_parse_from(&words).err()?;
    Some(format!("{line}\n{words:?}\n{error}"))
}

#[test]
fn every_form_says_a_command_line_that_is_one() {
    let mut found = Vec::new();
    let mut form = |noun: &str, request: Value, view: Option<Value>| {
        let line = simsim_web::command_line(noun, &request, view.as_ref()).unwrap();
        found.extend(wrong(&line));
    };
    form(
        "datastores",
        json!({"name": "main", "path": "/a b", "node": "vault", "drive": 3, "jobs_max": 2}),
        None,
    );
    form("drive-groups", json!({"name": "any", "drives": [1, 2]}), None);
    form(
        "drive-groups",
        json!({"name": "any", "drives": [1]}),
        Some(json!({"name": "any", "drives": [1, 2]})),
    );
    form(
        "pools",
        json!({"name": "short", "policy": "last 7, daily 14", "datastore": "main"}),
        None,
    );
    form(
        "pools",
        json!({"name": "short", "policy": "forever"}),
        Some(json!({"name": "short", "policy": "last 1"})),
    );
    let task = json!({
        "name": "home", "client": "web", "sources": ["/srv", "/it's"], "excludes": ["*.tmp", "-x"], "datastore": "main",
        "pool": "short", "eol_days": 7, "drive": 1,
        "options": {
            "exclude_caches": true, "one_file_system": true, "file_bytes_max": 1000, "pre_command": "freeze", "post_command": "thaw",
            "interfaces": ["https"],
            "green": {"backup_hours": 24, "replication_hours": 0, "verification_days": 7, "restore_test_days": 30},
        },
    });
    form("tasks", task.clone(), None);
    form(
        "tasks",
        task.clone(),
        Some(json!({"name": "home", "client": "web", "sources": ["/srv"]})),
    );
    form(
        "tasks",
        json!({"name": "home", "sources": ["/srv"], "options": {"exclude_caches": false}}),
        Some(task),
    );
    form("task-groups", json!({"name": "files", "tasks": ["home", "mail"]}), None);
    form(
        "task-groups",
        json!({"name": "files", "tasks": ["home"]}),
        Some(json!({"name": "files", "tasks": []})),
    );
    let command = json!({"name": "sweep", "client": "web", "local_name": "clean", "timeout_s": 60});
    form("commands", command.clone(), None);
    form("commands", command, Some(json!({"name": "sweep", "client": "db"})));
    let event = json!({
        "name": "nightly", "kind": "backup", "at": "weekdays 22:00", "all": true, "subjects": ["home"], "task_groups": ["files"], "locations": ["berlin"], "pool": "short",
        "level": "full", "enabled": false, "priority": 3, "blocking_dates": "sat,sun", "blocking": true, "drive_group": "any",
        "interface": "https", "follow_ups": {"success": ["a"], "warning": ["b"], "failure": ["c", "d"]}, "retries": 3,
    });
    form("events", event.clone(), None);
    form("events", event.clone(), Some(json!({"name": "nightly", "kind": "backup"})));
    form(
        "events",
        json!({"name": "n", "kind": "garbage-collection", "subjects": ["main"], "schedule": "nights"}),
        None,
    );
    form("schedules", json!({"name": "nights", "line": "daily 22:00"}), None);
    form(
        "schedules",
        json!({"name": "nights", "line": "daily 23:00"}),
        Some(json!({"name": "nights", "line": "daily 22:00"})),
    );
    form(
        "calendars",
        json!({"name": "holidays", "days": "day 25,26 of dec; easter + 1 day"}),
        None,
    );
    form(
        "calendars",
        json!({"name": "holidays", "days": "2026-12-31"}),
        Some(json!({"name": "holidays"})),
    );
    form(
        "replications",
        json!({"name": "away", "source": "a", "target": "b", "client": "web", "task": "home", "pull": true, "drive": 2, "limits": ["mon-fri 08:00-18:00 5MB/s"]}),
        None,
    );
    form(
        "replications",
        json!({"name": "away", "source": "a", "target": "b", "pull": false, "drive": 1, "limits": []}),
        Some(
            json!({"name": "away", "source": "a", "target": "b", "client": "web", "task": "home", "pull": true, "drive": 2, "limits": ["5MB/s"]}),
        ),
    );
    form(
        "interfaces",
        json!({"host": "vault", "interfaces": ["https://vault", "ftp://vault?mode=active"]}),
        None,
    );
    form(
        "interfaces",
        json!({"host": "vault", "interfaces": []}),
        Some(json!({"host": "vault", "interfaces": []})),
    );
    form("rates", json!({"host": "vault", "rates": ["20MB/s", "mon-fri 08:00-18:00 5MB/s"]}), None);
    form("rates", json!({"network": "10.2.0.0/16", "rates": ["20MB/s"]}), None);
    form("rates", json!({"rates": ["20MB/s"]}), None);
    form("locations", json!({"name": "berlin", "parent": "de", "note": "the cellar"}), None);
    form(
        "locations",
        json!({"name": "berlin", "note": "the attic"}),
        Some(json!({"name": "berlin", "parent": "de"})),
    );
    let mail = json!({
        "name": "mail", "via": {"kind": "mail", "server": "mx", "security": "tls", "user": "u", "from": "a@b", "to": ["c@d", "e@f"]},
        "outcomes": ["failed", "interrupted"], "tasks": ["home"], "clients": ["web"], "kinds": ["backup"],
        "watch": [{"subject": "backup", "after_h": 26}, {"subject": "space", "below_percent": 10}, {"subject": "missed"}, {"subject": "self_backup", "after_h": 48}], "report": "daily at 07:00", "enabled": true,
    });
    form("notifications", mail.clone(), None);
    form("notifications", mail, Some(json!({"name": "mail"})));
    form(
        "notifications",
        json!({"name": "hook", "via": {"kind": "webhook", "url": "https://a/"}, "outcomes": ["failed"]}),
        None,
    );
    let provider = json!({
        "name": "corp", "issuer": "https://idp/", "client_id": "simsim", "secret": "x", "scopes": ["profile", "email"],
        "groups": [{"group": "ops", "grants": [{"role": "operator"}, {"right": "approve", "location": "berlin"}]}, {"group": "cn=a,dc=b", "grants": [{"role": "auditor"}]}],
        "name_claim": "email", "groups_claim": "realm.roles", "creates_users": true, "enabled": true,
    });
    form("identity-providers", provider.clone(), None);
    form(
        "identity-providers",
        provider,
        Some(json!({"name": "corp", "issuer": "https://idp/", "creates_users": false})),
    );
    form("users", json!({"name": "kim@corp", "provider": "corp"}), None);
    let user = json!({"name": "anna", "grants": [{"role": "operator"}, {"right": "approve", "location": "berlin"}]});
    form("users", user.clone(), None);
    form(
        "users",
        json!({"name": "anna", "grants": [{"role": "backup", "client": "web"}], "disabled": true}),
        Some(user),
    );
    form("api-tokens", json!({"name": "t", "user": "anna", "grants": [{"role": "auditor"}]}), None);
    form("stream-tokens", json!({"name": "t", "task": "db", "allow": "both"}), None);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Lines that stand in pages as they are.
#[test]
fn every_command_line_on_a_page_is_one() {
    let mut folders =
        vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/src"))];
    let (mut found, mut bad) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            for call in ["command(\"", "command(&format!(\""] {
                for (at, _) in text.match_indices(call) {
                    let line = text[at + call.len()..].split('"').next().unwrap();
                    // A gap may be any word; where it is a number, one will do.
                    let mut whole = String::new();
                    for (number, part) in line.split(['{', '}']).enumerate() {
                        // Right behind a word it is more words, or none.
                        let gap = if whole.ends_with(' ') { "7" } else { "" };
                        whole.push_str(if number % 2 == 0 { part } else { gap });
                    }
                    if whole.starts_with("simsim ") {
                        bad.extend(wrong(&whole));
                        found += 1;
                    }
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(found > 20, "{found}");
}
