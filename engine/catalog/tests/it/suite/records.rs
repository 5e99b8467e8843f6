//! Datastores, drives, domains, tasks: what they refuse, and that references hold.

use simsim_catalog::{
    Catalog, CatalogError, Client, Datastore, DatastoreState, Domain, KeyHolder, Probe, RateFor,
    SavesetFilter, SavesetState,
};
use simsim_model::{DomainId, Kind, Level, SavesetId, StoreId};

use super::on;
use crate::fixture::{DOMAIN, STORE, backup_job, furnished, new_client, saveset, task_settings};

#[test]
fn references_are_held_by_the_database_itself() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    let mut orphan = Datastore {
        store: StoreId([3; 16]),
        name: "other".to_owned(),
        device: simsim_catalog::ClientId(99),
        path: b"/x".to_vec(),
        state: DatastoreState::Active,
        created_unix_ms: 1,
    };
    assert_eq!(catalog.add_datastore(&orphan).unwrap_err().kind(), Kind::Invalid);
    orphan.device = client.id;
    orphan.name = "main".to_owned();
    assert!(matches!(catalog.add_datastore(&orphan), Err(CatalogError::Exists { .. })));
    let mut stray = saveset(1);
    stray.domain = DomainId([0xee; 16]);
    assert_eq!(catalog.rebuild_savesets(STORE, &[stray]).unwrap_err().kind(), Kind::Invalid);

    drop(catalog);
    let mut raw = place.raw();
    raw.run("DELETE FROM clients").unwrap_err();
    raw.run("UPDATE domains SET sealed_key = NULL").unwrap_err();
    raw.run("UPDATE clients SET state = 'splendid'").unwrap_err();
}

#[test]
fn a_drives_number_is_pinned_and_given_once() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    assert_eq!(catalog.add_drive(STORE, Some(2), 1).unwrap().number, 2);
    assert_eq!(catalog.add_drive(STORE, None, 1).unwrap().number, 3, "2 is taken");
    assert!(matches!(catalog.add_drive(STORE, Some(2), 1), Err(CatalogError::Exists { .. })));
    assert_eq!(catalog.add_drive(STORE, Some(10_000), 1).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.add_drive(STORE, None, 0).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.add_drive(StoreId([8; 16]), None, 1).unwrap_err().kind(), Kind::NotFound);
    catalog.set_drive_jobs_max(2, 7).unwrap();
    assert_eq!(catalog.set_drive_jobs_max(77, 7).unwrap_err().kind(), Kind::NotFound);
    let drives = catalog.drives().unwrap();
    assert_eq!(
        drives.iter().map(|d| (d.number, d.jobs_max)).collect::<Vec<_>>(),
        [(1, 4), (2, 7), (3, 1)]
    );
}

fn datastore_of(client: &Client, store: StoreId, name: &str) -> Datastore {
    Datastore {
        store,
        name: name.to_owned(),
        device: client.id,
        path: name.as_bytes().to_vec(),
        state: DatastoreState::Active,
        created_unix_ms: 1,
    }
}

#[test]
fn a_drive_that_is_removed_keeps_its_number_and_what_uses_one_keeps_it() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    assert_eq!(catalog.remove_drive(1, 5).unwrap_err().kind(), Kind::Invalid, "the only one");
    catalog.add_drive(STORE, Some(7), 3).unwrap();
    catalog.add_drive_group("fast", &[7], 1).unwrap();
    let used = |by: &str| {
        let error = catalog.remove_drive(7, 5).unwrap_err();
        assert!(error.kind() == Kind::Busy && error.to_string().contains(by), "{error}");
    };
    used("drive group 'fast'");
    catalog.delete_drive_group("fast", &[]).unwrap();
    let mut task = task_settings("home");
    task.drive = Some(7);
    catalog.add_task(&task, 1).unwrap();
    used(&format!("task '{}'", task.name));
    task.drive = None;
    catalog.change_task(&task).unwrap();
    assert_eq!(catalog.remove_drive(7, 5).unwrap().number, 7);
    assert_eq!(catalog.remove_drive(7, 5).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalog.set_drive_jobs_max(7, 1).unwrap_err().kind(), Kind::NotFound);
    let numbers = |catalog: &Catalog| -> Vec<u32> {
        catalog.drives().unwrap().iter().map(|one| one.number).collect()
    };
    assert_eq!(numbers(&catalog), [1]);
    task.drive = Some(7);
    assert_eq!(catalog.change_task(&task).unwrap_err().kind(), Kind::NotFound);
    assert!(catalog.add_drive_group("fast", &[7], 1).is_err());
    // Its number leads nowhere else, and back to where it was.
    let other = StoreId([77; 16]);
    catalog.add_datastore(&datastore_of(&client, other, "other")).unwrap();
    assert_eq!(catalog.add_drive(other, Some(7), 1).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.add_drive(STORE, Some(7), 9).unwrap().jobs_max, 9);
    assert_eq!(numbers(&catalog), [1, 7]);
}

#[test]
fn a_datastore_is_removed_out_of_service_with_nothing_listed_and_may_come_again() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let other = StoreId([77; 16]);
    let datastore = datastore_of(&client, other, "other");
    catalog.add_datastore(&datastore).unwrap();
    catalog.add_drive(other, Some(9), 1).unwrap();
    assert_eq!(catalog.remove_datastore("other", 5).unwrap_err().kind(), Kind::Invalid);
    let out = |store, name: &str| {
        let path = format!("/{name}").into_bytes();
        catalog.move_datastore(store, client.id, &path, DatastoreState::Detached).unwrap();
    };
    out(other, "other");
    catalog.remove_datastore("other", 5).unwrap();
    let names = |catalog: &Catalog| -> Vec<String> {
        catalog.datastores().unwrap().into_iter().map(|one| one.name).collect()
    };
    assert_eq!(names(&catalog), ["main"]);
    assert!(catalog.drives().unwrap().iter().all(|one| one.number != 9));
    assert_eq!(catalog.datastore("other").unwrap_err().kind(), Kind::NotFound);
    let then = catalog.datastore_names().unwrap()[&other].clone();
    assert!(then.starts_with("other (removed"), "jobs of the past name it: {then}");
    // The name is free, and the same one may come again under another.
    let third = StoreId([78; 16]);
    catalog.add_datastore(&datastore_of(&client, third, "other")).unwrap();
    catalog.add_datastore(&Datastore { name: "again".to_owned(), ..datastore.clone() }).unwrap();
    assert_eq!(names(&catalog), ["again", "main", "other"]);
    assert_eq!(catalog.datastore("again").unwrap().store, other);
    assert!(catalog.add_datastore(&datastore).is_err(), "it is there");

    // One in which savesets are listed stays.
    catalog.rebuild_savesets(STORE, &[saveset(1)]).unwrap();
    out(STORE, "main");
    let error = catalog.remove_datastore("main", 5).unwrap_err();
    assert!(error.kind() == Kind::Busy && error.to_string().contains("1 savesets"), "{error}");
}

#[test]
fn an_owner_has_one_domain_in_a_datastore() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let second = Domain {
        domain: DomainId([4; 16]),
        store: STORE,
        owner: Some(client.id),
        key_held_by: KeyHolder::Client,
        sealed_key: None,
        slots: Some(vec![1]),
        created_unix_ms: 1,
    };
    assert_eq!(catalog.add_domain(&second).unwrap().domain, DOMAIN, "the first one stays");
    let found = Domain { owner: None, key_held_by: KeyHolder::Nobody, ..second };
    assert_eq!(catalog.add_domain(&found).unwrap().domain, DomainId([4; 16]));
    assert_eq!(catalog.domain_of(STORE, client.id).unwrap().unwrap().domain, DOMAIN);
    assert!(!format!("{:?}", catalog.domain(DOMAIN).unwrap()).contains("sealed"));

    let claim = catalog.set_domain_key(DOMAIN, None, KeyHolder::Client, Some(&[1]), None);
    assert_eq!(claim.unwrap_err().kind(), Kind::Invalid, "a client-held key is not kept here");
    let beta = catalog.enrol_self(&new_client("beta"), 1).unwrap();
    catalog
        .set_domain_key(DomainId([4; 16]), Some(beta.id), KeyHolder::Server, Some(&[1]), None)
        .unwrap();
    assert_eq!(catalog.domain_of(STORE, beta.id).unwrap().unwrap().sealed_key, Some(vec![1]));
    assert_eq!(catalog.domains().unwrap().len(), 2);
}

#[test]
fn fid08_tasks_keep_sources_of_any_bytes() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let every: Vec<u8> = (0..=255).collect();
    let mut settings = task_settings("home");
    settings.sources = vec![every, b"/plain".to_vec(), b"back\\slash".to_vec()];
    let task = catalog.add_task(&settings, 1).unwrap();
    assert_eq!(task.settings, settings);
    assert_eq!(catalog.task("home").unwrap(), task);
    assert_eq!(catalog.tasks().unwrap(), [task]);
}

#[test]
fn a_task_refuses_what_does_not_fit() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    catalog.add_task(&task_settings("home"), 1).unwrap();
    assert!(matches!(
        catalog.add_task(&task_settings("home"), 1),
        Err(CatalogError::Exists { .. })
    ));
    let other = Datastore {
        store: StoreId([3; 16]),
        name: "other".to_owned(),
        device: client.id,
        path: b"/x".to_vec(),
        state: DatastoreState::Active,
        created_unix_ms: 1,
    };
    catalog.add_datastore(&other).unwrap();
    let mut settings = task_settings("away");
    settings.store = other.store;
    assert_eq!(catalog.add_task(&settings, 1).unwrap_err().kind(), Kind::Invalid);
    settings.drive = Some(50);
    assert_eq!(catalog.add_task(&settings, 1).unwrap_err().kind(), Kind::NotFound);
    settings.drive = None;
    catalog.add_task(&settings, 1).unwrap();
    settings.client = "nobody".to_owned();
    assert_eq!(catalog.change_task(&settings).unwrap_err().kind(), Kind::Invalid);
    settings.client = "alpha".to_owned();
    settings.eol_days = 9;
    assert_eq!(catalog.change_task(&settings).unwrap().settings, settings);
}

#[test]
fn a_deleted_task_leaves_its_history_and_waits_for_its_jobs() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let task = catalog.add_task(&task_settings("home"), 1).unwrap();
    let mut new = backup_job(&client);
    new.task = Some(task.id);
    let job = catalog.queue_job(&new, 1).unwrap();
    let error = catalog.delete_task("home", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    catalog.ask_cancel(job.number, 2).unwrap();
    catalog.delete_task("home", &[]).unwrap();
    let job = catalog.job(job.number).unwrap();
    assert_eq!((job.task, job.task_name.as_str()), (None, "home"));
    assert_eq!(catalog.delete_task("home", &[]).unwrap_err().kind(), Kind::NotFound);
    assert_ne!(catalog.add_task(&task_settings("home"), 1).unwrap().id, task.id);
}

#[test]
fn idx09_the_base_is_chosen_by_sequence_whatever_the_clocks_say() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let mut rows = Vec::new();
    for (sequence, level, committed) in [
        (1, Level::Full, 9_000),
        (2, Level::Incr, 8_000_000_000_000),
        (3, Level::Full, 5),
        (4, Level::Incr, 1),
        (5, Level::Copy, 7),
    ] {
        let mut row = saveset(sequence);
        row.level = level;
        row.committed_unix_ns = committed;
        row.scan_started_unix_ns = committed;
        rows.push(row);
    }
    let mut foreign = saveset(6);
    foreign.task_name = "else".to_owned();
    rows.push(foreign);
    catalog.rebuild_savesets(STORE, &rows).unwrap();
    let base = |level| {
        catalog
            .base_for(STORE, DOMAIN, "alpha", "home", level)
            .unwrap()
            .map(|saveset| saveset.sequence)
    };
    assert_eq!(base(Level::Incr), Some(4));
    assert_eq!(base(Level::Diff), Some(3));
    assert_eq!(base(Level::Full), None);
    assert_eq!(base(Level::Copy), None);
    assert_eq!(
        catalog.base_for(STORE, DomainId([9; 16]), "alpha", "home", Level::Incr).unwrap(),
        None
    );
    assert_eq!(catalog.last_sequence(STORE).unwrap(), 6);
}

#[test]
fn savesets_are_found_by_the_beginning_of_their_id() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let rows: Vec<_> = (1..=300).map(saveset).collect();
    catalog.rebuild_savesets(STORE, &rows).unwrap();
    for row in rows.iter().step_by(37) {
        let text = row.saveset.to_string();
        for digits in [5, 6, 9, 32] {
            let found = catalog.savesets_beginning(&text[..digits]).unwrap();
            let expected: Vec<SavesetId> = rows
                .iter()
                .map(|row| row.saveset)
                .filter(|id| id.to_string().starts_with(&text[..digits]))
                .collect();
            assert_eq!(found.iter().map(|s| s.saveset).collect::<Vec<_>>(), expected);
        }
        assert!(!catalog.savesets_beginning(&text[..1].to_uppercase()).unwrap().is_empty());
    }
    assert_eq!(catalog.savesets_beginning("").unwrap().len(), 3);
    assert_eq!(catalog.savesets_beginning("zz").unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.savesets_beginning("ä").unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.saveset(SavesetId([0xff; 16])).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn savesets_are_listed_newest_first_and_filtered() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let mut rows: Vec<_> = (1..=5).map(saveset).collect();
    rows[1].task_name = "else".to_owned();
    catalog.rebuild_savesets(STORE, &rows).unwrap();
    catalog.rebuild_savesets(STORE, &rows[1..]).unwrap();
    let list = |filter: SavesetFilter| {
        catalog.savesets(&filter).unwrap().iter().map(|s| s.sequence).collect::<Vec<_>>()
    };
    assert_eq!(list(SavesetFilter::default()), [5, 4, 3, 2]);
    assert_eq!(list(SavesetFilter { missing_too: true, ..Default::default() }), [5, 4, 3, 2, 1]);
    assert_eq!(catalog.saveset(rows[0].saveset).unwrap().state, SavesetState::Missing);
    let home = SavesetFilter { task_name: Some("home".to_owned()), ..Default::default() };
    assert_eq!(list(SavesetFilter { limit: 2, ..home.clone() }), [5, 4]);
    assert_eq!(list(SavesetFilter { client_name: Some("beta".to_owned()), ..home }), [0u64; 0]);
}

#[test]
fn settings_are_kept_and_replaced() {
    let Some(on) = on() else { return };
    let (place, catalog, _) = furnished(&on);
    assert_eq!(catalog.setting("name").unwrap(), None);
    catalog.set_setting("name", b"one").unwrap();
    catalog.set_setting("name", b"two\xff").unwrap();
    drop(catalog);
    assert_eq!(place.open().setting("name").unwrap().as_deref(), Some(b"two\xff".as_slice()));
}

#[test]
fn a_way_that_is_shut_keeps_when_it_was_open_last() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let probe = |dialled: &str, at: i64, good: bool| Probe {
        row: "smssh".to_owned(),
        dialler: "hub".to_owned(),
        dialled: dialled.to_owned(),
        interface: String::new(),
        found: format!("found at {at}"),
        tried_unix_ms: at,
        good_unix_ms: good.then_some(at),
    };
    catalog.note_probes(&[probe("a", 5, true), probe("b", 5, false)], true).unwrap();
    // One host alone: what is known of the others stays.
    catalog.note_probes(&[probe("a", 7, false)], false).unwrap();
    let after = Probe { good_unix_ms: Some(5), ..probe("a", 7, false) };
    assert_eq!(catalog.probes().unwrap(), [after.clone(), probe("b", 5, false)]);
    // All of them: ways that the plan no longer has go.
    catalog.note_probes(&[probe("a", 9, false)], true).unwrap();
    let after = Probe { found: "found at 9".to_owned(), tried_unix_ms: 9, ..after };
    assert_eq!(catalog.probes().unwrap(), [after]);
}

#[test]
fn rate_limits_are_numbered_once_and_there_are_only_so_many() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let limits = [RateFor::All, RateFor::Network("10.2.0.0/16".to_owned())];
    let rates = vec!["1MB/s".to_owned(), "mon 08:00-18:00 10KB/s".to_owned()];
    for (limit, number) in limits.iter().zip(1..) {
        assert_eq!(catalog.add_rate(limit, &rates, 2, 5).unwrap(), number);
    }
    let error = catalog.add_rate(&RateFor::All, &rates, 2, 5).unwrap_err();
    assert!(error.to_string().contains("remove one first"), "{error}");
    let error = catalog.add_rate(&RateFor::Host("nobody".to_owned()), &rates, 9, 5).unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
    let gone = catalog.delete_rate(2).unwrap();
    assert_eq!((gone.counts_for, gone.rates), (limits[1].clone(), rates.clone()));
    assert!(catalog.delete_rate(2).is_err());
    assert_eq!(catalog.add_rate(&RateFor::All, &rates, 2, 6).unwrap(), 3, "no number comes twice");
    let numbers: Vec<u64> = catalog.rates().unwrap().iter().map(|rate| rate.number).collect();
    assert_eq!(numbers, [1, 3]);
}

#[test]
fn a_drive_is_in_one_group_and_a_group_that_tasks_use_stays() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let second = catalog.add_drive(STORE, None, 2).unwrap().number;
    let group = catalog.add_drive_group("nightly", &[second, 1], 7).unwrap();
    assert_eq!((group.drives.as_slice(), group.created_unix_ms), (&[1, second][..], 7));
    let groups = |catalog: &simsim_catalog::Catalog| -> Vec<Option<String>> {
        catalog.drives().unwrap().into_iter().map(|drive| drive.group).collect()
    };
    assert_eq!(groups(&catalog), [Some("nightly".to_owned()), Some("nightly".to_owned())]);

    let refused = |result: Result<_, CatalogError>| result.unwrap_err().kind();
    assert_eq!(refused(catalog.add_drive_group("nightly", &[1], 8)), Kind::Invalid);
    assert_eq!(refused(catalog.add_drive_group("other", &[1], 8)), Kind::Invalid, "taken");
    assert_eq!(refused(catalog.add_drive_group("other", &[77], 8)), Kind::NotFound);
    assert_eq!(refused(catalog.add_drive_group("other", &[], 8)), Kind::Invalid);
    assert_eq!(refused(catalog.change_drive_group("nightly", &[])), Kind::Invalid);
    assert_eq!(refused(catalog.change_drive_group("other", &[1])), Kind::NotFound);
    assert_eq!(catalog.drive_groups().unwrap(), [group], "a refusal changes nothing");

    let mut settings = task_settings("home");
    settings.drive_group = Some("nightly".to_owned());
    let both = catalog.add_task(&settings, 9).unwrap_err();
    assert_eq!(both.kind(), Kind::Invalid, "a drive beside a group: {both}");
    settings.drive = None;
    settings.drive_group = Some("nobody".to_owned());
    assert_eq!(catalog.add_task(&settings, 9).unwrap_err().kind(), Kind::NotFound);
    settings.drive_group = Some("nightly".to_owned());
    assert_eq!(catalog.add_task(&settings, 9).unwrap().settings, settings);
    let used = catalog.delete_drive_group("nightly", &[]).unwrap_err();
    assert_eq!(used.kind(), Kind::Busy);
    assert!(used.to_string().contains("home"), "{used}");

    // Where its job goes is where the task goes.
    let other = StoreId([4; 16]);
    let datastore = Datastore {
        store: other,
        name: "other".to_owned(),
        device: client.id,
        path: b"/other".to_vec(),
        state: DatastoreState::Active,
        created_unix_ms: 1,
    };
    catalog.add_datastore(&datastore).unwrap();
    let far = catalog.add_drive(other, None, 1).unwrap().number;
    let changed = catalog.change_drive_group("nightly", &[far, 1]).unwrap();
    assert_eq!(changed.drives, [1, far]);
    let new = simsim_catalog::NewJob {
        task: Some(catalog.task("home").unwrap().id),
        domain: None,
        ..backup_job(&client)
    };
    let job = catalog.queue_job(&new, 10).unwrap();
    catalog.place_job(job.number, other).unwrap();
    assert_eq!(catalog.job(job.number).unwrap().store, other);
    assert_eq!(catalog.task("home").unwrap().settings.store, other);
    settings.drive_group = None;
    settings.store = STORE;
    catalog.change_task(&settings).unwrap();
    catalog.place_job(job.number, other).unwrap();
    assert_eq!(catalog.task("home").unwrap().settings.store, STORE, "it was given a datastore");

    assert_eq!(catalog.delete_drive_group("nightly", &[]).unwrap().drives, [1, far]);
    assert_eq!(groups(&catalog), [None, None, None]);
    assert_eq!(catalog.drive_group("nightly").unwrap_err().kind(), Kind::NotFound);
}
