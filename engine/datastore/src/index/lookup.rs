//! Lookups: first the tables in memory, then the runs of that instant, without a lock.

use std::collections::HashSet;
use std::sync::Arc;

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, SegmentPlace};

use super::find::{Accept, Query};
use super::memory::MemoryTable;
use super::run::Run;
use super::run_error::RunError;
use super::shade::Shade;
use super::{Index, State, WHOLE_PACK};
use crate::DatastoreError;

impl Index {
    /// For each name: whether the domain holds it durably and it may be relied on.
    pub fn has(&self, domain: DomainId, names: &[Name]) -> Result<Vec<bool>, DatastoreError> {
        self.has_since(domain, names, u64::MAX)
    }

    /// As [`Self::has`], for a session that opened in `epoch`.
    pub(crate) fn has_since(
        &self,
        domain: DomainId,
        names: &[Name],
        epoch: u64,
    ) -> Result<Vec<bool>, DatastoreError> {
        self.healing(|| {
            let mut known = vec![false; names.len()];
            let view = self.view(names, epoch, |view, table, at, name| {
                let found = table.places(domain, name).any(|(place, kind)| {
                    view.trusts(&place) && view.shows(domain, name, &place, kind)
                });
                if let Some(known) = known.get_mut(at) {
                    *known |= found;
                }
                found
            });
            let any = view.distrusted.is_empty() && view.shade.is_none();
            view.find(domain, any, &mut |at, place, whole| {
                let name = names.get(at).copied().unwrap_or(Name::ZERO);
                let good = whole
                    && place.is_none_or(|(place, kind)| {
                        view.trusts(&place) && view.shows(domain, name, &place, kind)
                    });
                if let Some(known) = known.get_mut(at) {
                    *known |= good;
                }
                good
            })?;
            Ok(known)
        })
    }

    /// For each name: the best place.
    pub fn locate(
        &self,
        domain: DomainId,
        names: &[Name],
    ) -> Result<Vec<Option<SegmentPlace>>, DatastoreError> {
        self.healing(|| {
            let mut best = vec![None; names.len()];
            // Where no place is good: better than nothing.
            let mut resort = vec![None; names.len()];
            let mut take = |at: usize, place: SegmentPlace, good: bool| {
                let list = if good { &mut best } else { &mut resort };
                if let Some(taken) = list.get_mut(at) {
                    *taken = Some(place);
                }
                good
            };
            let view = self.view(names, u64::MAX, |view, table, at, name| {
                table
                    .places(domain, name)
                    .any(|(place, _)| take(at, place, view.trusts(&place) && view.stays(&place)))
            });
            view.find(domain, false, &mut |at, place, whole| {
                place.is_some_and(|(place, _)| {
                    take(at, place, whole && view.trusts(&place) && view.stays(&place))
                })
            })?;
            Ok(best.into_iter().zip(resort).map(|(best, resort)| best.or(resort)).collect())
        })
    }

    /// For each name: every place that may be relied on.
    pub(crate) fn places(
        &self,
        domain: DomainId,
        names: &[Name],
    ) -> Result<Vec<Vec<SegmentPlace>>, DatastoreError> {
        self.healing(|| {
            let mut found = vec![Vec::new(); names.len()];
            let mut take = |at: usize, place: SegmentPlace| {
                if let Some(places) = found.get_mut(at) {
                    places.push(place);
                }
            };
            let view = self.view(names, u64::MAX, |view, table, at, name| {
                let places = table.places(domain, name).map(|(place, _)| place);
                let good = places.filter(|place| view.trusts(place) && view.stays(place));
                good.for_each(|place| take(at, place));
                false
            });
            view.find(domain, false, &mut |at, place, whole| {
                if let Some((place, _)) = place
                    && whole
                    && view.trusts(&place)
                    && view.stays(&place)
                {
                    take(at, place);
                }
                false
            })?;
            Ok(found)
        })
    }

    /// Looks into the tables in memory for each name, and hands out what is needed to look for
    /// the others in the runs without holding a lock. `look` answers whether it needs no more.
    fn view(
        &self,
        names: &[Name],
        epoch: u64,
        mut look: impl FnMut(&View, &MemoryTable, usize, Name) -> bool,
    ) -> View {
        let state = self.state.read();
        let view = View {
            runs: state.runs.clone(),
            distrusted: state.distrusted.clone(),
            shade: state.shade.clone().filter(|shade| shade.is_seen_in(epoch)),
            queries: Vec::new(),
        };
        let mut queries = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if !state.tables().any(|table| look(&view, table, at, *name)) {
                queries.push(Query { name: *name, at });
            }
        }
        drop(state);
        queries.sort_unstable();
        View { queries, ..view }
    }
}

impl State {
    pub(super) fn tables(&self) -> impl Iterator<Item = &MemoryTable> {
        std::iter::once(&self.memory).chain(self.frozen.as_deref())
    }
}

/// What a lookup sees: the runs of one instant.
struct View {
    runs: Vec<Arc<Run>>,
    distrusted: Arc<HashSet<(Name, u64)>>,
    /// What is dead for whoever asks.
    shade: Option<Arc<Shade>>,
    /// What was not found in memory, sorted by name.
    queries: Vec<Query>,
}

impl View {
    fn trusts(&self, place: &SegmentPlace) -> bool {
        self.distrusted.is_empty()
            || !(self.distrusted.contains(&(place.pack, place.offset))
                || self.distrusted.contains(&(place.pack, WHOLE_PACK)))
    }

    fn shows(&self, domain: DomainId, name: Name, place: &SegmentPlace, kind: SegmentKind) -> bool {
        self.shade.as_ref().is_none_or(|shade| !shade.hides(domain, name, place, kind))
    }

    fn stays(&self, place: &SegmentPlace) -> bool {
        self.shade.as_ref().is_none_or(|shade| !shade.dooms(place.pack))
    }

    /// Asks the runs, newest first, until `accept` has taken a place of each name.
    fn find(&self, domain: DomainId, any: bool, accept: &mut Accept<'_>) -> Result<(), RunError> {
        let mut queries = self.queries.clone();
        let places = queries.iter().map(|query| query.at + 1).max().unwrap_or(0);
        let (mut taken, mut count) = (vec![false; places], 0);
        for run in self.runs.iter().rev() {
            run.find(domain, &queries, any, &mut |at, place, whole| {
                let good = accept(at, place, whole);
                if let Some(taken) = taken.get_mut(at).filter(|_| good) {
                    *taken = true;
                    count += 1;
                }
                good
            })?;
            if count > 0 {
                queries.retain(|query| taken.get(query.at) != Some(&true));
                count = 0;
            }
            if queries.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
