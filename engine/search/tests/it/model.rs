//! The index against a model that keeps every saveset as a whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;
use simsim_search::{Index, Pattern};

use crate::fixture::{Tree, bring, id, search, version};

#[derive(Debug, Clone)]
enum Step {
    /// A saveset of a task: what of its files change, by number and size; 0: gone.
    Save(u8, Vec<(u8, u8)>),
    /// The saveset before it cannot be read: the next one of the task begins a strand.
    SaveWhole(u8, Vec<(u8, u8)>),
    Delete(u8),
    Tidy,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec((any::<u8>(), 0u8..4), 0..12);
    prop_oneof![
        8 => (0u8..3, changes()).prop_map(|(task, changes)| Step::Save(task, changes)),
        1 => (0u8..3, changes()).prop_map(|(task, changes)| Step::SaveWhole(task, changes)),
        3 => any::<u8>().prop_map(Step::Delete),
        3 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
    ]
}

/// Few folders, names that share much, some bytes that are no text.
fn path(number: u8) -> (Vec<u8>, Vec<u8>) {
    let parents: [&[u8]; 4] = [b"/", b"/srv", b"/srv/mail", b"/srv/m\xffil"];
    let names: [&[u8]; 8] =
        [b"a", b"report.txt", b"Report.TXT", b"re", b"port.\xfe", b"x.c", b"repo", b"rt.txt.old"];
    let number = number as usize % 32;
    (parents[number / 8].to_vec(), names[number % 8].to_vec())
}

#[derive(Default)]
struct Model {
    /// Number, task, and what was in it.
    savesets: BTreeMap<u32, (u8, Tree)>,
    /// What the next saveset of a task is compared with.
    tips: BTreeMap<u8, (u32, Tree)>,
}

type Seen = BTreeSet<(u8, Vec<u8>, Vec<u8>, u64, u32)>;

impl Model {
    /// Each path with each version in each saveset.
    fn found(&self, pattern: &Pattern) -> Seen {
        let all = self.savesets.iter().flat_map(|(number, (task, tree))| {
            tree.iter().map(move |(path, version)| (*number, *task, path, version))
        });
        all.filter(|(_, _, (parent, name), _)| pattern.fits(parent, name))
            .map(|(number, task, (parent, name), version)| {
                (task, parent.clone(), name.clone(), version.size, number)
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_as_savesets_that_are_kept_whole(steps in prop::collection::vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut index = Index::open(folder.path()).unwrap();
        let mut model = Model::default();
        let mut next = 1;
        for step in steps {
            match step {
                Step::Save(task, changes) => {
                    save(&index, &mut model, next, task, &changes, false);
                    next += 1;
                }
                Step::SaveWhole(task, changes) => {
                    save(&index, &mut model, next, task, &changes, true);
                    next += 1;
                }
                Step::Delete(which) => {
                    let numbers: Vec<u32> = model.savesets.keys().copied().collect();
                    if let Some(number) = numbers.get(which as usize % numbers.len().max(1)) {
                        prop_assert!(index.remove(&HashSet::from([id(*number)])).unwrap());
                        model.savesets.remove(number);
                        model.tips.retain(|_, (tip, _)| tip != number);
                    }
                }
                Step::Tidy => while index.tidy().unwrap() {},
                Step::Reopen => {
                    drop(index);
                    index = Index::open(folder.path()).unwrap();
                }
            }
            check(&index, &model)?;
        }
    }
}

fn save(
    index: &Index,
    model: &mut Model,
    number: u32,
    task: u8,
    changes: &[(u8, u8)],
    whole: bool,
) {
    let old = model.tips.get(&task).map(|(_, tree)| tree.clone());
    let mut tree = old.clone().unwrap_or_default();
    for (file, size) in changes {
        match size {
            0 => drop(tree.remove(&path(*file))),
            size => drop(tree.insert(path(*file), version(u64::from(*size)))),
        }
    }
    let name = format!("task-{task}");
    let base = old.as_ref().filter(|_| !whole);
    bring(index, ("web", &name), number, base, &tree).unwrap();
    model.savesets.insert(number, (task, tree.clone()));
    model.tips.insert(task, (number, tree));
}

fn check(index: &Index, model: &Model) -> Result<(), TestCaseError> {
    let snapshot = index.snapshot();
    let number = |saveset: &simsim_model::SavesetId| {
        u32::from_be_bytes([saveset.0[0], saveset.0[1], saveset.0[2], saveset.0[3]])
    };
    let patterns = [
        ("port", false),
        ("report", true),
        ("*.txt", false),
        ("/srv/*", false),
        ("a", false),
        ("\\xff", false),
    ];
    for (text, ignore_case) in patterns {
        let pattern = Pattern::new(text, ignore_case).unwrap();
        let expected = model.found(&pattern);
        let hits = search(&snapshot, text, ignore_case, 3);
        let mut found = Seen::new();
        let mut times = Vec::new();
        for hit in &hits {
            let strand = snapshot.book().strand(hit.strand).unwrap();
            let task: u8 = strand.task.strip_prefix("task-").unwrap().parse().unwrap();
            let (first, last) = (number(&hit.first), number(&hit.last));
            let mut count = 0;
            for (saveset, (of, _)) in model.savesets.range(first..=last) {
                let same =
                    snapshot.book().savesets_of(hit.strand).any(|one| one.saveset == id(*saveset));
                if *of == task && same {
                    count += 1;
                    let one =
                        (task, hit.parent.clone(), hit.name.clone(), hit.version.size, *saveset);
                    prop_assert!(found.insert(one), "no version twice: {hit:?}");
                }
            }
            prop_assert_eq!(count, hit.savesets);
            times.push(first);
        }
        prop_assert_eq!(&found, &expected, "pattern {}", text);
    }
    for (saveset, (task, tree)) in &model.savesets {
        for parent in [b"/".as_slice(), b"/srv", b"/srv/mail", b"/srv/m\xffil"] {
            let expected: Vec<(Vec<u8>, u64)> = tree
                .iter()
                .filter(|((of, _), _)| of == parent)
                .map(|((_, name), version)| (name.clone(), version.size))
                .collect();
            let mut listed = Vec::new();
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page =
                    snapshot.folder(&id(*saveset), parent, after.as_deref(), 2).unwrap().unwrap();
                after = page.entries.last().map(|entry| entry.name.clone());
                listed.extend(page.entries.into_iter().map(|one| (one.name, one.version.size)));
                if !page.more {
                    break;
                }
            }
            prop_assert_eq!(listed, expected);
        }
        let strand =
            snapshot.book().savesets().find(|one| one.saveset == id(*saveset)).unwrap().strand;
        let (parent, name) = path(1);
        let history = snapshot.history(strand, &parent, &name).unwrap();
        let there = history.iter().find(|span| {
            (number(&span.first.saveset)..=number(&span.last.saveset)).contains(saveset)
        });
        let expected = tree.get(&(parent, name)).copied();
        prop_assert_eq!(there.and_then(|span| span.version), expected, "task {}", task);
    }
    Ok(())
}
