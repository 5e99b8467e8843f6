//! A storage that falls silent (PWR09): whatever call hangs, work on this datastore ends in time with
//! an error that says so, nothing is written any more, and others go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_datastore::{Datastore, DatastoreError};
use simsim_model::{Kind, SavesetId};
use simsim_storage::fault::{FailingStorage, Fault, PowerCutStorage};
use simsim_storage::{BoundedStorage, Storage};

use crate::heal::store_with;
use crate::kit::*;

const LIMIT: Duration = Duration::from_millis(60);

fn bounded(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    Arc::new(BoundedStorage::open("the vault", LIMIT, || Ok(storage)).unwrap())
}

/// Opens, backs up and restores. The first error, and whether the saveset was acknowledged.
fn work(storage: &Arc<dyn Storage>, opened: &mut Option<Datastore>) -> (bool, Option<String>) {
    let datastore = match Datastore::open(storage.clone(), open_options()) {
        Ok(datastore) => opened.insert(datastore).clone(),
        Err(error) => return (false, Some(error.to_string())),
    };
    match backup(&session(&datastore, 2), 2, 2, 60) {
        Ok(_) => (true, restore(&datastore, SavesetId([2; 16])).err()),
        Err(error) => {
            assert_eq!(error.kind, Kind::Unreachable, "{error}");
            (false, Some(error.message))
        }
    }
}

#[test]
fn pwr09_whatever_call_hangs_the_work_ends_and_says_so_and_other_datastores_go_on() {
    let other: Arc<dyn Storage> = Arc::new(store_with(1));
    let other = open(&other);
    let mut hung = 0;
    for hang_at in 0.. {
        let disk: PowerCutStorage = store_with(1);
        let hanging = Arc::new(FailingStorage::new(disk.clone(), hang_at, Fault::Hang));
        let storage = bounded(hanging.clone());
        let begun = Instant::now();
        let mut opened = None;
        let (committed, error) = work(&storage, &mut opened);
        assert!(begun.elapsed() < Duration::from_secs(20), "call {hang_at}: {:?}", begun.elapsed());
        if !hanging.has_failed() {
            assert_eq!((committed, error), (true, None));
            break;
        }
        hung += 1;
        if let Some(error) = &error {
            assert!(error.contains("the vault has not answered"), "call {hang_at}: {error}");
        }
        if let Some(datastore) = &opened {
            // Some calls are no reason to end the work: deleting what is left over, the reserve.
            let refused = backup(&session(datastore, 3), 3, 1, 60).unwrap_err();
            assert_eq!(refused.kind, Kind::Unreachable, "call {hang_at}: {refused}");
            assert!(matches!(datastore.read_only(), Some(DatastoreError::ReadOnly { .. })));
            assert!(datastore.state().read_only.unwrap().contains("the vault"));
        }
        backup(&session(&other, 9), hang_at, 1, 60)
            .map(drop)
            .or_else(|error| {
                // The same saveset again is answered as before or refused; either shows that it works.
                if error.kind == Kind::Invalid { Ok(()) } else { Err(error) }
            })
            .unwrap();
        hanging.release();
        drop((opened, storage));
        let until = Instant::now() + Duration::from_secs(20);
        let again: Arc<dyn Storage> = Arc::new(disk);
        let datastore = loop {
            // A call that was given up on may still hold the lock for an instant.
            match Datastore::open(again.clone(), open_options()) {
                Ok(datastore) => break datastore,
                Err(error) => assert!(Instant::now() < until, "call {hang_at}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        restore(&datastore, SavesetId([1; 16])).unwrap();
        if committed {
            restore(&datastore, SavesetId([2; 16])).unwrap();
        }
        backup(&session(&datastore, 4), 4, 1, 60).unwrap();
        restore(&datastore, SavesetId([4; 16])).unwrap();
    }
    assert!(hung > 30, "only {hung} calls were tried");
}
