//! How tasks are saved, what datastores hold, what waits to be copied, and what jobs came to.

use simsim_catalog::{
    Catalog, Client, Datastore, DatastoreState, JobEnd, JobKind, JobStart, LastEnd, LifeChange,
    NewDeletion, NewJob, Put, Replication, Saveset,
};
use simsim_model::{Checked, Kind, Outcome, Problem, ProblemKind, ProgressSnapshot, StoreId};

use super::on;
use crate::fixture::*;

const OTHER: StoreId = StoreId([5; 16]);

fn second(catalog: &Catalog, client: &Client) {
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

fn start(saveset: Option<&Saveset>) -> JobStart {
    JobStart {
        drive: None,
        transfer: None,
        domain: None,
        saveset: saveset.map(|one| one.saveset),
        level: None,
    }
}

fn end(outcome: Outcome, saveset: Option<&Saveset>) -> JobEnd {
    JobEnd {
        checked: None,
        outcome,
        error: None,
        progress: ProgressSnapshot {
            files_done: 3,
            bytes_done: 100,
            bytes_new: 10,
            bytes_wire: 5,
            ..ProgressSnapshot::default()
        },
        problems: Vec::new(),
        problems_total: 0,
        saveset: saveset.cloned(),
    }
}

/// Runs a job from `from` to `to`.
fn ran(catalog: &Catalog, new: &NewJob, end: &JobEnd, from: i64, to: i64) -> u64 {
    let job = catalog.queue_job(new, from).unwrap().number;
    catalog.start_job(job, &start(end.saveset.as_ref()), from).unwrap();
    catalog.end_job(job, end, to).unwrap();
    job
}

/// One that the server stamps with `at`.
fn backed_up(catalog: &Catalog, client: &Client, number: u64, at: i64) -> Saveset {
    let row = Saveset { committed_unix_ns: at * 1_000_000, ..saveset(number) };
    ran(catalog, &backup_job(client), &end(row.outcome(), Some(&row)), at - 1, at);
    row
}

#[test]
fn tasks_and_datastores_know_what_their_savesets_say() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    second(&catalog, &client);
    assert_eq!(catalog.saved(0).unwrap(), Default::default());
    // Odd ones have a problem.
    let rows: Vec<Saveset> =
        (1..=3).map(|n| backed_up(&catalog, &client, n, n as i64 * 100)).collect();
    let copy = Saveset { store: OTHER, sequence: 1, ..rows[1].clone() };
    catalog.add_copies(&[copy]).unwrap();
    let of = |catalog: &Catalog| {
        let saved = catalog.saved(200).unwrap();
        (saved.tasks[&("alpha".to_owned(), "home".to_owned())].clone(), saved.stores)
    };
    let (task, stores) = of(&catalog);
    assert_eq!((task.savesets, task.newest_unix_ms, task.good_unix_ms), (4, Some(300), Some(200)));
    assert_eq!((task.whole_unix_ms, task.damaged, task.home), (None, None, Some(STORE)));
    let mut newest_in = task.newest_in.clone();
    newest_in.sort();
    assert_eq!(newest_in, [(STORE, 200), (OTHER, 200)], "the newest without a problem");
    let here = stores[&STORE];
    assert_eq!((here.savesets, here.bytes, here.recent_stored_bytes), (3, 30, 24));
    assert_eq!((stores[&OTHER].savesets, stores[&OTHER].recent_stored_bytes), (1, 12));

    // A check of all that finds one damaged; one of that one alone that finds it whole.
    let verify =
        NewJob { kind: JobKind::Verify, task_name: "main".to_owned(), ..backup_job(&client) };
    let checked = |damaged| Some(Checked { damaged, ..Checked::default() });
    let named = Problem {
        path: format!("saveset {}", rows[1].saveset).into_bytes(),
        kind: ProblemKind::MissingData,
        message: "gone".to_owned(),
    };
    let bad = JobEnd {
        checked: checked(1),
        problems: vec![named],
        problems_total: 1,
        ..end(Outcome::FinishedWithErrors, None)
    };
    ran(&catalog, &verify, &bad, 400, 410);
    let task = of(&catalog).0;
    assert_eq!(
        (task.good_unix_ms, task.damaged),
        (Some(200), Some((rows[1].saveset, 400))),
        "its copy is good"
    );
    let single = NewJob { saveset: Some(rows[1].saveset), ..verify.clone() };
    ran(
        &catalog,
        &single,
        &JobEnd { checked: checked(0), ..end(Outcome::Finished, None) },
        500,
        510,
    );
    let task = of(&catalog).0;
    assert_eq!((task.damaged, task.whole_unix_ms), (None, Some(500)));
    assert_eq!(catalog.last_ends("verify").unwrap(), [] as [LastEnd; 0], "no good one of all");
    ran(
        &catalog,
        &verify,
        &JobEnd { checked: checked(0), ..end(Outcome::Finished, None) },
        600,
        610,
    );
    assert_eq!(of(&catalog).0.whole_unix_ms, Some(600));
    assert_eq!(
        catalog.last_ends("verify").unwrap(),
        [LastEnd { store: STORE, ended_unix_ms: 610 }]
    );

    // The lists of decisions say the same.
    let lives = catalog.life_books().unwrap().lives;
    let (task, _) = of(&catalog);
    assert_eq!(task.savesets, lives.len() as u64);
    assert_eq!(task.newest_unix_ms, lives.iter().map(|life| life.stamped_unix_ms).max());
    assert_eq!(task.whole_unix_ms, lives.iter().filter_map(|life| life.checked_unix_ms).max());

    // What is to be deleted does not count.
    let delete = LifeChange::Delete(NewDeletion {
        copy_in: None,
        saveset: rows[2].saveset,
        store: STORE,
        why: "expired".to_owned(),
        asked_by: "local:root".to_owned(),
        approval: None,
    });
    catalog.change_lives(700, |_| ((), vec![delete.clone()])).unwrap();
    let (task, stores) = of(&catalog);
    assert_eq!((task.newest_unix_ms, stores[&STORE].savesets), (Some(200), 2));
}

#[test]
fn what_waits_to_be_copied_is_counted_with_the_oldest() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    second(&catalog, &client);
    let relation = Replication {
        name: "far".to_owned(),
        source: STORE,
        target: OTHER,
        pull: false,
        drive: 2,
        client_name: None,
        task_name: Some("home".to_owned()),
        rates: Vec::new(),
        created_unix_ms: 1,
    };
    catalog.put_replication(Put::Add, &relation).unwrap();
    let lag = || catalog.replication_lag(&relation).unwrap();
    assert_eq!((lag().savesets, lag().since_unix_ms), (0, None));
    let rows: Vec<Saveset> =
        (1..=3).map(|n| backed_up(&catalog, &client, n, n as i64 * 100)).collect();
    assert_eq!((lag().savesets, lag().since_unix_ms), (3, Some(100)));
    catalog.add_copies(&[Saveset { store: OTHER, sequence: 1, ..rows[0].clone() }]).unwrap();
    assert_eq!((lag().savesets, lag().since_unix_ms), (2, Some(200)));
    let others = Replication { task_name: Some("other".to_owned()), ..relation.clone() };
    assert_eq!(catalog.replication_lag(&others).unwrap().savesets, 0);
    let delete = LifeChange::Delete(NewDeletion {
        copy_in: None,
        saveset: rows[1].saveset,
        store: STORE,
        why: "expired".to_owned(),
        asked_by: "local:root".to_owned(),
        approval: None,
    });
    catalog.change_lives(700, |_| ((), vec![delete.clone()])).unwrap();
    assert_eq!((lag().savesets, lag().since_unix_ms), (1, Some(300)));
}

#[test]
fn totals_count_each_end_once() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let row = saveset(2);
    let job = ran(&catalog, &backup_job(&client), &end(Outcome::Finished, Some(&row)), 1, 2);
    ran(&catalog, &backup_job(&client), &end(Outcome::Failed, None), 3, 4);
    ran(&catalog, &backup_job(&client), &end(Outcome::Failed, None), 5, 6);
    let again = catalog.end_job(job, &end(Outcome::Finished, Some(&row)), 9).unwrap_err();
    assert_eq!(again.kind(), Kind::Invalid);
    let totals = catalog.job_totals().unwrap();
    let figures: Vec<_> =
        totals.iter().map(|t| (t.outcome, t.jobs, t.bytes, t.bytes_wire)).collect();
    assert_eq!(figures, [(Outcome::Failed, 2, 200, 10), (Outcome::Finished, 1, 100, 5)]);
    assert!(totals.iter().all(|total| total.kind == "backup"));
}
