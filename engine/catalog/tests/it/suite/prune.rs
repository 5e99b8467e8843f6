//! What has been kept long enough goes, and nothing goes that something stands on.

use serde_json::json;
use simsim_catalog::{
    AuditEntry, Catalog, Drill, JobEnd, JobKind, JobStart, KeptSince, LifeChange, NewDeletion,
    NewJob, NewNotification, NewRun, NewSecret, NoticeRound, NoticeTold, Pruned, Put, RunFate,
    RunFilter, Saveset, Severity, Told,
};
use simsim_model::{Checked, Outcome, ProgressSnapshot};

use super::on;
use crate::fixture::*;

const ALL: KeptSince = KeptSince {
    runs: Some(1_000),
    jobs: Some(1_000),
    job_logs: Some(1_000),
    deletions: Some(1_000),
    messages: Some(1_000),
};

fn ran(catalog: &Catalog, new: &NewJob, outcome: Outcome, row: Option<&Saveset>, at: i64) -> u64 {
    let job = catalog.queue_job(new, at).unwrap().number;
    let saveset = row.map(|row| row.saveset).or(new.saveset);
    let start = JobStart { drive: None, transfer: None, domain: None, saveset, level: None };
    catalog.start_job(job, &start, at).unwrap();
    catalog.add_log_line(job, Severity::Info, "one", at).unwrap();
    catalog.add_log_line(job, Severity::Info, "two", at).unwrap();
    let end = JobEnd {
        checked: (new.kind == JobKind::Verify).then(Checked::default),
        outcome,
        error: None,
        progress: ProgressSnapshot::default(),
        problems: Vec::new(),
        problems_total: 0,
        saveset: row.cloned(),
    };
    catalog.end_job(job, &end, at).unwrap();
    job
}

fn noticed(catalog: &Catalog) {
    let jobs = catalog.unnoticed_jobs(0xffff).unwrap().iter().map(|job| job.number).collect();
    let round = NoticeRound { told: Vec::new(), jobs, not_before_unix_ms: 0 };
    catalog.keep_notices(&round, 1).unwrap();
}

fn all(catalog: &Catalog) -> Pruned {
    let mut sum = Pruned::default();
    loop {
        let one = catalog.prune(&ALL, 2).unwrap();
        if one.rows() == 0 {
            return sum;
        }
        sum.runs += one.runs;
        sum.jobs += one.jobs;
        sum.job_logs += one.job_logs;
        sum.deletions += one.deletions;
        sum.messages += one.messages;
    }
}

fn numbers(catalog: &Catalog) -> Vec<u64> {
    let mut jobs: Vec<u64> =
        catalog.jobs(&Default::default()).unwrap().iter().map(|job| job.number).collect();
    jobs.reverse();
    jobs
}

#[test]
fn jobs_that_nothing_stands_on_go_with_their_results_and_logs() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let backup = backup_job(&client);
    let row = saveset(2);
    let kept = ran(&catalog, &backup, Outcome::Finished, Some(&row), 10);
    let gone = [
        ran(&catalog, &backup, Outcome::Finished, None, 20),
        ran(&catalog, &backup, Outcome::Failed, None, 30),
        ran(&catalog, &backup, Outcome::Failed, None, 40),
    ];
    let good = ran(&catalog, &backup, Outcome::Finished, None, 50);
    let failed = ran(&catalog, &backup, Outcome::Failed, None, 60);
    let verify = NewJob { kind: JobKind::Verify, task_name: "main".to_owned(), ..backup.clone() };
    let old_check = ran(&catalog, &verify, Outcome::Finished, None, 70);
    let single = NewJob { saveset: Some(row.saveset), ..verify.clone() };
    let check = ran(&catalog, &verify, Outcome::Finished, None, 80);
    let of_saveset = ran(&catalog, &single, Outcome::Finished, None, 90);
    let young = ran(&catalog, &backup, Outcome::Failed, None, 5_000);
    let drill = NewJob { kind: JobKind::Drill, ..backup.clone() };
    let drills = [1, 2].map(|_| ran(&catalog, &drill, Outcome::Finished, None, 95));
    evidence(&catalog, drills[0]);

    // Ends that nobody looked at stay.
    assert_eq!(catalog.prune(&KeptSince { job_logs: None, ..ALL }, 99).unwrap().rows(), 0);
    noticed(&catalog);
    let totals = catalog.job_totals().unwrap();
    let position = catalog.audit_head().unwrap().position;
    let pruned = all(&catalog);
    let expected: Vec<u64> = vec![kept, good, check, of_saveset, young, drills[0], drills[1]];
    assert_eq!(numbers(&catalog), expected, "went: {gone:?} {failed} {old_check}");
    assert_eq!(pruned.jobs, 5);
    assert!(pruned.job_logs > 0);
    let results: Vec<u64> =
        catalog.results(None, 0).unwrap().iter().rev().map(|result| result.job).collect();
    assert_eq!(results, expected);
    assert_eq!(catalog.job_log(kept, 0, 9).unwrap(), []);
    assert_eq!(catalog.job_log(young, 0, 9).unwrap().len(), 2);
    assert_eq!(catalog.job_totals().unwrap(), totals, "sums stay");
    assert_eq!(catalog.audit_head().unwrap().position, position, "the audit log stays");
    assert_eq!(catalog.drill(drills[0]).unwrap().document, "{}");
    // With its saveset its job goes.
    let saved = catalog.saved(0).unwrap();
    assert_eq!(saved.tasks.len(), 1);
    delete(&catalog, &row, 100);
    assert_eq!(all(&catalog).jobs, 1, "the last check stays, whatever it was of");
}

fn evidence(catalog: &Catalog, job: u64) {
    let drill = Drill {
        job,
        task_name: "home".to_owned(),
        client_name: "alpha".to_owned(),
        saveset: saveset(2).saveset,
        store: STORE,
        passed: true,
        ended_unix_ms: 95,
        document: "{}".to_owned(),
        signature: "00".to_owned(),
        audit: 0,
    };
    let entry = AuditEntry {
        principal: "server".to_owned(),
        verb: "drill.evidence".to_owned(),
        object: "a drill".to_owned(),
        allowed: true,
        detail: String::new(),
    };
    catalog.keep_drill(&drill, &entry, 95).unwrap();
}

fn delete(catalog: &Catalog, row: &Saveset, at: i64) {
    let delete = LifeChange::Delete(NewDeletion {
        copy_in: None,
        saveset: row.saveset,
        store: row.store,
        why: "expired".to_owned(),
        asked_by: "local:root".to_owned(),
        approval: None,
    });
    catalog.change_lives(at, |_| ((), vec![delete.clone()])).unwrap();
    let told = catalog.tell_deletions(row.store, 9, false, at).unwrap();
    assert_eq!(told.savesets, [row.saveset], "{told:?}");
    catalog.end_deletions(row.store, &[(row.saveset, Told::Gone)], at).unwrap();
}

#[test]
fn deletions_stay_while_a_copy_could_come_back() {
    let Some(on) = on() else { return };
    let (_place, catalog, _client) = furnished(&on);
    let rows: Vec<Saveset> = (1..=3).map(saveset).collect();
    catalog.add_savesets(&rows).unwrap();
    delete(&catalog, &rows[0], 100);
    delete(&catalog, &rows[1], 2_000);
    // One is somewhere again: found in the datastore, as after a mistake of people.
    delete(&catalog, &rows[2], 100);
    catalog.add_savesets(&[rows[2].clone()]).unwrap();
    let left = || catalog.deleted_in(STORE).unwrap().len();
    let before = left();
    assert_eq!(all(&catalog).deletions, 1);
    assert_eq!(left(), before - 1);
    assert_eq!(catalog.deletions_of(rows[0].saveset).unwrap(), []);
    assert_eq!(catalog.deletions_of(rows[1].saveset).unwrap().len(), 1, "too young");
}

#[test]
fn the_newest_run_of_each_subject_stays() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let run = |cause: &str, subject: &str, fate: RunFate, job: Option<NewJob>| NewRun {
        event: "nightly".to_owned(),
        cause: cause.to_owned(),
        subject: subject.to_owned(),
        kind: "backup".to_owned(),
        occurrence_unix_ms: None,
        backup_day: "2026-01-01".to_owned(),
        fate,
        why: None,
        job,
    };
    let waits = run("1", "home", RunFate::Runs, Some(backup_job(&client)));
    catalog.keep_runs(&[waits], 1).unwrap();
    for cause in ["2", "3"] {
        let missed = run(cause, "home", RunFate::Missed, None);
        catalog.keep_runs(&[missed, run(cause, "other", RunFate::Missed, None)], 2).unwrap();
    }
    catalog.keep_runs(&[run("4", "other", RunFate::Suppressed, None)], 3).unwrap();
    assert_eq!(all(&catalog).runs, 2);
    let left = catalog.runs(&RunFilter::default()).unwrap();
    let left: Vec<_> = left.iter().map(|run| (run.cause.as_str(), run.subject.as_str())).collect();
    assert_eq!(
        left,
        [("4", "other"), ("3", "other"), ("3", "home"), ("1", "home")],
        "whose job waits"
    );
}

#[test]
fn messages_that_went_out_go_and_those_that_wait_stay() {
    let Some(on) = on() else { return };
    let (_place, catalog, _client) = furnished(&on);
    let new = NewNotification {
        name: "ops".to_owned(),
        document: "{}".to_owned(),
        secret: NewSecret::None,
    };
    catalog.put_notification(Put::Add, &new, 1).unwrap();
    for at in [10, 20] {
        let told = NoticeTold {
            notification: "ops".to_owned(),
            notices: vec![json!({"at": at})],
            ..NoticeTold::default()
        };
        let round = NoticeRound { told: vec![told], jobs: Vec::new(), not_before_unix_ms: 0 };
        catalog.keep_notices(&round, at).unwrap();
        let next = catalog.next_messages().unwrap()[0].number;
        catalog.message_begun(next).unwrap();
        if at == 10 {
            catalog.message_ended(next, None, at).unwrap();
        }
    }
    assert_eq!(all(&catalog).messages, 1);
    let left = catalog.messages(None, 0).unwrap();
    assert_eq!((left.len(), left[0].made_unix_ms), (1, 20));
}
