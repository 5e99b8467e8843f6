//! What a daemon refuses, and how it says so.

use std::net::TcpListener;

use simsim_testkit::ChildProcess;

use crate::hosts::{Daemon, PATIENCE, output, simsim};

const FREE: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"];

/// A server whose port `option` is somebody else's.
fn server_without(option: &str, state: &str, taken: &str) -> ChildProcess {
    let mut command = simsim();
    command.args(["--state", state, "server"]);
    for pair in FREE.chunks(2) {
        command.args([pair[0], if pair[0] == option { taken } else { pair[1] }]);
    }
    ChildProcess::start(&mut command)
}

#[test]
fn a_server_that_cannot_have_a_port_names_the_holder_and_goes_on_with_the_rest() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for (option, row) in [("--listen", "smssh"), ("--http", "http"), ("--console", "console")] {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().to_str().unwrap();
        let server = server_without(option, state, &taken);
        server.wait_for_line("is ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let said = server.wait_for_line("goes on without it", PATIENCE).unwrap();
        let me = format!("process {}", std::process::id());
        assert!(said.contains(&me) && said.contains(option) && said.contains(row), "{said}");
        assert_eq!(output(&["--state", state, "status"]).status.code(), Some(0));
        // The other ports are there, and that this one is not is found at any time.
        let open = output(&["--state", state, "ports", "list"]);
        let open = String::from_utf8_lossy(&open.stdout).into_owned();
        for other in ["smssh", "http", "console"] {
            // Other servers may run on this machine.
            let mine = |line: &str| line.contains(&format!(" {} ", server.id()));
            let listens = open.lines().any(|line| {
                line.starts_with("listens") && line.contains(&format!("  {other}  ")) && mine(line)
            });
            assert_eq!(listens, other != row, "{other} without {row}:\n{open}");
        }
        let mut check = vec!["--state", state, "ports", "check", "--settings"];
        let settings = scratch.path().join("other.toml");
        std::fs::write(&settings, format!("[listen]\n{row} = [\"{taken}\"]\n")).unwrap();
        check.push(settings.to_str().unwrap());
        let checked = output(&check);
        assert_eq!(checked.status.code(), Some(3), "{checked:?}");
        let found = String::from_utf8_lossy(&checked.stdout).into_owned();
        let line = found.lines().find(|line| line.starts_with(&format!("bad   port {row}")));
        assert!(line.is_some_and(|line| line.contains(&me)), "{found}");
    }
}

#[test]
fn a_client_without_its_only_port_is_refused_and_the_holder_named() {
    let scratch = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let state = scratch.path().to_str().unwrap();
    for role in ["client", "rds"] {
        let refused = output(&["--state", state, role, "--listen", &taken]);
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let me = format!("process {}", std::process::id());
        assert!(said.contains(&me) && said.contains("--listen"), "{said}");
    }
}

#[test]
fn a_second_daemon_on_a_state_folder_is_told_who_has_it() {
    let scratch = tempfile::tempdir().unwrap();
    let client = Daemon::start("client", scratch.path());
    let state = scratch.path().to_str().unwrap();
    for role in ["client", "rds", "server"] {
        let refused = output(&["--state", state, role, "--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let holder = format!("simsim client (process {})", client.process.id());
        assert!(said.contains(&holder) && said.contains("--state"), "{said}");
    }
}

#[test]
fn a_state_of_a_server_starts_no_other_daemon() {
    let scratch = tempfile::tempdir().unwrap();
    Daemon::start("server", scratch.path()).stop();
    let state = scratch.path().to_str().unwrap();
    for role in ["client", "rds"] {
        let refused = output(&["--state", state, role, "--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("simsim server"), "{refused:?}");
    }
}

#[test]
fn a_typing_error_in_the_settings_is_named_with_file_and_line() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("simsim.toml");
    std::fs::write(&file, "name = \"vault\"\n\n[listen]\nhtpp = []\n").unwrap();
    let state = scratch.path().to_str().unwrap();
    let refused = output(&["--state", state, "server"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in ["simsim.toml", "line 4", "htpp"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("x0a"), "it is for people: {said}");
    let missing = scratch.path().join("missing.toml");
    let arguments = ["--state", state, "server", "--settings", missing.to_str().unwrap()];
    assert_eq!(output(&arguments).status.code(), Some(5));
}

#[test]
fn what_cannot_be_a_code_or_a_server_is_refused_before_anything_is_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("client");
    let state = state.to_str().unwrap();
    let join = |server: &str, code: &str| {
        output(&["client", "join", server, "--code", code, "--state", state])
    };
    let typo = join("127.0.0.1", "AAAAA-BBBBB");
    assert_eq!(typo.status.code(), Some(2), "{typo:?}");
    let server = Daemon::start("server", &scratch.path().join("server"));
    let code = server.join_code("web");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let away = join(&closed, &code);
    assert_eq!(away.status.code(), Some(8), "{away:?}");
    // The right server, and a name that the code is not for.
    let there = format!("127.0.0.1:{}", server.port);
    let other =
        output(&["client", "join", &there, "--code", &code, "--name", "x", "--state", state]);
    assert_eq!(other.status.code(), Some(4), "{other:?}");
    assert!(!std::path::Path::new(state).join("enrolment.json").exists());
}
