//! The conversation: replies, log-ins, and lines that are none.

use std::io::{Read, Write};
use std::net::TcpStream;

use simsim_model::{BackupSession, Direction, Secret};
use simsim_transfer::{DataPorts, FtpWay, HttpTransfer, Route};

use super::{Device, Raw, hex, pass};
use crate::front::{draft, stranger_ticket, ticket};
use crate::memory::Memory;

#[test]
fn strangers_get_honest_short_answers_and_nothing_else() {
    let device = Device::start(&Memory::default(), DataPorts::any(1));
    let mut call = device.call();
    for (line, code, word) in [
        ("NOOP", 200, ""),
        ("noop", 200, ""),
        ("SYST", 215, "UNIX"),
        ("FEAT", 211, "EPSV"),
        ("FEAT", 211, "AUTH TLS"),
        ("HELP", 214, "EPRT"),
        ("STAT", 211, "not logged in"),
        ("OPTS UTF8 ON", 200, ""),
        ("OPTS MLST x", 501, ""),
        ("EPSV", 530, "log in"),
        ("PASV", 530, "log in"),
        ("PORT 127,0,0,1,9,9", 530, "log in"),
        ("RETR x", 530, "log in"),
        ("STOR x", 530, "log in"),
        ("DELE x", 530, "log in"),
        ("FOO", 500, ""),
        ("", 500, ""),
        ("PASS x", 503, "USER"),
        ("USER anonymous", 530, "AUTH TLS"),
        ("AUTH KERBEROS", 504, ""),
        ("PBSZ 0", 503, "AUTH TLS"),
        ("PROT P", 503, "AUTH TLS"),
        ("REIN", 220, ""),
    ] {
        let (given, text) = call.ask(line);
        assert!(given == code && text.contains(word), "{line}: {given} {text}");
    }
    assert_eq!(call.ask("QUIT").0, 221);
    assert!(call.is_closed());
}

#[test]
fn a_transfer_has_one_way_only_and_no_names() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let (mut up, mut down, id) = device.pipe(&ticket(&memory, Direction::Backup));
    for (line, code) in [
        ("TYPE I", 200),
        ("TYPE L 8", 200),
        ("TYPE E", 504),
        ("MODE S", 200),
        ("MODE B", 504),
        ("STRU F", 200),
        ("STRU R", 504),
        ("ALLO 5", 202),
        ("PWD", 257),
        ("CWD /", 250),
        ("CWD /etc", 550),
        ("ABOR", 226),
        ("EPSV 2", 522),
        ("EPSV x", 501),
        ("DELE x", 502),
        ("LIST", 502),
        ("STOR x", 550),
        (format!("RETR {id}").as_str(), 550),
        (format!("STOR {id}").as_str(), 425),
    ] {
        let (given, text) = up.ask(line);
        assert_eq!(given, code, "{line}: {text}");
    }
    assert_eq!(down.ask(&format!("STOR {id}")).0, 550, "the other half's");
    let (code, text) = down.ask("PASV");
    assert!(code == 227 && text.contains("(127,"), "{text}");
    assert_eq!(down.ask("EPSV ALL").0, 200);
    for line in ["PASV", "PORT 127,0,0,1,9,9", "EPRT |1|127.0.0.1|2313|"] {
        assert_eq!(down.ask(line).0, 503, "{line}");
    }
}

#[test]
fn a_login_is_refused_with_one_text_and_three_times_only() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let known = ticket(&memory, Direction::Backup);
    let mut forged = known.clone();
    forged.secret = Secret([7; 32]);
    let id = hex(&[3; 16]);
    let mut call = device.call();
    let unknown = call.try_log_in(&stranger_ticket(Direction::Backup), &id, "up");
    assert_eq!(unknown.0, 530);
    assert_eq!(call.try_log_in(&forged, &id, "up"), unknown, "it tells which transfers exist");
    call.ask("USER simsim-transfer");
    assert_eq!(call.ask("PASS nonsense"), unknown);
    assert!(call.is_closed());

    // A challenge serves once, and on its own connection only.
    let mut call = device.call();
    let (_, challenge) = call.ask("USER simsim-transfer");
    let once = pass(&known, &id, "up", &challenge);
    let mut other = device.call();
    other.ask("USER simsim-transfer");
    assert_eq!(other.ask(&format!("PASS {once}")), unknown, "read from the wire and used again");
    assert_eq!(call.ask(&format!("PASS {once}")).0, 230);
    assert_eq!(call.ask(&format!("PASS {once}")).0, 503);
    // The same half of a pipe is there once.
    let mut third = device.call();
    assert_eq!(third.try_log_in(&known, &id, "up").0, 530);
    assert_eq!(third.try_log_in(&ticket(&memory, Direction::Backup), &id, "down").0, 530);
    assert_eq!(third.try_log_in(&known, &id, "down").0, 230);
}

#[test]
fn what_is_said_before_tls_is_not_taken_for_what_is_said_in_it() {
    let device = Device::start(&Memory::default(), DataPorts::any(1));
    let mut call = device.call();
    call.say("AUTH TLS\r\nNOOP\r\n");
    assert_eq!(call.reply().0, 234);
    assert!(call.is_closed());
}

#[test]
fn urgent_bytes_around_abor_are_read_in_line() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let (mut up, _down, _) = device.pipe(&ticket(&memory, Direction::Backup));
    // Interrupt, synch, and the verb, as clients of Telnet's time send it.
    up.stream.get_mut().write_all(b"\xff\xf4\xff\xf2ABOR\r\n").expect("write");
    assert_eq!(up.reply().0, 226);
    let flags = rustix::net::SendFlags::OOB;
    rustix::net::send(up.stream.get_ref(), b"ABOR\r\n", flags).expect("sent");
    assert_eq!(up.reply().0, 226, "the last byte is urgent, and the line is whole with it");
}

/// A host with several addresses calls from the one at which its client reached it: the client takes
/// a data connection from no other.
#[test]
fn an_active_device_calls_from_the_address_at_which_it_was_reached() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let way = FtpWay::active(DataPorts::any(1));
    let route = Route::ftp(vec![device.address.to_string()], way);
    let (handle, ticket) = (device.runtime.handle().clone(), ticket(&memory, Direction::Backup));
    let session = HttpTransfer::open(handle, vec![route], ticket).expect("open");
    session.commit(&draft(0)).expect("commit");
}

/// Whatever is said, the door answers the next one.
#[test]
fn fuzz_ftp_lines() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(1));
    let known = ticket(&memory, Direction::Backup);
    let samples: [Vec<u8>; 4] = [
        b"USER simsim-transfer\r\nPASS 00.11.up.22\r\nEPSV\r\nSTOR x\r\n".to_vec(),
        b"AUTH TLS\r\n\x16\x03\x01\x00\x05hello".to_vec(),
        b"EPRT |1|127.0.0.1|2313|\r\nPORT 127,0,0,1,9,9\r\nOPTS UTF8 ON\r\n\xff\xf4ABOR\r\n"
            .to_vec(),
        b"FEAT\nHELP\nSTAT\nTYPE I\nMODE S\nSTRU F\nREST 5\nSIZE x\nQUIT\n".to_vec(),
    ];
    simsim_testkit::fuzz("ftp lines", &samples, |bytes| {
        let Ok(mut stream) = TcpStream::connect(device.address) else { panic!("the door is gone") };
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream.set_read_timeout(Some(super::PATIENCE)).expect("timeout");
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        assert!(all.starts_with(b"220 "), "{}", String::from_utf8_lossy(&all));
    });
    let mut call = Raw::begin(device.address);
    call.log_in(&known, &hex(&[1; 16]), "up");
}
