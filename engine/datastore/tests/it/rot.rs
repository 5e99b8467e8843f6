//! Bytes that change or vanish on the medium.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use simsim_datastore::Datastore;
use simsim_format::{KeySlots, WrappingKey};
use simsim_model::{BackupSession, Name, SavesetId, Secret};
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use crate::kit::*;

const SAVESET: SavesetId = SavesetId([1; 16]);

fn golden() -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    let mut slots = KeySlots::new(DOMAIN);
    slots.add(&WrappingKey::new(&Secret([1; 32])), &Secret([9; 32])).unwrap();
    datastore.put_slots(&slots).unwrap();
    backup(&session(&datastore, 1), 1, 2, 40).unwrap();
    disk
}

fn objects(disk: &PowerCutStorage, prefix: &str) -> Vec<(String, usize)> {
    let list = disk.list(prefix).unwrap();
    let list = list.map(|object| object.unwrap()).filter(|object| object.key != "reserve");
    list.map(|object| (object.key, object.bytes as usize)).collect()
}

/// What an operator would see of a damaged store.
fn look(disk: &PowerCutStorage) -> (bool, bool) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let Ok(datastore) = Datastore::open(storage, open_options()) else { return (true, false) };
    let state = datastore.state();
    let restored = restore(&datastore, SAVESET).is_ok_and(|bytes| bytes == 2 * 4 * 40);
    let clean = datastore.verify_structure(&|_| true).is_ok_and(|report| report.is_clean());
    let _ = datastore.slots(DOMAIN);
    let detected = !clean || !state.damaged_packs.is_empty() || !state.damaged_manifests.is_empty();
    (detected, restored)
}

fn every_damage(prefix: &str, step: usize, must_detect: bool) {
    let golden = golden();
    for (key, bytes) in objects(&golden, prefix) {
        for at in (0..bytes).step_by(step) {
            for truncate in [false, true] {
                let disk = golden.copy();
                disk.damage(
                    &key,
                    |bytes| {
                        if truncate { bytes.truncate(at) } else { bytes[at] ^= 0x40 }
                    },
                );
                let looked = catch_unwind(AssertUnwindSafe(|| look(&disk)));
                let (detected, restored) = looked
                    .unwrap_or_else(|_| panic!("{key} byte {at}, truncated {truncate}: a panic"));
                assert!(detected || restored, "{key} byte {at}, truncated {truncate}: unseen");
                assert!(detected || !must_detect, "{key} byte {at}, truncated {truncate}");
            }
        }
    }
}

#[test]
fn every_flipped_or_missing_byte_of_a_pack_is_detected() {
    every_damage("packs/", 1, true);
}

#[test]
fn every_flipped_or_missing_byte_of_a_manifest_is_detected() {
    every_damage("manifests/", 1, true);
}

#[test]
fn flipped_or_missing_bytes_elsewhere_are_detected_or_harmless() {
    every_damage("", 1, false);
    every_damage("domains/", 5, false);
    every_damage("index/", 97, false);
}

#[test]
fn rot03_any_two_root_copies_may_be_lost() {
    for survivor in 1..=3 {
        for gone in [true, false] {
            let disk = golden();
            for base in ["store".to_owned(), format!("domains/{DOMAIN}")] {
                for copy in (1..=3).filter(|copy| *copy != survivor) {
                    let key = format!("{base}.{copy}");
                    if gone {
                        disk.delete(&key).unwrap();
                    } else {
                        disk.damage(&key, |bytes| bytes.fill(0));
                    }
                }
            }
            let storage: Arc<dyn Storage> = Arc::new(disk.clone());
            let datastore = open(&storage);
            assert_eq!(datastore.domains().unwrap(), [DOMAIN]);
            let slots = datastore.slots(DOMAIN).unwrap().unwrap();
            let secret = slots.open(&WrappingKey::new(&Secret([1; 32]))).unwrap();
            assert_eq!(secret, Secret([9; 32]));
            for copy in 1..=3 {
                let key = format!("store.{copy}");
                assert_eq!(
                    disk.get(&key).unwrap(),
                    disk.get(&format!("store.{survivor}")).unwrap()
                );
            }
        }
    }
    let disk = golden();
    for copy in 1..=3 {
        disk.damage(&format!("store.{copy}"), |bytes| bytes[20] ^= 1);
    }
    assert!(Datastore::open(Arc::new(disk), open_options()).is_err());
}

#[test]
fn rot04_a_damaged_chunk_is_no_dedup_hit_and_the_next_backup_heals_it() {
    let disk = golden();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let datastore = open(&storage);
    let chunk = key().chunk_name(&content(1000, 40));
    let root = datastore.manifest(SAVESET).unwrap().root;
    assert_eq!(datastore.has(DOMAIN, &[chunk, root]).unwrap(), [true, true]);
    let place = datastore.locate(DOMAIN, &[chunk]).unwrap()[0].unwrap();
    let (pack, _) = objects(&disk, "packs/").remove(0);
    disk.damage(&pack, |bytes| bytes[place.offset as usize + place.length as usize - 1] ^= 1);
    assert!(restore(&datastore, SAVESET).is_err());
    assert_eq!(datastore.has(DOMAIN, &[chunk]).unwrap(), [false], "after a failed read");
    let report = datastore.verify_structure(&|_| true).unwrap();
    assert!(!report.is_clean());
    assert_eq!(datastore.has(DOMAIN, &[chunk, root]).unwrap(), [false, false]);
    drop(datastore);
    let datastore = open(&storage);
    assert_eq!(datastore.has(DOMAIN, &[chunk, root]).unwrap(), [false, false], "after a restart");
    backup(&session(&datastore, 2), 1, 2, 40).unwrap();
    assert_eq!(datastore.has(DOMAIN, &[chunk, root]).unwrap(), [true, true]);
    assert_eq!(restore(&datastore, SAVESET).unwrap(), 2 * 4 * 40, "the old saveset too");
}

#[test]
fn idx04_pwr03_a_short_pack_is_not_present_and_a_rebuild_saves_what_is_whole() {
    let golden = golden();
    let (pack, bytes) = objects(&golden, "packs/").remove(0);
    let storage: Arc<dyn Storage> = Arc::new(golden.clone());
    let datastore = open(&storage);
    let chunks: Vec<Name> =
        [1000, 1010].iter().map(|seed| key().chunk_name(&content(*seed, 40))).collect();
    let places = datastore.locate(DOMAIN, &chunks).unwrap();
    drop(datastore);
    for length in 0..bytes {
        let disk = golden.copy();
        disk.damage(&pack, |bytes| bytes.truncate(length));
        let storage: Arc<dyn Storage> = Arc::new(disk);
        let datastore = open(&storage);
        assert_eq!(datastore.has(DOMAIN, &chunks).unwrap(), [false, false], "{length}");
        datastore.rebuild_index().unwrap();
        let whole: Vec<bool> = places
            .iter()
            .map(|place| place.is_some_and(|p| p.offset + u64::from(p.length) <= length as u64))
            .collect();
        assert_eq!(datastore.has(DOMAIN, &chunks).unwrap(), whole, "{length}");
    }
}

#[test]
fn manifests_come_back_from_the_packs() {
    let disk = golden();
    let (key, _) = objects(&disk, "manifests/").remove(0);
    let bytes = disk.get(&key).unwrap();
    for gone in [true, false] {
        if gone {
            disk.delete(&key).unwrap();
        } else {
            disk.damage(&key, |bytes| bytes[100] ^= 1);
        }
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let datastore = open(&storage);
        assert!(datastore.manifests(0, 10).unwrap().is_empty());
        let report = match gone {
            true => datastore.rebuild_manifests_from_packs(),
            false => datastore.rebuild(),
        };
        assert_eq!(report.unwrap().manifests, 1);
        assert_eq!(disk.get(&key).unwrap(), bytes);
        assert_eq!(restore(&datastore, SAVESET).unwrap(), 2 * 4 * 40);
        assert_eq!(datastore.rebuild_manifests_from_packs().unwrap().manifests, 0);
    }
}

#[test]
fn of_two_manifests_of_one_number_the_committed_one_comes_back() {
    use simsim_storage::fault::{FailingStorage, Fault};
    let mut in_doubt = 0;
    for call in 0..120 {
        let disk = golden();
        let failing = FailingStorage::new(disk.clone(), call, Fault::Io);
        let Ok(datastore) = Datastore::open(Arc::new(failing), open_options()) else { continue };
        if backup(&session(&datastore, 2), 5, 2, 40).is_ok() {
            continue;
        }
        drop(datastore);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let datastore = open(&storage);
        let known = datastore.manifests(0, 10).unwrap().len();
        let reply = backup(&session(&datastore, 3), 6, 2, 40).unwrap();
        drop(datastore);
        for (key, _) in objects(&disk, "manifests/") {
            disk.delete(&key).unwrap();
        }
        let datastore = open(&storage);
        assert!(datastore.manifests(0, 10).unwrap().is_empty());
        let report = datastore.rebuild_manifests_from_packs().unwrap();
        assert!(report.manifests > known as u64, "call {call}: {report:?}");
        for saveset in [SAVESET, reply.saveset] {
            assert_eq!(restore(&datastore, saveset).unwrap(), 2 * 4 * 40, "call {call}");
        }
        in_doubt += u32::from(copies_of_number(&disk, reply.sequence) > 1);
    }
    assert!(in_doubt > 0, "no run died between the copy and the manifest");
}

/// Copies of manifests with this sequence number in all packs.
fn copies_of_number(disk: &PowerCutStorage, sequence: u64) -> usize {
    let mut copies = 0;
    for (key, _) in objects(disk, "packs/") {
        let bytes = disk.get(&key).unwrap();
        let is_one =
            |head: &&[u8]| head.starts_with(b"SIMSIMMF") && head.ends_with(&sequence.to_le_bytes());
        copies += bytes.windows(72).filter(is_one).count();
    }
    copies
}

#[test]
fn idx03_a_pack_that_was_not_written_is_not_in_the_index() {
    use simsim_storage::fault::{FailingStorage, Fault};
    let disk = golden();
    for call in 0..60 {
        let disk = disk.copy();
        let failing = FailingStorage::new(disk.clone(), call, Fault::Io);
        let Ok(datastore) = Datastore::open(Arc::new(failing), open_options()) else { continue };
        let writing = session(&datastore, 2);
        let failed = backup(&writing, 5, 8, 3000).is_err();
        let chunk = key().chunk_name(&content(5000, 3000));
        if datastore.has(DOMAIN, &[chunk]).unwrap_or(vec![false])[0] {
            let place = datastore.locate(DOMAIN, &[chunk]).unwrap()[0].unwrap();
            assert!(datastore.read_segment(DOMAIN, place).is_ok(), "call {call}");
        }
        if failed {
            drop(writing);
            drop(datastore);
            let storage: Arc<dyn Storage> = Arc::new(disk);
            let datastore = open(&storage);
            let reply = backup(&session(&datastore, 3), 5, 8, 3000).unwrap();
            assert_eq!(restore(&datastore, reply.saveset).unwrap(), 8 * 4 * 3000);
        }
    }
}

#[test]
fn a_client_cannot_talk_sound_segments_out_of_dedup() {
    let disk = golden();
    let storage: Arc<dyn Storage> = Arc::new(disk);
    let datastore = open(&storage);
    let chunk = key().chunk_name(&content(1000, 40));
    let mut place = datastore.locate(DOMAIN, &[chunk]).unwrap()[0].unwrap();
    place.length -= 1;
    assert!(datastore.read_segment(DOMAIN, place).is_err());
    assert_eq!(datastore.has(DOMAIN, &[chunk]).unwrap(), [true]);
    assert_eq!(session(&datastore, 4).has(&[chunk]).unwrap(), [true]);
}
