//! Hosts that call the Server, as hostile ones do it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use simsim_catalog::AccessMode;
use simsim_control::join::{Joiner, join_over};
use simsim_control::verbs::{NodeStateReply, Request, Roles};
use simsim_control::{CtrlListener, Hello, Identity, JoinCode, VerbHandler};
use simsim_model::{Level, limits};
use simsim_net::BoxedWire;
use simsim_net::mux::{Mux, MuxHandle, Side};
use simsim_net::outbound::{self, Purpose, Relay};
use simsim_server::api::{ClientRequest, ClientSetRequest, JoinCodeRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::hosts::{Host, timing};
use crate::suite::{Suite, root};

/// What a stranger has, and how late a busy machine may be.
const HANDSHAKE: Duration = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
const LATE: Duration = Duration::from_secs(10);

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// The far end of a new connection to the Server, which takes it as a call.
pub fn connection(suite: &Suite) -> BoxedWire {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = suite.server().clone();
    tokio::spawn(async move { server.take_call(Box::new(theirs), FROM).await });
    Box::new(ours)
}

/// Calls with a key, and answers as a host does; streams can be opened on what comes back.
async fn call(suite: &Suite, host: &Host, identity: &Identity) -> MuxHandle {
    call_as(suite, host, identity, Arc::clone(&host.desk) as Arc<_>).await
}

/// The same, with somebody else who answers.
pub async fn call_as(
    suite: &Suite,
    host: &Host,
    identity: &Identity,
    handler: Arc<dyn VerbHandler>,
) -> MuxHandle {
    let mut wire = connection(suite);
    outbound::begin(&mut wire, Purpose::Call).await.unwrap();
    let (streams, mut incoming) = Mux::new(wire, Side::Dialer, outbound::limits());
    let hello = Hello::new(&*host.desk.name, Roles::CLIENT);
    let listener = CtrlListener::with_timing(identity, hello, host.door(), handler, timing());
    tokio::spawn(async move {
        let stop = CancellationToken::new();
        while let Some(stream) = incoming.next().await {
            listener.answer_over(stream, None, &stop).await;
        }
    });
    streams
}

pub async fn outbound_host(suite: &Suite) -> Host {
    let host = suite.join_host("laptop", false).await;
    let request = ClientSetRequest {
        name: "laptop".to_owned(),
        access_mode: AccessMode::Outbound,
        port: None,
    };
    suite.server().set_client(&root(), request).await.unwrap();
    host
}

pub async fn connected(suite: &Suite) -> bool {
    let clients = suite.server().clients(&root()).await.unwrap();
    clients.iter().any(|one| one.name == "laptop" && one.connected)
}

pub async fn until_connected(suite: &Suite, wanted: bool) {
    let waiting = async {
        while connected(suite).await != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("connected, or not");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_lead_only_to_addresses_that_the_host_was_told_of() {
    let suite = Suite::with_datastore().await;
    let host = outbound_host(&suite).await;
    let streams = call(&suite, &host, &host.identity).await;
    until_connected(&suite, true).await;
    // Somebody in the server's network, and its own control port.
    let (elsewhere, own) = ("127.0.0.1:1".to_owned(), suite.host.control.to_string());
    for address in [&elsewhere, &own] {
        let mut stream = streams.open().await.unwrap();
        let refused = outbound::ask(&mut stream, address).await.unwrap_err();
        assert!(refused.contains("did not name that address"), "{refused}");
    }
    // Not even what it was told of for a job is widened.
    let source = tempfile::tempdir().unwrap();
    suite.add_task("home", "laptop", source.path()).await;
    let job = suite.run("home", Level::Full).await;
    suite.ended(job).await;
    let mut stream = streams.open().await.unwrap();
    outbound::ask(&mut stream, &own).await.unwrap_err();
    let told = suite.host.data.unwrap().to_string();
    let mut stream = streams.open().await.unwrap();
    outbound::ask(&mut stream, &told).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_enrolled_for_this_gets_no_session_and_no_stream() {
    let suite = Suite::with_datastore().await;
    let host = outbound_host(&suite).await;
    let other = Identity::generate();
    let streams = call(&suite, &host, &other).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), streams.watch().ended()).await;
    ended.expect("the connection of a stranger is closed");
    assert!(!connected(&suite).await);
    // The right one, and an older call of it gives way to a newer.
    let first = call(&suite, &host, &host.identity).await;
    until_connected(&suite, true).await;
    let second = call(&suite, &host, &host.identity).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), first.watch().ended()).await;
    ended.expect("the older call is closed");
    until_connected(&suite, true).await;
    assert!(!second.watch().is_over());
}

/// Somebody holds a stolen key and is in the middle of proving it at the moment in which it is revoked:
/// nothing of that becomes a session later.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_while_it_is_proved_gets_nothing_then_or_later() {
    let suite = Suite::with_datastore().await;
    let host = outbound_host(&suite).await;
    // The thief answers the server's first line only when it is allowed to.
    let go = Arc::new(tokio::sync::Notify::new());
    let mut wire = connection(&suite);
    outbound::begin(&mut wire, Purpose::Call).await.unwrap();
    let (streams, mut incoming) = Mux::new(wire, Side::Dialer, outbound::limits());
    let hello = Hello::new("laptop", Roles::CLIENT);
    let (policy, handler) = (host.door(), Arc::clone(&host.desk) as Arc<_>);
    let thief = CtrlListener::with_timing(&host.identity, hello, policy, handler, timing());
    let held = Arc::clone(&go);
    tokio::spawn(async move {
        let stop = CancellationToken::new();
        let Some(stream) = incoming.next().await else { return };
        held.notified().await;
        thief.answer_over(stream, None, &stop).await;
    });
    let request = ClientRequest { name: "laptop".to_owned() };
    suite.server().revoke_client(&root(), request).await.unwrap();
    go.notify_one();
    let ended = tokio::time::timeout(Duration::from_secs(30), streams.watch().ended()).await;
    ended.expect("the connection of a revoked host is closed");
    assert!(!connected(&suite).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_proof_are_limited_and_end_in_time() {
    let suite = Suite::start().await;
    let silent: Vec<BoxedWire> = (0..9).map(|_| connection(&suite)).collect();
    let closed = async |wire: &mut BoxedWire, within: u64| {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(within), wire.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    };
    let begun = std::time::Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for mut wire in silent {
        waiting.spawn(async move {
            let mut byte = [0];
            let read = tokio::time::timeout(Duration::from_secs(60), wire.read(&mut byte)).await;
            assert!(matches!(read, Ok(Ok(0) | Err(_))), "nobody stays without a proof");
            begun.elapsed()
        });
    }
    let mut ended = waiting.join_all().await;
    ended.sort();
    // One past eight of an address: one gives way at once, and the others have their time and no more.
    let second = Duration::from_secs(1);
    assert!(ended[0] + second < ended[1], "one gives way before its time: {ended:?}");
    assert!(ended[1] + second > HANDSHAKE && ended[8] < HANDSHAKE + LATE, "{ended:?}");
    // What is no call is closed at once.
    let mut other = connection(&suite);
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(closed(&mut other, 5).await);
}

/// How far a stranger comes before it says nothing more that counts.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// Its first line never ends; a byte comes now and then.
    Line,
    /// It opens the connection for streams, and answers on none.
    Proof,
    /// It wants to join.
    Join,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_ten_seconds_to_its_proof_however_far_it_comes() {
    let suite = Suite::with_datastore().await;
    let request = JoinCodeRequest { name: Some("road".to_owned()), outbound: true };
    suite.server().create_join_code(&root(), request).await.unwrap();
    let mut calling = tokio::task::JoinSet::new();
    for far in [Until::Line, Until::Proof, Until::Join] {
        let mut wire = connection(&suite);
        calling.spawn(async move {
            let begun = std::time::Instant::now();
            match far {
                Until::Line => {
                    while wire.write_all(b"c").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                Until::Proof => {
                    outbound::begin(&mut wire, Purpose::Call).await.unwrap();
                    // Its heartbeats go on.
                    let (streams, incoming) = Mux::new(wire, Side::Dialer, outbound::limits());
                    streams.watch().ended().await;
                    drop(incoming);
                }
                Until::Join => {
                    outbound::begin(&mut wire, Purpose::Join).await.unwrap();
                    let mut said = [0; 4096];
                    while matches!(wire.read(&mut said).await, Ok(1..)) {}
                }
            }
            (far, begun.elapsed())
        });
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), calling.join_all()).await;
    for (far, after) in ended.expect("nobody stays without a proof") {
        // This server's sessions have less time for a handshake than strangers may have at most.
        let time = match far {
            Until::Proof => timing().handshake,
            Until::Line | Until::Join => HANDSHAKE,
        };
        assert!(
            after + Duration::from_secs(1) > time && after < HANDSHAKE + LATE,
            "{far:?}: {after:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_over_a_connection_that_it_opened_and_a_relay_that_is_claimed_is_none() {
    let suite = Suite::with_datastore().await;
    let request = JoinCodeRequest { name: Some("road".to_owned()), outbound: true };
    let code = suite.server().create_join_code(&root(), request).await.unwrap();
    assert!(code.command.contains(" --outbound=") && code.command.ends_with("--name road"));
    let code = JoinCode::parse(&code.code).unwrap();
    let identity = Identity::generate();
    let joiner = |outbound| Joiner {
        identity: &identity,
        hello: Hello::new("road", Roles::CLIENT),
        name: "road",
        listen_port: 1,
        platform: "test",
        outbound,
    };
    // The server's own host has a device, and knows nothing of this word.
    let vault = Relay { name: "vault".to_owned(), word: "c0ffee".to_owned() };
    for outbound in [false, true] {
        let mut wire = connection(&suite);
        outbound::begin_relayed(&mut wire, &vault).await.unwrap();
        outbound::begin(&mut wire, Purpose::Join).await.unwrap();
        let joined = join_over(wire, "vault", &code, &joiner(outbound), timing()).await;
        match outbound {
            true => assert_eq!(joined.unwrap().server_key, suite.server().identity().public()),
            // Nobody becomes a host that is dialled in this way.
            false => {
                let error = joined.unwrap_err().to_string();
                assert!(error.contains("one that calls"), "{error}");
            }
        }
    }
    let clients = suite.server().clients(&root()).await.unwrap();
    let road = clients.iter().find(|one| one.name == "road").unwrap();
    assert_eq!(road.access_mode, AccessMode::Outbound);
    assert_eq!(road.addresses, [FROM.to_string()]);

    // One that passes the connection on says so itself, wherever the connection seems to come from.
    suite.host.answer_first(Arc::new(|request| match request {
        Request::NodeState(_) => {
            let relayed = vec![vec![1, 2, 3], vec![0xc0, 0xff, 0xee]];
            Some(Ok(NodeStateReply { relayed, ..NodeStateReply::default() }.into()))
        }
        _ => None,
    }));
    let request = JoinCodeRequest { name: Some("far".to_owned()), outbound: true };
    let code = suite.server().create_join_code(&root(), request).await.unwrap();
    let code = JoinCode::parse(&code.code).unwrap();
    let mut wire = connection(&suite);
    outbound::begin_relayed(&mut wire, &vault).await.unwrap();
    outbound::begin(&mut wire, Purpose::Join).await.unwrap();
    let far = Joiner { name: "far", identity: &Identity::generate(), ..joiner(true) };
    join_over(wire, "vault", &code, &far, timing()).await.unwrap();
    let clients = suite.server().clients(&root()).await.unwrap();
    let far = clients.iter().find(|one| one.name == "far").unwrap();
    assert!(far.addresses.is_empty(), "the address that was seen is the relay's: {far:?}");
}
