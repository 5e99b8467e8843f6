//! A peer that stands still without closing anything: noticed within 30 s, and the job says so.

use std::time::Instant;

use serde_json::json;

use super::{NOTICED, World, waiting_task};
use crate::hosts::until;

#[test]
fn net01_a_frozen_device_is_noticed_and_its_job_says_so() {
    let mut world = World::new();
    let go = waiting_task(&world);
    let job = world.server.must("task.run", json!({ "task": "waits" }));
    until("the client works", || world.log(&job).contains("backup of"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    world.device.process.freeze();
    let since = Instant::now();
    std::fs::write(&go, "").unwrap();
    until("the job says that the device is silent", || {
        let shown = world.server.must("job.show", json!({ "job": job["job"] }));
        !shown["ended_unix_ms"].is_null() || world.log(&job).contains("no word")
    });
    assert!(since.elapsed() < NOTICED, "noticed after {:?}", since.elapsed());
    world.device.process.thaw();
    let ended = world.server.ended(&job);
    let state = ended["state"].as_str().unwrap();
    assert!(["failed", "interrupted", "finished"].contains(&state), "{ended:#}");
    if state == "failed" {
        assert_eq!(ended["error"]["kind"], "unreachable", "{ended:#}");
    }
    world.settled("after a frozen device");
    world.saved("the next run");
    world.restored(world.kept.len() - 1, "the next run");
}

/// GC07: a writer that is frozen and goes on later finishes correctly or is refused, never half.
#[test]
fn gc07_net01_a_frozen_client_is_noticed_and_goes_on_or_is_refused() {
    let mut world = World::new();
    let go = waiting_task(&world);
    let job = world.server.must("task.run", json!({ "task": "waits" }));
    until("the client works", || world.log(&job).contains("backup of"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    world.client.process.freeze();
    let since = Instant::now();
    until("the job says that its client is silent", || world.log(&job).contains("no word"));
    assert!(since.elapsed() < NOTICED, "noticed after {:?}", since.elapsed());
    std::fs::write(&go, "").unwrap();
    world.client.process.thaw();
    let ended = world.server.ended(&job);
    let state = ended["state"].as_str().unwrap();
    assert!(["failed", "interrupted", "finished"].contains(&state), "{ended:#}");
    world.until_connected();
    let listed = world.server.must("saveset.list", json!({})).as_array().unwrap().len();
    assert_eq!(listed, usize::from(state == "finished"), "{ended:#}");
    world.saved("the next run");
    world.restored(0, "the next run");
}
