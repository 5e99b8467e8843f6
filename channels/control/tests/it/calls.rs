//! Sessions over SSH and over CTRL: many calls, large messages, cuts, silence, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use simsim_control::verbs::*;
use simsim_control::{ControlError, Timing};
use simsim_model::{DomainId, Kind, StoreId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::stage::{Mode, Node, QUICK, over_both_modes};

over_both_modes! {
    large_messages_events_and_small_calls_share_a_session,
    an_idle_session_outlives_every_time_limit,
    net01_a_cut_in_the_middle_of_a_call_is_unreachable_at_once,
    a_line_that_falls_silent_is_noticed_in_the_time_for_it,
    a_shutdown_tells_its_callers_and_frees_the_port,
    the_end_of_the_last_clone_ends_the_connection,
}

async fn large_messages_events_and_small_calls_share_a_session(mode: Mode) {
    let node = Node::start(mode).await;
    let session = node.dial().await.unwrap();
    let work: Vec<JoinHandle<()>> = (0..24)
        .map(|number| {
            let session = session.clone();
            let (store, domain) = (StoreId::ZERO, DomainId::ZERO);
            tokio::spawn(async move {
                match number % 4 {
                    0 => {
                        let slots = (0..1_000_000).map(|place| place as u8).collect();
                        session.call(PutKeySlots { store, domain, slots }).await.unwrap();
                    }
                    1 => {
                        let reply = session.call(GetKeySlots { store, domain }).await.unwrap();
                        assert_eq!(reply.slots.len(), 1_000_000);
                    }
                    2 => {
                        let mut call = session.start(JobState { job: 200 }).await.unwrap();
                        let mut last = None;
                        while let Some(Event::Progress(snapshot)) = call.next_event().await {
                            assert!(last.is_none_or(|last| last < snapshot.bytes_done));
                            last = Some(snapshot.bytes_done);
                        }
                        assert!(last.is_some());
                        call.finish().await.unwrap();
                    }
                    _ => {
                        for _ in 0..100 {
                            session.call(Ping {}).await.unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    for work in work {
        tokio::time::timeout(Duration::from_secs(60), work).await.unwrap().unwrap();
    }
}

async fn an_idle_session_outlives_every_time_limit(mode: Mode) {
    let node = Node::start(mode).await;
    let session = node.dial().await.unwrap();
    tokio::time::sleep(QUICK.idle + QUICK.dead).await;
    session.call(Ping {}).await.unwrap();
}

/// Passes bytes on between a dialler and a node, until told otherwise.
struct Line {
    address: String,
    frozen: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Line {
    async fn to(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = node.address;
        let frozen = Arc::new(AtomicBool::new(false));
        let freeze = Arc::clone(&frozen);
        let task = tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(target).await.unwrap();
            let (mut near_in, mut near_out) = near.into_split();
            let (mut far_in, mut far_out) = far.into_split();
            tokio::join!(
                pass(&mut near_in, &mut far_out, &freeze),
                pass(&mut far_in, &mut near_out, &freeze)
            );
        });
        Self { address, frozen, task }
    }
}

async fn pass<R, W>(from: &mut R, to: &mut W, frozen: &AtomicBool)
where
    R: AsyncReadExt + Unpin,
    W: AsyncWriteExt + Unpin,
{
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        while frozen.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn net01_a_cut_in_the_middle_of_a_call_is_unreachable_at_once(mode: Mode) {
    let node = Node::start(mode).await;
    let line = Line::to(&node).await;
    let patient = Timing { dead: Duration::from_secs(30), ..QUICK };
    let session = node.dial_at(std::slice::from_ref(&line.address), patient).await.unwrap();
    let call = session.start(NodeState {}).await.unwrap();
    session.call(Ping {}).await.unwrap();
    let begun = Instant::now();
    line.task.abort();
    let error = call.finish().await.unwrap_err();
    assert!(matches!(error, ControlError::Lost { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

async fn a_line_that_falls_silent_is_noticed_in_the_time_for_it(mode: Mode) {
    let node = Node::start(mode).await;
    let line = Line::to(&node).await;
    let session = node.dial_at(std::slice::from_ref(&line.address), QUICK).await.unwrap();
    let call = session.start(NodeState {}).await.unwrap();
    session.call(Ping {}).await.unwrap();
    let begun = Instant::now();
    line.frozen.store(true, Ordering::SeqCst);
    let error = call.finish().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("silent"), "{error}");
    assert!(begun.elapsed() < QUICK.dead + Duration::from_secs(2), "{:?}", begun.elapsed());
    line.task.abort();
}

async fn a_shutdown_tells_its_callers_and_frees_the_port(mode: Mode) {
    let node = Node::start(mode).await;
    let (address, session) = (node.address, node.dial().await.unwrap());
    let call = session.start(NodeState {}).await.unwrap();
    session.call(Ping {}).await.unwrap();
    let begun = Instant::now();
    let (error, ()) = tokio::join!(call.finish(), node.shut_down());
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("shutting down"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4));
    TcpListener::bind(address).await.unwrap();
}

async fn the_end_of_the_last_clone_ends_the_connection(mode: Mode) {
    let node = Node::start(mode).await;
    let line = Line::to(&node).await;
    let session = node.dial_at(std::slice::from_ref(&line.address), QUICK).await.unwrap();
    let clone = session.clone();
    drop(session);
    clone.call(Ping {}).await.unwrap();
    drop(clone);
    tokio::time::timeout(Duration::from_secs(5), line.task).await.unwrap().unwrap();
}
