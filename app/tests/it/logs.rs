//! What daemons log, in each form, and what jobs leave behind.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use crate::console::Port;
use crate::hosts::{Daemon, output, simsim, until};

fn settings(state: &Path, text: &str) {
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join("simsim.toml"), text).unwrap();
}

#[test]
fn json_is_a_document_a_line_with_the_fields_of_what_happened() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("server");
    settings(&state, "[log]\nformat = \"json\"\n");
    let mut server = Daemon::start("server", &state);
    server
        .must("datastore.create", json!({ "name": "main", "path": scratch.path().join("store") }));
    let own = server.own_name();
    server.until_connected(&own);
    server.add_task("home", &own, &crate::hosts::tree(scratch.path()));
    let job = server.backup("home");
    assert_eq!(server.stop(), 0);
    let text = server.process.output();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
        assert!(["INFO", "WARN", "ERROR"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
    let found =
        lines.iter().any(|line| line["job"] == job["job"] && line["message"] == "job started");
    assert!(found, "{text}");
    let settings = lines.iter().find(|line| line["message"] == "settings").unwrap();
    assert!(settings["file"].as_str().unwrap().ends_with("simsim.toml"), "{settings}");
}

#[test]
fn a_form_that_does_not_exist_is_refused_in_words() {
    let scratch = tempfile::tempdir().unwrap();
    settings(scratch.path(), "[log]\nformat = \"xml\"\n");
    let refused = output(&["--state", scratch.path().to_str().unwrap(), "server"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("xml") && said.contains("journald"), "{said}");
}

/// A journal of its own, in a namespace where nobody else sees it.
#[test]
fn the_journal_gets_entries_with_priorities_and_fields_or_the_start_fails() {
    let may =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/run"]).output();
    if !may.is_ok_and(|may| may.status.success()) {
        return simsim_testkit::skip("no mount namespace can be made here");
    }
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("client");
    settings(&state, "[log]\nformat = \"journald\"\n");
    let daemon = format!(
        "mount -t tmpfs tmpfs /run && {} --state {} client --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_simsim"),
        state.display()
    );
    let without = Command::new("unshare").args(["-m", "sh", "-c", &daemon]).output().unwrap();
    let said = String::from_utf8(without.stderr).unwrap();
    assert_eq!(without.status.code(), Some(2), "{said}");
    assert!(said.contains("the journal of systemd cannot be reached"), "{said}");

    let taken = scratch.path().join("taken");
    let journal = "import os, socket, sys\nos.makedirs('/run/systemd/journal')\n\
                   s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.bind('/run/systemd/journal/socket')\n\
                   print('journal', flush=True)\n\
                   while True:\n    b = s.recv(1 << 20)\n    open(sys.argv[1], 'ab').write(b + b'\\n')\n";
    let script = format!(
        "mount -t tmpfs tmpfs /run && (python3 -c \"{journal}\" {} & while ! test -S /run/systemd/journal/socket; do \
         sleep 0.1; done; exec {} --state {} client --listen 127.0.0.1:0)",
        taken.display(),
        env!("CARGO_BIN_EXE_simsim"),
        state.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "--kill-child", "--fork", "-p", "sh", "-c", &script]);
    let mut process = ChildProcess::start(&mut command);
    let read = || String::from_utf8_lossy(&std::fs::read(&taken).unwrap_or_default()).into_owned();
    until("it is ready", || read().contains("simsim client is ready"));
    let text = read();
    process.kill();
    // Each field stands with its length before it, or as NAME=value.
    for field in ["PRIORITY=5", "SYSLOG_IDENTIFIER", "SIMSIM_STATE", "TARGET", "MESSAGE"] {
        assert!(text.contains(field) || text.contains(&field.replace("=5", "")), "{field}: {text}");
    }
}

#[test]
fn a_job_keeps_what_it_had_to_tell() {
    let port = Port::furnished();
    let job = port.server.backup("home")["job"].to_string();
    let state = port.server.state.to_str().unwrap();
    let run = |words: &[&str]| {
        let output = simsim().args(words).args(["--state", state]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let log = run(&["job", "log", &job]);
    assert!(log.contains("full backup of 'home'") && log.contains("finished: saveset"), "{log}");
    assert_eq!(run(&["logs", &job]), log);
}
