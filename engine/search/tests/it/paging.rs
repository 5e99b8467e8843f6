//! Pages: newest first, whatever way the answer is found, and filters.

use std::collections::BTreeSet;

use simsim_model::{DomainId, Kind};
use simsim_search::{EntryKind, Index, PageMark, Pattern, Query, Version};

use crate::fixture::{Tree, all, bring, id, search, small, version};

/// 30 savesets of 400 files each, a tenth of which change: enough for the walk.
fn many(index: &Index) {
    let mut tree = Tree::new();
    let mut old: Option<Tree> = None;
    for saveset in 0..30u32 {
        for file in 0..400u32 {
            if saveset == 0 || (file + saveset) % 10 == 0 {
                let path = (
                    format!("/data/{}", file / 7).into_bytes(),
                    format!("file-{file:03}.txt").into_bytes(),
                );
                tree.insert(path, version(u64::from(saveset * 1000 + file)));
            }
        }
        bring(index, ("web", "many"), saveset, old.as_ref(), &tree).unwrap();
        old = Some(tree.clone());
        while index.tidy().unwrap() {}
    }
}

#[test]
fn pages_of_any_size_are_the_same_answer_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    many(&index);
    let snapshot = index.snapshot();
    for pattern in ["file", "*.txt", "e", "file-007.txt", "**/1?/file*", "nothing-like-it"] {
        let whole = search(&snapshot, pattern, false, 100_000);
        let order = |hit: &simsim_search::Hit| {
            (std::cmp::Reverse(hit.first_unix_ns), hit.parent.clone(), hit.name.clone())
        };
        assert!(whole.is_sorted_by_key(order), "{pattern}: newest first, then by path");
        for limit in [1, 7, 400] {
            assert_eq!(search(&snapshot, pattern, false, limit), whole, "{pattern} by {limit}");
        }
    }
    assert_eq!(search(&snapshot, "file", false, 1000).len(), 400 + 29 * 40);
    // A run of one saveset: the names do not lead to a page of their own for each.
    assert!(snapshot.figures().runs < 16, "{:?}", snapshot.figures());
}

#[test]
fn a_search_within_a_time_finds_what_savesets_of_then_have() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    many(&index);
    let snapshot = index.snapshot();
    let strands = all(&snapshot);
    let at = |saveset: i64| Some(saveset * 1_000_000_000);
    for text in ["file-003.txt", "e"] {
        let pattern = Pattern::new(text, false).unwrap();
        let ask = |since, until, kind| {
            let (mut hits, mut after) = (Vec::new(), None);
            loop {
                let query = Query {
                    pattern: &pattern,
                    strands: &strands,
                    since_unix_ns: since,
                    until_unix_ns: until,
                    kind,
                    limit: 10_000,
                    after: after.as_ref(),
                };
                // A page may end before its limit.
                let page = snapshot.search(&query).unwrap();
                hits.extend(page.hits);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            hits.into_iter().filter(|hit| hit.name == b"file-003.txt").collect::<Vec<_>>()
        };
        // It changes with savesets 7, 17 and 27.
        let sizes = |hits: &[simsim_search::Hit]| -> Vec<u64> {
            hits.iter().map(|hit| hit.version.size).collect()
        };
        assert_eq!(sizes(&ask(None, None, None)), [27_003, 17_003, 7003, 3]);
        let hits = ask(at(8), at(18), None);
        assert_eq!(sizes(&hits), [17_003, 7003]);
        assert_eq!((hits[1].first, hits[1].last, hits[1].savesets), (id(8), id(16), 9));
        assert!(hits[1].ended && hits[0].ended);
        assert_eq!(sizes(&ask(at(8), at(9), None)), [7003]);
        assert_eq!(sizes(&ask(at(28), None, None)), [27_003]);
        assert!(!ask(at(28), None, None)[0].ended);
        assert!(ask(at(30), None, None).is_empty() && ask(None, Some(-1), None).is_empty());
        assert!(ask(None, None, Some(EntryKind::Directory)).is_empty());
        assert_eq!(ask(None, None, Some(EntryKind::File)).len(), 4);
    }
}

#[test]
fn nothing_is_found_in_strands_that_were_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let index = small(folder.path());
    let snapshot = index.snapshot();
    for strand in all(&snapshot) {
        let strands = BTreeSet::from([strand]);
        for text in ["one", "e", "*o*e*"] {
            let pattern = Pattern::new(text, true).unwrap();
            let query = Query {
                pattern: &pattern,
                strands: &strands,
                since_unix_ns: None,
                until_unix_ns: None,
                kind: None,
                limit: 100,
                after: None,
            };
            let hits = snapshot.search(&query).unwrap().hits;
            assert!(!hits.is_empty() && hits.iter().all(|hit| hit.strand == strand), "{hits:?}");
        }
    }
}

#[test]
fn a_mark_of_another_index_is_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (small(one.path()), small(other.path()));
    let pattern = Pattern::new("e", false).unwrap();
    let strands = all(&one.snapshot());
    let query = |after| Query {
        pattern: &pattern,
        strands: &strands,
        since_unix_ns: None,
        until_unix_ns: None,
        kind: None,
        limit: 1,
        after,
    };
    let mark = one.snapshot().search(&query(None)).unwrap().next.unwrap();
    assert!(one.snapshot().search(&query(Some(&mark))).is_ok());
    let error = other.snapshot().search(&query(Some(&mark))).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("made anew"), "{error}");
    for text in ["", "x", "00", "zz00", &mark.to_text()[..20]] {
        assert!(PageMark::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_saveset_of_many_parts_is_one_run_and_what_was_deleted_goes_with_the_merges() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path()).unwrap();
    let files = 150_000u32;
    let mut update = index.begin(id(1), 1, None, (DomainId([1; 16]), "web", "large"));
    // Not in order, so that the parts overlap.
    for file in 0..files {
        let file = file.wrapping_mul(7919) % files;
        let parent = format!("/srv/{:04}", file % 5000);
        let version = Version { kind: EntryKind::File, size: u64::from(file), mtime_unix_s: -5 };
        update.push(parent.as_bytes(), format!("n{file}").as_bytes(), Some(version)).unwrap();
    }
    assert_eq!(update.changes(), u64::from(files));
    update.commit().unwrap();
    let figures = index.snapshot().figures();
    assert_eq!((figures.runs, figures.versions), (1, u64::from(files)));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the book and the run: {left:?}");
    assert_eq!(search(&index.snapshot(), "n149999", false, 10).len(), 1);
    assert_eq!(search(&index.snapshot(), "n14", false, 900).len(), 11_111);
    let gone = std::collections::HashSet::from([id(1)]);
    assert!(index.remove(&gone).unwrap() && !index.remove(&gone).unwrap());
    assert!(search(&index.snapshot(), "n149999", false, 10).is_empty());
    while index.tidy().unwrap() {}
    assert_eq!(index.snapshot().figures().bytes, 0);
}
