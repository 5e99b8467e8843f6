//! Copies of savesets: sealed segments from one datastore into another, and back again to heal.

use std::sync::{Arc, Barrier};

use bytes::Bytes;
use simsim_datastore::{CreateOptions, Datastore};
use simsim_format::{Manifest, SegmentView};
use simsim_model::{
    BackupSession, CopySession, DomainId, Kind, Name, RestoreSession, SavesetId, StoreId,
};
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use crate::heal::{chunk, is_intact, keys, place_of, store_with};
use crate::kit::*;

const OTHER: StoreId = StoreId([4; 16]);

pub fn other() -> (PowerCutStorage, Datastore) {
    let disk = PowerCutStorage::new();
    let options = CreateOptions { store: OTHER, ..create_options() };
    drop(Datastore::create(Arc::new(disk.clone()), options).unwrap());
    let shared: Arc<dyn Storage> = Arc::new(disk.clone());
    (disk, open(&shared))
}

fn opened(disk: &PowerCutStorage) -> Datastore {
    let shared: Arc<dyn Storage> = Arc::new(disk.clone());
    open(&shared)
}

/// The segments of a saveset, nodes last, as its tree names them: a copier's work in small.
pub fn segments_of(datastore: &Datastore, saveset: u8) -> Vec<Bytes> {
    let manifest = datastore.manifest(SavesetId([saveset; 16])).unwrap();
    let (mut nodes, mut data) = (Vec::new(), Vec::new());
    let (mut open, mut seen) = (vec![manifest.root], Vec::new());
    while let Some(name) = open.pop() {
        let place = datastore.locate(DOMAIN, &[name]).unwrap()[0].unwrap();
        if seen.contains(&place) {
            continue;
        }
        seen.push(place);
        let bytes = datastore.read_segment(DOMAIN, place).unwrap();
        let view = SegmentView::parse(bytes.clone()).unwrap();
        if view.kind == simsim_format::SegmentKind::Data {
            data.push(bytes);
            continue;
        }
        nodes.push(bytes);
        for (_, refs) in view.node_refs() {
            open.extend(refs.nodes().chain(refs.chunks()));
        }
    }
    nodes.reverse();
    data.extend(nodes);
    data
}

fn manifest_of(datastore: &Datastore, saveset: u8) -> Bytes {
    datastore.manifest_bytes(SavesetId([saveset; 16])).unwrap()
}

#[test]
fn a_copy_is_the_saveset_itself_in_another_datastore() {
    let source = opened(&store_with(1));
    let (disk, target) = other();
    let id = SavesetId([1; 16]);
    let session = target.copy_session(DOMAIN);
    assert_eq!(session.savesets(&[id]).unwrap(), [false]);
    let segments = segments_of(&source, 1);
    for (number, segment) in (0..).zip(&segments) {
        session.put(number, segment.clone()).unwrap();
    }
    let count = segments.len() as u64;
    let reply = session.commit_copy(manifest_of(&source, 1), count).unwrap();
    assert_eq!((reply.saveset, reply.sequence), (id, 1));
    assert_eq!(session.savesets(&[id, SavesetId([2; 16])]).unwrap(), [true, false]);
    // Said again, it is answered again.
    assert_eq!(session.commit_copy(manifest_of(&source, 1), count).unwrap(), reply);
    drop((session, target));

    let target = opened(&disk);
    let (original, copy) = (source.manifest(id).unwrap(), target.manifest(id).unwrap());
    assert_eq!((copy.store, copy.origin, copy.sequence), (OTHER, Some(STORE), 1));
    let as_there = Manifest {
        store: STORE,
        origin: None,
        sequence: original.sequence,
        generation: original.generation,
        ..copy
    };
    assert_eq!(as_there, original, "all else is the original's");
    assert_eq!(restore(&target, id), restore(&source, id));
    assert!(target.verify_structure(&|_| true).unwrap().is_clean());
    // A copy of the copy still says where the saveset was made.
    let (_, third) = other();
    let session = third.copy_session(DOMAIN);
    for (number, segment) in (0..).zip(segments_of(&target, 1)) {
        session.put(number, segment).unwrap();
    }
    session.commit_copy(manifest_of(&target, 1), count).unwrap();
    assert_eq!(third.manifest(id).unwrap().origin, Some(STORE));
}

#[test]
fn a_manifest_that_names_what_is_not_there_is_refused_and_nothing_is_seen() {
    let source = opened(&store_with(1));
    let segments = segments_of(&source, 1);
    for left_out in 0..segments.len() {
        let (_, target) = other();
        let session = target.copy_session(DOMAIN);
        let mut number = 0;
        for (at, segment) in segments.iter().enumerate() {
            if at != left_out {
                session.put(number, segment.clone()).unwrap();
                number += 1;
            }
        }
        let error = session.commit_copy(manifest_of(&source, 1), number).unwrap_err();
        assert_eq!(error.kind, Kind::NotFound, "without segment {left_out}: {error}");
        assert!(target.manifests(0, 10).unwrap().is_empty());
        assert_eq!(target.state().savesets, 0);
        assert!(is_intact(&target), "who sends lies makes nobody believe in losses");
        // What came stays, and the rest is enough.
        session.keep().unwrap();
        let again = target.copy_session(DOMAIN);
        let mut number = 0;
        for segment in &segments {
            let view = SegmentView::parse(segment.clone()).unwrap();
            let names: Vec<Name> = view.items.iter().map(|item| item.name).collect();
            if again.has(&names).unwrap().contains(&false) {
                again.put(number, segment.clone()).unwrap();
                number += 1;
            }
        }
        assert!(number < segments.len() as u64, "something of it stayed");
        again.commit_copy(manifest_of(&source, 1), number).unwrap();
        restore(&target, SavesetId([1; 16])).unwrap();
    }
}

#[test]
fn what_is_foreign_damaged_or_out_of_order_is_refused() {
    let source = opened(&store_with(1));
    let (_, target) = other();
    let session = target.copy_session(DOMAIN);
    let segments = segments_of(&source, 1);
    let (_, foreign) = data_segment(DomainId([8; 16]), &[content(1, 100)]);
    assert_eq!(session.put(0, foreign).unwrap_err().kind, Kind::Denied);
    let mut damaged = segments[0].to_vec();
    damaged[200] ^= 1;
    assert_eq!(session.put(0, damaged.into()).unwrap_err().kind, Kind::Corrupt);
    for (number, segment) in (0..).zip(&segments) {
        session.put(number, segment.clone()).unwrap();
    }
    let (manifest, count) = (manifest_of(&source, 1), segments.len() as u64);
    let decoded = Manifest::decode(&manifest).unwrap();
    for wrong in [count - 1, count + 1] {
        let error = session.commit_copy(manifest.clone(), wrong).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{error}");
    }
    let of_other = Manifest { domain: DomainId([8; 16]), ..decoded.clone() }.encode();
    assert_eq!(session.commit_copy(of_other.into(), count).unwrap_err().kind, Kind::Denied);
    let chunk = source.locate(DOMAIN, &[crate::heal::chunk(1, 0)]).unwrap();
    assert!(chunk[0].is_some());
    let of_a_chunk = Manifest { root: crate::heal::chunk(1, 0), ..decoded.clone() }.encode();
    assert_eq!(session.commit_copy(of_a_chunk.into(), count).unwrap_err().kind, Kind::Invalid);
    let mut torn = manifest.to_vec();
    torn[100] ^= 1;
    assert_eq!(session.commit_copy(torn.into(), count).unwrap_err().kind, Kind::Corrupt);
    // It takes copies, and makes no saveset of its own.
    let own = session.commit(&draft(decoded.root, count)).unwrap_err();
    assert_eq!(own.kind, Kind::Invalid, "{own}");
    assert_eq!(target.state().savesets, 0);
    session.commit_copy(manifest, count).unwrap();
    // The same id with another tree is refused.
    let leaf = SegmentView::parse(segments[segments.len() - 2].clone()).unwrap().items[0].name;
    let other_tree = Manifest { root: leaf, ..decoded }.encode();
    let error = session.commit_copy(other_tree.into(), count).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid, "{error}");
    assert!(target.read_only().is_none());
}

#[test]
fn copies_of_one_saveset_that_meet_are_one() {
    let source = opened(&store_with(1));
    let (_, target) = other();
    let (segments, manifest) = (segments_of(&source, 1), manifest_of(&source, 1));
    let meet = Barrier::new(4);
    let replies: Vec<_> = std::thread::scope(|scope| {
        let copy = || {
            let session = target.copy_session(DOMAIN);
            for (number, segment) in (0..).zip(&segments) {
                session.put(number, segment.clone()).unwrap();
            }
            meet.wait();
            session.commit_copy(manifest.clone(), segments.len() as u64).unwrap()
        };
        let copies: Vec<_> = (0..4).map(|_| scope.spawn(copy)).collect();
        copies.into_iter().map(|copy| copy.join().unwrap()).collect()
    });
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    assert!(target.read_only().is_none());
    assert_eq!(target.manifests(0, 10).unwrap().len(), 1);
}

#[test]
fn a_copy_takes_the_place_of_its_own_damaged_manifest() {
    for reopened in [false, true] {
        let source = opened(&store_with(1));
        let (disk, target) = other();
        let session = target.copy_session(DOMAIN);
        let segments = segments_of(&source, 1);
        for (number, segment) in (0..).zip(&segments) {
            session.put(number, segment.clone()).unwrap();
        }
        session.commit_copy(manifest_of(&source, 1), segments.len() as u64).unwrap();
        drop(session);
        let key = &keys(&disk, "manifests/")[0];
        let mut bytes = disk.get(key).unwrap().to_vec();
        bytes[150] ^= 1;
        disk.replace(key, &bytes).unwrap();
        let target = if reopened {
            drop(target);
            opened(&disk)
        } else {
            target
        };
        let session = target.copy_session(DOMAIN);
        let id = SavesetId([1; 16]);
        assert_eq!(session.savesets(&[id]).unwrap(), [false]);
        session.commit_copy(manifest_of(&source, 1), 0).unwrap();
        assert_eq!(session.savesets(&[id]).unwrap(), [true]);
        assert_eq!(target.manifests(0, 10).unwrap().len(), 1);
        let report = target.verify_structure(&|_| true).unwrap();
        assert!(report.is_clean(), "{:?}", report.damaged);
        restore(&target, id).unwrap();
    }
}

/// A read finds damage; it is sound again; and the same is damaged once more: each time the tree above it is to come
/// again, and between the two nothing is.
#[test]
fn what_is_damaged_once_more_is_looked_above_once_more() {
    let disk = store_with(1);
    let datastore = opened(&disk);
    let place = place_of(&datastore, chunk(1, 0));
    let key = keys(&disk, "packs/").into_iter().find(|key| key.contains(&place.pack.to_string()));
    let key = key.unwrap();
    let before = disk.get(&key).unwrap();
    let mut flipped = before.to_vec();
    flipped[place.offset as usize + place.length as usize - 1] ^= 4;
    let session = datastore.copy_session(DOMAIN);
    let is_whole = || session.savesets(&[SavesetId([1; 16])]).unwrap() == [true];
    assert!(is_whole());
    for round in 0..2 {
        disk.replace(&key, &flipped).unwrap();
        datastore.read_segment(DOMAIN, place).unwrap_err();
        assert!(!is_whole(), "round {round}");
        disk.replace(&key, &before).unwrap();
        assert!(datastore.verify_structure(&|_| true).unwrap().is_clean(), "round {round}");
        assert!(is_whole(), "round {round}: all of it is sound again");
    }
}

/// Every kind of segment damaged, in its table and in its payload; brought again from a copy, put back.
#[test]
fn what_came_again_from_a_copy_is_put_back_in_its_place() {
    let at_each = [80usize, 100, 140, 300];
    for at in at_each {
        let disk = store_with(2);
        let (_, healthy) = other();
        {
            let original = opened(&disk);
            let session = healthy.copy_session(DOMAIN);
            let mut number = 0;
            for saveset in 1..=2u8 {
                for segment in segments_of(&original, saveset) {
                    session.put(number, segment).unwrap();
                    number += 1;
                }
                session.commit_copy(manifest_of(&original, saveset), number).unwrap();
            }
        }
        let packs = keys(&disk, "packs/");
        let before: Vec<Bytes> = packs.iter().map(|key| disk.get(key).unwrap()).collect();
        let mut bytes = before[0].to_vec();
        bytes[64 + at] ^= 0x10;
        disk.replace(&packs[0], &bytes).unwrap();

        let damaged = opened(&disk);
        assert!(!damaged.verify_structure(&|_| true).unwrap().is_clean(), "{at}");
        assert_eq!(damaged.mend().unwrap().segments, 0, "{at}: nothing came yet");
        // The copier's way back: whatever is not had any more.
        let session = damaged.copy_session(DOMAIN);
        let mut number = 0;
        for saveset in 1..=2u8 {
            if session.savesets(&[SavesetId([saveset; 16])]).unwrap() == [true] {
                continue;
            }
            for segment in segments_of(&healthy, saveset) {
                let view = SegmentView::parse(segment.clone()).unwrap();
                let names: Vec<Name> = view.items.iter().map(|item| item.name).collect();
                if session.has(&names).unwrap().contains(&false) {
                    session.put(number, segment).unwrap();
                    number += 1;
                }
            }
            session.commit_copy(manifest_of(&healthy, saveset), number).unwrap();
        }
        session.keep().unwrap();
        assert!(number > 0, "{at}");
        let mended = damaged.mend().unwrap();
        let report = damaged.verify_structure(&|_| true).unwrap();
        if mended.segments == 0 {
            // Its own table does not tell any more what to look for.
            assert!(at < 100, "{at}");
            continue;
        }
        assert_eq!(disk.get(&packs[0]).unwrap(), before[0], "{at}: byte for byte");
        assert!(report.is_clean(), "{at}: {:?}", report.damaged);
        assert!(is_intact(&damaged), "{at}");
        drop((session, damaged));
        let damaged = opened(&disk);
        assert!(is_intact(&damaged), "{at}: at the next opening");
        for saveset in 1..=2u8 {
            restore(&damaged, SavesetId([saveset; 16])).unwrap();
        }
        assert!(damaged.read_session(DOMAIN).manifest(SavesetId([1; 16])).is_ok());
    }
}
