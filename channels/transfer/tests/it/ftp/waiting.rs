//! More transfers than pairs of ports: they wait their turn, say so, and none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use simsim_model::{BackupSession, Direction, Kind};
use simsim_net::sockets;
use simsim_transfer::{DataPorts, DialOptions, FtpOptions, FtpWay, Knock, OnWait, Route, knock};

use super::{Device, until};
use crate::front::{FTP_RANGE, bytes_of, draft, ticket};
use crate::memory::Memory;
use crate::proxy::Proxy;

fn hearing(heard: &Arc<Mutex<Vec<String>>>, wanted: &Arc<AtomicBool>) -> DialOptions {
    let (heard, wanted) = (Arc::clone(heard), Arc::clone(wanted));
    let on_wait = OnWait::new(move |what| {
        heard.lock().push(what.to_owned());
        wanted.load(Ordering::SeqCst)
    });
    DialOptions { on_wait, ..DialOptions::default() }
}

/// Local ports of connections at the device's address, without its control port.
fn data_ports_in_use(device: &Device) -> Vec<u16> {
    let mut ports: Vec<u16> = sockets()
        .expect("sockets")
        .iter()
        .map(|socket| socket.local)
        .filter(|local| local.ip().to_canonical() == device.address.ip())
        .map(|local| local.port())
        .filter(|port| *port != device.address.port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn n_at_once_through_2n_ports_and_the_next_waits(pairs: u16) {
    let memory = Memory::default();
    let (first, last) = (FTP_RANGE.start, FTP_RANGE.start + 2 * pairs - 1);
    let options = FtpOptions { wait_interval: Duration::from_millis(100), ..FtpOptions::default() };
    let ports = DataPorts::new(first, last).expect("range");
    let device = Device::start_with(&memory, ports, options);
    let open = || device.open(ticket(&memory, Direction::Backup), DialOptions::default());
    let mut running: Vec<_> = (0..pairs).map(|_| open().expect("open")).collect();
    for (number, session) in running.iter().enumerate() {
        session.put(number as u64, bytes_of(300_000, number as u64)).expect("put");
    }
    let exactly: Vec<u16> = (first..=last).collect();
    assert_eq!(data_ports_in_use(&device), exactly);

    let heard = Arc::new(Mutex::new(Vec::new()));
    let wanted = Arc::new(AtomicBool::new(true));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let dial = hearing(&heard, &wanted);
            let session = device.open(ticket(&memory, Direction::Backup), dial).expect("its turn");
            done.store(true, Ordering::SeqCst);
            session.put(100, bytes_of(10, 0)).expect("put");
            session.close().expect("close");
        });
        until("the next one hears that it waits", || heard.lock().len() >= 5);
        assert!(!done.load(Ordering::SeqCst), "there was no place");
        assert_eq!(data_ports_in_use(&device), exactly, "no port outside the range");
        let text = heard.lock()[0].clone();
        assert!(text.starts_with(&format!("All {pairs} pairs")), "{text}");
        // The others are not disturbed.
        for (number, session) in running.iter().enumerate() {
            session.put(10 + number as u64, bytes_of(300_000, number as u64)).expect("put");
        }
        running.pop().expect("one ends").close().expect("close");
        next.join().expect("it comes to its turn");
    });
    assert_eq!(heard.lock().last().map(String::as_str), Some(""), "the wait is over");
}

#[test]
fn three_at_once_through_exactly_six_ports_and_the_fourth_waits_and_completes() {
    n_at_once_through_2n_ports_and_the_next_waits(3);
}

#[test]
fn a_range_of_2n_ports_gives_n_transfers() {
    n_at_once_through_2n_ports_and_the_next_waits(1);
    n_at_once_through_2n_ports_and_the_next_waits(2);
}

#[test]
fn many_wait_and_every_one_is_done() {
    let memory = Memory::default();
    let device = Device::start(&memory, DataPorts::any(2));
    std::thread::scope(|scope| {
        for number in 0..9u64 {
            let (device, memory) = (&device, &memory);
            scope.spawn(move || {
                let ticket = ticket(memory, Direction::Backup);
                let session = device.open(ticket, DialOptions::default()).expect("its turn");
                session.put(number, bytes_of(100_000, number)).expect("put");
                session.close().expect("close");
            });
        }
    });
    assert_eq!(memory.held.lock().puts, 9);
}

#[test]
fn a_ticket_that_runs_out_while_it_waits_is_good_and_one_that_comes_too_late_is_not() {
    let memory = Memory::default();
    let options = FtpOptions { wait_interval: Duration::from_millis(100), ..FtpOptions::default() };
    let device = Device::start_with(&memory, DataPorts::any(1), options);
    let first = device.open(ticket(&memory, Direction::Backup), DialOptions::default());
    let first = first.expect("open");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_secs();
    let mut short = ticket(&memory, Direction::Backup);
    short.expires_unix_s = now + 3;
    memory.held.lock().tickets.insert(short.transfer, short.clone());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let wanted = Arc::new(AtomicBool::new(true));
    std::thread::scope(|scope| {
        let (transfer, expires) = (short.transfer, short.expires_unix_s);
        let next = scope.spawn(|| {
            let session = device.open(short.clone(), hearing(&heard, &wanted)).expect("in time");
            session.commit(&draft(0)).expect("commit");
        });
        until("it waits", || !heard.lock().is_empty());
        let passed = || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock");
            now.as_secs() > expires
        };
        until("the ticket has run out", passed);
        // The device counts the wait as a sign of life.
        let waits = || memory.held.lock().waited.iter().filter(|one| **one == transfer).count();
        let before = waits();
        until("it is heard", || waits() > before);
        first.close().expect("close");
        next.join().expect("its turn");
    });
    let mut late = ticket(&memory, Direction::Backup);
    late.expires_unix_s = now - 1;
    memory.held.lock().tickets.insert(late.transfer, late.clone());
    let error = device.open(late, DialOptions::default()).err().expect("too late");
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.message.contains("410"), "{}", error.message);
}

/// Not only when its client forgets it.
#[test]
fn a_transfer_that_is_closed_gives_its_ports_back_at_once() {
    let memory = Memory::default();
    let options = FtpOptions { idle_timeout: crate::limits::PATIENT, ..FtpOptions::default() };
    let device = Device::start_with(&memory, DataPorts::any(1), options);
    let open = || device.open(ticket(&memory, Direction::Backup), DialOptions::default());
    let first = open().expect("open");
    first.close().expect("close");
    let begun = Instant::now();
    open().expect("its turn").close().expect("close");
    assert!(begun.elapsed() < super::PATIENCE, "{:?}", begun.elapsed());
    drop(first);
}

#[test]
fn nobody_has_to_wait_and_a_revoked_transfer_waits_no_longer() {
    let memory = Memory::default();
    let options = FtpOptions { wait_interval: Duration::from_millis(100), ..FtpOptions::default() };
    let device = Device::start_with(&memory, DataPorts::any(1), options);
    let first = device.open(ticket(&memory, Direction::Backup), DialOptions::default());
    let first = first.expect("open");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let wanted = Arc::new(AtomicBool::new(true));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let given_up =
                device.open(ticket(&memory, Direction::Backup), hearing(&heard, &wanted));
            (given_up.err().expect("nobody waits"), Instant::now())
        });
        until("it waits", || !heard.lock().is_empty());
        let cancelled = Instant::now();
        wanted.store(false, Ordering::SeqCst);
        let (error, ended) = next.join().expect("it ends");
        assert_eq!(error.kind, Kind::Cancelled, "{}", error.message);
        assert!(ended - cancelled < Duration::from_secs(5), "{:?}", ended - cancelled);
    });
    until("its place is free", || device.ports.waiting() == 0);

    let revoked = ticket(&memory, Direction::Backup);
    let (heard, wanted) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let refused = device.open(revoked.clone(), hearing(&heard, &wanted));
            refused.err().expect("it was revoked")
        });
        until("it waits", || !heard.lock().is_empty());
        memory.held.lock().tickets.remove(&revoked.transfer);
        let error = next.join().expect("it ends");
        assert_eq!(error.kind, Kind::Denied, "{}", error.message);
    });
    first.close().expect("the first one was not disturbed");
}

/// Neither that the attempts are over nor that they had all ports for themselves is the finding.
#[test]
fn a_probe_whose_data_connections_do_not_come_about_says_so_and_not_that_ports_are_in_use() {
    let memory = Memory::default();
    let range = DataPorts::new(FTP_RANGE.start, FTP_RANGE.end - 1).expect("range");
    let device = Device::start(&memory, range);
    // Lets the control connections through, and nothing else.
    let proxy = Proxy::start(device.runtime.handle(), device.address);
    let route = Route::ftp(vec![proxy.address.to_string()], FtpWay::passive());
    let handle = device.runtime.handle().clone();
    let ticket = ticket(&memory, Direction::Backup);
    let found = knock(handle, route, ticket, Duration::from_secs(2));
    let Knock::NoData(why) = found else { panic!("{found:?}") };
    assert!(why.contains("refused") && why.contains("the FTP data connection"), "{why}");
}
