//! Dialling: the first that answers wins, and the error names every address.

use std::time::{Duration, Instant};

use simsim_model::Kind;
use simsim_net::{DialError, Failure, dial};
use tokio::net::TcpListener;

/// A port where nothing listens.
async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A listener whose queue is full: the kernel drops further connections, as a firewall does.
async fn silent() -> (Vec<tokio::net::TcpStream>, TcpListener, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    for _ in 0..8 {
        let connect = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(100), connect).await {
            Ok(stream) => queued.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    (queued, listener, address.to_string())
}

#[tokio::test]
async fn the_first_that_answers_wins_although_one_before_is_silent() {
    let (_queued, _listener, silent) = silent().await;
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = open.local_addr().unwrap();
    let begun = Instant::now();
    let list = [closed().await, silent, address.to_string()];
    let stream = dial(&list, Duration::from_secs(10)).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    assert!(stream.nodelay().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_name_is_resolved_and_order_kept() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = open.local_addr().unwrap().port();
    let list = [format!("localhost:{port}"), second.local_addr().unwrap().to_string()];
    let stream = dial(&list, Duration::from_secs(5)).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap().port(), port);
}

#[tokio::test]
async fn the_error_names_every_address_and_what_happened() {
    let (_queued, _listener, silent) = silent().await;
    let refused = closed().await;
    let list =
        [refused.clone(), "no-such-host.invalid:1".to_owned(), silent.clone(), "no port".into()];
    let error = dial(&list, Duration::from_millis(600)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    let text = error.to_string();
    let of = |address: &str| {
        &error.attempts().iter().find(|attempt| attempt.address == address).unwrap().failure
    };
    assert!(matches!(of(&refused), Failure::Refused), "{text}");
    assert!(matches!(of(&silent), Failure::Filtered), "{text}");
    assert!(matches!(of("no-such-host.invalid:1"), Failure::Unresolvable(_)), "{text}");
    assert!(matches!(of("no port"), Failure::Unresolvable(_)), "{text}");
    for address in &list {
        assert!(text.contains(address), "{text}");
    }
}

#[tokio::test]
async fn nothing_to_dial_is_invalid() {
    let error = dial(&[], Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, DialError::NoAddress));
    assert_eq!(error.kind(), Kind::Invalid);
}
