//! From what was found dead to packs that may go: waiting, looking again, copying what lives.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use simsim_format::{Manifest, PackSegment, SegmentKind, SegmentView};
use simsim_model::{Name, SegmentPlace};

use super::mark::Marker;
use super::{CollectProgress, CollectStage, Round};
use crate::index::NodeSet;
use crate::open::Inner;
use crate::pack_table::{self, pack_key};
use crate::pack_writer::PackWriter;
use crate::tombstones::{Bits, DeadOfPack};
use crate::{DatastoreError, fence};

/// Names that are looked up together when they live again.
const REVIVED_AT_ONCE: usize = 64 << 10;

impl Round<'_> {
    pub(super) fn inner(&self) -> &Inner {
        &self.datastore.inner
    }

    fn tell(&self, stage: CollectStage, done: u64) -> Result<(), DatastoreError> {
        match (self.progress)(CollectProgress { stage, done }) {
            true => Ok(()),
            false => Err(DatastoreError::Stopped),
        }
    }

    /// Which packs are to go, and so which segments count as dead.
    pub(super) fn choose(&mut self) -> Result<(), DatastoreError> {
        let redundant = self.find_redundant()?;
        let sizes = self.inner().index.packs();
        let (mut dead_bytes, mut all_bytes) = (0, 0);
        let mut dead_segments = HashMap::new();
        for (pack, bytes) in sizes {
            all_bytes += bytes;
            let Some(census) = self.census.get(&pack) else { continue };
            let dead: u64 = census.dead.iter().map(|dead| u64::from(dead.place.length)).sum();
            let dead = dead + redundant.get(&pack).copied().unwrap_or(0);
            let enough = dead as f64 >= bytes as f64 * self.options.dead_part_min;
            let goes = match (dead, census.live_segments) {
                (0, 0) => !self.holds_something(pack, bytes)?,
                (0, _) => false,
                (_, 0) => true,
                _ => enough,
            };
            if goes {
                dead_bytes += dead;
                let data = census.dead.iter().filter(|dead| dead.kind == SegmentKind::Data);
                dead_segments.extend(data.map(|dead| ((pack, dead.place.offset), dead.names)));
                self.chosen.insert(pack, bytes);
            } else {
                self.report.dead_bytes_left += dead;
            }
        }
        let budget = all_bytes as f64 * self.options.budget_part;
        let small = all_bytes <= self.options.budget_floor_bytes;
        if !self.options.over_budget && !small && dead_bytes as f64 > budget {
            return Err(DatastoreError::OverBudget { dead: dead_bytes, all: all_bytes });
        }
        self.shade.verdict.write().dead_segments = dead_segments;
        Ok(())
    }

    /// Does a pack that the index has no entry of hold the manifest of a saveset that is, or anything that
    /// cannot be told?
    fn holds_something(&self, pack: Name, bytes: u64) -> Result<bool, DatastoreError> {
        let inner = self.inner();
        let table = pack_table::read_surely(
            &*inner.storage,
            inner.root.store,
            pack,
            bytes,
            &inner.index.misreads,
        );
        let mut table = match table {
            Ok(table) if table.damaged.is_empty() => table,
            Ok(_) => return Ok(true),
            Err(error) if error.shows_loss() => return Ok(true),
            Err(error) => return Err(error),
        };
        table.bury(pack, &inner.tombstones());
        if !table.segments.is_empty() {
            return Ok(true);
        }
        for (offset, length) in &table.manifests {
            let bytes = inner.storage.get_range(&pack_key(pack), *offset, *length as usize)?;
            if SegmentView::parse(bytes).map_or(true, |view| self.is_wanted(&view)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Is this the copy of the manifest of a saveset that is?
    fn is_wanted(&self, view: &SegmentView) -> bool {
        let manifest = view.manifest_copy().and_then(|copy| Manifest::decode(&copy).ok());
        manifest.is_some_and(|manifest| {
            self.inner().savesets.lock().sequences.contains_key(&manifest.saveset)
        })
    }

    /// Up to the tombstones: afterwards the chosen packs hold nothing any more that lives nowhere else.
    pub(super) fn sweep(&mut self) -> Result<(), DatastoreError> {
        let inner = &self.datastore.inner;
        let epoch = inner.epochs.raise(|epoch| {
            self.shade.epoch.store(epoch, Ordering::Release);
            inner.index.set_shade(Some(self.shade.clone()));
            epoch
        });
        let ended = inner.epochs.wait_for_older(epoch, &|sessions| {
            self.tell(CollectStage::WaitingForSessions, sessions as u64).is_ok()
        });
        if !ended {
            return Err(DatastoreError::Stopped);
        }
        self.mark_again()?;
        let doomed = self.copy_what_lives()?;
        let mut dead_of_kept = Vec::new();
        for (pack, census) in &self.census {
            if doomed.contains(pack) {
                continue;
            }
            let nodes = census.dead.iter().filter(|dead| dead.kind == SegmentKind::Nodes);
            for place in nodes.map(|dead| &dead.place).chain(&census.mixed) {
                let bits = self.dead_items(&self.segment_view(*place)?);
                if bits.any() {
                    dead_of_kept.push((*pack, place.offset, bits));
                }
            }
        }
        let generation = inner.generation()?;
        fence::check(&*inner.storage, generation)
            .inspect_err(|error| inner.turn_read_only(error))?;
        let written = inner.change_tombstones(|tombstones| {
            tombstones.purge_pending = true;
            tombstones.doomed.extend(doomed.iter().copied());
            for (pack, offset, bits) in dead_of_kept {
                let known = tombstones.dead.entry(pack).or_default().entry(offset);
                known.and_modify(|known| known.add(&bits)).or_insert(bits);
            }
        });
        written.inspect_err(|error| inner.turn_read_only(error))?;
        self.shade.verdict.write().doomed = doomed.iter().copied().collect();
        Ok(())
    }

    /// What came since the packs were listed, and what of the dead it needs.
    fn mark_again(&mut self) -> Result<(), DatastoreError> {
        let inner = &self.datastore.inner;
        // Taken out, so that nobody who looks something up waits for the walk; what is visited meanwhile
        // is dead to those who ask a little longer.
        let mut live = NodeSet::clone(&self.shade.verdict.read().live_nodes);
        let mut marker = Marker::new(self.datastore);
        self.datastore.add_roots(&mut marker)?;
        let mut found = Vec::new();
        let mut take = |domain, name, _| {
            found.push((domain, name));
            if found.len() < REVIVED_AT_ONCE { Ok(()) } else { self.revive(&mut found) }
        };
        let tell = |done| self.tell(CollectStage::MarkingAgain, done).is_ok();
        marker.walk(&mut live, &mut take, &tell)?;
        for (pack, bytes) in inner.index.packs() {
            if self.shade.packs.contains(&pack) {
                continue;
            }
            let footer = pack_table::footer(&*inner.storage, inner.root.store, pack, bytes)?;
            for segment in footer.segments.iter().filter(|s| s.kind == SegmentKind::Nodes) {
                let (offset, length) = (segment.offset, segment.length);
                let view = self.segment_view(SegmentPlace { pack, offset, length })?;
                for item in &view.items {
                    marker.add_root(view.domain, item.name);
                }
            }
            marker.walk(&mut live, &mut take, &tell)?;
        }
        self.revive(&mut found)?;
        self.shade.verdict.write().live_nodes = live;
        Ok(())
    }

    /// Segments that hold one of these are neither dead nor redundant.
    fn revive(
        &self,
        found: &mut Vec<(simsim_model::DomainId, Name)>,
    ) -> Result<(), DatastoreError> {
        found.sort_unstable();
        found.dedup();
        for of_domain in found.chunk_by(|one, other| one.0 == other.0) {
            for batch in of_domain.chunks(4096) {
                let Some((domain, _)) = batch.first() else { continue };
                let names: Vec<Name> = batch.iter().map(|(_, name)| *name).collect();
                let places = self.inner().index.places(*domain, &names)?;
                let mut verdict = self.shade.verdict.write();
                for place in places.into_iter().flatten() {
                    verdict.dead_segments.remove(&(place.pack, place.offset));
                    verdict.redundant.remove(&(place.pack, place.offset));
                }
            }
        }
        found.clear();
        Ok(())
    }

    /// How many names a segment has that the tombstones do not have: the index must have known each of
    /// them, or nothing was proved by their absence from what lives.
    fn names_in(&self, place: SegmentPlace) -> Result<usize, DatastoreError> {
        let inner = self.inner();
        let (key, tombstones) = (pack_key(place.pack), inner.tombstones());
        let view = inner.index.misreads.read(&*inner.storage, &key, || {
            let length = place.length as usize;
            pack_table::read_segment_table(&*inner.storage, &key, place.offset, length)
        })?;
        let living = view.items.iter().enumerate();
        let living = living.filter(|(at, _)| !tombstones.is_dead(place.pack, place.offset, *at));
        Ok(living.map(|(_, item)| item.name).collect::<HashSet<Name>>().len())
    }

    /// A segment, read whole and held against its checksum.
    pub(super) fn segment_view(&self, place: SegmentPlace) -> Result<SegmentView, DatastoreError> {
        let inner = self.inner();
        let key = pack_key(place.pack);
        inner.index.misreads.read(&*inner.storage, &key, || {
            let bytes = inner.storage.get_range(&key, place.offset, place.length as usize)?;
            SegmentView::parse(bytes).map_err(|why| DatastoreError::format(key.as_str(), why))
        })
    }

    /// The dead items of a node segment of the packs that were looked at.
    fn dead_items(&self, view: &SegmentView) -> Bits {
        let verdict = self.shade.verdict.read();
        let mut bits = Bits::none(view.items.len());
        for (at, item) in view.items.iter().enumerate() {
            if !verdict.live_nodes.contains(&(view.domain, item.name)) {
                bits.set(at);
            }
        }
        bits
    }

    /// Writes what lives in the chosen packs into new ones. Which of them hold nothing else any more.
    fn copy_what_lives(&mut self) -> Result<Vec<Name>, DatastoreError> {
        let chosen: Vec<(Name, u64)> =
            self.chosen.iter().map(|(pack, size)| (*pack, *size)).collect();
        let (mut doomed, mut open) = (Vec::new(), Open::default());
        for (done, (pack, bytes)) in chosen.into_iter().enumerate() {
            self.tell(CollectStage::Copying, done as u64)?;
            if self.copy_pack(pack, bytes, &mut open)? {
                doomed.push(pack);
            }
        }
        self.seal(&mut open)?;
        Ok(doomed)
    }

    /// Whether all that lives in a pack was written. What cannot be read is not deleted: a check names it,
    /// and a copy may heal it.
    fn copy_pack(
        &mut self,
        pack: Name,
        bytes: u64,
        open: &mut Open,
    ) -> Result<bool, DatastoreError> {
        let inner = &self.datastore.inner;
        let (storage, store, key) = (&*inner.storage, inner.root.store, pack_key(pack));
        let footer = inner
            .index
            .misreads
            .read(storage, &key, || pack_table::footer(storage, store, pack, bytes));
        let Some(footer) = self.unless_damaged(pack, footer)? else { return Ok(false) };
        for segment in &footer.segments {
            let begun = Instant::now();
            let living = self.living(pack, segment);
            let Some(living) = self.unless_damaged(pack, living)? else { return Ok(false) };
            let Some((view, dead)) = living else { continue };
            // An error of writing is none of the pack that is read.
            open.append(inner, &view, dead)?;
            self.report.bytes_written += u64::from(segment.length);
            if open.is_full(inner.pack_bytes) {
                self.seal(open)?;
            }
            // Backups and restores come first: with them around, half of the time is theirs.
            if inner.epochs.any() {
                std::thread::sleep(begun.elapsed().min(Duration::from_millis(500)));
            }
        }
        Ok(true)
    }

    /// What was read of a pack, or nothing where it is damaged.
    fn unless_damaged<T>(
        &mut self,
        pack: Name,
        read: Result<T, DatastoreError>,
    ) -> Result<Option<T>, DatastoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.shows_loss() => {
                tracing::warn!(%pack, %error, "a pack cannot be read and stays as it is");
                self.report.packs_damaged += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A segment that is to be kept, and which of its items are dead.
    fn living(
        &self,
        pack: Name,
        segment: &PackSegment,
    ) -> Result<Option<(SegmentView, Bits)>, DatastoreError> {
        let place = SegmentPlace { pack, offset: segment.offset, length: segment.length };
        let found_dead =
            self.shade.verdict.read().dead_segments.get(&(pack, segment.offset)).copied();
        if let Some(names) = found_dead
            && segment.kind == SegmentKind::Data
            && self.names_in(place)? == names as usize
        {
            return Ok(None);
        }
        if self.shade.verdict.read().redundant.contains(&(pack, segment.offset)) {
            return Ok(None);
        }
        let view = self.segment_view(place)?;
        if view.checksum() != segment.checksum || view.kind != segment.kind {
            let why = "the segment is not the one that the footer lists";
            return Err(DatastoreError::damaged(pack_key(pack), why));
        }
        let tombstones = self.inner().tombstones();
        let mut dead = match view.kind {
            SegmentKind::Manifest => {
                return Ok(self.is_wanted(&view).then(|| (view, Bits::none(1))));
            }
            SegmentKind::Nodes => self.dead_items(&view),
            SegmentKind::Data => Bits::none(view.items.len()),
        };
        for item in 0..view.items.len() {
            if tombstones.is_dead(pack, segment.offset, item) {
                dead.set(item);
            }
        }
        let any_lives = (0..view.items.len()).any(|item| !dead.get(item));
        Ok(any_lives.then_some((view, dead)))
    }

    /// Makes the open pack durable and known; its tombstones come before it.
    fn seal(&mut self, open: &mut Open) -> Result<(), DatastoreError> {
        let Some(writer) = open.writer.take() else { return Ok(()) };
        let inner = &self.datastore.inner;
        let dead = std::mem::take(&mut open.dead);
        let _sealing = inner.sealing.read();
        let sealed = writer
            .seal_after(|name| match dead.is_empty() {
                true => Ok(()),
                false => inner.change_tombstones(|tombstones| {
                    tombstones.dead.insert(name, dead);
                }),
            })
            .and_then(|pack| {
                inner.index.publish(pack.name, pack.bytes, &pack.segments)?;
                Ok(())
            });
        sealed.inspect_err(|error| {
            if error.kind() != simsim_model::Kind::Full {
                inner.turn_read_only(error);
            }
        })?;
        self.report.packs_written += 1;
        Ok(())
    }
}

/// The pack that is being written.
#[derive(Default)]
struct Open {
    writer: Option<PackWriter>,
    dead: DeadOfPack,
}

impl Open {
    fn append(
        &mut self,
        inner: &Inner,
        view: &SegmentView,
        dead: Bits,
    ) -> Result<(), DatastoreError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let room = inner.room.pack();
                let new = PackWriter::create(&*inner.storage, inner.root.store, room)?;
                self.writer.insert(new)
            }
        };
        let offset = writer.append_living(view, &dead)?;
        if dead.any() && view.kind != SegmentKind::Manifest {
            self.dead.insert(offset, dead);
        }
        Ok(())
    }

    fn is_full(&self, pack_bytes: u64) -> bool {
        self.writer.as_ref().is_some_and(|pack| pack.bytes() >= pack_bytes || pack.is_crowded())
    }
}
