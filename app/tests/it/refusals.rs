//! What a daemon refuses, and how it says so.

use std::net::TcpListener;

use crate::hosts::{Daemon, output};

const FREE: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"];

#[test]
fn a_taken_port_is_an_error_that_names_its_holder_and_the_option() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().to_str().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for option in ["--listen", "--http", "--console"] {
        let mut arguments = vec!["--state", state, "server"];
        for pair in FREE.chunks(2) {
            arguments.extend([pair[0], if pair[0] == option { &taken } else { pair[1] }]);
        }
        let refused = output(&arguments);
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let me = format!("process {}", std::process::id());
        assert!(said.contains(&me) && said.contains(option), "{said}");
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
