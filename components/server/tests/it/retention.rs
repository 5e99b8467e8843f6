//! Pools, policies, holds, locks and the second person, with a real device.

use simsim_model::{Kind, Level, Outcome};
use simsim_server::api::*;
use simsim_server::{Grant, Principal, Right, ServerError};

use crate::suite::{Suite, root, task};

/// Somebody with exactly these rights, for everything.
fn somebody(name: &str, rights: &[Right]) -> Principal {
    let grants = rights.iter().map(|right| Grant::of(*right));
    Principal::with_grants(name, grants.collect())
}

fn approver() -> Principal {
    somebody("user:grace", &[Right::View, Right::Approve])
}

fn word(approval: u64) -> ApprovalWordRequest {
    ApprovalWordRequest { approval, digest: None, note: String::new() }
}

fn named(saveset: &str) -> SavesetRequest {
    SavesetRequest { saveset: saveset.to_owned() }
}

fn deletion(savesets: &[&str]) -> DeleteSavesetsRequest {
    DeleteSavesetsRequest {
        savesets: savesets.iter().map(|one| (*one).to_owned()).collect(),
        datastore: None,
        why: "not wanted any more".to_owned(),
    }
}

#[track_caller]
fn denied<T>(done: Result<T, ServerError>, why: &str) {
    let Err(error) = done else { panic!("it was done") };
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

/// A suite with pool "short" of this policy, and a task "home" in it with so many savesets.
async fn with_pool(policy: &str, savesets: usize) -> (Suite, Vec<String>) {
    let suite = Suite::with_datastore().await;
    let add = AddPoolRequest {
        name: "short".to_owned(),
        policy: policy.to_owned(),
        datastore: Some("main".to_owned()),
        drive: None,
        drive_group: None,
    };
    suite.server().add_pool(&root(), add).await.unwrap();
    let tree = suite.tree("tree");
    let mut home = task("home", "vault", &tree);
    home.pool = Some("short".to_owned());
    suite.server().add_task(&root(), home).await.unwrap();
    let mut ids = Vec::new();
    for round in 0..savesets {
        std::fs::write(tree.join("hello.txt"), format!("round {round}")).unwrap();
        ids.push(suite.saved("home", Level::Incr).await);
    }
    (suite, ids)
}

async fn run(suite: &Suite) -> RetentionRunReply {
    suite.server().run_retention(&root(), RetentionRunRequest::default()).await.unwrap()
}

async fn listed(suite: &Suite) -> Vec<String> {
    suite.savesets().await.iter().map(|one| one.saveset.to_string()).collect()
}

async fn state(suite: &Suite, saveset: &str) -> String {
    let lives = suite.server().why_saveset(&root(), named(saveset)).await.unwrap().lives;
    lives[0].state.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pools_policy_does_not_keep_is_deleted_and_nothing_else() {
    let (suite, ids) = with_pool("last 1", 3).await;
    let server = suite.server();
    // What names no pool is in the default one, and stays.
    suite.add_task("other", "vault", &suite.tree("other")).await;
    let others = [suite.saved("other", Level::Full).await, suite.saved("other", Level::Full).await];
    let dry = RetentionRunRequest { dry_run: true, ..RetentionRunRequest::default() };
    let would = server.run_retention(&root(), dry).await.unwrap();
    let expired: Vec<String> = would.expired.iter().map(|one| one.saveset.to_string()).collect();
    assert_eq!((expired.as_slice(), would.judged), (&ids[..2], 5), "{would:#?}");
    assert_eq!(
        (would.expired[0].datastore.as_str(), would.expired[0].pool.as_str()),
        ("main", "short")
    );
    assert_eq!(listed(&suite).await.len(), 5, "a dry run deletes nothing");

    let done = run(&suite).await;
    assert_eq!((done.deleted, done.waiting, done.taken_back), (2, 0, 0), "{done:#?}");
    let mut left = listed(&suite).await;
    left.sort_unstable();
    let mut expected = vec![ids[2].clone(), others[0].clone(), others[1].clone()];
    expected.sort_unstable();
    assert_eq!(left, expected);
    let nothing = run(&suite).await;
    assert_eq!((nothing.expired.len(), nothing.deleted), (0, 0), "asked again: {nothing:#?}");

    // It is history, restores no more, and the others do.
    let all = SavesetListRequest { deleted_too: true, ..SavesetListRequest::default() };
    let all = server.savesets(&root(), all).await.unwrap();
    let states: Vec<&str> = all.iter().map(|one| one.state.as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "deleted").count(), 2, "{states:?}");
    let request = |id: &str| RestoreRequest {
        saveset: id.to_owned(),
        target: Some(suite.folder.path().join(id).display().to_string()),
        ..RestoreRequest::default()
    };
    denied(server.restore(&root(), request(&ids[0])).await, "was deleted");
    for id in &expected {
        let job = suite.restore(request(id)).await;
        assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
    }
    let why = server.why_saveset(&root(), named(&ids[0])).await.unwrap();
    let deletion = why.lives[0].deletion.clone().unwrap();
    assert_eq!(deletion.asked_by, "local:root");
    assert!(deletion.done_unix_ms >= Some(deletion.decided_unix_ms), "{deletion:?}");
    let rows = server.audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let runs = rows.iter().filter(|row| row.entry.verb == "retention.run").count();
    assert_eq!(runs, 2, "a dry run changes nothing and is not written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_says_where_backups_go_and_stays_while_something_is_in_it() {
    let (suite, ids) = with_pool("last 7", 1).await;
    let server = suite.server();
    suite.create_datastore("second", None).await;
    let mut other = task("else", "vault", &suite.tree("else"));
    (other.pool, other.datastore) = (Some("short".to_owned()), Some("second".to_owned()));
    let error = server.add_task(&root(), other.clone()).await.unwrap_err().to_string();
    assert!(error.contains("datastore 'main'"), "{error}");
    other.datastore = None;
    assert_eq!(server.add_task(&root(), other).await.unwrap().datastore, "main");
    let remove = PoolNameRequest { name: "short".to_owned() };
    let error = server.delete_pool(&root(), remove.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    let users = format!("task 'else', task 'home', saveset {}", &ids[0][..8]);
    assert!(error.to_string().contains(&users), "{error}");
    let change = ChangePoolRequest {
        name: "short".to_owned(),
        datastore: Some("second".to_owned()),
        ..ChangePoolRequest::default()
    };
    let changed = server.change_pool(&root(), change).await.unwrap();
    assert_eq!((changed.approval, changed.pool.datastore.as_deref()), (None, Some("second")));
    let moved = server.task(&root(), TaskNameRequest { name: "home".to_owned() }).await.unwrap();
    assert_eq!(moved.datastore, "second");
    for (policy, why) in
        [("last 7, dayly 14", "'dayly'"), ("zone Nowhere/At_all, last 1", "Nowhere")]
    {
        let simulate = SimulateRequest { pool: "short".to_owned(), policy: policy.to_owned() };
        let error = server.simulate_retention(&root(), simulate).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let pools = server.pools(&root()).await.unwrap();
    let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["default", "short"]);
    assert_eq!((pools[1].savesets, pools[1].tasks.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_deleted_by_two_persons_only() {
    let (suite, ids) = with_pool("last 7", 2).await;
    let server = suite.server();
    let newest = ids[1].as_str();
    let nobody = somebody("user:kim", &[Right::View, Right::Administer, Right::Approve]);
    denied(server.delete_savesets(&nobody, deletion(&[newest])).await, "'delete'");
    let asked = server.delete_savesets(&root(), deletion(&[newest])).await.unwrap();
    assert_eq!((asked.deleted, asked.waiting), (0, 0));
    let asked = asked.approval.unwrap();
    assert!(asked.about.contains("only a second person lets go"), "{}", asked.about);
    assert_eq!(state(&suite, newest).await, "kept");
    // Not by the one who asked, not without the right, not for something else.
    denied(server.approve(&root(), word(asked.approval)).await, "another person has to");
    let viewer = somebody("user:eve", &[Right::View, Right::Delete]);
    denied(server.approve(&viewer, word(asked.approval)).await, "'approve'");
    let other = ApprovalWordRequest { digest: Some("0".repeat(64)), ..word(asked.approval) };
    denied(server.approve(&approver(), other).await, "another digest");
    assert_eq!(listed(&suite).await.len(), 2);
    // A lock that comes in between stands.
    let soon = now_s() + 3600;
    let lock = LockSavesetRequest { saveset: newest.to_owned(), until_unix_s: soon };
    server.lock_saveset(&root(), lock).await.unwrap();
    denied(server.approve(&approver(), word(asked.approval)).await, "locked until");
    let rejected = server.reject(&approver(), word(asked.approval)).await.unwrap();
    assert_eq!(
        (rejected.state.as_str(), rejected.decided_by.as_deref()),
        ("rejected", Some("user:grace"))
    );

    let older = ids[0].as_str();
    let asked = server.delete_savesets(&root(), deletion(&[older])).await.unwrap();
    let asked = asked.approval.unwrap();
    let word =
        ApprovalWordRequest { digest: Some(asked.digest[..12].to_owned()), ..word(asked.approval) };
    let given = server.approve(&approver(), word.clone()).await.unwrap();
    assert_eq!(given.state, "approved");
    assert_eq!(
        (listed(&suite).await, state(&suite, older).await),
        (vec![newest.to_owned()], "deleted".to_owned())
    );
    let error = server.approve(&approver(), word).await.unwrap_err();
    assert!(error.to_string().contains("not open"), "once: {error}");
    let rows = server.audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let by = |verb: &str| -> Vec<&str> {
        let of = rows.iter().filter(|row| row.entry.verb == verb && row.entry.allowed);
        of.map(|row| row.entry.principal.as_str()).collect()
    };
    assert_eq!(by("saveset.delete"), ["local:root", "local:root"]);
    assert!(by("approval.approve").contains(&"user:grace"));
    assert_eq!(by("approval.reject"), ["user:grace"]);
    let digest = &asked.digest[..16];
    assert!(rows.iter().any(|row| row.entry.detail.contains(digest)), "what was approved is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_and_locks_keep_whatever_a_policy_says() {
    let (suite, ids) = with_pool("last 1", 3).await;
    let server = suite.server();
    let hold = HoldSavesetRequest {
        saveset: ids[0].clone(),
        why: Some("case 12".to_owned()),
        release: false,
    };
    server.hold_saveset(&root(), hold).await.unwrap();
    let until = now_s() + 3600;
    let lock = |until_unix_s| LockSavesetRequest { saveset: ids[1].clone(), until_unix_s };
    server.lock_saveset(&root(), lock(until)).await.unwrap();
    denied(server.lock_saveset(&root(), lock(until - 1)).await, "never shortened");
    // What would lock nothing, or for ever by a slip of the pen, is refused before it is written down.
    for (wrong, why) in [
        (1_577_836_800, "2020-01-01T00:00:00Z has passed"),
        (now_s(), "has passed"),
        (now_s() + 36_526 * 86_400, "100 years (36525 days) at most"),
        (253_370_764_800, "not until 9999-01-01T00:00:00Z"),
    ] {
        let error = server.lock_saveset(&root(), lock(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let written = server.audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let locks = written.iter().filter(|row| row.entry.verb == "saveset.lock").count();
    assert_eq!(locks, 2, "the lock, and the one that was refused as earlier");
    let done = run(&suite).await;
    assert_eq!((done.expired.len(), done.deleted), (0, 0), "{done:#?}");
    for (id, why) in [(&ids[0], "legal hold"), (&ids[1], "locked until")] {
        denied(server.delete_savesets(&root(), deletion(&[id])).await, why);
    }
    // An EOL only ever makes it live longer.
    let keep = |saveset: &str, days| KeepSavesetRequest {
        saveset: saveset.to_owned(),
        until_unix_s: None,
        days: Some(days),
    };
    let kept = server.keep_saveset(&root(), keep(&ids[2], 30)).await.unwrap();
    assert!(kept.lives[0].explained.contains("Its own EOL keeps it"), "{kept:#?}");
    let release = HoldSavesetRequest { saveset: ids[0].clone(), why: None, release: true };
    let asked = server.hold_saveset(&root(), release).await.unwrap().approval.unwrap();
    assert_eq!(state(&suite, &ids[0]).await, "kept");
    server.approve(&approver(), word(asked.approval)).await.unwrap();
    assert_eq!(state(&suite, &ids[0]).await, "expired");
    let done = run(&suite).await;
    assert_eq!(done.deleted, 1, "{done:#?}");
    assert_eq!(listed(&suite).await.len(), 2);
    // What the default pool keeps for ever gets no end by an EOL.
    suite.add_task("other", "vault", &suite.tree("other")).await;
    let other = suite.saved("other", Level::Full).await;
    denied(server.keep_saveset(&root(), keep(&other, 30)).await, "earlier than now");
}

#[tokio::test(flavor = "multi_thread")]
async fn ret01_a_policy_that_would_empty_a_task_takes_a_second_person() {
    let (suite, ids) = with_pool("last 7", 3).await;
    let server = suite.server();
    // Made ten days ago, by the server's own stamp.
    suite.sql("UPDATE backups SET stamped_unix_ms = stamped_unix_ms - 864000000");
    let simulate = SimulateRequest { pool: "short".to_owned(), policy: "eol 3 days".to_owned() };
    let would = server.simulate_retention(&root(), simulate).await.unwrap();
    assert_eq!(
        (would.expires.len(), would.emptied.as_slice()),
        (3, &["vault:home".to_owned()][..])
    );
    assert!(would.bytes > 0);
    let change = |policy: &str| ChangePoolRequest {
        name: "short".to_owned(),
        policy: Some(policy.to_owned()),
        ..ChangePoolRequest::default()
    };
    let changed = server.change_pool(&root(), change("eol 3 days")).await.unwrap();
    assert_eq!(changed.pool.policy, "last 7", "not yet");
    let asked = changed.approval.unwrap();
    assert!(asked.about.contains("vault:home"), "{}", asked.about);
    denied(server.approve(&root(), word(asked.approval)).await, "another person has to");
    server.approve(&approver(), word(asked.approval)).await.unwrap();
    let pools = server.pools(&root()).await.unwrap();
    assert_eq!(pools[1].policy, "eol 3 days");
    // Even so the newest restorable one of the task stays.
    let done = run(&suite).await;
    assert_eq!(
        (done.deleted, done.last_of.as_slice()),
        (2, &["vault:home".to_owned()][..]),
        "{done:#?}"
    );
    assert_eq!(listed(&suite).await, [ids[2].clone()]);
    // One that keeps more needs nobody.
    assert_eq!(server.change_pool(&root(), change("forever")).await.unwrap().approval, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn gc13_a_clock_in_doubt_deletes_nothing_until_a_person_confirms_it() {
    let (suite, ids) = with_pool("last 1", 2).await;
    let server = suite.server();
    let warned = async || {
        let status = server.status(&root()).await.unwrap();
        status.warnings.iter().any(|warning| warning.contains("nothing expires"))
    };
    assert!(!warned().await);
    // The server wrote down an instant of ten years ahead: its clock has jumped back since.
    let ahead = (now_s() + 315_360_000) * 1000;
    suite.sql(&format!(
        "INSERT INTO settings (name, value) VALUES ('retention.clock',
             CAST('{{\"last_unix_ms\":{ahead}}}' AS BLOB))
         ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    ));
    assert!(warned().await);
    let done = run(&suite).await;
    assert_eq!((done.expired.len(), done.deleted), (0, 0), "{done:#?}");
    assert!(done.frozen.unwrap().contains("set the clock right, or confirm it"));
    denied(server.delete_savesets(&root(), deletion(&[&ids[0]])).await, "clock is in doubt");
    let why = server.why_saveset(&root(), named(&ids[0])).await.unwrap();
    assert!(why.lives[0].explained.contains("clock is in doubt"), "{why:#?}");
    let view = server.confirm_clock(&root()).await.unwrap();
    assert_eq!((view.doubt, view.confirmed_by.as_deref()), (None, Some("local:root")));
    assert!(!warned().await);
    assert_eq!(run(&suite).await.deleted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_savesets_are_locked_keeps_them_at_the_device_too() {
    let (suite, _) = with_pool("last 1", 0).await;
    let server = suite.server();
    let mut home = task("home", "vault", &suite.folder.path().join("tree"));
    (home.pool, home.eol_days) = (Some("short".to_owned()), 2);
    server.change_task(&root(), home).await.unwrap();
    let first = suite.saved("home", Level::Full).await;
    suite.saved("home", Level::Full).await;
    assert_eq!(run(&suite).await.expired.len(), 0);
    denied(server.delete_savesets(&root(), deletion(&[&first])).await, "locked until");
    // Somebody with a database tool takes the lock out of the catalog: the device still has it.
    suite.sql("UPDATE savesets SET lock_until_unix_s = 0; UPDATE tasks SET eol_days = 0");
    let done = run(&suite).await;
    assert_eq!((done.expired.len(), done.deleted, done.taken_back), (1, 0, 1), "{done:#?}");
    assert!(done.trouble[0].contains("is locked until"), "{done:#?}");
    assert_eq!(listed(&suite).await.len(), 2);
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

impl Suite {
    /// Somebody works at the database behind the server's back.
    fn sql(&self, text: &str) {
        let raw = rusqlite::Connection::open(self.state().join("server/catalog.db")).unwrap();
        raw.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        raw.execute_batch(text).unwrap();
    }
}
