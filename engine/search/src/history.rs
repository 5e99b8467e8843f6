//! The versions of one path, and a folder as a saveset has it.

use std::collections::BTreeMap;

use simsim_model::SavesetId;

use crate::SearchError;
use crate::book::IndexedSaveset;
use crate::index::Snapshot;
use crate::record::{Event, Key, Record, Version};
use crate::run::Scan;

/// What a path was, from one saveset on to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `None`: it was not there.
    pub version: Option<Version>,
    pub first: IndexedSaveset,
    pub last: IndexedSaveset,
    pub savesets: u32,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEntry {
    pub name: Vec<u8>,
    pub version: Version,
}

/// A part of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderPage {
    pub entries: Vec<FolderEntry>,
    /// There are more: ask again after the last name.
    pub more: bool,
}

impl Snapshot {
    /// What a path was over the savesets of one strand, the oldest first. Empty where it never was.
    pub fn history(
        &self,
        strand: u32,
        parent: &[u8],
        name: &[u8],
    ) -> Result<Vec<Span>, SearchError> {
        let state = &*self.0;
        let key = Key::new(strand, parent, name);
        let mut events: Vec<Event> = Vec::new();
        for run in &state.runs {
            events.extend(run.find(&key)?.into_iter().flat_map(|record| record.events));
        }
        if !events.iter().any(|event| event.version.is_some()) {
            return Ok(Vec::new());
        }
        events.insert(0, Event { at: 0, version: None });
        let mut spans: Vec<Span> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let end = events.get(at + 1).map_or(u32::MAX, |next| next.at);
            let mut those = state.book.alive(strand, event.at..end);
            let Some(first) = those.next() else { continue };
            let mut span = Span {
                version: event.version,
                first: first.clone(),
                last: first.clone(),
                savesets: 1,
            };
            for one in those {
                span.last = one.clone();
                span.savesets += 1;
            }
            match spans.last_mut() {
                Some(before) if before.version == span.version => {
                    before.last = span.last;
                    before.savesets += span.savesets;
                }
                _ => spans.push(span),
            }
        }
        let there = spans.iter().any(|span| span.version.is_some());
        Ok(if there { spans } else { Vec::new() })
    }

    /// A folder as a saveset has it: names after `after`, in order. `None`: the saveset is not in the index.
    pub fn folder(
        &self,
        saveset: &SavesetId,
        parent: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<FolderPage>, SearchError> {
        let state = &*self.0;
        let Some(of) = state.book.savesets.values().find(|one| one.saveset == *saveset) else {
            return Ok(None);
        };
        let mut from = Key::new(of.strand, parent, after.unwrap_or_default());
        if after.is_some() {
            // The first name after it.
            from.name.push(0);
        }
        let inside =
            |record: &Record| record.key.strand == of.strand && record.key.parent == from.parent;
        let mut scans: Vec<(Scan<'_>, Option<Record>)> = Vec::new();
        for run in state.runs.iter().filter(|run| run.low <= of.ordinal) {
            let mut scan = run.scan(Some(&from));
            let first = scan.next()?.filter(|record| inside(record));
            scans.push((scan, first));
        }
        let mut page = FolderPage::default();
        loop {
            let names = scans.iter().filter_map(|(_, next)| next.as_ref());
            let Some(name) = names.map(|record| record.key.name.clone()).min() else { break };
            let mut now: BTreeMap<u32, Option<Version>> = BTreeMap::new();
            for (scan, next) in &mut scans {
                if let Some(record) = next.take_if(|record| record.key.name == name) {
                    let events = record.events.iter().filter(|event| event.at <= of.ordinal);
                    now.extend(events.map(|event| (event.at, event.version)));
                    *next = scan.next()?.filter(|record| inside(record));
                }
            }
            if let Some((_, Some(version))) = now.pop_last() {
                if page.entries.len() >= limit {
                    page.more = true;
                    break;
                }
                page.entries.push(FolderEntry { name, version });
            }
        }
        Ok(Some(page))
    }
}
