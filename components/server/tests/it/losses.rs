//! Restarts, silence and loss: a job ends in a clear state, and a committed saveset is listed.

use std::time::Duration;

use simsim_model::{Kind, Level, Outcome};
use simsim_server::api::*;

use crate::suite::{Suite, root, until};

/// A task "slow" on `vault` that waits for the file that is answered.
async fn slow(suite: &Suite) -> std::path::PathBuf {
    let go = suite.folder.path().join("go");
    let wait = format!("while ! test -e {}; do sleep 0.02; done; echo done", go.display());
    suite.host.allow_commands(&[("slow", wait)]);
    suite.add_stream_task("slow", "vault").await;
    go
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_a_restart_of_the_server() {
    let mut suite = Suite::with_datastore().await;
    let go = slow(&suite).await;
    let job = suite.run("slow", Level::Full).await;
    suite.until_state(job, "running").await;
    until("the client works", || async { suite.log_text(job).await.contains("full backup") }).await;
    suite.stop_server().await;
    suite.start_server().await.unwrap();
    assert_eq!(suite.job(job).await.job.state.as_str(), "running", "it is still known as running");
    std::fs::write(&go, b"").unwrap();
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Finished), "{}", suite.log_text(job).await);
    assert_eq!(suite.savesets().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_finished_while_the_server_was_down_has_its_row_afterwards() {
    let mut suite = Suite::with_datastore().await;
    let go = slow(&suite).await;
    let job = suite.run("slow", Level::Full).await;
    until("the client works", || async { suite.log_text(job).await.contains("full backup") }).await;
    suite.stop_server().await;
    std::fs::write(&go, b"").unwrap();
    let desk = &suite.host.desk;
    until("the client is done", || async { desk.client.running_jobs().is_empty() }).await;
    suite.start_server().await.unwrap();
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Finished), "{}", suite.log_text(job).await);
    let savesets = suite.savesets().await;
    assert_eq!((savesets.len(), savesets[0].task.as_str()), (1, "slow"));
    suite.saved("slow", Level::Incr).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_daemon_ended_leaves_an_interrupted_job_and_the_next_run_goes_on() {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    let go = host.folder.join("go");
    let command = format!("while ! test -e {}; do sleep 0.02; done; echo done", go.display());
    host.allow_commands(&[("slow", command)]);
    suite.add_stream_task("slow", "desk").await;
    let job = suite.run("slow", Level::Full).await;
    until("the client works", || async { suite.log_text(job).await.contains("full backup") }).await;
    let (identity, port) = (host.identity.clone(), host.control.port());
    let key = suite.server().identity().public();
    host.vanish();
    let again = async || {
        crate::hosts::Host::start_at(
            "desk",
            suite.folder.path(),
            identity.clone(),
            false,
            Some(key),
            port,
        )
        .await
    };
    until("its port is free", || async {
        std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
    })
    .await;
    let _new = again().await;
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Interrupted), "{}", suite.log_text(job).await);
    assert!(suite.savesets().await.is_empty());
    std::fs::write(&go, b"").unwrap();
    suite.saved("slow", Level::Full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stays_silent_fails_its_job_and_its_transfer_is_revoked() {
    silent_client(false, Outcome::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_silent_client_can_be_cancelled() {
    silent_client(true, Outcome::Cancelled).await;
}

async fn silent_client(cancel: bool, expected: Outcome) {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    let go = host.folder.join("go");
    let command = format!("while ! test -e {}; do sleep 0.02; done; echo done", go.display());
    host.allow_commands(&[("slow", command)]);
    suite.add_stream_task("slow", "desk").await;
    let job = suite.run("slow", Level::Full).await;
    until("the client works", || async { suite.log_text(job).await.contains("full backup") }).await;
    host.vanish();
    until("the job says so", || async { suite.log_text(job).await.contains("no word") }).await;
    assert_eq!(suite.job(job).await.job.state.as_str(), "running", "it waits for a while");
    if cancel {
        // A person who wants it to end is heard although the client is not.
        suite.server().cancel_job(&root(), JobRequest { job }).await.unwrap();
    }
    let ended = tokio::time::timeout(Duration::from_secs(45), suite.ended(job)).await.unwrap();
    assert_eq!(ended.state.outcome(), Some(expected), "{}", suite.log_text(job).await);
    if !cancel {
        assert_eq!(ended.error.unwrap().kind, Kind::Unreachable);
    }
    std::fs::write(&go, b"").unwrap();
    until("the client gave up", || async { host.desk.client.running_jobs().is_empty() }).await;
    assert!(suite.savesets().await.is_empty(), "a revoked transfer commits nothing");
    let store = suite.server().datastores(&root()).await.unwrap().remove(0);
    assert_eq!(store.device.unwrap().savesets, 0);
}

/// A job runs, and its node answers nothing more about it although its line is open: from the
/// first question on, `times` times.
async fn deaf_node(suite: &mut Suite, kind: Kind, times: u64) -> (u64, std::path::PathBuf) {
    let go = slow(suite).await;
    let job = suite.run("slow", Level::Full).await;
    until("the client works", || async { suite.log_text(job).await.contains("full backup") }).await;
    let asked = std::sync::atomic::AtomicU64::new(0);
    suite.stop_server().await;
    suite.host.answer_first(std::sync::Arc::new(move |request| match request {
        simsim_control::verbs::Request::JobState(_) => {
            let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (before < times).then(|| Err(simsim_control::VerbError::new(kind, "too busy to say")))
        }
        _ => None,
    }));
    suite.start_server().await.unwrap();
    until("the job says so", || async { suite.log_text(job).await.contains("no word") }).await;
    (job, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_line_is_open_but_that_never_answers_fails_its_job() {
    let mut suite = Suite::with_datastore().await;
    let (job, go) = deaf_node(&mut suite, Kind::Unreachable, u64::MAX).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), suite.ended(job)).await.unwrap();
    assert_eq!(ended.state.outcome(), Some(Outcome::Failed), "{}", suite.log_text(job).await);
    assert_eq!(ended.error.unwrap().kind, Kind::Unreachable);
    std::fs::write(&go, b"").unwrap();
    assert!(suite.savesets().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_node_never_answers_on_its_open_line_can_be_cancelled() {
    let mut suite = Suite::with_datastore().await;
    let (job, go) = deaf_node(&mut suite, Kind::Unreachable, u64::MAX).await;
    suite.server().cancel_job(&root(), JobRequest { job }).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), suite.ended(job)).await.unwrap();
    assert_eq!(ended.state.outcome(), Some(Outcome::Cancelled), "{}", suite.log_text(job).await);
    std::fs::write(&go, b"").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_answers_with_an_error_for_a_moment_keeps_its_job() {
    let mut suite = Suite::with_datastore().await;
    let (job, go) = deaf_node(&mut suite, Kind::Busy, 1).await;
    until("it is followed again", || async { suite.log_text(job).await.contains("is back") }).await;
    assert_eq!(suite.job(job).await.job.state.as_str(), "running");
    std::fs::write(&go, b"").unwrap();
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Finished), "{}", suite.log_text(job).await);
}

/// Answers `GetManifest` as a device that is away, for the first `times` questions.
fn device_away(suite: &Suite, times: u64) {
    let asked = std::sync::atomic::AtomicU64::new(0);
    suite.host.answer_first(std::sync::Arc::new(move |request| match request {
        simsim_control::verbs::Request::GetManifest(_) => {
            let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (before < times).then(|| {
                Err(simsim_control::VerbError::new(Kind::Unreachable, "the disk shelf is away"))
            })
        }
        _ => None,
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_away_for_a_moment_is_waited_for() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    device_away(&suite, 2);
    let job = suite.backup("home", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
    assert!(suite.log_text(job.job).await.contains("waiting for the device"));
    assert_eq!(suite.savesets().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saveset_whose_device_was_away_is_listed_when_the_device_is_back() {
    let mut suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    device_away(&suite, u64::MAX);
    let job = suite.backup("home", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed), "what is not shown is not believed");
    assert!(job.error.unwrap().message.contains("listed as soon as"));
    assert!(suite.savesets().await.is_empty());
    suite.stop_server().await;
    suite.start_server().await.unwrap();
    until("the saveset is listed", || async { suite.savesets().await.len() == 1 }).await;
    let row = suite.savesets().await.remove(0);
    assert_eq!((row.client.as_str(), row.task.as_str()), ("vault", "home"));
}

/// A suite that made three savesets of a tree and then lost its catalog, and what it listed before.
async fn without_catalog() -> (Suite, std::path::PathBuf, Vec<SavesetView>) {
    let mut suite = Suite::with_datastore().await;
    let tree = suite.tree("tree");
    suite.add_task("home", "vault", &tree).await;
    for level in [Level::Full, Level::Incr, Level::Diff] {
        suite.saved("home", level).await;
    }
    let before = suite.savesets().await;
    suite.stop_server().await;
    lose_catalog(&suite).await;
    suite.start_server().await.unwrap();
    (suite, tree, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn idx10_a_lost_catalog_comes_back_from_datastore_and_master_key() {
    let (suite, tree, before) = without_catalog().await;
    assert!(suite.savesets().await.is_empty());

    let path = suite.folder.path().join("store-main").display().to_string();
    let request = AttachDatastoreRequest { node: None, path };
    let view = suite.server().attach_datastore(&root(), request).await.unwrap();
    assert_eq!(view.name, "main");
    let request = CatalogRebuildRequest::default();
    let reply = suite.server().rebuild_catalog(&root(), request.clone()).await.unwrap();
    let one = &reply.datastores[0];
    assert_eq!((one.rows.added, one.domains_found, one.damaged.len()), (3, 1, 0));
    assert_eq!(suite.savesets().await, before);
    let reply = suite.server().rebuild_catalog(&root(), request).await.unwrap();
    assert_eq!((reply.datastores[0].rows.unchanged, reply.datastores[0].rows.added), (3, 0));

    // And everything works on: browse, restore, the next INCR against the old base.
    let ls = LsRequest {
        saveset: before[0].saveset.to_string(),
        task: None,
        path: tree.display().to_string(),
        after: None,
        limit: 0,
    };
    assert_eq!(suite.server().ls(&root(), ls).await.unwrap().entries.len(), 3);
    suite.add_task("home", "vault", &tree).await;
    let next = suite.saved("home", Level::Incr).await;
    let list = suite.savesets().await;
    let next = list.iter().find(|one| one.saveset.to_string() == next).unwrap();
    assert_eq!((next.base, next.sequence), (Some(before[0].saveset), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_index_and_manifests_come_back_from_the_packs_alone() {
    let (suite, tree, before) = without_catalog().await;
    let store = suite.folder.path().join("store-main");
    let server = suite.server();
    let request = AttachDatastoreRequest { node: None, path: store.display().to_string() };
    server.attach_datastore(&root(), request.clone()).await.unwrap();
    let detach = DatastoreRequest { name: "main".to_owned() };
    server.detach_datastore(&root(), detach.clone()).await.unwrap();
    for folder in ["manifests", "index"] {
        let folder = store.join(folder);
        assert!(std::fs::read_dir(&folder).unwrap().count() > 0, "{}", folder.display());
        std::fs::remove_dir_all(&folder).unwrap();
    }
    server.attach_datastore(&root(), request).await.unwrap();
    let nothing = CatalogRebuildRequest::default();
    let reply = server.rebuild_catalog(&root(), nothing.clone()).await.unwrap();
    assert_eq!(reply.datastores[0].rows.added, 0, "{reply:?}");

    let job = server
        .rebuild_index(&root(), RebuildIndexRequest { datastore: Some("main".to_owned()) })
        .await
        .unwrap()
        .job;
    assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
    let told = suite.job(job).await.problem_list;
    assert!(told.iter().any(|one| one.message.contains("from its copy in a pack: 3")), "{told:?}");
    let reply = server.rebuild_catalog(&root(), nothing).await.unwrap();
    assert_eq!(reply.datastores[0].rows.added, 3, "{reply:?}");
    assert_eq!(suite.savesets().await, before);
    for saveset in &before {
        let target = suite.folder.path().join(saveset.saveset.to_string());
        let request = RestoreRequest {
            saveset: saveset.saveset.to_string(),
            target: Some(target.display().to_string()),
            ..RestoreRequest::default()
        };
        let job = suite.restore(request).await;
        assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
        let back = target.join(tree.strip_prefix("/").unwrap());
        assert_eq!(simsim_testkit::compare_trees(&tree, &back), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_comes_back_from_datastore_and_recovery_kit() {
    let mut suite = Suite::with_datastore().await;
    let kit = suite.server().create_kit(&root()).await.unwrap();
    let tree = suite.tree("tree");
    suite.add_task("home", "vault", &tree).await;
    suite.saved("home", Level::Full).await;
    let before = suite.savesets().await;
    suite.stop_server().await;
    lose_catalog(&suite).await;
    for name in ["master.key", "master.key.2", "master.key.3"] {
        std::fs::remove_file(suite.state().join("server").join(name)).unwrap();
    }
    suite.start_server().await.unwrap();
    let path = suite.folder.path().join("store-main").display().to_string();
    let server = suite.server();
    server.attach_datastore(&root(), AttachDatastoreRequest { node: None, path }).await.unwrap();

    let without = CatalogRebuildRequest::default();
    let reply = server.rebuild_catalog(&root(), without).await.unwrap();
    assert_eq!(reply.datastores[0].rows.added, 1);
    let nameless = suite.savesets().await;
    assert_eq!((nameless.len(), nameless[0].task.as_str()), (1, ""));
    assert_eq!(server.domains(&root()).await.unwrap()[0].key_held_by, "nobody");

    let wrong = simsim_format::RecoveryKit::generate().unwrap().groups().join("-");
    let reply = server
        .rebuild_catalog(&root(), CatalogRebuildRequest { datastore: None, kit: Some(wrong) })
        .await
        .unwrap();
    assert_eq!(reply.datastores[0].rows.corrected, 0);
    let typo = CatalogRebuildRequest { datastore: None, kit: Some("AAAAAA".to_owned()) };
    assert!(server.rebuild_catalog(&root(), typo).await.is_err());

    let right = CatalogRebuildRequest { datastore: None, kit: Some(kit.groups.join("-")) };
    let reply = server.rebuild_catalog(&root(), right).await.unwrap();
    assert_eq!(reply.datastores[0].rows.corrected, 1);
    assert_eq!(suite.savesets().await, before);
    let target = suite.folder.path().join("restored");
    let job = suite
        .restore(RestoreRequest {
            task: Some("home".to_owned()),
            target: Some(target.display().to_string()),
            ..RestoreRequest::default()
        })
        .await;
    assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_master_key_is_not_replaced_while_a_catalog_needs_it() {
    let mut suite = Suite::start().await;
    suite.stop_server().await;
    for name in ["master.key", "master.key.2", "master.key.3"] {
        std::fs::remove_file(suite.state().join("server").join(name)).unwrap();
    }
    let error = suite.start_server().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("recovery kit"), "{error}");
}

async fn lose_catalog(suite: &Suite) {
    let folder = suite.state().join("server");
    // The one before may still be closing it.
    until("the catalog is let go", || async {
        let lock = std::fs::File::open(folder.join("catalog.lock")).unwrap();
        lock.try_lock().is_ok()
    })
    .await;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("catalog.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::remove_file(folder.join("audit.head")).unwrap();
}
