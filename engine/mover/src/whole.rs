//! Is a saveset whole? Without a key: every node and every chunk below its root is found, and every segment that holds
//! one of them is read and held against its checksum.
//!
//! Memory: 32 bytes a node and 48 a segment, as of a verification with the key.

use std::collections::{BTreeMap, HashSet};

use simsim_format::{Manifest, SegmentKind, SegmentView};
use simsim_model::{
    DomainId, Name, Progress, RestoreSession, SavesetId, SegmentPlace, SessionError,
};

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
    /// The first thing that is missing or damaged. The check of the saveset ends there.
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
    match look.below(manifest.root) {
        Ok(()) => {}
        Err(Stop::Damaged(what)) => look.report.damaged = Some(what),
        Err(Stop::Error(error)) => return Err(error),
    }
    Ok(look.report)
}

struct Look<'a> {
    session: &'a dyn RestoreSession,
    domain: DomainId,
    covered: &'a mut Covered,
    progress: &'a Progress,
    report: WholeReport,
}

enum Stop {
    Damaged(String),
    Error(MoverError),
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Stop::Error(error.into())
    }
}

impl Look<'_> {
    fn below(&mut self, root: Name) -> Result<(), Stop> {
        let mut open = vec![root];
        let mut chunks: HashSet<Name> = HashSet::new();
        while !open.is_empty() {
            let from = open.len().saturating_sub(BATCH);
            let mut names = open.split_off(from);
            names.retain(|name| self.covered.nodes.insert(*name));
            for (place, names) in self.places(&names)? {
                let view = self.segment(place, SegmentKind::Nodes)?;
                let wanted: HashSet<Name> = names.into_iter().collect();
                let mut met = 0;
                for (_, refs) in view.node_refs().filter(|(item, _)| wanted.contains(&item.name)) {
                    met += 1;
                    open.extend(refs.nodes().filter(|name| !self.covered.nodes.contains(name)));
                    chunks.extend(refs.chunks());
                }
                if met < wanted.len() {
                    return Err(not_in_it(place));
                }
                if chunks.len() >= BATCH {
                    self.chunks(std::mem::take(&mut chunks))?;
                }
            }
        }
        self.chunks(chunks)
    }

    fn chunks(&mut self, names: HashSet<Name>) -> Result<(), Stop> {
        let names: Vec<Name> = names.into_iter().collect();
        for (place, names) in self.places(&names)? {
            if self.covered.segments.contains(&place) {
                continue;
            }
            let view = self.segment(place, SegmentKind::Data)?;
            let there: HashSet<Name> = view.items.iter().map(|item| item.name).collect();
            if !names.iter().all(|name| there.contains(name)) {
                return Err(not_in_it(place));
            }
        }
        Ok(())
    }

    /// The segments that hold these names, in the order in which they lie, each with the names.
    fn places(&mut self, names: &[Name]) -> Result<BTreeMap<SegmentPlace, Vec<Name>>, Stop> {
        let mut places: BTreeMap<SegmentPlace, Vec<Name>> = BTreeMap::new();
        for part in names.chunks(BATCH) {
            let found = self.session.locate(part)?;
            for (at, name) in part.iter().enumerate() {
                let Some(place) = found.get(at).copied().flatten() else {
                    return Err(Stop::Damaged(format!("{name} is not in the datastore")));
                };
                places.entry(place).or_default().push(*name);
            }
            self.report.names += part.len() as u64;
        }
        Ok(places)
    }

    /// Reads a segment; parsing it holds it against its checksum.
    fn segment(&mut self, place: SegmentPlace, kind: SegmentKind) -> Result<SegmentView, Stop> {
        if self.progress.is_cancelled() {
            return Err(Stop::Error(MoverError::Cancelled));
        }
        let at = || format!("the segment at {} of pack {}", place.offset, place.pack);
        let bytes = self.session.get(&[place])?.into_iter().next().flatten();
        let Some(bytes) = bytes else {
            return Err(Stop::Damaged(format!("{} cannot be read", at())));
        };
        let length = bytes.len() as u64;
        let view = SegmentView::parse(bytes)
            .map_err(|error| Stop::Damaged(format!("{}: {error}", at())))?;
        if view.kind != kind || view.domain != self.domain {
            return Err(Stop::Damaged(format!("{} is another one than the index says", at())));
        }
        if self.covered.segments.insert(place) {
            self.report.segments += 1;
            self.report.bytes += length;
            self.progress.add(|p| &p.bytes_read, length);
        }
        Ok(view)
    }
}

fn not_in_it(place: SegmentPlace) -> Stop {
    Stop::Damaged(format!(
        "the segment at {} of pack {} does not hold what the index says",
        place.offset, place.pack
    ))
}
