//! The proxy does what its plan says, to the byte; children die with their guard; a small file
//! system is full when it says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use simsim_testkit::{ChildProcess, CutProxy, Direction, Plan, SmallFs, free_ports, skip};

/// A server that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut copy = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut copy);
                let _ = copy.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn dial(proxy: &CutProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends, then reads to the end or an error; what arrived.
fn round(proxy: &CutProxy, message: &[u8]) -> Vec<u8> {
    let mut stream = dial(proxy);
    let _ = stream.write_all(message);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut got = Vec::new();
    let mut byte = [0; 256];
    while let Ok(length) = stream.read(&mut byte) {
        if length == 0 {
            break;
        }
        got.extend_from_slice(&byte[..length]);
    }
    got
}

#[test]
fn without_a_plan_everything_passes_and_is_recorded() {
    let proxy = CutProxy::start(echo());
    proxy.record();
    let message: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(round(&proxy, &message), message);
    assert_eq!(proxy.recorded(Direction::Up), message);
    assert_eq!(proxy.recorded(Direction::Down), message);
    assert_eq!(proxy.bytes(Direction::Up), message.len() as u64);
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn net01_a_cut_lets_exactly_its_bytes_through_and_the_next_connection_all() {
    let proxy = CutProxy::start(echo());
    let message = [7u8; 100];
    for bytes in [0u64, 1, 50, 99] {
        proxy.push(Plan::cut_after(Direction::Down, bytes));
        assert_eq!(round(&proxy, &message).len() as u64, bytes);
        assert_eq!(round(&proxy, &message), message);
    }
    // A new one: what others sent may still be on its way to the count.
    let proxy = CutProxy::start(echo());
    proxy.push(Plan::cut_after(Direction::Up, 10));
    round(&proxy, &message);
    assert_eq!(proxy.bytes(Direction::Up), 10);
}

#[test]
fn a_reset_is_an_error_and_not_an_end() {
    let proxy = CutProxy::start(echo());
    proxy.push(Plan { reset: true, ..Plan::cut_after(Direction::Down, 3) });
    let mut stream = dial(&proxy);
    stream.write_all(b"12345").unwrap();
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stall_keeps_the_connection_open_and_silent() {
    let proxy = CutProxy::start(echo());
    proxy.push(Plan::stall_after(Direction::Down, 2));
    let mut stream = dial(&proxy);
    stream.write_all(b"12345").unwrap();
    let mut two = [0; 2];
    stream.read_exact(&mut two).unwrap();
    assert_eq!(&two, b"12");
    stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let error = stream.read(&mut two).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_delay_takes_its_time() {
    let proxy = CutProxy::start(echo());
    proxy.set_default(Plan { delay: Duration::from_millis(60), ..Plan::default() });
    let started = Instant::now();
    assert_eq!(round(&proxy, b"slow"), b"slow");
    assert!(started.elapsed() >= Duration::from_millis(120));
}

#[test]
fn cutting_now_refusing_and_moving_the_target_work() {
    let proxy = CutProxy::start(echo());
    let mut stream = dial(&proxy);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    proxy.cut_now();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    proxy.refuse(true);
    assert_eq!(round(&proxy, b"x"), b"");
    proxy.refuse(false);
    let gone = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    proxy.set_target(gone);
    assert_eq!(round(&proxy, b"x"), b"");
    proxy.set_target(echo());
    assert_eq!(round(&proxy, b"x"), b"x");
}

#[test]
fn free_ports_are_different_and_free() {
    let ports = free_ports(20);
    let mut sorted = ports.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), 20);
    assert!(TcpListener::bind(("127.0.0.1", ports[0])).is_ok());
}

#[test]
fn a_child_is_killed_with_its_guard_and_its_output_is_kept() {
    let mut command = Command::new("sh");
    let child = ChildProcess::start(command.args(["-c", "echo ready; echo err >&2; sleep 60"]));
    let line = child.wait_for_line("ready", Duration::from_secs(10)).unwrap();
    assert_eq!(line, "ready");
    child.wait_for_line("err", Duration::from_secs(10)).unwrap();
    let missing = child.wait_for_line("never", Duration::from_millis(50)).unwrap_err();
    assert!(missing.contains("time is up") && missing.contains("ready"), "{missing}");
    let place = format!("/proc/{}", child.id());
    assert!(std::path::Path::new(&place).exists());
    drop(child);
    assert!(!std::path::Path::new(&place).exists());
}

#[test]
fn a_child_can_be_frozen_ended_and_waited_for() {
    let mut child = ChildProcess::start(Command::new("sleep").arg("60"));
    child.freeze();
    assert_eq!(child.wait(Duration::from_millis(30)), None);
    child.thaw();
    child.terminate();
    let status = child.wait(Duration::from_secs(10)).expect("it ends");
    assert!(!status.success());
    let mut child = ChildProcess::start(Command::new("sh").args(["-c", "exit 3"]));
    assert_eq!(child.wait(Duration::from_secs(10)).and_then(|status| status.code()), Some(3));
    let ended = child.wait_for_line("x", Duration::from_secs(10)).unwrap_err();
    assert!(ended.contains("ended"), "{ended}");
}

#[test]
fn pwr06_a_small_file_system_fills_up_and_empties() {
    let small = match SmallFs::tmpfs(1 << 20, Some(10)) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let filler = small.fill("filler").unwrap();
    let error = std::fs::write(small.path().join("more"), [0; 5000]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(filler).unwrap();
    std::fs::write(small.path().join("more"), [0; 5000]).unwrap();
    let full = (0..20).map(|n| std::fs::write(small.path().join(n.to_string()), ""));
    assert!(full.into_iter().any(|made| made.is_err()));
    let place = small.path().to_path_buf();
    drop(small);
    assert!(!place.exists());
}
