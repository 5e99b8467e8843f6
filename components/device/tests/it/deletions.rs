//! Deleting savesets by the server's verb: the device is the judge.

use simsim_control::verbs::{DELETE_SAVESETS_MAX, DeleteSavesets};
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
