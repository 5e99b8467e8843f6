//! Every subject of an absence: found when it is missing, and taken back when it is there again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{HOUR_MS, Site};
use crate::hosts::{Daemon, PATIENCE, assert_done, until, until_within};

const DAY_MS: i64 = 24 * HOUR_MS;

/// What the notification says is missing, by the first word of each subject.
fn missing(site: &Site) -> BTreeSet<String> {
    let shown = site.show("all");
    let absent = shown["absent"].as_array().unwrap().iter();
    absent
        .map(|one| one["subject"].as_str().unwrap().split(' ').next().unwrap().to_owned())
        .collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn ret04_every_absence_is_found_and_taken_back() {
    let site = Site::new("");
    let server = &site.server;
    let client = Daemon::start("client", &site.scratch.path().join("client"));
    let port = format!("127.0.0.1:{}", client.port);
    assert_done(&server.join("web", &client.state, &["--listen", &port]));
    server.until_connected("web");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let far = (now.as_secs() / 3600 + 12) % 24;
    server.must("event.add", json!({
        "name": "night", "subjects": ["home"], "at": format!("daily at {far:02}:00 UTC within 10m missed skip"),
    }));
    let watch = |subject: &str, after_h: u32| json!({ "subject": subject, "after_h": after_h });
    let watches = json!([
        watch("backup", 26), watch("verification", 720), watch("drill", 2160), watch("green", 24),
        watch("self_backup", 48), watch("host", 48), { "subject": "space", "below_percent": 99 },
        { "subject": "missed" }, { "subject": "clock" }, { "subject": "approval" }, { "subject": "delivery" },
    ]);
    let all = json!({
        "name": "all", "via": { "kind": "program", "local_name": "note" }, "outcomes": [], "tasks": ["home"],
        "watch": watches,
    });
    server.must("notification.add", all.clone());
    until_within("a look", std::time::Duration::from_secs(90), || missing(&site).contains("space"));
    assert_eq!(missing(&site), set(&["space"]), "{}", site.show("all"));

    // Nobody takes what another one tells; an act waits; a host goes; the clock runs on.
    let dead = json!({
        "name": "dead", "via": { "kind": "program", "local_name": "bad" }, "outcomes": ["finished"],
    });
    server.must("notification.add", dead);
    let user = |name: &str, role: &str| json!({ "name": name, "password": "a very long password", "grants": [{ "role": role }] });
    server.must("user.add", user("anna", "superuser"));
    server.must("user.add", user("kim", "administrator"));
    drop(client);
    until("the host is gone", || !server.is_connected("web"));
    assert_eq!(server.backup("home")["state"], "finished");
    let mut shift = 0;
    until("nobody takes it", || {
        shift += HOUR_MS;
        site.shift(shift);
        std::thread::sleep(std::time::Duration::from_secs(3));
        missing(&site).is_superset(&set(&["approval", "delivery"]))
    });
    // An approval that nobody decides on within three days ends by itself; all the rest is missing by then.
    let everything = set(&[
        "backup",
        "clock",
        "delivery",
        "drill",
        "green",
        "host",
        "missed",
        "self_backup",
        "space",
        "verification",
    ]);
    // What the clock was is known.
    server.must("retention.confirm-clock", Value::Null);
    site.shift(100 * DAY_MS);
    // After a jump the scheduler waits for a clock that is steady.
    until_within("all are missing", PATIENCE * 3, || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let seen = missing(&site);
        seen.is_superset(&everything) || {
            println!("missing: {seen:?}");
            false
        }
    });
    assert_eq!(missing(&site), everything);
    let drill = site.show("all");
    let text =
        drill["absent"].as_array().unwrap().iter().find(|one| one["subject"] == "drill home");
    let text = text.unwrap()["text"].as_str().unwrap();
    assert!(text.contains("has no restore drill that passed at all"), "{text}");

    // All of it again.
    server.must("retention.confirm-clock", Value::Null);
    server.must("notification.remove", json!({ "name": "dead" }));
    server.must("event.remove", json!({ "name": "night" }));
    let _client = Daemon::start_again_at("client", &site.scratch.path().join("client"), &port);
    assert_eq!(server.backup("home")["state"], "finished");
    server.ended(&server.must("datastore.verify", json!({ "datastore": "main" })));
    let drill = server.ended(&server.must("drill.run", json!({ "task": "home" })));
    assert_eq!(drill["state"], "finished", "{drill:#}");
    server.must("key.kit", Value::Null);
    let own = server.backup("self-backup");
    assert_eq!(own["state"], "finished", "{own:#}");
    let mut change = all;
    change["watch"][6]["below_percent"] = json!(1);
    server.must("notification.change", change);
    site.shift(100 * DAY_MS + HOUR_MS);
    until_within("nothing is missing", PATIENCE * 3, || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        println!("still missing: {:?}", missing(&site));
        missing(&site).is_empty()
    });
}
