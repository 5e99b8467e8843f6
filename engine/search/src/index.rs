//! The index as a folder: opening it, taking savesets away, merging. One writer at a time; who reads works on
//! a snapshot, and never waits for the writer.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use simsim_model::SavesetId;

use crate::SearchError;
use crate::book::{Book, RunRow};
use crate::merge;
use crate::run::Run;
use crate::run_writer::RunWriter;

const BOOK: &str = "book";
const BOOK_NEW: &str = "book.new";

/// The search index of a server.
pub struct Index {
    folder: PathBuf,
    state: RwLock<Arc<State>>,
    /// Held by the one who writes.
    pub(crate) writing: Mutex<()>,
    steps: Mutex<Option<Watcher>>,
}

type Watcher = Box<dyn FnMut(&'static str) + Send>;

pub(crate) struct State {
    pub book: Book,
    pub runs: Vec<Arc<Run>>,
}

/// The index as it was at one moment. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<State>);

/// What the index is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub savesets: u64,
    pub strands: u64,
    /// Versions of entries, one for each time that one began.
    pub versions: u64,
    pub runs: u64,
    pub bytes: u64,
    /// What the heads of all runs take in memory, about.
    pub memory_bytes: u64,
}

impl Snapshot {
    pub fn book(&self) -> &Book {
        &self.0.book
    }

    pub fn figures(&self) -> Figures {
        let State { book, runs } = &*self.0;
        Figures {
            savesets: book.savesets.len() as u64,
            strands: book.strands.len() as u64,
            versions: book.runs.iter().map(|run| run.births).sum(),
            runs: runs.len() as u64,
            bytes: runs.iter().map(|run| run.file.bytes).sum(),
            memory_bytes: runs.iter().map(|run| run.memory_bytes()).sum::<u64>()
                + 160 * book.savesets.len() as u64,
        }
    }
}

impl Index {
    /// Opens the index of a folder; an empty one where there is none. What a crash left is removed.
    ///
    /// Errors: `Damaged`: [`Index::discard`] it, and open it anew.
    pub fn open(folder: &Path) -> Result<Self, SearchError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| SearchError::io("make the folder", folder, error))?;
        let path = folder.join(BOOK);
        let book = match fs::read(&path) {
            Ok(bytes) => Book::decode(&bytes, &path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Book::new(generation()),
            Err(error) => return Err(SearchError::io("read", &path, error)),
        };
        let mut runs = Vec::new();
        for row in &book.runs {
            let path = run_path(folder, row.number);
            runs.push(Arc::new(Run::open(&path, row.number, row.low, row.high)?));
        }
        remove_others(folder, &book)?;
        let state = RwLock::new(Arc::new(State { book, runs }));
        let (writing, steps) = (Mutex::new(()), Mutex::new(None));
        Ok(Self { folder: folder.to_owned(), state, writing, steps })
    }

    /// Removes all that belongs to an index in a folder.
    pub fn discard(folder: &Path) -> Result<(), SearchError> {
        // The book first: without it nothing counts.
        for name in [BOOK, BOOK_NEW] {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SearchError::io("remove", &folder.join(name), error));
                }
                _ => {}
            }
        }
        if folder.is_dir() { remove_others(folder, &Book::default()) } else { Ok(()) }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Arc::clone(&self.state.read()))
    }

    /// Takes savesets away that `gone` names. Nothing but the book is written; what only they had
    /// goes when runs are merged. Answers whether there was any of them.
    pub fn remove(&self, gone: &HashSet<SavesetId>) -> Result<bool, SearchError> {
        let _writing = self.writing.lock();
        let state = self.snapshot().0;
        let mut book = state.book.clone();
        if !book.remove(&|saveset| gone.contains(saveset)) {
            return Ok(false);
        }
        self.replace(book, state.runs.clone())?;
        Ok(true)
    }

    /// One merge, if there is one to do. Call it again until it answers false.
    pub fn tidy(&self) -> Result<bool, SearchError> {
        let _writing = self.writing.lock();
        let state = self.snapshot().0;
        let Some(range) = merge::choose(&state.book) else { return Ok(false) };
        let inputs: Vec<&Run> =
            state.runs.get(range.clone()).unwrap_or_default().iter().map(Arc::as_ref).collect();
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(false) };
        let (low, high) = (first.low, last.high);
        let mut book = state.book.clone();
        let number = book.next_run;
        book.next_run += 1;
        let path = run_path(&self.folder, number);
        let merged = (|| {
            let mut writer = RunWriter::create(&path, number)?;
            merge::merge(&inputs, &book, range.start == 0, &mut writer)?;
            writer.finish()
        })();
        let written = merged.inspect_err(|_| drop(fs::remove_file(&path)))?;
        self.step("a merged run is written");
        let mut runs = state.runs.clone();
        let (row, run) = match written {
            Some(written) => {
                let row = RunRow {
                    number,
                    low,
                    high,
                    records: written.records,
                    births: written.births,
                    savesets: book.savesets.range(low..=high).count() as u32,
                };
                let run = Run::open(&path, number, low, high)?;
                (vec![row], vec![Arc::new(run)])
            }
            None => (Vec::new(), Vec::new()),
        };
        book.runs.splice(range.clone(), row);
        let old: Vec<Arc<Run>> = runs.splice(range, run).collect();
        self.replace(book, runs)?;
        old.iter().for_each(|run| run.retire());
        drop((old, state));
        self.step("merged runs are removed");
        Ok(true)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn run_path(&self, number: u64) -> PathBuf {
        run_path(&self.folder, number)
    }

    /// Makes the book durable, and then the state what everybody sees.
    pub(crate) fn replace(&self, book: Book, runs: Vec<Arc<Run>>) -> Result<(), SearchError> {
        let (new, path) = (self.folder.join(BOOK_NEW), self.folder.join(BOOK));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&book.encode())?;
            file.sync_all()
        });
        if let Err(error) = written {
            drop(fs::remove_file(&new));
            return Err(SearchError::io("write", &new, error));
        }
        self.step("a new book is written");
        fs::rename(&new, &path).map_err(|error| SearchError::io("replace", &path, error))?;
        self.step("the book is replaced");
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| SearchError::io("flush", &self.folder, error))?;
        *self.state.write() = Arc::new(State { book, runs });
        Ok(())
    }

    /// For tests: hears of every step after which a crash would leave something else on the disk.
    #[doc(hidden)]
    pub fn watch_steps(&self, watcher: Box<dyn FnMut(&'static str) + Send>) {
        *self.steps.lock() = Some(watcher);
    }

    pub(crate) fn step(&self, what: &'static str) {
        if let Some(watcher) = self.steps.lock().as_mut() {
            watcher(what);
        }
    }
}

/// Differs from beginning to beginning, so that marks of pages are not taken for ones of another index.
fn generation() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

fn run_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.run"))
}

/// Removes what looks like ours and is not in the book.
fn remove_others(folder: &Path, book: &Book) -> Result<(), SearchError> {
    let list = fs::read_dir(folder).map_err(|error| SearchError::io("list", folder, error))?;
    for entry in list {
        let path = entry.map_err(|error| SearchError::io("list", folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_run = name.strip_suffix(".run").is_some_and(|digits| {
            u64::from_str_radix(digits, 16)
                .is_ok_and(|number| !book.runs.iter().any(|run| run.number == number))
        });
        if is_run || name.ends_with(".part") || name == BOOK_NEW {
            fs::remove_file(&path).map_err(|error| SearchError::io("remove", &path, error))?;
        }
    }
    Ok(())
}
