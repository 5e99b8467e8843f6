//! The command line from another host: over TLS, with a token in a file.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::Port;
use crate::hosts::{assert_done, simsim};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fails(output: &Output, status: i32, words: &str) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(text(&output.stderr).contains(words), "{words}: {}", text(&output.stderr));
}

#[test]
fn the_command_line_asks_a_server_elsewhere_with_a_token_and_a_pin() {
    let port = Port::furnished();
    let state = port.server.state.to_str().unwrap();
    let made = simsim()
        .args(["--state", state, "api-token", "create", "laptop", "--role", "operator"])
        .output()
        .unwrap();
    assert_done(&made);
    let token = text(&made.stdout);
    let more = ["--state", state, "api-token", "create", "more", "--right", "view", "--json"];
    let more: Value =
        serde_json::from_slice(&simsim().args(more).output().unwrap().stdout).unwrap();
    crate::cli::documents::check("ApiTokenCreated", &more);
    let listed = simsim().args(["--state", state, "api-token", "list"]).output().unwrap();
    assert!(text(&listed.stdout).contains("right view"), "{listed:?}");
    assert!(token.starts_with("simsim_api_") && token.trim().len() == 75, "{token}");
    let said = text(&made.stderr);
    let pin = said.split_once("--server-pin ").unwrap().1.split(' ').next().unwrap().to_owned();
    let file = port.file("token", &token);
    let file = file.to_str().unwrap();
    let url = port.url("");
    // No state of a server is here.
    let elsewhere = |arguments: &[&str]| {
        let mut command = simsim();
        command.env("SIMSIM_SERVER", &url).arg("--state").arg(port.scratch.path().join("none"));
        command.args(arguments).output().unwrap()
    };
    let with = ["--token-file", file, "--server-pin", &pin];
    let ask = |arguments: &[&str]| elsewhere(&[&with[..], arguments].concat());
    let status = ask(&["status", "--json"]);
    assert_done(&status);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["tasks"], 1);
    // A backup is followed to its end, over TLS.
    let backup = ask(&["backup", "home"]);
    assert_done(&backup);
    assert!(text(&backup.stdout).contains("finished"), "{backup:?}");
    let certificate = port.certificate();
    let by_authority = ["--token-file", file, "--server-ca", certificate.to_str().unwrap()];
    let jobs = elsewhere(&[&by_authority[..], &["jobs", "--json"]].concat());
    assert_done(&jobs);
    let jobs: Value = serde_json::from_slice(&jobs.stdout).unwrap();
    assert_eq!(jobs[0]["requested_by"], "api-token:laptop");

    fails(&ask(&["user", "list"]), 4, "'people'");
    let wrong_pin = "0".repeat(64);
    let other = ["--token-file", file, "--server-pin", &wrong_pin, "status"];
    fails(&elsewhere(&other), 4, "does not prove that it is the server");
    fails(&elsewhere(&["--token-file", file, "--server-pin", "12", "status"]), 1, "64");
    fails(&elsewhere(&["--token-file", file, "status"]), 2, "--server-pin");
    fails(&elsewhere(&["--server-pin", &pin, "status"]), 2, "--token-file");
    let bad = port.file("bad", "simsim_api_0");
    let bad = ["--token-file", bad.to_str().unwrap(), "--server-pin", &pin, "status"];
    fails(&elsewhere(&bad), 4, "API token");
    let readable = port.file("readable", &token);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&readable, mode).unwrap();
    let readable = ["--token-file", readable.to_str().unwrap(), "--server-pin", &pin, "status"];
    fails(&elsewhere(&readable), 4, "chmod 600");
    fails(&simsim().args(["--token-file", file, "status"]).output().unwrap(), 2, "--server");
    port.server.must("api-token.revoke", json!({ "name": "laptop" }));
    fails(&ask(&["status"]), 4, "API token");
}

#[test]
fn users_are_kept_by_the_command_line_and_no_password_is_an_argument() {
    let port = Port::start();
    let state = port.server.state.to_str().unwrap();
    let run = |arguments: &[&str], line: &str| {
        let mut child = simsim()
            .args(["--state", state, "user"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that wants none does not read.
        let _ = writeln!(child.stdin.take().unwrap(), "{line}");
        child.wait_with_output().unwrap()
    };
    let added = run(&["add", "anna", "--role", "superuser"], "a very long password");
    assert_done(&added);
    assert!(text(&added.stdout).contains("superuser"), "{added:?}");
    fails(&run(&["add", "bert", "--role", "superuser"], "short"), 2, "at least 12");
    fails(&run(&["add", "bert"], ""), 2, "no password");
    fails(&run(&["add", "anna"], "a very long password"), 2, "exists already");
    fails(&run(&["add", "bert", "--role", "king"], "x"), 2, "superuser, administrator");
    fails(&run(&["change", "anna", "--role", "restore:nix"], ""), 5, "no client 'nix'");
    let own = port.server.own_name();
    let role = format!("restore:{own}");
    let changed = ["change", "anna", "--role", &role, "--right", "keys", "--json"];
    let changed = run(&changed, "");
    assert_done(&changed);
    let changed: Value = serde_json::from_slice(&changed.stdout).unwrap();
    crate::cli::documents::check("User", &changed);
    let grants = json!([{ "role": "restore", "client": own }, { "right": "keys" }]);
    assert_eq!(changed["grants"], grants);
    fails(&run(&["change", "anna"], ""), 2, "--role");
    let disabled = run(&["change", "anna", "--disable"], "");
    assert!(text(&disabled.stdout).contains("disabled"), "{disabled:?}");
    assert_done(&run(&["change", "anna", "--enable"], ""));
    let listed = run(&["list"], "");
    assert!(text(&listed.stdout).contains(&format!("restore for {own}, right keys")), "{listed:?}");
    assert!(text(&listed.stdout).contains("let in"), "{listed:?}");
    assert_done(&run(&["password", "anna"], "yet another password"));
    assert_done(&run(&["show", "anna"], ""));
    let roles = run(&["roles"], "");
    assert!(text(&roles.stdout).contains("restore-elsewhere"), "{roles:?}");
    let one_time = run(&["one-time", "anna", "--json"], "");
    let one_time: Value = serde_json::from_slice(&one_time.stdout).unwrap();
    crate::cli::documents::check("OneTime", &one_time);
    let shown = run(&["show", "anna"], "");
    assert!(text(&shown.stdout).contains("one-time"), "{shown:?}");
    assert_done(&run(&["one-time", "anna", "--off"], ""));
    assert_done(&run(&["remove", "anna"], ""));
    fails(&run(&["show", "anna"], ""), 5, "simsim user list");
}
