//! A source whose file system lies, fails, or changes files at any moment: every job ends, names each
//! thing that is not as it should be, and brings the rest back.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simsim_model::ProblemKind;
use simsim_testkit::{FuseFolder, Temper, punch_hole, skip};
use tempfile::tempdir;

use crate::changes::{settle, walk};
use crate::memory::Memory;
use crate::round_trip::{below, bring_back, noise};

/// Below the size of small files, and above it.
const SIZES: [usize; 2] = [100_000, 3 << 20];

/// How a file is told of; by the beginning of its name.
struct Liar {
    truth: Mutex<PathBuf>,
}

impl Liar {
    fn is(path: &Path, kind: &str) -> bool {
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(kind))
    }
}

impl Temper for Liar {
    fn before(&self, call: &'static str, path: &Path) -> io::Result<()> {
        if call == "readdir" && Self::is(path, "unlisted") {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn listed(&self, path: &Path) -> usize {
        if Self::is(path, "twice") { 2 } else { 1 }
    }

    fn told_size(&self, path: &Path, size: u64) -> u64 {
        if Self::is(path, "larger") {
            size + 5000
        } else if Self::is(path, "smaller") {
            size - 5000
        } else if Self::is(path, "empty") {
            0
        } else {
            size
        }
    }

    fn read(&self, path: &Path, offset: u64, right: Vec<u8>) -> io::Result<Vec<u8>> {
        let file = || OpenOptions::new().write(true).open(self.truth.lock().unwrap().join(path));
        let at = offset + right.len() as u64;
        if Self::is(path, "broken") && at > 70_000 {
            return Err(io::Error::from_raw_os_error(5));
        }
        if Self::is(path, "grows") {
            let file = file()?;
            file.write_all_at(b"more", file.metadata()?.len())?;
        }
        if Self::is(path, "shrinks") {
            let file = file()?;
            file.set_len(file.metadata()?.len() - 1000)?;
        }
        Ok(right)
    }
}

#[test]
fn fid15_whatever_a_file_system_lies_about_is_named_and_the_rest_comes_back() {
    let liar = Arc::new(Liar { truth: Mutex::default() });
    let lying = match FuseFolder::mount(liar.clone()) {
        Ok(lying) => lying,
        Err(why) => return skip(&why),
    };
    *liar.truth.lock().unwrap() = lying.truth().to_owned();
    let kinds = ["broken", "empty", "grows", "honest", "larger", "shrinks", "smaller", "twice"];
    for (number, size) in SIZES.into_iter().enumerate() {
        for (seed, kind) in kinds.iter().enumerate() {
            let path = lying.truth().join(format!("{kind}{number}"));
            fs::write(path, noise((10 * number + seed) as u64, size)).unwrap();
        }
    }
    fs::create_dir(lying.truth().join("unlisted")).unwrap();
    fs::write(lying.truth().join("unlisted/x"), "nobody will know").unwrap();
    fs::create_dir(lying.truth().join("zfolder")).unwrap();
    fs::write(lying.truth().join("zfolder/last"), "what comes after all of them").unwrap();
    settle();

    let store = Arc::new(Memory::default());
    let (report, _) = walk(&store, lying.path(), 1, None);
    let mut told: Vec<(String, ProblemKind)> = report
        .problems
        .iter()
        .map(|problem| {
            let path = Path::new(std::str::from_utf8(&problem.path).unwrap());
            (path.file_name().unwrap().to_str().unwrap().to_owned(), problem.kind)
        })
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    let mut expected = Vec::new();
    for kind in ["broken", "empty", "grows", "larger", "shrinks", "smaller", "twice"] {
        let problem = match kind {
            "broken" | "twice" => ProblemKind::Unreadable,
            _ => ProblemKind::ChangedWhileRead,
        };
        expected.extend((0..SIZES.len()).map(|number| (format!("{kind}{number}"), problem)));
    }
    expected.push(("unlisted".to_owned(), ProblemKind::Unreadable));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(told, expected);
    assert_eq!(report.problems_total, expected.len() as u64);

    let to = tempdir().unwrap();
    let restored = bring_back(&store, 1, to.path());
    let missing = restored.problems.iter().filter(|p| p.kind == ProblemKind::MissingData).count();
    assert_eq!(missing, 3, "the broken files and the folder: {:?}", restored.problems);
    let at = below(to.path(), lying.path());
    assert_eq!(fs::read(at.join("zfolder/last")).unwrap(), b"what comes after all of them");
    for (number, size) in SIZES.into_iter().enumerate() {
        let read = |kind: &str| fs::read(at.join(format!("{kind}{number}")));
        let content = |kind: &str| {
            let seed = kinds.iter().position(|known| *known == kind).unwrap();
            noise((10 * number + seed) as u64, size)
        };
        for kind in ["honest", "twice"] {
            assert!(read(kind).unwrap() == content(kind), "{kind}{number}");
        }
        // By its size and its blocks it ends with a hole.
        let larger = read("larger").unwrap();
        assert!(larger.starts_with(&content("larger")) && larger.len() <= size + 5000);
        assert!(larger[size..].iter().all(|byte| *byte == 0));
        assert!(read("smaller").unwrap() == content("smaller")[..size - 5000]);
        assert_eq!(read("empty").unwrap(), b"");
        assert!(read("grows").unwrap().starts_with(&content("grows")));
        let shrunk = read("shrinks").unwrap();
        assert!(!shrunk.is_empty() && content("shrinks").starts_with(&shrunk));
        assert!(read("broken").is_err(), "nothing is made up of it");
    }
}

const BLOCK: usize = 64 << 10;

/// One byte for each block of a file: 0 is a hole.
type Layout = Vec<u8>;

fn layout(blocks: usize) -> Layout {
    (0..blocks).map(|block| if block % 2 == 0 { 0 } else { 1 + block as u8 }).collect()
}

fn make(path: &Path, layout: &Layout) {
    let file = File::create(path).unwrap();
    file.set_len((layout.len() * BLOCK) as u64).unwrap();
    for (block, byte) in layout.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        file.write_all_at(&[*byte; BLOCK], (block * BLOCK) as u64).unwrap();
    }
}

/// What happens to a file of holes while it is read.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// Data becomes a hole.
    Punched,
    /// A hole becomes data.
    Filled,
    /// It ends inside a hole.
    CutInAHole,
    /// It ends inside of data.
    CutInData,
    /// It goes on after its last hole.
    Extended,
}

impl Change {
    fn make(self, path: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let at = |block: usize| (block * BLOCK) as u64;
        match self {
            Change::Punched => punch_hole(&file, at(3)..at(4)).unwrap(),
            Change::Filled => file.write_all_at(&[0xee; BLOCK], at(2)).unwrap(),
            Change::CutInAHole => file.set_len(at(4) + 100).unwrap(),
            Change::CutInData => file.set_len(at(3) + 100).unwrap(),
            Change::Extended => {
                let end = file.metadata().unwrap().len();
                file.write_all_at(&[0xdd; BLOCK], end + at(1)).unwrap();
            }
        }
    }
}

/// Makes a change before the call of a number to the file, or before that one and all that follow.
struct Changing {
    truth: Mutex<PathBuf>,
    armed: AtomicBool,
    calls: AtomicU64,
    at: u64,
    for_ever: bool,
    change: Change,
}

impl Temper for Changing {
    fn before(&self, call: &'static str, path: &Path) -> io::Result<()> {
        let counts = ["getattr", "open", "lseek", "read"].contains(&call);
        if !counts || path != Path::new("holes") || !self.armed.load(SeqCst) {
            return Ok(());
        }
        let number = self.calls.fetch_add(1, SeqCst);
        let file = self.truth.lock().unwrap().join(path);
        if number == self.at {
            self.change.make(&file);
        } else if number > self.at && self.for_ever {
            // Seen by the change of the time even where the kernel's clock of files is coarse.
            std::thread::sleep(Duration::from_millis(12));
            let file = OpenOptions::new().write(true).open(file)?;
            file.write_all_at(&[number as u8], BLOCK as u64)?;
        }
        Ok(())
    }
}

/// Until a change has another time than the last one of this file, where that clock is coarse.
fn until_the_clock_of_files_goes_on(file: &Path) {
    let ctime = |path: &Path| {
        let meta = path.metadata().unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let probe = tempdir().unwrap();
    let touched = || {
        fs::write(probe.path().join("x"), "x").unwrap();
        ctime(&probe.path().join("x"))
    };
    let last = ctime(file);
    while touched().0 < last.0 || touched() <= (last.0, last.1 + 10_000_000) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What came of one backup while a file changed.
struct Came {
    calls: u64,
    reported: bool,
    content: Vec<u8>,
    /// What it was before, and what it is after the change.
    states: [Vec<u8>; 2],
}

/// One backup with the change at a call.
fn changed_at(blocks: usize, change: Change, at: u64, for_ever: bool) -> Result<Came, String> {
    let temper = Arc::new(Changing {
        truth: Mutex::default(),
        armed: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        at,
        for_ever,
        change,
    });
    let folder = FuseFolder::mount(temper.clone())?;
    *temper.truth.lock().unwrap() = folder.truth().to_owned();
    let file = folder.truth().join("holes");
    make(&file, &layout(blocks));
    fs::write(folder.truth().join("steady"), "does not change").unwrap();
    let old = fs::read(&file).unwrap();
    let twin = folder.truth().join("twin");
    make(&twin, &layout(blocks));
    change.make(&twin);
    let new = fs::read(&twin).unwrap();
    fs::remove_file(twin).unwrap();
    until_the_clock_of_files_goes_on(&file);
    temper.armed.store(true, SeqCst);
    let store = Arc::new(Memory::default());
    let (report, _) = walk(&store, folder.path(), 1, None);
    temper.armed.store(false, SeqCst);
    for problem in &report.problems {
        assert_eq!(problem.kind, ProblemKind::ChangedWhileRead, "{problem:?}");
        assert!(problem.path.ends_with(b"/holes"), "{problem:?}");
    }
    let to = tempdir().unwrap();
    assert_eq!(bring_back(&store, 1, to.path()).problems_total, 0);
    let at = below(to.path(), folder.path());
    assert_eq!(fs::read(at.join("steady")).unwrap(), b"does not change");
    let content = fs::read(at.join("holes")).unwrap();
    let (calls, reported) = (temper.calls.load(SeqCst), report.problems_total > 0);
    Ok(Came { calls, reported, content, states: [old, new] })
}

#[test]
fn fid06_a_hole_that_changes_at_any_moment_is_read_anew_or_reported() {
    use Change::{CutInAHole, CutInData, Extended, Filled, Punched};
    // A small file and a large one, with holes at both ends.
    for blocks in [7, 15] {
        for change in [Punched, Filled, CutInAHole, CutInData, Extended] {
            for at in 0.. {
                let what = format!("{blocks} blocks, {change:?} before call {at}");
                let came = match changed_at(blocks, change, at, false) {
                    Ok(came) => came,
                    Err(why) => return skip(&why),
                };
                let Came { calls, reported, content, states } = came;
                assert!(!reported, "{what}: it stood still when it was read again");
                assert!(states.contains(&content), "{what}: {} bytes of neither", content.len());
                if calls <= at {
                    assert!(at > 6, "{what}: the file was hardly looked at");
                    break;
                }
                assert!(at < 200, "{what}: reading does not end");
            }
            let came = changed_at(blocks, change, 3, true).unwrap();
            assert!(came.reported, "{blocks} blocks, {change:?}, and no rest after it");
        }
    }
}
