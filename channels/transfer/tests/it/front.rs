//! The doors at which the suite runs: a device that listens there, and sessions that dial it.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use simsim_model::{
    BackupSession, Direction, DomainId, Level, ManifestDraft, Name, RestoreSession, SavesetId,
    Secret, SessionError, StoreId, Ticket, TransferId,
};
use simsim_net::BoxedWire;
use simsim_net::tls::{Peers, Pin as TlsPin, TlsConnect, TlsDoor, TlsIdentity};
use simsim_transfer::{
    Brought, DataPorts, DeviceGate, DialOptions, Dialer, Dialing, Entrance, FtpListener,
    FtpOptions, FtpWay, HttpTransfer, ListenOptions, Route, TransferListener,
};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::memory::Memory;
use crate::proxy::{DATA, Open, Plan, Proxy, through};

/// A session as the suite uses it.
pub trait Session: BackupSession + RestoreSession {
    fn close(&self) -> Result<(), SessionError>;
}

/// A kind of data port, both ends: a new kind is done when the suite is green for it.
pub trait Door: Sized + 'static {
    /// Bytes around a segment that is sent, a new connection included.
    const OVERHEAD: usize = 4096;
    /// How much longer everything may take: more round trips, or all requests on one line.
    const SLOWER: u32 = 1;
    /// How much longer it may stand still on a slow line: what is under way together has to pass.
    const SLOW_LINE: u32 = 1;

    /// Where the device listens.
    fn place() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    /// The device at its entrance until `stop`, and how a client reaches it at an address: the
    /// entrance's own, or a proxy's before it.
    fn make(
        device: &TransferListener,
        listener: TcpListener,
        scratch: &Path,
        stop: Stop,
    ) -> (Served, RouteTo);

    /// No byte ever comes in this direction on this kind of connection.
    fn is_silent(_line: usize, _up: bool) -> bool {
        false
    }

    /// A proxy on all ways of the door.
    fn proxy(handle: &Handle, address: SocketAddr) -> Proxy {
        Proxy::start(handle, address)
    }
}

/// The way to an address, and the plan of a proxy that stands there.
pub type RouteTo = Box<dyn Fn(String, Option<Arc<Plan>>) -> Route + Send + Sync>;
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;
pub type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// 11000: plain TCP.
pub struct Tcp;
/// 11443: TLS.
pub struct Tls;
/// 11701 + n: TLS, and both sides know each other's key.
pub struct Mutual;
/// No port at all: a pipe in this process.
pub struct Pipe;
/// 11001, with all kinds of data connections.
pub struct Ftp<const ACTIVE: bool, const TLS: bool, const V6: bool>;

pub type FtpPassive = Ftp<false, false, false>;
pub type FtpActive = Ftp<true, false, false>;
pub type FtpTls = Ftp<false, true, false>;
pub type FtpTlsActive = Ftp<true, true, false>;
pub type FtpPassive6 = Ftp<false, false, true>;
pub type FtpActive6 = Ftp<true, false, true>;

/// Three pairs for FTP data. Each device has a loopback address of its own, so no other test has
/// these ports there.
pub const FTP_RANGE: std::ops::Range<u16> = 20_002..20_008;

/// The drive of every ticket here.
pub const DRIVE: u32 = 3;

impl Door for Tcp {
    fn make(
        device: &TransferListener,
        listener: TcpListener,
        _: &Path,
        stop: Stop,
    ) -> (Served, RouteTo) {
        let served = device.serve(Entrance::http(listener), stop);
        (Box::pin(served), Box::new(|a, _| Route::http(vec![a])))
    }
}

impl Door for Tls {
    fn make(
        device: &TransferListener,
        listener: TcpListener,
        scratch: &Path,
        stop: Stop,
    ) -> (Served, RouteTo) {
        let (door, tls) = tls(scratch);
        let served = device.serve(Entrance::https(listener, door), stop);
        (Box::pin(served), Box::new(move |a, _| Route::https(vec![a], tls.clone())))
    }
}

impl Door for Mutual {
    fn make(
        device: &TransferListener,
        listener: TcpListener,
        scratch: &Path,
        stop: Stop,
    ) -> (Served, RouteTo) {
        let (own, client) = (identity(scratch, "device"), identity(scratch, "client"));
        let pin = client.pin();
        let known = Arc::new(move |shown: &TlsPin| *shown == pin);
        let door = TlsDoor::new(&own, Peers::Known(known)).expect("door");
        let tls = TlsConnect::new(vec![own.pin()], Some(&client)).expect("tls");
        let served = device.serve(Entrance::drive(listener, door, DRIVE), stop);
        (Box::pin(served), Box::new(move |a, _| Route::drive(vec![a], tls.clone())))
    }
}

impl Door for Pipe {
    fn make(device: &TransferListener, _: TcpListener, _: &Path, stop: Stop) -> (Served, RouteTo) {
        let (bring, brought) = mpsc::channel(1);
        let route = move |a, plan| {
            Route::other("pipe", vec![a], Arc::new(Bring { bring: bring.clone(), plan }))
        };
        (Box::pin(device.serve(Entrance::brought(brought), stop)), Box::new(route))
    }

    fn proxy(_: &Handle, _: SocketAddr) -> Proxy {
        Proxy::in_pipes()
    }
}

impl<const ACTIVE: bool, const TLS: bool, const V6: bool> Door for Ftp<ACTIVE, TLS, V6> {
    const OVERHEAD: usize = 16 << 10;
    const SLOWER: u32 = 4;
    const SLOW_LINE: u32 = 8;

    fn place() -> SocketAddr {
        match (V6, ACTIVE) {
            (true, _) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            // What a device calls must be where its client came from, also through a proxy.
            (false, true) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            (false, false) => SocketAddr::from((own_loopback(), 0)),
        }
    }

    fn make(
        device: &TransferListener,
        listener: TcpListener,
        scratch: &Path,
        stop: Stop,
    ) -> (Served, RouteTo) {
        let (door, tls) = tls(scratch);
        let ports = match ACTIVE || V6 {
            true => DataPorts::any(3),
            false => DataPorts::new(FTP_RANGE.start, FTP_RANGE.end - 1).expect("range"),
        };
        let ftp = FtpListener::new(device.clone(), ports, Some(door), FtpOptions::default());
        let way = match ACTIVE {
            true => FtpWay::active(DataPorts::any(3)),
            false => FtpWay::passive(),
        };
        let way = if TLS { way.with_tls(tls) } else { way };
        let route = move |a, _| Route::ftp(vec![a], way.clone());
        (Box::pin(ftp.serve(listener, stop)), Box::new(route))
    }

    /// The data connections are one way each.
    fn is_silent(line: usize, up: bool) -> bool {
        !TLS && line >= DATA && up != (line == DATA)
    }

    fn proxy(handle: &Handle, address: SocketAddr) -> Proxy {
        assert!(!V6 && (!ACTIVE || !TLS), "what TLS hides cannot be replaced");
        match ACTIVE {
            true => Proxy::start_active(handle, address),
            false => Proxy::start_passive(handle, address, FTP_RANGE),
        }
    }
}

/// The device's door, and how a client that knows its key dials it.
pub fn tls(scratch: &Path) -> (TlsDoor, TlsConnect) {
    let device = identity(scratch, "device");
    let door = TlsDoor::new(&device, Peers::Anybody).expect("door");
    (door, TlsConnect::new(vec![device.pin()], None).expect("tls"))
}

/// An address of the loopback network that only this caller has.
pub fn own_loopback() -> Ipv4Addr {
    let mut random = [0; 3];
    aws_lc_rs::rand::fill(&mut random).expect("random bytes");
    // Neither 127.0.0.x nor the last ones.
    Ipv4Addr::new(127, random[0] | 1, random[1], random[2].clamp(1, 250))
}

/// Lays pipes, through a plan where there is one.
struct Bring {
    bring: mpsc::Sender<Brought>,
    plan: Option<Arc<Plan>>,
}

impl Dialer for Bring {
    fn dial(&self, _: Duration) -> Dialing<'_> {
        Box::pin(async {
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            if let Some(plan) = self.plan.clone() {
                let (from_plan, device) = tokio::io::duplex(64 * 1024);
                let client = std::mem::replace(&mut far, device);
                let open = Open::new(&plan);
                tokio::spawn(async move {
                    let _open = open;
                    through(client, from_plan, &plan, 0, None).await;
                });
            }
            let from = IpAddr::from([127, 0, 0, 1]);
            let brought = Brought { wire: Box::new(far), from, proved: None };
            self.bring.send(brought).await.map_err(|_| "the device has stopped".to_owned())?;
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
        let listener = runtime.block_on(TcpListener::bind(D::place())).expect("bind");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel::<()>();
        let handler = Arc::new(memory);
        let device = TransferListener::new(Arc::clone(&handler) as Arc<_>, options);
        device.take_streams(Arc::new(DeviceGate::new(handler)));
        let stopping: Stop = Box::pin(async {
            let _ = stopped.await;
        });
        let (served, route_to) = D::make(&device, listener, scratch.path(), stopping);
        let served = runtime.spawn(served);
        let dial = DialOptions {
            dead_peer: Duration::from_millis(1500) * D::SLOWER,
            stall_timeout: Duration::from_millis(600) * D::SLOWER,
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

    /// Opens the ticket at `address`: the port's own, or another.
    pub fn transfer(
        &self,
        address: SocketAddr,
        ticket: Ticket,
    ) -> Result<HttpTransfer, SessionError> {
        self.open((self.route_to)(address.to_string(), None), ticket)
    }

    /// Opens the ticket through a proxy.
    pub fn through(&self, proxy: &Proxy, ticket: Ticket) -> Result<HttpTransfer, SessionError> {
        let plan = Some(Arc::clone(&proxy.plan));
        self.open((self.route_to)(proxy.address.to_string(), plan), ticket)
    }

    fn open(&self, route: Route, ticket: Ticket) -> Result<HttpTransfer, SessionError> {
        let (handle, dial) = (self.runtime.handle().clone(), self.dial.clone());
        HttpTransfer::open_with(handle, vec![route], ticket, dial)
    }

    /// Where an identity of its lies.
    pub fn folder(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    /// A proxy on all ways of the door.
    pub fn proxy(&self) -> Proxy {
        D::proxy(self.runtime.handle(), self.address)
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
