//! What a front-end gives to the suite: a device that listens and sessions that dial it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use simsim_model::{
    BackupSession, Direction, DomainId, Level, ManifestDraft, Name, RestoreSession, SavesetId,
    Secret, SessionError, StoreId, Ticket, TransferId,
};
use simsim_transfer::{DialOptions, HttpListener, HttpTransfer, ListenOptions};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use crate::memory::Memory;

/// A session as the suite uses it.
pub trait Session: BackupSession + RestoreSession {
    fn close(&self) -> Result<(), SessionError>;
}

/// One data port, both ends. HTTPS, FTP and the drive port implement it to run the suite.
pub trait Front {
    fn start(memory: Memory) -> Self;
    fn address(&self) -> SocketAddr;
    /// Where the suite's proxies run.
    fn handle(&self) -> &Handle;
    /// Opens the ticket through `address`: the front's own, or a proxy before it.
    fn open(&self, address: SocketAddr, ticket: Ticket) -> Result<Box<dyn Session>, SessionError>;
}

pub struct Http {
    pub runtime: Runtime,
    pub address: SocketAddr,
    pub dial: DialOptions,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl Session for HttpTransfer {
    fn close(&self) -> Result<(), SessionError> {
        HttpTransfer::close(self)
    }
}

impl Http {
    pub fn start_with(memory: Memory, options: ListenOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("bind");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel::<()>();
        let served =
            runtime.spawn(HttpListener::serve(listener, Arc::new(memory), options, async {
                let _ = stopped.await;
            }));
        let dial = DialOptions {
            dead_peer: Duration::from_millis(1500),
            stall_timeout: Duration::from_millis(600),
            ..DialOptions::default()
        };
        Self { runtime, address, dial, stop: Some(stop), served: Some(served) }
    }

    pub fn transfer(
        &self,
        address: SocketAddr,
        ticket: Ticket,
    ) -> Result<HttpTransfer, SessionError> {
        let handle = self.runtime.handle().clone();
        HttpTransfer::open_with(handle, vec![address.to_string()], ticket, self.dial.clone())
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).expect("listener ends in order");
        }
    }
}

impl Front for Http {
    fn start(memory: Memory) -> Self {
        Self::start_with(memory, ListenOptions::default())
    }
    fn address(&self) -> SocketAddr {
        self.address
    }
    fn handle(&self) -> &Handle {
        self.runtime.handle()
    }
    fn open(&self, address: SocketAddr, ticket: Ticket) -> Result<Box<dyn Session>, SessionError> {
        Ok(Box::new(self.transfer(address, ticket)?))
    }
}

/// A ticket that the device knows.
pub fn ticket(memory: &Memory, direction: Direction) -> Ticket {
    let ticket = stranger_ticket(direction);
    memory.held.lock().tickets.insert(ticket.transfer, ticket.clone());
    ticket
}

/// A ticket that no device knows.
pub fn stranger_ticket(direction: Direction) -> Ticket {
    let mut random = [0; 48];
    aws_lc_rs::rand::fill(&mut random).expect("random bytes");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_secs();
    Ticket {
        transfer: TransferId::from_slice(&random[..16]).expect("16 bytes"),
        job: 1,
        client: "alpha".into(),
        drive: 0,
        store: StoreId([1; 16]),
        domain: DomainId([2; 16]),
        direction,
        bytes_max: 0,
        expires_unix_s: now + 600,
        secret: Secret(random[16..].try_into().expect("32 bytes")),
        saveset: SavesetId([9; 16]),
    }
}

pub fn draft(segments: u64) -> ManifestDraft {
    ManifestDraft {
        level: Level::Full,
        root: Name([3; 32]),
        base: None,
        scan_started_unix_ns: 5,
        files: 1,
        dirs: 1,
        bytes: 10,
        bytes_new: 10,
        bytes_stored: 10,
        problems: 0,
        sealed_details: b"sealed".to_vec(),
        segments,
    }
}

/// Bytes that do not repeat, the same for the same seed.
pub fn bytes_of(length: usize, seed: u64) -> bytes::Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}
