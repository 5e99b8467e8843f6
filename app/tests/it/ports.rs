//! What `simsim ports` says of ports that are not the registry's, against what jobs really dial.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hosts::{Daemon, assert_done, simsim, tree, until};

/// A server, and an RDS "far" with the datastore "main", whose drives listen at an address of their own.
struct Desk {
    scratch: tempfile::TempDir,
    server: Daemon,
    far: Daemon,
    own: String,
    /// The first port of three that are free: the base, and the ports of drives 1 and 2.
    base: u16,
}

impl Desk {
    fn new() -> Self {
        Self::with("")
    }

    /// With settings of the server.
    fn with(of_server: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let server = Daemon::start("server", &state(scratch.path(), "server", of_server));
        let base = simsim_testkit::free_ports(1)[0] - 1;
        let far = state(scratch.path(), "far", &drives_at(base));
        let far = Daemon::start("rds", &far);
        let listen = format!("127.0.0.1:{}", far.port);
        assert_done(&server.join("far", &far.state, &["--listen", &listen]));
        server.until_connected("far");
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "node": "far", "path": store }));
        let own = server.own_name();
        server.add_task("home", &own, &tree(scratch.path()));
        Self { scratch, server, far, own, base }
    }

    fn chooses(&self, choices: &[&str]) {
        let choose = json!({ "client": self.own, "choices": choices });
        self.server.must("interface.choose", choose);
    }

    fn given(&self, interfaces: &[&str]) {
        let set = json!({ "host": "far", "interfaces": interfaces });
        self.server.must("interface.set", set);
    }

    fn plan(&self) -> Value {
        self.server.must("ports.plan", Value::Null)
    }

    /// Ports and names of the planned ways to drives.
    fn planned(&self) -> Vec<(u64, Option<u64>, Vec<String>)> {
        let plan = self.plan();
        let rows = plan["rows"].as_array().unwrap().iter().filter(|row| row["row"] == "drive");
        rows.map(|row| {
            let places = row["places"].as_array().unwrap().iter();
            let hosts = places.map(|one| one["host"].as_str().unwrap().to_owned()).collect();
            (row["first_port"].as_u64().unwrap(), row["drive"].as_u64(), hosts)
        })
        .collect()
    }

    fn saved(&self) -> Value {
        let job = self.server.backup("home");
        assert_eq!(job["state"], "finished", "{job:#}\n{}", self.far.process.output());
        job
    }

    /// `--json` of a verb at a host.
    fn document(&self, of: &Daemon, arguments: &[&str]) -> Value {
        let mut command = simsim();
        let output = command.arg("--state").arg(&of.state).args(arguments).arg("--json").output();
        let output = output.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

/// Nobody dials the usual address there.
fn drives_at(base: u16) -> String {
    format!("[listen]\ndrive = [\"127.0.0.2:{base}\"]\n")
}

fn state(scratch: &Path, name: &str, settings: &str) -> PathBuf {
    let state = scratch.join(name);
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    state
}

#[test]
fn the_plan_has_the_ports_of_drives_where_they_are_and_none_where_nobody_listens() {
    let mut desk = Desk::new();
    let port = u64::from(desk.base) + 1;
    desk.chooses(&["drive"]);
    assert_eq!(desk.planned(), [(port, Some(1), vec![String::new()])]);

    // In a network of its own, by a name of its own.
    desk.given(&["drive://127.0.0.2"]);
    assert_eq!(desk.planned(), [(port, Some(1), vec!["127.0.0.2".to_owned()])]);
    let job = desk.saved();
    let log = desk.far.process.output();
    assert!(log.contains("door=\"drive\"") && job["drive"] == 1, "{log}");
    let open = desk.document(&desk.far, &["ports", "list"]);
    let open = open.as_array().unwrap().iter();
    let mut listens = open.filter(|one| one["local"] == format!("127.0.0.2:{port}"));
    assert_eq!(listens.next().unwrap()["row"], "drive");

    // Another door in front of it.
    let other = desk.base + 2;
    desk.given(&[&format!("drive://127.0.0.3:{other}")]);
    let planned = (u64::from(other), Some(1), vec!["127.0.0.3".to_owned()]);
    assert_eq!(desk.planned(), [planned]);

    // It listens for drives no more: a job would fail, and no firewall is opened for it.
    desk.given(&[]);
    std::fs::write(desk.far.state.join("simsim.toml"), "").unwrap();
    desk.far.again();
    until("the plan knows of it", || desk.planned().is_empty());
    let failed = desk.server.backup("home");
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let why = failed["error"]["message"].as_str().unwrap();
    let warnings = desk.plan()["warnings"].to_string();
    let said = "none of the chosen interfaces (drive) leads to the device 'far'";
    assert!(why.contains(said) && warnings.contains(said), "{why}\n{warnings}");
    assert!(warnings.contains("task 'home'"), "{warnings}");
    let other = desk.scratch.path().join("copies");
    desk.server.must("datastore.create", json!({ "name": "copies", "path": other }));
    let add = json!({ "name": "twice", "source": "copies", "target": "main" });
    desk.server.must("replication.add", add);
    let warnings = desk.plan()["warnings"].to_string();
    let said = "replication 'twice': drive 1 of 'far' has no port";
    assert!(warnings.contains(said) && desk.planned().is_empty(), "{warnings}");
}

#[test]
fn a_host_that_calls_has_no_ways_that_no_job_of_it_takes() {
    let https = simsim_testkit::free_ports(1)[0];
    let desk = Desk::with(&format!("[listen]\nhttps = [\"127.0.0.1:{https}\"]\n"));
    let web = state(desk.scratch.path(), "web", "");
    let outbound = format!("--outbound=127.0.0.1:{https}");
    assert_done(&desk.server.join("web", &web, &[&outbound]));
    let task = json!({ "name": "of-web", "client": "web", "sources": ["/x"], "datastore": "main" });
    desk.server.must("task.add", task);
    desk.given(&["ftp://127.0.0.1", "http://127.0.0.1"]);
    let of_web = || {
        let plan = desk.plan();
        let rows = plan["rows"].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["why"].to_string().contains("task 'of-web'"));
        let rows = rows.map(|row| row["row"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (rows, plan["warnings"].to_string())
    };
    let (rows, warnings) = of_web();
    assert_eq!(rows, ["http"], "{warnings}");
    let choose = json!({ "client": "web", "choices": ["ftp"] });
    desk.server.must("interface.choose", choose);
    let (rows, warnings) = of_web();
    assert_eq!(rows, [""; 0], "{warnings}");
    let said = "none of the chosen interfaces (ftp) leads to the device 'far'";
    assert!(warnings.contains(said) && warnings.contains("task 'of-web'"), "{warnings}");
}

fn findings(document: &Value, about: &str) -> Vec<(String, String, String)> {
    let all = document["findings"].as_array().unwrap().iter();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    all.filter(|one| one["about"] == about)
        .map(|one| (text(one, "what"), text(one, "grade"), text(one, "message")))
        .collect()
}

#[test]
fn a_check_looks_at_the_ports_of_drives_before_and_while_they_are_open() {
    let mut desk = Desk::new();
    let what = format!("drive 127.0.0.2:{}", desk.base + 1);
    let found = |desk: &Desk| {
        let document = desk.document(&desk.far, &["ports", "check", "--role", "rds"]);
        let one = findings(&document, "port").into_iter().find(|(port, ..)| *port == what);
        one.unwrap_or_else(|| panic!("nothing of {what}: {document:#}"))
    };
    until("the drive is open", || found(&desk).2.contains("open, by simsim rds"));
    assert_eq!(found(&desk).1, "good");
    assert_eq!(desk.far.stop(), 0);
    assert_eq!(found(&desk).2, "free");
    let taken = std::net::TcpListener::bind(("127.0.0.2", desk.base + 1)).unwrap();
    let (_, grade, message) = found(&desk);
    assert!(grade == "bad" && message.contains(&std::process::id().to_string()), "{message}");

    // With the port taken it goes on without it, says so once, and stands in no list.
    desk.far.again();
    desk.far.process.wait_for_line("a drive has no port here", crate::hosts::PATIENCE).unwrap();
    assert_eq!(found(&desk).1, "bad");
    drop(taken);
}

#[test]
fn a_host_that_calls_is_checked_without_ports_for_orders_and_with_the_names_that_it_dials() {
    let scratch = tempfile::tempdir().unwrap();
    let web = state(scratch.path(), "web", "[client]\noutbound = [\"localhost:1\"]\n");
    let check = |exit: i32| -> Value {
        let mut command = simsim();
        command.arg("--state").arg(&web).args(["ports", "check", "--role", "client", "--json"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let before = check(0);
    let mut command = simsim();
    command.arg("--state").arg(&web).arg("client");
    let client = simsim_testkit::ChildProcess::start(&mut command);
    client.wait_for_line("is ready", crate::hosts::PATIENCE).unwrap();
    for document in [before, check(0)] {
        let ports = findings(&document, "port");
        assert!(ports.iter().all(|(what, ..)| !what.starts_with("smssh")), "{ports:?}");
        assert!(ports.iter().any(|(what, ..)| what.starts_with("ftp-data")), "{ports:?}");
        let names = findings(&document, "name");
        let server = names.iter().find(|(what, ..)| what == "localhost");
        assert!(server.is_some_and(|(_, grade, _)| grade == "good"), "{names:?}");
    }
    std::fs::write(web.join("simsim.toml"), "[client]\noutbound = [\"no.such.invalid\"]\n")
        .unwrap();
    let names = findings(&check(3), "name");
    let lost = names.iter().find(|(what, ..)| what == "no.such.invalid").unwrap();
    assert!(lost.1 == "bad" && lost.2.contains("access mode OUTBOUND"), "{lost:?}");
}

/// On one host: what a job dials is tried, not what the server looked up; each interface by itself.
#[test]
fn a_probe_tries_what_a_job_dials_and_tells_of_each_interface() {
    let desk = Desk::new();
    desk.chooses(&["drive"]);
    let closed = simsim_testkit::free_ports(1)[0];
    let (dead, alive) = (format!("drive://127.0.0.3:{}", desk.base + 1), "drive://127.0.0.2");
    desk.given(&[&dead, alive, &format!("http://localhost:{closed}")]);
    desk.saved();
    let probe = || {
        let report = desk.document(&desk.server, &["ports", "probe"]);
        let rows = report["rows"].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["from"] == desk.own && row["to"] == "far");
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(row, "row"), text(row, "interface"), text(row, "state")))
            .filter(|(row, ..)| row != "smssh")
            .collect::<Vec<_>>()
    };
    let found = |row: &str, interface: &str, state: &str| {
        (row.to_owned(), interface.to_owned(), state.to_owned())
    };
    let expected = [
        found("http", "localhost", "refused"),
        found("drive", "127.0.0.3", "refused"),
        found("drive", "127.0.0.2", "open"),
    ];
    assert_eq!(probe(), expected, "one that is open does not hide the other");
}

/// By its own word, whatever the addresses are under which the server knows it.
#[test]
fn a_relay_is_known_though_no_address_of_it_is_the_one_that_it_calls_from() {
    let scratch = tempfile::tempdir().unwrap();
    let ports = simsim_testkit::free_ports(2);
    let (https, relay) = (ports[0], ports[1]);
    let listens = format!("[listen]\nhttps = [\"127.0.0.1:{https}\"]\n");
    let server = Daemon::start("server", &state(scratch.path(), "server", &listens));
    let relays = format!(
        "[listen]\nhttps = [\"127.0.0.1:{relay}\"]\n\
         [device]\nrelay_calls_to = [\"127.0.0.1:{https}\"]\n"
    );
    let far = Daemon::start("rds", &state(scratch.path(), "far", &relays));
    assert_done(&server.join("far", &far.state, &["--listen", &format!("127.0.0.1:{}", far.port)]));
    server.until_connected("far");
    // It calls from 127.0.0.1.
    server.until_connected("far");
    let web = state(scratch.path(), "web", "");
    assert_done(&server.join("web", &web, &[&format!("--outbound=127.0.0.1:{relay}")]));
    let before = server.must("client.list", Value::Null);
    let mut command = simsim();
    command.arg("--state").arg(&web).arg("client");
    let client = simsim_testkit::ChildProcess::start(&mut command);
    client.wait_for_line("is ready", crate::hosts::PATIENCE).unwrap();
    server.until_connected("web");
    let plan = server.must("ports.plan", Value::Null);
    let rows = plan["rows"].as_array().unwrap().iter().filter(|row| row["row"] == "https");
    let name = |end: &Value| end["name"].as_str().unwrap().to_owned();
    let mut ways: Vec<(String, String)> =
        rows.map(|row| (name(&row["from"]), name(&row["to"]))).collect();
    ways.sort();
    let way = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(ways, [way("far", &server.own_name()), way("web", "far")]);
    let of_web = |list: &Value| {
        let list = list.as_array().unwrap().iter();
        list.clone().find(|one| one["name"] == "web").unwrap()["addresses"].clone()
    };
    let after = server.must("client.list", Value::Null);
    assert_eq!(of_web(&after), of_web(&before), "the relay's address is not the client's");
}

#[test]
fn ways_are_tried_by_themselves_and_what_was_found_outlives_the_server() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("server");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("simsim.toml"), "[server]\nprobe_interval_s = 1\n").unwrap();
    let mut server = Daemon::start("server", &state);
    let far = Daemon::start("rds", &scratch.path().join("far"));
    let listen = format!("127.0.0.1:{}", far.port);
    assert_done(&server.join("far", &far.state, &["--listen", &listen]));
    let addresses = json!({ "name": "far", "addresses": ["127.0.0.1"], "listen_port": far.port });
    server.must("client.addresses", addresses);
    server.until_connected("far");
    let control = |server: &Daemon| {
        let kept = server.must("ports.last", Value::Null);
        let rows = kept["rows"].as_array().unwrap().iter();
        rows.clone().find(|row| row["row"] == "smssh" && row["to"] == "far").cloned()
    };
    until("the way is found open", || {
        control(&server).is_some_and(|row| row["state"] == "open" && row["round_trip_us"].is_u64())
    });
    // Only when somebody asks, from now on.
    server.stop();
    fs::write(state.join("simsim.toml"), "[server]\nprobe_interval_s = 0\n").unwrap();
    server.again();
    let before = control(&server).unwrap();
    assert!(before["tried_unix_ms"].as_i64().unwrap() > 1_700_000_000_000, "{before:#}");
    server.must("ports.probe", json!({ "host": "far" }));
    let after = control(&server).unwrap();
    assert!(after["tried_unix_ms"].as_i64() > before["tried_unix_ms"].as_i64(), "{after:#}");
}
