//! Locks that are extended after the commit: the datastore holds them against whoever asks.

use std::sync::Arc;

use simsim_datastore::{Datastore, DatastoreError, SessionOptions};
use simsim_model::{Kind, SavesetId};
use simsim_storage::Storage;
use simsim_storage::fault::{CrashVariant, FailingStorage, Fault, PowerCutStorage};

use crate::gc::{delete, fresh, id, now};
use crate::kit::*;

const DAY: u64 = 86_400;
const COPIES: [&str; 3] = ["locks.1", "locks.2", "locks.3"];

/// The object as it is written down in `docs/format/datastore-layout.md`.
fn object(known: u64, locks: &[(SavesetId, u64)]) -> Vec<u8> {
    let mut bytes = [b"SIMSIMLK".as_slice(), &[1, 0], &[0; 6]].concat();
    bytes.extend(known.to_le_bytes());
    bytes.extend((locks.len() as u64).to_le_bytes());
    for (saveset, until) in locks {
        bytes.extend(saveset.0);
        bytes.extend(until.to_le_bytes());
    }
    let sum = blake3::hash(&bytes);
    bytes.extend(sum.as_bytes());
    bytes
}

fn two_savesets(datastore: &Datastore) {
    for number in 1..=2 {
        backup(&session(datastore, number), u64::from(number), 1, 100).unwrap();
    }
}

fn denied(datastore: &Datastore, number: u8, asked: u64) -> DatastoreError {
    let error = datastore.delete_savesets(&[id(number)], asked).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(datastore.manifest(id(number)).is_ok());
    error
}

#[test]
fn a_lock_that_was_extended_holds_and_is_never_shortened() {
    let (datastore, storage, _) = fresh();
    two_savesets(&datastore);
    let later = now() + 1000;
    let held = datastore.extend_locks(&[(id(1), later), (id(9), later)]).unwrap();
    assert_eq!(held, [(id(1), Some(later)), (id(9), None)], "9 is not here");
    let shorter = datastore.extend_locks(&[(id(1), later - 500), (id(1), 0)]).unwrap();
    assert_eq!(shorter, [(id(1), Some(later)), (id(1), Some(later))]);
    for asked in [now(), now() + 3500] {
        let error = denied(&datastore, 1, asked);
        assert!(error.to_string().contains(&later.to_string()), "{error}");
    }
    denied(&datastore, 1, u64::MAX);
    drop(datastore);
    let datastore = open(&storage);
    denied(&datastore, 1, now());
    assert_eq!(datastore.extended_locks(None, 9).unwrap(), [(id(1), later)]);
    assert_eq!(datastore.extended_locks(Some(id(1)), 9).unwrap(), []);
    // The other one is not locked, and one whose lock is over goes, and its lock with it.
    datastore.extend_locks(&[(id(2), now() - 5)]).unwrap();
    delete(&datastore, &[2]);
    assert_eq!(datastore.extended_locks(None, 9).unwrap(), [(id(1), later)]);
    assert_eq!(restore(&datastore, id(1)), Ok(400));
}

#[test]
fn of_manifest_and_extension_the_later_one_counts() {
    let (datastore, _, _) = fresh();
    let until = now() + 500;
    let options = SessionOptions { lock_until_unix_s: until };
    backup(&datastore.session(DOMAIN, id(1), options), 1, 1, 100).unwrap();
    assert_eq!(datastore.extend_locks(&[(id(1), until - 100)]).unwrap(), [(id(1), Some(until))]);
    assert_eq!(datastore.extended_locks(None, 9).unwrap(), [], "the manifest says more");
    denied(&datastore, 1, now());
}

/// A clock that jumped ahead by years while this datastore was closed, or a server that says so.
#[test]
fn gc13_a_clock_far_ahead_of_what_was_known_ends_no_lock() {
    let (datastore, storage, _) = fresh();
    two_savesets(&datastore);
    drop(datastore);
    // By what was known it is a hundred days ago; by the clock the lock ended fifty days ago.
    for copy in COPIES {
        let bytes = object(now() - 100 * DAY, &[(id(1), now() - 50 * DAY)]);
        storage.replace(copy, &bytes).unwrap();
    }
    let datastore = open(&storage);
    let error = denied(&datastore, 1, now());
    assert!(error.to_string().contains("start this host's RDS again"), "{error}");
    delete(&datastore, &[2]);
    drop(datastore);
    // A second start believes thirty days more.
    let datastore = open(&storage);
    delete(&datastore, &[1]);
}

#[test]
fn rot03_any_two_copies_of_the_locks_may_be_lost_and_an_older_one_shortens_nothing() {
    let (datastore, storage, disk) = fresh();
    two_savesets(&datastore);
    let earlier = now() + 1000;
    datastore.extend_locks(&[(id(1), earlier)]).unwrap();
    let older = storage.get(COPIES[0]).unwrap();
    let later = earlier + 1000;
    datastore.extend_locks(&[(id(1), later), (id(2), later)]).unwrap();
    drop(datastore);
    for left in COPIES {
        let disk = disk.copy();
        for copy in COPIES.into_iter().filter(|copy| *copy != left) {
            match left {
                "locks.1" => disk.delete(copy).unwrap(),
                "locks.2" => disk.replace(copy, b"SIMSIMLK").unwrap(),
                _ => disk.replace(copy, &older).unwrap(),
            }
        }
        let storage: Arc<dyn Storage> = Arc::new(disk);
        let datastore = open(&storage);
        let locks = datastore.extended_locks(None, 9).unwrap();
        assert_eq!(locks, [(id(1), later), (id(2), later)], "{left}");
        let copies = COPIES.map(|copy| storage.get(copy).unwrap());
        assert!(copies.iter().all(|copy| *copy == copies[0]), "{left}: written anew");
    }
}

/// Who cannot tell what is locked deletes nothing; everything else goes on.
#[test]
fn locks_that_cannot_be_read_delete_nothing() {
    let (datastore, storage, _) = fresh();
    two_savesets(&datastore);
    drop(datastore);
    let good = storage.get(COPIES[1]).unwrap();
    for copy in COPIES {
        storage.replace(copy, b"nothing that can be read").unwrap();
    }
    let datastore = open(&storage);
    for _ in 0..2 {
        let error = datastore.delete_savesets(&[id(1)], now()).unwrap_err();
        assert!(error.to_string().contains("put one of the objects locks.1"), "{error}");
        datastore.extend_locks(&[(id(1), now() + 9)]).unwrap_err();
    }
    assert_eq!(restore(&datastore, id(1)), Ok(400));
    backup(&session(&datastore, 3), 3, 1, 100).unwrap();
    drop(datastore);
    storage.replace(COPIES[1], &good).unwrap();
    delete(&open(&storage), &[1]);
}

/// A power cut at every instant, and a failure of every call: what was acknowledged holds.
#[test]
fn pwr04_a_lock_that_was_acknowledged_outlives_a_power_cut() {
    let disk = PowerCutStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let datastore = open(&storage);
    two_savesets(&datastore);
    let until = now() + 5000;
    datastore.extend_locks(&[(id(1), until)]).unwrap();
    let first = disk.events();
    datastore.extend_locks(&[(id(2), until), (id(1), until + 1)]).unwrap();
    let second = disk.events();
    drop(datastore);
    for events in first..=second {
        for variant in CrashVariant::ALL {
            let image: Arc<dyn Storage> = Arc::new(disk.crash_image(events, variant));
            let datastore = open(&image);
            let locks = datastore.extended_locks(None, 9).unwrap();
            let old = vec![(id(1), until)];
            let new = vec![(id(1), until + 1), (id(2), until)];
            let known = locks == new || (events < second && locks == old);
            assert!(known, "{events} of {second}, {variant:?}: {locks:?}");
            denied(&datastore, 1, now());
        }
    }
    let start = disk.copy();
    for fault in [Fault::Io, Fault::Full, Fault::ShortWrite, Fault::LostReply] {
        for call in 0.. {
            let disk = start.copy();
            let failing = Arc::new(FailingStorage::new(disk.clone(), call, fault));
            let told = Datastore::open(failing.clone(), open_options())
                .and_then(|datastore| datastore.extend_locks(&[(id(2), until + 7)]))
                .is_ok();
            let storage: Arc<dyn Storage> = Arc::new(disk);
            let locks = open(&storage).extended_locks(None, 9).unwrap();
            assert_eq!(locks[0], (id(1), until + 1), "{fault:?} at call {call}");
            assert!(!told || locks[1].1 == until + 7, "{fault:?} at call {call}: {locks:?}");
            if !failing.has_failed() {
                assert!(told);
                break;
            }
        }
    }
}
