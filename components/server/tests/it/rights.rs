//! Default deny, and what is written down.

use serde_json::json;
use simsim_model::{Kind, Level, Outcome, TargetKind};
use simsim_server::api::*;
use simsim_server::{Grant, Principal, Right};

use crate::suite::{Suite, root};

fn holding(rights: &[(Right, Option<&str>)]) -> Principal {
    let grants = rights
        .iter()
        .map(|(right, client)| Grant { client: client.map(str::to_owned), ..Grant::of(*right) })
        .collect();
    Principal::with_grants("operator:kim", grants)
}

#[tokio::test(flavor = "multi_thread")]
async fn to_restore_to_another_client_is_a_right_of_its_own() {
    let suite = Suite::with_datastore().await;
    let _desk = suite.join_host("desk", false).await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    let server = suite.server();
    let place = suite.folder.path().join("restored").display().to_string();
    let to_other = RestoreRequest {
        saveset: saveset.clone(),
        client: Some("desk".to_owned()),
        target: Some(place.clone()),
        ..RestoreRequest::default()
    };
    let elsewhere = RestoreRequest { client: None, ..to_other.clone() };
    let in_place = RestoreRequest { target: None, dry_run: true, ..elsewhere.clone() };
    let denied = async |who: &Principal, request: &RestoreRequest| {
        let error = server.restore(who, request.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        error.to_string()
    };
    let nobody = holding(&[(Right::View, None)]);
    denied(&nobody, &in_place).await;
    let restorer = holding(&[(Right::Restore, Some("vault"))]);
    server.restore(&restorer, in_place.clone()).await.unwrap();
    assert!(denied(&restorer, &elsewhere).await.contains("restore-elsewhere"));
    assert!(denied(&restorer, &to_other).await.contains("restore-to-other"));
    let half = holding(&[
        (Right::Restore, Some("vault")),
        (Right::RestoreElsewhere, None),
        (Right::RestoreToOther, Some("vault")),
    ]);
    server.restore(&half, elsewhere.clone()).await.unwrap();
    assert!(denied(&half, &to_other).await.contains("'desk'"), "both clients must be allowed");

    let place = suite.folder.path().join("restored-to-other").display().to_string();
    let job = suite.restore(RestoreRequest { target: Some(place), ..to_other }).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
    assert_eq!((job.client.as_str(), job.requested_by.as_str()), ("desk", "local:root"));
    let rows = server.audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let done = rows.iter().find(|row| row.entry.verb == "restore.to-other").unwrap();
    assert!(done.entry.allowed && done.entry.detail.contains(&saveset));
    let refused = rows.iter().filter(|row| !row.entry.allowed).count();
    assert_eq!(refused, 4, "every refusal is written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_for_a_task_or_a_pool_reach_its_jobs_and_savesets_and_nothing_else() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let tree = suite.tree("tree");
    let policy = "last 3".to_owned();
    let pool = AddPoolRequest {
        name: "gold".to_owned(),
        policy,
        datastore: None,
        drive: None,
        drive_group: None,
    };
    server.add_pool(&root(), pool).await.unwrap();
    suite.add_task("home", "vault", &tree).await;
    let mut etc = crate::suite::task("etc", "vault", &tree);
    etc.pool = Some("gold".to_owned());
    server.add_task(&root(), etc.clone()).await.unwrap();
    let of_home = suite.saved("home", Level::Full).await;
    let of_etc = suite.saved("etc", Level::Full).await;

    let rights = [Right::View, Right::Browse, Right::Backup, Right::Restore, Right::Delete];
    let text = |name: &str| Some(name.to_owned());
    let grants =
        rights.map(|right| Grant { client: text("vault"), task: text("home"), ..Grant::of(right) });
    let kim = Principal::with_grants("user:kim", grants.to_vec());
    let tasks = |views: Vec<TaskView>| views.into_iter().map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(tasks(server.tasks(&kim).await.unwrap()), ["home"]);
    assert_eq!(server.clients(&kim).await.unwrap().len(), 1, "whose task it is");
    for client in [None, Some("vault".to_owned())] {
        let request = JobListRequest { client: client.clone(), ..JobListRequest::default() };
        let jobs = server.jobs(&kim, request).await.unwrap();
        assert!(jobs.iter().all(|job| job.task == "home") && jobs.len() == 1, "{jobs:#?}");
        let request = SavesetListRequest { client, ..SavesetListRequest::default() };
        let savesets = server.savesets(&kim, request).await.unwrap();
        assert_eq!(savesets.len(), 1);
        assert_eq!(savesets[0].saveset.to_string(), of_home);
    }
    let named = |reference: &str| -> ResolveRequest {
        serde_json::from_value(json!({ "reference": reference })).unwrap()
    };
    // The newest of all is of the other task.
    let found = server.resolve_saveset(&kim, named("latest")).await.unwrap();
    assert_eq!(found.matches[0].saveset.to_string(), of_home);
    let found = server.resolve_saveset(&kim, named("etx")).await.unwrap();
    assert!(!found.nearest_tasks.contains(&"etc".to_owned()), "{:?}", found.nearest_tasks);
    let run = serde_json::from_value(json!({ "task": "home" })).unwrap();
    let job = server.run_task(&kim, run).await.unwrap().job;
    suite.ended(job).await;
    let ask = async |who: &Principal, verb: &str, body: serde_json::Value| {
        server.answer(who, verb, body).await.map(|_| ()).map_err(|error| error.kind())
    };
    let restore = |id: &str| json!({ "saveset": id, "dry_run": true });
    assert_eq!(ask(&kim, "restore", restore(&of_home)).await, Ok(()));
    for (verb, body) in [
        ("restore", restore(&of_etc)),
        ("task.run", json!({ "task": "etc" })),
        ("task.show", json!({ "name": "etc" })),
        ("task.change", json!({ "name": "home", "client": "vault", "sources": ["/x"] })),
        ("saveset.show", json!({ "saveset": of_etc })),
        ("saveset.ls", json!({ "saveset": of_etc })),
        ("saveset.delete", json!({ "savesets": [of_home, of_etc], "why": "x" })),
        ("saveset.diff", json!({ "from": of_home, "to": of_etc })),
        ("job.show", json!({ "job": 2 })),
        ("job.log", json!({ "job": 2 })),
        ("backup", json!({ "sources": [tree] })),
        ("status", json!({})),
        ("pool.change", json!({ "name": "gold", "policy": "last 1" })),
    ] {
        assert_eq!(ask(&kim, verb, body).await, Err(Kind::Denied), "{verb}");
    }

    // What belongs to a pool is looked up each time.
    let token = |name: &str, grant: serde_json::Value| json!({ "name": name, "grants": [grant] });
    let make = async |name: &str, grant: serde_json::Value| {
        let request = serde_json::from_value(token(name, grant)).unwrap();
        server.create_api_token(&root(), request).await.unwrap().secret
    };
    let by_pool = make("gold", json!({ "role": "backup", "pool": "gold" })).await;
    let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
    let runs = async |task: &str| {
        let who = server.with_api_token(&by_pool, loopback).await.unwrap();
        who.may(Right::Backup, simsim_server::Object::Task { client: "vault", task })
    };
    assert!(runs("etc").await && !runs("home").await);
    etc.pool = None;
    server.change_task(&root(), etc.clone()).await.unwrap();
    assert!(!runs("etc").await, "it has left the pool");

    // What somebody holds rights for stays, and who holds them is named.
    make("one", json!({ "right": "view", "task": "etc" })).await;
    for (verb, name, holder) in [("pool.remove", "gold", "'gold'"), ("task.delete", "etc", "'one'")]
    {
        let error = match server.answer(&root(), verb, json!({ "name": name })).await {
            Ok(_) => panic!("{verb}"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        assert!(error.to_string().contains(&format!("API token {holder}")), "{error}");
    }
    for grant in [
        json!({ "role": "backup", "pool": "silver" }),
        json!({ "role": "backup", "client": "nowhere" }),
        json!({ "role": "backup", "task": "nothing" }),
        json!({ "role": "backup", "task": "home", "pool": "gold" }),
    ] {
        let request = serde_json::from_value(token("wrong", grant.clone())).unwrap();
        assert!(server.create_api_token(&root(), request).await.is_err(), "{grant}");
    }

    // A new task of an old name, of another host: what the old one left is not of it.
    server.answer(&root(), "task.delete", json!({ "name": "home" })).await.unwrap();
    let _desk = suite.join_host("desk", false).await;
    suite.add_task("home", "desk", &tree).await;
    let by_task = make("home", json!({ "role": "restore", "task": "home" })).await;
    let lee = server.with_api_token(&by_task, loopback).await.unwrap();
    assert_eq!(tasks(server.tasks(&lee).await.unwrap()), ["home"]);
    let seen: Vec<_> =
        server.clients(&lee).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(seen, ["desk"]);
    assert!(server.savesets(&lee, SavesetListRequest::default()).await.unwrap().is_empty());
    for (verb, body) in [
        ("restore", restore(&of_home)),
        ("saveset.show", json!({ "saveset": of_home })),
        ("saveset.list", json!({ "client": "vault" })),
    ] {
        assert_eq!(ask(&lee, verb, body).await, Err(Kind::Denied), "{verb}");
    }
    // Whoever holds a client may give rights for its tasks, and for those only.
    let desk = Grant { client: text("desk"), ..Grant::of(Right::View) };
    let people = Grant::of(Right::People);
    let mary = Principal::with_grants("user:mary", vec![people, desk]);
    for (task, allowed) in [("home", true), ("etc", false)] {
        let grant = json!({ "right": "view", "task": task });
        let request = serde_json::from_value(token(&format!("of-{task}"), grant)).unwrap();
        let made = server.create_api_token(&mary, request).await;
        assert_eq!(made.is_ok(), allowed, "{task}");
    }
    // A place that is empty, or where nothing is but what somebody holds, is no less.
    server.answer(&root(), "location.add", json!({ "name": "yard" })).await.unwrap();
    for place in ["pool", "location"] {
        let grant =
            json!({ "right": "view", place: if place == "pool" { "gold" } else { "yard" } });
        let made = ask(&mary, "api-token.create", token("of-place", grant.clone())).await;
        assert_eq!(made, Err(Kind::Denied), "{grant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_let_a_token_read_or_read_for_longer_takes_the_right_to_bring_data_elsewhere() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let mut dump = crate::suite::task("dump", "vault", &suite.tree("tree"));
    dump.kind = TargetKind::Stream;
    dump.sources = vec!["dump".to_owned()];
    dump.options.external = true;
    server.add_task(&root(), dump).await.unwrap();
    let administers = [(Right::Administer, Some("vault"))];
    let admin = holding(&administers);
    let reader = holding(&[administers[0], (Right::RestoreToOther, Some("vault"))]);
    let new = json!({ "name": "t", "task": "dump", "expires_days": 90 });
    server.answer(&admin, "token.create", new).await.map(drop).unwrap();
    for (who, change, allowed) in [
        (&admin, json!({ "allow": "both" }), false),
        (&admin, json!({ "expires_days": 365 }), true),
        (&reader, json!({ "allow": "both" }), true),
        (&admin, json!({ "expires_days": 400 }), false),
        (&admin, json!({ "expires_days": 0 }), false),
        (&admin, json!({ "expires_days": 30 }), true),
        (&admin, json!({ "allow": "store", "expires_days": 0 }), true),
        (&admin, json!({ "allow": "read", "expires_days": 1 }), false),
    ] {
        let mut body = change.clone();
        body["name"] = json!("t");
        let done = server.answer(who, "token.change", body).await.map(drop);
        let expected = if allowed { Ok(()) } else { Err(Kind::Denied) };
        assert_eq!(done.map_err(|error| error.kind()), expected, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_without_grants_sees_and_does_nothing() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    suite.saved("home", Level::Full).await;
    let nobody = Principal::with_grants("nobody", Vec::new());
    let bodies = [
        ("client.revoke", r#"{"name":"vault2"}"#),
        ("client.show", r#"{"name":"vault"}"#),
        ("interface.show", r#"{"host":"vault"}"#),
        ("drive.show", r#"{"number":1}"#),
        ("calendar.show", r#"{"name":"x"}"#),
        ("schedule.show", r#"{"name":"x"}"#),
        ("task-group.show", r#"{"name":"x"}"#),
        ("token.show", r#"{"name":"t"}"#),
        ("api-token.show", r#"{"name":"t"}"#),
        ("client.addresses", r#"{"name":"vault","addresses":["x"]}"#),
        ("client.rotate-key", r#"{"name":"vault"}"#),
        ("client.set", r#"{"name":"vault","access_mode":"ctrl"}"#),
        ("datastore.create", r#"{"name":"x","path":"/x"}"#),
        ("datastore.attach", r#"{"path":"/x"}"#),
        ("datastore.detach", r#"{"name":"main"}"#),
        ("datastore.remove", r#"{"name":"main"}"#),
        ("drive.add", r#"{"datastore":"main"}"#),
        ("drive.change", r#"{"number":1,"jobs_max":2}"#),
        ("drive.remove", r#"{"number":1}"#),
        ("drive-group.add", r#"{"name":"x","drives":[1]}"#),
        ("drive-group.change", r#"{"name":"x","drives":[1]}"#),
        ("drive-group.show", r#"{"name":"x"}"#),
        ("drive-group.remove", r#"{"name":"x"}"#),
        ("location.add", r#"{"name":"x"}"#),
        ("location.change", r#"{"name":"x"}"#),
        ("location.show", r#"{"name":"x"}"#),
        ("location.remove", r#"{"name":"x"}"#),
        ("client.place", r#"{"name":"vault"}"#),
        ("client.set-wake", r#"{"name":"vault"}"#),
        ("client.wake", r#"{"name":"vault"}"#),
        ("command.add", r#"{"name":"x","client":"vault"}"#),
        ("command.change", r#"{"name":"sweep","client":"vault"}"#),
        ("command.show", r#"{"name":"sweep"}"#),
        ("command.run", r#"{"name":"sweep"}"#),
        ("command.remove", r#"{"name":"sweep"}"#),
        ("drill.run", r#"{"task":"home"}"#),
        ("drill.list", "{}"),
        ("drill.show", r#"{"drill":1}"#),
        ("drill.evidence", r#"{"drill":1}"#),
        ("drill.verify", r#"{"document":"","signature":"","key":"","audit_position":1}"#),
        ("task.health", "{}"),
        ("report.show", "{}"),
        ("notification.add", r#"{"name":"x","via":{"kind":"webhook","url":"https://a/"}}"#),
        ("notification.change", r#"{"name":"x","via":{"kind":"webhook","url":"https://a/"}}"#),
        ("notification.show", r#"{"name":"x"}"#),
        ("notification.test", r#"{"name":"x"}"#),
        ("notification.messages", r#"{}"#),
        ("notification.remove", r#"{"name":"x"}"#),
        ("identity-provider.add", r#"{"name":"x","issuer":"https://a","client_id":"c"}"#),
        ("identity-provider.change", r#"{"name":"x","issuer":"https://a","client_id":"c"}"#),
        ("identity-provider.show", r#"{"name":"x"}"#),
        ("identity-provider.test", r#"{"name":"x"}"#),
        ("identity-provider.remove", r#"{"name":"x"}"#),
        ("calendar.add", r#"{"name":"x","days":"2026-12-25"}"#),
        ("calendar.change", r#"{"name":"x","days":"2026-12-25"}"#),
        ("calendar.remove", r#"{"name":"x"}"#),
        ("schedule.add", r#"{"name":"x","line":"daily 22:00"}"#),
        ("schedule.try", r#"{"line":"daily 22:00"}"#),
        ("schedule.change", r#"{"name":"x","line":"daily 22:00"}"#),
        ("schedule.remove", r#"{"name":"x"}"#),
        ("event.add", r#"{"name":"x","all":true}"#),
        ("event.change", r#"{"name":"x","all":true}"#),
        ("event.show", r#"{"name":"x"}"#),
        ("event.remove", r#"{"name":"x"}"#),
        ("event.run", r#"{"name":"x"}"#),
        ("task-group.add", r#"{"name":"x","tasks":[]}"#),
        ("task-group.change", r#"{"name":"x","tasks":[]}"#),
        ("task-group.remove", r#"{"name":"x"}"#),
        ("job.hold", r#"{"job":1,"hold":true}"#),
        ("task.add", r#"{"name":"x","client":"vault","sources":["/x"]}"#),
        ("task.change", r#"{"name":"home","client":"vault","sources":["/x"]}"#),
        ("task.show", r#"{"name":"home"}"#),
        ("task.delete", r#"{"name":"home"}"#),
        ("task.run", r#"{"task":"home"}"#),
        ("backup", r#"{"sources":["/etc"]}"#),
        ("saveset.resolve", r#"{"reference":"latest"}"#),
        ("job.show", r#"{"job":1}"#),
        ("job.cancel", r#"{"job":1}"#),
        ("job.log", r#"{"job":1}"#),
        ("job.follow", r#"{"job":1}"#),
        ("saveset.show", r#"{"saveset":"@"}"#),
        ("saveset.ls", r#"{"task":"home"}"#),
        ("saveset.find", r#"{"task":"home","pattern":"*"}"#),
        ("saveset.diff", r#"{"from":"@","to":"@"}"#),
        ("search", r#"{"pattern":"small"}"#),
        ("search.history", r#"{"of":"home","path":"/x"}"#),
        ("saveset.why", r#"{"saveset":"@"}"#),
        ("saveset.keep", r#"{"saveset":"@","days":1}"#),
        ("saveset.hold", r#"{"saveset":"@","why":"x"}"#),
        ("saveset.lock", r#"{"saveset":"@","until_unix_s":1}"#),
        ("saveset.delete", r#"{"savesets":["@"],"why":"x"}"#),
        ("pool.add", r#"{"name":"x","policy":"last 1"}"#),
        ("pool.change", r#"{"name":"default","policy":"last 1"}"#),
        ("pool.show", r#"{"name":"default"}"#),
        ("pool.remove", r#"{"name":"default"}"#),
        ("retention.simulate", r#"{"pool":"default","policy":"last 1"}"#),
        ("approval.show", r#"{"approval":1}"#),
        ("approval.approve", r#"{"approval":1}"#),
        ("approval.reject", r#"{"approval":1}"#),
        ("restore", r#"{"task":"home"}"#),
        ("interface.set", r#"{"host":"vault","interfaces":[]}"#),
        ("interface.choose", r#"{"client":"vault","choices":[]}"#),
        ("rate.add", r#"{"rates":["1MB/s"]}"#),
        ("rate.remove", r#"{"number":1}"#),
        ("replication.add", r#"{"name":"x","source":"main","target":"other"}"#),
        ("replication.change", r#"{"name":"x","source":"main","target":"other"}"#),
        ("replication.show", r#"{"name":"x"}"#),
        ("replication.remove", r#"{"name":"x"}"#),
        ("replication.run", r#"{"name":"x"}"#),
        ("replication.heal", r#"{"name":"x","datastore":"main"}"#),
        ("datastore.scrub", r#"{}"#),
        ("migration.add", r#"{"name":"x","replication":"x"}"#),
        ("migration.change", r#"{"name":"x","replication":"x"}"#),
        ("migration.show", r#"{"name":"x"}"#),
        ("migration.remove", r#"{"name":"x"}"#),
        ("migration.run", r#"{"name":"x"}"#),
        ("stream.start", r#"{"task":"home"}"#),
        ("token.create", r#"{"name":"t","task":"home"}"#),
        ("token.change", r#"{"name":"t","expires_days":1}"#),
        ("api-token.change", r#"{"name":"t","expires_days":1}"#),
        ("token.revoke", r#"{"name":"t"}"#),
        ("datastore.damage", "{}"),
        ("session.end", r#"{"session":"x"}"#),
        ("user.log-out", r#"{"name":"x"}"#),
        ("key.prove", r#"{"groups":[]}"#),
        ("key.domain", r#"{"client":"vault"}"#),
    ];
    let id = suite.savesets().await[0].saveset.to_string();
    // Whoever is known is told who that is, and nothing else.
    let verbs = simsim_server::VERBS
        .iter()
        .filter(|(verb, _)| !["who", "me.password", "me.one-time", "session.list"].contains(verb));
    for (verb, _) in verbs {
        let body = bodies.iter().find(|(name, _)| name == verb).map_or("{}", |(_, body)| body);
        let body = serde_json::from_str(&body.replace('@', &id)).unwrap();
        let error = match suite.server().answer(&nobody, verb, body).await {
            Ok(_) => panic!("'{verb}' is answered to nobody"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Denied, "{verb}: {error}");
    }
    assert_eq!(suite.server().tasks(&root()).await.unwrap().len(), 1, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_by_name_take_and_give_json() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let ask = async |verb: &str, body: &str| match server
        .answer(&root(), verb, serde_json::from_str(body).unwrap())
        .await
    {
        Ok(simsim_server::Answer::Json(value)) => Ok(value),
        Ok(simsim_server::Answer::Events(_)) => panic!("events"),
        Err(error) => Err((error.kind(), error.to_string())),
    };
    let tree = suite.tree("tree").display().to_string();
    let body = format!(r#"{{"name":"home","client":"vault","sources":["{tree}"]}}"#);
    let task = ask("task.add", &body).await.unwrap();
    assert_eq!(task["kind"], "path");
    let job = ask("task.run", r#"{"task":"home","level":"full"}"#).await.unwrap();
    suite.ended(job["job"].as_u64().unwrap()).await;
    let list = ask("saveset.list", "null").await.unwrap();
    assert_eq!(list[0]["outcome"], "finished");
    assert_eq!(ask("status", "{}").await.unwrap()["savesets"], 1);
    let (kind, text) = ask("task.run", r#"{"task":"home","lavel":"full"}"#).await.unwrap_err();
    assert!(kind == Kind::Invalid && text.contains("lavel"), "{text}");
    assert_eq!(ask("no.such", "{}").await.unwrap_err().0, Kind::NotFound);
    assert_eq!(ask("status", r#"{"x":1}"#).await.unwrap_err().0, Kind::Invalid);
}
