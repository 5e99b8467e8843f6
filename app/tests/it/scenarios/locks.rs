//! Locks that are extended: their devices hold them, whatever becomes of the server, and of what it says.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::points::{During, POINTS};
use super::{Who, World, must_end};
use crate::hosts::{PATIENCE, until};

const BYTES: usize = 1 << 20;
const DAY: u64 = 86_400;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn with_two() -> World {
    let mut world = World::new();
    for round in 0..2 {
        world.change(BYTES);
        world.saved(&format!("backup {round}"));
    }
    world
}

impl World {
    fn life(&self, saveset: &Value) -> Value {
        let why = self.server.must("saveset.why", json!({ "saveset": saveset }));
        why["lives"][0].clone()
    }

    fn owed(&self, saveset: &Value) -> Value {
        self.server.must("saveset.show", json!({ "saveset": saveset }))["lock_owed_to"].clone()
    }
}

fn killed(who: Who) {
    let mut world = with_two();
    let saveset = world.kept[0].saveset.clone();
    let mut later = now_s() + DAY;
    for (point, _, skip, _) in POINTS.iter().filter(|one| one.3 == During::Lock && one.1 == who) {
        let what = format!("{who:?} killed at {point}");
        later += DAY;
        world.arm(who, &format!("{point}=kill:{skip}"));
        let ready = world.daemon(who).process.wait_for_line("is ready", PATIENCE);
        ready.unwrap_or_else(|error| panic!("{what}: {error}"));
        world.until_connected();
        let lock = json!({ "saveset": saveset, "until_unix_s": later });
        let asked = world.server.ask("saveset.lock", lock);
        must_end(&mut world.daemon(who).process, &what);
        if who == Who::Device {
            // Set it is; the device may have it, and did not say so.
            let life = asked.unwrap()["lives"][0].clone();
            assert_eq!(life["lock_until_unix_s"], later, "{what}: {life:#}");
            assert!(life["held_until_unix_s"].as_u64().unwrap() < later, "{what}: {life:#}");
            assert_eq!(world.owed(&saveset), json!(["main"]), "{what}");
        }
        world.again(who);
        world.until_connected();
        until(&format!("{what}: its device holds it"), || {
            world.life(&saveset)["held_until_unix_s"] == later
        });
        assert_eq!(world.owed(&saveset), json!([]), "{what}");
        let explained = world.life(&saveset)["explained"].to_string();
        assert!(explained.contains("Its device holds that lock by itself"), "{explained}");
    }
    let shorter = json!({ "saveset": saveset, "until_unix_s": later - 1 });
    let error = world.server.ask("saveset.lock", shorter).unwrap_err().to_string();
    assert!(error.contains("never shortened"), "{error}");
}

#[test]
fn pwr04_a_server_killed_between_any_two_steps_of_a_lock_tells_it_after_its_restart() {
    killed(Who::Server);
}

#[test]
fn pwr04_a_device_killed_between_any_two_steps_of_a_lock_holds_it_after_its_restart() {
    killed(Who::Device);
}

#[test]
fn a_device_that_is_away_is_owed_the_lock_and_told_when_it_is_back() {
    let mut world = with_two();
    let saveset = world.kept[0].saveset.clone();
    world.device.process.kill();
    until("its line is known to be lost", || !world.server.is_connected("far"));
    let later = now_s() + 3 * DAY;
    let lock = json!({ "saveset": saveset, "until_unix_s": later });
    let life = world.server.must("saveset.lock", lock)["lives"][0].clone();
    assert_eq!((&life["held_until_unix_s"], &life["state"]), (&json!(0), &json!("kept")));
    let explained = life["explained"].as_str().unwrap();
    assert!(explained.contains("Its device does not hold that lock yet: "), "{explained}");
    assert!(life["lock_trouble"].is_string(), "{life:#}");
    let shown = world.server.must("saveset.show", json!({ "saveset": saveset }));
    assert_eq!(shown["lock_until_unix_s"], later, "{shown:#}");
    assert_eq!(shown["lock_owed_to"], json!(["main"]), "{shown:#}");
    world.again(Who::Device);
    world.until_connected();
    until("its device holds it", || world.life(&saveset)["held_until_unix_s"] == later);
    assert_eq!(world.owed(&saveset), json!([]));
    assert_eq!(world.life(&saveset)["lock_trouble"], Value::Null);
}

/// Root on the server's host: the catalog says that nothing was ever locked, and the device is asked to
/// delete. It refuses, and both hosts write that down.
#[test]
fn a_server_whose_catalog_was_forged_deletes_nothing_that_its_device_holds() {
    let mut world = with_two();
    let (held, free) = (world.kept[0].saveset.clone(), world.kept[1].saveset.clone());
    world.change(BYTES);
    world.saved("the newest, which stays");
    let lock = json!({ "saveset": held, "until_unix_s": now_s() + 3 * DAY });
    let life = world.server.must("saveset.lock", lock)["lives"][0].clone();
    assert_eq!(life["held_until_unix_s"], life["lock_until_unix_s"], "{life:#}");
    world.server.stop();
    // What is decided and told is told again at the start, whatever was known before.
    let script = "import sqlite3, sys, time\n\
                  catalog = sqlite3.connect(sys.argv[1], timeout=30)\n\
                  catalog.execute('UPDATE backups SET lock_until_unix_s = 0')\n\
                  catalog.execute('DELETE FROM held_locks')\n\
                  now = int(time.time() * 1000)\n\
                  for saveset in sys.argv[2:]:\n\
                  \x20   catalog.execute('INSERT INTO deletions (saveset, store, why, asked_by, decided_unix_ms, told_unix_ms) '\n\
                  \x20       'SELECT saveset, store, ?, ?, ?, ? FROM savesets WHERE saveset = ?', ('forged', 'local:root', now, now, bytes.fromhex(saveset)))\n\
                  catalog.commit()";
    let catalog = world.server.state.join("server/catalog.db");
    let ids = [&held, &free].map(|id| id.as_str().unwrap().to_owned());
    let forged = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&catalog)
        .args(&ids)
        .output()
        .unwrap();
    assert!(forged.status.success(), "{forged:?}");
    world.again(Who::Server);
    world.until_connected();
    until("the one that is not locked is gone", || world.life(&free)["state"] == "deleted");
    let refused = "asked to delete what is locked: refused";
    let said = world.device.process.wait_for_line(refused, PATIENCE);
    said.unwrap_or_else(|error| panic!("{error}"));
    until("the refusal is written down", || {
        let rows = world.server.must("audit.list", json!({ "limit": 1000 }));
        rows.to_string().contains("its device refuses: saveset")
    });
    // And the server knows of the lock again.
    until("the device's word is heard", || {
        let life = world.life(&held);
        life["state"] == "kept" && life["held_until_unix_s"].as_u64().unwrap() > now_s()
    });
    world.restored(0, "the one that is locked");
}
