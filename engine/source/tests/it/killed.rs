//! Restores that are killed at any instant: what has its own name is whole, and the next restore
//! makes the rest, also where it overwrites nothing.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use simsim_format::{Entry, EntryKind};
use simsim_source::{Created, DirHandle, FsSink};

use crate::copier::{ALL, dir_entry, entry};

/// Set in a process that is there to be killed: where it restores to.
const TARGET: &str = "SIMSIM_TEST_RESTORE_TARGET";
const DIRS: usize = 15;
const SMALL: usize = 900_000;
const LARGE: usize = 150_000;

fn content(bytes: usize) -> Vec<u8> {
    vec![b'c'; bytes]
}

/// What is in each directory, in the order in which it is made.
fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        (0..3).map(|n| entry(format!("s{n}").as_bytes(), EntryKind::File, SMALL as u64)).collect();
    entries.push(entry(b"link", EntryKind::Symlink(b"s0".to_vec()), 0));
    entries.push(entry(b"pipe", EntryKind::Fifo, 0));
    entries.push(entry(b"large", EntryKind::File, LARGE as u64));
    for entry in &mut entries {
        entry.mode = 0o640;
    }
    entries
}

fn place(sink: &FsSink, dir: &DirHandle, entry: &Entry) {
    if !entry.is_file() {
        sink.special(dir, entry).unwrap();
    } else if entry.size == SMALL as u64 {
        sink.put(dir, entry, &content(SMALL)).unwrap();
    } else if let Created::Write(writer) = sink.create(dir, entry).unwrap() {
        let bytes = content(LARGE);
        for (at, part) in bytes.chunks(50_000).enumerate() {
            writer.write_at(at as u64 * 50_000, part).unwrap();
        }
        writer.finish().unwrap();
    }
}

/// A restore: into the target itself, and into directories of its own.
fn restore(target: &Path) {
    let sink = FsSink::open(target, ALL).unwrap();
    let root = sink.root();
    for number in 0..DIRS {
        let dir = sink.enter(&root, &dir_entry(format!("d{number}").as_bytes())).unwrap();
        for mut entry in entries() {
            place(&sink, &dir, &entry);
            entry.name = [format!("{number}-").as_bytes(), &entry.name].concat();
            place(&sink, &root, &entry);
        }
        assert_eq!(sink.leave(dir), []);
    }
    sink.leave(root);
}

/// Everything that has its own name; how many have a temporary one.
fn assert_whole(folder: &Path) -> (usize, usize) {
    let (mut named, mut temporary) = (0, 0);
    for found in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, meta) = (found.path(), found.path().symlink_metadata().unwrap());
        if meta.is_dir() {
            let (more, left) = assert_whole(&path);
            (named, temporary) = (named + more, temporary + left);
            continue;
        }
        let name = found.file_name();
        if name.as_bytes().starts_with(b".simsim-") {
            temporary += 1;
            continue;
        }
        named += 1;
        let what = path.display();
        if meta.is_file() {
            let large = name.as_bytes().ends_with(b"large");
            let bytes = fs::read(&path).unwrap();
            assert!(bytes == content(if large { LARGE } else { SMALL }), "{what}: {}", bytes.len());
        } else {
            assert!(meta.is_symlink() || meta.file_type().is_fifo(), "{what}");
        }
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_600_000_000, 123_456_789), "{what}");
        assert!(meta.is_symlink() || meta.mode() & 0o7777 == 0o640, "{what}: {:o}", meta.mode());
    }
    (named, temporary)
}

#[test]
fn pwr04_a_restore_killed_at_any_instant_leaves_only_whole_files_and_the_next_one_makes_the_rest() {
    if let Some(target) = std::env::var_os(TARGET) {
        return restore(Path::new(&target));
    }
    // Where there is one, a folder that costs no disk.
    let shared = Path::new("/dev/shm");
    let home = match shared.is_dir() {
        true => tempfile::tempdir_in(shared).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let me = std::thread::current().name().unwrap().to_owned();
    let mut cut = 0;
    for round in 0..24_u64 {
        let target = home.path().join(format!("{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &me, "--nocapture"])
            .env(TARGET, &target)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while !target.join("d1").exists() {
            assert!(Instant::now() < until, "the restore does not begin");
        }
        std::thread::sleep(Duration::from_micros(round * 251));
        child.kill().unwrap();
        child.wait().unwrap();
        let (named, temporary) = assert_whole(&target);
        cut += usize::from(named < 2 * DIRS * entries().len());
        if temporary > 0 || round < 3 {
            restore(&target);
            assert_eq!(assert_whole(&target), (2 * DIRS * entries().len(), 0));
        }
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(cut > 10, "only {cut} restores were killed before their end");
}
