//! Nodes that say what is not so: the Server believes the device's manifest and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use simsim_control::VerbError;
use simsim_control::verbs::{JobError, JobResult, Reply, Request, StartBackupReply};
use simsim_model::{
    CommitReply, Kind, Level, Outcome, Problem, ProblemKind, ProgressSnapshot, SavesetId,
};
use simsim_server::api::{RestoreRequest, VerifyDepth, VerifyRequest};

use crate::suite::{Suite, root};

fn finished(commit: Option<CommitReply>) -> JobResult {
    JobResult {
        checked: None,
        drilled: None,
        proven: None,
        outcome: Outcome::Finished,
        error: None,
        snapshot: ProgressSnapshot { files_done: 5, ..ProgressSnapshot::default() },
        problems: Vec::new(),
        problems_total: 0,
        commit,
        started_unix_ns: 1,
        finished_unix_ns: 2,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_finished_without_a_manifest_has_failed() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    suite.host.answer_first(Arc::new(|request: &Request| match request {
        Request::StartBackup(start) => {
            let commit =
                CommitReply { saveset: start.ticket.saveset, sequence: 99, committed_unix_ns: 3 };
            Some(Ok(StartBackupReply { result: finished(Some(commit)) }.into()))
        }
        _ => None,
    }));
    let job = suite.backup("home", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed));
    let error = job.error.unwrap();
    assert!(error.kind == Kind::Corrupt && error.message.contains("no manifest"), "{error:?}");
    assert!(suite.savesets().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_claim_another_saveset_as_its_own() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let old: SavesetId = suite.saved("home", Level::Full).await.parse().unwrap();
    suite.host.answer_first(Arc::new(move |request: &Request| match request {
        Request::StartBackup(_) => {
            let commit = CommitReply { saveset: old, sequence: 1, committed_unix_ns: 3 };
            Some(Ok(StartBackupReply { result: finished(Some(commit)) }.into()))
        }
        _ => None,
    }));
    let job = suite.backup("home", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed));
    assert_eq!(suite.savesets().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_client_is_shown_with_its_words() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    suite.host.answer_first(Arc::new(|request: &Request| match request {
        Request::StartBackup(_) => {
            Some(Err(VerbError::new(Kind::Denied, "the owner's policy does not allow /tree")))
        }
        _ => None,
    }));
    let job = suite.backup("home", Level::Full).await;
    let error = job.error.unwrap();
    assert_eq!(job.state.outcome(), Some(Outcome::Failed));
    assert!(error.kind == Kind::Denied && error.message.contains("policy"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ret06_a_restore_with_missing_data_is_no_success() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    suite.host.answer_first(Arc::new(|request: &Request| match request {
        Request::StartRestore(_) => {
            let mut result = finished(None);
            result.outcome = Outcome::FinishedWithErrors;
            result.problems =
                vec![Problem::new(b"/x\xff".to_vec(), ProblemKind::MissingData, "gone")];
            result.problems_total = 1;
            result.error =
                Some(JobError { kind: Kind::Corrupt, message: "one file is incomplete".into() });
            Some(Ok(Reply::from(simsim_control::verbs::StartRestoreReply { result })))
        }
        _ => None,
    }));
    let request = RestoreRequest { saveset, ..RestoreRequest::default() };
    let job = suite.restore(request).await;
    assert_eq!(job.state.outcome(), Some(Outcome::FinishedWithErrors));
    assert_eq!(suite.job(job.job).await.problem_list[0].path, b"/x\xff");
    assert_eq!(job.problems, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_refuses_the_grant_fails_the_job_and_nothing_is_started() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let started = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&started);
    suite.host.answer_first(Arc::new(move |request: &Request| match request {
        Request::GrantTransfer(_) => {
            Some(Err(VerbError::new(Kind::Full, "datastore 'main' is full: free space")))
        }
        Request::StartBackup(_) => {
            seen.fetch_add(1, Ordering::Relaxed);
            None
        }
        _ => None,
    }));
    let job = suite.backup("home", Level::Full).await;
    let error = job.error.unwrap();
    assert!(error.kind == Kind::Full && error.message.contains("'main'"), "{error:?}");
    assert_eq!(started.load(Ordering::Relaxed), 0);
    let _ = root();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_checked_stands_in_the_result_also_when_the_line_was_lost_meanwhile() {
    let mut suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    suite.saved("home", Level::Full).await;
    let verify = VerifyRequest { depth: VerifyDepth::Bytes, ..VerifyRequest::default() };
    let job = suite.server().verify(&root(), verify.clone()).await.unwrap().job;
    suite.ended(job).await;
    let before = suite.job(job).await.checked.unwrap();
    assert!(before.packs > 0 && before.chunks > 0 && before.damaged == 0, "{before:?}");

    // The device does the work, and its answer is lost with the line: it is asked for again.
    let device = Arc::clone(suite.host.desk.device.as_ref().unwrap());
    let handle = tokio::runtime::Handle::current();
    suite.host.answer_first(Arc::new(move |request: &Request| match request {
        Request::VerifyDatastore(_) => {
            let (device, request) = (Arc::clone(&device), request.clone());
            handle.spawn(async move { drop(device.handle(&request, &|_| {}).await) });
            Some(Err(VerbError::new(Kind::Unreachable, "the line is lost")))
        }
        _ => None,
    }));
    let job = suite.server().verify(&root(), verify).await.unwrap().job;
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Finished), "{ended:#?}");
    assert_eq!(suite.job(job).await.checked, Some(before));
    suite.stop_server().await;
    suite.start_server().await.unwrap();
    assert_eq!(suite.job(job).await.checked, Some(before), "and it stays");
}
