//! Random trees come back as they were.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use simsim_source::WalkOptions;

use crate::copier::assert_copies;

#[derive(Debug, Clone)]
enum Tree {
    File { bytes: Vec<u8>, mode: u32 },
    Link(String),
    Dir { children: Vec<(String, Tree)>, mode: u32 },
}

fn tree() -> impl Strategy<Value = Tree> {
    let mode = prop_oneof![Just(0o644_u32), Just(0o400), Just(0o755), Just(0o1777)];
    let leaf = prop_oneof![
        (proptest::collection::vec(any::<u8>(), 0..300), mode.clone())
            .prop_map(|(bytes, mode)| Tree::File { bytes, mode: mode & 0o777 }),
        "[a-z./]{1,20}".prop_map(Tree::Link),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        (proptest::collection::vec(("[a-cA-C.\u{e4}]{1,3}x", inner), 0..6), mode.clone())
            .prop_map(|(children, mode)| Tree::Dir { children, mode: mode | 0o700 })
    })
}

fn build(path: &Path, tree: &Tree) {
    use std::os::unix::fs::PermissionsExt;
    let set = |mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    match tree {
        Tree::File { bytes, mode } => {
            fs::write(path, bytes).unwrap();
            set(*mode);
        }
        Tree::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
        Tree::Dir { children, mode } => {
            fs::create_dir(path).unwrap();
            for (name, child) in children {
                let path = path.join(name);
                if path.symlink_metadata().is_err() {
                    build(&path, child);
                }
            }
            set(*mode);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn fid18_any_tree_comes_back(tree in tree(), threads in 1_usize..4) {
        let home = tempfile::tempdir().unwrap();
        let from = home.path().join("from");
        fs::create_dir(&from).unwrap();
        build(&from.join("top"), &tree);
        let options = WalkOptions { threads, ..WalkOptions::default() };
        assert_copies(&from, &home.path().join("to"), options);
    }
}
