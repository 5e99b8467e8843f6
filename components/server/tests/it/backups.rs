//! The main job: back up, find again, restore, compare.

use simsim_model::{Level, Outcome};
use simsim_server::JobEventKind;
use simsim_server::api::*;
use simsim_testkit::compare_trees;

use crate::suite::{Suite, root, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_saved_found_restored_and_equal() {
    let suite = Suite::with_datastore().await;
    let tree = suite.tree("tree");
    suite.add_task("home", "vault", &tree).await;

    let job = suite.run("home", Level::Incr).await;
    let mut follower = suite.server().follow_job(&root(), JobRequest { job }).await.unwrap();
    let mut states = Vec::new();
    let mut lines = Vec::new();
    while let Some(event) = follower.next().await {
        match event.kind {
            JobEventKind::State { state } => states.push(state.as_str()),
            JobEventKind::Log { line, .. } => lines.push(line),
            _ => {}
        }
    }
    assert_eq!(states.last(), Some(&"finished"), "{lines:#?}");
    let text = suite.log_text(job).await;
    assert!(text.contains("becomes full") && text.contains("full backup of 'home'"), "{text}");

    let savesets = suite.savesets().await;
    assert_eq!(savesets.len(), 1);
    let first = &savesets[0];
    assert_eq!((first.client.as_str(), first.task.as_str()), ("vault", "home"));
    assert_eq!((first.level, first.outcome, first.files), (Level::Full, Outcome::Finished, 4));
    assert_eq!(first.bytes, 300_011);

    let target = suite.folder.path().join("restored");
    let restored = suite
        .restore(RestoreRequest {
            saveset: first.saveset.short(),
            target: Some(target.display().to_string()),
            ..RestoreRequest::default()
        })
        .await;
    assert_eq!(restored.state.outcome(), Some(Outcome::Finished), "{restored:#?}");
    let back = target.join(tree.strip_prefix("/").unwrap());
    assert_eq!(compare_trees(&tree, &back), []);

    let detail = suite
        .server()
        .saveset(&root(), SavesetRequest { saveset: first.saveset.to_string() })
        .await
        .unwrap();
    let kinds: Vec<_> = detail.results.iter().map(|result| result.kind.as_str()).collect();
    assert_eq!(kinds, ["restore", "backup"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_go_back_to_their_own_base() {
    let suite = Suite::with_datastore().await;
    let tree = suite.tree("tree");
    suite.add_task("home", "vault", &tree).await;
    let full = suite.saved("home", Level::Full).await;
    let incr = suite.saved("home", Level::Incr).await;
    suite.saved("home", Level::Copy).await;
    let second = suite.saved("home", Level::Incr).await;
    let diff = suite.saved("home", Level::Diff).await;
    let base = |id: &str, list: &[SavesetView]| {
        let one = list.iter().find(|one| one.saveset.to_string() == id).unwrap();
        one.base.map(|base| base.to_string())
    };
    let list = suite.savesets().await;
    assert_eq!(base(&full, &list), None);
    assert_eq!(base(&incr, &list), Some(full.clone()));
    assert_eq!(base(&second, &list), Some(incr), "a COPY is never a base");
    assert_eq!(base(&diff, &list), Some(full));
    let unchanged = list.iter().find(|one| one.saveset.to_string() == second).unwrap();
    assert_eq!(unchanged.bytes_new, 0, "nothing changed, nothing is new");
    let sequences: Vec<_> = list.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, [5, 4, 3, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ret05_a_missing_source_and_problems_are_never_a_success() {
    let suite = Suite::with_datastore().await;
    let tree = suite.tree("tree");
    let mut request = task("half", "vault", &tree);
    request.sources.push("/nonexistent/source".to_owned());
    suite.server().add_task(&root(), request).await.unwrap();
    let job = suite.backup("half", Level::Full).await;
    assert_eq!(job.state.outcome(), Some(Outcome::FinishedWithErrors), "{job:#?}");
    let detail = suite.job(job.job).await;
    assert!(detail.problem_list.iter().any(|p| p.path_text().contains("/nonexistent")));
    assert_eq!(suite.savesets().await[0].outcome, Outcome::FinishedWithErrors);

    // With no source left nothing is stored: an empty saveset could push good ones out.
    let away = suite.folder.path().join("away");
    std::fs::rename(suite.folder.path().join("tree"), &away).unwrap();
    let job = suite.backup("half", Level::Incr).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed), "{job:#?}");
    assert!(job.error.as_ref().is_some_and(|e| e.message.contains("not mounted")), "{job:#?}");
    assert_eq!(suite.savesets().await.len(), 1);
    std::fs::rename(&away, suite.folder.path().join("tree")).unwrap();
    let job = suite.backup("half", Level::Incr).await;
    assert_eq!(job.state.outcome(), Some(Outcome::FinishedWithErrors), "{job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_client_and_a_remote_device_do_the_same() {
    let suite = Suite::start().await;
    let rds = suite.join_host("branch", true).await;
    let _client = suite.join_host("desk", false).await;
    let path = rds.folder.join("store").display().to_string();
    let request = CreateDatastoreRequest {
        name: "away".to_owned(),
        node: Some("branch".to_owned()),
        path,
        drive: Some(7),
        jobs_max: Some(2),
        cut: None,
    };
    let view = suite.server().create_datastore(&root(), request).await.unwrap();
    assert_eq!((view.node.as_str(), view.drives[0].number), ("branch", 7));
    let taken = CreateDatastoreRequest {
        name: "more".to_owned(),
        node: None,
        path: suite.folder.path().join("more").display().to_string(),
        drive: Some(7),
        jobs_max: None,
        cut: None,
    };
    let error = suite.server().create_datastore(&root(), taken).await.unwrap_err();
    assert!(error.to_string().contains("drive 7"), "{error}");
    assert!(!suite.folder.path().join("more").exists(), "nothing was made");
    let tree = suite.tree("tree");
    suite.add_task("desk-home", "desk", &tree).await;
    let saveset = suite.saved("desk-home", Level::Incr).await;
    let keys_given = async |keys_to_device| {
        let depth = VerifyDepth::Bytes;
        let request = VerifyRequest { depth, keys_to_device, ..VerifyRequest::default() };
        let job = suite.server().verify(&root(), request).await.unwrap().job;
        assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
        !suite.log_text(job).await.contains("is not given keys")
    };
    assert!(!keys_given(false).await, "a device on another host learns no key unasked");
    assert!(keys_given(true).await);
    // One saveset cannot be checked without its key: that is said before anything is queued.
    let mut request = VerifyRequest { saveset: Some(saveset.clone()), ..VerifyRequest::default() };
    let before = suite.server().jobs(&root(), JobListRequest::default()).await.unwrap().len();
    let error = suite.server().verify(&root(), request.clone()).await.unwrap_err();
    assert!(error.to_string().contains("--keys-to-device"), "{error}");
    let after = suite.server().jobs(&root(), JobListRequest::default()).await.unwrap().len();
    assert_eq!(before, after);
    request.keys_to_device = true;
    let job = suite.server().verify(&root(), request).await.unwrap().job;
    assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
    let target = suite.folder.path().join("restored");
    let job = suite
        .restore(RestoreRequest {
            saveset,
            target: Some(target.display().to_string()),
            ..RestoreRequest::default()
        })
        .await;
    assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
    assert_eq!((job.client.as_str(), job.drive), ("desk", Some(7)));
    assert_eq!(compare_trees(&tree, &target.join(tree.strip_prefix("/").unwrap())), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_is_verified_and_its_index_made_again() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    for request in [
        VerifyRequest::default(),
        // On the server's own device one saveset is checked with its key, unasked.
        VerifyRequest { saveset: Some(saveset.clone()), ..VerifyRequest::default() },
        VerifyRequest { depth: VerifyDepth::Bytes, ..VerifyRequest::default() },
        VerifyRequest {
            saveset: Some(saveset.clone()),
            depth: VerifyDepth::Bytes,
            ..VerifyRequest::default()
        },
    ] {
        let job = suite.server().verify(&root(), request).await.unwrap().job;
        let job = suite.ended(job).await;
        assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
        let log = suite.log_text(job.job).await;
        assert!(log.contains("checked") && !log.contains("0 files"), "{log}");
        let checked = suite.job(job.job).await.checked.unwrap();
        assert!(
            checked.segments > 0 && checked.chunks > 0 && checked.bytes > 300_000,
            "{checked:?}"
        );
        assert_eq!(checked.damaged, 0);
    }
    let request = RebuildIndexRequest::default();
    let job = suite.server().rebuild_index(&root(), request).await.unwrap().job;
    assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
    let request = CollectGarbageRequest::default();
    let job = suite.server().collect_garbage(&root(), request).await.unwrap().job;
    let job = suite.ended(job).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
    let log = suite.log_text(job.job).await;
    assert!(log.contains("need stays; 0 packs removed"), "{log}");

    let packs = suite.folder.path().join("store-main/packs");
    let pack = std::fs::read_dir(&packs)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect()
            } else {
                vec![path]
            }
        })
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let job = suite.server().verify(&root(), VerifyRequest::default()).await.unwrap().job;
    let job = suite.ended(job).await;
    assert!(!matches!(job.state.outcome(), Some(Outcome::Finished)), "damage is found: {job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_stream_is_saved() {
    let suite = Suite::with_datastore().await;
    suite.host.allow_commands(&[("dump", "echo a dump of something".to_owned())]);
    suite.add_stream_task("dump", "vault").await;
    let saveset = suite.saved("dump", Level::Full).await;
    let list = suite.savesets().await;
    assert_eq!((list[0].saveset.to_string(), list[0].bytes), (saveset, 20));
    assert_eq!(list[0].task, "dump");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_task_is_refused() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let tree = suite.tree("tree");
    let refused = async |change: &dyn Fn(&mut TaskRequest)| {
        let mut request = task("t", "vault", &tree);
        change(&mut request);
        server.add_task(&root(), request).await.unwrap_err().full_message()
    };
    assert!(refused(&|t| t.sources.clear()).await.contains("at least one source"));
    assert!(refused(&|t| t.sources = vec!["home".to_owned()]).await.contains("not absolute"));
    assert!(refused(&|t| t.sources = vec!["/a\\b".to_owned()]).await.contains("escape"));
    assert!(refused(&|t| t.name = "a/b".to_owned()).await.contains("cannot be a name"));
    assert!(refused(&|t| t.client = "nobody".to_owned()).await.contains("nobody"));
    assert!(refused(&|t| t.datastore = Some("none".to_owned())).await.contains("none"));
    assert!(refused(&|t| t.excludes = vec!["x".to_owned(); 1001]).await.contains("at most"));
    suite.create_datastore("second", None).await;
    assert!(refused(&|_| ()).await.contains("say which datastore: main, second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_backed_up_without_a_task_and_compared_with_the_last_time() {
    let suite = Suite::with_datastore().await;
    let tree = suite.tree("tree").display().to_string();
    let request = |path: &str| BackupRequest {
        client: None,
        sources: vec![path.to_owned()],
        excludes: Vec::new(),
        options: TaskOptions::default(),
        datastore: None,
        drive: None,
        drive_group: None,
        pool: None,
        eol_days: 0,
        level: Level::Incr,
    };
    let server = suite.server();
    let mut levels = Vec::new();
    for _ in 0..2 {
        let job = server.backup_paths(&root(), request(&tree)).await.unwrap().job;
        let job = suite.ended(job).await;
        assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
        assert_eq!(job.task, tree);
        levels.push(job.level);
    }
    assert_eq!(levels, [Some(Level::Full), Some(Level::Incr)]);
    for wrong in ["relative", "\\y"] {
        let error = server.backup_paths(&root(), request(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), simsim_model::Kind::Invalid, "{error}");
    }
    assert!(server.tasks(&root()).await.unwrap().is_empty(), "no task was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_last_backup_failed_says_so_whatever_ran_since() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    let task = async || {
        let request = TaskNameRequest { name: "home".to_owned() };
        suite.server().task(&root(), request).await.unwrap()
    };
    let warning = async || {
        let status = suite.server().status(&root()).await.unwrap();
        status.warnings.into_iter().find(|warning| warning.contains("'home'"))
    };
    assert_eq!(warning().await, None);
    suite.host.answer_first(std::sync::Arc::new(|request| match request {
        simsim_control::verbs::Request::StartBackup(_) => Some(Err(
            simsim_control::VerbError::new(simsim_model::Kind::Denied, "the owner says no"),
        )),
        _ => None,
    }));
    let failed = suite.backup("home", Level::Incr).await;
    assert_eq!(failed.state.outcome(), Some(Outcome::Failed));
    // A try of a restore ends well, and hides nothing.
    let request = RestoreRequest { saveset, dry_run: true, ..RestoreRequest::default() };
    assert_eq!(suite.restore(request).await.state.outcome(), Some(Outcome::Finished));
    let there = task().await;
    assert_eq!((there.last_job, there.last_state.as_deref()), (Some(failed.job), Some("failed")));
    let said = warning().await.unwrap();
    for part in ["failed", "the owner says no", " s ago", "job show 2", "simsim backup home"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    suite.host.answer_first(std::sync::Arc::new(|_| None));
    suite.saved("home", Level::Incr).await;
    assert_eq!(warning().await, None);
}
