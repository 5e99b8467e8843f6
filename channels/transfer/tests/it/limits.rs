//! One past each limit of the data ports, at each door where a stranger can come to it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use simsim_model::{BackupSession, Direction, Kind, Name, Secret, limits};
use simsim_net::BoxedWire;
use simsim_net::tls::TlsConnect;
use simsim_transfer::frame::{FIRST_SEALED_BYTES_MAX, FrameOpener, TAG_BYTES};
use simsim_transfer::keys::{SessionKeys, Way};
use simsim_transfer::{ListenOptions, TransferError, Verb, messages, verb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use crate::front::{
    Door, Http, Mutual, Port, Tcp, Tls, at_doors, identity, stranger_ticket, ticket,
};
use crate::memory::Memory;
use crate::wire::{open_by_hand, seal, status};

/// A step may take so long on a busy machine; a device's own patience is longer.
const SOON: Duration = Duration::from_secs(9);
/// Longer than any of these tests takes.
pub const PATIENT: Duration = Duration::from_secs(120);

/// A door of which a test writes what goes in, byte by byte.
trait ByHand: Door {
    fn greet(port: &Port<Self>, stream: tokio::net::TcpStream) -> BoxedWire;
}

impl ByHand for Tcp {
    fn greet(_: &Port<Self>, stream: tokio::net::TcpStream) -> BoxedWire {
        Box::new(stream)
    }
}

impl ByHand for Tls {
    fn greet(port: &Port<Self>, stream: tokio::net::TcpStream) -> BoxedWire {
        let tls = TlsConnect::new(vec![identity(&port.folder(""), "device").pin()], None);
        let tls = tls.expect("tls");
        let greeted = tls.greet("device:1", stream);
        Box::new(port.runtime.block_on(greeted).expect("handshake"))
    }
}

impl ByHand for Mutual {
    fn greet(port: &Port<Self>, stream: tokio::net::TcpStream) -> BoxedWire {
        let own = identity(&port.folder(""), "client");
        let tls = TlsConnect::new(vec![identity(&port.folder(""), "device").pin()], Some(&own));
        let tls = tls.expect("tls");
        let greeted = tls.greet("device:1", stream);
        Box::new(port.runtime.block_on(greeted).expect("handshake"))
    }
}

/// A connection from an address of the loopback network.
fn from(runtime: &Runtime, address: Ipv4Addr, to: SocketAddr) -> tokio::net::TcpStream {
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from((address, 0))).expect("bind");
        socket.connect(to).await.expect("connect")
    })
}

fn wire<D: ByHand>(port: &Port<D>) -> BoxedWire {
    D::greet(port, from(&port.runtime, Ipv4Addr::LOCALHOST, port.address))
}

fn say<D: Door>(port: &Port<D>, wire: &mut BoxedWire, bytes: &[u8]) {
    port.runtime.block_on(async {
        wire.write_all(bytes).await.expect("write");
        wire.flush().await.expect("flush");
    });
}

/// What is heard within a time, up to so many bytes or the end: `None` when nothing was.
fn heard<D: Door>(port: &Port<D>, wire: &mut BoxedWire, time: Duration) -> Option<String> {
    let mut bytes = [0; 12];
    let reading = async { tokio::time::timeout(time, wire.read_exact(&mut bytes)).await };
    match port.runtime.block_on(reading) {
        Err(_) => None,
        Ok(Err(_)) => Some(String::new()),
        Ok(Ok(_)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn a_head_that_never_ends_is_refused_at_its_limit<D: ByHand>() {
    let port = Port::<D>::start(Memory::default());
    let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
    let head = |bytes: usize| format!("{start}{}", "a".repeat(bytes - start.len()));
    let mut endless = wire(&port);
    say(&port, &mut endless, head(limits::HTTP_HEAD_BYTES_MAX).as_bytes());
    let reply = heard(&port, &mut endless, SOON).expect("the device waits for more");
    assert_eq!(status(&reply), "431", "{reply:?}");
    let mut late = wire(&port);
    say(&port, &mut late, head(limits::HTTP_HEAD_BYTES_MAX - 4).as_bytes());
    assert_eq!(heard(&port, &mut late, Duration::from_millis(300)), None);
    say(&port, &mut late, b"\r\n\r\n");
    let reply = heard(&port, &mut late, SOON).expect("a reply");
    assert_eq!(status(&reply), "404", "as long as it may be: {reply:?}");
}

fn who_proves_nothing_is_cut_off_in_time<D: ByHand>() {
    let time = Duration::from_millis(1500);
    let options = ListenOptions { handshake_timeout: time, ..ListenOptions::default() };
    let port = Port::<D>::start_with(Memory::default(), options);
    // Before TLS, upon it, and one that says half of something now and then.
    let mut silent = from(&port.runtime, Ipv4Addr::LOCALHOST, port.address);
    let begun = Instant::now();
    let mut upon = wire(&port);
    let ended = port.runtime.block_on(async {
        tokio::time::timeout(SOON, async {
            let first = silent.read(&mut [0]).await.unwrap_or(0);
            let second = upon.read(&mut [0]).await.unwrap_or(0);
            (first, second)
        })
        .await
    });
    assert_eq!(ended.expect("strangers stay"), (0, 0));
    assert!(begun.elapsed() >= time - Duration::from_millis(500), "{:?}", begun.elapsed());
    let mut drips = wire(&port);
    let begun = Instant::now();
    let closed = port.runtime.block_on(async {
        while drips.write_all(b"A").await.is_ok() && drips.flush().await.is_ok() {
            if begun.elapsed() > SOON {
                return false;
            }
            let mut rest = [0; 64];
            let read = drips.read(&mut rest);
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(50), read).await
                && matches!(read, Ok(0) | Err(_))
            {
                break;
            }
        }
        true
    });
    assert!(closed, "a stranger who says a byte now and then stays");
}

/// Is nothing more to be heard of it, not even its end?
fn is_open(runtime: &Runtime, stream: &mut tokio::net::TcpStream) -> bool {
    let mut rest = [0; 4096];
    let ended = async { while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {} };
    let some = Duration::from_millis(100);
    runtime.block_on(async { tokio::time::timeout(some, ended).await.is_err() })
}

/// Waits for the end.
fn is_closed(runtime: &Runtime, stream: &mut tokio::net::TcpStream) -> bool {
    let mut rest = [0; 4096];
    let ended = async { while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {} };
    runtime.block_on(async { tokio::time::timeout(SOON, ended).await.is_ok() })
}

/// Strangers who may stay longer than any test takes.
fn patient<D: Door>() -> Port<D> {
    let (handshake_timeout, stall_timeout) = (PATIENT, PATIENT);
    let options = ListenOptions { handshake_timeout, stall_timeout, ..ListenOptions::default() };
    Port::start_with(Memory::default(), options)
}

fn the_ninth_stranger_of_an_address_takes_the_place_of_the_first<D: ByHand>() {
    let port = patient::<D>();
    let here = |last| from(&port.runtime, Ipv4Addr::new(127, 1, 9, last), port.address);
    let max = limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX;
    let mut held: Vec<_> = (0..max).map(|_| here(9)).collect();
    let _elsewhere = here(8);
    assert!(is_open(&port.runtime, &mut held[0]), "as many as there may be");
    let mut one_more = D::greet(&port, here(9));
    assert!(is_closed(&port.runtime, &mut held[0]), "the oldest stays");
    assert!(held.iter_mut().skip(1).all(|stream| is_open(&port.runtime, stream)));
    say(&port, &mut one_more, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status(&heard(&port, &mut one_more, SOON).expect("a reply")), "404");
}

fn of_256_strangers_in_all_the_oldest_gives_way<D: Door>() {
    let port = patient::<D>();
    oldest_of_256_gives_way(port.address);
}

/// At a door that gives strangers [`PATIENT`] time.
pub fn oldest_of_256_gives_way(door: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("runtime");
    let max = limits::UNAUTHENTICATED_CONNECTIONS_MAX;
    let each = limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX;
    let call = |at: usize| from(&runtime, Ipv4Addr::new(127, 1, (at / each) as u8, 1), door);
    let mut held: Vec<_> = (0..max).map(call).collect();
    assert!(is_open(&runtime, &mut held[0]), "as many as there may be");
    let mut one_more = call(max);
    assert!(is_closed(&runtime, &mut held[0]), "257 strangers");
    assert!(is_open(&runtime, &mut held[1]), "one more gives way than has to");
    assert!(is_open(&runtime, &mut held[max - 1]) && is_open(&runtime, &mut one_more));
}

at_doors!(Tcp as http, Tls as https, Mutual as drive => [
    a_head_that_never_ends_is_refused_at_its_limit,
    who_proves_nothing_is_cut_off_in_time,
    the_ninth_stranger_of_an_address_takes_the_place_of_the_first,
]);

at_doors!(Tcp as http_all, Tls as https_all => [
    of_256_strangers_in_all_the_oldest_gives_way,
]);

#[test]
fn a_devices_head_that_never_ends_is_given_up_at_its_limit() {
    let front = Http::start(Memory::default());
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut asked = [0; 512];
            let _ = stream.read(&mut asked);
            let start = "HTTP/1.1 200 OK\r\nA: ";
            let head = format!("{start}{}", "a".repeat(limits::HTTP_HEAD_BYTES_MAX - start.len()));
            let _ = stream.write_all(head.as_bytes());
            held.push(stream);
        }
    });
    let known = stranger_ticket(Direction::Backup);
    let error = front.transfer(address, known).err().expect("no device");
    assert_eq!(error.kind, Kind::Unreachable);
    assert!(error.message.contains("too large"), "{}", error.message);
}

/// Only the nine bytes before a frame.
fn header(length: usize, kind: u8) -> Vec<u8> {
    [&0u32.to_le_bytes()[..], &(length as u32).to_le_bytes(), &[kind]].concat()
}

#[test]
fn each_kind_of_frame_has_its_limit() {
    let keys = SessionKeys::derive(
        &Secret([1; 32]),
        &stranger_ticket(Direction::Backup).transfer,
        &[0; 32],
        &[0; 32],
    );
    let fed = |length: usize, kind: u8, reply: bool| {
        let key = keys.body_key(Way::ToClient, Verb::Get, 1).expect("key");
        FrameOpener::new(key, reply, 4 << 20, 0).feed(&header(length, kind))
    };
    let whole = limits::FRAME_BYTES_MAX - 9;
    let error = TAG_BYTES + 1 + 4096;
    for (kind, most) in [(1, whole), (2, whole), (3, TAG_BYTES), (4, error)] {
        assert_eq!(fed(most, kind, true), Ok(()), "kind {kind}");
        let past = fed(most + 1, kind, true);
        assert!(matches!(past, Err(TransferError::FrameLength { .. })), "kind {kind}: {past:?}");
        let first = most.min(FIRST_SEALED_BYTES_MAX);
        let request = fed(first, kind, false);
        assert_eq!(request.is_ok(), kind <= 2, "kind {kind} in a request: {request:?}");
        assert!(fed(first + 1, kind, false).is_err(), "kind {kind}, the first of a request");
    }
}

/// 16 KiB are what a body has before it proved anything.
#[test]
fn a_first_frame_that_does_not_fit_is_refused_by_its_header() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let ticket = ticket(&memory, Direction::Backup);
    open_by_hand(front.address, &ticket);
    let path = verb::path(&ticket.transfer, Verb::Put);
    let ask = |declared: usize, frame: usize| {
        let mut stream = TcpStream::connect(front.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nsimsim-request: 7\r\nContent-Length: {declared}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &header(frame, 1)].concat()).expect("write");
        stream
    };
    let refused = |mut stream: TcpStream| {
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).expect("the device waits for the frame");
        assert_eq!(&reply, b"HTTP/1.1 403");
    };
    refused(ask(2 << 20, FIRST_SEALED_BYTES_MAX + 1));
    // Also where the whole body is smaller than what its frame says.
    refused(ask(1000, limits::FRAME_BYTES_MAX - 9));
    let mut fits = ask(2 << 20, FIRST_SEALED_BYTES_MAX);
    fits.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
    assert!(fits.read(&mut [0]).is_err(), "as large as it may be");
}

#[test]
fn lists_of_requests_have_their_limits_on_the_wire_and_behind_it() {
    let names = |count: usize| vec![0; count * Name::BYTES];
    let most = limits::NAMES_PER_REQUEST_MAX;
    assert_eq!(messages::decode_names(&names(most)).expect("whole").len(), most);
    assert!(messages::decode_names(&names(most + 1)).is_err());
    let places = |count: usize| vec![0; count * 44];
    let most = limits::PLACES_PER_REQUEST_MAX;
    assert_eq!(messages::decode_places(&places(most)).expect("whole").len(), most);
    assert!(messages::decode_places(&places(most + 1)).is_err());

    let ids = |count: usize| vec![0; count * 16];
    let most = limits::NAMES_PER_REQUEST_MAX;
    assert_eq!(messages::decode_ids(&ids(most)).expect("whole").len(), most);
    assert!(messages::decode_ids(&ids(most + 1)).is_err());

    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let ticket = ticket(&memory, Direction::Backup);
    let keys = open_by_hand(front.address, &ticket);
    let mut number = 0;
    for (verb, most, each) in [
        (Verb::Has, limits::NAMES_PER_REQUEST_MAX, Name::BYTES),
        (Verb::Locate, limits::NAMES_PER_REQUEST_MAX, Name::BYTES),
        (Verb::Get, limits::PLACES_PER_REQUEST_MAX, 44),
        (Verb::Commit, limits::MANIFEST_BYTES_MAX, 1),
        (Verb::Savesets, limits::NAMES_PER_REQUEST_MAX, 16),
        // Eight bytes say how many segments there are.
        (Verb::CommitCopy, limits::MANIFEST_BYTES_MAX + 8, 1),
    ] {
        let mut ask = |count: usize| {
            number += 1;
            let body = seal(&keys, verb, number, &vec![0; count * each]).concat();
            let reply = crate::wire::post(
                front.address,
                &verb::path(&ticket.transfer, verb),
                &number.to_string(),
                &body,
            );
            status(&reply).to_owned()
        };
        assert!(!["413", "none"].contains(&&*ask(most)), "{verb:?}: as many as there may be");
        assert_eq!(ask(most + 1), "413", "{verb:?}");
    }
}

/// Nothing that was stored can be taken away through these ports: whatever is said, there is no verb
/// for it.
#[test]
fn there_is_no_verb_that_deletes() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    session.put(0, crate::front::bytes_of(10, 0)).expect("put");
    let verbs = [
        "open",
        "has",
        "put",
        "commit",
        "locate",
        "get",
        "manifest",
        "ping",
        "close",
        "abort",
        "stream-put",
        "terms",
        "stream-get",
        "savesets",
        "commit-copy",
    ];
    let id = stranger_ticket(Direction::Backup).transfer;
    for verb in Verb::ALL {
        let path = verb::path(&id, verb);
        assert!(verbs.contains(&verb.as_str()), "nobody has judged '{}'", verb.as_str());
        let mut stream = TcpStream::connect(front.address).expect("connect");
        let head = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("write");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("read");
        assert_eq!(status(&reply), "405", "{path}");
    }
}

/// Settings may lower a limit; what holds without them is no higher.
#[test]
fn defaults_keep_the_limits() {
    let ms = |time: Duration| time.as_millis() as u64;
    let http = ListenOptions::default();
    assert!(ms(http.handshake_timeout) <= limits::HANDSHAKE_TIMEOUT_MS);
    assert!(ms(http.stall_timeout) <= limits::IDLE_TIMEOUT_MS);
    let ftp = simsim_transfer::FtpOptions::default();
    assert!(ms(ftp.handshake_timeout) <= limits::HANDSHAKE_TIMEOUT_MS);
    assert!(ms(ftp.arrival_timeout) <= limits::HANDSHAKE_TIMEOUT_MS);
    assert!(ms(ftp.idle_timeout) <= limits::IDLE_TIMEOUT_MS);
    assert!(ftp.mux.windows_bytes_max() <= limits::CONNECTION_MEMORY_BYTES_MAX);
}
