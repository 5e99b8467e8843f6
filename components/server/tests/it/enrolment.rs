//! Joining and leaving.

use simsim_model::{Kind, Level, Outcome};
use simsim_server::api::*;

use crate::suite::{Suite, root, until};

async fn connected(suite: &Suite, name: &str) -> bool {
    let clients = suite.server().clients(&root()).await.unwrap();
    clients.iter().any(|client| client.name == name && client.connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_with_a_code_and_is_reached() {
    let suite = Suite::start().await;
    let host = suite.join_host("desk", false).await;
    until("the new host is reached", || connected(&suite, "desk")).await;
    let clients = suite.server().clients(&root()).await.unwrap();
    let desk = clients.iter().find(|client| client.name == "desk").unwrap();
    assert_eq!(desk.fingerprint, host.identity.public().fingerprint());
    assert_eq!(
        (desk.listen_port, desk.addresses.as_slice()),
        (host.control.port(), ["127.0.0.1".to_owned()].as_slice())
    );
    assert!(desk.last_seen_unix_ms.is_some());
    assert_eq!(desk.roles, ["client"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_serves_one_host_of_one_name() {
    let suite = Suite::start().await;
    let request = JoinCodeRequest { name: Some("desk".to_owned()), outbound: false };
    let reply = suite.server().create_join_code(&root(), request).await.unwrap();
    assert!(reply.command.contains(&reply.code) && reply.command.contains("--name desk"));
    let host = suite.new_host("desk", false).await;
    let wrong = suite.join_with(&host, "other", &reply.code).await.unwrap_err();
    assert_eq!(wrong.kind(), Kind::Denied, "{wrong}");
    suite.join_with(&host, "desk", &reply.code).await.unwrap();
    let again = suite.join_with(&host, "desk", &reply.code).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Denied, "{again}");
    assert!(!suite.server().joins_open(), "with no code open no stranger is let in");

    let taken = suite.new_host("thief", false).await;
    let any = suite.server().create_join_code(&root(), JoinCodeRequest::default()).await.unwrap();
    let error = suite.join_with(&taken, "desk", &any.code).await.unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
    let error = suite.join_with(&taken, "vault", &any.code).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "nobody becomes the server's own host: {error}");
    suite.join_with(&taken, "free", &any.code).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_codes_lock_the_right_one() {
    let suite = Suite::start().await;
    let request = JoinCodeRequest { name: Some("desk".to_owned()), outbound: false };
    let right = suite.server().create_join_code(&root(), request).await.unwrap().code;
    let host = suite.new_host("desk", false).await;
    let key = suite.server().identity().public();
    for _ in 0..10 {
        let guess = simsim_control::JoinCode::generate(&key);
        let error = suite.join_with(&host, "desk", &guess.text()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
    }
    suite.join_with(&host, "desk", &right).await.unwrap_err();
    let rows = suite.server().audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let wrong = rows.iter().filter(|row| row.entry.verb == "client.join" && !row.entry.allowed);
    assert!(wrong.count() >= 10, "each wrong proof is written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_loses_its_session_its_jobs_and_its_way_back() {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    let go = host.folder.join("go");
    host.allow_commands(&[(
        "slow",
        format!("while ! test -e {}; do sleep 0.05; done", go.display()),
    )]);
    suite.add_stream_task("slow", "desk").await;
    let running = suite.run("slow", Level::Full).await;
    suite.until_state(running, "running").await;
    let waiting = suite.run("slow", Level::Full).await;

    let grants = serde_json::json!([{ "role": "backup", "client": "desk" }]);
    let token = serde_json::json!({ "name": "desks", "grants": grants });
    let token = serde_json::from_value(token).unwrap();
    suite.server().create_api_token(&root(), token).await.unwrap();
    let request = ClientRequest { name: "desk".to_owned() };
    let reply = suite.server().revoke_client(&root(), request.clone()).await.unwrap();
    assert_eq!(reply.client.state, "revoked");
    assert_eq!(reply.jobs_ended, [running, waiting]);
    assert_eq!(reply.still_named_by, ["task 'slow'", "API token 'desks'"]);
    for job in [running, waiting] {
        let outcome = suite.ended(job).await.state.outcome();
        assert_eq!(outcome, Some(Outcome::Cancelled), "{}", suite.log_text(job).await);
    }
    std::fs::write(&go, b"").unwrap();
    assert!(suite.savesets().await.is_empty());
    assert!(!connected(&suite, "desk").await);
    let job = suite.backup("slow", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed));
    assert!(job.error.unwrap().message.contains("revoked"));

    let code = suite
        .server()
        .create_join_code(
            &root(),
            JoinCodeRequest { name: Some("desk".to_owned()), outbound: false },
        )
        .await
        .unwrap();
    suite.join_with(&host, "desk", &code.code).await.unwrap();
    until("it is reached again", || connected(&suite, "desk")).await;
    let saveset = suite.saved("slow", Level::Full).await;
    // Its savesets outlive it: it is said where they can go.
    suite.server().revoke_client(&root(), request).await.unwrap();
    let restore = RestoreRequest { saveset, ..RestoreRequest::default() };
    let error = suite.server().restore(&root(), restore).await.unwrap_err();
    assert!(error.to_string().contains("--client OTHER"), "{error}");
    let list = |client: &str| {
        let client = Some(client.to_owned());
        SavesetListRequest { client, ..SavesetListRequest::default() }
    };
    assert_eq!(suite.server().savesets(&root(), list("desk")).await.unwrap().len(), 1);
    let error = suite.server().savesets(&root(), list("dusk")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_another_key_is_not_talked_to() {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    until("it is reached", || connected(&suite, "desk")).await;
    let port = host.control.port();
    host.end().await;
    until("it is gone", || async { !connected(&suite, "desk").await }).await;
    let key = suite.server().identity().public();
    let impostor = crate::hosts::Host::start_at(
        "impostor",
        suite.folder.path(),
        simsim_control::Identity::generate(),
        false,
        Some(key),
        port,
    )
    .await;
    suite.add_task("home", "desk", &suite.tree("tree")).await;
    let job = suite.backup("home", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed));
    let error = job.error.unwrap();
    assert_eq!(error.kind, Kind::Denied, "{error:?}");
    assert!(error.message.contains("host key"), "{error:?}");
    impostor.end().await;
}
