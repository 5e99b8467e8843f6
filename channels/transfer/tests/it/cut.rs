//! Lines that are cut at every byte, hang, or never come back.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use simsim_model::{BackupSession, Direction, Kind, SegmentPlace};

use crate::front::{Door, Port, Session, at_doors, bytes_of, draft, ticket};
use crate::memory::{Memory, name_of};
use crate::proxy::{Cut, DATA, LINES_MAX};

/// A request of each shape: small, large, done once, and with a large reply.
fn small_session(session: &dyn Session, segment: &Bytes) {
    assert_eq!(session.has(&[name_of(segment)]), Ok(vec![false]));
    session.put(0, segment.clone()).expect("put");
    session.commit(&draft(1)).expect("commit");
    let place = SegmentPlace { pack: name_of(segment), offset: 0, length: segment.len() as u32 };
    assert_eq!(session.get(&[place, place]), Ok(vec![Some(segment.clone()); 2]));
    session.close().expect("close");
}

/// Workers that share the bytes; they mostly wait.
const WORKERS: usize = 6;
/// A kind of connection has had all its cuts when so many sessions ended before theirs: what is said
/// is not always of the same length, an address or a signature for example.
const UNCUT: usize = 12;

/// For each of these kinds of connections and for each byte of it in one direction, from before the
/// first to after the last one of its farewell: a session whose connection is cut there. The result must
/// be whole, and no segment may reach the device's store twice.
fn cut_at_every_byte<D: Door>(lines: Range<usize>, up: bool) {
    for line in lines {
        let (next, uncut) = (AtomicU64::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let device = CutDevice::<D>::start();
                    while uncut.load(Ordering::SeqCst) < UNCUT {
                        let at = next.fetch_add(1, Ordering::SeqCst);
                        if !device.session_with(Cut { line, up, at }) {
                            uncut.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let cuts = next.into_inner() - uncut.into_inner() as u64;
        match D::is_silent(line, up) {
            true => assert_eq!(cuts, 1, "connection {line} can end before it says anything"),
            false => assert!(cuts > 60, "of connection {line} only {cuts} bytes were seen"),
        }
    }
}

/// A device whose sessions are cut, one after the other.
struct CutDevice<D> {
    memory: Memory,
    front: Port<D>,
    segment: Bytes,
}

impl<D: Door> CutDevice<D> {
    fn start() -> Self {
        let memory = Memory::default();
        let front = Port::<D>::start(memory.clone());
        Self { memory, front, segment: bytes_of(60, 1) }
    }

    /// A whole session. False: its connection ended before so many bytes.
    fn session_with(&self, cut: Cut) -> bool {
        let mut held = self.memory.held.lock();
        held.segments.clear();
        held.tickets.clear();
        held.closed.clear();
        (held.puts, held.commits) = (0, 0);
        drop(held);
        let proxy = self.front.proxy();
        *proxy.plan.cut_line.lock() = Some(cut);
        let ticket = ticket(&self.memory, Direction::Backup);
        let session = self.front.through(&proxy, ticket.clone());
        let session = session.unwrap_or_else(|error| panic!("{cut:?}: {}", error.message));
        small_session(&session, &self.segment);
        drop(session);
        // The farewell is cut as well.
        let begun = Instant::now();
        while proxy.plan.open() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{cut:?}: it never ends");
            std::thread::sleep(Duration::from_millis(1));
        }
        let held = self.memory.held.lock();
        assert_eq!((held.puts, held.commits), (1, 1), "{cut:?}");
        assert_eq!(
            (&held.closed[..], &held.aborted[..]),
            (&[ticket.transfer][..], &[][..]),
            "{cut:?}"
        );
        let was_cut = proxy.plan.cuts.load(Ordering::SeqCst) == 1;
        let passed = proxy.plan.passed(cut.line, cut.up);
        assert!(was_cut || passed < cut.at, "{cut:?}: not cut, and {passed} bytes were there");
        was_cut
    }
}

fn net01_cut_at_every_byte_towards_the_device<D: Door>() {
    cut_at_every_byte::<D>(0..1, true);
}

fn net01_cut_at_every_byte_towards_the_client<D: Door>() {
    cut_at_every_byte::<D>(0..1, false);
}

fn net01_cut_at_every_byte_of_control_towards_the_device<D: Door>() {
    cut_at_every_byte::<D>(0..DATA, true);
}

fn net01_cut_at_every_byte_of_control_towards_the_client<D: Door>() {
    cut_at_every_byte::<D>(0..DATA, false);
}

fn net01_cut_at_every_byte_of_data_towards_the_device<D: Door>() {
    cut_at_every_byte::<D>(DATA..LINES_MAX, true);
}

fn net01_cut_at_every_byte_of_data_towards_the_client<D: Door>() {
    cut_at_every_byte::<D>(DATA..LINES_MAX, false);
}

fn net01_what_was_acknowledged_is_not_sent_again<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let proxy = front.proxy();
    let session = front.through(&proxy, ticket(&memory, Direction::Backup)).expect("open");
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
    let session = front.through(&proxy, ticket(&memory, Direction::Backup)).expect("open");
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
    Tcp as http_bytes, Tls as https_bytes, Mutual as drive_bytes, Pipe as pipe_bytes => [
    net01_cut_at_every_byte_towards_the_device,
    net01_cut_at_every_byte_towards_the_client,
]);

at_doors!(
    FtpPassive as ftp_bytes, FtpActive as ftp_active_bytes, FtpTls as ftp_tls_bytes => [
    net01_cut_at_every_byte_of_control_towards_the_device,
    net01_cut_at_every_byte_of_control_towards_the_client,
    net01_cut_at_every_byte_of_data_towards_the_device,
    net01_cut_at_every_byte_of_data_towards_the_client,
]);

at_doors!(
    Tcp as http, Tls as https, Mutual as drive, Pipe as pipe,
    FtpPassive as ftp, FtpActive as ftp_active, FtpTls as ftp_tls => [
    net01_what_was_acknowledged_is_not_sent_again,
    half_open_and_hung_devices_are_noticed_in_time,
]);

// A pipe has no port.
at_doors!(
    Tcp as http_port, Tls as https_port, Mutual as drive_port,
    FtpPassive as ftp_port, FtpActive as ftp_active_port, FtpTls as ftp_tls_port => [
    a_port_where_nobody_listens_is_named_with_the_time,
]);
