//! Putting things right: never at the price of what is there (REP01), whenever it is interrupted (REP02), and
//! in one run (REP03).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use simsim_datastore::Datastore;
use simsim_format::{KeySlots, WrappingKey};
use simsim_model::{SavesetId, Secret};
use simsim_storage::Storage;
use simsim_storage::fault::{CrashVariant, PowerCutStorage};

use crate::heal::{keys, store_with};
use crate::kit::*;

type Objects = BTreeMap<String, Bytes>;

/// What no index and no cache can make again: packs, manifests, key slots.
fn kept(disk: &PowerCutStorage) -> Objects {
    let mut kept = Objects::new();
    for folder in ["packs/", "manifests/", "domains/"] {
        kept.extend(keys(disk, folder).into_iter().map(|key| {
            let bytes = disk.get(&key).unwrap();
            (key, bytes)
        }));
    }
    kept
}

/// A disk whose log tells of everything on it, so that crash images hold it.
fn logged(disk: &PowerCutStorage) -> PowerCutStorage {
    let anew = PowerCutStorage::new();
    for key in keys(disk, "") {
        anew.replace(&key, &disk.get(&key).unwrap()).unwrap();
    }
    anew
}

fn healthy() -> PowerCutStorage {
    let disk = store_with(4);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let datastore = open(&storage);
    let mut slots = KeySlots::new(DOMAIN);
    slots.add(&WrappingKey::new(&Secret([1; 32])), &Secret([9; 32])).unwrap();
    datastore.put_slots(&slots).unwrap();
    drop(datastore);
    disk
}

/// Something of every sort is wrong: a pack is gone, the table at the end of another one is, a third has rot in
/// its middle, a manifest is gone and another one is rubbish, and so is the index.
fn damaged() -> PowerCutStorage {
    let disk = healthy();
    let (packs, manifests) = (keys(&disk, "packs/"), keys(&disk, "manifests/"));
    disk.delete(&packs[0]).unwrap();
    disk.damage(&packs[1], |bytes| bytes.truncate(bytes.len() - 9));
    disk.damage(&packs[2], |bytes| bytes[80] ^= 1);
    disk.delete(&manifests[2]).unwrap();
    disk.damage(&manifests[3], |bytes| bytes[20] ^= 1);
    for run in keys(&disk, "index/") {
        disk.damage(&run, |bytes| bytes[10] ^= 1);
    }
    disk
}

/// All that there is to put things right.
fn repair(disk: &PowerCutStorage) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let datastore = open(&storage);
    datastore.rebuild().unwrap();
    datastore.mend().unwrap();
    datastore.verify_structure(&|_| true).unwrap();
}

/// What somebody has of a datastore: which savesets there are, what restores, what a check says.
fn worth(disk: &PowerCutStorage) -> (Vec<Result<u64, ()>>, Vec<SavesetId>, Vec<String>) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let datastore: Datastore = open(&storage);
    let savesets = datastore.manifests(0, usize::MAX).unwrap();
    let savesets: Vec<SavesetId> = savesets.iter().map(|one| one.saveset).collect();
    let restored = (1..=4).map(|one| restore(&datastore, SavesetId([one; 16])).map_err(drop));
    let restored = restored.collect();
    let report = datastore.verify_structure(&|_| true).unwrap();
    let mut found: Vec<String> = report.damaged.iter().map(|one| format!("{one:?}")).collect();
    found.sort_unstable();
    (restored, savesets, found)
}

#[test]
fn rep01_putting_a_healthy_datastore_right_changes_nothing() {
    let disk = healthy();
    let (before, was) = (kept(&disk), worth(&disk));
    for _ in 0..2 {
        repair(&disk);
        assert_eq!(kept(&disk), before);
    }
    assert_eq!(worth(&disk), was);
    assert!(was.2.is_empty() && was.0.iter().all(Result::is_ok), "{was:?}");
}

#[test]
fn rep01_nothing_is_thrown_away_however_damaged_it_looks() {
    let disk = damaged();
    let before = kept(&disk);
    repair(&disk);
    let after = kept(&disk);
    for (key, bytes) in &before {
        let there = after.get(key).unwrap_or_else(|| panic!("{key} was thrown away"));
        // Only a manifest that was rubbish is written anew.
        assert!(there == bytes || key.starts_with("manifests/"), "{key} was changed");
    }
    assert!(after.len() > before.len(), "the manifest that was gone is there again");
}

#[test]
fn rep02_a_repair_that_is_cut_off_anywhere_and_run_again_comes_to_the_same() {
    let damaged = logged(&damaged());
    let whole = damaged.copy();
    repair(&whole);
    let wanted = (worth(&whole), kept(&whole));
    let begun = damaged.events();
    repair(&damaged);
    let steps = damaged.events();
    assert!(steps > begun + 20, "a repair has steps: {begun} {steps}");
    for events in begun..=steps {
        for variant in CrashVariant::ALL {
            let image = damaged.crash_image(events, variant);
            repair(&image);
            assert_eq!((worth(&image), kept(&image)), wanted, "after {events}, {variant:?}");
        }
    }
}

#[test]
fn rep03_one_run_does_all_that_can_be_done() {
    let disk = damaged();
    let hurt = worth(&disk.copy());
    repair(&disk);
    let (once, objects) = (worth(&disk), kept(&disk));
    repair(&disk);
    assert_eq!((worth(&disk), kept(&disk)), (once.clone(), objects));
    let restores = |worth: &(Vec<Result<u64, ()>>, Vec<SavesetId>, Vec<String>)| {
        worth.0.iter().filter(|one| one.is_ok()).count()
    };
    assert!(restores(&once) > restores(&hurt), "it had an effect: {hurt:?} {once:?}");
}
