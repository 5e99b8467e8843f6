//! Who may open what, and how much.

use simsim_model::{BackupSession, Direction, Kind, RestoreSession, Secret};
use simsim_transfer::ListenOptions;

use crate::front::{Door, Mutual, Port, at_doors, bytes_of, draft, stranger_ticket, ticket};
use crate::memory::Memory;

fn refusal(front: &Port<impl Door>, ticket: simsim_model::Ticket) -> String {
    let error = front.transfer(front.address, ticket).err().expect("must be refused");
    assert_eq!(error.kind, Kind::Denied);
    error.message
}

fn expired_reused_foreign_and_forged_tickets_are_refused<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let mut old = stranger_ticket(Direction::Backup);
    old.expires_unix_s = 1;
    memory.held.lock().tickets.insert(old.transfer, old.clone());
    assert!(refusal(&front, old.clone()).contains("HTTP status 410"));
    assert!(!memory.held.lock().used.contains(&old.transfer));

    let once = ticket(&memory, Direction::Backup);
    let session = front.transfer(front.address, once.clone()).expect("open");
    assert!(refusal(&front, once.clone()).contains("HTTP status 409"));
    session.put(0, bytes_of(3, 0)).expect("the open transfer is not disturbed");
    session.close().expect("close");
    session.close().expect("closing again is no fault");
    assert!(refusal(&front, once).contains("HTTP status 409"));
    assert_eq!(session.has(&[]).expect_err("closed").kind, Kind::Cancelled);

    let foreign = refusal(&front, stranger_ticket(Direction::Backup));
    let mut forged = ticket(&memory, Direction::Backup);
    let true_one = forged.clone();
    forged.secret = Secret([7; 32]);
    assert_eq!(foreign, refusal(&front, forged), "an answer tells which transfers exist");
    front.transfer(front.address, true_one).expect("a forger does not use the ticket up");
}

fn a_ticket_used_before_a_restart_stays_used<D: Door>() {
    let memory = Memory::default();
    let mut front = Port::<D>::start(memory.clone());
    let once = ticket(&memory, Direction::Backup);
    let _session = front.transfer(front.address, once.clone()).expect("open");
    front.stop();
    assert_eq!(memory.held.lock().aborted, ["the device is being stopped"]);
    let front = Port::<D>::start(memory.clone());
    assert!(refusal(&front, once).contains("HTTP status 409"));
}

#[test]
fn a_device_without_the_ticket_cannot_pretend() {
    // Another device, which knows the transfer but another secret, refuses; one that accepts
    // everything cannot prove itself. Here: bytes echoed by something that is no device.
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let memory = Memory::default();
    let front = crate::front::Http::start(memory.clone());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n".to_vec();
        reply.extend_from_slice(&[5; 64]);
        let _ = stream.write_all(&reply);
        let _ = stream.read(&mut buffer);
    });
    let error = front.transfer(address, ticket(&memory, Direction::Backup)).err().expect("refused");
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.message.contains("could not prove"), "{}", error.message);
}

fn the_byte_limit_holds_at_its_last_byte<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let mut limited = ticket(&memory, Direction::Backup);
    limited.bytes_max = 100;
    memory.held.lock().tickets.insert(limited.transfer, limited.clone());
    let session = front.transfer(front.address, limited).expect("open");
    session.put(0, bytes_of(60, 0)).expect("60 of 100");
    assert_eq!(session.put(1, bytes_of(41, 1)).expect_err("101 of 100").kind, Kind::Denied);
    session.put(1, bytes_of(40, 1)).expect("100 of 100");
    session.put(0, bytes_of(60, 0)).expect("acknowledged again");
    assert_eq!(session.put(2, bytes_of(1, 2)).expect_err("101 of 100").kind, Kind::Denied);
}

fn the_byte_limit_holds_for_a_stream_too<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    for (bytes, allowed) in [(100, true), (101, false)] {
        let mut limited = ticket(&memory, Direction::Backup);
        limited.bytes_max = 100;
        memory.held.lock().tickets.insert(limited.transfer, limited.clone());
        let session = front.transfer(front.address, limited).expect("open");
        let mut writer = session.stream_put();
        let written = std::io::Write::write_all(&mut writer, &bytes_of(bytes, 1));
        let finished = written.is_ok().then(|| writer.finish());
        match finished {
            Some(Ok(all)) => assert_eq!((all, allowed), (bytes as u64, true)),
            Some(Err(error)) => assert_eq!((error.kind, allowed), (Kind::Denied, false)),
            None => assert!(!allowed),
        }
        assert!(memory.held.lock().stream.len() <= 100, "more than the ticket allows");
    }
}

fn a_restore_ticket_cannot_write<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Restore)).expect("open");
    assert_eq!(session.put(0, bytes_of(1, 0)).expect_err("put").kind, Kind::Denied);
    assert_eq!(session.has(&[]).expect_err("has").kind, Kind::Denied);
    assert_eq!(session.commit(&draft(0)).expect_err("commit").kind, Kind::Denied);
    assert_eq!(session.locate(&[]).expect("locate"), []);
    assert_eq!(memory.held.lock().puts, 0);
}

/// A ticket of another drive than the one whose port it comes to.
fn of_another_drive(memory: &Memory, direction: Direction) -> simsim_model::Ticket {
    let mut other = ticket(memory, direction);
    other.drive += 1;
    memory.held.lock().tickets.insert(other.transfer, other.clone());
    other
}

#[test]
fn a_ticket_is_refused_at_the_port_of_another_drive_and_not_used_up() {
    let memory = Memory::default();
    let front = Port::<Mutual>::start(memory.clone());
    for direction in [Direction::Backup, Direction::Restore] {
        let other = of_another_drive(&memory, direction);
        refusal(&front, other.clone());
        assert!(!memory.held.lock().used.contains(&other.transfer), "{direction:?}");
        let own = simsim_model::Ticket { drive: other.drive - 1, ..other };
        memory.held.lock().tickets.insert(own.transfer, own.clone());
        front.transfer(front.address, own).expect("its own drive takes it");
    }
}

/// These ports are of all drives of a host.
fn a_ticket_of_any_drive_is_taken<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let other = of_another_drive(&memory, Direction::Backup);
    front.transfer(front.address, other).expect("open");
}

fn a_commit_is_done_once_and_another_is_refused<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start_with(memory.clone(), ListenOptions::default());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    let first = session.commit(&draft(0)).expect("commit");
    assert_eq!(session.commit(&draft(0)).expect("again"), first);
    assert_eq!(memory.held.lock().commits, 1);
    assert_eq!(session.commit(&draft(1)).expect_err("another").kind, Kind::Invalid);
}

at_doors!(
    Tcp as http, Tls as https, Mutual as drive, Pipe as pipe,
    FtpPassive as ftp, FtpActive as ftp_active, FtpTls as ftp_tls => [
    expired_reused_foreign_and_forged_tickets_are_refused,
    the_byte_limit_holds_at_its_last_byte,
    the_byte_limit_holds_for_a_stream_too,
    a_restore_ticket_cannot_write,
    a_commit_is_done_once_and_another_is_refused,
]);

at_doors!(
    Tcp as http_line, Tls as https_line, Mutual as drive_line, Pipe as pipe_line,
    FtpPassive as ftp_line, FtpActive as ftp_active_line, FtpTls as ftp_tls_line => [
    a_ticket_used_before_a_restart_stays_used,
]);

at_doors!(
    Tcp as http_drives, Tls as https_drives, FtpPassive as ftp_drives, FtpActive as ftp_active_drives,
    FtpTls as ftp_tls_drives, Pipe as pipe_drives => [
    a_ticket_of_any_drive_is_taken,
]);
