//! The three daemons together: enrolment, backup, restore elsewhere, revocation.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_model::Kind;

use crate::hosts::{Daemon, PATIENCE, assert_done, differences, output, tree, until};

#[test]
fn hosts_join_are_backed_up_restored_to_another_and_revoked() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let server = Daemon::start("server", &folder("server"));
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));

    // One joins before its daemon runs, the other one while it does.
    let first = folder("first");
    let port = simsim_testkit::free_ports(1)[0];
    let listen = format!("127.0.0.1:{port}");
    let joined = server.join("first", &first, &["--listen", &listen]);
    assert_done(&joined);
    let said = String::from_utf8_lossy(&joined.stdout).into_owned();
    assert!(said.contains("simsim --state") && said.contains(&port.to_string()), "{said}");
    let mut command = crate::hosts::simsim();
    command.args(["client", "--listen", &listen, "--state"]).arg(&first);
    let _first = simsim_testkit::ChildProcess::start(&mut command);
    let second = Daemon::start("client", &folder("second"));
    assert!(second.process.output().contains("simsim client join"));
    let joined = server.join("second", &second.state, &[]);
    assert_done(&joined);
    let said = String::from_utf8_lossy(&joined.stdout).into_owned();
    assert!(said.contains("obeys it from now on"), "{said}");
    server.until_connected("first");
    server.until_connected("second");

    server.add_task("home", "first", &tree);
    let backup = server.backup("home");
    assert_eq!(backup["state"], "finished", "{backup:#}");
    let target = folder("restored");
    let job = server.must(
        "restore",
        json!({ "task": "home", "client": "second", "target": target, "specials": true }),
    );
    let restore = server.ended(&job);
    assert_eq!(restore["state"], "finished", "{restore:#}");
    assert_eq!(differences(&tree, &target), Vec::<String>::new());

    let state = server.state.to_str().unwrap();
    let revoked = output(&["--state", state, "client", "revoke", "second", "--json"]);
    assert_done(&revoked);
    let revoked: Value = serde_json::from_slice(&revoked.stdout).unwrap();
    crate::cli::documents::check("Revoked", &revoked);
    assert_eq!(
        (&revoked["client"]["state"], &revoked["jobs_ended"]),
        (&json!("revoked"), &json!([]))
    );
    let refused = server
        .ask("restore", json!({ "task": "home", "client": "second", "target": target }))
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied, "{refused}");
    assert!(!server.is_connected("second"));
}

#[test]
fn an_rds_keeps_data_of_a_client_and_opens_no_console() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let server = Daemon::start("server", &folder("server"));
    let rds = Daemon::start("rds", &folder("rds"));
    assert_done(&server.join("vault2", &rds.state, &[]));
    server.until_connected("vault2");
    let request = json!({ "name": "far", "node": "vault2", "path": folder("store") });
    server.must("datastore.create", request);
    server.add_task("home", &server.own_name(), &tree);
    let backup = server.backup("home");
    assert_eq!(backup["state"], "finished", "{backup:#}");
    let clients = server.must("client.list", Value::Null);
    let roles: Vec<&Value> = clients
        .as_array()
        .unwrap()
        .iter()
        .filter(|client| client["name"] == "vault2")
        .map(|client| &client["roles"])
        .collect();
    assert_eq!(roles, [&json!(["client", "device"])]);
    let said = rds.process.output();
    assert!(said.contains("smssh") && said.contains("http") && !said.contains("console"), "{said}");
    let refused = rds.ask("client.list", Value::Null).unwrap_err();
    assert!(refused.to_string().contains("on the server's host"), "{refused}");
}

#[test]
fn the_local_socket_is_for_its_owner_and_may_have_a_long_path() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("long".repeat(40)).join("state");
    let mut server = Daemon::start("server", &state);
    assert_eq!(server.must("status", Value::Null)["clients_enrolled"], 1);
    let mode = |name: &str| std::fs::metadata(state.join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode(""), mode("console.sock")), (0o700, 0o600));
    assert_eq!(server.stop(), 0, "{}", server.process.output());
    assert!(!state.join("console.sock").exists());
    let asked = output(&["status", "--state", state.to_str().unwrap()]);
    assert_eq!(asked.status.code(), Some(8));
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(said.contains("simsim server"), "{said}");
}

#[test]
fn a_host_obeys_one_server_until_it_is_told_to_obey_another() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let one = Daemon::start("server", &folder("one"));
    let two = Daemon::start("server", &folder("two"));
    let client = Daemon::start("client", &folder("client"));
    assert_done(&one.join("web", &client.state, &[]));
    one.until_connected("web");
    let refused = two.join("web", &client.state, &[]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--replace"), "{refused:?}");
    assert!(one.is_connected("web"));
    assert_done(&two.join("web", &client.state, &["--replace"]));
    two.until_connected("web");
    // The first server's session is cut when the listener looks again.
    until("the first server is shut out", || !one.is_connected("web"));
    // Started where the server does not look for it, it says so.
    drop(client);
    let elsewhere = Daemon::start("client", &folder("client"));
    assert!(elsewhere.process.output().contains("simsim client addresses"));
    // A server's own state is no client's.
    let refused = one.join("other", &two.state, &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn systemd_hears_when_a_daemon_is_ready_and_when_it_stops() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("notify");
    let heard = UnixDatagram::bind(&path).unwrap();
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 512];
        let length = heard.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let mut client = Daemon::start_with("client", &scratch.path().join("client"), &variables);
    assert!(next().contains("READY=1"));
    assert_eq!(client.stop(), 0);
    assert!(next().contains("STOPPING=1"));
}

#[test]
fn a_daemon_leaves_no_core_and_has_all_the_open_files_that_the_system_allows() {
    let scratch = tempfile::tempdir().unwrap();
    let client = Daemon::start("client", scratch.path());
    let limits = format!("/proc/{}/limits", client.process.id());
    let limits = std::fs::read_to_string(limits).unwrap();
    let row = |name: &str| -> Vec<String> {
        let row = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        row.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(row("Max core file size"), ["0", "0"]);
    let files = row("Max open files");
    assert_eq!(files[0], files[1], "{files:?}");
}

#[test]
fn a_second_signal_ends_at_once_what_a_first_one_cannot_end() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let hang = [("SIMSIM_FAILPOINTS", "datastore.pack_written=hang")];
    let mut server = Daemon::start_with("server", &folder("server"), &hang);
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    server.add_task("home", &server.own_name(), &tree);
    let job = server.must("task.run", json!({ "task": "home" }));
    server.process.wait_for_line("transfer opened", PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let shown = server.must("job.show", json!({ "job": job["job"] }));
    assert_eq!(shown["state"], "running", "the device does not hang: {shown:#}");
    server.process.terminate();
    server.process.wait_for_line("a second signal ends at once", PATIENCE).unwrap();
    let begun = Instant::now();
    assert_eq!(server.stop(), 130, "{}", server.process.output());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // The datastore opens as after a crash, and the next backup goes well.
    let mut again = Daemon::start("server", &folder("server"));
    let backup = again.backup("home");
    assert_eq!(backup["state"], "finished", "{backup:#}");
    assert_eq!(again.stop(), 0);
}

#[test]
fn a_code_may_come_over_standard_input_and_stays_out_of_the_list_of_processes() {
    use std::io::Write;
    use std::process::Stdio;

    let scratch = tempfile::tempdir().unwrap();
    let server = Daemon::start("server", &scratch.path().join("server"));
    let client = Daemon::start("client", &scratch.path().join("client"));
    let mut join = crate::hosts::simsim()
        .args(["client", "join", &format!("127.0.0.1:{}", server.port), "--name", "web", "--state"])
        .arg(&client.state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As people type it: small letters, spaces.
    let code = server.join_code("web").to_lowercase().replace('-', " ");
    writeln!(join.stdin.take().unwrap(), "{code}").unwrap();
    assert_done(&join.wait_with_output().unwrap());
    server.until_connected("web");
}

#[test]
fn joining_can_be_read_by_programs() {
    let scratch = tempfile::tempdir().unwrap();
    let server = Daemon::start("server", &scratch.path().join("server"));
    let joined = server.join("web", &scratch.path().join("web"), &["--json"]);
    assert_eq!(joined.status.code(), Some(0), "{joined:?}");
    let document: serde_json::Value = serde_json::from_slice(&joined.stdout).unwrap();
    crate::cli::documents::check("Joined", &document);
    assert_eq!((&document["name"], &document["obeyed_by"]), (&"web".into(), &().into()));
}
