//! What a walk takes of a file system at most, and what a restore makes only when asked for.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, XattrFlags, makedev, mkdirat, mknodat, openat, setxattr};
use rustix::io::Errno;
use simsim_format::EntryKind;
use simsim_model::limits::{
    PATH_BYTES_MAX, PATH_DEPTH_MAX, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX,
};
use simsim_model::{Problem, ProblemKind};
use simsim_source::{FsSink, Item, SinkOptions, Source, WalkOptions};
use simsim_testkit::{Scratch, SmallFs, skip};

use crate::copier::{ALL, bytes, entry, source};
use crate::not_root;

/// Folders in one another below `root`, and a file in the innermost one.
fn make(root: &Path, folders: &[String]) {
    let mut dir = OwnedFd::from(fs::File::open(root).unwrap());
    for name in folders {
        mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = openat(&dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    openat(&dir, "leaf", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).unwrap();
}

/// Folders that were entered, files, folders that could not be read, and problems.
fn walked(root: &Path) -> (usize, usize, usize, Vec<Problem>) {
    let mut walk = source(root, WalkOptions::default());
    let (mut folders, mut files, mut unread, mut problems) = (0, 0, 0, Vec::new());
    while let Some(item) = walk.next() {
        match item {
            Item::Enter(found) => {
                folders += 1;
                unread += usize::from(found.unreadable);
            }
            Item::Leave => {}
            Item::Leaf(_) => files += 1,
            Item::Problem(problem) => problems.push(problem),
        }
    }
    (folders, files, unread, problems)
}

/// A tree at the limit is walked whole; of one past it the folder that is past it is one problem.
fn holds(at_the_limit: &dyn Fn(&Path) -> Vec<String>, one_past: &dyn Fn(&Path) -> Vec<String>) {
    let home = Scratch::new();
    let root = home.path().canonicalize().unwrap();
    // The root and what leads to the folder.
    let above = root.components().count();
    let folders = at_the_limit(&root);
    make(&root, &folders);
    assert_eq!(walked(&root), (above + folders.len(), 1, 0, Vec::new()));

    let home = Scratch::new();
    let root = home.path().canonicalize().unwrap();
    let folders = one_past(&root);
    make(&root, &folders);
    let (entered, files, unread, problems) = walked(&root);
    assert_eq!((entered, files, unread), (above + folders.len(), 0, 1));
    let [problem] = &problems[..] else { panic!("{} problems", problems.len()) };
    assert_eq!(problem.kind, ProblemKind::Unreadable);
    let limits = "deeper than 2048 directories or 32768 bytes of path";
    assert!(problem.message.contains(limits), "{}", problem.message);
}

#[test]
fn a_tree_as_deep_as_the_limit_is_walked_and_a_folder_one_deeper_is_reported() {
    let deep = |root: &Path, depth| vec!["d".to_owned(); depth + 1 - root.components().count()];
    let exactly = |root: &Path| deep(root, PATH_DEPTH_MAX);
    holds(&exactly, &|root| deep(root, PATH_DEPTH_MAX + 1));
}

#[test]
fn a_path_as_long_as_the_limit_is_walked_and_one_byte_more_is_reported() {
    let long = |root: &Path, length: usize| {
        let mut left = length - bytes(root).len();
        let mut folders = Vec::new();
        while left > 0 {
            // Never one byte alone: a slash and no name.
            let part = match left {
                257.. => 200,
                201.. => 128,
                last => last,
            };
            folders.push("d".repeat(part - 1));
            left -= part;
        }
        folders
    };
    let exactly = |root: &Path| long(root, PATH_BYTES_MAX);
    holds(&exactly, &|root| long(root, PATH_BYTES_MAX + 1));
}

#[test]
fn attributes_are_read_up_to_the_limits_of_one_and_of_all() {
    let small = match SmallFs::tmpfs(64 << 20, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let root = small.path().canonicalize().unwrap();
    let set = |file: &str, name: &str, bytes: usize| {
        setxattr(root.join(file), name, &vec![b'v'; bytes], XattrFlags::empty())
    };
    // 16 attributes: fifteen whole ones, and one that fills up to so many bytes with all names.
    let names: Vec<String> = (0..16).map(|at| format!("trusted.a{at:02}")).collect();
    let all_names: usize = names.iter().map(String::len).sum();
    for (file, all) in [("at", XATTRS_BYTES_MAX), ("past", XATTRS_BYTES_MAX + 1)] {
        fs::write(root.join(file), b"x").unwrap();
        for name in &names[1..] {
            set(file, name, XATTR_VALUE_BYTES_MAX).unwrap();
        }
        set(file, &names[0], all - all_names - 15 * XATTR_VALUE_BYTES_MAX).unwrap();
    }
    // Longer values do not exist: nothing is ever read by halves.
    assert_eq!(set("at", "trusted.b", XATTR_VALUE_BYTES_MAX + 1), Err(Errno::TOOBIG));

    let mut walk = source(&root, WalkOptions::default());
    let mut seen = 0;
    while let Some(item) = walk.next() {
        let Item::Leaf(found) = item else { continue };
        let details = found.place.details(&found.name, &found.stat).unwrap();
        let sizes = details.xattrs.iter().map(|(name, value)| name.len() + value.len());
        let (count, all): (usize, usize) = (details.xattrs.len(), sizes.sum());
        if found.name == b"at" {
            assert_eq!((count, all, &details.problems[..]), (16, XATTRS_BYTES_MAX, &[][..]));
        } else {
            assert_eq!(count, 15);
            let [problem] = &details.problems[..] else { panic!("{:?}", details.problems) };
            assert!(problem.contains("more than 1048576 bytes"), "{problem}");
        }
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn device_nodes_are_made_only_when_asked_for() {
    if not_root("device nodes") {
        return;
    }
    let home = Scratch::new();
    let kinds = [
        ("char", EntryKind::CharDevice { major: 1, minor: 3 }),
        ("block", EntryKind::BlockDevice { major: 7, minor: 0 }),
    ];
    let probe = home.path().join("probe");
    let made =
        mknodat(rustix::fs::CWD, &probe, FileType::CharacterDevice, Mode::RUSR, makedev(1, 3));
    if let Err(error) = made {
        return skip(&format!("device nodes cannot be made here: {error}"));
    }
    for specials in [false, true] {
        let to = home.path().join(format!("{specials}"));
        let sink = FsSink::open(&to, SinkOptions { specials, ..ALL }).unwrap();
        for (name, kind) in &kinds {
            let placed = sink.special(&sink.root(), &entry(name.as_bytes(), kind.clone(), 0));
            let kept = placed.unwrap().kept;
            let there = fs::symlink_metadata(to.join(name));
            if specials {
                assert!(kept.is_none(), "{kept:?}");
                let made = there.unwrap().file_type();
                assert!(made.is_char_device() || made.is_block_device());
            } else {
                let kept = kept.expect("left out");
                assert!(!kept.right && kept.reason.contains("only when asked for"), "{kept:?}");
                assert!(there.is_err(), "{name} was made");
            }
        }
    }
}
