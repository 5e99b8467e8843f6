//! Copies that go their own ways, readers beside writers, and a storage that goes away.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use simsim_datastore::Datastore;
use simsim_model::SavesetId;
use simsim_storage::Storage;
use simsim_storage::fault::{FailingStorage, Fault, PowerCutStorage};

use crate::kit::*;

/// The nonces of all sealed segments, and those of the packs.
fn nonces(disk: &PowerCutStorage) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for object in disk.list("packs/").unwrap().map(Result::unwrap) {
        let bytes = disk.get(&object.key).unwrap();
        found.push(bytes[..64].to_vec());
        let mut at = 0;
        while let Some(next) = bytes[at..].windows(4).position(|part| part == b"SSG1") {
            at += next;
            // A manifest copy is not sealed and has no nonce.
            if bytes.get(at + 6) == Some(&1) {
                found.push(bytes[at + 24..at + 48].to_vec());
            }
            at += 4;
        }
    }
    found
}

#[test]
fn idx12_a_copied_store_that_diverges_repeats_no_nonce() {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    backup(&session(&datastore, 1), 1, 4, 900).unwrap();
    drop(datastore);
    let before: HashSet<Vec<u8>> = nonces(&disk).into_iter().collect();
    let twin = disk.copy();
    for (disk, seed) in [(&disk, 2), (&twin, 3)] {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let datastore = open(&storage);
        backup(&session(&datastore, 2), seed, 6, 900).unwrap();
        // The same content once more in both.
        backup(&session(&datastore, 3), 9, 6, 900).unwrap();
    }
    let mut all = before.clone();
    let mut new = 0;
    for disk in [&disk, &twin] {
        for nonce in nonces(disk).into_iter().filter(|nonce| !before.contains(nonce)) {
            new += 1;
            assert!(all.insert(nonce), "a nonce came twice");
        }
    }
    assert!(new > 20, "{new}");
}

#[test]
fn gc15_whoever_sees_a_manifest_finds_everything_it_names_while_others_commit() {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk), create_options()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut read = 0;
                    while !done.load(Ordering::Acquire) || read == 0 {
                        for manifest in datastore.manifests(0, 1000).unwrap().iter().rev().take(3) {
                            restore(&datastore, manifest.saveset).unwrap();
                            read += 1;
                        }
                    }
                    read
                })
            })
            .collect();
        let writers: Vec<_> = (0..3u8)
            .map(|writer| {
                let datastore = &datastore;
                scope.spawn(move || {
                    for round in 0..12u8 {
                        let number = 1 + writer * 20 + round;
                        // Half of the content is shared by all writers.
                        let seed = u64::from(if round % 2 == 0 { round } else { number });
                        backup(&session(datastore, number), seed, 3, 300).unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
        assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<i32>() > 5);
    });
    assert_eq!(datastore.manifests(0, 1000).unwrap().len(), 36);
    assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
}

/// A mount that goes away in the middle, and comes back later: nothing that was there is gone.
#[test]
fn pwr09_a_storage_that_vanishes_and_returns_has_lost_nothing() {
    let start = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(start.clone()), create_options()).unwrap();
    let old = backup(&session(&datastore, 1), 1, 2, 500).unwrap().saveset;
    drop(datastore);
    for call in 0.. {
        let disk = start.copy();
        let failing = Arc::new(FailingStorage::new(disk.clone(), call, Fault::Gone));
        let acknowledged = Datastore::open(failing.clone(), open_options())
            .is_ok_and(|datastore| backup(&session(&datastore, 2), 2, 9, 3000).is_ok());
        let storage: Arc<dyn Storage> = Arc::new(disk);
        let datastore = open(&storage);
        assert_eq!(restore(&datastore, old).unwrap(), 2 * 4 * 500, "call {call}");
        let new = restore(&datastore, SavesetId([2; 16]));
        let visible = datastore.manifests(0, 10).unwrap().len() == 2;
        assert_eq!(visible, new.is_ok(), "call {call}: {new:?}");
        assert!(visible || !acknowledged, "call {call}");
        assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
        if !failing.has_failed() {
            assert!(acknowledged);
            break;
        }
    }
}
