//! Copies of savesets, and the replications that make them.

use simsim_catalog::{
    Datastore, DatastoreState, HeldLock, JobEnd, JobStart, Life, LifeChange, Put, Replication,
    Saveset, SavesetFilter,
};
use simsim_model::{DomainId, Kind, Level, Outcome, ProgressSnapshot, SavesetId, StoreId};

use super::on;
use crate::fixture::{DOMAIN, STORE, backup_job, furnished, saveset};

const OTHER: StoreId = StoreId([5; 16]);

fn second(catalog: &simsim_catalog::Catalog, client: &simsim_catalog::Client) {
    let other = Datastore {
        store: OTHER,
        name: "copies".to_owned(),
        device: client.id,
        path: b"/copies".to_vec(),
        state: DatastoreState::Active,
        created_unix_ms: 2_000,
    };
    catalog.add_datastore(&other).unwrap();
    catalog.add_drive(OTHER, None, 4).unwrap();
}

fn copy_of(original: &Saveset, sequence: u64) -> Saveset {
    Saveset { store: OTHER, sequence, ..original.clone() }
}

fn ids(found: &[(u64, Saveset)]) -> Vec<(u64, SavesetId)> {
    found.iter().map(|(sequence, one)| (*sequence, one.saveset)).collect()
}

#[test]
fn a_backup_with_copies_is_one_row() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    second(&catalog, &client);
    let (one, two) = (saveset(1), saveset(2));
    catalog.add_savesets(&[one.clone(), two.clone()]).unwrap();
    catalog.add_copies(&[copy_of(&two, 1), copy_of(&one, 2)]).unwrap();
    catalog.add_copies(&[copy_of(&one, 2)]).unwrap();
    assert_eq!(catalog.savesets(&SavesetFilter::default()).unwrap().len(), 2);
    assert_eq!(catalog.saveset(one.saveset).unwrap(), one, "the row stays where it was made");
    let copies = catalog.copies_of(one.saveset).unwrap();
    assert_eq!((copies.len(), copies[0].store, copies[0].sequence), (1, OTHER, 2));
    assert_eq!(ids(&catalog.savesets_in(STORE).unwrap()), [(1, one.saveset), (2, two.saveset)]);
    assert_eq!(ids(&catalog.savesets_in(OTHER).unwrap()), [(1, two.saveset), (2, one.saveset)]);
    for store in [STORE, OTHER] {
        let domains = catalog.domains_in(store).unwrap();
        assert_eq!(domains.iter().map(|one| one.domain).collect::<Vec<_>>(), [DOMAIN]);
    }
    assert_eq!(catalog.saveset_count(OTHER).unwrap(), 0, "it was made in none of these");
    assert_eq!(
        catalog.lying_count(OTHER).unwrap(),
        catalog.savesets_in(OTHER).unwrap().len() as u64
    );
    assert!(catalog.lying_count(OTHER).unwrap() > 0);
    // The copies of a datastore are made again from its manifests, and no row of another is touched.
    catalog.rebuild_copies(OTHER, &[copy_of(&one, 2)]).unwrap();
    assert_eq!(catalog.copies().unwrap().len(), 1);
    let report = catalog.rebuild_savesets(STORE, &[one.clone(), two]).unwrap();
    assert_eq!((report.unchanged, report.missing), (2, 0));
    assert_eq!(catalog.copies_of(one.saveset).unwrap().len(), 1);
    // Of another domain it is no copy.
    let stray = Saveset { domain: DomainId([7; 16]), ..copy_of(&one, 9) };
    assert_eq!(catalog.add_copies(&[stray]).unwrap_err().kind(), Kind::Invalid);
}

/// A catalog that knows the copies first: the row goes home when the original is seen.
#[test]
fn a_copy_that_is_known_first_stands_for_the_backup_until_its_original_is_seen() {
    let Some(on) = on() else { return };
    for by_rebuild in [false, true] {
        let (_place, catalog, client) = furnished(&on);
        second(&catalog, &client);
        let one = saveset(1);
        catalog.add_copies(&[copy_of(&one, 7)]).unwrap();
        assert_eq!(catalog.saveset(one.saveset).unwrap().store, OTHER);
        assert_eq!(catalog.copies().unwrap(), []);
        assert_eq!(ids(&catalog.savesets_in(OTHER).unwrap()), [(7, one.saveset)]);
        // Seen again it is no other one.
        catalog.rebuild_copies(OTHER, &[copy_of(&one, 7)]).unwrap();
        if by_rebuild {
            catalog.rebuild_savesets(STORE, std::slice::from_ref(&one)).unwrap();
        } else {
            catalog.add_savesets(std::slice::from_ref(&one)).unwrap();
        }
        assert_eq!(catalog.saveset(one.saveset).unwrap(), one);
        let copies = catalog.copies_of(one.saveset).unwrap();
        assert_eq!((copies.len(), copies[0].store, copies[0].sequence), (1, OTHER, 7));
    }
}

#[test]
fn a_replication_refuses_what_cannot_be_and_is_kept_as_it_was_given() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    second(&catalog, &client);
    let one = Replication {
        name: "twice".to_owned(),
        source: STORE,
        target: OTHER,
        pull: false,
        drive: 2,
        client_name: Some("alpha".to_owned()),
        task_name: None,
        rates: vec!["20MB/s".to_owned(), "mon 08:00-18:00 5MB/s".to_owned()],
        created_unix_ms: 5,
    };
    let wrong = |change: fn(&mut Replication)| {
        let mut other = one.clone();
        change(&mut other);
        catalog.put_replication(Put::Add, &other).unwrap_err().kind()
    };
    assert_eq!(wrong(|it| it.target = STORE), Kind::Invalid);
    assert_eq!(wrong(|it| it.drive = 1), Kind::Invalid, "it leads to the other one");
    assert_eq!(wrong(|it| it.pull = true), Kind::Invalid, "then the source is dialled");
    assert_eq!(wrong(|it| it.source = StoreId([9; 16])), Kind::NotFound);
    catalog.put_replication(Put::Add, &one).unwrap();
    assert_eq!(wrong(|_| ()), Kind::Invalid, "the name is taken");
    let pull = Replication { name: "back".to_owned(), pull: true, drive: 1, ..one.clone() };
    catalog.put_replication(Put::Add, &pull).unwrap();
    assert_eq!((one.dialler(), one.dialled()), (STORE, OTHER));
    assert_eq!((pull.dialler(), pull.dialled()), (OTHER, STORE));
    drop(catalog);
    let catalog = place.open();
    assert_eq!(catalog.replications().unwrap(), [pull, one.clone()]);
    catalog.delete_replication("back").unwrap();
    assert_eq!(catalog.delete_replication("back").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalog.replication("twice").unwrap(), one);
    assert_eq!(catalog.replication("back").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn where_a_tasks_last_saveset_is_tell_the_jobs_and_not_the_clocks() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    second(&catalog, &client);
    let saved = |saveset: Saveset| {
        let job = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
        let start =
            JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
        catalog.start_job(job, &start, 2).unwrap();
        let end = JobEnd {
            checked: None,
            outcome: Outcome::Finished,
            error: None,
            progress: ProgressSnapshot::default(),
            problems: Vec::new(),
            problems_total: 0,
            saveset: Some(saveset),
        };
        catalog.end_job(job, &end, 3).unwrap();
    };
    let last = || catalog.last_store_of("alpha", "home").unwrap();
    assert_eq!(last(), None);
    // Found in a datastore, and of a clock that is far ahead.
    let found = Saveset { committed_unix_ns: i64::MAX, ..saveset(1) };
    catalog.rebuild_savesets(STORE, &[found]).unwrap();
    assert_eq!(last(), Some(STORE));
    saved(copy_of(&saveset(2), 1));
    assert_eq!(last(), Some(OTHER), "a job of this server is newer than what was found");
    saved(Saveset { committed_unix_ns: 1, ..saveset(3) });
    assert_eq!(last(), Some(STORE), "the last job, though its device's clock is behind");
    saved(Saveset { level: Level::Copy, ..copy_of(&saveset(4), 2) });
    assert_eq!(last(), Some(STORE), "nothing is compared with a COPY");
    assert_eq!(catalog.last_store_of("alpha", "other").unwrap(), None);
}

/// A lock that is extended is owed to each place, also to one that comes later, until its device says that
/// it has it; what a device says counts for its own datastore.
#[test]
fn a_lock_that_is_extended_is_owed_to_every_device_that_does_not_hold_it() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    second(&catalog, &client);
    let (one, two) = (saveset(1), saveset(2));
    catalog.add_savesets(&[one.clone(), two.clone()]).unwrap();
    assert!(catalog.stores_with_owed_locks().unwrap().is_empty());
    let lock = |until| {
        let change = LifeChange::Lock(one.saveset, until);
        catalog.change_lives(1, |_| ((), vec![change.clone()])).unwrap();
    };
    // Earlier than the manifest says: nobody is owed anything.
    lock(one.lock_until_unix_s);
    assert!(catalog.stores_with_owed_locks().unwrap().is_empty());
    lock(5_000);
    assert_eq!(catalog.stores_with_owed_locks().unwrap(), [STORE]);
    assert_eq!(catalog.owed_locks(STORE, None, 9).unwrap(), [(one.saveset, 5_000)]);
    assert_eq!(catalog.owed_locks(STORE, Some(one.saveset), 9).unwrap(), []);
    catalog.keep_lock_trouble(STORE, &[one.saveset], "away").unwrap();
    let life = |store| {
        let lives = catalog.life_books().unwrap().lives;
        let is_it = |life: &&Life| life.saveset.saveset == one.saveset && life.store == store;
        lives.iter().find(is_it).cloned().unwrap()
    };
    let here = life(STORE);
    assert_eq!((here.lock_until_unix_s, here.held_until_unix_s), (5_000, 7));
    assert_eq!(here.lock_trouble.as_deref(), Some("away"));
    let held = HeldLock { until_unix_s: 5_000, trouble: None };
    catalog.keep_held_locks(STORE, &[(one.saveset, held.clone())]).unwrap();
    assert!(catalog.stores_with_owed_locks().unwrap().is_empty());
    assert_eq!((life(STORE).held_until_unix_s, life(STORE).lock_trouble), (5_000, None));
    // A copy that comes later.
    catalog.add_copies(&[copy_of(&one, 2)]).unwrap();
    assert_eq!(catalog.stores_with_owed_locks().unwrap(), [OTHER]);
    assert_eq!((life(OTHER).lock_until_unix_s, life(OTHER).held_until_unix_s), (5_000, 7));
    // A device that claims more locks its own copy, and no other.
    let more = HeldLock { until_unix_s: u64::MAX, trouble: None };
    catalog.keep_held_locks(OTHER, &[(one.saveset, more)]).unwrap();
    assert!(life(OTHER).lock_until_unix_s > 5_000);
    assert_eq!(life(STORE).lock_until_unix_s, 5_000);
    // One that has lost it is owed it again.
    let lost = HeldLock { until_unix_s: 0, trouble: Some("lost".to_owned()) };
    catalog.keep_held_locks(STORE, &[(one.saveset, lost)]).unwrap();
    assert_eq!(catalog.stores_with_owed_locks().unwrap(), [STORE]);
    assert_eq!(catalog.held_locks_in(STORE).unwrap().len(), 1);
    let (extended, all) = catalog.extended_locks().unwrap();
    assert_eq!((extended.get(&one.saveset), all.len()), (Some(&5_000), 2));
}
