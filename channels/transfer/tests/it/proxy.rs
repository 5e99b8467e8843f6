//! A TCP proxy that can be told to cut, to hang, to drip, and to remember.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

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
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub fn start(handle: &Handle, target: SocketAddr) -> Self {
        let listener = handle.block_on(TcpListener::bind("127.0.0.1:0")).expect("bind");
        let address = listener.local_addr().expect("address");
        let plan = Arc::new(Plan::default());
        let shared = Arc::clone(&plan);
        let task = handle.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let plan = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(device) = TcpStream::connect(target).await else { return };
                    let (mut cr, mut cw) = client.into_split();
                    let (mut dr, mut dw) = device.into_split();
                    tokio::select! {
                        () = pass(&mut cr, &mut dw, &plan, true) => {}
                        () = pass(&mut dr, &mut cw, &plan, false) => {}
                    }
                });
            }
        });
        Self { address, plan, task }
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
        let cut_here = limit > 0 && before + read as u64 >= limit;
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
            cut.store(0, Ordering::SeqCst);
            plan.cuts.fetch_add(1, Ordering::SeqCst);
            // Give the bytes that were passed a chance to be acted upon.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        }
    }
}
