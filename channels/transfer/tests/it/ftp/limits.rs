//! One past each limit.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use simsim_model::{Direction, limits};
use simsim_transfer::{DataPorts, FtpOptions};

use super::{Device, Raw, with_port};
use crate::front::ticket;
use crate::memory::Memory;

#[test]
fn a_line_of_512_bytes_is_read_and_one_more_ends_the_connection() {
    let device = Device::start(&Memory::default(), DataPorts::any(1));
    let mut call = device.call();
    let line = |bytes: usize| format!("HELP {}", "x".repeat(bytes - 7));
    assert_eq!(call.ask(&line(512)).0, 214);
    assert_eq!(call.ask(&line(513)).0, 500);
    assert!(call.is_closed());
    // Also one that never ends.
    let mut call = device.call();
    call.say(&"x".repeat(512));
    assert_eq!(call.reply().0, 500);
    assert!(call.is_closed());
}

#[test]
fn the_ninth_stranger_of_an_address_takes_the_place_of_the_first() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let mut proved = device.call();
    proved.log_in(&ticket(&memory, Direction::Backup), &super::hex(&[1; 16]), "up");
    let max = limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX;
    let mut silent: Vec<Raw> = (0..max).map(|_| device.call()).collect();
    assert_eq!(silent[0].ask("NOOP").0, 200, "as many as there may be");
    let mut one_more = device.call();
    assert!(silent[0].is_closed());
    assert_eq!(silent[1].ask("NOOP").0, 200);
    assert_eq!(silent[max - 1].ask("NOOP").0, 200);
    assert_eq!(one_more.ask("NOOP").0, 200);
    assert_eq!(proved.ask("NOOP").0, 200, "who has proved a ticket does not count");
}

#[test]
fn of_256_strangers_in_all_the_oldest_gives_way() {
    let handshake_timeout = crate::limits::PATIENT;
    let options = FtpOptions { handshake_timeout, ..FtpOptions::default() };
    let device = Device::start_with(&Memory::default(), DataPorts::any(1), options);
    crate::limits::oldest_of_256_gives_way(device.address);
}

#[test]
fn who_says_nothing_is_told_so_and_closed() {
    let memory = Memory::default();
    let options = FtpOptions {
        handshake_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        ..FtpOptions::default()
    };
    let device = Device::start_with(&memory, DataPorts::any(1), options);
    let begun = Instant::now();
    let mut stranger = device.call();
    assert_eq!(stranger.reply().0, 421);
    assert!(stranger.is_closed());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // Saying something proves nothing.
    let mut busy = device.call();
    let deadline = Instant::now() + super::PATIENCE;
    while busy.stream.get_mut().write_all(b"NOOP\r\n").is_ok()
        && busy.line().is_some_and(|line| line.starts_with("200"))
    {
        assert!(Instant::now() < deadline, "a stranger stays for ever");
        std::thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    let (mut idle, _other, _) = device.pipe(&ticket(&memory, Direction::Backup));
    assert_eq!(idle.reply().0, 421);
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

/// A device that gives strangers so long, and a connection to it that has heard the greeting.
fn hurried(handshake: Duration) -> (Device, Raw, Instant) {
    let options = FtpOptions { handshake_timeout: handshake, ..FtpOptions::default() };
    let device = Device::start_with(&Memory::default(), DataPorts::any(1), options);
    let begun = Instant::now();
    let stranger = device.call();
    (device, stranger, begun)
}

/// Replies that nobody takes may stand for half a minute, once somebody has logged in.
const SOON: Duration = Duration::from_secs(12);

#[test]
fn a_stranger_who_says_much_at_once_and_reads_nothing_is_cut_off_in_time() {
    let (_device, stranger, begun) = hurried(Duration::from_millis(500));
    let mut stream = stranger.stream.into_inner();
    let many = "HELP\r\n".repeat(4096);
    while stream.write_all(many.as_bytes()).is_ok() {
        assert!(begun.elapsed() < SOON, "a stranger who reads nothing stays");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_stranger_whose_next_line_is_always_there_is_cut_off_in_time() {
    let (_device, stranger, begun) = hurried(Duration::from_millis(500));
    let mut reading = stranger.stream.into_inner();
    let mut writing = reading.try_clone().expect("clone");
    let writer = std::thread::spawn(move || {
        let many = "NOOP\r\n".repeat(1024);
        while begun.elapsed() < SOON && writing.write_all(many.as_bytes()).is_ok() {}
    });
    let mut piece = [0; 64 << 10];
    // Its end, in order or not.
    while matches!(reading.read(&mut piece), Ok(read) if read > 0) {
        assert!(begun.elapsed() < SOON, "a stranger who always says something stays");
    }
    writer.join().expect("writer");
}

#[test]
fn a_handshake_of_tls_gets_what_is_left_of_a_strangers_time_and_no_more() {
    let time = Duration::from_secs(4);
    let (_device, mut stranger, begun) = hurried(time);
    while begun.elapsed() < time - Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // On a busy machine it may be over already.
    if stranger.stream.get_mut().write_all(b"AUTH TLS\r\n").is_ok() {
        while stranger.line().is_some() {}
    }
    assert!(begun.elapsed() < time * 2 - Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[test]
fn a_data_connection_has_its_time_and_then_its_port_is_closed() {
    let memory = Memory::default();
    let options =
        FtpOptions { arrival_timeout: Duration::from_millis(300), ..FtpOptions::default() };
    let device = Device::start_with(&memory, DataPorts::any(1), options);
    let (mut up, mut down, id) = device.pipe(&ticket(&memory, Direction::Backup));
    let at = with_port(device.address, up.port());
    let (code, text) = up.ask(&format!("STOR {id}"));
    assert!(code == 425 && text.contains(&at.port().to_string()), "{text}");
    assert!(TcpStream::connect(at).is_err(), "the port is closed");
    // Active: where nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = free.local_addr().expect("address").port();
    drop(free);
    assert_eq!(down.ask(&format!("EPRT |1|127.0.0.1|{port}|")).0, 200);
    assert_eq!(down.ask(&format!("RETR {id}")).0, 150);
    assert_eq!(down.reply().0, 425);
    // Both may try again.
    let at = with_port(device.address, up.port());
    let _data = TcpStream::connect(at).expect("open");
    assert_eq!(up.ask(&format!("STOR {id}")).0, 150);
}
