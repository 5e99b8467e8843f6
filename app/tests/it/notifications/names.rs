//! What a notification is about is there, and stays there.

use serde_json::{Value, json};

use super::Site;

#[test]
fn ret04_a_notification_that_could_never_tell_anything_is_refused_and_what_it_names_stays() {
    let site = Site::new("");
    let server = &site.server;
    let own = server.own_name();
    let hook = |filter: Value| {
        let via = json!({ "kind": "webhook", "url": "https://localhost:9/" });
        let mut hook = json!({ "name": "hook", "via": via, "enabled": false });
        hook.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        hook
    };
    for (filter, why) in [
        (json!({ "tasks": ["home", "typo"] }), "there is no task 'typo'"),
        (json!({ "clients": ["typo"] }), "there is no client 'typo'"),
    ] {
        let refused = server.ask("notification.add", hook(filter)).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(server.must("notification.list", Value::Null), json!([]));
    server.must("notification.add", hook(json!({ "tasks": ["home"], "clients": [own] })));
    let user = json!({
        "name": "kim", "password": "a very long password", "grants": [{ "role": "backup", "task": "home" }],
    });
    server.must("user.add", user);
    server.must("event.add", json!({ "name": "night", "subjects": ["home"] }));
    // All of them at once, so that nobody has to ask again and again.
    let held = server.ask("task.delete", json!({ "name": "home" })).unwrap_err().to_string();
    for holder in ["event 'night'", "user 'kim'", "notification 'hook'"] {
        assert!(held.contains(holder), "{holder}: {held}");
    }
    server.must("event.remove", json!({ "name": "night" }));
    server.must("user.remove", json!({ "name": "kim" }));
    let held = server.ask("task.delete", json!({ "name": "home" })).unwrap_err().to_string();
    assert!(held.contains("still used by notification 'hook'"), "{held}");
    server.must("notification.change", hook(json!({})));
    server.must("task.delete", json!({ "name": "home" }));
    // Jobs of a replication, a migration or a command bear its name.
    let command = json!({ "name": "sweep", "client": own });
    server.must("command.add", command);
    server.must("notification.change", hook(json!({ "tasks": ["sweep"] })));
}
