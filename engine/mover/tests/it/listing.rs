//! Folders of a saveset with very many entries: what is read for one of them, counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;
use simsim_format::{DomainKey, ManifestDetails};
use simsim_model::{
    Level, Name, Progress, RestoreSession, SavesetId, Secret, SegmentPlace, SessionError, Timestamp,
};
use simsim_mover::tree::Tree;
use simsim_mover::{BackupJob, backup};
use simsim_source::{Content, Details, Found, Item, Place, Source, Stat, StatKind};

use crate::memory::Memory;

/// Entries of one directory.
const WIDE: u32 = 700_000;
/// Directories in one directory, and entries in each of them.
const MANY: u32 = 1000;
const EACH: u32 = 299;
/// Directories in one another.
const DEEP: u32 = 60;

struct Nowhere;

impl Place for Nowhere {
    fn open(&self, _: &[u8]) -> io::Result<Box<dyn Content>> {
        Err(io::Error::other("there are no files here"))
    }
    fn details(&self, _: &[u8], _: &Stat) -> io::Result<Details> {
        Ok(Details::default())
    }
    fn path(&self, name: &[u8]) -> Vec<u8> {
        [b"/", name].concat()
    }
}

/// A tree of more than a million entries that exists nowhere.
struct Imagined {
    place: Arc<dyn Place>,
    ino: u64,
    items: Box<dyn Iterator<Item = Step> + Send>,
}

enum Step {
    Enter(String),
    Leaf(String),
    Leave,
}

fn folder(
    name: String,
    inside: impl Iterator<Item = Step> + Send,
) -> impl Iterator<Item = Step> + Send {
    std::iter::once(Step::Enter(name)).chain(inside).chain(std::iter::once(Step::Leave))
}

fn leaves(count: u32) -> impl Iterator<Item = Step> + Send {
    (0..count).map(|number| Step::Leaf(format!("entry{number:07}")))
}

impl Imagined {
    fn new() -> Self {
        let deep = (0..DEEP).map(|level| Step::Enter(format!("level{level:02}")));
        let deep = deep.chain(leaves(3)).chain((0..DEEP).map(|_| Step::Leave));
        let many = (0..MANY).flat_map(|number| folder(format!("folder{number:04}"), leaves(EACH)));
        let all = folder("deep".into(), deep)
            .chain(folder("many".into(), many))
            .chain(folder("wide".into(), leaves(WIDE)));
        let items = Box::new(folder(String::new(), all));
        Self { place: Arc::new(Nowhere), ino: 1, items }
    }

    fn found(&mut self, name: String, kind: StatKind) -> Found {
        self.ino += 1;
        let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
        let stat = Stat {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            mtime: time,
            ctime: time,
            ino: self.ino,
            dev: 1,
            nlink: 1,
            rdev_major: 0,
            rdev_minor: 0,
        };
        Found { name: name.into_bytes(), stat, place: self.place.clone(), unreadable: false }
    }
}

impl Source for Imagined {
    fn next(&mut self) -> Option<Item> {
        Some(match self.items.next()? {
            Step::Enter(name) => Item::Enter(self.found(name, StatKind::Directory)),
            Step::Leaf(name) => Item::Leaf(self.found(name, StatKind::Fifo)),
            Step::Leave => Item::Leave,
        })
    }
}

/// Counts what is fetched.
struct Counted {
    store: Arc<Memory>,
    segments: AtomicU64,
    bytes: AtomicU64,
}

impl RestoreSession for Counted {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        self.store.manifest(saveset)
    }
    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        self.store.locate(names)
    }
    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        let got = self.store.get(places)?;
        self.segments.fetch_add(places.len() as u64, Relaxed);
        self.bytes.fetch_add(got.iter().flatten().map(|b| b.len() as u64).sum(), Relaxed);
        Ok(got)
    }
}

#[test]
fn any_folder_of_a_million_entries_costs_its_depth_and_not_its_size() {
    let key = || DomainKey::new(&Secret([9; 32]));
    let saveset = SavesetId([1; 16]);
    let store = Arc::new(Memory::default());
    store.begin(saveset);
    let job = BackupJob {
        session: store.clone(),
        base: None,
        key: key(),
        domain: Memory::domain(),
        saveset,
        level: Level::Full,
        details: ManifestDetails::default(),
        scan_started_unix_ns: 0,
        zstd_level: 3,
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|problem| panic!("{problem:?}")),
    };
    let started = Instant::now();
    let report = backup(job, &mut Imagined::new()).unwrap();
    let entries = u64::from(WIDE + MANY * (EACH + 1) + DEEP + 3);
    println!("{entries} entries built in {:?}: {report:?}", started.elapsed());

    // A new tree for each question, as the server opens one: nothing is kept from before.
    let ask = |path: &str, after: Option<&str>, limit: usize| {
        let session = Arc::new(Counted {
            store: store.clone(),
            segments: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let started = Instant::now();
        let tree = Tree::open(session.clone(), key(), saveset).unwrap();
        let after = after.map(str::as_bytes);
        let (entries, more) = tree.list_page(path.as_bytes(), after, limit).unwrap();
        let (segments, bytes) = (session.segments.load(Relaxed), session.bytes.load(Relaxed));
        let names: Vec<String> =
            entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect();
        println!(
            "{path} after {after:?}: {segments} segments, {bytes} bytes, {:?}",
            started.elapsed()
        );
        (names, more, segments)
    };
    let all = usize::MAX;
    let (names, more, segments) = ask("/many/folder0500", None, all);
    assert_eq!((names.len() as u32, more), (EACH, false));
    assert!(segments <= 6, "{segments} segments for a folder among {MANY}");

    let (names, more, segments) = ask("/wide", Some("entry0400000"), 500);
    assert_eq!((names.len(), more), (500, true));
    assert_eq!((names[0].as_str(), names[499].as_str()), ("entry0400001", "entry0400500"));
    assert!(segments <= 8, "{segments} segments for a part of {WIDE} entries");
    let (names, more, _) = ask("/wide", Some("entry0699990"), 500);
    assert_eq!((names.len(), more), (9, false));
    let (names, more, _) = ask("/wide", Some("f"), 500);
    assert_eq!((names.len(), more), (0, false));
    let (names, _, _) = ask("/wide", Some("a"), 2);
    assert_eq!(names, ["entry0000000", "entry0000001"]);

    let bottom: String = (0..DEEP).map(|level| format!("/level{level:02}")).collect();
    let (names, _, segments) = ask(&format!("/deep{bottom}"), None, all);
    assert_eq!(names.len(), 3);
    assert!(segments <= u64::from(DEEP) + 3, "{segments} segments at a depth of {DEEP}");

    let (names, more, segments) = ask("/", None, all);
    assert_eq!((names, more), (vec!["deep".into(), "many".into(), "wide".into()], false));
    assert!(segments <= 2, "{segments}");

    // A search that ends early, or begins late, reads the pages that it shows.
    for (after, first) in [(None, "/wide"), (Some("/wide/entry0400000"), "/wide/entry0400001")] {
        let session = Arc::new(Counted {
            store: store.clone(),
            segments: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let tree = Tree::open(session.clone(), key(), saveset).unwrap();
        let mut seen = Vec::new();
        let visit = &mut |found: simsim_mover::tree::Found| {
            seen.push(String::from_utf8(found.path).unwrap());
            seen.len() < 500
        };
        tree.walk_after(b"/wide", after.map(str::as_bytes), visit).unwrap();
        assert_eq!((seen.len(), seen[0].as_str()), (500, first));
        let segments = session.segments.load(Relaxed);
        assert!(segments <= 8, "{segments} segments for 500 of {WIDE} entries");
    }

    // Part by part, nothing is left out and nothing comes twice.
    let tree = Tree::open(store.clone(), key(), saveset).unwrap();
    let (mut count, mut after) = (0, None);
    loop {
        let (entries, more) = tree.list_page(b"/wide", after.as_deref(), 9999).unwrap();
        count += entries.len() as u32;
        after = entries.last().map(|entry| entry.name.clone());
        if !more {
            break;
        }
    }
    assert_eq!(count, WIDE);
}
