//! A volume that fills up at every block, and at every inode, of a backup.

use std::path::Path;
use std::sync::Arc;

use simsim_datastore::Datastore;
use simsim_model::{Kind, SavesetId};
use simsim_storage::{LocalStorage, Storage};
use simsim_testkit::{SmallFs, skip};

use crate::kit::*;

const BLOCK: u64 = 4096;
/// Of one chunk of the backups; a backup has eight.
const CHUNK: usize = 3000;
/// More free blocks or inodes than a backup needs.
const ENOUGH: u64 = 400;

fn storage(small: &SmallFs) -> Arc<dyn Storage> {
    Arc::new(LocalStorage::open(small.path().join("store")).unwrap())
}

/// A datastore with one saveset.
fn with_one_saveset(small: &SmallFs) {
    let datastore = Datastore::create(storage(small), create_options()).unwrap();
    backup(&session(&datastore, 1), 1, 2, CHUNK).unwrap();
}

fn is_whole(datastore: &Datastore, saveset: u8, note: &str) {
    let bytes = restore(datastore, SavesetId([saveset; 16]));
    assert_eq!(bytes, Ok(2 * 4 * CHUNK as u64), "{note}: saveset {saveset}");
}

/// Makes a backup with room for some blocks or inodes, and says whether it was enough. Where it was
/// not, that is said to be the reason, and everything works when there is room again.
fn with_so_much_room(small: &SmallFs, note: &str, make_room: &dyn Fn()) -> bool {
    let datastore = match Datastore::open(storage(small), open_options()) {
        Ok(datastore) => datastore,
        Err(error) => {
            assert_eq!(error.kind(), Kind::Full, "{note}: {error}");
            make_room();
            open(&storage(small))
        }
    };
    let refused = backup(&session(&datastore, 2), 5, 2, CHUNK).err();
    if let Some(error) = &refused {
        assert_eq!(error.kind, Kind::Full, "{note}: {error}");
        let listed = datastore.manifests(0, 10).unwrap();
        assert_eq!(listed.len(), 1, "{note}: what failed is not listed");
    }
    is_whole(&datastore, 1, note);
    make_room();
    drop(datastore);

    let datastore = open(&storage(small));
    is_whole(&datastore, 1, note);
    if refused.is_none() {
        is_whole(&datastore, 2, note);
    }
    backup(&session(&datastore, 3), 9, 2, CHUNK).unwrap();
    is_whole(&datastore, 3, note);
    let report = datastore.verify_structure(&|_| true).unwrap();
    assert!(report.is_clean(), "{note}: {report:?}");
    refused.is_none()
}

/// Gives each number of free blocks or inodes a file system of its own, until a backup fits; it needs
/// more than `too_few`.
fn at_every_one(what: &str, too_few: u64, inodes: Option<u64>, leave: &dyn Fn(&SmallFs, u64)) {
    for free in 0..ENOUGH {
        let small = match SmallFs::tmpfs(4 << 20, inodes) {
            Ok(small) => small,
            Err(why) => return skip(&why),
        };
        with_one_saveset(&small);
        leave(&small, free);
        let filler = small.path().join("filler");
        let make_room = || remove(&filler);
        if with_so_much_room(&small, &format!("{free} {what}"), &make_room) {
            assert!(free > too_few, "{what}: a backup fits into {free}");
            return;
        }
    }
    panic!("{what}: {ENOUGH} are too few for a small backup");
}

fn remove(filler: &Path) {
    let removed = match filler.is_dir() {
        true => std::fs::remove_dir_all(filler),
        false => std::fs::remove_file(filler),
    };
    if let Err(error) = removed {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn pwr06_pwr08_a_volume_that_is_full_at_any_block_of_a_backup_loses_nothing() {
    // Two packs with eight chunks of 3,000 bytes, a run of the index, and a manifest.
    at_every_one("blocks", 8 * CHUNK as u64 / BLOCK, None, &|small, free| {
        let filler = small.fill("filler").unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(filler).unwrap();
        let bytes = file.metadata().unwrap().len() / BLOCK * BLOCK;
        file.set_len(bytes - free * BLOCK).unwrap();
    });
}

#[test]
fn pwr06_pwr08_a_volume_without_an_inode_at_any_time_of_a_backup_loses_nothing() {
    // A pack, a run of the index, and a manifest.
    at_every_one("inodes", 3, Some(200), &|small, free| {
        let filler = small.path().join("filler");
        std::fs::create_dir(&filler).unwrap();
        let file = |number: u64| filler.join(number.to_string());
        let made = (0..).take_while(|number| std::fs::write(file(*number), "").is_ok()).count();
        for number in 0..free.min(made as u64) {
            std::fs::remove_file(file(number)).unwrap();
        }
    });
}
