//! What those who have proved nothing, or nothing any more, can take from those who have.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use simsim_model::{BackupSession, Direction};
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
