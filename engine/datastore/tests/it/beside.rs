//! A check that finds damage while others insert the same content, and read (GC05): whatever comes first, what is sound
//! stays, and what is damaged is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use simsim_datastore::{Datastore, ScrubBudget};
use simsim_model::SavesetId;
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use crate::heal::{in_time, keys};
use crate::hooked::{Answer, Call, Hooked};
use crate::kit::*;

fn first() -> Vec<Vec<u64>> {
    vec![vec![1, 2, 3], vec![4, 5], vec![6]]
}

fn second() -> Vec<Vec<u64>> {
    vec![vec![11, 12], vec![13, 14, 15], vec![16]]
}

/// What is inserted meanwhile: the content that is damaged, and some more.
fn third() -> Vec<Vec<u64>> {
    vec![vec![1, 2, 3], vec![4, 5], vec![6], vec![21, 22]]
}

/// Two savesets; of the first one a segment of content is damaged.
fn damaged() -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    backup_leaves(&session(&datastore, 1), &first()).unwrap();
    let pack = keys(&disk, "packs").remove(0);
    backup_leaves(&session(&datastore, 2), &second()).unwrap();
    disk.damage(&pack, |bytes| bytes[300] ^= 1);
    disk
}

/// How the check is made.
type Check = fn(&Datastore);

fn at_every_read_of(check: Check) {
    let golden = damaged();
    for step in 0.. {
        let hooked = Hooked::new(&golden.copy());
        let storage: Arc<dyn Storage> = hooked.clone();
        let datastore = open(&storage);
        let (reads, beside) = (Arc::new(AtomicU64::new(0)), datastore.clone());
        let counted = Arc::clone(&reads);
        hooked.on(move |call, _| {
            if matches!(call, Call::Read { .. }) && counted.fetch_add(1, SeqCst) == step {
                let beside = beside.clone();
                in_time(move || {
                    let read = restore(&beside, SavesetId([2; 16]));
                    assert_eq!(read, Ok(leaf_bytes(&second())), "read beside the check");
                    // It may be refused, if what it was told is there is lost by now.
                    let _ = backup_leaves(&session(&beside, 3), &third());
                });
            }
            Answer::AsItIs
        });
        check(&datastore);
        hooked.rest();
        let is_over = reads.load(SeqCst) <= step;
        // Found now or then, it is known at the latest after one more check, also to a later opening.
        check(&datastore);
        drop(datastore);
        let datastore = open(&storage);
        backup_leaves(&session(&datastore, 4), &first()).unwrap();
        backup_leaves(&session(&datastore, 5), &third()).unwrap();
        for (saveset, wanted) in [(1, first()), (2, second()), (4, first()), (5, third())] {
            let read = restore(&datastore, SavesetId([saveset; 16]));
            assert_eq!(read, Ok(leaf_bytes(&wanted)), "saveset {saveset}, at read {step}");
        }
        if datastore.manifest(SavesetId([3; 16])).is_ok() {
            let read = restore(&datastore, SavesetId([3; 16]));
            assert_eq!(read, Ok(leaf_bytes(&third())), "what came meanwhile, at read {step}");
        }
        if is_over {
            assert!(step > 8, "a check has reads: {step}");
            return;
        }
    }
}

#[test]
fn gc05_a_verification_that_finds_damage_beside_backups_and_restores_loses_nothing_sound() {
    at_every_read_of(|datastore| {
        datastore.verify_structure(&|_| true).unwrap();
    });
}

#[test]
fn gc05_a_scrub_that_finds_damage_beside_backups_and_restores_loses_nothing_sound() {
    at_every_read_of(|datastore| {
        datastore.scrub(&ScrubBudget::default(), 1, &|_| Ok(()), &|_| true).unwrap();
    });
}
