//! API tokens: what each role and right lets them do, and when they are good for nothing.

use serde_json::{Value, json};

use super::Port;

#[test]
fn a_token_may_what_its_roles_say_until_it_is_revoked() {
    let port = Port::furnished();
    let operator = port.token("ops", &json!([{ "role": "operator" }]));
    let auditor = port.token("audits", &json!([{ "role": "auditor" }]));
    let who = port.get(&operator, "/api/v1/me").is(200).json();
    assert_eq!(who["name"], "api-token:ops");
    port.get(&operator, "/api/v1/tasks").is(200);
    port.get(&operator, "/api/v1/audit").fails(403, "'audit'");
    port.get(&auditor, "/api/v1/audit").is(200);
    let run = "/api/v1/tasks/home/run";
    port.ask(&auditor, "POST", run, &Value::Null).fails(403, "'backup'");
    port.ask(&operator, "POST", run, &Value::Null).is(202);
    // Not even that something is not there is told to who may not ask.
    port.ask(&auditor, "POST", "/api/v1/tasks/nothing/run", &Value::Null).fails(403, "'backup'");
    // What was refused, and what was done, stands in the audit log under the token's name.
    let rows = port.server.must("audit.list", json!({}));
    let acts = rows["rows"].as_array().unwrap().clone();
    let by = |name: &str, verb: &str, allowed: bool| {
        acts.iter()
            .any(|row| row["principal"] == name && row["verb"] == verb && row["allowed"] == allowed)
    };
    assert!(by("api-token:ops", "task.run", true) && by("api-token:audits", "task.run", false));

    // The verbs of the command line are open to it too.
    let named = json!({ "name": "home" });
    let shown = port.ask(&operator, "POST", "/v1/task.show", &named).is(200).json();
    assert_eq!(shown["name"], "home");
    let body = json!({ "task": "home" });
    let refused = port.ask(&auditor, "POST", "/v1/task.run", &body).is(403).json();
    assert_eq!(refused["error"]["kind"], "denied");

    port.server.must("api-token.revoke", json!({ "name": "ops" }));
    port.get(&operator, "/api/v1/me").fails(401, "API token");
    let list = port.server.must("api-token.list", Value::Null);
    assert_eq!((&list[1]["name"], &list[1]["state"]), (&json!("ops"), &json!("revoked")));
    assert!(!list.to_string().contains("simsim_api_"), "a secret is shown: {list}");
}

#[test]
fn a_token_for_one_client_reaches_no_other() {
    let port = Port::furnished();
    let own = port.server.own_name();
    let one = port.token("one", &json!([{ "role": "backup", "client": own }]));
    let of_other = json!([{ "role": "backup", "client": "other" }]);
    let unknown = json!({ "name": "other", "grants": of_other });
    let refused = port.server.ask("api-token.create", unknown).unwrap_err().to_string();
    assert!(refused.contains("there is no client 'other'"), "{refused}");
    let state = port.scratch.path().join("other");
    crate::hosts::assert_done(&port.server.join("other", &state, &[]));
    let other = port.token("other", &of_other);
    assert_eq!(port.get(&one, "/api/v1/tasks").is(200).json()["items"][0]["name"], "home");
    port.ask(&one, "POST", "/api/v1/tasks/home/run", &Value::Null).is(202);
    port.ask(&other, "POST", "/api/v1/tasks/home/run", &Value::Null).fails(403, "another client");
    port.get(&other, "/api/v1/tasks/home").fails(403, "may not");
    port.get(&one, "/api/v1/status").fails(403, "the suite");
}

#[test]
fn a_token_for_all_tasks_of_an_event_starts_it_and_no_other() {
    let port = Port::furnished();
    let (server, own) = (&port.server, port.server.own_name());
    server.add_task("mail", &own, port.scratch.path());
    server.must("task-group.add", json!({ "name": "group", "tasks": ["home"] }));
    for event in [
        json!({ "name": "low", "subjects": ["home"] }),
        json!({ "name": "group", "task_groups": ["group"] }),
        json!({ "name": "all", "all": true }),
        json!({ "name": "none", "task_groups": ["group"], "subjects": ["mail"] }),
        json!({ "name": "tests", "kind": "restore-drill", "subjects": ["home"] }),
        json!({ "name": "checks", "kind": "verification", "subjects": ["home"] }),
    ] {
        server.must("event.add", event);
    }
    let one = port.token("one", &json!([{ "right": "backup", "task": "home" }]));
    let client = port.token("client", &json!([{ "right": "backup", "client": own }]));
    let view = port.token("view", &json!([{ "right": "view" }]));
    let run = |token: &str, event: &str| {
        port.ask(token, "POST", &format!("/api/v1/events/{event}/run"), &Value::Null)
    };
    let started = run(&one, "low").is(200).json();
    assert_eq!(started["runs"][0]["subject"], "home", "{started}");
    let job = server.ended(&json!({ "job": started["runs"][0]["job"] }));
    let name = &job["requested_by"];
    assert_eq!((&job["state"], name), (&json!("finished"), &json!("api-token:one")), "{job:#}");
    run(&one, "group").is(200);
    for event in ["all", "none", "tests", "checks", "nothing"] {
        let refused = run(&one, event).fails(403, "the suite");
        assert!(!refused.text.contains("mail"), "{}", refused.text);
    }
    for event in ["all", "none"] {
        run(&client, event).is(200);
    }
    run(&client, "tests").fails(403, "the suite");
    run(&view, "low").fails(403, "'backup'");
    // What the group has now counts.
    server.must("task-group.change", json!({ "name": "group", "tasks": ["home", "mail"] }));
    run(&one, "group").fails(403, "the suite");
    let rows = server.must("audit.list", json!({}));
    let rows = rows["rows"].as_array().unwrap();
    let done = rows.iter().find(|row| row["verb"] == "event.run" && row["allowed"] == true);
    let done = done.unwrap();
    assert_eq!((&done["detail"], &done["principal"]), (&json!("low"), &json!("api-token:one")));
    assert_eq!(done["object"], format!("task 'home' of client '{own}'"));
}

#[test]
fn a_token_is_changed_by_who_could_give_what_it_has_and_gets() {
    let port = Port::furnished();
    let (server, path) = (&port.server, "/api/v1/api-tokens/ops");
    let all = port.superuser();
    let admin = port.token("admin", &json!([{ "role": "administrator" }]));
    let ops = port.token("ops", &json!([{ "role": "auditor" }]));
    let run = || port.ask(&ops, "POST", "/api/v1/tasks/home/run", &Value::Null);
    let change = |token: &str, path: &str, body: Value| port.ask(token, "PUT", path, &body);
    run().fails(403, "'backup'");
    let made = port.get(&all, path).is(200).json();
    let backup = json!([{ "role": "backup" }]);
    let changed = change(&admin, path, json!({ "grants": backup })).is(200).json();
    assert_eq!((&changed["grants"], &changed["state"]), (&backup, &json!("valid")));
    assert_eq!(changed["expires_unix_ms"], made["expires_unix_ms"], "it stays");
    run().is(202);
    port.get(&ops, "/api/v1/audit").fails(403, "'audit'");
    for (body, status, words) in [
        (json!({}), 400, "say what to change"),
        (json!({ "grants": [] }), 400, "at least one role"),
        (json!({ "expires_days": 4000 }), 400, "3650"),
        (json!({ "grants": [{ "right": "keys" }] }), 403, "nobody gives rights"),
    ] {
        change(&admin, path, body).fails(status, words);
    }
    change(&admin, "/api/v1/api-tokens/all", json!({ "expires_days": 1 }))
        .fails(403, "do not have");
    change(&ops, path, json!({ "expires_days": 1 })).fails(403, "'people'");
    change(&admin, "/api/v1/api-tokens/x", json!({ "expires_days": 1 }))
        .fails(404, "API token 'x'");
    let sooner = change(&admin, path, json!({ "expires_days": 1 })).is(200).json();
    assert!(sooner["expires_unix_ms"].as_i64() < made["expires_unix_ms"].as_i64(), "{sooner}");
    assert_eq!(sooner["grants"], backup);
    let never = change(&admin, path, json!({ "expires_days": 0 })).is(200).json();
    assert_eq!(never["expires_unix_ms"], Value::Null);

    // What one person alone may not give, one person alone does not give for longer.
    let longer = json!({ "name": "all", "expires_days": 0 });
    let refused = server.ask("api-token.change", longer).unwrap_err().to_string();
    assert!(refused.contains("make another one"), "{refused}");
    server.must("api-token.change", json!({ "name": "all", "expires_days": 1 }));
    let sue = json!({
        "name": "sue", "grants": [{ "role": "administrator" }], "password": "a very long password",
    });
    server.must("user.add", sue);
    let more = json!({ "name": "ops", "grants": [{ "role": "administrator" }] });
    let waits = server.must("api-token.change", more);
    assert!(waits["waits_for"].is_number() && waits["grants"] == backup, "{waits}");
    run().is(202);
    port.get(&ops, "/api/v1/audit").fails(403, "'audit'");
    server.must("api-token.revoke", json!({ "name": "ops" }));
    let gone = json!({ "name": "ops", "expires_days": 1 });
    let refused = server.ask("api-token.change", gone).unwrap_err().to_string();
    assert!(refused.contains("for good"), "{refused}");
}

#[test]
fn a_token_of_a_user_never_may_more_than_the_user() {
    let port = Port::start();
    let user = json!({
        "name": "anna", "grants": [{ "role": "auditor" }], "password": "a very long password",
    });
    port.server.must("user.add", user.clone());
    let request = json!({ "name": "annas", "user": "anna", "grants": [{ "role": "superuser" }] });
    let made = port.server.must("api-token.create", request);
    let token = made["secret"].as_str().unwrap();
    let who = port.get(token, "/api/v1/me").is(200).json();
    assert_eq!(who["name"], "user:anna/api-token:annas");
    assert_eq!(who["grants"].as_array().unwrap().len(), 3, "{who}");
    port.get(token, "/api/v1/users").fails(403, "'people'");
    // With the user, the token changes.
    let more = json!({ "name": "anna", "grants": [{ "role": "administrator" }] });
    port.server.must("user.change", more);
    port.get(token, "/api/v1/users").is(200);
    let disabled = json!({ "name": "anna", "grants": [], "disabled": true });
    port.server.must("user.change", disabled);
    port.get(token, "/api/v1/me").fails(401, "API token");
    port.server.must("user.remove", json!({ "name": "anna" }));
    port.get(token, "/api/v1/me").fails(401, "API token");
}

#[test]
fn nobody_gives_more_than_they_have_or_reaches_above_themselves() {
    let port = Port::start();
    let password = "a very long password";
    let chief = json!({ "grants": [{ "role": "superuser" }], "password": password });
    let all = port.superuser();
    let admin = port.token("admin", &json!([{ "role": "administrator" }]));
    port.ask(&all, "PUT", "/api/v1/users/chief", &chief).is(201);
    let plain = json!({ "grants": [{ "role": "operator" }], "password": password });
    port.ask(&admin, "PUT", "/api/v1/users/kim", &plain).is(201);
    port.ask(&admin, "PUT", "/api/v1/users/eve", &chief).fails(403, "nobody gives rights");
    let keys = json!({ "name": "x", "grants": [{ "right": "keys" }] });
    port.ask(&admin, "POST", "/api/v1/api-tokens", &keys).fails(403, "nobody gives rights");
    let reset = json!({ "password": "another long password" });
    port.ask(&admin, "PUT", "/api/v1/users/chief/password", &reset).fails(403, "do not have");
    port.ask(&admin, "PUT", "/api/v1/users/chief", &plain).fails(403, "do not have");
    port.ask(&admin, "DELETE", "/api/v1/users/chief", &Value::Null).fails(403, "do not have");
    let of_chief = json!({ "name": "x", "user": "chief", "grants": [{ "role": "backup" }] });
    port.ask(&admin, "POST", "/api/v1/api-tokens", &of_chief).fails(403, "do not have");
    port.ask(&admin, "PUT", "/api/v1/users/kim/password", &reset).is(200);
    // Where nobody else could agree, the audit log says that it was one person.
    let rows = port.server.must("audit.list", json!({})).to_string();
    assert!(
        rows.contains("one person alone, new rights: administer, keys, delete, approve, people")
            || rows.contains("one person alone, new rights: administer"),
        "{rows}"
    );
}

#[test]
fn wrong_tokens_get_one_answer_and_are_counted_by_address() {
    let port = Port::start();
    let right = port.superuser();
    let gone = port.token("gone", &json!([{ "role": "backup" }]));
    port.server.must("api-token.revoke", json!({ "name": "gone" }));
    let wrong = format!("simsim_api_{}", "0".repeat(64));
    let answers: Vec<_> = [wrong.as_str(), &gone, "x", &right[..right.len() - 1]]
        .iter()
        .map(|token| port.get(token, "/api/v1/me").fails(401, "API token").text)
        .collect();
    assert!(answers.iter().all(|text| *text == answers[0]), "{answers:?}");
    let mut last = port.get(&wrong, "/api/v1/me");
    for _ in 0..8 {
        last = port.get(&wrong, "/api/v1/me");
    }
    let last = last.fails(429, "too many");
    assert!(last.field("retry-after").is_some(), "{}", last.head);
    // A right one is not held up.
    port.get(&right, "/api/v1/me").is(200);
    let rows = port.server.must("audit.list", json!({}));
    let refused = rows["rows"].as_array().unwrap().iter();
    let refused = refused.filter(|row| row["verb"] == "console.admit").count();
    assert_eq!(refused, 11, "ten, and one that says that no more come");
    assert!(!rows.to_string().contains("simsim_api_"), "a secret stands in the audit log");
}
