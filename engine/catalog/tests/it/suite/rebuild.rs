//! The rows derive from the manifests: whatever is lost comes back the same.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use simsim_catalog::{RebuildReport, SavesetState};
use simsim_model::{Kind, SavesetId, StoreId};

use super::on;
use crate::fixture::{STORE, furnished, saveset};

#[test]
fn idx10_a_rebuild_brings_back_what_was_lost_and_changes_nothing_the_second_time() {
    let Some(on) = on() else { return };
    let (place, catalog, _) = furnished(&on);
    let manifests: Vec<_> = (1..=40).map(saveset).collect();
    let first = catalog.rebuild_savesets(STORE, &manifests).unwrap();
    assert_eq!(first, RebuildReport { added: 40, ..Default::default() });
    let dump = catalog.dump_savesets().unwrap();
    assert_eq!(dump.lines().count(), 40);

    place.raw().run("DELETE FROM savesets WHERE sequence % 3 = 0").unwrap();
    place.raw().run("UPDATE savesets SET bytes = 0 WHERE sequence % 5 = 0").unwrap();
    assert_ne!(catalog.dump_savesets().unwrap(), dump);
    let second = catalog.rebuild_savesets(STORE, &manifests).unwrap();
    assert_eq!((second.added, second.missing), (13, 0));
    assert_eq!(catalog.dump_savesets().unwrap(), dump);
    let third = catalog.rebuild_savesets(STORE, &manifests).unwrap();
    assert_eq!(third, RebuildReport { unchanged: 40, ..Default::default() });
}

#[test]
fn idx10_sequences_that_changed_hands_are_put_right() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let mut wrong: Vec<_> = (1..=4).map(saveset).collect();
    wrong[0].sequence = 2;
    wrong[1].sequence = 1;
    catalog.rebuild_savesets(STORE, &wrong).unwrap();
    let right: Vec<_> = (1..=4).map(saveset).collect();
    catalog.rebuild_savesets(STORE, &right).unwrap();
    let mut expected = right.clone();
    expected.reverse();
    assert_eq!(catalog.savesets(&Default::default()).unwrap(), expected);

    let mut usurper = saveset(3);
    usurper.saveset = SavesetId([0xab; 16]);
    let report = catalog
        .rebuild_savesets(STORE, &[right[0].clone(), right[1].clone(), usurper, right[3].clone()])
        .unwrap();
    assert_eq!((report.added, report.missing, report.unchanged), (1, 1, 3));
}

#[test]
fn a_saveset_whose_manifest_is_gone_is_missing_and_comes_back_with_it() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let manifests: Vec<_> = (1..=3).map(saveset).collect();
    catalog.rebuild_savesets(STORE, &manifests).unwrap();
    let report = catalog.rebuild_savesets(STORE, &manifests[..2]).unwrap();
    assert_eq!((report.missing, report.unchanged), (1, 2));
    assert_eq!(catalog.saveset(manifests[2].saveset).unwrap().state, SavesetState::Missing);
    let report = catalog.rebuild_savesets(STORE, &manifests).unwrap();
    assert_eq!((report.corrected, report.unchanged), (1, 2));
    assert_eq!(catalog.saveset(manifests[2].saveset).unwrap().state, SavesetState::Present);
}

#[test]
fn names_that_nobody_here_can_open_do_not_overwrite_known_ones() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.rebuild_savesets(STORE, &[saveset(1)]).unwrap();
    let mut sealed = saveset(1);
    sealed.task_name.clear();
    sealed.client_name.clear();
    let report = catalog.rebuild_savesets(STORE, &[sealed]).unwrap();
    assert_eq!(report.unchanged, 1);
    assert_eq!(catalog.saveset(saveset(1).saveset).unwrap().task_name, "home");
}

#[test]
fn savesets_found_later_are_added_and_known_names_stay() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_savesets(&[saveset(1), saveset(2)]).unwrap();
    let mut sealed = saveset(2);
    sealed.task_name.clear();
    let mut stray = saveset(3);
    stray.domain = simsim_model::DomainId([0xee; 16]);
    assert_eq!(catalog.add_savesets(&[sealed.clone(), stray]).unwrap_err().kind(), Kind::Invalid);
    catalog.add_savesets(&[sealed, saveset(3)]).unwrap();
    let all: Vec<_> = (1..=3).rev().map(saveset).collect();
    assert_eq!(catalog.savesets(&Default::default()).unwrap(), all);
}

#[test]
fn manifests_of_another_datastore_are_refused() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let mut foreign = saveset(1);
    foreign.store = StoreId([9; 16]);
    assert_eq!(catalog.rebuild_savesets(STORE, &[foreign]).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn idx10_any_loss_of_rows_is_made_good() {
    let Some(on) = on() else { return };
    let mut runner = TestRunner::new(ProptestConfig { cases: 16, ..ProptestConfig::default() });
    let lost = prop::collection::vec(any::<bool>(), 25);
    let result = runner.run(&lost, |lost| {
        let (place, catalog, _) = furnished(&on);
        let manifests: Vec<_> = (1..=25).map(saveset).collect();
        catalog.rebuild_savesets(STORE, &manifests).unwrap();
        let dump = catalog.dump_savesets().unwrap();
        let mut raw = place.raw();
        for (position, lost) in lost.iter().enumerate() {
            if *lost {
                raw.run(&format!("DELETE FROM savesets WHERE sequence = {}", position + 1))
                    .unwrap();
            }
        }
        let report = catalog.rebuild_savesets(STORE, &manifests).unwrap();
        prop_assert_eq!(report.added, lost.iter().filter(|lost| **lost).count() as u64);
        prop_assert_eq!(catalog.dump_savesets().unwrap(), dump);
        Ok(())
    });
    result.unwrap();
}
