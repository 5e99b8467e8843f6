//! The doors at which the suite runs: a device that listens there, and sessions that dial it.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use simsim_model::{
    BackupSession, Direction, DomainId, Level, ManifestDraft, Name, RestoreSession, SavesetId,
    Secret, SessionError, StoreId, Ticket, TransferId,
};
use simsim_net::BoxedWire;
use simsim_net::tls::{Peers, Pin, TlsConnect, TlsDoor, TlsIdentity};
use simsim_transfer::{
    Brought, DeviceGate, DialOptions, Dialer, Dialing, Entrance, HttpTransfer, ListenOptions,
    Route, TransferListener,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::memory::Memory;

/// A session as the suite uses it.
pub trait Session: BackupSession + RestoreSession {
    fn close(&self) -> Result<(), SessionError>;
}

/// A kind of data port, both ends: a new kind is done when the suite is green for it.
pub trait Door: Sized + 'static {
    /// By how many bytes the same session may differ on the line: an ECDSA signature in DER is
    /// not always of the same length.
    const VARIES: u64 = 0;

    /// The device's entrance, and how a client reaches it at an address: the entrance's own, or a
    /// proxy's before it.
    fn make(listener: TcpListener, scratch: &Path) -> (Entrance, RouteTo);
}

pub type RouteTo = Box<dyn Fn(String) -> Route + Send + Sync>;

/// 11000: plain TCP.
pub struct Tcp;
/// 11443: TLS.
pub struct Tls;
/// 11701 + n: TLS, and both sides know each other's key.
pub struct Mutual;
/// No port at all: a pipe in this process.
pub struct Pipe;

/// The drive of every ticket here.
pub const DRIVE: u32 = 3;

impl Door for Tcp {
    fn make(listener: TcpListener, _: &Path) -> (Entrance, RouteTo) {
        (Entrance::http(listener), Box::new(|address| Route::http(vec![address])))
    }
}

impl Door for Tls {
    const VARIES: u64 = 8;

    fn make(listener: TcpListener, scratch: &Path) -> (Entrance, RouteTo) {
        let device = identity(scratch, "device");
        let door = TlsDoor::new(&device, Peers::Anybody).expect("door");
        let tls = TlsConnect::new(vec![device.pin()], None).expect("tls");
        (Entrance::https(listener, door), Box::new(move |a| Route::https(vec![a], tls.clone())))
    }
}

impl Door for Mutual {
    const VARIES: u64 = 16;

    fn make(listener: TcpListener, scratch: &Path) -> (Entrance, RouteTo) {
        let (device, client) = (identity(scratch, "device"), identity(scratch, "client"));
        let pin = client.pin();
        let known = Arc::new(move |shown: &Pin| *shown == pin);
        let door = TlsDoor::new(&device, Peers::Known(known)).expect("door");
        let tls = TlsConnect::new(vec![device.pin()], Some(&client)).expect("tls");
        let entrance = Entrance::drive(listener, door, DRIVE);
        (entrance, Box::new(move |a| Route::drive(vec![a], tls.clone())))
    }
}

impl Door for Pipe {
    fn make(_: TcpListener, _: &Path) -> (Entrance, RouteTo) {
        let (bring, brought) = mpsc::channel(1);
        let bring = Arc::new(Bring(bring));
        let route = move |a| Route::other("pipe", vec![a], Arc::clone(&bring) as Arc<dyn Dialer>);
        (Entrance::brought(brought), Box::new(route))
    }
}

struct Bring(mpsc::Sender<Brought>);

impl Dialer for Bring {
    fn dial(&self, _: Duration) -> Dialing<'_> {
        Box::pin(async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let from = IpAddr::from([127, 0, 0, 1]);
            let brought = Brought { wire: Box::new(far), from };
            self.0.send(brought).await.map_err(|_| "the device has stopped".to_owned())?;
            Ok(Box::new(near) as BoxedWire)
        })
    }
}

/// A TLS identity of its own folder.
pub fn identity(scratch: &Path, name: &str) -> TlsIdentity {
    let folder = scratch.join(name);
    std::fs::create_dir_all(&folder).expect("folder");
    TlsIdentity::open(&folder, &[name.to_owned()]).expect("identity")
}

/// A device that listens at one door, and a client that knows the way.
pub struct Port<D> {
    pub runtime: Runtime,
    pub address: SocketAddr,
    pub dial: DialOptions,
    route_to: RouteTo,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
    scratch: tempfile::TempDir,
    door: PhantomData<D>,
}

pub type Http = Port<Tcp>;

impl Session for HttpTransfer {
    fn close(&self) -> Result<(), SessionError> {
        HttpTransfer::close(self)
    }
}

impl<D: Door> Port<D> {
    pub fn start(memory: Memory) -> Self {
        Self::start_with(memory, ListenOptions::default())
    }

    pub fn start_with(memory: Memory, options: ListenOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let scratch = tempfile::tempdir().expect("scratch");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bind");
        let address = listener.local_addr().expect("address");
        let (entrance, route_to) = D::make(listener, scratch.path());
        let (stop, stopped) = oneshot::channel::<()>();
        let handler = Arc::new(memory);
        let listener = TransferListener::new(Arc::clone(&handler) as Arc<_>, options);
        listener.take_streams(Arc::new(DeviceGate::new(handler)));
        let served = runtime.spawn(listener.serve(entrance, async {
            let _ = stopped.await;
        }));
        let dial = DialOptions {
            dead_peer: Duration::from_millis(1500),
            stall_timeout: Duration::from_millis(600),
            ..DialOptions::default()
        };
        Self {
            runtime,
            address,
            dial,
            route_to,
            stop: Some(stop),
            served: Some(served),
            scratch,
            door: PhantomData,
        }
    }

    /// Opens the ticket through `address`: the port's own, or a proxy before it.
    pub fn transfer(
        &self,
        address: SocketAddr,
        ticket: Ticket,
    ) -> Result<HttpTransfer, SessionError> {
        let (handle, dial) = (self.runtime.handle().clone(), self.dial.clone());
        HttpTransfer::open_with(handle, vec![(self.route_to)(address.to_string())], ticket, dial)
    }

    /// Where an identity of its lies.
    pub fn folder(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).expect("listener ends in order");
        }
    }
}

/// Runs generic tests at each of some doors.
macro_rules! at_doors {
    ($($door:ident as $name:ident),+ => $tests:tt) => {
        $(at_doors!(@one $door $name $tests);)+
    };
    (@one $door:ident $name:ident [$($test:ident),+ $(,)?]) => {
        mod $name {
            $(#[test]
            fn $test() {
                super::$test::<crate::front::$door>();
            })+
        }
    };
}
pub(crate) use at_doors;

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
        drive: DRIVE,
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
