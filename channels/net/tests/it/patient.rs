//! Readers that stand still, and readers that are gone.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as Reader};
use std::time::{Duration, Instant};

use simsim_net::Patient;
use simsim_testkit::{MIDDLE, Network, skip};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Longer than `limits::DEAD_PEER_MS`, and than whatever watches over it takes.
const STANDS: Duration = Duration::from_secs(50);
/// The 30 s of `limits::DEAD_PEER_MS`, and room for a busy machine.
const NOTICED: Duration = Duration::from_secs(40);
/// More than the system keeps for both ends of a connection.
const MUCH: usize = 48 << 20;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Writes so many bytes to whoever comes, and all of them arrive: how long that took, and the error that
/// ended it before.
fn write(
    bytes: usize,
    at: SocketAddr,
    tell: &std::sync::mpsc::Sender<SocketAddr>,
) -> Option<String> {
    runtime().block_on(async {
        let listener = TcpListener::bind(at).await.unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let mut stream = Patient::new(listener.accept().await.unwrap().0);
        let (piece, mut left) = (vec![7; 1 << 20], bytes);
        while left > 0 {
            let now = left.min(piece.len());
            match stream.write(&piece[..now]).await {
                Ok(written) => left -= written,
                Err(error) => return Some(error.to_string()),
            }
        }
        stream.shutdown().await.err().map(|error| error.to_string())
    })
}

#[test]
fn a_reader_that_stands_still_for_long_gets_everything() {
    std::thread::scope(|scope| {
        // The second one is all in the hands of the system when its reader begins.
        for bytes in [MUCH, 1 << 20] {
            scope.spawn(move || {
                let (tell, told) = std::sync::mpsc::channel();
                let writing = std::thread::spawn(move || {
                    write(bytes, (Ipv4Addr::LOCALHOST, 0).into(), &tell)
                });
                let mut reader = Reader::connect(told.recv().unwrap()).unwrap();
                // The least that a reader can have taken.
                reader.read_exact(&mut [0; 1000]).unwrap();
                std::thread::sleep(STANDS);
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest).unwrap_or_else(|error| {
                    panic!("of {bytes} bytes {} came, then {error}", rest.len())
                });
                assert_eq!(rest.len() + 1000, bytes);
                assert_eq!(writing.join().unwrap(), None);
            });
        }
    });
}

/// `takes`: whether the reader read until it was gone, or had stood still before.
fn gone(takes: bool) {
    let network = match Network::routed(&["writer", "reader"]) {
        Ok(network) => network,
        Err(why) => return skip(&why),
    };
    let (tell, told) = std::sync::mpsc::channel();
    let at = SocketAddr::from((network.address("writer"), 9999));
    std::thread::scope(|scope| {
        let network = &network;
        let writing = scope.spawn(move || {
            network.inside("writer", || {
                let ended = write(usize::MAX, at, &tell);
                (ended, Instant::now())
            })
        });
        told.recv().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            network.inside("reader", move || {
                let mut reader = Reader::connect(at).unwrap();
                let mut into = vec![0; 1 << 20];
                reader.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                loop {
                    if takes {
                        let _ = reader.read(&mut into);
                    }
                    let pause = Duration::from_millis(if takes { 1 } else { 200 });
                    match stopped.recv_timeout(pause) {
                        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                        _ => return,
                    }
                }
            });
        });
        // One that stands still does so for long enough that the time-out has been moved.
        std::thread::sleep(if takes { Duration::from_secs(2) } else { STANDS });
        assert!(!writing.is_finished(), "it was ended while it was there");
        let rules = "table inet gone {\nchain passing {\n\
                     type filter hook forward priority 0; policy drop;\n}\n}\n";
        network.load(MIDDLE, rules).unwrap();
        let cut = Instant::now();
        let (ended, when) = writing.join().unwrap();
        stop.send(()).unwrap();
        let after = when.saturating_duration_since(cut);
        println!("noticed after {after:?}: {ended:?}");
        assert!(ended.is_some(), "nothing ever ends it");
        assert!(after < NOTICED, "{after:?}");
    });
}

#[test]
fn a_reader_that_is_gone_is_noticed() {
    gone(true);
}

#[test]
fn a_reader_that_stood_still_and_is_gone_is_noticed() {
    gone(false);
}
