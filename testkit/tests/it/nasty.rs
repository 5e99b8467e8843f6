//! The nasty tree holds what it promises, can be compared and goes away.

use std::collections::BTreeSet;

use simsim_testkit::{
    Privileges, Scratch, SmallFs, compare_trees, is_root, nasty_tree, remove_tree,
};

#[test]
fn two_builds_are_equal_and_removal_is_complete() {
    let scratch = Scratch::new();
    let (left, right) = (scratch.folder("left"), scratch.folder("right"));
    let made = nasty_tree(&left, Privileges::of_process()).unwrap();
    nasty_tree(&right, Privileges::of_process()).unwrap();
    for part in &made.left_out {
        println!("left out: {}: {}", part.part, part.reason);
    }
    // Times of what no case sets are those of the build: only they may differ.
    let found = compare_trees(&left, &right);
    let others: Vec<_> = found
        .iter()
        .filter(|difference| !matches!(difference.what, simsim_testkit::What::Time { .. }))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let place = scratch.path().to_path_buf();
    drop(scratch);
    assert!(!place.exists());
}

#[test]
fn each_case_of_the_catalogue_has_its_folder() {
    let scratch = Scratch::new();
    let root = scratch.folder("tree");
    let made = nasty_tree(&root, Privileges::of_process()).unwrap();
    let ids: BTreeSet<&str> = made.cases.iter().filter_map(|case| case.split('-').next()).collect();
    for id in [
        "fid01", "fid02", "fid03", "fid04", "fid05", "fid06", "fid07", "fid08", "fid09", "fid11",
        "fid12", "fid13", "fid14", "fid16", "fid17",
    ] {
        assert!(ids.contains(id), "{id}");
    }
    for case in &made.cases {
        let filled = std::fs::read_dir(root.join(case)).unwrap().count();
        // Without root, the owners' case has nothing to show.
        assert!(filled > 0 || *case == "owners", "{case}");
    }
}

#[test]
fn what_cannot_be_made_is_named() {
    let scratch = Scratch::new();
    let made = nasty_tree(&scratch.folder("tree"), Privileges::User).unwrap();
    for part in ["fid03", "fid04", "fid12", "owners", "modes"] {
        assert!(made.left_out.iter().any(|left| left.part.starts_with(part)), "{part}");
    }
}

#[test]
fn a_full_file_system_is_an_error_and_no_smaller_tree() {
    let small = match SmallFs::tmpfs(1 << 20, None) {
        Ok(small) => small,
        Err(why) => return simsim_testkit::skip(&why),
    };
    // A part that does not fit may be left out; a case that does not fit may not.
    let error = nasty_tree(small.path(), Privileges::of_process()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("case fid"), "{error}");
}

#[test]
fn removal_takes_a_missing_tree_for_removed_and_follows_no_link() {
    let scratch = Scratch::new();
    remove_tree(&scratch.path().join("never-was")).unwrap();
    let (kept, gone) = (scratch.folder("kept"), scratch.folder("gone"));
    std::fs::write(kept.join("file"), "stays").unwrap();
    std::os::unix::fs::symlink(&kept, gone.join("link")).unwrap();
    std::fs::create_dir(gone.join("locked")).unwrap();
    std::fs::write(gone.join("locked/file"), "goes").unwrap();
    use std::os::unix::fs::PermissionsExt;
    let none = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(gone.join("locked"), none).unwrap();
    remove_tree(&gone).unwrap();
    assert!(!gone.exists());
    assert_eq!(std::fs::read(kept.join("file")).unwrap(), b"stays");
}

#[test]
fn root_leaves_out_little() {
    if !is_root() {
        return simsim_testkit::skip("needs root");
    }
    let scratch = Scratch::new();
    let made = nasty_tree(&scratch.folder("tree"), Privileges::Root).unwrap();
    assert!(made.left_out.len() < 6, "{:?}", made.left_out);
}

#[test]
fn a_copy_by_another_tool_differs_in_what_that_tool_leaves_out() {
    let scratch = Scratch::new();
    let (left, right) = (scratch.folder("left"), scratch.path().join("right"));
    let made = nasty_tree(&left, Privileges::of_process()).unwrap();
    // Paths beyond PATH_MAX are more than this tool can do.
    remove_tree(&left.join("depth")).unwrap();
    let mut copy = std::process::Command::new("cp");
    let done = copy.args(["-a", "--sparse=auto"]).arg(&left).arg(&right).status();
    if !done.is_ok_and(|status| status.success()) {
        return simsim_testkit::skip("no cp that can copy everything");
    }
    let found = compare_trees(&left, &right);
    let others: Vec<_> = found
        .iter()
        // cp sets no file flags.
        .filter(|difference| !matches!(difference.what, simsim_testkit::What::Flags { .. }))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    if !made.left_out.iter().any(|left| left.part.starts_with("fid04")) {
        assert!(!found.is_empty(), "flags are left out by cp, and must be missed");
    }
}
