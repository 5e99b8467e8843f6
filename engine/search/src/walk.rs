//! Searching for what is common: births from the newest saveset back, until an answer is full.

use crate::SearchError;
use crate::head::BirthBlock;
use crate::index::State;
use crate::query::{
    Candidates, Groups, PAGE_COST, Page, Query, READ_COST, RESOLVE_COST, fits_kind, groups_of,
    mark, resolve,
};
use crate::record::Key;
use crate::run::Reader;

/// A block of births that is still to be looked at.
struct Step {
    at: u32,
    /// Which of the candidates it is of.
    of: usize,
    block: usize,
}

pub(crate) fn walk(
    state: &State,
    query: &Query<'_>,
    mut candidates: Vec<Candidates>,
) -> Result<Page, SearchError> {
    let newest = query.after.map_or(u32::MAX, |mark| mark.at);
    // Versions that began after the last saveset that is asked for are in none of those.
    let newest = match query.until_unix_ns {
        Some(until) => {
            let in_time = |one: &&crate::IndexedSaveset| one.committed_unix_ns <= until;
            let last = state.book.savesets.values().rfind(in_time);
            match last {
                Some(last) => newest.min(last.ordinal),
                None => return Ok(Page::default()),
            }
        }
        None => newest,
    };
    let mut steps = Vec::new();
    for (of, one) in candidates.iter().enumerate() {
        let head = state.runs.get(one.run).and_then(|run| run.heads.get(one.chapter));
        let blocks = head.map(|head| head.birth_blocks.as_slice()).unwrap_or_default();
        let blocks = blocks.iter().enumerate().filter(|(_, block)| block.at <= newest);
        steps.extend(blocks.map(|(block, births)| Step { at: births.at, of, block }));
    }
    // A saveset is told of in one run; its chapters and their blocks follow in the order of paths.
    steps.sort_unstable_by(|a, b| b.at.cmp(&a.at).then((a.of, a.block).cmp(&(b.of, b.block))));
    let mut walk = Walk { state, query, page: Page::default(), cost: 0, last: None };
    let mut bits: (usize, Vec<u64>) = (usize::MAX, Vec::new());
    let mut reader: Option<(usize, Reader<'_>)> = None;
    for step in &steps {
        let Some(one) = candidates.get_mut(step.of) else { continue };
        let Some(run) = state.runs.get(one.run) else { continue };
        let Some(head) = run.heads.get(one.chapter) else { continue };
        let Some(block) = head.birth_blocks.get(step.block) else { continue };
        if query.after.is_some_and(|mark| mark.at == step.at && head.last <= mark.key) {
            continue;
        }
        if matches!(one.groups, Groups::Open) {
            one.groups = groups_of(run, head, query.pattern)?;
            walk.cost += READ_COST * query.pattern.trigrams().len() as u64;
        }
        let filter = match &one.groups {
            Groups::These(groups) => {
                if bits.0 != step.of {
                    bits = (step.of, bits_of(groups));
                }
                Some(bits.1.as_slice())
            }
            Groups::All | Groups::Open => None,
        };
        if filter.is_some_and(<[u64]>::is_empty) {
            continue;
        }
        if reader.as_ref().is_none_or(|(of, _)| *of != step.of) {
            reader = Some((step.of, Reader::new(run, head)));
        }
        let Some((_, reader)) = &mut reader else { continue };
        if walk.block(one.run, reader, block, filter)? {
            let at = step.at;
            walk.page.next = walk.last.take().map(|key| mark(state, at, key));
            return Ok(walk.page);
        }
    }
    Ok(walk.page)
}

fn bits_of(groups: &[u32]) -> Vec<u64> {
    let words = groups.last().map_or(0, |last| *last as usize / 64 + 1);
    let mut bits = vec![0u64; words];
    for group in groups {
        if let Some(word) = bits.get_mut(*group as usize / 64) {
            *word |= 1 << (group % 64);
        }
    }
    bits
}

struct Walk<'a> {
    state: &'a State,
    query: &'a Query<'a>,
    page: Page,
    cost: u64,
    /// The last path that was looked at.
    last: Option<Key>,
}

impl Walk<'_> {
    /// Answers whether the page ends here.
    fn block(
        &mut self,
        run: usize,
        reader: &mut Reader<'_>,
        block: &BirthBlock,
        filter: Option<&[u64]>,
    ) -> Result<bool, SearchError> {
        let Some(of) = self.state.runs.get(run) else { return Ok(false) };
        let births = of.births(block)?;
        self.cost += births.len() as u64 + READ_COST;
        let from = match self.query.after.filter(|mark| mark.at == block.at) {
            Some(mark) => reader.number_after(&mark.key)?,
            None => 0,
        };
        for (number, group) in births {
            let word = filter.map(|bits| bits.get(group as usize / 64).copied().unwrap_or(0));
            if number < from || word.is_some_and(|word| word >> (group % 64) & 1 == 0) {
                continue;
            }
            let reads = reader.reads;
            let record = reader.record(number)?;
            let event = record.events.iter().find(|event| event.at == block.at);
            let fits = event.is_some_and(|event| fits_kind(event, self.query))
                && self.query.strands.contains(&record.key.strand)
                && self.query.pattern.fits(&record.key.parent, &record.key.name);
            if fits {
                let hit =
                    resolve(self.state, self.query, run, &record.key, &record.events, block.at)?;
                self.page.hits.extend(hit);
                self.cost += RESOLVE_COST;
            }
            let ends = self.page.hits.len() >= self.query.limit || self.cost >= PAGE_COST;
            if ends {
                self.last = Some(record.key.clone());
                return Ok(true);
            }
            self.cost += 20 + (reader.reads - reads) * READ_COST;
        }
        Ok(false)
    }
}
