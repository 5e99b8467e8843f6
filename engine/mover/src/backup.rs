//! A backup: walk → read → cut → name → ask → compress → seal → put, and the tree beside it.
//!
//! One coordinator (the caller's thread) takes the source's items in order, compares them with
//! the base saveset and hands out work. Workers read batches of small files or take blocks of
//! large ones; readers cut large files into blocks; one thread builds the tree in order; senders
//! put segments. Every queue is bounded and leads downstream only, so nothing can wait in a ring.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use simsim_format::{Content, DirTotals, DomainKey, Entry, EntryKind, ManifestDetails, Node, Page};
use simsim_model::{
    BackupSession, CommitReply, DomainId, Level, ManifestDraft, Name, Problem, ProblemKind,
    Progress, RestoreSession, SavesetId, Timestamp, failpoint,
};
use simsim_source::{Found, Item, Source, StatKind};

use crate::build::DirBuilder;
use crate::chunks::ChunkWriter;
use crate::cutter::Cutter;
use crate::read::{BATCH_BYTES, BATCH_FILES, Large, Reading, SMALL_FILE_BYTES_MAX, Work, entry_of};
use crate::report::{OnProblem, Report};
use crate::tree::Tree;
use crate::{MoverError, held};

/// An entry as new as the base's scan start less this margin is read again (IDX06): the coarsest
/// tick of a kernel clock, and some.
const TICK_MARGIN_NS: i64 = 50_000_000;
/// Events on their way to the tree.
const TREE_AHEAD: usize = 4096;
/// Threads that put segments.
const SENDERS: usize = 3;

/// The saveset that a backup compares with.
pub struct Base {
    pub session: Arc<dyn RestoreSession>,
    pub saveset: SavesetId,
}

/// Everything that one backup needs.
pub struct BackupJob {
    pub session: Arc<dyn BackupSession>,
    pub base: Option<Base>,
    pub key: DomainKey,
    pub domain: DomainId,
    pub saveset: SavesetId,
    pub level: Level,
    /// Client, task and sources, as they stand in the manifest; problems are added.
    pub details: ManifestDetails,
    pub scan_started_unix_ns: i64,
    pub zstd_level: i32,
    /// Workers; 0 takes the number of cores.
    pub threads: usize,
    pub progress: Arc<Progress>,
    pub on_problem: OnProblem,
}

/// What a backup came to.
#[derive(Debug, Clone)]
pub struct BackupReport {
    pub commit: CommitReply,
    pub draft: ManifestDraft,
    pub problems: Vec<Problem>,
    /// All problems but notes: above 0 the outcome is *finished with errors*.
    pub problems_total: u64,
}

/// Runs a backup to its commit. Blocks; cancelled through `job.progress`.
pub fn backup(job: BackupJob, source: &mut dyn Source) -> Result<BackupReport, MoverError> {
    let threads = match job.threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        threads => threads,
    };
    let terms = job.session.terms()?;
    if !terms.cut.is_valid() {
        return Err(MoverError::Target("the device named chunk sizes that cannot be".to_owned()));
    }
    let report = Arc::new(Report::new(Arc::clone(&job.progress), Arc::clone(&job.on_problem)));
    let (writer, segments) = ChunkWriter::new(
        Arc::clone(&job.session),
        job.key.clone(),
        job.domain,
        job.zstd_level,
        Arc::clone(&job.progress),
    );
    let reading = Reading {
        writer: Arc::clone(&writer),
        cutter: Cutter::new(terms.cut, job.key.cut_seed()),
        report: Arc::clone(&report),
        progress: Arc::clone(&job.progress),
    };
    let base = match &job.base {
        Some(base) => open_base(base, &job, &report, terms.intact),
        None => None,
    };
    let built = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..SENDERS).map(|_| scope.spawn(|| writer.send_all(&segments))).collect();
        let (work, work_queue) = crossbeam_channel::bounded::<Work>(threads * 2);
        let (large, large_queue) = crossbeam_channel::bounded::<Large>(1);
        let (tree, tree_queue) = crossbeam_channel::bounded::<Event>(TREE_AHEAD);
        let reading = &reading;
        for _ in 0..threads + 1 {
            let queue = work_queue.clone();
            scope.spawn(move || reading.work(&queue));
        }
        drop(work_queue);
        for _ in 0..2 {
            let (queue, work) = (large_queue.clone(), work.clone());
            scope.spawn(move || reading.read_large(&queue, &work));
        }
        drop(large_queue);
        let tree_builder = scope.spawn(move || build_tree(reading, &tree_queue));
        let coordinator = Coordinator {
            reading,
            base,
            work,
            large,
            tree,
            batch: Vec::new(),
            batch_bytes: 0,
            batch_reply: None,
            links: HashMap::new(),
        };
        let walked = coordinator.run(source);
        let built = tree_builder.join().unwrap_or(Err(MoverError::Lost));
        let finished = walked.and(built).and_then(|built| Ok((built, writer.finish()?)));
        writer.close();
        for sender in senders {
            let _ = sender.join();
        }
        finished
    });
    // Only now have all workers said what they have to say.
    if let Err(error) = &built {
        writer.fail(error.clone());
    }
    writer.check()?;
    let ((root, totals), segments) = built?;
    commit(&job, &writer, &report, root, totals, segments)
}

fn commit(
    job: &BackupJob,
    writer: &ChunkWriter,
    report: &Report,
    root: Name,
    totals: DirTotals,
    segments: u64,
) -> Result<BackupReport, MoverError> {
    let problems = report.take();
    let mut details = job.details.clone();
    details.problems =
        problems.iter().map(|problem| (problem.path.clone(), problem.message.clone())).collect();
    let draft = ManifestDraft {
        level: job.level,
        root,
        base: job.base.as_ref().map(|base| base.saveset),
        scan_started_unix_ns: job.scan_started_unix_ns,
        files: totals.files,
        dirs: totals.dirs,
        bytes: totals.bytes,
        bytes_new: writer.bytes_new.load(Relaxed),
        bytes_stored: writer.bytes_stored.load(Relaxed),
        problems: report.errors(),
        sealed_details: details.seal(&job.key, job.domain, job.saveset)?,
        segments,
    };
    failpoint::hit("mover.before_commit");
    let commit = job.session.commit(&draft)?;
    failpoint::hit("mover.committed");
    Ok(BackupReport { commit, draft, problems, problems_total: report.errors() })
}

/// A base that cannot be read is no reason to stop: everything is read instead.
fn open_base(base: &Base, job: &BackupJob, report: &Report, intact: bool) -> Option<BaseTree> {
    let tree = Tree::open(Arc::clone(&base.session), job.key.clone(), base.saveset)
        .and_then(|tree| Ok((tree.root()?, tree)));
    match tree {
        Ok((root, tree)) => {
            job.progress.files_expected.store(tree.manifest.files, Relaxed);
            job.progress.bytes_expected.store(tree.manifest.bytes, Relaxed);
            let limit = tree.manifest.scan_started_unix_ns.saturating_sub(TICK_MARGIN_NS);
            let limit = Timestamp::from_unix_nanos(limit);
            let ask = (!intact).then(|| Arc::clone(&job.session));
            let stack = vec![BaseDir { entries: vec![root], next: 0 }];
            Some(BaseTree { tree, limit, ask, stack })
        }
        Err(error) => {
            report.add(Problem::new(
                b"/".as_slice(),
                ProblemKind::Note,
                format!("the base saveset cannot be read ({error}); every file is read"),
            ));
            None
        }
    }
}

struct BaseTree {
    tree: Tree,
    /// Entries changed at or after this are not trusted.
    limit: Timestamp,
    /// Whom to ask for what the base names, when the datastore is known to have lost something.
    ask: Option<Arc<dyn BackupSession>>,
    stack: Vec<BaseDir>,
}

struct BaseDir {
    entries: Vec<Entry>,
    next: usize,
}

impl BaseDir {
    /// The entry of this name; names are asked for in order.
    fn find(&mut self, name: &[u8]) -> Option<&Entry> {
        while self.entries.get(self.next).is_some_and(|entry| entry.name.as_slice() < name) {
            self.next += 1;
        }
        self.entries.get(self.next).filter(|entry| entry.name == name)
    }
}

impl BaseTree {
    fn find(&mut self, name: &[u8]) -> Option<&Entry> {
        self.stack.last_mut()?.find(name)
    }

    fn enter(&mut self, name: &[u8]) -> Result<Option<Entry>, MoverError> {
        let entry = self.find(name).cloned();
        let entries = entry.as_ref().and_then(|entry| self.tree.children(entry).ok());
        let mut entries = entries.unwrap_or_default();
        if let Some(session) = &self.ask {
            entries = held::only_held(&self.tree, &**session, entries)?;
        }
        self.stack.push(BaseDir { entries, next: 0 });
        Ok(entry)
    }

    fn leave(&mut self) {
        self.stack.pop();
    }

    /// The base's entry, if nothing of it can have changed. Its device number is today's: with
    /// the base's, files of two disks that swapped numbers would pass for names of one file.
    fn unchanged(&mut self, found: &Found) -> Option<Entry> {
        let limit = self.limit;
        let entry = self.find(&found.name).filter(|entry| unchanged(entry, found, limit))?;
        let dev = if entry.nlink > 1 { found.stat.dev } else { 0 };
        Some(Entry { dev, ..entry.clone() })
    }
}

/// Same inode, size and times, and older than the base's scan: content and metadata are the same.
/// The device number is not compared: it changes with mounts and snapshots.
fn unchanged(entry: &Entry, found: &Found, limit: Timestamp) -> bool {
    let stat = &found.stat;
    let kind = matches!(
        (&entry.kind, stat.kind),
        (EntryKind::File, StatKind::File)
            | (EntryKind::Directory(_), StatKind::Directory)
            | (EntryKind::Symlink(_), StatKind::Symlink)
            | (EntryKind::Fifo, StatKind::Fifo)
            | (EntryKind::Socket, StatKind::Socket)
            | (EntryKind::CharDevice { .. }, StatKind::CharDevice)
            | (EntryKind::BlockDevice { .. }, StatKind::BlockDevice)
    );
    let directory = entry.is_dir();
    kind && entry.content != Content::Missing
        && entry.ino == stat.ino
        && (directory || entry.nlink == stat.nlink)
        && (!entry.is_file() || entry.size == stat.size)
        && entry.mtime == stat.mtime
        && entry.ctime == stat.ctime
        && entry.ctime < limit
        && entry.mtime < limit
        && (entry.mode, entry.uid, entry.gid) == (stat.mode & 0o7777, stat.uid, stat.gid)
}

/// What the tree thread is told, in walk order.
enum Event {
    /// A directory, and its own entry if nothing of its metadata changed.
    Enter(Found, Option<Entry>),
    Leave,
    Ready(Entry),
    /// The next small file; the first of a batch brings the batch's answer.
    Small(Option<Receiver<Vec<Option<Entry>>>>),
    Large(Receiver<Option<Entry>>),
    /// A further hard link to a file that came before.
    Link(Found),
}

struct Coordinator<'a> {
    reading: &'a Reading,
    base: Option<BaseTree>,
    work: Sender<Work>,
    large: Sender<Large>,
    tree: Sender<Event>,
    batch: Vec<Found>,
    batch_bytes: u64,
    batch_reply: Option<Sender<Vec<Option<Entry>>>>,
    /// Files of several names: how many were met. Gone when all were.
    links: HashMap<(u64, u64), u64>,
}

impl Coordinator<'_> {
    fn run(mut self, source: &mut dyn Source) -> Result<(), MoverError> {
        while let Some(item) = source.next() {
            self.reading.writer.check()?;
            match item {
                Item::Problem(problem) => self.reading.report.add(problem),
                Item::Enter(found) => self.enter(found)?,
                Item::Leave => {
                    if let Some(base) = &mut self.base {
                        base.leave();
                    }
                    self.emit(Event::Leave)?;
                }
                Item::Leaf(found) => self.leaf(found)?,
            }
        }
        self.flush()
    }

    fn enter(&mut self, found: Found) -> Result<(), MoverError> {
        let mut known = None;
        if let Some(base) = &mut self.base {
            let limit = base.limit;
            known = base.enter(&found.name)?.filter(|entry| unchanged(entry, &found, limit));
        }
        self.emit(Event::Enter(found, known))
    }

    fn leaf(&mut self, found: Found) -> Result<(), MoverError> {
        if let Some(entry) = self.base.as_mut().and_then(|base| base.unchanged(&found)) {
            if entry.nlink > 1 && entry.is_file() {
                self.is_first(&found);
            }
            return self.emit(Event::Ready(entry));
        }
        if found.stat.kind != StatKind::File {
            let Some(entry) = self.reading.plain(&found) else { return Ok(()) };
            return self.emit(Event::Ready(entry));
        }
        if found.stat.nlink > 1 && !self.is_first(&found) {
            return self.emit(Event::Link(found));
        }
        if found.stat.size > SMALL_FILE_BYTES_MAX {
            let (reply, answer) = crossbeam_channel::bounded(1);
            self.flush()?;
            self.emit(Event::Large(answer))?;
            return self.large.send(Large { file: found, reply }).map_err(|_| MoverError::Lost);
        }
        let answer = if self.batch_reply.is_none() {
            let (reply, answer) = crossbeam_channel::bounded(1);
            self.batch_reply = Some(reply);
            self.reading.progress.set_current(&found.place.path(&found.name));
            Some(answer)
        } else {
            None
        };
        self.batch_bytes += found.stat.size;
        self.batch.push(found);
        self.emit(Event::Small(answer))?;
        if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Counts a name of a file that has several; was it the first?
    fn is_first(&mut self, found: &Found) -> bool {
        match self.links.entry((found.stat.dev, found.stat.ino)) {
            Slot::Vacant(slot) => {
                slot.insert(1);
                true
            }
            Slot::Occupied(mut slot) => {
                *slot.get_mut() += 1;
                if *slot.get() >= found.stat.nlink {
                    slot.remove();
                }
                false
            }
        }
    }

    /// Hands the open batch to the workers.
    fn flush(&mut self) -> Result<(), MoverError> {
        self.batch_bytes = 0;
        let Some(reply) = self.batch_reply.take() else { return Ok(()) };
        let files = std::mem::take(&mut self.batch);
        self.work.send(Work::Batch { files, reply }).map_err(|_| MoverError::Lost)
    }

    /// The tree may wait for the open batch: never wait for the tree with one in hand.
    fn emit(&mut self, event: Event) -> Result<(), MoverError> {
        match self.tree.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => {
                self.flush()?;
                self.tree.send(event).map_err(|_| MoverError::Lost)
            }
            Err(TrySendError::Disconnected(_)) => Err(MoverError::Lost),
        }
    }
}

/// The tree thread: the root node's name, and the totals.
fn build_tree(
    reading: &Reading,
    events: &Receiver<Event>,
) -> Result<(Name, DirTotals), MoverError> {
    let built =
        TreeThread { reading, stack: Vec::new(), links: HashMap::new(), root: None }.run(events);
    if built.is_err() {
        // The coordinator must not wait for a tree that has ended.
        for _ in events {}
    }
    built
}

struct OpenDir {
    found: Found,
    known: Option<Entry>,
    builder: DirBuilder,
}

struct TreeThread<'a> {
    reading: &'a Reading,
    stack: Vec<OpenDir>,
    /// Files of several names: the first one's entry, and how many came. Gone when all did.
    links: HashMap<(u64, u64), (Entry, u64)>,
    root: Option<(Name, DirTotals)>,
}

impl TreeThread<'_> {
    fn run(mut self, events: &Receiver<Event>) -> Result<(Name, DirTotals), MoverError> {
        let mut batch: std::vec::IntoIter<Option<Entry>> = Vec::new().into_iter();
        let mut answer: Option<Receiver<Vec<Option<Entry>>>> = None;
        for event in events {
            let entry = match event {
                Event::Enter(found, known) => {
                    self.stack.push(OpenDir { found, known, builder: DirBuilder::default() });
                    None
                }
                Event::Leave => self.leave()?,
                Event::Ready(entry) => Some(entry),
                Event::Small(first) => {
                    if first.is_some() {
                        answer = first;
                    }
                    if let Some(answer) = answer.take() {
                        batch = answer.recv().map_err(|_| MoverError::Lost)?.into_iter();
                    }
                    batch.next().flatten()
                }
                Event::Large(answer) => answer.recv().map_err(|_| MoverError::Lost)?,
                Event::Link(found) => self.link(found)?,
            };
            if let Some(entry) = entry {
                self.push(entry)?;
            }
        }
        self.root.ok_or(MoverError::Lost)
    }

    fn push(&mut self, entry: Entry) -> Result<(), MoverError> {
        if entry.nlink > 1 && entry.is_file() {
            match self.links.entry((entry.dev, entry.ino)) {
                Slot::Vacant(slot) => {
                    slot.insert((entry.clone(), 1));
                }
                Slot::Occupied(mut slot) => {
                    slot.get_mut().1 += 1;
                    if slot.get().1 >= entry.nlink {
                        slot.remove();
                    }
                }
            }
        }
        let progress = &self.reading.progress;
        if entry.is_dir() {
            progress.add(|p| &p.dirs_done, 1);
        } else {
            progress.add(|p| &p.files_done, 1);
            progress.add(|p| &p.bytes_done, entry.size);
        }
        match self.stack.last_mut() {
            Some(open) => open.builder.push(entry, &self.reading.writer),
            None => Err(MoverError::Lost),
        }
    }

    /// The entry of a further link: the file's, under another name. Where the first name was gone
    /// before it could be read, this one is read.
    fn link(&self, found: Found) -> Result<Option<Entry>, MoverError> {
        match self.links.get(&(found.stat.dev, found.stat.ino)) {
            Some((first, _)) => Ok(Some(Entry { name: found.name.clone(), ..first.clone() })),
            None => self.reading.alone(found),
        }
    }

    /// Closes a directory: its entry for the parent, or the root.
    fn leave(&mut self) -> Result<Option<Entry>, MoverError> {
        let Some(OpenDir { found, known, builder }) = self.stack.pop() else {
            return Err(MoverError::Lost);
        };
        let totals = builder.totals;
        let page = builder.finish(&self.reading.writer)?;
        let content = if found.unreadable { Content::Missing } else { Content::Tree(page) };
        let mut entry = match known.or_else(|| self.reading.plain(&found)) {
            Some(entry) => entry,
            // Vanished after it was listed: what was read of it stays.
            None => entry_of(
                &found.name,
                &found.stat,
                simsim_source::Details {
                    xattrs: Vec::new(),
                    flags: 0,
                    symlink_target: None,
                    problems: Vec::new(),
                },
                Content::None,
            ),
        };
        entry.kind = EntryKind::Directory(totals);
        entry.content = content;
        if !self.stack.is_empty() {
            return Ok(Some(entry));
        }
        self.reading.progress.add(|p| &p.dirs_done, 1);
        let writer = &self.reading.writer;
        let root = Node::new(writer.key(), &Page::Entries(vec![entry]));
        let root = writer.add_node(root, 0)?;
        self.root = Some((root, DirTotals { dirs: totals.dirs + 1, ..totals }));
        Ok(None)
    }
}
