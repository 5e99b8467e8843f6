//! Enrolment by join code.

use std::sync::atomic::Ordering;

use simsim_control::verbs::{Ping, Roles};
use simsim_control::{ControlError, Hello, Identity, JOIN_USER, JoinCode, SERVER_USER, join};
use simsim_model::Kind;

use crate::stage::{Mode, Node, QUICK, dialer};

/// A node in the role of the server, with a code that is valid.
async fn server() -> (Node, JoinCode) {
    let node = Node::start(Mode::Smssh).await;
    let key = node.identity.public();
    let code = JoinCode::generate(&key);
    *node.player.code.lock().unwrap() = Some((code.clone(), key));
    node.policy.joins.store(true, Ordering::SeqCst);
    (node, code)
}

async fn join_as(
    node: &Node,
    code: &JoinCode,
    identity: &Identity,
    name: &str,
) -> Result<join::Joined, ControlError> {
    let hello = Hello::new(name, Roles::CLIENT);
    join::join(&node.addresses(), code, identity, hello, name, 1234, "a system", false, QUICK).await
}

#[tokio::test]
async fn a_host_with_the_code_is_enrolled_and_knows_the_server() {
    let (node, code) = server().await;
    let identity = Identity::generate();
    // As a person types it.
    let code = JoinCode::parse(&code.text().to_lowercase()).unwrap();
    let joined = join_as(&node, &code, &identity, "host-7").await.unwrap();
    assert_eq!(joined.server_key, node.identity.public());
    assert_eq!(joined.server_name, "the-server");
    let enrolled = node.player.joined.lock().unwrap().clone();
    assert_eq!(enrolled, [("host-7".to_owned(), identity.public())]);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_the_server() {
    let (node, code) = server().await;
    let mut secret = *code.secret();
    secret[0] ^= 1;
    let wrong = JoinCode::from_secret(secret, &node.identity.public());
    let error = join_as(&node, &wrong, &Identity::generate(), "host").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(node.player.joined.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_server_than_the_codes_hears_nothing_from_us() {
    let (node, _) = server().await;
    let code = JoinCode::generate(&Identity::generate().public());
    let error = join_as(&node, &code, &Identity::generate(), "host").await.unwrap_err();
    assert!(matches!(error, ControlError::HostKey { .. }), "{error}");
    assert!(error.to_string().contains("join code"), "{error}");
    assert_eq!(node.policy.asked_joins.load(Ordering::SeqCst), 0, "no log-in was tried");
}

#[tokio::test]
async fn without_an_open_code_nobody_joins() {
    let (node, code) = server().await;
    node.policy.joins.store(false, Ordering::SeqCst);
    let error = join_as(&node, &code, &Identity::generate(), "host").await.unwrap_err();
    assert!(matches!(error, ControlError::LoginRefused { .. }), "{error}");
}

#[tokio::test]
async fn impossible_names_are_refused_in_words() {
    let (node, code) = server().await;
    for name in ["", "../etc", "a b", "-rf", "ä", &"x".repeat(65)] {
        let error = join_as(&node, &code, &Identity::generate(), name).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{name}");
        assert!(error.to_string().contains("name"), "{error}");
    }
    assert!(node.player.joined.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_know_the_secret_cannot_pretend() {
    let (node, code) = server().await;
    // It accepts whatever comes, and answers with another secret.
    let key = node.identity.public();
    let other = JoinCode::from_secret([9; 16], &key);
    let identity = Identity::generate();
    let session = dialer(&identity).connect(&node.addresses(), &key, JOIN_USER).await.unwrap();
    session.call(Ping {}).await.unwrap();
    let request = simsim_control::verbs::Join {
        name: "host".into(),
        host_key: identity.public().to_string(),
        listen_port: 1,
        proof: [0; 32],
        suite_version: String::new(),
        roles: Roles::CLIENT,
        platform: String::new(),
        outbound: false,
    };
    let reply = join::reply(&request, &identity.public(), &key, "x", &other);
    let right = join::reply(&request, &identity.public(), &key, "x", &code);
    assert_ne!(reply.proof, right.proof);
    assert!(!join::is_accepted(&reply, &identity.public(), &key, "host", &code));
    assert!(join::is_accepted(&right, &identity.public(), &key, "host", &code));
    // A proof for one side is none for the other, for another name, or for another key.
    let mut echo = request.clone();
    echo.proof = right.proof;
    assert!(!join::is_proven(&echo, &identity.public(), &key, &code));
    assert!(!join::is_accepted(&right, &identity.public(), &key, "other", &code));
    assert!(!join::is_accepted(&right, &key, &key, "host", &code));
}

#[tokio::test]
async fn a_joiner_with_an_enrolled_servers_name_is_no_server() {
    let (node, _) = server().await;
    let error = dialer(&Identity::generate())
        .connect(&node.addresses(), &node.identity.public(), SERVER_USER)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
}
