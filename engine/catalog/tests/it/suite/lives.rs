//! What keeps savesets and what ends them: pools, stamps, deletions, the second person.

use simsim_catalog::{
    ApprovalEnd, ApprovalState, Catalog, Client, DEFAULT_POOL, DeletionStage, Hold, JobEnd,
    JobStart, Life, LifeChange, MadeFor, NewApproval, NewDeletion, NewJob, Pool, Saveset,
    SavesetFilter, SavesetState, Told,
};
use simsim_model::{Kind, Level, Outcome, ProgressSnapshot, SavesetId, StoreId};

use super::on;
use crate::fixture::*;

fn pool(name: &str) -> Pool {
    Pool {
        name: name.to_owned(),
        policy: "last 7".to_owned(),
        store: None,
        drive: None,
        drive_group: None,
        created_unix_ms: 9,
    }
}

/// A backup whose job ends at an instant of the server's.
fn saved(catalog: &Catalog, new: &NewJob, row: &Saveset, now: i64) {
    let job = catalog.queue_job(new, now).unwrap().number;
    let start = JobStart {
        drive: None,
        transfer: None,
        domain: None,
        saveset: Some(row.saveset),
        level: None,
    };
    catalog.start_job(job, &start, now).unwrap();
    let end = JobEnd {
        checked: None,
        outcome: Outcome::Finished,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: Vec::new(),
        problems_total: 0,
        saveset: Some(row.clone()),
    };
    catalog.end_job(job, &end, now).unwrap();
}

fn lives(catalog: &Catalog) -> Vec<Life> {
    catalog.life_books().unwrap().lives
}

fn change(catalog: &Catalog, change: LifeChange) {
    catalog.change_lives(50, |_| ((), vec![change.clone()])).unwrap();
}

fn delete(saveset: SavesetId, store: StoreId) -> LifeChange {
    LifeChange::Delete(NewDeletion {
        saveset,
        store,
        why: "expired".to_owned(),
        asked_by: "local:root".to_owned(),
        approval: None,
        copy_in: None,
    })
}

fn hold() -> Hold {
    Hold { by: "ada".to_owned(), why: "a case".to_owned(), since_unix_ms: 60 }
}

fn job(client: &Client) -> NewJob {
    NewJob { task_name: "home".to_owned(), ..backup_job(client) }
}

#[test]
fn a_pool_is_kept_and_stays_as_long_as_something_uses_it() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let default = catalog.pool(DEFAULT_POOL).unwrap();
    assert_eq!((default.policy.as_str(), default.has_place()), ("forever", false));
    catalog.add_pool(&pool("short")).unwrap();
    for taken in ["short", DEFAULT_POOL] {
        assert_eq!(catalog.add_pool(&pool(taken)).unwrap_err().kind(), Kind::Invalid, "{taken}");
    }
    let names: Vec<String> = catalog.pools().unwrap().into_iter().map(|pool| pool.name).collect();
    assert_eq!(names, ["default", "short"]);
    let wrong = Pool { drive: Some(1), ..pool("wrong") };
    assert_eq!(catalog.add_pool(&wrong).unwrap_err().kind(), Kind::Invalid);
    let wrong = Pool { store: Some(STORE), drive: Some(9), ..pool("wrong") };
    assert_eq!(catalog.add_pool(&wrong).unwrap_err().kind(), Kind::NotFound);
    let wrong = Pool { drive_group: Some("none".to_owned()), ..pool("wrong") };
    assert_eq!(catalog.add_pool(&wrong).unwrap_err().kind(), Kind::NotFound);

    let mut task = task_settings("home");
    task.pool = Some("nobody".to_owned());
    assert_eq!(catalog.add_task(&task, 1).unwrap_err().kind(), Kind::NotFound);
    task.pool = Some("short".to_owned());
    catalog.add_task(&task, 1).unwrap();
    assert_eq!(catalog.task("home").unwrap().settings.pool.as_deref(), Some("short"));
    saved(&catalog, &NewJob { pool: Some("short".to_owned()), ..job(&client) }, &saveset(1), 70);
    let error = catalog.delete_pool("short", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    let named = format!("task 'home', saveset {}", saveset(1).saveset.short());
    assert!(error.to_string().contains(&named), "{error}");
    catalog.delete_task("home", &[]).unwrap();
    change(&catalog, delete(saveset(1).saveset, STORE));
    assert_eq!(
        catalog.delete_pool("short", &[]).unwrap_err().kind(),
        Kind::Busy,
        "it is there yet"
    );
    let told = catalog.tell_deletions(STORE, 9, false, 80).unwrap();
    assert_eq!(told.savesets, [saveset(1).saveset]);
    catalog.end_deletions(STORE, &[(saveset(1).saveset, Told::Gone)], 90).unwrap();
    catalog.delete_pool("short", &[]).unwrap();
    assert_eq!(catalog.pool("short").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalog.delete_pool(DEFAULT_POOL, &[]).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn tasks_go_where_their_pool_says() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_drive(STORE, None, 1).unwrap();
    catalog.add_drive_group("any", &[2], 1).unwrap();
    catalog.add_pool(&pool("short")).unwrap();
    let mut task = task_settings("home");
    (task.pool, task.drive) = (Some("short".to_owned()), None);
    catalog.add_task(&task, 1).unwrap();
    let to = |change: &dyn Fn(&mut Pool)| {
        let mut pool = pool("short");
        change(&mut pool);
        catalog.change_lives(1, |_| ((), vec![LifeChange::Pool(pool.clone())])).unwrap();
        let settings = catalog.task("home").unwrap().settings;
        (settings.store, settings.drive, settings.drive_group)
    };
    let one = to(&|pool| (pool.store, pool.drive) = (Some(STORE), Some(1)));
    assert_eq!(one, (STORE, Some(1), None));
    let group = to(&|pool| pool.drive_group = Some("any".to_owned()));
    assert_eq!(group, (STORE, None, Some("any".to_owned())));
    let error = catalog.delete_drive_group("any", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert_eq!(to(&|_| ()), group, "a pool without a place leaves them where they are");
    let error = catalog.delete_drive_group("any", &[]).unwrap_err().to_string();
    assert!(error.contains("task 'home'"), "{error}");
}

#[test]
fn ret02_the_server_stamps_and_counts_whatever_others_say_of_their_time() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    // The device's clock is far ahead, the client's far behind.
    let row = Saveset { committed_unix_ns: i64::MAX, scan_started_unix_ns: -1, ..saveset(1) };
    saved(&catalog, &job(&client), &row, 1_000);
    let of_owner = NewJob { requested_by: "token:tool".to_owned(), ..job(&client) };
    saved(&catalog, &of_owner, &saveset(2), 2_000);
    // Seen again, as when the device is reached, nothing is stamped anew.
    catalog.add_savesets(&[row, saveset(2)]).unwrap();
    // One that no job of this server made bears the device's stamp, and says so.
    catalog.add_savesets(&[Saveset { committed_unix_ns: 7_000_000, ..saveset(3) }]).unwrap();
    let seen: Vec<_> = lives(&catalog)
        .iter()
        .map(|life| (life.number, life.stamped_unix_ms, life.found, life.made_for))
        .collect();
    let expected = [
        (1, 1_000, false, MadeFor::Server),
        (2, 2_000, false, MadeFor::Owner),
        (3, 7, true, MadeFor::Server),
    ];
    assert_eq!(seen, expected);
    assert_eq!(catalog.newest_stamp().unwrap(), Some(2_000));
    assert_eq!(lives(&catalog)[0].pool, DEFAULT_POOL);
}

#[test]
fn a_deletion_is_decided_told_and_done_and_stays_as_history() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    for (number, now) in [(1, 100), (2, 200)] {
        saved(&catalog, &job(&client), &saveset(number), now);
    }
    let (one, two) = (saveset(1).saveset, saveset(2).saveset);
    change(&catalog, delete(two, STORE));
    // From now on nothing is compared with it, it is not copied and not listed.
    let base = || {
        let base = catalog.base_for(STORE, DOMAIN, "alpha", "home", Level::Incr).unwrap();
        base.map(|row| row.saveset)
    };
    assert_eq!(base(), Some(one));
    assert_eq!(catalog.savesets_in(STORE).unwrap().len(), 1);
    let list = |deleted_too: bool| {
        let filter = SavesetFilter { deleted_too, missing_too: true, ..Default::default() };
        catalog.savesets(&filter).unwrap().iter().map(|row| row.saveset).collect::<Vec<_>>()
    };
    assert_eq!((list(false), list(true).len()), (vec![one], 2));
    assert_eq!(catalog.stores_with_deletions().unwrap(), [STORE]);
    drop(catalog);
    // After a restart it is known; while the clock is in doubt nobody is told.
    let catalog = place.open();
    let frozen = catalog.tell_deletions(STORE, 9, true, 300).unwrap();
    assert_eq!((frozen.savesets.len(), frozen.waiting), (0, 1));
    let told = catalog.tell_deletions(STORE, 9, false, 300).unwrap();
    assert_eq!(told.savesets, [two]);
    assert_eq!(catalog.deletions_of(two).unwrap()[0].stage(), DeletionStage::Told);
    // Told once, it is told until there is an answer, whatever the clock says.
    let again = catalog.tell_deletions(STORE, 9, true, 400).unwrap();
    assert_eq!(again.savesets, [two]);
    // What the device says of one that it was not told counts for nothing.
    let answers = [(one, Told::Gone), (two, Told::Gone)];
    catalog.end_deletions(STORE, &answers, 500).unwrap();
    assert_eq!(catalog.saveset(one).unwrap().state, SavesetState::Present);
    assert_eq!(catalog.saveset(two).unwrap().state, SavesetState::Missing);
    let done = catalog.deletions_of(two).unwrap();
    assert_eq!((done[0].stage(), done[0].done_unix_ms), (DeletionStage::Done, Some(500)));
    assert_eq!(done[0].asked_by, "local:root");
    assert_eq!(lives(&catalog).len(), 1);
    // A rebuild does not miss it; when the datastore has it again, it is there again.
    let report = catalog.rebuild_savesets(STORE, &[saveset(1)]).unwrap();
    assert_eq!((report.unchanged, report.missing), (1, 0));
    catalog.rebuild_savesets(STORE, &[saveset(1), saveset(2)]).unwrap();
    assert_eq!(catalog.deletions_of(two).unwrap(), []);
    assert_eq!(lives(&catalog).len(), 2);
}

#[test]
fn a_hold_or_a_lock_takes_back_what_no_device_was_told() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    for number in 1..=3 {
        saved(&catalog, &job(&client), &saveset(number), 100 * number as i64);
    }
    let ids = [1, 2, 3].map(|number| saveset(number).saveset);
    let all = || ids.map(|id| delete(id, STORE)).to_vec();
    catalog.change_lives(1, |_| ((), all())).unwrap();
    change(&catalog, LifeChange::Hold(ids[0], hold()));
    change(&catalog, LifeChange::Lock(ids[1], 5_000));
    change(&catalog, LifeChange::Lock(ids[1], 4_000));
    assert_eq!(catalog.deletions().unwrap().len(), 1);
    let of = |at: usize| lives(&catalog).remove(at);
    assert_eq!((of(0).hold, of(1).lock_until_unix_s), (Some(hold()), 5_000), "never earlier");
    // Decided all the same, as by two at once: what holds when the device is told counts.
    catalog.change_lives(1, |_| ((), all())).unwrap();
    let telling = catalog.tell_deletions(STORE, 9, false, 4_999_999).unwrap();
    assert_eq!(telling.savesets, [ids[2]]);
    assert_eq!(telling.taken_back.len(), 2);
    // Too late for the third: it was told. Said to be read, it may be taken back again.
    change(&catalog, LifeChange::Hold(ids[2], hold()));
    assert_eq!(catalog.tell_deletions(STORE, 9, false, 1).unwrap().savesets, [ids[2]]);
    let busy = Told::Busy("it is being read".to_owned());
    catalog.end_deletions(STORE, &[(ids[2], busy)], 2).unwrap();
    let telling = catalog.tell_deletions(STORE, 9, false, 3).unwrap();
    assert_eq!((telling.savesets.len(), telling.taken_back), (0, vec![ids[2]]));
    assert_eq!(catalog.deletions().unwrap(), []);
    // Once the lock is over, it may go; a device that knows of another lock keeps it.
    change(&catalog, delete(ids[1], STORE));
    assert_eq!(catalog.tell_deletions(STORE, 9, false, 5_000_000).unwrap().savesets, [ids[1]]);
    let refused = Told::Refused("locked".to_owned());
    catalog.end_deletions(STORE, &[(ids[1], refused)], 2).unwrap();
    assert_eq!(catalog.deletions().unwrap(), []);
    change(&catalog, LifeChange::Release(ids[0]));
    assert_eq!(of(0).hold, None);
}

#[test]
fn what_a_job_uses_waits_for_its_end() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    for number in 1..=2 {
        saved(&catalog, &job(&client), &saveset(number), 100 * number as i64);
    }
    let other = Saveset { task_name: "other".to_owned(), ..saveset(3) };
    saved(&catalog, &job(&client), &other, 300);
    for number in 1..=3 {
        change(&catalog, delete(saveset(number).saveset, STORE));
    }
    // A restore of the third waits in the queue; a backup of the task of the others runs.
    let mut read = NewJob { saveset: Some(other.saveset), ..job(&client) };
    read.kind = simsim_catalog::JobKind::Restore;
    read.task_name = "other".to_owned();
    let read = catalog.queue_job(&read, 400).unwrap().number;
    let backup = catalog.queue_job(&job(&client), 400).unwrap().number;
    let start = JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
    catalog.start_job(backup, &start, 400).unwrap();
    let telling = catalog.tell_deletions(STORE, 9, false, 500).unwrap();
    assert_eq!((telling.savesets.len(), telling.waiting), (0, 3));
    catalog.ask_cancel(read, 500).unwrap();
    let telling = catalog.tell_deletions(STORE, 9, false, 500).unwrap();
    assert_eq!((telling.savesets, telling.waiting), (vec![other.saveset], 2));
}

#[test]
fn a_backup_whose_original_was_deleted_lives_in_its_copies() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let copies = StoreId([5; 16]);
    let other = simsim_catalog::Datastore {
        store: copies,
        name: "copies".to_owned(),
        device: client.id,
        path: b"/copies".to_vec(),
        state: simsim_catalog::DatastoreState::Active,
        created_unix_ms: 1,
    };
    catalog.add_datastore(&other).unwrap();
    let one = saveset(1);
    saved(&catalog, &job(&client), &one, 100);
    let copy = Saveset { store: copies, sequence: 1, ..one.clone() };
    catalog.add_copies(std::slice::from_ref(&copy)).unwrap();
    let of = |at: usize| lives(&catalog).remove(at);
    let originals: Vec<bool> = lives(&catalog).iter().map(Life::is_original).collect();
    assert_eq!((originals.len(), of(0).number, of(1).number), (2, 1, 1));
    change(&catalog, delete(one.saveset, STORE));
    catalog.tell_deletions(STORE, 9, false, 200).unwrap();
    catalog.end_deletions(STORE, &[(one.saveset, Told::Gone)], 300).unwrap();
    assert_eq!((lives(&catalog).len(), of(0).is_original()), (1, false));
    assert_eq!(catalog.savesets(&SavesetFilter::default()).unwrap().len(), 1, "it restores");
    change(&catalog, delete(one.saveset, copies));
    assert_eq!(catalog.savesets(&SavesetFilter::default()).unwrap().len(), 0);
    catalog.tell_deletions(copies, 9, false, 400).unwrap();
    catalog.end_deletions(copies, &[(one.saveset, Told::Gone)], 500).unwrap();
    assert_eq!(catalog.copies_of(one.saveset).unwrap(), []);
    assert_eq!(catalog.deleted_in(copies).unwrap(), [one.saveset]);
    // Copied there once more, it is there again.
    catalog.add_copies(&[copy]).unwrap();
    assert_eq!((lives(&catalog).len(), catalog.deleted_in(copies).unwrap().len()), (1, 0));
}

#[test]
fn an_approval_is_decided_once_and_nobody_changes_what_it_is_for() {
    let Some(on) = on() else { return };
    let (place, catalog, _) = furnished(&on);
    let new = NewApproval {
        verb: "saveset.delete".to_owned(),
        request: r#"{"savesets":["a"]}"#.to_owned(),
        about: "delete one".to_owned(),
        asked_by: "ada".to_owned(),
        expires_unix_ms: 900,
    };
    let ask = LifeChange::Ask(new.clone());
    let (_, asked) = catalog.change_lives(10, |_| ((), vec![ask.clone(), ask.clone()])).unwrap();
    assert_eq!(asked, [1, 2]);
    let one = catalog.approval(1).unwrap();
    assert_eq!((one.request.as_str(), one.asked_unix_ms), (new.request.as_str(), 10));
    assert_ne!(one.digest, catalog.approval(2).unwrap().digest);
    let end = |state| {
        let end = ApprovalEnd {
            number: 1,
            state,
            decided_by: "grace".to_owned(),
            note: "seen".to_owned(),
        };
        catalog.change_lives(20, |_| ((), vec![LifeChange::End(end.clone())]))
    };
    end(ApprovalState::Approved).unwrap();
    assert_eq!(end(ApprovalState::Rejected).unwrap_err().kind(), Kind::Invalid);
    let one = catalog.approval(1).unwrap();
    assert_eq!((one.state, one.decided_by.as_deref()), (ApprovalState::Approved, Some("grace")));
    let open: Vec<u64> =
        catalog.approvals(true).unwrap().iter().map(|approval| approval.number).collect();
    assert_eq!((open, catalog.approvals(false).unwrap().len()), (vec![2], 2));
    drop(catalog);
    place.raw().run("UPDATE approvals SET request = '{}' WHERE approval = 2").unwrap();
    let error = place.open().approval(2).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("not what was asked for"), "{error}");
}
