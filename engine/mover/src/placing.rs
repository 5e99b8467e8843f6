//! The hands of a restore: segments fetched, opened and checked, files written and placed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release,
};

use crossbeam_channel::Receiver;
use parking_lot::{Condvar, Mutex};
use simsim_format::{Content, Entry, EntryKind, Opener, SegmentView};
use simsim_model::{Name, Problem, ProblemKind, SegmentPlace, escape_path};
use simsim_source::{DirHandle, FileWriter, FsSink, LinkTarget, Placed, SinkError};

use crate::MoverError;
use crate::report::Report;
use crate::restore::RestoreJob;

/// An entry on its way, and where it goes.
pub(crate) struct Item<'a> {
    pub(crate) dir: Arc<OpenDir<'a>>,
    pub(crate) entry: Entry,
    pub(crate) path: Vec<u8>,
    /// Of a file of several names: whom to tell that this one is in its place.
    pub(crate) group: Option<Arc<Group>>,
}

impl Item<'_> {
    pub(crate) fn as_target(&self) -> LinkTarget {
        LinkTarget::new(self.dir.handle.clone(), self.entry.name.clone())
    }
}

/// A file of several names.
pub(crate) struct Group {
    /// The name that others become links to.
    pub(crate) target: Mutex<LinkTarget>,
    /// Did this restore write it? What was there before may be another file.
    pub(crate) placed: AtomicBool,
}

impl Group {
    pub(crate) fn new(target: LinkTarget) -> Self {
        Self { target: Mutex::new(target), placed: AtomicBool::new(false) }
    }
}

/// A directory that is being filled; its attributes are set when the last holder lets go.
pub(crate) struct OpenDir<'a> {
    pub(crate) handle: DirHandle,
    pub(crate) path: Vec<u8>,
    pub(crate) shared: &'a Shared<'a>,
    /// The target folder itself keeps its own attributes.
    pub(crate) keep: bool,
    pub(crate) _parent: Option<Arc<OpenDir<'a>>>,
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
pub(crate) struct File<'a> {
    pub(crate) item: Item<'a>,
    /// Pieces still to be written.
    pub(crate) left: AtomicUsize,
    pub(crate) writer: Mutex<Option<FileWriter>>,
    pub(crate) lacks: Mutex<Option<Lack>>,
}

/// Why a file does not become complete.
pub(crate) enum Lack {
    /// The datastore does not give a piece.
    Data(String),
    /// The target did not take one, and the report says so already.
    Told,
}

/// Where a chunk goes.
pub(crate) struct Use<'a> {
    pub(crate) file: Arc<File<'a>>,
    pub(crate) offset: u64,
    /// Bytes that the entry says the chunk has.
    pub(crate) length: u32,
    pub(crate) whole: bool,
}

pub(crate) enum Task<'a> {
    /// One segment, and what of it goes where.
    Segment { place: SegmentPlace, uses: Vec<(Name, Use<'a>)> },
    /// An entry without chunks.
    Plain(Item<'a>),
    /// Chunks that the datastore does not hold.
    Missing(Vec<(Name, Use<'a>)>),
}

/// A task that a worker has, to its end, whatever that is.
struct UnderWay<'a, 'b>(&'b Shared<'a>);

impl Drop for UnderWay<'_, '_> {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock();
        *under_way = under_way.saturating_sub(1);
        if *under_way == 0 {
            self.0.idle.notify_all();
        }
    }
}

/// What the walk and the workers share.
pub(crate) struct Shared<'a> {
    pub(crate) sink: &'a FsSink,
    pub(crate) job: &'a RestoreJob,
    pub(crate) report: &'a Report,
    failed: Mutex<Option<MoverError>>,
    /// Tasks that workers have, or that wait for them.
    under_way: Mutex<usize>,
    idle: Condvar,
    /// Entries that were there already as they should be.
    left: AtomicU64,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(sink: &'a FsSink, job: &'a RestoreJob, report: &'a Report) -> Self {
        Self {
            sink,
            job,
            report,
            failed: Mutex::new(None),
            under_way: Mutex::new(0),
            idle: Condvar::new(),
            left: AtomicU64::new(0),
        }
    }

    /// The first failure of any worker, or a cancellation.
    pub(crate) fn check(&self) -> Result<(), MoverError> {
        if self.job.progress.is_cancelled() {
            return Err(MoverError::Cancelled);
        }
        self.failed.lock().clone().map_or(Ok(()), Err)
    }

    /// The body of a worker thread.
    pub(crate) fn work(&self, queue: &Receiver<Task<'a>>) {
        let mut opener = Opener::new(self.job.key.clone());
        for task in queue {
            let _done = UnderWay(self);
            self.run(&mut opener, task);
        }
    }

    /// A task goes to the workers.
    pub(crate) fn begin(&self) {
        *self.under_way.lock() += 1;
    }

    /// Waits until the workers have done everything that was given to them.
    pub(crate) fn wait_until_idle(&self) -> Result<(), MoverError> {
        let mut under_way = self.under_way.lock();
        while *under_way > 0 {
            self.idle.wait(&mut under_way);
        }
        drop(under_way);
        self.check()
    }

    /// Does a task, unless the job has failed.
    pub(crate) fn run(&self, opener: &mut Opener, task: Task<'a>) {
        if self.check().is_err() {
            return;
        }
        match task {
            Task::Plain(item) => self.plain(&item),
            Task::Missing(uses) => {
                for (name, at) in uses {
                    let reason = format!("the datastore does not hold chunk {name}");
                    self.lost(&at.file, reason);
                }
            }
            Task::Segment { place, uses } => self.segment(opener, place, uses),
        }
    }

    fn plain(&self, item: &Item<'_>) {
        let (dir, entry) = (&item.dir.handle, &item.entry);
        let placed = match (&entry.kind, &entry.content) {
            (EntryKind::File, Content::Inline(bytes)) => self.sink.put(dir, entry, bytes),
            (EntryKind::File, _) => self.sink.put(dir, entry, b""),
            _ => self.sink.special(dir, entry),
        };
        self.placed(item, placed);
    }

    pub(crate) fn placed(&self, item: &Item<'_>, placed: Result<Placed, SinkError>) {
        let Placed { kept, name, problems } = match placed {
            Ok(placed) => placed,
            Err(error) => return self.not_written(&item.path, &error),
        };
        self.report.add_all(problems);
        let (progress, size) = (&self.job.progress, item.entry.size);
        let Some(kept) = kept else {
            if let Some(group) = &item.group {
                if let Some(name) = name {
                    group.target.lock().name = name;
                }
                group.placed.store(true, Release);
            }
            progress.add(|p| &p.files_done, 1);
            progress.add(|p| &p.bytes_done, size);
            return;
        };
        for (expected, less) in [(&progress.files_expected, 1), (&progress.bytes_expected, size)] {
            let _ = expected.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(less)));
        }
        if kept.right {
            self.left.fetch_add(1, Relaxed);
        } else {
            let path = item.path.clone();
            self.report.add(Problem::new(path, ProblemKind::NotWritten, kept.reason));
        }
    }

    /// Reports an entry that the target does not take. A full target ends the job: nothing that
    /// follows would fit.
    pub(crate) fn not_written(&self, path: &[u8], error: &SinkError) {
        self.report.add(Problem::new(path, ProblemKind::NotWritten, error.to_string()));
        if error.no_room() {
            self.failed.lock().get_or_insert(MoverError::Full(escape_path(path)));
        }
    }

    /// One sentence for all that was there already as it should be.
    pub(crate) fn left_note(&self) -> Vec<Problem> {
        let left = self.left.load(Relaxed);
        let text = format!("entries that were there already, as wanted, and were left: {left}");
        let note = Problem::new(b"/".as_slice(), ProblemKind::Note, text);
        (left > 0).then_some(note).into_iter().collect()
    }

    /// Writes what is wanted of a segment; what cannot be had from it, from other copies.
    fn segment<'u>(&self, opener: &mut Opener, place: SegmentPlace, uses: Vec<(Name, Use<'u>)>) {
        let mut open = vec![(place, uses)];
        while let Some((place, uses)) = open.pop() {
            let lacking = self.of_segment(opener, place, uses);
            if lacking.is_empty() || self.failed.lock().is_some() {
                continue;
            }
            let names: Vec<Name> = lacking.iter().map(|(name, _, _)| *name).collect();
            let others = match self.job.session.elsewhere(&names, place) {
                Ok(others) => others,
                Err(error) => {
                    self.failed.lock().get_or_insert(error.into());
                    return;
                }
            };
            let mut again: BTreeMap<SegmentPlace, Vec<(Name, Use<'u>)>> = BTreeMap::new();
            let others = others.into_iter().chain(std::iter::repeat(None));
            for ((name, at, reason), other) in lacking.into_iter().zip(others) {
                match other {
                    Some(other) => again.entry(other).or_default().push((name, at)),
                    None => self.lost(&at.file, reason),
                }
            }
            open.extend(again);
        }
    }

    /// Writes what one segment gives. Answers what it does not, and why.
    fn of_segment<'u>(
        &self,
        opener: &mut Opener,
        place: SegmentPlace,
        uses: Vec<(Name, Use<'u>)>,
    ) -> Vec<(Name, Use<'u>, String)> {
        let fetched = match self.job.session.get(&[place]) {
            Ok(mut answer) => answer.pop().flatten(),
            Err(error) => {
                self.failed.lock().get_or_insert(error.into());
                return Vec::new();
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
        let (plaintext, ranges) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                return uses.into_iter().map(|(name, at)| (name, at, why.clone())).collect();
            }
        };
        let mut lacking = Vec::new();
        for (name, at) in uses {
            if self.failed.lock().is_some() {
                return Vec::new();
            }
            let chunk = ranges.get(&name).and_then(|range| plaintext.get(range.clone()));
            match chunk {
                // Two contents of one name: seen where they differ in length (IDX11).
                Some(chunk) if chunk.len() != at.length as usize => {
                    let (found, wanted) = (chunk.len(), at.length);
                    let reason = format!(
                        "chunk {name} has {found} bytes in the datastore and {wanted} in the \
                         file: it is another content of the same name"
                    );
                    lacking.push((name, at, reason));
                }
                Some(chunk) if opener.check_chunk(&name, chunk).is_ok() => {
                    self.write(&at, chunk);
                }
                _ => lacking.push((name, at, format!("chunk {name} is damaged"))),
            }
        }
        lacking
    }

    fn write(&self, at: &Use<'_>, chunk: &[u8]) {
        simsim_model::failpoint::hit("mover.restore_chunk");
        let file = &at.file;
        self.job.progress.add(|p| &p.bytes_read, chunk.len() as u64);
        let item = &file.item;
        if at.whole {
            let placed = self.sink.put(&item.dir.handle, &item.entry, chunk);
            return self.placed(item, placed);
        }
        let mut writer = file.writer.lock();
        let failed = writer.as_ref().and_then(|writer| {
            writer.write_at(at.offset, chunk).map_err(|error| writer.failed(error)).err()
        });
        if let Some(error) = failed {
            // Without its writer the begun file is gone, and nothing more is written to it.
            *writer = None;
            *file.lacks.lock() = Some(Lack::Told);
            self.not_written(&item.path, &error);
        }
        drop(writer);
        self.piece_done(file);
    }

    /// A piece of the file is not there.
    fn lost(&self, file: &File<'_>, reason: String) {
        file.lacks.lock().get_or_insert(Lack::Data(reason));
        self.piece_done(file);
    }

    pub(crate) fn piece_done(&self, file: &File<'_>) {
        if file.left.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        let writer = file.writer.lock().take();
        let item = &file.item;
        match (file.lacks.lock().take(), writer) {
            (None, Some(writer)) => self.placed(item, writer.finish()),
            (None, None) => {}
            (Some(Lack::Told), _) => {}
            (Some(Lack::Data(reason)), Some(writer)) => {
                self.report.add(writer.incomplete(&reason));
            }
            (Some(Lack::Data(reason)), None) => {
                let text = format!("content is missing: {reason}");
                self.report.add(Problem::new(item.path.clone(), ProblemKind::MissingData, text));
            }
        }
    }
}
