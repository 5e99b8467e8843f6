//! Wrong kits, damaged backups, backups that are none, and disks without room.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simsim_testkit::{SmallFs, skip};

use super::{World, text, told};

/// Packs of a datastore, the newest last.
fn packs(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![store.join("packs")];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path => found.push(path),
            }
        }
    }
    found.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    found
}

/// Flips bytes all over the packs that came since.
fn damage_new(store: &Path, before: &[PathBuf], mask: u8) {
    let fresh: Vec<PathBuf> =
        packs(store).into_iter().filter(|one| !before.contains(one)).collect();
    assert!(!fresh.is_empty());
    for path in fresh {
        let mut bytes = std::fs::read(&path).unwrap();
        for at in (64..bytes.len()).step_by(97) {
            bytes[at] ^= mask;
        }
        let mut writable = path.metadata().unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut writable, 0o600);
        std::fs::set_permissions(&path, writable).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_wrong_kit_opens_nothing_and_a_datastore_without_a_servers_backup_says_so() {
    let mut world = World::new();
    world.saved("home");
    let main = world.path("main");
    let none = world.command(&world.path("empty"), &[text(&main), "--check"]).output().unwrap();
    assert_eq!(none.status.code(), Some(5), "{}", told(&none));
    assert!(told(&none).contains("there is no backup of a server here"), "{}", told(&none));
    world.saved("self-backup");
    world.lose_server();
    let other = simsim_format::RecoveryKit::generate().unwrap().groups();
    let right = std::fs::read(&world.kit).unwrap();
    std::fs::write(&world.kit, other.join("-")).unwrap();
    for arguments in [vec![text(&main)], vec![text(&main), "--check"]] {
        let refused = world.recover(&arguments);
        assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
        assert!(told(&refused).contains("this recovery kit opens nothing"), "{}", told(&refused));
    }
    assert!(!world.server.state.join("server").exists());
    std::fs::write(&world.kit, right).unwrap();
    world.recovered(&[text(&main)]);
    world.server.again();
    world.server.until_connected("web");
}

#[test]
fn a_damaged_backup_is_passed_over_for_the_one_before_and_that_is_said() {
    let mut world = World::new();
    let main = world.path("main");
    world.saved("home");
    let good = world.saved("self-backup")["saveset"].clone();
    world.server.must("datastore.detach", json!({ "name": "main" }));
    world.server.must("datastore.attach", json!({ "path": main }));
    let before = packs(&main);
    world.saved("self-backup");
    world.lose_server();
    damage_new(&main, &before, 0x40);
    let check = world.recover(&[text(&main), "--check", "--json"]);
    assert_eq!(
        check.status.code(),
        Some(3),
        "a scheduled proof must not be green: {}",
        told(&check)
    );
    let report: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(report["saveset"], good, "{report:#}");
    assert_eq!(report["passed_over"].as_array().unwrap().len(), 1, "{report:#}");
    let done = world.recover(&[text(&main)]);
    assert_eq!(done.status.code(), Some(3), "{}", told(&done));
    assert!(told(&done).contains("passed over"), "{}", told(&done));
    assert!(!world.server.state.join("recovering").exists(), "nothing of the first try is left");
    world.server.again();
    world.server.until_connected("web");
    world.confirm();
    world.restores(json!({ "task": "home", "client": "web" }), &world.tree, &world.path("back"));
    // All of them damaged.
    world.lose_server();
    damage_new(&main, &[], 0x03);
    let refused = world.recover(&[text(&main)]);
    assert_ne!(refused.status.code(), Some(0), "{}", told(&refused));
    assert!(!world.server.state.join("server").exists(), "{}", told(&refused));
}

#[test]
fn what_a_client_calls_a_servers_backup_is_not_taken_for_one() {
    let mut world = World::new();
    let main = world.path("main");
    world.saved("self-backup");
    // Everything that a client can choose: the name of task, file and source, and the first bytes.
    let policy = world.client.state.join("client/policy.toml");
    std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
    let script = r"printf 'SIMSIMSB\001\000\000\000\000\000\000\000 and so on'";
    let text_of = format!("[commands.forge]\nrun = [\"/bin/sh\", \"-c\", {script:?}]\n");
    std::fs::write(policy, text_of).unwrap();
    let task = json!({
        "name": "simsim-server.backup", "client": "web", "kind": "stream", "sources": ["simsim-server.backup"],
        "options": { "stream_command": "forge" }
    });
    world.server.must("task.add", task);
    world.saved("simsim-server.backup");
    world.lose_server();
    let done = world.recover(&[text(&main), "--json"]);
    assert_eq!(done.status.code(), Some(3), "it is passed over, and said: {}", told(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["passed_over"].as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(report["clients"], 2, "{report:#}");
    world.server.again();
    world.server.until_connected("web");
}

#[test]
fn pwr06_a_full_disk_is_said_and_room_helps() {
    let small = match SmallFs::tmpfs(1 << 20, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let mut world = World::new();
    world.saved("home");
    world.saved("self-backup");
    world.lose_server();
    let (main, state) = (world.path("main"), small.path().join("state"));
    std::fs::create_dir(&state).unwrap();
    let filler = small.fill("filler").unwrap();
    let full = world.command(&state, &[text(&main)]).output().unwrap();
    assert_eq!(full.status.code(), Some(7), "{}", told(&full));
    std::fs::remove_file(filler).unwrap();
    assert!(!state.join("server").exists());
    let done = world.command(&state, &[text(&main)]).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    assert!(state.join("server/catalog.db").exists());
}

#[test]
fn no_key_lies_unsealed_in_the_datastore_or_in_the_scratch_folder_of_a_check() {
    let mut world = World::new();
    let master = std::fs::read(world.server.state.join("server/master.key")).unwrap();
    let key = master[8..40].to_vec();
    world.saved("self-backup");
    let holds = |folder: &Path| {
        let mut open = vec![folder.to_owned()];
        let mut found = Vec::new();
        while let Some(at) = open.pop() {
            for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if std::fs::read(&path).unwrap().windows(32).any(|window| window == key) {
                    found.push(path);
                }
            }
        }
        found
    };
    assert_eq!(holds(&world.server.state.join("server")).len(), 3, "it is found where it lies");
    world.lose_server();
    assert_eq!(holds(&world.path("main")), Vec::<PathBuf>::new());
    // A check that dies in the middle leaves what it had there.
    let scratch = world.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let main = world.path("main");
    let mut command =
        world.command(&world.path("empty"), &[text(&main), "--check", "--scratch", text(&scratch)]);
    let died = command.env("SIMSIM_FAILPOINTS", "recovery.checked=kill").output().unwrap();
    assert!(died.status.code().is_none(), "{}", told(&died));
    assert!(std::fs::read_dir(&scratch).unwrap().count() > 0);
    assert_eq!(holds(&scratch), Vec::<PathBuf>::new());
}
