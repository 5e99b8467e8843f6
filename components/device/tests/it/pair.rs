//! Two devices: the bench's, with the originals, and another one with a datastore for copies. Each
//! listens at the port of its drive, with TLS keys on both sides.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use simsim_control::VerbError;
use simsim_control::verbs::*;
use simsim_device::{Device, DeviceOptions};
use simsim_model::*;
use simsim_net::tls::{Peers, TlsDoor, TlsIdentity};
use simsim_transfer::{DialOptions, Entrance, ListenOptions, TransferListener};

use crate::bench::*;

pub const COPIES: StoreId = StoreId([6; 16]);
/// The drive of the first datastore is the bench's; this is that of the copies.
pub const COPIES_DRIVE: u32 = 2;

/// One end of a copy.
pub struct End {
    pub device: Arc<Device>,
    pub tls: Arc<TlsIdentity>,
    pub store: StoreId,
    drive: u32,
    /// Of the drive's port.
    pub address: SocketAddr,
}

pub struct Pair {
    pub bench: Bench,
    pub first: End,
    pub second: End,
}

/// Who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Push,
    Pull,
}

impl End {
    async fn new(
        bench: &Bench,
        name: &str,
        device: Arc<Device>,
        store: StoreId,
        drive: u32,
    ) -> Self {
        let folder = bench.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let tls = Arc::new(TlsIdentity::open(&folder, &[name.to_owned()]).unwrap());
        device.set_tls(Arc::clone(&tls));
        let asked = Arc::clone(&device);
        let known = Peers::Known(Arc::new(move |key| asked.expects(key)));
        let door = TlsDoor::new(&tls, known).unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = Arc::clone(&device);
        let doors = TransferListener::new(handler, ListenOptions::default());
        tokio::spawn(doors.serve(Entrance::drive(listener, door, drive), std::future::pending()));
        Self { device, tls, store, drive, address }
    }

    pub async fn ask<V: Verb>(&self, verb: V) -> Result<V::Reply, VerbError> {
        let reply = self.device.handle(&verb.into(), &|_| ()).await.expect("a verb of a device")?;
        Ok(V::reply_of(reply).expect("the answer of the verb"))
    }
}

/// Quick to see that nobody is there.
pub fn impatient() -> DialOptions {
    DialOptions { dead_peer: Duration::from_secs(3), ..DialOptions::default() }
}

impl Pair {
    pub async fn new() -> Self {
        let options = DeviceOptions { dial: impatient(), ..DeviceOptions::default() };
        let bench = Bench::with(ListenOptions::default(), options.clone()).await;
        let state = bench.path("second-device");
        let device = tokio::task::spawn_blocking(move || Device::new(&state, options))
            .await
            .unwrap()
            .unwrap();
        let first = End::new(&bench, "first", Arc::clone(&bench.device), STORE, 1).await;
        let second = End::new(&bench, "second", device, COPIES, COPIES_DRIVE).await;
        let path = bench.path("copies").display().to_string();
        let create = CreateDatastore {
            path,
            name: "copies".into(),
            store: COPIES,
            owner: "people".into(),
            cut: None,
        };
        second.ask(create).await.unwrap();
        Self { bench, first, second }
    }

    /// From the first datastore into the second: who works, who is dialled, and which way.
    pub fn ends(&self, by: By) -> (&End, &End, Direction) {
        match by {
            By::Push => (&self.first, &self.second, Direction::CopyIn),
            By::Pull => (&self.second, &self.first, Direction::CopyOut),
        }
    }

    pub fn ticket(&self, by: By) -> Ticket {
        let (_, dialled, direction) = self.ends(by);
        self.ticket_for(dialled, direction)
    }

    pub fn ticket_for(&self, dialled: &End, direction: Direction) -> Ticket {
        Ticket {
            store: dialled.store,
            drive: dialled.drive,
            ..self.bench.ticket(direction, SavesetId::ZERO)
        }
    }

    pub async fn grant(&self, worker: &End, dialled: &End, ticket: &Ticket) {
        let grant = GrantTransfer {
            bases: None,
            ticket: ticket.clone(),
            domain_key: None,
            lock_until_unix_s: 0,
            level: None,
            names: None,
            client_keys: vec![worker.tls.pin().0.to_vec()],
            hosts: Vec::new(),
            addresses: Vec::new(),
        };
        dialled.ask(grant).await.unwrap();
    }

    /// What the worker is told.
    pub fn request(
        &self,
        (worker, dialled): (&End, &End),
        ticket: Ticket,
        savesets: &[SavesetId],
        address: SocketAddr,
    ) -> Replicate {
        Replicate {
            job: ticket.job,
            store: worker.store,
            parts: vec![ReplicatePart { ticket, savesets: savesets.to_vec() }],
            device_addresses: vec![format!("drive://{address}")],
            device_keys: vec![dialled.tls.pin().0.to_vec()],
            client_keys: Vec::new(),
            rates: Vec::new(),
        }
    }

    pub async fn copy(&self, by: By, savesets: &[SavesetId]) -> ReplicateReply {
        let (_, dialled, _) = self.ends(by);
        self.copy_over(by, savesets, dialled.address).await
    }

    /// Over another address than the port itself.
    pub async fn copy_over(
        &self,
        by: By,
        savesets: &[SavesetId],
        address: SocketAddr,
    ) -> ReplicateReply {
        let (worker, dialled, _) = self.ends(by);
        let ticket = self.ticket(by);
        self.grant(worker, dialled, &ticket).await;
        worker.ask(self.request((worker, dialled), ticket, savesets, address)).await.unwrap()
    }

    /// Restores from the copies alone, and compares.
    pub async fn comes_back(&self, saveset: SavesetId, source: &Path, what: &str) {
        let doors = TransferListener::new(
            Arc::clone(&self.second.device) as Arc<_>,
            ListenOptions::default(),
        );
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(doors.serve(Entrance::http(listener), std::future::pending()));
        let ticket = Ticket { store: COPIES, ..self.bench.ticket(Direction::Restore, saveset) };
        self.grant(&self.first, &self.second, &ticket).await;
        let target = self.bench.path(&format!("back-{}", self.bench.number()));
        let mut restore = self.bench.start_restore(&ticket, &target);
        restore.device_addresses = vec![format!("http://{address}")];
        let result = self.bench.client(restore).await.unwrap().result;
        serving.abort();
        assert_eq!(result.outcome, Outcome::Finished, "{what}: {:?}", result.problems.first());
        let restored = target.join(source.strip_prefix("/").unwrap());
        assert_eq!(simsim_testkit::compare_trees(source, &restored), [], "{what}");
    }

    /// A check of the copies, with the key of the domain.
    pub async fn check(&self, end: &End, mend: bool) -> VerifyDatastoreReply {
        let request = VerifyDatastore {
            store: end.store,
            job: self.bench.number(),
            mode: VerifyMode::Bytes,
            domain_keys: vec![DomainKey { domain: DOMAIN, key: key() }],
            saveset: None,
            mend,
        };
        end.ask(request).await.unwrap()
    }

    pub async fn savesets_there(&self) -> u64 {
        self.second.ask(DatastoreState { store: COPIES }).await.unwrap().savesets
    }
}
