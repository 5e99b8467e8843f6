//! A proxy that can be told to cut, to hang, to drip, and to remember. It stands before TCP ports, on
//! the ways of FTP in both modes, and in the middle of a pipe that has no port.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::front::own_loopback;
use crate::proxy_ftp::{Calls, Said};

/// A session has at most so many kinds of connections: the control connections of FTP and then their
/// data connections, up before down. Others have one kind.
pub const LINES_MAX: usize = 4;
/// From a control connection to its data connection.
pub const DATA: usize = 2;

#[derive(Default)]
pub struct Plan {
    /// Connections cut once this many bytes have passed towards the device, on all of them together;
    /// 0 = never. One cut.
    pub cut_up: AtomicU64,
    pub cut_down: AtomicU64,
    /// One cut on one kind of connection.
    pub cut_line: Mutex<Option<Cut>>,
    pub cuts: AtomicUsize,
    /// Bytes of one step, and the pause after it in ms; 0 = as they come.
    pub step: AtomicUsize,
    pub pause_ms: AtomicU64,
    /// Passes nothing on any more towards the client.
    pub hang: AtomicUsize,
    pub up: Mutex<Vec<u8>>,
    pub down: Mutex<Vec<u8>>,
    /// Bytes that came, by kind of connection; towards the device first.
    passed: [[AtomicU64; 2]; LINES_MAX],
    /// Connections that are open.
    open: AtomicUsize,
}

/// The connection ends when so many bytes have passed on it in one direction.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub line: usize,
    pub up: bool,
    pub at: u64,
}

impl Plan {
    /// Bytes that came on one kind of connection.
    pub fn passed(&self, line: usize, up: bool) -> u64 {
        self.passed[line][usize::from(!up)].load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many of the bytes that came pass before the connection is cut, if it is.
    fn cut(&self, line: usize, up: bool, read: u64) -> Option<u64> {
        let before_all: u64 = (0..LINES_MAX).map(|line| self.passed(line, up)).sum();
        let before = self.passed[line][usize::from(!up)].fetch_add(read, Ordering::SeqCst);
        let of_all = if up { &self.cut_up } else { &self.cut_down };
        let limit = of_all.load(Ordering::SeqCst);
        // Of several connections at the limit one is cut.
        if limit > 0
            && before_all + read >= limit
            && of_all.compare_exchange(limit, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            return Some(limit.saturating_sub(before_all).min(read));
        }
        let mut one = self.cut_line.lock();
        let cut = one.filter(|cut| (cut.line, cut.up) == (line, up) && before + read >= cut.at)?;
        *one = None;
        Some(cut.at.saturating_sub(before).min(read))
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    pub plan: Arc<Plan>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Proxy {
    /// Before one port.
    pub fn start(handle: &Handle, target: SocketAddr) -> Self {
        let listener = handle.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("bind");
        let address = listener.local_addr().expect("address");
        let plan = Arc::new(Plan::default());
        let lines = Lines::One(0);
        let serving = serve(listener, target, None, Arc::clone(&plan), lines);
        Self { address, plan, tasks: vec![handle.spawn(serving)] }
    }

    /// Before a control port of FTP and the device's range for data, which is the same on both sides:
    /// the proxy has an address of its own. What is closed keeps its port for a minute: an address
    /// that only this proxy has is not used up by thousands of cuts of others.
    pub fn start_passive(handle: &Handle, target: SocketAddr, range: Range<u16>) -> Self {
        // Among thousands of proxies two have the same one now and then.
        let (own, control, data) = loop {
            let own = own_loopback();
            let bind = |port: u16| {
                handle
                    .block_on(TcpListener::bind(SocketAddr::from((own, port))))
                    .map(|one| (port, one))
            };
            let bound = bind(target.port()).and_then(|(_, control)| {
                Ok((control, range.clone().map(bind).collect::<Result<Vec<_>, _>>()?))
            });
            match bound {
                Ok((control, data)) => break (own, control, data),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("bind: {error}"),
            }
        };
        let address = control.local_addr().expect("address");
        let plan = Arc::new(Plan::default());
        let serve = |listener, target, lines| {
            handle.spawn(serve(listener, target, Some(own), Arc::clone(&plan), lines))
        };
        let mut tasks = vec![serve(control, target, Lines::Control(None))];
        for (number, (port, listener)) in data.into_iter().enumerate() {
            let target = SocketAddr::new(target.ip(), port);
            tasks.push(serve(listener, target, Lines::One(DATA + number % 2)));
        }
        Self { address, plan, tasks }
    }

    /// Before a control port of FTP, and between the device and the client where the device makes the
    /// data connections: what the client names as its address is replaced by the proxy's.
    pub fn start_active(handle: &Handle, target: SocketAddr) -> Self {
        let own = own_loopback();
        let control = handle.block_on(TcpListener::bind((own, 0))).expect("bind");
        let address = control.local_addr().expect("address");
        let plan = Arc::new(Plan::default());
        let lines = Lines::Control(Some(Calls { own, device: target.ip() }));
        let serving = serve(control, target, Some(own), Arc::clone(&plan), lines);
        Self { address, plan, tasks: vec![handle.spawn(serving)] }
    }

    /// In the middle of pipes, which have no port: the address is only a name.
    pub fn in_pipes() -> Self {
        let address = SocketAddr::from((own_loopback(), 0));
        Self { address, plan: Arc::default(), tasks: Vec::new() }
    }
}

/// Which kind of connection comes to a listener.
enum Lines {
    One(usize),
    /// Of FTP: up and down in turns; and what is done where the device calls back.
    Control(Option<Calls>),
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    from: Option<Ipv4Addr>,
    plan: Arc<Plan>,
    lines: Lines,
) {
    let mut number = 0;
    while let Ok((client, _)) = listener.accept().await {
        let (line, calls) = match &lines {
            Lines::One(line) => (*line, None),
            Lines::Control(calls) => (number % 2, calls.clone()),
        };
        number += 1;
        let plan = Arc::clone(&plan);
        let open = Open::new(&plan);
        tokio::spawn(async move {
            let _open = open;
            let Some(device) = connect(from, target).await else { return };
            through(client, device, &plan, line, calls).await;
        });
    }
}

/// Counts a connection as open.
pub struct Open(Arc<Plan>);

impl Open {
    pub fn new(plan: &Arc<Plan>) -> Self {
        plan.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(plan))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection to this address, from that one.
pub async fn connect(from: Option<Ipv4Addr>, to: SocketAddr) -> Option<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4().expect("socket"),
        SocketAddr::V6(_) => TcpSocket::new_v6().expect("socket"),
    };
    if let Some(from) = from {
        socket.bind((from, 0).into()).expect("bind");
    }
    socket.connect(to).await.ok()
}

/// Passes on what both ends say until one ends, or the plan cuts it.
pub async fn through(
    client: impl AsyncRead + AsyncWrite,
    device: impl AsyncRead + AsyncWrite,
    plan: &Arc<Plan>,
    line: usize,
    calls: Option<Calls>,
) {
    let (mut cr, mut cw) = tokio::io::split(client);
    let (mut dr, mut dw) = tokio::io::split(device);
    tokio::select! {
        () = pass(&mut cr, &mut dw, plan, (line, true), calls) => {}
        () = pass(&mut dr, &mut cw, plan, (line, false), None) => {}
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    plan: &Arc<Plan>,
    (line, up): (usize, bool),
    calls: Option<Calls>,
) {
    let seen = if up { &plan.up } else { &plan.down };
    let mut said = calls.map(Said::new);
    let mut buffer = vec![0; 64 * 1024];
    let mut lines;
    // The first turn is for a cut before the first byte.
    let mut read = 0;
    loop {
        while !up && plan.hang.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let bytes = match &mut said {
            None => &buffer[..read],
            Some(said) => {
                lines = said.more(&buffer[..read], plan, line).await;
                &lines[..]
            }
        };
        let cut = plan.cut(line, up, bytes.len() as u64);
        let bytes = &bytes[..cut.map_or(bytes.len(), |cut| cut as usize)];
        seen.lock().extend_from_slice(bytes);
        let pause = plan.pause_ms.load(Ordering::Relaxed);
        let step = match plan.step.load(Ordering::Relaxed) {
            0 => bytes.len().max(1),
            step => step,
        };
        for bytes in bytes.chunks(step) {
            if to.write_all(bytes).await.is_err() {
                return;
            }
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        if cut.is_some() {
            plan.cuts.fetch_add(1, Ordering::SeqCst);
            // Give the bytes that were passed a chance to be acted upon.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        }
        read = match from.read(&mut buffer).await {
            Ok(read @ 1..) => read,
            _ => return,
        };
    }
}
