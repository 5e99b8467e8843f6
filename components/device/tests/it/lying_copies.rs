//! Sources that lie, over the real port of a drive: what they send is refused, and nothing of it is seen.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use simsim_control::verbs::*;
use simsim_device::Device;
use simsim_format::{DomainKey as FormatKey, Manifest, Node, Sealer, SegmentKind, SegmentView};
use simsim_model::*;
use simsim_net::tls::{Peers, Pin, TlsConnect, TlsDoor};
use simsim_transfer::{
    Entrance, HttpTransfer, ListenOptions, Route, TransferHandler, TransferListener,
};

use crate::bench::*;
use crate::pair::*;

/// In which way a source lies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    /// A bit of each segment of this kind is another one.
    Damaged(SegmentKind),
    /// Each segment of data is the same one.
    AlwaysTheSame,
    /// The manifest names a root that nobody has.
    NoSuchRoot,
    /// The manifest is that of another saveset.
    OtherSaveset,
    /// What data is asked for is not there.
    NothingThere,
    /// A segment of nodes names itself in a circle with another one.
    Circle,
}

/// The first device, whose answers to a copy are bent.
struct Liar {
    device: Arc<Device>,
    lie: Lie,
}

struct Bent {
    inner: Arc<dyn RestoreSession>,
    lie: Lie,
    first: std::sync::Mutex<Option<Bytes>>,
}

impl RestoreSession for Bent {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        let manifest = Manifest::decode(&self.inner.manifest(saveset)?).unwrap();
        let bent = match self.lie {
            Lie::NoSuchRoot => Manifest { root: Name([9; 32]), ..manifest },
            Lie::OtherSaveset => Manifest { saveset: SavesetId([9; 16]), ..manifest },
            Lie::Circle => Manifest { root: circle()[0].0, ..manifest },
            _ => manifest,
        };
        Ok(bent.encode().into())
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        if self.lie == Lie::Circle {
            let place = |name: &Name| {
                let at = circle().iter().position(|(node, _)| node == name)?;
                let length = circle()[at].1.len() as u32;
                Some(SegmentPlace { pack: Name([1; 32]), offset: at as u64, length })
            };
            return Ok(names.iter().map(place).collect());
        }
        let mut found = self.inner.locate(names)?;
        if self.lie == Lie::NoSuchRoot {
            found.iter_mut().for_each(|place| {
                place.get_or_insert(SegmentPlace { pack: Name([1; 32]), offset: 64, length: 500 });
            });
        }
        Ok(found)
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        if self.lie == Lie::Circle {
            return Ok(places
                .iter()
                .map(|at| Some(circle()[at.offset as usize].1.clone()))
                .collect());
        }
        let mut found = self.inner.get(places)?;
        for segment in found.iter_mut() {
            let Some(bytes) = segment.clone() else { continue };
            let kind = SegmentView::parse(bytes.clone()).unwrap().kind;
            match self.lie {
                Lie::Damaged(bad) if kind == bad => {
                    let mut bent = bytes.to_vec();
                    *bent.last_mut().unwrap() ^= 1;
                    *segment = Some(bent.into());
                }
                Lie::NothingThere if kind == SegmentKind::Data => *segment = None,
                Lie::AlwaysTheSame if kind == SegmentKind::Data => {
                    let same = self.first.lock().unwrap().get_or_insert(bytes.clone()).clone();
                    *segment = Some(same).filter(|same| same.len() == bytes.len());
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Two segments of one node each that name each other: sealed well, and then given other names, which
/// nobody without the key can tell.
fn circle() -> Vec<(Name, Bytes)> {
    static MADE: std::sync::OnceLock<Vec<(Name, Bytes)>> = std::sync::OnceLock::new();
    let (one, two) = (Name([21; 32]), Name([22; 32]));
    let made = || {
        [(one, two), (two, one)]
            .map(|(own, other)| {
                let key = FormatKey::new(&key());
                let (nodes, body) = (vec![other], vec![0]);
                let name = key.node_name(&nodes, &[], &body);
                let node = Node { name, nodes, chunks: Vec::new(), body };
                let mut bytes = Sealer::new(key, DOMAIN, 1).seal_nodes(&[node]).unwrap();
                bytes[96..128].copy_from_slice(&own.0);
                let mut checksum = blake3::Hasher::new();
                checksum.update(&bytes[..64]).update(&bytes[96..]);
                bytes[64..96].copy_from_slice(checksum.finalize().as_bytes());
                (own, Bytes::from(bytes))
            })
            .to_vec()
    };
    MADE.get_or_init(made).clone()
}

impl TransferHandler for Liar {
    fn waits(&self, transfer: &TransferId) {
        self.device.waits(transfer);
    }
    fn ticket(&self, transfer: &TransferId) -> Option<Ticket> {
        self.device.ticket(transfer)
    }
    fn knows(&self, transfer: &TransferId, key: &Pin) -> bool {
        self.device.knows(transfer, key)
    }
    fn opened(&self, transfer: &TransferId) -> Result<(), SessionError> {
        self.device.opened(transfer)
    }
    fn backup(&self, transfer: &TransferId) -> Result<Arc<dyn BackupSession>, SessionError> {
        self.device.backup(transfer)
    }
    fn restore(&self, transfer: &TransferId) -> Result<Arc<dyn RestoreSession>, SessionError> {
        let inner = self.device.restore(transfer)?;
        Ok(Arc::new(Bent { inner, lie: self.lie, first: Default::default() }))
    }
    fn stream_put(&self, _: &TransferId, _: &mut dyn Read) -> Result<u64, SessionError> {
        Err(SessionError::new(Kind::Denied, "no streams"))
    }
    fn stream_get(&self, _: &TransferId, _: u64) -> Result<Box<dyn Read + Send>, SessionError> {
        Err(SessionError::new(Kind::Denied, "no streams"))
    }
    fn heard(&self, transfer: &TransferId) {
        self.device.heard(transfer);
    }
    fn closed(&self, transfer: &TransferId) {
        self.device.closed(transfer);
    }
    fn aborted(&self, transfer: &TransferId, reason: &str) {
        self.device.aborted(transfer, reason);
    }
}

#[test]
fn a_source_that_lies_gets_nothing_into_another_datastore() {
    run(async {
        for lie in [
            Lie::Damaged(SegmentKind::Data),
            Lie::Damaged(SegmentKind::Nodes),
            Lie::AlwaysTheSame,
            Lie::NoSuchRoot,
            Lie::OtherSaveset,
            Lie::NothingThere,
            Lie::Circle,
        ] {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            make_tree(&source);
            let (saveset, _) = pair.bench.backup(&source, None).await;
            let (worker, dialled, _) = pair.ends(By::Pull);
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let asked = Arc::clone(&dialled.device);
            let known = Peers::Known(Arc::new(move |key| asked.expects(key)));
            let door = TlsDoor::new(&dialled.tls, known).unwrap();
            let liar = Arc::new(Liar { device: Arc::clone(&dialled.device), lie });
            let doors = TransferListener::new(liar, ListenOptions::default());
            let entrance = Entrance::drive(listener, door, 1);
            tokio::spawn(doors.serve(entrance, std::future::pending()));
            let reply = pair.copy_over(By::Pull, &[saveset], address).await;
            assert_ne!(reply.result.outcome, Outcome::Finished, "{lie:?}: {reply:?}");
            assert_eq!(reply.copied, 0, "{lie:?}: {reply:?}");
            assert_eq!(pair.savesets_there().await, 0, "{lie:?}");
            let said = match (reply.result.error, reply.result.problems.first()) {
                (Some(error), _) => error.message,
                (None, Some(problem)) => problem.message.clone(),
                (None, None) => panic!("{lie:?}: nothing is said"),
            };
            assert!(!said.is_empty(), "{lie:?}");
            // The worker lives, its datastore takes what is true.
            let reply = pair.copy(By::Pull, &[saveset]).await;
            assert_eq!(reply.result.outcome, Outcome::Finished, "{lie:?}: {reply:?}");
            pair.comes_back(saveset, &source, "the truth").await;
            let check = pair.check(&pair.second, false).await;
            assert_eq!(check.damaged_total, 0, "{lie:?}: {check:?}");
            let _ = worker;
        }
    });
}

#[test]
fn whoever_pushes_lies_is_refused_and_nothing_is_seen() {
    run(async {
        let pair = Pair::new().await;
        let source = pair.bench.path("source");
        make_tree(&source);
        let (saveset, _) = pair.bench.backup(&source, None).await;
        let (worker, dialled, _) = pair.ends(By::Push);
        let ticket = pair.ticket(By::Push);
        pair.grant(worker, dialled, &ticket).await;
        let tls = TlsConnect::new(vec![dialled.tls.pin()], Some(&worker.tls)).unwrap();
        let route = Route::drive(vec![dialled.address.to_string()], tls);
        let get = GetManifest { store: STORE, saveset, offset: 0 };
        let manifest = Bytes::from(worker.ask(get).await.unwrap().bytes);
        let handle = tokio::runtime::Handle::current();
        let work = move || {
            let transfer = HttpTransfer::open(handle, vec![route], ticket).unwrap();
            let key = FormatKey::new(&Secret([3; 32]));
            let name = key.chunk_name(b"x");
            let good = Sealer::new(key.clone(), DOMAIN, 1).seal_data(&[(name, 1)], b"x").unwrap();
            let foreign = Sealer::new(key, OTHER_DOMAIN, 1).seal_data(&[(name, 1)], b"x").unwrap();
            let mut bent = good.clone();
            bent[100] ^= 1;
            assert_eq!(transfer.put(0, bent.into()).unwrap_err().kind, Kind::Corrupt);
            assert_eq!(transfer.put(0, foreign.into()).unwrap_err().kind, Kind::Denied);
            transfer.put(0, good.into()).unwrap();
            assert_eq!(transfer.savesets(&[saveset]).unwrap(), [false]);
            let error = transfer.commit_copy(manifest.clone(), 1).unwrap_err();
            assert_eq!(error.kind, Kind::NotFound, "its tree is not there: {error}");
            let error = transfer.commit_copy(manifest.slice(..100), 1).unwrap_err();
            assert!(matches!(error.kind, Kind::Corrupt | Kind::Invalid), "{error}");
            // Verbs of backups and restores are none of a copy's.
            let draft = ManifestDraft {
                level: Level::Full,
                root: name,
                base: None,
                scan_started_unix_ns: 0,
                files: 0,
                dirs: 0,
                bytes: 0,
                bytes_new: 0,
                bytes_stored: 0,
                problems: 0,
                sealed_details: Vec::new(),
                segments: 1,
            };
            assert_eq!(transfer.commit(&draft).unwrap_err().kind, Kind::Denied);
            assert_eq!(transfer.locate(&[name]).unwrap_err().kind, Kind::Denied);
            assert_eq!(transfer.manifest(saveset).unwrap_err().kind, Kind::Denied);
            assert_eq!(transfer.terms().unwrap_err().kind, Kind::Denied);
            transfer.close().unwrap();
        };
        tokio::task::spawn_blocking(work).await.unwrap();
        assert_eq!(pair.savesets_there().await, 0);
    });
}
