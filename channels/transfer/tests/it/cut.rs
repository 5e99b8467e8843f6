//! Lines that are cut at every byte, hang, or never come back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use simsim_model::{BackupSession, Direction, Kind, SegmentPlace};

use crate::front::{Door, Port, Session, at_doors, bytes_of, draft, ticket};
use crate::memory::{Memory, name_of};

/// A request of each shape: small, large, done once, and with a large reply.
fn small_session(session: &dyn Session, segment: &Bytes) {
    assert_eq!(session.has(&[name_of(segment)]), Ok(vec![false]));
    session.put(0, segment.clone()).expect("put");
    session.commit(&draft(1)).expect("commit");
    let place = SegmentPlace { pack: name_of(segment), offset: 0, length: segment.len() as u32 };
    assert_eq!(session.get(&[place, place]), Ok(vec![Some(segment.clone()); 2]));
    session.close().expect("close");
}

/// One session with one cut after `at` bytes in one direction; the result must be whole, and no
/// segment may reach the device's store twice (the handler asserts it).
fn cut_at_every_byte<D: Door>(up: bool) {
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || cut_at_every_nth_byte::<D>(up, worker));
        }
    });
}

/// Workers that share the bytes; they mostly wait.
const WORKERS: u64 = 6;

fn cut_at_every_nth_byte<D: Door>(up: bool, worker: u64) {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let segment = bytes_of(60, 1);
    let proxy = front.proxy();
    let session = front.transfer(proxy.address, ticket(&memory, Direction::Backup)).expect("open");
    small_session(&session, &segment);
    let seen = if up { &proxy.plan.up } else { &proxy.plan.down };
    let total = seen.lock().len() as u64;
    assert!(total > 300, "the proxy saw nothing");
    let step = if std::env::var_os("SIMSIM_TEST_EXHAUSTIVE").is_some() { 1 } else { D::CUT_STEP };
    for at in (1 + worker * step..=total - D::VARIES).step_by((WORKERS * step) as usize) {
        let mut held = memory.held.lock();
        held.segments.clear();
        held.puts = 0;
        held.commits = 0;
        drop(held);
        let proxy = front.proxy();
        let cut = if up { &proxy.plan.cut_up } else { &proxy.plan.cut_down };
        cut.store(at, Ordering::SeqCst);
        let session =
            front.transfer(proxy.address, ticket(&memory, Direction::Backup)).expect("open");
        small_session(&session, &segment);
        assert_eq!(proxy.plan.cuts.load(Ordering::SeqCst), 1, "no cut at {at}");
        let held = memory.held.lock();
        assert_eq!((held.puts, held.commits), (1, 1), "cut at {at}");
    }
}

fn net01_cut_at_every_byte_towards_the_device<D: Door>() {
    cut_at_every_byte::<D>(true);
}

fn net01_cut_at_every_byte_towards_the_client<D: Door>() {
    cut_at_every_byte::<D>(false);
}

fn net01_what_was_acknowledged_is_not_sent_again<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let proxy = front.proxy();
    let session = front.transfer(proxy.address, ticket(&memory, Direction::Backup)).expect("open");
    for number in 0..8 {
        session.put(number, bytes_of(1 << 20, number)).expect("put");
    }
    let before = proxy.plan.up.lock().len();
    proxy.plan.cut_up.store(before as u64 + 500_000, Ordering::SeqCst);
    session.put(8, bytes_of(1 << 20, 8)).expect("put");
    let sent = proxy.plan.up.lock().len() - before;
    assert!(sent < 500_000 + (1 << 20) + D::OVERHEAD, "{sent} bytes for one segment and a half");
}

fn half_open_and_hung_devices_are_noticed_in_time<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let proxy = front.proxy();
    let session = front.transfer(proxy.address, ticket(&memory, Direction::Backup)).expect("open");
    proxy.plan.hang.store(1, Ordering::SeqCst);
    let begun = Instant::now();
    let error = session.put(0, bytes_of(1 << 20, 0)).expect_err("nobody answers");
    assert_eq!(error.kind, Kind::Unreachable);
    assert!(error.message.contains(&proxy.address.to_string()), "{}", error.message);
    assert!(begun.elapsed() >= front.dial.dead_peer && begun.elapsed() < front.dial.dead_peer * 2);
    // It comes back: the same transfer goes on.
    proxy.plan.hang.store(0, Ordering::SeqCst);
    session.put(0, bytes_of(1 << 20, 0)).expect("the device is back");
    assert_eq!(memory.held.lock().puts, 1);
}

fn a_port_where_nobody_listens_is_named_with_the_time<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let begun = Instant::now();
    let error =
        front.transfer(free, ticket(&memory, Direction::Backup)).err().expect("nobody listens");
    assert_eq!(error.kind, Kind::Unreachable);
    let seconds = front.dial.dead_peer.as_secs();
    assert!(
        error.message.starts_with(&format!("no answer from {free} for {seconds} s")),
        "{}",
        error.message
    );
    assert!(begun.elapsed() < front.dial.dead_peer + Duration::from_secs(1));
}

at_doors!(
    Tcp as http_line, Tls as https_line, Mutual as drive_line,
    FtpPassive as ftp_line, FtpActive as ftp_active_line, FtpTls as ftp_tls_line => [
    net01_cut_at_every_byte_towards_the_device,
    net01_cut_at_every_byte_towards_the_client,
    a_port_where_nobody_listens_is_named_with_the_time,
]);

// Where the data goes through the proxy as well.
at_doors!(
    Tcp as http_data, Tls as https_data, Mutual as drive_data,
    FtpPassive as ftp_data, FtpTls as ftp_tls_data => [
    net01_what_was_acknowledged_is_not_sent_again,
    half_open_and_hung_devices_are_noticed_in_time,
]);
