//! Real trees of this machine come back identical, through real daemons.
//!
//! By default some hundred megabytes of programs and their data. `SIMSIM_TEST_IDENTITY=/usr` takes
//! another folder, or several separated by colons; that is some minutes for all of `/usr`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::hosts::{Daemon, assert_done, differences, until_within};

const FOLDERS: &str = "SIMSIM_TEST_IDENTITY";
const PATIENCE: Duration = Duration::from_secs(3600);
/// Of the usual folders, as many as have so many bytes together.
const BYTES_MAX: u64 = 250 << 20;
const USUAL: [&str; 8] = [
    "/usr/sbin",
    "/usr/share/terminfo",
    "/usr/lib/udev",
    "/usr/share/zoneinfo",
    "/usr/lib/python3",
    "/usr/include",
    "/usr/bin",
    "/usr/share/perl",
];

fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { bytes_of(&path) } else { meta.len() })
        .sum()
}

fn folders() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(FOLDERS) {
        return std::env::split_paths(&named).collect();
    }
    let mut room = BYTES_MAX;
    let mut taken = Vec::new();
    for folder in USUAL.map(PathBuf::from) {
        let bytes = bytes_of(&folder);
        if bytes > 0 && bytes <= room {
            room -= bytes;
            taken.push(folder);
        }
    }
    taken
}

#[test]
fn programs_of_this_machine_come_back_identical() {
    if !rustix::process::geteuid().is_root() {
        return simsim_testkit::skip("owners and setuid bits need root");
    }
    let folders = folders();
    if folders.is_empty() {
        return simsim_testkit::skip("none of the usual folders is here");
    }
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let server = Daemon::start("server", &folder("server"));
    let client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("web", &client.state, &[]));
    server.until_connected("web");
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    server.must("task.add", json!({ "name": "usr", "client": "web", "sources": folders }));
    let ended = |job: &serde_json::Value| {
        until_within("the job ends", PATIENCE, || {
            !server.must("job.show", json!({ "job": job["job"] }))["ended_unix_ms"].is_null()
        });
        server.must("job.show", json!({ "job": job["job"] }))
    };
    let backup = ended(&server.must("task.run", json!({ "task": "usr" })));
    assert_eq!(backup["state"], "finished", "{backup:#}");
    let target = folder("restored");
    let wanted = json!({ "task": "usr", "client": "web", "target": target, "specials": true });
    let restore = ended(&server.must("restore", wanted));
    assert_eq!(restore["state"], "finished", "{restore:#}");
    for folder in &folders {
        let found = differences(folder, &target);
        let some: Vec<_> = found.iter().take(10).collect();
        assert!(found.is_empty(), "{} differences: {some:#?}", found.len());
    }
    println!("identical: {folders:?}");
}
