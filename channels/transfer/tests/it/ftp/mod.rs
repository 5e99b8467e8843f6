//! What is special to FTP: who may say what, whose data ports are whose, and who waits.

mod abuse;
mod guests;
mod limits;
mod seen;
mod talk;
mod tools;
mod waiting;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_model::{SessionError, Ticket};
use simsim_transfer::{
    DataPorts, DeviceGate, DialOptions, FtpListener, FtpOptions, FtpWay, HttpTransfer,
    ListenOptions, Route, TransferListener, keys,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::front::{own_loopback, tls};
use crate::memory::Memory;

/// A step may take so long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device with an FTP door at a loopback address of its own.
struct Device {
    runtime: Runtime,
    address: SocketAddr,
    ports: DataPorts,
    scratch: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl Device {
    fn start(memory: &Memory, ports: DataPorts) -> Self {
        Self::start_with(memory, ports, FtpOptions::default())
    }

    fn start_with(memory: &Memory, ports: DataPorts, options: FtpOptions) -> Self {
        Self::start_at(own_loopback().into(), memory, ports, options)
    }

    fn start_at(ip: IpAddr, memory: &Memory, ports: DataPorts, options: FtpOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let scratch = tempfile::tempdir().expect("scratch");
        let bind = TcpListener::bind(SocketAddr::from((ip, 0)));
        let listener = runtime.block_on(bind).expect("bind");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel::<()>();
        let handler = Arc::new(memory.clone());
        let doors = TransferListener::new(Arc::clone(&handler) as Arc<_>, ListenOptions::default());
        doors.take_streams(Arc::new(DeviceGate::new(handler)));
        let (door, _) = tls(scratch.path());
        let ftp = FtpListener::new(doors, ports.clone(), Some(door), options);
        runtime.spawn(ftp.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { runtime, address, ports, scratch, _stop: stop }
    }

    fn open(&self, ticket: Ticket, dial: DialOptions) -> Result<HttpTransfer, SessionError> {
        let route = Route::ftp(vec![self.address.to_string()], FtpWay::passive());
        HttpTransfer::open_with(self.runtime.handle().clone(), vec![route], ticket, dial)
    }

    fn call(&self) -> Raw {
        Raw::begin(self.address)
    }

    /// Two control connections that have logged in for one pipe: up, then down.
    fn pipe(&self, ticket: &Ticket) -> (Raw, Raw, String) {
        let id = hex(&keys::nonce().expect("random bytes")[..16]);
        let half = |word: &str| {
            let mut call = self.call();
            call.log_in(ticket, &id, word);
            call
        };
        (half("up"), half("down"), id)
    }
}

/// A client that says what it wants.
struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    fn begin(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut raw = Self { stream: BufReader::new(stream) };
        assert_eq!(raw.reply().0, 220);
        raw
    }

    fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("write");
    }

    fn ask(&mut self, line: &str) -> (u16, String) {
        self.say(&format!("{line}\r\n"));
        self.reply()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// A whole reply: its code, and its lines without it.
    fn reply(&mut self) -> (u16, String) {
        let mut all = String::new();
        loop {
            let line = self.line().expect("a reply");
            let code: u16 = line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            let last = line.as_bytes().get(3) != Some(&b'-') && code > 0;
            all.push_str(line.get(4..).filter(|_| code > 0).unwrap_or(&line));
            if last {
                return (code, all);
            }
            all.push('\n');
        }
    }

    /// Has the other side ended the connection?
    fn is_closed(&mut self) -> bool {
        self.line().is_none() && {
            let mut rest = [0];
            matches!(self.stream.get_mut().read(&mut rest), Ok(0))
                || self.stream.get_mut().write_all(b"NOOP\r\n").is_err()
        }
    }

    fn log_in(&mut self, ticket: &Ticket, pipe: &str, half: &str) {
        let answer = self.try_log_in(ticket, pipe, half);
        assert_eq!(answer.0, 230, "{answer:?}");
    }

    fn try_log_in(&mut self, ticket: &Ticket, pipe: &str, half: &str) -> (u16, String) {
        let (code, challenge) = self.ask("USER simsim-transfer");
        assert_eq!(code, 331);
        self.ask(&format!("PASS {}", pass(ticket, pipe, half, &challenge)))
    }

    /// EPSV, and the port of its reply.
    fn port(&mut self) -> u16 {
        let (code, text) = self.ask("EPSV");
        assert_eq!(code, 229, "{text}");
        port_in(&text)
    }
}

fn port_in(text: &str) -> u16 {
    let (_, rest) = text.rsplit_once("(|||").expect("a port");
    rest.trim_end_matches("|)").parse().expect("a port")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const BYTES: usize>(text: &str) -> [u8; BYTES] {
    let digit = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("digits");
    std::array::from_fn(digit)
}

/// What PASS says.
fn pass(ticket: &Ticket, pipe: &str, half: &str, challenge: &str) -> String {
    let number = u8::from(half == "down");
    let challenge = unhex::<32>(challenge);
    let pipe_id = unhex::<16>(pipe);
    let proof = keys::door_proof(&ticket.secret, &ticket.transfer, &pipe_id, number, &challenge);
    format!("{}.{pipe}.{half}.{}", ticket.transfer, hex(proof.as_bytes()))
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn with_port(address: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), port)
}

/// A connection that comes from this address.
fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to).await
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}
