//! Power cuts, failing disks and full volumes while garbage is collected.

use std::sync::Arc;

use simsim_datastore::{Datastore, OpenOptions};
use simsim_model::Kind;
use simsim_storage::fault::{CrashVariant, FailingStorage, Fault};
use simsim_storage::{LocalStorage, Storage};

use crate::gc::*;
use crate::kit::*;

/// A power cut at every write, rename and deletion of two deletions and a collection.
#[test]
fn gc10_pwr04_a_power_cut_at_any_instant_of_a_collection_loses_nothing() {
    let (datastore, _, disk) = fresh();
    let mut model = four(&datastore, FEW);
    delete(&datastore, &[4]);
    collect(&datastore);
    model.remove(&4);
    let begun = disk.events();
    delete(&datastore, &[1]);
    let deleted = disk.events();
    model.remove(&1);
    let first = collect(&datastore);
    assert!(first.packs_deleted > 0 && first.packs_written > 0, "{first:?}");
    let bytes = datastore.state().bytes;
    drop(datastore);
    for events in begun..=disk.events() {
        for variant in CrashVariant::ALL {
            let note = format!("{events} of {}, {variant:?}", disk.events());
            let image: Arc<dyn Storage> = Arc::new(disk.crash_image(events, variant));
            let datastore = open(&image);
            let mut model = model.clone();
            if datastore.manifest(id(1)).is_ok() {
                assert!(events < deleted, "{note}: it was deleted");
                model.insert(1, leaves(0, FEW));
            }
            assert_holds(&datastore, &model, &note);
            // What is dead may be relied on again, or not; never by half.
            let tree = [leaves(0, FEW), leaves(500, 5)].concat();
            backup_leaves(&session(&datastore, 7), &tree).unwrap();
            model.insert(7, tree);
            assert_holds(&datastore, &model, &note);
            delete(&datastore, &[7]);
            model.remove(&7);
            if model.contains_key(&1) {
                delete(&datastore, &[1]);
                model.remove(&1);
            }
            collect(&datastore);
            assert_holds(&datastore, &model, &format!("{note}, collected"));
            assert!(datastore.state().bytes <= bytes + 20_000, "{note}: something is left");
        }
    }
}

/// Every call to the storage fails once, in every way, also in what the next opening does.
#[test]
fn gc10_pwr01_a_collection_that_fails_at_any_call_loses_nothing() {
    for fault in [Fault::Io, Fault::Full, Fault::ShortWrite, Fault::LostReply] {
        let (datastore, _, start) = fresh();
        let mut model = four(&datastore, FEW);
        drop(datastore);
        for number in [1, 4] {
            model.remove(&number);
        }
        for call in 0.. {
            let disk = start.copy();
            let failing = Arc::new(FailingStorage::new(disk.clone(), call, fault));
            let mut told = false;
            if let Ok(datastore) = Datastore::open(failing.clone(), open_options()) {
                told = datastore.delete_savesets(&[id(1), id(4)], now()).is_ok();
                let _ = datastore.collect_garbage(&eager(), &|_| true);
                for (number, leaves) in &model {
                    let restored = restore(&datastore, id(*number));
                    assert!(
                        restored == Ok(leaf_bytes(leaves)) || failing.has_failed(),
                        "{fault:?} at call {call}: {restored:?}"
                    );
                }
            }
            let note = format!("{fault:?} at call {call}");
            let storage: Arc<dyn Storage> = Arc::new(disk);
            let datastore = open(&storage);
            let mut model = model.clone();
            for (number, tree) in [(1, leaves(0, FEW)), (4, leaves(500, FEW))] {
                if datastore.manifest(id(number)).is_ok() {
                    assert!(!told, "{note}: {number} was deleted");
                    model.insert(number, tree);
                }
            }
            assert_holds(&datastore, &model, &note);
            collect(&datastore);
            assert_holds(&datastore, &model, &format!("{note}, again"));
            if !failing.has_failed() {
                assert!(told);
                break;
            }
        }
    }
}

/// No byte and no inode is free: deleting and collecting work, and there is room again.
#[test]
fn pwr06_a_full_volume_is_freed_by_deleting_and_collecting() {
    for inodes_too in [false, true] {
        let small = match simsim_testkit::SmallFs::tmpfs(8 << 20, Some(80)) {
            Ok(small) => small,
            Err(why) => return simsim_testkit::skip(&why),
        };
        let folder = small.path().join("store");
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&folder).unwrap());
        drop(Datastore::create(storage.clone(), create_options()).unwrap());
        let options = OpenOptions { reserve_bytes: Some(512 << 10), ..open_options() };
        let datastore = Datastore::open(storage, options).unwrap();
        let mut model = with_four(&datastore);
        let filler = small.fill("filler").unwrap();
        let fillers: Vec<_> = (0..if inodes_too { 100 } else { 0 })
            .map(|n| small.path().join(format!("f{n}")))
            .take_while(|path| std::fs::File::create(path).is_ok())
            .collect();
        let error = backup(&session(&datastore, 7), 70, 2, 3000).unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{error}");
        let before = datastore.state().bytes;
        delete(&datastore, &[1, 4]);
        model.retain(|number, _| ![1, 4].contains(number));
        let report = collect(&datastore);
        assert!(report.bytes_deleted > 0, "{report:?}");
        assert!(datastore.state().bytes < before, "{inodes_too}: {report:?}");
        assert_holds(&datastore, &model, "freed");
        let more = leaves(700, 5);
        backup_leaves(&session(&datastore, 8), &more).unwrap();
        model.insert(8, more);
        assert_holds(&datastore, &model, "written again");
        drop((filler, fillers));
    }
}

/// Times of files, of whatever kind, decide nothing.
#[test]
fn gc03_file_times_decide_nothing() {
    for years in [-50_i64, 50] {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
        let datastore = Datastore::create(storage, create_options()).unwrap();
        let mut model = with_four(&datastore);
        delete(&datastore, &[1, 4]);
        model.retain(|number, _| ![1, 4].contains(number));
        let time = rustix::fs::Timespec {
            tv_sec: i64::try_from(now()).unwrap() + years * 365 * 86_400,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let mut folders = vec![folder.path().to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
                let flags = rustix::fs::AtFlags::empty();
                rustix::fs::utimensat(rustix::fs::CWD, entry.path(), &times, flags).unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        let report = collect(&datastore);
        assert!(report.bytes_deleted > chunk_bytes(&leaves(500, 30)), "{report:?}");
        assert_holds(&datastore, &model, "collected");
    }
}
