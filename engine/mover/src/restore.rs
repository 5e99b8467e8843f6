//! A restore: walk the tree, locate a window of chunks, fetch segments in the order of their
//! place by several workers, check every name, write.
//!
//! A window is bounded by pieces and by files that need more than one piece; what is in memory is
//! the window's list and one opened segment a worker. A directory's attributes are set when the
//! last file below it is done.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use parking_lot::Mutex;
use simsim_format::{Content, DomainKey, Entry, EntryKind, Opener, Piece, SegmentView};
use simsim_model::{Name, Problem, ProblemKind, Progress, RestoreSession, SavesetId, SegmentPlace};
use simsim_source::{Created, DirHandle, FileWriter, FsSink, LinkTarget, Placed, SinkError};

use crate::MoverError;
use crate::report::{OnProblem, Report};
use crate::tree::{Tree, components, join};

/// Pieces in a window.
const WINDOW_PIECES: usize = 16 << 10;
/// Files of more than one piece in a window: each holds a descriptor.
const WINDOW_OPEN_FILES: usize = 192;

/// What of a saveset is restored: everything where both lists are empty.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths with all that is below them.
    pub paths: Vec<Vec<u8>>,
    /// Patterns over whole paths (`*` stops at `/`, `**` does not).
    pub patterns: Vec<String>,
}

pub struct RestoreJob {
    pub session: Arc<dyn RestoreSession>,
    pub key: DomainKey,
    pub saveset: SavesetId,
    pub selection: Selection,
    /// Path of the saveset that becomes the target folder itself: `/` keeps whole paths below it.
    pub strip: Vec<u8>,
    pub threads: usize,
    pub progress: Arc<Progress>,
    pub on_problem: OnProblem,
}

/// What a restore came to.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    pub problems: Vec<Problem>,
    pub problems_total: u64,
}

/// Restores into the sink. Blocks; cancelled through `job.progress`.
pub fn restore(job: RestoreJob, sink: &FsSink) -> Result<RestoreReport, MoverError> {
    let threads = match job.threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        threads => threads,
    };
    let report = Arc::new(Report::new(Arc::clone(&job.progress), Arc::clone(&job.on_problem)));
    let tree = Tree::open(Arc::clone(&job.session), job.key.clone(), job.saveset)?;
    let chosen = Chosen::new(&job.selection)?;
    let (files, bytes) = expected(&tree, &job.selection)?;
    job.progress.files_expected.store(files, Relaxed);
    job.progress.bytes_expected.store(bytes, Relaxed);
    let shared = Shared { sink, job: &job, report: &report, failed: Mutex::new(None) };
    let walked = std::thread::scope(|scope| {
        let (tasks, queue) = crossbeam_channel::bounded::<Task>(threads * 4);
        for _ in 0..threads {
            let queue = queue.clone();
            let shared = &shared;
            scope.spawn(move || shared.work(&queue));
        }
        drop(queue);
        let mut walk = Walk {
            shared: &shared,
            tree: &tree,
            chosen: &chosen,
            tasks,
            window: Vec::new(),
            pieces: 0,
            open_files: 0,
            firsts: HashMap::new(),
            links: Vec::new(),
        };
        walk.run()?;
        walk.flush()?;
        let Walk { tasks, links, .. } = walk;
        drop(tasks);
        Ok::<_, MoverError>(links)
    });
    let links = walked?;
    shared.check()?;
    for (dir, entry, path, target) in links {
        shared.placed(&path, &entry, sink.link(&dir.handle, &entry, &target));
    }
    // Attributes that had to wait for everything else: flags of linked files.
    report.add_all(sink.leave(sink.root()));
    shared.check()?;
    let done = job.progress.snapshot();
    Ok(RestoreReport {
        files: done.files_done,
        dirs: done.dirs_done,
        bytes: done.bytes_done,
        problems: report.take(),
        problems_total: report.errors(),
    })
}

/// Files and bytes that will be restored; 0 where patterns leave it open. A selected path that is
/// not there is an error.
fn expected(tree: &Tree, selection: &Selection) -> Result<(u64, u64), MoverError> {
    let (mut files, mut bytes) = (0u64, 0u64);
    for path in &selection.paths {
        let entry = tree.entry(path)?;
        let (more, size) = match &entry.kind {
            EntryKind::Directory(totals) => (totals.files, totals.bytes),
            _ => (1, entry.size),
        };
        files = files.saturating_add(more);
        bytes = bytes.saturating_add(size);
    }
    Ok(match (selection.patterns.is_empty(), selection.paths.is_empty()) {
        (false, _) => (0, 0),
        (true, true) => (tree.manifest.files, tree.manifest.bytes),
        (true, false) => (files, bytes),
    })
}

/// Which paths are wanted.
struct Chosen {
    paths: Vec<Vec<u8>>,
    patterns: Option<GlobSet>,
}

impl Chosen {
    fn new(selection: &Selection) -> Result<Self, MoverError> {
        let mut patterns = GlobSetBuilder::new();
        for pattern in &selection.patterns {
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|error| MoverError::Target(format!("pattern '{pattern}': {error}")))?;
            patterns.add(glob);
        }
        let patterns = patterns.build().map_err(|error| MoverError::Target(error.to_string()))?;
        let paths = selection
            .paths
            .iter()
            .map(|path| join(&[], &components(path).collect::<Vec<_>>().join(&b'/')))
            .collect();
        Ok(Self { paths, patterns: (!patterns.is_empty()).then_some(patterns) })
    }

    fn everything(&self) -> bool {
        self.paths.is_empty() && self.patterns.is_none()
    }

    /// Is this path wanted by itself?
    fn wants(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt;
        self.everything()
            || self.paths.iter().any(|chosen| chosen == path || is_below(path, chosen))
            || self.patterns.as_ref().is_some_and(|set| {
                let text = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
                set.is_match(text)
            })
    }

    /// Can something below this directory be wanted?
    fn reaches(&self, path: &[u8]) -> bool {
        self.patterns.is_some() || self.paths.iter().any(|chosen| is_below(chosen, path))
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    above == b"/" || path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// A directory that is being filled; its attributes are set when the last holder lets go.
struct OpenDir<'a> {
    handle: DirHandle,
    path: Vec<u8>,
    shared: &'a Shared<'a>,
    /// The target folder itself keeps its own attributes.
    keep: bool,
    _parent: Option<Arc<OpenDir<'a>>>,
}

impl Drop for OpenDir<'_> {
    fn drop(&mut self) {
        if !self.keep {
            let problems = self.shared.sink.leave(self.handle.clone());
            self.shared.report.add_all(problems);
        }
    }
}

/// One file of a window.
struct File<'a> {
    dir: Arc<OpenDir<'a>>,
    entry: Entry,
    path: Vec<u8>,
    /// Pieces still to be written.
    left: AtomicUsize,
    writer: Mutex<Option<FileWriter>>,
    missing: Mutex<Option<String>>,
}

/// Where a chunk goes.
struct Use<'a> {
    file: Arc<File<'a>>,
    offset: u64,
    whole: bool,
}

enum Task<'a> {
    /// One segment, and what of it goes where.
    Segment { place: SegmentPlace, uses: Vec<(Name, Use<'a>)> },
    /// Entries without chunks.
    Plain(Vec<(Arc<OpenDir<'a>>, Entry, Vec<u8>)>),
    /// Chunks that the datastore does not hold.
    Missing(Vec<(Name, Use<'a>)>),
}

struct Shared<'a> {
    sink: &'a FsSink,
    job: &'a RestoreJob,
    report: &'a Report,
    failed: Mutex<Option<MoverError>>,
}

impl<'a> Shared<'a> {
    fn check(&self) -> Result<(), MoverError> {
        if self.job.progress.is_cancelled() {
            return Err(MoverError::Cancelled);
        }
        self.failed.lock().clone().map_or(Ok(()), Err)
    }

    fn work(&self, queue: &Receiver<Task<'a>>) {
        let mut opener = Opener::new(self.job.key.clone());
        for task in queue {
            if self.check().is_err() {
                continue;
            }
            match task {
                Task::Plain(entries) => {
                    for (dir, entry, path) in entries {
                        self.plain(&dir, &entry, &path);
                    }
                }
                Task::Missing(uses) => {
                    for (name, at) in uses {
                        self.lost(&at.file, format!("the datastore does not hold chunk {name}"));
                    }
                }
                Task::Segment { place, uses } => self.segment(&mut opener, place, uses),
            }
        }
    }

    fn plain(&self, dir: &OpenDir<'_>, entry: &Entry, path: &[u8]) {
        let placed = match (&entry.kind, &entry.content) {
            (EntryKind::File, Content::Inline(bytes)) => self.sink.put(&dir.handle, entry, bytes),
            (EntryKind::File, _) => self.sink.put(&dir.handle, entry, b""),
            _ => self.sink.special(&dir.handle, entry),
        };
        self.placed(path, entry, placed);
    }

    fn placed(&self, path: &[u8], entry: &Entry, placed: Result<Placed, SinkError>) {
        match placed {
            Ok(Placed { kept, problems }) => {
                if let Some(reason) = kept {
                    self.report.add(Problem::new(path, ProblemKind::NotWritten, reason));
                }
                self.report.add_all(problems);
                self.job.progress.add(|p| &p.files_done, 1);
                self.job.progress.add(|p| &p.bytes_done, entry.size);
            }
            Err(error) => {
                self.report.add(Problem::new(path, ProblemKind::NotWritten, error.to_string()));
            }
        }
    }

    fn segment(&self, opener: &mut Opener, place: SegmentPlace, uses: Vec<(Name, Use<'_>)>) {
        let fetched = match self.job.session.get(&[place]) {
            Ok(mut answer) => answer.pop().flatten(),
            Err(error) => {
                self.failed.lock().get_or_insert(error.into());
                return;
            }
        };
        let opened = fetched
            .ok_or_else(|| "its segment cannot be read any more".to_owned())
            .and_then(|bytes| {
                self.job.progress.add(|p| &p.bytes_wire, bytes.len() as u64);
                let view = SegmentView::parse(bytes).map_err(|error| error.to_string())?;
                let plaintext = opener.open(&view).map_err(|error| error.to_string())?;
                let ranges: HashMap<Name, Range<usize>> = view
                    .offsets()
                    .map(|(start, item)| (item.name, start..start + item.length as usize))
                    .collect();
                Ok((plaintext, ranges))
            });
        match opened {
            Err(reason) => {
                for (_, at) in &uses {
                    self.lost(&at.file, reason.clone());
                }
            }
            Ok((plaintext, ranges)) => {
                for (name, at) in uses {
                    let chunk = ranges.get(&name).and_then(|range| plaintext.get(range.clone()));
                    match chunk {
                        Some(chunk) if opener.check_chunk(&name, chunk).is_ok() => {
                            self.write(&at, chunk);
                        }
                        _ => self.lost(&at.file, format!("chunk {name} is damaged")),
                    }
                }
            }
        }
    }

    fn write(&self, at: &Use<'_>, chunk: &[u8]) {
        simsim_model::failpoint::hit("mover.restore_chunk");
        let file = &at.file;
        self.job.progress.add(|p| &p.bytes_read, chunk.len() as u64);
        if at.whole && chunk.len() as u64 == file.entry.size {
            let placed = self.sink.put(&file.dir.handle, &file.entry, chunk);
            return self.placed(&file.path, &file.entry, placed);
        }
        let written = match &*file.writer.lock() {
            Some(writer) => writer.write_at(at.offset, chunk),
            None => Ok(()),
        };
        if let Err(error) = written {
            file.missing.lock().get_or_insert(format!("cannot be written: {error}"));
        }
        self.piece_done(file);
    }

    /// A piece of the file is not there.
    fn lost(&self, file: &File<'_>, reason: String) {
        file.missing.lock().get_or_insert(reason);
        self.piece_done(file);
    }

    fn piece_done(&self, file: &File<'_>) {
        if file.left.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        let writer = file.writer.lock().take();
        match (file.missing.lock().take(), writer) {
            (None, Some(writer)) => self.placed(&file.path, &file.entry, writer.finish()),
            (None, None) => {}
            (Some(reason), writer) => {
                let problem = match writer {
                    Some(writer) => writer.incomplete(&reason),
                    None => {
                        let text = format!("content is missing: {reason}");
                        Problem::new(file.path.clone(), ProblemKind::MissingData, text)
                    }
                };
                self.report.add(problem);
            }
        }
    }
}

type Link<'a> = (Arc<OpenDir<'a>>, Entry, Vec<u8>, LinkTarget);

struct Walk<'a, 'b> {
    shared: &'a Shared<'a>,
    tree: &'b Tree,
    chosen: &'b Chosen,
    tasks: Sender<Task<'a>>,
    window: Vec<(Name, Use<'a>)>,
    pieces: usize,
    open_files: usize,
    firsts: HashMap<(u64, u64), LinkTarget>,
    links: Vec<Link<'a>>,
}

impl<'a> Walk<'a, '_> {
    fn run(&mut self) -> Result<(), MoverError> {
        let strip = &self.shared.job.strip;
        let start = self.tree.entry(strip)?;
        let path = join(&[], &components(strip).collect::<Vec<_>>().join(&b'/'));
        let root = Arc::new(OpenDir {
            handle: self.shared.sink.root(),
            path: path.clone(),
            shared: self.shared,
            keep: true,
            _parent: None,
        });
        if start.is_dir() { self.directory(&root, &start) } else { self.entry(&root, start, path) }
    }

    /// All wanted entries below a directory, with a stack of our own: trees may be deep.
    fn directory(&mut self, dir: &Arc<OpenDir<'a>>, entry: &Entry) -> Result<(), MoverError> {
        let mut stack = vec![(Arc::clone(dir), self.children(dir, entry))];
        while let Some((dir, children)) = stack.last_mut() {
            let Some(child) = children.next() else {
                stack.pop();
                continue;
            };
            self.shared.check()?;
            let dir = Arc::clone(dir);
            let path = join(&dir.path, &child.name);
            let wanted = self.chosen.wants(&path);
            if !child.is_dir() {
                if wanted {
                    self.entry(&dir, child, path)?;
                }
                continue;
            }
            if !wanted && !self.chosen.reaches(&path) {
                continue;
            }
            match self.shared.sink.enter(&dir.handle, &child) {
                Ok(handle) => {
                    self.shared.job.progress.add(|p| &p.dirs_done, 1);
                    let open = Arc::new(OpenDir {
                        handle,
                        path,
                        shared: self.shared,
                        keep: false,
                        _parent: Some(dir),
                    });
                    if matches!(child.content, Content::Missing) {
                        self.unread(&open.path);
                    }
                    let children = self.children(&open, &child);
                    stack.push((open, children));
                }
                Err(error) => {
                    let text = error.to_string();
                    self.shared.report.add(Problem::new(path, ProblemKind::NotWritten, text));
                }
            }
        }
        Ok(())
    }

    fn children(&self, dir: &OpenDir<'_>, entry: &Entry) -> std::vec::IntoIter<Entry> {
        let children = self.tree.children(entry).unwrap_or_else(|error| {
            let text = format!("the folder's content is missing: {error}");
            let path = dir.path.clone();
            self.shared.report.add(Problem::new(path, ProblemKind::MissingData, text));
            Vec::new()
        });
        children.into_iter()
    }

    fn unread(&self, path: &[u8]) {
        let text = "could not be read when it was backed up";
        self.shared.report.add(Problem::new(path, ProblemKind::MissingData, text));
    }

    fn entry(
        &mut self,
        dir: &Arc<OpenDir<'a>>,
        entry: Entry,
        path: Vec<u8>,
    ) -> Result<(), MoverError> {
        if entry.nlink > 1 && !entry.is_dir() {
            let group = (entry.dev, entry.ino);
            if let Some(target) = self.firsts.get(&group) {
                self.links.push((Arc::clone(dir), entry, path, target.clone()));
                return Ok(());
            }
            self.firsts.insert(group, LinkTarget::new(dir.handle.clone(), entry.name.clone()));
        }
        if matches!(entry.content, Content::Missing) {
            self.unread(&path);
            return Ok(());
        }
        let pieces = match self.tree.pieces(&entry) {
            Ok(pieces) => pieces,
            Err(error) => {
                let text = format!("content is missing: {error}");
                self.shared.report.add(Problem::new(path, ProblemKind::MissingData, text));
                return Ok(());
            }
        };
        if pieces.is_empty() {
            return self.send(Task::Plain(vec![(Arc::clone(dir), entry, path)]));
        }
        self.shared.job.progress.set_current(&path);
        self.file(dir, entry, path, &pieces)
    }

    fn file(
        &mut self,
        dir: &Arc<OpenDir<'a>>,
        entry: Entry,
        path: Vec<u8>,
        pieces: &[Piece],
    ) -> Result<(), MoverError> {
        let chunks = pieces.iter().filter(|piece| matches!(piece, Piece::Chunk { .. })).count();
        let whole = pieces.len() == 1 && chunks == 1;
        let mut writer = None;
        if !whole {
            match self.shared.sink.create(&dir.handle, &entry) {
                Ok(Created::Write(created)) => writer = Some(created),
                Ok(Created::Kept(reason)) => {
                    let kept = Placed { kept: Some(reason), problems: Vec::new() };
                    self.shared.placed(&path, &entry, Ok(kept));
                    return Ok(());
                }
                Err(error) => {
                    self.shared.placed(&path, &entry, Err(error));
                    return Ok(());
                }
            }
            self.open_files += 1;
        }
        // One more than the chunks: the walk itself holds the file until all of it is listed.
        let file = Arc::new(File {
            dir: Arc::clone(dir),
            entry,
            path,
            left: AtomicUsize::new(chunks + usize::from(!whole)),
            writer: Mutex::new(writer),
            missing: Mutex::new(None),
        });
        let mut offset = 0;
        for piece in pieces {
            if let Piece::Chunk { name, .. } = piece {
                self.window.push((*name, Use { file: Arc::clone(&file), offset, whole }));
                self.pieces += 1;
                if self.pieces >= WINDOW_PIECES {
                    self.flush()?;
                }
            }
            offset += piece.length();
        }
        if !whole {
            self.shared.piece_done(&file);
        }
        if self.open_files >= WINDOW_OPEN_FILES {
            self.flush()?;
        }
        Ok(())
    }

    /// Locates the window's chunks and hands out its segments in the order of their place.
    fn flush(&mut self) -> Result<(), MoverError> {
        self.pieces = 0;
        self.open_files = 0;
        let window = std::mem::take(&mut self.window);
        if window.is_empty() {
            return Ok(());
        }
        let names: Vec<Name> = window.iter().map(|(name, _)| *name).collect();
        let places = self.tree.nodes.locate(&names)?;
        let mut segments: BTreeMap<SegmentPlace, Vec<(Name, Use<'a>)>> = BTreeMap::new();
        let mut missing = Vec::new();
        for ((name, at), place) in window.into_iter().zip(places) {
            match place {
                Some(place) => segments.entry(place).or_default().push((name, at)),
                None => missing.push((name, at)),
            }
        }
        if !missing.is_empty() {
            self.send(Task::Missing(missing))?;
        }
        for (place, uses) in segments {
            self.send(Task::Segment { place, uses })?;
        }
        Ok(())
    }

    fn send(&self, task: Task<'a>) -> Result<(), MoverError> {
        self.tasks.send(task).map_err(|_| MoverError::Lost)
    }
}
