//! Enrolment by join code, at the server's SMSSH listener and over a stream that somebody carries.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use simsim_control::verbs::{JobState, Ping, Roles};
use simsim_control::{
    ControlError, CtrlDialer, CtrlListener, Expected, Hello, Identity, JOIN_USER, JoinCode,
    ListenPolicy, SERVER_USER, Timing, VerbHandler, join,
};
use simsim_model::{Kind, limits};
use simsim_net::Admission;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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

/// How the host comes to the server.
#[derive(Clone, Copy, Debug)]
enum By {
    Smssh,
    Stream,
}

const WAYS: [By; 2] = [By::Smssh, By::Stream];
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// The server takes a host that joins over a stream; the host's end, and how it ended.
fn stream(node: &Node, waiting: &Admission) -> (DuplexStream, JoinHandle<String>) {
    let (ours, theirs) = duplex(1 << 16);
    let policy = Arc::clone(&node.policy) as Arc<dyn ListenPolicy>;
    let handler = Arc::clone(&node.player) as Arc<dyn VerbHandler>;
    let hello = Hello::new("node", Roles::SERVER);
    let listener = CtrlListener::with_timing(&node.identity, hello, policy, handler, QUICK);
    let place = waiting.admit_newest(FROM);
    let answering = tokio::spawn(async move {
        let stop = CancellationToken::new();
        listener.answer_joiner_over(theirs, None, place, &stop).await
    });
    (ours, answering)
}

async fn join_as(
    by: By,
    node: &Node,
    code: &JoinCode,
    identity: &Identity,
    name: &str,
) -> Result<join::Joined, ControlError> {
    let joiner = join::Joiner {
        identity,
        hello: Hello::new(name, Roles::CLIENT),
        name,
        listen_port: 1234,
        platform: "a system",
        outbound: matches!(by, By::Stream),
    };
    match by {
        By::Smssh => join::join(&node.addresses(), code, &joiner, QUICK).await,
        By::Stream => {
            let (stream, _) = stream(node, &Admission::new());
            join::join_over(stream, "the server", code, &joiner, QUICK).await
        }
    }
}

#[tokio::test]
async fn a_host_with_the_code_is_enrolled_and_knows_the_server() {
    for by in WAYS {
        let (node, code) = server().await;
        let identity = Identity::generate();
        // As a person types it.
        let code = JoinCode::parse(&code.text().to_lowercase()).unwrap();
        let joined = join_as(by, &node, &code, &identity, "host-7").await.unwrap();
        assert_eq!(joined.server_key, node.identity.public());
        assert_eq!(joined.server_name, "the-server");
        let enrolled = node.player.joined.lock().unwrap().clone();
        assert_eq!(enrolled, [("host-7".to_owned(), identity.public())]);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_the_server() {
    for by in WAYS {
        let (node, code) = server().await;
        let mut secret = *code.secret();
        secret[0] ^= 1;
        let wrong = JoinCode::from_secret(secret, &node.identity.public());
        let error = join_as(by, &node, &wrong, &Identity::generate(), "host").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{by:?}");
        assert!(node.player.joined.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn another_server_than_the_codes_hears_nothing_from_us() {
    for by in WAYS {
        let (node, _) = server().await;
        let code = JoinCode::generate(&Identity::generate().public());
        let error = join_as(by, &node, &code, &Identity::generate(), "host").await.unwrap_err();
        assert!(matches!(error, ControlError::HostKey { .. }), "{error}");
        assert!(error.to_string().contains("join code"), "{error}");
        let found = node.identity.public().short_fingerprint();
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(error.to_string().contains(&found), "{error}");
        if let By::Smssh = by {
            assert_eq!(node.policy.asked_joins.load(Ordering::SeqCst), 0, "no log-in was tried");
        }
    }
}

#[tokio::test]
async fn without_an_open_code_nobody_joins() {
    for by in WAYS {
        let (node, code) = server().await;
        node.policy.joins.store(false, Ordering::SeqCst);
        let error = join_as(by, &node, &code, &Identity::generate(), "host").await.unwrap_err();
        assert!(matches!(error, ControlError::JoinClosed { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Denied);
    }
}

#[tokio::test]
async fn impossible_names_are_refused_in_words() {
    for by in WAYS {
        let (node, code) = server().await;
        for name in ["", "../etc", "a b", "-rf", "ä", &"x".repeat(65)] {
            let error = join_as(by, &node, &code, &Identity::generate(), name).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{name}");
            assert!(error.to_string().contains("name"), "{error}");
        }
        assert!(node.player.joined.lock().unwrap().is_empty());
    }
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

/// A host that joins over a stream, with nothing but its key.
async fn stranger(node: &Node, stream: DuplexStream) -> simsim_control::ControlClient {
    let hello = Hello::new("host", Roles::CLIENT);
    let dialer = CtrlDialer::new(Identity::generate(), hello).with_timing(QUICK);
    let expected = Expected::Short(node.identity.public().short_fingerprint());
    dialer.call_over(stream, "the server", expected, Box::new(())).await.unwrap().0
}

#[tokio::test]
async fn over_a_stream_a_stranger_may_join_and_nothing_else() {
    let (node, _) = server().await;
    let waiting = Admission::new();
    let (stream, _answering) = stream(&node, &waiting);
    let session = stranger(&node, stream).await;
    session.call(Ping {}).await.unwrap();
    let error = session.call(JobState { job: 1 }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert_eq!(waiting.strangers(), 1, "it keeps its place");
}

/// At the listener: a stranger who enrols has proved a key of its own and nothing else. It is cut off after
/// the time that a stranger has, whatever it says, and gives way like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_enrols_over_smssh_gives_way_and_does_not_stay() {
    let (node, _) = server().await;
    let come = async || {
        let key = node.identity.public();
        dialer(&Identity::generate()).connect(&node.addresses(), &key, JOIN_USER).await.unwrap()
    };
    let begun = Instant::now();
    let session = come().await;
    // It says something all the time.
    while session.call(Ping {}).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30), "a stranger who talks stays");
    }
    assert!(begun.elapsed() >= QUICK.idle, "{:?}", begun.elapsed());
    // Eight of an address, and one more: the oldest goes, before its time is over.
    let patient = Timing { idle: Duration::from_secs(60), ..QUICK };
    let node = Node::with_timing(Mode::Smssh, patient).await;
    node.policy.joins.store(true, Ordering::SeqCst);
    let key = node.identity.public();
    let mut sessions = Vec::new();
    for _ in 0..=limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX {
        let dialled = dialer(&Identity::generate()).with_timing(patient);
        sessions.push(dialled.connect(&node.addresses(), &key, JOIN_USER).await.unwrap());
    }
    let first = sessions.remove(0);
    tokio::time::timeout(Duration::from_secs(30), first.closed()).await.expect("it gives way");
    for session in &sessions {
        session.call(Ping {}).await.expect("the others stay");
    }
}

#[tokio::test]
async fn a_stranger_on_a_stream_gives_way_and_does_not_stay() {
    let (node, _) = server().await;
    let waiting = Admission::with_limits(1, 8);
    let (first, answering) = stream(&node, &waiting);
    let session = stranger(&node, first).await;
    let (second, late) = stream(&node, &waiting);
    assert_eq!(answering.await.unwrap(), "gave way to a newer stranger");
    session.closed().await;
    // One that has proved a key is cut off after the time that a stranger has, though it is heard.
    let begun = Instant::now();
    let session = stranger(&node, second).await;
    let beating = tokio::spawn(async move { while session.call(Ping {}).await.is_ok() {} });
    assert_eq!(late.await.unwrap(), "enrolment withdrawn");
    assert!(begun.elapsed() >= QUICK.idle);
    beating.await.unwrap();
    // And one that says nothing, after the time for a log-in.
    let (silent, answering) = stream(&node, &waiting);
    let begun = Instant::now();
    assert_eq!(answering.await.unwrap(), "no log-in in time");
    assert!(begun.elapsed() >= QUICK.handshake);
    drop(silent);
}

#[tokio::test]
async fn who_carries_the_stream_learns_no_secret_and_changes_nothing() {
    let (node, code) = server().await;
    let (mut far, _answering) = stream(&node, &Admission::new());
    let (near, mut middle) = duplex(1 << 16);
    let identity = Identity::generate();
    let joiner = join::Joiner {
        identity: &identity,
        hello: Hello::new("a-name-of-a-host", Roles::CLIENT),
        name: "a-name-of-a-host",
        listen_port: 1,
        platform: "",
        outbound: true,
    };
    // Whoever ends TLS on the way has every byte.
    let carrying = tokio::spawn(async move {
        let mut all = Vec::new();
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                read = tokio::io::AsyncReadExt::read(&mut middle, &mut up) => match read {
                    Ok(read @ 1..) => {
                        all.extend_from_slice(&up[..read]);
                        far.write_all(&up[..read]).await.unwrap();
                    }
                    _ => return all,
                },
                read = tokio::io::AsyncReadExt::read(&mut far, &mut down) => match read {
                    Ok(read @ 1..) => {
                        all.extend_from_slice(&down[..read]);
                        middle.write_all(&down[..read]).await.unwrap();
                    }
                    _ => return all,
                },
            }
        }
    });
    join::join_over(near, "the server", &code, &joiner, QUICK).await.unwrap();
    let all = tokio::time::timeout(Duration::from_secs(10), carrying).await.unwrap().unwrap();
    let seen = |secret: &[u8]| all.windows(secret.len()).any(|part| part == secret);
    assert!(all.len() > 3000 && seen(b"simsim-ctrl 1 call"));
    for secret in [
        code.secret().as_slice(),
        b"a-name-of-a-host",
        identity.public().as_bytes(),
        node.identity.public().as_bytes(),
    ] {
        assert!(!seen(secret), "{secret:?}");
    }
}
