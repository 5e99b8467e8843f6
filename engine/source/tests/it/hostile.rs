//! A restore by root into a directory that somebody else may change meanwhile.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use simsim_format::EntryKind;
use simsim_model::Overwrite;
use simsim_source::{Created, FsSink, LinkTarget, SinkError, SinkOptions};

use crate::copier::{ALL, dir_entry, entry};

#[test]
fn fid10_an_attacker_who_swaps_components_gets_no_write_outside() {
    let home = tempfile::tempdir().unwrap();
    let (target, outside) = (home.path().join("target"), home.path().join("outside"));
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("victim"), b"untouched").unwrap();
    fs::create_dir_all(target.join("a/sub")).unwrap();
    symlink(&outside, target.join("evil")).unwrap();
    symlink(outside.join("victim"), target.join("a/evil-file")).unwrap();
    symlink(outside.join("sub"), target.join("a/evil-sub")).unwrap();
    let before = fs::metadata(&outside).unwrap().modified().unwrap();

    let stop = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);
    let (mut rounds, mut went_well, mut refused) = (0_u64, 0_u64, 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pairs = [
                ("a", "evil"),
                ("a/sub", "a/evil-sub"),
                ("a/file", "a/evil-file"),
                ("a/pipe", "a/evil-file"),
            ];
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    let (one, other) = (target.join(one), target.join(other));
                    let flags = RenameFlags::EXCHANGE;
                    if renameat_with(CWD, &one, CWD, &other, flags).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            rounds += 1;
            let options = SinkOptions { overwrite: Overwrite::Always, ..ALL };
            match one_restore(&FsSink::open(&target, options).unwrap()) {
                Ok(()) => went_well += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{rounds} rounds, {went_well} well, {refused} refused, {swaps:?} swaps");
    assert!(went_well > 0 && refused > 0 && swaps.load(Ordering::Relaxed) > 100);
    let mut names: Vec<_> =
        fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["sub", "victim"]);
    assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 0);
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"untouched");
    assert_eq!(fs::metadata(&outside).unwrap().modified().unwrap(), before);
}

fn one_restore(sink: &FsSink) -> Result<(), SinkError> {
    let a = sink.enter(&sink.root(), &dir_entry(b"a"))?;
    let sub = sink.enter(&a, &dir_entry(b"sub"))?;
    sink.put(&a, &entry(b"file", EntryKind::File, 5), b"inner")?;
    if let Created::Write(writer) = sink.create(&sub, &entry(b"big", EntryKind::File, 5))? {
        writer.write_at(0, b"inner").unwrap();
        writer.finish()?;
    }
    let mut linked = entry(b"linked", EntryKind::File, 5);
    linked.nlink = 2;
    sink.link(&a, &linked, &LinkTarget::new(sub.clone(), b"big".to_vec()))?;
    sink.special(&a, &entry(b"pipe", EntryKind::Fifo, 0))?;
    sink.special(&sub, &entry(b"s", EntryKind::Symlink(b"/etc".to_vec()), 0))?;
    sink.leave(sub);
    sink.leave(a);
    Ok(())
}

#[test]
fn fid11_names_that_are_no_component_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("target");
    let sink = FsSink::open(&target, ALL).unwrap();
    let root = sink.root();
    let long = vec![b'x'; 256];
    let original = LinkTarget::new(root.clone(), b"../x".to_vec());
    for name in [&b""[..], b".", b"..", b"../x", b"a/b", b"/etc/x", b"nul\0x", b"x/", &long] {
        let file = entry(name, EntryKind::File, 1);
        let errors = [
            sink.put(&root, &file, b"x").err(),
            sink.create(&root, &file).err(),
            sink.enter(&root, &dir_entry(name)).err(),
            sink.special(&root, &entry(name, EntryKind::Fifo, 0)).err(),
            sink.link(&root, &file, &original).err(),
            sink.link(&root, &entry(b"ok", EntryKind::File, 1), &original).err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(SinkError::Name { .. })), "{error:?}");
        }
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}
