//! Migrations with real daemons: the server with its own datastore, and an RDS to which savesets move.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simsim_testkit::compare_trees;

use crate::hosts::{Daemon, PATIENCE, server_and_rds, until};
use crate::scenarios::Who;
use crate::scenarios::points::{During, POINTS};

/// One backup, and what it is to come back as.
struct Kept {
    saveset: Value,
    tree: PathBuf,
}

struct World {
    scratch: tempfile::TempDir,
    server: Daemon,
    far: Daemon,
    source: PathBuf,
    kept: Vec<Kept>,
}

impl World {
    /// Datastore "main" on the server, "archive" on the RDS "far", task "home", pool "years", migration "old" of
    /// all that is not the newest.
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let (server, far) = server_and_rds(scratch.path(), 1);
        server.must("datastore.create", json!({ "name": "main", "path": folder("main") }));
        let archive = json!({ "name": "archive", "node": "far", "path": folder("archive") });
        server.must("datastore.create", archive);
        let own = server.own_name();
        let source = folder("source");
        fs::create_dir_all(source.join("sub/empty")).unwrap();
        fs::write(source.join("text"), "a line of text\n".repeat(3000)).unwrap();
        let task = json!({
            "name": "home", "client": own, "sources": [source], "datastore": "main", "eol_days": 0
        });
        server.must("task.add", task);
        server.must(
            "replication.add",
            json!({ "name": "away", "source": "main", "target": "archive" }),
        );
        server.must("pool.add", json!({ "name": "years", "policy": "eol 3650 days" }));
        let old = json!({ "name": "old", "replication": "away", "pool": "years" });
        server.must("migration.add", old);
        Self { scratch, server, far, source, kept: Vec::new() }
    }

    fn saved(&mut self) {
        let number = self.kept.len() as u64;
        for part in 0..3 {
            let noise = simsim_testkit::Rng::new(10 * number + part + 1).bytes(1 << 20);
            fs::write(self.source.join(format!("sub/{part}")), noise).unwrap();
        }
        // Past the margin within which files count as too new to be trusted next time.
        std::thread::sleep(std::time::Duration::from_millis(80));
        let tree = self.scratch.path().join(format!("tree-{number}"));
        copied(&self.source, &tree);
        let job = self.server.backup("home");
        assert_eq!(job["state"], "finished", "{job:#}");
        self.kept.push(Kept { saveset: job["saveset"].clone(), tree });
    }

    fn run(&self, name: &str) -> Value {
        self.server.ended(&self.server.must("migration.run", json!({ "name": name })))
    }

    fn log(&self, job: &Value) -> String {
        let log = self.server.must("job.log", json!({ "job": job["job"] }));
        log["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line["line"])).collect()
    }

    #[track_caller]
    fn moved(&self, what: &str) -> Value {
        let job = self.run("old");
        assert_eq!(job["state"], "finished", "{what}: {job:#}\n{}", self.log(&job));
        job
    }

    fn life(&self, at: usize, datastore: &str) -> Value {
        let why = self.server.must("saveset.why", json!({ "saveset": self.kept[at].saveset }));
        let lives = why["lives"].as_array().unwrap().clone();
        lives.into_iter().find(|life| life["datastore"] == datastore).unwrap_or(Value::Null)
    }

    /// Every backup that was ever made comes back as it was, by itself.
    #[track_caller]
    fn all_come_back(&self, what: &str) {
        for (at, kept) in self.kept.iter().enumerate() {
            let target = self.scratch.path().join("restored");
            let _ = fs::remove_dir_all(&target);
            let request = json!({ "saveset": kept.saveset, "target": target });
            let job = self.server.ended(&self.server.must("restore", request));
            assert_eq!(job["state"], "finished", "{what}, backup {at}: {job:#}");
            let copy = target.join(self.source.strip_prefix("/").unwrap());
            assert_eq!(compare_trees(&kept.tree, &copy), [], "{what}, backup {at}");
        }
    }

    fn manifests(&self, datastore: &str) -> usize {
        let folder = self.scratch.path().join(datastore).join("manifests");
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    fn verified(&self, datastore: &str, what: &str) {
        let check = json!({ "datastore": datastore, "depth": "bytes", "keys_to_device": true });
        let job = self.server.ended(&self.server.must("datastore.verify", check));
        assert_eq!(job["state"], "finished", "{what}: {job:#}");
    }

    /// The newest is where it was made, all others are in the archive alone.
    #[track_caller]
    fn finished(&self, what: &str) {
        let old = self.kept.len() - 1;
        until(&format!("{what}: what was decided is done"), || self.manifests("main") == 1);
        for at in 0..old {
            until(&format!("{what}: it is written down"), || {
                self.life(at, "main")["state"] == "deleted"
            });
            let copy = self.life(at, "archive");
            assert_eq!(
                (&copy["state"], &copy["pool"], &copy["check"]),
                (&json!("kept"), &json!("years"), &json!("whole")),
                "{what}: {copy:#}"
            );
        }
        let newest = self.life(old, "main");
        assert_eq!(newest["state"], "kept", "{what}: {newest:#}");
        self.all_come_back(what);
    }
}

fn copied(from: &Path, to: &Path) {
    let output = std::process::Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Flips a bit in each pack of a datastore, in content.
fn flipped(datastore: &Path) {
    for entry in fs::read_dir(datastore.join("packs")).unwrap() {
        for pack in fs::read_dir(entry.unwrap().path()).unwrap() {
            let path = pack.unwrap().path();
            let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 500_000).unwrap();
            file.write_all_at(&[byte[0] ^ 4], 500_000).unwrap();
        }
    }
}

#[test]
fn what_is_moved_lies_in_its_new_place_alone_in_its_new_pool_and_comes_back() {
    let mut world = World::new();
    for _ in 0..3 {
        world.saved();
    }
    let view = world.server.must("migration.show", json!({ "name": "old" }));
    assert_eq!((&view["savesets"], &view["missing"]), (&json!(3), &json!(3)), "{view:#}");
    let job = world.moved("the first run");
    let log = world.log(&job);
    assert!(log.contains("it is the newest restorable saveset of its task"), "{log}");
    assert!(log.contains("2 originals are let go"), "{log}");
    world.finished("after the first run");
    let list = world.server.must("saveset.list", json!({}));
    let oldest = list.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&oldest["state"], &oldest["copies"][0]["datastore"], &oldest["copies"][0]["pool"]),
        (&json!("deleted"), &json!("archive"), &json!("years")),
        "{list:#}"
    );
    let why = world.life(0, "archive");
    assert!(why["explained"].as_str().unwrap().contains("The EOL of its pool"), "{why:#}");
    // What nobody needs in the old place goes, and what is left is sound.
    let collected = world.server.must("datastore.collect", json!({ "datastore": "main" }));
    assert_eq!(world.server.ended(&collected)["state"], "finished");
    world.verified("main", "the old place");
    world.verified("archive", "the new place");
    world.all_come_back("after the garbage is gone");
    // The next one makes the newest of now an old one.
    world.saved();
    assert_eq!(world.moved("a repeat")["kind"], "migrate");
    world.finished("after the repeat");
    let again = world.moved("with nothing to do");
    assert_eq!(again["progress"]["bytes_wire"], 0, "{again:#}");
    // Pool and way are in use.
    for (verb, name) in [("pool.remove", "years"), ("replication.remove", "away")] {
        let error = world.server.ask(verb, json!({ "name": name })).unwrap_err().to_string();
        assert!(error.contains("migration 'old'"), "{error}");
    }
    world.server.must("migration.remove", json!({ "name": "old" }));
    let error = world.server.ask("pool.remove", json!({ "name": "years" })).unwrap_err();
    assert!(error.to_string().contains("the copy of saveset"), "{error}");
}

#[test]
fn what_does_not_fit_is_locked_held_or_not_proven_stays_where_it_is() {
    let mut world = World::new();
    for _ in 0..4 {
        world.saved();
    }
    let other = json!({
        "name": "other", "client": world.server.own_name(), "sources": [world.source], "datastore": "main"
    });
    world.server.must("task.add", other);
    let filters = [
        json!({ "task": "other" }),
        json!({ "levels": ["diff"] }),
        json!({ "older_than_days": 1 }),
        json!({ "from_pool": "years" }),
    ];
    for (number, filter) in filters.iter().enumerate() {
        let mut migration = json!({ "name": format!("none-{number}"), "replication": "away" });
        migration.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let view = world.server.must("migration.add", migration);
        assert_eq!(view["savesets"], 0, "{view:#}");
    }
    for (wrong, why) in [
        (json!({ "name": "x", "replication": "nowhere" }), "nowhere"),
        (json!({ "name": "x", "replication": "away", "pool": "nowhere" }), "nowhere"),
        (json!({ "name": "old", "replication": "away" }), "old"),
        (json!({ "name": "x", "replication": "away", "client": "nobody" }), "nobody"),
        (json!({ "name": "x", "replication": "away", "task": "nothing" }), "no task 'nothing'"),
    ] {
        let error = world.server.ask("migration.add", wrong).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    // A check of the archive before anything is in it proves nothing of what comes later.
    world.verified("archive", "while it is empty");
    let copied = world.server.must("replication.run", json!({ "name": "away" }));
    assert_eq!(world.server.ended(&copied)["state"], "finished");
    assert_eq!(world.life(0, "archive")["check"], "not-yet");
    assert_eq!(world.life(0, "archive")["pool"], "default");

    let hold = json!({ "saveset": world.kept[0].saveset, "why": "case 7" });
    world.server.must("saveset.hold", hold);
    let until_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let lock =
        json!({ "saveset": world.kept[1].saveset, "until_unix_s": until_s.as_secs() + 86_400 });
    world.server.must("saveset.lock", lock);
    flipped(&world.scratch.path().join("archive"));
    let job = world.run("old");
    let log = world.log(&job);
    assert_eq!(job["state"], "finished_with_errors", "{job:#}\n{log}");
    for why in ["under legal hold", "it is locked until", "no check has proven its copy"] {
        assert!(log.contains(why), "{why}: {log}");
    }
    // A copy that is damaged lets nothing go.
    for at in 0..4 {
        assert_eq!(world.life(at, "archive")["check"], "damaged", "backup {at}");
        assert_eq!(world.life(at, "main")["state"], "kept", "backup {at}");
    }
    world.all_come_back("with a damaged copy");
    // Healed and proven anew it may go.
    let check = world.server.must("datastore.verify", json!({ "datastore": "archive" }));
    assert_eq!(world.server.ended(&check)["state"], "finished_with_errors");
    let heal = json!({ "name": "away", "datastore": "archive" });
    let healed = world.server.ended(&world.server.must("replication.heal", heal));
    assert_eq!(healed["state"], "finished", "{healed:#}");
    world.moved("after the healing");
    assert_eq!(world.life(2, "main")["state"], "deleted");
    for at in [0, 1, 3] {
        assert_eq!(world.life(at, "main")["state"], "kept", "backup {at}");
        assert_eq!(world.life(at, "archive")["check"], "whole", "backup {at}");
    }
    world.all_come_back("in the end");
}

#[test]
fn what_the_check_of_a_migration_finds_is_healed_without_another_check() {
    let mut world = World::new();
    for _ in 0..3 {
        world.saved();
    }
    let copied = world.server.must("replication.run", json!({ "name": "away" }));
    assert_eq!(world.server.ended(&copied)["state"], "finished");
    flipped(&world.scratch.path().join("archive"));
    let job = world.run("old");
    assert_eq!(job["state"], "finished_with_errors", "{job:#}\n{}", world.log(&job));
    // Nodes above what is damaged are not taken for whole: the healing brings all of it.
    let heal = json!({ "name": "away", "datastore": "archive" });
    let healed = world.server.ended(&world.server.must("replication.heal", heal));
    assert_eq!(healed["state"], "finished", "{healed:#}\n{}", world.log(&healed));
    assert_eq!(healed["checked"]["damaged"], 0, "{healed:#}");
    world.moved("after the healing");
    world.finished("after the healing");
    world.all_come_back("after the healing");
}

/// At no point has a backup no place: the manifest of the copy is there before that of the original goes.
fn nothing_is_lost(world: &World, what: &str) {
    assert!(world.manifests("main") >= 1, "{what}: the newest");
    let there = world.manifests("main") + world.manifests("archive");
    assert!(there >= world.kept.len(), "{what}: {there} manifests");
}

#[test]
fn a_server_killed_between_any_two_steps_of_a_migration_goes_on_with_it() {
    let mut world = World::new();
    world.saved();
    let points = POINTS.iter().filter(|one| one.3 == During::Migration && one.1 == Who::Server);
    let deletion = ["server.deletions_told", "server.deletions_answered"];
    for point in points.map(|one| one.0).chain(deletion) {
        world.saved();
        world.server.again_with(&[("SIMSIM_FAILPOINTS", &format!("{point}=kill"))]);
        world.server.until_connected("far");
        let job = world.server.must("migration.run", json!({ "name": "old" }));
        assert!(world.server.process.wait(PATIENCE).is_some(), "{point}: it died");
        nothing_is_lost(&world, point);
        world.server.again();
        world.server.until_connected("far");
        let job = world.server.ended(&job);
        let log = world.log(&job);
        assert_eq!(job["state"], "finished", "{point}: {job:#}\n{log}");
        world.finished(point);
    }
    world.verified("archive", "after all deaths");
}

#[test]
fn an_archive_killed_while_it_takes_or_proves_copies_loses_nothing_and_lets_nothing_go_early() {
    let mut world = World::new();
    world.saved();
    for point in [
        "device.segment_put=kill:2",
        "datastore.manifest_written=kill",
        "device.saveset_proven=kill:1",
    ] {
        world.saved();
        world.saved();
        let before = world.manifests("main");
        world.far.again_with(&[("SIMSIM_FAILPOINTS", point)]);
        world.server.until_connected("far");
        let job = world.server.must("migration.run", json!({ "name": "old" }));
        assert!(world.far.process.wait(PATIENCE).is_some(), "{point}: it died");
        world.far.again();
        world.server.until_connected("far");
        let job = world.server.ended(&job);
        assert_ne!(job["state"], "finished", "{point}: {job:#}");
        assert_eq!(world.manifests("main"), before, "{point}: nothing was let go");
        nothing_is_lost(&world, point);
        world.moved(point);
        world.finished(point);
    }
    world.verified("archive", "after all deaths");
}

#[test]
fn events_move_what_they_name_and_originals_may_stay() {
    let mut world = World::new();
    for _ in 0..2 {
        world.saved();
    }
    let change = json!({
        "name": "old", "replication": "away", "pool": "years", "keep_originals": true, "eol_days": 9000
    });
    world.server.must("migration.change", change);
    let event = json!({ "name": "monthly", "kind": "migration", "subjects": ["old"] });
    world.server.must("event.add", event);
    let error = world.server.ask("migration.remove", json!({ "name": "old" })).unwrap_err();
    assert!(error.to_string().contains("event 'monthly'"), "{error}");
    let started = world.server.must("event.run", json!({ "name": "monthly" }));
    let job = world.server.ended(&json!({ "job": started["runs"][0]["job"] }));
    assert_eq!((&job["state"], &job["kind"]), (&json!("finished"), &json!("migrate")), "{job:#}");
    assert_eq!((world.manifests("main"), world.manifests("archive")), (2, 2));
    let copy = world.life(0, "archive");
    let explained = copy["explained"].as_str().unwrap();
    assert!(explained.contains("Its own EOL keeps it until"), "{copy:#}");
    assert_eq!(world.life(0, "main")["eol_unix_s"], Value::Null, "the original has its own life");
    // An EOL that a person gives the backup is good for the copy only where it is the later one.
    let keep = |days: u32| {
        world.server.must("saveset.keep", json!({ "saveset": world.kept[0].saveset, "days": days }))
    };
    let own = copy["eol_unix_s"].clone();
    world.server.must("pool.change", json!({ "name": "default", "policy": "last 1" }));
    keep(100);
    assert_eq!(world.life(0, "archive")["eol_unix_s"], own);
    keep(20_000);
    assert!(world.life(0, "archive")["eol_unix_s"].as_i64() > own.as_i64());
}
