//! Searching: versions whose path fits a pattern, those first that began last.
//!
//! The pattern's trigrams give the groups of names that may fit. Are there few, then all their
//! records are looked at and put in order. Are there many, then the births are walked from the
//! newest saveset back, until there is enough for an answer (`walk`). What one page costs is bounded:
//! a page may end before its limit, and says where the next one begins.

use std::collections::BTreeSet;

use simsim_model::SavesetId;

use crate::SearchError;
use crate::cursor::PageMark;
use crate::head::Head;
use crate::index::{Snapshot, State};
use crate::pattern::Pattern;
use crate::record::{EntryKind, Event, Key, Version};
use crate::run::{Reader, Run};

/// Up to so many groups of names are looked at whole.
const GROUPS_FEW: usize = 2000;
/// And up to so many records of theirs.
const RECORDS_FEW: usize = 1000;
/// What looking up a version's end costs, in births looked at.
pub(crate) const RESOLVE_COST: u64 = 5_000;
/// What reading a block costs, in births looked at.
pub(crate) const READ_COST: u64 = 1_000;
/// What one page may cost, in births looked at.
pub(crate) const PAGE_COST: u64 = 4_000_000;

/// What to search.
pub struct Query<'a> {
    pub pattern: &'a Pattern,
    /// Only these strands.
    pub strands: &'a BTreeSet<u32>,
    /// Only versions that a saveset has which was committed from then on, and up to then.
    pub since_unix_ns: Option<i64>,
    pub until_unix_ns: Option<i64>,
    pub kind: Option<EntryKind>,
    /// At least one.
    pub limit: usize,
    pub after: Option<&'a PageMark>,
}

/// A version that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub strand: u32,
    pub parent: Vec<u8>,
    pub name: Vec<u8>,
    pub version: Version,
    /// The first and the last saveset that has it, of those that are asked for.
    pub first: SavesetId,
    pub first_unix_ns: i64,
    pub last: SavesetId,
    pub last_unix_ns: i64,
    /// How many have it.
    pub savesets: u32,
    /// The strand goes on without it: the path changed or is gone.
    pub ended: bool,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub hits: Vec<Hit>,
    /// There may be more: ask again after this.
    pub next: Option<PageMark>,
}

/// A chapter, and the groups of it that may hold names that fit.
pub(crate) struct Candidates {
    pub run: usize,
    pub chapter: usize,
    pub groups: Groups,
}

pub(crate) enum Groups {
    /// The pattern has no trigram.
    All,
    These(Vec<u32>),
    /// Not looked up: there are enough without.
    Open,
}

impl Snapshot {
    /// One page of what fits. Errors: `Invalid` for a mark of another index; `Damaged`.
    pub fn search(&self, query: &Query<'_>) -> Result<Page, SearchError> {
        let state = &*self.0;
        if query.after.is_some_and(|mark| mark.generation != state.book.generation) {
            return Err(SearchError::Invalid(
                "the search index was made anew since the page before: search from the beginning"
                    .into(),
            ));
        }
        let candidates = candidates(state, query)?;
        let is_known = |one: &Candidates| matches!(one.groups, Groups::These(_));
        if candidates.iter().all(is_known)
            && let Some(found) = gather(state, query, &candidates)?
        {
            return page_of(state, query, found);
        }
        crate::walk::walk(state, query, candidates)
    }
}

/// Chapters that may hold what fits. Once there are more groups than are looked at whole, those of the
/// other chapters stay open.
fn candidates(state: &State, query: &Query<'_>) -> Result<Vec<Candidates>, SearchError> {
    let mut all = Vec::new();
    let mut count = 0;
    for (at, run) in state.runs.iter().enumerate().rev() {
        for (chapter, head) in run.heads.iter().enumerate() {
            if query.strands.range(head.first.strand..=head.last.strand).next().is_none() {
                continue;
            }
            let groups = match count > GROUPS_FEW {
                true => Groups::Open,
                false => groups_of(run, head, query.pattern)?,
            };
            if let Groups::These(these) = &groups {
                count += these.len();
                if these.is_empty() {
                    continue;
                }
            }
            all.push(Candidates { run: at, chapter, groups });
        }
    }
    // One more than few is already too many.
    if count > GROUPS_FEW {
        all.push(Candidates { run: usize::MAX, chapter: 0, groups: Groups::Open });
    }
    Ok(all)
}

/// The groups of a chapter that have all trigrams of the pattern.
pub(crate) fn groups_of(run: &Run, head: &Head, pattern: &Pattern) -> Result<Groups, SearchError> {
    let mut groups: Option<Vec<u32>> = None;
    for trigram in pattern.trigrams() {
        let list = run.postings(head, *trigram)?;
        let both = match groups.take() {
            None => list,
            Some(before) => common(&before, &list),
        };
        let enough = both.len() <= 2;
        groups = Some(both);
        if enough {
            break;
        }
    }
    Ok(groups.map_or(Groups::All, Groups::These))
}

fn common(one: &[u32], other: &[u32]) -> Vec<u32> {
    let mut both = Vec::with_capacity(one.len().min(other.len()));
    let mut other = other.iter().peekable();
    for group in one {
        while other.next_if(|next| *next < group).is_some() {}
        if other.next_if(|next| *next == group).is_some() {
            both.push(*group);
        }
    }
    both
}

/// A version that fits: where it begins, its run, its path, and what becomes of the path there.
struct Found {
    at: u32,
    run: usize,
    key: Key,
    events: Vec<Event>,
}

/// All versions that fit, of the groups; `None`: too many.
fn gather(
    state: &State,
    query: &Query<'_>,
    candidates: &[Candidates],
) -> Result<Option<Vec<Found>>, SearchError> {
    let mut looked = 0;
    let mut wanted = Vec::new();
    for one in candidates {
        let Some(run) = state.runs.get(one.run) else { continue };
        let Some(head) = run.heads.get(one.chapter) else { continue };
        let Groups::These(groups) = &one.groups else { continue };
        let mut records = Vec::new();
        for group in groups {
            for (name, of_name) in run.group(head, *group)? {
                if query.pattern.is_of_whole_path() || query.pattern.fits(b"/", &name) {
                    records.extend(of_name);
                }
            }
            if looked + records.len() > RECORDS_FEW {
                return Ok(None);
            }
        }
        looked += records.len();
        records.sort_unstable();
        wanted.push((one.run, run, head, records));
    }
    let mut found = Vec::new();
    for (at, run, head, records) in wanted {
        let mut reader = Reader::new(run, head);
        for number in records {
            let record = reader.record(number)?;
            if !query.strands.contains(&record.key.strand)
                || !query.pattern.fits(&record.key.parent, &record.key.name)
            {
                continue;
            }
            for event in record.events.iter().filter(|event| fits_kind(event, query)) {
                let (key, events) = (record.key.clone(), record.events.clone());
                found.push(Found { at: event.at, run: at, key, events });
            }
            if found.len() > RECORDS_FEW * 4 {
                return Ok(None);
            }
        }
    }
    Ok(Some(found))
}

pub(crate) fn fits_kind(event: &Event, query: &Query<'_>) -> bool {
    event.version.is_some_and(|version| query.kind.is_none_or(|kind| kind == version.kind))
}

fn page_of(state: &State, query: &Query<'_>, mut found: Vec<Found>) -> Result<Page, SearchError> {
    found.sort_unstable_by(|a, b| b.at.cmp(&a.at).then_with(|| a.key.cmp(&b.key)));
    let mut page = Page::default();
    let mut cost = 0;
    let before = |one: &Found| {
        query
            .after
            .is_some_and(|mark| one.at > mark.at || (one.at == mark.at && one.key <= mark.key))
    };
    let mut found = found.into_iter().skip_while(before).peekable();
    while let Some(one) = found.next() {
        cost += RESOLVE_COST;
        page.hits.extend(resolve(state, query, one.run, &one.key, &one.events, one.at)?);
        if found.peek().is_some() && (page.hits.len() >= query.limit || cost >= PAGE_COST) {
            page.next = Some(mark(state, one.at, one.key));
            break;
        }
    }
    Ok(page)
}

pub(crate) fn mark(state: &State, at: u32, key: Key) -> PageMark {
    PageMark { generation: state.book.generation, at, key }
}

/// The version of a path that begins at an ordinal, as an answer has it; `None` where no saveset that is
/// asked for has it.
pub(crate) fn resolve(
    state: &State,
    query: &Query<'_>,
    run: usize,
    key: &Key,
    events: &[Event],
    at: u32,
) -> Result<Option<Hit>, SearchError> {
    let Some(place) = events.iter().position(|event| event.at == at) else { return Ok(None) };
    let Some(version) = events.get(place).and_then(|event| event.version) else { return Ok(None) };
    let mut end = events.get(place + 1).map(|event| event.at);
    if end.is_none() {
        for run in state.runs.iter().skip(run + 1) {
            if let Some(record) = run.find(key)? {
                end = record.events.first().map(|event| event.at);
                break;
            }
        }
    }
    let range = at..end.unwrap_or(u32::MAX);
    let in_time = |time: i64| {
        query.since_unix_ns.is_none_or(|since| time >= since)
            && query.until_unix_ns.is_none_or(|until| time <= until)
    };
    let mut those =
        state.book.alive(key.strand, range).filter(|one| in_time(one.committed_unix_ns));
    let Some(first) = those.next() else { return Ok(None) };
    let (mut last, mut savesets) = (first, 1);
    for one in those {
        last = one;
        savesets += 1;
    }
    Ok(Some(Hit {
        strand: key.strand,
        parent: key.parent.to_vec(),
        name: key.name.clone(),
        version,
        first: first.saveset,
        first_unix_ns: first.committed_unix_ns,
        last: last.saveset,
        last_unix_ns: last.committed_unix_ns,
        savesets,
        ended: end.is_some(),
    }))
}
