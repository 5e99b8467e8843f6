//! Reads that come out wrong once and right the next time are no damage (ROT06).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use simsim_datastore::VerifyReport;
use simsim_model::SavesetId;
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use crate::heal::{chunk, is_intact, keys, open_bare, place_of, store_with};
use crate::hooked::{Answer, Call, Hooked};
use crate::kit::*;

const EIO: i32 = 5;

#[derive(Debug, Clone, Copy)]
enum Wrong {
    Flip,
    Io,
}

type Place = (String, u64);

/// The first `times` reads at `victim` come out wrong.
fn wrong_at_first(storage: &Hooked, victim: &Place, times: u32, how: Wrong) -> Arc<AtomicU32> {
    let reads = Arc::new(AtomicU32::new(0));
    let (victim, counted) = (victim.clone(), reads.clone());
    storage.on(move |call, key| {
        let hit = key == victim.0 && call == Call::Read { offset: victim.1 };
        match how {
            _ if !hit || counted.fetch_add(1, Ordering::SeqCst) >= times => Answer::AsItIs,
            Wrong::Flip => Answer::Flip,
            Wrong::Io => Answer::Fail(EIO),
        }
    });
    reads
}

/// Everything that a datastore keeps, but what each opening writes.
fn kept(disk: &PowerCutStorage) -> BTreeMap<String, Vec<u8>> {
    let folders = ["packs/", "index/", "manifests/"].into_iter().flat_map(|f| keys(disk, f));
    let all = folders.chain(["quarantine".to_owned()]);
    all.map(|key| (key.clone(), disk.get(&key).unwrap().to_vec())).collect()
}

fn store() -> PowerCutStorage {
    let disk = store_with(2);
    // Nothing is lost, so that this must come of it also when it is read at the second attempt.
    let list = [b"SIMSIMQU".as_slice(), &0u64.to_le_bytes()].concat();
    disk.put("quarantine", &[list.as_slice(), blake3::hash(&list).as_bytes()].concat()).unwrap();
    disk
}

/// Looks everything up, checks, and restores.
fn look(storage: &Arc<Hooked>, what: &str) -> VerifyReport {
    let datastore = open_bare(storage);
    let wanted = [chunk(1, 0), chunk(2, 1)];
    assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [true; 2], "{what}");
    for saveset in 1..=2 {
        restore(&datastore, SavesetId([saveset; 16])).unwrap();
    }
    let report = datastore.verify_structure(&|_| true).unwrap();
    assert!(report.is_clean(), "{what}: {:?}", report.damaged);
    let state = datastore.state();
    assert!(state.damaged_packs.is_empty() && state.damaged_manifests.is_empty(), "{what}");
    assert!(is_intact(&datastore), "{what}");
    assert_eq!(datastore.verify_structure(&|_| true).unwrap().misreads, 0, "{what}: told once");
    report
}

#[test]
fn rot06_what_is_read_right_at_the_second_or_third_attempt_is_whole_and_the_report_says_so() {
    // Packs are named at random, so it is the same store each time.
    let golden = store();
    let storage = Hooked::new(&golden.copy());
    let read: Arc<Mutex<BTreeSet<Place>>> = Arc::default();
    let seen = read.clone();
    storage.on(move |call, key| {
        if let Call::Read { offset } = call
            && (key.contains('/') || key == "quarantine")
        {
            seen.lock().unwrap().insert((key.to_owned(), offset));
        }
        Answer::AsItIs
    });
    look(&storage, "sound");
    let read = read.lock().unwrap().clone();
    for folder in ["packs/", "index/", "manifests/", "quarantine"] {
        assert!(read.iter().any(|(key, _)| key.starts_with(folder)), "{folder} was not read");
    }
    for victim in &read {
        for (how, times) in [(Wrong::Flip, 1), (Wrong::Flip, 2), (Wrong::Io, 1), (Wrong::Io, 2)] {
            let what = format!("{victim:?} {how:?} {times}");
            let disk = golden.copy();
            let storage = Hooked::new(&disk);
            let before = kept(&disk);
            let reads = wrong_at_first(&storage, victim, times, how);
            let report = look(&storage, &what);
            assert!(reads.load(Ordering::SeqCst) > times, "{what}");
            assert_eq!(report.misreads, 1, "{what}: {report:?}");
            assert!(report.misread[0].contains(&victim.0), "{what}: {report:?}");
            assert!(storage.forgotten.lock().unwrap().contains(&victim.0), "{what}");
            assert_eq!(kept(&disk), before, "{what}: nothing is replaced");
        }
    }
}

#[test]
fn rot06_a_restore_reads_a_segment_again_and_what_is_wrong_three_times_is_damaged() {
    for how in [Wrong::Flip, Wrong::Io] {
        for (times, whole) in [(1, true), (2, true), (3, false)] {
            let disk = store_with(1);
            let storage = Hooked::new(&disk);
            let datastore = open_bare(&storage);
            let place = place_of(&datastore, chunk(1, 0));
            let pack = &keys(&disk, "packs/")[0];
            wrong_at_first(&storage, &(pack.clone(), place.offset), times, how);
            let read = datastore.read_segment(DOMAIN, place);
            assert_eq!(read.is_ok(), whole, "{how:?} {times}");
            storage.rest();
            assert_eq!(datastore.has(DOMAIN, &[chunk(1, 0)]).unwrap(), [whole], "{how:?} {times}");
            assert_eq!(is_intact(&datastore), whole);
        }
    }
}

#[test]
fn rot06_a_check_says_whether_the_medium_gave_the_same_wrong_bytes_each_time() {
    for (same, words) in [(true, "lie there like that"), (false, "memory, cable and controller")] {
        let disk = store_with(1);
        let storage = Hooked::new(&disk);
        let datastore = open_bare(&storage);
        let place = place_of(&datastore, chunk(1, 0));
        let count = Mutex::new(0);
        storage.on(move |call, key| {
            let hit = key.starts_with("packs/") && call == Call::Read { offset: place.offset };
            let mut count = count.lock().unwrap();
            *count += u64::from(hit);
            match hit {
                true if same => Answer::Flip,
                true => Answer::FlipAt(*count as usize),
                false => Answer::AsItIs,
            }
        });
        let report = datastore.verify_structure(&|_| true).unwrap();
        let told = report.damaged.iter().find(|damage| damage.offset == place.offset).unwrap();
        assert!(told.what.contains(words), "{}", told.what);
    }
}

/// Places that clients make up are not read again, and talk nothing out of dedup.
#[test]
fn rot06_a_place_that_no_footer_names_is_read_once() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    let mut place = place_of(&datastore, chunk(1, 0));
    place.offset += 1;
    assert!(datastore.read_segment(DOMAIN, place).is_err());
    assert!(storage.forgotten.lock().unwrap().is_empty());
    assert!(is_intact(&datastore));
}
