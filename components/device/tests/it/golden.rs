//! A whole datastore of version 1, kept in `testdata/store/v1` and never edited, and everything
//! that a flipped bit or a lost end can do to it.
//!
//! Where the folder does not exist, `cargo test -p simsim-device --test it golden_store` makes it
//! once, with the real pipeline, and fails: look at it and commit it. A change of a format makes a
//! new version beside it, and this one goes on being read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use simsim_datastore::{CreateOptions, Datastore, OpenOptions, SessionOptions};
use simsim_format::{DomainKey, KeySlots, ManifestDetails, WrappingKey};
use simsim_model::*;
use simsim_mover::{BackupJob, Base, RestoreJob, Selection};
use simsim_source::{FsSink, FsSource, SinkOptions, WalkOptions};
use simsim_storage::fault::PowerCutStorage;
use simsim_storage::{LocalStorage, Storage};
use simsim_testkit::compare_trees;

use crate::bench::noise;

const DOMAIN: DomainId = DomainId([8; 16]);
const SAVESETS: [SavesetId; 2] = [SavesetId([1; 16]), SavesetId([2; 16])];
/// Every bit of every byte instead of one bit a byte.
const EXHAUSTIVE: &str = "SIMSIM_TEST_EXHAUSTIVE";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/store/v1")
}

fn wrapping() -> WrappingKey {
    WrappingKey::new(&Secret([1; 32]))
}

fn options() -> OpenOptions {
    OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() }
}

/// The tree as the first saveset has it, or as the second.
fn make_tree(root: &Path, second: bool) {
    fs::create_dir_all(root.join("folder/empty")).unwrap();
    fs::write(root.join("inline.txt"), "a few words\n").unwrap();
    fs::write(root.join("chunks.bin"), noise(1500, 1)).unwrap();
    fs::write(root.join("folder/text"), "line after line\n".repeat(60)).unwrap();
    fs::write(root.join("folder/nothing"), "").unwrap();
    symlink("../inline.txt", root.join("folder/link")).unwrap();
    fs::hard_link(root.join("chunks.bin"), root.join("folder/twin")).unwrap();
    let sparse = fs::File::create(root.join("folder/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(700, 3), 512 << 10).unwrap();
    if second {
        fs::write(root.join("folder/added"), noise(900, 4)).unwrap();
        fs::set_permissions(root.join("inline.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    } else {
        fs::set_permissions(root.join("inline.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    }
    let names = ["inline.txt", "chunks.bin", "folder/text", "folder/nothing", "folder/sparse"];
    for name in names.into_iter().chain(["folder/empty", "folder/added", "folder", "."]) {
        let path = root.join(name);
        if path.exists() {
            let mode = if path.is_dir() { 0o755 } else { path.metadata().unwrap().mode_bits() };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::new(1_750_000_000, 123_456_789);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
        }
    }
    let time = rustix_times();
    let link = fs::File::open(root.join("folder")).unwrap();
    rustix::fs::utimensat(&link, "link", &time, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_750_000_000, 123_456_789);
    link.set_modified(time).unwrap();
}

fn rustix_times() -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: 1_750_000_000, tv_nsec: 5 };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

trait ModeBits {
    fn mode_bits(&self) -> u32;
}

impl ModeBits for fs::Metadata {
    fn mode_bits(&self) -> u32 {
        match self.permissions().mode() & 0o777 {
            0o640 => 0o640,
            0o600 => 0o600,
            _ => 0o644,
        }
    }
}

/// Makes the golden store with the real pipeline.
fn make(folder: &Path) {
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder).unwrap());
    let create = CreateOptions {
        store: StoreId([7; 16]),
        name: "golden".into(),
        cut: CutParameters { min: 64, mean: 256, max: 1024 },
    };
    let datastore = Datastore::create(storage, create).unwrap();
    let key = Secret([42; 32]);
    let mut slots = KeySlots::new(DOMAIN);
    slots.add(&wrapping(), &key).unwrap();
    datastore.put_slots(&slots).unwrap();
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("golden");
    for (number, saveset) in SAVESETS.into_iter().enumerate() {
        let _ = fs::remove_dir_all(&source);
        make_tree(&source, number == 1);
        let path = source.as_os_str().as_bytes().to_vec();
        let session = Arc::new(datastore.session(DOMAIN, saveset, SessionOptions::default()));
        let base = (number == 1).then(|| Base { session: session.clone(), saveset: SAVESETS[0] });
        let job = BackupJob {
            session,
            level: if base.is_some() { Level::Incr } else { Level::Full },
            base,
            key: DomainKey::new(&key),
            domain: DOMAIN,
            saveset,
            details: ManifestDetails { sources: vec![path.clone()], ..Default::default() },
            scan_started_unix_ns: 1_760_000_000_000_000_000,
            zstd_level: 3,
            threads: 1,
            progress: Arc::new(Progress::new()),
            on_problem: Arc::new(|_| {}),
        };
        let mut walk = FsSource::new(&[path], WalkOptions::default()).unwrap();
        simsim_mover::backup(job, &mut walk).unwrap();
    }
    datastore.close().unwrap();
}

/// The store in memory, so that a damage costs no disk.
fn load() -> PowerCutStorage {
    let folder = folder();
    if !folder.join("store.1").exists() {
        make(&folder);
        panic!("{} was missing and has been made: look at it and commit it", folder.display());
    }
    let disk = PowerCutStorage::new();
    let mut open = vec![folder.clone()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let key = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
                disk.put(&key, &fs::read(path).unwrap()).unwrap();
            }
        }
    }
    disk
}

/// What came of looking at a store that may be damaged.
#[derive(Debug, Default)]
struct Looked {
    /// Noticed without a key: opening, state, check.
    noticed: bool,
    /// Noticed by whoever restores.
    told: bool,
}

struct Originals {
    _folder: tempfile::TempDir,
    trees: [PathBuf; 2],
    files: [BTreeMap<PathBuf, Vec<u8>>; 2],
}

fn originals() -> Originals {
    let folder = tempfile::tempdir().unwrap();
    let trees = [folder.path().join("first"), folder.path().join("second")];
    make_tree(&trees[0], false);
    make_tree(&trees[1], true);
    let files = [content(&trees[0]), content(&trees[1])];
    Originals { _folder: folder, trees, files }
}

/// Regular files and links with their content.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let relative = path.strip_prefix(root).unwrap().to_owned();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(path).unwrap();
                found.insert(relative, target.as_os_str().as_bytes().to_vec());
            } else {
                found.insert(relative, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Opens, checks, reads the key from its slots and restores both savesets. Panics when anything
/// wrong is restored, or when something is missing and nobody says so.
fn look(disk: &PowerCutStorage, originals: &Originals) -> Looked {
    let mut looked = Looked::default();
    let Ok(datastore) = Datastore::open(Arc::new(disk.clone()), options()) else {
        return Looked { noticed: true, told: true };
    };
    let state = datastore.state();
    looked.noticed = !state.damaged_packs.is_empty() || !state.damaged_manifests.is_empty();
    let key = match datastore.slots(DOMAIN).map(|slots| slots.map(|s| s.open(&wrapping()))) {
        Ok(Some(Ok(key))) => key,
        _ => {
            looked.told = true;
            Secret([42; 32])
        }
    };
    assert!(key == Secret([42; 32]), "a slot gave another key");
    for (number, saveset) in SAVESETS.into_iter().enumerate() {
        looked.told |= !restore(&datastore, &key, saveset, number, originals);
    }
    match datastore.verify_structure(&|_| true) {
        Ok(report) => looked.noticed |= !report.is_clean(),
        Err(_) => looked.noticed = true,
    }
    looked
}

/// A folder that costs no disk, where there is one.
fn in_memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

/// Whether all came back; nothing wrong may in any case.
fn restore(
    datastore: &Datastore,
    key: &Secret,
    saveset: SavesetId,
    number: usize,
    originals: &Originals,
) -> bool {
    let session: Arc<dyn RestoreSession> = Arc::new(datastore.read_session(DOMAIN));
    let key = DomainKey::new(key);
    let Ok(manifest) = session.manifest(saveset) else { return false };
    let Ok(manifest) = simsim_format::Manifest::decode(&manifest) else { return false };
    assert_eq!(manifest.saveset, saveset);
    let sealed = &manifest.sealed_details;
    let Ok(details) = ManifestDetails::open(&key, DOMAIN, saveset, sealed) else { return false };
    let place = tempfile::tempdir_in(in_memory()).unwrap();
    let target = place.path().join("target");
    let sink = SinkOptions { overwrite: Overwrite::Never, owners: false, specials: true };
    let job = RestoreJob {
        session,
        key,
        saveset,
        selection: Selection::default(),
        strip: details.sources[0].clone(),
        threads: 1,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| {}),
    };
    let restored = FsSink::open(&target, sink)
        .map_err(|error| error.to_string())
        .and_then(|sink| simsim_mover::restore(job, &sink).map_err(|error| error.to_string()));
    let whole = restored.is_ok_and(|report| report.problems_total == 0);
    if whole {
        let mut differences = compare_trees(&originals.trees[number], &target);
        // The target itself is whoever's who restores.
        differences.retain(|difference| !difference.path.is_empty());
        assert_eq!(differences, [], "told as whole");
        return true;
    }
    for (path, bytes) in if target.exists() { content(&target) } else { BTreeMap::new() } {
        if path.extension().is_none_or(|ending| ending != "incomplete") {
            assert_eq!(originals.files[number].get(&path), Some(&bytes), "{}", path.display());
        }
    }
    false
}

#[test]
fn golden_store_v1_opens_verifies_and_restores() {
    let disk = load();
    let looked = look(&disk, &originals());
    assert!(!looked.noticed && !looked.told, "{looked:?}");
}

/// Where damage is done, at every how many bytes of an object, and whether a check without a key must
/// notice all of it.
struct Damaged {
    prefix: &'static str,
    step: usize,
    noticed: bool,
}

const PACKS: Damaged = Damaged { prefix: "packs/", step: 1, noticed: true };
const MANIFESTS: Damaged = Damaged { prefix: "manifests/", step: 1, noticed: true };
const DOMAINS: Damaged = Damaged { prefix: "domains/", step: 1, noticed: false };
const INDEX: Damaged = Damaged { prefix: "index/", step: 61, noticed: false };
const ROOT: Damaged = Damaged { prefix: "", step: 1, noticed: false };

/// What of an object was tried.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tried {
    flips: usize,
    cuts: usize,
}

impl Tried {
    /// What has to be tried of an object of so many bytes: one bit of every `step`th byte (all eight
    /// of every byte, if all is asked for), and a cut at each fourth of these places, of which the
    /// first is the empty object.
    fn wanted(bytes: usize, step: usize, exhaustive: bool) -> Self {
        let places = bytes.div_ceil(step);
        match exhaustive {
            true => Self { flips: bytes * 8, cuts: bytes },
            false => Self { flips: places, cuts: places.div_ceil(4) },
        }
    }
}

fn objects(disk: &PowerCutStorage, prefix: &str) -> Vec<simsim_storage::Object> {
    let listed = disk.list(prefix).unwrap().map(Result::unwrap);
    // Whoever opens writes its note into the lock; nobody reads it.
    listed.filter(|object| object.key != "lock").collect()
}

/// Damages every object below a prefix, one way at a time, and says what it tried.
fn every_damage(Damaged { prefix, step, noticed }: Damaged) {
    let (golden, originals) = (load(), originals());
    let exhaustive = std::env::var_os(EXHAUSTIVE).is_some();
    let (bits, step) = if exhaustive { (8, 1) } else { (1, step) };
    let mut all = Tried::default();
    let objects = objects(&golden, prefix);
    assert!(!objects.is_empty(), "the golden store has nothing in '{prefix}'");
    for object in objects {
        let (key, bytes) = (&object.key, object.bytes as usize);
        assert!(bytes > 0, "{key} is empty");
        let mut tried = Tried::default();
        for (place, at) in (0..bytes).step_by(step).enumerate() {
            let cuts = exhaustive || place % 4 == 0;
            for way in 0..bits + usize::from(cuts) {
                let disk = golden.copy();
                let bit = (at + way) % 8;
                disk.damage(key, |bytes| {
                    if way == bits { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
                });
                assert_ne!(disk.get(key).unwrap(), golden.get(key).unwrap(), "no damage");
                let what = || match way == bits {
                    true => format!("{key} cut at byte {at}"),
                    false => format!("{key} byte {at} bit {bit}"),
                };
                let looked = catch_unwind(AssertUnwindSafe(|| look(&disk, &originals)));
                let looked = looked.unwrap_or_else(|_| panic!("{}", what()));
                assert!(looked.noticed || !noticed, "{}: {looked:?}", what());
                *(if way == bits { &mut tried.cuts } else { &mut tried.flips }) += 1;
            }
        }
        assert_eq!(tried, Tried::wanted(bytes, step, exhaustive), "{key} of {bytes} bytes");
        (all.flips, all.cuts) = (all.flips + tried.flips, all.cuts + tried.cuts);
    }
    println!("'{prefix}': {} bits flipped, cut {} times", all.flips, all.cuts);
}

#[test]
fn golden_store_has_no_object_that_no_damage_is_done_to() {
    let golden = load();
    let mut damaged = BTreeSet::new();
    for Damaged { prefix, .. } in [PACKS, MANIFESTS, DOMAINS, INDEX, ROOT] {
        damaged.extend(objects(&golden, prefix).into_iter().map(|object| object.key));
    }
    let (mut all, mut open) = (BTreeSet::new(), vec![folder()]);
    while let Some(at) = open.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let key = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
                all.insert(key);
            }
        }
    }
    all.remove("lock");
    assert_eq!(damaged, all);
}

#[test]
fn rot01_golden_store_with_any_damage_in_packs_is_noticed_and_restores_nothing_wrong() {
    every_damage(PACKS);
}

#[test]
fn rot01_golden_store_with_any_damage_in_manifests_and_keys_restores_nothing_wrong() {
    every_damage(MANIFESTS);
    every_damage(DOMAINS);
}

#[test]
fn idx05_golden_store_with_any_damage_in_the_index_restores_nothing_wrong() {
    every_damage(INDEX);
}

#[test]
fn rot03_golden_store_with_any_damage_in_its_root_restores_nothing_wrong() {
    let golden = load();
    let listed = golden.list("").unwrap().map(Result::unwrap);
    let names: Vec<String> = listed.map(|object| object.key).filter(|k| !k.contains('/')).collect();
    assert!(names.iter().any(|name| name == "store.3"), "{names:?}");
    every_damage(ROOT);
}
