//! Scrubs with real daemons: budgets, damage that is found in a round and healed, and deaths.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hosts::{Daemon, PATIENCE, server_and_rds, until};

const BACKUPS: u64 = 6;

struct World {
    scratch: tempfile::TempDir,
    server: Daemon,
    far: Daemon,
}

impl World {
    /// Some packs in "main" on the server, and copies of them in "copies" on the RDS "far".
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let (server, far) = server_and_rds(scratch.path(), 1);
        server.must("datastore.create", json!({ "name": "main", "path": folder("main") }));
        let copies = json!({ "name": "copies", "node": "far", "path": folder("copies") });
        server.must("datastore.create", copies);
        let source = folder("source");
        fs::create_dir(&source).unwrap();
        let own = server.own_name();
        let task = json!({
            "name": "home", "client": own, "sources": [source], "datastore": "main"
        });
        server.must("task.add", task);
        server.must(
            "replication.add",
            json!({ "name": "twice", "source": "main", "target": "copies" }),
        );
        let world = Self { scratch, server, far };
        for number in 0..BACKUPS {
            let noise = simsim_testkit::Rng::new(number + 1).bytes(1 << 20);
            fs::write(source.join(format!("part-{number}")), noise).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(80));
            assert_eq!(world.server.backup("home")["state"], "finished");
            let run = world.server.must("replication.run", json!({ "name": "twice" }));
            assert_eq!(world.server.ended(&run)["state"], "finished");
        }
        world
    }

    fn packs(&self, datastore: &str) -> Vec<PathBuf> {
        let mut packs: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(self.scratch.path().join(datastore).join("packs")).unwrap() {
            let found = fs::read_dir(entry.unwrap().path()).unwrap();
            packs.extend(found.map(|pack| pack.unwrap().path()));
        }
        packs.sort();
        packs
    }

    fn device(&self, datastore: &str) -> Value {
        let all = self.server.must("datastore.list", Value::Null);
        let found = all.as_array().unwrap().iter().find(|one| one["name"] == datastore);
        found.unwrap()["device"].clone()
    }

    fn scrub(&self, datastore: &str, budget: Value) -> Value {
        let request = json!({ "datastore": datastore, "budget": budget });
        self.server.ended(&self.server.must("datastore.scrub", request))
    }

    fn log(&self, job: &Value) -> String {
        let log = self.server.must("job.log", json!({ "job": job["job"] }));
        log["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line["line"])).collect()
    }

    fn heals(&self) -> Vec<Value> {
        let jobs = self.server.must("job.list", json!({}));
        let jobs = jobs.as_array().unwrap().iter();
        jobs.filter(|job| job["kind"] == "heal").cloned().collect()
    }

    fn healed(&self, pack: &Path, before: &[u8], what: &str) {
        until(&format!("{what}: it is healed"), || {
            let heals = self.heals();
            !heals.is_empty() && heals.iter().all(|job| !job["ended_unix_ms"].is_null())
        });
        for job in self.heals() {
            assert_eq!(job["state"], "finished", "{what}: {job:#}\n{}", self.log(&job));
        }
        assert_eq!(fs::read(pack).unwrap(), before, "{what}: byte for byte");
    }
}

fn flipped(pack: &Path) -> Vec<u8> {
    let before = fs::read(pack).unwrap();
    let file = fs::OpenOptions::new().write(true).open(pack).unwrap();
    file.write_all_at(&[before[300_000] ^ 4], 300_000).unwrap();
    before
}

#[test]
fn rot04_damage_is_found_within_a_round_and_healed_and_since_when_all_was_checked_is_shown() {
    let world = World::new();
    let packs = world.packs("copies");
    let count = packs.len() as u64;
    assert!(count >= BACKUPS, "{count}");
    let device = world.device("copies");
    assert_eq!(
        (&device["packs"], &device["packs_never_checked"], &device["checked_since_unix_ms"]),
        (&json!(count), &json!(count), &Value::Null)
    );
    let before = flipped(&packs[2]);
    let mut found = 0;
    for run in 0..count {
        if world.device("copies")["packs_never_checked"] == 0 {
            break;
        }
        let job = world.scrub("copies", json!({ "bytes_max": 2_500_000 }));
        let log = world.log(&job);
        assert!(log.contains(&format!("of {count} packs")), "run {run}: {log}");
        let read = job["progress"]["bytes_read"].as_u64().unwrap();
        assert!(read > 0 && read <= 2_500_000, "run {run}: {read} bytes");
        if job["state"] == "finished_with_errors" {
            found += 1;
            assert!(log.contains("jobs that heal it from copies are queued"), "{log}");
            world.healed(&packs[2], &before, "found");
        } else {
            assert_eq!(job["state"], "finished", "run {run}: {job:#}");
        }
    }
    assert_eq!(found, 1, "once in a round");
    let device = world.device("copies");
    assert_eq!(device["packs_never_checked"], 0, "{device:#}");
    let since = device["checked_since_unix_ms"].as_i64().unwrap();
    assert!(since > 1_700_000_000_000, "{device:#}");
    // It says nothing about the whole; the check at the end of the healing does.
    let list = world.server.must("saveset.list", json!({}));
    let why = world.server.must("saveset.why", json!({ "saveset": list[0]["saveset"] }));
    for life in why["lives"].as_array().unwrap() {
        let check = if life["datastore"] == "copies" { "whole" } else { "not-yet" };
        assert_eq!(life["check"], check, "{life:#}");
    }
    // By an event, and without a budget everything.
    let event = json!({
        "name": "nightly", "kind": "verification", "subjects": ["main"], "scrub": { "minutes_max": 60 }
    });
    world.server.must("event.add", event);
    let started = world.server.must("event.run", json!({ "name": "nightly" }));
    let job = world.server.ended(&json!({ "job": started["runs"][0]["job"] }));
    assert_eq!((&job["state"], &job["kind"]), (&json!("finished"), &json!("scrub")), "{job:#}");
    assert_eq!(world.device("main")["packs_never_checked"], 0);
    for (wrong, why) in [
        (json!({ "name": "x", "kind": "backup", "all": true, "scrub": {} }), "only verifications"),
        (
            json!({ "name": "x", "kind": "verification", "all": true, "scrub": { "bytes_max": 0 } }),
            "checks nothing",
        ),
    ] {
        let error = world.server.ask("event.add", wrong).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_device_killed_in_a_scrub_forgets_nothing_that_was_found() {
    let mut world = World::new();
    let packs = world.packs("copies");
    let damaged: Vec<(PathBuf, Vec<u8>)> =
        packs.iter().map(|pack| (pack.clone(), flipped(pack))).take(2).collect();
    world.far.again_with(&[("SIMSIM_FAILPOINTS", "datastore.scrubbed=kill:1")]);
    world.server.until_connected("far");
    let job = world.server.must("datastore.scrub", json!({ "datastore": "copies" }));
    assert!(world.far.process.wait(PATIENCE).is_some(), "it died");
    world.far.again();
    world.server.until_connected("far");
    assert_ne!(world.server.ended(&job)["state"], "finished");
    // The next runs find both, wherever the first one ended.
    let mut errors = 0;
    for _ in 0..packs.len() {
        let job = world.scrub("copies", json!({ "bytes_max": 3_000_000 }));
        errors += u64::from(job["state"] == "finished_with_errors");
        if world.device("copies")["packs_never_checked"] == 0 {
            break;
        }
    }
    assert!(errors > 0);
    for (pack, before) in &damaged {
        world.healed(pack, before, "after the death");
    }
    let check = world.server.must("datastore.verify", json!({ "datastore": "copies" }));
    assert_eq!(world.server.ended(&check)["state"], "finished");
}

#[test]
fn what_is_damaged_is_listed_with_what_puts_it_right_until_it_is_healed() {
    let world = World::new();
    let packs = world.packs("main");
    let damage =
        |store: Value| world.server.must("datastore.damage", json!({ "datastore": store }));
    assert_eq!(damage(Value::Null), json!([]));
    flipped(&packs[1]);
    let list = world.server.must("saveset.list", json!({}));
    let check = || -> usize {
        let of = |one: &Value| {
            let request = json!({ "saveset": one["saveset"], "depth": "bytes" });
            world.server.ended(&world.server.must("datastore.verify", request))["state"].clone()
        };
        list.as_array().unwrap().iter().filter(|one| of(one) != "finished").count()
    };
    let wrong = check();
    assert!(wrong > 0);
    let found = damage(json!("main"));
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), wrong);
    for one in found {
        crate::cli::documents::check("Damage", one);
        assert_eq!((&one["datastore"], &one["is_copy"]), (&json!("main"), &json!(false)));
        assert_eq!(one["sound_in"], json!(["copies"]), "{one:#}");
        assert_eq!(one["healed_by"], json!(["twice"]), "{one:#}");
    }
    assert_eq!(damage(json!("copies")), json!([]), "the copies are sound");
    let heal = json!({ "name": "twice", "datastore": "main" });
    let job = world.server.ended(&world.server.must("replication.heal", heal));
    assert_eq!(job["state"], "finished", "{job:#}");
    // The check at its end counts.
    assert_eq!(damage(Value::Null), json!([]));
    assert_eq!(check(), 0);
    assert_eq!(damage(Value::Null), json!([]));
}

#[test]
fn a_check_of_all_names_each_saveset_on_what_is_damaged_and_none_goes_before_its_time() {
    let world = World::new();
    let list = world.server.must("saveset.list", json!({}));
    let ids = |list: &Value| -> Vec<String> {
        let of = |one: &Value| one["saveset"].as_str().unwrap().to_owned();
        let mut ids: Vec<String> = list.as_array().unwrap().iter().map(of).collect();
        ids.sort_unstable();
        ids
    };
    // The newest of a task stays whatever is said of it: there have to be more.
    assert!(ids(&list).len() > 1, "{list:#}");
    for pack in world.packs("main") {
        flipped(&pack);
    }
    let job = world.server.must("datastore.verify", json!({ "datastore": "main" }));
    assert_eq!(world.server.ended(&job)["state"], "finished_with_errors");
    let found = world.server.must("datastore.damage", json!({ "datastore": "main" }));
    assert_eq!(ids(&found), ids(&list), "every one stands on something that is damaged");
    world.server.must("pool.change", json!({ "name": "default", "policy": "last 100" }));
    let said = |id: &str| {
        let why = world.server.must("saveset.why", json!({ "saveset": id }));
        let lives = why["lives"].as_array().unwrap().clone();
        lives.iter().find(|life| life["datastore"] == "main").unwrap()["check"].clone()
    };
    assert!(ids(&list).iter().all(|id| said(id) == "damaged"));
    let done = world.server.must("retention.run", json!({ "dry_run": true }));
    assert_eq!(done["expired"], json!([]), "{done:#}");
    let heal = json!({ "name": "twice", "datastore": "main" });
    let job = world.server.ended(&world.server.must("replication.heal", heal));
    assert_eq!(job["state"], "finished", "{job:#}");
    assert_eq!(world.server.must("datastore.damage", json!({})), json!([]));
    assert!(ids(&list).iter().all(|id| said(id) == "whole"));
}
