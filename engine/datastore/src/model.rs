//! A model of the locks: real datastores on a disk in memory, with threads that go on in an order that is
//! chosen anew in each round, at every lock and at every call to the storage (GC14). A round that goes
//! wrong prints the schedule by which it does so again.
//!
//! Threads of one round are processes where each opens the datastore for itself, and sessions where they share
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use simsim_format::{DomainKey, Node, Sealer, SegmentView};
use simsim_model::{
    BackupSession, DomainId, Kind, Level, ManifestDraft, Name, RestoreSession, SavesetId, Secret,
    SessionError, StoreId,
};
use simsim_storage::fault::PowerCutStorage;
use simsim_storage::{Lock, ObjectWriter, Objects, Storage, StorageError};

use crate::sync::{in_model, step};
use crate::{
    CollectOptions, CreateOptions, Datastore, DatastoreError, OpenOptions, SessionOptions,
};

const DOMAIN: DomainId = DomainId([7; 16]);
const ROUNDS: usize = 1000;
/// A datastore needs more than the model's threads have by default.
const STACK_BYTES: usize = 2 << 20;
/// A round that takes more turns than this is one in which all wait for each other.
const STEPS_MAX: usize = 2_000_000;

/// Runs rounds, each with another order.
fn explore(round: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = shuttle::MaxSteps::FailAfter(STEPS_MAX);
    let scheduler = shuttle::scheduler::RandomScheduler::new(ROUNDS);
    let runner = shuttle::Runner::new(scheduler, config);
    in_model(|| runner.run(round));
}

fn together(works: Vec<Box<dyn FnOnce() + Send + 'static>>) {
    let threads: Vec<_> = works.into_iter().map(shuttle::thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The disk; each call is a point at which others may go on.
#[derive(Clone)]
struct Steps {
    disk: PowerCutStorage,
    /// Everybody gets the lock, as on a network file system that lost it.
    loses_locks: bool,
}

struct Anybody;
impl Lock for Anybody {}

struct Writer(Box<dyn ObjectWriter>);

impl ObjectWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.write(bytes)
    }
    fn finish(self: Box<Self>, key: &str) -> Result<(), StorageError> {
        step();
        self.0.finish(key)
    }
}

impl Storage for Steps {
    fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
        step();
        Ok(Box::new(Writer(self.disk.create()?)))
    }
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        step();
        self.disk.replace(key, bytes)
    }
    fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        step();
        self.disk.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        step();
        self.disk.get_range(key, offset, length)
    }
    fn size(&self, key: &str) -> Result<u64, StorageError> {
        step();
        self.disk.size(key)
    }
    fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
        step();
        self.disk.list(prefix)
    }
    fn delete(&self, key: &str) -> Result<(), StorageError> {
        step();
        self.disk.delete(key)
    }
    fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
        self.disk.allocate(key, bytes)
    }
    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.disk.free_bytes()
    }
    fn total_bytes(&self) -> Result<u64, StorageError> {
        self.disk.total_bytes()
    }
    fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
        step();
        match self.loses_locks {
            true => Ok(Box::new(Anybody)),
            false => self.disk.lock(key, holder),
        }
    }
    fn clear_temporary(&self) -> Result<u64, StorageError> {
        // Objects in work have no names on this disk: what another process writes is not cleared away.
        Ok(0)
    }
    fn place(&self) -> String {
        "a disk in memory".to_owned()
    }
}

fn id(number: u8) -> SavesetId {
    SavesetId([number; 16])
}

/// What one backup sends: a segment of data and one of nodes.
#[derive(Clone)]
struct Backup {
    data: Bytes,
    nodes: Bytes,
    chunk: Name,
    draft: ManifestDraft,
}

fn made(seed: u8) -> Backup {
    let key = DomainKey::new(&Secret([9; 32]));
    let content = vec![seed; 100 + usize::from(seed)];
    let chunk = key.chunk_name(&content);
    let items = [(chunk, content.len() as u32)];
    let data = Sealer::new(key.clone(), DOMAIN, 1).seal_data(&items, &content).unwrap();
    let name = key.node_name(&[], &[chunk], b"body");
    let root = Node { name, nodes: Vec::new(), chunks: vec![chunk], body: b"body".to_vec() };
    let nodes = Sealer::new(key, DOMAIN, 1).seal_nodes(std::slice::from_ref(&root)).unwrap();
    let draft = ManifestDraft {
        level: Level::Full,
        root: root.name,
        base: None,
        scan_started_unix_ns: 1,
        files: 1,
        dirs: 1,
        bytes: 10,
        bytes_new: 10,
        bytes_stored: 10,
        problems: 0,
        sealed_details: b"details".to_vec(),
        segments: 2,
    };
    Backup { data: data.into(), nodes: nodes.into(), chunk, draft }
}

impl Backup {
    /// As a client does it: what is known is not sent.
    fn stored_in(&self, datastore: &Datastore, number: u8) -> Result<(), SessionError> {
        let session = datastore.session(DOMAIN, id(number), SessionOptions::default());
        let mut segments = 0;
        for (name, segment) in [(self.chunk, &self.data), (self.draft.root, &self.nodes)] {
            if session.has(&[name])? != [true] {
                session.put(segments, segment.clone())?;
                segments += 1;
            }
        }
        session.commit(&ManifestDraft { segments, ..self.draft.clone() }).map(drop)
    }

    /// Reads all of it, as a restore does.
    fn read(&self, session: &dyn RestoreSession, number: u8) -> Result<(), SessionError> {
        session.manifest(id(number))?;
        for name in [self.draft.root, self.chunk] {
            let place = session.locate(&[name])?[0];
            let place = place.ok_or_else(|| SessionError::new(Kind::Corrupt, "it has no place"))?;
            let bytes = session.get(&[place])?.remove(0);
            let bytes =
                bytes.ok_or_else(|| SessionError::new(Kind::Corrupt, "it cannot be read"))?;
            let view = SegmentView::parse(bytes);
            assert!(view.is_ok_and(|view| view.items.iter().any(|item| item.name == name)));
        }
        Ok(())
    }
}

fn options() -> OpenOptions {
    OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() }
}

/// A datastore with these savesets, closed.
fn disk_with(savesets: &[(u8, &Backup)]) -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let new =
        CreateOptions { store: StoreId([3; 16]), name: "model".into(), cut: Default::default() };
    let datastore = Datastore::create(Arc::new(disk.clone()), new).unwrap();
    savesets.iter().for_each(|(number, backup)| backup.stored_in(&datastore, *number).unwrap());
    datastore.close().unwrap();
    disk
}

fn steps(disk: &PowerCutStorage) -> Arc<dyn Storage> {
    Arc::new(Steps { disk: disk.clone(), loses_locks: false })
}

fn open(storage: &Arc<dyn Storage>) -> Result<Datastore, DatastoreError> {
    Datastore::open(Arc::clone(storage), options())
}

/// Exactly these savesets are there, and each can be read.
fn holds(disk: &PowerCutStorage, savesets: &[(u8, &Backup)]) {
    let datastore = Datastore::open(Arc::new(disk.clone()), options()).unwrap();
    let manifests = datastore.manifests(0, 99).unwrap();
    let mut found: Vec<SavesetId> = manifests.iter().map(|one| one.saveset).collect();
    found.sort_unstable();
    let mut wanted: Vec<SavesetId> = savesets.iter().map(|(number, _)| id(*number)).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    for (number, backup) in savesets {
        backup.read(&datastore.read_session(DOMAIN), *number).unwrap();
    }
}

#[test]
fn gc14_at_any_time_one_process_has_a_datastore_open_and_generations_rise() {
    let backups: Vec<Backup> = (1..=3).map(made).collect();
    let start = disk_with(&[]);
    explore(move || {
        let disk = start.copy();
        let (opened, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let last = Arc::new(AtomicU64::new(0));
        let process = |number: u8| -> Box<dyn FnOnce() + Send> {
            let (storage, backup) = (steps(&disk), backups[usize::from(number) - 1].clone());
            let (opened, done, last) = (opened.clone(), done.clone(), last.clone());
            Box::new(move || {
                loop {
                    match open(&storage) {
                        Ok(datastore) => {
                            assert_eq!(opened.fetch_add(1, SeqCst), 0, "two have it open");
                            let generation = datastore.state().generation;
                            assert!(last.swap(generation, SeqCst) < generation);
                            // A session goes on when the datastore itself is let go of, as when it is
                            // detached to be attached elsewhere.
                            let other = datastore.clone();
                            drop(datastore);
                            backup.stored_in(&other, number).unwrap();
                            opened.fetch_sub(1, SeqCst);
                            done.fetch_add(1, SeqCst);
                            return;
                        }
                        Err(error) => assert_eq!(error.kind(), Kind::Busy, "{error}"),
                    }
                }
            })
        };
        together((1..=3).map(process).collect());
        assert_eq!(done.load(SeqCst), 3);
        let all = [(1, &backups[0]), (2, &backups[1]), (3, &backups[2])];
        holds(&disk, &all);
    });
}

#[test]
fn gc14_of_processes_that_lost_the_lock_only_the_one_that_came_last_commits() {
    let backups: Vec<Backup> = (1..=3).map(made).collect();
    let start = disk_with(&[]);
    let all = Arc::new(AtomicU64::new(0));
    let seen = all.clone();
    explore(move || {
        let disk = start.copy();
        let storage: Arc<dyn Storage> = Arc::new(Steps { disk: disk.clone(), loses_locks: true });
        let (opened, committed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let highest = Arc::new(AtomicU64::new(0));
        let process = |number: u8| -> Box<dyn FnOnce() + Send> {
            let (storage, backup) = (storage.clone(), backups[usize::from(number) - 1].clone());
            let (opened, committed, highest) = (opened.clone(), committed.clone(), highest.clone());
            Box::new(move || {
                let datastore = match open(&storage) {
                    Ok(datastore) => datastore,
                    // Another one took the same generation, or cleared this one's away, meanwhile.
                    Err(_) => {
                        opened.fetch_add(1, SeqCst);
                        return;
                    }
                };
                let generation = datastore.state().generation;
                assert!(highest.fetch_max(generation, SeqCst) != generation, "two have the same");
                opened.fetch_add(1, SeqCst);
                while opened.load(SeqCst) < 3 {
                    step();
                }
                // All have opened: from here on only the highest may do anything.
                match backup.stored_in(&datastore, number) {
                    Ok(()) => {
                        assert_eq!(generation, highest.load(SeqCst), "an older one committed");
                        committed.fetch_add(1, SeqCst);
                    }
                    Err(error) => assert_eq!(error.kind, Kind::Busy, "{error}"),
                }
            })
        };
        together((1..=3).map(process).collect());
        assert!(committed.load(SeqCst) <= 1);
        all.fetch_add(committed.load(SeqCst), SeqCst);
    });
    assert!(seen.load(SeqCst) > 0, "nobody ever committed");
}

#[test]
fn gc14_exclusive_holders_and_sessions_take_turns_and_lose_nothing() {
    let (old, gone) = (made(1), made(2));
    let new = made(3);
    let start = disk_with(&[(1, &old), (2, &gone)]);
    {
        let datastore = Datastore::open(Arc::new(start.clone()), options()).unwrap();
        datastore.delete_savesets(&[id(2)], crate::open::unix_s()).unwrap();
    }
    // So that the rebuild has something to do.
    let runs: Vec<String> = start.list("index/").unwrap().map(|one| one.unwrap().key).collect();
    runs.iter().for_each(|run| start.delete(run).unwrap());
    let told = Arc::new(AtomicUsize::new(0));
    let seen = told.clone();
    explore(move || {
        let disk = start.copy();
        let storage = steps(&disk);
        let datastore = open(&storage).unwrap();
        let alone = Arc::new(AtomicBool::new(false));
        let exclusive = |work: fn(&Datastore, &AtomicBool) -> Result<(), DatastoreError>| {
            let (datastore, alone, told) = (datastore.clone(), alone.clone(), told.clone());
            let work: Box<dyn FnOnce() + Send> = Box::new(move || match work(&datastore, &alone) {
                Ok(()) => {}
                Err(error @ DatastoreError::AtWork { .. }) => {
                    assert_eq!(error.kind(), Kind::Busy);
                    told.fetch_add(1, SeqCst);
                }
                Err(error) => panic!("{error}"),
            });
            work
        };
        let (writing, backup) = (datastore.clone(), new.clone());
        together(vec![
            exclusive(|datastore, alone| {
                let eager = CollectOptions { dead_part_min: 0.0, ..CollectOptions::default() };
                datastore
                    .collect_garbage(&eager, &|_| {
                        // Nobody else who is to be alone comes to his end meanwhile.
                        alone.store(true, SeqCst);
                        step();
                        assert!(alone.load(SeqCst), "another one was at work");
                        true
                    })
                    .map(drop)
            }),
            exclusive(|datastore, alone| {
                datastore.rebuild()?;
                alone.store(false, SeqCst);
                Ok(())
            }),
            Box::new(move || backup.stored_in(&writing, 3).unwrap()),
        ]);
        drop(datastore);
        drop(storage);
        holds(&disk, &[(1, &old), (3, &new)]);
    });
    assert!(seen.load(SeqCst) > 0, "they never met");
}

#[test]
fn gc14_what_is_read_is_not_deleted_and_what_is_deleted_is_not_read() {
    let old = made(1);
    let start = disk_with(&[(1, &old)]);
    let (read, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = (read.clone(), refused.clone());
    explore(move || {
        let disk = start.copy();
        let storage = steps(&disk);
        let datastore = open(&storage).unwrap();
        let gone = Arc::new(AtomicBool::new(false));
        let (reader, backup, read) = (datastore.clone(), old.clone(), read.clone());
        let (deleter, was_gone, refused) = (datastore.clone(), gone.clone(), refused.clone());
        let is_gone = gone.clone();
        let (writer, same) = (datastore.clone(), old.clone());
        together(vec![
            Box::new(move || {
                let session = reader.read_session(DOMAIN);
                match backup.read(&session, 1) {
                    Ok(()) => {
                        step();
                        assert!(!is_gone.load(SeqCst), "it was deleted under its reader");
                        read.fetch_add(1, SeqCst);
                    }
                    // It came too late; by halves it sees nothing.
                    Err(error) => assert_eq!(error.kind, Kind::NotFound, "{error}"),
                }
            }),
            Box::new(move || {
                let asked = crate::open::unix_s();
                match deleter.delete_savesets(&[id(1)], asked) {
                    Ok(()) => was_gone.store(true, SeqCst),
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Busy, "{error}");
                        refused.fetch_add(1, SeqCst);
                    }
                }
                let eager = CollectOptions { dead_part_min: 0.0, ..CollectOptions::default() };
                deleter.collect_garbage(&eager, &|_| true).unwrap();
            }),
            // It relies on what the deleted one brought, or brings it again.
            Box::new(move || same.stored_in(&writer, 2).unwrap()),
        ]);
        drop(datastore);
        drop(storage);
        match gone.load(SeqCst) {
            true => holds(&disk, &[(2, &old)]),
            false => holds(&disk, &[(1, &old), (2, &old)]),
        }
    });
    assert!(seen.0.load(SeqCst) > 0 && seen.1.load(SeqCst) > 0, "{seen:?}: they never met");
}
