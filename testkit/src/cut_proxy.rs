//! A TCP proxy that does to connections what networks do.
//!
//! It forwards to one target and can cut a connection after a number of bytes in one direction,
//! stop forwarding without closing, slow down, and keep every byte that passed. Plans are queued:
//! the first connection takes the first plan, and so on; connections beyond the queue take the
//! default plan, so that a client that comes back after a cut gets through.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the side that dialled the proxy to the target.
    Up,
    /// From the target back.
    Down,
}

/// What happens to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// Both sides are cut once this many bytes have gone this way. 0 cuts at once.
    pub cut: Option<(Direction, u64)>,
    /// A cut looks like a reset, not like an orderly end.
    pub reset: bool,
    /// Nothing more is forwarded this way after this many bytes; the connection stays open.
    pub stall: Option<(Direction, u64)>,
    /// Waits before each piece of up to 16 KiB is forwarded.
    pub delay: Duration,
}

impl Plan {
    pub fn cut_after(direction: Direction, bytes: u64) -> Self {
        Self { cut: Some((direction, bytes)), ..Self::default() }
    }

    pub fn stall_after(direction: Direction, bytes: u64) -> Self {
        Self { stall: Some((direction, bytes)), ..Self::default() }
    }
}

/// The running proxy; it and its connections end when it is dropped.
pub struct CutProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    plans: Mutex<VecDeque<Plan>>,
    default_plan: Mutex<Plan>,
    live: Mutex<Vec<Live>>,
    recorded: [Mutex<Vec<u8>>; 2],
    recording: AtomicBool,
    counted: [AtomicU64; 2],
    connections: AtomicU64,
    refusing: AtomicBool,
    ending: AtomicBool,
}

/// Both ends of a connection, to cut it from outside, and how many directions still flow.
struct Live {
    ends: [TcpStream; 2],
    flowing: Arc<AtomicU64>,
}

const PIECE_BYTES: usize = 16 * 1024;

impl CutProxy {
    /// Listens on a free port of the loopback and forwards to `target`, which need not be there
    /// yet.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            plans: Mutex::default(),
            default_plan: Mutex::default(),
            live: Mutex::default(),
            recorded: Default::default(),
            recording: AtomicBool::new(false),
            counted: Default::default(),
            connections: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        });
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// What to dial instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Later connections go here: the target came back on another port.
    pub fn set_target(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Queues a plan for the next connection that has none.
    pub fn push(&self, plan: Plan) {
        lock(&self.shared.plans).push_back(plan);
    }

    /// The plan of every connection beyond the queue.
    pub fn set_default(&self, plan: Plan) {
        *lock(&self.shared.default_plan) = plan;
    }

    /// Accepted connections are closed at once, while this is on.
    pub fn refuse(&self, on: bool) {
        self.shared.refusing.store(on, SeqCst);
    }

    /// Cuts every live connection now.
    pub fn cut_now(&self) {
        for live in lock(&self.shared.live).drain(..) {
            let [near, far] = &live.ends;
            cut(near, far, false);
        }
    }

    /// From now on every byte is kept.
    pub fn record(&self) {
        self.shared.recording.store(true, SeqCst);
    }

    /// What was kept, all connections in order of arrival at the proxy.
    pub fn recorded(&self, direction: Direction) -> Vec<u8> {
        lock(&self.shared.recorded[direction as usize]).clone()
    }

    /// Bytes forwarded so far, all connections together.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.counted[direction as usize].load(SeqCst)
    }

    /// Connections accepted so far, refused ones included.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(SeqCst)
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.shared.ending.store(true, SeqCst);
        // The listener waits in accept: give it one connection to see the end by.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.cut_now();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ending.load(SeqCst) {
            return;
        }
        let Ok(near) = stream else { continue };
        shared.connections.fetch_add(1, SeqCst);
        if shared.refusing.load(SeqCst) {
            continue;
        }
        let plan = lock(&shared.plans).pop_front().unwrap_or(*lock(&shared.default_plan));
        let target = *lock(&shared.target);
        // A target that is not there closes the near side: what a dead host looks like.
        let Ok(far) = TcpStream::connect(target) else { continue };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        start_forwarding(near, far, plan, shared);
    }
}

fn start_forwarding(near: TcpStream, far: TcpStream, plan: Plan, shared: &Arc<Shared>) {
    let copies = |stream: &TcpStream| (stream.try_clone(), stream.try_clone());
    let ((Ok(near_in), Ok(near_kept)), (Ok(far_in), Ok(far_kept))) = (copies(&near), copies(&far))
    else {
        return;
    };
    let flowing = Arc::new(AtomicU64::new(2));
    let mut live = lock(&shared.live);
    live.retain(|live| live.flowing.load(SeqCst) > 0);
    live.push(Live { ends: [near_kept, far_kept], flowing: flowing.clone() });
    drop(live);
    for (direction, from, to) in [(Direction::Up, near_in, far), (Direction::Down, far_in, near)] {
        let (shared, flowing) = (shared.clone(), flowing.clone());
        std::thread::spawn(move || {
            forward(direction, from, to, plan, &shared);
            flowing.fetch_sub(1, SeqCst);
        });
    }
}

fn forward(
    direction: Direction,
    mut from: TcpStream,
    mut to: TcpStream,
    plan: Plan,
    shared: &Shared,
) {
    let limit = |rule: Option<(Direction, u64)>| {
        rule.filter(|(way, _)| *way == direction).map_or(u64::MAX, |(_, bytes)| bytes)
    };
    let (cut_at, stall_at) = (limit(plan.cut), limit(plan.stall));
    let mut done = 0u64;
    let mut piece = vec![0u8; PIECE_BYTES];
    loop {
        if done >= cut_at {
            return cut(&from, &to, plan.reset);
        }
        if done >= stall_at {
            // Stands still until the other side or the test gives up.
            while !shared.ending.load(SeqCst) && from.peek(&mut [0]).is_ok_and(|n| n > 0) {
                std::thread::sleep(Duration::from_millis(20));
            }
            return;
        }
        let room = (cut_at - done).min(stall_at - done).min(PIECE_BYTES as u64) as usize;
        let length = match from.read(&mut piece[..room]) {
            Ok(0) => {
                // An orderly end goes on as one; the other direction may still flow.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => length,
            Err(_) => return cut(&from, &to, plan.reset),
        };
        if !plan.delay.is_zero() {
            std::thread::sleep(plan.delay);
        }
        if shared.recording.load(SeqCst) {
            lock(&shared.recorded[direction as usize]).extend_from_slice(&piece[..length]);
        }
        if to.write_all(&piece[..length]).is_err() {
            return cut(&from, &to, plan.reset);
        }
        shared.counted[direction as usize].fetch_add(length as u64, SeqCst);
        done += length as u64;
    }
}

fn cut(one: &TcpStream, other: &TcpStream, reset: bool) {
    for stream in [one, other] {
        // Dissolving the connection sends RST at once, whoever else holds the socket.
        if !(reset && rustix::net::connect_unspec(stream).is_ok()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// `count` ports of the loopback that were free a moment ago, all different.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port"))
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().expect("a bound listener has an address").port())
        .collect()
}
