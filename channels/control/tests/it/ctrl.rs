//! The port of CTRL as other programs see it, and CTRL's dialler at other ports.

use std::process::Stdio;
use std::time::Duration;

use simsim_control::{ControlError, Timing};
use simsim_model::Kind;
use simsim_testkit::{has_program, skip};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::stage::{Mode, Node, QUICK};

/// Other programs may start slowly on a busy machine.
const PATIENT: Timing = Timing { handshake: Duration::from_secs(10), ..QUICK };

/// What a program says on standard output and standard error.
async fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(30), command.output());
    let output = output.await.unwrap().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn curl_ssh_and_openssl_are_told_in_their_own_protocols_what_this_port_is() {
    let node = Node::with_timing(Mode::Ctrl, PATIENT).await;
    let (port, address) = (node.address.port().to_string(), node.address.to_string());
    let mut missing = Vec::new();
    for (program, arguments, expected) in [
        (
            "curl",
            &["-sS", "--fail-with-body", &format!("http://{address}/")][..],
            "access mode CTRL",
        ),
        (
            "ssh",
            &["-F", "none", "-o", "BatchMode=yes", "-p", &port, "127.0.0.1"][..],
            "access mode CTRL",
        ),
        ("openssl", &["s_client", "-connect", &address][..], "protocol version"),
    ] {
        if !has_program(program) {
            missing.push(program);
            continue;
        }
        let text = said(program, arguments).await;
        assert!(text.contains(expected), "{program}: {text}");
    }
    node.dial().await.unwrap();
    if !missing.is_empty() {
        skip(&format!("not installed: {}", missing.join(", ")));
    }
}

#[tokio::test]
async fn a_stranger_without_a_protocol_reads_one_sentence() {
    let node = Node::start(Mode::Ctrl).await;
    for bytes in [&b"HELO x\r\n"[..], b"\0\0\0\x08\xa4nonsens\n", b"simsim\n"] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("control messages between backup hosts"), "{answer}");
    }
    // One that speaks it, but wrongly, reads what was wrong.
    for (bytes, expected) in [
        (&b"simsim-ctrl 1 call\n"[..], "cannot be read"),
        (b"simsim-ctrl 1 call AAAA\n", "too short"),
        (b"simsim-ctrl 1 prove AAAA\n", "where 'call' was due"),
        (b"simsim-ctrl 9 call AAAA\n", "version 9"),
    ] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("simsim-ctrl 1 error "), "{answer}");
        assert!(answer.contains(expected), "{answer}");
    }
}

#[tokio::test]
async fn the_port_of_the_other_access_mode_is_named_and_no_way_in() {
    let mut node = Node::start(Mode::Ctrl).await;
    let mut other = Node::start(Mode::Smssh).await;
    other.mode = Mode::Ctrl;
    let key = other.identity.public();
    let error = other.dial_as(&other.server, &other.addresses(), &key, QUICK).await.unwrap_err();
    assert!(matches!(error, ControlError::Handshake { .. }), "{error}");
    assert!(error.to_string().contains("access mode SMSSH"), "{error}");

    node.mode = Mode::Smssh;
    let key = node.identity.public();
    let error = node.dial_as(&node.server, &node.addresses(), &key, QUICK).await.unwrap_err();
    assert!(matches!(error, ControlError::Handshake { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unreachable);
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_named() {
    let node = Node::start(Mode::Ctrl).await;
    for (said, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "another protocol"),
        (b"220 FTP ready\r\n", "another protocol"),
        (b"SSH-2.0-x\r\n", "it speaks SSH"),
        (b"\x15\x03\x01\0\x02\x02F", "another protocol"),
        (b"simsim-ctrl 1 error go \x1b[31maway\n", "it says 'go \\u{1b}[31maway'"),
        (b"simsim-ctrl 1 answer AAAA AAAA\n", "too short"),
        (b"", "it closed the connection"),
    ] {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = other.accept().await.unwrap();
            let mut call = vec![0; 4096];
            let _ = stream.read(&mut call).await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        });
        let error = node.dial_at(std::slice::from_ref(&address), QUICK).await.unwrap_err();
        assert!(matches!(error, ControlError::Handshake { .. }), "{said:?}: {error}");
        assert_eq!(error.kind(), Kind::Unreachable);
        let text = error.to_string();
        assert!(text.contains(&address) && text.contains(expected), "{text}");
        server.await.unwrap();
    }
}
