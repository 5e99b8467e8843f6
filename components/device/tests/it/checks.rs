//! Verification and the building of the index.

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
