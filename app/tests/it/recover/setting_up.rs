//! What every server gets by itself, once, and what is said where it is missing.

use serde_json::{Value, json};

use super::{World, told};
use crate::hosts::simsim;

#[test]
fn with_a_kit_and_a_datastore_a_server_backs_itself_up_and_what_is_removed_stays_removed() {
    let mut world = World::new();
    let task = world.server.must("task.show", json!({ "name": "self-backup" }));
    assert_eq!(task["options"]["self_backup"], true, "{task:#}");
    assert_eq!(task["datastore"], "main", "{task:#}");
    let events = world.server.must("event.list", Value::Null);
    assert_eq!(events[0]["name"], "self-backup", "{events:#}");
    assert!(events[0]["next_unix_ms"].as_i64().is_some(), "{events:#}");
    // Nobody who starts everything by hand is told of tasks without events because of it.
    assert!(!world.warnings().contains("no event backs up"), "{}", world.warnings());
    let status = world.server.must("status", Value::Null);
    assert_eq!(status["self_backup_unix_ms"], Value::Null);
    // It runs by its event, as any other.
    let started = world.server.must("event.run", json!({ "name": "self-backup" }));
    let job = world.server.ended(&json!({ "job": started["runs"][0]["job"] }));
    assert_eq!(job["state"], "finished", "{job:#}");
    let status = world.server.must("status", Value::Null);
    assert!(status["self_backup_unix_ms"].as_i64().is_some(), "{status:#}");
    let verified = world.server.must("datastore.verify", json!({ "saveset": job["saveset"] }));
    assert_eq!(world.server.ended(&verified)["state"], "finished");

    // A new kit: what was backed up before it does not open, so the server is backed up once more.
    world.new_kit();
    let proof = prove(&world);
    let jobs = world.server.must("job.list", json!({ "task": "self-backup" }));
    assert_eq!(jobs.as_array().unwrap().len(), 2, "{jobs:#}");
    assert_eq!(world.server.ended(&jobs[0])["state"], "finished");
    // To show it again starts nothing.
    let _ = world.server.ask("key.prove", json!({ "groups": proof }));
    let jobs = world.server.must("job.list", json!({ "task": "self-backup" }));
    assert_eq!(jobs.as_array().unwrap().len(), 2, "{jobs:#}");

    world.server.must("event.remove", json!({ "name": "self-backup" }));
    world.server.must("task.delete", json!({ "name": "self-backup" }));
    world.new_kit();
    world.server.again();
    world.server.until_connected("web");
    let tasks = world.server.must("task.list", Value::Null);
    assert_eq!(tasks.as_array().unwrap().len(), 1, "{tasks:#}");
    let warnings = world.warnings();
    assert!(warnings.contains("this server does not back itself up"), "{warnings}");
}

#[test]
fn a_backup_of_the_server_is_of_its_own_host_and_of_nothing_else() {
    let world = World::new();
    let own = world.server.own_name();
    let base = json!({
        "name": "mine", "client": own, "kind": "stream", "datastore": "main",
        "sources": ["simsim-server.backup"], "options": { "self_backup": true }
    });
    let refused = |change: &dyn Fn(&mut Value), word: &str| {
        let mut request = base.clone();
        change(&mut request);
        let error = world.server.ask("task.add", request).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    };
    refused(&|task| task["client"] = json!("web"), "its own host");
    refused(&|task| task["sources"] = json!(["other"]), "--self-backup");
    refused(&|task| task["kind"] = json!("path"), "not absolute");
    refused(&|task| task["options"]["external"] = json!(true), "no streams from outside");
    refused(&|task| task["excludes"] = json!(["*.tmp"]), "leaves nothing out");
    world.server.must("task.add", base);
}

/// Shows that the kit is kept. The groups that were asked for.
fn prove(world: &World) -> Vec<String> {
    let kit = std::fs::read_to_string(&world.kit).unwrap();
    let groups: Vec<&str> = kit.split('-').collect();
    let asked = world.server.must("key.question", json!({}));
    let asked = asked.as_array().unwrap().iter().map(|one| one.as_u64().unwrap() as usize);
    let proof: Vec<String> = asked.map(|at| groups[at - 1].to_owned()).collect();
    let proven = world.server.must("key.prove", json!({ "groups": proof }));
    assert_eq!(proven["proven"], true, "{proven:#}");
    proof
}

#[test]
fn a_kit_opens_until_the_server_was_backed_up_for_a_new_one_that_is_kept() {
    let mut world = World::new();
    world.saved("home");
    world.saved("self-backup");
    let (main, empty) = (world.path("main"), world.path("empty"));
    let opens = |world: &World, kit: &str| {
        let mut command = simsim();
        command.arg("--state").arg(&empty).args(["recover", "--check", "--kit"]);
        command.arg(world.path(kit)).arg(&main);
        let output = command.output().unwrap();
        // A newer one for another kit may be passed over for the one that opens.
        match (told(&output).contains("whole: "), output.status.code()) {
            (true, _) => true,
            (false, Some(4)) => false,
            _ => panic!("{}", told(&output)),
        }
    };
    std::fs::copy(&world.kit, world.path("first")).unwrap();
    // Nobody has the new one on paper yet, and nothing was backed up for it.
    world.new_kit();
    std::fs::copy(&world.kit, world.path("mislaid")).unwrap();
    assert!(opens(&world, "first"));
    world.saved("self-backup");
    assert!(opens(&world, "first") && opens(&world, "mislaid"));
    // One that nobody proved makes way for the next; the one before both stays.
    world.new_kit();
    std::fs::copy(&world.kit, world.path("kept")).unwrap();
    assert!(opens(&world, "first"));
    prove(&world);
    let jobs = world.server.must("job.list", json!({ "task": "self-backup" }));
    assert_eq!(world.server.ended(&jobs[0])["state"], "finished");
    crate::hosts::until("the first kit opens nothing", || !opens(&world, "first"));
    assert!(opens(&world, "kept") && !opens(&world, "mislaid"));
}
