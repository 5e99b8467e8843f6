//! Drives come and go while their datastore is in service, and datastores that hold nothing go for good.

use std::net::TcpStream;

use serde_json::{Value, json};
use simsim_testkit::free_ports;

use crate::hosts::{Daemon, until};

#[test]
fn a_drive_is_changed_and_removed_with_its_port_and_a_datastore_goes_when_nothing_is_in_it() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("server");
    std::fs::create_dir_all(&state).unwrap();
    let base = free_ports(1)[0].min(65_000);
    let settings = format!("[listen]\ndrive = [\"127.0.0.1:{base}\"]\n");
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    let server = Daemon::start("server", &state);
    let own = server.own_name();
    let store = scratch.path().join("store");
    server.must("datastore.create", json!({ "name": "main", "path": store }));
    let tree = scratch.path().join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("file"), "open sesame").unwrap();
    server.add_task("home", &own, &tree);

    let answers = |number: u16| TcpStream::connect(("127.0.0.1", base + number)).is_ok();
    let second = server.must("drive.add", json!({ "datastore": "main", "jobs_max": 3 }));
    assert_eq!((&second["number"], &second["datastore"]), (&json!(2), &json!("main")));
    until("its port is open", || answers(2));
    let changed = server.must("drive.change", json!({ "number": 2, "jobs_max": 9 }));
    assert_eq!(changed["jobs_max"], 9);
    let wrong = server.ask("drive.change", json!({ "number": 2, "jobs_max": 0 })).unwrap_err();
    assert!(wrong.to_string().contains("1 to 1000"), "{wrong}");
    let drives = server.must("drive.list", Value::Null);
    let seen: Vec<_> = drives.as_array().unwrap().iter().map(|one| &one["jobs_max"]).collect();
    assert_eq!(seen[1], 9, "{drives:#}");
    server.must("drive.remove", json!({ "number": 2 }));
    until("its port is shut", || !answers(2));
    assert!(answers(1), "the other one stays");
    assert_eq!(server.backup("home")["state"], "finished");
    let last = server.ask("drive.remove", json!({ "number": 1 })).unwrap_err();
    assert!(last.to_string().contains("the only one"), "{last}");

    // A second datastore that was made by mistake.
    let other = scratch.path().join("other");
    server.must("datastore.create", json!({ "name": "other", "path": other }));
    let in_service = server.ask("datastore.remove", json!({ "name": "other" })).unwrap_err();
    assert!(in_service.to_string().contains("take it out first"), "{in_service}");
    server.must("datastore.detach", json!({ "name": "other" }));
    server.must("datastore.remove", json!({ "name": "other" }));
    let names = |server: &Daemon| -> Vec<String> {
        let list = server.must("datastore.list", Value::Null);
        let names = list.as_array().unwrap().iter();
        names.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&server), ["main"]);
    assert!(other.join("packs").exists() || other.exists(), "its folder stays");
    // What it holds is not lost: it is taken into service again.
    server.must("datastore.attach", json!({ "path": other }));
    assert_eq!(names(&server), ["main", "other"]);

    // One in which savesets are listed stays, in service or not.
    let out = server.must("datastore.detach", json!({ "name": "main" }));
    assert_eq!((&out["name"], &out["state"]), (&json!("main"), &json!("detached")));
    assert_eq!(out["used_by"], json!(["task 'home'"]), "{out:#}");
    let listed = server.ask("datastore.remove", json!({ "name": "main" })).unwrap_err();
    let listed = listed.to_string();
    for holder in ["task 'home'", "savesets that are listed in it"] {
        assert!(listed.contains(holder), "{holder}: {listed}");
    }
    assert_eq!(names(&server), ["main", "other"]);
}
