//! Lookups: first the tables in memory, then the runs of that instant, without a lock.

use std::collections::HashSet;
use std::sync::Arc;

use simsim_model::{DomainId, Name, SegmentPlace};

use super::find::{Accept, Query};
use super::memory::MemoryTable;
use super::run::Run;
use super::run_error::RunError;
use super::{Index, State, WHOLE_PACK};
use crate::DatastoreError;

impl Index {
    /// For each name: whether the domain holds it durably and it may be relied on.
    pub fn has(&self, domain: DomainId, names: &[Name]) -> Result<Vec<bool>, DatastoreError> {
        self.healing(|| {
            let mut known = vec![false; names.len()];
            let view = self.view(names, |table, at, name, trusts| {
                let found = table.places(domain, name).any(|place| trusts(&place));
                if let Some(known) = known.get_mut(at) {
                    *known |= found;
                }
                found
            });
            let any = view.distrusted.is_empty();
            view.find(domain, any, &mut |at, place, whole| {
                let good = whole && place.is_none_or(|place| view.trusts(&place));
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
            let view = self.view(names, |table, at, name, trusts| {
                table.places(domain, name).any(|place| take(at, place, trusts(&place)))
            });
            view.find(domain, false, &mut |at, place, whole| {
                place.is_some_and(|place| take(at, place, whole && view.trusts(&place)))
            })?;
            Ok(best.into_iter().zip(resort).map(|(best, resort)| best.or(resort)).collect())
        })
    }

    /// Looks into the tables in memory for each name, and hands out what is needed to look for
    /// the others in the runs without holding a lock. `look` answers whether it needs no more.
    fn view(
        &self,
        names: &[Name],
        mut look: impl FnMut(&MemoryTable, usize, Name, &dyn Fn(&SegmentPlace) -> bool) -> bool,
    ) -> View {
        let state = self.state.read();
        let view = View {
            runs: state.runs.clone(),
            distrusted: state.distrusted.clone(),
            queries: Vec::new(),
        };
        let trusts = |place: &SegmentPlace| view.trusts(place);
        let mut queries = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if !state.tables().any(|table| look(table, at, *name, &trusts)) {
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
    /// What was not found in memory, sorted by name.
    queries: Vec<Query>,
}

impl View {
    fn trusts(&self, place: &SegmentPlace) -> bool {
        self.distrusted.is_empty()
            || !(self.distrusted.contains(&(place.pack, place.offset))
                || self.distrusted.contains(&(place.pack, WHOLE_PACK)))
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
