//! The life of a job in the catalog.

use simsim_catalog::{
    CatalogError, JobEnd, JobFilter, JobStart, JobState, LOG_LINES_KEPT_MAX, Severity,
};
use simsim_model::{
    Kind, Level, Outcome, PROBLEMS_KEPT_MAX, Problem, ProblemKind, ProgressSnapshot, SavesetId,
    TransferId,
};

use super::on;
use crate::fixture::{STORE, backup_job, furnished, saveset};

fn start() -> JobStart {
    JobStart {
        drive: Some(1),
        transfer: Some(TransferId([5; 16])),
        domain: None,
        saveset: Some(SavesetId([6; 16])),
        level: Some(Level::Incr),
    }
}

#[test]
fn a_backup_goes_from_the_queue_to_its_saveset() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let job = catalog.queue_job(&backup_job(&client), 10).unwrap();
    assert_eq!((job.number, job.state), (1, JobState::Queued));
    let job = catalog.start_job(1, &start(), 20).unwrap();
    assert_eq!(job.state, JobState::Running);
    assert_eq!(
        (job.level, job.drive, job.transfer),
        (Some(Level::Incr), Some(1), Some(TransferId([5; 16])))
    );
    let progress =
        ProgressSnapshot { files_done: 3, bytes_done: 4, bytes_new: 2, ..Default::default() };
    catalog.set_job_progress(1, &progress).unwrap();
    assert_eq!(catalog.job(1).unwrap().progress, progress);
    let end = JobEnd {
        checked: None,
        outcome: Outcome::FinishedWithErrors,
        error: None,
        progress: progress.clone(),
        problems: vec![Problem::new(b"/a\xff".to_vec(), ProblemKind::Vanished, "gone")],
        problems_total: 1,
        saveset: Some(saveset(1)),
    };
    let job = catalog.end_job(1, &end, 30).unwrap();
    assert_eq!(job.state, JobState::Ended(Outcome::FinishedWithErrors));
    assert_eq!(catalog.job_problems(1).unwrap(), end.problems);
    assert_eq!(catalog.saveset(saveset(1).saveset).unwrap(), saveset(1));
    let results = catalog.results(Some(saveset(1).saveset), 0).unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(
        (results[0].job, results[0].outcome, results[0].bytes_new),
        (1, Outcome::FinishedWithErrors, 2)
    );
    catalog.set_job_progress(1, &ProgressSnapshot::default()).unwrap();
    assert_eq!(catalog.job(1).unwrap().progress, progress, "an ended job keeps its counters");
}

#[test]
fn every_step_that_the_table_refuses_is_refused_by_the_catalog() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let reach = |state: JobState| {
        let number = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
        match state {
            JobState::Queued => {}
            JobState::Running => drop(catalog.start_job(number, &start(), 2).unwrap()),
            JobState::Ended(outcome) => {
                catalog.start_job(number, &start(), 2).unwrap();
                catalog.end_job(number, &JobEnd::because(outcome, Kind::Internal, "x"), 3).unwrap();
            }
        }
        number
    };
    for from in JobState::ALL {
        for to in JobState::ALL {
            let number = reach(from);
            let stepped = match to {
                JobState::Queued => continue,
                JobState::Running => catalog.start_job(number, &start(), 4),
                JobState::Ended(outcome) => {
                    catalog.end_job(number, &JobEnd::because(outcome, Kind::Internal, "x"), 4)
                }
            };
            assert_eq!(stepped.is_ok(), from.may_become(to), "{from} to {to}");
            let now = catalog.job(number).unwrap().state;
            assert_eq!(now, if from.may_become(to) { to } else { from });
            if let Err(error) = stepped {
                assert!(matches!(error, CatalogError::JobState { .. }), "{error}");
            }
        }
    }
}

#[test]
fn cancelling_ends_a_waiting_job_and_marks_a_running_one() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let waiting = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
    let running = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
    catalog.start_job(running, &start(), 2).unwrap();
    let cancelled = catalog.ask_cancel(waiting, 3).unwrap();
    assert_eq!(cancelled.state, JobState::Ended(Outcome::Cancelled));
    let asked = catalog.ask_cancel(running, 4).unwrap();
    assert_eq!((asked.state, asked.cancel_asked_unix_ms), (JobState::Running, Some(4)));
    let again = catalog.ask_cancel(running, 5).unwrap();
    assert_eq!(again.cancel_asked_unix_ms, Some(4), "the first asking counts");
    assert_eq!(catalog.ask_cancel(waiting, 5).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.results(None, 0).unwrap().len(), 1, "a cancelled job has a result too");
}

#[test]
fn after_a_restart_running_jobs_are_known_and_waiting_ones_wait() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    for _ in 0..4 {
        catalog.queue_job(&backup_job(&client), 1).unwrap();
    }
    catalog.start_job(2, &start(), 2).unwrap();
    catalog.start_job(3, &start(), 2).unwrap();
    drop(catalog);
    let catalog = place.open();
    let numbers =
        |jobs: Vec<simsim_catalog::Job>| jobs.into_iter().map(|job| job.number).collect::<Vec<_>>();
    assert_eq!(numbers(catalog.recover_jobs().unwrap()), [2, 3]);
    assert_eq!(numbers(catalog.queued_jobs().unwrap()), [1, 4]);
    let lost = JobEnd::because(Outcome::Interrupted, Kind::Unreachable, "nobody knows");
    catalog.end_job(2, &lost, 9).unwrap();
    assert_eq!(numbers(catalog.recover_jobs().unwrap()), [3]);
    assert_eq!(catalog.job(2).unwrap().error.unwrap().message, "nobody knows");
}

#[test]
fn jobs_are_listed_newest_first_by_page_state_and_task() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    for at in 0..6 {
        let mut new = backup_job(&client);
        new.task_name = if at % 2 == 0 { "even".to_owned() } else { "odd".to_owned() };
        catalog.queue_job(&new, 1).unwrap();
    }
    catalog.start_job(1, &start(), 2).unwrap();
    let list = |filter: JobFilter| {
        catalog.jobs(&filter).unwrap().iter().map(|job| job.number).collect::<Vec<_>>()
    };
    assert_eq!(list(JobFilter { limit: 2, ..Default::default() }), [6, 5]);
    assert_eq!(list(JobFilter { before: Some(5), limit: 2, ..Default::default() }), [4, 3]);
    assert_eq!(list(JobFilter { task_name: Some("odd".into()), ..Default::default() }), [6, 4, 2]);
    assert_eq!(list(JobFilter { states: vec![JobState::Running], ..Default::default() }), [1]);
    assert_eq!(
        list(JobFilter { client: Some(simsim_catalog::ClientId(77)), ..Default::default() }),
        [0u64; 0]
    );
}

#[test]
fn problems_beyond_the_limit_are_counted_and_not_kept() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    catalog.queue_job(&backup_job(&client), 1).unwrap();
    catalog.start_job(1, &start(), 2).unwrap();
    let many = PROBLEMS_KEPT_MAX + 1;
    let end = JobEnd {
        checked: None,
        outcome: Outcome::FinishedWithErrors,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: vec![Problem::new(b"/x".to_vec(), ProblemKind::Unreadable, "no"); many],
        problems_total: many as u64,
        saveset: None,
    };
    let job = catalog.end_job(1, &end, 3).unwrap();
    assert_eq!(catalog.job_problems(1).unwrap().len(), PROBLEMS_KEPT_MAX);
    assert_eq!(job.problems_total, many as u64);
}

#[test]
fn a_log_is_read_by_page_and_says_when_it_is_full() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    catalog.queue_job(&backup_job(&client), 1).unwrap();
    catalog.add_log_line(1, Severity::Info, "first", 5).unwrap();
    catalog.add_log_line(1, Severity::Error, "second", 6).unwrap();
    let lines = catalog.job_log(1, 1, 10).unwrap();
    assert_eq!((lines.len(), lines[0].line.as_str(), lines[0].position), (1, "second", 1));
    assert_eq!(catalog.add_log_line(9, Severity::Info, "x", 1).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalog.job_log(9, 0, 1).unwrap_err().kind(), Kind::NotFound);

    let last = LOG_LINES_KEPT_MAX as i64 - 2;
    place
        .raw()
        .run(&format!("INSERT INTO job_log VALUES (1, {last}, 7, 'info', 'nearly full')"))
        .unwrap();
    catalog.add_log_line(1, Severity::Info, "one too many", 8).unwrap();
    catalog.add_log_line(1, Severity::Info, "dropped", 9).unwrap();
    let tail = catalog.job_log(1, last as u64, 10).unwrap();
    assert_eq!(tail.len(), 2);
    assert!(tail[1].line.contains("full") && tail[1].severity == Severity::Warning);
}

#[test]
fn an_end_whose_saveset_is_refused_leaves_the_job_running() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    catalog.queue_job(&backup_job(&client), 1).unwrap();
    catalog.start_job(1, &start(), 2).unwrap();
    let mut stray = saveset(1);
    stray.domain = simsim_model::DomainId([0xee; 16]);
    let mut end = JobEnd {
        checked: None,
        outcome: Outcome::Finished,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: vec![Problem::new(b"/x".to_vec(), ProblemKind::Note, "n")],
        problems_total: 1,
        saveset: Some(stray),
    };
    assert_eq!(catalog.end_job(1, &end, 3).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.job(1).unwrap().state, JobState::Running);
    assert!(catalog.job_problems(1).unwrap().is_empty());
    end.saveset = Some(saveset(1));
    catalog.end_job(1, &end, 4).unwrap();
    assert_eq!(catalog.last_sequence(STORE).unwrap(), 1);
}

#[test]
fn tickets_are_remembered_until_their_devices_were_told() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let job = catalog.queue_job(&backup_job(&client), 10).unwrap().number;
    catalog.start_job(job, &start(), 20).unwrap();
    let tickets = [TransferId([1; 16]), TransferId([2; 16])];
    for ticket in [tickets[0], tickets[1], tickets[0]] {
        catalog.remember_ticket(job, client.id, ticket).unwrap();
    }
    assert_eq!(catalog.tickets_of(job).unwrap(), tickets.map(|one| (client.id, one)));
    assert_eq!(catalog.tickets_left().unwrap(), [], "its job works on");
    let end = JobEnd {
        checked: None,
        outcome: Outcome::Failed,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: Vec::new(),
        problems_total: 0,
        saveset: None,
    };
    catalog.end_job(job, &end, 30).unwrap();
    catalog.forget_ticket(tickets[0]).unwrap();
    assert_eq!(catalog.tickets_left().unwrap(), [(client.id, tickets[1])]);
    catalog.forget_ticket(tickets[1]).unwrap();
    assert_eq!(catalog.tickets_left().unwrap(), []);
}
