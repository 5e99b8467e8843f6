//! Whole sessions, of every size, slow and side by side.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use simsim_model::{
    BackupSession, Direction, Kind, RestoreSession, SavesetId, SegmentPlace, limits,
};
use simsim_transfer::ListenOptions;
use simsim_transfer::frame::PAYLOAD_BYTES;

use crate::front::{Door, Port, Session, at_doors, bytes_of, draft, ticket};
use crate::memory::{Memory, name_of};

/// Puts, commits, asks and reads back; every answer is compared.
pub fn whole_session(session: &dyn Session, segments: &[Bytes]) {
    let names: Vec<_> = segments.iter().map(|segment| name_of(segment)).collect();
    assert_eq!(session.has(&names).expect("has"), vec![false; names.len()]);
    for (number, segment) in segments.iter().enumerate() {
        session.put(number as u64, segment.clone()).expect("put");
    }
    assert_eq!(session.has(&names).expect("has"), vec![true; names.len()]);
    let committed = session.commit(&draft(segments.len() as u64)).expect("commit");
    assert_eq!((committed.sequence, committed.committed_unix_ns), (41, 7));
    let places = session.locate(&names).expect("locate");
    let places: Vec<SegmentPlace> =
        places.into_iter().map(|place| place.expect("is there")).collect();
    let back: Vec<_> = session.get(&places).expect("get").into_iter().flatten().collect();
    assert_eq!(back, segments);
    assert_eq!(
        &session.manifest(SavesetId([9; 16])).expect("manifest")[..],
        b"manifest-in-the-clear"
    );
    session.close().expect("close");
}

fn whole_of_every_size<D: Door>() {
    let edges = [PAYLOAD_BYTES, 2 * PAYLOAD_BYTES];
    let mut sizes = vec![0, 1, 7, 8, 9, 5 << 20, limits::SEGMENT_BYTES_MAX];
    // The put's eight bytes of number shift its frame edges.
    sizes.extend(
        edges.iter().flat_map(|edge| [edge - 9, edge - 8, edge - 7, edge - 1, *edge, edge + 1]),
    );
    let segments: Vec<_> =
        sizes.iter().enumerate().map(|(n, size)| bytes_of(*size, n as u64)).collect();
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    whole_session(&session, &segments);
    assert_eq!(memory.held.lock().puts, segments.len());
    assert_eq!(memory.held.lock().closed.len(), 1);
}

fn whole_empty_one_byte_and_frame_edges<D: Door>() {
    whole_of_every_size::<D>();
}

fn an_empty_session_asks_for_nothing_and_commits<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    whole_session(&session, &[]);
}

fn two_sessions_with_eight_threads_each_at_once<D: Door>() {
    let memories = [Memory::default(), Memory::default()];
    std::thread::scope(|scope| {
        for memory in &memories {
            scope.spawn(move || {
                let front = Port::<D>::start(memory.clone());
                let session =
                    front.transfer(front.address, ticket(memory, Direction::Backup)).expect("open");
                std::thread::scope(|scope| {
                    for worker in 0..8u64 {
                        let session = &session;
                        scope.spawn(move || {
                            for at in 0..16 {
                                let number = at * 8 + worker;
                                session.put(number, bytes_of(100_000, number)).expect("put");
                            }
                        });
                    }
                });
                session.commit(&draft(128)).expect("commit");
            });
        }
    });
    for memory in &memories {
        let held = memory.held.lock();
        assert_eq!((held.puts, held.commits), (128, 1));
        assert!(
            held.segments.iter().all(|(number, segment)| *segment == bytes_of(100_000, *number))
        );
    }
}

fn two_sessions_at_once_at_one_port_keep_apart<D: Door>() {
    const EACH: u64 = 48;
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let open = || {
        front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("both are open")
    };
    let sessions = [open(), open()];
    std::thread::scope(|scope| {
        for (at, session) in sessions.iter().enumerate() {
            for worker in 0..2u64 {
                scope.spawn(move || {
                    let first = at as u64 * EACH + worker;
                    for number in (first..(at as u64 + 1) * EACH).step_by(2) {
                        session.put(number, bytes_of(60_000, number)).expect("put");
                    }
                });
            }
        }
    });
    for (at, session) in sessions.iter().enumerate() {
        let own: Vec<_> = (0..EACH).map(|n| bytes_of(60_000, at as u64 * EACH + n)).collect();
        let names: Vec<_> = own.iter().map(|segment| name_of(segment)).collect();
        let places = session.locate(&names).expect("locate").into_iter().flatten();
        let back = session.get(&places.collect::<Vec<_>>()).expect("get");
        assert_eq!(back, own.into_iter().map(Some).collect::<Vec<_>>());
        session.commit(&draft(2 * EACH)).expect("commit");
    }
    let [first, second] = sessions;
    first.close().expect("close");
    second.has(&[]).expect("the other goes on when one has ended");
    assert_eq!(memory.held.lock().puts, 2 * EACH as usize);
}

fn absent_names_and_lost_segments_are_told_apart<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    session.put(0, bytes_of(10, 0)).expect("put");
    let names = [name_of(b"absent"), name_of(&bytes_of(10, 0))];
    let places = session.locate(&names).expect("locate");
    assert!(places[0].is_none());
    let there = places[1].expect("is there");
    let lost = SegmentPlace { offset: 99, ..there };
    let back = session.get(&[lost, there]).expect("get");
    assert_eq!(back, [None, Some(bytes_of(10, 0))]);
    let error = session.manifest(SavesetId([1; 16])).expect_err("no such saveset");
    assert_eq!((error.kind, error.message.as_str()), (Kind::NotFound, "there is no such saveset"));
}

fn every_kind_of_error_arrives_as_it_was_told<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    for kind in Kind::ALL {
        let error =
            simsim_model::SessionError::new(kind, format!("told: {kind} – {}", "x".repeat(100)));
        memory.held.lock().fail = Some(error.clone());
        assert_eq!(session.has(&[]), Err(error));
    }
}

fn net_slow_writer_and_slow_reader_are_not_dead<D: Door>() {
    let memory = Memory::default();
    let mut front = Port::<D>::start(memory.clone());
    front.dial.heartbeat = Duration::from_millis(80);
    front.dial.stall_timeout = Duration::from_millis(300) * D::SLOW_LINE;
    front.dial.dead_peer = Duration::from_millis(700) * D::SLOW_LINE;
    let proxy = front.proxy();
    let session = front.through(&proxy, ticket(&memory, Direction::Backup)).expect("open");
    // 160 KiB in steps of 8 KiB and 50 ms: one second, above both time limits; a record of TLS
    // (16 KiB), which counts only as a whole, stays below them. What shares one line takes longer.
    let bytes = (160 << 10) * D::SLOW_LINE as usize;
    proxy.plan.step.store(8 << 10, Ordering::Relaxed);
    proxy.plan.pause_ms.store(50, Ordering::Relaxed);
    let begun = Instant::now();
    session.put(0, bytes_of(bytes, 0)).expect("put through a slow line");
    assert!(begun.elapsed() > front.dial.dead_peer, "the line was not slow");
    let place = SegmentPlace { pack: name_of(b""), offset: 0, length: bytes as u32 };
    assert_eq!(session.get(&[place]).expect("get"), [Some(bytes_of(bytes, 0))]);
    assert_eq!(memory.held.lock().puts, 1);
}

fn a_device_that_works_long_says_so_and_is_not_dead<D: Door>() {
    let memory = Memory::default();
    let options =
        ListenOptions { wait_interval: Duration::from_millis(100), ..ListenOptions::default() };
    let mut front = Port::<D>::start_with(memory.clone(), options);
    front.dial.stall_timeout = Duration::from_millis(300) * D::SLOWER;
    front.dial.dead_peer = Duration::from_millis(700) * D::SLOWER;
    let session = front.transfer(front.address, ticket(&memory, Direction::Restore)).expect("open");
    memory.held.lock().slow = Duration::from_millis(900) * D::SLOWER;
    assert!(session.manifest(SavesetId([9; 16])).is_ok());
    let error = session.manifest(SavesetId([1; 16])).expect_err("a late error arrives too");
    assert_eq!(error.kind, Kind::NotFound);
}

fn heartbeats_go_on_while_the_client_is_busy_elsewhere<D: Door>() {
    let memory = Memory::default();
    let options =
        ListenOptions { session_idle: Duration::from_millis(400), ..ListenOptions::default() };
    let mut front = Port::<D>::start_with(memory.clone(), options);
    front.dial.heartbeat = Duration::from_millis(80);
    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    std::thread::sleep(Duration::from_millis(1000));
    session.put(0, bytes_of(10, 0)).expect("the session lives");
    assert!(memory.held.lock().heard >= 6);
    drop(session);
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(memory.held.lock().aborted.len(), 1, "a client that is gone is noticed");
}

fn streams_go_whole_and_resume_and_a_half_one_breaks_off<D: Door>() {
    let memory = Memory::default();
    let front = Port::<D>::start(memory.clone());
    let proxy = front.proxy();
    let bytes = bytes_of(9_000_001, 1);
    let session = front.through(&proxy, ticket(&memory, Direction::Backup)).expect("open");
    let mut writer = session.stream_put();
    proxy.plan.cut_up.store(6_000_000, Ordering::SeqCst);
    writer.write_all(&bytes).expect("write");
    assert_eq!(writer.finish().expect("finish"), bytes.len() as u64);
    assert_eq!(proxy.plan.cuts.load(Ordering::SeqCst), 1);
    assert!(memory.held.lock().stream == bytes, "the stream differs");

    let restore = front.through(&proxy, ticket(&memory, Direction::Restore)).expect("open");
    proxy.plan.cut_down.store(5_000_000, Ordering::SeqCst);
    let mut back = Vec::new();
    restore.stream_get(5).read_to_end(&mut back).expect("read");
    assert_eq!(proxy.plan.cuts.load(Ordering::SeqCst), 2);
    assert!(back == bytes[5..], "the stream differs");

    let session = front.transfer(front.address, ticket(&memory, Direction::Backup)).expect("open");
    let mut writer = session.stream_put();
    writer.write_all(&bytes).expect("write");
    drop(writer);
    session.abort("the source is gone").expect("abort");
    let deadline = Instant::now() + Duration::from_secs(5);
    while !memory.held.lock().stream_broke {
        assert!(Instant::now() < deadline, "the handler never saw the stream break");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(memory.held.lock().aborted, ["the client gave up: the source is gone"]);
}

at_doors!(
    Tcp as http, Tls as https, Mutual as drive, Pipe as pipe,
    FtpPassive as ftp, FtpActive as ftp_active, FtpTls as ftp_tls, FtpTlsActive as ftp_tls_active,
    FtpPassive6 as ftp_ipv6, FtpActive6 as ftp_active_ipv6 => [
    whole_empty_one_byte_and_frame_edges,
    an_empty_session_asks_for_nothing_and_commits,
    two_sessions_with_eight_threads_each_at_once,
    two_sessions_at_once_at_one_port_keep_apart,
    absent_names_and_lost_segments_are_told_apart,
    every_kind_of_error_arrives_as_it_was_told,
    a_device_that_works_long_says_so_and_is_not_dead,
    heartbeats_go_on_while_the_client_is_busy_elsewhere,
]);

at_doors!(
    Tcp as http_line, Tls as https_line, Mutual as drive_line,
    FtpPassive as ftp_line, FtpActive as ftp_active_line, FtpTls as ftp_tls_line, Pipe as pipe_line => [
    net_slow_writer_and_slow_reader_are_not_dead,
    streams_go_whole_and_resume_and_a_half_one_breaks_off,
]);
