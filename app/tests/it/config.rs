//! The configuration of one server makes another one the same: through the real command line.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::hosts::{Daemon, simsim, tree};

struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let server = Daemon::start("server", &scratch.path().join("server"));
        let own = server.own_name();
        server.until_connected(&own);
        Self { scratch, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn config(&self, arguments: &[&str]) -> Output {
        let mut command = simsim();
        command.arg("--state").arg(&self.server.state).arg("config").args(arguments);
        command.output().unwrap()
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.config(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn changes(&self, arguments: &[&str]) -> Vec<(String, String)> {
        let text = self.done(&[arguments, &["--json"]].concat());
        let report: Value = serde_json::from_str(&text).unwrap();
        let changes = report["changes"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        changes
            .map(|one| {
                (text(&one["change"]), format!("{} {}", text(&one["noun"]), text(&one["name"])))
            })
            .collect()
    }
}

/// One of everything.
fn furnish(site: &Site, source: &Path) {
    let server = &site.server;
    let own = server.own_name();
    let (main, copy) = (site.path("main"), site.path("copy"));
    server.must(
        "datastore.create",
        json!({ "name": "main", "path": main, "drive": 3, "jobs_max": 2 }),
    );
    server.must("drive.add", json!({ "datastore": "main", "number": 5, "jobs_max": 7 }));
    server.must("datastore.create", json!({ "name": "copy", "path": copy, "drive": 9 }));
    server.must("drive-group.add", json!({ "name": "fast", "drives": [3, 5] }));
    server.must(
        "calendar.add",
        json!({ "name": "holidays", "days": "day 25,26 of dec\neaster + 1 day" }),
    );
    let line = "daily 22:00 except calendar:holidays";
    server.must("schedule.add", json!({ "name": "nightly", "line": line }));
    server.must("pool.add", json!({ "name": "short", "policy": "last 3", "datastore": "main" }));
    server.must("pool.change", json!({ "name": "default", "policy": "last 7, daily 14" }));
    let task = |name: &str, more: Value| {
        let mut task = json!({ "name": name, "client": own, "sources": [source] });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.must("task.add", task);
    };
    task("home", json!({ "datastore": "main", "drive": 5, "excludes": ["*.tmp"] }));
    task("grouped", json!({ "drive_group": "fast", "options": { "one_file_system": true } }));
    task("pooled", json!({ "pool": "short" }));
    server.must("task-group.add", json!({ "name": "some", "tasks": ["home", "pooled"] }));
    let replication =
        json!({ "name": "away", "source": "main", "target": "copy", "limits": ["20MB/s"] });
    server.must("replication.add", replication);
    let migration = json!({
        "name": "old", "replication": "away", "levels": ["full"], "older_than_days": 30,
        "pool": "short", "eol_days": 400
    });
    server.must("migration.add", migration);
    // By name the second one comes first, and it needs the first one.
    server.must("event.add", json!({ "name": "z", "kind": "replication", "subjects": ["away"] }));
    let event = json!({
        "name": "a", "schedule": "nightly", "task_groups": ["some"], "priority": 9, "retries": 2,
        "follow_ups": { "success": ["z"] }, "blocking_dates": "sat,calendar:holidays",
        "drive_group": "fast", "timeout_s": 3600, "level": "full"
    });
    server.must("event.add", event);
    server.must("rate.add", json!({ "rates": ["mon-fri 08:00-18:00 5MB/s", "50MB/s"] }));
    server.must("rate.add", json!({ "host": own, "rates": ["9MB/s"] }));
    server.must("queue.limit", json!({ "jobs_max": 6 }));
    let mail = json!({
        "kind": "mail", "server": "mail.example.org", "user": "backup", "from": "a@example.org",
        "to": ["b@example.org"],
    });
    let ops =
        json!({ "name": "ops", "via": mail, "secret": "open sesame", "report": "daily at 07:00" });
    server.must("notification.add", ops);
    let corp = json!({
        "name": "corp", "issuer": "https://idp.example.org", "client_id": "simsim", "secret": "open sesame",
        "groups": [{ "group": "ops", "grants": [{ "role": "operator" }, { "right": "approve" }] }],
        "creates_users": true,
    });
    server.must("identity-provider.add", corp);
    server.must("queue.limit", json!({ "client": own, "jobs_max": 2 }));
}

#[test]
fn an_exported_configuration_makes_an_empty_server_the_same_and_a_second_time_nothing() {
    let (one, other) = (Site::new(), Site::new());
    let source = tree(one.scratch.path());
    furnish(&one, &source);
    let exported = one.done(&["export"]);
    // Each server has its own folders.
    let elsewhere = |text: &str| {
        let from = one.scratch.path().display().to_string();
        let (to, tree) = (other.scratch.path().display().to_string(), source.display().to_string());
        text.replace(&tree, "THE-TREE").replace(&from, &to).replace("THE-TREE", &tree)
    };
    let file = other.path("suite.toml");
    std::fs::write(&file, elsewhere(&exported)).unwrap();
    let file = file.to_str().unwrap();

    let would = other.changes(&["diff", file]);
    assert!(would.iter().all(|(change, _)| change == "add" || change == "change"), "{would:#?}");
    assert_eq!(would.len(), 20, "{would:#?}");
    assert!(!exported.contains("open sesame"), "{exported}");
    assert_eq!(other.server.must("task.list", Value::Null), json!([]), "a look changes nothing");
    assert_eq!(other.changes(&["apply", file, "--dry-run"]), would);
    assert_eq!(other.changes(&["apply", file]), would);
    assert_eq!(other.done(&["export"]), elsewhere(&exported), "the same server");
    // No secret is in the file: it is said which one is to be given.
    let again = other.config(&["apply", file]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("notification 'ops' tells nothing before its secret is given"), "{said}");
    assert!(said.contains("nobody signs in by 'corp' before its secret is given"), "{said}");
    let warned = other.server.must("status", Value::Null)["warnings"].to_string();
    assert!(warned.contains("notification 'ops' tells nothing"), "{warned}");
    let error = other.server.ask("notification.test", json!({ "name": "ops" })).unwrap_err();
    assert!(error.to_string().contains("its secret was not given"), "{error}");
    assert_eq!(other.changes(&["apply", file]), [], "a second time");
    let mut ops = one.server.must("notification.show", json!({ "name": "ops" }));
    ops.as_object_mut().unwrap().retain(|field, _| field == "name" || field == "via");
    ops["secret"] = json!("open sesame");
    ops["report"] = json!("daily at 07:00");
    let shown = other.server.must("notification.change", ops);
    assert_eq!((&shown["has_secret"], &shown["secret_missing"]), (&json!(true), &json!(false)));
    assert_eq!(other.changes(&["apply", file]), [], "its secret is there");
    assert_eq!(other.server.backup("pooled")["state"], "finished");

    // What differs is changed, what is not named is kept, and with --prune it goes.
    let text = std::fs::read_to_string(file).unwrap();
    let away = [("change".to_owned(), "replication away".to_owned())];
    std::fs::write(file, text.replace("20MB/s", "30MB/s")).unwrap();
    assert_eq!(other.changes(&["apply", file]), away);
    std::fs::write(file, &text).unwrap();
    assert_eq!(other.changes(&["apply", file]), away);
    // It is of its two datastores.
    let mut turned: toml::Table = toml::from_str(&text).unwrap();
    let replication = turned["replications"].as_array_mut().unwrap()[0].as_table_mut().unwrap();
    let (source, target) = (replication["source"].clone(), replication["target"].clone());
    replication.insert("source".to_owned(), target);
    replication.insert("target".to_owned(), source);
    std::fs::write(file, toml::to_string(&turned).unwrap()).unwrap();
    let refused = other.config(&["apply", file]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("replication 'away' differs (source: "), "{said}");
    let text = text.replace("priority = 9", "priority = 4");
    let text = text.replace("5MB/s\"", "6MB/s\"");
    let mut wanted: toml::Table = toml::from_str(&text).unwrap();
    wanted["task_groups"].as_array_mut().unwrap().clear();
    wanted["events"].as_array_mut().unwrap()[0]["task_groups"].as_array_mut().unwrap().clear();
    wanted["events"].as_array_mut().unwrap()[0]["subjects"] =
        toml::Value::Array(vec!["home".into()]);
    std::fs::write(file, toml::to_string(&wanted).unwrap()).unwrap();
    let changed = other.changes(&["apply", file]);
    let of = |kind: &str| -> Vec<&str> {
        let found = changed.iter().filter(|(change, _)| change == kind);
        found.map(|(_, what)| what.as_str()).collect()
    };
    assert_eq!(of("change"), ["event a"], "{changed:#?}");
    assert_eq!(
        of("kept"),
        ["task group some", "rate limit all: mon,tue,wed,thu,fri 08:00-18:00 5MB/s; 50MB/s"]
    );
    let event = other.server.must("event.show", json!({ "name": "a" }));
    assert_eq!((&event["priority"], &event["acts_on"]), (&json!(4), &json!(["home"])));
    let gone = other.changes(&["apply", file, "--prune"]);
    assert!(gone.iter().all(|(change, _)| change == "remove") && gone.len() == 2, "{gone:#?}");
    assert_eq!(other.changes(&["diff", file, "--prune"]), []);
    assert_eq!(other.server.must("task-group.list", Value::Null), json!([]));
}

/// Who may what, and by which ways data goes. Passwords are in no file.
#[test]
fn people_and_ways_are_in_the_file_and_a_file_without_them_says_nothing_of_them() {
    let (one, other) = (Site::new(), Site::new());
    let name = "same-name";
    let far = |site: &Site| {
        let state = site.path("far");
        crate::hosts::assert_done(&site.server.join(name, &state, &[]));
    };
    far(&one);
    far(&other);
    let own = one.server.own_name();
    assert_eq!(own, other.server.own_name());
    let grants = json!([{ "role": "restore", "client": name }, { "right": "view" }]);
    let kim = json!({ "name": "kim", "grants": grants, "password": "a very long password" });
    one.server.must("user.add", kim);
    let off = json!({ "name": "otto", "disabled": true, "password": "a very long password" });
    one.server.must("user.add", off);
    let corp = json!({
        "name": "corp", "issuer": "https://idp.example.org", "client_id": "simsim",
        "creates_users": true,
    });
    one.server.must("identity-provider.add", corp);
    one.server.must("user.add", json!({ "name": "mia", "provider": "corp" }));
    let ways = json!({ "host": own, "interfaces": ["https://vault", "http://vault:8000"] });
    one.server.must("interface.set", ways);
    one.server.must("interface.choose", json!({ "client": name, "choices": ["https", "http"] }));

    let exported = one.done(&["export"]);
    assert!(!exported.contains("password"), "{exported}");
    let file = other.path("suite.toml");
    std::fs::write(&file, &exported).unwrap();
    let file = file.to_str().unwrap();
    let applied = other.config(&["apply", file]);
    let said = String::from_utf8(applied.stderr).unwrap();
    assert_eq!(applied.status.code(), Some(0), "{said}");
    assert!(said.contains("simsim user password kim"), "{said}");
    assert!(!said.contains("user password mia"), "{said}");
    assert_eq!(other.done(&["export"]), exported, "the same server");
    assert_eq!(other.changes(&["apply", file]), []);
    let shown = other.server.must("user.show", json!({ "name": "kim" }));
    assert_eq!((&shown["grants"], &shown["disabled"]), (&grants, &json!(false)));
    let shown = other.server.must("user.show", json!({ "name": "otto" }));
    assert_eq!(shown["disabled"], true);

    // Other grants, and somebody who signs in elsewhere is let in no more.
    let text = exported.replace("\"restore\"", "\"backup\"");
    let mut wanted: toml::Table = toml::from_str(&text).unwrap();
    for user in wanted["users"].as_array_mut().unwrap() {
        let is_mia = user["name"].as_str() == Some("mia");
        user["disabled"] = toml::Value::Boolean(is_mia);
    }
    wanted["choices"].as_array_mut().unwrap().clear();
    std::fs::write(file, toml::to_string(&wanted).unwrap()).unwrap();
    let of = |kind: &str, what: &str| (kind.to_owned(), what.to_owned());
    let changed = [
        of("remove", "ways of client same-name"),
        of("change", "user kim"),
        of("change", "user mia"),
        of("change", "user otto"),
    ];
    assert_eq!(other.changes(&["apply", file, "--prune"]), changed);
    assert_eq!(other.changes(&["apply", file, "--prune"]), []);
    assert_eq!(other.server.must("user.show", json!({ "name": "mia" }))["disabled"], true);

    // As files were written before they had these lists.
    for list in ["users", "interfaces", "choices"] {
        wanted.remove(list);
    }
    std::fs::write(file, toml::to_string(&wanted).unwrap()).unwrap();
    assert_eq!(other.changes(&["apply", file, "--prune"]), []);
    assert_eq!(other.server.must("user.list", Value::Null).as_array().unwrap().len(), 3);
}

/// As people write it: without what the server chooses, and in other words than it answers.
#[test]
fn a_file_that_was_written_by_hand_is_made_once() {
    let site = Site::new();
    let (file, store, source) = (site.path("suite.toml"), site.path("main"), site.path("tree"));
    std::fs::create_dir(&source).unwrap();
    let text = format!(
        "version = 1\n[[datastores]]\nname = 'main'\npath = '{}'\ndrives = [{{ number = 1, jobs_max = 4 }}]\n\
         [[pools]]\nname = 'long'\npolicy = 'DAILY 14,last 7'\n\
         [[tasks]]\nname = 'home'\nclient = '{}'\nsources = ['{}']\npool = 'long'\n\
         [[schedules]]\nname = 'nightly'\nline = 'within 2h 22:00 weekdays'\n\
         [[events]]\nname = 'nightly'\nschedule = 'nightly'\nall = true\n\
         [[rates]]\nrates = ['mon-fri 08:00-18:00 5MB/s']\n",
        store.display(),
        site.server.own_name(),
        source.display()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(site.changes(&["apply", file]).len(), 6);
    assert_eq!(site.changes(&["apply", file]), []);
    assert_eq!(site.changes(&["diff", file, "--prune"]), []);
}

#[test]
fn a_file_that_names_what_is_not_there_is_refused_before_anything_is_changed_also_as_a_trial() {
    let site = Site::new();
    let file = site.path("suite.toml");
    let own = site.server.own_name();
    let text = format!(
        "version = 1\n[[locations]]\nname = 'berlin'\n\
         [[datastores]]\nname = 'main'\npath = '{}'\ndrives = [{{ number = 1, jobs_max = 4 }}]\n\
         [[tasks]]\nname = 'home'\nclient = '{own}'\nsources = ['/x']\n\
         [[events]]\nname = 'nightly'\nsubjects = ['nix', 'home']\nschedule = 'nights'\n\
         [[events]]\nname = 'check'\nkind = 'verification'\nsubjects = ['main', 'home']\n",
        site.path("main").display()
    );
    std::fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    for arguments in [&["apply", file, "--dry-run"][..], &["apply", file]] {
        let output = site.config(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        for words in ["event 'nightly' names task 'nix'", "event 'nightly' names schedule 'nights'"]
        {
            assert!(said.contains(words), "{said}");
        }
        assert!(!said.contains("'home'") && !said.contains("'check'"), "{said}");
    }
    assert_eq!(site.server.must("location.list", Value::Null), json!([]), "nothing was done");
    // What is on the server may be named, and what is in the file.
    site.server.must("schedule.add", json!({ "name": "nights", "line": "daily 22:00" }));
    std::fs::write(file, text.replace("'nix', ", "")).unwrap();
    assert_eq!(site.changes(&["apply", file, "--dry-run"]).len(), 6);
    // With --prune what the file does not name is gone by then.
    let output = site.config(&["apply", file, "--prune"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("names schedule 'nights'"));
    std::fs::write(file, text.replace("'nix', ", "").replace(&format!("'{own}'"), "'afar'"))
        .unwrap();
    let output = site.config(&["apply", file]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("task 'home' names host 'afar'"), "{said}");
    assert_eq!(site.server.must("task.list", Value::Null), json!([]));

    std::fs::write(file, "version = 1\n[[schedules]]\nname = 'x'\nline = 'daily 25:00'\n").unwrap();
    let said = String::from_utf8(site.config(&["diff", file]).stderr).unwrap();
    assert!(said.contains("suite.toml cannot be read: line "), "{said}");
    assert!(said.contains("'25:00' (character 7)") && !said.contains("\\x0a"), "{said}");
    let exported = site.done(&["export"]);
    assert_eq!(site.done(&["export", "-"]), exported);
    assert_eq!(site.done(&["export", "/dev/stdout"]), exported);
    let there = site.config(&["export", file]);
    assert_ne!(there.status.code(), Some(0), "no file that is there is overwritten");
}

#[test]
fn a_file_that_is_wrong_is_refused_before_anything_is_changed() {
    let site = Site::new();
    let file = site.path("suite.toml");
    let refused = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = site.config(&["apply", file.to_str().unwrap()]);
        assert_ne!(output.status.code(), Some(0), "{text}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (text, why) in [
        ("", "begin with 'version = 1'"),
        ("version = 2", "it is of version 2, and this simsim reads 1"),
        ("version = 1\n[[schedule]]\nname = 'x'", "unknown field `schedule`"),
        ("version = 1\n[[schedules]]\nname = 'x'\nline = 'dayly 1:00'", "did you mean 'daily'?"),
        (
            "version = 1\n[[tasks]]\nname = 'x'\nclient = 'c'\nsource = ['/x']",
            "unknown field `source`",
        ),
        (
            "version = 1\n[[calendars]]\nname = 'x'\ndays = '2026-12-25'\n[[calendars]]\nname = 'x'\ndays = '2026-12-26'",
            "names 'x' twice",
        ),
        ("version = 1\n[[datastores]]\nname = 'x'\npath = '/x'\ndrives = []", "at least one drive"),
    ] {
        let said = refused(text);
        assert!(said.contains(why), "{text}: {said}");
    }
    let half = "version = 1\n[[schedules]]\nname = 'nightly'\nline = 'daily 22:00'\n\
                [[events]]\nname = 'x'\nschedule = 'nightly'\nsubjects = ['gone']";
    let said = refused(half);
    assert!(said.contains("event 'x' names task 'gone'"), "{said}");
    let there = site.server.must("schedule.list", Value::Null);
    assert_eq!(there, json!([]), "nothing was made");
    let missing = site.config(&["diff", "/nowhere/suite.toml"]);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("cannot read the configuration /nowhere/suite.toml"), "{said}");
    // Nothing is overwritten.
    let there = site.config(&["export", file.to_str().unwrap()]);
    assert_ne!(there.status.code(), Some(0), "{there:?}");
}
