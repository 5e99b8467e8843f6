//! Rate limits at every door. Times are bounded from below only: a slow machine breaks none of them.

use std::time::{Duration, Instant};

use simsim_model::{BackupSession, Direction, RestoreSession, SegmentPlace};
use simsim_transfer::throttle::{RateLimit, RateStep};
use simsim_transfer::{HttpTransfer, ListenOptions};

use crate::front::{Door, Port, at_doors, bytes_of, stranger_ticket, ticket};
use crate::memory::{Memory, name_of};

/// One limit, from now on.
pub fn limit(number: u64, subject: &str, bytes_per_s: u64) -> RateLimit {
    let step = RateStep { after: Duration::ZERO, bytes_per_s: Some(bytes_per_s) };
    RateLimit { number, subject: subject.parse().expect("a subject"), steps: vec![step] }
}

/// The least time for so many bytes: what may go at once after a pause, and one piece, come off.
pub fn least(bytes: usize, bytes_per_s: u64) -> Duration {
    let free = bytes_per_s as f64 * 0.25 + (64 << 10) as f64;
    Duration::from_secs_f64((bytes as f64 - free) / bytes_per_s as f64)
}

fn transfer_of<D: Door>(front: &Port<D>, memory: &Memory, host: &str) -> HttpTransfer {
    let mut ticket = stranger_ticket(Direction::Backup);
    ticket.client = host.to_owned();
    memory.held.lock().tickets.insert(ticket.transfer, ticket.clone());
    front.transfer(front.address, ticket).expect("open")
}

/// A device whose client asks often how it is, so that short patience is enough.
fn start<D: Door>(memory: &Memory) -> Port<D> {
    let mut front = Port::<D>::start(memory.clone());
    front.dial.heartbeat = Duration::from_millis(80);
    front
}

fn place_of(number: u64, bytes: usize) -> SegmentPlace {
    SegmentPlace { pack: name_of(b""), offset: number, length: bytes as u32 }
}

fn a_rate_is_held_in_both_directions<D: Door>() {
    const RATE: u64 = 400_000;
    const BYTES: usize = 600_000;
    let memory = Memory::default();
    let front = start::<D>(&memory);
    memory.throttle.set(vec![limit(1, "host alpha", RATE), limit(2, "all", 50_000_000)]);
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    let segment = bytes_of(BYTES, 1);
    let begun = Instant::now();
    session.put(0, segment.clone()).expect("put");
    assert!(begun.elapsed() >= least(BYTES, RATE), "up: {:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(session.get(&[place_of(0, BYTES)]).expect("get"), [Some(segment)]);
    assert!(begun.elapsed() >= least(BYTES, RATE), "down: {:?}", begun.elapsed());
    session.close().expect("close");
}

fn two_transfers_of_a_network_share_its_limit<D: Door>() {
    const RATE: u64 = 400_000;
    const BYTES: usize = 300_000;
    let memory = Memory::default();
    let front = start::<D>(&memory);
    let networks = ["network 127.0.0.0/8", "network ::1/128"];
    let limits = networks.iter().zip(1..).map(|(subject, number)| limit(number, subject, RATE));
    memory.throttle.set(limits.collect());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (number, host) in ["alpha", "beta"].into_iter().enumerate() {
            let session = transfer_of(&front, &memory, host);
            scope.spawn(move || {
                session.put(number as u64, bytes_of(BYTES, number as u64)).expect("put");
                session.close().expect("close");
            });
        }
    });
    assert!(begun.elapsed() >= least(2 * BYTES, RATE), "{:?}", begun.elapsed());
    assert_eq!(memory.held.lock().puts, 2);
}

fn a_limit_that_goes_frees_what_runs_and_never_held_another_host<D: Door>() {
    // At this rate it would take ten minutes.
    const BYTES: usize = 6_000_000;
    let memory = Memory::default();
    let front = start::<D>(&memory);
    memory.throttle.set(vec![limit(1, "host alpha", 10_000)]);
    let (slow, free) =
        (transfer_of(&front, &memory, "alpha"), transfer_of(&front, &memory, "beta"));
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || {
            slow.put(0, bytes_of(BYTES, 0)).expect("put");
            let back = slow.get(&[place_of(0, BYTES)]).expect("get");
            assert_eq!(back, [Some(bytes_of(BYTES, 0))]);
        });
        // Both tickets were opened; the third that is heard is the slow one at work.
        let begun = Instant::now();
        while memory.held.lock().heard < 3 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the slow one never began");
            std::thread::sleep(Duration::from_millis(5));
        }
        free.put(1, bytes_of(BYTES, 1)).expect("put");
        assert_eq!(memory.held.lock().puts, 1, "the other host's segment is still on its way");
        let begun = Instant::now();
        memory.throttle.set(Vec::new());
        slow.join().expect("the slow one");
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    });
}

fn a_limit_that_comes_slows_what_runs<D: Door>() {
    const RATE: u64 = 200_000;
    const BYTES: usize = 8_000_000;
    let memory = Memory::default();
    let front = start::<D>(&memory);
    const FIRST: u64 = 2_000_000;
    // Slow enough to be caught on its way, with most of it still to come.
    memory.throttle.set(vec![limit(1, "all", FIRST)]);
    let session = transfer_of(&front, &memory, "alpha");
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let putting = scope.spawn(|| session.put(0, bytes_of(BYTES, 0)).expect("put"));
        std::thread::sleep(Duration::from_millis(300));
        memory.throttle.set(vec![limit(1, "all", RATE)]);
        let first = begun.elapsed();
        while begun.elapsed() < Duration::from_secs(6) {
            let arrived = memory.held.lock().puts > 0;
            let second = begun.elapsed() - first;
            let most = FIRST as f64 * (first.as_secs_f64() + 0.25)
                + RATE as f64 * (second.as_secs_f64() + 0.25)
                + (64 << 10) as f64;
            assert!(!arrived || most >= BYTES as f64, "8 MB in {first:?} and {second:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        memory.throttle.set(Vec::new());
        putting.join().expect("the put");
    });
}

fn what_a_limit_holds_back_is_not_dead<D: Door>() {
    const SESSIONS: u64 = 12;
    let memory = Memory::default();
    let options = ListenOptions {
        stall_timeout: Duration::from_millis(1500),
        session_idle: Duration::from_millis(1500),
        ..ListenOptions::default()
    };
    let mut front = Port::<D>::start_with(memory.clone(), options);
    front.dial.heartbeat = Duration::from_millis(80);
    front.dial.stall_timeout = Duration::from_millis(800) * D::SLOWER;
    front.dial.dead_peer = Duration::from_millis(1600) * D::SLOWER;
    // FTP: three pairs of data ports, so three at once.
    let together = if D::SLOWER > 1 { 3 } else { SESSIONS };
    let sessions: Vec<HttpTransfer> =
        (0..together).map(|_| transfer_of(&front, &memory, "alpha")).collect();
    // The least there is, for all together: between two pieces of one lies more than any patience
    // without it being told.
    memory.throttle.set(vec![limit(1, "host alpha", 10_000)]);
    let begun = Instant::now();
    let bytes = 60_000 / sessions.len();
    std::thread::scope(|scope| {
        for (number, session) in sessions.iter().enumerate() {
            scope.spawn(move || {
                let number = number as u64;
                session.put(number, bytes_of(bytes, number)).expect("put");
                let back = session.get(&[place_of(number, bytes)]).expect("get");
                assert_eq!(back, [Some(bytes_of(bytes, number))]);
            });
        }
    });
    assert!(begun.elapsed() > Duration::from_secs(8), "it was not slow: {:?}", begun.elapsed());
    assert_eq!(memory.held.lock().puts, sessions.len());
    assert_eq!(memory.held.lock().aborted, [""; 0]);
}

/// The system's own patience with a reader that takes nothing is shorter than that of a limit.
fn a_device_that_takes_nothing_for_long_is_not_left<D: Door>() {
    let memory = Memory::default();
    let mut front = Port::<D>::start(memory.clone());
    front.dial = simsim_transfer::DialOptions::default();
    let session = transfer_of(&front, &memory, "alpha");
    memory.throttle.set(vec![limit(1, "host alpha", 400)]);
    std::thread::scope(|scope| {
        // More than the system keeps for both ends of a connection.
        let putting = scope.spawn(|| session.put(0, bytes_of(16 << 20, 0)));
        std::thread::sleep(Duration::from_secs(50));
        assert!(!putting.is_finished(), "{:?}", putting.join());
        memory.throttle.set(Vec::new());
        putting.join().expect("no panic").expect("the put");
    });
    let held = memory.held.lock();
    assert_eq!((held.puts, held.asked), (1, 1), "it was sent again");
}

at_doors!(Tcp as http_waits, Mutual as drive_waits, FtpPassive as ftp_waits => [
    a_device_that_takes_nothing_for_long_is_not_left,
]);

at_doors!(
    Tcp as http, Tls as https, Mutual as drive, Pipe as pipe,
    FtpPassive as ftp, FtpTlsActive as ftp_tls_active => [
    a_rate_is_held_in_both_directions,
    two_transfers_of_a_network_share_its_limit,
    a_limit_that_goes_frees_what_runs_and_never_held_another_host,
    a_limit_that_comes_slows_what_runs,
    what_a_limit_holds_back_is_not_dead,
]);
