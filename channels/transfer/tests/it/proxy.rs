//! A TCP proxy that can be told to cut, to hang, to drip, and to remember.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;

use crate::front::own_loopback;

#[derive(Default)]
pub struct Plan {
    /// Connections cut once this many bytes have passed towards the device; 0 = never. One cut.
    pub cut_up: AtomicU64,
    pub cut_down: AtomicU64,
    pub cuts: AtomicUsize,
    /// Bytes of one step, and the pause after it in ms; 0 = as they come.
    pub step: AtomicUsize,
    pub pause_ms: AtomicU64,
    /// Passes nothing on any more towards the client.
    pub hang: AtomicUsize,
    pub up: Mutex<Vec<u8>>,
    pub down: Mutex<Vec<u8>>,
    passed_up: AtomicU64,
    passed_down: AtomicU64,
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
    pub fn start(handle: &Handle, target: SocketAddr) -> Self {
        Self::start_beside(handle, target, 0..0)
    }

    /// With further ports, which are the same on both sides: the proxy has an address of its own
    /// then.
    pub fn start_beside(handle: &Handle, target: SocketAddr, beside: Range<u16>) -> Self {
        let bind = |address| handle.block_on(TcpListener::bind(address)).expect("bind");
        // What is closed keeps its port for a minute: an address that only this proxy has is not
        // used up by thousands of cuts of others.
        let (first, from) = match beside.is_empty() {
            true => (bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), None),
            false => {
                let own = own_loopback();
                (bind(SocketAddr::from((own, target.port()))), Some(own))
            }
        };
        let address = first.local_addr().expect("address");
        let plan = Arc::new(Plan::default());
        let mut tasks = vec![handle.spawn(serve(first, target, from, Arc::clone(&plan)))];
        for port in beside {
            let listener = bind(SocketAddr::new(address.ip(), port));
            let target = SocketAddr::new(target.ip(), port);
            tasks.push(handle.spawn(serve(listener, target, from, Arc::clone(&plan))));
        }
        Self { address, plan, tasks }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, from: Option<Ipv4Addr>, plan: Arc<Plan>) {
    while let Ok((client, _)) = listener.accept().await {
        let plan = Arc::clone(&plan);
        tokio::spawn(async move {
            let socket = match target {
                SocketAddr::V4(_) => TcpSocket::new_v4().expect("socket"),
                SocketAddr::V6(_) => TcpSocket::new_v6().expect("socket"),
            };
            if let Some(from) = from {
                socket.bind((from, 0).into()).expect("bind");
            }
            let Ok(device) = socket.connect(target).await else { return };
            let (mut cr, mut cw) = client.into_split();
            let (mut dr, mut dw) = device.into_split();
            tokio::select! {
                () = pass(&mut cr, &mut dw, &plan, true) => {}
                () = pass(&mut dr, &mut cw, &plan, false) => {}
            }
        });
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    plan: &Plan,
    up: bool,
) {
    let (cut, passed, seen) = match up {
        true => (&plan.cut_up, &plan.passed_up, &plan.up),
        false => (&plan.cut_down, &plan.passed_down, &plan.down),
    };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        while !up && plan.hang.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let before = passed.fetch_add(read as u64, Ordering::SeqCst);
        let limit = cut.load(Ordering::SeqCst);
        // Of several connections at the limit one is cut.
        let cut_here = limit > 0
            && before + read as u64 >= limit
            && cut.compare_exchange(limit, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let now =
            if cut_here { limit.saturating_sub(before).min(read as u64) as usize } else { read };
        seen.lock().extend_from_slice(&buffer[..now]);
        let pause = plan.pause_ms.load(Ordering::Relaxed);
        let step = match plan.step.load(Ordering::Relaxed) {
            0 => now.max(1),
            step => step,
        };
        for bytes in buffer[..now].chunks(step) {
            if to.write_all(bytes).await.is_err() {
                return;
            }
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        if cut_here {
            plan.cuts.fetch_add(1, Ordering::SeqCst);
            // Give the bytes that were passed a chance to be acted upon.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        }
    }
}
