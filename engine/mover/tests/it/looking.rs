//! Listings, searches and comparisons that come in pages.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use simsim_mover::look::{self, Page, Pattern};
use simsim_mover::tree::{Change, Found, Tree};
use tempfile::tempdir;

use crate::memory::Memory;
use crate::round_trip::{back_up, key, saveset};

/// Names that sort differently as whole paths than as parts: `-` and `.` come before `/`.
fn sample(at: &Path) {
    for folder in ["a", "a-b", "a.b/c", "a/a", "a/z", "b/c/d/e", "z"] {
        fs::create_dir_all(at.join(folder)).unwrap();
        for file in ["1.txt", "2.bin", "a", "zz.txt"] {
            fs::write(at.join(folder).join(format!("_{file}")), format!("{folder}/{file}"))
                .unwrap();
        }
    }
}

/// All pages of `limit` items, one after the other; each begins after the last item before it.
fn walked<T: Clone>(
    limit: usize,
    name: impl Fn(&T) -> Vec<u8>,
    ask: impl Fn(Option<&[u8]>) -> Page<T>,
) -> Vec<T> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ask(after.as_deref());
        assert!(page.items.len() <= limit);
        assert!(!page.more || page.items.len() == limit, "a page that is cut is a full one");
        after = page.items.last().map(&name);
        all.extend(page.items);
        if !page.more {
            return all;
        }
    }
}

#[test]
fn pages_of_every_size_hold_all_of_it_and_nothing_twice() {
    let store = Arc::new(Memory::default());
    let folder = tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    sample(&from);
    back_up(&store, &from, 1, None);
    for path in ["a/_1.txt", "a/z/_a", "b/c/d/e/_2.bin", "z/_zz.txt"] {
        fs::write(from.join(path), "changed").unwrap();
    }
    fs::remove_dir_all(from.join("a.b")).unwrap();
    fs::create_dir(from.join("a+b")).unwrap();
    fs::remove_file(from.join("b/c/d/e/_a")).unwrap();
    back_up(&store, &from, 2, Some(1));
    let open = |number| Tree::open(store.clone(), key(), saveset(number)).unwrap();
    let (old, new) = (open(1), open(2));
    let at = from.as_os_str().as_bytes();
    let path_of = |found: &Found| found.path.clone();

    let mut whole = Vec::new();
    old.walk(b"/", &mut |found| {
        whole.push(found.path);
        true
    })
    .unwrap();
    let mut differences = Vec::new();
    old.diff(&new, at, &mut |path, change| differences.push((path, change))).unwrap();
    assert!(differences.len() > 6, "{differences:?}");
    let every = Pattern::new("*").unwrap();
    let texts = Pattern::new("**/*.txt").unwrap();
    for limit in [1, 2, 3, 7, 1000] {
        let found =
            walked(limit, path_of, |after| look::find(&old, b"/", &every, after, limit).unwrap());
        // The root has no name and is not found.
        assert!(found.iter().map(path_of).eq(whole.iter().skip(1).cloned()), "{limit}");
        let found =
            walked(limit, path_of, |after| look::find(&old, at, &texts, after, limit).unwrap());
        let named = whole.iter().filter(|path| path.ends_with(b".txt")).cloned();
        assert!(found.iter().map(path_of).eq(named), "{limit}");
        let changes = walked(
            limit,
            |(path, _): &(Vec<u8>, Change)| path.clone(),
            |after| look::diff(&old, &new, at, after, limit).unwrap(),
        );
        assert_eq!(changes, differences, "{limit}");
        let name = |found: &Found| found.entry.name.clone();
        let listed = walked(limit, name, |after| look::list(&old, at, after, limit).unwrap());
        let listed: Vec<_> = listed.iter().map(name).collect();
        assert_eq!(listed, [&b"a"[..], b"a-b", b"a.b", b"b", b"z"], "{limit}");
    }
    let one = [at, b"/a/_1.txt"].concat();
    let page = look::list(&old, &one, None, 10).unwrap();
    assert_eq!((page.items.len(), page.items[0].path.as_slice()), (1, one.as_slice()));
    assert!(Pattern::new("[").is_err());
}
