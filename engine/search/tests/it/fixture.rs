//! Savesets as maps of paths, and an index that is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use simsim_model::{DomainId, SavesetId};
use simsim_search::{EntryKind, Hit, Index, Pattern, Query, SearchError, Snapshot, Version};

pub const DOMAIN: DomainId = DomainId([7; 16]);

/// A saveset: folder and name, with what they are.
pub type Tree = BTreeMap<(Vec<u8>, Vec<u8>), Version>;

pub fn id(number: u32) -> SavesetId {
    let mut id = [9; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    SavesetId(id)
}

pub fn version(size: u64) -> Version {
    Version { kind: EntryKind::File, size, mtime_unix_s: 1000 + size as i64 }
}

pub fn tree(files: &[(&str, u64)]) -> Tree {
    let split = |path: &str| {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { "/" } else { parent };
        (parent.as_bytes().to_vec(), name.as_bytes().to_vec())
    };
    files.iter().map(|(path, size)| (split(path), version(*size))).collect()
}

/// Brings a saveset in, compared with the one before it where there is a strand to go on with.
pub fn bring(
    index: &Index,
    (client, task): (&str, &str),
    number: u32,
    old: Option<&Tree>,
    new: &Tree,
) -> Result<(), SearchError> {
    let strand = index.snapshot().book().open_strand(DOMAIN, client, task).map(|one| one.id);
    let old = old.filter(|_| strand.is_some());
    let strand = strand.filter(|_| old.is_some());
    let at = i64::from(number) * 1_000_000_000;
    let mut update = index.begin(id(number), at, strand, (DOMAIN, client, task));
    for ((parent, name), version) in new {
        if old.and_then(|old| old.get(&(parent.clone(), name.clone()))) != Some(version) {
            update.push(parent, name, Some(*version))?;
        }
    }
    for (parent, name) in old.into_iter().flatten().map(|(path, _)| path) {
        if !new.contains_key(&(parent.clone(), name.clone())) {
            update.push(parent, name, None)?;
        }
    }
    update.commit()
}

pub fn all(snapshot: &Snapshot) -> BTreeSet<u32> {
    snapshot.book().strands().map(|strand| strand.id).collect()
}

/// Everything that fits, over all pages of `limit`.
pub fn search(snapshot: &Snapshot, text: &str, ignore_case: bool, limit: usize) -> Vec<Hit> {
    let pattern = Pattern::new(text, ignore_case).unwrap();
    let strands = all(snapshot);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = snapshot
            .search(&Query {
                pattern: &pattern,
                strands: &strands,
                since_unix_ns: None,
                until_unix_ns: None,
                kind: None,
                limit,
                after: after.as_ref(),
            })
            .unwrap();
        assert!(page.hits.len() <= limit);
        found.extend(page.hits);
        match page.next {
            Some(next) => {
                let text = next.to_text();
                after = Some(simsim_search::PageMark::parse(&text).unwrap());
            }
            None => return found,
        }
    }
}

/// An index of three savesets, two of them of one task.
pub fn small(folder: &Path) -> Index {
    let index = Index::open(folder).unwrap();
    let first = tree(&[("/a/one.txt", 1), ("/a/two.txt", 2), ("/b/One.TXT", 3)]);
    let second = tree(&[("/a/one.txt", 10), ("/b/One.TXT", 3), ("/c/three", 4)]);
    bring(&index, ("web", "home"), 1, None, &first).unwrap();
    bring(&index, ("web", "home"), 2, Some(&first), &second).unwrap();
    bring(&index, ("db", "data"), 3, None, &tree(&[("/one", 5)])).unwrap();
    index
}

/// What an index answers to some questions, as text.
pub fn seen(snapshot: &Snapshot) -> String {
    let mut text = format!("{:?}\n", snapshot.book().savesets().collect::<Vec<_>>());
    for (pattern, ignore_case) in [("one", true), ("*.txt", false), ("e", false)] {
        text.push_str(&format!("{:?}\n", search(snapshot, pattern, ignore_case, 1000)));
    }
    for strand in all(snapshot) {
        let history = snapshot.history(strand, b"/a", b"one.txt").unwrap();
        text.push_str(&format!("{history:?}\n"));
    }
    text
}
