//! Checking everything that can be checked without a key, reading every byte.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use simsim_format::{PackSegment, SegmentKind, SegmentView};
use simsim_model::{DomainId, Name, SavesetId, SegmentPlace};

use crate::index::{CONTENT_WRONG, IndexSegment, WHOLE_PACK};
use crate::manifests::manifest_key;
use crate::pack_table::{self, pack_key};
use crate::reread::READS_MAX;
use crate::sync::Mutex;
use crate::{Datastore, DatastoreError, quarantine};

/// Looks into a segment whose checksum is right: what it says is wrong with it, if anything.
pub type SegmentCheck<'a> = &'a (dyn Fn(&SegmentView) -> Result<(), String> + Sync);

/// Damages beyond this number are counted, not kept.
const DAMAGES_KEPT_MAX: usize = 10_000;

/// How far a check has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    pub packs_done: u64,
    pub packs: u64,
    pub bytes: u64,
}

/// One thing that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The pack, or `None` for a manifest.
    pub pack: Option<Name>,
    /// The saveset that stands on what is damaged.
    pub saveset: Option<SavesetId>,
    pub offset: u64,
    pub what: String,
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub packs: u64,
    pub segments: u64,
    pub items: u64,
    pub bytes: u64,
    pub manifests: u64,
    /// All damages, also those that are not kept in `damaged`.
    pub damages: u64,
    pub damaged: Vec<Damage>,
    /// Reads since the last check that came out wrong at first and right when they were made again:
    /// nothing is damaged, but memory, cable, controller or disk may be failing.
    pub misreads: u64,
    /// The last of them, with their objects.
    pub misread: Vec<String>,
}

impl VerifyReport {
    pub fn is_clean(&self) -> bool {
        self.damages == 0
    }

    fn count(&mut self, bytes: usize, items: usize) {
        self.segments += 1;
        self.bytes += bytes as u64;
        self.items += items as u64;
    }

    fn damage(&mut self, pack: Option<Name>, offset: u64, what: impl Into<String>) {
        self.damages += 1;
        if self.damaged.len() < DAMAGES_KEPT_MAX {
            self.damaged.push(Damage { pack, saveset: None, offset, what: what.into() });
        }
    }

    /// Kept however many other things are damaged.
    fn damaged_saveset(&mut self, saveset: SavesetId, what: String) {
        self.damages += 1;
        self.damaged.push(Damage { pack: None, saveset: Some(saveset), offset: 0, what });
    }
}

/// What all threads of a check have found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) report: Mutex<VerifyReport>,
    /// Segments that are out of dedup and can be read.
    sound: Mutex<Vec<(Name, PackSegment)>>,
    /// Something refers to what is not there, or not relied on.
    dangling: AtomicBool,
    /// Something is back in dedup.
    changed: AtomicBool,
    failed: Mutex<Option<DatastoreError>>,
}

/// Where a check stands: packs are opened one after the other, and the segments of the open one go
/// to whoever is free.
struct Line<'a> {
    packs: &'a [(Name, u64)],
    place: Mutex<InLine>,
}

#[derive(Default)]
struct InLine {
    next_pack: usize,
    open: Option<(Arc<OpenPack>, std::vec::IntoIter<PackSegment>)>,
}

type Next = (Arc<OpenPack>, Option<PackSegment>);

/// A pack whose segments are being looked at.
struct OpenPack {
    pack: Name,
    key: String,
    /// As far as was seen.
    whole: AtomicBool,
    /// Segments that nobody has looked at yet.
    left: AtomicUsize,
    sound: Mutex<Vec<PackSegment>>,
}

impl OpenPack {
    fn empty(pack: Name, key: String) -> Self {
        let (whole, left) = (AtomicBool::new(true), AtomicUsize::new(0));
        Self { pack, key, whole, left, sound: Mutex::default() }
    }
}

fn listed_segment(
    key: &str,
    bytes: Bytes,
    listed: &PackSegment,
) -> Result<SegmentView, DatastoreError> {
    let view = SegmentView::parse(bytes).map_err(|source| DatastoreError::format(key, source))?;
    if view.checksum() != listed.checksum || view.kind != listed.kind {
        let why = "the segment is not the one that the footer lists";
        return Err(DatastoreError::damaged(key, why));
    }
    Ok(view)
}

/// What it says that the reads of one segment gave the same wrong bytes each time, or did not.
fn verdict(wrong: &[blake3::Hash]) -> &'static str {
    let Some((first, others)) = wrong.split_first() else { return "" };
    if wrong.len() < READS_MAX as usize {
        ""
    } else if others.iter().all(|hash| hash == first) {
        "; it was read three times with the same bytes: they lie there like that"
    } else {
        "; it was read three times with different bytes: look after memory, cable and controller"
    }
}

impl Datastore {
    /// Reads every byte: segment checksums, pack names, footers; every reference of a node must
    /// be found, and every manifest's root. What is damaged is no dedup hit any more, and neither
    /// is a node above it, so that the next backup heals it (ROT04). `progress` is called after
    /// each pack and ends the check by answering `false`.
    pub fn verify_structure(
        &self,
        progress: &(dyn Fn(VerifyProgress) -> bool + Sync),
    ) -> Result<VerifyReport, DatastoreError> {
        self.verify(0, &|_| Ok(()), progress)
    }

    /// As [`Self::verify_structure`], and `check` is asked about every segment that came so far:
    /// who has keys looks at the plaintext in the same pass. What it finds counts as damage of
    /// the segment. `threads`: 0 takes the number of cores.
    pub fn verify(
        &self,
        threads: usize,
        check: SegmentCheck<'_>,
        progress: &(dyn Fn(VerifyProgress) -> bool + Sync),
    ) -> Result<VerifyReport, DatastoreError> {
        let losses = self.inner.index.losses();
        let packs = self.inner.index.packs();
        let found = Found::default();
        if !self.look_at(&packs, threads, check, progress, &found)? {
            return Err(DatastoreError::invalid("the check was stopped before its end"));
        }
        let report = self.conclude(found, Some(losses))?;
        self.note_checked(&packs, &HashSet::new())?;
        Ok(report)
    }

    /// Looks at every segment of these packs, in their order. Whether it was not stopped before its end.
    pub(crate) fn look_at(
        &self,
        packs: &[(Name, u64)],
        threads: usize,
        check: SegmentCheck<'_>,
        progress: &(dyn Fn(VerifyProgress) -> bool + Sync),
        found: &Found,
    ) -> Result<bool, DatastoreError> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        let stopped = AtomicBool::new(false);
        let line = Line { packs, place: Mutex::default() };
        let work = || -> Result<(), DatastoreError> {
            while !stopped.load(Ordering::Relaxed) {
                let Some((pack, segment)) = self.next_segment(&line, found)? else { break };
                if let Some(segment) = segment {
                    self.verify_segment(&pack, segment, check, found)?;
                    if pack.left.fetch_sub(1, Ordering::AcqRel) > 1 {
                        continue;
                    }
                }
                self.end_pack(&pack, found);
                let done = {
                    let mut report = found.report.lock();
                    report.packs += 1;
                    VerifyProgress {
                        packs_done: report.packs,
                        packs: packs.len() as u64,
                        bytes: report.bytes,
                    }
                };
                if !progress(done) {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            // One more than cores: while it waits for the storage, the others are busy.
            for _ in 0..threads + 1 {
                scope.spawn(|| {
                    if let Err(error) = work() {
                        found.failed.lock().get_or_insert(error);
                        stopped.store(true, Ordering::Relaxed);
                    }
                });
            }
        });
        match found.failed.lock().take() {
            Some(error) => Err(error),
            None => Ok(!stopped.load(Ordering::Relaxed)),
        }
    }

    /// What follows from what was seen: segments that are sound again, nodes above what is lost, manifests. `losses`:
    /// everything was looked at, and so many losses were known when it began.
    pub(crate) fn conclude(
        &self,
        found: Found,
        losses: Option<u64>,
    ) -> Result<VerifyReport, DatastoreError> {
        let mut report = found.report.into_inner();
        let mut changed = found.changed.into_inner();
        changed |= self.trust_again(found.sound.into_inner())?;
        // What an earlier run found may not have come so far.
        let known = losses.is_none() && !self.inner.index.distrusted().is_empty();
        if report.damages > 0 || found.dangling.into_inner() || known {
            self.distrust_above(&self.inner.index.packs(), &mut report)?;
        }
        self.verify_manifests(&mut report)?;
        if let Some(losses) = losses
            && report.damages == 0
            && self.inner.check_writable().is_ok()
        {
            changed |= self.inner.index.settle_losses(losses)?;
        }
        if report.damages > 0 || changed {
            quarantine::write(&self.inner)?;
        }
        (report.misreads, report.misread) = self.inner.index.misreads.take();
        Ok(report)
    }

    /// The next segment of the pack that is open, or of the next pack; no segment where a pack has
    /// none that can be looked at. Errors: the storage does not answer, which says nothing about
    /// the pack.
    fn next_segment(&self, line: &Line, found: &Found) -> Result<Option<Next>, DatastoreError> {
        let mut place = line.place.lock();
        if let Some((pack, rest)) = &mut place.open
            && let Some(segment) = rest.next()
        {
            return Ok(Some((Arc::clone(pack), Some(segment))));
        }
        let Some((pack, bytes)) = line.packs.get(place.next_pack) else { return Ok(None) };
        place.next_pack += 1;
        let (opened, listed) = self.open_pack(*pack, *bytes, found)?;
        let mut rest = listed.into_iter();
        let first = rest.next();
        place.open = Some((Arc::clone(&opened), rest));
        Ok(Some((opened, first)))
    }

    fn open_pack(
        &self,
        pack: Name,
        bytes: u64,
        found: &Found,
    ) -> Result<(Arc<OpenPack>, Vec<PackSegment>), DatastoreError> {
        let index = &self.inner.index;
        let key = pack_key(pack);
        let (storage, store) = (&*self.inner.storage, self.inner.root.store);
        if index.pack_bytes(pack).is_none() {
            return Ok((Arc::new(OpenPack::empty(pack, key)), Vec::new()));
        }
        let size = storage.size(&key);
        let footer =
            index.misreads.read(storage, &key, || pack_table::footer(storage, store, pack, bytes));
        let sized = size.as_ref().is_ok_and(|size| *size == bytes);
        let (listed, whole) = match footer {
            // Garbage that was collected meanwhile.
            _ if index.pack_bytes(pack).is_none() => (Vec::new(), true),
            Ok(footer) => {
                if !sized {
                    let what = "the pack is gone or has another size";
                    found.report.lock().damage(Some(pack), bytes, what);
                    // What is read may come from a file that is open and has no name any more.
                    index.distrust(pack, WHOLE_PACK);
                }
                (footer.segments, sized)
            }
            Err(error) if !error.shows_loss() => return Err(error),
            Err(error) => {
                found.report.lock().damage(Some(pack), 0, error.to_string());
                // Without a footer nobody knows what the pack held: nothing of it is relied on.
                index.distrust(pack, WHOLE_PACK);
                (Vec::new(), false)
            }
        };
        let opened = OpenPack {
            pack,
            key,
            whole: AtomicBool::new(whole),
            left: AtomicUsize::new(listed.len()),
            sound: Mutex::default(),
        };
        Ok((Arc::new(opened), listed))
    }

    fn verify_segment(
        &self,
        pack: &OpenPack,
        segment: PackSegment,
        check: SegmentCheck<'_>,
        found: &Found,
    ) -> Result<(), DatastoreError> {
        let (index, storage) = (&self.inner.index, &*self.inner.storage);
        let (offset, length) = (segment.offset, segment.length as usize);
        let (mut wrong, mut unlike) = (Vec::new(), false);
        let view = index.misreads.read(storage, &pack.key, || {
            let bytes = storage.get_range(&pack.key, offset, length)?;
            let view = listed_segment(&pack.key, bytes.clone(), &segment);
            unlike = view.is_ok();
            let view = view.and_then(|view| match check(&view) {
                Ok(()) => Ok(view),
                Err(what) => Err(DatastoreError::damaged(pack.key.as_str(), what)),
            });
            view.inspect_err(|_| wrong.push(blake3::hash(&bytes)))
        });
        match view {
            Ok(view) => {
                found.report.lock().count(length, view.items.len());
                let place = SegmentPlace { pack: pack.pack, offset, length: segment.length };
                if !matches!(self.first_missing(&view, place), Ok(None)) {
                    found.dangling.store(true, Ordering::Relaxed);
                }
                pack.sound.lock().push(segment);
            }
            Err(error) if !error.shows_loss() => return Err(error),
            Err(_) if index.pack_bytes(pack.pack).is_none() => {}
            Err(error) => {
                let what = format!("{error}{}", verdict(&wrong));
                let mut report = found.report.lock();
                report.count(length, 0);
                report.damage(Some(pack.pack), offset, what);
                drop(report);
                index.distrust(pack.pack, offset);
                if unlike {
                    index.distrust(pack.pack, offset | CONTENT_WRONG);
                }
                pack.whole.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// All segments of the pack were looked at.
    fn end_pack(&self, pack: &OpenPack, found: &Found) {
        let index = &self.inner.index;
        let mut sound = std::mem::take(&mut *pack.sound.lock());
        if pack.whole.load(Ordering::Relaxed) {
            let nodes = sound.iter().filter(|segment| segment.kind == SegmentKind::Nodes);
            if index.narrow(pack.pack, nodes.map(|segment| segment.offset)) {
                found.changed.store(true, Ordering::Relaxed);
            }
        }
        sound.retain(|segment| index.may_be_trusted_again(pack.pack, segment.offset));
        found.sound.lock().extend(sound.into_iter().map(|segment| (pack.pack, segment)));
    }

    /// Takes segments back into dedup that this check has read as they were written: data at once,
    /// nodes when all that they refer to is in again. Whether any was.
    fn trust_again(&self, mut sound: Vec<(Name, PackSegment)>) -> Result<bool, DatastoreError> {
        let (storage, index) = (&*self.inner.storage, &self.inner.index);
        let mut any = false;
        loop {
            let before = sound.len();
            let mut waiting = Vec::new();
            for (pack, segment) in sound {
                let (offset, length) = (segment.offset, segment.length as usize);
                let good = segment.kind != SegmentKind::Nodes || {
                    let bytes = storage.get_range(&pack_key(pack), offset, length)?;
                    let view = SegmentView::parse(bytes);
                    let place = SegmentPlace { pack, offset, length: segment.length };
                    view.is_ok_and(|view| matches!(self.first_missing(&view, place), Ok(None)))
                };
                if good {
                    index.trust(pack, offset);
                    any = true;
                } else {
                    waiting.push((pack, segment));
                }
            }
            if waiting.len() == before || waiting.is_empty() {
                return Ok(any);
            }
            sound = waiting;
        }
    }

    /// The first reference of a node segment that the domain does not hold, or not soundly.
    fn first_missing(
        &self,
        view: &SegmentView,
        place: SegmentPlace,
    ) -> Result<Option<Name>, DatastoreError> {
        let mut references = HashSet::new();
        let segment = IndexSegment {
            domain: view.domain,
            offset: place.offset,
            length: place.length,
            kind: view.kind,
            names: view.items.iter().map(|item| item.name).collect(),
        };
        for (at, (_, node)) in view.node_refs().enumerate() {
            // What nothing needs any more may refer to what is gone.
            if self.inner.index.is_dead(&segment, place.pack, at) {
                continue;
            }
            references.extend(node.nodes().chain(node.chunks()));
        }
        // A segment stands or falls as a whole: what it holds itself is no question.
        for item in &view.items {
            references.remove(&item.name);
        }
        let references: Vec<Name> = references.into_iter().collect();
        // Also what a collection that runs has in view: those who were there before it rely on it.
        let known = self.has_since(view.domain, &references, 0)?;
        Ok(references.into_iter().zip(known).find(|(_, known)| !known).map(|(name, _)| name))
    }

    /// What single reads have found damaged is no dedup hit; with this neither is a node above it, so that a copy of
    /// the tree brings all of it again. Reads all node segments, unless nothing was found since the last time, and
    /// writes down what is distrusted. Whoever comes meanwhile waits for the end.
    pub fn distrust_dependents(&self) -> Result<(), DatastoreError> {
        let inner = &self.inner;
        let mut looked_above = inner.looked_above.lock();
        loop {
            let before = inner.index.distrusted();
            // What was healed since may be damaged again, and what is above it is trusted: only the same is known.
            if before.is_empty() || before == *looked_above {
                return Ok(());
            }
            self.distrust_above(&inner.index.packs(), &mut VerifyReport::default())?;
            quarantine::write(inner)?;
            // What a read has found meanwhile is looked at again.
            if inner.index.distrusted() == before {
                *looked_above = before;
            }
        }
    }

    /// Distrusts nodes whose references are lost, then those above them: passes over all node
    /// segments until one changes nothing, at most as many as a tree is deep. Needs no memory
    /// that grows with the store.
    fn distrust_above(
        &self,
        packs: &[(Name, u64)],
        report: &mut VerifyReport,
    ) -> Result<(), DatastoreError> {
        let inner = &self.inner;
        let mut reported = HashSet::new();
        loop {
            let mut changed = false;
            for (pack, bytes) in packs {
                let (storage, store) = (&*inner.storage, inner.root.store);
                let Ok(footer) = pack_table::footer(storage, store, *pack, *bytes) else {
                    continue;
                };
                let key = pack_key(*pack);
                for segment in footer.segments.iter().filter(|s| s.kind == SegmentKind::Nodes) {
                    let (offset, length) = (segment.offset, segment.length as usize);
                    let read = storage.get_range(&key, offset, length).ok();
                    let Some(view) = read.and_then(|bytes| SegmentView::parse(bytes).ok()) else {
                        continue;
                    };
                    let place = SegmentPlace { pack: *pack, offset, length: segment.length };
                    let Some(missing) = self.first_missing(&view, place)? else { continue };
                    changed |= inner.index.distrust(*pack, offset);
                    if reported.insert((*pack, offset)) {
                        let what =
                            format!("a node refers to {missing}, which is missing or damaged");
                        report.damage(Some(*pack), offset, what);
                    }
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// Takes segments out of dedup that read as they were written and are not what their names say, as somebody with the
    /// key has found. No later read makes that good; what refers to them is for [`Self::distrust_dependents`]. Places
    /// that no pack's footer names, and those of another domain, are left alone.
    pub fn distrust_content(
        &self,
        domain: DomainId,
        places: &[SegmentPlace],
    ) -> Result<(), DatastoreError> {
        let mut changed = false;
        for place in places {
            if self.named(*place)? != Some(place.offset)
                || self.read_segment(domain, *place).is_err()
            {
                continue;
            }
            let index = &self.inner.index;
            changed |= index.distrust(place.pack, place.offset);
            changed |= index.distrust(place.pack, place.offset | CONTENT_WRONG);
        }
        if changed { quarantine::write(&self.inner) } else { Ok(()) }
    }

    fn verify_manifests(&self, report: &mut VerifyReport) -> Result<(), DatastoreError> {
        let (savesets, damaged) = {
            let known = self.inner.savesets.lock();
            let savesets: Vec<_> = known.by_sequence.values().copied().collect();
            (savesets, known.damaged.clone())
        };
        for (key, why) in damaged {
            report.damage(None, 0, format!("{key}: {why}"));
        }
        for saveset in savesets {
            report.manifests += 1;
            let key = manifest_key(saveset);
            match self.manifest(saveset) {
                Ok(manifest) => {
                    if !self.has(manifest.domain, &[manifest.root])?.contains(&true) {
                        let what = "its root or something below it is missing or damaged";
                        report.damaged_saveset(saveset, format!("{key}: {what}"));
                    }
                }
                Err(DatastoreError::NoSaveset { .. })
                    if !self.inner.savesets.lock().sequences.contains_key(&saveset) =>
                {
                    report.manifests -= 1;
                }
                Err(error) => report.damaged_saveset(saveset, format!("{key}: {error}")),
            }
        }
        Ok(())
    }
}
