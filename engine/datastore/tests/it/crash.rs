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

#[test]
fn pwr05_after_a_failed_flush_nothing_is_written_until_reopened() {
    let disk = PowerCutStorage::new();
    drop(Datastore::create(Arc::new(disk.clone()), create_options()).unwrap());
    let mut seen = false;
    for call in 0..80 {
        let disk = disk.copy();
        let failing = Arc::new(FailingStorage::new(disk.clone(), call, Fault::Io));
        let Ok(datastore) = Datastore::open(failing, open_options()) else { continue };
        if backup(&session(&datastore, 1), 1, 2, 500).is_ok() {
            continue;
        }
        let written = disk.events();
        if let Some(reason) = datastore.state().read_only {
            seen = true;
            assert!(!reason.is_empty());
            let error = backup(&session(&datastore, 2), 2, 1, 50).unwrap_err();
            assert!(error.message.contains("opened again"), "{error}");
            assert_eq!(disk.events(), written, "call {call}: something was written");
        }
        drop(datastore);
        let storage: Arc<dyn Storage> = Arc::new(disk);
        backup(&session(&open(&storage), 3), 3, 1, 50).unwrap();
    }
    assert!(seen);
}

#[test]
fn pwr06_the_reserve_occupies_space_and_is_given_back() {
    use simsim_datastore::OpenOptions;
    use simsim_storage::LocalStorage;
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    let reserve = folder.path().join("reserve");
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let options = || OpenOptions { reserve_bytes: Some(1 << 20), ..open_options() };
    for _ in 0..2 {
        let datastore = Datastore::open(storage.clone(), options()).unwrap();
        assert!(std::fs::metadata(&reserve).unwrap().blocks() * 512 >= 1 << 20);
        datastore.release_reserve().unwrap();
        assert!(!reserve.exists());
        datastore.release_reserve().unwrap();
    }
}

/// A volume without a free byte: everything opens and reads, writing says why, and room is enough
/// to write again.
#[test]
fn pwr06_a_datastore_opens_on_a_full_volume_and_writes_again_when_there_is_room() {
    use simsim_storage::LocalStorage;
    let small = match simsim_testkit::SmallFs::tmpfs(8 << 20, Some(60)) {
        Ok(small) => small,
        Err(why) => return simsim_testkit::skip(&why),
    };
    let folder = small.path().join("store");
    let storage = || -> Arc<dyn Storage> { Arc::new(LocalStorage::open(&folder).unwrap()) };
    let datastore = Datastore::create(storage(), create_options()).unwrap();
    let old = backup(&session(&datastore, 1), 1, 2, 500).unwrap().saveset;
    drop(datastore);
    for inodes_too in [false, true] {
        let filler = small.fill("filler").unwrap();
        let fillers: Vec<_> = (0..if inodes_too { 100 } else { 0 })
            .map(|n| small.path().join(format!("f{n}")))
            .take_while(|path| std::fs::File::create(path).is_ok())
            .collect();
        let datastore = Datastore::open(storage(), open_options()).unwrap();
        assert!(datastore.state().read_only.is_some(), "it says so");
        assert_eq!(restore(&datastore, old).unwrap(), 2 * 4 * 500);
        assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
        let error = backup(&session(&datastore, 2), 2, 1, 50).unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{error}");
        std::fs::remove_file(filler).unwrap();
        fillers.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let number = if inodes_too { 4 } else { 3 };
        backup(&session(&datastore, number), u64::from(number), 1, 50).unwrap();
        assert!(datastore.state().read_only.is_none());
        assert!(datastore.state().generation > 1);
        assert_eq!(restore(&datastore, old).unwrap(), 2 * 4 * 500);
    }
}
