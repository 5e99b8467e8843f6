//! Hosts that nobody can dial call the server (access mode OUTBOUND), and everything rides on that
//! one connection.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use crate::hosts::{Daemon, PATIENCE, assert_done, differences, simsim, tree, until};

/// A server that takes calls, and a client that calls; it listens for nobody.
struct Desk {
    scratch: tempfile::TempDir,
    server: Daemon,
    client: ChildProcess,
    https: u16,
}

impl Desk {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (server, https) = server(scratch.path());
        let client = state(scratch.path(), "client");
        let outbound = format!("--outbound=127.0.0.1:{https}");
        assert_done(&server.join("web", &client, &[&outbound]));
        let client = calls(&client);
        server.until_connected("web");
        Self { scratch, server, client, https }
    }

    fn store(&self, name: &str, node: Option<&str>) {
        let place = self.scratch.path().join("store");
        let mut wish = json!({ "name": name, "path": place });
        if let Some(node) = node {
            wish["node"] = node.into();
        }
        self.server.must("datastore.create", wish);
        self.server.add_task("home", "web", &tree(self.scratch.path()));
    }

    fn saved(&self) -> Value {
        let backup = self.server.backup("home");
        assert_eq!(backup["state"], "finished", "{backup:#}\n{}", self.client.output());
        backup
    }

    fn restored(&self, name: &str) {
        let target = self.scratch.path().join(name);
        let wish = json!({ "task": "home", "target": target });
        let ended = self.server.ended(&self.server.must("restore", wish));
        assert_eq!(ended["state"], "finished", "{ended:#}");
        assert_eq!(differences(&self.scratch.path().join("tree"), &target), [""; 0]);
    }
}

fn state(scratch: &Path, name: &str) -> PathBuf {
    let state = scratch.join(name);
    std::fs::create_dir_all(&state).unwrap();
    state
}

fn server(scratch: &Path) -> (Daemon, u16) {
    let state = state(scratch, "server");
    let ports = simsim_testkit::free_ports(2);
    let settings = format!(
        "[listen]\nhttps = [\"127.0.0.1:{}\"]\ndrive = [\"127.0.0.1:{}\"]\n",
        ports[0],
        ports[1].min(65_000)
    );
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    (Daemon::start("server", &state), ports[0])
}

/// The client of this state, as the README starts it.
fn calls(state: &Path) -> ChildProcess {
    let mut command = simsim();
    command.arg("--state").arg(state).arg("client");
    let process = ChildProcess::start(&mut command);
    process.wait_for_line("is ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    process
}

fn client_of(server: &Daemon, name: &str) -> Value {
    let clients = server.must("client.list", Value::Null);
    clients.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

#[test]
fn a_host_without_a_listener_is_steered_backed_up_and_restored() {
    let desk = Desk::new();
    assert!(!desk.client.output().contains("listening"), "{}", desk.client.output());
    assert_eq!(client_of(&desk.server, "web")["access_mode"], "outbound");
    desk.store("main", None);
    desk.saved();
    desk.restored("by-default");
    for way in ["drive", "https"] {
        let choose = json!({ "client": "web", "choices": [way] });
        desk.server.must("interface.choose", choose);
        desk.saved();
        desk.restored(way);
    }
    let log = desk.server.process.output();
    let doors = |door: &str| log.contains(&format!("door=\"{door}\""));
    assert!(doors("http") && doors("drive") && doors("https"), "{log}");
}

#[test]
fn data_for_a_remote_device_is_relayed_by_the_server() {
    let desk = Desk::new();
    let device = Daemon::start("rds", &state(desk.scratch.path(), "rds"));
    let port = device.port.to_string();
    let listen = format!("127.0.0.1:{port}");
    assert_done(&desk.server.join("far", &device.state, &["--listen", &listen]));
    desk.server.until_connected("far");
    desk.store("remote", Some("far"));
    desk.saved();
    desk.restored("back");
    assert!(device.process.output().contains("transfer opened"));
}

#[test]
fn a_call_that_breaks_is_made_again_and_its_job_goes_on() {
    let mut desk = Desk::new();
    desk.store("main", None);
    desk.saved();
    let large = desk.scratch.path().join("tree/large");
    std::fs::write(&large, simsim_testkit::Rng::new(3).bytes(24 << 20)).unwrap();
    let job = desk.server.must("task.run", json!({ "task": "home" }));
    desk.server.again();
    desk.server.until_connected("web");
    let ended = desk.server.ended(&job);
    // What was acknowledged counts; what was not is said to have failed. Then the next one works.
    let state = ended["state"].as_str().unwrap();
    assert!(["finished", "failed", "interrupted"].contains(&state), "{ended:#}");
    desk.saved();
    desk.restored("after");
}

#[test]
fn who_does_not_call_is_told_of_and_what_is_missing_is_named() {
    let mut desk = Desk::new();
    desk.store("main", None);
    desk.client.kill();
    let trouble = || client_of(&desk.server, "web")["trouble"].as_str().map(str::to_owned);
    let has_not_called =
        |told: Option<String>| told.is_some_and(|told| told.contains("it has not called"));
    until("the loss is noticed", || has_not_called(trouble()));
    let trouble = trouble().unwrap();
    let way =
        format!("'web' does not reach '{}' on TCP port {}", desk.server.own_name(), desk.https);
    assert!(trouble.contains(&way) && trouble.contains("--outbound"), "{way}\n{trouble}");
}

#[test]
fn only_an_enrolled_host_of_this_access_mode_may_call() {
    let desk = Desk::new();
    // It is enrolled, and steered over SMSSH: a call is no way around that.
    let other = state(desk.scratch.path(), "other");
    let port = simsim_testkit::free_ports(1)[0];
    let listen = format!("127.0.0.1:{port}");
    assert_done(&desk.server.join("other", &other, &["--listen", &listen]));
    let settings = format!("[client]\noutbound = [\"127.0.0.1:{}\"]\n", desk.https);
    std::fs::write(other.join("simsim.toml"), settings).unwrap();
    let _calling = calls(&other);
    let refused = "a host that calls must be enrolled, with access mode OUTBOUND";
    desk.server.process.wait_for_line(refused, PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    assert!(!desk.server.is_connected("other"));
    // Until somebody who may says so.
    desk.server.must("client.set", json!({ "name": "other", "access_mode": "outbound" }));
    desk.server.until_connected("other");

    desk.server.must("client.revoke", json!({ "name": "web" }));
    until("a revoked host is cut off", || {
        desk.server.process.output().contains("its call has ended")
    });
    // It calls again, and is refused.
    let refusals = || desk.server.process.output().matches("a call was refused").count();
    let before = refusals();
    until("it has called again", || refusals() > before);
    assert_eq!(client_of(&desk.server, "web")["connected"], false);
}

#[test]
fn an_rds_passes_calls_on_and_takes_the_data_of_its_own_datastores_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let (server, https) = server(scratch.path());
    let far = state(scratch.path(), "far");
    let relay = simsim_testkit::free_ports(1)[0];
    let settings = format!(
        "[listen]\nhttps = [\"127.0.0.1:{relay}\"]\n[device]\nrelay_calls_to = [\"127.0.0.1:{https}\"]\n"
    );
    std::fs::write(far.join("simsim.toml"), settings).unwrap();
    let device = Daemon::start("rds", &far);
    let listen = format!("127.0.0.1:{}", device.port);
    assert_done(&server.join("far", &device.state, &["--listen", &listen]));
    server.until_connected("far");
    let client = state(scratch.path(), "client");
    assert_done(&server.join("web", &client, &[&format!("--outbound=127.0.0.1:{relay}")]));
    // Its own address was not seen. Through whom it joined is known before it has called.
    assert_eq!(client_of(&server, "web")["addresses"], json!([]));
    let plan = server.must("ports.plan", Value::Null);
    let rows = plan["rows"].as_array().unwrap();
    let call = rows.iter().find(|row| row["from"]["name"] == "web").unwrap();
    let way = (&call["row"], &call["to"]["name"], &call["from"]["anywhere"]);
    assert_eq!(way, (&"https".into(), &"far".into(), &true.into()));
    let client = calls(&client);
    server.until_connected("web");
    let desk = Desk { scratch, server, client, https };
    desk.store("remote", Some("far"));
    desk.saved();
    desk.restored("back");
    let log = device.process.output();
    assert!(log.contains("a call is passed on") && log.contains("door=\"https\""), "{log}");
    let plan = desk.server.must("ports.plan", Value::Null);
    let rows = plan["rows"].as_array().unwrap().iter();
    let mut ways: Vec<String> = rows
        .filter(|row| row["row"] == "https")
        .map(|row| format!("{} {}", row["from"]["name"], row["to"]["name"]))
        .collect();
    ways.sort();
    let own = desk.server.own_name();
    assert_eq!(ways, [format!("\"far\" \"{own}\""), "\"web\" \"far\"".to_owned()]);
}

/// The end of an error of 'client join'.
fn refused(output: &std::process::Output, status: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(words), "{words}\n{said}");
}

#[test]
fn a_host_that_calls_joins_where_it_calls_and_nowhere_else() {
    let scratch = tempfile::tempdir().unwrap();
    let (server, https) = server(scratch.path());
    let host = state(scratch.path(), "client");
    let join = |port: u16, code: &str, more: &[&str]| {
        let place = format!("127.0.0.1:{port}");
        let mut join = simsim();
        join.args(["client", "join", &place, "--code", code, "--name", "web", "--state"]);
        join.arg(&host).args(more).output().unwrap()
    };
    let code = server.outbound_code("web");
    let by_call = format!("--outbound=127.0.0.1:{https}");
    // The code is for hosts that call: the other way in is no way around that, and does not use it up.
    let other = join(server.port, &code, &[]);
    refused(&other, 2, "this join code is for a host that calls");
    // The port of SMSSH is not tried, though it is open and its address is given.
    let closed = simsim_testkit::free_ports(1)[0];
    let nowhere = join(server.port, &code, &[&format!("--outbound=127.0.0.1:{closed}")]);
    let way = |port: u16| format!("'web' does not reach '127.0.0.1' on TCP port {port} (https): ");
    refused(&nowhere, 8, &way(closed));
    let wrong = join(server.port, &code, &[&format!("--outbound=127.0.0.1:{}", server.port)]);
    refused(&wrong, 8, &way(server.port));
    assert_done(&join(server.port, &code, &[&by_call]));
    assert_eq!(client_of(&server, "web")["access_mode"], "outbound");
    assert_eq!(client_of(&server, "web")["addresses"], json!(["127.0.0.1"]));
    // It was used up, and no other is valid: the server says so, before it says who it is.
    refused(&join(server.port, &code, &[&by_call]), 4, "no join code is valid there");
    // Another server than the code's learns no more than that somebody came.
    let far = scratch.path().join("elsewhere");
    std::fs::create_dir_all(&far).unwrap();
    let (elsewhere, its_https) = self::server(&far);
    let _open = elsewhere.outbound_code("web");
    let code = server.outbound_code("web");
    let output = join(server.port, &code, &[&format!("--outbound=127.0.0.1:{its_https}")]);
    refused(&output, 4, "from the join code");
    let log = elsewhere.process.output();
    assert!(!log.contains("has joined"), "{log}");
}

#[test]
fn a_server_that_takes_no_calls_makes_no_codes_for_them() {
    let scratch = tempfile::tempdir().unwrap();
    let server = Daemon::start("server", &state(scratch.path(), "server"));
    let wish = json!({ "name": "web", "outbound": true });
    let error = server.ask("client.join-code", wish).unwrap_err().to_string();
    assert!(error.contains("listen.https"), "{error}");
}
