//! A restore: walk the tree, locate a window of chunks, fetch segments in the order of their
//! place by several workers, check every name, write.
//!
//! A window is bounded by pieces and by files that need more than one piece; what is in memory is
//! the window's list and one opened segment a worker. A directory's attributes are set when the
//! last file below it is done.
//!
//! Further names of files come when many of them wait, and at the end, one after the other: a name
//! becomes a hard link only to a name that this restore has placed, so everything before it is done by
//! then. Where the first one was kept or is incomplete, the next one
//! is restored by itself, and those after it become links to that.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use simsim_format::{Content, DomainKey, Entry, EntryKind, Opener, Piece};
use simsim_model::{
    Name, Problem, ProblemKind, Progress, RestoreSession, SavesetId, SegmentPlace, limits,
};
use simsim_source::{Created, FsSink, LinkTarget, Placed, SinkError};

use crate::MoverError;
use crate::children::Children;
use crate::choose::{Chosen, Selection};
use crate::placing::{File, Group, Item, OpenDir, Shared, Task, Use};
use crate::report::{OnProblem, Report};
use crate::tree::{Tree, components, is_too_deep, join};

/// Pieces in a window.
const WINDOW_PIECES: usize = 16 << 10;
/// Files of more than one piece in a window: each holds a descriptor.
const WINDOW_OPEN_FILES: usize = 192;
/// Workers more than cores: so many wait for the device or for a file that another one writes to, and
/// the cores are busy all the same.
const WAITING_WORKERS: usize = 2;
/// Further names of files that wait for the first ones: about 3 MiB.
const LINKS_MAX: usize = 4096;

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
    let shared = Shared::new(sink, &job, &report);
    let walked = std::thread::scope(|scope| {
        let (tasks, queue) = crossbeam_channel::bounded::<Task>(threads * 4);
        for _ in 0..threads + WAITING_WORKERS {
            let queue = queue.clone();
            let shared = &shared;
            scope.spawn(move || shared.work(&queue));
        }
        drop(queue);
        let mut walk = Walk {
            shared: &shared,
            tree: &tree,
            chosen: &chosen,
            way: Way::Queue(tasks),
            met: 0,
            window: Vec::new(),
            pieces: 0,
            open_files: 0,
            firsts: HashMap::new(),
            links: Vec::new(),
        };
        walk.run()?;
        chosen.met(walk.met)?;
        walk.flush()?;
        // The last sender: the workers end when they have done what there is.
        walk.way = Way::Here(Box::new(Opener::new(job.key.clone())));
        Ok::<_, MoverError>(walk)
    });
    let mut walk = match walked {
        Ok(walk) => walk,
        // A failure of a worker is the reason for what the walk says.
        Err(error) => return Err(shared.check().err().unwrap_or(error)),
    };
    shared.check()?;
    walk.links()?;
    drop(walk);
    report.add_all(shared.left_note());
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

/// How a task is done: by the workers, or, when these have ended, at once.
enum Way<'a> {
    Queue(Sender<Task<'a>>),
    Here(Box<Opener>),
}

/// A directory on the way down. It is made when something in it is wanted.
struct Frame<'a> {
    path: Vec<u8>,
    entry: Entry,
    open: Option<Arc<OpenDir<'a>>>,
    children: Children,
}

struct Walk<'a, 'b> {
    shared: &'a Shared<'a>,
    tree: &'b Tree,
    chosen: &'b Chosen,
    way: Way<'a>,
    /// Entries that were wanted.
    met: u64,
    window: Vec<(Name, Use<'a>)>,
    pieces: usize,
    open_files: usize,
    /// Files of several names, and how many were met. Gone when all were.
    firsts: HashMap<(u64, u64), (Arc<Group>, u64)>,
    links: Vec<(Item<'a>, Arc<Group>)>,
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
        if start.is_dir() {
            return self.directory(root, start);
        }
        self.met += 1;
        self.entry(Item { dir: root, entry: start, path, group: None })
    }

    /// All wanted entries below a directory, with a stack of our own: trees may be deep.
    fn directory(&mut self, dir: Arc<OpenDir<'a>>, entry: Entry) -> Result<(), MoverError> {
        let (path, children) = (dir.path.clone(), self.tree.children_from(&entry, b""));
        let mut stack = vec![Frame { path, entry, open: Some(dir), children }];
        while let Some(frame) = stack.last_mut() {
            let Some(child) = frame.children.next() else {
                stack.pop();
                continue;
            };
            self.shared.check()?;
            let mut child = match child {
                Ok(child) => child,
                // What stands on other pages of the folder is not lost with this one.
                Err(error) => {
                    let text = format!("a part of the folder's content is missing: {error}");
                    let lost = Problem::new(&*frame.path, ProblemKind::MissingData, text);
                    self.shared.report.add(lost);
                    continue;
                }
            };
            let path = join(&frame.path, &child.name);
            let wanted = self.chosen.wants(&path);
            self.met += u64::from(wanted);
            if child.is_dir() && (wanted || self.chosen.reaches(&path)) {
                if matches!(child.content, Content::Missing) {
                    self.unread(&path);
                } else if is_too_deep(&path, &child) {
                    self.too_deep(&path);
                    child.content = Content::Missing;
                }
                let children = self.tree.children_from(&child, b"");
                stack.push(Frame { path, entry: child, open: None, children });
                if wanted || !self.chosen.has_patterns() {
                    self.open(&mut stack);
                }
            } else if !child.is_dir()
                && wanted
                && let Some(dir) = self.open(&mut stack)
            {
                self.entry(Item { dir, entry: child, path, group: None })?;
            }
        }
        Ok(())
    }

    /// The directory on top of the stack, made now if it is not there yet, as those above it. One
    /// that cannot be made is taken off, with all below it.
    fn open(&self, stack: &mut Vec<Frame<'a>>) -> Option<Arc<OpenDir<'a>>> {
        let mut at = stack.iter().rposition(|frame| frame.open.is_some())?;
        let mut dir = stack.get(at)?.open.clone()?;
        while let Some(frame) = stack.get_mut(at + 1) {
            let handle = match self.shared.sink.enter(&dir.handle, &frame.entry) {
                Ok(handle) => handle,
                Err(error) => {
                    let path = std::mem::take(&mut frame.path);
                    stack.truncate(at + 1);
                    self.shared.not_written(&path, &error);
                    return None;
                }
            };
            self.shared.job.progress.add(|p| &p.dirs_done, 1);
            dir = Arc::new(OpenDir {
                handle,
                path: frame.path.clone(),
                shared: self.shared,
                keep: false,
                _parent: Some(dir),
            });
            frame.open = Some(Arc::clone(&dir));
            at += 1;
        }
        Some(dir)
    }

    fn unread(&self, path: &[u8]) {
        let text = "could not be read when it was backed up";
        self.shared.report.add(Problem::new(path, ProblemKind::MissingData, text));
    }

    fn too_deep(&self, path: &[u8]) {
        let text = format!(
            "it lies deeper than {} folders or {} bytes of path, which no backup makes; what is in it \
             is left out",
            limits::PATH_DEPTH_MAX,
            limits::PATH_BYTES_MAX
        );
        self.shared.report.add(Problem::new(path, ProblemKind::NotWritten, text));
    }

    fn entry(&mut self, mut item: Item<'a>) -> Result<(), MoverError> {
        let nlink = item.entry.nlink;
        if nlink > 1 && !item.entry.is_dir() {
            match self.firsts.entry((item.entry.dev, item.entry.ino)) {
                Slot::Vacant(slot) => {
                    let group = Arc::new(Group::new(item.as_target()));
                    slot.insert((Arc::clone(&group), 1));
                    item.group = Some(group);
                }
                Slot::Occupied(mut slot) => {
                    let group = Arc::clone(&slot.get().0);
                    slot.get_mut().1 += 1;
                    if slot.get().1 >= nlink {
                        slot.remove();
                    }
                    self.links.push((item, group));
                    return if self.links.len() < LINKS_MAX { Ok(()) } else { self.links_now() };
                }
            }
        }
        self.content(item)
    }

    /// Further names of files, when the workers have done what they have.
    fn links_now(&mut self) -> Result<(), MoverError> {
        self.flush()?;
        self.shared.wait_until_idle()?;
        let opener = Opener::new(self.shared.job.key.clone());
        let queue = std::mem::replace(&mut self.way, Way::Here(Box::new(opener)));
        let done = self.links();
        self.way = queue;
        done
    }

    /// Further names of files, after all else is done.
    fn links(&mut self) -> Result<(), MoverError> {
        for (item, group) in std::mem::take(&mut self.links) {
            self.shared.check()?;
            self.link(item, group)?;
        }
        self.shared.check()
    }

    fn link(&mut self, mut item: Item<'a>, group: Arc<Group>) -> Result<(), MoverError> {
        let sink = self.shared.sink;
        if group.placed.load(Acquire) {
            let target: LinkTarget = group.target.lock().clone();
            match sink.link(&item.dir.handle, &item.entry, &target) {
                // Too many links, or a file system that has none: a copy.
                Err(error @ SinkError::Io { .. }) if !error.no_room() => {
                    let text = format!("is a copy, not a hard link: {error}");
                    let path = item.path.clone();
                    self.shared.report.add(Problem::new(path, ProblemKind::Attribute, text));
                }
                placed => {
                    self.shared.placed(&item, placed);
                    return Ok(());
                }
            }
        }
        match sink.keeps(&item.dir.handle, &item.entry) {
            Ok(None) => {}
            Ok(kept) => {
                self.shared.placed(&item, Ok(Placed { kept, ..Placed::default() }));
                return Ok(());
            }
            Err(error) => {
                self.shared.placed(&item, Err(error));
                return Ok(());
            }
        }
        group.placed.store(false, Release);
        *group.target.lock() = item.as_target();
        item.group = Some(group);
        self.content(item)?;
        self.flush()
    }

    fn content(&mut self, item: Item<'a>) -> Result<(), MoverError> {
        if matches!(item.entry.content, Content::Missing) {
            self.unread(&item.path);
            return Ok(());
        }
        let pieces = match self.tree.pieces(&item.entry) {
            Ok(pieces) => pieces,
            Err(error) => {
                let text = format!("content is missing: {error}");
                self.shared.report.add(Problem::new(item.path, ProblemKind::MissingData, text));
                return Ok(());
            }
        };
        if pieces.is_empty() {
            return self.send(Task::Plain(item));
        }
        self.shared.job.progress.set_current(&item.path);
        self.file(item, &pieces)
    }

    fn file(&mut self, item: Item<'a>, pieces: &[Piece]) -> Result<(), MoverError> {
        let chunks = pieces.iter().filter(|piece| matches!(piece, Piece::Chunk { .. })).count();
        let whole = pieces.len() == 1 && chunks == 1;
        let mut writer = None;
        if !whole {
            match self.shared.sink.create(&item.dir.handle, &item.entry) {
                Ok(Created::Write(created)) => writer = Some(created),
                Ok(Created::Kept(kept)) => {
                    let kept = Placed { kept: Some(kept), ..Placed::default() };
                    self.shared.placed(&item, Ok(kept));
                    return Ok(());
                }
                Err(error) => {
                    self.shared.placed(&item, Err(error));
                    return Ok(());
                }
            }
            self.open_files += 1;
        }
        // One more than the chunks: the walk itself holds the file until all of it is listed.
        let file = Arc::new(File {
            item,
            left: AtomicUsize::new(chunks + usize::from(!whole)),
            writer: Mutex::new(writer),
            lacks: Mutex::new(None),
        });
        let mut offset = 0;
        for piece in pieces {
            if let Piece::Chunk { name, length } = piece {
                let length = *length;
                self.window.push((*name, Use { file: Arc::clone(&file), offset, length, whole }));
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

    fn send(&mut self, task: Task<'a>) -> Result<(), MoverError> {
        match &mut self.way {
            Way::Queue(tasks) => {
                self.shared.begin();
                tasks.send(task).map_err(|_| MoverError::Lost)
            }
            Way::Here(opener) => {
                self.shared.run(opener, task);
                Ok(())
            }
        }
    }
}
