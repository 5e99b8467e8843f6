//! Copying savesets from one datastore into another, without keys: sealed segments as they are.
//!
//! From the root of a saveset downwards, the target is asked which nodes it has: one that it has
//! stands for everything below it. From the leaves upwards, what it lacks is sent: the data of a
//! segment of nodes, then that segment, so that the target never has a node without all that it
//! names (`docs/decisions/0013-replicas-are-copied-segments.md`).
//!
//! Nothing that the source says is believed further than that: the target holds each segment
//! against its checksum and takes no node whose references it lacks. Memory: 16 MiB of node
//! segments on the way down, the names of one of them, and a segment of data for each sender.

mod send;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use simsim_format::{Manifest, SegmentKind, SegmentView};
use simsim_model::limits::NAMES_PER_REQUEST_MAX;
use simsim_model::{
    CopySession, DomainId, Kind, Name, Progress, RestoreSession, SavesetId, SegmentPlace,
};

use self::send::Sender;
use crate::MoverError;

/// Node segments that are kept while what they name is looked at; others are read again.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Node segments between a root and a leaf: far more than any tree has.
const DEPTH_MAX: usize = 100_000;

/// Slows the bytes of a copy down.
pub trait Pace: Send + Sync {
    /// Returns when so many bytes may go; at once when the job is cancelled.
    fn wait(&self, bytes: u64, progress: &Progress);
}

/// Everything that one copy needs.
pub struct CopyJob {
    pub source: Arc<dyn RestoreSession>,
    pub target: Arc<dyn CopySession>,
    /// The one domain of both sessions.
    pub domain: DomainId,
    /// In order: the oldest first, so that later ones find what they share with it.
    pub savesets: Vec<SavesetId>,
    /// Segments on their way at once.
    pub senders: usize,
    pub pace: Option<Arc<dyn Pace>>,
    pub progress: Arc<Progress>,
}

/// What a copy came to.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// Savesets that the target has now and had not before.
    pub copied: Vec<SavesetId>,
    /// Savesets that it had already, with everything that they name.
    pub there: u64,
    /// Segments and their bytes that were sent.
    pub segments: u64,
    pub bytes: u64,
    /// Savesets that could not be copied, and why. The others were.
    pub failed: Vec<(SavesetId, MoverError)>,
}

/// Copies savesets, one after the other. One that cannot be copied, because the source has lost
/// something of it or the target refuses what it is sent, does not stop the others.
///
/// # Errors
/// When source or target does not answer, refuses the ticket, or has no room; when it is cancelled.
pub fn copy(job: &CopyJob) -> Result<CopyReport, MoverError> {
    let mut copier = Copier {
        job,
        sender: Sender::new(job),
        sent: HashSet::new(),
        report: CopyReport::default(),
    };
    let done = copier.run();
    copier.report.segments = copier.sender.segments();
    copier.report.bytes = copier.sender.bytes();
    done.map(|()| copier.report)
}

struct Copier<'j> {
    job: &'j CopyJob,
    sender: Sender<'j>,
    /// Node segments that the target has taken in this run.
    sent: HashSet<SegmentPlace>,
    report: CopyReport,
}

/// A segment of nodes, and the segments below it that the target lacks.
struct Frame {
    place: SegmentPlace,
    view: Option<SegmentView>,
    below: Vec<SegmentPlace>,
}

impl Frame {
    fn held(&self) -> usize {
        self.view.as_ref().map_or(0, |view| view.bytes().len())
    }
}

impl Copier<'_> {
    fn run(&mut self) -> Result<(), MoverError> {
        let job = self.job;
        for savesets in job.savesets.chunks(NAMES_PER_REQUEST_MAX) {
            let held = self.job.target.savesets(savesets)?;
            for (saveset, held) in savesets.iter().zip(held) {
                if held {
                    self.report.there += 1;
                    continue;
                }
                self.go_on()?;
                self.job.progress.set_current(format!("saveset {saveset}").as_bytes());
                match self.saveset(*saveset) {
                    Ok(()) => self.report.copied.push(*saveset),
                    Err(error) if ends_all(&error) || self.sender.has_failed() => {
                        return Err(error);
                    }
                    Err(error) => self.report.failed.push((*saveset, error)),
                }
            }
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), MoverError> {
        match self.job.progress.is_cancelled() {
            true => Err(MoverError::Cancelled),
            false => Ok(()),
        }
    }

    fn saveset(&mut self, saveset: SavesetId) -> Result<(), MoverError> {
        let bytes = self.job.source.manifest(saveset)?;
        let manifest = Manifest::decode(&bytes)?;
        if manifest.saveset != saveset || manifest.domain != self.job.domain {
            return Err(foreign("it gives the manifest of another saveset"));
        }
        if !self.job.target.has(&[manifest.root])?.contains(&true) {
            self.tree(manifest.root)?;
        }
        self.job.target.commit_copy(bytes, self.sender.segments())?;
        let progress = &self.job.progress;
        progress.add(|p| &p.files_done, manifest.files);
        progress.add(|p| &p.dirs_done, manifest.dirs);
        progress.add(|p| &p.bytes_done, manifest.bytes);
        Ok(())
    }

    /// Brings everything below a root to the target, and the root.
    fn tree(&mut self, root: Name) -> Result<(), MoverError> {
        let places = self.locate(&[root])?;
        let mut frames = Vec::new();
        let mut on_the_way: HashSet<SegmentPlace> = HashSet::new();
        let mut next: Option<SegmentPlace> = places.into_iter().next();
        loop {
            self.go_on()?;
            if let Some(place) = next.take() {
                if frames.len() >= DEPTH_MAX || !on_the_way.insert(place) {
                    return Err(foreign("its nodes name each other in a circle"));
                }
                let frame = self.look_at(place)?;
                let held: usize = frames.iter().map(Frame::held).sum();
                if held + frame.held() > HELD_BYTES_MAX
                    && let Some(last) = frames.last_mut()
                {
                    last.view = None;
                }
                frames.push(frame);
            }
            let Some(frame) = frames.last_mut() else { return Ok(()) };
            // Another branch may have brought it meanwhile.
            next = std::iter::from_fn(|| frame.below.pop()).find(|at| !self.sent.contains(at));
            if next.is_some() {
                continue;
            }
            let Some(frame) = frames.pop() else { return Ok(()) };
            on_the_way.remove(&frame.place);
            let view = match frame.view {
                Some(view) => view,
                None => self.nodes_at(frame.place)?,
            };
            self.data_of(&view)?;
            self.sender.put(view.bytes().clone())?;
            self.sent.insert(frame.place);
        }
    }

    /// Reads a segment of nodes and asks for those that it names.
    fn look_at(&self, place: SegmentPlace) -> Result<Frame, MoverError> {
        let view = self.nodes_at(place)?;
        let own: HashSet<Name> = view.items.iter().map(|item| item.name).collect();
        let mut names = BTreeSet::new();
        for (_, refs) in view.node_refs() {
            names.extend(refs.nodes().filter(|name| !own.contains(name)));
        }
        let names: Vec<Name> = names.into_iter().collect();
        let mut below = Vec::new();
        for names in names.chunks(NAMES_PER_REQUEST_MAX) {
            let missing = self.missing(names)?;
            below.extend(self.locate(&missing)?);
        }
        below.sort_unstable();
        below.dedup();
        Ok(Frame { place, view: Some(view), below })
    }

    /// Sends the data that the nodes of a segment name and the target lacks.
    fn data_of(&self, view: &SegmentView) -> Result<(), MoverError> {
        let mut names = BTreeSet::new();
        for (_, refs) in view.node_refs() {
            names.extend(refs.chunks());
        }
        let names: Vec<Name> = names.into_iter().collect();
        self.sender.data(&names, |names| {
            self.go_on()?;
            let missing = self.missing(names)?;
            self.locate(&missing)
        })
    }

    fn missing(&self, names: &[Name]) -> Result<Vec<Name>, MoverError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.job.target.has(names)?;
        let missing = names.iter().zip(held).filter(|(_, held)| !held);
        Ok(missing.map(|(name, _)| *name).collect())
    }

    /// The segments that hold these names at the source, each once.
    fn locate(&self, names: &[Name]) -> Result<BTreeSet<SegmentPlace>, MoverError> {
        if names.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = self.job.source.locate(names)?;
        let mut places = BTreeSet::new();
        for (name, place) in names.iter().zip(found) {
            let lost =
                || MoverError::Missing { what: "what a node names,", name: name.to_string() };
            places.insert(place.ok_or_else(lost)?);
        }
        Ok(places)
    }

    fn nodes_at(&self, place: SegmentPlace) -> Result<SegmentView, MoverError> {
        segment_at(self.job, place, SegmentKind::Nodes)
    }
}

/// One segment of the source, of this kind and of the domain. Its checksum is looked at by the
/// target.
fn segment_at(
    job: &CopyJob,
    place: SegmentPlace,
    kind: SegmentKind,
) -> Result<SegmentView, MoverError> {
    let found: Option<Bytes> = job.source.get(&[place])?.into_iter().next().flatten();
    let Some(bytes) = found else {
        let name = format!("at byte {} of pack {}", place.offset, place.pack);
        return Err(MoverError::Missing { what: "a segment that can be read", name });
    };
    let length = bytes.len();
    let view = SegmentView::parse_table(bytes)?;
    if view.kind != kind
        || view.domain != job.domain
        || SegmentView::length(view.bytes())? != length
    {
        return Err(foreign("it gives another segment than the one at that place"));
    }
    Ok(view)
}

fn foreign(what: &str) -> MoverError {
    let text = format!("the source is not what it says: {what}; verify its datastore");
    MoverError::Session(simsim_model::SessionError::new(Kind::Corrupt, text))
}

/// Whether an error says something about the whole copy, and not about one saveset.
fn ends_all(error: &MoverError) -> bool {
    !matches!(error.kind(), Kind::Corrupt | Kind::NotFound | Kind::Invalid)
}
