//! Death at every failpoint: what was acknowledged restores, nothing half is visible, jobs end in
//! a clear state, and the next run goes on.

use std::time::Duration;

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use super::points::{During, POINTS};
use super::{Who, World, dies, must_end};
use crate::hosts::{Daemon, PATIENCE, assert_done, output, simsim, until};

/// More than one segment, so that something was put when it happens.
const BYTES: usize = 5 << 20;

fn points(who: Who, during: During) -> Vec<(&'static str, u32)> {
    let points = POINTS.iter().filter(|point| point.1 == who && point.3 == during);
    points.map(|point| (point.0, point.2)).collect()
}

/// One death of `who` in a backup, and what follows.
fn killed_in_backup(world: &mut World, who: Who, point: &str, skip: u32) {
    let what = format!("{who:?} killed at {point}");
    world.change(BYTES);
    world.arm(who, &format!("{point}=kill:{skip}"));
    let ready = world.daemon(who).process.wait_for_line("is ready", PATIENCE).is_ok();
    if ready {
        if who != Who::Server {
            world.until_connected();
        }
        // A server may die before it has answered.
        let asked = world.server.ask("task.run", json!({ "task": "home" }));
        assert!(asked.is_ok() || who == Who::Server, "{what}: {asked:?}");
        must_end(&mut world.daemon(who).process, &what);
    }
    world.again(who);
    world.settled(&what);
    world.saved(&format!("{what}, the next run"));
}

fn killed(who: Who) {
    killed_at(who, |_| true);
}

fn killed_at(who: Who, which: impl Fn(&str) -> bool) {
    let mut world = World::new();
    world.change(BYTES);
    world.saved("before anything happens");
    for (point, skip) in points(who, During::Backup) {
        if !which(point) {
            continue;
        }
        killed_in_backup(&mut world, who, point, skip);
    }
    world.all_restored();
}

#[test]
fn pwr04_pwr12_a_client_killed_at_every_point_of_a_backup() {
    killed(Who::Client);
}

/// Two tests over all points of a device, since each death waits for hosts that find each other.
const WRITING: [&str; 4] = [
    "device.segment_put",
    "datastore.pack_written",
    "datastore.pack_renamed",
    "datastore.manifest_copied",
];

#[test]
fn pwr04_pwr12_a_device_killed_at_every_point_of_writing_packs() {
    killed_at(Who::Device, |point| WRITING.contains(&point));
}

#[test]
fn pwr04_pwr12_a_device_killed_at_every_point_of_a_commit() {
    killed_at(Who::Device, |point| !WRITING.contains(&point));
}

#[test]
fn pwr04_idx10_a_server_killed_at_every_point_of_a_backup() {
    killed(Who::Server);
}

#[test]
fn a_client_killed_in_a_restore_leaves_nothing_that_counts_as_complete() {
    let mut world = World::new();
    world.change(BYTES);
    world.saved("before anything happens");
    let (saveset, copy) = world.newest();
    for (point, skip) in points(Who::Client, During::Restore) {
        let target = world.scratch.path().join(format!("target-{point}"));
        world.arm(Who::Client, &format!("{point}=kill:{skip}"));
        world.until_connected();
        let request = json!({ "saveset": saveset, "target": target, "overwrite": "always" });
        let job = world.server.must("restore", request.clone());
        must_end(&mut world.client.process, point);
        let left = files(&target);
        // In the middle of it: a small file in work has no name at all.
        let is_missing = |name: &String| !left.contains(name);
        let half = left.iter().any(|name| name.ends_with(".tmp"));
        assert!(half || files(&copy).iter().any(is_missing), "{point}: {left:?}");
        world.again(Who::Client);
        let ended = world.server.ended(&job);
        let state = ended["state"].as_str().unwrap();
        assert!(["failed", "interrupted"].contains(&state), "{point}: {ended:#}");
        world.until_connected();
        let ended = world.server.ended(&world.server.must("restore", request));
        assert_eq!(ended["state"], "finished", "{point}: {ended:#}");
        // Identical, so what the first one left is gone too.
        world.compare(&copy, &target, point);
    }
}

/// Names of everything below a folder.
fn files(root: &std::path::Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).into_iter().flatten().map(Result::unwrap) {
            found.push(entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_join_that_dies_on_either_side_can_be_made_again_with_a_new_code() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let mut server = Daemon::start("server", &folder("server"));
    let client = Daemon::start("client", &folder("client"));
    let listed = |server: &Daemon| server.must("client.list", Value::Null);
    for (who, points) in [Who::Joiner, Who::Server].map(|who| (who, points(who, During::Join))) {
        for (point, _) in points {
            let code = server.join_code("web");
            let armed = format!("{point}=kill");
            if who == Who::Server {
                server.process.kill();
                let mut command = simsim();
                command.env("SIMSIM_FAILPOINTS", &armed).arg("--state").arg(&server.state);
                command.args(["server", "--listen", &format!("127.0.0.1:{}", server.port)]);
                command.args(["--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]);
                server.process = ChildProcess::start(&mut command);
                server.process.wait_for_line("is ready", PATIENCE).unwrap();
            }
            let at = format!("127.0.0.1:{}", server.port);
            let mut join = simsim();
            join.args(["client", "join", &at, "--code", &code, "--name", "web", "--state"]);
            join.arg(&client.state);
            if who == Who::Joiner {
                join.env("SIMSIM_FAILPOINTS", &armed);
            }
            let answer = join.output().unwrap();
            assert!(!answer.status.success(), "{point}: {answer:?}");
            if who == Who::Server {
                must_end(&mut server.process, point);
                server.again();
            }
            // The code is used up, whoever died; a new one makes it whole.
            let again = output(&[
                "client",
                "join",
                &at,
                "--code",
                &code,
                "--name",
                "web",
                "--state",
                client.state.to_str().unwrap(),
            ]);
            assert!(!again.status.success(), "{point}: a code counts once: {again:?}");
            assert_done(&server.join("web", &client.state, &[]));
            server.until_connected("web");
            let hosts = listed(&server);
            let webs = hosts.as_array().unwrap().iter().filter(|host| host["name"] == "web");
            assert_eq!(webs.count(), 1, "{point}: {hosts:#}");
        }
    }
}

#[test]
fn a_server_killed_at_its_first_start_starts_the_next_time() {
    for (point, _) in points(Who::Server, During::FirstStart) {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = simsim();
        command.env("SIMSIM_FAILPOINTS", format!("{point}=kill"));
        command.arg("--state").arg(scratch.path().join("server")).arg("server");
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--console", "127.0.0.1:0"]);
        let mut process = ChildProcess::start(&mut command);
        must_end(&mut process, point);
        let server = Daemon::start("server", &scratch.path().join("server"));
        server.must("status", Value::Null);
    }
}

/// Deaths at no named point: whatever the processes are doing at that moment.
#[test]
fn pwr04_whoever_is_killed_at_any_moment_of_a_backup() {
    let mut world = World::new();
    world.change(BYTES);
    world.saved("before anything happens");
    let moments = [0, 15, 40, 90, 160];
    for (at, who) in
        moments.into_iter().zip([Who::Device, Who::Client, Who::Server, Who::Device, Who::Client])
    {
        let what = format!("{who:?} killed after {at} ms");
        world.change(3 * BYTES);
        world.server.must("task.run", json!({ "task": "home" }));
        std::thread::sleep(Duration::from_millis(at));
        world.again(who);
        world.settled(&what);
        world.saved(&what);
    }
    world.all_restored();
    assert!(!dies(&mut world.server.process, Duration::ZERO));
    until("the client is reached", || world.server.is_connected("web"));
}
