//! A crash at each step leaves the index before or after, and never another one.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use simsim_search::Index;

use crate::fixture::{bring, id, seen, small, tree};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Does something, keeps what lies on the disk after each of its steps, and opens each of these.
fn killed_at_each_step(work: impl FnOnce(&Index)) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("index");
    let index = small(&folder);
    let before = seen(&index.snapshot());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let watcher = {
        let (kept, folder, scratch) =
            (Arc::clone(&kept), folder.clone(), scratch.path().to_owned());
        move |step: &'static str| {
            let to = scratch.join(format!("copy-{}", kept.lock().len()));
            copy(&folder, &to);
            kept.lock().push((step, to));
        }
    };
    index.watch_steps(Box::new(watcher));
    work(&index);
    let after = seen(&index.snapshot());
    let kept = kept.lock();
    for (step, copy) in kept.iter() {
        let opened = Index::open(copy).unwrap();
        let now = seen(&opened.snapshot());
        assert!(now == before || now == after, "{step}: {now}\nbefore: {before}\nafter: {after}");
        let names = std::fs::read_dir(copy).unwrap().map(|one| one.unwrap().file_name());
        let files = names.count() as u64;
        assert_eq!(files, opened.snapshot().figures().runs + 1, "{step}: what was left is removed");
        // And it goes on.
        bring(&opened, ("new", "new"), 99, None, &tree(&[("/one", 1)])).unwrap();
        while opened.tidy().unwrap() {}
    }
    kept.len()
}

#[test]
fn killed_while_a_saveset_is_brought_in() {
    let steps = killed_at_each_step(|index| {
        let old = tree(&[("/a/one.txt", 10), ("/b/One.TXT", 3), ("/c/three", 4)]);
        bring(index, ("web", "home"), 4, Some(&old), &tree(&[("/a/one.txt", 77)])).unwrap();
    });
    assert_eq!(steps, 3);
}

#[test]
fn killed_while_savesets_are_taken_away() {
    let steps = killed_at_each_step(|index| {
        index.remove(&HashSet::from([id(1), id(3)])).unwrap();
    });
    assert_eq!(steps, 2);
}

#[test]
fn killed_in_the_middle_of_a_merge() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("index");
    let index = small(&folder);
    for number in 10..20 {
        bring(&index, ("web", &format!("t{number}")), number, None, &tree(&[("/x", 1)])).unwrap();
    }
    let before = seen(&index.snapshot());
    let copies = Arc::new(Mutex::new(0));
    let (counter, from, to) = (Arc::clone(&copies), folder.clone(), scratch.path().to_owned());
    index.watch_steps(Box::new(move |_| {
        copy(&from, &to.join(format!("copy-{}", counter.lock())));
        *counter.lock() += 1;
    }));
    assert!(index.tidy().unwrap());
    assert_eq!(*copies.lock(), 4);
    for number in 0..4 {
        let opened = Index::open(&scratch.path().join(format!("copy-{number}"))).unwrap();
        assert_eq!(seen(&opened.snapshot()), before);
        while opened.tidy().unwrap() {}
        assert_eq!(seen(&opened.snapshot()), before);
    }
}

#[test]
fn an_update_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = small(folder.path());
    let before = seen(&index.snapshot());
    let mut update = index.begin(id(8), 8, None, (crate::fixture::DOMAIN, "web", "home"));
    for file in 0..70_000 {
        let name = format!("{file}");
        update.push(b"/x", name.as_bytes(), Some(crate::fixture::version(1))).unwrap();
    }
    drop(update);
    assert_eq!(seen(&index.snapshot()), before);
    let files = std::fs::read_dir(folder.path()).unwrap().count() as u64;
    assert_eq!(files, index.snapshot().figures().runs + 1);
}
