//! What the daemons have resident at most, over backup, restore and verification.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::hosts::{Daemon, assert_done, differences};

const CLIENT_MIB_MAX: u64 = 96;
const DEVICE_MIB_MAX: u64 = 128;

/// Enough of everything that all queues fill: texts in many files, and large files that do not
/// compress.
fn fill(root: &Path, seed: u64) {
    let mut state = seed;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let words = (0..bytes / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.collect()
    };
    for folder in 0..40u64 {
        let folder_path = root.join(format!("folder{folder}"));
        std::fs::create_dir_all(&folder_path).unwrap();
        for file in 0..60u64 {
            let lines = (0..folder * 17 % 200 + file * 13 % 300)
                .map(|line| format!("{seed}/{folder}/{file}: line {line} of many\n"));
            std::fs::write(folder_path.join(format!("text{file}")), lines.collect::<String>())
                .unwrap();
        }
        let mut large = std::fs::File::create(folder_path.join("large")).unwrap();
        large.write_all(&noise(4 << 20)).unwrap();
    }
}

pub fn most_mib(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.process.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn memory_of_client_and_device_is_bounded() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = folder("tree");
    fill(&tree, 7);
    let server = Daemon::start("server", &folder("server"));
    let client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("web", &client.state, &[]));
    server.until_connected("web");
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    server.add_task("all", "web", &tree);
    for round in 1..=2 {
        if round == 2 {
            fill(&tree.join("more"), 8);
        }
        let backup = server.backup("all");
        assert_eq!(backup["state"], "finished", "{backup:#}");
        let (client, device) = (most_mib(&client), most_mib(&server));
        println!("after backup {round}: client {client} MiB, server with device {device} MiB");
        assert!(client <= CLIENT_MIB_MAX && device <= DEVICE_MIB_MAX, "{client} {device}");
    }
    let target = folder("restored");
    let job = server.must("restore", json!({ "task": "all", "client": "web", "target": target }));
    let restore = server.ended(&job);
    assert_eq!(restore["state"], "finished", "{restore:#}");
    assert_eq!(differences(&tree, &target).first(), None);
    let job = server.must("datastore.verify", json!({ "datastore": "main", "depth": "bytes" }));
    let verify = server.ended(&job);
    assert_eq!(verify["state"], "finished", "{verify:#}");
    let (client, device) = (most_mib(&client), most_mib(&server));
    println!("in the end: client {client} MiB, server with device {device} MiB");
    assert!(client <= CLIENT_MIB_MAX && device <= DEVICE_MIB_MAX, "{client} {device}");
}
