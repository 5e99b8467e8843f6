//! Trees that other programs fell over.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use simsim_source::{WalkOptions, compare};

use crate::copier::{assert_copies, source};
use crate::not_root;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn fid12_a_tree_with_every_type_of_inode_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir_all(from.join("deep/er")).unwrap();
    fs::write(from.join("deep/file"), b"content").unwrap();
    fs::write(from.join("empty"), b"").unwrap();
    rustix::fs::mkfifoat(CWD, from.join("fifo"), Mode::from_raw_mode(0o640)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    symlink("nowhere/at all", from.join("dangling")).unwrap();
    symlink("..", from.join("deep/up")).unwrap();
    if !not_root("device nodes") {
        let mode = Mode::from_raw_mode(0o620);
        for (name, kind) in [("char", FileType::CharacterDevice), ("block", FileType::BlockDevice)]
        {
            let device = rustix::fs::makedev(7, 200_000);
            rustix::fs::mknodat(CWD, from.join(name), kind, mode, device).unwrap();
        }
        rustix::fs::chownat(
            CWD,
            from.join("dangling"),
            Some(rustix::fs::Uid::from_raw(1234)),
            Some(rustix::fs::Gid::from_raw(4321)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
    }
    let copy = assert_copies(&from, &home.path().join("to"), WalkOptions::default());
    assert!(rustix::fs::lstat(copy.join("socket")).is_ok());
}

#[test]
fn fid02_read_only_directories_and_fid01_ancestors_keep_their_attributes() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("a/b/c");
    fs::create_dir_all(from.join("closed/inner")).unwrap();
    fs::write(from.join("closed/inner/file"), b"x").unwrap();
    mode(&from.join("closed/inner"), 0o500);
    mode(&from.join("closed"), 0o500);
    mode(&home.path().join("a/b"), 0o2751);
    mode(&home.path().join("a"), 0o1711);
    fs::write(home.path().join("a/not-chosen"), b"x").unwrap();
    let copy = assert_copies(&from, &home.path().join("to"), WalkOptions::default());
    let mut pair = (from.clone(), copy);
    while pair.0.parent().is_some_and(|parent| parent != home.path()) {
        pair = (pair.0.parent().unwrap().to_owned(), pair.1.parent().unwrap().to_owned());
        let (old, new) = (pair.0.metadata().unwrap(), pair.1.metadata().unwrap());
        assert_eq!((old.mode(), old.uid()), (new.mode(), new.uid()), "{}", pair.1.display());
        assert_eq!((old.mtime(), old.mtime_nsec()), (new.mtime(), new.mtime_nsec()));
    }
    assert!(!pair.1.join("not-chosen").exists());
    for dir in ["closed", "closed/inner"] {
        mode(&from.join(dir), 0o700);
        mode(&home.path().join("to").join(from.strip_prefix("/").unwrap()).join(dir), 0o700);
    }
}

#[test]
fn fid05_hard_links_across_subtrees_stay_links() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir_all(from.join("x/y")).unwrap();
    fs::create_dir_all(from.join("z")).unwrap();
    fs::write(from.join("x/y/one"), b"shared").unwrap();
    fs::hard_link(from.join("x/y/one"), from.join("z/two")).unwrap();
    fs::hard_link(from.join("x/y/one"), from.join("three")).unwrap();
    symlink("t", from.join("s1")).unwrap();
    fs::hard_link(from.join("s1"), from.join("z/s2")).unwrap();
    let copy = assert_copies(&from, &home.path().join("to"), WalkOptions::default());
    let ino = |name: &str| copy.join(name).symlink_metadata().unwrap().ino();
    assert_eq!((ino("x/y/one"), ino("s1")), (ino("z/two"), ino("z/s2")));
    assert_eq!(copy.join("three").metadata().unwrap().nlink(), 3);
}

#[test]
fn fid06_holes_stay_holes_at_every_edge() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    let block = vec![7_u8; 4096];
    for (number, edge) in [4095_u64, 4096, 4097].into_iter().enumerate() {
        for (shape, data, size) in [
            ("leading", vec![edge * 64], edge * 64 + 4096),
            ("trailing", vec![0], edge * 64),
            ("inner", vec![0, edge * 64], edge * 64 + 4096),
            ("all", vec![], edge),
        ] {
            let file = File::create(from.join(format!("{shape}-{number}"))).unwrap();
            for offset in data {
                file.write_all_at(&block, offset).unwrap();
            }
            file.set_len(size).unwrap();
        }
    }
    let huge = File::create(from.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    for part in 0..8_u64 {
        huge.write_all_at(&block, part * (1 << 37)).unwrap();
    }
    drop(huge);
    // The huge one is compared by its stretches: nobody reads a tebibyte of zeros twice.
    let to = home.path().join("to");
    let mut walk = source(&from, WalkOptions::default());
    assert_eq!(crate::copier::copy(&mut walk, &to, crate::copier::ALL), []);
    let copy = to.join(from.strip_prefix("/").unwrap());
    let (old, new) = (from.join("huge"), copy.join("huge"));
    assert_eq!(new.metadata().unwrap().len(), 1 << 40);
    assert!(new.metadata().unwrap().blocks() <= 8 * 4096 / 512 * 4);
    for part in 0..8_u64 {
        let mut buffer = vec![0; 8192];
        File::open(&new).unwrap().read_exact_at(&mut buffer, part * (1 << 37)).unwrap();
        assert_eq!((&buffer[..4096], &buffer[4096..]), (&block[..], &[0; 4096][..]));
    }
    fs::remove_file(old).unwrap();
    fs::remove_file(new).unwrap();
    let differences = compare(&from, &copy).unwrap();
    assert!(differences.iter().all(|one| one.path.is_empty()), "{differences:?}");
    let blocks = |name: &str| copy.join(name).metadata().unwrap().blocks();
    assert_eq!(blocks("all-1"), 0);
    assert!(blocks("inner-1") <= 32, "{}", blocks("inner-1"));
}

#[test]
fn fid08_names_and_targets_of_all_bytes_come_back() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    let all: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
    for byte in &all {
        let name = std::ffi::OsStr::from_bytes(std::slice::from_ref(byte));
        if *byte != b'.' {
            fs::write(from.join(name), [*byte]).unwrap();
        }
    }
    let long = std::ffi::OsStr::from_bytes(&all);
    symlink(long, from.join("link")).unwrap();
    fs::write(from.join(long), b"all").unwrap();
    fs::create_dir(from.join("gr\u{fc}n")).unwrap();
    fs::create_dir(from.join("gru\u{308}n")).unwrap();
    assert_copies(&from, &home.path().join("to"), WalkOptions::default());
}

#[test]
fn fid14_paths_longer_than_the_system_takes_come_back() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    let mut dir: std::os::fd::OwnedFd = File::open(&from).unwrap().into();
    let name = "d".repeat(40);
    for depth in 0..700 {
        rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        dir = rustix::fs::openat(&dir, &name, flags, Mode::empty()).unwrap();
        if depth % 50 == 49 {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let file = rustix::fs::openat(&dir, "zz", flags, Mode::RUSR).unwrap();
            File::from(file).write_all_at(b"deep", 0).unwrap();
        }
    }
    let start = std::time::Instant::now();
    let copied = assert_copies(&from, &home.path().join("to"), WalkOptions::default());
    println!("700 levels: {:?}", start.elapsed());
    for tree in [from, copied] {
        assert!(std::process::Command::new("rm").arg("-rf").arg(tree).status().unwrap().success());
    }
}
