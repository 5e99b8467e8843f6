//! What is lost is never forgotten before it is made good, and is forgotten then.

use std::sync::Arc;

use simsim_datastore::VerifyReport;
use simsim_model::{BackupSession, Name, SavesetId};
use simsim_storage::Storage;

use crate::heal::{chunk, is_intact, keys, open_bare, place_of, store_with};
use crate::hooked::{Answer, Call, Hooked};
use crate::kit::*;

const EIO: i32 = 5;

fn check(datastore: &simsim_datastore::Datastore) -> VerifyReport {
    datastore.verify_structure(&|_| true).unwrap()
}

#[test]
fn a_loss_that_is_made_good_is_settled_for_good_by_a_clean_check() {
    for gone in 1..=3 {
        let disk = store_with(3);
        let runs = keys(&disk, "index/");
        for pack in keys(&disk, "packs/").iter().take(gone) {
            disk.delete(pack).unwrap();
        }
        let storage = Hooked::new(&disk);
        let datastore = open_bare(&storage);
        assert!(!is_intact(&datastore), "{gone}");
        // The same content again: everything that the lost packs held.
        for number in 1..=3u8 {
            backup(&session(&datastore, 10 + number), u64::from(number), 2, 60).unwrap();
        }
        assert!(!is_intact(&datastore), "{gone}: nobody has looked yet");
        let report = check(&datastore);
        assert!(report.is_clean(), "{gone}: {:?}", report.damaged);
        assert!(is_intact(&datastore), "{gone}");
        drop(datastore);
        let datastore = open_bare(&storage);
        assert!(is_intact(&datastore), "{gone}: at the next opening");
        assert!(datastore.state().damaged_packs.is_empty(), "{gone}");
        let left = keys(&disk, "index/").iter().filter(|run| runs.contains(run)).count();
        assert_eq!(left, 3 - gone, "{gone}: runs that name lost packs are written anew");
        for saveset in (1..=3).chain(11..=13) {
            restore(&datastore, SavesetId([saveset; 16])).unwrap();
        }
    }
}

#[test]
fn a_loss_that_comes_while_a_check_runs_is_not_settled_by_it() {
    let disk = store_with(3);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    let other = datastore.clone();
    let report = datastore.verify_structure(&|done| {
        if done.packs_done == done.packs {
            // A node that refers to what nobody has.
            let session = session(&other, 9);
            let root = node(&[], &[Name([9; 32])]);
            session.put(0, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
            session.commit(&draft(root.name, 1)).unwrap_err();
        }
        true
    });
    assert!(report.unwrap().is_clean());
    assert!(!is_intact(&datastore));
}

#[test]
fn a_death_between_replacing_a_run_and_writing_the_loss_down_forgets_nothing() {
    for open_first in [true, false] {
        let disk = store_with(3);
        let wanted = [chunk(1, 0), chunk(2, 0), chunk(3, 0)];
        let storage = Hooked::new(&disk);
        let opened = open_first.then(|| open_bare(&storage));
        for key in keys(&disk, "packs/") {
            disk.delete(&key).unwrap();
        }
        for key in keys(&disk, "index/") {
            disk.damage(&key, |bytes| {
                let at = if open_first { 100 } else { bytes.len() - 4000 };
                bytes[at] ^= 1;
            });
        }
        // From here on nothing is written down: as if the process died before it came to that.
        storage.on(|call, _| match call {
            Call::Replace => Answer::Fail(EIO),
            _ => Answer::AsItIs,
        });
        let datastore = opened.unwrap_or_else(|| open_bare(&storage));
        assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [false; 3]);
        assert!(!is_intact(&datastore));
        drop(datastore);
        storage.rest();
        let datastore = open_bare(&storage);
        assert_eq!(datastore.has(DOMAIN, &wanted).unwrap(), [false; 3]);
        assert!(!is_intact(&datastore), "opened first {open_first}");
        assert!(keys(&disk, "index/").is_empty(), "written down now, and the runs are gone");
        drop(datastore);
        assert!(!is_intact(&open_bare(&storage)), "opened first {open_first}");
    }
}

/// A sector that cannot be read for a while takes its segment out of dedup, and the nodes above it,
/// until a check can read it.
#[test]
fn rot06_what_could_not_be_read_for_a_while_is_a_dedup_hit_again_after_a_check() {
    for met_by_check in [false, true] {
        let disk = store_with(2);
        let storage = Hooked::new(&disk);
        let datastore = open_bare(&storage);
        let (lost, root) = (chunk(1, 0), datastore.manifest(SavesetId([1; 16])).unwrap().root);
        let place = place_of(&datastore, lost);
        let pack =
            keys(&disk, "packs/").into_iter().find(|key| key.ends_with(&place.pack.to_string()));
        let pack = pack.unwrap();
        storage.on(move |call, key| {
            let hit = key == pack && call == Call::Read { offset: place.offset };
            if hit { Answer::Fail(EIO) } else { Answer::AsItIs }
        });
        datastore.read_segment(DOMAIN, place).unwrap_err();
        assert_eq!(datastore.has(DOMAIN, &[lost]).unwrap(), [false]);
        if met_by_check {
            assert!(!check(&datastore).is_clean());
            assert_eq!(datastore.has(DOMAIN, &[root]).unwrap(), [false], "nor what is above");
        }
        storage.rest();
        assert!(!is_intact(&datastore));
        let report = check(&datastore);
        assert!(report.is_clean(), "{:?}", report.damaged);
        assert_eq!(datastore.has(DOMAIN, &[lost, root]).unwrap(), [true; 2]);
        assert!(is_intact(&datastore));
        drop(datastore);
        let datastore = open_bare(&storage);
        assert_eq!(datastore.has(DOMAIN, &[lost, root]).unwrap(), [true; 2], "after a restart");
        assert!(is_intact(&datastore));
    }
}

#[test]
fn a_pack_whose_footer_could_not_be_read_for_a_while_is_relied_on_again_after_a_check() {
    let disk = store_with(2);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    let all = [chunk(1, 0), chunk(1, 1), datastore.manifest(SavesetId([1; 16])).unwrap().root];
    let pack = keys(&disk, "packs/").into_iter();
    let name = place_of(&datastore, all[0]).pack.to_string();
    let pack = pack.clone().find(|key| key.ends_with(&name)).unwrap();
    storage.on(move |call, key| {
        if key == pack && call == (Call::Read { offset: 0 }) {
            Answer::Flip
        } else {
            Answer::AsItIs
        }
    });
    assert!(!check(&datastore).is_clean());
    assert_eq!(datastore.has(DOMAIN, &all).unwrap(), [false; 3]);
    storage.rest();
    assert!(check(&datastore).is_clean());
    assert_eq!(datastore.has(DOMAIN, &all).unwrap(), [true; 3]);
    assert!(is_intact(&datastore));
    drop(datastore);
    assert!(is_intact(&open_bare(&storage)));
}

#[test]
fn rot01_a_segment_that_is_not_what_its_names_say_stays_out_of_dedup_whatever_can_be_read() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    let wrong = chunk(1, 0);
    let place = place_of(&datastore, wrong);
    let report = datastore.verify(
        1,
        &|view| match view.items.iter().any(|item| item.name == wrong) {
            true => Err("another content".into()),
            false => Ok(()),
        },
        &|_| true,
    );
    assert!(!report.unwrap().is_clean());
    assert_eq!(datastore.has(DOMAIN, &[wrong]).unwrap(), [false]);
    drop(datastore);
    let datastore = open_bare(&storage);
    // Without a key nothing is wrong with it.
    check(&datastore);
    assert_eq!(datastore.has(DOMAIN, &[wrong]).unwrap(), [false], "{place:?}");
    assert!(!is_intact(&datastore));
}

#[test]
fn pwr09_a_check_of_a_storage_that_does_not_answer_ends_and_damages_nothing() {
    const ESTALE: i32 = 116;
    let disk = store_with(2);
    let storage = Hooked::new(&disk);
    let datastore = open_bare(&storage);
    storage.refuse(ESTALE, &["packs/"]);
    let error = datastore.verify_structure(&|_| true).unwrap_err();
    assert!(error.to_string().contains("packs/"), "{error}");
    storage.rest();
    assert!(is_intact(&datastore));
    assert!(check(&datastore).is_clean());
}

/// A list that cannot be read now is not replaced by a shorter one without a word.
#[test]
fn a_list_of_losses_that_cannot_be_read_counts_as_a_loss() {
    let disk = store_with(1);
    let storage = Hooked::new(&disk);
    let shared: Arc<dyn Storage> = storage.clone();
    storage.refuse(EIO, &["quarantine"]);
    let datastore = open(&shared);
    assert!(!is_intact(&datastore));
    storage.rest();
    assert!(check(&datastore).is_clean());
    assert!(is_intact(&datastore));
}
