//! Back up, back up again, restore, compare.

use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use simsim_control::verbs::*;
use simsim_model::*;
use simsim_testkit::compare_trees;

use crate::bench::*;

#[test]
fn a_tree_comes_back_and_the_second_backup_sends_next_to_nothing() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        // Older than the first scan by more than the clock's tick.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;

        let (first, result) = bench.backup(&source, None).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        assert_eq!(result.commit.as_ref().unwrap().saveset, first);
        assert_eq!(result.commit.as_ref().unwrap().sequence, 1);
        assert!(result.snapshot.bytes_read > 3 << 20);
        let first_wire = result.snapshot.bytes_wire;
        assert!(first_wire > 3 << 20, "{result:?}");

        std::fs::write(source.join("sub/7.bin"), noise(9000, 4711)).unwrap();
        let (second, result) = bench.backup(&source, Some(first)).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        assert_eq!(result.snapshot.bytes_read, 9000, "only the changed file is read");
        assert!(result.snapshot.bytes_wire < 64 << 10, "{}", result.snapshot.bytes_wire);

        let target = bench.path("target");
        let result = bench.restore(second, &target).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        assert!(result.commit.is_none());
        let restored = target.join(source.strip_prefix("/").unwrap());
        assert_eq!(compare_trees(&source, &restored), []);

        let manifests = bench
            .device(ListManifests { store: STORE, after_sequence: 0, limit: 0 })
            .await
            .unwrap();
        let listed: Vec<_> = manifests.manifests.iter().map(|entry| entry.saveset).collect();
        assert_eq!(listed, [first, second]);
    });
}

#[test]
fn full_reads_everything_again_and_stores_nothing_twice() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (_, first) = bench.backup(&source, None).await;
        let (_, again) = bench.backup(&source, None).await;
        assert_eq!(again.outcome, Outcome::Finished);
        assert_eq!(again.snapshot.bytes_read, first.snapshot.bytes_read);
        assert_eq!(again.snapshot.bytes_new, 0, "{again:?}");
    });
}

#[test]
fn a_missing_source_and_an_unreadable_file_make_it_finished_with_errors() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        let mut request = bench.start_backup(&ticket, &source, None);
        request.sources.push(bench.path("gone").as_os_str().as_bytes().to_vec());
        bench.grant(&ticket, Some(Level::Full), None).await;
        let events = Mutex::new(Vec::new());
        let reply =
            bench.client_with(request, &|event| events.lock().unwrap().push(event)).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::FinishedWithErrors);
        assert!(reply.result.commit.is_some());
        let missing = |problem: &Problem| problem.kind == ProblemKind::MissingSource;
        assert!(reply.result.problems.iter().any(missing));
        let events = events.into_inner().unwrap();
        let told = |event: &Event| matches!(event, Event::Problem(problem) if missing(problem));
        assert!(events.iter().any(told), "{events:?}");
        assert!(matches!(events.last(), Some(Event::Progress(last)) if last.files_done > 40));
    });
}

#[test]
fn one_path_is_restored_and_a_dry_run_writes_nothing() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (saveset, _) = bench.backup(&source, None).await;
        let target = bench.path("target");

        let ticket = bench.ticket(Direction::Restore, saveset);
        bench.grant(&ticket, None, None).await;
        let mut request = bench.start_restore(&ticket, &target);
        request.selection = vec![source.join("sub/3.bin").as_os_str().as_bytes().to_vec()];
        request.dry_run = true;
        let result = bench.client(request).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        assert_eq!((result.snapshot.files_done, result.snapshot.bytes_done), (1, 9000));
        assert!(!target.exists());

        let ticket = bench.ticket(Direction::Restore, saveset);
        bench.grant(&ticket, None, None).await;
        let mut request = bench.start_restore(&ticket, &target);
        request.selection = vec![source.join("sub/3.bin").as_os_str().as_bytes().to_vec()];
        let result = bench.client(request).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        let restored = target.join(source.strip_prefix("/").unwrap());
        assert_eq!(std::fs::read(restored.join("sub/3.bin")).unwrap(), noise(9000, 103));
        assert!(!restored.join("hello.txt").exists());
    });
}

#[test]
fn fid16_several_backups_at_once_come_back_each_as_it_was() {
    run(async {
        let bench = Bench::new().await;
        let sources: Vec<_> = (0..4).map(|n| bench.path(&format!("source{n}"))).collect();
        for source in &sources {
            make_tree(source);
            std::fs::write(source.join("own"), noise(200_000, source.as_os_str().len() as u64))
                .unwrap();
        }
        let jobs = sources
            .iter()
            .map(|source| async { (source.clone(), bench.backup(source, None).await) });
        let mut done = Vec::new();
        let mut all: Vec<_> = jobs.map(Box::pin).collect();
        std::future::poll_fn(|cx| {
            all.retain_mut(|job| match job.as_mut().poll(cx) {
                std::task::Poll::Ready(result) => {
                    done.push(result);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        for (source, (saveset, result)) in done {
            assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
            let target = bench.path(&saveset.to_string());
            let restored = bench.restore(saveset, &target).await;
            assert_eq!(restored.outcome, Outcome::Finished, "{restored:?}");
            let restored = target.join(source.strip_prefix("/").unwrap());
            assert_eq!(compare_trees(&source, &restored), []);
        }
    });
}
