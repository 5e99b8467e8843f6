//! No room: for the datastore, for the server's state, for what is restored.

use serde_json::json;
use simsim_testkit::{SmallFs, skip};

use super::{Who, World};
use crate::hosts::until;

const MIB: usize = 1 << 20;

#[test]
fn pwr06_pwr08_a_full_datastore_is_said_old_savesets_restore_and_room_helps() {
    let small = match SmallFs::tmpfs(24 * MIB as u64, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut world = World::with_store(scratch, small.path().join("store"));
    world.change(4 * MIB);
    world.saved("while there is room");
    for bytes in [40 * MIB, 22 * MIB, 30 * MIB] {
        world.change(bytes);
        let ended = world.server.backup("home");
        assert_eq!(ended["state"], "failed", "{ended:#}");
        assert_eq!(ended["error"]["kind"], "full", "{ended:#}");
        world.settled("after a full disk");
        world.restored(0, "an old saveset on a full disk");
    }
    world.change(2 * MIB);
    world.saved("with less to store");
    let filler = small.fill("filler").unwrap();
    world.restored(1, "not one byte free");
    world.change(MIB);
    let ended = world.server.backup("home");
    assert_eq!(ended["error"]["kind"], "full", "{ended:#}");
    // A restart on a disk without a free byte, and all is still there.
    world.again(Who::Device);
    world.until_connected();
    world.restored(1, "restarted without a free byte");
    std::fs::remove_file(filler).unwrap();
    world.saved("room again");
    world.all_restored();
}

#[test]
fn pwr06_a_datastore_without_inodes_is_said_and_old_savesets_restore() {
    let small = match SmallFs::tmpfs(64 * MIB as u64, Some(400)) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut world = World::with_store(scratch, small.path().join("store"));
    world.change(2 * MIB);
    world.saved("while there is room");
    let fillers = small.path().join("fillers");
    std::fs::create_dir(&fillers).unwrap();
    let made = (0..1000).take_while(|n| std::fs::write(fillers.join(n.to_string()), "").is_ok());
    assert!(made.count() > 10, "the inodes are used up");
    world.change(2 * MIB);
    let ended = world.server.backup("home");
    assert_eq!(ended["state"], "failed", "{ended:#}");
    assert_eq!(ended["error"]["kind"], "full", "{ended:#}");
    world.restored(0, "without a free inode");
    std::fs::remove_dir_all(fillers).unwrap();
    world.again(Who::Device);
    world.until_connected();
    world.settled("inodes again");
    world.saved("inodes again");
    world.all_restored();
}

#[test]
fn pwr07_a_server_whose_state_is_full_keeps_every_acknowledged_saveset() {
    let small = match SmallFs::tmpfs(24 * MIB as u64, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let scratch = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(small.path(), scratch.path().join("server")).unwrap();
    let store = scratch.path().join("store");
    let mut world = World::with_store(scratch, store);
    world.change(2 * MIB);
    world.saved("while there is room");
    let filler = small.fill("filler").unwrap();
    world.change(2 * MIB);
    // Either the job is refused at once, or it waits for room to write its end down.
    let asked = world.server.ask("task.run", json!({ "task": "home" }));
    let refused = asked.as_ref().is_err_and(|error| error.to_string().contains("space"));
    assert!(asked.is_ok() || refused, "{asked:?}");
    std::thread::sleep(std::time::Duration::from_secs(2));
    world.server.must("status", serde_json::Value::Null);
    std::fs::remove_file(filler).unwrap();
    if asked.is_ok() {
        world.settled("room again");
    }
    world.saved("room again");
    world.all_restored();
}

#[test]
fn pwr07_a_restore_into_a_full_target_is_no_success_and_ends() {
    let small = match SmallFs::tmpfs(2 * MIB as u64, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let mut world = World::new();
    world.change(6 * MIB);
    world.saved("before");
    let (saveset, copy) = world.newest();
    let target = small.path().join("target");
    let request = json!({ "saveset": saveset, "target": target, "overwrite": "always" });
    let ended = world.server.ended(&world.server.must("restore", request));
    let state = ended["state"].as_str().unwrap();
    assert!(["finished_with_errors", "failed"].contains(&state), "{ended:#}");
    let told = format!("{ended}");
    assert!(told.contains("No space left") || told.contains("space"), "{ended:#}");
    let larger = world.scratch.path().join("larger");
    let request = json!({ "saveset": world.newest().0, "target": larger });
    let ended = world.server.ended(&world.server.must("restore", request));
    assert_eq!(ended["state"], "finished", "{ended:#}");
    world.compare(&copy, &larger, "with room");
    until("the client is reached", || world.server.is_connected("web"));
}
