//! Backups that heal what a datastore has lost, over a real port (ROT04), and cutting as the
//! datastore says.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use simsim_control::verbs::*;
use simsim_model::*;
use simsim_testkit::compare_trees;

use crate::bench::*;

/// Small enough that files have lists of pieces.
const FINE: CutParameters = CutParameters { min: 64, mean: 256, max: 1024 };

fn packs(bench: &Bench) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(bench.path("store/packs")).unwrap().map(Result::unwrap) {
        found.extend(fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    found
}

/// Flips one bit in every 8 KiB of a pack up to `end`: data comes first, then nodes.
fn rot(pack: &Path, end: impl Fn(u64) -> u64) {
    let file = OpenOptions::new().read(true).write(true).open(pack).unwrap();
    let bytes = file.metadata().unwrap().len();
    for at in (1000..end(bytes)).step_by(8192) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }
}

async fn check(bench: &Bench) -> VerifyDatastoreReply {
    let request = VerifyDatastore {
        store: STORE,
        job: bench.number(),
        mode: VerifyMode::Structure,
        domain_keys: Vec::new(),
        saveset: None,
        mend: false,
    };
    bench.device(request).await.unwrap()
}

async fn reopen(bench: &Bench, meanwhile: impl FnOnce()) {
    bench.device(DetachDatastore { store: STORE }).await.unwrap();
    meanwhile();
    let path = bench.path("store").display().to_string();
    bench.device(AttachDatastore { path }).await.unwrap();
}

async fn comes_back(bench: &Bench, saveset: SavesetId, source: &Path, what: &str) {
    let target = bench.path(&format!("back-{}", bench.number()));
    let result = bench.restore(saveset, &target).await;
    assert_eq!(result.outcome, Outcome::Finished, "{what}: {:?}", result.problems.first());
    let restored = target.join(source.strip_prefix("/").unwrap());
    assert_eq!(compare_trees(source, &restored), [], "{what}");
}

/// How the device comes to know of the damage, or not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    ByVerify,
    ByVerifyThenReopened,
    ByRestore,
    ByRestoreThenReopened,
    PackGoneAtOpening,
    PackShortAtOpening,
    PackGoneWhileOpen,
    PackAndIndexGone,
}

async fn lost_and_healed(found: Found) {
    let bench = Bench::cutting(FINE).await;
    let source = bench.path("source");
    make_tree(&source);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (first, result) = bench.backup(&source, None).await;
    assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
    let pack = packs(&bench).into_iter().max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    match found {
        Found::ByVerify => {
            rot(&pack, |bytes| bytes - 4000);
            assert!(check(&bench).await.damaged_total > 0);
        }
        Found::ByVerifyThenReopened => {
            rot(&pack, |bytes| bytes - 4000);
            assert!(check(&bench).await.damaged_total > 0);
            reopen(&bench, || ()).await;
        }
        Found::ByRestore | Found::ByRestoreThenReopened => {
            // A restore tells of what it has read, so the nodes on the way must be sound.
            rot(&pack, |bytes| bytes / 2);
            let result = bench.restore(first, &bench.path("half")).await;
            assert_ne!(result.outcome, Outcome::Finished, "{result:?}");
            if found == Found::ByRestoreThenReopened {
                reopen(&bench, || ()).await;
            }
        }
        Found::PackGoneAtOpening => {
            reopen(&bench, || fs::remove_file(&pack).unwrap()).await;
        }
        Found::PackShortAtOpening => {
            let cut = || {
                let file = OpenOptions::new().write(true).open(&pack).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            };
            reopen(&bench, cut).await;
        }
        Found::PackGoneWhileOpen => {
            fs::rename(&pack, bench.path("away")).unwrap();
            assert!(check(&bench).await.damaged_total > 0);
        }
        Found::PackAndIndexGone => {
            let lose = || {
                fs::remove_file(&pack).unwrap();
                fs::remove_dir_all(bench.path("store/index")).unwrap();
            };
            reopen(&bench, lose).await;
        }
    }
    let (second, result) = bench.backup(&source, Some(first)).await;
    assert_eq!(result.outcome, Outcome::Finished, "{found:?}: {result:?}");
    assert!(result.snapshot.bytes_read > 100_000, "{found:?}: what was lost is read again");
    comes_back(&bench, second, &source, "the new saveset").await;
    if matches!(found, Found::ByRestore | Found::ByRestoreThenReopened) {
        // Its nodes were not lost, so the old saveset is whole again too.
        comes_back(&bench, first, &source, "the old saveset").await;
    }
    let (third, result) = bench.backup(&source, Some(second)).await;
    assert_eq!(result.outcome, Outcome::Finished, "{found:?}: {result:?}");
    assert_eq!(result.snapshot.bytes_new, 0, "{found:?}: nothing is sent twice");
    comes_back(&bench, third, &source, "the saveset after").await;
}

#[test]
fn rot04_what_a_check_finds_lost_is_sent_again_though_files_are_unchanged() {
    run(lost_and_healed(Found::ByVerify));
    run(lost_and_healed(Found::ByVerifyThenReopened));
}

#[test]
fn rot04_what_a_restore_finds_lost_is_sent_again_also_after_a_restart() {
    run(lost_and_healed(Found::ByRestore));
    run(lost_and_healed(Found::ByRestoreThenReopened));
}

#[test]
fn rot04_a_pack_that_is_gone_or_short_is_sent_again() {
    run(lost_and_healed(Found::PackGoneAtOpening));
    run(lost_and_healed(Found::PackShortAtOpening));
    run(lost_and_healed(Found::PackGoneWhileOpen));
}

#[test]
fn rot04_a_pack_that_is_lost_with_the_whole_index_is_sent_again() {
    run(lost_and_healed(Found::PackAndIndexGone));
}

/// Chunks of one file, counted by the pieces that a datastore holds of it.
#[test]
fn a_datastore_states_how_it_cuts_and_clients_and_streams_cut_so() {
    run(async {
        let (fine, coarse) = (Bench::cutting(FINE).await, Bench::new().await);
        let mut chunks = Vec::new();
        for bench in [&fine, &coarse] {
            let source = bench.path("source");
            fs::create_dir(&source).unwrap();
            fs::write(source.join("file"), noise(600_000, 3)).unwrap();
            let (saveset, result) = bench.backup(&source, None).await;
            assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
            comes_back(bench, saveset, &source, "cut").await;
            let state = bench.device(DatastoreState { store: STORE }).await.unwrap();
            chunks.push(state.chunks);
        }
        let [fine, coarse] = chunks[..] else { unreachable!() };
        assert!(fine > 600_000 / 1024 && coarse < 100, "{fine} and {coarse} chunks");
        let bench = Bench::new().await;
        let create = CreateDatastore {
            path: bench.path("odd").display().to_string(),
            name: "odd".into(),
            store: StoreId([4; 16]),
            owner: String::new(),
            cut: Some(CutParameters { min: 1, mean: 100, max: 1 << 30 }),
        };
        let refused = bench.device(create).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid, "{refused}");
    });
}
