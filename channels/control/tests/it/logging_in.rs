//! Who comes in, who does not, and what each reads.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use simsim_control::verbs::Ping;
use simsim_control::{ControlError, Identity, JOIN_USER, SERVER_USER, Timing};
use simsim_model::Kind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::stage::{Mode, Node, QUICK, dialer, over_both_modes};

over_both_modes! {
    the_enrolled_server_comes_in,
    a_wrong_host_key_is_denied_with_both_fingerprints_before_anything_is_sent,
    a_withdrawn_key_loses_its_session_and_cannot_come_back,
    nothing_there_is_unreachable_with_every_address,
    a_peer_that_accepts_and_says_nothing_is_given_up_in_time,
}

async fn the_enrolled_server_comes_in(mode: Mode) {
    let node = Node::start(mode).await;
    let session = node.dial().await.unwrap();
    assert_eq!(session.call(Ping {}).await.unwrap().unix_ns, 42);
    assert_eq!(session.peer().name, "node");
    assert_eq!(session.label(), node.address.to_string());
}

async fn a_wrong_host_key_is_denied_with_both_fingerprints_before_anything_is_sent(mode: Mode) {
    let node = Node::start(mode).await;
    let other = Identity::generate().public();
    let dialled = node.dial_as(&node.server, &node.addresses(), &other, QUICK).await;
    let error = dialled.unwrap_err();
    assert!(matches!(error, ControlError::HostKey { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Denied);
    let text = error.to_string();
    assert!(text.contains(&other.fingerprint()), "{text}");
    assert!(text.contains(&node.identity.fingerprint()), "{text}");
    assert_eq!(node.policy.asked.load(Ordering::SeqCst), 0, "no log-in was tried");
}

/// Nobody configured anything: a stranger has ten seconds, silence sixty, and a key that is withdrawn at a
/// host nobody can tell of it is noticed there well within the minute in which a revoked host is cut off.
#[test]
fn the_times_of_a_session_are_those_of_the_security_design() {
    let Timing { handshake, beat, dead, idle, recheck } = Timing::default();
    assert_eq!((handshake, idle), (Duration::from_secs(10), Duration::from_secs(60)));
    assert!(recheck * 2 < Duration::from_secs(60), "{recheck:?}");
    assert!(beat * 2 < dead && dead < idle, "{beat:?}, {dead:?}");
}

#[tokio::test]
async fn other_keys_and_other_users_are_refused() {
    let node = Node::start(Mode::Smssh).await;
    let stranger = Identity::generate();
    let key = node.identity.public();
    for (identity, user) in [
        (&stranger, SERVER_USER),
        (&node.server, "root"),
        (&node.server, ""),
        // Without an open join code nobody may say that it joins, the server neither.
        (&node.server, JOIN_USER),
        (&stranger, JOIN_USER),
    ] {
        let error = dialer(identity).connect(&node.addresses(), &key, user).await.unwrap_err();
        assert!(matches!(error, ControlError::LoginRefused { .. }), "{user}: {error}");
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains(&identity.fingerprint()), "{error}");
    }
    // A stranger is one only under the name for strangers, whatever a policy says.
    node.policy.mad.store(true, Ordering::SeqCst);
    let error = dialer(&stranger).connect(&node.addresses(), &key, SERVER_USER).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
}

async fn a_withdrawn_key_loses_its_session_and_cannot_come_back(mode: Mode) {
    let node = Node::start(mode).await;
    let session = node.dial().await.unwrap();
    session.call(Ping {}).await.unwrap();
    *node.policy.server.lock().unwrap() = None;
    let begun = Instant::now();
    tokio::time::timeout(Duration::from_secs(5), session.closed()).await.unwrap();
    assert!(begun.elapsed() < QUICK.recheck + Duration::from_secs(2));
    assert_eq!(session.call(Ping {}).await.unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(node.dial().await.unwrap_err().kind(), Kind::Denied);
}

async fn nothing_there_is_unreachable_with_every_address(mode: Mode) {
    let node = Node::start(mode).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let list = [address.clone(), "no-such-host.invalid:1".to_owned()];
    let error = node.dial_at(&list, QUICK).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains(&address), "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    // A wrong address in front costs nothing.
    let list = [address, node.address.to_string()];
    node.dial_at(&list, QUICK).await.unwrap();
}

async fn a_peer_that_accepts_and_says_nothing_is_given_up_in_time(mode: Mode) {
    let node = Node::start(mode).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let error = node.dial_at(&[address], QUICK).await.unwrap_err();
    assert!(
        matches!(error, ControlError::TimedOut { step: "key exchange" | "handshake", .. }),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(begun.elapsed() < QUICK.handshake + Duration::from_secs(2));
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_named() {
    let node = Node::start(Mode::Smssh).await;
    for said in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14nonsense",
        b"SSH-1.5-ancient\r\n",
        b"\xff\xfe\0\0",
        b"",
    ] {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = other.accept().await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        });
        let error = node.dial_at(std::slice::from_ref(&address), QUICK).await.unwrap_err();
        assert!(matches!(error, ControlError::Handshake { .. }), "{said:?}: {error}");
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().contains(&address), "{error}");
        server.await.unwrap();
    }
}
