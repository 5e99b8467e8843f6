//! What those who have proved nothing, or nothing any more, can take from those who have.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use simsim_model::{BackupSession, Direction, Name, RestoreSession, SegmentPlace};
use simsim_transfer::frame::FrameSealer;
use simsim_transfer::keys::{self, SessionKeys, Way};
use simsim_transfer::{HttpTransfer, ListenOptions, Route, Verb, verb};

use crate::front::{Http, bytes_of, draft, ticket};
use crate::memory::Memory;

/// A request that announces a large body and sends nothing of it.
fn announce(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nsimsim-request: 7\r\nContent-Length: {}\r\n\r\n",
        20 << 20
    );
    stream.write_all(head.as_bytes()).expect("write");
    stream
}

#[test]
fn announced_bodies_take_no_memory_before_a_frame_is_genuine() {
    let memory = Memory::default();
    let options = ListenOptions { body_bytes_max: 32 << 20, ..ListenOptions::default() };
    let front = Http::start_with(memory.clone(), options);
    let known = ticket(&memory, Direction::Backup);
    let session = front.transfer(front.address, known.clone()).expect("open");
    session.put(0, bytes_of(10, 0)).expect("before");
    // The id of a transfer stands in the clear on this port.
    let path = verb::path(&known.transfer, Verb::Put);
    let silent: Vec<TcpStream> = (0..6).map(|_| announce(front.address, &path)).collect();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    session.put(1, bytes_of(8 << 20, 1)).expect("they hold the memory of others");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    session.commit(&draft(2)).expect("commit");
    drop(silent);
}

#[test]
fn silent_strangers_give_way_to_the_next_who_comes() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let silent: Vec<TcpStream> =
        (0..12).map(|_| TcpStream::connect(front.address).expect("connect")).collect();
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup));
    session.expect("the door is shut").commit(&draft(0)).expect("commit");
    drop(silent);
}

#[test]
fn a_revoked_transfer_ends_in_the_middle_of_a_body() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    let known = ticket(&memory, Direction::Backup);
    let keys = open_by_hand(front.address, &known);
    let mut sealer = FrameSealer::new(keys.body_key(Way::ToDevice, Verb::Put, 1).expect("key"));
    let plain = bytes_of(3 << 20, 1);
    let mut parts = std::collections::VecDeque::from([plain]);
    let mut sealed = Vec::new();
    while !parts.is_empty() {
        sealed.extend_from_slice(&sealer.next_of(&mut parts, true).expect("sealed"));
    }
    let mut stream = TcpStream::connect(front.address).expect("connect");
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nsimsim-request: 1\r\nContent-Length: {}\r\n\r\n",
        verb::path(&known.transfer, Verb::Put),
        sealed.len()
    );
    stream.write_all(head.as_bytes()).expect("head");
    let (first, rest) = sealed.split_at(1 << 20);
    stream.write_all(first).expect("genuine frames");
    memory.held.lock().tickets.remove(&known.transfer);
    std::thread::sleep(Duration::from_millis(1200));
    let _ = stream.write_all(&rest[..4096]);
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).expect("it is not told");
    assert_eq!(&reply, b"HTTP/1.1 403");
    assert_eq!(memory.held.lock().puts, 0);
}

#[test]
fn a_route_that_connects_and_never_answers_makes_way() {
    let memory = Memory::default();
    let front = Http::start(memory.clone());
    // Its kernel accepts; nobody reads.
    let tarpit = TcpListener::bind("127.0.0.1:0").expect("bind");
    let dead = tarpit.local_addr().expect("address").to_string();
    let routes = vec![Route::http(vec![dead]), Route::http(vec![front.address.to_string()])];
    let handle = front.runtime.handle().clone();
    let begun = Instant::now();
    let session = HttpTransfer::open_with(
        handle,
        routes,
        ticket(&memory, Direction::Backup),
        front.dial.clone(),
    )
    .expect("the second route is good");
    assert!(begun.elapsed() < front.dial.dead_peer, "{:?}", begun.elapsed());
    session.commit(&draft(0)).expect("commit");
    drop(tarpit);
}

fn open_by_hand(address: SocketAddr, ticket: &simsim_model::Ticket) -> SessionKeys {
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

/// A request by hand, with a body of which only the first part is sent.
fn begin(
    address: SocketAddr,
    ticket: &simsim_model::Ticket,
    keys: &SessionKeys,
    verb: Verb,
    plain: bytes::Bytes,
    sent: usize,
) -> TcpStream {
    let mut sealer = FrameSealer::new(keys.body_key(Way::ToDevice, verb, 1).expect("key"));
    let mut parts = std::collections::VecDeque::from([plain]);
    let mut sealed = Vec::new();
    while !parts.is_empty() {
        sealed.extend_from_slice(&sealer.next_of(&mut parts, true).expect("sealed"));
    }
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nsimsim-request: 1\r\nContent-Length: {}\r\n\r\n",
        verb::path(&ticket.transfer, verb),
        sealed.len()
    );
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(head.as_bytes()).expect("head");
    stream.write_all(&sealed[..sent.min(sealed.len())]).expect("frames");
    stream
}

/// As little memory as there can be: two large bodies or replies do not fit at once.
fn narrow(memory: &Memory) -> Http {
    let options =
        ListenOptions { body_bytes_max: 0, work_bytes_max: 0, ..ListenOptions::default() };
    let mut front = Http::start_with(memory.clone(), options);
    front.dial.heartbeat = Duration::from_millis(100);
    front
}

/// Both wait for longer than their patience with a device that says nothing.
fn waits_until_it_is_gone(front: &Http, stream: TcpStream, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        std::thread::sleep(2 * front.dial.dead_peer);
        assert!(!working.is_finished(), "there is room for two: {:?}", working.join());
        drop(stream);
    });
}

#[test]
fn a_body_waits_alive_for_the_memory_of_others_and_gets_it_when_they_die() {
    let memory = Memory::default();
    let front = narrow(&memory);
    let (dying, living) = (ticket(&memory, Direction::Backup), ticket(&memory, Direction::Backup));
    let keys = open_by_hand(front.address, &dying);
    let session = front.transfer(front.address, living).expect("open");
    let plain = bytes_of(16 << 20, 1);
    let stream = begin(front.address, &dying, &keys, Verb::Put, plain, 1 << 20);
    // Long enough that the other one has its memory.
    std::thread::sleep(Duration::from_millis(500));
    waits_until_it_is_gone(&front, stream, || {
        session.put(0, bytes_of(16 << 20, 2)).expect("a body that waited");
    });
    session.commit(&draft(1)).expect("commit");
    assert_eq!(memory.held.lock().puts, 1, "it was sent once");
}

#[test]
fn a_reply_waits_alive_for_the_memory_of_slow_readers_and_gets_it_when_they_die() {
    let memory = Memory::default();
    let front = narrow(&memory);
    let large = bytes_of(16 << 20, 5);
    memory.held.lock().segments.insert(0, large.clone());
    let (slow, living) = (ticket(&memory, Direction::Restore), ticket(&memory, Direction::Restore));
    let keys = open_by_hand(front.address, &slow);
    let session = front.transfer(front.address, living).expect("open");
    let place = SegmentPlace { pack: Name([1; 32]), offset: 0, length: 16 << 20 };
    let mut plain = place.pack.0.to_vec();
    plain.extend_from_slice(&place.offset.to_le_bytes());
    plain.extend_from_slice(&place.length.to_le_bytes());
    let stream = begin(front.address, &slow, &keys, Verb::Get, plain.into(), usize::MAX);
    std::thread::sleep(Duration::from_millis(500));
    waits_until_it_is_gone(&front, stream, || {
        // The second one on the line finds room for small things all the while.
        session.ping().expect("a ping");
        assert_eq!(session.get(&[place]).expect("a reply that waited"), [Some(large)]);
    });
}
