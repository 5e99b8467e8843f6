//! Segments that are there twice: two sessions sent the same at once, or a collection died after it had
//! written a pack anew and before the old one was doomed.

use std::collections::{BTreeMap, HashSet};

use simsim_model::{DomainId, Name, SegmentPlace};

use super::Round;
use crate::DatastoreError;

impl Round<'_> {
    /// Finds the segments whose living part lies somewhere else too, and says how many bytes of each
    /// pack that are. One copy of everything stays, and has just been read whole.
    pub(super) fn find_redundant(&mut self) -> Result<BTreeMap<Name, u64>, DatastoreError> {
        let candidates: Vec<(DomainId, SegmentPlace)> =
            self.census.values().flat_map(|census| census.repeated.iter().copied()).collect();
        let mut redundant: HashSet<(Name, u64)> = HashSet::new();
        // Read whole in this round, and to be kept.
        let mut kept: HashSet<(Name, u64)> = HashSet::new();
        let mut bytes: BTreeMap<Name, u64> = BTreeMap::new();
        for (domain, place) in candidates {
            if kept.contains(&(place.pack, place.offset)) {
                continue;
            }
            if let Some(others) = self.lies_elsewhere(domain, place, &redundant)? {
                kept.extend(others);
                redundant.insert((place.pack, place.offset));
                *bytes.entry(place.pack).or_default() += u64::from(place.length);
            }
        }
        self.shade.verdict.write().redundant = redundant;
        Ok(bytes)
    }

    /// Other places that together hold whatever lives of this segment, each of them read.
    fn lies_elsewhere(
        &self,
        domain: DomainId,
        place: SegmentPlace,
        redundant: &HashSet<(Name, u64)>,
    ) -> Result<Option<HashSet<(Name, u64)>>, DatastoreError> {
        let index = &self.inner().index;
        let view = match self.segment_view(place) {
            Ok(view) => view,
            Err(error) if error.shows_loss() => return Ok(None),
            Err(error) => return Err(error),
        };
        let tombstones = self.inner().tombstones();
        let items = view.items.iter().enumerate();
        let names: Vec<Name> = items
            .filter(|(at, _)| !tombstones.is_dead(place.pack, place.offset, *at))
            .map(|(_, item)| item.name)
            .collect();
        let mut others = HashSet::new();
        for batch in names.chunks(4096) {
            for (name, places) in batch.iter().zip(index.places(domain, batch)?) {
                let is_other = |other: &&SegmentPlace| {
                    let key = (other.pack, other.offset);
                    key != (place.pack, place.offset) && !redundant.contains(&key)
                };
                // What does not live is needed nowhere; to be on the safe side, it counts.
                let mut found = false;
                for other in places.iter().filter(is_other) {
                    if others.contains(&(other.pack, other.offset))
                        || self.datastore.read_segment(domain, *other).is_ok()
                    {
                        others.insert((other.pack, other.offset));
                        found = true;
                        break;
                    }
                }
                if !found && self.lives(domain, *name, view.kind) {
                    return Ok(None);
                }
            }
        }
        Ok(Some(others))
    }

    /// Does something with this name live? Of chunks that is not known any more: it is assumed.
    fn lives(&self, domain: DomainId, name: Name, kind: simsim_format::SegmentKind) -> bool {
        kind != simsim_format::SegmentKind::Nodes
            || self.shade.verdict.read().live_nodes.contains(&(domain, name))
    }
}
