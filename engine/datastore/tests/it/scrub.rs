//! Checks with a budget: run by run everything comes round, and nothing that was found is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use simsim_datastore::{Datastore, ScrubBudget, VerifyReport};
use simsim_model::BackupSession;
use simsim_storage::Storage;
use simsim_storage::fault::{CrashVariant, PowerCutStorage};

use crate::heal::keys;
use crate::kit::*;

const BACKUPS: u8 = 8;
const VARIANTS: [CrashVariant; 2] = [CrashVariant::LoseAll, CrashVariant::KeepAll];

/// Many packs of some 64 KiB.
fn many() -> PowerCutStorage {
    let disk = PowerCutStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let datastore = open(&storage);
    for number in 1..=BACKUPS {
        backup(&session(&datastore, number), u64::from(number), 5, 8000).unwrap();
    }
    disk
}

fn opened(disk: &PowerCutStorage) -> Datastore {
    open(&(Arc::new(disk.clone()) as Arc<dyn Storage>))
}

fn scrubbed(datastore: &Datastore, bytes: Option<u64>) -> VerifyReport {
    let budget = ScrubBudget { bytes, until: None };
    datastore.scrub(&budget, 2, &|_| Ok(()), &|_| true).unwrap()
}

fn flip(disk: &PowerCutStorage, pack: &str) {
    disk.damage(pack, |bytes| {
        let at = bytes.len() / 3;
        bytes[at] ^= 4;
    });
}

#[test]
fn run_by_run_everything_comes_round_and_the_budget_holds() {
    const BUDGET: u64 = 200_000;
    let disk = many();
    let packs = keys(&disk, "packs").len() as u64;
    assert!(packs > 10, "{packs}");
    let all = opened(&disk).state().bytes;
    assert_eq!(opened(&disk).checked_until().never, packs);
    for round in 0..3 {
        let (mut seen, mut runs) = (0, 0);
        while seen < packs {
            // Each run is one of its own: the device may have been started anew.
            let datastore = opened(&disk);
            let report = scrubbed(&datastore, Some(BUDGET));
            assert!(report.is_clean(), "{report:?}");
            assert!(report.packs > 0 && report.bytes <= BUDGET, "{report:?}");
            seen += report.packs;
            runs += 1;
            let until = datastore.checked_until();
            let never = if round == 0 { packs.saturating_sub(seen) } else { 0 };
            assert_eq!((until.packs, until.never), (packs, never), "round {round}, run {runs}");
            assert!(until.oldest_unix_s.is_some());
        }
        assert!(runs >= all / BUDGET, "{runs} runs");
    }
    // Less than a pack is a pack; no time is some packs; nothing is everything.
    let datastore = opened(&disk);
    assert_eq!(scrubbed(&datastore, Some(1)).packs, 1);
    let none = ScrubBudget { bytes: None, until: Some(Instant::now()) };
    let report = datastore.scrub(&none, 2, &|_| Ok(()), &|_| true).unwrap();
    assert!(report.packs > 0 && report.packs < packs, "{report:?}");
    assert_eq!(scrubbed(&datastore, None).packs, packs);
}

#[test]
fn rot04_what_a_scrub_finds_within_a_round_is_healed_by_the_next_backup() {
    let disk = many();
    let packs = keys(&disk, "packs");
    for pack in [&packs[1], &packs[packs.len() - 2]] {
        flip(&disk, pack);
    }
    // The last run of a round goes on with the next one, and may find one of them again.
    let (mut damages, mut seen) = (BTreeSet::new(), 0);
    while seen < packs.len() as u64 {
        let report = scrubbed(&opened(&disk), Some(150_000));
        seen += report.packs;
        let found = report.damaged.iter().filter(|one| one.what.contains("checksum"));
        damages.extend(found.map(|one| (one.pack, one.offset)));
    }
    assert_eq!(damages.len(), 2, "each is found within a round: {damages:?}");
    let datastore = opened(&disk);
    for number in 1..=BACKUPS {
        let again = session(&datastore, 100 + number);
        backup(&again, u64::from(number), 5, 8000).unwrap();
    }
    for number in 1..=BACKUPS {
        restore(&datastore, simsim_model::SavesetId([100 + number; 16])).unwrap();
    }
}

/// Whatever is cut off: what was seen is not lost, and damage that was found is found again.
#[test]
fn a_run_that_is_cut_off_has_checked_what_it_has_and_forgets_no_damage() {
    let disk = many();
    let packs = keys(&disk, "packs").len() as u64;
    let datastore = opened(&disk);
    let looked = AtomicU64::new(0);
    let stop = |_| looked.fetch_add(1, SeqCst) < 5;
    let report = datastore.scrub(&ScrubBudget::default(), 1, &|_| Ok(()), &stop).unwrap();
    assert!(report.packs >= 5 && report.packs < packs, "{report:?}");
    let left = datastore.checked_until().never;
    assert!(left < packs && left > 0, "{left} of {packs}");
    drop(datastore);

    // A power cut at any moment of a run over a damaged pack, then another run over everything.
    let disk = many();
    let first = keys(&disk, "packs")[0].clone();
    flip(&disk, &first);
    let before = disk.events();
    scrubbed(&opened(&disk), None);
    for event in before..=disk.events() {
        for variant in VARIANTS {
            let image = disk.crash_image(event, variant);
            flip(&image, &first);
            let datastore = opened(&image);
            let report = scrubbed(&datastore, None);
            assert!(!report.is_clean(), "event {event}, {variant:?}");
            let terms = session(&datastore, 99).terms().unwrap();
            assert!(!terms.intact, "event {event}: backups ask for what is lost");
        }
    }
}
