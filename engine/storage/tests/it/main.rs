mod bounded;

use std::sync::Arc;

use simsim_storage::fault::{CrashVariant, FailingStorage, Fault, PowerCutStorage};
use simsim_storage::{LocalStorage, OverlayStorage, Storage, StorageError, conformance};

#[test]
fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::run(&LocalStorage::open(folder.path().join("new/store")).unwrap());
}

#[test]
fn the_wrappers_conform() {
    conformance::run(&PowerCutStorage::new());
    conformance::run(&FailingStorage::new(PowerCutStorage::new(), u64::MAX, Fault::Io));
    conformance::run(&simsim_storage::fault::RecordingStorage::new(PowerCutStorage::new()));
}

#[test]
fn what_is_forgotten_is_asked_of_the_medium_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::open(folder.path()).unwrap();
    storage.put("object", &[7; 1 << 20]).unwrap();
    let file = std::fs::File::open(folder.path().join("object")).unwrap();
    let in_memory = || {
        let mut bytes = [0; 4096];
        let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
        rustix::io::preadv2(&file, &mut parts, 0, rustix::io::ReadWriteFlags::NOWAIT)
    };
    const TMPFS: i64 = 0x0102_1994;
    let on_tmpfs = rustix::fs::fstatfs(&file).is_ok_and(|stat| stat.f_type == TMPFS);
    if in_memory() != Ok(4096) || on_tmpfs {
        println!("skipped: this file system does not tell what it has in memory");
        return;
    }
    storage.forget("object");
    assert_eq!(in_memory(), Err(rustix::io::Errno::AGAIN));
    assert_eq!(storage.get_range("object", 9, 2).unwrap().as_ref(), [7; 2]);
    storage.forget("not there");
}

#[test]
fn an_overlay_conforms_and_never_writes_below() {
    let (below, above) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let filled = LocalStorage::open(below.path()).unwrap();
    for key in ["kept", "packs/aa/kept", "packs/aa/deleted", "replaced"] {
        filled.put(key, b"below").unwrap();
    }
    drop(filled);
    let seen = || {
        let mut files: Vec<_> = walk(below.path());
        files.sort();
        files
    };
    let before = seen();
    let overlay = OverlayStorage::new(
        Arc::new(LocalStorage::to_read(below.path()).unwrap()),
        Arc::new(LocalStorage::open(above.path()).unwrap()),
    );
    assert_eq!(overlay.get("packs/aa/kept").unwrap().as_ref(), b"below");
    assert_eq!(overlay.get_range("kept", 1, 3).unwrap().as_ref(), b"elo");
    assert!(matches!(overlay.put("kept", b"x"), Err(StorageError::Exists { .. })));
    overlay.replace("replaced", b"above").unwrap();
    assert_eq!(overlay.get("replaced").unwrap().as_ref(), b"above");
    overlay.delete("packs/aa/deleted").unwrap();
    assert!(
        overlay.delete("packs/aa/deleted").is_err() && overlay.get("packs/aa/deleted").is_err()
    );
    let listed: Vec<_> = overlay.list("packs/").unwrap().map(|one| one.unwrap().key).collect();
    assert_eq!(listed, ["packs/aa/kept"]);
    overlay.put("packs/aa/deleted", b"again").unwrap();
    assert_eq!(overlay.get("packs/aa/deleted").unwrap().as_ref(), b"again");
    overlay.delete("replaced").unwrap();
    assert!(overlay.get("replaced").is_err(), "what lies below does not shine through");
    // As any storage, on what is empty so far.
    for key in ["packs/aa/kept", "packs/aa/deleted", "kept"] {
        overlay.delete(key).unwrap();
    }
    conformance::run(&overlay);
    assert_eq!(seen(), before);
    assert!(LocalStorage::to_read(below.path().join("not there")).is_err());
}

fn walk(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
            found.push((path, None));
        } else {
            let content = std::fs::read(&path).unwrap();
            found.push((path, Some(content)));
        }
    }
    found
}

#[test]
fn pwr02_stale_temporary_files_are_neither_seen_nor_continued() {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::open(folder.path()).unwrap();
    let pid = std::process::id();
    for number in 0..64 {
        std::fs::write(folder.path().join(format!("tmp/{pid}-{number}")), b"stale").unwrap();
    }
    storage.put("a", b"fresh").unwrap();
    assert_eq!(storage.get("a").unwrap().as_ref(), b"fresh");
    assert!(storage.clear_temporary().unwrap() > 50);
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn pwr05_a_writer_that_failed_stays_dead() {
    let storage = FailingStorage::new(PowerCutStorage::new(), 1, Fault::ShortWrite);
    let mut writer = storage.create().unwrap();
    assert!(writer.write(b"0123456789").is_err());
    drop(writer);
    assert!(storage.has_failed());
    assert_eq!(storage.list("").unwrap().count(), 0);
}

#[test]
fn pwr04_an_unflushed_name_or_content_is_lost_in_some_image() {
    let disk = PowerCutStorage::new();
    disk.put("a", b"0123456789").unwrap();
    let last = disk.events();
    let after = disk.crash_image(last, CrashVariant::LoseAll);
    assert_eq!(after.get("a").unwrap().as_ref(), b"0123456789");
    // Before the folder was flushed the name may be gone or there.
    assert!(disk.crash_image(last - 1, CrashVariant::LoseAll).get("a").is_err());
    assert!(disk.crash_image(last - 1, CrashVariant::KeepAll).get("a").is_ok());
}

#[test]
fn gc11_the_lock_names_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(LocalStorage::open(folder.path()).unwrap());
    let _held = storage.lock("lock", "process 4711").unwrap();
    let other = LocalStorage::open(folder.path()).unwrap();
    match other.lock("lock", "x") {
        Err(StorageError::Locked { holder, .. }) => assert_eq!(holder, "process 4711"),
        _ => panic!("locked twice"),
    }
}

#[test]
fn pwr11_a_folder_that_cannot_be_written_is_refused() {
    assert!(LocalStorage::open("/proc/simsim-no-such-store").is_err());
}
