//! Deleting savesets by the server's verb: the device is the judge.

use simsim_control::verbs::{
    DELETE_SAVESETS_MAX, DeleteSavesets, ExtendLocks, ListLocks, SavesetLock,
};
use simsim_model::{Direction, Kind, Level, Outcome, SavesetId};

use crate::bench::{Bench, STORE, key, make_tree, now_s, run};

fn delete(savesets: &[SavesetId]) -> DeleteSavesets {
    DeleteSavesets { store: STORE, savesets: savesets.to_vec(), asked_unix_s: now_s() }
}

/// A backup whose manifest is locked until this second.
async fn locked(bench: &Bench, until: u64) -> SavesetId {
    let saveset = bench.saveset();
    let ticket = bench.ticket(Direction::Backup, saveset);
    let mut grant = bench.grant_of(&ticket, Some(Level::Full), None);
    grant.lock_until_unix_s = until;
    bench.device(grant).await.unwrap();
    let mut start = bench.start_backup(&ticket, &bench.path("tree"), None);
    start.domain_key = Some(key());
    let reply = bench.client(start).await.unwrap();
    assert_eq!(reply.result.outcome, Outcome::Finished, "{reply:?}");
    saveset
}

#[test]
fn what_is_locked_stays_and_holds_up_nothing_else() {
    run(async {
        let bench = Bench::new().await;
        let tree = bench.path("tree");
        make_tree(&tree);
        let held = locked(&bench, now_s() + 3600).await;
        let over = locked(&bench, now_s() - 1).await;
        let (free, _) = bench.backup(&tree, None).await;
        let never = SavesetId([9; 16]);
        let reply = bench.device(delete(&[held, over, never, free, free])).await.unwrap();
        assert_eq!(reply.gone, [never, over, free], "{reply:?}");
        assert_eq!(reply.kept.len(), 1, "{reply:?}");
        assert_eq!((reply.kept[0].saveset, reply.kept[0].kind), (held, Kind::Denied));
        assert!(reply.kept[0].message.contains("nobody can delete it before"), "{reply:?}");
        // Asked again, as after a death before the answer: what is gone is gone.
        let again = bench.device(delete(&[over, held, free])).await.unwrap();
        assert_eq!((again.gone, again.kept.len()), (vec![over, free], 1));
        let result = bench.restore(held, &bench.path("target")).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        let many = delete(&vec![never; DELETE_SAVESETS_MAX + 1]);
        assert_eq!(bench.device(many).await.unwrap_err().kind, Kind::Invalid);
    });
}

#[test]
fn gc13_nothing_is_deleted_while_the_clocks_differ() {
    run(async {
        let bench = Bench::new().await;
        let tree = bench.path("tree");
        make_tree(&tree);
        let (one, _) = bench.backup(&tree, None).await;
        let (two, _) = bench.backup(&tree, None).await;
        for theirs in [0, now_s() - 3700, now_s() + 3700, u64::MAX] {
            let request = DeleteSavesets { asked_unix_s: theirs, ..delete(&[one, two]) };
            let reply = bench.device(request).await.unwrap();
            assert_eq!(reply.gone, [], "{theirs}");
            assert_eq!(reply.kept.len(), 2, "{theirs}");
            assert!(reply.kept.iter().all(|kept| kept.kind == Kind::Busy), "{reply:?}");
        }
        assert_eq!(bench.device(delete(&[one, two])).await.unwrap().gone, [one, two]);
    });
}

/// A server that obeys somebody else: it asks for what it locked itself, says any time, and asks for
/// earlier locks.
#[test]
fn a_lock_that_was_extended_holds_against_a_server_that_lies() {
    run(async {
        let bench = Bench::new().await;
        let tree = bench.path("tree");
        make_tree(&tree);
        let (one, _) = bench.backup(&tree, None).await;
        let (two, _) = bench.backup(&tree, None).await;
        let lock = |saveset, until_unix_s| SavesetLock { saveset, until_unix_s };
        let never = SavesetId([9; 16]);
        let until = now_s() + 3000;
        let locks = vec![lock(one, until), lock(never, until)];
        let reply = bench.device(ExtendLocks { store: STORE, locks }).await.unwrap();
        assert_eq!((reply.held, reply.unknown), (vec![lock(one, until)], vec![never]));
        let locks = vec![lock(one, 1), lock(one, until - 1)];
        let reply = bench.device(ExtendLocks { store: STORE, locks }).await.unwrap();
        assert_eq!(reply.held, [lock(one, until), lock(one, until)], "never shorter");
        for theirs in [now_s(), now_s() + 3500] {
            let request = DeleteSavesets { asked_unix_s: theirs, ..delete(&[one]) };
            let reply = bench.device(request).await.unwrap();
            assert_eq!((reply.gone, reply.kept.len()), (vec![], 1), "{theirs}");
            assert_eq!(reply.kept[0].kind, Kind::Denied);
        }
        let request = DeleteSavesets { asked_unix_s: u64::MAX, ..delete(&[one]) };
        assert_eq!(bench.device(request).await.unwrap().gone, []);
        assert_eq!(bench.device(delete(&[one, two])).await.unwrap().gone, [two]);
        let reply = bench.device(ListLocks { store: STORE, after: None }).await.unwrap();
        assert_eq!((reply.locks, reply.more), (vec![lock(one, until)], false));
        let result = bench.restore(one, &bench.path("target")).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        let locks = vec![lock(one, until); DELETE_SAVESETS_MAX + 1];
        let many = bench.device(ExtendLocks { store: STORE, locks }).await;
        assert_eq!(many.unwrap_err().kind, Kind::Invalid);
    });
}
