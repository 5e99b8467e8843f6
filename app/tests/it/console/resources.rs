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
    // Nor where it could go elsewhere by now: it stays where it is.
    let second = json!({ "path": port.scratch.path().join("second") });
    port.ask(&all, "PUT", "/api/v1/datastores/second", &second).is(201);
    let again = port.ask(&all, "PUT", path, &task).is(200);
    assert_eq!(again.field("etag"), Some(&*tag), "{}", again.text);
    let known = format!("If-None-Match: {tag}");
    let not_sent = port.ask_if(&all, "GET", path, &Value::Null, &[&known]).is(304);
    assert_eq!((not_sent.text.as_str(), not_sent.field("etag")), ("", Some(&*tag)));

    let task = json!({ "client": own, "sources": ["/etc"], "datastore": "main" });
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
fn lists_are_asked_for_by_what_stands_in_them_and_show_no_more_for_it() {
    let port = Port::furnished();
    let (all, own, server) = (port.superuser(), port.server.own_name(), &port.server);
    for (name, parent) in [("germany", None), ("berlin", Some("germany")), ("lima", None)] {
        server.must("location.add", json!({ "name": name, "parent": parent }));
    }
    server.must("client.place", json!({ "name": own, "location": "berlin" }));
    server.must("pool.add", json!({ "name": "gold", "policy": "last 3" }));
    let mail =
        json!({ "name": "mail", "client": own, "sources": ["/etc/hostname"], "pool": "gold" });
    server.must("task.add", mail);
    server.must("task-group.add", json!({ "name": "posts", "tasks": ["mail"] }));
    server.must("schedule.add", json!({ "name": "late", "line": "daily 22:00" }));
    server.must("calendar.add", json!({ "name": "holidays", "days": "day 25 of dec" }));
    let night = json!({ "name": "night", "subjects": ["home"], "schedule": "late" });
    server.must("event.add", night);
    let tests = json!({
        "name": "tests", "kind": "restore-drill", "task_groups": ["posts"], "enabled": false,
    });
    server.must("event.add", tests);
    server.must("command.add", json!({ "name": "sweep", "client": own }));
    let hook = json!({ "kind": "webhook", "url": "https://ops.example/" });
    for (name, tasks) in [("everything", json!([])), ("posts", json!(["mail"]))] {
        let told = json!({ "name": name, "via": hook, "tasks": tasks });
        server.must("notification.add", told);
    }
    let password = "a very long password";
    for (name, role, disabled) in [("anna", "auditor", false), ("ben", "operator", true)] {
        let user = json!({
            "name": name, "grants": [{ "role": role }], "password": password, "disabled": disabled,
        });
        server.must("user.add", user);
    }
    let of_anna = json!({ "name": "annas", "user": "anna", "grants": [{ "role": "auditor" }] });
    server.must("api-token.create", of_anna);
    let one = port.token("one", &json!([{ "right": "view", "task": "home" }]));
    let names = |token: &str, query: &str| {
        let page = port.get(token, &format!("/api/v1/{query}")).is(200).json();
        let items = page["items"].as_array().unwrap();
        items.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    let upper = own.to_uppercase();
    for (query, wanted) in [
        (format!("clients?name={upper}"), own.as_str()),
        ("clients?location=germany".to_owned(), &own),
        ("clients?location=lima".to_owned(), ""),
        ("clients?state=revoked".to_owned(), ""),
        ("clients?state=enrolled&access_mode=smssh".to_owned(), &own),
        ("tasks?name=*o*".to_owned(), "home"),
        ("tasks?pool=gold".to_owned(), "mail"),
        ("tasks?pool=default".to_owned(), "home"),
        ("tasks?task_group=posts".to_owned(), "mail"),
        ("tasks?datastore=main&kind=path&limit=1".to_owned(), "home"),
        ("tasks?kind=stream".to_owned(), ""),
        ("events?task=mail".to_owned(), "tests"),
        ("events?enabled=true".to_owned(), "night"),
        ("events?kind=restore-drill".to_owned(), "tests"),
        ("events?schedule=late&name=n".to_owned(), "night"),
        ("task-groups?task=home".to_owned(), ""),
        ("task-groups?task=mail".to_owned(), "posts"),
        ("schedules?name=l*".to_owned(), "late"),
        ("calendars?name=x".to_owned(), ""),
        ("locations?parent=germany".to_owned(), "berlin"),
        ("locations?name=*i*".to_owned(), "berlin lima"),
        ("commands?client=other".to_owned(), ""),
        (format!("commands?client={own}"), "sweep"),
        ("pools?name=gold".to_owned(), "gold"),
        ("notifications?task=home".to_owned(), "everything"),
        ("notifications?task=mail&enabled=true".to_owned(), "everything posts"),
        ("users?disabled=true".to_owned(), "ben"),
        ("users?role=auditor".to_owned(), "anna"),
        ("api-tokens?user=anna".to_owned(), "annas"),
        ("api-tokens?state=expired".to_owned(), ""),
        (format!("datastores?node={own}"), "main"),
        ("datastores?node=elsewhere".to_owned(), ""),
    ] {
        assert_eq!(names(&all, &query), wanted, "{query}");
    }
    let connected = |is: bool| names(&all, &format!("clients?connected={is}"));
    assert_eq!(format!("{}{}", connected(true), connected(false)), own);
    for (query, status, words) in [
        ("clients?state=gone", 400, "revoked"),
        ("clients?connected=perhaps", 400, "'connected'"),
        ("clients?location=paris", 404, "no location 'paris'"),
        ("tasks?task_group=none", 404, "no task group 'none'"),
        ("tasks?name=%5Ba", 400, "pattern"),
        ("events?kind=party", 400, "backup"),
        ("schedules?colour=red", 400, "'colour'"),
    ] {
        port.get(&all, &format!("/api/v1/{query}")).fails(status, words);
    }
    // For who sees a part: what the whole list shows, and less.
    assert_eq!(names(&one, "tasks"), "home");
    assert_eq!(names(&one, "tasks?name=mail"), "");
    assert_eq!(names(&one, "tasks?pool=gold"), "");
    assert_eq!(names(&one, "clients?location=berlin"), own);
    assert_eq!(names(&one, "clients?location=germany"), "", "which is within which is not told");
    port.get(&one, "/api/v1/tasks?task_group=posts").fails(403, "the suite");
    port.get(&one, "/api/v1/events?task=home").fails(403, "the suite");
    port.get(&one, "/api/v1/users?name=a").fails(403, "'people'");

    // One of them, as it stands in its list.
    for path in ["schedules/late", "calendars/holidays", "task-groups/posts", "api-tokens/annas"] {
        let (list, name) = path.split_once('/').unwrap();
        let shown = port.get(&all, &format!("/api/v1/{path}")).is(200).json();
        let list = port.get(&all, &format!("/api/v1/{list}?name={name}")).is(200).json();
        assert_eq!(list["items"], json!([shown]), "{path}");
    }
    assert_eq!(port.get(&all, "/api/v1/drives/1").is(200).json()["datastore"], "main");
    let host = format!("/api/v1/interfaces/{own}");
    assert_eq!(port.get(&all, &host).is(200).json()["host"], own);
    assert_eq!(port.get(&one, &format!("/api/v1/clients/{own}")).is(200).json()["name"], own);
    for path in ["clients/x", "schedules/x", "calendars/x", "task-groups/x", "api-tokens/x"] {
        port.get(&all, &format!("/api/v1/{path}")).fails(404, "there is no");
    }
    for path in ["stream-tokens/x", "interfaces/x", "drives/77"] {
        port.get(&all, &format!("/api/v1/{path}")).fails(404, "there is no");
    }
    port.get(&one, "/api/v1/clients/x").fails(403, "client 'x'");
    port.get(&one, &host).fails(403, "interfaces");
    port.get(&one, "/api/v1/stream-tokens/x").fails(403, "the suite");
    for path in ["schedules/late", "calendars/holidays", "task-groups/posts", "drives/1"] {
        port.get(&one, &format!("/api/v1/{path}")).fails(403, "the suite");
    }
    port.get(&one, "/api/v1/api-tokens/one").fails(403, "'people'");
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
    port.get(&all, "/api/v1/schedules/nix").fails(404, "there is no schedule 'nix'");
    port.get(&all, "/api/v1/api-tokens/nix").fails(404, "there is no API token 'nix'");
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
