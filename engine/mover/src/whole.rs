//! Is a saveset whole? Without a key: every node and every chunk below its root is found, and every segment that holds
//! one of them is read and held against its checksum.
//!
//! Memory: 32 bytes a node and 48 a segment, as of a verification with the key.

use std::collections::{BTreeMap, HashSet};

use simsim_format::{Manifest, SegmentKind, SegmentView};
use simsim_model::{DomainId, Name, Progress, RestoreSession, SavesetId, SegmentPlace};

use crate::MoverError;

/// Names located in one go.
const BATCH: usize = 8192;

/// What earlier savesets of the same check have covered, all of it sound, and of one domain.
#[derive(Debug, Default)]
pub struct Covered {
    nodes: HashSet<Name>,
    segments: HashSet<SegmentPlace>,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WholeReport {
    pub segments: u64,
    pub names: u64,
    /// Bytes of the segments that were read.
    pub bytes: u64,
    /// The first thing that is missing or damaged. The check goes on, so that whoever reads for it meets all the
    /// rest, and knows of it from then on.
    pub damaged: Option<String>,
}

/// Checks one saveset. After one that is damaged, `covered` is to be thrown away: it may cover what is not sound.
///
/// # Errors
/// When the session does not answer, or the check is cancelled: that says nothing about the saveset.
pub fn whole(
    session: &dyn RestoreSession,
    domain: DomainId,
    saveset: SavesetId,
    covered: &mut Covered,
    progress: &Progress,
) -> Result<WholeReport, MoverError> {
    let manifest = Manifest::decode(&session.manifest(saveset)?)?;
    if manifest.saveset != saveset || manifest.domain != domain {
        let damaged = Some("its manifest is of another saveset".to_owned());
        return Ok(WholeReport { damaged, ..WholeReport::default() });
    }
    let mut look = Look { session, domain, covered, progress, report: WholeReport::default() };
    look.below(manifest.root)?;
    Ok(look.report)
}

struct Look<'a> {
    session: &'a dyn RestoreSession,
    domain: DomainId,
    covered: &'a mut Covered,
    progress: &'a Progress,
    report: WholeReport,
}

impl Look<'_> {
    fn damage(&mut self, what: String) {
        self.report.damaged.get_or_insert(what);
    }

    fn below(&mut self, root: Name) -> Result<(), MoverError> {
        let mut open = vec![root];
        let mut chunks: HashSet<Name> = HashSet::new();
        while !open.is_empty() {
            let from = open.len().saturating_sub(BATCH);
            let mut names = open.split_off(from);
            names.retain(|name| self.covered.nodes.insert(*name));
            for (place, names) in self.places(&names)? {
                let Some(view) = self.segment(place, SegmentKind::Nodes)? else { continue };
                let wanted: HashSet<Name> = names.into_iter().collect();
                let mut met = 0;
                for (_, refs) in view.node_refs().filter(|(item, _)| wanted.contains(&item.name)) {
                    met += 1;
                    open.extend(refs.nodes().filter(|name| !self.covered.nodes.contains(name)));
                    chunks.extend(refs.chunks());
                }
                if met < wanted.len() {
                    self.damage(not_in_it(place));
                }
                if chunks.len() >= BATCH {
                    self.chunks(std::mem::take(&mut chunks))?;
                }
            }
        }
        self.chunks(chunks)
    }

    fn chunks(&mut self, names: HashSet<Name>) -> Result<(), MoverError> {
        let names: Vec<Name> = names.into_iter().collect();
        for (place, names) in self.places(&names)? {
            if self.covered.segments.contains(&place) {
                continue;
            }
            let Some(view) = self.segment(place, SegmentKind::Data)? else { continue };
            let there: HashSet<Name> = view.items.iter().map(|item| item.name).collect();
            if !names.iter().all(|name| there.contains(name)) {
                self.damage(not_in_it(place));
            }
        }
        Ok(())
    }

    /// The segments that hold these names, in the order in which they lie, each with the names.
    fn places(&mut self, names: &[Name]) -> Result<BTreeMap<SegmentPlace, Vec<Name>>, MoverError> {
        let mut places: BTreeMap<SegmentPlace, Vec<Name>> = BTreeMap::new();
        for part in names.chunks(BATCH) {
            let found = self.session.locate(part)?;
            for (at, name) in part.iter().enumerate() {
                let Some(place) = found.get(at).copied().flatten() else {
                    self.damage(format!("{name} is not in the datastore"));
                    continue;
                };
                places.entry(place).or_default().push(*name);
            }
            self.report.names += part.len() as u64;
        }
        Ok(places)
    }

    /// Reads a segment; parsing it holds it against its checksum. `None`: it is damaged.
    fn segment(
        &mut self,
        place: SegmentPlace,
        kind: SegmentKind,
    ) -> Result<Option<SegmentView>, MoverError> {
        if self.progress.is_cancelled() {
            return Err(MoverError::Cancelled);
        }
        let at = || format!("the segment at {} of pack {}", place.offset, place.pack);
        let bytes = self.session.get(&[place])?.into_iter().next().flatten();
        let Some(bytes) = bytes else {
            self.damage(format!("{} cannot be read", at()));
            return Ok(None);
        };
        let length = bytes.len() as u64;
        let view = match SegmentView::parse(bytes) {
            Ok(view) => view,
            Err(error) => {
                self.damage(format!("{}: {error}", at()));
                return Ok(None);
            }
        };
        if view.kind != kind || view.domain != self.domain {
            self.damage(format!("{} is another one than the index says", at()));
            return Ok(None);
        }
        if self.covered.segments.insert(place) {
            self.report.segments += 1;
            self.report.bytes += length;
            self.progress.add(|p| &p.bytes_read, length);
        }
        Ok(Some(view))
    }
}

fn not_in_it(place: SegmentPlace) -> String {
    format!(
        "the segment at {} of pack {} does not hold what the index says",
        place.offset, place.pack
    )
}
