//! Jobs that a person starts, and one-time tickets for them.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Desk, noise};
use crate::cli::documents::check;
use crate::hosts::{Daemon, assert_done, until};

/// Runs the command that the suite printed, as a person would, in the folder with the certificate.
fn run(desk: &Desk, command: &str, input: &[u8]) -> std::process::Output {
    use std::io::Write;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(desk.scratch.path());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

#[test]
fn a_job_that_was_started_takes_one_stream_by_the_command_that_it_printed() {
    let desk = Desk::new();
    // The server's certificate names this.
    let url = format!("https://localhost:{}", desk.https);
    desk.server.must("interface.set", json!({ "host": desk.own, "interfaces": [url] }));
    let started = desk.cli(&["backup", "db", "--external", "--json"]);
    assert_done(&started);
    let started: Value = serde_json::from_slice(&started.stdout).unwrap();
    check("StreamStarted", &started);
    let command = started["command"].as_str().unwrap();
    until("the job waits", || {
        let job = desk.server.must("job.show", json!({ "job": started["job"] }));
        job["state"] == "running"
    });
    let bytes = noise(3_000_000, 1);
    assert_done(&run(&desk, command, &bytes));
    let job = desk.server.ended(&started);
    assert_eq!((&job["state"], &job["requested_by"]), (&"finished".into(), &"local:root".into()));
    assert_eq!(desk.savesets("db")[0]["bytes"], 3_000_000);
    // Once is all: curl fails, with the reason.
    let again = run(&desk, command, b"again");
    assert_eq!(again.status.code(), Some(22), "{again:?}");
    assert_eq!(desk.savesets("db").len(), 1);
}

#[test]
fn a_ticket_is_for_its_job_and_task_and_ends_with_it() {
    let desk = Desk::new();
    desk.external("other", "main");
    let start = || desk.server.must("stream.start", json!({ "task": "db" }));
    let ticket =
        |started: &Value| started["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let started = start();
    let (wrong_task, right) = (
        format!("{}/{}", desk.url("other"), ticket(&started)),
        format!("{}/{}", desk.url("db"), ticket(&started)),
    );
    desk.curl(&["-T", "-", &wrong_task], Some(b"x")).is(22, 401);
    desk.curl(&[&right], None).is(22, 403).says("for storing");
    // Neither used it up.
    desk.curl(&["-T", "-", &right], Some(b"right")).is(0, 201);

    let cancelled = start();
    desk.server.must("job.cancel", json!({ "job": cancelled["job"] }));
    assert_eq!(desk.server.ended(&cancelled)["state"], "cancelled");
    let late = format!("{}/{}", desk.url("db"), ticket(&cancelled));
    desk.curl(&["-T", "-", &late], Some(b"late")).is(22, 401);
    assert_eq!(desk.savesets("db").len(), 1);

    let refused = desk.server.ask("task.run", json!({ "task": "db" })).unwrap_err().to_string();
    assert!(refused.contains("simsim backup db --external"), "{refused}");
    let home = crate::hosts::tree(desk.scratch.path());
    desk.server.add_task("home", &desk.own, &home);
    let refused =
        desk.server.ask("stream.start", json!({ "task": "home" })).unwrap_err().to_string();
    assert!(refused.contains("not external"), "{refused}");
    let refused =
        desk.server.ask("token.create", json!({ "name": "t", "task": "home" })).unwrap_err();
    assert!(refused.to_string().contains("not external"), "{refused}");
}

#[test]
fn the_command_line_makes_lists_and_revokes() {
    let desk = Desk::new();
    let added = desk.cli(&["task", "add", "wal", "--external", "--keep-days", "1", "--json"]);
    assert_done(&added);
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!((&added["kind"], &added["options"]["external"]), (&"stream".into(), &true.into()));
    let created = desk.cli(&[
        "token",
        "create",
        "wal",
        "--task",
        "wal",
        "--allow",
        "both",
        "--expires",
        "2w",
    ]);
    assert_done(&created);
    // The secret alone on standard output.
    let secret = String::from_utf8(created.stdout).unwrap();
    assert_eq!(secret.trim().len(), "simsim_token_".len() + 64, "{secret}");
    let said = String::from_utf8(created.stderr).unwrap();
    assert!(said.contains("/v1/streams/wal") && said.contains("shown this once"), "{said}");
    let header = desk.header("wal", secret.trim());
    desk.stored(&header, "wal", b"0001");
    let listed = desk.cli(&["token", "list", "--json"]);
    check("Token[]", &serde_json::from_slice(&listed.stdout).unwrap());
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(secret.trim()));
    let table = String::from_utf8(desk.cli(&["token", "list"]).stdout).unwrap();
    assert!(table.contains("store and read") && table.contains("valid"), "{table}");
    let shown = String::from_utf8(desk.cli(&["task", "show", "wal"]).stdout).unwrap();
    assert!(
        shown.contains("raw streams from outside") && shown.contains("sealed by the server"),
        "{shown}"
    );
    let made = desk.cli(&["token", "create", "second", "--task", "wal", "--json"]);
    check("TokenCreated", &serde_json::from_slice(&made.stdout).unwrap());
    let revoked = desk.cli(&["token", "revoke", "wal", "--json"]);
    assert_done(&revoked);
    check("Token", &serde_json::from_slice(&revoked.stdout).unwrap());
    desk.curl(&["-H", &header, &desk.url("wal")], None).is(22, 403);
    let jobs = String::from_utf8(desk.cli(&["jobs"]).stdout).unwrap();
    assert!(jobs.contains("raw stream"), "{jobs}");
    assert_ne!(
        desk.cli(&["token", "create", "x", "--task", "wal", "--expires", "90"]).status.code(),
        Some(0)
    );
}

/// Where the client alone holds the key nobody else can seal for it.
#[test]
fn a_client_that_holds_its_key_alone_has_no_raw_streams() {
    let desk = Desk::new();
    let state = desk.scratch.path().join("web");
    let _web = Daemon::start("client", &state);
    assert_done(&desk.server.join("web", &state, &[]));
    desk.server.until_connected("web");
    let task = |name: &str| {
        json!({
            "name": name, "client": "web", "kind": "stream", "sources": [name],
            "options": { "external": true }
        })
    };
    desk.server.must("task.add", task("held"));
    let create = json!({ "client": "web", "datastore": "main", "held_by_client": true });
    let made = desk.server.must("key.domain", create);
    assert_eq!(made["key_held_by"], "client", "{made:#}");
    let (_, header) = desk.token("both", "held", "both");
    let refused = desk.curl(&["-H", &header, "-T", "-", &desk.url("held")], Some(b"x"));
    refused.is(22, 403).says("holds the key of its data in 'main' alone");
    let refused = desk.server.ask("task.add", task("new")).unwrap_err().to_string();
    assert!(refused.contains("cannot be sealed"), "{refused}");
}
