//! Migrations as objects, how long copies live, and which checks prove which copy.

use simsim_catalog::{
    Catalog, Client, CopyCheck, Datastore, DatastoreState, JobEnd, JobKind, JobStart, LastCheck,
    Life, LifeChange, Migration, NewDeletion, NewJob, Pool, Put, Replication, Saveset, Told,
};
use simsim_model::{Checked, Kind, Level, Outcome, ProgressSnapshot, SavesetId, StoreId};

use super::on;
use crate::fixture::{STORE, backup_job, furnished, saveset};

const ARCHIVE: StoreId = StoreId([5; 16]);
const DAY_S: i64 = 86_400;

fn archive(catalog: &Catalog, client: &Client) {
    let archive = Datastore {
        store: ARCHIVE,
        name: "archive".to_owned(),
        device: client.id,
        path: b"/archive".to_vec(),
        state: DatastoreState::Active,
        created_unix_ms: 2_000,
    };
    catalog.add_datastore(&archive).unwrap();
    catalog.add_drive(ARCHIVE, None, 4).unwrap();
    let away = Replication {
        name: "away".to_owned(),
        source: STORE,
        target: ARCHIVE,
        pull: false,
        drive: 2,
        client_name: None,
        task_name: None,
        rates: Vec::new(),
        created_unix_ms: 5,
    };
    catalog.put_replication(Put::Add, &away).unwrap();
    let years = Pool {
        name: "years".to_owned(),
        policy: "eol 3650 days".to_owned(),
        store: None,
        drive: None,
        drive_group: None,
        created_unix_ms: 9,
    };
    catalog.add_pool(&years).unwrap();
}

fn old() -> Migration {
    Migration {
        name: "old".to_owned(),
        replication: "away".to_owned(),
        client_name: Some("alpha".to_owned()),
        task_name: None,
        from_pool: None,
        levels: vec![Level::Full, Level::Copy],
        older_than_days: 30,
        keep_originals: false,
        pool: Some("years".to_owned()),
        eol_days: 0,
        created_unix_ms: 7,
    }
}

fn copy_of(original: &Saveset, sequence: u64) -> Saveset {
    Saveset { store: ARCHIVE, sequence, ..original.clone() }
}

fn at(catalog: &Catalog, id: SavesetId, store: StoreId) -> Life {
    let lives = catalog.life_books().unwrap().lives;
    lives.into_iter().find(|life| life.saveset.saveset == id && life.store == store).unwrap()
}

/// A verification of all of a datastore, or of a saveset, that ended well.
fn verified(catalog: &Catalog, client: &Client, saveset: Option<SavesetId>, damaged: u64) {
    let new = NewJob { kind: JobKind::Verify, store: ARCHIVE, saveset, ..backup_job(client) };
    let job = catalog.queue_job(&new, 1).unwrap().number;
    let start = JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
    // By a clock that is far ahead: it proves nothing all the same.
    let now = i64::MAX / 4_000_000;
    catalog.start_job(job, &start, now).unwrap();
    let end = JobEnd {
        checked: Some(Checked { packs: 1, damaged, ..Checked::default() }),
        outcome: Outcome::Finished,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: Vec::new(),
        problems_total: 0,
        saveset: None,
    };
    catalog.end_job(job, &end, now).unwrap();
}

#[test]
fn a_migration_is_kept_as_it_was_given_and_what_it_names_is_in_use() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    archive(&catalog, &client);
    let wrong = |change: fn(&mut Migration)| {
        let mut other = old();
        change(&mut other);
        catalog.put_migration(Put::Add, &other).unwrap_err().kind()
    };
    assert_eq!(wrong(|it| it.replication = "nowhere".to_owned()), Kind::NotFound);
    assert_eq!(wrong(|it| it.pool = Some("nowhere".to_owned())), Kind::NotFound);
    assert_eq!(wrong(|it| it.from_pool = Some("nowhere".to_owned())), Kind::NotFound);
    assert_eq!(catalog.put_migration(Put::Change, &old()).unwrap_err().kind(), Kind::NotFound);
    catalog.put_migration(Put::Add, &old()).unwrap();
    assert_eq!(wrong(|_| ()), Kind::Invalid, "the name is taken");
    drop(catalog);
    let catalog = place.open();
    assert_eq!(catalog.migrations().unwrap(), [old()]);
    let changed = Migration {
        levels: Vec::new(),
        keep_originals: true,
        pool: Some("default".to_owned()),
        eol_days: 400,
        created_unix_ms: 99,
        ..old()
    };
    assert_eq!(catalog.delete_pool("years", &[]).unwrap_err().kind(), Kind::Busy);
    catalog.put_migration(Put::Change, &changed).unwrap();
    let kept = Migration { created_unix_ms: 7, ..changed };
    assert_eq!(catalog.migration("old").unwrap(), kept, "it was added when it was added");
    catalog.delete_pool("years", &[]).unwrap();
    let error = catalog.delete_replication("away").unwrap_err();
    assert!(error.to_string().contains("migration 'old'"), "{error}");
    // One whose job has not ended stays.
    let new = NewJob { kind: JobKind::Migrate, task_name: "old".to_owned(), ..backup_job(&client) };
    let job = catalog.queue_job(&new, 1).unwrap();
    assert_eq!(job.kind, JobKind::Migrate);
    assert_eq!(catalog.delete_migration("old").unwrap_err().kind(), Kind::Busy);
    catalog.ask_cancel(job.number, 2).unwrap();
    catalog.delete_migration("old").unwrap();
    assert_eq!(catalog.delete_migration("old").unwrap_err().kind(), Kind::NotFound);
    catalog.delete_replication("away").unwrap();
}

#[test]
fn only_a_check_that_began_after_a_copy_was_listed_proves_it_whatever_the_clocks_say() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    archive(&catalog, &client);
    let one = saveset(1);
    catalog.add_savesets(std::slice::from_ref(&one)).unwrap();
    verified(&catalog, &client, None, 0);
    verified(&catalog, &client, Some(one.saveset), 0);
    catalog.add_copies(&[copy_of(&one, 3)]).unwrap();
    let check = || at(&catalog, one.saveset, ARCHIVE).check;
    assert_eq!(check(), LastCheck::NotYet, "these were of an archive without it");
    let number = || catalog.copies_of(one.saveset).unwrap()[0].number;
    let first = number();
    let found = |copy: u64, whole: bool| {
        let found = CopyCheck { saveset: one.saveset, copy, whole };
        catalog.keep_copy_checks(ARCHIVE, 9, &[found], 5).unwrap();
    };
    found(first, true);
    assert_eq!(check(), LastCheck::Whole);
    found(first, false);
    assert_eq!(check(), LastCheck::Damaged);
    found(first, true);
    // Listed again as it is, it is the same; at another place it is another one.
    catalog.add_copies(&[copy_of(&one, 3)]).unwrap();
    assert_eq!((number(), check()), (first, LastCheck::Whole));
    catalog.add_copies(&[copy_of(&one, 4)]).unwrap();
    assert!(number() > first);
    assert_eq!(check(), LastCheck::NotYet);
    found(first, true);
    assert_eq!(check(), LastCheck::NotYet, "the check of the former one");
    verified(&catalog, &client, None, 0);
    assert_eq!(check(), LastCheck::Whole);
    // Made again from manifests it is proven anew.
    catalog.rebuild_copies(ARCHIVE, &[copy_of(&one, 4)]).unwrap();
    assert_eq!(check(), LastCheck::NotYet);
    verified(&catalog, &client, Some(one.saveset), 0);
    assert_eq!(check(), LastCheck::Whole);
    verified(&catalog, &client, None, 1);
    assert_eq!(check(), LastCheck::Whole, "what was damaged was not said to be this one");
    assert_eq!(at(&catalog, one.saveset, STORE).check, LastCheck::NotYet, "the original");
}

#[test]
fn copies_live_as_they_were_given_before_they_came_and_through_a_rebuild() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    archive(&catalog, &client);
    let (one, two) = (saveset(1), saveset(2));
    catalog.add_savesets(&[one.clone(), two.clone()]).unwrap();
    let stamped = at(&catalog, one.saveset, STORE).stamped_unix_ms;
    let migration = Migration { eol_days: 10, ..old() };
    catalog.put_migration(Put::Add, &migration).unwrap();
    catalog.plan_copies(&migration, ARCHIVE, &[one.saveset]).unwrap();
    catalog.add_copies(&[copy_of(&one, 1), copy_of(&two, 2)]).unwrap();
    let eol = stamped / 1000 + 10 * DAY_S;
    let life = |id| at(&catalog, id, ARCHIVE);
    let is_own = |id| {
        let life = life(id);
        (life.pool, life.eol_unix_s, life.own_life)
    };
    let planned = ("years".to_owned(), Some(eol), true);
    assert_eq!(is_own(one.saveset), planned);
    assert_eq!(is_own(two.saveset), ("default".to_owned(), None, false));
    let original = at(&catalog, one.saveset, STORE);
    assert_eq!((original.pool.as_str(), original.eol_unix_s), ("default", None));
    // What it has it keeps, also when it is planned otherwise, or its row is made again.
    let other = Migration { eol_days: 1, pool: None, ..migration.clone() };
    catalog.plan_copies(&other, ARCHIVE, &[one.saveset]).unwrap();
    catalog.rebuild_copies(ARCHIVE, &[copy_of(&one, 1), copy_of(&two, 2)]).unwrap();
    assert_eq!(is_own(one.saveset), planned);
    // An EOL of the backup counts where it is the later one.
    let keep = |eol: i64| {
        let change = LifeChange::Eol(one.saveset, eol);
        catalog.change_lives(50, |_| ((), vec![change.clone()])).unwrap();
    };
    keep(eol - DAY_S);
    assert_eq!(life(one.saveset).eol_unix_s, Some(eol));
    keep(eol + DAY_S);
    assert_eq!(life(one.saveset).eol_unix_s, Some(eol + DAY_S));
    // The pool is in use, by the copy alone.
    catalog.delete_migration("old").unwrap();
    let error = catalog.delete_pool("years", &[]).unwrap_err().to_string();
    assert!(error.contains("the copy of saveset"), "{error}");
    // A deletion by a migration says on which copy it rests; a copy that is gone has no life and no proof.
    let delete = |store, copy_in| {
        let new = NewDeletion {
            saveset: one.saveset,
            store,
            why: "moved".to_owned(),
            asked_by: "event:monthly".to_owned(),
            approval: None,
            copy_in,
        };
        catalog.change_lives(60, |_| ((), vec![LifeChange::Delete(new.clone())])).unwrap();
    };
    delete(STORE, Some(ARCHIVE));
    assert_eq!(at(&catalog, one.saveset, STORE).deletion.unwrap().copy_in, Some(ARCHIVE));
    delete(ARCHIVE, None);
    catalog.tell_deletions(ARCHIVE, 10, false, 70).unwrap();
    catalog.end_deletions(ARCHIVE, &[(one.saveset, Told::Gone)], 80).unwrap();
    assert!(catalog.copy_lives().unwrap().is_empty());
    catalog.delete_pool("years", &[]).unwrap();
    catalog.add_copies(&[copy_of(&one, 9)]).unwrap();
    assert_eq!(is_own(one.saveset).0, "default");
}
