//! Two contents that have one name (IDX11). No two are known for 256 bits of keyed BLAKE3, so here a key
//! keeps one byte of each name: whatever can be told from a length, or from bytes that are still at hand,
//! is told.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use simsim_format::{DomainKey, ManifestDetails};
use simsim_model::{Level, Overwrite, ProblemKind, Progress};
use simsim_mover::{
    BackupJob, BackupReport, MoverError, RestoreJob, RestoreReport, Selection, backup, restore,
};
use simsim_source::{FsSink, FsSource, SinkOptions, WalkOptions};
use tempfile::tempdir;

use crate::memory::Memory;
use crate::round_trip::{below, key, noise, now_ns, saveset};

fn weak() -> DomainKey {
    key().with_weak_names(1)
}

fn back_up(store: &Arc<Memory>, from: &Path, number: u8) -> Result<BackupReport, MoverError> {
    store.begin(saveset(number));
    let path = from.as_os_str().as_encoded_bytes().to_vec();
    let mut source = FsSource::new(&[path], WalkOptions::default()).unwrap();
    let job = BackupJob {
        session: store.clone(),
        base: None,
        key: weak(),
        domain: Memory::domain(),
        saveset: saveset(number),
        level: Level::Full,
        details: ManifestDetails::default(),
        scan_started_unix_ns: now_ns(),
        zstd_level: 1,
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| {}),
    };
    backup(job, &mut source)
}

fn bring(store: &Arc<Memory>, number: u8, to: &Path) -> RestoreReport {
    let options = SinkOptions { overwrite: Overwrite::Never, owners: true, specials: true };
    let job = RestoreJob {
        session: store.clone(),
        key: weak(),
        saveset: saveset(number),
        selection: Selection::default(),
        strip: b"/".to_vec(),
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| {}),
    };
    restore(job, &FsSink::open(to, options).unwrap()).unwrap()
}

/// Contents of so many bytes whose names are all the same, and no two alike.
fn of_one_name(lengths: &[usize]) -> Vec<Vec<u8>> {
    let wanted = weak().chunk_name(&noise(0, lengths[0]));
    let mut seeds = 0..;
    let find = |length: &usize| {
        seeds.by_ref().map(|seed| noise(seed, *length)).find(|it| weak().chunk_name(it) == wanted)
    };
    lengths.iter().map(find).collect::<Option<_>>().unwrap()
}

#[test]
fn idx11_two_contents_of_one_name_end_a_backup_that_meets_both() {
    // Of other lengths, and of the same.
    for lengths in [[1000, 1001], [1000, 1000]] {
        let from = tempdir().unwrap();
        for (number, content) in of_one_name(&lengths).iter().enumerate() {
            fs::write(from.path().join(number.to_string()), content).unwrap();
        }
        let error = back_up(&Arc::new(Memory::default()), from.path(), 1).unwrap_err();
        assert!(matches!(error, MoverError::Collision { .. }), "{error}");
        assert!(error.to_string().contains("have the same name"), "{error}");
    }
}

#[test]
fn idx11_a_content_that_another_backup_has_put_under_the_name_is_never_given_for_this_one() {
    let store = Arc::new(Memory::default());
    let home = tempdir().unwrap();
    // Files of one chunk, and of a chunk between holes or others.
    let contents = of_one_name(&[1000, 1009]);
    for (number, content) in (1..).zip(&contents) {
        let from = home.path().join(format!("from{number}"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("one"), content).unwrap();
        fs::write(from.join("other"), format!("of saveset {number}")).unwrap();
        back_up(&store, &from, number).unwrap();
    }
    let to = home.path().join("to");
    assert_eq!(bring(&store, 1, &to).problems_total, 0);
    let from = home.path().join("from1");
    assert_eq!(fs::read(below(&to, &from).join("one")).unwrap(), contents[0]);

    let report = bring(&store, 2, &to);
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!(problem.kind, ProblemKind::MissingData);
    assert!(problem.path.ends_with(b"/one"), "{problem:?}");
    assert!(problem.message.contains("another content of the same name"), "{problem:?}");
    let at = below(&to, &home.path().join("from2"));
    assert!(!at.join("one").exists(), "nothing is given for it");
    assert_eq!(fs::read(at.join("other")).unwrap(), b"of saveset 2");
}

#[test]
fn idx11_a_content_stored_under_the_name_of_another_one_is_noticed() {
    // A key whose names say less: what is stored under its names has other names under the real key.
    let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("one"), noise(5, 2000)).unwrap();
    back_up(&store, &from, 1).unwrap();
    let to = home.path().join("to");
    let report = crate::round_trip::bring_back(&store, 1, &to);
    assert_eq!(report.problems_total, 1, "{:?}", report.problems);
    assert!(report.problems[0].message.contains("is damaged"), "{:?}", report.problems);
    assert!(!below(&to, &from).join("one").exists());
    let seen = &mut simsim_mover::Verified::default();
    let checked =
        simsim_mover::verify(store.clone(), key(), saveset(1), seen, 1, &Progress::new()).unwrap();
    assert_eq!(checked.damaged.len(), 1, "{checked:?}");
}
