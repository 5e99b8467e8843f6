//! What a power cut, a failing disk and rot leave behind.

use std::sync::Arc;

use simsim_datastore::Datastore;
use simsim_model::{Kind, SavesetId};
use simsim_storage::Storage;
use simsim_storage::fault::{CrashVariant, FailingStorage, Fault, PowerCutStorage};

use crate::kit::*;

#[test]
fn pwr04_every_crash_image_keeps_acknowledged_savesets_and_shows_nothing_by_halves() {
    let disk = PowerCutStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let created = disk.events();
    let datastore = open(&storage);
    let mut acknowledged = Vec::new();
    for number in 1..=3u8 {
        let reply = backup(&session(&datastore, number), u64::from(number), 4, 9000).unwrap();
        acknowledged.push((disk.events(), reply.saveset));
    }
    drop(datastore);
    for events in created..=disk.events() {
        for variant in CrashVariant::ALL {
            let image: Arc<dyn Storage> = Arc::new(disk.crash_image(events, variant));
            let datastore = Datastore::open(image, open_options()).unwrap();
            for (at, saveset) in &acknowledged {
                let restored = restore(&datastore, *saveset);
                if events >= *at {
                    assert_eq!(restored.unwrap(), 4 * 4 * 9000, "{events} {variant:?}");
                }
            }
            for manifest in datastore.manifests(0, 100).unwrap() {
                restore(&datastore, manifest.saveset).unwrap();
            }
            assert!(datastore.state().damaged_manifests.is_empty());
            assert!(datastore.state().damaged_packs.is_empty());
            backup(&session(&datastore, 9), 9, 1, 50).unwrap();
        }
    }
}

#[test]
fn pwr01_every_failing_call_leaves_a_saveset_that_is_whole_or_absent() {
    for fault in [Fault::Io, Fault::Full, Fault::ShortWrite, Fault::LostReply] {
        let start = PowerCutStorage::new();
        let storage: Arc<dyn Storage> = Arc::new(start.clone());
        let datastore = Datastore::create(storage, create_options()).unwrap();
        let old = backup(&session(&datastore, 1), 1, 2, 500).unwrap().saveset;
        drop(datastore);
        for call in 0.. {
            let disk = start.copy();
            let failing = Arc::new(FailingStorage::new(disk.clone(), call, fault));
            let new = SavesetId([2; 16]);
            let result = Datastore::open(failing.clone(), open_options()).map(|datastore| {
                backup(&session(&datastore, 2), 2, 9, 3000)
                    .inspect_err(|error| {
                        if fault == Fault::Full {
                            assert_eq!(error.kind(), Kind::Full, "call {call}: {error}");
                        }
                    })
                    .is_ok()
            });
            let acknowledged = matches!(result, Ok(true));
            let storage: Arc<dyn Storage> = Arc::new(disk);
            let datastore = open(&storage);
            assert_eq!(restore(&datastore, old).unwrap(), 2 * 4 * 500);
            let restored = restore(&datastore, new);
            let visible = datastore.manifests(0, 10).unwrap().len() == 2;
            assert_eq!(visible, restored.is_ok(), "{fault:?} at call {call}: {restored:?}");
            assert!(visible || !acknowledged, "{fault:?} at call {call}: lost");
            assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
            if !failing.has_failed() {
                assert!(acknowledged);
                break;
            }
        }
    }
}
