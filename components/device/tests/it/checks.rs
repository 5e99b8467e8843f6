//! Verification, the building of the index, and the collection of garbage.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use simsim_control::verbs::*;
use simsim_model::*;

use crate::bench::*;

fn verify(bench: &Bench, mode: VerifyMode, saveset: Option<SavesetId>) -> VerifyDatastore {
    let domain_keys = vec![DomainKey { domain: DOMAIN, key: key() }];
    VerifyDatastore { store: STORE, job: bench.number(), mode, domain_keys, saveset, mend: false }
}

fn packs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            packs(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn a_healthy_datastore_verifies_and_a_flipped_bit_is_named() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (saveset, _) = bench.backup(&source, None).await;
        for (mode, saveset) in [
            (VerifyMode::Structure, None),
            (VerifyMode::Bytes, None),
            (VerifyMode::Bytes, Some(saveset)),
        ] {
            let reply = bench.device(verify(&bench, mode, saveset)).await.unwrap();
            assert_eq!(reply.result.outcome, Outcome::Finished, "{mode:?} {saveset:?}: {reply:?}");
            assert!(reply.segments > 0 && reply.bytes > 3 << 20, "{mode:?}: {reply:?}");
            assert_eq!(reply.damaged_total, 0);
        }

        let mut found = Vec::new();
        packs(&bench.path("store/packs"), &mut found);
        let largest = found.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(largest).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(100_000)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(100_000)).unwrap();
        file.write_all(&[byte[0] ^ 1]).unwrap();
        drop(file);

        for (mode, saveset) in [(VerifyMode::Structure, None), (VerifyMode::Bytes, Some(saveset))] {
            let reply = bench.device(verify(&bench, mode, saveset)).await.unwrap();
            assert_eq!(reply.result.outcome, Outcome::FinishedWithErrors, "{mode:?}: {reply:?}");
            assert!(reply.damaged_total > 0 && !reply.damaged.is_empty());
        }
        let result = bench.restore(saveset, &bench.path("target")).await;
        assert_eq!(result.outcome, Outcome::FinishedWithErrors, "{result:?}");
    });
}

#[test]
fn one_saveset_needs_the_key_of_its_domain() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (saveset, _) = bench.backup(&source, None).await;
        let mut request = verify(&bench, VerifyMode::Bytes, Some(saveset));
        request.domain_keys.clear();
        let reply = bench.device(request).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::Failed);
        let mut request = verify(&bench, VerifyMode::Bytes, None);
        request.domain_keys.clear();
        let reply = bench.device(request).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::Finished);
        assert!(reply.result.problems.iter().any(|problem| problem.kind == ProblemKind::Note));
    });
}

#[test]
fn the_index_is_built_again_and_everything_is_still_there() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (saveset, _) = bench.backup(&source, None).await;
        let request = RebuildIndex { store: STORE, job: bench.number() };
        let number = request.job;
        let reply = bench.device(request).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::Finished, "{reply:?}");
        assert!(reply.packs > 0 && reply.segments > 0 && reply.chunks > 40, "{reply:?}");
        let state = bench.device(JobState { job: number }).await.unwrap();
        assert_eq!((state.phase, state.kind), (JobPhase::Finished, JobKind::RebuildIndex));
        assert!(reply.result.problems.is_empty(), "{reply:?}");
        let result = bench.restore(saveset, &bench.path("target")).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
    });
}

#[test]
fn what_no_saveset_needs_is_collected_and_the_others_restore() {
    run(async {
        let bench = Bench::new().await;
        let (old, new) = (bench.path("old"), bench.path("new"));
        make_tree(&old);
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("other"), noise(2 << 20, 9)).unwrap();
        let (first, _) = bench.backup(&old, None).await;
        let (second, _) = bench.backup(&new, None).await;
        let collect = || CollectGarbage { store: STORE, job: bench.number(), over_budget: false };
        let reply = bench.device(collect()).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::Finished, "{reply:?}");
        assert_eq!((reply.savesets, reply.packs_deleted, reply.packs_written), (2, 0, 0));

        bench.device(DetachDatastore { store: STORE }).await.unwrap();
        let folder = bench.path("store");
        let path = folder.display().to_string();
        tokio::task::spawn_blocking(move || {
            let storage = std::sync::Arc::new(simsim_storage::LocalStorage::open(folder).unwrap());
            let options = simsim_datastore::OpenOptions::default();
            let datastore = simsim_datastore::Datastore::open(storage, options).unwrap();
            datastore.delete_savesets(&[first], now_s()).unwrap();
            datastore.close().unwrap();
        })
        .await
        .unwrap();
        bench.device(AttachDatastore { path }).await.unwrap();
        let request = collect();
        let number = request.job;
        let reply = bench.device(request).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::Finished, "{reply:?}");
        assert!(reply.packs_deleted > 0 && reply.bytes_deleted > 3 << 20, "{reply:?}");
        let state = bench.device(JobState { job: number }).await.unwrap();
        assert_eq!((state.phase, state.kind), (JobPhase::Finished, JobKind::CollectGarbage));
        let result = bench.restore(second, &bench.path("target")).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        let result = bench.restore(first, &bench.path("gone")).await;
        assert_eq!(result.outcome, Outcome::Failed, "{result:?}");
        let reply = bench.device(verify(&bench, VerifyMode::Bytes, None)).await.unwrap();
        assert_eq!(reply.result.outcome, Outcome::Finished, "{reply:?}");
    });
}
