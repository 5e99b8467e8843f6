//! Many wires upon one.

use std::io::ErrorKind;
use std::time::Duration;

use simsim_model::Kind;
use simsim_net::BoxedWire;
use simsim_net::mux::{Mux, MuxError, MuxHandle, MuxIncoming, MuxLimits, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const PATIENCE: Duration = Duration::from_secs(30);

type End = (MuxHandle, MuxIncoming);

fn pair_with(limits: &MuxLimits) -> (End, End) {
    let (near, far) = duplex(64 << 10);
    let dialer = Mux::new(Box::new(near), Side::Dialer, limits.clone());
    (dialer, Mux::new(Box::new(far), Side::Listener, limits.clone()))
}

fn pair() -> (End, End) {
    pair_with(&MuxLimits::default())
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    simsim_testkit::Rng::new(seed).bytes(length)
}

/// Sends back what comes, until it ends.
async fn echo(wire: BoxedWire) {
    let (mut read, mut write) = tokio::io::split(wire);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

async fn asks(wire: BoxedWire, seed: u64) {
    let (mut read, mut write) = tokio::io::split(wire);
    let sent = bytes(700_001, seed);
    let (back, ()) = tokio::join!(
        async {
            let mut back = Vec::new();
            read.read_to_end(&mut back).await.unwrap();
            back
        },
        async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        }
    );
    assert!(back == sent, "what came back is something else");
}

#[tokio::test]
async fn both_sides_open_streams_and_every_stream_is_whole() {
    let ((near, mut near_in), (far, mut far_in)) = pair();
    let mut work = tokio::task::JoinSet::new();
    for seed in 0..8 {
        for (handle, incoming) in [(&near, &mut far_in), (&far, &mut near_in)] {
            let wire = handle.open().await.unwrap();
            work.spawn(asks(wire, seed));
            let taken = within("the stream arrives", incoming.next()).await.unwrap();
            work.spawn(echo(taken));
        }
    }
    while let Some(done) = within("all streams end", work.join_next()).await {
        done.unwrap();
    }
    assert!(!near.watch().is_over() && !far.watch().is_over());
}

#[tokio::test]
async fn an_end_in_order_is_told_from_a_stream_that_was_given_up() {
    let ((near, _), (_far, mut far_in)) = pair();
    let mut ended = near.open().await.unwrap();
    ended.write_all(b"whole").await.unwrap();
    ended.shutdown().await.unwrap();
    let mut dropped = near.open().await.unwrap();
    dropped.write_all(b"half").await.unwrap();
    let (mut first, mut second) = (far_in.next().await.unwrap(), far_in.next().await.unwrap());
    drop(dropped);
    let mut got = Vec::new();
    within("the end", first.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"whole");
    got.clear();
    let error = within("the loss", second.read_to_end(&mut got)).await.unwrap_err();
    assert_eq!((error.kind(), got.as_slice()), (ErrorKind::ConnectionReset, b"half".as_slice()));
    let error = second.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    // The first still has its other half.
    first.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    within("the answer", ended.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn a_wire_that_is_cut_ends_everything_on_it() {
    let (near, cut_near) = duplex(64 << 10);
    let (far, cut_far) = duplex(64 << 10);
    let cable = tokio::spawn(async move {
        let (mut near, mut far): (DuplexStream, DuplexStream) = (cut_near, cut_far);
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let (near, mut near_in) = Mux::new(Box::new(near), Side::Dialer, MuxLimits::default());
    let (far, mut far_in) = Mux::new(Box::new(far), Side::Listener, MuxLimits::default());
    let mut opened = near.open().await.unwrap();
    opened.write_all(b"x").await.unwrap();
    let mut taken = within("the stream arrives", far_in.next()).await.unwrap();
    taken.read_exact(&mut [0]).await.unwrap();
    cable.abort();
    for wire in [&mut opened, &mut taken] {
        let error = within("the loss", wire.read_exact(&mut [0])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = within("no more", wire.write_all(&bytes(1 << 20, 1))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    assert!(within("no more streams", near_in.next()).await.is_none());
    assert!(within("no more streams", far_in.next()).await.is_none());
    for handle in [near, far] {
        let error = within("it is over", handle.open()).await.err().unwrap();
        assert!(matches!(error, MuxError::Ended { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(handle.watch().is_over());
    }
}

#[tokio::test]
async fn when_nobody_holds_it_any_more_it_is_closed_and_nothing_written_is_lost() {
    let ((near, near_in), (far, mut far_in)) = pair();
    let watch = near.watch();
    let sent = bytes(200_000, 2);
    let mut wire = near.open().await.unwrap();
    wire.write_all(&sent).await.unwrap();
    wire.shutdown().await.unwrap();
    drop((near, near_in));
    assert!(!watch.is_over(), "a stream is held");
    drop(wire);
    let mut taken = within("the stream arrives", far_in.next()).await.unwrap();
    let mut got = Vec::new();
    within("all of it", taken.read_to_end(&mut got)).await.unwrap();
    assert!(got == sent);
    assert!(within("the end", far_in.next()).await.is_none());
    let end = within("the end here", watch.ended()).await;
    assert!(end.closed && end.why.contains("closed on this side"), "{end:?}");
    let end = within("the end there", far.watch().ended()).await;
    assert!(end.closed && end.why.contains("other side"), "{end:?}");
}

#[tokio::test]
async fn a_watch_cuts_what_others_hold() {
    let ((near, _near_in), (_far, mut far_in)) = pair();
    let mut wire = near.open().await.unwrap();
    wire.write_all(b"x").await.unwrap();
    let _taken = within("the stream arrives", far_in.next()).await.unwrap();
    near.watch().cut();
    let error = within("it is cut", wire.read_exact(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    within("the end", near.watch().ended()).await;
}

/// An order may reach the queue just after the last look into it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_opens_a_stream_at_the_very_end_hears_that_it_has_ended() {
    for round in 0..40_000 {
        let ((near, near_in), far) = pair();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let near = near.clone();
            asking.spawn(async move { while near.open().await.is_ok() {} });
        }
        if round % 2 == 0 {
            near.watch().cut();
        } else {
            drop(far);
        }
        drop(near_in);
        let all = async { while asking.join_next().await.is_some() {} };
        within("everybody hears of the end", all).await;
    }
}

#[tokio::test]
async fn one_stream_past_the_limit_is_refused_here_and_reset_there() {
    let few = MuxLimits { streams_max: 3, ..MuxLimits::default() };
    let many = MuxLimits { streams_max: 5, ..MuxLimits::default() };
    let (a, b) = duplex(64 << 10);
    let (near, _near_in) = Mux::new(Box::new(a), Side::Dialer, many);
    let (_far, mut far_in) = Mux::new(Box::new(b), Side::Listener, few);
    let mut opened = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..3 {
        let mut wire = near.open().await.unwrap();
        wire.write_all(b"x").await.unwrap();
        opened.push(wire);
        taken.push(within("the stream arrives", far_in.next()).await.unwrap());
    }
    // The fourth is too many there, and its loss disturbs no other.
    let mut fourth = near.open().await.unwrap();
    fourth.write_all(b"x").await.unwrap();
    let error = within("it is reset", fourth.read_exact(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let _fifth = near.open().await.unwrap();
    let sixth = near.open().await.err().unwrap();
    assert_eq!((sixth.clone(), sixth.kind()), (MuxError::Full { streams_max: 5 }, Kind::Busy));
    for wire in &mut taken {
        wire.write_all(b"y").await.unwrap();
    }
    for wire in &mut opened {
        let mut got = [0];
        within("the others live", wire.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"y");
    }
    // A place that is given back is a place.
    drop((fourth, taken.pop()));
    let error = within("reset", opened[2].read_exact(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    opened.pop();
    let mut again = near.open().await.unwrap();
    again.write_all(b"z").await.unwrap();
    let mut taken = within("it arrives", far_in.next()).await.unwrap();
    let mut got = [0];
    within("it carries", taken.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"z");
}

#[tokio::test]
async fn who_does_not_read_stops_one_stream_only_and_what_is_held_is_bounded() {
    let limits = MuxLimits { streams_max: 4, memory_bytes_max: 0, ..MuxLimits::default() };
    let ((near, _near_in), (_far, mut far_in)) = pair_with(&limits);
    let mut full = near.open().await.unwrap();
    full.write_all(b"x").await.unwrap();
    let _unread = within("the stream arrives", far_in.next()).await.unwrap();
    let mut written = 0usize;
    // Ends when the window is full: a write that waits.
    let piece = vec![7; 64 << 10];
    while let Ok(wrote) = tokio::time::timeout(Duration::from_millis(500), full.write(&piece)).await
    {
        written += wrote.unwrap();
        assert!(written < 16 << 20, "nothing holds the writer back");
    }
    let mut other = near.open().await.unwrap();
    other.write_all(b"y").await.unwrap();
    let mut taken = within("another stream passes", far_in.next()).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        taken.read_to_end(&mut got).await.map(|_| got.len())
    });
    other.write_all(&bytes(1 << 20, 3)).await.unwrap();
    other.shutdown().await.unwrap();
    let read = within("the other stream is not held up", reading).await.unwrap();
    assert_eq!(read.unwrap(), 1 + (1 << 20));
}

#[tokio::test]
async fn an_idle_connection_lives_by_its_heartbeats() {
    let limits = MuxLimits {
        heartbeat: Duration::from_millis(50),
        dead_peer: Duration::from_secs(2),
        ..MuxLimits::default()
    };
    let ((near, _near_in), (_far, mut far_in)) = pair_with(&limits);
    let mut wire = near.open().await.unwrap();
    wire.write_all(b"x").await.unwrap();
    let mut taken = within("the stream arrives", far_in.next()).await.unwrap();
    tokio::time::sleep(limits.dead_peer * 2).await;
    taken.read_exact(&mut [0]).await.unwrap();
    taken.write_all(b"y").await.unwrap();
    within("it lives", wire.read_exact(&mut [0])).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_dead_in_time() {
    let limits = MuxLimits {
        heartbeat: Duration::from_millis(50),
        dead_peer: Duration::from_millis(400),
        ..MuxLimits::default()
    };
    for side in [Side::Dialer, Side::Listener] {
        let (near, _silent) = duplex(64 << 10);
        let begun = std::time::Instant::now();
        let (handle, mut incoming) = Mux::new(Box::new(near), side, limits.clone());
        assert!(within("the silence is noticed", incoming.next()).await.is_none());
        assert!(begun.elapsed() >= limits.dead_peer);
        let end = handle.watch().ended().await;
        assert!(!end.closed && end.why.contains("nothing was heard"), "{end:?}");
    }
}

/// Bytes of a real session, changed: the connection ends or goes on, and nothing panics.
#[test]
fn fuzz_mux() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let session = runtime.block_on(async {
        let (near, mut recorder) = duplex(1 << 20);
        let (handle, incoming) = Mux::new(Box::new(near), Side::Dialer, MuxLimits::default());
        for seed in 0..3 {
            let mut wire = handle.open().await.unwrap();
            wire.write_all(&bytes(100, seed)).await.unwrap();
            wire.shutdown().await.unwrap();
        }
        drop((handle, incoming));
        let mut all = Vec::new();
        within("the session ends", recorder.read_to_end(&mut all)).await.unwrap();
        all
    });
    assert!(session.len() > 400, "{}", session.len());
    simsim_testkit::fuzz("mux", &[session], |bytes| {
        runtime.block_on(async {
            let (near, mut far) = duplex(1 << 20);
            let (handle, mut incoming) =
                Mux::new(Box::new(near), Side::Listener, MuxLimits::default());
            far.write_all(bytes).await.unwrap();
            far.shutdown().await.unwrap();
            drop(far);
            let watch = handle.watch();
            drop(handle);
            let drained = async {
                while let Some(mut wire) = incoming.next().await {
                    let mut got = Vec::new();
                    let _ = (&mut wire).take(1 << 20).read_to_end(&mut got).await;
                }
            };
            within("the streams end", drained).await;
            drop(incoming);
            let end = within("the session ends", watch.ended()).await;
            assert!(!end.why.contains("defect"), "{end:?}");
        });
    });
}
