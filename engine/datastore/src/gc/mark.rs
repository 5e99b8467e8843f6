//! Marking: what savesets need, from their roots down. No key is needed for it.
//!
//! The readable part of a node segment says what its nodes refer to. Each is read whole and held against
//! its checksum before it is believed: a flipped bit in a reference would let something be deleted that is
//! needed. What cannot be followed ends the marking.

use std::collections::{BTreeMap, HashMap};

use simsim_format::{SegmentKind, SegmentView};
use simsim_model::{DomainId, Name, SegmentPlace};

use crate::index::NodeSet;
use crate::{Datastore, DatastoreError};

/// Is told what was met on a walk; an error ends the walk.
pub(crate) type Found<'a> =
    dyn FnMut(DomainId, Name, SegmentKind) -> Result<(), DatastoreError> + 'a;

/// Names that are located at once.
const BATCH_NAMES: usize = 4096;

/// A walk over nodes, each once.
pub(crate) struct Marker<'a> {
    datastore: &'a Datastore,
    /// Nodes to be visited, by domain.
    frontier: BTreeMap<DomainId, Vec<Name>>,
}

impl<'a> Marker<'a> {
    pub(crate) fn new(datastore: &'a Datastore) -> Self {
        Self { datastore, frontier: BTreeMap::new() }
    }

    pub(crate) fn add_root(&mut self, domain: DomainId, name: Name) {
        self.frontier.entry(domain).or_default().push(name);
    }

    /// Visits everything below the roots that is not in `live` yet, and adds it there. `found` is told
    /// of every node, and of every chunk that one refers to, at least once; `go_on` is asked after each batch.
    pub(crate) fn walk(
        &mut self,
        live: &mut NodeSet,
        found: &mut Found<'_>,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<(), DatastoreError> {
        while let Some((domain, mut names)) = self.frontier.pop_first() {
            let mut batch = Vec::with_capacity(BATCH_NAMES);
            while batch.len() < BATCH_NAMES
                && let Some(name) = names.pop()
            {
                if !live.contains(&(domain, name)) {
                    batch.push(name);
                }
            }
            if !names.is_empty() {
                self.frontier.entry(domain).or_default().extend(names);
            }
            batch.sort_unstable();
            batch.dedup();
            self.visit(domain, &batch, live, found)?;
            if !go_on(live.len() as u64) {
                return Err(DatastoreError::Stopped);
            }
        }
        Ok(())
    }

    fn visit(
        &mut self,
        domain: DomainId,
        names: &[Name],
        live: &mut NodeSet,
        found: &mut Found<'_>,
    ) -> Result<(), DatastoreError> {
        let mut segments: BTreeMap<SegmentPlace, Vec<Name>> = BTreeMap::new();
        for (name, place) in names.iter().zip(self.datastore.locate(domain, names)?) {
            let place = place.ok_or(DatastoreError::NodeGone { node: *name })?;
            segments.entry(place).or_default().push(*name);
        }
        for (place, wanted) in segments {
            let view = self.datastore.node_segment(domain, place)?;
            let mut nodes = HashMap::new();
            for (item, references) in view.node_refs() {
                nodes.insert(item.name, references);
            }
            // What a segment refers to often lies in it too.
            let mut near = wanted;
            while let Some(name) = near.pop() {
                let Some(references) = nodes.get(&name) else {
                    if live.contains(&(domain, name)) {
                        continue;
                    }
                    return Err(DatastoreError::NodeGone { node: name });
                };
                if !live.insert((domain, name)) {
                    continue;
                }
                found(domain, name, SegmentKind::Nodes)?;
                for below in references.nodes() {
                    if nodes.contains_key(&below) {
                        near.push(below);
                    } else if !live.contains(&(domain, below)) {
                        self.add_root(domain, below);
                    }
                }
                for chunk in references.chunks() {
                    found(domain, chunk, SegmentKind::Data)?;
                }
            }
        }
        Ok(())
    }
}

impl Datastore {
    /// A node segment of a domain, read whole and held against its checksum.
    pub(crate) fn node_segment(
        &self,
        domain: DomainId,
        place: SegmentPlace,
    ) -> Result<SegmentView, DatastoreError> {
        let bytes = self.read_segment(domain, place)?;
        SegmentView::parse(bytes).map_err(|source| {
            DatastoreError::format(crate::pack_table::pack_key(place.pack), source)
        })
    }
}
