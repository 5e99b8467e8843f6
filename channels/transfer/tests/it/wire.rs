//! Raw bytes on the port: strangers, captures, replays, and bodies changed on the way.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use simsim_model::{BackupSession, Direction, Ticket, limits};
use simsim_transfer::frame::{FIRST_SEALED_BYTES_MAX, FrameOpener, FrameSealer};
use simsim_transfer::keys::{self, SessionKeys, Way};
use simsim_transfer::{ListenOptions, TransferError, Verb, messages, verb};

use crate::front::{Http, bytes_of, stranger_ticket, ticket};
use crate::memory::{Memory, name_of};
use crate::proxy::Proxy;
use crate::session::whole_session;

/// Sends bytes, reads until the device closes or falls silent.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    let _ = stream.write_all(bytes);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

pub fn post(address: SocketAddr, path: &str, number: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nsimsim-request: {number}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat())
}

pub fn status(reply: &str) -> &str {
    reply.get(9..12).unwrap_or("none")
}

/// Opens by hand and gives the keys, so that a test can send what no honest client sends.
pub fn open_by_hand(address: SocketAddr, ticket: &Ticket) -> SessionKeys {
    let client = keys::nonce().expect("nonce");
    let proof = keys::client_proof(&ticket.secret, &ticket.transfer, &client);
    let body = [client, *proof.as_bytes()].concat();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 64\r\n\r\n",
        verb::path(&ticket.transfer, Verb::Open)
    );
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(&[head.as_bytes(), &body].concat()).expect("write");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("read");
    let device: [u8; 32] = reply[reply.len() - 64..][..32].try_into().expect("32 bytes");
    SessionKeys::derive(&ticket.secret, &ticket.transfer, &client, &device)
}

pub fn seal(keys: &SessionKeys, verb: Verb, number: u64, plain: &[u8]) -> Vec<Bytes> {
    let mut sealer = FrameSealer::new(keys.body_key(Way::ToDevice, verb, number).expect("key"));
    let mut parts = std::collections::VecDeque::from([Bytes::copy_from_slice(plain)]);
    let mut frames = Vec::new();
    while !parts.is_empty() {
        frames.push(sealer.next_of(&mut parts, true).expect("seal"));
    }
    frames
}

#[test]
fn browsers_and_strangers_get_an_honest_short_answer() {
    let front = Http::start(Memory::default());
    let reply = raw(front.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status(&reply), "404");
    assert!(reply.contains("simsim data port"), "{reply}");
    let path = verb::path(&stranger_ticket(Direction::Backup).transfer, Verb::Has);
    let reply = raw(front.address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    assert_eq!(status(&reply), "405");
    assert_eq!(status(&post(front.address, &path, "0", b"abc")), "403");
    assert_eq!(status(&post(front.address, &path, "x", b"abc")), "400");
    assert_eq!(status(&raw(front.address, b"\x16\x03\x01\x00\x05hello\r\n\r\n")), "400");
}

#[test]
fn oversize_heads_are_refused_one_past_the_limit() {
    let front = Http::start(Memory::default());
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    assert_eq!(
        status(&raw(front.address, head(limits::HTTP_HEAD_BYTES_MAX - 1).as_bytes())),
        "404"
    );
    assert_eq!(
        status(&raw(front.address, head(limits::HTTP_HEAD_BYTES_MAX + 1).as_bytes())),
        "431"
    );
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(status(&raw(front.address, fields(limits::HTTP_FIELDS_MAX).as_bytes())), "404");
    assert_eq!(status(&raw(front.address, fields(limits::HTTP_FIELDS_MAX + 1).as_bytes())), "431");
}

#[test]
fn strangers_are_limited_and_those_with_a_ticket_do_not_count() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    let max = limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX;
    let connect = || {
        let stream = TcpStream::connect(front.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
        std::thread::sleep(Duration::from_millis(20));
        stream
    };
    let mut held: Vec<_> = (0..max).map(|_| connect()).collect();
    let is_open = |stream: &mut TcpStream| match stream.read(&mut [0]) {
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        Ok(_) => false,
    };
    assert!(is_open(&mut held[0]), "as many as there may be");
    // One more: the oldest gives way, and no other.
    assert_eq!(status(&raw(front.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")), "404");
    assert!(!is_open(&mut held[0]));
    assert!(is_open(&mut held[1]) && is_open(&mut held[max - 1]));
    session.put(0, bytes_of(1, 0)).expect("its connection was kept");
    drop(held);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(status(&raw(front.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")), "404");
}

#[test]
fn silent_strangers_and_bodies_that_stop_are_cut_off() {
    let memory = Memory::default();
    let options = ListenOptions {
        handshake_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_millis(400),
        body_bytes_max: 0, // the least there is: 32 MiB, two large bodies do not fit at once
        ..ListenOptions::default()
    };
    let front = Http::start_with(memory.clone(), options);
    let mut silent = TcpStream::connect(front.address).expect("connect");
    silent.set_read_timeout(Some(Duration::from_secs(3))).expect("timeout");
    assert_eq!(silent.read(&mut [0; 9]).expect("closed in order"), 0);

    let ticket = ticket(&memory, Direction::Backup);
    let keys = open_by_hand(front.address, &ticket);
    let path = verb::path(&ticket.transfer, Verb::Put);
    let plain = vec![0; limits::SEGMENT_BYTES_MAX];
    let body = seal(&keys, Verb::Put, 0, &plain).concat();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nsimsim-request: 0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut half = TcpStream::connect(front.address).expect("connect");
    half.write_all(&[head.as_bytes(), &body[..body.len() / 2]].concat()).expect("write");
    half.set_read_timeout(Some(Duration::from_secs(3))).expect("timeout");
    let ended = match half.read(&mut [0; 9]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(ended, "the device still waits for the rest");
    assert_eq!(memory.held.lock().puts, 0);
    // The memory of the half body is free again: both together are more than there is.
    let body = seal(&keys, Verb::Put, 1, &plain).concat();
    assert_eq!(status(&post(front.address, &path, "1", &body)), "200");
    assert_eq!(memory.held.lock().puts, 1);
}

#[test]
fn changed_bodies_are_refused_and_nothing_else_is_disturbed() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let ticket = ticket(&memory, Direction::Backup);
    let keys = open_by_hand(front.address, &ticket);
    let path = verb::path(&ticket.transfer, Verb::Put);
    let put = |number: &str, body: &[u8]| post(front.address, &path, number, body);
    let segment = [&7u64.to_le_bytes()[..], &bytes_of(700_000, 7)].concat();
    let whole = |number| seal(&keys, Verb::Put, number, &segment);

    let frames = whole(0);
    // 4 KiB, then as much as a frame carries.
    assert_eq!(frames.len(), 4);
    let swapped = [&frames[0][..], &frames[2], &frames[1], &frames[3]].concat();
    assert_eq!(status(&put("0", &swapped)), "400", "reordered");
    assert_eq!(status(&put("1", &whole(1)[..2].concat())), "400", "truncated at a frame");
    let body = whole(2).concat();
    assert_eq!(status(&put("2", &body[..body.len() - 1])), "400", "truncated in a frame");
    assert_eq!(status(&put("3", &[&whole(3).concat()[..], b"x"].concat())), "400", "trailing");
    let mut flipped = whole(4).concat();
    flipped[400_000] ^= 1;
    assert_eq!(status(&put("4", &flipped)), "400", "one bit");
    assert_eq!(status(&put("6", &whole(5).concat())), "403", "another request's body");
    let moved = seal(&keys, Verb::Has, 7, &segment);
    assert_eq!(status(&put("7", &moved.concat())), "403", "another verb's body");
    for most in [limits::FRAME_BYTES_MAX, FIRST_SEALED_BYTES_MAX + 1] {
        let mut large = whole(8)[0].to_vec();
        large[4..8].copy_from_slice(&(most as u32).to_le_bytes());
        assert_eq!(status(&put("8", &large)), "403", "a first frame of {most} bytes, it says");
    }
    let huge = vec![0; limits::SEGMENT_BYTES_MAX + 9];
    assert_eq!(status(&put("9", &seal(&keys, Verb::Put, 9, &huge).concat())), "413", "oversize");
    let wrong = SessionKeys::derive(&ticket.secret, &ticket.transfer, &[0; 32], &[0; 32]);
    assert_eq!(status(&put("10", &seal(&wrong, Verb::Put, 10, &segment).concat())), "403", "key");
    assert_eq!(memory.held.lock().puts, 0, "a changed body was acted upon");

    let good = whole(11).concat();
    assert_eq!(status(&put("11", &good)), "200");
    assert_eq!(status(&put("11", &good)), "409", "replayed");
    assert_eq!(memory.held.lock().puts, 1);
    assert_eq!(memory.held.lock().segments[&7], segment[8..]);
}

#[test]
fn a_capture_replayed_is_refused_and_holds_nothing_in_the_clear() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let proxy = Proxy::start(front.runtime.handle(), front.address);
    let ticket = ticket(&memory, Direction::Backup);
    let segments = [Bytes::from(b"plaintext-marker ".repeat(1000)), bytes_of(300_000, 3)];
    let session = front.transfer(proxy.address, ticket.clone()).expect("open");
    whole_session(&session, &segments);
    let up = proxy.plan.up.lock().clone();
    let down = proxy.plan.down.lock().clone();
    let name = name_of(&segments[0]);
    let markers: [&[u8]; 6] = [
        b"plaintext-marker",
        &segments[1][1000..1016],
        &ticket.secret.0[..16],
        &name.0[..16],
        b"manifest-in-the-clear",
        &[9; 16],
    ];
    let holds = |bytes: &[u8], marker: &[u8]| bytes.windows(marker.len()).any(|w| w == marker);
    assert!(holds(&up, ticket.transfer.to_string().as_bytes()), "the capture is empty");
    for marker in markers {
        assert!(!holds(&up, marker) && !holds(&down, marker), "{marker:?} is readable");
    }
    let reply = raw(front.address, &up);
    assert!(!reply.contains("200 OK"), "{reply}");
    let held = memory.held.lock();
    assert_eq!((held.puts, held.commits, held.closed.len()), (2, 1, 1));
}

#[test]
fn a_lost_open_reply_is_given_again_until_the_first_request() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let ticket = ticket(&memory, Direction::Backup);
    let client = [5; 32];
    let proof = keys::client_proof(&ticket.secret, &ticket.transfer, &client);
    let body = [client, *proof.as_bytes()].concat();
    let path = verb::path(&ticket.transfer, Verb::Open);
    let send = || {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 64\r\n\r\n"
        );
        let mut stream = TcpStream::connect(front.address).expect("connect");
        stream.write_all(&[head.as_bytes(), &body].concat()).expect("write");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).expect("read");
        reply
    };
    let (first, again) = (send(), send());
    assert!(first.starts_with(b"HTTP/1.1 200"));
    assert_eq!(first[first.len() - 64..], again[again.len() - 64..]);
    let device = first[first.len() - 64..][..32].try_into().expect("32 bytes");
    let keys = SessionKeys::derive(&ticket.secret, &ticket.transfer, &client, &device);
    let ping = seal(&keys, Verb::Ping, 0, b"");
    // An empty body has no part left to seal, so its one frame is made by hand.
    let ping = if ping.is_empty() {
        let mut sealer =
            FrameSealer::new(keys.body_key(Way::ToDevice, Verb::Ping, 0).expect("key"));
        sealer.next_of(&mut Default::default(), true).expect("seal")
    } else {
        ping.concat().into()
    };
    assert_eq!(
        status(&post(front.address, &verb::path(&ticket.transfer, Verb::Ping), "0", &ping)),
        "200"
    );
    assert!(send().starts_with(b"HTTP/1.1 409"));
}

fn key() -> aws_lc_rs::aead::LessSafeKey {
    let ticket = stranger_ticket(Direction::Backup);
    let keys =
        SessionKeys::derive(&simsim_model::Secret([1; 32]), &ticket.transfer, &[0; 32], &[0; 32]);
    keys.body_key(Way::ToClient, Verb::Get, 1).expect("key")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), count in 0usize..20) {
        let mut opener = FrameOpener::new(key(), true, 300, 0);
        let _ = opener.feed(&bytes);
        let _ = opener.finish();
        let shared = Bytes::from(bytes.clone());
        let _ = messages::decode_names(&bytes);
        let _ = messages::decode_bits(&bytes, count);
        let _ = messages::decode_located(&bytes, count);
        let places = messages::decode_places(&bytes).unwrap_or_default();
        let _ = messages::decode_segments(shared.clone(), &places);
        let _ = messages::decode_put(shared.clone());
        let _ = messages::decode_draft(&bytes);
        let _ = messages::decode_committed(&bytes);
        let _ = messages::decode_stream_put(shared);
        let _ = messages::decode_under_way(&bytes);
        let _ = verb::parse_path(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn frames_round_trip_cut_anywhere_and_any_changed_bit_is_found(
        plain in prop::collection::vec(any::<u8>(), 1..5000),
        cuts in prop::collection::vec(1usize..700, 1..20),
        flip in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let ticket = stranger_ticket(Direction::Backup);
        let keys = SessionKeys::derive(&ticket.secret, &ticket.transfer, &[1; 32], &[2; 32]);
        let open = |wire: &[u8]| {
            let key = keys.body_key(Way::ToDevice, Verb::Put, 3).expect("key");
            let mut opener = FrameOpener::new(key, false, 5000, 0);
            let (mut rest, mut at) = (wire, 0);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts[at % cuts.len()].min(rest.len()));
                opener.feed(now)?;
                (rest, at) = (later, at + 1);
            }
            opener.finish()
        };
        let mut wire = seal(&keys, Verb::Put, 3, &plain).concat();
        prop_assert_eq!(open(&wire), Ok(plain));
        let at = flip.index(wire.len());
        wire[at] ^= 1 << bit;
        let changed: Result<Vec<u8>, TransferError> = open(&wire);
        prop_assert!(changed.is_err());
    }
}
