//! A datastore on a share whose server is lost (PWR09): a real file system, by FUSE, that answers every
//! call with an error or with nothing at all from some moment on, and comes back later.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use simsim_datastore::Datastore;
use simsim_model::{Kind, SavesetId};
use simsim_storage::{BoundedStorage, LocalStorage, Storage};
use simsim_testkit::{FuseFolder, Temper, skip};

use crate::kit::*;

/// How long a call may take; a share on this host answers in less than a thousandth of it.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    /// The server says that it does not know the file any more (ESTALE).
    Stale,
    /// Every call fails (EIO).
    Broken,
    /// No call comes back.
    Silent,
}

/// A share that is well until a number of calls were made, and in a mood from then on.
struct Share {
    calls: AtomicU64,
    from: u64,
    mood: Mood,
    released: Mutex<bool>,
    release: Condvar,
}

impl Share {
    fn until(from: u64, mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicU64::new(0),
            from,
            mood,
            released: Mutex::new(false),
            release: Condvar::new(),
        })
    }

    fn well() -> Arc<Self> {
        Self::until(u64::MAX, Mood::Broken)
    }

    fn has_failed(&self) -> bool {
        self.calls.load(SeqCst) > self.from
    }

    /// What hung comes back, with an error.
    fn release(&self) {
        *self.released.lock() = true;
        self.release.notify_all();
    }
}

impl Temper for Share {
    fn before(&self, _: &'static str, _: &Path) -> io::Result<()> {
        if self.calls.fetch_add(1, SeqCst) < self.from {
            return Ok(());
        }
        if self.mood == Mood::Silent {
            let mut released = self.released.lock();
            while !*released {
                self.release.wait(&mut released);
            }
        }
        let stale = self.mood == Mood::Stale;
        let error = if stale { rustix::io::Errno::STALE } else { rustix::io::Errno::IO };
        Err(error.into())
    }
}

fn storage(share: &FuseFolder) -> Result<Arc<dyn Storage>, simsim_storage::StorageError> {
    let path = share.path().to_owned();
    let open = move || LocalStorage::open_existing(path);
    Ok(Arc::new(BoundedStorage::open(share.path().display().to_string(), LIMIT, open)?))
}

/// Opens, backs up and restores: the error that ended it, and whether the saveset was acknowledged.
fn work(share: &FuseFolder) -> (bool, Option<(Kind, String)>) {
    let storage = match storage(share) {
        Ok(storage) => storage,
        Err(error) => return (false, Some((error.kind(), error.to_string()))),
    };
    let datastore = match Datastore::open(storage, open_options()) {
        Ok(datastore) => datastore,
        Err(error) => return (false, Some((error.kind(), error.to_string()))),
    };
    match backup(&session(&datastore, 2), 2, 3, 3000) {
        Ok(_) => {
            let read = restore(&datastore, SavesetId([2; 16]));
            (true, read.err().map(|text| (Kind::Unreachable, text)))
        }
        Err(error) => (false, Some((error.kind, error.message))),
    }
}

#[test]
fn pwr09_a_share_that_is_stale_broken_or_silent_from_any_call_on_loses_nothing() {
    let mut share = match FuseFolder::mount(Share::well()) {
        Ok(share) => share,
        Err(why) => return skip(&why),
    };
    let datastore = Datastore::create(storage(&share).unwrap(), create_options()).unwrap();
    backup(&session(&datastore, 1), 1, 3, 3000).unwrap();
    drop(datastore);
    // How many calls the whole work takes.
    let whole = Share::well();
    share.remount(whole.clone()).unwrap();
    assert_eq!(work(&share), (true, None));
    let calls = whole.calls.load(SeqCst);
    assert!(calls > 200, "{calls} calls");

    let mut number = 3;
    for mood in [Mood::Stale, Mood::Broken, Mood::Silent] {
        // Each silence costs a limit; errors are cheap, and come at more of the calls.
        let steps = if mood == Mood::Silent { 8 } else { 40 };
        for step in 0..steps {
            let what = format!("{mood:?}, {step} of {steps}");
            let bad = Share::until(calls * step / steps, mood);
            share.remount(bad.clone()).unwrap();
            let begun = Instant::now();
            let (committed, error) = work(&share);
            assert!(begun.elapsed() < LIMIT * 30, "{what}: {:?}", begun.elapsed());
            assert!(bad.has_failed(), "{what}: it has met no error");
            if let Some((kind, text)) = &error {
                let place = share.path().display().to_string();
                let says = match mood {
                    Mood::Silent => {
                        assert_eq!(*kind, Kind::Unreachable, "{what}: {text}");
                        format!("the storage in {place} has not answered")
                    }
                    Mood::Stale => "Stale file handle (os error 116)".to_owned(),
                    Mood::Broken => "Input/output error (os error 5)".to_owned(),
                };
                assert!(text.contains(&says), "{what}: {text}");
            }
            assert!(committed || error.is_some(), "{what}: neither done nor refused");
            bad.release();
            share.remount(Share::well()).unwrap();

            // The share is back: what was acknowledged is there, and it is written to again.
            let datastore = Datastore::open(storage(&share).unwrap(), open_options()).unwrap();
            assert_eq!(restore(&datastore, SavesetId([1; 16])).unwrap(), 3 * 4 * 3000, "{what}");
            if committed {
                restore(&datastore, SavesetId([2; 16])).unwrap();
            }
            backup(&session(&datastore, number), u64::from(number), 1, 300).unwrap();
            restore(&datastore, SavesetId([number; 16])).unwrap();
            number += 1;
            let report = datastore.verify_structure(&|_| true).unwrap();
            assert!(report.is_clean(), "{what}: {report:?}");
        }
    }
}
