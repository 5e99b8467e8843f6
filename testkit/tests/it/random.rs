//! Random trees are the same for the same seed, differ between seeds, and stay consistent.

use simsim_testkit::{Aspects, RandomTree, Scratch, compare_trees_in, random_tree};

const NO_TIMES: Aspects = Aspects { times: false, ..Aspects::ALL };

#[test]
fn the_same_seed_makes_the_same_tree() {
    for seed in 0..6 {
        let scratch = Scratch::new();
        let (left, right) = (scratch.folder("left"), scratch.folder("right"));
        let made = random_tree(&left, seed, 60).unwrap();
        random_tree(&right, seed, 60).unwrap();
        assert_eq!(compare_trees_in(&left, &right, &NO_TIMES), [], "seed {seed}: {:#?}", made.log);
    }
}

#[test]
fn another_seed_makes_another_tree() {
    let scratch = Scratch::new();
    let (left, right) = (scratch.folder("left"), scratch.folder("right"));
    random_tree(&left, 1, 20).unwrap();
    random_tree(&right, 2, 20).unwrap();
    assert!(!compare_trees_in(&left, &right, &NO_TIMES).is_empty());
}

#[test]
fn edits_change_the_tree_and_the_count_stays_true() {
    let scratch = Scratch::new();
    let root = scratch.folder("tree");
    let mut tree = RandomTree::new(&root, 3);
    tree.grow(40).unwrap();
    assert_eq!(tree.len(), 40);
    for _ in 0..10 {
        tree.edit(20).unwrap();
        assert_eq!(tree.len(), count(&root), "{:#?}", tree.log);
    }
    // Over two hundred edits each kind has happened.
    for word in ["chmod", "rename", "delete", "append", "replace", "insert", "put the time back"] {
        assert!(tree.log.iter().any(|line| line.contains(word)), "{word}");
    }
}

fn count(root: &std::path::Path) -> usize {
    let mut entries = 0;
    let mut stack = vec![root.to_path_buf()];
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            entries += 1;
            if path.symlink_metadata().unwrap().is_dir() {
                stack.push(path);
            }
        }
    }
    entries
}
