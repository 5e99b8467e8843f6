//! Resources: what is made, changed, found in pages, run and followed, as curl sees it.

use serde_json::{Value, json};

use super::Port;
use crate::hosts::until;

#[test]
fn a_task_is_made_changed_and_removed_and_nobody_writes_over_what_they_did_not_see() {
    let port = Port::furnished();
    let all = port.superuser();
    let own = port.server.own_name();
    let task = json!({ "client": own, "sources": ["/etc"] });
    let path = "/api/v1/tasks/etc";
    let made = port.ask(&all, "PUT", path, &task).is(201);
    assert_eq!(made.field("location"), Some(path));
    let seen = port.get(&all, path).is(200);
    let tag = seen.field("etag").unwrap().to_owned();
    assert_eq!(made.field("etag"), Some(&*tag), "as it is seen afterwards");
    assert_eq!(seen.json(), made.json());
    // Again, and nothing is different.
    let again = port.ask(&all, "PUT", path, &task).is(200);
    assert_eq!(again.field("etag"), Some(&*tag));
    let known = format!("If-None-Match: {tag}");
    let not_sent = port.ask_if(&all, "GET", path, &Value::Null, &[&known]).is(304);
    assert_eq!((not_sent.text.as_str(), not_sent.field("etag")), ("", Some(&*tag)));

    let other = json!({ "client": own, "sources": ["/usr"], "name": "etc" });
    let if_same = format!("If-Match: {tag}");
    let changed = port.ask_if(&all, "PUT", path, &other, &[&if_same]).is(200);
    assert_ne!(changed.field("etag"), Some(&*tag));
    port.ask_if(&all, "PUT", path, &task, &[&if_same]).fails(412, "as you saw it");
    port.ask_if(&all, "DELETE", path, &Value::Null, &[&if_same]).fails(412, "as you saw it");
    port.ask_if(&all, "PUT", path, &task, &["If-None-Match: *"]).fails(412, "there already");
    assert_eq!(port.get(&all, path).is(200).json()["sources"], json!(["/usr"]));
    port.ask_if(&all, "PUT", "/api/v1/tasks/new", &task, &["If-Match: *"]).fails(412, "not there");

    let gone = port.ask(&all, "DELETE", path, &Value::Null).is(200);
    assert!(gone.json().is_object() || gone.json().is_null(), "{}", gone.text);
    port.get(&all, path).fails(404, "etc");
    port.ask(&all, "DELETE", path, &Value::Null).fails(404, "etc");
}

#[test]
fn what_cannot_be_changed_is_made_once_and_found_the_same_afterwards() {
    let port = Port::start();
    let all = port.superuser();
    let place = |name: &str| json!({ "path": port.scratch.path().join(name) });
    port.ask(&all, "PUT", "/api/v1/datastores/main", &place("store")).is(201);
    port.ask(&all, "PUT", "/api/v1/datastores/main", &place("store")).is(200);
    port.ask(&all, "PUT", "/api/v1/datastores/main", &place("else")).fails(409, "'path'");
    assert!(!port.scratch.path().join("else").exists());
    let group = json!({ "drives": [1] });
    port.ask(&all, "PUT", "/api/v1/drive-groups/all", &group).is(201);
    port.ask(&all, "PUT", "/api/v1/drive-groups/all", &group).is(200);
    let rate = json!({ "rates": ["1MB/s"] });
    let made = port.ask(&all, "POST", "/api/v1/rates", &rate).is(201);
    let place = made.field("location").unwrap().to_owned();
    assert_eq!(port.get(&all, &place).is(200).json()["rates"], json!(["1MB/s"]));
    port.ask(&all, "DELETE", &place, &Value::Null).is(200);
    port.get(&all, &place).fails(404, "no");
}

#[test]
fn lists_come_in_pages_whose_next_one_they_name() {
    let port = Port::furnished();
    let (all, own) = (port.superuser(), port.server.own_name());
    for n in 0..5 {
        let task = json!({ "name": format!("t{n}"), "client": own, "sources": ["/etc"] });
        port.server.must("task.add", task);
    }
    let mut names: Vec<String> = Vec::new();
    let mut next = Some("/api/v1/tasks?limit=2".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let page = port.get(&all, &path).is(200).json();
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|one| one["name"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(str::to_owned);
        pages += 1;
    }
    assert_eq!((pages, names.join(" ").as_str()), (3, "home t0 t1 t2 t3 t4"));
    let none = port.get(&all, "/api/v1/tasks?client=nobody").is(200).json();
    assert_eq!(none, json!({ "items": [], "next": null }));
    for (query, words) in [
        ("limit=0", "'limit'"),
        ("limit=x", "'limit'"),
        ("limit=10001", "'limit'"),
        ("after=nothing", "'after'"),
        ("colour=red", "'colour'"),
        ("limit=%zz", "percent"),
    ] {
        port.get(&all, &format!("/api/v1/tasks?{query}")).fails(400, words);
    }
    // Those that the verb turns itself.
    let page = port.get(&all, "/api/v1/audit?limit=3").is(200).json();
    let next = page["next"].as_str().unwrap();
    assert_eq!(next, "/api/v1/audit?limit=3&after=3");
    assert_eq!(port.get(&all, next).is(200).json()["items"][0]["position"], 4);
}

#[test]
fn a_job_is_started_followed_by_events_and_looked_into_to_the_restored_byte() {
    let port = Port::furnished();
    let all = port.superuser();
    let started = port.ask(&all, "POST", "/api/v1/tasks/home/run", &json!({ "level": "full" }));
    let started = started.is(202);
    let job = started.field("location").unwrap().to_owned();
    assert_eq!(job, format!("/api/v1/jobs/{}", started.json()["job"]));
    let events = port.get(&all, &format!("{job}/events")).is(200);
    assert_eq!(events.field("content-type"), Some("text/event-stream"));
    let mut data = events.text.lines().filter_map(|line| line.strip_prefix("data: "));
    let last: Value = serde_json::from_str(data.next_back().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["state"]), (&json!("state"), &json!("finished")));
    assert!(events.text.lines().any(|line| line == "event: state"), "{}", events.text);
    let shown = port.get(&all, &job).is(200).json();
    assert_eq!(shown["state"], "finished", "{shown:#}");

    let saveset = shown["saveset"].as_str().unwrap().to_owned();
    let listed = port.get(&all, "/api/v1/savesets?task=home&limit=1").is(200).json();
    assert_eq!(listed["items"][0]["saveset"], json!(saveset));
    let tree = port.scratch.path().join("tree");
    let folder = format!("/api/v1/savesets/{saveset}/entries?path={}/a&limit=1", tree.display());
    let page = port.get(&all, &folder).is(200).json();
    assert_eq!(page["items"][0]["path"], json!(tree.join("a/b")), "{page:#}");
    let next = page["next"].as_str().unwrap();
    let page = port.get(&all, next).is(200).json();
    assert_eq!(
        (&page["items"][0]["path"], &page["next"]),
        (&json!(tree.join("a/text")), &Value::Null)
    );
    let found = format!("/api/v1/savesets/{saveset}/find?pattern=small");
    assert_eq!(port.get(&all, &found).is(200).json()["items"].as_array().unwrap().len(), 1);
    let same = format!("/api/v1/savesets/{saveset}/changes/{saveset}");
    assert_eq!(port.get(&all, &same).is(200).json()["items"], json!([]));

    let target = port.scratch.path().join("back");
    let restore = format!("/api/v1/savesets/{saveset}/restore");
    let job = port.ask(&all, "POST", &restore, &json!({ "target": target })).is(202);
    let job = job.field("location").unwrap().to_owned();
    until("the restore ends", || !port.get(&all, &job).is(200).json()["ended_unix_ms"].is_null());
    assert_eq!(crate::hosts::differences(&tree, &target), Vec::<String>::new());
    let log = port.get(&all, &format!("{job}/log?limit=1")).is(200).json();
    assert_eq!(log["items"].as_array().unwrap().len(), 1);
    assert!(log["next"].as_str().unwrap().ends_with("after=0"), "{log}");
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let port = Port::start();
    let all = port.superuser();
    let task = "/api/v1/tasks/x";
    port.get(&all, "/api/v1/nothing").fails(404, "openapi.json");
    port.get(&all, "/api/v1/tasks/").fails(404, "openapi.json");
    port.get(&all, "/api/v1/tasks/%ff").fails(400, "UTF-8");
    let patched = port.ask(&all, "PATCH", task, &json!({})).fails(405, "PUT");
    assert_eq!(patched.field("allow"), Some("GET, PUT, DELETE, HEAD"));
    // What would be refused in any case is, whatever it depends on.
    port.ask_if(&all, "PUT", task, &json!({}), &["If-Match: *"]).fails(400, "client");
    let posted = port.ask(&all, "POST", task, &json!({})).fails(405, "PUT");
    assert_eq!(posted.field("allow"), Some("GET, PUT, DELETE, HEAD"));
    port.ask(&all, "PUT", task, &json!([])).fails(400, "an object");
    port.ask(&all, "PUT", task, &json!({ "name": "y" })).fails(400, "the path says");
    let unknown = json!({ "client": "x", "sources": ["/"], "colour": "red" });
    port.ask(&all, "PUT", task, &unknown).fails(400, "colour");
    port.ask(&all, "PUT", "/api/v1/tasks/x?limit=1", &unknown).fails(400, "'limit'");
    port.get(&all, "/api/v1/jobs/x").fails(400, "'job'");
    port.get(&all, "/api/v1/jobs/7").fails(404, "job");
    port.get(&all, "/api/v1/schedules/nix").fails(404, "among schedules there is no 'nix'");
    port.get(&all, "/api/v1/api-tokens/nix").fails(404, "among API tokens there is no 'nix'");
    let file = port.file("header", &format!("Authorization: Bearer {all}"));
    let header = format!("@{}", file.display());
    let form = ["-H", &header, "--data", "a=b"];
    port.curl("PUT", task, &form).fails(415, "application/json");
    let text = ["-H", &header, "-H", "Content-Type: application/json", "--data", "{"];
    port.curl("PUT", task, &text).fails(400, "not JSON");
    let deep = "[".repeat(40) + &"]".repeat(40);
    let text = ["-H", &header, "-H", "Content-Type: application/json", "--data", &deep];
    port.curl("PUT", task, &text).fails(400, "deeper than 32");
    let none = ["-H", &header, "-H", "Content-Type: application/json", "--data", "null"];
    port.curl("POST", "/api/v1/join-codes", &none).fails(400, "an object");
    for wrong in ["If-Match: x", "If-None-Match: \"x"] {
        port.ask_if(&all, "GET", "/api/v1/tasks", &Value::Null, &[wrong]).fails(400, "condition");
    }
    let when = ["If-Match: *"];
    port.ask_if(&all, "POST", "/api/v1/join-codes", &json!({}), &when).fails(400, "'If-Match'");
}
