//! Damage that is met while others look, write, merge or rebuild.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use simsim_datastore::{Datastore, OpenOptions};
use simsim_model::{BackupSession, Name, SegmentPlace};
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use crate::hooked::{Answer, Call, Hooked};
use crate::kit::*;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ESTALE: i32 = 116;

pub fn keys(disk: &PowerCutStorage, folder: &str) -> Vec<String> {
    disk.list(folder).unwrap().map(|object| object.unwrap().key).collect()
}

pub fn store_with(backups: u8) -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    for number in 1..=backups {
        backup(&session(&datastore, number), u64::from(number), 2, 60).unwrap();
    }
    disk
}

/// The first chunk of a backup's data segment.
pub fn chunk(backup: u64, segment: u64) -> Name {
    key().chunk_name(&content(backup * 1000 + segment * 10, 60))
}

/// Without filters in memory, so that lookups read.
pub fn open_bare(storage: &Arc<Hooked>) -> Datastore {
    let options = OpenOptions { filter_bytes: 0, ..open_options() };
    Datastore::open(storage.clone(), options).unwrap()
}

pub fn is_intact(datastore: &Datastore) -> bool {
    session(datastore, 99).terms().unwrap().intact
}

pub fn place_of(datastore: &Datastore, chunk: Name) -> SegmentPlace {
    datastore.locate(DOMAIN, &[chunk]).unwrap()[0].unwrap()
}

/// Waits for `work`, but not for ever.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(Duration::from_secs(120)).expect("it waits for itself, or failed")
}

/// The packs of the damaged run fill the table in memory again, which is written in turn.
#[test]
fn a_flush_that_meets_a_damaged_run_of_full_size_does_not_wait_for_itself() {
    let disk = PowerCutStorage::new();
    drop(Datastore::create(Arc::new(disk.clone()), create_options()).unwrap());
    let storage = Hooked::new(&disk);
    let shared: Arc<dyn Storage> = storage.clone();
    let datastore = open(&shared);
    // The first filter page stands behind 1427 pages of entries.
    storage.on(|call, key| {
        let filter = call == Call::Read { offset: 1427 * 4096 };
        if filter && key.ends_with("01.run") { Answer::Flip } else { Answer::AsItIs }
    });
    in_time(move || {
        let writing = session(&datastore, 1);
        let mut all = Vec::new();
        for number in 0..21u64 {
            let chunks: Vec<Vec<u8>> =
                (0..10_000).map(|chunk| (number * 10_000 + chunk).to_le_bytes().to_vec()).collect();
            let (names, segment) = data_segment(DOMAIN, &chunks);
            writing.put(number, segment).unwrap();
            all.extend(names);
        }
        for names in all.chunks(10_000) {
            assert!(!datastore.has(DOMAIN, names).unwrap().contains(&false));
        }
    });
    assert!(!keys(&disk, "index/").iter().any(|key| key.ends_with("01.run")), "it was replaced");
}

/// A rebuild waits for flushes while it keeps damaged runs from being replaced; a flush whose new run
/// turns out damaged waits for that. Neither may hold what the other waits for.
#[test]
fn a_rebuild_and_a_flush_that_meets_damage_do_not_wait_for_each_other() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let shared: Arc<dyn Storage> = storage.clone();
    let datastore = open(&shared);
    let (names, segment) = data_segment(DOMAIN, &[content(77, 100_000)]);
    session(&datastore, 2).put(0, segment).unwrap();
    let (begun, flush_has_begun) = mpsc::channel();
    let (built, rebuild_has_built) = mpsc::channel();
    let rebuild_has_built = Mutex::new(rebuild_has_built);
    let first = AtomicBool::new(true);
    // Behind a small run's one page of entries stands its filter.
    storage.on(move |call, key| {
        // Whoever looks at all of it meets the damage as well: the rebuild has something to do.
        if call == (Call::Read { offset: 0 }) && key.ends_with("2.run") {
            return Answer::FlipAt(4096);
        }
        if call != (Call::Read { offset: 4096 }) {
            return Answer::AsItIs;
        }
        if key.ends_with("2.run") {
            if first.swap(false, Ordering::SeqCst) {
                begun.send(()).unwrap();
                rebuild_has_built.lock().unwrap().recv().unwrap();
                // It goes on to where it waits for flushes.
                std::thread::sleep(Duration::from_millis(300));
            }
            return Answer::Flip;
        }
        if key.ends_with("3.run") {
            let _ = built.send(());
        }
        Answer::AsItIs
    });
    let flushing = datastore.clone();
    let asked = datastore.clone();
    in_time(move || {
        let flush = std::thread::spawn(move || flushing.close().unwrap());
        flush_has_begun.recv().unwrap();
        datastore.rebuild_index().unwrap();
        flush.join().unwrap();
    });
    storage.rest();
    assert_eq!(asked.has(DOMAIN, &[names[0], chunk(1, 0)]).unwrap(), [true; 2]);
}

/// The packs of a large damaged run, which a merge meets, fill the table in memory; so many runs have
/// come meanwhile that whoever writes one waits for merges.
#[test]
fn a_merge_that_meets_a_damaged_run_does_not_wait_for_merges() {
    const MERGER: &str = "index-merge";
    let disk = store_with(0);
    {
        let shared: Arc<dyn Storage> = Arc::new(disk.clone());
        let datastore = open(&shared);
        // Two small ones, which are merged, and others too large for that.
        for (number, data) in [(1, 1), (2, 1), (3, 8), (4, 8), (5, 8), (6, 8)] {
            backup(&session(&datastore, number), u64::from(number), data, 60).unwrap();
        }
        let large = session(&datastore, 8);
        for number in 0..21u64 {
            let chunks: Vec<Vec<u8>> = (0..10_000)
                .map(|chunk| (1_000_000 + number * 10_000 + chunk).to_le_bytes().to_vec())
                .collect();
            large.put(number, data_segment(DOMAIN, &chunks).1).unwrap();
        }
        let root = node(&[], &[chunk(1, 0)]);
        large.put(21, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
        large.commit(&draft(root.name, 22)).unwrap();
    }
    assert_eq!(keys(&disk, "index/").len(), 8, "one more, and there is something to merge");
    let storage = Hooked::new(&disk);
    let merging = Arc::new(AtomicBool::new(false));
    let (seen, watched, met) = (merging.clone(), disk.clone(), Arc::new(AtomicU32::new(0)));
    let meets = met.clone();
    storage.on(move |call, key| {
        let here = std::thread::current();
        let by_merger = here.name() == Some(MERGER);
        if key.ends_with(".run") && call == (Call::Read { offset: 1427 * 4096 }) {
            // The large run's filter: not to be had at first, damaged when the merge looks.
            if !by_merger {
                return Answer::Fail(EMFILE);
            }
            let met = meets.fetch_add(1, Ordering::SeqCst);
            return if met < 3 { Answer::Flip } else { Answer::AsItIs };
        }
        if by_merger && call == Call::Create && !seen.swap(true, Ordering::SeqCst) {
            // Until those who write runs wait for this merge.
            for _ in 0..2000 {
                if keys(&watched, "index/").len() > 25 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Answer::AsItIs
    });
    let shared: Arc<dyn Storage> = storage.clone();
    let datastore = open(&shared);
    let asked = datastore.clone();
    backup(&session(&datastore, 9), 9, 8, 60).unwrap();
    let begun = merging.clone();
    in_time(move || {
        while !begun.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (writing, closing) = (datastore.clone(), datastore);
        let writer = std::thread::spawn(move || {
            for number in 10..=30u8 {
                backup(&session(&writing, number), u64::from(number), 8, 60).unwrap();
            }
        });
        while keys(&disk, "index/").len() < 25 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // The writer waits; this is one more.
        let (_, segment) = data_segment(DOMAIN, &[content(77, 100_000)]);
        session(&closing, 50).put(0, segment).unwrap();
        closing.close().unwrap();
        writer.join().unwrap();
        while met.load(Ordering::SeqCst) < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(asked.has(DOMAIN, &[chunk(1, 0), chunk(30, 3)]).unwrap(), [true; 2]);
}

#[test]
fn a_storage_that_does_not_answer_is_no_damage_of_a_run() {
    let disk = store_with(3);
    let runs = keys(&disk, "index/");
    let storage = Hooked::new(&disk);
    let wanted = [chunk(1, 0), chunk(2, 1), chunk(3, 0)];
    for errno in [ESTALE, EMFILE, EIO] {
        let datastore = open_bare(&storage);
        storage.refuse(errno, &["index/", "packs/"]);
        assert!(datastore.has(DOMAIN, &wanted).is_err(), "{errno}");
        assert_eq!(keys(&disk, "index/"), runs, "{errno}");
        storage.rest();
        assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [true; 3], "{errno}");
        assert!(is_intact(&datastore), "{errno}");
    }
    for errno in [ESTALE, EMFILE] {
        storage.refuse(errno, &["index/"]);
        assert!(Datastore::open(storage.clone(), open_options()).is_err(), "{errno}");
        storage.rest();
        assert_eq!(keys(&disk, "index/"), runs, "{errno}");
        assert!(is_intact(&open_bare(&storage)), "{errno}");
    }
    // A bad sector in a run is another thing: the packs tell the same.
    let datastore = open_bare(&storage);
    storage.refuse(EIO, &["index/"]);
    assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [true; 3]);
    assert!(is_intact(&datastore));
}

#[test]
fn a_pack_that_is_gone_is_remembered_over_merges_and_rebuilds() {
    for rebuild in [false, true] {
        let disk = store_with(3);
        let old = keys(&disk, "index/");
        disk.delete(&keys(&disk, "packs/")[0]).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let datastore = open(&storage);
        assert!(!is_intact(&datastore));
        if rebuild {
            datastore.rebuild_index().unwrap();
        } else {
            for number in 4..=60u8 {
                backup(&session(&datastore, number), u64::from(number), 2, 60).unwrap();
            }
        }
        for _ in 0..1000 {
            if !keys(&disk, "index/").iter().any(|key| old.contains(key)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!keys(&disk, "index/").iter().any(|key| old.contains(key)), "none is left");
        assert!(!is_intact(&datastore), "rebuild {rebuild}");
        drop(datastore);
        assert!(!is_intact(&open(&storage)), "rebuild {rebuild}");
    }
}

#[test]
fn packs_that_are_gone_with_their_runs_are_remembered() {
    for open_first in [true, false] {
        let disk = store_with(3);
        let storage = Hooked::new(&disk);
        let opened = open_first.then(|| open_bare(&storage));
        for key in keys(&disk, "packs/") {
            disk.delete(&key).unwrap();
        }
        for key in keys(&disk, "index/") {
            // An entry, or what is read at the start.
            disk.damage(&key, |bytes| {
                let at = if open_first { 100 } else { bytes.len() - 4000 };
                bytes[at] ^= 1;
            });
        }
        let datastore = opened.unwrap_or_else(|| open_bare(&storage));
        let wanted = [chunk(1, 0), chunk(2, 0), chunk(3, 0)];
        assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [false; 3]);
        assert!(!is_intact(&datastore));
        drop(datastore);
        assert!(keys(&disk, "index/").is_empty());
        assert!(!is_intact(&open_bare(&storage)), "opened first {open_first}");
    }
}

#[test]
fn names_stay_known_while_their_run_is_replaced() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    for key in keys(&disk, "index/") {
        disk.damage(&key, |bytes| bytes[100] ^= 1);
    }
    let (begun, wait) = mpsc::channel();
    let first = AtomicBool::new(true);
    storage.on(move |_, key| {
        if key.starts_with("packs/") && first.swap(false, Ordering::SeqCst) {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        Answer::AsItIs
    });
    let wanted = [chunk(1, 0), chunk(1, 1)];
    std::thread::scope(|scope| {
        let one = scope.spawn(|| datastore.has(DOMAIN, &wanted).unwrap());
        wait.recv().unwrap();
        assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [true; 2], "beside the replacement");
        assert_eq!(one.join().unwrap(), [true; 2]);
    });
}

#[test]
fn a_rebuild_and_a_flush_beside_it_take_different_run_numbers() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    // Known, and in no run yet.
    let (names, segment) = data_segment(DOMAIN, &[content(77, 100_000)]);
    session(&datastore, 2).put(0, segment).unwrap();
    let first = AtomicBool::new(true);
    let other = datastore.clone();
    storage.on(move |call, _| {
        if call == Call::Create && first.swap(false, Ordering::SeqCst) {
            other.clone().close().unwrap();
        }
        Answer::AsItIs
    });
    datastore.rebuild_index().unwrap();
    storage.rest();
    assert_eq!(datastore.state().read_only, None);
    assert_eq!(datastore.has(DOMAIN, &[names[0], chunk(1, 0)]).unwrap(), [true; 2]);
    assert_eq!(keys(&disk, "index/").len(), 1);
}

#[test]
fn two_losses_that_are_found_at_once_are_both_written_down() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    let chunks = [chunk(1, 0), chunk(1, 1)];
    let places = chunks.map(|chunk| place_of(&datastore, chunk));
    disk.damage(&keys(&disk, "packs/")[0], |bytes| {
        for place in places {
            bytes[place.offset as usize + place.length as usize - 1] ^= 1;
        }
    });
    let (begun, wait) = mpsc::channel();
    let first = AtomicBool::new(true);
    storage.on(move |call, key| {
        if call == Call::Replace && key == "quarantine" && first.swap(false, Ordering::SeqCst) {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        Answer::AsItIs
    });
    std::thread::scope(|scope| {
        scope.spawn(|| datastore.read_segment(DOMAIN, places[0]).unwrap_err());
        wait.recv().unwrap();
        datastore.read_segment(DOMAIN, places[1]).unwrap_err();
    });
    drop(datastore);
    let datastore = open_bare(&storage);
    assert_eq!(datastore.has(DOMAIN, &chunks).unwrap(), [false; 2]);
}

#[test]
fn rot04_a_segment_on_a_bad_sector_is_no_dedup_hit_and_one_on_a_lost_mount_stays_one() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    for (errno, known) in [(ESTALE, true), (EIO, false)] {
        let datastore = open_bare(&storage);
        let place = place_of(&datastore, chunk(1, 0));
        storage.on(move |call, key| {
            let hit = key.starts_with("packs/") && call == Call::Read { offset: place.offset };
            if hit { Answer::Fail(errno) } else { Answer::AsItIs }
        });
        datastore.read_segment(DOMAIN, place).unwrap_err();
        storage.rest();
        assert_eq!(datastore.has(DOMAIN, &[chunk(1, 0)]).unwrap(), [known]);
        drop(datastore);
        let datastore = open_bare(&storage);
        assert_eq!(datastore.has(DOMAIN, &[chunk(1, 0)]).unwrap(), [known], "after a restart");
    }
}
