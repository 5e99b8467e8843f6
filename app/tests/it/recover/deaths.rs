//! `simsim recover` is killed at every point, and run again (REP02: what puts things right may be
//! interrupted, and a second run comes to the same).

use serde_json::json;

use super::{World, text, told};
use crate::scenarios::points::{During, POINTS};

#[test]
fn rep02_a_recovery_killed_at_every_point_is_run_again_and_the_server_is_the_same() {
    let mut world = World::new();
    world.saved("home");
    world.saved("self-backup");
    let main = world.path("main");
    let mut tried = 0;
    for (point, ..) in POINTS.iter().filter(|point| point.3 == During::Recovery) {
        if *point == "recovery.checked" {
            continue;
        }
        tried += 1;
        world.lose_server();
        let mut command = world.command(&world.server.state, &[text(&main)]);
        let died = command.env("SIMSIM_FAILPOINTS", format!("{point}=kill")).output().unwrap();
        assert!(died.status.code().is_none(), "{point}: {}", told(&died));
        let again = world.recover(&[text(&main)]);
        // Past the last step a server is there, and that is said.
        let there = *point == "recovery.server_placed";
        let status = if there { Some(2) } else { Some(0) };
        assert_eq!(again.status.code(), status, "{point}: {}", told(&again));
        assert!(!world.server.state.join("recovering").exists(), "{point}");
        world.server.again();
        world.server.until_connected("web");
        world.confirm();
        let job = world.saved("home");
        assert_eq!(job["progress"]["bytes_new"], 0, "{point}: {job:#}");
        let target = world.path(&format!("back{tried}"));
        world.restores(json!({ "task": "home", "client": "web" }), &world.tree, &target);
    }
    assert!(tried >= 4, "{tried}");
}
