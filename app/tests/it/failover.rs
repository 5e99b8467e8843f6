//! Restores and drills that meet damage, or a device that dies, and go on with another copy: real daemons.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simsim_testkit::compare_trees;

use crate::hosts::{Daemon, PATIENCE, server_and_rds, until};
use crate::scenarios::Who;
use crate::scenarios::points::{During, POINTS};

struct World {
    scratch: tempfile::TempDir,
    server: Daemon,
    far: Daemon,
    /// The client. It stands beside "far".
    _web: Daemon,
    source: PathBuf,
}

impl World {
    /// Task "home" of the client "web" in datastore "first" on the RDS "far", with a copy in "second" on the server.
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let (server, far) = server_and_rds(scratch.path(), 2);
        let web = Daemon::start("client", &folder("web"));
        crate::hosts::assert_done(&server.join("web", &web.state, &[]));
        server.until_connected("web");
        stand_in(&server, "hall", &["web", "far"]);
        let first = json!({ "name": "first", "node": "far", "path": folder("first") });
        server.must("datastore.create", first);
        server.must("datastore.create", json!({ "name": "second", "path": folder("second") }));
        let source = folder("source");
        fs::create_dir_all(source.join("sub/empty")).unwrap();
        for number in 0..6u64 {
            let noise = simsim_testkit::Rng::new(number + 1).bytes(2 << 20);
            fs::write(source.join(format!("sub/{number}")), noise).unwrap();
        }
        for number in 0..50u64 {
            let text = format!("file {number}\n").repeat(400);
            fs::write(source.join(format!("small-{number}")), text).unwrap();
        }
        let task = json!({
            "name": "home", "client": "web", "sources": [source], "datastore": "first"
        });
        server.must("task.add", task);
        let add = json!({ "name": "twice", "source": "first", "target": "second" });
        server.must("replication.add", add);
        let world = Self { scratch, server, far, _web: web, source };
        assert_eq!(world.server.backup("home")["state"], "finished");
        let copied = world.server.must("replication.run", json!({ "name": "twice" }));
        assert_eq!(world.server.ended(&copied)["state"], "finished");
        world
    }

    fn target(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn came_back(&self, target: &Path, what: &str) {
        let copy = target.join(self.source.strip_prefix("/").unwrap());
        assert_eq!(compare_trees(&self.source, &copy), [], "{what}");
    }
}

/// Brings hosts to a new location.
fn stand_in(server: &Daemon, location: &str, hosts: &[&str]) {
    server.must("location.add", json!({ "name": location }));
    for host in hosts {
        server.must("client.place", json!({ "name": host, "location": location }));
    }
}

/// Flips a byte in each pack of a datastore.
fn flipped(datastore: &Path) {
    for entry in fs::read_dir(datastore.join("packs")).unwrap() {
        for pack in fs::read_dir(entry.unwrap().path()).unwrap() {
            let path = pack.unwrap().path();
            let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            let at = file.metadata().unwrap().len() / 3;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        }
    }
}

#[test]
fn a_restore_takes_the_nearest_copy_of_which_no_damage_is_known() {
    let world = World::new();
    let from = |name: &str| {
        let request = json!({ "task": "home", "target": world.target(name) });
        let job = world.server.ended(&world.server.must("restore", request));
        assert_eq!(job["state"], "finished", "{job:#}");
        world.came_back(&world.target(name), name);
        job["datastore"].as_str().unwrap().to_owned()
    };
    assert_eq!(from("beside-the-original"), "first");
    stand_in(&world.server, "office", &["web", &world.server.own_name()]);
    assert_eq!(from("beside-the-copy"), "second");
    // One location around both is nearer than none.
    world.server.must("location.add", json!({ "name": "site" }));
    world.server.must("location.change", json!({ "name": "hall", "parent": "site" }));
    world.server.must("client.place", json!({ "name": "web", "location": "site" }));
    assert_eq!(from("on-the-site"), "first");
    flipped(&world.target("first"));
    let check = json!({ "datastore": "first", "depth": "structure" });
    world.server.ended(&world.server.must("datastore.verify", check));
    assert_eq!(from("known-to-be-damaged"), "second");
}

#[test]
fn a_restore_and_a_drill_that_meet_damage_have_the_rest_from_the_next_copy() {
    let world = World::new();
    flipped(&world.target("first"));
    let request = json!({ "task": "home", "target": world.target("both") });
    let job = world.server.ended(&world.server.must("restore", request));
    assert_eq!(
        (&job["state"], &job["datastore"]),
        (&json!("finished"), &json!("first")),
        "{job:#}"
    );
    world.came_back(&world.target("both"), "from both");
    let text = job.to_string();
    for said in ["datastore 'first' gave", "could not be had there", "datastore 'second' gave"] {
        assert!(text.contains(said), "{said}: {job:#}");
    }
    assert_eq!(job["progress"]["files_done"], 56, "each file once: {job:#}");
    let drill = json!({ "task": "home", "options": { "all": true } });
    let job = world.server.ended(&world.server.must("drill.run", drill));
    assert_eq!(job["state"], "finished", "{job:#}");
    assert!(job.to_string().contains("datastore 'second' gave"), "{job:#}");
    assert_eq!(world.server.must("drill.show", json!({ "drill": job["job"] }))["passed"], true);
    // Who names a copy means that one, and is told of its damage.
    let request = json!({ "task": "home", "target": world.target("one"), "copy": "first" });
    let job = world.server.ended(&world.server.must("restore", request));
    assert_eq!(job["state"], "finished_with_errors", "{job:#}");
    let drill = json!({ "task": "home", "options": { "all": true, "copy": "first" } });
    let job = world.server.ended(&world.server.must("drill.run", drill));
    assert_eq!(job["state"], "failed", "{job:#}");
}

#[test]
fn a_restore_whose_device_dies_midway_goes_on_with_the_next_copy() {
    let mut world = World::new();
    world.server.must("rate.add", json!({ "host": "far", "rates": ["2MB/s"] }));
    let request = json!({ "task": "home", "target": world.target("both") });
    let job = world.server.must("restore", request);
    until("some of it is there", || {
        let shown = world.server.must("job.show", json!({ "job": job["job"] }));
        assert!(shown["ended_unix_ms"].is_null(), "too fast: {shown:#}");
        shown["progress"]["files_done"].as_u64().unwrap() > 5
    });
    world.far.process.kill();
    let job = world.server.ended(&job);
    assert_eq!(job["state"], "finished", "{job:#}");
    world.came_back(&world.target("both"), "from both");
    let text = job.to_string();
    for said in ["datastore 'first' gave", "it was given up", "datastore 'second' gave"] {
        assert!(text.contains(said), "{said}: {job:#}");
    }
    assert_eq!(job["progress"]["files_done"], 56, "each file once: {job:#}");
}

impl World {
    /// Task "other" of the client in datastore "second" on the server, which stands beside it now, with a copy in "first"
    /// on the RDS.
    fn turned() -> Self {
        let mut world = Self::new();
        let task = json!({
            "name": "other", "client": "web", "sources": [world.source], "datastore": "second"
        });
        world.server.must("task.add", task);
        let add = json!({ "name": "back", "source": "second", "target": "first", "task": "other" });
        world.server.must("replication.add", add);
        assert_eq!(world.server.backup("other")["state"], "finished");
        let copied = world.server.must("replication.run", json!({ "name": "back" }));
        assert_eq!(world.server.ended(&copied)["state"], "finished");
        stand_in(&world.server, "office", &["web", &world.server.own_name()]);
        world.far.again_with(&[("SIMSIM_LOG", "info,simsim_device=debug")]);
        world.server.until_connected("far");
        world.server.until_connected("web");
        world
    }

    fn until_connected(&self) {
        self.server.until_connected("far");
        self.server.until_connected("web");
    }

    /// Tickets that the catalog remembers.
    fn tickets(&self) -> usize {
        let script = "import sqlite3, sys\n\
                      catalog = sqlite3.connect(sys.argv[1], timeout=30)\n\
                      print(catalog.execute('SELECT COUNT(*) FROM tickets').fetchone()[0])";
        let catalog = self.server.state.join("server/catalog.db");
        let mut python = std::process::Command::new("python3");
        let output = python.args(["-c", script]).arg(catalog).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// The server is started with this point armed, and dies there of the request.
    fn dies_at(&mut self, point: &str, verb: &str, request: Value) -> Value {
        self.server.again_with(&[("SIMSIM_FAILPOINTS", &format!("{point}=kill"))]);
        self.until_connected();
        let job = self.server.must(verb, request);
        assert!(self.server.process.wait(PATIENCE).is_some(), "{point}: it died");
        job
    }

    fn log(&self, job: &Value) -> String {
        let log = self.server.must("job.log", json!({ "job": job["job"] }));
        log["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line["line"])).collect()
    }
}

fn points(of: During) -> Vec<&'static str> {
    let points = POINTS.iter().filter(|one| one.3 == of && one.1 == Who::Server);
    let points: Vec<&str> = points.map(|one| one.0).collect();
    assert!(!points.is_empty());
    points
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_restore_withdraws_the_tickets_of_other_copies() {
    let mut world = World::turned();
    // Before the client has heard of it.
    for point in points(During::Failover) {
        let request = json!({ "task": "other", "target": world.target("never") });
        let job = world.dies_at(point, "restore", request);
        assert_eq!(world.tickets(), 1, "{point}: the copy on the RDS");
        world.server.again();
        world.until_connected();
        let job = world.server.ended(&job);
        assert_eq!(job["state"], "interrupted", "{point}: {job:#}");
        until(&format!("{point}: nothing is left of it"), || world.tickets() == 0);
        until(&format!("{point}: the device was told"), || {
            let said = world.far.process.output();
            said.lines()
                .any(|line| line.contains("ticket withdrawn") && line.contains("was_known=true"))
        });
    }
    // While the client restores, which goes on with the copy on the RDS.
    world.server.must("rate.add", json!({ "host": "web", "rates": ["2MB/s"] }));
    let request = json!({ "task": "other", "target": world.target("both") });
    let job = world.server.must("restore", request);
    until("some of it is there", || {
        let shown = world.server.must("job.show", json!({ "job": job["job"] }));
        assert!(shown["ended_unix_ms"].is_null(), "too fast: {shown:#}");
        shown["progress"]["files_done"].as_u64().unwrap() > 5
    });
    world.server.process.kill();
    assert_eq!(world.tickets(), 1);
    world.server.again();
    world.until_connected();
    let job = world.server.ended(&job);
    assert_eq!(job["state"], "finished", "{job:#}");
    world.came_back(&world.target("both"), "over the death of the server");
    until("nothing is left of it", || world.tickets() == 0);
}

#[test]
fn a_healing_whose_server_dies_goes_on_to_its_check() {
    let mut world = World::new();
    for point in points(During::Healing) {
        flipped(&world.target("first"));
        let check = json!({ "datastore": "first", "depth": "structure" });
        let job = world.server.ended(&world.server.must("datastore.verify", check.clone()));
        assert_eq!(job["state"], "finished_with_errors", "{point}: {job:#}");
        let heal = json!({ "name": "twice", "datastore": "first" });
        let job = world.dies_at(point, "replication.heal", heal);
        world.server.again();
        world.until_connected();
        let job = world.server.ended(&job);
        let log = world.log(&job);
        assert_eq!(job["state"], "finished", "{point}: {job:#}\n{log}");
        assert!(log.contains("checking datastore 'first'"), "{point}: {log}");
        assert_eq!(job["checked"]["damaged"], 0, "{point}: {job:#}");
        let job = world.server.ended(&world.server.must("datastore.verify", check));
        assert_eq!(job["state"], "finished", "{point}: {job:#}");
    }
}
