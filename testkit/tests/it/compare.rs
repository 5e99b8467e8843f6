//! Every kind of difference is found, alone, and equal trees have none.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use simsim_testkit::{
    Aspects, Difference, Scratch, What, compare_trees, compare_trees_in, is_root, skip,
};

const TIME_S: u64 = 1_600_000_000;

/// One of everything, the same each time.
fn build(root: &Path) {
    fs::create_dir(root).unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("folder/file"), b"content").unwrap();
    fs::write(root.join("big"), vec![7u8; 400_000]).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"x", 1 << 20).unwrap();
    symlink("target", root.join("link")).unwrap();
    fs::hard_link(root.join("folder/file"), root.join("twin")).unwrap();
    fs::write(root.join("alone"), b"content").unwrap();
    make_pipe(&root.join("pipe"));
    settle(root);
}

fn make_pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Gives everything one time again, folders last.
fn settle(root: &Path) {
    let mut stack = vec![root.to_path_buf()];
    while let Some(path) = stack.pop() {
        set_time(&path, TIME_S);
        if path.symlink_metadata().unwrap().is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

fn set_time(path: &Path, seconds: u64) {
    use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds as i64, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Builds two equal trees, changes the second, and returns what is found.
fn differences(change: impl FnOnce(&Path)) -> Vec<Difference> {
    let scratch = Scratch::new();
    let (left, right) = (scratch.path().join("left"), scratch.path().join("right"));
    build(&left);
    build(&right);
    assert_eq!(compare_trees(&left, &right), [], "equal before the change");
    change(&right);
    compare_trees(&left, &right)
}

/// The change must show as exactly this at exactly this path.
#[track_caller]
fn shows(path: &str, expected: impl Fn(&What) -> bool, change: impl FnOnce(&Path)) {
    let found = differences(|root| {
        change(root);
    });
    let here: Vec<_> = found.iter().filter(|d| d.path == path.as_bytes()).collect();
    assert!(here.iter().any(|d| expected(&d.what)), "{path}: {found:?}");
    assert_eq!(here.len(), 1, "{path}: {found:?}");
}

fn keep_time(path: PathBuf, change: impl FnOnce(&Path)) {
    change(&path);
    set_time(&path, TIME_S);
}

#[test]
fn names_on_one_side_are_found() {
    shows(
        "alone",
        |what| *what == What::OnlyLeft,
        |root| fs::remove_file(root.join("alone")).unwrap(),
    );
    shows("new", |what| *what == What::OnlyRight, |root| fs::write(root.join("new"), "").unwrap());
}

#[test]
fn another_type_is_found() {
    shows(
        "alone",
        |what| matches!(what, What::Type { .. }),
        |root| {
            fs::remove_file(root.join("alone")).unwrap();
            symlink("content", root.join("alone")).unwrap();
        },
    );
}

#[test]
fn one_byte_of_content_is_found_where_it_is() {
    for offset in [0, 131_071, 131_072, 399_999] {
        shows(
            "big",
            |what| *what == What::Content { offset },
            |root| {
                keep_time(root.join("big"), |path| {
                    fs::File::options()
                        .write(true)
                        .open(path)
                        .unwrap()
                        .write_all_at(b"!", offset)
                        .unwrap();
                });
            },
        );
    }
}

#[test]
fn data_where_the_other_has_a_hole_is_found() {
    for offset in [0, 2 << 20, (3 << 20) - 1] {
        shows(
            "sparse",
            |what| *what == What::Content { offset },
            |root| {
                keep_time(root.join("sparse"), |path| {
                    fs::File::options()
                        .write(true)
                        .open(path)
                        .unwrap()
                        .write_all_at(b"!", offset)
                        .unwrap();
                });
            },
        );
    }
}

#[test]
fn another_length_is_found_with_where_it_ends() {
    let found = differences(|root| {
        keep_time(root.join("big"), |path| {
            fs::File::options().write(true).open(path).unwrap().set_len(399_999).unwrap();
        });
    });
    let what: Vec<&What> = found.iter().map(|difference| &difference.what).collect();
    assert!(what.contains(&&What::Size { left: 400_000, right: 399_999 }), "{found:?}");
    assert!(what.contains(&&What::Content { offset: 399_999 }), "{found:?}");
    assert_eq!(what.len(), 2, "{found:?}");
}

#[test]
fn fid06_a_filled_hole_is_found() {
    shows(
        "sparse",
        |what| matches!(what, What::Holes { .. }),
        |root| {
            keep_time(root.join("sparse"), |path| {
                let content = fs::read(path).unwrap();
                fs::write(path, content).unwrap();
            });
        },
    );
}

#[test]
fn mode_and_time_are_found() {
    for path in ["alone", "folder"] {
        shows(
            path,
            |what| matches!(what, What::Mode { .. }),
            |root| {
                fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o4711)).unwrap();
            },
        );
        shows(
            path,
            |what| matches!(what, What::Time { .. }),
            |root| {
                let file = fs::File::open(root.join(path)).unwrap();
                let nanos = Duration::from_secs(TIME_S) + Duration::from_nanos(6);
                file.set_modified(UNIX_EPOCH + nanos).unwrap();
            },
        );
    }
    for path in ["link", "pipe"] {
        shows(
            path,
            |what| matches!(what, What::Time { .. }),
            |root| {
                set_time(&root.join(path), TIME_S + 1);
            },
        );
    }
}

#[test]
fn the_roots_own_attributes_count_unless_left_out() {
    let scratch = Scratch::new();
    let (left, right) = (scratch.path().join("left"), scratch.path().join("right"));
    build(&left);
    build(&right);
    fs::set_permissions(&right, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(compare_trees(&left, &right).len(), 1);
    let without = Aspects { root: false, ..Aspects::ALL };
    assert_eq!(compare_trees_in(&left, &right, &without), []);
}

#[test]
fn another_target_is_found() {
    shows(
        "link",
        |what| matches!(what, What::Target { .. }),
        |root| {
            keep_time(root.join("link"), |path| {
                fs::remove_file(path).unwrap();
                symlink("tarGet", path).unwrap();
            });
        },
    );
}

#[test]
fn idx08_an_attribute_is_found() {
    let scratch = Scratch::new();
    let probe = scratch.path().join("probe");
    fs::write(&probe, "").unwrap();
    if rustix::fs::setxattr(&probe, "user.x", b"1", XattrFlags::empty()).is_err() {
        return skip("no user attributes on the temporary folder's file system");
    }
    shows(
        "alone",
        |what| *what == What::Xattrs { names: vec!["user.x".into()] },
        |root| {
            rustix::fs::setxattr(root.join("alone"), "user.x", b"1", XattrFlags::empty()).unwrap();
        },
    );
}

#[test]
fn fid05_a_broken_or_wrong_link_group_is_found() {
    for path in ["twin", "folder/file"] {
        shows(
            path,
            |what| matches!(what, What::Links { .. }),
            |root| {
                keep_time(root.join("twin"), |twin| {
                    fs::remove_file(twin).unwrap();
                    fs::write(twin, b"content").unwrap();
                });
            },
        );
    }
    shows(
        "alone",
        |what| matches!(what, What::Links { left, .. } if left.is_empty()),
        |root| {
            fs::remove_file(root.join("alone")).unwrap();
            fs::hard_link(root.join("twin"), root.join("alone")).unwrap();
        },
    );
}

#[test]
fn owner_device_and_flags_are_found() {
    if !is_root() {
        return skip("changing owners, device nodes and flags needs root");
    }
    for path in ["alone", "link", "pipe", "folder"] {
        shows(
            path,
            |what| matches!(what, What::Owner { right: (7, 8), .. }),
            |root| {
                std::os::unix::fs::lchown(root.join(path), Some(7), Some(8)).unwrap();
            },
        );
    }
    let scratch = Scratch::new();
    let (left, right) = (scratch.folder("left"), scratch.folder("right"));
    for (root, minor) in [(&left, 1), (&right, 2)] {
        let device = rustix::fs::makedev(42, minor);
        let made = rustix::fs::mknodat(
            CWD,
            root.join("device"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            device,
        );
        if made.is_err() {
            return skip("this root may not make device nodes");
        }
        settle(root);
    }
    let found = compare_trees(&left, &right);
    assert!(matches!(found[..], [Difference { what: What::Device { .. }, .. }]), "{found:?}");
}

#[test]
fn fid04_flags_are_found() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let scratch = Scratch::new();
    let probe = fs::File::create(scratch.path().join("probe")).unwrap();
    let flags = ioctl_getflags(&probe);
    if !flags.is_ok_and(|flags| ioctl_setflags(&probe, flags | IFlags::NODUMP).is_ok()) {
        return skip("no file flags on the temporary folder's file system");
    }
    shows(
        "alone",
        |what| matches!(what, What::Flags { .. }),
        |root| {
            let file = fs::File::open(root.join("alone")).unwrap();
            ioctl_setflags(&file, ioctl_getflags(&file).unwrap() | IFlags::NODUMP).unwrap();
        },
    );
}

#[test]
fn each_aspect_can_be_left_out() {
    let scratch = Scratch::new();
    let (left, right) = (scratch.path().join("left"), scratch.path().join("right"));
    build(&left);
    build(&right);
    fs::write(right.join("alone"), b"CONTENT").unwrap();
    set_time(&right.join("alone"), TIME_S + 9);
    fs::set_permissions(right.join("alone"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(compare_trees(&left, &right).len(), 3);
    let none = Aspects { content: false, times: false, modes: false, ..Aspects::ALL };
    assert_eq!(compare_trees_in(&left, &right, &none), []);
}
