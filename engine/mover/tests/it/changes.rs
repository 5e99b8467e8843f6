//! What changes between two backups, and while one reads; sizes at every limit; devices that
//! give other bytes than were asked for.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use simsim_format::ManifestDetails;
use simsim_model::{Level, ProblemKind, Progress, Timestamp};
use simsim_mover::{BackupJob, BackupReport, Base, backup};
use simsim_source::{
    Content, Details, Found, FsSource, Item, Place, Source, Stat, StatKind, WalkOptions,
};
use tempfile::tempdir;

use crate::memory::Memory;
use crate::round_trip::{assert_same, below, bring_back, key, noise, now_ns, saveset};

/// A backup and the bytes that it read.
pub fn run(
    store: &Arc<Memory>,
    source: &mut dyn Source,
    number: u8,
    base: Option<u8>,
    scan_started_unix_ns: i64,
) -> (BackupReport, u64) {
    store.begin(saveset(number));
    let progress = Arc::new(Progress::new());
    let job = BackupJob {
        session: store.clone(),
        base: base.map(|base| Base { session: store.clone(), saveset: saveset(base) }),
        key: key(),
        domain: Memory::domain(),
        saveset: saveset(number),
        level: if base.is_some() { Level::Incr } else { Level::Full },
        details: ManifestDetails::default(),
        scan_started_unix_ns,
        zstd_level: 1,
        threads: 2,
        progress: Arc::clone(&progress),
        on_problem: Arc::new(|_| {}),
    };
    let report = backup(job, source).unwrap();
    (report, progress.snapshot().bytes_read)
}

pub fn walk(store: &Arc<Memory>, from: &Path, number: u8, base: Option<u8>) -> (BackupReport, u64) {
    let path = from.as_os_str().as_bytes().to_vec();
    let started = now_ns();
    let mut source = FsSource::new(&[path], WalkOptions::default()).unwrap();
    run(store, &mut source, number, base, started)
}

/// Past the margin within which files count as too new to be trusted.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn small_files_that_stand_in_their_entries_count_as_new_once() {
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let from = folder.path().join("from");
    fs::create_dir_all(from.join("other")).unwrap();
    fs::create_dir_all(from.join("files")).unwrap();
    for (name, bytes) in [("empty", 0), ("short", 10), ("longest", 256), ("chunk", 5000)] {
        fs::write(from.join("files").join(name), noise(bytes as u64, bytes)).unwrap();
    }
    let new = |number, base| {
        settle();
        let (report, _) = walk(&store, &from, number, base);
        report.draft.bytes_new
    };
    assert_eq!(new(1, None), 10 + 256 + 5000);
    assert_eq!(new(2, Some(1)), 0, "nothing changed");
    assert_eq!(new(3, None), 0, "read again, and known");
    fs::write(from.join("other/file"), noise(7, 100)).unwrap();
    assert_eq!(new(4, Some(3)), 100, "what stands in other folders is known");
    fs::write(from.join("files/more"), noise(8, 1)).unwrap();
    assert_eq!(new(5, Some(4)), 10 + 256 + 1, "the page is stored anew with all that stands in it");
}

#[test]
fn idx06_a_file_as_new_as_the_scan_is_read_again_the_next_time() {
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("file"), noise(1, 9000)).unwrap();
    // Written and scanned in one tick: a second write in that tick would not show in its times.
    walk(&store, &from, 1, None);
    settle();
    let (_, read) = walk(&store, &from, 2, Some(1));
    assert_eq!(read, 9000, "not trusted, though nothing differs");
    settle();
    let (_, read) = walk(&store, &from, 3, Some(2));
    assert_eq!(read, 0, "older than the last scan, so it is trusted");
}

#[test]
fn idx07_an_edit_whose_time_is_put_back_and_a_reused_inode_are_found() {
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    for name in ["edited", "replaced", "same"] {
        fs::write(from.join(name), noise(1, 5000)).unwrap();
    }
    settle();
    walk(&store, &from, 1, None);
    settle();
    let time = |name: &str| from.join(name).metadata().unwrap().modified().unwrap();
    let (edited, replaced) = (time("edited"), time("replaced"));
    let set = |name: &str, time| {
        fs::File::options().write(true).open(from.join(name)).unwrap().set_modified(time).unwrap();
    };
    fs::write(from.join("edited"), noise(2, 5000)).unwrap();
    set("edited", edited);
    fs::remove_file(from.join("replaced")).unwrap();
    fs::write(from.join("replaced"), noise(3, 5000)).unwrap();
    set("replaced", replaced);
    let (_, read) = walk(&store, &from, 2, Some(1));
    assert_eq!(read, 10_000, "both, and not the one that is the same");
    bring_back(&store, 2, &to);
    assert_same(&from, &below(&to, &from));
}

#[test]
fn idx08_a_change_of_attributes_alone_is_carried_without_sending_content() {
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let from = folder.path().join("from");
    fs::create_dir_all(from.join("dir")).unwrap();
    for name in ["mode", "owner", "xattr", "dir/acl"] {
        fs::write(from.join(name), noise(7, 5000)).unwrap();
    }
    settle();
    walk(&store, &from, 1, None);
    let mut changes: Vec<Box<dyn Fn() -> bool>> = Vec::new();
    let at = |name: &str| from.join(name);
    let mode = at("mode");
    changes.push(Box::new(move || {
        fs::set_permissions(&mode, fs::Permissions::from_mode(0o604)).is_ok()
    }));
    let owner = at("owner");
    changes.push(Box::new(move || std::os::unix::fs::chown(&owner, Some(12), Some(34)).is_ok()));
    let tool = |program: &'static str, arguments: &'static [&'static str], path| {
        move || {
            let done = std::process::Command::new(program).args(arguments).arg(&path).status();
            done.is_ok_and(|status| status.success())
        }
    };
    changes.push(Box::new(tool("setfattr", &["-n", "user.a", "-v", "b"], at("xattr"))));
    changes.push(Box::new(tool("setfacl", &["-m", "u:77:r"], at("dir/acl"))));
    let dir = at("dir");
    changes.push(Box::new(move || {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).is_ok()
    }));
    let mut made = 0;
    for (number, change) in changes.into_iter().enumerate() {
        settle();
        if !change() {
            continue;
        }
        made += 1;
        settle();
        let number = number as u8 + 2;
        walk(&store, &from, number, Some(1));
        assert_eq!(store.data_segments.load(Relaxed), 0, "change {number}: no content is sent");
        let to = folder.path().join(format!("to{number}"));
        bring_back(&store, number, &to);
        assert_same(&from, &below(&to, &from));
    }
    assert!(made >= 2, "the modes at least");
}

/// A lost byte at an edge, a counter that overflows: one file at each limit, one below, one above.
#[test]
fn fid17_sizes_at_every_limit_come_back() {
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    // Inline content, chunks (least, mean, most), small files, blocks, segments.
    let limits = [0usize, 256, 1 << 10, 4 << 10, 16 << 10, 512 << 10, 1 << 20, 2 << 20];
    for limit in limits {
        for size in [limit.saturating_sub(1), limit, limit + 1] {
            fs::write(from.join(format!("noise{size}")), noise(size as u64, size)).unwrap();
            fs::write(from.join(format!("zeros{size}")), vec![0; size]).unwrap();
        }
    }
    // 32-bit edges, as holes with a little content on either side of them.
    let sparse = folder.path().join("from/sparse");
    fs::create_dir(&sparse).unwrap();
    let edges: Vec<u64> = [1u64 << 31, 1 << 32, 1 << 40]
        .into_iter()
        .flat_map(|edge| [edge - 1, edge, edge + 1])
        .collect();
    for size in &edges {
        let file = fs::File::create(sparse.join(size.to_string())).unwrap();
        file.set_len(*size).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
    }
    settle();
    let (report, _) = walk(&store, &from, 1, None);
    assert_eq!(report.problems_total, 0, "{:?}", report.problems);
    assert_eq!(bring_back(&store, 1, &to).problems_total, 0);
    let to = below(&to, &from);
    for size in &edges {
        let file = fs::File::open(to.join("sparse").join(size.to_string())).unwrap();
        let stat = file.metadata().unwrap();
        assert_eq!(stat.len(), *size);
        assert!(stat.blocks() < 1000, "{size}: {} blocks", stat.blocks());
        let (mut start, mut end) = ([0; 6], [0; 4]);
        file.read_exact_at(&mut start, 0).unwrap();
        file.read_exact_at(&mut end, size - 4).unwrap();
        assert_eq!((&start, &end), (b"start\0", b"\0end"), "{size}");
    }
    fs::remove_dir_all(from.join("sparse")).unwrap();
    fs::remove_dir_all(to.join("sparse")).unwrap();
    for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
        let same = fs::read(entry.path()).unwrap() == fs::read(to.join(entry.file_name())).unwrap();
        assert!(same, "{:?}", entry.file_name());
    }
}

/// How a file lies about itself while it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    /// It has fewer bytes than its size says.
    Shrinks,
    /// It has another size after it was read.
    Grows,
    /// Reading fails at the middle.
    Breaks,
    /// It is gone when it is opened.
    Vanishes,
    /// It grows while it is read the first time, and stands still the second time.
    Settles,
}

struct Liar {
    lie: Lie,
    size: u64,
    opened: Arc<AtomicUsize>,
}

pub fn stat(kind: StatKind, size: u64) -> Stat {
    let time = Timestamp::new(1_700_000_000, 0);
    Stat {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size,
        blocks: size.div_ceil(512),
        mtime: time,
        ctime: time,
        ino: 1,
        dev: 1,
        nlink: 1,
        rdev_major: 0,
        rdev_minor: 0,
    }
}

struct LyingContent {
    lie: Lie,
    size: u64,
    time: usize,
}

impl Place for Liar {
    fn open(&self, _: &[u8]) -> io::Result<Box<dyn Content>> {
        let time = self.opened.fetch_add(1, Relaxed);
        if self.lie == Lie::Vanishes {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(LyingContent { lie: self.lie, size: self.size, time }))
    }
    fn details(&self, _: &[u8], _: &Stat) -> io::Result<Details> {
        Ok(Details::default())
    }
    fn path(&self, name: &[u8]) -> Vec<u8> {
        [b"/", name].concat()
    }
}

impl Content for LyingContent {
    fn opened(&self) -> Stat {
        stat(StatKind::File, self.size)
    }
    fn stat(&self) -> io::Result<Stat> {
        let grown = self.lie == Lie::Grows || (self.lie == Lie::Settles && self.time == 0);
        Ok(stat(StatKind::File, self.size + if grown { 1000 } else { 0 }))
    }
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let middle = self.size / 2;
        let end = match self.lie {
            Lie::Shrinks => middle,
            Lie::Breaks if offset + buffer.len() as u64 > middle => {
                return Err(io::Error::from_raw_os_error(5));
            }
            _ => self.size,
        };
        let now = (end.saturating_sub(offset) as usize).min(buffer.len());
        buffer[..now].fill(b'x');
        Ok(now)
    }
    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok(Some(offset..self.size))
    }
    fn details(&self) -> Details {
        Details::default()
    }
}

struct Items(std::vec::IntoIter<Item>);

impl Source for Items {
    fn next(&mut self) -> Option<Item> {
        self.0.next()
    }
}

#[test]
fn fid15_files_that_shrink_grow_break_or_vanish_while_read_are_named() {
    for size in [5000u64, 3 << 20] {
        for lie in [Lie::Shrinks, Lie::Grows, Lie::Breaks, Lie::Vanishes, Lie::Settles] {
            let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
            let opened = Arc::new(AtomicUsize::new(0));
            let place: Arc<dyn Place> = Arc::new(Liar { lie, size, opened: opened.clone() });
            let found = |name: &[u8], stat: Stat| Found {
                name: name.to_vec(),
                stat,
                place: Arc::clone(&place),
                unreadable: false,
            };
            let items = vec![
                Item::Enter(found(b"", stat(StatKind::Directory, 0))),
                Item::Leaf(found(b"file", stat(StatKind::File, size))),
                Item::Leave,
            ];
            let (report, _) = run(&store, &mut Items(items.into_iter()), 1, None, now_ns());
            let kinds: Vec<ProblemKind> = report.problems.iter().map(|one| one.kind).collect();
            let (kind, kept) = match lie {
                Lie::Shrinks => (Some(ProblemKind::ChangedWhileRead), Some(size / 2)),
                Lie::Grows => (Some(ProblemKind::ChangedWhileRead), Some(size)),
                Lie::Breaks => (Some(ProblemKind::Unreadable), None),
                Lie::Vanishes => (Some(ProblemKind::Vanished), None),
                Lie::Settles => (None, Some(size)),
            };
            assert_eq!(kinds, kind.into_iter().collect::<Vec<_>>(), "{lie:?} {size}");
            assert_eq!(report.problems_total > 0, kind.is_some(), "{lie:?} {size}");
            if matches!(lie, Lie::Shrinks | Lie::Grows | Lie::Settles) {
                assert_eq!(opened.load(Relaxed), 2, "{lie:?} {size}: it is tried twice");
            }
            let to = folder.path().join("to");
            let restored = bring_back(&store, 1, &to);
            match kept {
                Some(bytes) => {
                    assert_eq!(restored.problems_total, 0, "{lie:?} {size}");
                    assert!(fs::read(to.join("file")).unwrap() == vec![b'x'; bytes as usize]);
                }
                None => assert!(!to.join("file").exists(), "{lie:?} {size}"),
            }
        }
    }
}

/// A device that gives other segments than were asked for gets nothing wrong written.
#[test]
fn idx11_rot01_a_device_that_gives_other_segments_is_refused() {
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    for number in 0..12 {
        fs::write(from.join(format!("f{number}")), noise(number, 700_000)).unwrap();
    }
    walk(&store, &from, 1, None);
    let segments = store.data_segment_numbers();
    assert!(segments.len() >= 3, "{segments:?}");
    for (at, segment) in segments.iter().enumerate() {
        let other = segments[(at + 1) % segments.len()];
        let (kept, swapped) = (store.take(*segment), store.take(other));
        store.put_back(*segment, swapped.clone());
        store.put_back(other, kept.clone());
        let to = folder.path().join(format!("to{at}"));
        let report = bring_back(&store, 1, &to);
        assert!(report.problems_total > 0);
        let to = below(&to, &from);
        for entry in fs::read_dir(&to).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            if !name.to_string_lossy().contains("incomplete") {
                let right = fs::read(from.join(&name)).unwrap();
                assert!(fs::read(entry.path()).unwrap() == right, "{name:?}");
            }
        }
        store.put_back(*segment, kept);
        store.put_back(other, swapped);
    }
}
