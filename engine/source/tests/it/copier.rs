//! The shortest mover: everything a source gives goes straight into a sink.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use simsim_format::{Content, DirTotals, Entry, EntryKind};
use simsim_model::{Overwrite, Problem};
use simsim_source::{
    Created, Found, FsSink, FsSource, Item, LinkTarget, Placed, SinkError, SinkOptions, Source,
    StatKind, WalkOptions, compare,
};

pub const ALL: SinkOptions =
    SinkOptions { overwrite: Overwrite::Never, owners: true, specials: true };

pub fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub fn source(path: &Path, options: WalkOptions) -> FsSource {
    FsSource::new(&[bytes(path)], options).unwrap()
}

pub fn entry(name: &[u8], kind: EntryKind, size: u64) -> Entry {
    Entry {
        name: name.to_vec(),
        kind,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: simsim_model::Timestamp::new(1_600_000_000, 123_456_789),
        ctime: simsim_model::Timestamp::default(),
        ino: 0,
        dev: 0,
        nlink: 1,
        size,
        flags: 0,
        xattrs: Vec::new(),
        content: Content::None,
    }
}

pub fn dir_entry(name: &[u8]) -> Entry {
    Entry { mode: 0o755, ..entry(name, EntryKind::Directory(DirTotals::default()), 0) }
}

fn entry_of(found: &Found) -> Entry {
    let stat = &found.stat;
    let details = found.place.details(&found.name, stat).unwrap();
    assert_eq!(details.problems, Vec::<String>::new());
    let (major, minor) = (stat.rdev_major, stat.rdev_minor);
    let kind = match stat.kind {
        StatKind::File => EntryKind::File,
        StatKind::Directory => EntryKind::Directory(DirTotals::default()),
        StatKind::Symlink => EntryKind::Symlink(details.symlink_target.unwrap()),
        StatKind::Fifo => EntryKind::Fifo,
        StatKind::Socket => EntryKind::Socket,
        StatKind::CharDevice => EntryKind::CharDevice { major, minor },
        StatKind::BlockDevice => EntryKind::BlockDevice { major, minor },
    };
    Entry {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        ino: stat.ino,
        dev: stat.dev,
        nlink: stat.nlink,
        flags: details.flags,
        xattrs: details.xattrs,
        ..entry(&found.name, kind, if stat.kind == StatKind::File { stat.size } else { 0 })
    }
}

/// Copies all that `source` gives beneath `target`; returns the problems of both sides.
pub fn copy(source: &mut dyn Source, target: &Path, options: SinkOptions) -> Vec<Problem> {
    let sink = FsSink::open(target, options).unwrap();
    let mut problems = Vec::new();
    let mut dirs = Vec::new();
    let mut links: HashMap<(u64, u64), LinkTarget> = HashMap::new();
    while let Some(item) = source.next() {
        match item {
            Item::Problem(problem) => problems.push(problem),
            Item::Enter(found) => match dirs.last() {
                None => dirs.push(sink.root()),
                Some(parent) => dirs.push(sink.enter(parent, &entry_of(&found)).unwrap()),
            },
            Item::Leave => problems.extend(sink.leave(dirs.pop().unwrap())),
            Item::Leaf(found) => {
                let dir = dirs.last().unwrap();
                let entry = entry_of(&found);
                let id = (entry.dev, entry.ino);
                let placed = match links.get(&id).filter(|_| entry.nlink > 1) {
                    Some(original) => sink.link(dir, &entry, original).unwrap(),
                    None => {
                        links.insert(id, LinkTarget::new(dir.clone(), entry.name.clone()));
                        place(&sink, dir, &entry, &found).unwrap()
                    }
                };
                problems.extend(placed.problems);
            }
        }
    }
    assert!(dirs.is_empty());
    problems
}

fn place(
    sink: &FsSink,
    dir: &simsim_source::DirHandle,
    entry: &Entry,
    found: &Found,
) -> Result<Placed, SinkError> {
    if !entry.is_file() {
        return sink.special(dir, entry);
    }
    let mut content = found.place.open(&found.name).unwrap();
    if entry.size < 64 * 1024 && found.stat.blocks * 512 >= entry.size {
        let mut buffer = vec![0; entry.size as usize];
        assert_eq!(content.read_at(0, &mut buffer).unwrap(), buffer.len());
        return sink.put(dir, entry, &buffer);
    }
    let writer = match sink.create(dir, entry)? {
        Created::Kept(reason) => return Ok(Placed { kept: Some(reason), ..Placed::default() }),
        Created::Write(writer) => writer,
    };
    let mut offset = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Some(range) = content.next_data(offset).unwrap() {
        let length = ((range.end - range.start) as usize).min(buffer.len());
        let read = content.read_at(range.start, &mut buffer[..length]).unwrap();
        writer.write_at(range.start, &buffer[..read]).unwrap();
        offset = range.start + read as u64;
    }
    writer.finish()
}

/// Copies the tree at `from`, and asserts that the copy has no difference and no problem.
pub fn assert_copies(from: &Path, target: &Path, options: WalkOptions) -> PathBuf {
    let problems = copy(&mut source(from, options), target, ALL);
    assert_eq!(problems, []);
    let copied = target.join(from.strip_prefix("/").unwrap());
    let differences: Vec<String> =
        compare(from, &copied).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(differences, Vec::<String>::new());
    copied
}
