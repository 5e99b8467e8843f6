//! What every storage must do; run by each implementation's tests.

use crate::{Storage, StorageError};

/// Runs the suite on an empty storage. Panics where the contract is broken: call it from tests.
pub fn run(storage: &dyn Storage) {
    objects_appear_complete_or_not_at_all(storage);
    ranges(storage);
    replacing(storage);
    locks(storage);
    bad_keys(storage);
}

fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        storage.list(prefix).expect("list").map(|object| object.expect("object").key).collect();
    keys.sort();
    keys
}

fn objects_appear_complete_or_not_at_all(storage: &dyn Storage) {
    let mut writer = storage.create().expect("create");
    writer.write(b"first ").expect("write");
    assert!(keys(storage, "packs/").is_empty(), "an unfinished object shows");
    writer.write(b"second").expect("write");
    writer.finish("packs/aa/one").expect("finish");
    assert_eq!(storage.get("packs/aa/one").expect("get").as_ref(), b"first second");
    assert_eq!(storage.size("packs/aa/one").expect("size"), 12);
    assert_eq!(keys(storage, "packs/"), ["packs/aa/one"]);
    assert!(matches!(storage.put("packs/aa/one", b"x"), Err(StorageError::Exists { .. })));
    assert_eq!(storage.get("packs/aa/one").expect("get").as_ref(), b"first second");
    let mut gone = storage.create().expect("create");
    gone.write(b"never").expect("write");
    gone.abort();
    storage.put("packs/bb/two", b"2").expect("put");
    assert_eq!(keys(storage, "packs/"), ["packs/aa/one", "packs/bb/two"]);
    storage.delete("packs/bb/two").expect("delete");
    assert_eq!(keys(storage, "packs/"), ["packs/aa/one"]);
    let missing = storage.get("packs/bb/two").expect_err("deleted");
    assert_eq!(missing.kind(), simsim_model::Kind::NotFound);
    assert!(storage.size("packs/bb/two").is_err() && storage.delete("packs/bb/two").is_err());
    storage.allocate("room", 4096).expect("allocate");
    assert_eq!(storage.size("room").expect("size"), 4096);
}

fn ranges(storage: &dyn Storage) {
    storage.put("range", b"0123456789").expect("put");
    assert_eq!(storage.get_range("range", 3, 4).expect("range").as_ref(), b"3456");
    assert_eq!(storage.get_range("range", 10, 0).expect("range").as_ref(), b"");
    for (offset, length) in [(8, 3), (10, 1), (u64::MAX, 1)] {
        assert!(storage.get_range("range", offset, length).is_err(), "{offset}+{length}");
        assert!(storage.read_at("range", offset, &mut vec![0; length]).is_err());
    }
    let mut parts = [0; 6];
    storage.read_parts("range", &[8, 0, 4], 2, &mut parts).expect("parts");
    assert_eq!(&parts, b"890145");
    assert!(storage.read_parts("range", &[8, 9, 4], 2, &mut parts).is_err());
    assert!(storage.read_parts("missing", &[0], 2, &mut parts[..2]).is_err());
    let mut buffer = [0; 3];
    storage.read_at("range", 7, &mut buffer).expect("read");
    assert_eq!(&buffer, b"789");
    storage.delete("range").expect("delete");
    assert!(storage.get_range("range", 0, 1).is_err(), "a deleted object is still read");
}

fn replacing(storage: &dyn Storage) {
    storage.replace("root.1", b"old").expect("replace");
    assert_eq!(storage.get_range("root.1", 0, 3).expect("get").as_ref(), b"old");
    storage.replace("root.1", b"newer").expect("replace");
    assert_eq!(storage.get("root.1").expect("get").as_ref(), b"newer");
    assert_eq!(storage.get_range("root.1", 0, 5).expect("get").as_ref(), b"newer");
}

fn locks(storage: &dyn Storage) {
    let held = storage.lock("lock", "the first").expect("lock");
    assert!(matches!(storage.lock("lock", "the second"), Err(StorageError::Locked { .. })));
    drop(held);
    drop(storage.lock("lock", "the third").expect("a lock ends with its guard"));
}

fn bad_keys(storage: &dyn Storage) {
    for key in ["", "../x", "/etc/passwd", "a//b", ".x"] {
        assert!(storage.put(key, b"").is_err(), "{key:?} was accepted");
    }
}
