//! Jobs that are followed, left, cancelled, and how they end.

use std::time::{Duration, Instant};

use super::house::{House, text};
use super::pty;

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn interrupt(process: u32) {
    let process = rustix::process::Pid::from_raw(process as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
}

#[test]
fn ctrl_c_cancels_the_job_and_waits_for_its_clear_end() {
    let house = House::with_saveset();
    house.allow_command("slow", "echo begun; sleep 60");
    house.good(&["task", "add", "slow", "--stream", "slow"]);
    let running = pty::start(&mut house.command(&["backup", "slow"]), 80);
    let state = |job: &str| house.json(&["job", "show", job])["state"].clone();
    until("the job runs", || house.json(&["jobs", "-n", "1"])[0]["state"] == "running");
    interrupt(running.child.id());
    let (status, shown) = running.end();
    assert_eq!(status, Some(130), "{shown}");
    assert!(shown.contains("cancelling job 2") && shown.contains("cancelled"), "{shown}");
    assert_eq!(state("2"), "cancelled");

    // Left alone, it goes on; another follower sees it to its end.
    let detached = house.good(&["backup", "slow", "--detach"]);
    assert!(detached.contains("job 3 is queued"), "{detached}");
    until("the job runs", || state("3") == "running");
    let follower = pty::start(&mut house.command(&["job", "follow", "3"]), 80);
    std::thread::sleep(Duration::from_millis(300));
    house.good(&["job", "cancel", "3"]);
    let (status, shown) = follower.end();
    assert_eq!(status, Some(130), "{shown}");
    assert!(shown.contains("job 3"), "{shown}");
}

#[test]
fn ret05_finished_with_errors_is_a_status_of_its_own() {
    let house = House::with_saveset();
    let missing = house.path("missing");
    let (out, _) = house.ends_with(3, &["backup", &missing, &house.path("tree")]);
    assert!(out.contains("finished with errors") && out.contains("missing: "), "{out}");
    // What is in the way and stays is an error of a restore.
    house.good(&["restore", "home", "--to", "back"]);
    let (out, _) = house.ends_with(3, &["restore", "home", "--to", "back"]);
    assert!(out.contains("finished with errors"), "{out}");
    house.good(&["restore", "home", "--to", "back", "--overwrite", "always"]);
    // A byte of a pack that is not what it was.
    let mut packs = vec![house.scratch.path().join("store/packs")];
    let mut damaged = 0;
    while let Some(path) = packs.pop() {
        if path.is_dir() {
            packs.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[200] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    let output = house.run(&["verify", "--bytes"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{out}{err}");
    assert!(out.contains("finished with errors"), "{out}");
}

#[test]
fn logs_follow_a_job_to_its_end() {
    let house = House::with_saveset();
    house.allow_command("slow", "sleep 1; echo done");
    house.good(&["task", "add", "slow", "--stream", "slow"]);
    house.good(&["backup", "slow", "--detach"]);
    let lines = house.good(&["logs", "2", "-f"]);
    assert!(lines.lines().last().unwrap().contains("finished: saveset"), "{lines}");
}

#[test]
fn a_server_that_restarts_is_waited_for_and_the_job_has_a_clear_end() {
    let mut house = House::with_saveset();
    house.allow_command("slow", "echo begun; sleep 60");
    house.good(&["task", "add", "slow", "--stream", "slow"]);
    house.good(&["backup", "slow", "--detach"]);
    until("the job runs", || house.json(&["job", "show", "2"])["state"] == "running");
    let follower = pty::start(&mut house.command(&["job", "follow", "2"]), 80);
    std::thread::sleep(Duration::from_millis(300));
    house.restart();
    let (status, shown) = follower.end();
    assert_eq!(status, Some(10), "{shown}");
    assert!(shown.contains("interrupted"), "{shown}");
}
