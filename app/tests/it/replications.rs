//! Copies between datastores with real daemons: the server with its own datastore, and an RDS.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use simsim_testkit::{ChildProcess, compare_trees};

use crate::hosts::{Daemon, PATIENCE, assert_done, server_and_rds, simsim};

struct World {
    scratch: tempfile::TempDir,
    server: Daemon,
    far: Daemon,
    source: PathBuf,
    own: String,
}

impl World {
    /// Datastore "main" on the server with drive 1, "copies" on the RDS "far" with drive 2, task "home".
    fn new(pull: bool) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let (server, far) = server_and_rds(scratch.path(), 1);
        server.must("datastore.create", json!({ "name": "main", "path": folder("main") }));
        let copies = json!({ "name": "copies", "node": "far", "path": folder("copies") });
        server.must("datastore.create", copies);
        let own = server.must("status", Value::Null)["own_client"].as_str().unwrap().to_owned();
        let source = folder("source");
        fs::create_dir_all(source.join("sub/empty")).unwrap();
        for number in 0..6u64 {
            fs::write(source.join(format!("sub/{number}")), noise(3 << 20, number)).unwrap();
        }
        fs::write(source.join("text"), "a line of text\n".repeat(3000)).unwrap();
        let task = json!({
            "name": "home", "client": own, "sources": [source], "datastore": "main"
        });
        server.must("task.add", task);
        let add = json!({ "name": "twice", "source": "main", "target": "copies", "pull": pull });
        server.must("replication.add", add);
        Self { scratch, server, far, source, own }
    }

    fn saved(&self) -> Value {
        let job = self.server.backup("home");
        assert_eq!(job["state"], "finished", "{job:#}");
        job["saveset"].clone()
    }

    fn run(&self) -> Value {
        self.server.ended(&self.server.must("replication.run", json!({ "name": "twice" })))
    }

    fn copied(&self, what: &str) -> Value {
        let job = self.run();
        assert_eq!(job["state"], "finished", "{what}: {job:#}\n{}", self.log(&job));
        job
    }

    fn log(&self, job: &Value) -> String {
        let log = self.server.must("job.log", json!({ "job": job["job"] }));
        log["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line["line"])).collect()
    }

    fn restored(&self, copy: Option<&str>, what: &str) -> Value {
        let target = self.scratch.path().join("restored");
        let _ = fs::remove_dir_all(&target);
        let request = json!({ "task": "home", "target": target, "copy": copy });
        let job = self.server.ended(&self.server.must("restore", request));
        assert_eq!(job["state"], "finished", "{what}: {job:#}");
        let copy = target.join(self.source.strip_prefix("/").unwrap());
        assert_eq!(compare_trees(&self.source, &copy), [], "{what}");
        job
    }

    fn savesets(&self) -> Value {
        self.server.must("saveset.list", json!({}))
    }

    fn far_armed(&mut self, points: &str) {
        self.far.process.kill();
        let mut command = simsim();
        command.env("SIMSIM_FAILPOINTS", points).arg("--state").arg(&self.far.state).arg("rds");
        command.args(["--listen", &format!("127.0.0.1:{}", self.far.port)]);
        command.args(["--http", "127.0.0.1:0"]);
        self.far.process = ChildProcess::start(&mut command);
        let ready = self.far.process.wait_for_line("is ready", PATIENCE);
        ready.unwrap_or_else(|error| panic!("{error}"));
        self.server.until_connected("far");
    }

    /// Flips a bit of the largest pack. Where, and what it was before.
    fn damaged(&self, datastore: &str) -> (PathBuf, Vec<u8>) {
        let mut packs: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(self.scratch.path().join(datastore).join("packs")).unwrap() {
            let found = fs::read_dir(entry.unwrap().path()).unwrap();
            packs.extend(found.map(|pack| pack.unwrap().path()));
        }
        let pack = packs.into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
        let before = fs::read(&pack).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&pack).unwrap();
        file.write_all_at(&[before[500_000] ^ 4], 500_000).unwrap();
        (pack, before)
    }

    fn verified(&self, datastore: &str, what: &str) {
        let check = json!({ "datastore": datastore, "depth": "bytes", "keys_to_device": true });
        let job = self.server.ended(&self.server.must("datastore.verify", check));
        assert_eq!(job["state"], "finished", "{what}: {job:#}");
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    simsim_testkit::Rng::new(seed + 1).bytes(length)
}

#[test]
fn a_copy_is_listed_with_its_backup_and_read_where_it_is_asked_for() {
    for pull in [false, true] {
        let world = World::new(pull);
        world.saved();
        let job = world.copied("the first run");
        assert!(job["progress"]["bytes_wire"].as_u64().unwrap() > 18 << 20, "{job:#}");
        let list = world.savesets();
        assert_eq!(list.as_array().unwrap().len(), 1, "{list:#}");
        assert_eq!(
            (&list[0]["datastore"], &list[0]["copies"][0]["datastore"]),
            (&json!("main"), &json!("copies"))
        );
        assert_eq!(world.restored(Some("copies"), "from the copy")["datastore"], "copies");
        assert_eq!(world.restored(None, "by itself")["datastore"], "main");
        world.verified("copies", "the copies");
        let saveset = list[0]["saveset"].clone();
        let check = json!({
            "saveset": saveset, "datastore": "copies", "depth": "bytes", "keys_to_device": true
        });
        let one = world.server.ended(&world.server.must("datastore.verify", check));
        assert_eq!((&one["state"], &one["datastore"]), (&json!("finished"), &json!("copies")));
        let wrong = json!({ "saveset": saveset, "copy": "elsewhere" });
        let error = world.server.ask("restore", wrong).unwrap_err().to_string();
        assert!(error.contains("it lies in main, copies"), "{error}");
        let again = world.copied("nothing new");
        assert_eq!(again["progress"]["bytes_wire"], 0, "{again:#}");
        let took =
            again["ended_unix_ms"].as_i64().unwrap() - again["started_unix_ms"].as_i64().unwrap();
        assert!(took <= 1000, "a repeat with nothing new took {took} ms");
    }
}

#[test]
fn what_is_limited_to_a_task_copies_nothing_else_and_goes_on_as_it_is_told() {
    let world = World::new(false);
    world.saved();
    let other = world.scratch.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "content").unwrap();
    let task = json!({
        "name": "other", "client": world.own, "sources": [other], "datastore": "main"
    });
    world.server.must("task.add", task);
    assert_eq!(world.server.backup("other")["state"], "finished");
    let add = json!({
        "name": "some", "source": "main", "target": "copies", "task": "other",
        "limits": ["20MB/s", "mon-fri 08:00-18:00 5MB/s"]
    });
    let view = world.server.must("replication.add", add);
    assert_eq!((&view["savesets"], &view["missing"]), (&json!(1), &json!(1)), "{view:#}");
    let run = world.server.must("replication.run", json!({ "name": "some" }));
    let job = world.server.ended(&run);
    assert_eq!(job["state"], "finished", "{job:#}");
    let list = world.savesets();
    for saveset in list.as_array().unwrap() {
        let copies = saveset["copies"].as_array().unwrap().len();
        assert_eq!(copies, usize::from(saveset["task"] == "other"), "{list:#}");
    }
    for (filter, why) in [("task", "no task 'nix'"), ("client", "no client 'nix'")] {
        let add = json!({ "name": "bad", "source": "main", "target": "copies", filter: "nix" });
        let refused = world.server.ask("replication.add", add).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let held = world.server.ask("task.delete", json!({ "name": "other" })).unwrap_err();
    assert!(held.to_string().contains("used by replication 'some'"), "{held}");
    for (limits, why) in [(["fast"], "is no rate"), (["1B/s"], "the least")] {
        let add = json!({
            "name": "bad", "source": "main", "target": "copies", "limits": limits
        });
        let error = world.server.ask("replication.add", add).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let into_itself = json!({ "name": "bad", "source": "main", "target": "main" });
    assert!(world.server.ask("replication.add", into_itself).is_err());
}

/// The target dies at several points of taking a copy; each costs the patience of the one who sends. Started again, it has a whole copy or none, and the
/// next run makes it whole.
#[test]
fn a_target_killed_while_it_takes_a_copy_has_it_whole_or_not_at_all() {
    let mut world = World::new(false);
    for point in [
        "device.segment_put=kill:3",
        "datastore.pack_renamed=kill",
        "datastore.manifest_copied=kill",
        "datastore.manifest_written=kill",
    ] {
        fs::write(world.source.join("sub/changed"), noise(5 << 20, point.len() as u64 * 77))
            .unwrap();
        let saveset = world.saved();
        world.far_armed(point);
        let job = world.server.must("replication.run", json!({ "name": "twice" }));
        assert!(world.far.process.wait(PATIENCE).is_some(), "{point}: it died");
        // It comes back at once, and knows nothing of the transfer.
        world.far_armed("");
        let job = world.server.ended(&job);
        assert_ne!(job["state"], "finished", "{point}: {job:#}");
        let last = |list: &Value| {
            let list = list.as_array().unwrap().clone();
            list.into_iter().find(|one| one["saveset"] == saveset).unwrap()
        };
        world.copied(point);
        assert_eq!(last(&world.savesets())["copies"][0]["datastore"], "copies", "{point}");
        world.restored(Some("copies"), point);
    }
    world.verified("copies", "after all deaths");
}

/// A flipped bit on either side, found by a check, made good by the other side.
#[test]
fn a_flipped_bit_is_healed_from_the_other_datastore() {
    for damaged in ["main", "copies"] {
        let world = World::new(false);
        world.saved();
        world.copied("before the damage");
        let (pack, before) = world.damaged(damaged);
        let check = json!({ "datastore": damaged });
        let found = world.server.ended(&world.server.must("datastore.verify", check));
        assert_eq!(found["state"], "finished_with_errors", "{damaged}: {found:#}");
        let heal = json!({ "name": "twice", "datastore": damaged });
        let job = world.server.ended(&world.server.must("replication.heal", heal));
        assert_eq!(job["state"], "finished", "{damaged}: {job:#}\n{}", world.log(&job));
        assert_eq!(
            (&job["kind"], &job["problems"]),
            (&json!("heal"), &json!(1)),
            "a note: {job:#}"
        );
        assert_eq!(fs::read(&pack).unwrap(), before, "{damaged}: byte for byte");
        world.verified(damaged, damaged);
        world.restored(Some(damaged), damaged);
    }
}

/// Nobody has checked: a restore meets the damage, takes the rest from the copy, and the first healing brings it.
#[test]
fn what_a_restore_finds_damaged_is_healed_at_once() {
    let world = World::new(false);
    world.saved();
    world.copied("before the damage");
    let (pack, before) = world.damaged("main");
    let target = world.scratch.path().join("half");
    let job = world.server.ended(
        &world.server.must("restore", json!({ "task": "home", "target": target, "copy": "main" })),
    );
    assert_ne!(job["state"], "finished", "{job:#}");
    let heal = json!({ "name": "twice", "datastore": "main" });
    let job = world.server.ended(&world.server.must("replication.heal", heal));
    assert_eq!(job["state"], "finished", "{job:#}\n{}", world.log(&job));
    assert_eq!(fs::read(&pack).unwrap(), before, "byte for byte");
    world.verified("main", "main");
    world.restored(Some("main"), "main");
}

/// The catalog is lost: one backup comes back as one, whichever datastore is looked at first.
#[test]
fn a_lost_catalog_knows_copies_for_what_they_are() {
    for first in ["main", "copies"] {
        let mut world = World::new(false);
        let saveset = world.saved();
        world.copied("before the loss");
        assert_eq!(world.server.stop(), 0);
        for file in fs::read_dir(world.server.state.join("server")).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("catalog.db") || name == "audit.head" {
                fs::remove_file(file.path()).unwrap();
            }
        }
        world.server.again();
        assert_done(&world.server.join("far", &world.far.state, &[]));
        world.server.until_connected("far");
        let folder = |name: &str| world.scratch.path().join(name);
        world.server.must("datastore.attach", json!({ "path": folder("main") }));
        let copies = json!({ "path": folder("copies"), "node": "far" });
        world.server.must("datastore.attach", copies);
        let second = if first == "main" { "copies" } else { "main" };
        for name in [first, second, first] {
            let reply = world.server.must("catalog.rebuild", json!({ "datastore": name }));
            let damaged = &reply["datastores"][0]["damaged"];
            assert_eq!(*damaged, json!([]), "{first} first: {reply:#}");
        }
        let list = world.savesets();
        assert_eq!(list.as_array().unwrap().len(), 1, "{first} first: {list:#}");
        assert_eq!((&list[0]["saveset"], &list[0]["task"]), (&saveset, &json!("home")));
        assert_eq!(list[0]["datastore"], "main", "{first} first: {list:#}");
        assert_eq!(list[0]["copies"][0]["datastore"], "copies", "{first} first: {list:#}");
        world.restored(Some("copies"), first);
    }
}
