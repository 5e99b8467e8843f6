//! Connections that end at any time, a server that is killed, and others in the same tables.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres::NoTls;
use simsim_catalog::{Catalog, CatalogError, JobEnd, JobFilter, JobStart};
use simsim_model::{Kind, Outcome, Problem, ProblemKind, ProgressSnapshot};
use simsim_testkit::Postgres;

use super::on;
use crate::fixture::{On, backup_job, furnished, saveset};

const PROBLEMS: usize = 20;

/// Ends every connection of the suite to the server, from another one.
fn cut(client: &mut postgres::Client) -> usize {
    let ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name LIKE 'simsim %'";
    client.query(ask, &[]).map_or(0, |rows| rows.len())
}

fn server(on: &On) -> &Postgres {
    match on {
        On::Postgres(postgres) => postgres,
        On::Sqlite => unreachable!("this room is PostgreSQL's"),
    }
}

#[test]
fn an_idle_connection_that_was_cut_is_made_anew_unseen() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    let mut other = postgres::Client::connect(&place.text(), NoTls).unwrap();
    for number in 1..=5 {
        assert!(cut(&mut other) >= 1);
        assert_eq!(catalog.queue_job(&backup_job(&client), 1).unwrap().number, number);
        assert_eq!(catalog.jobs(&JobFilter::default()).unwrap().len() as u64, number);
    }
}

/// One whole job: three transactions, of which the last writes many rows. Which of them were
/// acknowledged is noted. An error must be of the kind that a caller may try again after.
fn one_job(catalog: &Catalog, acknowledged: &Mutex<Vec<(u64, bool)>>) -> Result<(), CatalogError> {
    let client = catalog.client("alpha")?;
    let number = catalog.queue_job(&backup_job(&client), 1)?.number;
    acknowledged.lock().unwrap().push((number, false));
    let start = JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
    catalog.start_job(number, &start, 2)?;
    let end = JobEnd {
        checked: None,
        outcome: Outcome::FinishedWithErrors,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: vec![Problem::new(b"/x".to_vec(), ProblemKind::Unreadable, "no"); PROBLEMS],
        problems_total: PROBLEMS as u64,
        saveset: Some(saveset(number)),
    };
    catalog.end_job(number, &end, 3)?;
    acknowledged.lock().unwrap().push((number, true));
    Ok(())
}

/// What must hold after any loss: an end is whole or not there, and what was acknowledged is there.
fn assert_whole(catalog: &Catalog, acknowledged: &[(u64, bool)]) {
    catalog.check().unwrap();
    let jobs = catalog.jobs(&JobFilter::default()).unwrap();
    for job in &jobs {
        let problems = catalog.job_problems(job.number).unwrap().len();
        let has_saveset = catalog.saveset(saveset(job.number).saveset).is_ok();
        let whole = if job.state.is_ended() { PROBLEMS } else { 0 };
        assert_eq!((problems, has_saveset), (whole, job.state.is_ended()), "job {}", job.number);
    }
    let mut seen = std::collections::HashSet::new();
    for (number, ended) in acknowledged {
        let job = jobs.iter().find(|job| job.number == *number);
        let job = job.unwrap_or_else(|| panic!("job {number} was acknowledged and is not there"));
        assert!(!ended || job.state.is_ended(), "the end of job {number} was acknowledged");
        assert!(seen.insert((number, ended)), "number {number} was given twice");
    }
}

/// Jobs from three threads and a reader beside them while `harm` is done, until enough went wrong
/// and enough went well.
fn work_through(catalog: &Catalog, mut harm: impl FnMut(u32)) -> Vec<(u64, bool)> {
    let acknowledged = Mutex::new(Vec::new());
    let failed = Mutex::new(0_u32);
    let done = AtomicBool::new(false);
    let tolerate = |result: Result<(), CatalogError>| {
        if let Err(error) = result {
            assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
            *failed.lock().unwrap() += 1;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    tolerate(one_job(catalog, &acknowledged));
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                tolerate(catalog.jobs(&JobFilter::default()).map(drop));
            }
        });
        let since = Instant::now();
        for round in 0.. {
            harm(round);
            let ended = acknowledged.lock().unwrap().iter().filter(|(_, ended)| *ended).count();
            let enough = ended >= 10 && *failed.lock().unwrap() >= 5;
            if enough || since.elapsed() > Duration::from_secs(120) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(*failed.lock().unwrap() >= 5, "nothing was ever cut in its midst");
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.iter().filter(|(_, ended)| *ended).count() >= 10, "nothing went well");
    acknowledged
}

#[test]
fn pwr04_connections_that_are_cut_at_any_time_leave_all_or_nothing() {
    let Some(on) = on() else { return };
    let (place, catalog, _) = furnished(&on);
    let mut other = postgres::Client::connect(&place.text(), NoTls).unwrap();
    let acknowledged = work_through(&catalog, |round| {
        std::thread::sleep(Duration::from_millis(u64::from(3 + round * 7 % 41)));
        cut(&mut other);
    });
    assert_whole(&catalog, &acknowledged);
    drop(catalog);
    assert_whole(&place.open(), &acknowledged);
}

#[test]
fn pwr04_a_server_that_is_killed_in_the_middle_of_transactions_loses_none_that_was_acknowledged() {
    let Some(on) = on() else { return };
    let (place, catalog, _) = furnished(&on);
    let acknowledged = work_through(&catalog, |round| {
        std::thread::sleep(Duration::from_millis(u64::from(100 + round * 70 % 410)));
        server(&on).kill();
        server(&on).start_again();
    });
    assert_whole(&catalog, &acknowledged);
    drop(catalog);
    assert_whole(&place.open(), &acknowledged);
}

#[test]
fn a_server_that_is_not_there_is_unreachable_and_the_next_call_after_it_came_back_works() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    server(&on).kill();
    for _ in 0..2 {
        let error = catalog.queue_job(&backup_job(&client), 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
        assert!(error.to_string().contains("Nothing was changed"), "{error}");
        assert_eq!(catalog.clients().unwrap_err().kind(), Kind::Unreachable);
    }
    server(&on).start_again();
    assert_eq!(catalog.clients().unwrap().len(), 1);
    assert_eq!(catalog.queue_job(&backup_job(&client), 1).unwrap().number, 1);
}

#[test]
fn a_transaction_that_meets_somebody_elses_is_tried_again_and_sees_what_that_one_did() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    catalog.queue_job(&backup_job(&client), 1).unwrap();
    let mut other = postgres::Client::connect(&place.text(), NoTls).unwrap();
    let mut theirs = other.transaction().unwrap();
    theirs.execute("UPDATE counters SET last_value = 40 WHERE name = 'job'", &[]).unwrap();
    std::thread::scope(|scope| {
        let ours = scope.spawn(|| catalog.queue_job(&backup_job(&client), 2));
        let mut look = postgres::Client::connect(&place.text(), NoTls).unwrap();
        let waits = "SELECT COUNT(*) FROM pg_stat_activity
            WHERE application_name LIKE 'simsim % writes' AND wait_event_type = 'Lock'";
        while look.query_one(waits, &[]).unwrap().get::<_, i64>(0) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        theirs.commit().unwrap();
        assert_eq!(ours.join().unwrap().unwrap().number, 41);
    });
}
