//! Bounces, stolen ports, and transfers that are given up.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use simsim_model::{BackupSession, Direction};
use simsim_transfer::{DataPorts, DialOptions, FtpOptions};

use super::{Device, PATIENCE, connect_from, with_port};
use crate::front::{draft, ticket};
use crate::memory::Memory;

#[test]
fn nobody_is_sent_to_another_host_or_to_a_service() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let (mut up, _down, id) = device.pipe(&ticket(&memory, Direction::Backup));
    let victim = TcpListener::bind("127.0.0.3:0").expect("bind");
    let port = victim.local_addr().expect("address").port();
    let [high, low] = port.to_be_bytes();
    for line in [
        format!("PORT 127,0,0,3,{high},{low}"),
        format!("EPRT |1|127.0.0.3|{port}|"),
        "PORT 127,0,0,1,0,22".to_owned(),
        "EPRT |1|127.0.0.1|1023|".to_owned(),
        "EPRT |2|::1|2313|".to_owned(),
        "EPRT |2|::ffff:127.0.0.3|2313|".to_owned(),
    ] {
        let (code, text) = up.ask(&line);
        assert_eq!(code, 504, "{line}: {text}");
        assert_eq!(up.ask(&format!("STOR {id}")).0, 425, "{line}: nothing is called");
    }
    victim.set_nonblocking(true).expect("set");
    assert!(victim.accept().is_err(), "somebody was called");
    for line in ["PORT x", "EPRT 127.0.0.1", "EPRT"] {
        assert_eq!(up.ask(line).0, 501, "{line}");
    }
    // A port of a service is none without an address either.
    assert_eq!(up.ask("EPRT |1|0.0.0.0|22|").0, 504);
    // To itself it is called, also where it names nobody.
    for name in ["1|127.0.0.1", "1|0.0.0.0", "2|::"] {
        let (mut up, _down, id) = device.pipe(&ticket(&memory, Direction::Backup));
        let own = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = own.local_addr().expect("address").port();
        assert_eq!(up.ask(&format!("EPRT |{name}|{port}|")).0, 200, "{name}");
        assert_eq!(up.ask(&format!("STOR {id}")).0, 150, "{name}");
        own.accept().expect("called");
    }
}

#[test]
fn a_data_port_is_for_the_host_of_its_control_connection_only() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let (mut up, mut down, id) = device.pipe(&ticket(&memory, Direction::Backup));
    let at = with_port(device.address, up.port());
    for _ in 0..3 {
        let thief = connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), at);
        let mut thief = thief.expect("the port is open");
        // Closed without a word, whatever it sends.
        let _ = thief.write_all(b"mine");
        assert!(matches!(thief.read(&mut [0]), Ok(0) | Err(_)));
    }
    let mut owner = TcpStream::connect(at).expect("the port is open for its owner still");
    assert_eq!(up.ask(&format!("STOR {id}")).0, 150);
    assert!(TcpStream::connect(at).is_err(), "one connection, and the port is closed");
    // The owner's connection is one: the other half makes the pipe whole, and it carries.
    let mut other = TcpStream::connect(with_port(device.address, down.port())).expect("open");
    assert_eq!(down.ask(&format!("RETR {id}")).0, 150);
    other.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut first = [0];
    owner.write_all(b"").expect("it is open");
    other.read_exact(&mut first).expect("the device begins to speak");
}

#[test]
fn a_transfer_that_is_given_up_ends_at_once_and_frees_its_ports() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let (mut up, mut down, id) = device.pipe(&ticket(&memory, Direction::Backup));
    let mut data = Vec::new();
    for (call, verb) in [(&mut up, "STOR"), (&mut down, "RETR")] {
        let at = with_port(device.address, call.port());
        data.push(TcpStream::connect(at).expect("open"));
        assert_eq!(call.ask(&format!("{verb} {id}")).0, 150);
    }
    assert_eq!(up.ask("NOOP").0, 200);
    assert_eq!(up.ask("STAT").0, 211);
    assert_eq!(up.ask("LIST").0, 503, "one transfer at a time");
    let begun = Instant::now();
    assert_eq!(up.ask("ABOR").0, 426);
    assert_eq!(up.reply().0, 226);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(down.reply().0, 426, "the other half ends with it");
    for mut stream in data {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut rest = Vec::new();
        // Closed: an end, or a reset where bytes were on the way.
        let _ = stream.read_to_end(&mut rest);
    }
    // The only pair is free.
    let session = device.open(ticket(&memory, Direction::Backup), DialOptions::default());
    session.expect("the ports are free").commit(&draft(0)).expect("commit");
}

#[test]
fn a_client_that_is_gone_keeps_no_ports() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    // Waiting for a connection, in the middle of a pipe, and with half of one.
    for step in 0..3 {
        let (mut up, mut down, id) = device.pipe(&ticket(&memory, Direction::Backup));
        let at = with_port(device.address, up.port());
        if step > 0 {
            let _data = TcpStream::connect(at).expect("open");
            assert_eq!(up.ask(&format!("STOR {id}")).0, 150);
        }
        if step > 1 {
            let _data = TcpStream::connect(with_port(device.address, down.port())).expect("open");
            assert_eq!(down.ask(&format!("RETR {id}")).0, 150);
        }
        drop((up, down));
        let session = device.open(ticket(&memory, Direction::Backup), DialOptions::default());
        session.expect("the ports are free").commit(&draft(0)).expect("commit");
    }
}

#[test]
fn a_pipe_without_an_open_transfer_does_not_keep_its_ports() {
    let memory = Memory::default();
    let options = FtpOptions { idle_timeout: Duration::from_millis(400), ..FtpOptions::default() };
    let device = Device::start_with(&memory, DataPorts::any(1), options);
    let (mut up, _down, id) = device.pipe(&ticket(&memory, Direction::Backup));
    let _data = TcpStream::connect(with_port(device.address, up.port())).expect("open");
    assert_eq!(up.ask(&format!("STOR {id}")).0, 150);
    // Its other half never comes.
    assert_eq!(up.reply().0, 426);
    let session = device.open(ticket(&memory, Direction::Backup), DialOptions::default());
    session.expect("the ports are free").commit(&draft(0)).expect("commit");
}
