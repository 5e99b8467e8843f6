//! Owners, ACLs, capabilities, flags: what is lost when it is set in the wrong order.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{IFlags, XattrFlags, setxattr};
use simsim_model::{Overwrite, ProblemKind};
use simsim_source::{FsSink, SinkOptions, WalkOptions, compare};

use crate::copier::{ALL, assert_copies, copy, dir_entry, entry, source};
use crate::not_root;

/// `cap_net_raw+ep`, version 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A POSIX ACL as the kernel takes it: version, then (tag, permissions, id) each.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn named_user_acl() -> Vec<u8> {
    let none = u32::MAX;
    acl(&[(1, 6, none), (2, 4, 7777), (4, 4, none), (0x10, 6, none), (0x20, 0, none)])
}

fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    let done = setxattr(path, name, value, XattrFlags::empty());
    if let Err(error) = &done {
        println!("skipped: {name} cannot be set here: {error}");
    }
    done.is_ok()
}

fn flags(path: &Path, flags: IFlags) -> bool {
    let file = File::open(path).unwrap();
    rustix::fs::ioctl_getflags(&file)
        .and_then(|now| {
            let locks = IFlags::IMMUTABLE | IFlags::APPEND;
            rustix::fs::ioctl_setflags(&file, (now - locks) | flags)
        })
        .is_ok()
}

#[test]
fn fid03_capabilities_and_setuid_survive_the_change_of_owner() {
    if not_root("owners") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    for (name, mode) in [("cap", 0o755), ("suid", 0o4755), ("sgid", 0o2751), ("plain", 0o664)] {
        let path = from.join(name);
        fs::write(&path, name).unwrap();
        std::os::unix::fs::chown(&path, Some(1001), Some(1002)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    set(&from.join("cap"), "security.capability", &CAPABILITY);
    assert_copies(&from, &home.path().join("to"), WalkOptions::default());

    // Not asked for: nothing that gives rights away, and the report says so.
    let to = home.path().join("careful");
    let options = SinkOptions { specials: false, ..ALL };
    let problems = copy(&mut source(&from, WalkOptions::default()), &to, options);
    let copied = to.join(from.strip_prefix("/").unwrap());
    assert_eq!(copied.join("suid").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(copied.join("sgid").metadata().unwrap().mode() & 0o7777, 0o751);
    let mut buffer = [0; 64];
    assert!(rustix::fs::getxattr(copied.join("cap"), "security.capability", &mut buffer).is_err());
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::Note));

    // Without the owner a setuid bit would be somebody else's.
    let to = home.path().join("mine");
    let options = SinkOptions { owners: false, ..ALL };
    copy(&mut source(&from, WalkOptions::default()), &to, options);
    let copied = to.join(from.strip_prefix("/").unwrap()).join("suid").metadata().unwrap();
    assert_eq!((copied.uid(), copied.mode() & 0o7777), (0, 0o755));
}

#[test]
fn fid04_immutable_and_append_only_come_last_even_with_hard_links() {
    if not_root("immutable files") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir_all(from.join("dir")).unwrap();
    for name in ["one", "log", "dir/in", "linked"] {
        fs::write(from.join(name), name.repeat(9)).unwrap();
    }
    fs::hard_link(from.join("linked"), from.join("other")).unwrap();
    let locked =
        [("one", IFlags::IMMUTABLE), ("log", IFlags::APPEND), ("linked", IFlags::IMMUTABLE)];
    let mut possible = true;
    for (name, flag) in locked.into_iter().chain([("dir", IFlags::IMMUTABLE)]) {
        possible &= flags(&from.join(name), flag | IFlags::NODUMP);
    }
    let to = home.path().join("to");
    let copied = to.join(from.strip_prefix("/").unwrap());
    let result = possible.then(|| {
        let problems = copy(&mut source(&from, WalkOptions::default()), &to, ALL);
        let differences = compare(&from, &copied).unwrap();
        let refused = fs::write(copied.join("other"), b"x").is_err();
        (problems, differences, refused)
    });
    for tree in [&from, &copied] {
        for name in ["one", "log", "linked", "dir"] {
            if tree.join(name).exists() {
                flags(&tree.join(name), IFlags::empty());
            }
        }
    }
    match result {
        Some(result) => assert_eq!(result, (vec![], vec![], true)),
        None => println!("skipped: this file system has no immutable files"),
    }
}

#[test]
fn fid07_acls_come_back_and_none_is_invented() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir_all(from.join("dir/sub")).unwrap();
    for name in ["with", "without", "dir/plain"] {
        fs::write(from.join(name), name).unwrap();
    }
    if !set(&from.join("with"), "system.posix_acl_access", &named_user_acl())
        || !set(&from.join("dir"), "system.posix_acl_default", &named_user_acl())
    {
        return;
    }
    let to = home.path().join("to");
    fs::create_dir(&to).unwrap();
    // The target would give every new file and directory an ACL of its own.
    assert!(set(&to, "system.posix_acl_default", &named_user_acl()));
    assert_copies(&from, &to, WalkOptions::default());
    // The entries right in the target too.
    let sink = FsSink::open(&to, ALL).unwrap();
    let file = entry(b"top", simsim_format::EntryKind::File, 1);
    assert!(sink.put(&sink.root(), &file, b"x").unwrap().problems.is_empty());
    let top = to.join("top");
    let mut buffer = [0; 256];
    assert!(rustix::fs::getxattr(&top, "system.posix_acl_access", &mut buffer).is_err());
    assert_eq!(top.metadata().unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn fid13_an_attribute_that_does_not_fit_is_reported_and_the_rest_restored() {
    let home = tempfile::tempdir().unwrap();
    let sink = FsSink::open(&home.path().join("to"), ALL).unwrap();
    let dir = sink.enter(&sink.root(), &dir_entry(b"dir")).unwrap();
    let mut file = entry(b"file", simsim_format::EntryKind::File, 3);
    file.mode = 0o640;
    file.xattrs = vec![
        (b"nonsense.name".to_vec(), b"x".to_vec()),
        (b"user.kept".to_vec(), b"value".to_vec()),
        (b"user.too.large".to_vec(), vec![b'x'; 70_000]),
    ];
    let placed = sink.put(&dir, &file, b"abc").unwrap();
    let mut messages: Vec<_> = placed.problems.iter().map(|problem| &problem.message).collect();
    messages.retain(|message| !message.contains("user.kept"));
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(placed.problems.iter().all(|problem| problem.kind == ProblemKind::Attribute));
    assert!(placed.problems.iter().all(|problem| problem.path.ends_with(b"to/dir/file")));
    let path = home.path().join("to/dir/file");
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_600_000_000, 123_456_789));
    assert!(sink.leave(dir).is_empty());
}

#[test]
fn fid13_large_attributes_come_back_where_the_file_system_takes_them() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("f"), b"x").unwrap();
    let large = [60_000, 4000, 1500]
        .iter()
        .any(|&size| set(&from.join("f"), "user.large", &vec![b'v'; size]));
    assert!(large || !set(&from.join("f"), "user.small", b"v"));
    std::os::unix::fs::symlink("x", from.join("link")).unwrap();
    assert_copies(&from, &home.path().join("to"), WalkOptions::default());
}

#[test]
fn times_before_1970_and_modes_of_every_kind_come_back() {
    let home = tempfile::tempdir().unwrap();
    let sink =
        FsSink::open(home.path(), SinkOptions { overwrite: Overwrite::Always, ..ALL }).unwrap();
    let dir = sink.enter(&sink.root(), &dir_entry(b"d")).unwrap();
    for mode in (0..0o1000).step_by(37) {
        let mut file = entry(format!("m{mode:o}").as_bytes(), simsim_format::EntryKind::File, 0);
        file.mode = mode;
        file.mtime = simsim_model::Timestamp::new(-86_400 * 30, 999_999_999);
        for dir in [&dir, &sink.root()] {
            assert!(sink.put(dir, &file, b"").unwrap().problems.is_empty());
        }
        for place in [home.path().join("d"), home.path().to_owned()] {
            let metadata = place.join(format!("m{mode:o}")).metadata().unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode);
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-86_400 * 30, 999_999_999));
        }
    }
}
