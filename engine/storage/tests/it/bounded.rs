//! Calls that do not come back (PWR09).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use simsim_model::Kind;
use simsim_storage::fault::{FailingStorage, Fault, PowerCutStorage};
use simsim_storage::{BoundedStorage, LocalStorage, Storage, StorageError, conformance};

const LIMIT: Duration = Duration::from_millis(150);

fn bounded<S: Storage + 'static>(inner: S) -> BoundedStorage {
    BoundedStorage::open("the vault", LIMIT, || Ok(inner)).unwrap()
}

#[test]
fn a_bounded_storage_conforms() {
    conformance::run(&bounded(PowerCutStorage::new()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    conformance::run(&bounded(LocalStorage::open(path).unwrap()));
}

#[test]
fn a_listing_longer_than_a_batch_is_whole() {
    let disk = PowerCutStorage::new();
    for number in 0..2500 {
        disk.put(&format!("many/{number:04}"), b"x").unwrap();
    }
    let listed = |count: usize| {
        let all: Vec<_> =
            bounded(disk.clone()).list("many/").unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), count);
    };
    listed(2500);
    (2000..2500).for_each(|number| disk.delete(&format!("many/{number:04}")).unwrap());
    listed(2000);
}

/// A real folder, and a real call that hangs: a FIFO in an object's place, which nobody writes to.
#[test]
fn pwr09_a_read_that_hangs_is_given_up_on_and_reading_goes_on_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalStorage::open(folder.path()).unwrap();
    local.put("sound", b"sound").unwrap();
    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let storage = bounded(local);
    let begun = Instant::now();
    let error = storage.get_range("fifo", 0, 4).unwrap_err();
    assert!((LIMIT..LIMIT * 20).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(error.kind(), Kind::Unreachable);
    let text = error.to_string();
    assert!(text.contains("the vault") && text.contains("read fifo"), "{text}");

    // Nothing more is lost to it meanwhile.
    let begun = Instant::now();
    assert!(matches!(storage.get("sound"), Err(StorageError::Silent { .. })));
    assert!(matches!(storage.put("new", b"x"), Err(StorageError::Silent { .. })));
    assert!(begun.elapsed() < LIMIT, "refused at once");
    assert!(storage.closed_because().unwrap().contains("the vault"));

    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    while storage.get("sound").is_err() {
        assert!(Instant::now() < until, "reading does not go on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(storage.put("new", b"x").is_err(), "nobody knows what was written");
    let again = bounded(LocalStorage::open(folder.path()).unwrap());
    again.put("new", b"x").unwrap();
    assert_eq!(again.closed_because(), None);
}

#[test]
fn pwr09_every_call_that_hangs_is_given_up_on() {
    type Call = fn(&BoundedStorage) -> Result<(), StorageError>;
    let calls: [(&str, Call); 12] = [
        ("create", |s| s.create().map(drop)),
        ("put", |s| s.put("a", b"x")),
        ("replace", |s| s.replace("a", b"x")),
        ("get", |s| s.get("there").map(drop)),
        ("get_range", |s| s.get_range("there", 0, 1).map(drop)),
        ("read_at", |s| s.read_at("there", 0, &mut [0])),
        ("read_parts", |s| s.read_parts("there", &[0], 1, &mut [0])),
        ("size", |s| s.size("there").map(drop)),
        ("list", |s| s.list("").map(drop)),
        ("delete", |s| s.delete("there")),
        ("allocate", |s| s.allocate("room", 10)),
        ("lock", |s| s.lock("lock", "me").map(drop)),
    ];
    for (name, call) in calls {
        let disk = PowerCutStorage::new();
        disk.put("there", b"x").unwrap();
        let hanging = Arc::new(FailingStorage::new(disk, 0, Fault::Hang));
        let storage = bounded(hanging.clone());
        assert!(matches!(call(&storage), Err(StorageError::Silent { .. })), "{name}");
        hanging.release();
    }
    // A writer whose write, finish or end hangs.
    for hang_at in 1..=2 {
        let hanging = Arc::new(FailingStorage::new(PowerCutStorage::new(), hang_at, Fault::Hang));
        let storage = bounded(hanging.clone());
        let mut writer = storage.create().unwrap();
        let written = writer.write(b"x");
        let ended = written.and_then(|()| writer.finish("a"));
        assert!(matches!(ended, Err(StorageError::Silent { .. })), "{hang_at}");
        hanging.release();
    }
    let stuck = BoundedStorage::open("nowhere", LIMIT, || -> Result<PowerCutStorage, _> {
        std::thread::sleep(LIMIT * 3);
        Ok(PowerCutStorage::new())
    });
    assert!(matches!(stuck.err().unwrap(), StorageError::Silent { .. }));
}

#[test]
fn helpers_end_with_their_storage() {
    let helpers = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name == "storage\n")).count()
    };
    let storage = bounded(PowerCutStorage::new());
    std::thread::scope(|scope| {
        for number in 0..40 {
            let storage = &storage;
            scope.spawn(move || storage.put(&format!("a/{number}"), b"x").unwrap());
        }
    });
    assert_eq!(storage.list("a/").unwrap().count(), 40);
    let until = Instant::now() + Duration::from_secs(20);
    // One that is superfluous ends a moment after its work.
    while !(1..=16).contains(&helpers()) {
        assert!(Instant::now() < until, "{} helpers", helpers());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(storage);
    while helpers() > 0 {
        assert!(Instant::now() < until, "{} helpers are left", helpers());
        std::thread::sleep(Duration::from_millis(5));
    }
}
