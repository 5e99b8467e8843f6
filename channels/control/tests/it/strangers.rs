//! What strangers do to a listener, and that an enrolled server comes in all the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use simsim_control::Timing;
use simsim_control::verbs::Ping;
use simsim_model::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::stage::{Mode, Node, QUICK, over_both_modes};

over_both_modes! {
    three_hundred_silent_strangers_of_one_address_hold_eight_places,
    silent_strangers_of_the_servers_own_address_do_not_keep_it_out,
    silent_strangers_of_many_addresses_hold_256_places_and_the_server_comes_in,
    a_silent_or_trickling_stranger_is_shown_out_after_the_handshake_time,
    garbage_closes_its_own_connection_only,
}

/// The handshake of a listener that strangers besiege: they stay for the whole test.
const SIEGE: Timing =
    Timing { handshake: Duration::from_secs(20), idle: Duration::from_secs(20), ..QUICK };

async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Connections that the listener still holds open.
async fn still_open(streams: &mut [TcpStream]) -> usize {
    let mut open = 0;
    for stream in streams {
        let mut buffer = [0; 256];
        loop {
            let read = stream.read(&mut buffer);
            match tokio::time::timeout(Duration::from_millis(5), read).await {
                Err(_) => {
                    open += 1;
                    break;
                }
                Ok(Ok(0) | Err(_)) => break,
                // The version line.
                Ok(Ok(_)) => {}
            }
        }
    }
    open
}

async fn closed_by_listener(stream: &mut TcpStream, within: Duration) -> bool {
    let reading = async {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
    };
    tokio::time::timeout(within, reading).await.is_ok()
}

async fn three_hundred_silent_strangers_of_one_address_hold_eight_places(mode: Mode) {
    let node = Node::with_timing(mode, SIEGE).await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(connect_from(Ipv4Addr::new(127, 0, 0, 2), node.address).await);
    }
    let session = node.dial_at(&node.addresses(), SIEGE).await.unwrap();
    session.call(Ping {}).await.unwrap();
    let open = still_open(&mut strangers).await;
    assert_eq!(open, limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX);
}

async fn silent_strangers_of_the_servers_own_address_do_not_keep_it_out(mode: Mode) {
    let node = Node::with_timing(mode, SIEGE).await;
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(connect_from(Ipv4Addr::LOCALHOST, node.address).await);
    }
    let session = node.dial_at(&node.addresses(), SIEGE).await.unwrap();
    for _ in 0..20 {
        strangers.push(connect_from(Ipv4Addr::LOCALHOST, node.address).await);
    }
    session.call(Ping {}).await.unwrap();
    let open = still_open(&mut strangers).await;
    assert_eq!(open, limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX);
}

async fn silent_strangers_of_many_addresses_hold_256_places_and_the_server_comes_in(mode: Mode) {
    let node = Node::with_timing(mode, SIEGE).await;
    let mut strangers = Vec::new();
    for number in 0..300u16 {
        let [high, low] = number.to_be_bytes();
        strangers.push(connect_from(Ipv4Addr::new(127, 1, high, low), node.address).await);
    }
    let session = node.dial_at(&node.addresses(), SIEGE).await.unwrap();
    session.call(Ping {}).await.unwrap();
    let open = still_open(&mut strangers).await;
    assert!(open <= limits::UNAUTHENTICATED_CONNECTIONS_MAX, "{open}");
    assert!(open >= limits::UNAUTHENTICATED_CONNECTIONS_MAX - 2, "{open}");
}

async fn a_silent_or_trickling_stranger_is_shown_out_after_the_handshake_time(mode: Mode) {
    let node = Node::start(mode).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(node.address).await.unwrap();
    let trickling = TcpStream::connect(node.address).await.unwrap();
    let (mut hears, mut says) = trickling.into_split();
    let trickle = tokio::spawn(async move {
        for byte in mode.greeting().iter().chain(std::iter::repeat(&b'x')) {
            if says.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let limit = QUICK.handshake + Duration::from_secs(2);
    assert!(closed_by_listener(&mut silent, limit).await);
    let mut buffer = [0; 4096];
    let reading = async { while matches!(hears.read(&mut buffer).await, Ok(read) if read > 0) {} };
    tokio::time::timeout(limit, reading).await.unwrap();
    assert!(begun.elapsed() >= QUICK.handshake);
    trickle.await.unwrap();
}

async fn garbage_closes_its_own_connection_only(mode: Mode) {
    let node = Node::start(mode).await;
    let session = node.dial().await.unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = move |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed as u8
            })
            .collect()
    };
    let mut blobs: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        // A packet of more than 256 KiB is refused by its length, not read.
        [&b"SSH-2.0-x\r\n"[..], &(300 * 1024_u32).to_be_bytes(), &[4; 64]].concat(),
        [&b"SSH-2.0-x\r\n"[..], &u32::MAX.to_be_bytes(), &[4; 64]].concat(),
        [&b"SSH-2.0-x\r\n"[..], &[0; 64]].concat(),
        vec![b'S'; 100_000],
    ];
    for length in [1, 7, 64, 600, 40_000] {
        blobs.push([&b"SSH-2.0-x\r\n"[..], &noise(length)].concat());
        blobs.push([&b"simsim-ctrl 1 call "[..], &noise(length), b"\n"].concat());
        blobs.push(noise(length));
    }
    for blob in blobs {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        // The listener may close before all was written.
        let _ = stream.write_all(&blob).await;
        let _ = stream.shutdown().await;
        let limit = QUICK.handshake + Duration::from_secs(2);
        assert!(closed_by_listener(&mut stream, limit).await, "{:?}", &blob[..blob.len().min(20)]);
        session.call(Ping {}).await.unwrap();
    }
    node.dial().await.unwrap();
}

/// 256 KiB of channel data, and at most so much that a packet has besides: its padding, the length of
/// that, and where the data goes.
const SSH_PACKET_BYTES_MAX: u32 = 256 * 1024 + 33;

#[tokio::test]
async fn an_oversize_packet_is_refused_by_its_length_alone() {
    let node = Node::with_timing(Mode::Smssh, SIEGE).await;
    let announce = async |bytes: u32| {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let head = [&b"SSH-2.0-x\r\n"[..], &bytes.to_be_bytes(), &[4; 12]].concat();
        stream.write_all(&head).await.unwrap();
        stream
    };
    // It does not wait for the other 256 KiB, nor for the end of the handshake time.
    let mut past = announce(SSH_PACKET_BYTES_MAX + 1).await;
    assert!(closed_by_listener(&mut past, Duration::from_secs(3)).await);
    let mut whole = announce(SSH_PACKET_BYTES_MAX).await;
    assert!(
        !closed_by_listener(&mut whole, Duration::from_millis(500)).await,
        "as large as may be"
    );
}
