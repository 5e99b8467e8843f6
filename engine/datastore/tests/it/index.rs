//! The index against a plain map, and the index as a cache that may be lost at any instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use simsim_datastore::Datastore;
use simsim_datastore::measure::{Index, IndexSegment};
use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, SegmentPlace};
use simsim_storage::Storage;
use simsim_storage::fault::{PowerCutStorage, RecordingStorage};

use crate::kit::*;

fn name(number: u16) -> Name {
    // Few distinct first bytes, so that names share fence keys and span pages.
    let mut name = *blake3::hash(&number.to_le_bytes()).as_bytes();
    if number.is_multiple_of(3) {
        name[..8].fill(0x55);
    }
    Name(name)
}

#[derive(Debug, Clone)]
enum Step {
    Publish { domain: u8, names: Vec<u16>, again: bool },
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..3, proptest::collection::vec(0u16..900, 0..300), any::<bool>())
            .prop_map(|(domain, names, again)| Step::Publish { domain, names, again }),
        2 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Publishing, flushing and merging in any order, with names that repeat inside and between
    /// domains, packs that come twice (IDX02) and many runs.
    #[test]
    fn idx01_the_index_answers_as_a_map_does(
        steps in proptest::collection::vec(step(), 1..50),
        filter_bytes in prop_oneof![Just(0), Just(4096u64), Just(1 << 20)],
    ) {
        let index = Index::new(Arc::new(PowerCutStorage::new()), STORE, filter_bytes);
        let mut map: BTreeMap<(u8, u16), BTreeSet<SegmentPlace>> = BTreeMap::new();
        let mut packs = 0u64;
        let mut last: Option<(Name, IndexSegment)> = None;
        for step in steps {
            match step {
                Step::Publish { domain, names, again } => {
                    let repeated = last.clone().filter(|_| again);
                    let (pack, segment) = repeated.clone().unwrap_or_else(|| {
                        packs += 1;
                        let pack = Name(*blake3::hash(&packs.to_le_bytes()).as_bytes());
                        let segment = IndexSegment {
                            domain: DomainId([domain; 16]),
                            offset: 64 + packs,
                            length: 1000 + packs as u32,
                            kind: SegmentKind::Data,
                            names: names.iter().map(|number| name(*number)).collect(),
                        };
                        (pack, segment)
                    });
                    if repeated.is_none() {
                        let place =
                            SegmentPlace { pack, offset: segment.offset, length: segment.length };
                        for number in names {
                            map.entry((domain, number)).or_default().insert(place);
                        }
                    }
                    index.publish(pack, 5000, std::slice::from_ref(&segment)).unwrap();
                    last = Some((pack, segment));
                }
                Step::Flush => {
                    index.flush().unwrap();
                    index.merge_or_warn();
                }
            }
        }
        let names: Vec<Name> = (0..1000).map(name).collect();
        for domain in 0..4u8 {
            let has = index.has(DomainId([domain; 16]), &names).unwrap();
            let places = index.locate(DomainId([domain; 16]), &names).unwrap();
            for number in 0..1000u16 {
                let expected = map.get(&(domain, number));
                prop_assert_eq!(has[usize::from(number)], expected.is_some());
                match (places[usize::from(number)], expected) {
                    (None, None) => {}
                    (Some(place), Some(expected)) => prop_assert!(expected.contains(&place)),
                    (place, expected) => prop_assert!(false, "{:?} {:?}", place, expected),
                }
            }
        }
    }
}

fn open_with(storage: &Arc<dyn Storage>, filter_bytes: u64) -> Datastore {
    let options = simsim_datastore::OpenOptions { filter_bytes, ..open_options() };
    Datastore::open(storage.clone(), options).unwrap()
}

fn segment(number: u32, names: Vec<Name>) -> IndexSegment {
    let (domain, offset, kind) = (DomainId([1; 16]), u64::from(number), SegmentKind::Data);
    IndexSegment { domain, offset, length: number, kind, names }
}

/// More names than one group of pages has, in a run whose filter is on disk, and what a lookup of
/// them reads: one filter block for an unknown name, one page more for a known one.
#[test]
fn large_runs_are_asked_with_one_read_a_name() {
    let storage = Arc::new(RecordingStorage::new(PowerCutStorage::new()));
    let index = Index::new(storage.clone(), STORE, 0);
    let number = |n: u32| Name(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let names: Vec<Name> = (0..190_000).map(number).collect();
    index.publish(Name([1; 32]), 1, &[segment(7, names.clone())]).unwrap();
    index.flush().unwrap();
    for batch in names.chunks(10_000) {
        assert!(!index.has(DomainId([1; 16]), batch).unwrap().contains(&false));
        let places = index.locate(DomainId([1; 16]), batch).unwrap();
        assert!(places.iter().all(|place| place.is_some_and(|place| place.length == 7)));
    }
    let ask = |names: Vec<Name>| {
        let before = storage.counts();
        let found = index.has(DomainId([1; 16]), &names).unwrap();
        let after = storage.counts();
        let known = found.iter().filter(|known| **known).count();
        (known, after.reads - before.reads, after.bytes_read - before.bytes_read)
    };
    let (known, reads, bytes) = ask((1_000_000..1_010_000).map(number).collect());
    assert_eq!(known, 0);
    assert!((10_000..10_200).contains(&reads), "{reads} reads for 10,000 unknown names");
    assert!(bytes < 10_000 * 64 + 200 * 4096, "{bytes} bytes");
    // Spread over the whole run, so that hardly two share a page.
    let (known, reads, _) = ask((0..190_000).step_by(190).map(number).collect());
    assert_eq!(known, 1000);
    // Of a batch that is nearly all known, only the first names ask the filter.
    assert!((800..=1100).contains(&reads), "{reads} reads for 1,000 known names");
}

/// Somebody chooses names that all begin alike, over many pages: a lookup halves them.
#[test]
fn names_that_begin_alike_cost_their_owner_little_and_others_nothing() {
    let storage = Arc::new(RecordingStorage::new(PowerCutStorage::new()));
    let index = Index::new(storage.clone(), STORE, 0);
    let alike = |n: u32| {
        let mut name = *blake3::hash(&n.to_le_bytes()).as_bytes();
        name[..8].fill(0x77);
        Name(name)
    };
    let names: Vec<Name> = (0..60_000).map(alike).collect();
    let same = vec![Name([0x77; 32]); 60_000];
    index.publish(Name([1; 32]), 1, &[segment(7, names.clone())]).unwrap();
    let segments: Vec<_> = (0..2000).map(|n| segment(n, same[..30].to_vec())).collect();
    index.publish(Name([2; 32]), 1, &segments).unwrap();
    index.flush().unwrap();
    let before = storage.counts().reads;
    assert_eq!(index.has(DomainId([1; 16]), &names[..100]).unwrap(), [true; 100]);
    assert!(index.locate(DomainId([1; 16]), &names[..100]).unwrap().iter().all(Option::is_some));
    assert_eq!(index.has(DomainId([1; 16]), &[Name([0x77; 32])]).unwrap(), [true]);
    let reads = storage.counts().reads - before;
    assert!(reads < 100 * 2 * 16, "{reads} reads");
    assert_eq!(index.has(DomainId([2; 16]), &names[..100]).unwrap(), [false; 100]);
}

fn runs(disk: &PowerCutStorage) -> Vec<String> {
    disk.list("index/").unwrap().map(|object| object.unwrap().key).collect()
}

/// Runs are merged beside the backups.
fn wait_for_merge(disk: &PowerCutStorage) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while runs(disk).len() > 9 {
        assert!(std::time::Instant::now() < deadline, "runs are not merged: {:?}", runs(disk));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn store_with(backups: u8) -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    for number in 1..=backups {
        backup(&session(&datastore, number), u64::from(number), 1, 60).unwrap();
    }
    disk
}

fn check(datastore: &Datastore, backups: u8) {
    for number in 1..=backups {
        let restored = restore(datastore, simsim_model::SavesetId([number; 16]));
        assert_eq!(restored.unwrap(), 4 * 60);
    }
}

#[test]
fn idx02_runs_left_over_by_an_interrupted_merge_change_nothing() {
    let disk = PowerCutStorage::new();
    let datastore = Datastore::create(Arc::new(disk.clone()), create_options()).unwrap();
    let mut ever = BTreeMap::new();
    for number in 1..=12u8 {
        backup(&session(&datastore, number), u64::from(number), 1, 60).unwrap();
        for key in runs(&disk) {
            // It may be merged away since it was listed.
            if let Ok(bytes) = disk.get(&key) {
                ever.insert(key, bytes);
            }
        }
    }
    wait_for_merge(&disk);
    assert!(ever.len() >= 12);
    let chunks = datastore.state().chunks;
    drop(datastore);
    for (key, bytes) in &ever {
        disk.replace(key, bytes).unwrap();
    }
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let datastore = open(&storage);
    assert_eq!(datastore.state().chunks, chunks);
    wait_for_merge(&disk);
    check(&datastore, 12);
}

/// Merging goes on beside the backups; closing ends it, and what it left is cleared up.
#[test]
fn a_datastore_that_is_closed_while_runs_are_merged_loses_nothing() {
    let disk = PowerCutStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut datastore = Datastore::create(storage.clone(), create_options()).unwrap();
    for number in 1..=40u8 {
        backup(&session(&datastore, number), u64::from(number), 1, 20).unwrap();
        if number % 3 == 0 {
            drop(datastore);
            datastore = open(&storage);
        }
    }
    let chunks = datastore.state().chunks;
    wait_for_merge(&disk);
    assert_eq!(datastore.state().chunks, chunks);
    for number in 1..=40u8 {
        restore(&datastore, simsim_model::SavesetId([number; 16])).unwrap();
    }
    assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
}

#[test]
fn idx05_the_index_may_be_deleted_or_damaged_at_any_instant() {
    let disk = store_with(3);
    for flip in (0..disk.size(&runs(&disk)[0]).unwrap() as usize).step_by(509) {
        // With a filter in memory, and one that is read block by block.
        for (open_first, filter_bytes) in [(true, 1 << 20), (true, 0), (false, 1 << 20)] {
            let disk = disk.copy();
            let storage: Arc<dyn Storage> = Arc::new(disk.clone());
            let opened = open_first.then(|| open_with(&storage, filter_bytes));
            for key in runs(&disk) {
                disk.damage(&key, |bytes| bytes[flip] ^= 0x10);
            }
            let datastore = opened.unwrap_or_else(|| open_with(&storage, filter_bytes));
            check(&datastore, 3);
            backup(&session(&datastore, 9), 1, 1, 60).unwrap();
            drop(datastore);
            check(&open(&storage), 3);
        }
    }
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let datastore = open(&storage);
    for key in runs(&disk) {
        disk.delete(&key).unwrap();
    }
    check(&datastore, 3);
    let before = datastore.state().chunks;
    let report = datastore.rebuild_index().unwrap();
    assert_eq!((report.items, datastore.state().chunks), (before, before));
    check(&datastore, 3);
    assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
}

#[test]
fn runs_of_another_datastore_are_not_believed() {
    let disk = store_with(2);
    let foreign = PowerCutStorage::new();
    let mut options = create_options();
    options.store = simsim_model::StoreId([99; 16]);
    let datastore = Datastore::create(Arc::new(foreign.clone()), options).unwrap();
    backup(&session(&datastore, 1), 77, 1, 60).unwrap();
    for key in runs(&disk) {
        disk.replace(&key, &foreign.get(&runs(&foreign)[0]).unwrap()).unwrap();
    }
    let storage: Arc<dyn Storage> = Arc::new(disk);
    check(&open(&storage), 2);
}
