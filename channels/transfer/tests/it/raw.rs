//! Raw streams at the door for HTTPS, byte by byte: what is whole, what is cut, who may be silent.

use std::time::{Duration, Instant};

use simsim_model::{Direction, Ticket};
use simsim_net::tls::{TlsConnect, TlsIdentity};
use simsim_transfer::{ListenOptions, stream_ticket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::front::{Port, Tcp, Tls, bytes_of, ticket};
use crate::memory::Memory;
use crate::rates::{least, limit};

/// A raw stream's connection, after the handshake.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

fn connect<D: crate::front::Door>(port: &Port<D>, tls: bool) -> Box<dyn Line> {
    port.runtime.block_on(async {
        let stream = TcpStream::connect(port.address).await.expect("connect");
        match tls {
            false => Box::new(stream) as Box<dyn Line>,
            true => {
                let device = TlsIdentity::open(&port.folder("device"), &[]).expect("identity");
                let connect = TlsConnect::new(vec![device.pin()], None).expect("tls");
                let address = port.address.to_string();
                Box::new(connect.greet(&address, stream).await.expect("handshake"))
            }
        }
    })
}

fn head(method: &str, ticket: &Ticket, fields: &str) -> String {
    let ticket = stream_ticket(ticket);
    format!("{method} /v1/streams/db/{} HTTP/1.1\r\nHost: x\r\n{fields}\r\n", ticket.reveal())
}

/// Sends bytes, ends the sending side where that is wanted, and reads all that comes.
fn exchange<D: crate::front::Door>(
    port: &Port<D>,
    line: &mut Box<dyn Line>,
    bytes: &[u8],
    end: bool,
) -> String {
    port.runtime.block_on(async {
        let _ = line.write_all(bytes).await;
        let _ = line.flush().await;
        if end {
            let _ = line.shutdown().await;
        }
        let mut said = Vec::new();
        let reading = line.read_to_end(&mut said);
        let _ = tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an end");
        String::from_utf8_lossy(&said).into_owned()
    })
}

#[test]
fn a_stream_that_is_cut_at_any_byte_is_never_whole() {
    let memory = Memory::default();
    let port = Port::<Tls>::start(memory.clone());
    let length = "Connection: close\r\nContent-Length: 10\r\n";
    let chunked = "Connection: close\r\nTransfer-Encoding: chunked\r\n";
    let forms = [(length, "0123456789"), (chunked, "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n")];
    let mut cut_off = Vec::new();
    for (fields, body) in forms {
        let size = head("PUT", &ticket(&memory, Direction::Backup), fields).len() + body.len();
        for cut in 0..=size {
            // The whole one has a device of its own: what the last of the others left comes late.
            let whole = (cut == size).then(|| {
                let memory = Memory::default();
                (Port::<Tls>::start(memory.clone()), memory)
            });
            let (port, memory) = match &whole {
                Some((port, memory)) => (port, memory),
                None => (&port, &memory),
            };
            let known = ticket(memory, Direction::Backup);
            let request = head("PUT", &known, fields) + body;
            let mut line = connect(port, true);
            let said = exchange(port, &mut line, &request.as_bytes()[..cut], cut < size);
            let is_whole = memory.held.lock().closed.contains(&known.transfer);
            assert_eq!(is_whole, cut == size, "cut at {cut} of {size}: {said}");
            if cut == size {
                assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
                assert!(
                    said.contains("etag: \"09090909") && said.ends_with("10 bytes\n"),
                    "{said}"
                );
                let held = memory.held.lock();
                assert_eq!(
                    (held.stream.as_slice(), held.stream_broke),
                    (b"0123456789".as_slice(), false)
                );
            } else {
                cut_off.push(known.transfer);
            }
        }
    }
    let closed = &memory.held.lock().closed;
    assert!(!cut_off.iter().any(|transfer| closed.contains(transfer)), "not later either");
    assert_eq!(closed.len(), 0);
}

/// A program that makes a dump may wait for a lock: its connection outlives what others' may not.
#[test]
fn who_sends_a_stream_may_be_silent_and_not_for_ever() {
    let memory = Memory::default();
    let options = ListenOptions {
        stall_timeout: Duration::from_millis(200),
        stream_silence: Duration::from_secs(5),
        ..ListenOptions::default()
    };
    let port = Port::<Tls>::start_with(memory.clone(), options);
    let fields = "Connection: close\r\nContent-Length: 10\r\n";
    let known = ticket(&memory, Direction::Backup);
    let mut line = connect(&port, true);
    let first = head("PUT", &known, fields) + "01234";
    port.runtime.block_on(async {
        line.write_all(first.as_bytes()).await.expect("head");
        line.flush().await.expect("flush");
    });
    std::thread::sleep(Duration::from_millis(1000));
    let said = exchange(&port, &mut line, b"56789", false);
    assert!(said.starts_with("HTTP/1.1 201 "), "{said}");

    let known = ticket(&memory, Direction::Backup);
    let mut line = connect(&port, true);
    let first = head("PUT", &known, fields) + "01234";
    let said = exchange(&port, &mut line, first.as_bytes(), false);
    assert!(!said.contains(" 201 "), "{said}");
    assert!(!memory.held.lock().closed.contains(&known.transfer));
}

#[test]
fn a_ticket_opens_one_stream_in_its_direction_and_by_tls_only() {
    let memory = Memory::default();
    let port = Port::<Tls>::start(memory.clone());
    let content = bytes_of(3_000_000, 5);
    memory.held.lock().stream = content.to_vec();
    let ask = |method: &str, known: &Ticket, fields: &str| {
        let mut line = connect(&port, true);
        let fields = format!("Connection: close\r\n{fields}");
        exchange(&port, &mut line, head(method, known, &fields).as_bytes(), false)
    };
    let store = ticket(&memory, Direction::Backup);
    assert!(ask("GET", &store, "").starts_with("HTTP/1.1 403 "), "it is for storing");
    let known = ticket(&memory, Direction::Restore);
    assert!(ask("PUT", &known, "Content-Length: 0\r\n").starts_with("HTTP/1.1 403 "));
    let read = ask("GET", &known, "Range: bytes=2999990-\r\n");
    assert!(read.starts_with("HTTP/1.1 206 "), "{read}");
    assert!(read.contains("content-range: bytes 2999990-2999999/3000000"), "{read}");
    assert!(ask("GET", &known, "").starts_with("HTTP/1.1 403 "), "used before");
    memory.held.lock().tickets.remove(&store.transfer);
    assert!(ask("PUT", &store, "Content-Length: 0\r\n").starts_with("HTTP/1.1 401 "), "revoked");

    let plain = Port::<Tcp>::start(memory.clone());
    let known = ticket(&memory, Direction::Backup);
    let request = head("PUT", &known, "Connection: close\r\nContent-Length: 0\r\n");
    let mut line = connect(&plain, false);
    let said = exchange(&plain, &mut line, request.as_bytes(), false);
    assert!(
        said.starts_with("HTTP/1.1 403 ") && said.contains("could be read on the way"),
        "{said}"
    );
    assert!(!memory.held.lock().used.contains(&known.transfer));
}

/// Revoked at the device while its sender is silent.
#[test]
fn a_stream_whose_ticket_is_revoked_is_ended() {
    let memory = Memory::default();
    let port = Port::<Tls>::start(memory.clone());
    let known = ticket(&memory, Direction::Backup);
    let mut line = connect(&port, true);
    let first = head("PUT", &known, "Content-Length: 10\r\n") + "01234";
    port.runtime.block_on(async {
        line.write_all(first.as_bytes()).await.expect("head");
        line.flush().await.expect("flush");
    });
    let begun = Instant::now();
    while memory.held.lock().heard == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the stream never began");
        std::thread::sleep(Duration::from_millis(10));
    }
    memory.held.lock().tickets.remove(&known.transfer);
    let said = exchange(&port, &mut line, b"", false);
    assert!(said.starts_with("HTTP/1.1 410 "), "{said}");
    assert!(!memory.held.lock().closed.contains(&known.transfer));
}

/// Other people's tools are held to the limits too, by the bytes of their streams.
#[test]
fn streams_are_held_to_the_rate_limits_in_both_directions() {
    const BYTES: usize = 600_000;
    const RATE: u64 = 400_000;
    let memory = Memory::default();
    let port = Port::<Tls>::start(memory.clone());
    memory.throttle.set(vec![limit(1, "host alpha", RATE)]);
    let content = bytes_of(BYTES, 7);
    let known = ticket(&memory, Direction::Backup);
    let fields = format!("Connection: close\r\nContent-Length: {BYTES}\r\n");
    let request = [head("PUT", &known, &fields).as_bytes(), &content].concat();
    let mut line = connect(&port, true);
    let begun = Instant::now();
    let said = exchange(&port, &mut line, &request, false);
    assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
    assert!(begun.elapsed() >= least(BYTES, RATE), "up: {:?}", begun.elapsed());
    assert!(memory.held.lock().stream == content, "the stream differs");

    let known = ticket(&memory, Direction::Restore);
    let request = head("GET", &known, "Connection: close\r\n");
    let mut line = connect(&port, true);
    let begun = Instant::now();
    let said = exchange(&port, &mut line, request.as_bytes(), false);
    assert!(said.starts_with("HTTP/1.1 200 "), "{}", said.get(..200).unwrap_or_default());
    assert!(begun.elapsed() >= least(BYTES, RATE), "down: {:?}", begun.elapsed());
}

/// `curl … | psql`, in the middle of a long statement. The short stream has left the device's hands
/// altogether before its reader goes on.
#[test]
fn a_reader_that_stands_still_for_long_gets_the_whole_stream() {
    std::thread::scope(|scope| {
        for bytes in [48 << 20, 2 << 20] {
            scope.spawn(move || {
                let memory = Memory::default();
                memory.held.lock().stream = bytes_of(bytes, 3).to_vec();
                let port = Port::<Tls>::start(memory.clone());
                let known = ticket(&memory, Direction::Restore);
                let mut line = connect(&port, true);
                let request = head("GET", &known, "Connection: close\r\n");
                let said = port.runtime.block_on(async {
                    line.write_all(request.as_bytes()).await.expect("request");
                    line.flush().await.expect("request");
                    let mut said = vec![0; 1000];
                    line.read_exact(&mut said).await.expect("the beginning");
                    tokio::time::sleep(Duration::from_secs(50)).await;
                    let ended = line.read_to_end(&mut said).await;
                    assert!(ended.is_ok(), "of {bytes} bytes {} came: {ended:?}", said.len());
                    said
                });
                let end = said.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
                assert!(said.get(end + 4..) == Some(&bytes_of(bytes, 3)[..]), "{}", said.len());
            });
        }
    });
}
