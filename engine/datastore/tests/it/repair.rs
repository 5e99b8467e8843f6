//! What puts a datastore right: it changes nothing of one that is right, sets aside what it writes over,
//! may die anywhere, and has done all that it can after one run.

use std::collections::BTreeMap;
use std::sync::Arc;

use simsim_datastore::{Datastore, MendReport, RebuildReport, VerifyReport};
use simsim_model::BackupSession;
use simsim_storage::Storage;
use simsim_storage::fault::{CrashVariant, PowerCutStorage};

use crate::gc::{collect, delete, id};
use crate::heal::keys;
use crate::kit::*;

const FOLDERS: [&str; 6] = ["", "packs/", "index/", "manifests/", "domains/", "set-aside/"];

type Tree = BTreeMap<String, Vec<u8>>;

/// Every object, but those that each opening and each check write: the lock, the generation, the dates
/// of checks.
fn tree(disk: &PowerCutStorage) -> Tree {
    let passing = |key: &str| key == "lock" || key == "checked" || key.starts_with("generation.");
    let all = FOLDERS.iter().flat_map(|folder| keys(disk, folder));
    all.filter(|key| !passing(key))
        .map(|key| (key.clone(), disk.get(&key).unwrap().to_vec()))
        .collect()
}

/// Without the index, whose runs may have other numbers; what it says is looked at otherwise.
fn without_index(disk: &PowerCutStorage) -> Tree {
    let mut tree = tree(disk);
    tree.retain(|key, _| !key.starts_with("index/"));
    tree
}

type Repaired = (MendReport, RebuildReport, VerifyReport);

/// One run of all that puts right: a check that finds, what can be put back, index and manifests from the
/// packs, a check that says what is left.
fn repair(disk: &PowerCutStorage) -> Repaired {
    let datastore = Datastore::open(Arc::new(disk.clone()), open_options()).unwrap();
    datastore.verify_structure(&|_| true).unwrap();
    let mended = datastore.mend().unwrap();
    let rebuilt = datastore.rebuild().unwrap();
    let left = datastore.verify_structure(&|_| true).unwrap();
    datastore.close().unwrap();
    (mended, rebuilt, left)
}

/// Three savesets; the segment of the first one's data lies in a second pack, too, byte for byte. A
/// fourth was deleted and collected.
fn healthy() -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    for number in 3..=4 {
        backup(&session(&datastore, number), u64::from(number), 3, 700).unwrap();
    }
    delete(&datastore, &[4]);
    // It would leave one of two that are the same.
    collect(&datastore);
    let chunks: Vec<Vec<u8>> = (0..4).map(|seed| content(seed, 900)).collect();
    let (names, segment) = data_segment(DOMAIN, &chunks);
    for number in 1..=2 {
        let writing = session(&datastore, number);
        writing.put(0, segment.clone()).unwrap();
        let root = node(&[], &names[..usize::from(number)]);
        writing.put(1, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
        writing.commit(&draft(root.name, 2)).unwrap();
    }
    datastore.extend_locks(&[(id(1), 7)]).unwrap();
    datastore.close().unwrap();
    // An opening that meets nothing new, so that trees compare.
    Datastore::open(Arc::new(disk.clone()), open_options()).unwrap().close().unwrap();
    disk
}

/// The packs that hold data of the first two savesets, the first one first.
fn twins(disk: &PowerCutStorage) -> Vec<String> {
    let datastore = Datastore::open(Arc::new(disk.clone()), open_options()).unwrap();
    let chunk = key().chunk_name(&content(0, 900));
    let place = datastore.locate(DOMAIN, &[chunk]).unwrap()[0].unwrap();
    let held = datastore.read_segment(DOMAIN, place).unwrap();
    let mut packs = keys(disk, "packs/");
    packs.retain(|pack| {
        let bytes = disk.get(pack).unwrap();
        bytes.windows(held.len()).any(|window| window == held)
    });
    packs
}

fn flip(disk: &PowerCutStorage, key: &str, at: usize) {
    let mut bytes = disk.get(key).unwrap().to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 4;
    disk.replace(key, &bytes).unwrap();
}

/// A segment with a twin, a manifest, copies of root, tombstones and locks, and the whole index.
fn damage(disk: &PowerCutStorage) {
    let packs = twins(disk);
    assert_eq!(packs.len(), 2, "{packs:?}");
    flip(disk, &packs[0], 200);
    flip(disk, &format!("manifests/{}", id(3)), 40);
    flip(disk, "store.2", 9);
    flip(disk, "tombstones.3", 9);
    flip(disk, "locks.1", 9);
    for run in keys(disk, "index/") {
        flip(disk, &run, 5000);
    }
}

fn all_restore(disk: &PowerCutStorage, note: &str) {
    let datastore = Datastore::open(Arc::new(disk.clone()), open_options()).unwrap();
    for (number, bytes) in [(1, 900), (2, 1800), (3, 3 * 4 * 700)] {
        assert_eq!(restore(&datastore, id(number)), Ok(bytes), "{note}: {number}");
    }
}

#[test]
fn rep01_a_repair_of_a_healthy_datastore_changes_nothing() {
    let disk = healthy();
    let before = tree(&disk);
    assert!(before.keys().any(|key| key.starts_with("index/")), "{:?}", before.keys());
    for round in 0..2 {
        let (mended, rebuilt, left) = repair(&disk);
        assert_eq!(mended, MendReport::default());
        assert_eq!((rebuilt.manifests, rebuilt.damaged_segments, rebuilt.lost_packs), (0, 0, 0));
        assert!(rebuilt.packs > 1 && rebuilt.items > 1, "{rebuilt:?}");
        assert!(left.is_clean(), "{left:?}");
        let after = tree(&disk);
        let keys = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&after), keys(&before), "round {round}");
        assert!(after == before, "round {round}: an object changed");
    }
    let datastore = Datastore::open(Arc::new(disk.clone()), open_options()).unwrap();
    datastore.rebuild_index().unwrap();
    datastore.rebuild_manifests_from_packs().unwrap();
    drop(datastore);
    assert!(tree(&disk) == before, "each by itself");
}

/// Where something lay that was set aside, and its bytes: read by the documented format.
fn record(object: &[u8]) -> (String, usize, Vec<u8>) {
    assert_eq!(&object[..16], b"SIMSIMSA\x01\0\0\0\0\0\0\0");
    let number = |at: usize, bytes: usize| {
        object[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (offset, key, bytes) = (number(16, 8), number(24, 4), number(32, 8));
    let text = String::from_utf8(object[40..40 + key].to_vec()).unwrap();
    assert_eq!(object.len(), 40 + key + bytes);
    (text, offset, object[40 + key..].to_vec())
}

#[test]
fn rep01_what_a_repair_writes_over_is_set_aside_and_can_be_put_back() {
    let disk = healthy();
    let whole = tree(&disk);
    damage(&disk);
    let damaged = without_index(&disk);
    let (mended, rebuilt, left) = repair(&disk);
    assert_eq!((mended.segments, rebuilt.manifests), (1, 1), "{mended:?} {rebuilt:?}");
    assert!(left.is_clean(), "{left:?}");
    all_restore(&disk, "repaired");
    let after = without_index(&disk);
    for (key, bytes) in &whole {
        if !key.starts_with("index/") {
            assert!(after.get(key) == Some(bytes), "{key} is as it was before it was damaged");
        }
    }
    // And back again.
    let mut undone = after;
    undone.retain(|key, _| !key.starts_with("set-aside/"));
    let aside = keys(&disk, "set-aside/");
    assert_eq!(aside.len(), 5, "{aside:?}");
    for key in aside {
        let object = disk.get(&key).unwrap();
        assert_eq!(key, format!("set-aside/{}", blake3::hash(&object).to_hex()));
        let (place, offset, bytes) = record(&object);
        let there = undone.get_mut(&place).unwrap();
        there[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    for (key, bytes) in &damaged {
        let passing = key == "quarantine";
        assert!(passing || undone.get(key) == Some(bytes), "{key} can be had as it was found");
    }
}

/// A power cut at every write, flush and rename of a repair; then the repair again.
#[test]
fn rep02_a_repair_that_dies_anywhere_and_is_made_again_comes_to_the_same() {
    let disk = healthy();
    damage(&disk);
    let begun = disk.events();
    repair(&disk);
    let ended = disk.events();
    assert!(ended > begun + 30, "{begun} to {ended}");
    let uninterrupted = without_index(&disk);
    for events in begun..=ended {
        for variant in CrashVariant::ALL {
            let note = format!("{events} of {begun} to {ended}, {variant:?}");
            let image = disk.crash_image(events, variant);
            let (_, _, left) = repair(&image);
            assert!(left.is_clean(), "{note}: {left:?}");
            let after = without_index(&image);
            let keys = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&after), keys(&uninterrupted), "{note}");
            for (key, bytes) in &after {
                assert!(uninterrupted.get(key) == Some(bytes), "{note}: {key} differs: {bytes:?}");
            }
            all_restore(&image, &note);
        }
    }
}

/// Whatever the damage: what one run cannot put right no second run does, and a second one changes
/// nothing.
#[test]
fn rep03_one_run_of_a_repair_does_all_that_can_be_done() {
    type Harm = (&'static str, fn(&PowerCutStorage), bool);
    let harms: [Harm; 10] = [
        ("everything at once", damage, true),
        (
            "every page of the index, filters among them",
            |disk| {
                for run in keys(disk, "index/") {
                    let length = disk.get(&run).unwrap().len();
                    for page in (0..length).step_by(4096) {
                        flip(disk, &run, page + 17);
                    }
                }
            },
            true,
        ),
        (
            "no index",
            |disk| {
                keys(disk, "index/").iter().for_each(|run| disk.delete(run).unwrap());
            },
            true,
        ),
        (
            "no manifests",
            |disk| {
                keys(disk, "manifests/").iter().for_each(|one| disk.delete(one).unwrap());
            },
            true,
        ),
        (
            "an empty manifest",
            |disk| {
                disk.replace(&format!("manifests/{}", id(2)), b"").unwrap();
            },
            true,
        ),
        (
            "two copies of everything that is there three times",
            |disk| {
                for base in ["store", "tombstones", "locks"] {
                    flip(disk, &format!("{base}.1"), 70);
                    disk.delete(&format!("{base}.3")).unwrap();
                }
            },
            true,
        ),
        (
            "no list of what is lost",
            |disk| {
                disk.replace("quarantine", b"nothing that can be read").unwrap();
            },
            true,
        ),
        (
            "a pack without its end",
            |disk| {
                let pack = twins(disk).swap_remove(0);
                let bytes = disk.get(&pack).unwrap();
                disk.replace(&pack, &bytes[..bytes.len() - 40]).unwrap();
            },
            false,
        ),
        (
            "a pack that is gone",
            |disk| {
                let pack = twins(disk).swap_remove(1);
                disk.delete(&pack).unwrap();
            },
            false,
        ),
        (
            "a segment without a twin",
            |disk| {
                let twins = twins(disk);
                let mut packs = keys(disk, "packs/");
                packs.retain(|pack| !twins.contains(pack));
                flip(disk, &packs[0], 150);
            },
            false,
        ),
    ];
    for (what, harm, all_comes_back) in harms {
        let disk = healthy();
        harm(&disk);
        let (_, _, first) = repair(&disk);
        assert_eq!(first.is_clean(), all_comes_back, "{what}: {first:?}");
        let after = tree(&disk);
        let (mended, rebuilt, second) = repair(&disk);
        assert_eq!((mended, rebuilt.manifests), (MendReport::default(), 0), "{what}");
        assert_eq!(second.damages, first.damages, "{what}: {first:?} {second:?}");
        let again = tree(&disk);
        match all_comes_back {
            true => {
                assert!(again == after, "{what}: the second run changed something");
                all_restore(&disk, what);
            }
            // The index of what is damaged is made again, with the same content.
            false => {
                let files = |tree: Tree| -> Tree {
                    tree.into_iter().filter(|(key, _)| !key.starts_with("index/")).collect()
                };
                assert!(files(again) == files(after), "{what}: the second run changed something");
            }
        }
    }
}
