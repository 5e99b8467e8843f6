//! Collecting garbage beside replications.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use simsim_datastore::{Datastore, WriteSession};
use simsim_model::{BackupSession, CopySession, Name};

use crate::gc::{FEW, assert_lasts, delete, eager, four, fresh, id, leaves};
use crate::kit::*;

/// Sends what is not there of a saveset, as a replication does. How many segments that were.
fn put_copy(session: &WriteSession, source: &Datastore, saveset: u8) -> u64 {
    let mut sent = 0;
    for segment in crate::copies::segments_of(source, saveset) {
        let view = simsim_format::SegmentView::parse(segment.clone()).unwrap();
        let names: Vec<Name> = view.items.iter().map(|item| item.name).collect();
        if session.has(&names).unwrap().contains(&false) {
            session.put(sent, segment).unwrap();
            sent += 1;
        }
    }
    sent
}

/// The same of a replication: one that opens at any step of a collection, and one that asks then and commits after
/// everything.
#[test]
fn gc01_a_copy_that_comes_at_any_step_of_a_collection_is_whole() {
    let (_, source) = crate::copies::other();
    let mixed = [leaves(500, FEW), leaves(4, FEW), leaves(900, 3)].concat();
    for number in [9, 10] {
        backup_leaves(&session(&source, number), &mixed).unwrap();
    }
    let commit = |session: &WriteSession, number: u8, sent: u64| {
        session.commit_copy(source.manifest_bytes(id(number)).unwrap(), sent).unwrap();
    };
    for step in 0.. {
        let (datastore, storage, _) = fresh();
        let mut model = four(&datastore, FEW);
        delete(&datastore, &[1, 4]);
        model.remove(&1);
        model.remove(&4);
        let calls = AtomicUsize::new(0);
        let late: Mutex<Option<(WriteSession, u64)>> = Mutex::new(None);
        datastore
            .collect_garbage(&eager(), &|_| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                if call == step {
                    let at_once = datastore.copy_session(DOMAIN);
                    let sent = put_copy(&at_once, &source, 9);
                    commit(&at_once, 9, sent);
                    let session = datastore.copy_session(DOMAIN);
                    let sent = put_copy(&session, &source, 10);
                    *late.lock().unwrap() = Some((session, sent));
                }
                // Nobody is waited for for ever.
                if call > step + 4
                    && let Some((session, sent)) = late.lock().unwrap().take()
                {
                    commit(&session, 10, sent);
                }
                true
            })
            .unwrap();
        let reached = calls.into_inner() > step;
        if reached {
            if let Some((session, sent)) = late.into_inner().unwrap() {
                commit(&session, 10, sent);
            }
            model.insert(9, mixed.clone());
            model.insert(10, mixed.clone());
        }
        assert_lasts(datastore, &storage, &model, &format!("step {step}"));
        if !reached {
            assert!(step > 4, "{step} steps were seen");
            break;
        }
    }
}
