//! The disaster drill: server host and catalog are deleted, and everything is restored.

use serde_json::{Value, json};

use super::{World, text};
use crate::hosts::{Daemon, assert_done, until};

/// What an administrator set up, without what changes by itself.
fn set_up(server: &Daemon) -> Value {
    let mut all = json!({});
    for verb in ["task.list", "event.list", "pool.list", "user.list"] {
        all[verb] = server.must(verb, Value::Null);
    }
    for task in all["task.list"].as_array_mut().unwrap() {
        task.as_object_mut()
            .unwrap()
            .retain(|name, _| !name.starts_with("last") && name != "health");
    }
    for event in all["event.list"].as_array_mut().unwrap() {
        event
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(name.as_str(), "next" | "next_unix_ms" | "last"));
    }
    for pool in all["pool.list"].as_array_mut().unwrap() {
        pool.as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(name.as_str(), "savesets" | "bytes"));
    }
    all
}

#[test]
fn a_lost_server_comes_back_hosts_take_it_for_the_same_and_everything_restores() {
    let mut world = World::new();
    let far = Daemon::start("rds", &world.path("far"));
    assert_done(&world.server.join("far", &far.state, &[]));
    world.server.until_connected("far");
    let vault = json!({ "name": "vault", "node": "far", "path": world.path("vault") });
    world.server.must("datastore.create", vault);
    let task = json!({
        "name": "away", "client": "web", "sources": [world.tree], "datastore": "vault"
    });
    world.server.must("task.add", task);
    let own = json!({
        "name": "own-far", "client": world.server.own_name(), "kind": "stream", "datastore": "vault",
        "sources": ["simsim-server.backup"], "options": { "self_backup": true }
    });
    world.server.must("task.add", own);
    let grants = json!([{ "role": "operator" }]);
    let anna = json!({ "name": "anna", "password": "correct horse battery", "grants": grants });
    world.server.must("user.add", anna);
    let nightly = json!({ "name": "nightly", "subjects": ["home", "away"], "at": "daily 22:00" });
    world.server.must("event.add", nightly);
    for name in ["home", "away", "self-backup", "own-far"] {
        world.saved(name);
    }
    // One that the server's backup does not know.
    std::fs::write(world.tree.join("a/later"), "later").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(80));
    let later = world.saved("home")["saveset"].clone();
    let before = set_up(&world.server);
    let fingerprint = world.server.must("status", Value::Null)["fingerprint"].clone();
    let count = world.savesets().len();
    assert_eq!(count, 5);
    world.lose_server();

    // From the RDS's datastore, as it lies there: first a look, then for good.
    let vault = world.path("vault");
    let checked = world.recovered(&[text(&vault), "--check"]);
    assert!(checked["checked_only"] == true && checked["rows"].as_u64() > Some(20), "{checked:#}");
    assert!(!world.server.state.exists(), "a check changes nothing");
    let report = world.recovered(&[text(&vault), text(&world.path("main"))]);
    assert_eq!(report["fingerprint"], fingerprint, "{report:#}");
    assert_eq!(report["datastores"].as_array().unwrap().len(), 2, "{report:#}");
    assert!(!world.server.state.join("recovering").exists());

    // Hosts were not asked for anything: they take it for the same server.
    world.server.again();
    world.server.until_connected("web");
    world.server.until_connected("far");
    assert_eq!(world.server.must("status", Value::Null)["fingerprint"], fingerprint);
    assert_eq!(set_up(&world.server), before);
    let warnings = world.warnings();
    assert!(warnings.contains("the queue is paused by recover"), "{warnings}");
    assert!(warnings.contains("came back from a backup of itself"), "{warnings}");
    until("the saveset after the backup is found", || world.savesets().len() == count);
    assert!(world.savesets().iter().any(|one| one["saveset"] == later));
    let queued = world.server.must("task.run", json!({ "task": "home" }));
    std::thread::sleep(std::time::Duration::from_millis(700));
    let waits = world.server.must("job.show", json!({ "job": queued["job"] }));
    assert_eq!(waits["state"], "queued", "nothing runs before a person has looked: {waits:#}");
    world.confirm();
    let unchanged = world.server.ended(&queued);
    assert_eq!(unchanged["state"], "finished", "{unchanged:#}");
    assert_eq!(unchanged["progress"]["bytes_new"], 0, "nothing is sent again: {unchanged:#}");
    let warnings = world.warnings();
    assert!(!warnings.contains("paused") && !warnings.contains("confirm-clock"), "{warnings}");

    world.restores(json!({ "saveset": later, "client": "web" }), &world.tree, &world.path("home"));
    std::fs::remove_file(world.tree.join("a/later")).unwrap();
    let restored = world.path("away");
    let request = json!({ "task": "away", "client": "web", "target": restored, "specials": true });
    let restore = world.server.ended(&world.server.must("restore", request));
    assert_eq!(restore["state"], "finished", "{restore:#}");
    let differences = crate::hosts::differences(&world.tree, &restored);
    // The folder itself was changed since by this test.
    assert!(
        differences.iter().all(|one| one.contains("mtime") || one.contains("time")),
        "{differences:?}"
    );
    // Everything: each saveset of files as it was, and each backup of the server to its last byte.
    for one in world.savesets() {
        let id = one["saveset"].as_str().unwrap();
        if one["task"] == "self-backup" || one["task"] == "own-far" {
            let request = json!({ "saveset": id, "depth": "bytes", "keys_to_device": true });
            let check = world.server.ended(&world.server.must("datastore.verify", request));
            assert_eq!(check["state"], "finished", "{check:#}");
            assert_eq!(check["checked"]["damaged"], 0, "{check:#}");
            continue;
        }
        let target = world.path(id);
        let request = json!({ "saveset": id, "client": "web", "target": target, "specials": true });
        let restore = world.server.ended(&world.server.must("restore", request));
        assert_eq!(restore["state"], "finished", "{restore:#}");
        let differences = crate::hosts::differences(&world.tree, &target);
        let is_known = |one: &String| one.contains("time") || one.contains("later");
        assert!(differences.iter().all(is_known), "{id}: {differences:?}");
    }
    // And the server goes on backing itself up.
    world.saved("self-backup");
    // What ran when it was backed up is known to have come to its end.
    let jobs = world.server.must("job.list", json!({ "task": "self-backup" }));
    let states: Vec<&Value> = jobs.as_array().unwrap().iter().map(|job| &job["state"]).collect();
    assert!(states.iter().all(|state| **state == "finished"), "{jobs:#}");
}

#[test]
fn a_copy_in_another_place_is_taken_into_service_there_and_its_checks_and_jobs_go_on() {
    let mut world = World::new();
    world.saved("home");
    world.saved("self-backup");
    world.lose_server();
    std::fs::rename(world.path("main"), world.path("moved")).unwrap();
    let moved = world.path("moved");
    world.recovered(&[text(&moved)]);
    world.server.again();
    world.server.until_connected("web");
    world.confirm();
    let job = world.saved("home");
    assert_eq!(job["progress"]["bytes_new"], 0, "{job:#}");
    world.restores(json!({ "task": "home", "client": "web" }), &world.tree, &world.path("back"));
    // Again into the same state folder: refused, and nothing is changed.
    let again = world.recover(&[text(&moved)]);
    assert_eq!(again.status.code(), Some(2), "{}", super::told(&again));
    assert!(super::told(&again).contains("already"), "{}", super::told(&again));
}

#[test]
fn a_server_on_postgresql_comes_back_on_sqlite_and_the_other_way_round() {
    use simsim_testkit::{Postgres, skip};
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(why) => return skip(&why),
    };
    let mut world = World::new();
    world.saved("home");
    world.saved("self-backup");
    let savesets = world.savesets().len();
    world.lose_server();
    let (main, url) = (world.path("main"), postgres.url("postgres"));
    world.recovered(&[text(&main), "--catalog", &url]);
    assert!(!world.server.state.join("server/catalog.db").exists());
    assert_eq!(postgres.sql("postgres", "SELECT COUNT(*) FROM clients").trim(), "2");
    world.server.again();
    world.server.until_connected("web");
    world.confirm();
    until("the server's own backup is found, too", || world.savesets().len() == savesets);
    world.saved("self-backup");
    world.lose_server();
    // The database of before is not empty, and is not touched.
    let refused = world.recover(&[text(&main), "--catalog", &url]);
    assert_eq!(refused.status.code(), Some(2), "{}", super::told(&refused));
    assert!(super::told(&refused).contains("name an empty database"), "{}", super::told(&refused));
    world.recovered(&[text(&main)]);
    assert!(world.server.state.join("server/catalog.db").exists());
    world.server.again();
    world.server.until_connected("web");
    world.confirm();
    world.restores(json!({ "task": "home", "client": "web" }), &world.tree, &world.path("back"));
}

#[test]
fn an_old_server_that_comes_back_beside_the_new_one_hears_of_it_and_takes_its_hands_off() {
    let mut world = World::new();
    world.saved("home");
    world.saved("self-backup");
    assert_eq!(world.server.stop(), 0);
    // The disk of its datastore is put into another host.
    let (moved, state) = (world.path("moved"), world.path("second"));
    std::fs::rename(world.path("main"), &moved).unwrap();
    assert_done(&world.command(&state, &[text(&moved)]).output().unwrap());
    let second = Daemon::start("server", &state);
    second.until_connected("web");
    // And the old host is switched on again.
    world.server.again();
    until("the old server hears of the new one", || {
        world.warnings().contains("has taken the place of this one")
    });
    assert!(!world.server.is_connected("web"));
    let queue = world.server.must("queue.show", Value::Null);
    assert_eq!(queue["paused_by"], "server", "{queue:#}");
    let waits = world.server.must("task.run", json!({ "task": "self-backup" }));
    // The new one is not bothered.
    second.must("queue.resume", Value::Null);
    assert_eq!(second.backup("home")["state"], "finished");
    let waits = world.server.must("job.show", json!({ "job": waits["job"] }));
    assert_eq!(waits["state"], "queued", "{waits:#}");
    // A host that restarts remembers.
    world.client.again();
    second.until_connected("web");
    world.server.again();
    until("the old server hears of it again", || {
        world.warnings().contains("has taken the place of this one")
    });
}

/// The server's backup knows nothing of this client; its data is found all the same.
#[test]
fn a_client_that_joined_after_the_backup_joins_anew_and_has_its_savesets_and_sends_nothing_again() {
    let mut world = World::new();
    world.saved("self-backup");
    let mut late = Daemon::start("client", &world.path("late"));
    assert_done(&world.server.join("late", &late.state, &[]));
    world.server.until_connected("late");
    world.server.add_task("new", "late", &world.tree);
    let saved = world.saved("new")["saveset"].clone();
    world.lose_server();
    let main = world.path("main");
    world.recovered(&[text(&main)]);
    world.server.again();
    world.server.until_connected("web");
    until("the saveset of an unknown domain is found", || {
        world.savesets().iter().any(|one| one["saveset"] == saved)
    });
    world.confirm();
    // Restored already, to another host.
    let request = json!({ "saveset": saved, "client": "web" });
    world.restores(request, &world.tree, &world.path("first"));
    assert!(world.server.ask("client.show", json!({ "name": "late" })).is_err());
    std::fs::remove_file(late.state.join("enrolment.json")).unwrap();
    assert_done(&world.server.join("late", &late.state, &[]));
    late.again();
    world.server.until_connected("late");
    world.server.must("catalog.rebuild", json!({}));
    world.server.add_task("new", "late", &world.tree);
    let again = world.saved("new");
    assert_eq!(again["progress"]["bytes_new"], 0, "{again:#}");
    world.restores(
        json!({ "saveset": saved, "client": "late" }),
        &world.tree,
        &world.path("second"),
    );
}
