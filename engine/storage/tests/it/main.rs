use std::sync::Arc;

use simsim_storage::fault::{CrashVariant, FailingStorage, Fault, PowerCutStorage};
use simsim_storage::{LocalStorage, Storage, StorageError, conformance};

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
