//! Files of several names, files that are not what the listing said, folders of large attributes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use simsim_model::{
    Name, Overwrite, ProblemKind, Progress, RestoreSession, SavesetId, SegmentPlace, SessionError,
    Timestamp,
};
use simsim_mover::tree::Tree;
use simsim_mover::{RestoreJob, Selection, restore};
use simsim_source::{
    Content, Details, Found, FsSink, Item, Place, SinkOptions, Source, Stat, StatKind,
};
use tempfile::tempdir;

use crate::changes::{run, stat, walk};
use crate::memory::Memory;
use crate::round_trip::{assert_same, below, bring_back, key, noise, now_ns, saveset};

/// A folder of files that say of themselves what a test wants.
#[derive(Default)]
struct Folder {
    files: HashMap<Vec<u8>, Fake>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    most_at_once: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Fake {
    stat: Stat,
    bytes: Vec<u8>,
    /// What a search for data answers.
    data: Option<Range<u64>>,
    most_at_once: Arc<AtomicUsize>,
}

impl Folder {
    fn add(&mut self, name: &str, stat: Stat, bytes: Vec<u8>) {
        let fake = Fake { stat, bytes, data: None, most_at_once: Arc::clone(&self.most_at_once) };
        self.files.insert(name.as_bytes().to_vec(), fake);
    }
}

impl Place for Folder {
    fn open(&self, name: &[u8]) -> io::Result<Box<dyn Content>> {
        match self.files.get(name) {
            Some(fake) => Ok(Box::new(fake.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
    fn details(&self, _: &[u8], _: &Stat) -> io::Result<Details> {
        Ok(Details { xattrs: self.xattrs.clone(), ..Details::default() })
    }
    fn path(&self, name: &[u8]) -> Vec<u8> {
        [b"/", name].concat()
    }
}

impl Content for Fake {
    fn opened(&self) -> Stat {
        self.stat
    }
    fn stat(&self) -> io::Result<Stat> {
        Ok(self.stat)
    }
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.most_at_once.fetch_max(buffer.len(), Relaxed);
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let now = rest.len().min(buffer.len());
        buffer[..now].copy_from_slice(&rest[..now]);
        Ok(now)
    }
    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok(Some(self.data.clone().unwrap_or(offset..self.stat.size)))
    }
    fn details(&self) -> Details {
        Details::default()
    }
}

struct Listing(std::vec::IntoIter<Item>);

impl Source for Listing {
    fn next(&mut self) -> Option<Item> {
        self.0.next()
    }
}

/// A root folder that lists these names.
fn listing(folder: Folder, names: &[(&str, Stat)]) -> Listing {
    let place: Arc<dyn Place> = Arc::new(folder);
    let found = |name: &str, stat: Stat| Found {
        name: name.as_bytes().to_vec(),
        stat,
        place: Arc::clone(&place),
        unreadable: false,
    };
    let mut items = vec![Item::Enter(found("", stat(StatKind::Directory, 0)))];
    items.extend(names.iter().map(|(name, stat)| Item::Leaf(found(name, *stat))));
    items.push(Item::Leave);
    Listing(items.into_iter())
}

/// One of two names of a file.
fn twin(dev: u64, ino: u64, size: u64) -> Stat {
    Stat { dev, ino, nlink: 2, ..stat(StatKind::File, size) }
}

#[test]
fn fid05_files_of_disks_that_swapped_their_numbers_stay_two() {
    let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
    let backup = |number: u8, base, first: Stat, second: Stat, content: u8| {
        let mut folder = Folder::default();
        folder.add("a", first, vec![b'a'; 5000]);
        folder.add("b", second, vec![content; 5000]);
        let mut source = listing(folder, &[("a", first), ("b", second)]);
        run(&store, &mut source, number, base, now_ns())
    };
    backup(1, None, twin(1, 5, 5000), twin(2, 5, 5000), b'b');
    // The disks come up in another order, and the second file is written anew.
    let changed = Stat { mtime: Timestamp::new(1_700_000_001, 0), ..twin(1, 5, 5000) };
    let (_, read) = backup(2, Some(1), twin(2, 5, 5000), changed, b'c');
    assert_eq!(read, 5000, "the first file is unchanged");
    let to = home.path().join("to");
    assert_eq!(bring_back(&store, 2, &to).problems_total, 0);
    assert!(fs::read(to.join("a")).unwrap() == vec![b'a'; 5000]);
    assert!(fs::read(to.join("b")).unwrap() == vec![b'c'; 5000]);
}

#[test]
fn fid05_a_second_name_is_read_where_the_first_one_vanished() {
    for size in [100, 5000, 3 << 20] {
        let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
        let (mut folder, stat) = (Folder::default(), Stat { nlink: 3, ..twin(1, 5, size as u64) });
        folder.add("b", stat, noise(1, size));
        folder.add("c", stat, noise(1, size));
        let mut source = listing(folder, &[("a", stat), ("b", stat), ("c", stat)]);
        let (report, _) = run(&store, &mut source, 1, None, now_ns());
        let kinds: Vec<ProblemKind> = report.problems.iter().map(|one| one.kind).collect();
        assert_eq!(kinds, [ProblemKind::Vanished], "{size}");
        let to = home.path().join("to");
        assert_eq!(bring_back(&store, 1, &to).problems_total, 0, "{size}");
        assert!(!to.join("a").exists());
        assert!(fs::read(to.join("b")).unwrap() == noise(1, size), "{size}");
        let ino = |name| to.join(name).metadata().unwrap().ino();
        assert_eq!(ino("b"), ino("c"), "{size}");
    }
}

#[test]
fn a_file_that_grew_since_it_was_listed_is_read_in_blocks() {
    let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
    let mut folder = Folder::default();
    let most = Arc::clone(&folder.most_at_once);
    folder.add("file", stat(StatKind::File, 9 << 20), noise(1, 9 << 20));
    let mut source = listing(folder, &[("file", stat(StatKind::File, 10))]);
    let (report, _) = run(&store, &mut source, 1, None, now_ns());
    assert_eq!(report.problems_total, 0, "{:?}", report.problems);
    assert!(most.load(Relaxed) <= 1 << 20, "{} bytes in one piece", most.load(Relaxed));
    let to = home.path().join("to");
    assert_eq!(bring_back(&store, 1, &to).problems_total, 0);
    assert!(fs::read(to.join("file")).unwrap() == noise(1, 9 << 20));
}

#[test]
fn data_past_the_size_that_a_file_was_opened_with_is_not_read() {
    for size in [5000, 3 << 20] {
        let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
        let mut folder = Folder::default();
        let sparse = Stat { blocks: 0, ..stat(StatKind::File, size) };
        folder.add("file", sparse, Vec::new());
        let fake = folder.files.get_mut(&b"file"[..]).unwrap();
        fake.data = Some(size + 4096..size + 8192);
        let mut source = listing(folder, &[("file", sparse)]);
        let (report, _) = run(&store, &mut source, 1, None, now_ns());
        assert_eq!(report.problems_total, 0, "{size}: {:?}", report.problems);
        let to = home.path().join("to");
        assert_eq!(bring_back(&store, 1, &to).problems_total, 0);
        assert!(fs::read(to.join("file")).unwrap() == vec![0; size as usize], "{size}");
    }
}

#[test]
fn a_folder_with_more_attributes_than_a_segment_holds_is_stored() {
    let store = Arc::new(Memory::default());
    let mut folder = Folder::default();
    let xattr = |number: u64| (format!("user.{number}").into_bytes(), noise(number, 60_000));
    folder.xattrs = (0..10).map(xattr).collect();
    let names: Vec<String> = (0..60).map(|number| format!("fifo{number:02}")).collect();
    let fifo = stat(StatKind::Fifo, 0);
    let listed: Vec<(&str, Stat)> = names.iter().map(|name| (name.as_str(), fifo)).collect();
    run(&store, &mut listing(folder, &listed), 1, None, now_ns());
    let tree = Tree::open(store.clone(), key(), saveset(1)).unwrap();
    let found = tree.list(b"/").unwrap();
    assert_eq!(found.len(), 60);
    assert!(found.iter().all(|entry| entry.xattrs.len() == 10));
    assert_eq!(tree.entry(b"/fifo59").unwrap().xattrs.len(), 10);
}

/// Looks, at each fetch, how many names the folder that is restored has.
struct Watched {
    store: Arc<Memory>,
    folder: std::path::PathBuf,
    most: AtomicUsize,
}

impl RestoreSession for Watched {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        self.store.manifest(saveset)
    }
    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        self.store.locate(names)
    }
    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        let names = fs::read_dir(&self.folder).map_or(0, Iterator::count);
        self.most.fetch_max(names, Relaxed);
        self.store.get(places)
    }
}

/// Names that wait for the first one of their file are bounded: many are linked before the end.
#[test]
fn fid05_many_further_names_do_not_all_wait_for_the_end() {
    const NAMES: usize = 9000;
    let (store, folder) = (Arc::new(Memory::default()), tempdir().unwrap());
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("a")).unwrap();
    fs::write(from.join("a/first"), noise(1, 5000)).unwrap();
    fs::write(from.join("z"), noise(2, 5000)).unwrap();
    for number in 0..NAMES {
        fs::hard_link(from.join("a/first"), from.join(format!("a/{number:05}"))).unwrap();
    }
    walk(&store, &from, 1, None);
    let target = below(&to, &from);
    let session = Arc::new(Watched { store, folder: target.join("a"), most: AtomicUsize::new(0) });
    let options = SinkOptions { overwrite: Overwrite::Never, owners: true, specials: true };
    let job = RestoreJob {
        session: session.clone(),
        key: key(),
        saveset: saveset(1),
        selection: Selection::default(),
        strip: b"/".to_vec(),
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|problem| panic!("{problem:?}")),
    };
    let report = restore(job, &FsSink::open(&to, options).unwrap()).unwrap();
    assert_eq!(report.problems_total, 0);
    let meta = fs::metadata(target.join("a/first")).unwrap();
    assert_eq!(meta.nlink() as usize, NAMES + 1);
    assert_same(&from, &target);
    let most = session.most.load(Relaxed);
    assert!(most > 4000, "{most} names were there before the last fetch");
}
