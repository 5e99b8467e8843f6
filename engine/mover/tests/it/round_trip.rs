//! Trees that come back as they were, and second backups that read what changed.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use simsim_format::{DomainKey, ManifestDetails};
use simsim_model::{Level, Overwrite, ProblemKind, Progress, RestoreSession, SavesetId, Secret};
use simsim_mover::{
    BackupJob, BackupReport, Base, MoverError, OnProblem, RestoreJob, RestoreReport, Selection,
    Verified, backup, restore, verify,
};
use simsim_source::{FsSink, FsSource, SinkOptions, WalkOptions, compare};
use tempfile::tempdir;

use crate::memory::Memory;

pub fn key() -> DomainKey {
    DomainKey::new(&Secret([9; 32]))
}

pub fn saveset(number: u8) -> SavesetId {
    SavesetId([number; 16])
}

pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

pub fn back_up(store: &Arc<Memory>, from: &Path, number: u8, base: Option<u8>) -> BackupReport {
    store.begin(saveset(number));
    let path = from.as_os_str().as_bytes().to_vec();
    let options = WalkOptions { threads: 2, ..WalkOptions::default() };
    let scan_started_unix_ns = now_ns();
    let mut source = FsSource::new(std::slice::from_ref(&path), options).unwrap();
    let job = BackupJob {
        session: store.clone(),
        base: base.map(|base| Base { session: store.clone(), saveset: saveset(base) }),
        key: key(),
        domain: Memory::domain(),
        saveset: saveset(number),
        level: if base.is_some() { Level::Incr } else { Level::Full },
        details: ManifestDetails { sources: vec![path], ..ManifestDetails::default() },
        scan_started_unix_ns,
        zstd_level: 3,
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| {}),
    };
    backup(job, &mut source).unwrap()
}

pub fn bring_back(store: &Arc<Memory>, number: u8, to: &Path) -> RestoreReport {
    bring(store, number, to, Overwrite::Never, Selection::default()).unwrap()
}

pub fn bring(
    store: &Arc<Memory>,
    number: u8,
    to: &Path,
    overwrite: Overwrite,
    selection: Selection,
) -> Result<RestoreReport, MoverError> {
    bring_telling(store, number, to, overwrite, selection, Arc::new(|_| {}))
}

pub fn bring_telling(
    store: &Arc<Memory>,
    number: u8,
    to: &Path,
    overwrite: Overwrite,
    selection: Selection,
    on_problem: OnProblem,
) -> Result<RestoreReport, MoverError> {
    let options = SinkOptions { overwrite, owners: true, specials: true };
    let sink = FsSink::open(to, options).unwrap();
    let job = RestoreJob {
        session: store.clone(),
        key: key(),
        saveset: saveset(number),
        selection,
        strip: b"/".to_vec(),
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem,
    };
    restore(job, &sink)
}

/// Where a restored tree lies: its whole path below the target.
pub fn below(to: &Path, from: &Path) -> std::path::PathBuf {
    to.join(from.strip_prefix("/").unwrap())
}

pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[3; 32]).update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn sample(root: &Path) {
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for (number, size) in [0, 1, 255, 256, 257, 4095, 4096, 4097, 65535, 1 << 20].iter().enumerate()
    {
        fs::write(root.join(format!("a/f{number}")), noise(number as u64, *size)).unwrap();
    }
    fs::write(root.join("a/b/large"), noise(99, 3 << 20)).unwrap();
    fs::write(root.join("a/b/c/text"), "line\n".repeat(5000)).unwrap();
    fs::write(root.join("a/copy"), noise(99, 3 << 20)).unwrap();
    fs::hard_link(root.join("a/b/large"), root.join("z-link")).unwrap();
    symlink("nowhere/at all", root.join("dangling")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 2 << 20).unwrap();
    fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o500)).unwrap();
    // Past the margin within which files count as too new to be trusted next time.
    std::thread::sleep(Duration::from_millis(80));
}

pub fn assert_same(a: &Path, b: &Path) {
    let differences = compare(a, b).unwrap();
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn fid_a_tree_comes_back_identical_with_links_holes_and_read_only_folders() {
    let store = Arc::new(Memory::default());
    let folder = tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    sample(&from);
    let report = back_up(&store, &from, 1, None);
    assert_eq!(report.problems_total, 0, "{:?}", report.problems);
    let restored = bring_back(&store, 1, &to);
    assert_eq!(restored.problems_total, 0, "{:?}", restored.problems);
    let to = below(&to, &from);
    assert_same(&from, &to);
    let (first, second) = (to.join("a/b/large"), to.join("z-link"));
    assert_eq!(first.metadata().unwrap().ino(), second.metadata().unwrap().ino());
    assert!(to.join("sparse").metadata().unwrap().blocks() < 1000);
    let session: Arc<dyn RestoreSession> = store.clone();
    let progress = Progress::new();
    let verified =
        verify(session, key(), saveset(1), &mut Verified::default(), 2, &progress).unwrap();
    assert_eq!(verified.damaged, Vec::<String>::new());
    assert!(verified.chunks > 100);
}

#[test]
fn an_unchanged_tree_puts_no_data_and_changes_are_found() {
    let store = Arc::new(Memory::default());
    let folder = tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    sample(&from);
    back_up(&store, &from, 1, None);
    let same = back_up(&store, &from, 2, Some(1));
    assert_eq!(store.data_segments.load(Relaxed), 0);
    assert_eq!(same.draft.bytes_new, 0);

    // IDX07: an edit whose mtime is put back. IDX08: a mode alone.
    let edited = from.join("a/f5");
    let before = fs::metadata(&edited).unwrap().modified().unwrap();
    fs::write(&edited, noise(77, 4095)).unwrap();
    fs::File::options().write(true).open(&edited).unwrap().set_modified(before).unwrap();
    fs::set_permissions(from.join("a/f6"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(from.join("a/f7")).unwrap();
    back_up(&store, &from, 3, Some(2));
    bring_back(&store, 3, &to);
    assert_same(&from, &below(&to, &from));
}

#[test]
fn ret06_each_lost_segment_is_named_and_the_rest_comes_back() {
    let store = Arc::new(Memory::default());
    let folder = tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    sample(&from);
    back_up(&store, &from, 1, None);
    for (round, segment) in store.data_segment_numbers().into_iter().enumerate() {
        let kept = store.take(segment);
        let to = folder.path().join(format!("to{round}"));
        let report = bring_back(&store, 1, &to);
        assert!(report.problems_total > 0);
        assert!(
            report
                .problems
                .iter()
                .all(|p| p.kind == ProblemKind::MissingData || p.kind == ProblemKind::NotWritten),
            "{:?}",
            report.problems
        );
        assert!(below(&to, &from).join("a/b").exists());
        let progress = Progress::new();
        let session: Arc<dyn RestoreSession> = store.clone();
        let verified =
            verify(session, key(), saveset(1), &mut Verified::default(), 2, &progress).unwrap();
        assert_eq!(verified.damaged.len(), 1);
        store.put_back(segment, kept);
    }
}

#[test]
fn a_wrong_key_opens_nothing() {
    let store = Arc::new(Memory::default());
    let folder = tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    sample(&from);
    back_up(&store, &from, 1, None);
    let session: Arc<dyn RestoreSession> = store.clone();
    let other = DomainKey::new(&Secret([8; 32]));
    let tree = simsim_mover::tree::Tree::open(session, other, saveset(1)).unwrap();
    assert_eq!(tree.root().unwrap_err().kind(), simsim_model::Kind::Denied);
}

#[test]
fn tree_lists_finds_and_diffs() {
    let store = Arc::new(Memory::default());
    let folder = tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    for number in 0..3000 {
        fs::write(from.join(format!("file{number:05}")), format!("{number}")).unwrap();
    }
    back_up(&store, &from, 1, None);
    fs::write(from.join("file01234"), "other content").unwrap();
    fs::write(from.join("new"), "new").unwrap();
    back_up(&store, &from, 2, Some(1));
    let open =
        |number| simsim_mover::tree::Tree::open(store.clone(), key(), saveset(number)).unwrap();
    let (old, new) = (open(1), open(2));
    let path = from.as_os_str().as_bytes();
    assert_eq!(old.list(path).unwrap().len(), 3000);
    let one = [path, b"/file02999"].concat();
    assert_eq!(old.entry(&one).unwrap().size, 4);
    assert!(old.entry(&[path, b"/missing"].concat()).is_err());
    let mut changes = Vec::new();
    old.diff(&new, path, &mut |path, change| changes.push((path, change))).unwrap();
    let named = |name: &[u8]| changes.iter().any(|(path, _)| path.ends_with(name));
    assert!(named(b"/file01234") && named(b"/new"));
    assert!(!named(b"/file00001"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// FID18: random trees, edited and backed up again, come back and never hang.
    #[test]
    fn fid18_random_trees_round_trip(
        files in proptest::collection::vec((0u8..6, "[a-z]{1,8}", 0usize..40_000, any::<u64>()), 0..40),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..20_000), 0..8),
    ) {
        let store = Arc::new(Memory::default());
        let folder = tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir(&from).unwrap();
        let mut paths = Vec::new();
        for (depth, name, size, seed) in &files {
            let mut dir = from.clone();
            for level in 0..*depth {
                dir.push(format!("d{level}"));
            }
            fs::create_dir_all(&dir).unwrap();
            let path = dir.join(format!("f{name}"));
            fs::write(&path, noise(*seed, *size)).unwrap();
            paths.push(path);
        }
        back_up(&store, &from, 1, None);
        if !paths.is_empty() {
            for (which, size) in &edits {
                fs::write(which.get(&paths), noise(*size as u64, *size)).unwrap();
            }
        }
        back_up(&store, &from, 2, Some(1));
        let to = folder.path().join("to");
        let report = bring_back(&store, 2, &to);
        prop_assert_eq!(report.problems_total, 0);
        prop_assert!(compare(&from, &below(&to, &from)).unwrap().is_empty());
    }
}
