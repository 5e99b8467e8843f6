//! Trees that no file system has: what a source or a datastore may say to exhaust who reads it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use simsim_format::{ManifestDetails, Piece};
use simsim_model::limits::{PATH_BYTES_MAX, PATH_DEPTH_MAX};
use simsim_model::{Kind, Level, Overwrite, Problem, ProblemKind, Progress, Timestamp};
use simsim_mover::look::{self, Pattern};
use simsim_mover::tree::Tree;
use simsim_mover::{BackupJob, MoverError, Selection, backup};
use simsim_source::{Content, Details, Found, Item, Place, Source, Stat, StatKind};
use simsim_testkit::Scratch;

use crate::memory::Memory;
use crate::round_trip::{bring, key, saveset};

/// As little as threads have that answer a server's or a client's questions.
const STACK_BYTES: usize = 2 << 20;

/// Folders in one another, and in the innermost one a leaf of this name.
struct Told {
    items: std::vec::IntoIter<(StatKind, Vec<u8>)>,
    leaves: usize,
    ino: u64,
}

impl Told {
    fn new(folders: &[Vec<u8>], leaf: (StatKind, &str)) -> Self {
        let folders = std::iter::once(Vec::new()).chain(folders.iter().cloned());
        let mut items: Vec<_> = folders.map(|name| (StatKind::Directory, name)).collect();
        let leaves = items.len();
        items.push((leaf.0, leaf.1.into()));
        Self { items: items.into_iter(), leaves, ino: 0 }
    }
}

impl Source for Told {
    fn next(&mut self) -> Option<Item> {
        let Some((kind, name)) = self.items.next() else {
            self.leaves = self.leaves.checked_sub(1)?;
            return Some(Item::Leave);
        };
        self.ino += 1;
        let found =
            Found { name, stat: stat(kind, self.ino), place: Arc::new(Striped), unreadable: false };
        Some(if kind == StatKind::Directory { Item::Enter(found) } else { Item::Leaf(found) })
    }
}

fn stat(kind: StatKind, ino: u64) -> Stat {
    let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
    Stat {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: if kind == StatKind::File { STRIPED_BYTES } else { 0 },
        blocks: 1,
        mtime: time,
        ctime: time,
        ino,
        dev: 1,
        nlink: 1,
        rdev_major: 0,
        rdev_minor: 0,
    }
}

const STRIPED_BYTES: u64 = 20_000;

/// A file of which every other byte is a hole, as a file system in user space may say.
struct Striped;

impl Place for Striped {
    fn open(&self, _: &[u8]) -> io::Result<Box<dyn Content>> {
        Ok(Box::new(Striped))
    }
    fn details(&self, _: &[u8], _: &Stat) -> io::Result<Details> {
        Ok(Details::default())
    }
    fn path(&self, name: &[u8]) -> Vec<u8> {
        [b"/", name].concat()
    }
}

impl Content for Striped {
    fn opened(&self) -> Stat {
        stat(StatKind::File, 9)
    }
    fn stat(&self) -> io::Result<Stat> {
        Ok(self.opened())
    }
    fn read_at(&mut self, _: u64, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(b'x');
        Ok(buffer.len())
    }
    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = offset | 1;
        Ok((start < STRIPED_BYTES).then_some(start..start + 1))
    }
    fn details(&self) -> Details {
        Details::default()
    }
}

fn back_up(store: &Arc<Memory>, number: u8, source: &mut Told) {
    store.begin(saveset(number));
    let job = BackupJob {
        session: store.clone(),
        base: None,
        key: key(),
        domain: Memory::domain(),
        saveset: saveset(number),
        level: Level::Full,
        details: ManifestDetails::default(),
        scan_started_unix_ns: 0,
        zstd_level: 1,
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|problem| panic!("{problem:?}")),
    };
    backup(job, source).unwrap();
}

#[test]
fn a_file_of_nothing_but_edges_of_holes_keeps_the_limit_of_a_page() {
    let store = Arc::new(Memory::default());
    back_up(&store, 1, &mut Told::new(&[], (StatKind::File, "striped")));
    let tree = Tree::open(store, key(), saveset(1)).unwrap();
    let pieces = tree.pieces(&tree.entry(b"/striped").unwrap()).unwrap();
    assert_eq!(pieces.iter().map(Piece::length).sum::<u64>(), STRIPED_BYTES);
    assert_eq!(pieces.len() as u64, STRIPED_BYTES);
}

/// What looking into two savesets and restoring the first one comes to, on a small stack.
struct Came {
    found: Result<usize, MoverError>,
    bottom: Result<Vec<Vec<u8>>, MoverError>,
    differences: Result<Vec<Vec<u8>>, MoverError>,
    problems: Vec<Problem>,
}

/// Two savesets of these folders, whose innermost one holds `old` or `new`.
fn come(folders: &[Vec<u8>], to: &Path) -> Came {
    let store = Arc::new(Memory::default());
    back_up(&store, 1, &mut Told::new(folders, (StatKind::Fifo, "old")));
    back_up(&store, 2, &mut Told::new(folders, (StatKind::Fifo, "new")));
    let bottom = folders.iter().flat_map(|name| [b"/", &name[..]].concat()).collect::<Vec<u8>>();
    let to = to.to_owned();
    let small = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let open = |number| Tree::open(store.clone(), key(), saveset(number)).unwrap();
        let (old, new) = (open(1), open(2));
        let every = Pattern::new("*").unwrap();
        let found = look::find(&old, b"/", &every, None, usize::MAX).map(|page| page.items.len());
        let names = |page: look::Page<_>| page.items.into_iter().map(|(path, _)| path).collect();
        let listed = look::list(&old, &bottom, None, usize::MAX);
        let bottom = listed.map(|page| page.items.into_iter().map(|it| it.entry.name).collect());
        let differences = look::diff(&old, &new, b"/", None, usize::MAX).map(names);
        let report = bring(&store, 1, &to, Overwrite::Never, Selection::default()).unwrap();
        Came { found, bottom, differences, problems: report.problems }
    });
    small.unwrap().join().unwrap()
}

/// The last folder of a path of one-letter names below a folder, longer than the kernel takes.
fn bottom(of: &Path, folders: usize) -> File {
    let mut dir = File::open(of).unwrap();
    for part in vec!["d"; folders].chunks(1000) {
        dir = File::open(format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), part.join("/"))).unwrap();
    }
    dir
}

fn names(dir: &File) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}/", dir.as_raw_fd())).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_tree_as_deep_as_the_limit_is_found_listed_compared_and_restored() {
    let to = Scratch::new();
    let came = come(&vec![b"d".to_vec(); PATH_DEPTH_MAX], to.path());
    assert_eq!(came.found.unwrap(), PATH_DEPTH_MAX + 1);
    assert_eq!(came.bottom.unwrap(), [b"old".to_vec()]);
    let at = "/d".repeat(PATH_DEPTH_MAX);
    let expected = [format!("{at}/new").into_bytes(), format!("{at}/old").into_bytes()];
    assert_eq!(came.differences.unwrap(), expected);
    assert!(came.problems.iter().all(|problem| problem.kind == ProblemKind::Note));
    assert_eq!(names(&bottom(to.path(), PATH_DEPTH_MAX)), ["old"]);
}

#[test]
fn a_folder_one_deeper_than_the_limit_is_refused_and_a_restore_goes_on_without_what_is_in_it() {
    let to = Scratch::new();
    let came = come(&vec![b"d".to_vec(); PATH_DEPTH_MAX + 1], to.path());
    refused(&came, "2048 folders");
    assert_eq!(names(&bottom(to.path(), PATH_DEPTH_MAX)), ["d"]);
    assert!(names(&bottom(to.path(), PATH_DEPTH_MAX + 1)).is_empty());
}

fn refused(came: &Came, limit: &str) {
    let errors =
        [came.found.as_ref().err(), came.bottom.as_ref().err(), came.differences.as_ref().err()];
    for error in errors {
        let error = error.expect("refused");
        assert!(error.to_string().contains(limit), "{error}");
        assert_eq!(error.kind(), Kind::Corrupt);
    }
    let left_out: Vec<_> =
        came.problems.iter().filter(|problem| problem.kind != ProblemKind::Note).collect();
    let [problem] = left_out[..] else { panic!("{} problems", left_out.len()) };
    assert_eq!(problem.kind, ProblemKind::NotWritten);
    assert!(problem.message.contains(limit), "{}", problem.message);
}

#[test]
fn a_path_as_long_as_the_limit_is_read_and_one_byte_more_is_refused() {
    let long = 128;
    let mut folders = vec![vec![b'd'; PATH_BYTES_MAX / long - 1]; long];
    let to = Scratch::new();
    let came = come(&folders, to.path());
    assert_eq!(came.found.unwrap(), long + 1);
    assert_eq!(came.bottom.unwrap(), [b"old".to_vec()]);
    assert_eq!(came.differences.unwrap().len(), 2);
    assert!(came.problems.iter().all(|problem| problem.kind == ProblemKind::Note));

    // One byte more: the last name in two parts.
    folders.pop();
    folders.extend([vec![b'd'; 127], vec![b'd'; 128]]);
    assert_eq!(folders.iter().map(|name| 1 + name.len()).sum::<usize>(), PATH_BYTES_MAX + 1);
    let to = Scratch::new();
    refused(&come(&folders, to.path()), "32768 bytes");
}

#[test]
fn a_path_that_is_asked_for_and_lies_deeper_than_any_is_not_looked_for() {
    let store = Arc::new(Memory::default());
    back_up(&store, 1, &mut Told::new(&[], (StatKind::Fifo, "leaf")));
    let tree = Tree::open(store, key(), saveset(1)).unwrap();
    let asked = b"/x".repeat(1 << 19);
    assert!(matches!(tree.entry(&asked), Err(MoverError::NoSuchPath { .. })));
    assert!(matches!(
        tree.entry(&b"/x".repeat(PATH_DEPTH_MAX)),
        Err(MoverError::NoSuchPath { .. })
    ));
}
