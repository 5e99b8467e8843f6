//! The process dies in the middle of a transaction, at every point and many times.

use std::process::Command;

use simsim_catalog::{AuditEntry, JobEnd, JobFilter, JobStart, JobState};
use simsim_model::{Outcome, Problem, ProblemKind, ProgressSnapshot, failpoint};

use super::on;
use crate::fixture::{Place, backup_job, furnish, open, saveset, test_name};

/// In the child: one backup after another, each with its audit row, until it is killed.
fn work_until_killed(place: &str) -> ! {
    let catalog = open(place);
    let client = catalog.client("alpha").unwrap();
    let arm = std::env::var("SIMSIM_TEST_FAILPOINT").unwrap_or_default();
    failpoint::arm(&arm).unwrap();
    loop {
        let job = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
        let start =
            JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
        catalog.start_job(job, &start, 2).unwrap();
        let end = JobEnd {
            checked: None,
            outcome: Outcome::FinishedWithErrors,
            error: None,
            progress: ProgressSnapshot::default(),
            problems: vec![Problem::new(b"/x".to_vec(), ProblemKind::Unreadable, "no"); 20],
            problems_total: 20,
            saveset: Some(saveset(job)),
        };
        catalog.end_job(job, &end, 3).unwrap();
        println!("\nENDED {job}");
        let act = AuditEntry {
            principal: "server".to_owned(),
            verb: "backup".to_owned(),
            object: job.to_string(),
            allowed: true,
            detail: String::new(),
        };
        catalog.add_audit(&act, 4).unwrap();
    }
}

/// Runs the child until it dies. Returns the last job whose end it was told of.
fn run_child(place: &Place, test: &str, arm: &str, kill_after_ms: Option<u64>) -> u64 {
    let test = test_name(module_path!(), test);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env("SIMSIM_TEST_CATALOG", place.text())
        .env("SIMSIM_TEST_FAILPOINT", arm)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    if let Some(ms) = kill_after_ms {
        std::thread::sleep(std::time::Duration::from_millis(ms));
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "the child was to die at '{arm}'");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("ENDED "))
        .filter_map(|number| number.trim().parse().ok())
        .max()
        .unwrap_or(0)
}

/// What must hold after any death.
fn assert_consistent(place: &Place, acknowledged: u64) -> u64 {
    let catalog = place.open();
    catalog.check().unwrap();
    assert_eq!(catalog.verify_audit(None).unwrap(), None);
    let jobs = catalog.jobs(&JobFilter::default()).unwrap();
    let mut ended = 0;
    for job in &jobs {
        let problems = catalog.job_problems(job.number).unwrap().len();
        let has_saveset = catalog.saveset(saveset(job.number).saveset).is_ok();
        match job.state {
            JobState::Ended(_) => {
                assert!(has_saveset && problems == 20, "job {} ended by half", job.number);
                ended += 1;
            }
            _ => assert!(!has_saveset && problems == 0, "job {} is half there", job.number),
        }
    }
    assert!(
        jobs.iter().filter(|job| job.number <= acknowledged).all(|job| job.state.is_ended()),
        "an acknowledged end was lost"
    );
    // Unclear jobs are brought to an end, as a server does when it starts.
    for job in catalog.recover_jobs().unwrap() {
        let end = JobEnd {
            checked: None,
            outcome: Outcome::FinishedWithErrors,
            error: None,
            progress: ProgressSnapshot::default(),
            problems: vec![Problem::new(b"/x".to_vec(), ProblemKind::Unreadable, "no"); 20],
            problems_total: 20,
            saveset: Some(saveset(job.number)),
        };
        catalog.end_job(job.number, &end, 9).unwrap();
        ended += 1;
    }
    for job in catalog.queued_jobs().unwrap() {
        let start =
            JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
        catalog.start_job(job.number, &start, 2).unwrap();
        let end = JobEnd {
            checked: None,
            outcome: Outcome::FinishedWithErrors,
            error: None,
            progress: ProgressSnapshot::default(),
            problems: vec![Problem::new(b"/x".to_vec(), ProblemKind::Unreadable, "no"); 20],
            problems_total: 20,
            saveset: Some(saveset(job.number)),
        };
        catalog.end_job(job.number, &end, 9).unwrap();
        ended += 1;
    }
    ended
}

#[test]
fn pwr04_death_at_every_point_of_every_transaction_leaves_all_or_nothing() {
    // The same test is its own victim, told apart by the variable.
    if let Ok(place) = std::env::var("SIMSIM_TEST_CATALOG") {
        work_until_killed(&place);
    }
    let Some(on) = on() else { return };
    let name = "pwr04_death_at_every_point_of_every_transaction_leaves_all_or_nothing";
    let place = Place::new(&on);
    furnish(&place.open());
    let mut ended = 0;
    for point in ["catalog.before_commit", "catalog.after_commit"] {
        for skip in 0..8 {
            let acknowledged = run_child(&place, name, &format!("{point}=kill:{skip}"), None);
            ended = assert_consistent(&place, acknowledged);
        }
    }
    assert!(ended >= 16, "{ended}");
}

#[test]
fn pwr04_kill_at_any_moment_leaves_all_or_nothing() {
    if let Ok(place) = std::env::var("SIMSIM_TEST_CATALOG") {
        work_until_killed(&place);
    }
    let Some(on) = on() else { return };
    let name = "pwr04_kill_at_any_moment_leaves_all_or_nothing";
    let place = Place::new(&on);
    furnish(&place.open());
    for ms in [20, 45, 90, 160, 240] {
        let acknowledged = run_child(&place, name, "", Some(ms));
        assert_consistent(&place, acknowledged);
    }
}
