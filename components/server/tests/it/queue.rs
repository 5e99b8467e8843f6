//! Several jobs at once, and no more than a drive takes.

use simsim_model::{Kind, Level, Outcome, Overwrite, TargetKind};
use simsim_server::api::*;

use crate::suite::{Suite, root, until};

/// A suite with `count` stream tasks `t0`, `t1`, … that wait for a file `go`.
async fn waiting_tasks(jobs_max: u32, count: usize) -> (Suite, std::path::PathBuf) {
    let suite = Suite::start().await;
    suite.create_datastore("main", Some(jobs_max)).await;
    let go = suite.folder.path().join("go");
    let wait = format!("while ! test -e {}; do sleep 0.02; done; echo done", go.display());
    let names: Vec<String> = (0..count).map(|at| format!("t{at}")).collect();
    let commands: Vec<_> = names.iter().map(|name| (name.as_str(), wait.clone())).collect();
    suite.host.allow_commands(&commands);
    for name in &names {
        suite.add_stream_task(name, "vault").await;
    }
    (suite, go)
}

async fn states(suite: &Suite, jobs: &[u64]) -> Vec<&'static str> {
    let mut states = Vec::new();
    for job in jobs {
        states.push(suite.job(*job).await.job.state.as_str());
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_takes_as_many_jobs_as_it_may_and_the_rest_waits_its_turn() {
    let (suite, go) = waiting_tasks(2, 4).await;
    let mut jobs = Vec::new();
    for at in 0..4 {
        jobs.push(suite.run(&format!("t{at}"), Level::Full).await);
    }
    suite.until_state(jobs[0], "running").await;
    suite.until_state(jobs[1], "running").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(states(&suite, &jobs).await, ["running", "running", "queued", "queued"]);

    let request = AddDriveRequest { datastore: "main".to_owned(), number: None, jobs_max: Some(1) };
    let drive = suite.server().add_drive(&root(), request).await.unwrap();
    suite.until_state(jobs[2], "running").await;
    assert_eq!(suite.job(jobs[2]).await.job.drive, Some(drive.number));
    assert_eq!(states(&suite, &jobs[3..]).await, ["queued"]);

    std::fs::write(&go, b"").unwrap();
    for job in jobs {
        assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
    }
    assert_eq!(suite.savesets().await.len(), 4);
}

/// Limits the jobs at once of a client or a drive group.
async fn limit(suite: &Suite, client: Option<&str>, group: Option<&str>, most: Option<u32>) {
    let request = QueueLimitRequest {
        client: client.map(str::to_owned),
        drive_group: group.map(str::to_owned),
        jobs_max: most,
    };
    suite.server().limit_queue(&root(), request).await.unwrap();
}

async fn until_waits(suite: &Suite, job: u64, words: &str) {
    until(&format!("job {job} waits: {words}"), || async {
        suite.job(job).await.job.waits.is_some_and(|waits| waits.contains(words))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_runs_as_many_jobs_as_its_limit_says_though_the_drive_has_room() {
    let (suite, go) = waiting_tasks(4, 2).await;
    limit(&suite, Some("vault"), None, Some(1)).await;
    let first = suite.run("t0", Level::Full).await;
    let second = suite.run("t1", Level::Full).await;
    suite.until_state(first, "running").await;
    until_waits(&suite, second, "1 jobs run on 'vault', as many as may run there at once").await;
    assert_eq!(states(&suite, &[second]).await, ["queued"]);
    limit(&suite, Some("vault"), None, Some(2)).await;
    suite.until_state(second, "running").await;
    assert_eq!(states(&suite, &[first]).await, ["running"], "both at once");
    std::fs::write(&go, b"").unwrap();
    for job in [first, second] {
        assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drives_of_a_group_run_as_many_jobs_together_as_its_limit_says() {
    let (suite, go) = waiting_tasks(4, 0).await;
    let second = suite.create_datastore("second", Some(4)).await;
    let main = suite.server().datastores(&root()).await.unwrap();
    let main = main.iter().find(|store| store.name == "main").unwrap().drives[0].number;
    group(&suite, &[main, second.drives[0].number]).await;
    let wait = format!("while ! test -e {}; do sleep 0.02; done; echo done", go.display());
    suite.host.allow_commands(&[("g0", wait.clone()), ("g1", wait)]);
    for name in ["g0", "g1"] {
        grouped(&suite, name, TargetKind::Stream, name).await;
    }
    limit(&suite, None, Some("nightly"), Some(1)).await;
    let first = suite.run("g0", Level::Full).await;
    let other = suite.run("g1", Level::Full).await;
    suite.until_state(first, "running").await;
    // Both drives have room for three more, and one of them is idle.
    until_waits(&suite, other, "take no more jobs at once").await;
    assert_eq!(states(&suite, &[other]).await, ["queued"]);
    limit(&suite, None, Some("nightly"), None).await;
    suite.until_state(other, "running").await;
    assert_eq!(states(&suite, &[first]).await, ["running"], "both at once");
    std::fs::write(&go, b"").unwrap();
    for job in [first, other] {
        assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_resumed_gives_its_pause_as_a_reason_no_more() {
    let (suite, go) = waiting_tasks(1, 2).await;
    let pause = PauseRequest { why: "a new roof".to_owned() };
    suite.server().pause_queue(&root(), pause).await.unwrap();
    let jobs = [suite.run("t0", Level::Full).await, suite.run("t1", Level::Full).await];
    for job in jobs {
        until_waits(&suite, job, "the queue is paused").await;
    }
    let view = suite.server().resume_queue(&root()).await.unwrap();
    for waiting in &view.waiting {
        let stale = waiting.waits.as_ref().is_some_and(|waits| waits.contains("paused"));
        assert!(!stale, "{waiting:?}");
    }
    suite.until_state(jobs[0], "running").await;
    until_waits(&suite, jobs[1], "takes no more jobs at once").await;
    std::fs::write(&go, b"").unwrap();
    suite.ended(jobs[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_nothing_is_refused_and_what_was_removed_is_listed() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let server = suite.server();
    let jobs = |task: Option<&str>, event: Option<&str>| JobListRequest {
        task: task.map(str::to_owned),
        event: event.map(str::to_owned),
        ..JobListRequest::default()
    };
    let savesets = |task: &str| SavesetListRequest {
        task: Some(task.to_owned()),
        ..SavesetListRequest::default()
    };
    assert!(server.jobs(&root(), jobs(Some("home"), None)).await.unwrap().is_empty());
    assert!(server.savesets(&root(), savesets("home")).await.unwrap().is_empty());
    let preview = PreviewRequest { event: Some("nix".to_owned()), ..PreviewRequest::default() };
    for (error, words) in [
        (
            server.jobs(&root(), jobs(Some("hoem"), None)).await.unwrap_err(),
            "there is no task 'hoem'; did you mean 'home'?",
        ),
        (
            server.jobs(&root(), jobs(None, Some("nix"))).await.unwrap_err(),
            "there is no event 'nix'",
        ),
        (server.savesets(&root(), savesets("nix")).await.unwrap_err(), "there is no task 'nix'"),
        (server.preview(&root(), preview).await.unwrap_err(), "there is no event 'nix'"),
    ] {
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotFound, words));
    }
    for days in ["", "# none"] {
        let request = CalendarRequest { name: "empty".to_owned(), days: days.parse().unwrap() };
        let error = server.add_calendar(&root(), request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("would have no day"), "{error}");
    }
    suite.saved("home", Level::Full).await;
    let remove = TaskNameRequest { name: "home".to_owned() };
    server.delete_task(&root(), remove).await.unwrap();
    assert_eq!(server.jobs(&root(), jobs(Some("home"), None)).await.unwrap().len(), 1);
    assert_eq!(server.savesets(&root(), savesets("home")).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backups_of_one_task_run_one_after_the_other_and_hold_up_nobody_else() {
    let (suite, go) = waiting_tasks(4, 2).await;
    let first = suite.run("t0", Level::Full).await;
    let twin = suite.run("t0", Level::Incr).await;
    let other = suite.run("t1", Level::Full).await;
    suite.until_state(first, "running").await;
    suite.until_state(other, "running").await;
    assert_eq!(states(&suite, &[twin]).await, ["queued"]);
    std::fs::write(&go, b"").unwrap();
    assert_eq!(suite.ended(twin).await.state.outcome(), Some(Outcome::Finished));
    let (first, twin) = (suite.job(first).await.job, suite.job(twin).await.job);
    assert!(twin.started_unix_ms >= first.ended_unix_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_cancelled_at_any_moment_end_in_a_clear_state() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    for round in 0..12u64 {
        let job = suite.run("home", Level::Full).await;
        tokio::time::sleep(std::time::Duration::from_millis(round)).await;
        let _ = suite.server().cancel_job(&root(), JobRequest { job }).await;
        let mut follower = suite.server().follow_job(&root(), JobRequest { job }).await.unwrap();
        let mut last = None;
        while let Some(event) = follower.next().await {
            if let simsim_server::JobEventKind::State { state } = event.kind {
                last = Some(state);
            }
        }
        let state = suite.job(job).await.job.state;
        assert_eq!(last, Some(state), "what is told is what is kept");
        let outcome = state.outcome().unwrap();
        assert!(matches!(outcome, Outcome::Cancelled | Outcome::Finished), "{outcome}");
    }
    let listed = suite.savesets().await.len();
    let store = suite.server().datastores(&root()).await.unwrap().remove(0);
    assert_eq!(store.device.unwrap().savesets, listed as u64, "no saveset is unlisted");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_waiting_and_running_jobs() {
    let (suite, _go) = waiting_tasks(1, 2).await;
    let running = suite.run("t0", Level::Full).await;
    let waiting = suite.run("t1", Level::Full).await;
    suite.until_state(running, "running").await;
    let cancel = async |job| suite.server().cancel_job(&root(), JobRequest { job }).await;
    assert_eq!(cancel(waiting).await.unwrap().state.as_str(), "cancelled");
    assert!(cancel(running).await.unwrap().cancel_asked);
    assert_eq!(suite.ended(running).await.state.outcome(), Some(Outcome::Cancelled));
    assert_eq!(cancel(running).await.unwrap_err().kind(), Kind::Invalid);
    assert!(suite.savesets().await.is_empty());
    let open = JobListRequest { open_only: true, ..JobListRequest::default() };
    assert!(suite.server().jobs(&root(), open).await.unwrap().is_empty());
    // The place is free again.
    let (client, tree) = ("vault", suite.tree("tree"));
    suite.add_task("home", client, &tree).await;
    suite.saved("home", Level::Full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_somebody_cancelled_is_no_warning_and_hides_none() {
    let suite = Suite::with_datastore().await;
    suite.host.allow_commands(&[("slow", "sleep 60".to_owned()), ("bad", "exit 3".to_owned())]);
    for name in ["slow", "bad"] {
        suite.add_stream_task(name, "vault").await;
    }
    let warned = async |task: &str| {
        let status = suite.server().status(&root()).await.unwrap();
        status.warnings.iter().any(|warning| warning.contains(&format!("task '{task}'")))
    };
    let job = suite.run("slow", Level::Full).await;
    suite.until_state(job, "running").await;
    suite.server().cancel_job(&root(), JobRequest { job }).await.unwrap();
    assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Cancelled));
    assert!(!warned("slow").await);

    assert_eq!(suite.backup("bad", Level::Full).await.state.outcome(), Some(Outcome::Failed));
    assert!(warned("bad").await);
    suite.host.allow_commands(&[("bad", "sleep 60".to_owned())]);
    let job = suite.run("bad", Level::Full).await;
    suite.until_state(job, "running").await;
    suite.server().cancel_job(&root(), JobRequest { job }).await.unwrap();
    suite.ended(job).await;
    assert!(warned("bad").await, "the one before it failed all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_at_once_which_host_it_waits_for_and_what_it_was_asked() {
    let suite = Suite::with_datastore().await;
    let far = suite.join_host("far", true).await;
    let request = CreateDatastoreRequest {
        name: "remote".to_owned(),
        node: Some("far".to_owned()),
        path: suite.folder.path().join("store-remote").display().to_string(),
        drive: None,
        jobs_max: None,
        cut: None,
    };
    suite.server().create_datastore(&root(), request).await.unwrap();
    let tree = suite.tree("tree").display().to_string();
    let paths = BackupRequest {
        client: None,
        sources: vec![tree.clone()],
        excludes: Vec::new(),
        options: TaskOptions::default(),
        datastore: Some("remote".to_owned()),
        drive: None,
        drive_group: None,
        pool: None,
        eol_days: 0,
        level: Level::Full,
    };
    let job = suite.server().backup_paths(&root(), paths.clone()).await.unwrap().job;
    let ended = suite.ended(job).await;
    assert_eq!((ended.asked.paths.as_slice(), ended.waits), (&[tree.clone()][..], None));
    let saveset = suite.savesets().await.remove(0);
    assert_eq!(ended.progress.dirs_done, saveset.dirs, "job and saveset count alike");
    let target = suite.folder.path().join("back").display().to_string();
    let restore = RestoreRequest {
        saveset: saveset.saveset.to_string(),
        target: Some(target.clone()),
        dry_run: true,
        ..RestoreRequest::default()
    };
    let asked = suite.restore(restore).await.asked;
    assert_eq!(
        (asked.target, asked.dry_run, asked.overwrite),
        (Some(target), true, Some(Overwrite::Never))
    );

    far.vanish();
    until("far is away", || async {
        let clients = suite.server().clients(&root()).await.unwrap();
        clients.iter().any(|client| client.name == "far" && !client.connected)
    })
    .await;
    let begun = std::time::Instant::now();
    let job = suite.server().backup_paths(&root(), paths).await.unwrap().job;
    until("it says whom it waits for", || async {
        suite.job(job).await.job.waits.is_some_and(|waits| waits.contains("'far' is not reached"))
    })
    .await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    until("its log says so too", || async {
        suite.log_text(job).await.contains("'far' is not reached now")
    })
    .await;
    suite.server().cancel_job(&root(), JobRequest { job }).await.unwrap();
    let ended = suite.ended(job).await;
    assert_eq!(ended.waits, None, "it waits no more");
}

async fn group(suite: &Suite, drives: &[u32]) -> DriveGroupView {
    let request = DriveGroupRequest { name: "nightly".to_owned(), drives: drives.to_vec() };
    suite.server().add_drive_group(&root(), request).await.unwrap()
}

/// A task for any drive of the group, and its request.
async fn grouped(suite: &Suite, name: &str, kind: TargetKind, source: &str) -> TaskRequest {
    let request = TaskRequest {
        kind,
        sources: vec![source.to_owned()],
        datastore: None,
        drive_group: Some("nightly".to_owned()),
        options: TaskOptions {
            stream_command: (kind == TargetKind::Stream).then(|| name.to_owned()),
            ..TaskOptions::default()
        },
        ..crate::suite::task(name, "vault", std::path::Path::new("/"))
    };
    let view = suite.server().add_task(&root(), request.clone()).await.unwrap();
    assert_eq!(view.drive_group.as_deref(), Some("nightly"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_drive_group_take_whichever_drive_is_free_in_any_of_its_datastores() {
    let (suite, go) = waiting_tasks(1, 3).await;
    let second = suite.create_datastore("second", Some(1)).await;
    let outside = suite.create_datastore("outside", Some(4)).await;
    let numbers: Vec<u32> = suite
        .server()
        .datastores(&root())
        .await
        .unwrap()
        .iter()
        .filter(|store| store.name != outside.name)
        .map(|store| store.drives[0].number)
        .collect();
    let view = group(&suite, &numbers).await;
    let stores: Vec<&str> = view.drives.iter().map(|drive| drive.datastore.as_str()).collect();
    assert_eq!(stores, ["main", "second"]);
    for name in ["g0", "g1", "g2"] {
        let wait = format!("while ! test -e {}; do sleep 0.02; done; echo done", go.display());
        suite.host.allow_commands(&[("g0", wait.clone()), ("g1", wait.clone()), ("g2", wait)]);
        grouped(&suite, name, TargetKind::Stream, name).await;
    }
    let mut jobs = Vec::new();
    for name in ["g0", "g1", "g2"] {
        jobs.push(suite.run(name, Level::Incr).await);
    }
    suite.until_state(jobs[0], "running").await;
    suite.until_state(jobs[1], "running").await;
    // The third has no place, though a drive outside the group is idle.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(states(&suite, &jobs).await, ["running", "running", "queued"]);
    let remove = DriveGroupNameRequest { name: "nightly".to_owned() };
    let used = suite.server().delete_drive_group(&root(), remove.clone()).await.unwrap_err();
    assert_eq!(used.kind(), Kind::Busy);
    assert!(used.to_string().contains(&format!("job {}", jobs[2])), "{used}");
    std::fs::write(&go, b"").unwrap();
    let mut places = Vec::new();
    for job in &jobs {
        assert_eq!(suite.ended(*job).await.state.outcome(), Some(Outcome::Finished));
        let job = suite.job(*job).await.job;
        places.push((job.datastore, job.drive));
    }
    let mut first: Vec<_> = places[..2].to_vec();
    first.sort();
    let both = [("main", numbers[0]), ("second", second.drives[0].number)];
    assert_eq!(first, both.map(|(store, drive)| (store.to_owned(), Some(drive))));

    // The savesets are where the jobs went, and so does the next one, to have something to compare
    // with, though the other drive would be as free.
    for (name, (datastore, _)) in ["g0", "g1", "g2"].iter().zip(&places) {
        let job = suite.run(name, Level::Incr).await;
        assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Finished));
        let job = suite.job(job).await.job;
        assert_eq!((&job.datastore, job.level), (datastore, Some(Level::Incr)), "{name}");
        let request = TaskNameRequest { name: (*name).to_owned() };
        assert_eq!(suite.server().task(&root(), request).await.unwrap().datastore, *datastore);
    }
    let used = suite.server().delete_drive_group(&root(), remove).await.unwrap_err();
    assert_eq!(used.kind(), Kind::Busy, "tasks use it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_goes_elsewhere_in_its_group_and_an_incremental_waits_for_its_own_datastore() {
    let (suite, go) = waiting_tasks(1, 1).await;
    let second = suite.create_datastore("second", Some(1)).await;
    let main = suite.server().datastores(&root()).await.unwrap();
    let main = main.iter().find(|store| store.name == "main").unwrap().drives[0].number;
    group(&suite, &[main, second.drives[0].number]).await;
    let tree = suite.tree("tree");
    let request = grouped(&suite, "home", TargetKind::Path, tree.to_str().unwrap()).await;
    let first = suite.run("home", Level::Incr).await;
    suite.ended(first).await;
    assert_eq!(suite.job(first).await.job.datastore, "main", "the lowest number of two empty ones");

    // Its drive is taken by somebody else.
    let blocks = suite.run("t0", Level::Full).await;
    suite.until_state(blocks, "running").await;
    let copy = suite.run("home", Level::Copy).await;
    assert_eq!(suite.ended(copy).await.state.outcome(), Some(Outcome::Finished));
    assert_eq!(suite.job(copy).await.job.datastore, "second");
    // Nothing is compared with a COPY: the task is still at home where it was.
    let waits = suite.run("home", Level::Incr).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(states(&suite, &[waits]).await, ["queued"]);
    suite.server().cancel_job(&root(), JobRequest { job: waits }).await.unwrap();
    let full = suite.run("home", Level::Full).await;
    assert_eq!(suite.ended(full).await.state.outcome(), Some(Outcome::Finished));
    assert_eq!(suite.job(full).await.job.datastore, "second");
    // Now that is where its last saveset is.
    let next = suite.run("home", Level::Incr).await;
    assert_eq!(suite.ended(next).await.state.outcome(), Some(Outcome::Finished));
    assert_eq!(suite.job(next).await.job.datastore, "second");
    let detach = DatastoreRequest { name: "second".to_owned() };
    suite.server().detach_datastore(&root(), detach).await.unwrap();
    // Out of service: the group has only a full drive, and the job waits for that one.
    let waits = suite.run("home", Level::Incr).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(states(&suite, &[waits]).await, ["queued"]);
    std::fs::write(&go, b"").unwrap();
    assert_eq!(suite.ended(waits).await.state.outcome(), Some(Outcome::Finished));
    let waited = suite.job(waits).await.job;
    assert_eq!((waited.datastore.as_str(), waited.level), ("main", Some(Level::Incr)));

    // What cannot stand together is refused by name.
    for wrong in [
        TaskRequest { datastore: Some("main".to_owned()), ..request.clone() },
        TaskRequest { drive: Some(main), ..request.clone() },
        TaskRequest { drive_group: Some("nobody".to_owned()), ..request },
    ] {
        let told = suite.server().change_task(&root(), wrong.clone()).await.unwrap_err();
        assert!(matches!(told.kind(), Kind::Invalid | Kind::NotFound), "{wrong:?}: {told}");
        assert!(told.to_string().contains(wrong.drive_group.as_deref().unwrap()), "{told}");
    }
}
