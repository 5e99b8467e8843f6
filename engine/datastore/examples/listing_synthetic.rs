//! Makes a saveset with very many entries, through the mover and the write session that backups use, and
//! measures how long folders of it take to list: `listing_synthetic FOLDER [MILLIONS OF ENTRIES]`.
//!
//! What is synthetic: there is no file system below it and no file has content. The entries stand in
//! hosts of a million each, a thousand folders of 999 entries; every tenth host is one of its own, and
//! the others repeat those, as images of one system do. So the datastore holds a tenth of the nodes, and
//! the tree above them is as large as it says. One folder, `wide`, has a million entries of its own. Each
//! question opens the saveset anew, as the server does for `simsim ls`, by the same code; *cold*: what
//! the datastore has on disk is dropped from the system's cache first.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use simsim_datastore::{CreateOptions, Datastore, OpenOptions, SessionOptions};
use simsim_format::{DomainKey, ManifestDetails};
use simsim_model::{DomainId, Level, Progress, SavesetId, Secret, StoreId, Timestamp};
use simsim_mover::tree::Tree;
use simsim_mover::{BackupJob, backup};
use simsim_source::{Content, Details, Found, Item, Place, Source, Stat, StatKind};
use simsim_storage::{LocalStorage, Storage};

type Failure = Box<dyn std::error::Error>;

const DOMAIN: DomainId = DomainId([7; 16]);
const SAVESET: SavesetId = SavesetId([1; 16]);
const MILLION: u64 = 1_000_000;
/// Folders of a host, and entries in each of them.
const FOLDERS: u64 = 1000;
const EACH: u64 = 999;
/// Hosts that differ: every further one repeats one of them.
const SHARE: u64 = 10;
/// Entries of a page, as `simsim ls` asks for at most.
const PAGE: usize = 1000;
const ROUNDS: u32 = 5;

fn key() -> DomainKey {
    DomainKey::new(&Secret([9; 32]))
}

/// A figure of `/proc/self/status`, in MiB.
fn status_mib(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

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

enum Step {
    Enter(String, u64),
    Leaf(String, u64),
    Leave,
}

/// A tree that exists nowhere.
struct Imagined {
    place: Arc<dyn Place>,
    steps: Box<dyn Iterator<Item = Step> + Send>,
}

fn folder(
    name: String,
    number: u64,
    inside: impl Iterator<Item = Step> + Send,
) -> impl Iterator<Item = Step> + Send {
    std::iter::once(Step::Enter(name, number)).chain(inside).chain(std::iter::once(Step::Leave))
}

fn leaves(count: u64, first: u64) -> impl Iterator<Item = Step> + Send {
    (0..count).map(move |at| Step::Leaf(format!("entry{at:07}"), first + at))
}

impl Imagined {
    fn new(millions: u64) -> Self {
        let distinct = millions.div_ceil(SHARE);
        let hosts = (0..millions.saturating_sub(1)).flat_map(move |number| {
            // Inodes say which host it really is.
            let first = number % distinct * 2 * MILLION;
            let folders = (0..FOLDERS).flat_map(move |at| {
                let inside = first + at * (EACH + 1);
                folder(format!("folder{at:04}"), inside, leaves(EACH, inside + 1))
            });
            folder(format!("host{number:04}"), first, folders)
        });
        let wide = folder("wide".to_owned(), u64::MAX / 2, leaves(MILLION, u64::MAX / 4));
        let steps = Box::new(folder(String::new(), 0, hosts.chain(wide)));
        Self { place: Arc::new(Nowhere), steps }
    }

    fn found(&self, name: String, ino: u64, kind: StatKind) -> Found {
        let time = Timestamp { seconds: 1_700_000_000 + (ino % 10_000_000) as i64, nanos: 0 };
        let stat = Stat {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            mtime: time,
            ctime: time,
            ino,
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
        Some(match self.steps.next()? {
            Step::Enter(name, ino) => Item::Enter(self.found(name, ino, StatKind::Directory)),
            Step::Leaf(name, ino) => Item::Leaf(self.found(name, ino, StatKind::Fifo)),
            Step::Leave => Item::Leave,
        })
    }
}

fn fill(datastore: &Datastore, millions: u64) -> Result<(), Failure> {
    let session = datastore.session(DOMAIN, SAVESET, SessionOptions::default());
    let job = BackupJob {
        session: Arc::new(session),
        base: None,
        key: key(),
        domain: DOMAIN,
        saveset: SAVESET,
        level: Level::Full,
        details: ManifestDetails::default(),
        scan_started_unix_ns: 0,
        zstd_level: 3,
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|problem| eprintln!("{problem:?}")),
    };
    let start = Instant::now();
    let report = backup(job, &mut Imagined::new(millions))?;
    let (seconds, entries) =
        (start.elapsed().as_secs_f64(), report.draft.files + report.draft.dirs);
    let state = datastore.state();
    println!(
        "made: {entries} entries in {seconds:.1} s ({:.0} a second), {:.0} MiB in the datastore, \
         most memory {:.0} MiB",
        entries as f64 / seconds,
        state.bytes as f64 / f64::from(1 << 20),
        status_mib("VmHWM")
    );
    Ok(())
}

/// Drops what the system has of the datastore's files.
fn forget(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let file = std::fs::File::open(path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// One page of a folder: how many entries it shows, and in how many milliseconds.
fn list(datastore: &Datastore, path: &str, after: Option<&str>) -> Result<(usize, f64), Failure> {
    let start = Instant::now();
    let tree = Tree::open(Arc::new(datastore.read_session(DOMAIN)), key(), SAVESET)?;
    let page = tree.list_page(path.as_bytes(), after.map(str::as_bytes), PAGE)?;
    Ok((page.0.len(), start.elapsed().as_secs_f64() * 1e3))
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("listing_synthetic FOLDER [MILLIONS OF ENTRIES]")?;
    let millions: u64 = arguments.next().map_or(Ok(100), |text| text.parse())?;
    if millions == 0 {
        return Err("a saveset of no entries says nothing".into());
    }
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&folder)?);
    let create = CreateOptions {
        store: StoreId([1; 16]),
        name: "listing".to_owned(),
        cut: Default::default(),
    };
    let datastore = Datastore::create(Arc::clone(&storage), create)?;
    fill(&datastore, millions)?;
    datastore.close()?;

    let options = OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() };
    let datastore = Datastore::open(storage, options)?;
    let last_host = format!("/host{:04}", millions.saturating_sub(2));
    let deep = format!("{last_host}/folder0500");
    let mut questions = vec![
        ("the top", "/", None),
        ("first page of a million", "/wide", None),
        ("a page in its middle", "/wide", Some("entry0500000")),
        ("its last page", "/wide", Some("entry0998999")),
    ];
    if millions > 1 {
        questions.push(("a host's folders", &last_host, None));
        questions.push(("a folder of a host", &deep, None));
    }
    for (what, path, after) in questions {
        forget(Path::new(&folder))?;
        let (entries, cold) = list(&datastore, path, after)?;
        let mut warm = f64::INFINITY;
        for _ in 0..ROUNDS {
            warm = warm.min(list(&datastore, path, after)?.1);
        }
        println!("{what}: {entries} entries, cold {cold:.2} ms, warm {warm:.2} ms");
    }
    println!("memory now {:.0} MiB", status_mib("VmRSS"));
    Ok(())
}
