//! Death between any two steps of a deletion: what is kept is never deleted, what was decided is
//! finished after the restart, or taken back if a hold came before its device was told.

use serde_json::{Value, json};

use super::points::{During, POINTS};
use super::{Who, World, must_end};
use crate::hosts::{PATIENCE, until};

const BYTES: usize = 2 << 20;
/// What the policy keeps.
const KEPT: usize = 2;

fn listed(world: &World) -> Vec<Value> {
    let list = world.server.must("saveset.list", json!({}));
    list.as_array().unwrap().iter().map(|one| one["saveset"].clone()).collect()
}

fn manifests(world: &World) -> usize {
    std::fs::read_dir(world.store.join("manifests")).map_or(0, Iterator::count)
}

/// A world whose pool keeps two backups of a task, with three.
fn with_three() -> World {
    let mut world = World::new();
    let policy = json!({ "name": "default", "policy": format!("last {KEPT}") });
    assert!(world.server.must("pool.change", policy)["approval"].is_null());
    for round in 0..=KEPT {
        world.change(BYTES);
        world.saved(&format!("backup {round}"));
    }
    world
}

/// The newest two are there and come back as they were; nothing else is there.
fn finished(world: &World, what: &str) {
    until(&format!("{what}: what was decided is finished"), || {
        manifests(world) == KEPT && listed(world).len() == KEPT
    });
    let newest: Vec<Value> =
        world.kept.iter().rev().take(KEPT).map(|kept| kept.saveset.clone()).collect();
    assert_eq!(listed(world), newest, "{what}");
    let gone = world.kept.len() - KEPT - 1;
    let why = json!({ "saveset": world.kept[gone].saveset });
    until(&format!("{what}: it is written down"), || {
        world.server.must("saveset.why", why.clone())["lives"][0]["state"] == "deleted"
    });
    for kept in world.kept.len() - KEPT..world.kept.len() {
        world.restored(kept, what);
    }
}

fn killed(who: Who) {
    let mut world = with_three();
    for (point, _, skip, during) in POINTS {
        if *during != During::Deletion || !POINTS.iter().any(|one| one.0 == *point && one.1 == who)
        {
            continue;
        }
        let what = format!("{who:?} killed at {point}");
        world.arm(who, &format!("{point}=kill:{skip}"));
        let ready = world.daemon(who).process.wait_for_line("is ready", PATIENCE);
        ready.unwrap_or_else(|error| panic!("{what}: {error}"));
        world.until_connected();
        // A server that dies does not answer; one whose device dies says so.
        let asked = world.server.ask("retention.run", json!({}));
        must_end(&mut world.daemon(who).process, &what);
        match (&who, asked) {
            (Who::Server, asked) => assert!(asked.is_err(), "{what}: {asked:?}"),
            (_, asked) => {
                let reply = asked.unwrap();
                assert_eq!(reply["expired"].as_array().unwrap().len(), 1, "{what}: {reply:#}");
                assert_eq!(reply["deleted"], 0, "{what}: {reply:#}");
                assert_ne!(reply["trouble"], json!([]), "{what}: {reply:#}");
            }
        }
        world.again(who);
        world.until_connected();
        finished(&world, &what);
        world.change(BYTES);
        world.saved(&format!("{what}, the next backup"));
    }
    let reply = world.server.must("retention.run", json!({}));
    assert_eq!((&reply["deleted"], &reply["waiting"]), (&json!(1), &json!(0)), "{reply:#}");
    finished(&world, "with nobody killed");
    let check = json!({ "datastore": "main", "depth": "structure" });
    let ended = world.server.ended(&world.server.must("datastore.verify", check));
    assert_eq!(ended["state"], "finished", "{ended:#}");
}

#[test]
fn pwr04_a_server_killed_between_any_two_steps_of_a_deletion_finishes_it() {
    killed(Who::Server);
}

#[test]
fn pwr04_a_device_killed_between_any_two_steps_of_a_deletion_finishes_it() {
    killed(Who::Device);
}

#[test]
fn what_is_kept_by_the_time_the_device_is_told_is_not_deleted() {
    let mut world = with_three();
    let old = world.kept[0].saveset.clone();
    world.device.process.kill();
    world.arm(Who::Server, "server.deletions_decided=kill");
    let ready = world.server.process.wait_for_line("is ready", PATIENCE);
    ready.unwrap_or_else(|error| panic!("{error}"));
    assert!(world.server.ask("retention.run", json!({})).is_err());
    must_end(&mut world.server.process, "after the decision");
    world.again(Who::Server);
    let state = |world: &World| {
        world.server.must("saveset.why", json!({ "saveset": old }))["lives"][0]["state"].clone()
    };
    assert_eq!(state(&world), "deleting");
    // It is not read any more, and says why.
    let target = world.scratch.path().join("nowhere");
    let error = world.server.ask("restore", json!({ "saveset": old, "target": target }));
    assert!(error.unwrap_err().to_string().contains("is being deleted"));
    // Another policy, while the device is away: what it keeps is not deleted when the device is back.
    let more = json!({ "name": "default", "policy": format!("last {}", KEPT + 1) });
    world.server.must("pool.change", more);
    world.again(Who::Device);
    world.until_connected();
    until("the decision is taken back", || state(&world) == "kept");
    let less = json!({ "name": "default", "policy": format!("last {KEPT}") });
    world.server.must("pool.change", less);
    assert_eq!(state(&world), "expired");

    // And again, with a hold.
    world.device.process.kill();
    until("its line is known to be lost", || !world.server.is_connected("far"));
    let reply = world.server.must("retention.run", json!({}));
    assert_eq!((&reply["deleted"], reply["trouble"].is_null()), (&json!(0), false), "{reply:#}");
    assert_eq!(state(&world), "deleting");
    let hold = json!({ "saveset": old, "why": "case 12" });
    let held = world.server.must("saveset.hold", hold);
    assert_eq!(held["lives"][0]["hold"]["by"], "local:root", "{held:#}");
    assert_eq!(state(&world), "kept");
    world.again(Who::Device);
    world.until_connected();
    let reply = world.server.must("retention.run", json!({}));
    assert_eq!((&reply["expired"], &reply["deleted"]), (&json!([]), &json!(0)), "{reply:#}");
    assert_eq!((listed(&world).len(), manifests(&world)), (KEPT + 1, KEPT + 1));
    world.restored(0, "the one that is held");
    // One person does not release it.
    let release = world.server.must("saveset.hold", json!({ "saveset": old, "release": true }));
    let approval = &release["approval"]["approval"];
    let word = json!({ "approval": approval });
    let error = world.server.ask("approval.approve", word).unwrap_err().to_string();
    assert!(error.contains("another person has to"), "{error}");
    assert_eq!(state(&world), "kept");
}
